//! Contracts 003 and 004, whose endpoints are the same.

use super::row;
use crate::ask::{Request, Row};
use rand::rngs::StdRng;
use serde_json::{Value, json};
use stele_tests::crowd::gateway::{conversation, id, session};
use stele_tests::crowd::{Place, anybody, loud_group, member, time_ms};
use stele_tests::gateway::token;

/// What tokens are for; any will do.
const PLATFORM: u32 = 1;
const DAY_MS: i64 = 86_400_000;
const MESSAGES: &str = "/data/Msg";

pub fn rows(address: &str) -> Vec<Row> {
    let ask = |endpoint: &'static str, about, found, body: fn(&str, &mut StdRng) -> Value| {
        let url = format!("http://{address}/{endpoint}");
        row(("003, 004", endpoint), about, found, move |rng: &mut StdRng, _| {
            let group = loud_group(rng);
            let headers = vec![("authorization", format!("Bearer {}", token(&session(member(group, 0)), PLATFORM)))];
            let body = body(&conversation(Place::Group(group)), rng).to_string();
            Request { method: "POST", url: url.clone(), headers, body }
        })
    };
    vec![
        ask("get_conversation_last_30_msg", "of a group", MESSAGES, |name, _| json!({ "conversation_id": name })),
        ask(
            "get_conversation_30msg_before_the_id",
            "any of a group",
            MESSAGES,
            |name, rng| json!({ "conversation_id": name, "msg_id": id(name, time_ms(rng)) }),
        ),
        ask(
            "get_conversation_30msg_after_the_id",
            "any of a group",
            MESSAGES,
            |name, rng| json!({ "conversation_id": name, "msg_id": id(name, time_ms(rng)) }),
        ),
        ask("get_conversation_msg_by_range", "a day of a group", MESSAGES, |name, rng| {
            let begin = time_ms(rng);
            json!({ "conversation_id": name, "start_msg_id": id(name, begin), "end_msg_id": id(name, begin + DAY_MS) })
        }),
        ask("get_conversation_lastone_msg", "of a group", MESSAGES, |name, _| json!({ "conversation_id": name })),
        ask("get_lastone_msgid", "of a group", "/data/MsgId", |name, _| json!({ "conversation_id": name })),
        ask("get_conversation_detail", "of a group", "/data/LastMsgID", |name, _| json!({ "conversation_id": name })),
        ask(
            "get_joined_conversation",
            "of somebody",
            "/data/Conversations",
            |_, rng| json!({ "SessionId": session(anybody(rng)) }),
        ),
        ask(
            "send_msg",
            "to a group",
            "/data/MsgID",
            |name, _| json!({ "conversation_id": name, "status": 0, "type": 1, "content": "今天的会议改到下午三点" }),
        ),
    ]
}
