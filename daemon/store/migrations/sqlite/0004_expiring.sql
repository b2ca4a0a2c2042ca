-- Messages that expire, per conversation, UTC day they do, and kind: what has expired is counted like what there is.
CREATE TABLE expiring (
    conversation INTEGER NOT NULL,
    day          INTEGER NOT NULL,             -- days since 1970
    kind         INTEGER NOT NULL,
    n            INTEGER NOT NULL,
    PRIMARY KEY (conversation, day, kind)
) STRICT, WITHOUT ROWID;

-- Division rounds towards 1970.
INSERT INTO expiring (conversation, day, kind, n)
SELECT conversation, expires_at / 86400000000 - (expires_at % 86400000000 < 0) AS day, kind, count(*)
FROM message INDEXED BY message_expiring WHERE expires_at IS NOT NULL GROUP BY 1, 2, 3;
