//! Every answer is a range of an index: what SQLite says it will do, checked.

use super::history::{ASTRAY, BETWEEN, BY_CLIENT, BY_CLIENT_THERE};
use super::ranges::{EXPIRED, FIRST_FROM, MERGED, count_sql, day_sql, expired_sql, kinds_sql, page_sql, tally_sql};
use super::revocations::MARK_COPIES;
use super::{Options, SqliteArchive, feed, lists, live, media, once, queries, reached};
use crate::common::source::{Shape, Walk};
use sqlx::{AssertSqlSafe, Row};
use stele_archive::ops::MessageOrder;

async fn plan(archive: &SqliteArchive, sql: &str) -> String {
    let mut snapshot = archive.read().await.expect("a reader");
    let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::query(sql).fetch_all(&mut *snapshot).await.expect("explains");
    rows.iter().map(|row| row.get::<String, _>(3)).collect::<Vec<_>>().join("\n")
}

fn check(sql: &str, plan: &str, index: &str) {
    for line in plan.lines() {
        let harmless = line.contains("json_each") || line.contains("VIRTUAL TABLE");
        assert!(!line.starts_with("SCAN") || harmless, "{sql}\n{plan}");
        assert!(!line.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
    assert!(plan.contains(index), "{sql}\n{plan}");
}

#[tokio::test]
async fn no_answer_scans_or_sorts() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = SqliteArchive::open(&folder.path().join("archive.db"), &Options::default()).await.expect("opens");
    for (order, index) in [
        (MessageOrder::SentAt, "COVERING INDEX message_by_time (conversation=? AND kind=?"),
        (MessageOrder::Id, "COVERING INDEX message_by_id (conversation=? AND kind=?"),
        (MessageOrder::Seq, "message_by_seq USING PRIMARY KEY (conversation=? AND kind=?"),
    ] {
        for bits in 0..32_u8 {
            for descending in [false, true] {
                for kinds in [1, 2, MERGED] {
                    let bit = |at: u8| bits >> at & 1 == 1;
                    let (from_seq, to_seq, unexpired) = (false, false, bit(4));
                    let (since, until, after, before) = (bit(0), bit(1), bit(2), bit(3));
                    let shape = Shape { since, until, after, before, from_seq, to_seq, unexpired };
                    let sql = page_sql(Walk { order, descending }, shape, kinds);
                    let plan = plan(&archive, &sql).await;
                    check(&sql, &plan, index);
                    assert_eq!(plan.matches(index).count(), kinds, "{sql}\n{plan}");
                    let looked_at = plan.matches("SEARCH m USING INTEGER PRIMARY KEY (rowid=?)").count();
                    assert_eq!(looked_at, if unexpired { kinds } else { 0 }, "{sql}\n{plan}");
                }
            }
        }
    }
    for bits in 0..64_u8 {
        let bit = |at: u8| bits >> at & 1 == 1;
        let (from_seq, to_seq, unexpired) = (bit(4), bit(5), false);
        let shape = Shape { since: bit(0), until: bit(1), after: bit(2), before: bit(3), from_seq, to_seq, unexpired };
        let range = match (from_seq, to_seq) {
            (true, true) => "(conversation=? AND kind=? AND seq>? AND seq<?)",
            (true, false) => "(conversation=? AND kind=? AND seq>?)",
            (false, true) => "(conversation=? AND kind=? AND seq<?)",
            (false, false) => "(conversation=? AND kind=?)",
        };
        let sql = page_sql(Walk { order: MessageOrder::Seq, descending: bit(0) }, shape, 2);
        check(&sql, &plan(&archive, &sql).await, &format!("message_by_seq USING PRIMARY KEY {range}"));
    }
    let sql = FIRST_FROM;
    let steps = plan(&archive, sql).await.replace("SCAN part", "").replace("SCAN CONSTANT ROW", "");
    check(sql, &steps, "COVERING INDEX message_by_id (conversation=? AND kind=? AND id>? AND id<?)");
    assert!(steps.contains("SEARCH m USING INTEGER PRIMARY KEY (rowid=?)"), "{steps}");
    let copies = "message_native (instance=? AND native_id>? AND native_id<?)";
    check(MARK_COPIES, &plan(&archive, MARK_COPIES).await, copies);
    let (sql, next) = (kinds_sql(), "COVERING INDEX message_by_time (conversation=? AND kind>?)");
    check(&sql, &plan(&archive, &sql).await.replace("SCAN held", ""), next);
    let sql = count_sql();
    let edge = "message_by_time (conversation=? AND kind=? AND sent_at>? AND sent_at<?)";
    check(&sql, &plan(&archive, &sql).await, edge);
    for (since, until) in [(false, false), (true, false), (false, true), (true, true)] {
        let sql = expired_sql(since, until);
        let expired = "COVERING INDEX message_expiring (conversation=? AND expires_at<?)";
        check(&sql, &plan(&archive, &sql).await, expired);
    }
    let expired = plan(&archive, EXPIRED).await.replace("SCAN CONSTANT ROW", "");
    check(EXPIRED, &expired, "expiring USING PRIMARY KEY (conversation=? AND day<?)");
    check(EXPIRED, &expired, "COVERING INDEX message_expiring (conversation=? AND expires_at>? AND expires_at<?)");
    for kinds in [false, true] {
        let days = "tally USING PRIMARY KEY (conversation=? AND day>? AND day<?";
        let sql = tally_sql(kinds);
        check(&sql, &plan(&archive, &sql).await, days);
        for descending in [false, true] {
            let sql = day_sql(descending, kinds);
            // What is scanned is what the step below hands over.
            check(&sql, &plan(&archive, &sql).await.replace("SCAN (subquery", ""), days);
        }
        for count in [1, 2, 5] {
            let sql = lists::days_sql(count, kinds);
            check(
                &sql,
                &plan(&archive, &sql).await,
                "COVERING INDEX participation_list (person=? AND kind=? AND day>?)",
            );
        }
        let sql = lists::count_sql(kinds);
        check(&sql, &plan(&archive, &sql).await, "COVERING INDEX participation_list (person=? AND kind=? AND day>?)");
        // The one answer that sorts: conversations of a person's day, see there.
        let sql = lists::page_sql(kinds);
        let plan = plan(&archive, &sql).await.replace("USE TEMP B-TREE FOR ORDER BY", "");
        check(&sql, &plan, "COVERING INDEX participation_list (person=? AND kind=? AND day>? AND day<?)");
        assert!(plan.contains("SEARCH c USING INTEGER PRIMARY KEY"), "{plan}");
    }
    check(feed::PROMPT, &plan(&archive, feed::PROMPT).await, "INTEGER PRIMARY KEY (rowid>?)");
    check(feed::LATE, &plan(&archive, feed::LATE).await, "INDEX message_late (late>?)");
    let revs = ["INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "INDEX message_late (late>? AND late<?)"];
    for missed in [false, true] {
        for (sql, index) in live::news_sql(missed).iter().zip(revs) {
            let plan = plan(&archive, sql).await;
            check(sql, &plan, index);
            let stays = "SEARCH s USING PRIMARY KEY (conversation=? AND person=? AND after_rev<?)";
            assert_eq!(plan.contains(stays), missed, "{sql}\n{plan}");
        }
    }
    let joined = "COVERING INDEX participation_member (person=?)";
    check(live::JOINED, &plan(&archive, live::JOINED).await, joined);
    let sql = live::missed_sql();
    // What is scanned are the steps themselves.
    let missed = plan(&archive, &sql).await.replace("SCAN joined", "").replace("SCAN walk", "");
    for index in [
        joined,
        "COVERING INDEX message_by_id (conversation=? AND kind>?)",
        "s USING PRIMARY KEY (conversation=? AND person=?)",
        "COVERING INDEX message_by_id (conversation=? AND kind=? AND id>? AND id<?)",
        "COVERING INDEX message_late_there (conversation=? AND late>? AND late<?)",
        "COVERING INDEX message_late (late=?)",
    ] {
        check(&sql, &missed, index);
    }
    check(
        live::AUDIENCE,
        &plan(&archive, live::AUDIENCE).await,
        "COVERING INDEX stay_audience (conversation=? AND <expr>>?)",
    );
    // It sorts what somebody is a member of, whatever else they take part in.
    let joined = plan(&archive, queries::JOINED).await.replace("USE TEMP B-TREE FOR ORDER BY", "");
    check(queries::JOINED, &joined, "INDEX participation_member (person=?)");
    assert!(joined.contains("SEARCH c USING INTEGER PRIMARY KEY"), "{joined}");
    let people = queries::people_sql();
    check(&people, &plan(&archive, &people).await, "sqlite_autoindex_person_1 (instance=? AND native_id>?)");
    // What is found is put in order, and as much of it kept as is asked for.
    let kept = |plan: String| plan.replace("USE TEMP B-TREE FOR ORDER BY", "");
    let between = "message_by_id (conversation=? AND kind=? AND id>? AND id<?)";
    check(BETWEEN, &plan(&archive, BETWEEN).await, between);
    let astray = "s USING PRIMARY KEY (conversation=? AND kind=? AND seq=?)";
    check(ASTRAY, &kept(plan(&archive, ASTRAY).await), astray);
    for (statement, index) in [
        (&queries::CONVERSATIONS, "SEARCH c USING INDEX sqlite_autoindex_conversation_1 (instance=? AND native_id=?)"),
        (&BY_CLIENT, "COVERING INDEX message_client (instance=? AND client_id=?)"),
        (&BY_CLIENT_THERE, "COVERING INDEX message_client (instance=? AND client_id=? AND conversation=?)"),
        (&once::FIRST, "COVERING INDEX message_client (instance=? AND client_id=? AND conversation=? AND sender=?)"),
        (&reached::FIND, "reached USING PRIMARY KEY (instance=? AND partition=?)"),
    ] {
        for (sql, _) in statement.cut(&[(); 5]) {
            // What is scanned are the values asked for.
            let plan = plan(&archive, sql).await.replace("SCAN j", "").replace("SCAN 4 CONSTANT ROWS", "");
            check(sql, &kept(plan.replace("SCAN CONSTANT ROW", "")), index);
        }
    }
    check("media due", &plan(&archive, &media::due_sql()).await, "INDEX media_due (instance=?");
}
