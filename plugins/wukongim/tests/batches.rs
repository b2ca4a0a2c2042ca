//! `/message/sendbatch`: a list as the contract has it, or an object as a real server has it.

mod support;

use serde_json::{Value, json};
use stele_plugin_api::ErrorCode;
use support::{FIRST, Site, message};

const BATCH: &str = "/message/sendbatch";

#[tokio::test]
async fn messages_are_answered_in_their_order() {
    let site = Site::new(json!({}));
    let answer = site
        .ask(
            BATCH,
            &json!([
                message(&json!({ "client_msg_no": "msg_001" })),
                message(&json!({ "client_msg_no": "msg_002", "channel_id": "group456", "payload": "V2VsY29tZQ==" })),
                message(&json!({ "client_msg_no": "msg_003", "header": { "no_persist": 1 } })),
                message(&json!({ "client_msg_no": "msg_001" })),
                message(&json!({ "client_msg_no": "msg_004" })),
            ]),
        )
        .await;
    let sent = |id: i64, seq: i64, client_msg_no: &str| json!({ "message_id": id, "message_idstr": id.to_string(), "message_seq": seq, "client_msg_no": client_msg_no });
    let unstored = answer[2]["message_id"].as_i64().unwrap();
    let expected = json!([
        sent(FIRST, 1, "msg_001"),
        sent(FIRST + 1, 1, "msg_002"),
        sent(unstored, 0, "msg_003"),
        sent(FIRST, 1, "msg_001"),
        sent(FIRST + 3, 2, "msg_004"),
    ]);
    assert_eq!(answer.to_string(), expected.to_string());
    assert_eq!(site.stored().appends.len(), 1);
    assert_eq!((site.messages("2/group123").len(), site.messages("2/group456").len()), (2, 1));
}

#[tokio::test]
async fn one_that_is_wrong_stops_all_of_them() {
    let site = Site::new(json!({}));
    let right = message(&json!({}));
    for (wrong, said) in [
        (message(&json!({ "payload": "World" })), "[1].payload must be base64; plain text has to be encoded"),
        (message(&json!({ "channel_id": "a&b" })), "[1].channel_id must not contain @, # or &"),
        (message(&json!({ "header": { "red_dot": 2 } })), "[1].header.red_dot must be a whole number from 0 to 1"),
        (json!("x"), "[1] must be an object"),
    ] {
        assert_eq!(site.refused(BATCH, &json!([right, wrong]), 400).await, said);
    }
    let unknown = message(&json!({ "stream_no": "s1" }));
    assert_eq!(site.refused(BATCH, &json!([right, unknown]), 404).await, "[1].stream_no: there is no stream \"s1\"");
    let many = vec![right; 1001];
    assert_eq!(site.refused(BATCH, &json!(many), 400).await, "at most 1000 messages can be sent at once");
    assert_eq!(site.refused(BATCH, &json!(7), 400).await, "the body must be a JSON object");
    assert_eq!(site.stored().appends.len(), 0);
    assert_eq!(site.ask(BATCH, &json!([])).await, json!([]));
}

#[tokio::test]
async fn a_thousand_are_sent_at_once() {
    let site = Site::new(json!({}));
    let answer = site.ask(BATCH, &json!(vec![message(&json!({})); 1000])).await;
    let seqs: Vec<_> = answer.as_array().unwrap().iter().map(|sent| sent["message_seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=1000).collect::<Vec<_>>());
    assert_eq!(site.stored().appends.len(), 1);
}

#[tokio::test]
async fn what_is_refused_is_told_beside_what_is_stored() {
    let site = Site::new(json!({}));
    let old = [1, 2, 3].map(|number| message(&json!({ "client_msg_no": format!("old{number}") })));
    let first = site.ask(BATCH, &json!(old)).await;
    site.stored().poison = "poison".to_owned();
    // What is repeated does not fit into one answer of the archive, either.
    site.stored().rows.max_bytes = 300;
    let other = message(&json!({ "client_msg_no": "old1", "payload": "aGk=" }));
    let poisoned = message(&json!({ "client_msg_no": "bad", "payload": "cG9pc29u" }));
    let new = message(&json!({ "client_msg_no": "new" }));
    let answer = site.ask(BATCH, &json!([old[0], other, poisoned, old[2], new, old[1]])).await;
    let refused = "client_msg_no \"old1\" is that of another message; nothing is stored";
    assert_eq!(answer[1], json!({ "msg": refused, "status": 400 }));
    assert_eq!(answer[2], json!({ "msg": "the archive failed", "status": 500 }));
    assert_eq!([&answer[0], &answer[3], &answer[5]], [&first[0], &first[2], &first[1]]);
    assert_eq!(answer[4]["message_seq"], 4);
    // Where nothing is stored, there is nothing else to tell.
    assert_eq!(site.refused(BATCH, &json!([other]), 400).await, refused);
    site.stored().failures = vec![ErrorCode::Unavailable; 2];
    assert_eq!(site.refused(BATCH, &json!([new, old[0]]), 503).await, "the archive does not answer");
}

fn to(subscribers: &Value) -> Value {
    json!({
        "header": { "red_dot": 1 }, "from_uid": "alice", "subscribers": subscribers, "payload": "aGk=",
    })
}

#[tokio::test]
async fn one_message_goes_to_each_of_many_people() {
    let site = Site::new(json!({}));
    let answer = site.ask(BATCH, &to(&json!(["bob", "c@d", "carol", "e#f"]))).await;
    let wrong = "must not contain @, # or &";
    assert_eq!(answer, json!({ "fail_uids": ["c@d", "e#f"], "reason": [wrong, wrong] }));
    let (bob, carol) = (site.messages("1/bob@alice"), site.messages("1/carol@alice"));
    assert_eq!((bob.len(), carol.len(), site.stored().rows.messages.len()), (1, 1, 2));
    assert_ne!(bob[0].client_id, carol[0].client_id);
    assert_eq!((&*bob[0].sender, &*bob[0].text), ("alice", "hi"));
    assert_eq!(site.ask(BATCH, &to(&json!(["bob"]))).await, json!({ "fail_uids": [], "reason": [] }));
    assert_eq!(site.messages("1/bob@alice").len(), 2, "there is nothing to tell them apart by");
}

#[tokio::test]
async fn what_is_too_much_at_once_is_told_to_be() {
    let site = Site::new(json!({}));
    let people: Vec<_> = (0..1000).map(|number| format!("u{number}")).collect();
    let mut sent = to(&json!(people));
    sent["payload"] = json!("A".repeat(100 << 10));
    let said = "the messages have more than 67108864 bytes together, for each recipient";
    assert_eq!(site.refused(BATCH, &sent, 413).await, said);
    assert_eq!(site.stored().appends.len(), 0);
    sent["payload"] = json!("A".repeat(50 << 10));
    assert_eq!(site.ask(BATCH, &sent).await["fail_uids"], json!([]));
    assert_eq!(site.stored().rows.messages.len(), 1000);
}

#[tokio::test]
async fn what_is_not_stored_for_somebody_is_told() {
    let site = Site::new(json!({}));
    site.stored().failures = vec![ErrorCode::Unavailable; 2];
    let answer = site.ask(BATCH, &to(&json!(["bob", "a@b"]))).await;
    let reasons = ["must not contain @, # or &", "the archive does not answer"];
    assert_eq!(answer, json!({ "fail_uids": ["a@b", "bob"], "reason": reasons }));
}

#[tokio::test]
async fn an_object_needs_a_sender_people_and_a_payload() {
    let site = Site::new(json!({}));
    for (name, said) in [
        ("from_uid", "from_uid is missing"),
        ("subscribers", "subscribers is missing or empty"),
        ("payload", "payload is missing or empty"),
    ] {
        let mut sent = to(&json!(["bob"]));
        sent.as_object_mut().unwrap().remove(name);
        assert_eq!(site.refused(BATCH, &sent, 400).await, said);
    }
    assert_eq!(site.refused(BATCH, &to(&json!([])), 400).await, "subscribers is missing or empty");
    let many = to(&json!(vec!["bob"; 1001]));
    assert_eq!(site.refused(BATCH, &many, 400).await, "subscribers must have at most 1000 entries");
    assert_eq!(site.stored().appends.len(), 0);
}
