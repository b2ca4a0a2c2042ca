//! What is moved: every table, column by column.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Flag,
    Text,
    Bytes,
}

use Kind::{Bytes, Flag, Number, Text};

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name on both sides.
    pub name: &'static str,
    /// Where its rows come from in SQLite: what follows FROM.
    pub from: &'static str,
    /// The columns: in Postgres, in SQLite, and what they hold.
    pub columns: &'static [(&'static str, &'static str, Kind)],
    /// The columns by which the rows are ordered in SQLite, by their places.
    pub key: &'static [usize],
    /// Which rows are moved, on both sides.
    pub only: &'static str,
}

const ALL: &str = "true";
/// What a transfer itself keeps stays out.
const NO_MARK: &str = "NOT (instance = 0 AND key IN ('transfer', 'database_id'))";

macro_rules! of_conversation {
    ($table:literal) => {
        concat!($table, " AS t CROSS JOIN conversation AS c ON c.id = t.conversation")
    };
}

/// All of them.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "instance",
        from: "instance AS t",
        columns: &[
            ("id", "t.id", Number),
            ("name", "t.name", Text),
            ("messages", "t.messages", Number),
            ("conversations", "t.conversations", Number),
            ("people", "t.people", Number),
            ("parked", "t.parked", Number),
            ("media_pending", "t.media_pending", Number),
            ("media_stored", "t.media_stored", Number),
            ("media_parked", "t.media_parked", Number),
            ("blobs", "t.blobs", Number),
            ("bytes", "t.bytes", Number),
        ],
        key: &[0],
        only: ALL,
    },
    Table {
        name: "word",
        from: "word AS t",
        columns: &[("id", "t.id", Number), ("word", "t.word", Text)],
        key: &[0],
        only: ALL,
    },
    Table {
        name: "person",
        from: "person AS t",
        columns: &[
            ("instance", "t.instance", Number),
            ("id", "t.id", Number),
            ("native_id", "t.native_id", Text),
            ("kind", "t.kind", Text),
            ("name", "t.name", Text),
            ("folded", "t.folded", Text),
            ("avatar", "t.avatar", Text),
            ("attributes", "t.attributes", Text),
        ],
        key: &[1],
        only: ALL,
    },
    Table {
        name: "conversation",
        from: "conversation AS t",
        columns: &[
            ("instance", "t.instance", Number),
            ("id", "t.id", Number),
            ("native_id", "t.native_id", Text),
            ("partition", "t.partition", Text),
            ("kind", "t.kind", Number),
            ("pair", "t.pair", Flag),
            ("title", "t.title", Text),
            ("folded", "t.folded", Text),
            ("owner", "t.owner", Text),
            ("attributes", "t.attributes", Text),
            ("messages", "t.messages", Number),
            ("last_seq", "t.last_seq", Number),
            ("last_at", "t.last_at", Number),
            ("last_id", "t.last_id", Number),
            ("own_order", "t.own_order", Flag),
            ("archived", "t.archived", Flag),
            ("deleted", "t.deleted", Flag),
            ("audience", "t.audience", Number),
        ],
        key: &[1],
        only: ALL,
    },
    Table {
        name: "participation",
        from: of_conversation!("participation"),
        columns: &[
            ("instance", "c.instance", Number),
            ("conversation", "t.conversation", Number),
            ("person", "t.person", Number),
            ("kind", "t.kind", Number),
            ("seen", "t.seen", Flag),
            ("member", "t.member", Flag),
            ("day", "t.day", Number),
            ("label", "t.label", Text),
        ],
        key: &[1, 2],
        only: ALL,
    },
    Table {
        name: "listed",
        from: "listed AS t CROSS JOIN person AS p ON p.id = t.person",
        columns: &[
            ("instance", "p.instance", Number),
            ("person", "t.person", Number),
            ("kind", "t.kind", Number),
            ("n", "t.n", Number),
        ],
        key: &[1, 2],
        only: ALL,
    },
    Table {
        name: "stay",
        from: of_conversation!("stay"),
        columns: &[
            ("instance", "c.instance", Number),
            ("conversation", "t.conversation", Number),
            ("person", "t.person", Number),
            ("after_rev", "t.after_rev", Number),
            ("until_rev", "t.until_rev", Number),
            ("joined_at", "t.joined_at", Number),
            ("left_at", "t.left_at", Number),
        ],
        key: &[1, 2, 3],
        only: ALL,
    },
    Table {
        name: "message",
        from: "message AS t",
        columns: &[
            ("instance", "t.instance", Number),
            ("id", "t.id", Number),
            ("rev", "ifnull(t.late, t.id)", Number),
            ("conversation", "t.conversation", Number),
            ("seq", "t.seq", Number),
            ("sender", "t.sender", Number),
            ("sent_at", "t.sent_at", Number),
            ("kind", "t.kind", Number),
            ("expires_at", "t.expires_at", Number),
            ("revoked_at", "t.revoked_at", Number),
            ("revoked_by", "t.revoked_by", Text),
            ("native_id", "t.native_id", Text),
            ("client_id", "t.client_id", Text),
            ("recipients", "t.recipients", Bytes),
            ("labels", "t.labels", Text),
            ("text", "t.text", Text),
            ("body", "t.body", Bytes),
        ],
        key: &[1],
        only: ALL,
    },
    Table {
        name: "message_by_seq",
        from: of_conversation!("message_by_seq"),
        columns: &[
            ("instance", "c.instance", Number),
            ("conversation", "t.conversation", Number),
            ("kind", "t.kind", Number),
            ("seq", "t.seq", Number),
            ("id", "t.id", Number),
            ("sent_at", "t.sent_at", Number),
        ],
        key: &[1, 2, 3, 4],
        only: ALL,
    },
    Table { name: "tally", from: of_conversation!("tally"), columns: COUNTERS, key: &[1, 2, 3], only: ALL },
    Table { name: "expiring", from: of_conversation!("expiring"), columns: COUNTERS, key: &[1, 2, 3], only: ALL },
    // SQLite counts them over all instances.
    Table {
        name: "day_total",
        from: "(SELECT instance, sent_at / 86400000000 - (sent_at % 86400000000 < 0) AS day, count(*) AS n FROM message \
               WHERE text <> '' GROUP BY 1, 2) AS t",
        columns: &[("instance", "t.instance", Number), ("day", "t.day", Number), ("n", "t.n", Number)],
        key: &[0, 1],
        only: ALL,
    },
    Table {
        name: "cursor",
        from: "cursor AS t",
        columns: &[
            ("instance", "t.instance", Number),
            ("stream", "t.stream", Text),
            ("partition", "t.partition", Text),
            ("value", "t.value", Bytes),
            ("at", "t.at", Number),
        ],
        key: &[0, 1, 2],
        only: ALL,
    },
    Table {
        name: "reached",
        from: "reached AS t",
        columns: &[("instance", "t.instance", Number), ("partition", "t.partition", Text), ("seq", "t.seq", Number)],
        key: &[0, 1],
        only: ALL,
    },
    Table {
        name: "parked",
        from: "parked AS t",
        columns: &[
            ("instance", "t.instance", Number),
            ("reserved", "t.reserved", Number),
            ("partition", "t.partition", Text),
            ("native_id", "t.native_id", Text),
            ("since", "t.since", Number),
            ("attempts", "t.attempts", Number),
            ("reason", "t.reason", Text),
            ("envelope", "t.envelope", Bytes),
        ],
        key: &[1],
        only: ALL,
    },
    Table {
        name: "revocation",
        from: "revocation AS t",
        columns: &[
            ("instance", "t.instance", Number),
            ("native_id", "t.native_id", Text),
            ("revoked_by", "t.revoked_by", Text),
            ("revoked_at", "t.revoked_at", Number),
        ],
        key: &[0, 1],
        only: ALL,
    },
    Table {
        name: "media",
        from: "media AS t",
        columns: &[
            ("instance", "t.instance", Number),
            ("id", "t.id", Number),
            ("partition", "t.partition", Text),
            ("handle", "t.handle", Text),
            ("kind", "t.kind", Text),
            ("name", "t.name", Text),
            ("size", "t.size", Number),
            ("md5", "t.md5", Text),
            ("deadline", "ifnull(t.deadline, 9223372036854775807)", Number),
            ("state", "t.state", Number),
            ("attempts", "t.attempts", Number),
            ("retry_at", "t.retry_at", Number),
            ("blob", "t.blob", Text),
            ("lost", "t.lost", Flag),
            ("note", "t.note", Text),
        ],
        key: &[1],
        only: ALL,
    },
    Table {
        name: "blob",
        from: "blob AS t",
        columns: &[
            ("md5", "t.md5", Text),
            ("size", "t.size", Number),
            ("mime", "t.mime", Text),
            ("extension", "t.extension", Text),
            ("at", "t.at", Number),
        ],
        key: &[0],
        only: ALL,
    },
    Table {
        name: "blob_use",
        from: "blob_use AS t",
        columns: &[("instance", "t.instance", Number), ("md5", "t.md5", Text)],
        key: &[0, 1],
        only: ALL,
    },
    Table {
        name: "message_media",
        from: "message_media AS t CROSS JOIN message AS m ON m.id = t.message",
        columns: &[
            ("instance", "m.instance", Number),
            ("message", "t.message", Number),
            ("position", "t.position", Number),
            ("media", "t.media", Number),
        ],
        key: &[1, 2],
        only: ALL,
    },
    Table {
        name: "job",
        from: "job AS t",
        columns: &[
            ("instance", "t.instance", Text),
            ("kind", "t.kind", Text),
            ("partition", "t.partition", Text),
            ("pattern", "t.pattern", Text),
            ("zone", "t.zone", Text),
            ("defined_at", "t.defined_at", Number),
            ("last_due", "t.last_due", Number),
            ("failures", "t.failures", Number),
            ("retry_at", "t.retry_at", Number),
            ("lease_owner", "t.lease_owner", Text),
            ("lease_until", "t.lease_until", Number),
            ("fence", "t.fence", Number),
            ("asked", "t.asked", Number),
        ],
        key: &[0, 1, 2],
        only: ALL,
    },
    Table {
        name: "run",
        from: "run AS t",
        columns: &[
            ("instance", "t.instance", Text),
            ("id", "t.id", Number),
            ("kind", "t.kind", Text),
            ("partition", "t.partition", Text),
            ("owner", "t.owner", Text),
            ("trigger", "t.\"trigger\"", Text),
            ("started_at", "t.started_at", Number),
            ("finished_at", "t.finished_at", Number),
            ("outcome", "t.outcome", Text),
            ("report", "t.report", Text),
        ],
        key: &[1],
        only: ALL,
    },
    Table {
        name: "state",
        from: "state AS t",
        columns: &[("instance", "t.instance", Number), ("key", "t.key", Text), ("value", "t.value", Bytes)],
        key: &[0, 1],
        only: NO_MARK,
    },
    Table {
        name: "node",
        from: "node AS t",
        columns: &[("daemon", "t.daemon", Text), ("number", "t.number", Number), ("seen_at", "t.seen_at", Number)],
        key: &[0],
        only: ALL,
    },
    Table {
        name: "ledger",
        from: "ledger AS t",
        columns: &[
            ("instance", "t.instance", Number),
            ("id", "t.id", Number),
            ("partition", "t.partition", Text),
            ("stream", "t.stream", Text),
            ("at", "t.at", Number),
            ("first_rev", "t.first_rev", Number),
            ("last_rev", "t.last_rev", Number),
            ("messages", "t.messages", Number),
            ("hash", "t.hash", Bytes),
        ],
        key: &[1],
        only: ALL,
    },
];

/// Of `tally` and `expiring`.
const COUNTERS: &[(&str, &str, Kind)] = &[
    ("instance", "c.instance", Number),
    ("conversation", "t.conversation", Number),
    ("day", "t.day", Number),
    ("kind", "t.kind", Number),
    ("n", "t.n", Number),
];

#[cfg(test)]
mod tests {
    use super::TABLES;
    use std::collections::BTreeSet;

    /// Those of both schemas but what is made when they are, and the rows that are numbers of the whole.
    #[test]
    fn every_table_is_moved() {
        let made = |folder: &str| -> BTreeSet<String> {
            let folder = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let files = std::fs::read_dir(folder).expect("migrations").flatten();
            let texts: Vec<String> = files.map(|file| std::fs::read_to_string(file.path()).expect("text")).collect();
            let tables = texts.iter().flat_map(|text| text.split("CREATE TABLE ").skip(1));
            tables.filter_map(|rest| Some(rest.split([' ', '(']).next()?.to_owned())).collect()
        };
        let moved: BTreeSet<String> = TABLES.iter().map(|table| table.name.to_owned()).collect();
        let whole = |name: &str| BTreeSet::from([name.to_owned(), "blob_total".to_owned()]);
        assert_eq!(&made("sqlite") - &moved, BTreeSet::from(["blob_total".to_owned()]));
        assert_eq!(&made("postgres") - &moved, whole("head"));
        assert_eq!(moved.len(), TABLES.len());
    }
}
