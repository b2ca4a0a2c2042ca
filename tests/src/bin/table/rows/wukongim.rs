//! Contract 001.

use super::{crowd, row, said_in_loudest};
use crate::ask::{Request, Row};
use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};
use stele_tests::client::quote_plus;
use stele_tests::crowd::wukongim::{group, id, uid};
use stele_tests::crowd::{Place, Protocol, Said, anybody, keyword, loud_group, member};
use stele_tests::wukongim::encoded;

/// Messages of a page of a sync, and of those that are named.
const LIMIT: u64 = 50;
const NAMED: u64 = 20;
/// Type of groups.
const GROUP: u8 = 2;

pub fn rows(address: &str, share: u64) -> Vec<Row> {
    let post = |path: &'static str, about, found, body: Box<dyn Fn(&mut StdRng) -> Value>| {
        let url = format!("http://{address}/{path}");
        row(("001", path), about, found, move |rng: &mut StdRng, _| Request {
            method: "POST",
            url: url.clone(),
            headers: Vec::new(),
            body: body(rng).to_string(),
        })
    };
    let get = |path: &'static str, about, found, query: fn(&mut StdRng) -> String| {
        let address = address.to_owned();
        row(("001", path), about, found, move |rng: &mut StdRng, _| {
            let url = format!("http://{address}/{path}?{}", query(rng));
            Request { method: "GET", url, headers: Vec::new(), body: String::new() }
        })
    };
    let crowd = crowd(Protocol::Wukongim, share);
    let last = said_in_loudest(share);
    vec![
        post("channel/messagesync", "the newest 50 of a group", "/messages", Box::new(|rng| sync(loud_group(rng), 0))),
        post(
            "channel/messagesync",
            "50 from any number on in the group that talks most",
            "/messages",
            Box::new(move |rng| sync(0, rng.random_range(1..last))),
        ),
        get("channel/max_message_seq", "of a group", "/message_seq", |rng| named(loud_group(rng))),
        post(
            "messages",
            "20 by number in the group that talks most",
            "",
            Box::new(move |rng| {
                let seqs: Vec<_> = (0..NAMED).map(|_| rng.random_range(1..last)).collect();
                json!({ "login_uid": uid(member(0, 0)), "channel_id": group(0), "channel_type": GROUP, "message_seqs": seqs })
            }),
        ),
        post(
            "message",
            "one of a group by id",
            "/message_id",
            Box::new(move |rng| {
                let said = std::iter::repeat_with(|| crowd.said(rng.random_range(0..share)));
                let in_a_group = |said: Said| match said.place {
                    Place::Group(number) => Some((number, said)),
                    Place::Pair(_) => None,
                };
                let (number, said) = said.filter_map(in_a_group).next().expect("most is said in groups");
                json!({
                    "login_uid": uid(said.sender), "channel_id": group(number), "channel_type": GROUP,
                    "message_id": id(said.sent_at_ms),
                })
            }),
        ),
        get("cluster/messages", "of a group", "/data", |rng| named(loud_group(rng))),
        get("cluster/messages", "of a sender", "/data", |rng| format!("from_uid={}", uid(anybody(rng)))),
        get("cluster/messages", "two characters in a group", "/data", |rng| {
            format!("{}&payload={}", named(loud_group(rng)), quote_plus(&encoded(keyword(rng).as_bytes())))
        }),
        get("cluster/messages", "two characters everywhere", "/data", |rng| {
            format!("payload={}", quote_plus(&encoded(keyword(rng).as_bytes())))
        }),
        post(
            "message/send",
            "to a group",
            "/message_id",
            Box::new(|rng| {
                let number = loud_group(rng);
                let payload = json!({ "type": 1, "content": "今天的会议改到下午三点" }).to_string();
                json!({
                    "header": { "red_dot": 1 }, "from_uid": uid(member(number, 0)), "channel_id": group(number),
                    "channel_type": GROUP, "payload": encoded(payload.as_bytes()),
                })
            }),
        ),
    ]
}

fn sync(number: u32, start: u64) -> Value {
    json!({
        "login_uid": uid(member(number, 0)), "channel_id": group(number), "channel_type": GROUP, "start_message_seq": start,
        "limit": LIMIT,
    })
}

/// A group in a query.
fn named(number: u32) -> String {
    format!("channel_id={}&channel_type={GROUP}", group(number))
}
