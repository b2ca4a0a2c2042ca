//! Several daemons on one Postgres: their commits are one after the other, whatever is killed meanwhile.

mod database;

use bytes::Bytes;
use database::{connect, database, options, tamper};
use sqlx::{AssertSqlSafe, Row};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use stele_archive::model::{Conversation, MediaRef, Message, Page, Parked, Person, Revocation};
use stele_archive::ops::MessageQuery;
use stele_archive::{
    ArchiveError, Commit, Committed, InstanceId, JobKey, JobTable, Pages, Queries, Result, StateTable, Stream,
};
use stele_store::{Options, PostgresArchive, SqliteArchive};

fn said(native: &str, sender: &str) -> Message {
    Message {
        native_id: native.to_owned(),
        conversation: "c".to_owned(),
        sender: sender.to_owned(),
        recipients: vec!["z".to_owned()],
        kind: "text".to_owned(),
        text: format!("text of {native}"),
        ..Message::default()
    }
}

async fn put(archive: &dyn Pages, instance: InstanceId, from: Option<Bytes>, page: &Page) -> Result<Committed> {
    let commit = Commit { instance, partition: "p", stream: Stream::Messages, from, page, now: 1 };
    archive.commit(commit).await
}

async fn open(url: &str) -> PostgresArchive {
    PostgresArchive::open(&options(url)).await.expect("opens")
}

/// A number out of the database.
async fn number(url: &str, sql: &str) -> i64 {
    let mut connection = connect(url).await;
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.expect(sql)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_sees_a_beginning_of_all_commits() {
    const PAGES: usize = 30;
    let Some(url) = database() else { return };
    let mut writers = Vec::new();
    for daemon in 0..3 {
        let url = url.clone();
        writers.push(tokio::spawn(async move {
            let archive = open(&url).await;
            let instance = archive.instance("hq").await.expect("known");
            for round in 0..PAGES {
                let messages = (0..3).map(|at| said(&format!("{daemon}/{round}/{at}"), &format!("u{round}")));
                let page = Page { messages: messages.collect(), ..Page::default() };
                let done = put(&archive, instance, None, &page).await.expect("stored");
                assert_eq!(done.stored.len(), 3);
            }
            archive.close().await.expect("closes");
        }));
    }
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (done, url) = (done.clone(), url.clone());
        async move {
            open(&url).await;
            let mut connection = connect(&url).await;
            let mut seen = 0;
            loop {
                let last = done.load(Ordering::Acquire);
                let row = sqlx::query("SELECT count(*), coalesce(max(rev), 0), coalesce(max(seq), 0) FROM message");
                let row = row.fetch_one(&mut connection).await.expect("answers");
                let (count, rev, seq): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
                assert_eq!((count, count), (rev, seq), "something is missing before the latest that is seen");
                assert!(count >= seen && count % 3 == 0, "{count} after {seen}");
                seen = count;
                if last {
                    return seen;
                }
            }
        }
    });
    for writer in writers {
        writer.await.expect("no panic");
    }
    done.store(true, Ordering::Release);
    assert_eq!(reader.await.expect("no panic"), 3 * 3 * PAGES as i64);
    let report = open(&url).await.verify_ledger(|_, _| {}).await.expect("verifies");
    assert_eq!((report.pages, report.broken, report.uncovered), (3 * PAGES as u64, None, 0));
    assert_eq!(number(&url, "SELECT count(*) FROM person").await, PAGES as i64 + 1);
    assert_eq!(number(&url, "SELECT messages FROM instance").await, 9 * PAGES as i64);
}

#[tokio::test]
async fn what_another_daemon_did_is_not_forgotten() {
    let Some(url) = database() else { return };
    let (one, other) = (open(&url).await, open(&url).await);
    let instance = one.instance("hq").await.expect("known");
    assert_eq!(other.instance("hq").await.expect("known"), instance);
    for round in 0..6 {
        for (at, archive) in [&one, &other].into_iter().enumerate() {
            let message =
                Message { kind: format!("kind {round}"), ..said(&format!("{round}/{at}"), &format!("u{round}")) };
            let messages = vec![message, said("0/0", "a")];
            let members = vec![format!("m{round}")];
            let told = Conversation { native_id: "c".to_owned(), joined: members, ..Conversation::default() };
            let page = Page { messages, conversations: vec![told], ..Page::default() };
            let done = put(archive, instance, None, &page).await.expect("stored");
            let (seq, n) = (done.stored[0].seq, 2 * round + at as i64 + 1);
            assert_eq!((done.stored.len() as i64, seq, done.last_rev.0), (1, n, n));
        }
    }
    // Parked by the one, revoked by the other, readable at the one again.
    let parked =
        Parked { native_id: "late".to_owned(), reason: "no key".to_owned(), envelope: Bytes::from_static(b"?") };
    put(&one, instance, None, &Page { parked: vec![parked], ..Page::default() }).await.expect("stored");
    let revocation = Revocation { native_id: "late".to_owned(), by: "a".to_owned(), at: 5 };
    put(&other, instance, None, &Page { revocations: vec![revocation], ..Page::default() }).await.expect("stored");
    let page = Page { messages: vec![said("after", "a"), said("late", "a")], ..Page::default() };
    let done = put(&other, instance, None, &page).await.expect("stored");
    assert_eq!((done.stored[0].id, done.stored[1].id, done.last_rev.0), (14, 13, 15));
    for (sql, expected) in [
        ("SELECT count(*) FROM message", 14),
        ("SELECT messages FROM conversation", 14),
        ("SELECT count(*) FROM message WHERE revoked_at = 5", 1),
        ("SELECT parked FROM head", 0),
        ("SELECT revocations FROM head", 0),
        ("SELECT count(*) FROM participation WHERE member", 6),
        ("SELECT sum(n) FROM tally", 14),
    ] {
        assert_eq!(number(&url, &sql.replace("sum(n)", "sum(n)::bigint")).await, expected, "{sql}");
    }
    assert_eq!(one.verify_ledger(|_, _| {}).await.expect("verifies").broken, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_where_connections_are_killed() {
    const PAGES: u32 = 40;
    let Some(url) = database() else { return };
    let (one, other) = (open(&url).await, open(&url).await);
    let done = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn({
        let (done, url) = (done.clone(), url.clone());
        async move {
            let mut connection = connect(&url).await;
            let mut killed = 0;
            while !done.load(Ordering::Acquire) {
                let sql = "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE datname = current_database() AND application_name = 'stele' AND random() < 0.5";
                killed += sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.expect("kills");
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            killed
        }
    });
    // Each as a sync does: from the stored cursor on, until all is there; both the same partition.
    let sync = async |archive: PostgresArchive| {
        let mut troubles = 0;
        loop {
            let step = async {
                let instance = archive.instance("hq").await?;
                let from = archive.cursor(instance, "p", Stream::Messages).await?.map(|(cursor, _)| cursor);
                let at: u32 = from.as_ref().map_or(0, |from| String::from_utf8_lossy(from).parse().expect("a number"));
                if at == PAGES {
                    return Ok(true);
                }
                let messages = (0..5).map(|of| said(&format!("{at}/{of}"), "a")).collect();
                let page = Page { messages, cursor: Some((at + 1).to_string().into()), ..Page::default() };
                put(&archive, instance, from, &page).await.map(|_| false)
            };
            match step.await {
                Ok(true) => return troubles,
                Ok(false) | Err(ArchiveError::CursorMoved { .. }) => {}
                Err(error) => {
                    assert!(error.is_transient(), "{error:?}");
                    troubles += 1;
                    assert!(troubles < 1000, "{error:?}");
                }
            }
        }
    };
    let (_, _) = tokio::join!(sync(one.clone()), sync(other));
    done.store(true, Ordering::Release);
    assert!(killer.await.expect("no panic") > 0);
    assert_eq!(number(&url, "SELECT count(*) FROM message").await, 5 * i64::from(PAGES));
    assert_eq!(number(&url, "SELECT messages FROM instance").await, 5 * i64::from(PAGES));
    let report = one.verify_ledger(|_, _| {}).await.expect("verifies");
    assert_eq!((report.pages, report.broken, report.uncovered), (u64::from(PAGES), None, 0));
}

#[tokio::test]
async fn whoever_meets_a_rival_tries_again() {
    let Some(url) = database() else { return };
    let archive = open(&url).await;
    let instance = archive.instance("hq").await.expect("known");
    // Numbers of a sequence are not given back, so they count attempts: every other one fails, here and at the end.
    tamper(
        &url,
        "CREATE SEQUENCE early; CREATE SEQUENCE late; \
         CREATE FUNCTION rival() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             CASE nextval(TG_NAME::regclass) % 4 WHEN 1 THEN RAISE EXCEPTION 'rival' USING ERRCODE = '40001'; \
             WHEN 3 THEN RAISE EXCEPTION 'rival' USING ERRCODE = '40P01'; ELSE RETURN NEW; END CASE; END $$; \
         CREATE TRIGGER early BEFORE INSERT ON message FOR EACH STATEMENT EXECUTE FUNCTION rival(); \
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
         EXECUTE FUNCTION rival()",
    )
    .await;
    for round in 0..4 {
        let page = Page { messages: vec![said(&format!("m{round}"), "a")], ..Page::default() };
        let done = put(&archive, instance, None, &page).await.expect("stored");
        assert_eq!((done.stored[0].seq, done.last_rev.0), (round + 1, round + 1));
    }
    assert_eq!(number(&url, "SELECT last_value FROM early").await, 16);
    assert_eq!(number(&url, "SELECT last_value FROM late").await, 8);
    let report = archive.verify_ledger(|_, _| {}).await.expect("verifies");
    assert_eq!((report.pages, report.messages, report.broken, report.uncovered), (4, 4, None, 0));
}

/// Pages that bring everything there is, in texts of all kinds.
fn pages() -> Vec<Page> {
    let zero = "a\0b\u{1}\u{2}".to_owned();
    let odd = |native: &str| Message {
        native_id: format!("{native}{zero}"),
        sender: zero.clone(),
        recipients: vec![zero.clone(), "张三".to_owned()],
        kind: "te\0xt".to_owned(),
        text: format!("\u{1}{zero}\u{3}"),
        client_id: Some(zero.clone()),
        labels: vec![zero.clone(), "b".to_owned()],
        body: Bytes::from_static(b"\0\xff"),
        expires_at: Some(7),
        media: vec![MediaRef { handle: zero.clone(), ..MediaRef::default() }],
        ..said(native, "a")
    };
    let person = Person { native_id: zero.clone(), name: Some(zero.clone()), ..Person::default() };
    let parked = Parked { native_id: "late".to_owned(), reason: zero.clone(), envelope: Bytes::from_static(b"\0") };
    let late = Message { seq: Some(1), ..said("late", "late") };
    vec![
        Page { messages: vec![odd("m1"), said("m2", "b")], people: vec![person], ..Page::default() },
        Page { parked: vec![parked], ..Page::default() },
        Page { messages: vec![odd("m1"), odd("m3"), late], ..Page::default() },
        Page {
            messages: (0..1200).map(|at| said(&format!("many {at}"), &format!("u{at}"))).collect(),
            ..Page::default()
        },
    ]
}

#[tokio::test]
async fn a_chain_is_the_same_in_every_backend() {
    let Some(url) = database() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = SqliteArchive::open(&folder.path().join("a.db"), &Options::default()).await.expect("opens");
    let archive = open(&url).await;
    let instance = archive.instance("hq\0").await.expect("known");
    assert_eq!(archive.instance("hq\0").await.expect("known"), instance);
    assert_eq!(file.instance("hq\0").await.expect("known"), instance);
    for page in pages() {
        let done = put(&archive, instance, None, &page).await.expect("stored");
        assert_eq!(done, put(&file, instance, None, &page).await.expect("stored"));
    }
    let report = archive.verify_ledger(|_, _| {}).await.expect("verifies");
    assert_eq!((report.pages, report.broken, report.uncovered), (3, None, 0));
    assert_eq!(report, file.verify_ledger(|_, _| {}).await.expect("verifies"));
}

#[tokio::test]
async fn the_ledger_tells_what_was_tampered_with() {
    let Some(url) = database() else { return };
    let archive = open(&url).await;
    let instance = archive.instance("hq").await.expect("known");
    assert_eq!(archive.verify_ledger(|_, _| {}).await.expect("verifies").pages, 0);
    for natives in [&["m1", "m2"][..], &["m3"], &["m1"], &["m4", "m5"]] {
        let messages = natives.iter().map(|native| Message { labels: vec!["to:z".to_owned()], ..said(native, "a") });
        let page = Page { messages: messages.collect(), ..Page::default() };
        put(&archive, instance, None, &page).await.expect("stored");
    }
    for (damage, broken, uncovered) in [
        ("UPDATE message SET body = '\\x00' WHERE native_id = 'm3'", Some(2), 0),
        ("UPDATE message SET sent_at = sent_at + 1 WHERE native_id = 'm5'", Some(3), 0),
        ("UPDATE message SET labels = NULL WHERE native_id = 'm4'", Some(3), 0),
        ("DELETE FROM message WHERE native_id = 'm2'", Some(1), 0),
        ("UPDATE ledger SET at = 5 WHERE id = 2", Some(2), 0),
        ("UPDATE person SET native_id = 'x' WHERE native_id = 'z'", Some(1), 0),
        (
            "INSERT INTO message (instance, id, rev, conversation, seq, sent_at, kind, native_id, text, body) \
             VALUES (1, 99, 99, 1, 9, 9, 1, 'forged', '', '')",
            None,
            1,
        ),
        ("UPDATE person SET name = 'renamed'", None, 0),
    ] {
        let mut connection = connect(&url).await;
        let copies = "CREATE TABLE m AS TABLE message; CREATE TABLE p AS TABLE person; CREATE TABLE l AS TABLE ledger";
        let back = "TRUNCATE message, person, ledger; INSERT INTO message SELECT * FROM m; INSERT INTO person SELECT * FROM p; \
                    INSERT INTO ledger SELECT * FROM l; DROP TABLE m, p, l";
        for sql in [copies, damage] {
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect(sql);
        }
        let found = archive.verify_ledger(|_, _| {}).await.expect("verifies");
        assert_eq!((found.broken, found.uncovered), (broken, uncovered), "{damage}");
        sqlx::raw_sql(back).execute(&mut connection).await.expect(back);
    }
}

#[tokio::test]
async fn a_closed_archive_is_unavailable() {
    let Some(url) = database() else { return };
    let archive = open(&url).await;
    let instance = archive.instance("hq").await.expect("known");
    let page = Page { messages: vec![said("m", "a")], ..Page::default() };
    put(&archive, instance, None, &page).await.expect("stored");
    archive.close().await.expect("closes");
    archive.close().await.expect("closes twice");
    assert!(put(&archive, instance, None, &page).await.expect_err("is closed").is_transient());
    assert!(archive.cursor(instance, "p", Stream::Messages).await.expect_err("is closed").is_transient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_given_up_leaves_no_trace() {
    let Some(url) = database() else { return };
    let archive = open(&url).await;
    let instance = archive.instance("hq").await.expect("known");
    for round in 0..30 {
        let messages = (0..5).map(|at| said(&format!("{round}/{at}"), &format!("u{round}"))).collect();
        let page = Page { messages, ..Page::default() };
        {
            // Polled a few times, then dropped.
            let mut commit = std::pin::pin!(put(&archive, instance, None, &page));
            for _ in 0..round * 2 {
                if futures::poll!(&mut commit).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        put(&archive, instance, None, &page).await.expect("stored");
        assert_eq!(number(&url, "SELECT messages FROM conversation").await, 5 * (round + 1));
    }
    let report = archive.verify_ledger(|_, _| {}).await.expect("verifies");
    assert_eq!((report.messages, report.broken, report.uncovered), (150, None, 0));
}

/// Polls it so often, and drops it.
async fn give_up<T>(future: impl Future<Output = T>, polls: u32) {
    let (mut future, mut left) = (std::pin::pin!(future), polls);
    std::future::poll_fn(|context| {
        if left == 0 || future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        Poll::Pending
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_leaves_no_transaction() {
    let Some(url) = database() else { return };
    let archive = open(&url).await;
    let instance = archive.instance("hq").await.expect("is known");
    let query = MessageQuery { conversation: "c".to_owned(), limit: 100, ..MessageQuery::default() };
    let key = JobKey { instance: "hq".to_owned(), kind: "sync".to_owned(), partition: "p".to_owned() };
    for polls in 0..12_u8 {
        for _ in 0..4 {
            give_up(archive.messages(instance, &query), polls.into()).await;
            give_up(archive.lease_acquire(&key, "somebody", 1, 1), polls.into()).await;
        }
        // In a transaction that was left open it would not be stored, or not be allowed.
        for _ in 0..4 {
            archive.state_put(instance, "k", Some(&[polls])).await.expect("is stored");
            let stored = number(&url, "SELECT get_byte(value, 0)::bigint FROM state WHERE key = 'k'").await;
            assert_eq!(stored, i64::from(polls));
        }
    }
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let begun = std::time::Instant::now();
    while number(&url, left).await > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "a transaction was left open");
        tokio::task::yield_now().await;
    }
}
