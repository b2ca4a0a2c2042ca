-- What messages are found and told apart by besides their native ids, and how far partitions are archived.

-- The sender's own ids. A message that is to be stored once is looked up by all four; whoever asks by client id alone gets a
-- range of the same index.
CREATE INDEX message_client ON message (instance, client_id, conversation, sender) WHERE client_id IS NOT NULL;

-- What has expired by a moment: few sources let anything expire, and a conversation in which nothing has is asked as before.
CREATE INDEX message_expiring ON message (conversation, expires_at, kind, sent_at) WHERE expires_at IS NOT NULL;

-- Up to which number a partition is archived, as pages said; the greatest that was said.
CREATE TABLE reached (
    instance  INTEGER NOT NULL REFERENCES instance (id),
    partition TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    PRIMARY KEY (instance, partition)
) STRICT, WITHOUT ROWID;
