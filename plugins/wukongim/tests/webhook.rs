//! What is told to the receiver of webhooks (contract 001, Webhook配置; reference/wukongim.md §9). Time passes by itself here.

use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{
    ArchiveFeed, Empty, Feed, FeedQuery, FetchReply, FetchRequest, HoldReply, HttpFetch, HttpRequest, LeaseHold,
    MessageView, StateGet, StatePut, StateValue,
};
use stele_plugin_api::testing::MockHost;
use stele_plugin_api::{Error, Plugin};
use stele_wukongim::Wukongim;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};
use tokio::time::Instant;

/// 2025-08-18T00:00:00Z
const NOW: Micros = 1_755_475_200_000_000;
const HOUR: Micros = 3_600_000_000;
const ADDRESS: &str = "http://receiver.example/hook?from=stele";

/// What the receiver was sent.
struct Push {
    request: FetchRequest,
    at: Instant,
}

impl Push {
    fn event(&self) -> &str {
        self.request.url.strip_prefix("http://receiver.example/hook?from=stele&event=").expect("its address")
    }

    fn body(&self) -> Value {
        serde_json::from_slice(&self.request.body).expect("it is JSON")
    }

    /// Ids of the messages of one `msg.notify`.
    fn ids(&self) -> Vec<i64> {
        assert_eq!(self.event(), "msg.notify");
        let body = self.body();
        body.as_array().expect("a list").iter().map(|told| told["message_id"].as_i64().expect("a number")).collect()
    }
}

/// An archive, what is kept for the instance, and a receiver; they outlive the instance.
struct Rig {
    mock: MockHost,
    messages: Arc<Mutex<Vec<MessageView>>>,
    came: Arc<Notify>,
    kept: Arc<Mutex<BTreeMap<String, Value>>>,
    /// What the receiver answers next; 200 when there is nothing.
    answers: Arc<Mutex<VecDeque<Option<u16>>>>,
    pushes: AsyncMutex<mpsc::UnboundedReceiver<Push>>,
    clock: Arc<AtomicI64>,
}

impl Rig {
    fn new() -> Self {
        let (messages, came) = (Arc::new(Mutex::new(Vec::<MessageView>::new())), Arc::new(Notify::new()));
        let kept = Arc::new(Mutex::new(BTreeMap::<String, Value>::new()));
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let (push, pushes) = mpsc::unbounded_channel();
        let feed = (Arc::clone(&messages), Arc::clone(&came));
        let (get, put, answer) = (Arc::clone(&kept), Arc::clone(&kept), Arc::clone(&answers));
        let mock = MockHost::new()
            .on_async::<ArchiveFeed, _>(move |query| feed_of(feed.clone(), query))
            .on::<StateGet>(move |of| {
                let value = get.lock().unwrap().get(&of.key).map(|value| value.to_string().into());
                Ok(StateValue { value })
            })
            .on::<StatePut>(move |entry| {
                let value = serde_json::from_slice(&entry.value.expect("a place")).expect("it is JSON");
                put.lock().unwrap().insert(entry.key, value);
                Ok(Empty {})
            })
            .on::<HttpFetch>(move |request| {
                push.send(Push { request, at: Instant::now() }).expect("the test listens");
                match answer.lock().unwrap().pop_front().unwrap_or(Some(200)) {
                    Some(status) => Ok(FetchReply { status, ..FetchReply::default() }),
                    None => Err(Error::unavailable("receiver.example: connection refused")),
                }
            });
        let clock = Arc::new(AtomicI64::new(NOW));
        Self { mock, messages, came, kept, answers, pushes: AsyncMutex::new(pushes), clock }
    }

    /// An instance with these settings of its webhook, once it knows where it begins.
    async fn start(&self, settings: &Value) -> Wukongim {
        let mut webhook = json!({ "httpAddr": ADDRESS });
        webhook.as_object_mut().unwrap().extend(settings.as_object().expect("settings are an object").clone());
        let config = serde_json::from_value(json!({ "webhook": webhook, "node_id": 3 })).expect("the right shape");
        assert_eq!(Wukongim::mistakes(&config), []);
        let now = Arc::clone(&self.clock);
        let clock = Arc::new(move || now.load(Ordering::Relaxed));
        let plugin = Wukongim::with_clock(config, self.mock.host(), clock);
        self.settle().await;
        plugin
    }

    /// Lets everything happen that needs no time, and some more.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Messages of a group arrive, sent at this time.
    fn say(&self, ids: impl IntoIterator<Item = i64>, conversation: &str, sent_at: Micros) {
        let mut messages = self.messages.lock().unwrap();
        for id in ids {
            let rev = messages.len() as i64 + 1;
            messages.push(MessageView {
                rev,
                native_id: id.to_string(),
                conversation: conversation.into(),
                seq: id,
                sender: "alice".into(),
                sent_at,
                body: json!({ "payload": "aGk=" }).to_string().into(),
                ..MessageView::default()
            });
        }
        self.came.notify_waiters();
    }

    /// What the receiver gets next, within a time that is long enough for anything.
    async fn push(&self) -> Push {
        let mut pushes = self.pushes.lock().await;
        let push = tokio::time::timeout(Duration::from_secs(600), pushes.recv()).await;
        push.expect("something is told").expect("the mock lives")
    }

    async fn is_told_nothing(&self) {
        let mut pushes = self.pushes.lock().await;
        let push = tokio::time::timeout(Duration::from_secs(600), pushes.recv()).await;
        assert!(push.is_err(), "told {}", push.unwrap().unwrap().body());
    }

    /// The revision up to which an event was told, as the daemon keeps it.
    fn place(&self, event: &str) -> Value {
        self.kept.lock().unwrap().get(&format!("webhook/{event}")).map_or(Value::Null, |place| place["rev"].clone())
    }

    fn will_answer(&self, answers: &[Option<u16>]) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// What became of messages, as it was counted.
    fn counted(&self, outcome: &str) -> f64 {
        let label = ("outcome".to_owned(), outcome.to_owned());
        self.mock.metrics().iter().filter(|metric| metric.labels.contains(&label)).map(|metric| metric.value).sum()
    }
}

async fn feed_of(
    (messages, came): (Arc<Mutex<Vec<MessageView>>>, Arc<Notify>),
    query: FeedQuery,
) -> Result<Feed, Error> {
    let look = || {
        let messages = messages.lock().unwrap();
        let Some(after) = query.after else { return Feed { rows: Vec::new(), upto: messages.len() as i64 } };
        let rows: Vec<_> =
            messages.iter().filter(|message| message.rev > after).take(query.limit as usize).cloned().collect();
        let upto = rows.last().map_or(after, |row| row.rev);
        Feed { rows, upto }
    };
    let until = Instant::now() + Duration::from_millis(query.wait_ms);
    loop {
        let coming = came.notified();
        let feed = look();
        if query.after.is_none() || !feed.rows.is_empty() || tokio::time::timeout_at(until, coming).await.is_err() {
            return Ok(feed);
        }
    }
}

fn notify_only(more: &Value) -> Value {
    let mut settings = json!({ "focusEvents": ["msg.notify"] });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

#[tokio::test(start_paused = true)]
async fn stored_messages_are_told_in_batches_from_the_first_one_on() {
    let rig = Rig::new();
    rig.say(1..=3, "2/team", NOW);
    let _plugin = rig.start(&notify_only(&json!({}))).await;
    rig.say(4..=253, "2/team", NOW);
    for expected in [4..=103, 104..=203, 204..=253] {
        let push = rig.push().await;
        assert_eq!(push.ids(), expected.collect::<Vec<_>>());
        assert_eq!(push.request.method, "POST");
        assert_eq!(push.request.headers, [("content-type".to_owned(), "application/json".to_owned())]);
    }
    rig.is_told_nothing().await;
    assert_eq!((rig.place("msg.notify"), rig.counted("told")), (json!(253), 250.0));
}

#[tokio::test(start_paused = true)]
async fn of_several_daemons_one_tells() {
    let rig = Rig::new();
    let is_ours = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&is_ours);
    let rig = Rig {
        mock: rig.mock.on::<LeaseHold>(move |request| {
            assert_eq!(request.key, "webhook/msg.notify");
            Ok(HoldReply { held: held.load(Ordering::Relaxed) })
        }),
        ..rig
    };
    let _plugin = rig.start(&notify_only(&json!({}))).await;
    rig.say([1], "2/team", NOW);
    assert_eq!(rig.push().await.ids(), [1]);
    is_ours.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(30)).await;
    rig.say([2, 3], "2/team", NOW);
    rig.is_told_nothing().await;
    // What another one has told by then.
    rig.kept.lock().unwrap().insert("webhook/msg.notify".into(), json!({ "rev": 2, "level_at": NOW }));
    is_ours.store(true, Ordering::Relaxed);
    assert_eq!(rig.push().await.ids(), [3]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_within_the_interval_is_told_together() {
    let rig = Rig::new();
    let _plugin = rig.start(&notify_only(&json!({ "msgNotifyEventPushInterval": "2s" }))).await;
    let begin = Instant::now();
    for id in 1..=3 {
        rig.say([id], "2/team", NOW);
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let push = rig.push().await;
    assert_eq!((push.ids(), push.at - begin), (vec![1, 2, 3], Duration::from_secs(2)));
    // As many as there is room for are told at once.
    let begin = Instant::now();
    rig.say(4..=103, "2/team", NOW);
    let push = rig.push().await;
    assert_eq!((push.ids().len(), push.at - begin), (100, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn only_200_will_do_and_pauses_grow() {
    let rig = Rig::new();
    let plugin = rig.start(&notify_only(&json!({}))).await;
    rig.will_answer(&[Some(204), Some(500), None, Some(301)]);
    rig.say([1], "2/team", NOW);
    let first = rig.push().await;
    rig.settle().await;
    assert!(rig.mock.logs().iter().any(|line| line.message == "the receiver does not take what it is told"));
    let said = plugin.health().await.unwrap();
    assert!(
        said.ok && said.findings.contains(&"the receiver of webhooks: the receiver answers 204 instead of 200".into())
    );
    let (mut at, mut pauses) = (first.at, Vec::new());
    for _ in 0..4 {
        let push = rig.push().await;
        assert_eq!(push.request.body, first.request.body);
        pauses.push((push.at - std::mem::replace(&mut at, push.at)).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8]);
    rig.is_told_nothing().await;
    assert_eq!((rig.place("msg.notify"), rig.counted("told"), rig.counted("given_up")), (json!(1), 1.0, 0.0));
    assert!(!format!("{:?}", plugin.health().await.unwrap()).contains("receiver"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_nobody_takes_is_given_up_and_the_next_one_told() {
    let rig = Rig::new();
    let settings = json!({ "msgNotifyEventRetryMaxCount": 3, "msgNotifyEventCountPerPush": 2 });
    let _plugin = rig.start(&notify_only(&settings)).await;
    rig.will_answer(&[Some(500), Some(500), None]);
    rig.say(1..=3, "2/team", NOW);
    for _ in 0..3 {
        assert_eq!(rig.push().await.ids(), [1, 2]);
    }
    assert_eq!(rig.push().await.ids(), [3]);
    rig.is_told_nothing().await;
    assert_eq!((rig.place("msg.notify"), rig.counted("told"), rig.counted("given_up")), (json!(3), 1.0, 2.0));
    let logs = rig.mock.logs();
    let given_up = logs.iter().find(|line| line.message.contains("given up")).expect("it is logged");
    let reason = ("reason".to_owned(), "unavailable: receiver.example: connection refused".to_owned());
    assert!(
        given_up.fields.contains(&("messages".into(), "2".into())) && given_up.fields.contains(&reason),
        "{logs:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_nothing() {
    let rig = Rig::new();
    let plugin = rig.start(&notify_only(&json!({}))).await;
    rig.will_answer(&[None; 2]);
    rig.say(1..=3, "2/team", NOW);
    assert_eq!(rig.push().await.ids(), [1, 2, 3]);
    drop(plugin);
    // Meanwhile more comes, and the receiver is there again. It was not told, so it is not history, however long it took.
    rig.say(4..=5, "2/team", NOW + 5 * HOUR);
    rig.clock.store(NOW + 9 * HOUR, Ordering::Relaxed);
    rig.answers.lock().unwrap().clear();
    let plugin = rig.start(&notify_only(&json!({}))).await;
    assert_eq!(rig.push().await.ids(), [1, 2, 3, 4, 5]);
    rig.settle().await;
    drop(plugin);
    let _plugin = rig.start(&notify_only(&json!({}))).await;
    rig.is_told_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn history_and_parts_of_streams_are_not_told() {
    let rig = Rig::new();
    let _plugin = rig.start(&notify_only(&json!({}))).await;
    rig.say([1], "2/team", NOW - HOUR - 1);
    rig.say([2], "stream/0123456789abcdef0123456789abcdef", NOW);
    rig.say([3], "2/team", NOW - HOUR);
    assert_eq!(rig.push().await.ids(), [3]);
    // The next hour begins when nothing is left.
    rig.clock.store(NOW + HOUR, Ordering::Relaxed);
    rig.say([4], "2/team", NOW);
    assert_eq!(rig.push().await.ids(), [4]);
    rig.is_told_nothing().await;
    rig.say([5], "2/team", NOW - 1);
    rig.is_told_nothing().await;
    assert_eq!(rig.place("msg.notify"), 5);
}

#[tokio::test(start_paused = true)]
async fn each_message_is_told_with_whom_it_is_for() {
    let rig = Rig::new();
    let _plugin = rig.start(&json!({ "focusEvents": ["msg.offline"] })).await;
    rig.say([1], "1/bob@alice", NOW);
    let push = rig.push().await;
    assert_eq!(push.event(), "msg.offline");
    let told = push.body();
    assert_eq!(
        (&told["message_id"], &told["channel_id"], &told["to_uids"]),
        (&json!(1), &json!("bob"), &json!(["bob"]))
    );
    assert_eq!((&told["source_id"], &told["payload"]), (&json!(3), &json!("aGk=")));
    // One that is not taken holds back none of those told at the same time.
    rig.will_answer(&[Some(500)]);
    rig.say(2..=40, "2/team", NOW);
    let mut told = Vec::new();
    for _ in 0..40 {
        told.push(rig.push().await.body()["message_id"].as_i64().unwrap());
    }
    assert_eq!(told.last(), Some(&2), "{told:?}");
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, (2..=40).collect::<Vec<_>>());
    rig.is_told_nothing().await;
    assert_eq!((rig.place("msg.offline"), rig.place("msg.notify")), (json!(40), Value::Null));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_stored_is_told_as_far_as_there_is_room() {
    let rig = Rig::new();
    let plugin = rig.start(&json!({})).await;
    let send = async |payload: String, channel_type: u8| {
        let body = json!({
            "header": { "no_persist": 1 }, "from_uid": "alice", "channel_id": "bob", "channel_type": channel_type,
            "payload": payload,
        });
        let path = "/message/send".to_owned();
        let request =
            HttpRequest { method: "POST".into(), path, body: body.to_string().into(), ..HttpRequest::default() };
        let reply = plugin.http_handle(request).await.expect("every request is answered");
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        serde_json::from_slice::<Value>(&reply.body).expect("it is JSON")["message_id"].clone()
    };
    let id = send("aGk=".into(), 1).await;
    let push = rig.push().await;
    let told = push.body();
    assert_eq!((push.event(), &told["message_id"], &told["message_seq"]), ("msg.offline", &id, &json!(0)));
    assert_eq!((&told["header"]["no_persist"], &told["to_uids"]), (&json!(1), &json!(["bob"])));
    rig.is_told_nothing().await;
    // While nothing is taken, so many wait, and what comes then is not told.
    rig.will_answer(&[Some(500); 16]);
    for _ in 0..1100 {
        send("aGk=".into(), 2).await;
    }
    let dropped = rig.counted("dropped");
    assert!((60.0..=76.0).contains(&dropped), "{dropped}");
    let waiting = 1100 - dropped as usize;
    for _ in 0..waiting + 16 {
        rig.push().await;
    }
    rig.is_told_nothing().await;
    for _ in 0..20 {
        send("A".repeat(1 << 20), 2).await;
    }
    assert_eq!(rig.counted("dropped"), dropped + 5.0);
}

#[tokio::test(start_paused = true)]
async fn events_are_told_each_for_itself() {
    let rig = Rig::new();
    let _plugin = rig.start(&json!({})).await;
    rig.say([1], "2/team", NOW);
    let events = [rig.push().await, rig.push().await].map(|push| push.event().to_owned());
    assert_eq!(events, ["msg.offline", "msg.notify"]);
    rig.is_told_nothing().await;
    assert_eq!((rig.place("msg.offline"), rig.place("msg.notify")), (json!(1), json!(1)));
}

#[tokio::test(start_paused = true)]
async fn whether_people_are_connected_is_never_told() {
    let rig = Rig::new();
    let _plugin = rig.start(&json!({ "focusEvents": ["user.onlinestatus"] })).await;
    rig.say([1], "2/team", NOW);
    rig.is_told_nothing().await;
    assert_eq!(rig.mock.calls(), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_is_signed_at_the_time_of_each_try() {
    let rig = Rig::new();
    let _plugin = rig.start(&notify_only(&json!({ "secret": "0123456789abcdef" }))).await;
    rig.will_answer(&[Some(500)]);
    rig.say([1], "2/team", NOW);
    let signed = |push: &Push| {
        let header = push.request.headers.iter().find(|(name, _)| name == "x-stele-signature");
        header.expect("it is signed").1.clone()
    };
    let first = rig.push().await;
    assert!(signed(&first).starts_with("t=1755475200,v1="), "{}", signed(&first));
    rig.clock.store(NOW + 1_000_000, Ordering::Relaxed);
    let second = rig.push().await;
    assert!(signed(&second).starts_with("t=1755475201,v1="), "{}", signed(&second));
    assert_ne!(signed(&first)[17..], signed(&second)[17..]);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_fails_is_asked_again() {
    let rig = Rig::new();
    let down = Arc::new(Mutex::new(true));
    let (is_down, feed) = (Arc::clone(&down), (Arc::clone(&rig.messages), Arc::clone(&rig.came)));
    let _mock = rig.mock.clone().on_async::<ArchiveFeed, _>(move |query| {
        let (is_down, feed) = (*is_down.lock().unwrap(), feed.clone());
        async move { if is_down { Err(Error::unavailable("not now")) } else { feed_of(feed, query).await } }
    });
    let _plugin = rig.start(&notify_only(&json!({}))).await;
    *down.lock().unwrap() = false;
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.say([1], "2/team", NOW);
    *down.lock().unwrap() = true;
    tokio::time::sleep(Duration::from_secs(2)).await;
    *down.lock().unwrap() = false;
    assert_eq!(rig.push().await.ids(), [1]);
    rig.is_told_nothing().await;
}
