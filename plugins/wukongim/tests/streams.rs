//! `/stream/open`, items, `/stream/close`.

mod support;

use serde_json::{Value, json};
use stele_plugin_api::model::ConversationKind;
use support::{FIRST, Site, base64, message};

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
    assert_eq!(told, [("part", "Hel", 1), ("part", "lo, ", 2), ("part", "world", 3), ("end", "Hello, world", 4)]);
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
    let end = site.messages(&format!("stream/{no}")).pop().unwrap();
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
