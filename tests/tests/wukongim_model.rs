//! Sends, repeats, expiry, sync, look-ups and search of WuKongIM's API against a plain list in memory, with operations at random,
//! for both meanings of `pull_mode`. Every case has channels of its own in one daemon.

use anyhow::{Context, Result, ensure};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::{
    cell::{Cell, RefCell},
    time::{SystemTime, UNIX_EPOCH},
};
use stele_tests::{
    daemon::wait_for,
    wukongim::{Api, Message, Page, Sent, Wukongim, encoded, site},
};

const CASES: u32 = 64;
/// Two groups, and two people.
const CHANNELS: usize = 3;
/// What is said, and what of it can be searched for.
const PAYLOADS: [&[u8]; 4] = [b"hello", b"Hello, world", br#"{"type":1,"content":"hi","n":7}"#, b"\xff\x00\xfe"];
const SEARCHES: [(&str, &[usize]); 5] = [("hello", &[0, 1]), ("world", &[1]), ("hi", &[2]), ("7", &[2]), ("none", &[])];

/// What somebody sends.
#[derive(Clone, Debug)]
struct Draft {
    channel: usize,
    from: usize,
    number: Option<u8>,
    payload: usize,
    passing: bool,
    expire: u32,
}

/// Bounds and limits are small, and so are channels.
#[derive(Clone, Debug)]
enum Op {
    Send(Draft),
    Batch(Vec<Draft>),
    Sync { channel: usize, start: u64, end: u64, limit: u64, mode: u64 },
    Walk { channel: usize, limit: u64, newest: bool },
    Messages { channel: usize, seqs: Vec<u64>, ids: Vec<usize>, numbers: Vec<u8> },
    Message { channel: usize, id: Option<usize>, number: Option<u8> },
    Last { channel: usize },
    Search { channel: usize, text: usize, limit: usize, from: Option<usize> },
}

fn draft() -> impl Strategy<Value = Draft> {
    let expire = prop_oneof![6 => Just(0), 1 => Just(1), 1 => Just(3600)];
    let passing = prop::bool::weighted(0.1);
    (0..CHANNELS, 0..2_usize, option::of(0..6_u8), 0..PAYLOADS.len(), passing, expire).prop_map(
        |(channel, from, number, payload, passing, expire)| Draft { channel, from, number, payload, passing, expire },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let sync = (0..CHANNELS, 0..12_u64, 0..12_u64, 0..8_u64, 0..2_u64)
        .prop_map(|(channel, start, end, limit, mode)| Op::Sync { channel, start, end, limit, mode });
    let walk =
        (0..CHANNELS, 1..5_u64, any::<bool>()).prop_map(|(channel, limit, newest)| Op::Walk { channel, limit, newest });
    let messages = (0..CHANNELS, vec(0..12_u64, 0..4), vec(0..40_usize, 0..4), vec(0..6_u8, 0..3))
        .prop_map(|(channel, seqs, ids, numbers)| Op::Messages { channel, seqs, ids, numbers });
    let message = (0..CHANNELS, option::of(0..40_usize), option::of(0..6_u8))
        .prop_map(|(channel, id, number)| Op::Message { channel, id, number });
    let search = (0..CHANNELS, 0..SEARCHES.len(), 1..5_usize, option::of(0..2_usize))
        .prop_map(|(channel, text, limit, from)| Op::Search { channel, text, limit, from });
    prop_oneof![
        8 => draft().prop_map(Op::Send),
        2 => vec(draft(), 0..5).prop_map(Op::Batch),
        4 => sync,
        1 => walk,
        2 => messages,
        2 => message,
        1 => (0..CHANNELS).prop_map(|channel| Op::Last { channel }),
        2 => search,
    ]
}

/// A message that is stored.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    id: u64,
    seq: u64,
    number: String,
    from: String,
    payload: usize,
    expire: u32,
}

impl Stored {
    /// Milliseconds since 1970, as its id says.
    fn sent_at(&self) -> u64 {
        (self.id >> 22) + 1_288_834_974_657
    }

    fn is_good(&self, now: u128) -> bool {
        self.expire == 0 || u128::from(self.sent_at() * 1000 + u64::from(self.expire) * 1_000_000) > now
    }
}

/// One case: its channels, and what is in them.
struct Case {
    name: String,
    api: Api,
    /// `pull_mode` means what real servers mean.
    upstream: bool,
    channels: [Vec<Stored>; CHANNELS],
    last_id: u64,
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_micros()
}

impl Case {
    fn person(&self, from: usize) -> String {
        format!("{}-{}", self.name, ["alice", "bob"][from])
    }

    /// Type of a channel, and its id for whoever this is.
    fn channel(&self, channel: usize, reader: usize) -> (u8, String) {
        if channel == 2 { (1, self.person(1 - reader)) } else { (2, format!("{}-{channel}", self.name)) }
    }

    fn named(&self, channel: usize, mut more: Value) -> Value {
        let (channel_type, id) = self.channel(channel, 0);
        more["login_uid"] = json!(self.person(0));
        more["channel_id"] = json!(id);
        more["channel_type"] = json!(channel_type);
        more
    }

    fn draft(&self, draft: &Draft) -> Value {
        let (channel_type, id) = self.channel(draft.channel, draft.from);
        let mut sent = json!({
            "header": { "no_persist": u8::from(draft.passing) }, "from_uid": self.person(draft.from),
            "channel_id": id, "channel_type": channel_type, "expire": draft.expire,
            "payload": encoded(PAYLOADS[draft.payload]),
        });
        if let Some(number) = draft.number {
            sent["client_msg_no"] = json!(format!("n{number}"));
        }
        sent
    }

    /// The message that this one repeats; an error where it says something else.
    fn first(&self, draft: &Draft) -> Option<Result<&Stored, ()>> {
        let (number, from) = (format!("n{}", draft.number.filter(|_| !draft.passing)?), self.person(draft.from));
        let mut known = self.channels[draft.channel].iter();
        let first = known.find(|stored| stored.number == number && stored.from == from)?;
        Some(if first.payload == draft.payload { Ok(first) } else { Err(()) })
    }

    /// What a send was answered is what the list says, and the list has it from now on.
    fn take(&mut self, draft: &Draft, answer: &Value) -> Result<()> {
        if let Some(Err(())) = self.first(draft) {
            ensure!(answer["status"] == 400 && answer["msg"].is_string(), "not refused: {answer}");
            return Ok(());
        }
        let sent: Sent = serde_json::from_value(answer.clone()).with_context(|| answer.to_string())?;
        if let Some(Ok(first)) = self.first(draft) {
            let expected = (first.id, first.seq, first.number.as_str());
            ensure!(
                (sent.message_id, sent.message_seq, sent.client_msg_no.as_str()) == expected,
                "{answer}: {first:?}"
            );
            return Ok(());
        }
        let is_own = draft.number.map_or(sent.client_msg_no.len() == 33, |own| sent.client_msg_no == format!("n{own}"));
        ensure!(is_own, "another client_msg_no: {answer}");
        if draft.passing {
            let is_new = sent.message_id > 0 && self.channels.iter().flatten().all(|m| m.id != sent.message_id);
            ensure!(is_new && sent.message_seq == 0, "not stored, and yet {answer}");
            return Ok(());
        }
        // Ids ascend in the order in which messages are stored.
        ensure!(sent.message_id > self.last_id, "{} came before: {answer}", self.last_id);
        self.last_id = sent.message_id;
        let from = self.person(draft.from);
        let stored = &mut self.channels[draft.channel];
        let seq = stored.len() as u64 + 1;
        ensure!(sent.message_seq == seq, "not number {seq}: {answer}");
        let (id, number) = (sent.message_id, sent.client_msg_no);
        stored.push(Stored { id, seq, number, from, payload: draft.payload, expire: draft.expire });
        Ok(())
    }

    fn good(&self, channel: usize, now: u128) -> Vec<&Stored> {
        self.channels[channel].iter().filter(|stored| stored.is_good(now)).collect()
    }

    /// Asks, and compares the messages found with those of the list that are good; again when one expired meanwhile.
    async fn check<T>(
        &self,
        channel: usize,
        ask: impl AsyncFn() -> Result<T>,
        compare: impl Fn(&[&Stored], T) -> Result<()>,
    ) -> Result<()> {
        loop {
            let before = self.good(channel, now());
            let found = ask().await?;
            if before == self.good(channel, now()) {
                return compare(&before, found);
            }
        }
    }

    fn same(&self, channel: usize, expected: &[&Stored], found: &[Message]) -> Result<()> {
        let ids: Vec<_> = found.iter().map(|message| (message.message_seq, message.message_id)).collect();
        let wanted: Vec<_> = expected.iter().map(|stored| (stored.seq, stored.id)).collect();
        ensure!(ids == wanted, "{ids:?} instead of {wanted:?}");
        for (stored, message) in expected.iter().zip(found) {
            let sender = usize::from(stored.from == self.person(1));
            let (channel_type, channel_id) = self.channel(channel, sender);
            let expected = Message {
                message_id: stored.id,
                message_seq: stored.seq,
                client_msg_no: stored.number.clone(),
                from_uid: stored.from.clone(),
                target_uid: channel_id.clone(),
                channel_id,
                channel_type,
                timestamp: (stored.sent_at() / 1000) as i64,
                payload: encoded(PAYLOADS[stored.payload]),
                setting: 0,
                expire: stored.expire,
            };
            ensure!(*message == expected, "{message:?} instead of {expected:?}");
        }
        Ok(())
    }

    /// The table of reference/wukongim.md §17: the range, and whether it is taken from its high end.
    fn chosen<'s>(&self, good: &[&'s Stored], start: u64, end: u64, mode: u64) -> (Vec<&'s Stored>, bool) {
        let within = |low: u64, high: u64| good.iter().copied().filter(|m| low <= m.seq && m.seq < high).collect();
        let beyond = if end == 0 { u64::MAX } else { end };
        match (self.upstream, mode) {
            _ if start == 0 && end == 0 => (within(0, u64::MAX), true),
            (false, mode) => (within(start, beyond), mode == 1),
            (true, 1) => (within(start, beyond), false),
            (true, _) if end > start => (Vec::new(), true),
            (true, _) => (within(end + 1, start + 1), true),
        }
    }

    async fn sync(&self, channel: usize, start: u64, end: u64, limit: u64, mode: u64) -> Result<Page> {
        let asked = json!({ "start_message_seq": start, "end_message_seq": end, "limit": limit, "pull_mode": mode });
        self.api.sync(&self.named(channel, asked)).await
    }

    /// A walk to the end, as clients do it: on from the last number, until there is no more.
    async fn walk(&self, channel: usize, limit: u64, newest: bool) -> Result<Vec<Message>> {
        let mut walked = Vec::new();
        let (mut start, mut end) = if newest { (0, 0) } else { (1, 0) };
        loop {
            let page = self.sync(channel, start, end, limit, u64::from(newest != self.upstream)).await?;
            if page.messages.is_empty() {
                ensure!(page.more == 0, "nothing, and more of it");
                return Ok(walked);
            }
            let (first, last) = (page.messages[0].message_seq, page.messages[page.messages.len() - 1].message_seq);
            if !newest {
                start = last + 1;
                walked.extend(page.messages);
            } else {
                walked.splice(0..0, page.messages);
                (start, end) = if self.upstream { (first - 1, 0) } else { (0, first) };
            }
            if page.more == 0 {
                return Ok(walked);
            }
        }
    }

    /// Ids of messages of any channel, and one nobody gave.
    fn id(&self, pick: usize) -> u64 {
        self.channels.iter().flatten().nth(pick).map_or(1, |stored| stored.id)
    }

    async fn run(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Send(draft) => {
                let reply = self.api.post("/message/send", &self.draft(draft)).await?;
                if reply.status != 200 {
                    reply.is_refusal(400)?;
                }
                self.take(draft, &serde_json::from_str(&reply.text)?)
            }
            Op::Batch(drafts) => {
                let body = drafts.iter().map(|draft| self.draft(draft)).collect();
                let reply = self.api.post("/message/sendbatch", &body).await?;
                let answers: Vec<Value> = if reply.status == 200 {
                    serde_json::from_str(&reply.text)?
                } else {
                    // Nothing was stored at all.
                    reply.is_refusal(400)?;
                    vec![serde_json::from_str(&reply.text)?; drafts.len()]
                };
                ensure!(answers.len() == drafts.len(), "{} answers to {}: {}", answers.len(), drafts.len(), reply.text);
                drafts.iter().zip(&answers).try_for_each(|(draft, answer)| self.take(draft, answer))
            }
            Op::Sync { channel, start, end, limit, mode } => {
                let ask = async || self.sync(*channel, *start, *end, *limit, *mode).await;
                let compare = |good: &[&Stored], page: Page| {
                    ensure!((page.start_message_seq, page.end_message_seq) == (*start, *end), "{page:?}");
                    let (mut expected, newest) = self.chosen(good, *start, *end, *mode);
                    let mut limit = if *limit == 0 { 100 } else { *limit };
                    if self.upstream && *mode != 1 && *start > 0 {
                        // Counted from the start on, also where no message is yet.
                        limit = limit.saturating_sub(start.saturating_sub(self.channels[*channel].len() as u64));
                    }
                    let limit = limit as usize;
                    ensure!((page.more == 1) == (limit > 0 && expected.len() > limit), "more is {}", page.more);
                    if newest {
                        expected.drain(..expected.len().saturating_sub(limit));
                    }
                    expected.truncate(limit);
                    self.same(*channel, &expected, &page.messages)
                };
                self.check(*channel, ask, compare).await
            }
            Op::Walk { channel, limit, newest } => {
                let compare = |good: &[&Stored], walked: Vec<Message>| self.same(*channel, good, &walked);
                self.check(*channel, async || self.walk(*channel, *limit, *newest).await, compare).await
            }
            Op::Messages { channel, seqs, ids, numbers } => {
                let ids: Vec<_> = ids.iter().map(|pick| self.id(*pick)).collect();
                let numbers: Vec<_> = numbers.iter().map(|number| format!("n{number}")).collect();
                let body = json!({ "message_seqs": seqs, "message_ids": ids, "client_msg_nos": numbers });
                let body = self.named(*channel, body);
                if seqs.is_empty() && ids.is_empty() && numbers.is_empty() {
                    return self.api.post("/messages", &body).await?.is_refusal(400);
                }
                let compare = |good: &[&Stored], found: Vec<Message>| {
                    let is_asked =
                        |m: &&&Stored| seqs.contains(&m.seq) || ids.contains(&m.id) || numbers.contains(&m.number);
                    let expected: Vec<_> = good.iter().rev().filter(is_asked).copied().collect();
                    self.same(*channel, &expected, &found)
                };
                self.check(*channel, async || self.api.post("/messages", &body).await?.read(), compare).await
            }
            Op::Message { channel, id, number } => {
                let (id, number) = (id.map(|pick| self.id(pick)), number.map(|number| format!("n{number}")));
                let body = self.named(*channel, json!({ "message_id": id, "client_msg_no": number }));
                let compare = |good: &[&Stored], reply: stele_tests::wukongim::Reply| {
                    let is_it = |m: &&&Stored| {
                        id.is_none_or(|id| m.id == id) && number.as_ref().is_none_or(|number| m.number == *number)
                    };
                    match good.iter().rev().find(is_it) {
                        _ if id.is_none() && number.is_none() => reply.is_refusal(400),
                        Some(stored) => self.same(*channel, &[stored], &[reply.read()?]),
                        None => reply.is_refusal(404),
                    }
                };
                self.check(*channel, async || self.api.post("/message", &body).await, compare).await
            }
            Op::Last { channel } => {
                let (channel_type, id) = self.channel(*channel, 0);
                let login = self.person(0);
                let path =
                    format!("/channel/max_message_seq?channel_id={id}&channel_type={channel_type}&login_uid={login}");
                let found: Value = self.api.get(&path).await?.read()?;
                ensure!(found == json!({ "message_seq": self.channels[*channel].len() }), "{found}");
                Ok(())
            }
            Op::Search { channel, text, limit, from } => {
                let (text, payloads) = SEARCHES[*text];
                let from = from.map(|from| self.person(from));
                let ask = async || self.search(*channel, text, *limit, from.as_deref()).await;
                let compare = |good: &[&Stored], (found, total): (Vec<Message>, usize)| {
                    let is_it = |m: &&&Stored| {
                        payloads.contains(&m.payload) && from.as_ref().is_none_or(|from| m.from == *from)
                    };
                    let expected: Vec<_> = good.iter().rev().filter(is_it).copied().collect();
                    ensure!(total == expected.len(), "{total} in all instead of {}", expected.len());
                    self.same(*channel, &expected, &found)
                };
                self.check(*channel, ask, compare).await
            }
        }
    }

    /// A search walked to its end, and how many it said there are.
    async fn search(
        &self,
        channel: usize,
        text: &str,
        limit: usize,
        from: Option<&str>,
    ) -> Result<(Vec<Message>, usize)> {
        let (channel_type, id) = self.channel(channel, 0);
        let id = if channel_type == 1 { format!("{id}@{}", self.person(0)) } else { id };
        let from = from.map(|from| format!("&from_uid={from}")).unwrap_or_default();
        let payload = encoded(text.as_bytes()).replace('+', "%2B");
        let (mut walked, mut offset): (Vec<Message>, u64) = (Vec::new(), 0);
        loop {
            let path = format!(
                "/cluster/messages?channel_id={id}&channel_type={channel_type}{from}&payload={payload}&limit={limit}&offset_message_id={offset}"
            );
            let answer: Value = self.api.get(&path).await?.read()?;
            let found: Vec<Message> = serde_json::from_value(answer["data"].clone())?;
            let total = answer["total"].as_u64().with_context(|| answer.to_string())? as usize;
            let Some(last) = found.last() else { return Ok((walked, total)) };
            offset = last.message_id;
            walked.extend(found);
        }
    }
}

#[test]
fn it_does_what_a_list_would_do() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let instances = [Wukongim::new("contract", "")?, Wukongim::new("upstream", "pull_mode = \"upstream\"")?];
    let site = site(&instances, "")?;
    let daemon = runtime.block_on(site.start())?;
    let (count, done) = (Cell::new(0), RefCell::new(Vec::new()));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(any::<bool>(), vec(op(), 1..40)), |(upstream, ops)| {
        count.set(count.get() + 1);
        let (name, api) = (format!("c{}", count.get()), instances[usize::from(upstream)].api());
        let mut case = Case { name, api, upstream, channels: Default::default(), last_id: 0 };
        runtime.block_on(async {
            for (index, op) in ops.iter().enumerate() {
                case.run(op).await.map_err(|error| TestCaseError::fail(format!("op {index}: {error:#}")))?;
            }
            Ok::<_, TestCaseError>(())
        })?;
        done.borrow_mut().push(case);
        Ok(())
    });
    outcome.map_err(|error| anyhow::anyhow!("{error}\n{}", site.log_tail()))?;
    // What was good for a second only is gone by now, everywhere.
    let done = done.into_inner();
    runtime.block_on(async {
        wait_for("the last second", || async {
            let is_good = |case: &Case| case.channels.iter().flatten().any(|m| m.expire == 1 && m.is_good(now()));
            if done.iter().any(is_good) { Err("some are good".to_owned()) } else { Ok(()) }
        })
        .await?;
        for case in &done {
            for channel in 0..CHANNELS {
                for newest in [false, true] {
                    let walked = case.walk(channel, 3, newest).await?;
                    case.same(channel, &case.good(channel, now()), &walked).with_context(|| case.name.clone())?;
                }
            }
        }
        anyhow::Ok(())
    })?;
    let expired = done.iter().flat_map(|case| case.channels.iter().flatten()).filter(|m| m.expire == 1).count();
    ensure!(expired > 0 && done.len() >= CASES as usize, "{expired} expired in {} cases", done.len());
    ensure!(runtime.block_on(daemon.stop())?.success(), "{}", site.log_tail());
    Ok(())
}
