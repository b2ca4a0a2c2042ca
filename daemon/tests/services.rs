//! What plugins ask of the daemon: who is a member, who there is, messages by their names, numbers and kinds, what is new, and
//! how far partitions are archived.

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stele_archive::Stream;
use stele_archive::model::{Conversation, Message, Page, Reached};
use stele_host::{Incoming, Services};
use stele_plugin_api::ops::{
    ArchiveAppend, ArchiveFeed, ArchiveFind, ArchiveGet, ArchiveQuery, ArchiveSearch, ByIds, ConversationGetMany,
    ConversationJoined, ConversationMembership, Feed, FeedQuery, FindQuery, JoinedQuery, MAX_IDS, MAX_ROWS,
    MediaRequest, MessageQuery, MessageView, Op, Participation, Partition, PartitionKeys, PartitionReached, Partitions,
    PersonList, PersonQuery, Place, PullRequest, RecoverRequest, Repeated, SearchQuery,
};
use stele_plugin_api::{Encoding, Error, ErrorCode, typed};
use steled::config::Config;
use steled::jobs::{InstanceJobs, KindPlan, Source};
use steled::lifecycle::{App, Mode};
use steled::media::{FetchOptions, MediaSource, MediaStream};
use steled::services::DaemonServices;
use tokio::task::JoinSet;

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks as the plugin of an instance does.
async fn ask<O: Op>(app: &App, instance: &str, request: O::Request) -> Result<O::Reply, Error> {
    ask_of::<O>(&app.parts().services, instance, request).await
}

async fn ask_of<O: Op>(services: &DaemonServices, instance: &str, request: O::Request) -> Result<O::Reply, Error> {
    let encoding = Encoding::MessagePack;
    let typed::Parts { payload, body } = typed::encode_request::<O>(encoding, request)?;
    let call = Incoming { op: O::NAME.into(), encoding, payload, body };
    let reply = services.call(instance, call).await?;
    typed::decode_reply::<O>(encoding, reply.encode(encoding)?)
}

/// A daemon with two instances, hq and branch.
async fn start(folder: &Path) -> App {
    let mut config = Config { data_dir: folder.join("data"), ..Config::default() };
    config.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.plugins.dirs = vec![folder.to_owned()];
    let app = App::start(config, Mode::Serve).await.unwrap();
    let parts = app.parts();
    for name in ["hq", "branch"] {
        parts.services.register(name, "test".into(), parts.archive.instance(name).await.unwrap());
    }
    app
}

fn message(native: &str) -> Message {
    Message {
        native_id: native.into(),
        conversation: "c".into(),
        sender: "ann".into(),
        kind: "0".into(),
        body: Bytes::from_static(b"{}"),
        ..Message::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_stored_once_and_found_by_what_tells_them() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let once = |native: &str, client_id: &str| Message {
        client_id: Some(client_id.into()),
        once: true,
        expires_at: Some(7),
        ..message(native)
    };
    let reached = vec![Reached { partition: "2/g".into(), seq: 41 }];
    let page =
        Page { messages: vec![once("m1", "k1"), once("m2", "k2"), once("m3", "k1")], reached, ..Page::default() };
    let report = ask::<ArchiveAppend>(&app, "hq", page).await.unwrap();
    assert_eq!(report.stored.iter().map(|stored| stored.native_id.as_str()).collect::<Vec<_>>(), ["m1", "m2"]);
    assert_eq!((report.known, report.repeated), (1, vec![Repeated { native_id: "m3".into(), first: "m1".into() }]));
    let keyless = Page { messages: vec![Message { once: true, ..message("m4") }], ..Page::default() };
    let refused = ask::<ArchiveAppend>(&app, "hq", keyless).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Invalid, "{refused}");
    assert!(refused.message.contains("no client id"), "{refused}");

    let conversation = Some("c".to_owned());
    let find = |seqs: &[i64], client_ids: &[&str]| FindQuery {
        conversation: conversation.clone(),
        seqs: seqs.to_vec(),
        client_ids: client_ids.iter().map(|&id| id.into()).collect(),
        limit: MAX_ROWS,
    };
    let found = ask::<ArchiveFind>(&app, "hq", find(&[1], &["k2", "k3"])).await.unwrap().rows;
    let shown = |row: &MessageView| (row.native_id.clone(), row.seq, row.client_id.clone(), row.expires_at);
    let expected = [("m2", 2, "k2"), ("m1", 1, "k1")];
    let expected = expected.map(|(native, seq, key)| (native.to_owned(), seq, Some(key.to_owned()), Some(7)));
    assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected);
    assert_eq!(ask::<ArchiveFind>(&app, "branch", find(&[1], &["k2"])).await.unwrap().rows, []);
    let everywhere = FindQuery { conversation: None, ..find(&[], &["k1"]) };
    assert_eq!(ask::<ArchiveFind>(&app, "hq", everywhere.clone()).await.unwrap().rows.len(), 1);
    let nowhere = ask::<ArchiveFind>(&app, "hq", FindQuery { seqs: vec![1], ..everywhere }).await.unwrap_err();
    assert_eq!(nowhere.code, ErrorCode::Invalid, "{nowhere}");

    let unexpired =
        |then| MessageQuery { conversation: "c".into(), limit: 10, unexpired_at: Some(then), ..Default::default() };
    for (then, left) in [(6, 2), (7, 0)] {
        let page = ask::<ArchiveQuery>(&app, "hq", unexpired(then)).await.unwrap();
        assert_eq!((page.rows.len(), page.total), (left, left as u64), "at {then}");
    }

    let keys = |keys: &[&str]| PartitionKeys { partitions: keys.iter().map(|&key| key.into()).collect() };
    for (instance, expected) in [("hq", [0, 41]), ("branch", [0, 0])] {
        let found = ask::<PartitionReached>(&app, instance, keys(&["1/a@b", "2/g"])).await.unwrap();
        assert_eq!(found.seqs, expected, "{instance}");
    }

    for refused in [
        ask::<ArchiveFind>(&app, "hq", find(&[1; MAX_IDS], &["k"])).await.unwrap_err(),
        ask::<ArchiveFind>(&app, "hq", FindQuery { limit: MAX_ROWS + 1, ..find(&[1], &[]) }).await.unwrap_err(),
        ask::<PartitionReached>(&app, "hq", keys(&["p"; MAX_IDS + 1])).await.unwrap_err(),
    ] {
        assert_eq!(refused.code, ErrorCode::TooLarge, "{refused}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_people_and_messages_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let conversation = Conversation {
        native_id: "c".into(),
        joined: vec!["ann".into(), "bob".into()],
        archived: Some(true),
        ..Conversation::default()
    };
    let messages = vec![message("m1"), message("m2")];
    let page = Page { conversations: vec![conversation], messages, ..Page::default() };
    ask::<ArchiveAppend>(&app, "hq", page).await.unwrap();

    let who = |person: &str| Participation { conversation: "c".into(), person: person.into() };
    for (instance, person, known, member) in
        [("hq", "ann", true, true), ("hq", "cy", true, false), ("branch", "ann", false, false)]
    {
        let found = ask::<ConversationMembership>(&app, instance, who(person)).await.unwrap();
        assert_eq!((found.conversation.is_some(), found.member), (known, member), "{person} at {instance}");
        assert!(found.conversation.is_none_or(|conversation| conversation.archived && conversation.last_seq == 2));
    }
    let joined = |limit| JoinedQuery { person: "bob".into(), after: String::new(), limit };
    assert_eq!(ask::<ConversationJoined>(&app, "hq", joined(MAX_ROWS)).await.unwrap().conversations, ["c"]);
    let people = |limit| PersonQuery { after: "ann".into(), limit };
    let found = ask::<PersonList>(&app, "hq", people(MAX_ROWS)).await.unwrap().people;
    assert_eq!(found.iter().map(|person| person.native_id.as_str()).collect::<Vec<_>>(), ["bob"]);
    let by = |natives: &[&str]| ByIds { native_ids: natives.iter().map(|native| (*native).into()).collect() };
    let found = ask::<ArchiveGet>(&app, "hq", by(&["m2", "m3", "m1"])).await.unwrap().rows;
    assert_eq!(found.iter().map(|row| row.native_id.as_str()).collect::<Vec<_>>(), ["m2", "m1"]);
    assert!(found[0].rev > found[1].rev);
    assert_eq!(ask::<ArchiveGet>(&app, "branch", by(&["m1"])).await.unwrap().rows, []);
    let found = ask::<ConversationGetMany>(&app, "hq", by(&["c", "nowhere", "c"])).await.unwrap().conversations;
    assert_eq!(found.iter().map(|found| (found.native_id.as_str(), found.messages)).collect::<Vec<_>>(), [("c", 2)]);

    for refused in [
        ask::<ConversationJoined>(&app, "hq", joined(MAX_ROWS + 1)).await.unwrap_err(),
        ask::<PersonList>(&app, "hq", people(MAX_ROWS + 1)).await.unwrap_err(),
        ask::<ArchiveGet>(&app, "hq", by(&[""; MAX_IDS + 1])).await.unwrap_err(),
        ask::<ConversationGetMany>(&app, "hq", by(&[""; MAX_IDS + 1])).await.unwrap_err(),
    ] {
        assert_eq!(refused.code, ErrorCode::TooLarge, "{refused}");
    }

    // Three messages that are too much for one answer.
    let long = |native: &str| Message { body: vec![b'x'; 11 << 20].into(), ..message(native) };
    for native in ["long 1", "long 2", "long 3"] {
        ask::<ArchiveAppend>(&app, "hq", Page { messages: vec![long(native)], ..Page::default() }).await.unwrap();
    }
    let query = |limit| MessageQuery { conversation: "c".into(), descending: true, limit, ..MessageQuery::default() };
    for refused in [
        ask::<ArchiveQuery>(&app, "hq", query(3)).await.unwrap_err(),
        ask::<ArchiveGet>(&app, "hq", by(&["long 1", "long 2", "long 3"])).await.unwrap_err(),
    ] {
        assert_eq!(
            (&refused.code, &*refused.message),
            (&ErrorCode::TooLarge, "the messages hold more than 33554432 bytes; ask for fewer")
        );
    }
    assert_eq!(ask::<ArchiveQuery>(&app, "hq", query(2)).await.unwrap().rows.len(), 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_found_without_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let message = |at: i64, sender: &str, kind: &str, text: &str| Message {
        native_id: format!("m{at}"),
        conversation: "c".into(),
        sender: sender.into(),
        kind: kind.into(),
        text: text.into(),
        sent_at: at,
        expires_at: (at == 3).then_some(50),
        labels: vec![format!("to:{}", at % 2), "to:all".into()],
        ..Message::default()
    };
    let messages = vec![
        message(1, "ann", "text", "hello"),
        message(2, "bob", "image", ""),
        message(3, "ann", "text", "hello again"),
        message(4, "ann", "part", ""),
    ];
    ask::<ArchiveAppend>(&app, "hq", Page { messages, ..Page::default() }).await.unwrap();
    let all = SearchQuery { limit: 10, ..SearchQuery::default() };
    let first = ask::<ArchiveSearch>(&app, "hq", all.clone()).await.unwrap().rows.pop().unwrap();
    assert!(first.highlights.is_empty());
    let place = Place { sent_at: first.sent_at, id: first.id };
    for (query, ids, total) in [
        (all.clone(), "m4 m3 m2 m1", 4),
        (SearchQuery { oldest_first: true, limit: 2, ..all.clone() }, "m1 m2", 4),
        (SearchQuery { oldest_first: true, beyond: Some(place), limit: 2, ..all.clone() }, "m2 m3", 4),
        (SearchQuery { beyond: Some(place), ..all.clone() }, "", 4),
        (SearchQuery { sender: Some("ann".into()), except_kinds: vec!["part".into()], ..all.clone() }, "m3 m1", 2),
        (SearchQuery { unexpired_at: Some(49), ..all.clone() }, "m4 m3 m2 m1", 4),
        (SearchQuery { unexpired_at: Some(50), ..all.clone() }, "m4 m2 m1", 3),
        (SearchQuery { unexpired_at: Some(50), text: "hello".into(), ..all.clone() }, "m1", 1),
        (SearchQuery { labels: vec!["to:1".into(), "to:all".into()], ..all.clone() }, "m3 m1", 2),
        (SearchQuery { labels: vec!["to:1".into(), "to:0".into()], ..all.clone() }, "", 0),
        (SearchQuery { labels: vec!["to:0".into()], text: "hello".into(), ..all.clone() }, "", 0),
        (SearchQuery { limit: 0, ..all.clone() }, "", 4),
    ] {
        // Not indexed yet, or indexed: it is the same.
        for _ in 0..2 {
            let found = ask::<ArchiveSearch>(&app, "hq", query.clone()).await.unwrap();
            let natives: Vec<&str> = found.rows.iter().map(|row| row.native_id.as_str()).collect();
            assert_eq!((natives.join(" ").as_str(), found.total), (ids, total), "{query:?}");
            app.parts().tailer.catch_up().await.unwrap();
        }
    }
    let too_many = SearchQuery { labels: vec!["to:all".into(); 17], ..all.clone() };
    let refused = ask::<ArchiveSearch>(&app, "hq", too_many).await.unwrap_err();
    assert!(refused.code == ErrorCode::Invalid && refused.message.contains("at most 16 labels"), "{refused}");
    assert_eq!(ask::<ArchiveSearch>(&app, "branch", all).await.unwrap().total, 0);
    app.stop().await;
}

/// Follows the archive from a revision on.
fn after(rev: i64, limit: u32, wait: Duration) -> FeedQuery {
    FeedQuery { after: Some(rev), limit, wait_ms: wait.as_millis() as u64 }
}

fn natives(feed: &Feed) -> Vec<&str> {
    feed.rows.iter().map(|row| row.native_id.as_str()).collect()
}

async fn append(app: &App, instance: &str, message: Message) {
    ask::<ArchiveAppend>(app, instance, Page { messages: vec![message], ..Page::default() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_tells_what_is_new_in_portions() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let begin = FeedQuery { after: None, limit: 0, wait_ms: 60_000 };
    assert_eq!(ask::<ArchiveFeed>(&app, "hq", begin.clone()).await.unwrap(), Feed::default());
    for (instance, native) in [("hq", "m1"), ("branch", "n1"), ("hq", "m2"), ("hq", "m3"), ("branch", "n2")] {
        append(&app, instance, message(native)).await;
    }
    let last = ask::<ArchiveFeed>(&app, "hq", begin).await.unwrap();
    assert_eq!(natives(&last), [""; 0]);
    let ask_after = async |rev, limit| ask::<ArchiveFeed>(&app, "hq", after(rev, limit, Duration::ZERO)).await;
    let first = ask_after(0, 2).await.unwrap();
    assert_eq!((natives(&first), first.upto), (vec!["m1", "m2"], first.rows[1].rev));
    let rest = ask_after(first.upto, 2).await.unwrap();
    assert_eq!((natives(&rest), rest.upto), (vec!["m3"], last.upto));
    assert_eq!(ask_after(last.upto, 2).await.unwrap(), last);
    // Of an archive that was replaced by an older one.
    assert_eq!(ask_after(last.upto + 9, 2).await.unwrap(), last);

    let long = |native: &str| Message { body: vec![b'x'; 7 << 20].into(), ..message(native) };
    for native in ["long 1", "long 2"] {
        append(&app, "hq", long(native)).await;
    }
    let one = ask_after(last.upto, 10).await.unwrap();
    assert_eq!(natives(&one), ["long 1"]);
    assert_eq!(natives(&ask_after(one.upto, 10).await.unwrap()), ["long 2"]);
    for (limit, code) in [(0, ErrorCode::Invalid), (MAX_ROWS + 1, ErrorCode::TooLarge)] {
        assert_eq!(ask_after(0, limit).await.unwrap_err().code, code);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_waits_for_appends_and_misses_none() {
    const MESSAGES: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let follower = {
        let services = Arc::clone(&app.parts().services);
        tokio::spawn(async move {
            let (mut rev, mut heard) = (0, Vec::new());
            while heard.len() < MESSAGES {
                let feed = ask_of::<ArchiveFeed>(&services, "hq", after(rev, 3, PATIENCE)).await.unwrap();
                heard.extend(feed.rows.into_iter().map(|row| row.native_id));
                rev = feed.upto;
            }
            heard
        })
    };
    let all: Vec<String> = (0..MESSAGES).map(|n| format!("m{n}")).collect();
    for native in &all {
        append(&app, "branch", message(native)).await;
        append(&app, "hq", message(native)).await;
    }
    let heard = tokio::time::timeout(PATIENCE, follower).await.expect("every commit wakes who waits").unwrap();
    assert_eq!(heard, all);
    let last = ask::<ArchiveFeed>(&app, "hq", FeedQuery::default()).await.unwrap();
    let nothing = ask::<ArchiveFeed>(&app, "hq", after(last.upto, 3, Duration::from_millis(1))).await.unwrap();
    assert_eq!(nothing, last);
    app.stop().await;
}

/// Has one page.
struct OnePage;

#[async_trait]
impl Source for OnePage {
    async fn discover(&self) -> Result<Partitions, Error> {
        Ok(Partitions { partitions: vec![Partition { key: "p".into(), title: String::new() }] })
    }

    async fn pull(&self, _: Stream, _: PullRequest) -> Result<Page, Error> {
        Ok(Page { messages: vec![message("pulled")], caught_up: true, ..Page::default() })
    }

    async fn recover(&self, _: RecoverRequest) -> Result<Page, Error> {
        Ok(Page::default())
    }
}

#[async_trait]
impl MediaSource for OnePage {
    async fn open(&self, _: MediaRequest) -> Result<Box<dyn MediaStream>, Error> {
        Err(Error::new(ErrorCode::NotFound, "there are no files"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_and_the_end_of_the_daemon_wake_those_who_wait() {
    /// As many as may wait.
    const WAITING: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let parts = app.parts();
    let wait = |rev| {
        let services = Arc::clone(&parts.services);
        async move { ask_of::<ArchiveFeed>(&services, "hq", after(rev, 3, PATIENCE)).await }
    };
    let mut feeds: JoinSet<_> = (0..=WAITING).map(|_| wait(0)).collect();
    let refused = feeds.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::RateLimited, "{refused}");
    assert!(refused.retry_after_ms.is_some());

    let id = parts.archive.instance("hq").await.unwrap();
    let plan = KindPlan { schedule: None, jitter: 0, page_limit: 10 };
    let plans = BTreeMap::from([("sync", plan)]);
    let source = Arc::new(OnePage);
    parts
        .jobs
        .add_instance(InstanceJobs { name: "hq".into(), id, source, plans, media: FetchOptions::default() })
        .await;
    parts.jobs.request("hq", "sync", None).await.unwrap();
    let mut rev = 0;
    for _ in 0..WAITING {
        let feed = feeds.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(natives(&feed), ["pulled"]);
        rev = feed.upto;
    }

    // One more than fit: when the odd one was refused the others wait.
    let mut feeds: JoinSet<_> = (0..=WAITING).map(|_| wait(rev)).collect();
    assert_eq!(feeds.join_next().await.unwrap().unwrap().unwrap_err().code, ErrorCode::RateLimited);
    app.stop().await;
    while let Some(ended) = feeds.join_next().await {
        assert_eq!(ended.unwrap().unwrap_err().code, ErrorCode::Unavailable);
    }
}
