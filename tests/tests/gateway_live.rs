//! Live delivery of the gateway, as clients see it: everybody hears exactly their messages, in order, over every carrier,
//! whatever happens to connections, members and processes meanwhile.

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use futures::future::{join_all, try_join_all};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};
use stele_tests::{
    daemon::{Daemon, Site, is_alive, wait_for},
    gateway::{Api, Claims, Gateway, KEY, Sent, jwt, site, token},
    live::{Call, Carrier, End, Heard, Listener},
    places,
};
use tokio::sync::watch;

async fn start(config: &str) -> Result<(Site, Daemon, Gateway)> {
    start_with(config, "").await
}

async fn start_with(config: &str, sections: &str) -> Result<(Site, Daemon, Gateway)> {
    let gateway = Gateway::new("gateway", config)?;
    let site = site(std::slice::from_ref(&gateway), sections)?;
    let daemon = site.start().await?;
    Ok((site, daemon, gateway))
}

/// The platform of a carrier, so that one person listens over each of them at once.
fn platform(carrier: Carrier) -> u32 {
    carrier as u32 + 1
}

async fn listen(gateway: &Gateway, person: &str, carrier: Carrier, since: Option<&str>) -> Result<Listener> {
    let token = token(person, platform(carrier));
    Listener::open(carrier, &Call::notify(&gateway.listen, carrier, &token, since)).await
}

/// One platform of a person: what it should have heard, and what it has.
struct Ear {
    person: &'static str,
    carrier: Carrier,
    listener: Option<Listener>,
    /// Messages of earlier connections.
    heard: Vec<Heard>,
    expected: Vec<String>,
}

impl Ear {
    /// Waits until it has heard everything it should have.
    async fn catches_up(&self) -> Result<()> {
        if let Some(listener) = &self.listener {
            let waiting = listener.hears(self.expected.len() - self.heard.len()).await;
            waiting.with_context(|| format!("{} over {:?}", self.person, self.carrier))?;
        }
        Ok(())
    }

    /// Ends the connection, or keeps what an ended one has heard.
    fn leave(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.heard.extend(listener.log().heard);
        }
    }

    /// Comes back, with what it missed.
    async fn returns(&mut self, gateway: &Gateway) -> Result<()> {
        self.leave();
        let since = self.heard.last().map(|heard| heard.msg_id.as_str());
        self.listener = Some(listen(gateway, self.person, self.carrier, since).await?);
        Ok(())
    }

    /// It has heard what it should have, in order, and nothing else, and each as the archive shows it, byte for byte.
    fn verify(&mut self, shown: &BTreeMap<String, String>) -> Result<()> {
        self.leave();
        let ids: Vec<_> = self.heard.iter().map(|heard| heard.msg_id.as_str()).collect();
        ensure!(ids == self.expected, "{} over {:?}: {}", self.person, self.carrier, difference(&ids, &self.expected));
        for Heard { text, msg_id, .. } in &self.heard {
            let (text, shown) = (text.strip_suffix('\n').unwrap_or(text), &shown[msg_id]);
            ensure!(text == shown, "{} over {:?} heard {text}, not {shown}", self.person, self.carrier);
        }
        Ok(())
    }
}

fn difference(found: &[&str], expected: &[String]) -> String {
    let (heard, wanted): (BTreeSet<_>, BTreeSet<_>) =
        (found.iter().copied().collect(), expected.iter().map(String::as_str).collect());
    let missing: Vec<_> = wanted.difference(&heard).take(5).collect();
    let more: Vec<_> = heard.difference(&wanted).take(5).collect();
    let ordered = found.windows(2).all(|pair| pair[0] < pair[1]);
    let counts = format!("{} heard, {} expected", found.len(), expected.len());
    format!("{counts}; missing {missing:?}; too many {more:?}; in order, none twice: {ordered}")
}

/// Who is in which conversation, and who listens.
struct World {
    gateway: Gateway,
    api: Api,
    rng: StdRng,
    conversations: Vec<(String, BTreeSet<&'static str>)>,
    ears: Vec<Ear>,
    sent: BTreeMap<String, Sent>,
}

const PEOPLE: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];
const CONVERSATIONS: [&[&str]; 4] =
    [&["alice", "bob"], &["bob", "carol", "dave"], &["erin", "frank", "alice"], &PEOPLE];

impl World {
    async fn new(gateway: &Gateway) -> Result<Self> {
        let (api, mut conversations) = (gateway.api(), Vec::new());
        for (kind, members) in (0..).zip(CONVERSATIONS) {
            conversations.push((api.create(kind, members).await?, members.iter().copied().collect()));
        }
        let rows = PEOPLE.iter().flat_map(|person| Carrier::ALL.map(|carrier| (*person, carrier)));
        let ears = rows.map(|(person, carrier)| async move {
            let listener = Some(listen(gateway, person, carrier, None).await?);
            anyhow::Ok(Ear { person, carrier, listener, heard: Vec::new(), expected: Vec::new() })
        });
        let ears = try_join_all(ears).await?;
        let rng = StdRng::seed_from_u64(7);
        Ok(Self { gateway: gateway.clone(), api, rng, conversations, ears, sent: BTreeMap::new() })
    }

    /// Everybody sends so many messages at once, one after the other, where they are members; meanwhile `returning` ears lose
    /// their connections and come back.
    async fn talk(&mut self, messages: usize, returning: &[usize]) -> Result<()> {
        let mut plans: Vec<Vec<(String, String)>> = Vec::new();
        for person in PEOPLE {
            let joined: Vec<_> = self.conversations.iter().filter(|(_, members)| members.contains(person)).collect();
            let mut plan = Vec::new();
            for index in 0..messages {
                let (conversation, _) = joined.choose(&mut self.rng).context("everybody is somewhere")?;
                plan.push((conversation.clone(), format!("{person} 说 {index}/{}", self.sent.len())));
            }
            plans.push(plan);
        }
        let api = &self.api;
        let senders = PEOPLE.iter().zip(plans).map(|(person, plan)| async move {
            let token = token(person, 9);
            let mut sent = Vec::new();
            for (conversation, content) in plan {
                let id = api.send(&token, &conversation, &content).await?;
                sent.push(Sent { id, conversation, from: (*person).to_owned(), content });
            }
            anyhow::Ok(sent)
        });
        let gateway = &self.gateway;
        let ears = self.ears.iter_mut().enumerate().filter(|(index, _)| returning.contains(index));
        let returns = ears.map(|(_, ear)| async move {
            // In the midst of it.
            let listener = ear.listener.as_ref().context("it listens")?;
            let before = listener.log().heard.len();
            listener.until("news", |log| log.heard.len() > before).await?;
            ear.returns(gateway).await
        });
        let (sent, _) = tokio::try_join!(try_join_all(senders), try_join_all(returns))?;
        let mut sent: Vec<_> = sent.into_iter().flatten().collect();
        sent.sort_by(|a, b| a.id.cmp(&b.id));
        for message in sent {
            let of = |(id, _): &&(String, _)| *id == message.conversation;
            let (_, members) = self.conversations.iter().find(of).context("a known conversation")?;
            for ear in self.ears.iter_mut().filter(|ear| ear.listener.is_some() && members.contains(ear.person)) {
                ear.expected.push(message.id.clone());
            }
            ensure!(self.sent.insert(message.id.clone(), message).is_none(), "an id is given once");
        }
        Ok(())
    }

    async fn caught_up(&self) -> Result<()> {
        try_join_all(self.ears.iter().map(Ear::catches_up)).await.map(drop)
    }

    /// Somebody goes, or comes back, at random.
    async fn move_somebody(&mut self) -> Result<()> {
        let place = self.rng.random_range(0..self.conversations.len());
        let person = *PEOPLE.choose(&mut self.rng).context("there are people")?;
        let elsewhere = self.conversations.iter().filter(|(_, members)| members.contains(person)).count();
        let (id, members) = &mut self.conversations[place];
        if members.contains(person) {
            if elsewhere > 1 {
                self.api.kick(id, &[person]).await?;
                members.remove(person);
            }
        } else {
            self.api.add(id, &[person]).await?;
            members.insert(person);
        }
        Ok(())
    }
}

/// Ten rounds of a hundred messages and more. What happens between two rounds is answered before the next one begins, so that
/// it is known who is to hear what.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_hears_exactly_their_messages() -> Result<()> {
    let (site, daemon, gateway) = start("poll_seconds = 1").await?;
    let began = Utc::now().timestamp_micros();
    let mut world = World::new(&gateway).await?;
    let ears = world.ears.len();
    for round in 0..10 {
        let returning: Vec<_> = (0..ears)
            .filter(|index| (index + round) % 4 == 0 && world.ears[*index].listener.is_some() && round > 0)
            .collect();
        world.talk(17, &returning).await.with_context(|| format!("round {round}\n{}", site.log_tail()))?;
        world.caught_up().await.with_context(|| format!("round {round}\n{}", site.log_tail()))?;
        for _ in 0..3 {
            world.move_somebody().await?;
        }
        // One is away for a round, and does not want to know what it missed; another is replaced. A session of polls
        // outlives its connection, so those that poll miss nothing.
        for (index, ear) in world.ears.iter_mut().enumerate().filter(|(_, ear)| ear.carrier != Carrier::Poll) {
            if ear.listener.is_none() {
                ear.listener = Some(listen(&gateway, ear.person, ear.carrier, None).await?);
            } else if index % 7 == round % 7 {
                ear.leave();
            } else if index % 7 == (round + 3) % 7 {
                let later = listen(&gateway, ear.person, ear.carrier, None).await?;
                replaced(ear.carrier, &ear.listener.as_ref().context("it listens")?.ends().await?)?;
                ear.leave();
                ear.listener = Some(later);
            }
        }
    }
    ensure!(world.sent.len() >= 1000, "{}", world.sent.len());
    // Whatever should not have come would have come before the last message.
    for ear in world.ears.iter_mut().filter(|ear| ear.listener.is_none()) {
        ear.listener = Some(listen(&gateway, ear.person, ear.carrier, None).await?);
    }
    let everybody = world.api.create(0, &PEOPLE).await?;
    let (from, content) = (PEOPLE[0].to_owned(), "the last one".to_owned());
    let last = world.api.send(&token(&from, 9), &everybody, &content).await?;
    for ear in &mut world.ears {
        let listener = ear.listener.as_ref().context("it listens")?;
        listener.hears_id(&last).await.with_context(|| site.log_tail())?;
        // The automatic message of the conversation comes first.
        ear.leave();
        let greeting = ear.heard.iter().position(|heard| heard.message()["ConversationID"] == *everybody);
        let greeting = ear.heard.remove(greeting.context("a greeting")?).message();
        ensure!(greeting["Type"] == 0, "{greeting}");
        ear.expected.push(last.clone());
    }
    world.sent.insert(last.clone(), Sent { id: last, conversation: everybody.clone(), from, content });
    world.conversations.push((everybody, PEOPLE.into()));
    // The archive has it all, as it was sent.
    let mut shown = BTreeMap::new();
    for (conversation, members) in &world.conversations {
        let member = members.first().context("somebody is left")?;
        let history = world.api.history_texts(&token(member, 9), conversation).await?;
        let sent: Vec<_> = world.sent.values().filter(|sent| sent.conversation == *conversation).collect();
        ensure!(history.len() == sent.len() + 1, "{} of {} in {conversation}", history.len(), sent.len() + 1);
        for (text, sent) in history.into_iter().skip(1).zip(sent) {
            is_shown(&text, sent, began)?;
            shown.insert(sent.id.clone(), text);
        }
    }
    for ear in &mut world.ears {
        ear.verify(&shown)?;
    }
    ensure!(daemon.stop().await?.success());
    Ok(())
}

/// A message as it is shown is what was sent, since this time: these keys, in this order, and no more.
fn is_shown(text: &str, sent: &Sent, began: i64) -> Result<()> {
    let Sent { id, conversation, from, content } = sent;
    let found: Value = serde_json::from_str(text)?;
    let time = found["SendTime"].as_i64().with_context(|| format!("no time: {text}"))?;
    ensure!((began..=Utc::now().timestamp_micros()).contains(&time), "another time: {text}");
    let wanted = json!({
        "MsgId": id, "ConversationID": conversation, "FromSession": from, "SendTime": time, "Status": 0, "Type": 1,
        "Content": content,
    })
    .to_string();
    ensure!(text == wanted, "{text} is not {wanted}");
    Ok(())
}

/// Messages between two moves of somebody.
const BETWEEN_MOVES: usize = 20;

/// Whoever is kicked while others talk hears everything up to one place among the messages, and nothing from there on until
/// they come back, at one place again: the same over every carrier.
#[tokio::test(flavor = "multi_thread")]
async fn a_kick_amid_messages_has_one_place_among_them() -> Result<()> {
    let (site, daemon, gateway) = start("poll_seconds = 1").await?;
    let api = gateway.api();
    let conversation = api.create(0, &["alice", "bob", "carol"]).await?;
    let listeners = try_join_all(Carrier::ALL.map(|carrier| listen(&gateway, "alice", carrier, None))).await?;
    let stays = listen(&gateway, "bob", Carrier::Ws, None).await?;
    let (answers, enough) = (watch::Sender::new(0), AtomicBool::new(false));
    let sending = try_join_all(["bob", "carol"].map(|person| {
        let (api, conversation, answers, enough) = (&api, &conversation, &answers, &enough);
        async move {
            let (token, mut sent) = (token(person, 9), Vec::new());
            while !enough.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let id = api.send(&token, conversation, person).await?;
                sent.push((id, begun, Instant::now()));
                answers.send_modify(|count| *count += 1);
            }
            anyhow::Ok(sent)
        }
    }));
    let moving = async {
        let (mut moves, mut count) = (Vec::new(), answers.subscribe());
        for kicks in [true, false, true, false, true, false] {
            let before = *count.borrow();
            count.wait_for(|count| *count >= before + BETWEEN_MOVES).await?;
            let begun = Instant::now();
            match kicks {
                true => api.kick(&conversation, &["alice"]).await?,
                false => api.add(&conversation, &["alice"]).await?,
            }
            moves.push((begun, Instant::now()));
        }
        enough.store(true, Ordering::Relaxed);
        Ok(moves)
    };
    let (sent, moves) = tokio::try_join!(sending, moving)?;
    let last = api.send(&token("bob", 9), &conversation, "the last one").await?;
    let history = api.history(&token("bob", 9), &conversation).await?;
    let order: Vec<_> = history.iter().skip(1).filter_map(|message| message["MsgId"].as_str()).collect();
    let all = stays.hears_id(&last).await.with_context(|| site.log_tail())?.ids();
    ensure!(all == order, "bob heard {} of {}", all.len(), order.len());
    let mut heard = Vec::new();
    for listener in &listeners {
        heard.push(listener.hears_id(&last).await.with_context(|| site.log_tail())?.ids());
    }
    ensure!(heard.iter().all(|ids| *ids == heard[0]), "not the same over every carrier: {heard:?}");
    let heard: BTreeSet<_> = heard[0].iter().map(String::as_str).collect();
    let changes = order.windows(2).filter(|pair| heard.contains(pair[0]) != heard.contains(pair[1])).count();
    ensure!(changes == moves.len(), "{changes} places where what is heard begins or ends");
    // Those that were neither begun nor answered during a move leave no choice.
    for (id, begun, answered) in sent.iter().flatten() {
        let over = moves.iter().filter(|(_, done)| done < begun).count();
        if moves.get(over).is_none_or(|(next, _)| answered < next) {
            ensure!(heard.contains(id.as_str()) == over.is_multiple_of(2), "{id} after {over} moves");
        }
    }
    ensure!(daemon.stop().await?.success());
    Ok(())
}

/// How a connection ends whose session listens elsewhere.
fn replaced(carrier: Carrier, end: &End) -> Result<()> {
    let right = match end {
        End::Closed { code: 4001, reason } => carrier == Carrier::Ws && reason.starts_with("replaced"),
        End::Over => carrier == Carrier::Sse,
        _ => false,
    };
    ensure!(right, "{carrier:?} replaced: {end:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_poll_answers_an_earlier_one_at_once() -> Result<()> {
    let (site, _daemon, gateway) = start("poll_seconds = 300").await?;
    let api = gateway.api();
    let conversation = api.create(0, &["alice", "bob"]).await?;
    let poll = |platform| {
        let call = Call::notify(&gateway.listen, Carrier::Poll, &token("alice", platform), None);
        let request = stele_tests::client::http().get(format!("http://{}{}", call.address, call.path));
        let sending = request.header("authorization", format!("Bearer {}", call.token)).send();
        tokio::spawn(async move {
            let response = sending.await?;
            anyhow::Ok((response.status().as_u16(), response.text().await?))
        })
    };
    let listening = async |count| {
        wait_for("sessions", || async {
            let count_now = site.metric("stele_live_sessions").await.map_err(|error| error.to_string())?;
            if count_now == f64::from(count) { Ok(()) } else { Err(format!("{count_now}")) }
        })
        .await
    };
    let first = poll(1);
    listening(1).await?;
    let elsewhere = poll(2);
    listening(2).await?;
    let second = poll(1);
    // Far sooner than in its five minutes.
    let answer =
        tokio::time::timeout(stele_tests::daemon::PATIENCE, first).await.context("it is not replaced")???;
    ensure!(answer == (204, String::new()), "{answer:?}");
    let id = api.send(&token("bob", 1), &conversation, "hello").await?;
    for poll in [second, elsewhere] {
        let (status, text) = poll.await??;
        let message: Value = serde_json::from_str(&text)?;
        ensure!(status == 200 && message["MsgId"] == *id && text.ends_with('\n'), "{status} {text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_are_told_that_it_lives() -> Result<()> {
    let (_site, _daemon, gateway) = start_with("poll_seconds = 1", "[live]\nheartbeat_seconds = 1").await?;
    for carrier in Carrier::ALL {
        let listener = listen(&gateway, "alice", carrier, None).await?;
        let log = listener.until("heartbeats", |log| log.beats >= 3).await?;
        ensure!(log.heard.is_empty(), "{:?}", log.heard);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_token() -> Result<()> {
    let (_site, _daemon, gateway) = start("poll_seconds = 1").await?;
    let api = gateway.api();
    let conversation = api.create(0, &["alice", "bob"]).await?;
    let listeners = try_join_all(Carrier::ALL.map(|carrier| {
        let short = jwt("HS256", &Claims::lasting("alice", platform(carrier), 10), KEY);
        let call = Call::notify(&gateway.listen, carrier, &short, None);
        async move { Listener::open(carrier, &call).await }
    }))
    .await?;
    let heard = api.send(&token("bob", 1), &conversation, "before").await?;
    for listener in &listeners {
        listener.hears_id(&heard).await?;
    }
    for listener in &listeners {
        let end = listener.ends().await?;
        let right = match (listener.carrier, &end) {
            (Carrier::Ws, End::Closed { code, .. }) => *code == 4003,
            (Carrier::Sse, End::Over) => true,
            (Carrier::Poll, End::Answered { status: 200, text }) => text.contains("10101"),
            _ => false,
        };
        ensure!(right, "{:?}: {end:?}", listener.carrier);
    }
    let missed = api.send(&token("bob", 1), &conversation, "meanwhile").await?;
    for carrier in Carrier::ALL {
        let again = listen(&gateway, "alice", carrier, Some(&heard)).await?;
        ensure!(again.hears(1).await?.ids() == [missed.as_str()], "{carrier:?}: {:?}", again.log().heard);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_said_and_what_is_missed_comes_after_the_start() -> Result<()> {
    let (site, daemon, gateway) = start("poll_seconds = 1").await?;
    let api = gateway.api();
    let conversation = api.create(0, &["alice", "bob"]).await?;
    let listeners = try_join_all(Carrier::ALL.map(|carrier| listen(&gateway, "alice", carrier, None))).await?;
    let first = api.send(&token("bob", 1), &conversation, "before").await?;
    for listener in &listeners {
        listener.hears_id(&first).await?;
    }
    ensure!(daemon.stop().await?.success(), "{}", site.log_tail());
    for listener in &listeners {
        let end = listener.ends().await?;
        let right = match (listener.carrier, &end) {
            (Carrier::Ws, End::Closed { code, .. }) => *code == 1001,
            (Carrier::Sse, End::Over) => true,
            // A poll is answered, and the next one finds nobody.
            (Carrier::Poll, End::Broken(_) | End::Answered { status: 503, .. }) => true,
            _ => false,
        };
        ensure!(right, "{:?}: {end:?}", listener.carrier);
    }
    let daemon = site.start().await?;
    let mut missed = Vec::new();
    for content in ["one", "two", "three"] {
        missed.push(api.send(&token("bob", 1), &conversation, content).await?);
    }
    daemon.kill().await?;
    let _daemon = site.start().await?;
    for carrier in Carrier::ALL {
        let listener = listen(&gateway, "alice", carrier, Some(&first)).await?;
        ensure!(listener.hears(3).await?.ids() == missed, "{carrier:?}: {:?}", listener.log().heard);
    }
    Ok(())
}

/// Sends until told to stop; returns what was answered, and what it is not known of.
async fn keeps_sending(api: &Api, person: &str, conversation: &str, count: usize) -> (Vec<String>, Vec<String>) {
    let (token, mut sent, mut unknown) = (token(person, 9), Vec::new(), Vec::new());
    while sent.len() < count {
        let content = format!("{person} {} {}", sent.len(), unknown.len());
        match api.send(&token, conversation, &content).await {
            Ok(id) => sent.push(id),
            Err(_) => unknown.push(content),
        }
    }
    (sent, unknown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_dies_loses_nothing_and_cuts_nobody_off() -> Result<()> {
    let (site, daemon, gateway) = start("poll_seconds = 1").await?;
    let api = gateway.api();
    let conversation = api.create(0, &["alice", "bob", "carol"]).await?;
    let listeners = try_join_all(Carrier::ALL.map(|carrier| listen(&gateway, "alice", carrier, None))).await?;
    let killing = async {
        for _ in 0..2 {
            let heard = listeners[0].log().heard.len();
            listeners[0].hears(heard + 20).await?;
            let plugin = *daemon.children().first().context("the plugin has a process")?;
            ensure!(Command::new("kill").args(["-9", &plugin.to_string()]).status()?.success(), "it is not killed");
            wait_for("its end", || async { if is_alive(plugin) { Err(plugin.to_string()) } else { Ok(()) } }).await?;
        }
        Ok(())
    };
    let sending = async {
        let senders = ["bob", "carol"].map(|person| keeps_sending(&api, person, &conversation, 100));
        Ok(join_all(senders).await)
    };
    let (sent, ()) = tokio::try_join!(sending, killing)?;
    let last = api.send(&token("bob", 9), &conversation, "the last one").await?;
    let answered: BTreeSet<_> = sent.iter().flat_map(|(sent, _)| sent.iter().cloned()).collect();
    let history = api.history(&token("bob", 9), &conversation).await?;
    let stored: Vec<_> = history.iter().skip(1).map(|message| message["MsgId"].as_str().unwrap_or_default()).collect();
    let lost: Vec<_> = answered.iter().filter(|id| !stored.contains(&id.as_str())).collect();
    ensure!(lost.is_empty(), "{lost:?} were answered and are lost");
    let unknown = sent.iter().map(|(_, unknown)| unknown.len()).sum::<usize>();
    ensure!(stored.len() <= answered.len() + unknown + 1, "{} stored, {unknown} unknown", stored.len());
    for listener in listeners {
        let carrier = listener.carrier;
        let mut heard = match carrier {
            // A poll that meets the moment without a plugin is refused, and a client goes on from where it was.
            Carrier::Poll => {
                listener.until("end or last", |log| log.end.is_some() || log.ids().contains(&last)).await?.ids()
            }
            _ => listener.hears_id(&last).await.with_context(|| site.log_tail())?.ids(),
        };
        drop(listener);
        if heard.last() != Some(&last) {
            let again = listen(&gateway, "alice", carrier, heard.last().map(String::as_str)).await?;
            heard.extend(again.hears_id(&last).await?.ids());
        }
        ensure!(heard == stored, "{carrier:?} heard {} of {}", heard.len(), stored.len());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bench_measures() -> Result<()> {
    let mut bench = tokio::process::Command::new(places::program("stele-live-bench")?);
    bench.args(["--connections", "40", "--rate", "50", "--seconds", "1"]).kill_on_drop(true);
    let output = bench.output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    let printed = String::from_utf8(output.stdout)?;
    let figures: Value = serde_json::from_str(printed.lines().last().context("it prints figures")?)?;
    ensure!(figures["connections"] == 40 && figures["messages"] == 50 && figures["deliveries"] == 500, "{figures}");
    let names = ["p50_ms", "p99_ms", "daemon_kib_before", "daemon_kib_under_load", "messages_per_second"];
    for name in names {
        ensure!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {figures}");
    }
    ensure!(figures["p99_ms_goal"] == 50.0 && figures["daemon_kib_goal"] == 292_968, "{figures}");
    // What is missed is said.
    for (words, figure, goal) in [
        ("memory under load: ", "daemon_kib_under_load", "daemon_kib_goal"),
        ("p99 of the delay: ", "p99_ms", "p99_ms_goal"),
    ] {
        let line = errors.lines().find(|line| line.starts_with(words)).context("the goals are named")?;
        let met = figures[figure].as_f64() <= figures[goal].as_f64();
        ensure!(line.ends_with(if met { ": met" } else { ": MISSED" }), "{line}: {figures}");
    }
    Ok(())
}
