//! What is the SQLite file's own: who may open it, what it can prove, and that readers do not wait.

mod common;

use bytes::Bytes;
use common::options;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::path::Path;
use stele_archive::model::{Conversation, Message, Page};
use stele_archive::ops::{ConversationQuery, MessageOrder, MessageQuery};
use stele_archive::{ArchiveError, Commit, ConversationId, InstanceId, Live, MessageId, Pages, Queries, Rev, Stream};
use stele_store::SqliteArchive;

async fn open(path: &Path) -> SqliteArchive {
    SqliteArchive::open(path, &options()).await.expect("opens")
}

/// Run a statement behind the archive's back.
async fn tamper(path: &Path, sql: &str) {
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .expect("opens");
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect(sql);
    connection.close().await.expect("closes");
}

async fn say(archive: &SqliteArchive, instance: InstanceId, natives: &[&str]) {
    let messages = natives
        .iter()
        .enumerate()
        .map(|(at, native)| Message {
            native_id: (*native).to_owned(),
            conversation: "c".to_owned(),
            sender: "a".to_owned(),
            recipients: vec!["z".to_owned(), "b".to_owned()],
            sent_at: at as i64,
            kind: "text".to_owned(),
            text: format!("text of {native}"),
            labels: if *native == "m4" { vec!["to:z".to_owned(), "to:b".to_owned()] } else { Vec::new() },
            body: Bytes::from_static(b"{}"),
            ..Message::default()
        })
        .collect();
    let page = Page { messages, ..Page::default() };
    let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page: &page, now: 1 };
    archive.commit(commit).await.expect("stored");
}

#[tokio::test]
async fn the_file_of_another_program_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("other.db");
    tamper(&path, "CREATE TABLE theirs (x)").await;
    let refused = SqliteArchive::open(&path, &options()).await.expect_err("not ours");
    assert!(matches!(&refused, ArchiveError::Invalid(text) if text.contains("another program")), "{refused}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.db");
    open(&path).await.close().await.expect("closes");
    let newer = "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
                 VALUES (9999, 'from the future', '2099-01-01', 1, x'00', 0)";
    tamper(&path, newer).await;
    let refused = SqliteArchive::open(&path, &options()).await.expect_err("newer");
    assert!(matches!(&refused, ArchiveError::Invalid(text) if text.contains("newer stele (schema 9999")), "{refused}");
}

/// Whatever is in the archive, and whoever has counted it: plans are those that are tested, and nobody waits for a count.
#[tokio::test]
async fn nothing_is_counted_for_plans() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.db");
    let archive = open(&path).await;
    let instance = archive.instance("hq").await.expect("an instance");
    say(&archive, instance, &["m1", "m2"]).await;
    archive.close().await.expect("closes");
    tamper(&path, "ANALYZE").await;
    let archive = open(&path).await;
    archive.conversation(instance, "c").await.expect("answers");
    archive.close().await.expect("closes");
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.expect("opens");
    let counts = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'";
    let counts: i64 = sqlx::query_scalar(counts).fetch_one(&mut connection).await.expect("counts");
    assert_eq!(counts, 0);
}

#[tokio::test]
async fn members_of_before_hear_what_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.db");
    let archive = open(&path).await;
    let instance = archive.instance("hq").await.expect("an instance");
    say(&archive, instance, &["m1", "m2"]).await;
    let members = Some(vec!["b".to_owned(), "n".to_owned()]);
    let told = Conversation { native_id: "c".to_owned(), members, ..Conversation::default() };
    let page = Page { conversations: vec![told], ..Page::default() };
    let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page: &page, now: 1 };
    archive.commit(commit).await.expect("stored");
    archive.close().await.expect("closes");
    // As the first edition of the schema left it.
    for undo in [
        "DROP TABLE stay",
        "DROP INDEX participation_member",
        "DROP INDEX message_late_there",
        "DROP INDEX message_client",
        "DROP INDEX message_expiring",
        "DROP TABLE reached",
        "DROP TABLE expiring",
        "DROP TABLE node",
        "ALTER TABLE message DROP COLUMN labels",
        "ALTER TABLE job DROP COLUMN asked",
        "ALTER TABLE conversation DROP COLUMN archived",
        "ALTER TABLE conversation DROP COLUMN deleted",
        "ALTER TABLE conversation DROP COLUMN audience",
        "DELETE FROM _sqlx_migrations WHERE version > 1",
    ] {
        tamper(&path, undo).await;
    }
    let archive = open(&path).await;
    let conversation = archive.conversation(instance, "c").await.expect("answers").expect("is known");
    let audience = archive.audience(instance, ConversationId(conversation.id), Rev(0)).await.expect("answers");
    assert!(audience.version > 0);
    let stays: Vec<_> = audience.stays.iter().map(|stay| (stay.after, stay.until)).collect();
    assert_eq!(stays, [(Rev(2), None); 2]);
    assert_eq!(archive.verify_ledger(|_, _| {}).await.expect("verifies").broken, None);
}

#[tokio::test]
async fn what_expired_before_there_were_counters_is_counted() {
    const DAY: i64 = 86_400_000_000;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.db");
    let archive = open(&path).await;
    let instance = archive.instance("hq").await.expect("an instance");
    let ends = [i64::MIN + 1, -DAY - 1, -DAY, -1, 0, 1, DAY - 1, DAY, DAY, 5 * DAY, i64::MAX];
    let messages = ends.iter().enumerate().map(|(at, end)| Message {
        native_id: format!("m{at}"),
        conversation: "c".to_owned(),
        kind: format!("kind {}", at % 2),
        expires_at: Some(*end),
        ..Message::default()
    });
    let page = Page { messages: messages.collect(), ..Page::default() };
    let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page: &page, now: 1 };
    archive.commit(commit).await.expect("stored");
    archive.close().await.expect("closes");
    for undo in [
        "DROP TABLE expiring",
        "DROP TABLE node",
        "ALTER TABLE message DROP COLUMN labels",
        "ALTER TABLE job DROP COLUMN asked",
        "DELETE FROM _sqlx_migrations WHERE version > 3",
    ] {
        tamper(&path, undo).await;
    }
    let archive = open(&path).await;
    for then in ends.into_iter().chain([i64::MIN, -2 * DAY, DAY - 2, 3 * DAY]) {
        let left = ends.iter().filter(|end| **end > then).count();
        let (conversation, unexpired_at) = ("c".to_owned(), Some(then));
        let query = MessageQuery { conversation, unexpired_at, limit: 100, ..MessageQuery::default() };
        let found = archive.messages(instance, &query).await.expect("answers");
        assert_eq!((found.rows.len(), found.total), (left, left as u64), "at {then}");
    }
}

#[tokio::test]
async fn who_comes_or_goes_moves_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.db");
    let archive = open(&path).await;
    let instance = archive.instance("hq").await.expect("an instance");
    let tell = async |joined: &[&str], left: &[&str], messages: Vec<Message>| {
        let names = |natives: &[&str]| natives.iter().map(|native| (*native).to_owned()).collect();
        let (joined, left) = (names(joined), names(left));
        let told = Conversation { native_id: "c".to_owned(), joined, left, ..Conversation::default() };
        let page = Page { conversations: vec![told], messages, ..Page::default() };
        let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page: &page, now: 1 };
        archive.commit(commit).await.expect("stored");
    };
    let from = |native: &str, sender: &str| Message {
        native_id: native.to_owned(),
        conversation: "c".to_owned(),
        sender: sender.to_owned(),
        kind: "text".to_owned(),
        ..Message::default()
    };
    let many: Vec<String> = (0..500).map(|at| format!("u{at}")).collect();
    tell(&many.iter().map(String::as_str).collect::<Vec<_>>(), &[], vec![from("m1", "u0")]).await;
    tamper(&path, "CREATE TABLE moved (person INTEGER)").await;
    tamper(
        &path,
        "CREATE TRIGGER moves AFTER UPDATE ON participation BEGIN INSERT INTO moved VALUES (new.person); END",
    )
    .await;
    tell(&["new"], &["u1"], vec![from("m2", "guest"), from("m3", "u2")]).await;
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.expect("opens");
    let moved: i64 = sqlx::query_scalar("SELECT count(DISTINCT person) FROM moved")
        .fetch_one(&mut connection)
        .await
        .expect("counts");
    assert!(moved <= 3, "{moved} people were moved");
    for (person, listed) in [("u0", 1), ("new", 1), ("guest", 1), ("u2", 1), ("u1", 0)] {
        let query = ConversationQuery { person: person.to_owned(), limit: 1, ..ConversationQuery::default() };
        assert_eq!(archive.conversations(instance, &query).await.expect("answers").total, listed, "{person}");
    }
}

#[tokio::test]
async fn a_closed_archive_is_unavailable_and_its_file_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.db");
    let archive = open(&path).await;
    let instance = archive.instance("hq").await.expect("an instance");
    say(&archive, instance, &["m1"]).await;
    assert_eq!(archive.check().await.expect("checks"), Vec::<String>::new());
    archive.close().await.expect("closes");
    archive.close().await.expect("closes twice");
    assert!(!path.with_extension("db-wal").exists(), "the log is part of the file");
    let page = Page::default();
    let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page: &page, now: 1 };
    assert!(archive.commit(commit).await.expect_err("closed").is_transient());
    assert!(archive.stats(None).await.expect_err("closed").is_transient());
}

#[tokio::test]
async fn recipients_are_kept_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = open(&folder.path().join("archive.db")).await;
    let instance = archive.instance("hq").await.expect("an instance");
    say(&archive, instance, &["m1"]).await;
    let query = MessageQuery { conversation: "c".to_owned(), limit: 1, ..MessageQuery::default() };
    let id = archive.messages(instance, &query).await.expect("answers").rows[0].id;
    assert_eq!(archive.recipients(id).await.expect("answers"), ["z", "b"]);
    assert_eq!(archive.recipients(MessageId(99)).await.expect("answers"), [""; 0]);
}

#[tokio::test]
async fn the_ledger_tells_what_was_tampered_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.db");
    let archive = open(&path).await;
    let instance = archive.instance("hq").await.expect("an instance");
    assert_eq!(archive.verify_ledger(|_, _| {}).await.expect("verifies").pages, 0);
    say(&archive, instance, &["m1", "m2"]).await;
    // What is hashed, and how, is the same for ever: heads that are kept elsewhere are compared with it.
    let head = archive.verify_ledger(|_, _| {}).await.expect("verifies").head;
    assert_eq!(head, "54c16ed6a6cdcf46136ab39748a9039d32f6e0780b9ef592c08367ceee1cc734");
    archive.close().await.expect("closes");
    let archive = open(&path).await;
    say(&archive, instance, &["m3"]).await;
    say(&archive, instance, &["m1"]).await; // Brings nothing, leaves no row.
    say(&archive, instance, &["m4", "m5"]).await;
    let report = archive.verify_ledger(|_, _| {}).await.expect("verifies");
    assert_eq!((report.pages, report.messages, report.broken, report.uncovered), (3, 5, None, 0));
    assert_eq!(report.head.len(), 64);
    archive.close().await.expect("closes");

    for (damage, broken, uncovered) in [
        ("UPDATE message SET body = x'00' WHERE native_id = 'm3'", Some(2), 0),
        ("UPDATE message SET sent_at = sent_at + 1 WHERE native_id = 'm5'", Some(3), 0),
        ("UPDATE message SET labels = NULL WHERE native_id = 'm4'", Some(3), 0),
        ("UPDATE message SET labels = '[\"to:b\",\"to:y\"]' WHERE native_id = 'm4'", Some(3), 0),
        ("UPDATE message SET labels = '[\"to:y\"]' WHERE native_id = 'm1'", Some(1), 0),
        ("UPDATE message SET labels = 'none' WHERE native_id = 'm4'", Some(3), 0),
        ("DELETE FROM message WHERE native_id = 'm2'", Some(1), 0),
        ("UPDATE ledger SET at = 5 WHERE id = 2", Some(2), 0),
        ("UPDATE person SET native_id = 'x' WHERE native_id = 'z'", Some(1), 0),
        (
            "INSERT INTO message (id, instance, conversation, seq, sent_at, kind, native_id, text, body) \
             VALUES (99, 1, 1, 9, 9, 1, 'forged', '', x'')",
            None,
            1,
        ),
        ("UPDATE person SET name = 'renamed'", None, 0),
    ] {
        let copy = folder.path().join("copy.db");
        std::fs::copy(&path, &copy).expect("copied");
        tamper(&copy, damage).await;
        let archive = open(&copy).await;
        let found = archive.verify_ledger(|_, _| {}).await.expect("verifies");
        assert_eq!((found.broken, found.uncovered), (broken, uncovered), "{damage}");
        archive.close().await.expect("closes");
    }
}

#[tokio::test]
async fn a_repeated_message_leaves_no_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = open(&folder.path().join("archive.db")).await;
    let instance = archive.instance("hq").await.expect("an instance");
    for natives in [&["m1", "m2"][..], &["m3"], &["m4", "m1"]] {
        let once = natives.iter().map(|native| Message {
            native_id: (*native).to_owned(),
            conversation: "c".to_owned(),
            sender: "a".to_owned(),
            client_id: Some("k".to_owned()),
            once: true,
            ..Message::default()
        });
        let page = Page { messages: once.collect(), ..Page::default() };
        let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page: &page, now: 1 };
        archive.commit(commit).await.expect("stored");
        let report = archive.verify_ledger(|_, _| {}).await.expect("verifies");
        assert_eq!((report.pages, report.messages, report.broken, report.uncovered), (1, 1, None, 0));
    }
    say(&archive, instance, &["m5"]).await;
    let report = archive.verify_ledger(|_, _| {}).await.expect("verifies");
    assert_eq!((report.pages, report.broken, report.uncovered), (2, None, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_do_not_wait_for_a_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.db");
    let archive = open(&path).await;
    let instance = archive.instance("hq").await.expect("an instance");
    say(&archive, instance, &["m1"]).await;
    // A write that does not end: another process holds the lock, with a change not committed.
    let mut rival = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.expect("opens");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut rival).await.expect("begins");
    sqlx::query("DELETE FROM message").execute(&mut rival).await.expect("deletes");
    let query = MessageQuery { conversation: "c".to_owned(), limit: 10, ..MessageQuery::default() };
    for _ in 0..20 {
        assert_eq!(archive.messages(instance, &query).await.expect("answers").rows.len(), 1);
    }
    sqlx::query("ROLLBACK").execute(&mut rival).await.expect("ends");
    say(&archive, instance, &["m2"]).await;
    assert_eq!(archive.messages(instance, &query).await.expect("answers").total, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_given_up_leaves_no_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = open(&folder.path().join("archive.db")).await;
    let instance = archive.instance("hq").await.expect("an instance");
    let query = MessageQuery { conversation: "c".to_owned(), limit: 1000, ..MessageQuery::default() };
    let mut total = 0;
    for round in 0..40 {
        let natives: Vec<String> = (0..20).map(|at| format!("{round}/{at}")).collect();
        let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
        {
            // Polled a few times, then dropped.
            let mut commit = std::pin::pin!(say(&archive, instance, &natives));
            for _ in 0..round {
                if futures::poll!(&mut commit).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        say(&archive, instance, &natives).await;
        total += 20;
        let found = archive.messages(instance, &query).await.expect("answers");
        assert_eq!((found.total, found.rows.len()), (total, total as usize), "round {round}");
    }
    let report = archive.verify_ledger(|_, _| {}).await.expect("verifies");
    assert_eq!((report.messages, report.broken, report.uncovered), (total, None, 0));
}

#[tokio::test]
async fn a_list_is_cut_alike_wherever_its_days_end() {
    const DAY: i64 = 86_400_000_000;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = open(&folder.path().join("archive.db")).await;
    let instance = archive.instance("hq").await.expect("an instance");
    // Days of one conversation and of many, one before 1970, some of one moment; later pages move some of them on.
    let mut latest = std::collections::HashMap::new();
    for (round, times) in [
        vec![-DAY, -1, 0, 0, 5, DAY - 1, DAY, DAY + 1, DAY + 1, 4 * DAY],
        vec![4 * DAY + 7, -DAY, 3],
        vec![5 * DAY, 2 * DAY],
    ]
    .iter()
    .enumerate()
    {
        let messages = times.iter().enumerate().map(|(at, sent_at)| Message {
            native_id: format!("{round}/{at}"),
            conversation: format!("c{at}"),
            sender: "a".to_owned(),
            sent_at: *sent_at,
            kind: "text".to_owned(),
            ..Message::default()
        });
        let page = Page { messages: messages.collect(), ..Page::default() };
        let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page: &page, now: 1 };
        for stored in archive.commit(commit).await.expect("stored").stored {
            let (_, at) = stored.native_id.split_once('/').expect("as written");
            let moment = (times[at.parse::<usize>().expect("a number")], stored.id);
            let known = latest.entry(format!("c{at}")).or_insert(moment);
            *known = moment.max(*known);
        }
    }
    let mut expected: Vec<_> = latest.into_iter().map(|(native, moment)| (moment, native)).collect();
    expected.sort_unstable();
    let expected: Vec<_> = expected.into_iter().rev().map(|(_, native)| native).collect();
    for offset in 0..=expected.len() {
        for limit in 1..=expected.len() {
            let query = ConversationQuery {
                person: "a".to_owned(),
                offset: offset as u64,
                limit: limit as u32,
                ..ConversationQuery::default()
            };
            let found = archive.conversations(instance, &query).await.expect("answers");
            let natives: Vec<_> = found.rows.iter().map(|row| row.conversation.native_id.as_str()).collect();
            let end = expected.len().min(offset + limit);
            assert_eq!(natives, &expected[offset..end], "{limit} from {offset}");
            assert_eq!(found.total, expected.len() as u64);
        }
    }
}

#[tokio::test]
async fn numbers_may_go_astray_at_any_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.db");
    let mut archive = open(&path).await;
    let instance = archive.instance("hq").await.expect("an instance");
    let mut expected: Vec<(i64, i64)> = Vec::new();
    for (round, numbers) in [vec![4, 5], vec![9], vec![2, 11, 5], vec![12, -3]].iter().enumerate() {
        let messages = numbers.iter().enumerate().map(|(at, seq)| Message {
            native_id: format!("{round}/{at}"),
            conversation: "c".to_owned(),
            seq: Some(*seq),
            kind: "text".to_owned(),
            ..Message::default()
        });
        let page = Page { messages: messages.collect(), ..Page::default() };
        let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page: &page, now: 1 };
        expected.extend(archive.commit(commit).await.expect("stored").stored.iter().map(|row| (row.seq, row.id)));
        expected.sort_unstable();
        if round == 1 {
            archive.close().await.expect("closes");
            archive = open(&path).await;
        }
        let (conversation, order) = ("c".to_owned(), MessageOrder::Seq);
        let query = MessageQuery { conversation, order, limit: 100, ..MessageQuery::default() };
        let found = archive.messages(instance, &query).await.expect("answers");
        let found: Vec<_> = found.rows.iter().map(|row| (row.seq, row.id.0)).collect();
        assert_eq!(found, expected, "round {round}");
    }
}
