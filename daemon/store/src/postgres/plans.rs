//! Every answer is a range of an index: what Postgres says it will do, checked, in an archive that it knows to be full. In an empty
//! one any index that begins with the instance is as good as any other; what is planned there holds until the server has looked at
//! what came since, or for the life of a connection.

use super::ranges::{
    ASTRAY, BETWEEN, EXPIRED, FIRST_FROM, KINDS, MERGED, by_client_sql, count_sql, day_sql, expired_sql, page_sql,
    tally_sql,
};
use super::{PostgresArchive, PostgresOptions, PostgresUrl, feed, lists, live, media, queries, rows, runs};
use crate::common::source::{Shape, Walk};
use sqlx::AssertSqlSafe;
use stele_archive::ops::MessageOrder;
use stele_servers::{Durability, Postgres, skip::skip};

/// What there is enough of for the planner to be tempted: many messages of few conversations, which is where it would rather sort.
const FULL: &str = "
    INSERT INTO instance (id, name) VALUES (1, 'hq'), (2, 'branch');
    INSERT INTO word (id, word) SELECT n, 'kind ' || n FROM generate_series(1, 40) AS n;
    INSERT INTO person (instance, id, native_id) SELECT n % 2 + 1, n, 'p' || n FROM generate_series(1, 2000) AS n;
    INSERT INTO conversation (instance, id, native_id, partition, kind, pair)
        SELECT n % 2 + 1, n, 'c' || n, 'p', n % 3 + 1, true FROM generate_series(1, 1000) AS n;
    INSERT INTO participation (instance, conversation, person, kind, seen, member, day)
        SELECT c % 2 + 1, c, p, c % 3 + 1, true, true, c % 50 FROM generate_series(1, 1000) AS c, generate_series(1, 20) AS p;
    INSERT INTO stay (instance, conversation, person, after_rev) SELECT instance, conversation, person, 0 FROM participation;
    INSERT INTO listed (instance, person, kind, n) SELECT instance, person, kind, count(*) FROM participation GROUP BY 1, 2, 3;
    INSERT INTO message (instance, id, rev, conversation, seq, sender, sent_at, kind, expires_at, native_id, client_id, text, body)
        SELECT n % 2 + 1, n, CASE WHEN n % 100 = 0 THEN n + 1 ELSE n END, n % 5, n, n % 2000, n * 1000000::bigint, n % 3 + 1,
               CASE WHEN n % 10 = 0 THEN n END, 'm' || n, 'k' || n, 'text', '' FROM generate_series(1, 40000) AS n;
    INSERT INTO message_by_seq SELECT instance, conversation, kind, seq, id, sent_at FROM message;
    INSERT INTO tally SELECT instance, conversation, n / 5, n % 5, 1 FROM generate_series(0, 4999) AS n
        CROSS JOIN (SELECT DISTINCT instance, conversation FROM message) AS m;
    INSERT INTO expiring SELECT * FROM tally;
    INSERT INTO media (instance, id, partition, handle, kind, deadline, state)
        SELECT n % 2 + 1, n, 'p', 'h' || n, 'file', n, n % 3 FROM generate_series(1, 5000) AS n;
    INSERT INTO message_media (instance, message, position, media) SELECT instance, id, 0, id FROM media;
    INSERT INTO job (instance, kind, partition, pattern, zone, defined_at) VALUES ('hq', 'sync', '', '', 'UTC', 0);
    INSERT INTO run (instance, kind, partition, id, owner, trigger, started_at, outcome, report)
        SELECT 'hq', 'sync', '', n, 'd', 't', n, 'failed', '{}' FROM generate_series(1, 5000) AS n;
    VACUUM ANALYZE;";

/// Tables that are read whole where all of them is the answer, or what it goes over.
const SMALL: [&str; 2] = ["instance", "job"];

/// Parameters that are so many numbers.
fn numbers(many: usize) -> String {
    vec!["bigint"; many].join(", ")
}

/// Parameters of a history's statements: eleven numbers, and the kinds.
fn given() -> String {
    format!("{}, bigint[]", numbers(11))
}

/// A statement, the types of its parameters, and what its plan says.
type Expected = (String, String, Vec<&'static str>);

/// Asserts what is not in any plan: nothing is read but by an index, and nothing is sorted.
async fn check(archive: &PostgresArchive, expected: &[Expected], may_sort: bool) {
    for (sql, types, parts) in expected {
        let mut snapshot = archive.read().await.expect("a snapshot");
        let prepare = AssertSqlSafe(format!("PREPARE asked ({types}) AS {sql}"));
        sqlx::raw_sql(prepare).execute(&mut *snapshot).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        let values = vec!["NULL"; types.split(", ").count()].join(", ");
        let explain = AssertSqlSafe(format!("EXPLAIN (COSTS OFF) EXECUTE asked ({values})"));
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *snapshot).await.expect("explains");
        let forget = sqlx::raw_sql("DEALLOCATE asked").execute(&mut *snapshot);
        forget.await.expect("is forgotten");
        let text = plan.join("\n");
        for line in plan {
            let step = line.trim_start_matches([' ', '-', '>']);
            let is_small = SMALL.iter().any(|table| step.starts_with(&format!("Seq Scan on {table}")));
            assert!(!step.starts_with("Seq Scan") || is_small, "{sql}\n{text}");
            assert!(!step.starts_with("Bitmap") && !step.starts_with("Hash "), "{sql}\n{text}");
            let sorts =
                step.starts_with("Sort") && !step.starts_with("Sort Key") || step.starts_with("Incremental Sort");
            assert!(!sorts || may_sort, "{sql}\n{text}");
        }
        for part in parts {
            assert!(text.contains(part), "{part}\n{sql}\n{text}");
        }
    }
}

/// Pages of a history.
fn pages() -> Vec<Expected> {
    let mut expected = Vec::new();
    for (order, by, ranges) in [
        (MessageOrder::SentAt, "message_by_time on message r", ""),
        (MessageOrder::Id, "message_by_id on message r", ""),
        (MessageOrder::Seq, "message_by_seq_pkey on message_by_seq r", "Index Scan using message_pkey on message m"),
    ] {
        for bits in 0..128_u8 {
            let bit = |at: u8| bits >> at & 1 == 1;
            let (from_seq, to_seq) = (bit(5), bit(6));
            if order != MessageOrder::Seq && (from_seq || to_seq) {
                continue;
            }
            for (descending, kinds) in [(false, 1), (true, 2), (bit(0), MERGED)] {
                let shape = Shape {
                    since: bit(0),
                    until: bit(1),
                    after: bit(2),
                    before: bit(3),
                    unexpired: bit(4),
                    from_seq,
                    to_seq,
                };
                let mut parts = vec![by];
                parts.extend((kinds > 1).then_some("Merge Append"));
                parts.extend(Some(ranges).filter(|_| shape.unexpired));
                let sql = page_sql(Walk { order, descending }, shape, kinds);
                expected.push((sql, numbers(11 + kinds), parts));
            }
        }
    }
    expected
}

/// What is in the order of its index.
fn ordered() -> Vec<Expected> {
    let mut expected = vec![
        (KINDS.to_owned(), numbers(2), vec!["Index Only Scan using message_by_"]),
        (count_sql(), given(), vec!["message_by_time on message r", "AND (sent_at >= $2) AND (sent_at < $3))"]),
        (
            EXPIRED.to_owned(),
            given(),
            vec!["expiring_pkey on expiring", "(day < $2)", "message_expiring on message", "(expires_at >= $3)"],
        ),
        (feed::LATER.to_owned(), numbers(1), vec!["message_by_rev on message", "(rev > $1)"]),
        (live::NEWS.to_owned(), numbers(4), vec!["message_by_rev on message", "(rev > $2) AND (rev <= $3)"]),
        (
            live::HEARD.to_owned(),
            numbers(5),
            vec!["message_by_rev on message m", "stay_pkey on stay", "on participation", "(person = $5)"],
        ),
        (live::JOINED.to_owned(), numbers(2), vec!["Index Only Scan using participation_member on participation"]),
        (live::RANGES.to_owned(), numbers(4), vec!["participation_member on participation p", "stay_pkey on stay"]),
        (
            live::AUDIENCE.to_owned(),
            numbers(3),
            vec!["stay_audience on stay", "(until_rev >= $3)", "(until_rev IS NULL)"],
        ),
        (
            live::STEPS.to_owned(),
            "bigint, bigint[], bigint[], bigint[], bigint[], bigint".to_owned(),
            vec!["message_by_id on message", "message_late on message", "(id > j.after) AND (id <= j.upto)"],
        ),
        (media::due_sql(), numbers(3), vec!["Index Scan using media_due on media"]),
        (media::parked_sql(), numbers(2), vec!["Index Scan Backward using media_given_up on media"]),
        (media::NEXT.to_owned(), numbers(1), vec!["media_retry on media"]),
        (runs::LIST.to_owned(), "bigint, text".to_owned(), vec!["Index Scan Backward using run_pkey on run"]),
        (
            queries::person_list_sql(),
            "bigint, text, bigint".to_owned(),
            vec!["person_instance_native_id_key on person p"],
        ),
        (
            rows::MESSAGES.to_owned(),
            "bigint[], bigint[]".to_owned(),
            vec![
                "message_pkey on message",
                "conversation_pkey on conversation",
                "word_pkey on word",
                "person_pkey on person",
            ],
        ),
        (rows::LENGTHS.to_owned(), "bigint[], bigint[]".to_owned(), vec!["message_pkey on message"]),
        (
            rows::FILES.to_owned(),
            "bigint[], bigint[]".to_owned(),
            vec!["message_media_pkey on message_media", "media_pkey on media", "blob_pkey on blob"],
        ),
        (queries::WHOSE.to_owned(), "bigint[]".to_owned(), vec!["message_pkey on message"]),
        (queries::BY_NATIVE.to_owned(), "bigint, text[]".to_owned(), vec!["message_instance_native_id_key on message"]),
        (queries::people_sql(), "bigint, text[]".to_owned(), vec!["person_instance_native_id_key on person"]),
        (
            queries::conversations_sql(),
            "bigint, text[]".to_owned(),
            vec!["conversation_instance_native_id_key on conversation", "word_pkey on word"],
        ),
        (lists::views_sql(), "bigint, bigint[]".to_owned(), vec!["conversation_pkey on conversation"]),
        (
            lists::peers_sql(),
            "bigint, bigint[], bigint".to_owned(),
            vec!["participation_pkey on participation", "person_pkey on person"],
        ),
        (
            lists::COUNTED.to_owned(),
            "bigint, text, text".to_owned(),
            vec!["person_instance_native_id_key on person p", "listed_pkey on listed"],
        ),
        (
            BETWEEN.to_owned(),
            "bigint, bigint, bigint[], bigint[], bigint, bigint".to_owned(),
            vec!["message_by_id on message m", "(id >= $5) AND (id < $6)"],
        ),
    ];
    for (since, until) in [(false, false), (true, false), (false, true), (true, true)] {
        expected.push((
            expired_sql(since, until),
            given(),
            vec!["message_expiring on message r", "(expires_at <= $10)"],
        ));
    }
    for kinds in [false, true] {
        let days = "tally_pkey on tally";
        expected.push((tally_sql(kinds), given(), vec![days, "(day >= $2) AND (day < $3)"]));
        expected.extend([false, true].map(|descending| (day_sql(descending, kinds), given(), vec![days])));
        for many in [1, 2, 5] {
            let types = format!("{}, text, {}", numbers(4), numbers(many));
            let mut parts = vec!["participation_list on participation l"];
            parts.extend((many > 1).then_some("Merge Append"));
            expected.push((lists::days_sql(many, kinds), types, parts));
        }
        let types = format!("{}, bigint[], text", numbers(3));
        expected.push((lists::count_sql(kinds), types, vec!["participation_list on participation l", "(day > $3)"]));
    }
    expected
}

/// What puts in order what it found: no more than a page of each of a few ranges, or what is said where the statement is.
fn sorted() -> Vec<Expected> {
    let walk = Walk { order: MessageOrder::SentAt, descending: true };
    let mut expected = vec![
        (
            page_sql(walk, Shape::default(), MERGED + 1),
            given(),
            vec!["message_by_time on message r", "(kind = k.kind)"],
        ),
        (
            FIRST_FROM.to_owned(),
            "bigint, bigint, bigint[], bigint[]".to_owned(),
            vec!["message_by_id on message m", "(id < part_1.high)"],
        ),
        (
            ASTRAY.to_owned(),
            "bigint, bigint, bigint[], bigint[], bigint".to_owned(),
            vec!["message_by_seq_pkey on message_by_seq s", "(kind = k.kind) AND (seq = n.seq)"],
        ),
        (feed::FEED.to_owned(), numbers(2), vec!["Index Only Scan using message_by_rev on message", "(rev > $1)"]),
        (
            queries::JOINED.to_owned(),
            "bigint, text, text, bigint".to_owned(),
            vec!["participation_member on participation", "conversation_pkey on conversation"],
        ),
        (live::VERSIONS.to_owned(), "bigint, bigint[]".to_owned(), vec!["conversation_pkey on conversation"]),
        (runs::LIST_ALL.to_owned(), numbers(1), vec!["Index Scan Backward using run_pkey on run"]),
    ];
    for there in [false, true] {
        let types = "bigint, text[], bigint, bigint".to_owned();
        expected.push((by_client_sql(there), types, vec!["message_client on message m", "(client_id = c.client_id)"]));
        let types = format!("{}, text, bigint[], bigint, bigint", numbers(4));
        let parts = vec!["participation_list on participation l", "conversation_pkey on conversation"];
        expected.push((lists::page_sql(there), types, parts));
    }
    expected
}

#[tokio::test]
async fn no_answer_scans_or_sorts() {
    let server = match Postgres::start(Durability::None) {
        Ok(server) => server,
        Err(error) => return skip("the plans of Postgres", &format!("no server can be started: {error:#}")),
    };
    let url = server.database().expect("a database");
    let archive = PostgresArchive::open(&PostgresOptions::new(PostgresUrl::new(&*url))).await.expect("opens");
    for statement in FULL.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        let filled = sqlx::raw_sql(statement).execute(&mut *archive.lend().await.expect("is there")).await;
        filled.unwrap_or_else(|error| panic!("{error}\n{statement}"));
    }
    check(&archive, &pages(), false).await;
    check(&archive, &ordered(), false).await;
    check(&archive, &sorted(), true).await;
}
