-- What a source says of its conversations.
ALTER TABLE conversation ADD COLUMN archived INTEGER NOT NULL DEFAULT 0; -- 1: put away
ALTER TABLE conversation ADD COLUMN deleted  INTEGER NOT NULL DEFAULT 0; -- 1: deleted there
