//! Contract 002: the scenarios of `tests/scenarios/openim` on the real binary, and what a real OpenIM gets wrong
//! (reference/openim.md §2.5).

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use stele_tests::{
    backing::Backing,
    daemon::{Daemon, Site},
    openim::{Api, Openim, Sent, site},
    report::Report,
    scenario,
};

/// 2026-04-09T12:00:00Z, in milliseconds.
const NOON: i64 = 1_775_736_000_000;
const DAY: i64 = 86_400_000;
/// Requests at once where order does not matter.
const AT_ONCE: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_the_document_says() -> Result<()> {
    let (suite, scenarios) = scenario::read(&stele_tests::source_root().join("tests/scenarios/openim"))?;
    for backing in Backing::all() {
        let instances = suite.configs().map(|(name, config)| Openim::new(name, &config)).collect::<Result<Vec<_>>>()?;
        let site = site(&instances, "")?.backed_by(backing)?;
        let daemon = site.start().await?;
        let addresses = instances.iter().map(|instance| (instance.name.clone(), instance.listen.clone())).collect();
        let mut report = Report::default();
        scenario::run_all(&suite, &scenarios, &addresses, &mut report).await?;
        report.finish(&format!("{backing}\n{}", site.log_tail()));
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

/// A daemon with an instance.
struct Scene {
    site: Site,
    daemon: Daemon,
    api: Api,
}

impl Scene {
    async fn new() -> Result<Self> {
        let openim = Openim::new("im", "")?;
        let site = site(std::slice::from_ref(&openim), "")?;
        Ok(Self { daemon: site.start().await?, api: openim.api(), site })
    }

    async fn stop(self) -> Result<()> {
        ensure!(self.daemon.stop().await?.success(), "{}", self.site.log_tail());
        Ok(())
    }

    async fn send_all(&self, messages: Vec<Value>) -> Result<Vec<Sent>> {
        let sending = stream::iter(messages).map(async |message| self.api.send(&message).await);
        sending.buffered(AT_ONCE).try_collect().await
    }

    /// All pages of a search, by number, until one is empty. `between` is done after each.
    async fn pages(&self, query: &Value, between: impl AsyncFn(usize) -> Result<()>) -> Result<Vec<String>> {
        let (mut query, mut walked) = (query.clone(), Vec::new());
        for page in 1.. {
            query["pagination"]["pageNumber"] = json!(page);
            let found = self.api.search(&query).await?;
            ensure!(found.next_cursor.is_none(), "nobody asked for a cursor");
            if found.chat_logs.is_empty() {
                break;
            }
            walked.extend(found.ids().into_iter().map(str::to_owned));
            between(page).await?;
        }
        Ok(walked)
    }

    /// The same with a cursor.
    async fn cursors(&self, query: &Value, between: impl AsyncFn(usize) -> Result<()>) -> Result<Vec<String>> {
        let (mut query, mut walked, mut page) = (query.clone(), Vec::new(), 0);
        query["cursor"] = json!("");
        loop {
            let found = self.api.search(&query).await?;
            walked.extend(found.ids().into_iter().map(str::to_owned));
            let next = found.next_cursor.context("a cursor was asked for")?;
            if next.is_empty() {
                return Ok(walked);
            }
            query["cursor"] = json!(next);
            page += 1;
            between(page).await?;
        }
    }
}

fn text(from: &str, to: &str, at: i64) -> Value {
    json!({ "sendID": from, "recvID": to, "contentType": 101, "content": { "content": "x" }, "sessionType": 1, "sendTime": at })
}

/// A real server ends a search with the first batch of conversations that has too few hits: 1 of these 61 comes back there.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_over_many_conversations_is_found_whole() -> Result<()> {
    let scene = Scene::new().await?;
    let people: Vec<_> = (0..120).map(|number| format!("u{number}")).collect();
    let names: Vec<_> = people.iter().map(String::as_str).chain(["hub"]).collect();
    scene.api.register(&names).await?;
    let sending = people.iter().enumerate().flat_map(|(number, person)| {
        let on_the_day = (number % 2 == 0 || number == 119).then_some(NOON + number as i64);
        [Some(NOON - DAY), on_the_day, Some(NOON + DAY)].into_iter().flatten().map(|at| text("hub", person, at))
    });
    let sent = scene.send_all(sending.collect()).await?;
    let mut expected: Vec<_> = sent.iter().filter(|sent| (NOON..NOON + DAY).contains(&sent.send_time)).collect();
    expected.sort_by_key(|sent| sent.send_time);
    let expected: Vec<_> = expected.iter().map(|sent| &*sent.server_msg_id).collect();
    let found = scene.api.search(&json!({ "sendTime": "2026-04-09", "pagination": { "showNumber": 500 } })).await?;
    ensure!((expected.len(), found.chat_logs_num) == (61, 61), "{} {}", expected.len(), found.chat_logs_num);
    ensure!(found.ids() == expected, "{:?}", found.ids());
    let walked = scene.pages(&json!({ "sendTime": "2026-04-09" }), async |_| Ok(())).await?;
    ensure!(walked == expected, "{walked:?}");
    scene.stop().await
}

/// A real server finds none of it: some message is of this sender, and some of this type, in every conversation.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_and_a_type_are_those_of_one_message() -> Result<()> {
    let scene = Scene::new().await?;
    let people: Vec<_> = (0..120).map(|number| format!("u{number}")).collect();
    let names: Vec<_> = people.iter().map(String::as_str).chain(["hub"]).collect();
    scene.api.register(&names).await?;
    let custom = |from: &str, to: &str, at| {
        let mut message = text(from, to, at);
        message["contentType"] = json!(110);
        message["content"] = json!({ "data": "d", "description": "", "extension": "" });
        message
    };
    let sending = people.iter().flat_map(|person| [text("hub", person, NOON), custom(person, "hub", NOON)]);
    scene.send_all(sending.collect()).await?;
    let sent = scene.api.send(&custom("hub", "u77", NOON + 1)).await?;
    let found = scene.api.search(&json!({ "sendID": "hub", "contentType": 110 })).await?;
    ensure!(found.chat_logs_num == 1 && found.ids() == [&*sent.server_msg_id], "{found:?}");
    scene.stop().await
}

/// A real server misses those that move behind the reader, and delivers others twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_walk_gets_everything_once_whatever_arrives() -> Result<()> {
    let scene = Scene::new().await?;
    scene.api.register(&["ann", "bob", "cat"]).await?;
    let pairs = [("ann", "bob"), ("bob", "cat"), ("cat", "ann")];
    let mut report = Report::default();
    for (number, order) in ["asc", "desc"].into_iter().enumerate() {
        for with_cursor in [false, true] {
            // Days of its own, and many messages at the same time.
            let day = NOON + DAY * 10 * (2 * number as i64 + i64::from(with_cursor));
            let message = |index: i64, at| {
                let (from, to) = pairs[(index % 3) as usize];
                text(from, to, day + at)
            };
            let there = scene.send_all((0..60).map(|index| message(index, index / 7 * 1000)).collect()).await?;
            let there: BTreeSet<_> = there.into_iter().map(|sent| sent.server_msg_id).collect();
            // Before all of them, among them, and behind all of them, as long as the walk is in the middle.
            let arrive = async |page: usize| {
                let ats = if page < 12 { vec![-1000, 0, 2000, 4500, 6000, 60_000] } else { Vec::new() };
                let arriving = ats.into_iter().enumerate().map(|(index, at)| message(index as i64, at)).collect();
                scene.send_all(arriving).await.map(|_| ())
            };
            let query = json!({
                "startTime": day - DAY, "endTime": day + DAY, "order": order, "pagination": { "showNumber": 7 },
            });
            let walk = async {
                let walked = if with_cursor {
                    scene.cursors(&query, arrive).await?
                } else {
                    scene.pages(&query, arrive).await?
                };
                let met: BTreeSet<_> = walked.iter().cloned().collect();
                ensure!(met.len() == walked.len(), "{} of {} twice", walked.len() - met.len(), walked.len());
                let missed = there.difference(&met).count();
                ensure!(missed == 0, "{missed} missed");
                Ok(())
            };
            report.check(&format!("{order}, cursor: {with_cursor}"), walk).await;
        }
    }
    report.finish(&scene.site.log_tail());
    scene.stop().await
}

/// A cursor is a place, and no memory of the daemon's; pages that were read before it ended are counted from the beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_walk_outlives_the_daemon() -> Result<()> {
    let mut scene = Scene::new().await?;
    scene.api.register(&["ann", "bob"]).await?;
    let sent = scene.send_all((0..20).map(|index| text("ann", "bob", NOON + index)).collect()).await?;
    let expected: Vec<_> = sent.iter().map(|sent| &*sent.server_msg_id).collect();
    let page = |number: u32| json!({ "pagination": { "pageNumber": number, "showNumber": 10 } });
    let begun = scene.api.search(&json!({ "cursor": "", "pagination": { "showNumber": 10 } })).await?;
    let first = scene.api.search(&page(1)).await?;
    ensure!(begun.ids() == expected[..10] && first.ids() == expected[..10], "{begun:?} {first:?}");
    scene.daemon.kill().await?;
    scene.daemon = scene.site.start().await?;
    let rest = scene.api.search(&json!({ "cursor": begun.next_cursor, "pagination": { "showNumber": 10 } })).await?;
    let second = scene.api.search(&page(2)).await?;
    ensure!(rest.ids() == expected[10..] && second.ids() == expected[10..], "{rest:?} {second:?}");
    scene.stop().await
}

/// A real server takes more than the daemon does unless it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_megabytes_is_kept_whole() -> Result<()> {
    let scene = Scene::new().await?;
    let said = "You could have said \"hello\"\n".repeat(100_000);
    let mut message = text("ann", "bob", NOON);
    message["content"] = json!({ "content": said });
    let sent = scene.api.send(&message).await?;
    let found = scene.api.search(&json!({ "recvID": "bob" })).await?;
    let content: Value = serde_json::from_str(&found.chat_logs.first().context("a message")?.chat_log.content)?;
    ensure!(found.ids() == [&*sent.server_msg_id] && content == message["content"], "it says something else");
    scene.stop().await
}
