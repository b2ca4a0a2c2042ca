//! What is the Postgres backend's own: opening, what an address may be.

mod database;

use database::{database, options, tamper};
use stele_archive::{ArchiveError, Beat, Daemons, RUNNING};
use stele_store::{PostgresArchive, PostgresUrl};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_an_empty_database_at_once() {
    let Some(url) = database() else { return };
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let options = options(&url);
            tokio::spawn(async move { PostgresArchive::open(&options).await })
        })
        .collect();
    for opened in opening {
        opened.await.expect("no panic").expect("opens").close().await.expect("closes");
    }
    PostgresArchive::inspect(&options(&url)).await.expect("is an archive").close().await.expect("closes");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let Some(url) = database() else { return };
    let refused = PostgresArchive::inspect(&options(&url)).await.expect_err("is empty");
    assert!(matches!(&refused, ArchiveError::Invalid(text) if text.contains("holds no archive")), "{refused}");
    PostgresArchive::open(&options(&url)).await.expect("opens");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'from the future', true, '', 0)";
    tamper(&url, newer).await;
    let refused = PostgresArchive::open(&options(&url)).await.expect_err("newer");
    assert!(matches!(&refused, ArchiveError::Invalid(text) if text.contains("newer stele (schema 9999")), "{refused}");
    PostgresArchive::inspect(&options(&url)).await.expect_err("newer");
}

#[tokio::test]
async fn the_database_of_another_program_is_refused() {
    let Some(url) = database() else { return };
    tamper(&url, "CREATE TABLE message (theirs integer)").await;
    let refused = PostgresArchive::open(&options(&url)).await.expect_err("not ours");
    assert!(matches!(&refused, ArchiveError::Invalid(text) if text.contains("another program")), "{refused}");
}

#[tokio::test]
async fn whoever_may_make_no_tables_is_told_what_to_grant() {
    let Some(url) = database() else { return };
    tamper(&url, "CREATE ROLE guest LOGIN").await;
    let guest = options(&url.replace("stele@", "guest@"));
    let refused = PostgresArchive::open(&guest).await.expect_err("may not");
    assert!(matches!(&refused, ArchiveError::Invalid(text) if text.contains("CREATE ON SCHEMA public")), "{refused}");
    tamper(&url, "GRANT USAGE, CREATE ON SCHEMA public TO guest").await;
    PostgresArchive::open(&guest).await.expect("opens").close().await.expect("closes");
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let address = stele_servers::free_address().expect("an address");
    let refused =
        PostgresArchive::open(&options(&format!("postgres://a:hidden@{address}/x"))).await.expect_err("nobody");
    assert!(refused.is_transient(), "{refused}");
    assert!(!format!("{refused} {refused:?}").contains("hidden"), "{refused:?}");
}

#[tokio::test]
async fn an_address_shows_nothing_of_itself() {
    for (url, part) in [
        ("mysql://a:hidden@b/c", "postgres://"),
        ("postgres://a:hidden@b:port/c", "cannot be understood"),
        ("postgres://a:hidden@b/c?pasword=hidden", "\"pasword\""),
        ("postgres://a:hidden@b/c?sslmode=hidden", "cannot be understood"),
        ("postgres://a:hidden@b/c?sslmode=disable&statement-cache-capacity=0", "needs prepared statements"),
    ] {
        let refused = PostgresUrl::new(url).check().expect_err(url);
        assert!(refused.to_string().contains(part), "{refused}");
        assert!(!format!("{refused:?} {:?}", options(url)).contains("hidden"), "{refused:?}");
    }
    let url = PostgresUrl::new("postgres://a:hidden@127.0.0.1:1/c?statement-cache-capacity=100&sslmode=disable");
    url.check().expect("is one");
    assert_eq!(format!("{url:?}"), "***");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_start_at_once_agree_and_have_numbers_of_their_own() {
    let Some(url) = database() else { return };
    let starting: Vec<_> = (0..8_u8)
        .map(|who| {
            let options = options(&url);
            tokio::spawn(async move {
                let archive = PostgresArchive::open(&options).await.expect("opens");
                let agreed = archive.agree("key", &[who]).await.expect("agrees");
                let daemon = format!("daemon-{who}");
                let number = archive.node(&daemon, 1).await.expect("has a number");
                assert_eq!(archive.node(&daemon, 2).await.expect("has a number"), number);
                archive.close().await.expect("closes");
                (number, agreed)
            })
        })
        .collect();
    let mut found = Vec::new();
    for started in starting {
        found.push(started.await.expect("no panic"));
    }
    found.sort_unstable();
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert!(found.iter().all(|(_, agreed)| *agreed == found[0].1), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_one_id_learn_of_each_other() {
    let Some(url) = database() else { return };
    let archive = PostgresArchive::open(&options(&url)).await.expect("opens");
    let beat = async |daemon, process, now| archive.beat(daemon, process, now).await.expect("is heard");
    let beaten = |other: Option<(&str, i64)>, others| Beat { other: other.map(|(who, at)| (who.into(), at)), others };
    assert_eq!(beat("a", "a1", 1).await, beaten(None, 0), "it has no number yet");
    archive.node("a", 2).await.expect("has a number");
    assert_eq!(beat("a", "a1", 3).await, beaten(None, 0));
    assert_eq!(beat("a", "a1", 4).await, beaten(None, 0));
    assert_eq!(beat("a", "a2", 5).await, beaten(Some(("a1", 4)), 0));
    assert_eq!(beat("a", "a1", 6).await, beaten(Some(("a2", 5)), 0));
    assert_eq!(archive.node("a", 6).await.expect("has a number"), 1);
    assert_eq!(beat("a", "a1", 7).await, beaten(None, 0));
    // Another daemon is one as long as it is heard.
    archive.node("b", 8).await.expect("has a number");
    assert_eq!(beat("b", "b1", 8).await, beaten(None, 1));
    assert_eq!(beat("a", "a1", 8 + RUNNING - 1).await, beaten(None, 1));
    assert_eq!(beat("a", "a1", 8 + RUNNING).await, beaten(None, 0));
}
