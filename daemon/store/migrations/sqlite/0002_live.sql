-- What a source says of its conversations, and who is there to hear them.
ALTER TABLE conversation ADD COLUMN archived INTEGER NOT NULL DEFAULT 0; -- 1: put away
ALTER TABLE conversation ADD COLUMN deleted  INTEGER NOT NULL DEFAULT 0; -- 1: deleted there
ALTER TABLE conversation ADD COLUMN audience INTEGER NOT NULL DEFAULT 0; -- pages that changed who is a member

-- From when to when somebody was a member, in revisions: what they hear lies after `after_rev`, up to and with `until_rev`.
-- The key tells whether they heard a message, the index who hears what comes after a revision.
CREATE TABLE stay (
    conversation INTEGER NOT NULL,
    person       INTEGER NOT NULL,
    after_rev    INTEGER NOT NULL,             -- the latest revision when they joined
    until_rev    INTEGER,                      -- the latest revision when they left; NULL: a member still
    joined_at    INTEGER,                      -- microseconds since 1970, UTC; NULL: not known
    left_at      INTEGER,
    PRIMARY KEY (conversation, person, after_rev)
) STRICT, WITHOUT ROWID;
CREATE INDEX stay_audience ON stay (conversation, ifnull(until_rev, 9223372036854775807));

-- Members known from before there were stays hear what comes from now on.
INSERT INTO stay (conversation, person, after_rev)
SELECT conversation, person, max(ifnull((SELECT max(id) FROM message), 0),
                                 ifnull((SELECT max(late) FROM message WHERE late IS NOT NULL), 0))
FROM participation WHERE member = 1;
UPDATE conversation SET audience = 1 WHERE id IN (SELECT conversation FROM stay);

-- What somebody is a member of, with or without messages.
CREATE INDEX participation_member ON participation (person, conversation) WHERE member = 1;

-- Recovered messages of a conversation by the revision of their recovery: they are out of the order of ids.
CREATE INDEX message_late_there ON message (conversation, late) WHERE late IS NOT NULL;
