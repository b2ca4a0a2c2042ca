//! Every combination of filters against a plain list in memory: messages at random, with few senders, receivers, types, texts and
//! times, so that whatever could be confused is there. All cases are in one daemon, and in one list.

use anyhow::{Result, ensure};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::cell::RefCell;
use stele_tests::openim::{Api, Found, Openim, site};

const CASES: u32 = 24;
const PEOPLE: [&str; 3] = ["a", "b", "a_b"];
const GROUPS: [&str; 2] = ["a", "team"];
const TEXTS: [&str; 4] = ["ab", "Ba", "abab", "中文 ab"];
const KEYWORDS: [&str; 5] = ["a", "AB", "文 a", "bab", "none"];
/// Midnight of 2026-04-08, and the days behind it, in milliseconds.
const FIRST: i64 = 1_775_606_400_000;
const DAY: i64 = 86_400_000;
const DAYS: [&str; 4] = ["2026-04-08", "2026-04-09", "2026-04-10", "2026-04-11"];

/// What is sent.
#[derive(Clone, Debug)]
struct Draft {
    from: usize,
    /// A person or, behind them, a group.
    to: usize,
    is_custom: bool,
    text: usize,
    day: i64,
    /// Within the day.
    at: i64,
}

/// What is searched for, beside one of the combinations of filters.
#[derive(Clone, Debug)]
struct Ask {
    sender: usize,
    receiver: usize,
    content_type: i32,
    session_type: i32,
    day: usize,
    keyword: Option<usize>,
    start: Option<i64>,
    end: Option<i64>,
    newest_first: bool,
    with_cursor: bool,
    show: usize,
}

fn draft() -> impl Strategy<Value = Draft> {
    let at = prop_oneof![Just(0), Just(1), Just(DAY / 2), Just(DAY - 1)];
    (0..PEOPLE.len(), 0..PEOPLE.len() + GROUPS.len(), any::<bool>(), 0..TEXTS.len(), 0..3_i64, at)
        .prop_map(|(from, to, is_custom, text, day, at)| Draft { from, to, is_custom, text, day, at })
}

fn ask() -> impl Strategy<Value = Ask> {
    let time = || prop_oneof![3 => Just(None), 1 => (0..3 * DAY).prop_map(Some), 1 => (0..3_i64).prop_map(|day| Some(day * DAY))];
    let types = (prop_oneof![Just(101), Just(110), Just(102)], prop_oneof![Just(1), Just(3), Just(4)]);
    let keyword = prop_oneof![2 => Just(None), 1 => option::of(0..KEYWORDS.len())];
    let shown = (any::<bool>(), any::<bool>(), prop_oneof![1..4_usize, 5..50_usize]);
    (0..=PEOPLE.len(), 0..=PEOPLE.len() + GROUPS.len(), types, 0..DAYS.len(), keyword, (time(), time()), shown)
        .prop_map(|(sender, receiver, (content_type, session_type), day, keyword, (start, end), shown)| {
            let (newest_first, with_cursor, show) = shown;
            Ask {
                sender,
                receiver,
                content_type,
                session_type,
                day,
                keyword,
                start,
                end,
                newest_first,
                with_cursor,
                show,
            }
        })
}

/// A message that is stored.
#[derive(Clone, Debug)]
struct Stored {
    id: String,
    from: String,
    to: String,
    content_type: i32,
    session_type: i32,
    text: &'static str,
    at: i64,
}

fn receiver(to: usize) -> Option<&'static str> {
    PEOPLE.iter().chain(&GROUPS).nth(to).copied()
}

async fn send(api: &Api, draft: &Draft) -> Result<Stored> {
    let (from, text) = (PEOPLE[draft.from], TEXTS[draft.text]);
    // Nobody writes to themselves.
    let to = if draft.to == draft.from { (draft.to + 1) % PEOPLE.len() } else { draft.to };
    let (is_group, to) = (to >= PEOPLE.len(), receiver(to).expect("drafts go to somebody"));
    let (content_type, session_type) = (if draft.is_custom { 110 } else { 101 }, if is_group { 3 } else { 1 });
    let content = if draft.is_custom {
        json!({ "data": "0", "description": text, "extension": "" })
    } else {
        json!({ "content": text })
    };
    let at = FIRST + draft.day * DAY + draft.at;
    let key = if is_group { "groupID" } else { "recvID" };
    let sent = api
        .send(&json!({
            "sendID": from, key: to, "content": content, "contentType": content_type, "sessionType": session_type, "sendTime": at,
        }))
        .await?;
    ensure!(sent.send_time == at, "{sent:?}");
    let (from, to) = (from.to_owned(), to.to_owned());
    Ok(Stored { id: sent.server_msg_id, from, to, content_type, session_type, text, at })
}

impl Ask {
    /// The request, with those of the five filters that are set in `filters`.
    fn body(&self, filters: u32) -> Value {
        let mut body = json!({ "pagination": { "showNumber": self.show }, "order": if self.newest_first { "desc" } else { "asc" } });
        let given = [
            ("sendID", json!(PEOPLE.get(self.sender).unwrap_or(&"nobody"))),
            ("recvID", json!(receiver(self.receiver).unwrap_or("nobody"))),
            ("contentType", json!(self.content_type)),
            ("sessionType", json!(self.session_type)),
            ("sendTime", json!(DAYS[self.day])),
        ];
        for (place, (name, value)) in given.into_iter().enumerate() {
            if filters & (1 << place) != 0 {
                body[name] = value;
            }
        }
        if let Some(keyword) = self.keyword {
            body["keyword"] = json!(KEYWORDS[keyword]);
        }
        for (name, time) in [("startTime", self.start), ("endTime", self.end)] {
            if let Some(time) = time {
                body[name] = json!(FIRST + time);
            }
        }
        body
    }

    /// The same, asked of the list: ids in order.
    fn expected<'m>(&self, body: &Value, messages: &'m [Stored]) -> Vec<&'m str> {
        let is = |name: &str, found: Value| body.get(name).is_none_or(|wanted| *wanted == found);
        let mut found: Vec<_> = messages
            .iter()
            .filter(|message| {
                let day = DAYS[((message.at - FIRST) / DAY) as usize];
                let holds = [
                    is("sendID", json!(message.from)),
                    is("recvID", json!(message.to)),
                    is("contentType", json!(message.content_type)),
                    is("sessionType", json!(message.session_type)),
                    is("sendTime", json!(day)),
                    self.keyword
                        .is_none_or(|word| message.text.to_lowercase().contains(&KEYWORDS[word].to_lowercase())),
                    self.start.is_none_or(|start| message.at >= FIRST + start),
                    self.end.is_none_or(|end| message.at < FIRST + end),
                ];
                holds.into_iter().all(|holds| holds)
            })
            .collect();
        // Of those sent at the same time the one stored first comes first.
        found.sort_by_key(|message| message.at);
        if self.newest_first {
            found.reverse();
        }
        found.into_iter().map(|message| &*message.id).collect()
    }

    async fn check(&self, api: &Api, filters: u32, messages: &[Stored]) -> Result<()> {
        let mut body = self.body(filters);
        let expected = self.expected(&body, messages);
        let mut walked = Vec::new();
        if self.with_cursor {
            body["cursor"] = json!("");
        }
        for page in 1.. {
            if !self.with_cursor {
                body["pagination"]["pageNumber"] = json!(page);
            }
            let found: Found = api.search(&body).await?;
            ensure!(
                found.chat_logs_num as usize == expected.len(),
                "{} of {} {body}",
                found.chat_logs_num,
                expected.len()
            );
            for hit in &found.chat_logs {
                ensure!(hit.highlight.is_some() == body.get("keyword").is_some(), "{hit:?}");
            }
            walked.extend(found.ids().into_iter().map(str::to_owned));
            let next = found.next_cursor.clone().unwrap_or_default();
            body["cursor"] = if self.with_cursor { json!(next) } else { Value::Null };
            if if self.with_cursor { next.is_empty() } else { found.chat_logs.len() < self.show } {
                break;
            }
        }
        ensure!(walked == expected, "{body}: {walked:?} instead of {expected:?}");
        Ok(())
    }
}

#[test]
fn it_finds_what_a_list_would_find() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let openim = Openim::new("im", "")?;
    let site = site(std::slice::from_ref(&openim), "")?;
    let daemon = runtime.block_on(site.start())?;
    let api = openim.api();
    runtime.block_on(async {
        api.register(&PEOPLE).await?;
        for group in GROUPS {
            api.create_group(group, "a", &["b", "a_b"]).await?;
        }
        anyhow::Ok(())
    })?;
    let messages = RefCell::new(Vec::new());
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(vec(draft(), 1..10), vec(ask(), 32)), |(drafts, asks)| {
        let mut messages = messages.borrow_mut();
        let case = runtime.block_on(async {
            for draft in &drafts {
                messages.push(send(&api, draft).await?);
            }
            for (filters, ask) in asks.iter().enumerate() {
                ask.check(&api, filters as u32, &messages).await?;
            }
            anyhow::Ok(())
        });
        case.map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    outcome.map_err(|error| anyhow::anyhow!("{error}\n{}", site.log_tail()))?;
    ensure!(runtime.block_on(daemon.stop())?.success(), "{}", site.log_tail());
    Ok(())
}
