//! An archive moved from SQLite to Postgres is the same archive: the contract's behaviours, and random histories against the model, with
//! a move wherever a backend is to be closed and opened again.

mod common;

use async_trait::async_trait;
use common::options;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use std::sync::{Arc, LazyLock};
use stele_archive::contract::{Backend, Factory};
use stele_archive::model::{Message, Page};
use stele_archive::ops::MessageQuery;
use stele_archive::{Archive, ArchiveError, Commit, Daemons, InstanceId, Pages, Queries, StateTable, Stream};
use stele_servers::{Durability, Postgres, skip::skip};
use stele_store::transfer::{self, TransferProgress, TransferStage, transfer};
use stele_store::{PostgresArchive, PostgresOptions, PostgresUrl, SqliteArchive};
use tempfile::TempDir;
use tokio::sync::Notify;

static POSTGRES: LazyLock<Option<Postgres>> = LazyLock::new(|| match Postgres::start(Durability::None) {
    Ok(postgres) => Some(postgres),
    Err(error) => {
        skip("moving an archive to Postgres", &format!("{error:#}"));
        None
    }
});

/// A new database, if there is a server, and the archive in it.
async fn database() -> Option<(String, PostgresArchive)> {
    let url = POSTGRES.as_ref()?.database().expect("a database is made");
    Some((url.clone(), open(&url).await))
}

async fn open(url: &str) -> PostgresArchive {
    PostgresArchive::open(&PostgresOptions::new(PostgresUrl::new(url))).await.expect("opens")
}

async fn sqlite(folder: &TempDir) -> SqliteArchive {
    SqliteArchive::open(&folder.path().join("archive.db"), &options()).await.expect("opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_archive_keeps_the_contract() {
    if POSTGRES.is_some() {
        stele_archive::contract::run_all(&Moves).await;
    }
}

#[test]
fn a_moved_archive_does_what_the_model_does() {
    if POSTGRES.is_some() {
        stele_archive::contract::model::run(&Moves, 8);
    }
}

/// Makes archives that are in SQLite until they are closed for the first time.
struct Moves;

#[async_trait]
impl Factory for Moves {
    async fn fresh(&self) -> Box<dyn Backend> {
        let folder = TempDir::new().expect("a folder");
        Box::new(Moving { place: Place::There(sqlite(&folder).await), _folder: folder })
    }
}

struct Moving {
    place: Place,
    _folder: TempDir,
}

enum Place {
    There(SqliteArchive),
    Here(String, PostgresArchive),
}

#[async_trait]
impl Backend for Moving {
    fn archive(&self) -> Arc<dyn Archive> {
        match &self.place {
            Place::There(archive) => Arc::new(archive.clone()),
            Place::Here(_, archive) => Arc::new(archive.clone()),
        }
    }

    async fn restart(&mut self) {
        self.place = match &self.place {
            Place::There(archive) => {
                let (url, database) = database().await.expect("there is a server");
                transfer(archive, &database, |_| {}).await.expect("is moved");
                Place::Here(url, database)
            }
            Place::Here(url, archive) => {
                archive.close().await.expect("closes");
                Place::Here(url.clone(), open(url).await)
            }
        };
    }
}

/// So many messages, in pages.
async fn fill(archive: &SqliteArchive, messages: usize) -> InstanceId {
    let instance = archive.instance("hq").await.expect("is known");
    let message = |number: usize| Message {
        native_id: format!("m{number}"),
        conversation: format!("c{}", number % 7),
        sender: format!("p{}", number % 11),
        sent_at: number as i64 * 1_000_000,
        kind: "text".to_owned(),
        text: format!("第{number}条\0"),
        body: vec![b'x'; number % 10_000].into(),
        ..Message::default()
    };
    for first in (0..messages).step_by(1_000) {
        let page = Page { messages: (first..messages.min(first + 1_000)).map(message).collect(), ..Page::default() };
        put(archive, instance, &page).await;
    }
    instance
}

async fn put(archive: &dyn Archive, instance: InstanceId, page: &Page) {
    let commit = Commit { instance, partition: "p", stream: Stream::Messages, from: None, page, now: 1 };
    archive.commit(commit).await.expect("is stored");
}

async fn of(archive: &dyn Archive, instance: InstanceId, conversation: &str) -> stele_archive::MessageList {
    let query = MessageQuery { conversation: conversation.to_owned(), limit: 10_000, ..MessageQuery::default() };
    archive.messages(instance, &query).await.expect("answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_move_goes_on_where_it_was() {
    let Some((url, database)) = database().await else { return };
    let folder = TempDir::new().expect("a folder");
    let archive = sqlite(&folder).await;
    let instance = fill(&archive, 6_000).await;
    let mut interruptions = 0;
    let report = loop {
        // Ended after its second word, so each attempt gets a little further.
        let (enough, mut words) = (Arc::new(Notify::new()), 0);
        let told = Arc::clone(&enough);
        let moving = transfer(&archive, &database, move |progress| {
            words += 1;
            if words == 2 && progress.stage == TransferStage::Moving {
                told.notify_one();
            }
        });
        tokio::select! {
            biased;
            () = enough.notified() => interruptions += 1,
            report = moving => break report.expect("is moved"),
        }
        assert!(transfer::is_half_in(&database).await.expect("answers").is_some(), "a part is taken for the whole");
    };
    assert!(interruptions > 5, "{interruptions} interruptions");
    assert_eq!((report.messages, report.was_complete), (6_000, false));
    assert!(transfer::is_half_in(&database).await.expect("answers").is_none());
    assert!(transfer::is_away(&archive).await.expect("answers").is_some(), "the old one may go on");
    for conversation in 0..7 {
        let conversation = format!("c{conversation}");
        assert_eq!(of(&archive, instance, &conversation).await, of(&database, instance, &conversation).await);
    }
    // What comes next comes behind it, and the chain goes on.
    let next =
        Message { native_id: "next".into(), conversation: "c0".into(), kind: "text".into(), ..Message::default() };
    put(&database, instance, &Page { messages: vec![next], ..Page::default() }).await;
    let ledger = open(&url).await.verify_ledger(|_, _| {}).await.expect("reads");
    assert_eq!((ledger.messages, ledger.broken, ledger.uncovered), (6_001, None, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_meets_rivals_tries_again() {
    let (Some(postgres), Some((url, database))) = (POSTGRES.as_ref(), database().await) else { return };
    let folder = TempDir::new().expect("a folder");
    let archive = sqlite(&folder).await;
    fill(&archive, 100).await;
    // Numbers of a sequence are not given back, so they count attempts: every other one fails, amid a transaction and at its end.
    let rivals = "CREATE SEQUENCE early; CREATE SEQUENCE late; \
         CREATE FUNCTION rival() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             CASE nextval(TG_NAME::regclass) % 4 WHEN 1 THEN RAISE EXCEPTION 'rival' USING ERRCODE = '40001'; \
             WHEN 3 THEN RAISE EXCEPTION 'rival' USING ERRCODE = '40P01'; ELSE RETURN NEW; END CASE; END $$; \
         CREATE TRIGGER early BEFORE INSERT ON message FOR EACH STATEMENT EXECUTE FUNCTION rival(); \
         CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON head DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
         EXECUTE FUNCTION rival()";
    postgres.psql(&url, rivals).expect("are made");
    let report = transfer(&archive, &database, |_| {}).await.expect("is moved");
    assert_eq!(report.messages, 100);
    let attempts = postgres.psql(&url, "SELECT early.last_value, late.last_value FROM early, late").expect("answers");
    assert_eq!(attempts.trim(), "2|2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_in_the_end_is_named() {
    let postgres = POSTGRES.as_ref();
    let folder = TempDir::new().expect("a folder");
    for (statement, said) in [
        ("UPDATE message SET text = 'x' WHERE id = 7", "message is not what was moved: 100 rows were there, 100 are"),
        ("DELETE FROM participation WHERE conversation = 1", "participation is not what was moved"),
    ] {
        let (Some(postgres), Some((url, database))) = (postgres, database().await) else { return };
        let archive = sqlite(&folder).await;
        if archive.stats(None).await.expect("answers").messages == 0 {
            fill(&archive, 100).await;
        }
        let mut meddled = false;
        let meddle = |progress: TransferProgress| {
            if progress.stage == TransferStage::Comparing && !meddled {
                meddled = true;
                postgres.psql(&url, statement).expect("is changed");
            }
        };
        let refused = transfer(&archive, &database, meddle).await.expect_err("differs");
        assert!(refused.to_string().contains(said), "{refused}");
        assert!(transfer::is_half_in(&database).await.expect("answers").is_some(), "it may be used");
        transfer::abandon(&archive).await.expect("goes on");
        archive.close().await.expect("closes");
    }
}

/// What is refused, and says so in these words.
async fn refused(from: &SqliteArchive, to: &PostgresArchive, words: &[&str]) {
    let refused = transfer(from, to, |_| {}).await.expect_err("is refused");
    let ArchiveError::Invalid(text) = &refused else { panic!("{refused}") };
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in {text:?}"));
}

/// Whether nothing says that a move began.
async fn is_untouched(from: &SqliteArchive, to: &PostgresArchive) -> bool {
    transfer::is_away(from).await.expect("answers").is_none() && is_usable(to).await
}

async fn is_usable(to: &PostgresArchive) -> bool {
    transfer::is_half_in(to).await.expect("answers").is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_written_to_is_refused_before_anything_begins() {
    let folder = TempDir::new().expect("a folder");
    let archive = sqlite(&folder).await;
    fill(&archive, 10).await;
    // What daemons write that never had an instance.
    for written in 0..4 {
        let Some((_, database)) = database().await else { return };
        match written {
            0 => database.node("daemon", 1).await.map(drop).expect("is seen"),
            1 => database.agree("link_key", b"key").await.map(drop).expect("agrees"),
            2 => database.state_put(InstanceId(0), "key", Some(b"value")).await.expect("is kept"),
            _ => database.instance("here already").await.map(drop).expect("is made"),
        }
        refused(&archive, &database, &["is not empty", "name another database in archive.url", "drop this one"]).await;
        assert!(is_untouched(&archive, &database).await, "something began, {written}");
    }
    let (_, database) = database().await.expect("there is a server");
    transfer(&archive, &database, |_| {}).await.expect("is moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_moved_goes_nowhere_else() {
    let (Some((_, first)), Some((_, second))) = (database().await, database().await) else { return };
    let folder = TempDir::new().expect("a folder");
    let archive = sqlite(&folder).await;
    fill(&archive, 6_000).await;
    // Begun, and not ended.
    let enough = Arc::new(Notify::new());
    let told = Arc::clone(&enough);
    tokio::select! {
        biased;
        () = enough.notified() => {}
        moved = transfer(&archive, &first, move |_| told.notify_one()) => panic!("{moved:?}"),
    }
    refused(&archive, &second, &["is being moved to", "--abandon"]).await;
    assert!(is_usable(&second).await, "something began");
    // Ended.
    transfer(&archive, &first, |_| {}).await.expect("is moved");
    put(&first, InstanceId(1), &Page::default()).await;
    refused(&archive, &second, &["was moved to", "--abandon"]).await;
    assert!(is_usable(&second).await, "something began");
    assert!(transfer(&archive, &first, |_| {}).await.expect("was moved").was_complete);
    // Whoever means it may.
    transfer::abandon(&archive).await.expect("goes on");
    refused(&archive, &first, &["is not empty"]).await;
    transfer(&archive, &second, |_| {}).await.expect("is moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_moved_whole_is_not_moved_again() {
    let Some((url, database)) = database().await else { return };
    let folder = TempDir::new().expect("a folder");
    let archive = sqlite(&folder).await;
    fill(&archive, 10).await;
    transfer(&archive, &database, |_| {}).await.expect("is moved");
    // As a copy of the database from before the end says.
    let earlier = "UPDATE state SET value = convert_to(replace(convert_from(value, 'UTF8'), '\"done\":true', '\"done\":false'), 'UTF8') \
                   WHERE key = 'transfer'";
    POSTGRES.as_ref().expect("there is a server").psql(&url, earlier).expect("is changed");
    refused(&archive, &database, &["was moved to", "does not have the whole of it any more", "--abandon"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_looked_up_there_is_told_before_anything_is_moved() {
    let Some((_, database)) = database().await else { return };
    let folder = TempDir::new().expect("a folder");
    let archive = sqlite(&folder).await;
    fill(&archive, 10).await;
    let path = folder.path().join("archive.db");
    let mut behind = SqliteConnectOptions::new().filename(path).connect().await.expect("connects");
    let mut tamper = async |client_id: Option<String>| {
        let update = sqlx::query("UPDATE message SET client_id = ? WHERE id = 7").bind(client_id);
        update.execute(&mut behind).await.expect("is changed");
    };
    tamper(Some("x".repeat(2001))).await;
    let refused = transfer(&archive, &database, |_| {}).await.expect_err("is too long");
    assert!(matches!(&refused, ArchiveError::Invalid(text) if text.contains("message.client_id")), "{refused}");
    assert!(transfer::is_away(&archive).await.expect("answers").is_none(), "nothing began");
    tamper(None).await;
    assert_eq!(transfer(&archive, &database, |_| {}).await.expect("is moved").messages, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_do_not_meet() {
    let Some((_, database)) = database().await else { return };
    let (folder, other) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let (archive, other) = (sqlite(&folder).await, sqlite(&other).await);
    fill(&archive, 10).await;
    transfer(&archive, &database, |_| {}).await.expect("is moved");
    database.instance("later").await.expect("is made");
    assert!(transfer(&archive, &database, |_| {}).await.expect("was moved").was_complete);
    refused(&other, &database, &["is not empty"]).await;
    assert!(transfer::is_away(&other).await.expect("answers").is_none(), "something began");
    let (mut first, mut second) = (None, None);
    let (_, database) = self::database().await.expect("there is a server");
    transfer::abandon(&archive).await.expect("goes on");
    tokio::join!(async { first = Some(transfer(&archive, &database, |_| {}).await) }, async {
        second = Some(transfer(&other, &database, |_| {}).await)
    },);
    let ended = [first, second].into_iter().flatten().filter(Result::is_ok).count();
    assert_eq!(ended, 1, "two that begin at once");
}

#[tokio::test]
async fn a_file_that_is_open_is_in_use() {
    let folder = TempDir::new().expect("a folder");
    let archive = sqlite(&folder).await;
    fill(&archive, 10).await;
    let path = folder.path().join("archive.db");
    assert!(SqliteArchive::is_in_use(&path).await.expect("is looked at"));
    archive.close().await.expect("closes");
    assert!(!SqliteArchive::is_in_use(&path).await.expect("is looked at"));
    let archive = sqlite(&folder).await;
    assert_eq!(archive.stats(None).await.expect("answers").messages, 10);
}
