-- The archive in Postgres, first edition. What the tables mean is said in ../sqlite; what is different here, and why:
--
-- * The instance is the first column of every key of what belongs to an instance, and every statement names it: so a table can be
--   distributed by it (Citus), or partitioned by it, and no unique key spans instances. Ids are unique over all instances all the same.
-- * Nothing is given by a sequence. All numbers come from the one row of `head`, which whoever commits holds until the end: so
--   commits of all daemons come one after the other, and what can be read is always a beginning of the order of revisions.
-- * No unique index is partial or over an expression, no trigger and no function is needed: not every server that speaks like Postgres has them.
-- * Texts that are compared or ordered are so byte by byte (COLLATE "C"), as in SQLite. What a text of Postgres cannot hold is
--   written otherwise, see ../../src/postgres/text.rs.
-- * What SQLite's triggers do is done by the statements of the way in: `listed` moves with `participation`.

CREATE TABLE head (
    one               integer PRIMARY KEY CHECK (one = 1),
    version           bigint NOT NULL,             -- grows with every transaction that gives numbers
    next_id           bigint NOT NULL,             -- of messages, and revisions: they share a counter
    last_rev          bigint NOT NULL,
    next_person       bigint NOT NULL,
    next_conversation bigint NOT NULL,
    next_media        bigint NOT NULL,
    next_word         bigint NOT NULL,
    next_instance     bigint NOT NULL,
    next_page         bigint NOT NULL,             -- of the ledger
    next_run          bigint NOT NULL,
    parked            bigint NOT NULL,             -- over all instances: nothing is looked up while there are none
    revocations       bigint NOT NULL,             -- the same
    hash              bytea  NOT NULL              -- the ledger's latest
);
INSERT INTO head VALUES (1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE instance (
    id            bigint PRIMARY KEY,
    name          text   COLLATE "C" NOT NULL UNIQUE,
    messages      bigint NOT NULL DEFAULT 0,
    conversations bigint NOT NULL DEFAULT 0,
    people        bigint NOT NULL DEFAULT 0,
    parked        bigint NOT NULL DEFAULT 0,
    media_pending bigint NOT NULL DEFAULT 0,
    media_stored  bigint NOT NULL DEFAULT 0,
    media_parked  bigint NOT NULL DEFAULT 0,
    blobs         bigint NOT NULL DEFAULT 0,
    bytes         bigint NOT NULL DEFAULT 0
);

CREATE TABLE word (
    id   bigint PRIMARY KEY,
    word text   COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE person (
    instance   bigint NOT NULL,
    id         bigint NOT NULL,
    native_id  text   COLLATE "C" NOT NULL,
    kind       text,
    name       text   NOT NULL DEFAULT '',
    folded     text   COLLATE "C" NOT NULL DEFAULT '',
    avatar     text   NOT NULL DEFAULT '',
    attributes text,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, native_id)
);

CREATE TABLE conversation (
    instance   bigint  NOT NULL,
    id         bigint  NOT NULL,
    native_id  text    COLLATE "C" NOT NULL,
    partition  text    COLLATE "C" NOT NULL,
    kind       bigint  NOT NULL,
    pair       boolean NOT NULL,
    title      text    NOT NULL DEFAULT '',
    folded     text    COLLATE "C" NOT NULL DEFAULT '',
    owner      text    NOT NULL DEFAULT '',
    attributes text,
    messages   bigint  NOT NULL DEFAULT 0,
    last_seq   bigint  NOT NULL DEFAULT 0,
    last_at    bigint  NOT NULL DEFAULT (-9223372036854775807 - 1),
    last_id    bigint  NOT NULL DEFAULT 0,
    own_order  boolean NOT NULL DEFAULT false,
    archived   boolean NOT NULL DEFAULT false,
    deleted    boolean NOT NULL DEFAULT false,
    audience   bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, native_id)
);

CREATE TABLE participation (
    instance     bigint  NOT NULL,
    conversation bigint  NOT NULL,
    person       bigint  NOT NULL,
    kind         bigint  NOT NULL,
    seen         boolean NOT NULL,
    member       boolean NOT NULL,
    day          bigint,
    label        text    COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (instance, conversation, person)
);
CREATE INDEX participation_list ON participation (instance, person, kind, day, conversation);
CREATE INDEX participation_member ON participation (instance, person, conversation) WHERE member;

CREATE TABLE listed (
    instance bigint NOT NULL,
    person   bigint NOT NULL,
    kind     bigint NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (instance, person, kind)
);

CREATE TABLE stay (
    instance     bigint NOT NULL,
    conversation bigint NOT NULL,
    person       bigint NOT NULL,
    after_rev    bigint NOT NULL,
    until_rev    bigint,
    joined_at    bigint,
    left_at      bigint,
    PRIMARY KEY (instance, conversation, person, after_rev)
);
CREATE INDEX stay_audience ON stay (instance, conversation, until_rev);

CREATE TABLE message (
    instance     bigint NOT NULL,
    id           bigint NOT NULL,
    rev          bigint NOT NULL,                  -- the id, unless the message was recovered later
    conversation bigint NOT NULL,
    seq          bigint NOT NULL,
    sender       bigint,
    sent_at      bigint NOT NULL,
    kind         bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    revoked_by   text,
    native_id    text   COLLATE "C" NOT NULL,
    client_id    text   COLLATE "C",
    recipients   bytea,
    labels       text,
    text         text   NOT NULL,
    body         bytea  NOT NULL,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, native_id)
);
CREATE INDEX message_by_rev ON message (instance, rev);
CREATE INDEX message_by_time ON message (instance, conversation, kind, sent_at, id);
CREATE INDEX message_by_id ON message (instance, conversation, kind, id, sent_at);
CREATE INDEX message_late ON message (instance, conversation, rev) WHERE rev <> id;
CREATE INDEX message_client ON message (instance, client_id, conversation, sender, id) WHERE client_id IS NOT NULL;
CREATE INDEX message_expiring ON message (instance, conversation, expires_at, kind, sent_at) WHERE expires_at IS NOT NULL;

CREATE TABLE message_by_seq (
    instance     bigint NOT NULL,
    conversation bigint NOT NULL,
    kind         bigint NOT NULL,
    seq          bigint NOT NULL,
    id           bigint NOT NULL,
    sent_at      bigint NOT NULL,
    PRIMARY KEY (instance, conversation, kind, seq, id)
);

CREATE TABLE tally (
    instance     bigint NOT NULL,
    conversation bigint NOT NULL,
    day          bigint NOT NULL,
    kind         bigint NOT NULL,
    n            bigint NOT NULL,
    PRIMARY KEY (instance, conversation, day, kind)
);

CREATE TABLE expiring (
    instance     bigint NOT NULL,
    conversation bigint NOT NULL,
    day          bigint NOT NULL,
    kind         bigint NOT NULL,
    n            bigint NOT NULL,
    PRIMARY KEY (instance, conversation, day, kind)
);

CREATE TABLE day_total (
    instance bigint NOT NULL,
    day      bigint NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (instance, day)
);

CREATE TABLE cursor (
    instance  bigint NOT NULL,
    stream    text   COLLATE "C" NOT NULL,
    partition text   COLLATE "C" NOT NULL,
    value     bytea  NOT NULL,
    at        bigint NOT NULL,
    PRIMARY KEY (instance, stream, partition)
);

CREATE TABLE reached (
    instance  bigint NOT NULL,
    partition text   COLLATE "C" NOT NULL,
    seq       bigint NOT NULL,
    PRIMARY KEY (instance, partition)
);

CREATE TABLE parked (
    instance  bigint NOT NULL,
    reserved  bigint NOT NULL,
    partition text   COLLATE "C" NOT NULL,
    native_id text   COLLATE "C" NOT NULL,
    since     bigint NOT NULL,
    attempts  bigint NOT NULL DEFAULT 0,
    reason    text   NOT NULL,
    envelope  bytea  NOT NULL,
    PRIMARY KEY (instance, reserved),
    UNIQUE (instance, native_id)
);
CREATE INDEX parked_in_order ON parked (instance, partition, reserved);

CREATE TABLE revocation (
    instance   bigint NOT NULL,
    native_id  text   COLLATE "C" NOT NULL,
    revoked_by text   NOT NULL,
    revoked_at bigint NOT NULL,
    PRIMARY KEY (instance, native_id)
);

CREATE TABLE media (
    instance  bigint  NOT NULL,
    id        bigint  NOT NULL,
    partition text    COLLATE "C" NOT NULL,
    handle    text    COLLATE "C" NOT NULL,
    kind      text    NOT NULL,
    name      text,
    size      bigint,
    md5       text,
    deadline  bigint  NOT NULL,                    -- the greatest number where the source has it for ever
    state     bigint  NOT NULL DEFAULT 0,          -- 0 pending, 1 stored, 2 parked
    attempts  bigint  NOT NULL DEFAULT 0,
    retry_at  bigint  NOT NULL DEFAULT 0,
    blob      text    COLLATE "C",
    lost      boolean NOT NULL DEFAULT false,
    note      text,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, handle)
);
CREATE INDEX media_due ON media (instance, deadline, id, retry_at) WHERE state = 0;
CREATE INDEX media_retry ON media (instance, retry_at) WHERE state = 0;
CREATE INDEX media_given_up ON media (instance, id) WHERE state = 2;

-- Contents are stored once for all instances, so they belong to none.
CREATE TABLE blob (
    md5       text   COLLATE "C" PRIMARY KEY,
    size      bigint NOT NULL,
    mime      text   NOT NULL,
    extension text   NOT NULL,
    at        bigint NOT NULL
);

CREATE TABLE blob_use (
    instance bigint NOT NULL,
    md5      text   COLLATE "C" NOT NULL,
    PRIMARY KEY (instance, md5)
);

CREATE TABLE blob_total (
    one   integer PRIMARY KEY CHECK (one = 1),
    blobs bigint NOT NULL,
    bytes bigint NOT NULL
);
INSERT INTO blob_total (one, blobs, bytes) VALUES (1, 0, 0);

CREATE TABLE message_media (
    instance bigint NOT NULL,
    message  bigint NOT NULL,
    position bigint NOT NULL,
    media    bigint NOT NULL,
    PRIMARY KEY (instance, message, position)
);

-- Names, not ids: jobs outlive and precede rows of the archive.
CREATE TABLE job (
    instance    text   COLLATE "C" NOT NULL,
    kind        text   COLLATE "C" NOT NULL,
    partition   text   COLLATE "C" NOT NULL,
    pattern     text   NOT NULL,
    zone        text   NOT NULL,
    defined_at  bigint NOT NULL,
    last_due    bigint,
    failures    bigint NOT NULL DEFAULT 0,
    retry_at    bigint,
    lease_owner text,
    lease_until bigint,
    fence       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (instance, kind, partition)
);

CREATE TABLE run (
    instance    text   COLLATE "C" NOT NULL,
    id          bigint NOT NULL,
    kind        text   COLLATE "C" NOT NULL,
    partition   text   COLLATE "C" NOT NULL,
    owner       text   COLLATE "C" NOT NULL,
    trigger     text   NOT NULL,
    started_at  bigint NOT NULL,
    finished_at bigint,
    outcome     text   NOT NULL,
    report      text   NOT NULL,
    PRIMARY KEY (instance, id)
);
CREATE INDEX run_of_job ON run (instance, kind, partition, id);
CREATE INDEX run_open ON run (instance, owner) WHERE outcome = 'running';

CREATE TABLE state (
    instance bigint NOT NULL,
    key      text   COLLATE "C" NOT NULL,
    value    bytea  NOT NULL,
    PRIMARY KEY (instance, key)
);

CREATE TABLE ledger (
    instance  bigint NOT NULL,
    id        bigint NOT NULL,                     -- ascending over all instances: one chain
    partition text   COLLATE "C" NOT NULL,
    stream    text   NOT NULL,
    at        bigint NOT NULL,
    first_rev bigint NOT NULL,
    last_rev  bigint NOT NULL,
    messages  bigint NOT NULL,
    hash      bytea  NOT NULL,
    PRIMARY KEY (instance, id)
);

-- Daemons, and the number each has: less than 1024.
CREATE TABLE node (
    daemon  text    COLLATE "C" PRIMARY KEY,
    number  integer NOT NULL UNIQUE,
    seen_at bigint  NOT NULL
);
