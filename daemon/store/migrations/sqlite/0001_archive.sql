-- The archive, first edition. How it is meant to be read:
--
-- * Natural keys begin with the instance. Surrogate ids of people, conversations and messages are unique over all
--   instances, so an index that begins with one of them is confined to an instance already.
-- * Ids are given by the single writer, ascending, with no help of AUTOINCREMENT. Messages and revisions share one
--   counter: a message that was readable at once has id = revision and `late` NULL; one whose envelope was parked has the
--   id reserved then and, in `late`, the revision of its recovery. So the feed needs no index of its own.
-- * The big tables declare no foreign keys: the writer interns every id in the transaction that uses it, and four
--   look-ups per message would only tell it what it knows.
-- * Counters are moved in the transaction that moves what they count.

CREATE TABLE instance (
    id            INTEGER PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    messages      INTEGER NOT NULL DEFAULT 0,
    conversations INTEGER NOT NULL DEFAULT 0, -- with at least one message
    people        INTEGER NOT NULL DEFAULT 0,
    parked        INTEGER NOT NULL DEFAULT 0,
    media_pending INTEGER NOT NULL DEFAULT 0,
    media_stored  INTEGER NOT NULL DEFAULT 0,
    media_parked  INTEGER NOT NULL DEFAULT 0,
    blobs         INTEGER NOT NULL DEFAULT 0, -- different contents
    bytes         INTEGER NOT NULL DEFAULT 0  -- of all of them
) STRICT;

-- Kinds of messages and of conversations, as small numbers.
CREATE TABLE word (
    id   INTEGER PRIMARY KEY,
    word TEXT    NOT NULL UNIQUE
) STRICT;

CREATE TABLE person (
    id         INTEGER PRIMARY KEY,
    instance   INTEGER NOT NULL REFERENCES instance (id),
    native_id  TEXT    NOT NULL,
    kind       TEXT,                           -- NULL until described
    name       TEXT    NOT NULL DEFAULT '',
    folded     TEXT    NOT NULL DEFAULT '',    -- what it is found by: the name, or else the end of the id; letter case aside
    avatar     TEXT    NOT NULL DEFAULT '',
    attributes TEXT,
    UNIQUE (instance, native_id)
) STRICT;

CREATE TABLE conversation (
    id         INTEGER PRIMARY KEY,
    instance   INTEGER NOT NULL REFERENCES instance (id),
    native_id  TEXT    NOT NULL,
    partition  TEXT    NOT NULL,
    kind       INTEGER NOT NULL,               -- word
    pair       INTEGER NOT NULL,               -- 1: shown under the name of the other one
    title      TEXT    NOT NULL DEFAULT '',
    folded     TEXT    NOT NULL DEFAULT '',    -- the same of the title
    owner      TEXT    NOT NULL DEFAULT '',    -- native id
    attributes TEXT,
    messages   INTEGER NOT NULL DEFAULT 0,
    last_seq   INTEGER NOT NULL DEFAULT 0,     -- greatest seq given or seen
    last_at    INTEGER NOT NULL DEFAULT (-9223372036854775807 - 1),
    last_id    INTEGER NOT NULL DEFAULT 0,     -- latest message by (sent_at, id); 0: none
    own_order  INTEGER NOT NULL DEFAULT 0,     -- 1: the order by seq is not that by id; see message_by_seq
    UNIQUE (instance, native_id)
) STRICT;

-- Who takes part in what: seen as sender or recipient, or told to be a member. The day of the conversation's latest
-- message is repeated here, so that a person's list is a range of one index; the day and not the time, so that a row is
-- rewritten once a day and not with every message. The order within a day is the conversation's. The name a list is
-- filtered by is repeated too.
CREATE TABLE participation (
    conversation INTEGER NOT NULL,
    person       INTEGER NOT NULL,
    kind         INTEGER NOT NULL,             -- the conversation's
    seen         INTEGER NOT NULL,
    member       INTEGER NOT NULL,
    day          INTEGER,                      -- days since 1970, UTC; NULL: no message yet
    label        TEXT    NOT NULL DEFAULT '',  -- folded name of the other one, or folded title
    PRIMARY KEY (conversation, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX participation_list ON participation (person, kind, day, conversation, label);

-- How many conversations with messages a person takes part in, per kind.
CREATE TABLE listed (
    person INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (person, kind)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER participation_listed_new AFTER INSERT ON participation WHEN new.day IS NOT NULL BEGIN
    INSERT INTO listed (person, kind, n) VALUES (new.person, new.kind, 1)
    ON CONFLICT (person, kind) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER participation_listed_first AFTER UPDATE OF day ON participation
WHEN old.day IS NULL AND new.day IS NOT NULL BEGIN
    INSERT INTO listed (person, kind, n) VALUES (new.person, new.kind, 1)
    ON CONFLICT (person, kind) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER participation_listed_elsewhere AFTER UPDATE OF kind ON participation
WHEN old.day IS NOT NULL AND old.kind <> new.kind BEGIN
    UPDATE listed SET n = n - 1 WHERE person = old.person AND kind = old.kind;
    INSERT INTO listed (person, kind, n) VALUES (new.person, new.kind, 1)
    ON CONFLICT (person, kind) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER participation_listed_gone AFTER DELETE ON participation WHEN old.day IS NOT NULL BEGIN
    UPDATE listed SET n = n - 1 WHERE person = old.person AND kind = old.kind;
END;

-- Narrow columns first, so that what the feed and the filters read is never behind a large body.
CREATE TABLE message (
    id           INTEGER PRIMARY KEY,
    instance     INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    sender       INTEGER,                      -- NULL: nobody
    sent_at      INTEGER NOT NULL,             -- microseconds since 1970, UTC
    kind         INTEGER NOT NULL,             -- word
    expires_at   INTEGER,
    late         INTEGER,                      -- revision, where it is not the id
    revoked_at   INTEGER,
    revoked_by   TEXT,                         -- native id
    native_id    TEXT    NOT NULL,
    client_id    TEXT,
    recipients   BLOB,                         -- ids of people, LEB128; NULL: nobody
    text         TEXT    NOT NULL,
    body         BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX message_native ON message (instance, native_id);
-- One range per kind: a rare kind is found among millions of others without passing over them, and all kinds of a
-- conversation are a few ranges merged. The time rides along where the order is another, so that a filter never touches
-- the rows it passes over.
CREATE INDEX message_by_time ON message (conversation, kind, sent_at, id);
CREATE INDEX message_by_id ON message (conversation, kind, id, sent_at);
CREATE INDEX message_late ON message (late) WHERE late IS NOT NULL;

-- The order by number, of conversations whose numbers do not ascend with the ids (conversation.own_order): few sources
-- number in another order than they tell, and an index of all messages for their sake would be the fifth to keep.
CREATE TABLE message_by_seq (
    conversation INTEGER NOT NULL,
    kind         INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    id           INTEGER NOT NULL,
    sent_at      INTEGER NOT NULL,
    PRIMARY KEY (conversation, kind, seq, id)
) STRICT, WITHOUT ROWID;

-- Messages per conversation, UTC day they were sent, and kind: exact totals without counting rows.
CREATE TABLE tally (
    conversation INTEGER NOT NULL,
    day          INTEGER NOT NULL,             -- days since 1970
    kind         INTEGER NOT NULL,
    n            INTEGER NOT NULL,
    PRIMARY KEY (conversation, day, kind)
) STRICT, WITHOUT ROWID;

-- Messages with a text per UTC day, over all instances: what an index is reconciled with.
CREATE TABLE day_total (
    day INTEGER PRIMARY KEY,
    n   INTEGER NOT NULL
) STRICT;

CREATE TABLE cursor (
    instance  INTEGER NOT NULL REFERENCES instance (id),
    stream    TEXT    NOT NULL,
    partition TEXT    NOT NULL,
    value     BLOB    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (instance, stream, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE parked (
    reserved  INTEGER PRIMARY KEY,             -- id of the message to come
    instance  INTEGER NOT NULL REFERENCES instance (id),
    partition TEXT    NOT NULL,
    native_id TEXT    NOT NULL,
    since     INTEGER NOT NULL,
    attempts  INTEGER NOT NULL DEFAULT 0,
    reason    TEXT    NOT NULL,
    envelope  BLOB    NOT NULL,
    UNIQUE (instance, native_id)
) STRICT;
CREATE INDEX parked_in_order ON parked (instance, partition, reserved);

-- Revocations of messages that have not come yet.
CREATE TABLE revocation (
    instance   INTEGER NOT NULL REFERENCES instance (id),
    native_id  TEXT    NOT NULL,
    revoked_by TEXT    NOT NULL,
    revoked_at INTEGER NOT NULL,
    PRIMARY KEY (instance, native_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE media (
    id        INTEGER PRIMARY KEY,
    instance  INTEGER NOT NULL REFERENCES instance (id),
    partition TEXT    NOT NULL,
    handle    TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    name      TEXT,
    size      INTEGER,                         -- as announced, bytes
    md5       TEXT,                            -- as announced
    deadline  INTEGER,
    state     INTEGER NOT NULL DEFAULT 0,      -- 0 pending, 1 stored, 2 parked
    attempts  INTEGER NOT NULL DEFAULT 0,
    retry_at  INTEGER NOT NULL DEFAULT 0,
    blob      TEXT REFERENCES blob (md5),
    lost      INTEGER NOT NULL DEFAULT 0,      -- 1: parked because the source has no such file
    note      TEXT,                            -- the flaw of a stored file, the error of any other
    UNIQUE (instance, handle)
) STRICT;
CREATE INDEX media_due ON media (instance, ifnull(deadline, 9223372036854775807), id, retry_at) WHERE state = 0;
CREATE INDEX media_retry ON media (instance, retry_at) WHERE state = 0;
CREATE INDEX media_given_up ON media (instance, id) WHERE state = 2;

CREATE TABLE blob (
    md5       TEXT    PRIMARY KEY,
    size      INTEGER NOT NULL,
    mime      TEXT    NOT NULL,
    extension TEXT    NOT NULL,
    at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which instance has which content, so that each counts a content once.
CREATE TABLE blob_use (
    instance INTEGER NOT NULL,
    md5      TEXT    NOT NULL,
    PRIMARY KEY (instance, md5)
) STRICT, WITHOUT ROWID;

CREATE TABLE blob_total (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    blobs INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO blob_total (one, blobs, bytes) VALUES (1, 0, 0);

CREATE TABLE message_media (
    message  INTEGER NOT NULL,
    position INTEGER NOT NULL,
    media    INTEGER NOT NULL,
    PRIMARY KEY (message, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE job (
    instance    TEXT    NOT NULL,              -- names: jobs outlive and precede rows of the archive
    kind        TEXT    NOT NULL,
    partition   TEXT    NOT NULL,
    pattern     TEXT    NOT NULL,
    zone        TEXT    NOT NULL,
    defined_at  INTEGER NOT NULL,
    last_due    INTEGER,
    failures    INTEGER NOT NULL DEFAULT 0,
    retry_at    INTEGER,
    lease_owner TEXT,
    lease_until INTEGER,
    fence       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (instance, kind, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    id          INTEGER PRIMARY KEY,
    instance    TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    partition   TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    "trigger"   TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    outcome     TEXT    NOT NULL,
    report      TEXT    NOT NULL               -- JSON
) STRICT;
CREATE INDEX run_of_job ON run (instance, kind, partition, id);
CREATE INDEX run_of_instance ON run (instance, id);
CREATE INDEX run_open ON run (owner) WHERE outcome = 'running';

CREATE TABLE state (
    instance INTEGER NOT NULL,                 -- 0: the daemon's own
    key      TEXT    NOT NULL,
    value    BLOB    NOT NULL,
    PRIMARY KEY (instance, key)
) STRICT, WITHOUT ROWID;

-- One row per page that brought messages: hash = SHA-256 over the previous row's hash and the page. See sqlite/ledger.rs.
CREATE TABLE ledger (
    id        INTEGER PRIMARY KEY,
    instance  INTEGER NOT NULL,
    partition TEXT    NOT NULL,
    stream    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    first_rev INTEGER NOT NULL,
    last_rev  INTEGER NOT NULL,
    messages  INTEGER NOT NULL,
    hash      BLOB    NOT NULL
) STRICT;
