-- By what a search finds a message exactly: a JSON array, ascending, each once; NULL: none. It stands behind the body, so to read it
-- of a long message costs a walk along that; whoever follows the archive does so once, and a message without any ends before.
ALTER TABLE message ADD COLUMN labels TEXT;
