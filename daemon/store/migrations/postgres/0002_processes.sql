-- Which process of a daemon was heard last. None in the first second of a daemon, or of an earlier version.
ALTER TABLE node ADD COLUMN process text COLLATE "C" NOT NULL DEFAULT '';
