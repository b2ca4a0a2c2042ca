-- Daemons, and the number each has: less than 1024. One file has one daemon at a time, but may see several in its life.
CREATE TABLE node (
    daemon  TEXT    PRIMARY KEY,
    number  INTEGER NOT NULL UNIQUE,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
