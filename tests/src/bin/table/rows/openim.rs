//! Contract 002.

use super::{PAGE, row};
use crate::ask::{Request, Row};
use rand::rngs::StdRng;
use serde_json::{Value, json};
use stele_tests::crowd::openim::{FILE, group, user};
use stele_tests::crowd::{anybody, day, keyword, loud_group, member};
use stele_tests::gateway::jwt;
use stele_tests::openim::{ADMIN, SECRET, claims};

const SEARCH: &str = "msg/search_msg";
const FOUND: &str = "/data/chatLogs";

/// What is said in a request; it gets what was answered before.
type Body = Box<dyn Fn(&mut StdRng, &Value) -> Value>;

pub fn rows(address: &str, share: u64) -> Vec<Row> {
    let token = jwt("HS256", &claims(ADMIN), SECRET);
    let post = |path: &'static str, about, found, body: Body| {
        let (url, token) = (format!("http://{address}/{path}"), token.clone());
        row(("002", path), about, found, move |rng: &mut StdRng, before: &Value| {
            let headers = vec![("operationID", "table".to_owned()), ("token", token.clone())];
            Request { method: "POST", url: url.clone(), headers, body: body(rng, before).to_string() }
        })
    };
    let search = |about, query: Box<dyn Fn(&mut StdRng) -> Value>| {
        let paged = move |rng: &mut StdRng, _: &Value| {
            let mut query = query(rng);
            if query["pagination"].is_null() {
                query["pagination"] = json!({ "pageNumber": 1, "showNumber": PAGE });
            }
            query
        };
        post(SEARCH, about, FOUND, Box::new(paged))
    };
    let middle = share / PAGE / 2;
    vec![
        search(
            "a group and a day, as in the document",
            Box::new(|rng| json!({ "recvID": group(loud_group(rng)), "sessionType": 3, "sendTime": day(rng) })),
        ),
        search("a sender", Box::new(|rng| json!({ "sendID": user(anybody(rng)) }))),
        search("files of a sender", Box::new(|rng| json!({ "sendID": user(anybody(rng)), "contentType": FILE }))),
        search("a day", Box::new(|rng| json!({ "sendTime": day(rng) }))),
        search("everything", Box::new(|_| json!({}))),
        search(
            "everything, the page in the middle",
            Box::new(move |_| json!({ "pagination": { "pageNumber": middle, "showNumber": PAGE } })),
        ),
        search(
            "two characters in a group",
            Box::new(|rng| json!({ "recvID": group(loud_group(rng)), "keyword": keyword(rng) })),
        ),
        search("two characters everywhere", Box::new(|rng| json!({ "keyword": keyword(rng) }))),
        post(
            SEARCH,
            "a page of a walk with a cursor",
            FOUND,
            Box::new(|_, before| {
                let cursor = before.pointer("/data/nextCursor").and_then(Value::as_str).unwrap_or_default();
                json!({ "cursor": cursor, "pagination": { "showNumber": PAGE } })
            }),
        ),
        post(
            "msg/send_msg",
            "to a group",
            "/data/serverMsgID",
            Box::new(|rng, _| {
                let number = loud_group(rng);
                json!({
                    "sendID": user(member(number, 0)), "groupID": group(number), "senderPlatformID": 5, "contentType": 101,
                    "sessionType": 3, "content": { "content": "今天的会议改到下午三点" },
                })
            }),
        ),
    ]
}
