//! `/message/send`.

mod support;

use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use stele_plugin_api::ErrorCode;
use stele_plugin_api::model::{ConversationKind, PersonKind};
use stele_plugin_api::ops::{ArchiveAppend, MessageView};
use support::stored::{Stored, reading};
use support::{FIRST, NOW, Site, body, message, request};
use tokio::sync::Semaphore;

const SEND: &str = "/message/send";

#[tokio::test]
async fn what_is_sent_is_stored_and_numbered() {
    let site = Site::new(json!({}));
    let sent = message(&json!({ "client_msg_no": "msg_001", "expire": 60, "tag_key": "important" }));
    let expected = json!({
        "message_id": FIRST, "message_idstr": FIRST.to_string(), "message_seq": 1, "client_msg_no": "msg_001",
        "status": 200, "data": { "message_id": FIRST, "message_seq": 1, "client_msg_no": "msg_001" },
    });
    assert_eq!(site.ask(SEND, &sent).await.to_string(), expected.to_string());
    let stored = site.messages("2/group123").pop().expect("it is stored");
    let written = json!({
        "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "setting": 0, "message_id": FIRST,
        "client_msg_no": "msg_001", "from_uid": "user123", "channel_id": "group123", "channel_type": 2, "expire": 60,
        "payload": "SGVsbG8gV29ybGQ=", "tag_key": "important",
    });
    let expected = MessageView {
        id: 1,
        rev: 101,
        native_id: FIRST.to_string(),
        conversation: "2/group123".to_owned(),
        seq: 1,
        sender: "user123".to_owned(),
        sent_at: NOW,
        kind: "text".to_owned(),
        text: "Hello World\nimportant".to_owned(),
        body: written.to_string().into(),
        client_id: Some("msg_001".to_owned()),
        expires_at: Some(NOW + 60_000_000),
        ..MessageView::default()
    };
    assert_eq!(stored, expected);
    assert_eq!(site.stored().conversations["2/group123"].kind, ConversationKind::Group);
}

#[tokio::test]
async fn two_people_have_one_channel() {
    let site = Site::new(json!({}));
    for (from_uid, channel_id, seq) in [("alice", "bob", 1), ("bob", "alice", 2), ("alice", "bob", 3)] {
        let sent = message(&json!({ "from_uid": from_uid, "channel_id": channel_id, "channel_type": 1 }));
        assert_eq!(site.ask(SEND, &sent).await["message_seq"], seq);
    }
    let messages = site.messages("1/bob@alice");
    let shown = |message: &MessageView| serde_json::from_slice::<Value>(&message.body).unwrap()["channel_id"].clone();
    assert_eq!(messages.iter().map(shown).collect::<Vec<_>>(), ["bob", "alice", "bob"]);
    let stored = site.stored();
    assert_eq!(stored.conversations["1/bob@alice"].kind, ConversationKind::Direct);
    assert_eq!(
        messages.iter().map(|message| stored.recipients[&message.native_id].clone()).collect::<Vec<_>>(),
        [["bob"], ["alice"], ["bob"]]
    );
    // The archive is told of a conversation when it is new.
    let told: Vec<_> = site.mock.requests::<ArchiveAppend>().iter().map(|page| page.conversations.len()).collect();
    assert_eq!(told, [1, 0, 0]);
}

#[tokio::test]
async fn channels_are_stored_under_what_they_are() {
    let site = Site::new(json!({}));
    for (changes, conversation, kind) in [
        (json!({ "channel_type": 3 }), "3/group123", ConversationKind::Service),
        (json!({ "channel_type": 4 }), "4/group123", ConversationKind::Community),
        (json!({ "channel_type": 255 }), "255/group123", ConversationKind::Group),
        (json!({ "channel_type": 11 }), "11/user123@group123", ConversationKind::Group),
        (json!({ "header": { "sync_once": 1 } }), "2/group123____cmd", ConversationKind::System),
        (
            json!({ "header": { "sync_once": 1 }, "channel_type": 1, "channel_id": "user456" }),
            "1/user456@user123____cmd",
            ConversationKind::System,
        ),
        (
            json!({ "channel_id": "", "channel_type": null, "subscribers": ["a"], "header": { "sync_once": 1 } }),
            "8/12638187200555641996____cmd",
            ConversationKind::System,
        ),
        (json!({ "channel_type": 1, "channel_id": "user123" }), "1/user123@user123", ConversationKind::Direct),
    ] {
        assert_eq!(site.ask(SEND, &message(&changes)).await["message_seq"], 1, "{changes}");
        assert_eq!(site.messages(conversation).len(), 1, "{conversation}");
        assert_eq!(site.stored().conversations[conversation].kind, kind, "{conversation}");
    }
    let named = site.messages("8/12638187200555641996____cmd").pop().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&named.body).unwrap()["subscribers"], json!(["a"]));
    assert_eq!(site.stored().recipients[&named.native_id], ["a"]);
}

#[tokio::test]
async fn nobody_in_particular_is_the_system() {
    let site = Site::new(json!({}));
    for from_uid in [json!(null), json!("")] {
        site.ask(SEND, &message(&json!({ "from_uid": from_uid }))).await;
    }
    assert!(site.messages("2/group123").iter().all(|message| message.sender == "____system"));
    let stored = site.stored();
    assert_eq!((&*stored.people[0].native_id, &stored.people[0].kind), ("____system", &Some(PersonKind::Bot)));
}

#[tokio::test]
async fn what_is_sent_again_is_stored_once() {
    let site = Site::new(json!({}));
    let sent = message(&json!({ "client_msg_no": "n1" }));
    let first = site.ask(SEND, &sent).await;
    site.clock.fetch_add(1_000_000, Ordering::Relaxed);
    assert_eq!(site.ask(SEND, &sent).await, first);
    // Only the payload has to be the same.
    assert_eq!(site.ask(SEND, &message(&json!({ "client_msg_no": "n1", "header": null }))).await, first);
    let other = message(&json!({ "client_msg_no": "n1", "payload": "aGk=" }));
    let said = "client_msg_no \"n1\" is that of another message; nothing is stored";
    assert_eq!(site.refused(SEND, &other, 400).await, said);
    assert_eq!(site.messages("2/group123").len(), 1);
    for changes in [json!({ "from_uid": "other" }), json!({ "channel_id": "other" }), json!({ "client_msg_no": "n2" })]
    {
        let mut sent = message(&json!({ "client_msg_no": "n1" }));
        sent.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        assert_ne!(site.ask(SEND, &sent).await["message_id"], first["message_id"]);
    }
    assert_eq!(site.stored().rows.messages.len(), 4);
}

#[tokio::test]
async fn what_repeats_a_message_that_has_expired_is_answered_as_that_one() {
    let site = Site::new(json!({}));
    let first = site.ask(SEND, &message(&json!({ "client_msg_no": "n1", "expire": 1 }))).await;
    site.clock.fetch_add(2_000_000, Ordering::Relaxed);
    assert_eq!(site.ask(SEND, &message(&json!({ "client_msg_no": "n1" }))).await, first);
    assert_eq!(site.messages("2/group123").len(), 1);
}

#[tokio::test]
async fn a_message_without_an_id_of_its_own_gets_one_and_repeats_nothing() {
    let site = Site::new(json!({}));
    let mut numbers = Vec::new();
    for client_msg_no in [json!(null), json!("")] {
        let answer = site.ask(SEND, &message(&json!({ "client_msg_no": client_msg_no }))).await;
        let number = answer["client_msg_no"].as_str().unwrap().to_owned();
        assert!(number.len() == 33 && number.ends_with('0'), "{number}");
        assert!(number.bytes().all(|byte| byte.is_ascii_hexdigit()), "{number}");
        numbers.push(number);
    }
    assert!(numbers[0] < numbers[1], "{numbers:?}: the archive keeps them in order");
    let page = site.mock.requests::<ArchiveAppend>();
    assert!(page.iter().flat_map(|page| &page.messages).all(|message| !message.once));
}

#[tokio::test]
async fn what_shall_not_persist_has_an_id_and_no_number() {
    let site = Site::new(json!({}));
    let sent = message(&json!({ "header": { "no_persist": 1 }, "client_msg_no": "n1" }));
    let (first, second) = (site.ask(SEND, &sent).await, site.ask(SEND, &sent).await);
    assert_eq!((&first["message_seq"], &second["message_seq"]), (&json!(0), &json!(0)));
    assert!(first["message_id"].as_i64() < second["message_id"].as_i64());
    assert_eq!(site.stored().appends.len(), 0);
    // Nothing is known of it: what is stored under the same id is no repetition.
    assert_eq!(site.ask(SEND, &message(&json!({ "client_msg_no": "n1", "payload": "aGk=" }))).await["message_seq"], 1);
}

#[tokio::test]
async fn bad_input_is_told_and_nothing_stored() {
    let site = Site::new(json!({}));
    let long = "x".repeat(257);
    for (changes, said) in [
        (json!({ "payload": null }), "payload is missing or empty"),
        (json!({ "payload": "" }), "payload is missing or empty"),
        (json!({ "payload": "Hello" }), "payload must be base64; plain text has to be encoded"),
        (json!({ "payload": { "type": 1 } }), "payload must be base64; plain text has to be encoded"),
        (json!({ "channel_id": null }), "channel_id is missing"),
        (json!({ "channel_id": 7 }), "channel_id must be a text"),
        (json!({ "channel_id": long }), "channel_id must have at most 256 bytes"),
        (json!({ "channel_id": "a@b" }), "channel_id must not contain @, # or &"),
        (json!({ "channel_id": "a____cmd" }), "channel_id must not end with ____cmd, which names channels of commands"),
        (json!({ "channel_type": null }), "channel_type is missing"),
        (json!({ "channel_type": 0 }), "channel_type must not be 0"),
        (json!({ "channel_type": 256 }), "channel_type must be a whole number from 0 to 255"),
        (json!({ "channel_type": "2" }), "channel_type must be a whole number from 0 to 255"),
        (json!({ "channel_type": 2.0 }), "channel_type must be a whole number from 0 to 255"),
        (json!({ "channel_type": 1, "from_uid": "a#b" }), "from_uid must not contain @, # or &"),
        (json!({ "from_uid": long }), "from_uid must have at most 256 bytes"),
        (json!({ "from_uid": ["a"] }), "from_uid must be a text"),
        (json!({ "client_msg_no": 1 }), "client_msg_no must be a text"),
        (json!({ "expire": -1 }), "expire must be a whole number from 0 to 4294967295"),
        (json!({ "expire": 4_294_967_296_u64 }), "expire must be a whole number from 0 to 4294967295"),
        (json!({ "header": 1 }), "header must be an object"),
        (json!({ "header": { "red_dot": true } }), "header.red_dot must be a whole number from 0 to 1"),
        (json!({ "subscribers": "a" }), "subscribers must be a list"),
        (json!({ "subscribers": ["a", ""] }), "subscribers[1] must be a text of 1 to 256 bytes"),
        (json!({ "subscribers": vec!["a"; 1001] }), "subscribers must have at most 1000 entries"),
    ] {
        assert_eq!(site.refused(SEND, &message(&changes), 400).await, said, "{changes}");
    }
    assert_eq!(site.refused(SEND, &json!([message(&json!({}))]), 400).await, "the body must be a JSON object");
    let reply = site.send(request("POST", SEND, "{\"payload\":")).await;
    assert_eq!(reply.status, 400);
    assert!(body(&reply)["msg"].as_str().unwrap().starts_with("the body is not JSON: "));
    assert_eq!(site.stored().appends.len(), 0);
}

#[tokio::test]
async fn an_append_whose_outcome_is_unknown_is_tried_once_more_under_the_same_id() {
    for (lost, client_msg_no) in [(true, json!("n1")), (true, json!(null)), (false, json!("n1")), (false, json!(null))]
    {
        let site = Site::new(json!({}));
        let failures = vec![ErrorCode::Deadline];
        if lost {
            site.stored().lost = failures
        } else {
            site.stored().failures = failures
        }
        let answer = site.ask(SEND, &message(&json!({ "client_msg_no": client_msg_no }))).await;
        assert_eq!((&answer["message_id"], &answer["message_seq"]), (&json!(FIRST), &json!(1)));
        assert_eq!(site.stored().appends, [[FIRST.to_string()], [FIRST.to_string()]]);
        assert_eq!(site.stored().rows.messages.len(), 1);
    }
}

#[tokio::test]
async fn an_archive_that_fails_is_told_as_such() {
    for (code, status, appends) in [
        (ErrorCode::Deadline, 503, 2),
        (ErrorCode::Unavailable, 503, 2),
        (ErrorCode::RateLimited, 429, 2),
        (ErrorCode::Internal, 500, 2),
        (ErrorCode::Invalid, 500, 1),
    ] {
        let site = Site::new(json!({}));
        site.stored().failures = vec![code.clone(), code.clone()];
        site.refused(SEND, &message(&json!({ "client_msg_no": "n1" })), status).await;
        assert_eq!(site.stored().appends.len(), appends, "{code}");
        site.stored().failures.clear();
        assert_eq!(site.ask(SEND, &message(&json!({ "client_msg_no": "n1" }))).await["message_seq"], 1);
    }
}

#[tokio::test]
async fn an_id_that_is_taken_is_not_given_again() {
    let site = Site::new(json!({}));
    // Another server has the same node id.
    let taken = MessageView { native_id: FIRST.to_string(), conversation: "2/x".to_owned(), ..MessageView::default() };
    site.stored().rows.messages.push(taken);
    assert_eq!(site.ask(SEND, &message(&json!({}))).await["message_id"], FIRST + 1);
    assert_eq!(site.stored().appends, [[FIRST.to_string()], [(FIRST + 1).to_string()]]);
}

#[tokio::test]
async fn ids_ascend_whatever_the_clock_does() {
    let site = Site::new(json!({ "node_id": 1 }));
    let mut last = 0;
    for step in [0, 0, -5_000_000, 1000, 10_000_000] {
        site.clock.fetch_add(step, Ordering::Relaxed);
        let id = site.ask(SEND, &message(&json!({}))).await["message_id"].as_i64().unwrap();
        assert!(id > last && id >> 12 & 1023 == 1, "{id} {last}");
        last = id;
    }
}

/// A site whose appends wait until they are let through.
fn gated() -> (Arc<Site>, Arc<Semaphore>) {
    let stored = Arc::new(Mutex::new(Stored::default()));
    let gate = Arc::new(Semaphore::new(0));
    let (held, appended) = (Arc::clone(&gate), Arc::clone(&stored));
    let mock = reading(&stored).on_async::<ArchiveAppend, _>(move |page| {
        let (held, appended) = (Arc::clone(&held), Arc::clone(&appended));
        async move {
            held.acquire().await.expect("the gate is never closed").forget();
            appended.lock().unwrap().append(page)
        }
    });
    (Arc::new(Site::over(json!({}), stored, mock)), gate)
}

/// Lets every task run until nothing is left to do but wait for the gate.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_is_stored_together_in_the_order_of_ids_and_numbers() {
    let (site, gate) = gated();
    let send = |number: usize| {
        let site = Arc::clone(&site);
        let sent = message(&json!({ "client_msg_no": format!("n{}", number % 50) }));
        tokio::spawn(async move { site.ask(SEND, &sent).await })
    };
    let mut sends = vec![send(0)];
    settle().await;
    sends.extend((1..100).map(send));
    settle().await;
    gate.add_permits(2);
    let mut answers = Vec::new();
    for send in sends {
        answers.push(send.await.unwrap());
    }
    let messages = site.messages("2/group123");
    assert_eq!(site.stored().appends.iter().map(Vec::len).collect::<Vec<_>>(), [1, 99]);
    assert_eq!(messages.iter().map(|message| message.seq).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    assert!(messages.is_sorted_by_key(|message| message.native_id.parse::<i64>().unwrap()));
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer, &answers[number % 50], "what repeats another one is answered as that one");
        let stored = &messages[answer["message_seq"].as_i64().unwrap() as usize - 1];
        assert_eq!(stored.native_id, answer["message_idstr"].as_str().unwrap());
        assert_eq!(stored.client_id.as_deref(), answer["client_msg_no"].as_str());
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_changes_nothing() {
    let (site, gate) = gated();
    let gone = {
        let site = Arc::clone(&site);
        tokio::spawn(async move { site.ask(SEND, &message(&json!({ "client_msg_no": "n1" }))).await })
    };
    settle().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.add_permits(2);
    let again = site.ask(SEND, &message(&json!({ "client_msg_no": "n1" }))).await;
    assert_eq!((&again["message_seq"], site.stored().rows.messages.len()), (&json!(1), 1));
}

#[tokio::test(start_paused = true)]
async fn too_many_that_wait_are_refused() {
    let (site, gate) = gated();
    let payload = "A".repeat((1 << 20) / 3 * 4);
    let sends: Vec<_> = (0..70)
        .map(|_| {
            let (site, sent) = (Arc::clone(&site), message(&json!({ "payload": payload })));
            tokio::spawn(async move { site.post(SEND, &sent).await })
        })
        .collect();
    settle().await;
    gate.add_permits(100);
    let mut refused = Vec::new();
    for send in sends {
        let (status, answer) = send.await.unwrap();
        if status != 200 {
            refused.push(answer);
        }
    }
    let said = json!({ "msg": "too much is asked at once", "status": 429 });
    assert_eq!(refused, vec![said; 6], "64 MiB wait at most");
    assert_eq!(site.stored().rows.messages.len(), 64);
}
