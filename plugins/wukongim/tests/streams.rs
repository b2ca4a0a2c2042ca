//! `/stream/open`, items, `/stream/close`.

mod support;

use base64::Engine;
use futures::future::join_all;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use stele_plugin_api::model::ConversationKind;
use stele_wukongim::message::BASE64;
use support::{FIRST, Site, base64, body, message, request};

/// Where the ends of the streams of the channel are.
const ENDS: &str = "ends/2/group123";

async fn open(site: &Site, changes: &Value) -> String {
    let answer = site.ask("/stream/open", &message(changes)).await;
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    answer["stream_no"].as_str().expect("a number").to_owned()
}

fn item(stream_no: &str, payload: &Value) -> Value {
    let payload = payload.as_str().map_or_else(|| payload.to_string(), str::to_owned);
    message(&json!({ "stream_no": stream_no, "payload": base64(payload.as_bytes()) }))
}

#[tokio::test]
async fn a_stream_is_a_message_and_its_items_and_its_end() {
    let site = Site::new(json!({}));
    let no = open(&site, &json!({ "client_msg_no": "stream_msg_001", "stream_no": "mine" })).await;
    assert!(no.len() == 32 && no.bytes().all(|byte| byte.is_ascii_hexdigit()), "{no}");
    let anchor = site.messages("2/group123").pop().expect("it is stored");
    let body: Value = serde_json::from_slice(&anchor.body).unwrap();
    assert_eq!((&body["setting"], &body["stream_no"], anchor.seq), (&json!(2), &json!(no), 1));

    let texts = [json!("Hel"), json!({ "type": 1, "content": "lo, " }), json!("world")];
    for (number, text) in texts.iter().enumerate() {
        let answer = site.ask("/message/send", &item(&no, text)).await;
        let expected = (json!(FIRST + 1 + number as i64), json!(0));
        assert_eq!((answer["message_id"].clone(), answer["message_seq"].clone()), expected);
    }
    assert_eq!(site.messages("2/group123").len(), 1, "items are not messages of the channel");
    for _ in 0..2 {
        assert_eq!(site.ask("/stream/close", &json!({ "stream_no": no })).await, json!({ "status": 200 }));
    }
    let items = site.messages(&format!("stream/{no}"));
    let told: Vec<_> = items.iter().map(|item| (item.kind.as_str(), item.text.as_str(), item.seq)).collect();
    let whole = "Hel{\"type\":1,\"content\":\"lo, \"}world";
    assert_eq!(told, [("part", "Hel", 1), ("part", "lo, ", 2), ("part", "world", 3)]);
    let end = site.messages(ENDS).pop().expect("it is stored");
    assert_eq!((end.kind.as_str(), end.text.as_str(), end.seq, end.sender.as_str()), ("end", whole, 1, "user123"));
    assert_eq!((end.client_id.as_deref(), site.messages(ENDS).len()), (Some("stream_msg_001"), 1));
    assert_eq!(site.stored().conversations[&format!("stream/{no}")].kind, ConversationKind::System);
    let said = format!("the stream {no:?} is closed");
    assert_eq!(site.refused("/message/send", &item(&no, &json!("more")), 400).await, said);
}

#[tokio::test]
async fn a_stream_needs_nothing_to_begin_with_and_is_stored_in_any_case() {
    let site = Site::new(json!({}));
    open(&site, &json!({ "payload": null, "header": { "no_persist": 1 } })).await;
    let anchor = site.messages("2/group123").pop().expect("it is stored");
    assert_eq!((anchor.kind.as_str(), anchor.text.as_str()), ("text", ""));
    for (changes, said) in [
        (json!({ "channel_id": null }), "channel_id is missing"),
        (json!({ "channel_type": null }), "channel_type is missing"),
        (json!({ "payload": "Hello" }), "payload must be base64; plain text has to be encoded"),
    ] {
        assert_eq!(site.refused("/stream/open", &message(&changes), 400).await, said);
    }
}

#[tokio::test]
async fn a_stream_that_is_opened_again_is_the_same() {
    let site = Site::new(json!({}));
    let no = open(&site, &json!({ "client_msg_no": "n1" })).await;
    assert_eq!(open(&site, &json!({ "client_msg_no": "n1" })).await, no);
    assert_eq!(site.messages("2/group123").len(), 1);
    assert_ne!(open(&site, &json!({})).await, no);
}

#[tokio::test]
async fn items_belong_to_a_stream_of_their_channel() {
    let site = Site::new(json!({}));
    let no = open(&site, &json!({})).await;
    let unknown = item("unknown", &json!("x"));
    assert_eq!(site.refused("/message/send", &unknown, 404).await, "there is no stream \"unknown\"");
    let mut elsewhere = item(&no, &json!("x"));
    elsewhere["channel_id"] = json!("group456");
    let said = format!("the stream {no:?} is one of another channel");
    assert_eq!(site.refused("/message/send", &elsewhere, 400).await, said);
    let mut unstored = item(&no, &json!("x"));
    unstored["header"] = json!({ "no_persist": 1 });
    assert_eq!(site.ask("/message/send", &unstored).await["message_seq"], 0);
    let batch = json!([item(&no, &json!("a")), item(&no, &json!("b"))]);
    assert_eq!(site.ask("/message/sendbatch", &batch).await[1]["message_seq"], 0);
    assert_eq!(site.messages(&format!("stream/{no}")).len(), 2);
}

#[tokio::test]
async fn what_is_not_open_is_closed_already() {
    let site = Site::new(json!({}));
    assert_eq!(site.ask("/stream/close", &json!({ "stream_no": "unknown" })).await, json!({ "status": 200 }));
    assert_eq!(site.refused("/stream/close", &json!({}), 400).await, "stream_no is missing");
    assert_eq!(site.stored().appends.len(), 0);
}

#[tokio::test]
async fn what_a_stream_says_is_bounded() {
    let site = Site::new(json!({}));
    let no = open(&site, &json!({})).await;
    let long = "é".repeat((400 << 10) / 2);
    for text in ["x", &long, &long, &long, &long] {
        site.ask("/message/send", &item(&no, &json!(text))).await;
    }
    // Not two of them fit into one answer of the archive.
    site.stored().rows.max_bytes = 1 << 20;
    site.ask("/stream/close", &json!({ "stream_no": no })).await;
    let end = site.messages(ENDS).pop().unwrap();
    assert_eq!((end.kind.as_str(), end.text.len()), ("end", (1 << 20) - 1), "a letter is not cut in two");
}

#[tokio::test]
async fn whoever_reads_the_channel_gets_what_its_streams_say() {
    let site = Site::new(json!({}));
    site.ask("/message/send", &message(&json!({}))).await;
    let no = open(&site, &json!({})).await;
    let read = async |stream_v2: u8| {
        let asked = json!({ "login_uid": "u", "channel_id": "group123", "channel_type": 2, "stream_v2": stream_v2 });
        let answer = site.ask("/channel/messagesync", &asked).await;
        let told = |message: &Value| ["end", "end_reason", "stream_data"].map(|name| message[name].clone());
        answer["messages"].as_array().unwrap().iter().map(told).collect::<Vec<_>>()
    };
    let nothing = [json!(null), json!(null), json!(null)];
    assert_eq!(read(1).await, [nothing.clone(), [json!(0), json!(0), json!("")]]);
    site.ask("/message/send", &item(&no, &json!("one "))).await;
    site.ask("/message/send", &item(&no, &json!("two"))).await;
    assert_eq!(read(1).await[1], [json!(0), json!(0), json!(base64(b"one two"))]);
    site.ask("/stream/close", &json!({ "stream_no": no })).await;
    assert_eq!(read(1).await[1], [json!(1), json!(0), json!(base64(b"one two"))]);
    assert_eq!(read(0).await, [nothing.clone(), nothing]);
}

/// What the only stream of the channel is said to say.
async fn said(site: &Site) -> Value {
    let asked = json!({ "login_uid": "u", "channel_id": "group123", "channel_type": 2, "stream_v2": 1 });
    site.ask("/channel/messagesync", &asked).await["messages"][0]["stream_data"].clone()
}

fn bytes(stream_no: &str, payload: &[u8]) -> Value {
    message(&json!({ "stream_no": stream_no, "payload": base64(payload) }))
}

#[tokio::test]
async fn a_stream_says_what_was_sent() {
    let site = Site::new(json!({}));
    let no = open(&site, &json!({})).await;
    let items: [&[u8]; 6] = [b"let x = ", b"{\"a\": 1, \"b\": true}", b"; ", b"\xe4\xbd", b"\xa0", b" end\xff"];
    for item in items {
        site.ask("/message/send", &bytes(&no, item)).await;
    }
    let whole = items.concat();
    assert_eq!(said(&site).await, base64(&whole));
    site.ask("/stream/close", &json!({ "stream_no": no })).await;
    assert_eq!(said(&site).await, base64(&whole));
    let end = site.messages(ENDS).pop().unwrap();
    assert!(end.text.contains("let x = {\"a\": 1, \"b\": true}; 你 end"), "{}", end.text);
}

#[tokio::test]
async fn items_that_have_expired_are_not_said() {
    let site = Site::new(json!({}));
    let no = open(&site, &json!({})).await;
    site.ask("/message/send", &item(&no, &json!("lasting"))).await;
    let mut fleeting = item(&no, &json!(" fleeting"));
    fleeting["expire"] = json!(1);
    site.ask("/message/send", &fleeting).await;
    assert_eq!(said(&site).await, base64(b"lasting fleeting"));
    site.ask("/stream/close", &json!({ "stream_no": no })).await;
    assert_eq!(said(&site).await, base64(b"lasting fleeting"));
    let end = site.messages(ENDS).pop().unwrap();
    assert_eq!(end.text, "lasting", "its end does not expire");
    site.clock.fetch_add(2_000_000, Ordering::Relaxed);
    assert_eq!(said(&site).await, base64(b"lasting"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_taken_is_lost_when_a_stream_is_closed_meanwhile() {
    for _ in 0..20 {
        let site = Site::new(json!({}));
        let no = open(&site, &json!({})).await;
        let close = async || site.ask("/stream/close", &json!({ "stream_no": no })).await;
        let send = async |number: usize| {
            let (status, _) = site.post("/message/send", &item(&no, &json!(format!("<{number}>")))).await;
            assert!(status == 200 || status == 400, "{status}");
            (number, status == 200)
        };
        let (sent, ..) = tokio::join!(join_all((0..30).map(send)), close(), close());
        let whole = said(&site).await;
        let whole = BASE64.decode(whole.as_str().unwrap()).unwrap();
        let ends = site.messages(ENDS);
        assert_eq!(ends.len(), 1, "it is closed once");
        assert_eq!(ends[0].text.as_bytes(), whole);
        let parts = site.messages(&format!("stream/{no}"));
        assert!(parts.iter().all(|part| part.id < ends[0].id), "nothing comes behind its end");
        for (number, taken) in sent {
            let item = format!("<{number}>");
            assert_eq!(ends[0].text.contains(&item), taken, "{item}");
        }
    }
}

#[tokio::test]
async fn a_stream_is_found_as_long_as_the_message_that_begins_it_is_good() {
    let site = Site::new(json!({}));
    let no = open(&site, &json!({ "expire": 2, "client_msg_no": "e1" })).await;
    site.ask("/message/send", &item(&no, &json!("secret words"))).await;
    site.ask("/stream/close", &json!({ "stream_no": no })).await;
    let find = async |more: &str| {
        let query = format!("/cluster/messages?payload={}{more}", base64(b"secret words"));
        body(&site.send(request("GET", &query, "")).await)["total"].clone()
    };
    let ways = ["", "&channel_id=group123&channel_type=2", "&client_msg_no=e1", "&channel_type=2"];
    for way in ways {
        assert_eq!(find(way).await, 1, "{way}");
    }
    site.clock.fetch_add(2_000_000, Ordering::Relaxed);
    for way in ways {
        assert_eq!(find(way).await, 0, "{way}");
    }
}

#[tokio::test]
async fn an_item_is_answered_again_once_the_stream_is_closed() {
    let site = Site::new(json!({}));
    let no = open(&site, &json!({})).await;
    let mut last = item(&no, &json!("the last one"));
    last["client_msg_no"] = json!("i1");
    let first = site.ask("/message/send", &last).await;
    site.ask("/stream/close", &json!({ "stream_no": no })).await;
    assert_eq!(site.ask("/message/send", &last).await, first);
    let mut other = last.clone();
    other["payload"] = json!(base64(b"another"));
    let said = "client_msg_no \"i1\" is that of another message; nothing is stored";
    assert_eq!(site.refused("/message/send", &other, 400).await, said);
    let mut late = last.clone();
    late["from_uid"] = json!("bob");
    assert_eq!(site.refused("/message/send", &late, 400).await, format!("the stream {no:?} is closed"));
    assert_eq!(site.messages(&format!("stream/{no}")).len(), 1);
    let batch = json!([message(&json!({})), late]);
    let said = format!("[1].stream_no: the stream {no:?} is closed");
    assert_eq!(site.refused("/message/sendbatch", &batch, 400).await, said);
}

#[tokio::test]
async fn a_stream_is_not_opened_by_the_number_of_an_ordinary_message_nor_the_reverse() {
    let site = Site::new(json!({}));
    let plain = message(&json!({ "client_msg_no": "plain" }));
    site.ask("/message/send", &plain).await;
    let said = "client_msg_no \"plain\" is that of another message; nothing is stored";
    assert_eq!(site.refused("/stream/open", &plain, 400).await, said);
    let anchor = message(&json!({ "client_msg_no": "anchor" }));
    open(&site, &anchor).await;
    let said = "client_msg_no \"anchor\" is that of another message; nothing is stored";
    assert_eq!(site.refused("/message/send", &anchor, 400).await, said);
    assert_eq!(site.messages("2/group123").len(), 2);
}

#[tokio::test]
async fn a_closed_stream_is_found_by_what_it_says() {
    let site = Site::new(json!({}));
    let mut numbers = Vec::new();
    let ordinary = |number: usize| {
        message(&json!({ "client_msg_no": format!("m{number}"), "payload": base64(b"a needle by itself") }))
    };
    for number in 0..7 {
        let no = open(&site, &json!({ "client_msg_no": format!("s{number}") })).await;
        site.ask("/message/send", &item(&no, &json!("a nee"))).await;
        site.ask("/message/send", &item(&no, &json!("dle"))).await;
        site.ask("/message/send", &ordinary(number)).await;
        site.ask("/stream/close", &json!({ "stream_no": no })).await;
        numbers.push(no);
    }
    let find = async |query: &str| {
        let reply = site.send(request("GET", &format!("/cluster/messages?{query}"), "")).await;
        let answer = body(&reply);
        assert_eq!(reply.status, 200, "{answer}");
        (answer["data"].as_array().unwrap().clone(), answer["total"].as_u64().unwrap())
    };
    let names = |found: &[Value]| {
        found.iter().map(|message| message["client_msg_no"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let payload = base64(b"needle");
    let everything = (0..7).rev().flat_map(|number| [format!("s{number}"), format!("m{number}")]).collect::<Vec<_>>();
    let channel = "&channel_id=group123&channel_type=2";
    for within in ["", channel, "&from_uid=user123", &format!("{channel}&from_uid=user123")] {
        for limit in [1, 3, 20] {
            let (mut walked, mut offset) = (Vec::new(), json!(0));
            loop {
                let query = format!("payload={payload}&limit={limit}&offset_message_id={offset}{within}");
                let (found, total) = find(&query).await;
                assert_eq!(total, 14);
                let Some(last) = found.last() else { break };
                offset = last["message_id"].clone();
                walked.extend(names(&found));
            }
            assert_eq!(walked, everything, "{within} {limit}");
            let (first, _) = find(&format!("payload={payload}&limit={limit}&pre=1{within}")).await;
            assert_eq!(names(&first), everything[14 - limit.min(14)..], "{within} {limit}");
        }
    }
    let (found, total) = find(&format!("payload={payload}&client_msg_no=s3")).await;
    let shown = ["stream_no", "message_seq", "channel_id", "channel_type", "from_uid", "payload"];
    let expected = json!([numbers[3], 0, "group123", 2, "user123", base64(b"a needle")]);
    assert_eq!((json!(shown.map(|name| &found[0][name])), total), (expected, 1));
    for elsewhere in ["&channel_id=other&channel_type=2", "&from_uid=other"] {
        assert_eq!(find(&format!("payload={payload}{elsewhere}")).await, (Vec::new(), 0));
    }
    assert_eq!(find(channel).await.1, 14, "the end is no message of the channel");
    let id = found[0]["message_id"].clone();
    assert_eq!(find(&format!("message_id={id}")).await.1, 0);
    assert_eq!(find(&format!("message_id={id}&payload={payload}{channel}")).await.1, 1);
}
