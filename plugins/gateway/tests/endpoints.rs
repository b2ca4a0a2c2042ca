//! Every endpoint: what it answers when all is well, key by key, and each way to be refused.

mod support;

use serde_json::{Value, json};
use stele_plugin_api::ErrorCode;
use stele_plugin_api::model::ConversationKind;
use support::{FAILED, INVALID, INVALID_TOKEN, NOT_ALLOWED, Site};

const PUBLIC: &[&str] = &[
    "/send_msg",
    "/check_joined_conversation",
    "/get_joined_conversation",
    "/get_conversation_detail",
    "/join_conversation",
    "/create_conversation",
    "/leave_conversation",
    "/get_lastone_msgid",
    "/get_conversation_msg_by_range",
    "/get_conversation_30msg_before_the_id",
    "/get_conversation_30msg_after_the_id",
    "/get_conversation_last_30_msg",
    "/get_conversation_lastone_msg",
];
const INNER: &[&str] = &[
    "/inner/get_token",
    "/inner/create_conversation",
    "/inner/kickout_conversation",
    "/inner/join_conversation",
    "/inner/set_archive_conversations",
];
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

fn quiet() -> Value {
    json!({ "greeting": "" })
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_everywhere() {
    let site = Site::new(quiet());
    let alice = site.token("alice").await;
    for path in PUBLIC.iter().chain(INNER).filter(|path| **path != "/get_joined_conversation") {
        for body in ["", "[]", "{", "\"text\""] {
            assert_eq!(site.post(path, &alice, body).await, INVALID, "{path} {body}");
        }
    }
    for (path, body) in [
        ("/send_msg", r#"{"type":2147483648}"#),
        ("/send_msg", r#"{"status":"0"}"#),
        ("/send_msg", r#"{"content":1}"#),
        ("/create_conversation", r#"{"conversation_type":-1}"#),
        ("/get_conversation_last_30_msg", r#"{"desc":"true"}"#),
        ("/inner/get_token", r#"{"session":"a","platform":256}"#),
        ("/inner/get_token", r#"{"session":"a","platform":-1}"#),
        ("/inner/get_token", r#"{"platform":1}"#),
        ("/inner/join_conversation", r#"{"sessions":"a"}"#),
        ("/inner/set_archive_conversations", r#"{"is_archive":1}"#),
    ] {
        assert_eq!(site.post(path, &alice, body).await, INVALID, "{path} {body}");
    }
    assert_eq!(site.mock.calls(), [""; 0], "the daemon was asked nothing");
    for body in ["", "[]", "null", "{\"SessionId\":\"bob\"}"] {
        let answer = site.post("/get_joined_conversation", &alice, body).await;
        assert_eq!(answer, "{\"code\":0,\"data\":{\"Conversations\":[]}}\n", "its body is not looked at");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_told() {
    let site = Site::new(quiet());
    let conversation = site.conversation(&["alice"]).await;
    let before = site.mock.calls().len();
    for path in PUBLIC {
        for token in ["", "nonsense", "a.b.c"] {
            let body = json!({ "conversation_id": conversation }).to_string();
            assert_eq!(site.post(path, token, &body).await, INVALID_TOKEN, "{path}");
            assert_eq!(site.post(path, token, "").await, INVALID_TOKEN, "{path}");
        }
    }
    assert_eq!(site.mock.calls().len(), before);
}

#[tokio::test]
async fn a_conversation_is_made_with_its_first_message() {
    let site = Site::new(json!({}));
    let alice = site.token("alice").await;
    let body = json!({ "conversation_type": 15, "sessions": ["bob", "alice", "bob", ""] });
    let answer = site.post("/create_conversation", &alice, &body.to_string()).await;
    let id = serde_json::from_str::<Value>(&answer).unwrap()["data"]["ConversationId"].as_str().unwrap().to_owned();
    assert_eq!(
        answer,
        format!("{{\"code\":0,\"data\":{{\"ConversationId\":\"{id}\",\"ConversationID\":\"{id}\"}}}}\n")
    );
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "{id}");
    {
        let stored = site.stored();
        let members: Vec<_> = stored.members.iter().map(|(_, person)| person.as_str()).collect();
        assert_eq!(members, ["alice", "bob"]);
        let conversation = &stored.conversations[&id];
        assert_eq!((&conversation.kind, conversation.partition.as_str()), (&ConversationKind::Group, id.as_str()));
        assert_eq!(conversation.attributes.as_deref(), Some(r#"{"type":15}"#));
        assert_eq!(stored.appends, [1], "one page");
        assert_eq!((stored.messages[0].kind.as_str(), stored.messages[0].sender.as_str()), ("joined", "alice"));
    }
    let history = site.ask("/get_conversation_last_30_msg", &alice, &json!({ "conversation_id": id })).await;
    let first = &history["data"]["Msg"][0];
    assert_eq!((&first["Type"], &first["Status"], &first["Content"]), (&json!(0), &json!(0), &json!("您已加入对话 ")));
    assert_eq!((&first["FromSession"], &first["SendTime"]), (&json!("alice"), &json!(support::NOW)));

    let id = site.conversation(&["bob"]).await;
    assert_eq!(site.stored().messages.last().unwrap().sender, "", "nobody made it");
    let answer = site.ask("/check_joined_conversation", &alice, &json!({ "conversation_id": id })).await;
    assert_eq!(answer["data"], json!({ "Joined": false }));
}

#[tokio::test]
async fn conversations_that_cannot_be_are_refused() {
    for (specific, types, members) in [
        (false, FAILED, FAILED),
        (
            true,
            "{\"code\":90010,\"error\":\"conversation id ranges from 0 to 15\"}\n",
            "{\"code\":90011,\"error\":\"conversation contains at least one user\"}\n",
        ),
    ] {
        let site = Site::new(json!({ "specific_codes": specific }));
        let alice = site.token("alice").await;
        assert_eq!(site.post("/create_conversation", &alice, r#"{"conversation_type":16}"#).await, types);
        let inner = "/inner/create_conversation";
        assert_eq!(site.post(inner, "", r#"{"conversation_type":18446744073709551615,"sessions":["a"]}"#).await, types);
        for sessions in ["[]", "null", "[\"\"]"] {
            assert_eq!(site.post(inner, "", &format!("{{\"sessions\":{sessions}}}")).await, members);
        }
        let id = site.conversation(&["alice"]).await;
        let body = json!({ "conversation_id": id, "sessions": [] }).to_string();
        assert_eq!(site.post("/inner/join_conversation", "", &body).await, members);
    }
}

#[tokio::test]
async fn members_join_and_leave() {
    let site = Site::new(quiet());
    let id = site.conversation(&["alice"]).await;
    let (alice, bob) = (site.token("alice").await, site.token("bob").await);
    let body = json!({ "conversation_id": id });
    let joined = async |token: &str| {
        let list = site.ask("/get_joined_conversation", token, &json!({})).await["data"]["Conversations"].clone();
        let check = site.ask("/check_joined_conversation", token, &body).await["data"]["Joined"].clone();
        assert_eq!(check, json!(list == json!([id])), "both say the same");
        check == json!(true)
    };
    assert!(joined(&alice).await && !joined(&bob).await);
    let named = format!("{{\"code\":0,\"data\":{{\"ConversationId\":\"{id}\",\"ConversationID\":\"{id}\"}}}}\n");
    let named_all = named.replace("}}\n", ",\"Failed\":null}}\n");
    for _ in 0..2 {
        assert_eq!(site.post("/join_conversation", &bob, &body.to_string()).await, named);
        assert!(joined(&bob).await);
    }
    for _ in 0..2 {
        assert_eq!(site.post("/leave_conversation", &bob, &body.to_string()).await, named_all);
        assert!(!joined(&bob).await && joined(&alice).await);
    }
    let both = json!({ "conversation_id": id, "sessions": ["bob", "carol"] }).to_string();
    for _ in 0..2 {
        assert_eq!(site.post("/inner/join_conversation", "", &both).await, named);
        assert!(joined(&bob).await);
    }
    for _ in 0..2 {
        assert_eq!(site.post("/inner/kickout_conversation", "", &both).await, named_all);
        assert!(!joined(&bob).await);
    }
    let nobody = json!({ "conversation_id": id }).to_string();
    assert_eq!(site.post("/inner/kickout_conversation", "", &nobody).await, named_all);
}

#[tokio::test]
async fn conversations_nobody_knows() {
    let site = Site::new(quiet());
    let alice = site.token("alice").await;
    let body = json!({ "conversation_id": UNKNOWN, "sessions": ["bob"] }).to_string();
    for path in ["/send_msg", "/get_conversation_detail", "/get_lastone_msgid", "/join_conversation"] {
        assert_eq!(site.post(path, &alice, &body).await, FAILED, "{path}");
    }
    assert_eq!(site.post("/inner/join_conversation", "", &body).await, FAILED);
    for path in PUBLIC.iter().filter(|path| path.starts_with("/get_conversation_") && !path.ends_with("detail")) {
        assert_eq!(site.post(path, &alice, &body).await, "{\"code\":0,\"data\":{\"Msg\":[]}}\n", "{path}");
    }
    let left = format!(
        "{{\"code\":0,\"data\":{{\"ConversationId\":\"{UNKNOWN}\",\"ConversationID\":\"{UNKNOWN}\",\"Failed\":null}}}}\n"
    );
    assert_eq!(site.post("/leave_conversation", &alice, &body).await, left);
    assert_eq!(site.post("/inner/kickout_conversation", "", &body).await, left);
    let answer = site.post("/check_joined_conversation", &alice, &body).await;
    assert_eq!(answer, "{\"code\":0,\"data\":{\"Joined\":false}}\n");
    assert_eq!(site.stored().appends, [0; 0], "nothing was committed");
    assert!(site.stored().conversations.is_empty());
}

#[tokio::test]
async fn conversations_of_others_are_closed() {
    let site = Site::new(quiet());
    let id = site.conversation(&["alice"]).await;
    let (alice, eve) = (site.token("alice").await, site.token("eve").await);
    let anchor = site.say(&alice, &id, "between us").await;
    let body = json!({ "conversation_id": id, "msg_id": anchor, "start_msg_id": "", "end_msg_id": "Z" }).to_string();
    let open = [
        "/check_joined_conversation",
        "/get_joined_conversation",
        "/join_conversation",
        "/create_conversation",
        "/leave_conversation",
    ];
    for path in PUBLIC.iter().filter(|path| !open.contains(path)) {
        assert_eq!(site.post(path, &eve, &body).await, NOT_ALLOWED, "{path}");
    }
    assert_eq!(site.stored().messages.len(), 1);

    let site = Site::new(json!({ "greeting": "", "membership": false }));
    let id = site.conversation(&["alice"]).await;
    let eve = site.token("eve").await;
    site.say(&eve, &id, "I am not here").await;
    let answer = site.ask("/get_conversation_lastone_msg", &eve, &json!({ "conversation_id": id })).await;
    assert_eq!(answer["data"]["Msg"][0]["Content"], "I am not here");

    let site = Site::new(json!({ "greeting": "", "open_join": false }));
    let id = site.conversation(&["alice"]).await;
    let body = json!({ "conversation_id": id }).to_string();
    let (alice, eve) = (site.token("alice").await, site.token("eve").await);
    assert_eq!(site.post("/join_conversation", &eve, &body).await, NOT_ALLOWED);
    assert_ne!(site.post("/join_conversation", &alice, &body).await, NOT_ALLOWED, "she is a member already");
}

#[tokio::test]
async fn what_is_sent_is_kept_as_it_was_said() {
    let site = Site::new(quiet());
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let body = json!({ "conversation_id": id, "status": -3, "type": i32::MIN, "content": "<b>\u{0} & 你\u{2028}</b>" });
    let answer = site.post("/send_msg", &alice, &body.to_string()).await;
    let sent = site.stored().messages[0].clone();
    assert_eq!(answer, format!("{{\"code\":0,\"data\":{{\"MsgID\":\"{}\"}}}}\n", sent.native_id));
    assert_eq!((sent.sender.as_str(), sent.sent_at, sent.kind.as_str()), ("alice", support::NOW, "other"));
    assert_eq!(sent.text, "<b>\u{0} & 你\u{2028}</b>");
    let stored: Value = serde_json::from_slice(&sent.body).unwrap();
    let expected = json!({ "MsgId": sent.native_id, "ConversationID": id, "FromSession": "alice", "SendTime": support::NOW,
        "Status": -3, "Type": i32::MIN, "Content": sent.text });
    assert_eq!(stored.to_string(), expected.to_string());
    let answer =
        site.post("/get_conversation_lastone_msg", &alice, &json!({ "conversation_id": id }).to_string()).await;
    let shown = format!(
        "{{\"MsgId\":\"{}\",\"ConversationID\":\"{id}\",\"FromSession\":\"alice\",\"SendTime\":1700000000000000,\"Status\":-3,\"Type\":-2147483648,\"Content\":\"\\u003cb\\u003e\\u0000 \\u0026 你\\u2028\\u003c/b\\u003e\"}}",
        sent.native_id
    );
    assert_eq!(answer, format!("{{\"code\":0,\"data\":{{\"Msg\":[{shown}]}}}}\n"));
    site.say(&alice, &id, "").await;
    let long = "长".repeat(1_000_000);
    site.say(&alice, &id, &long).await;
    assert_eq!(site.stored().messages.last().unwrap().text, long);
}

#[tokio::test]
async fn senders_do_not_make_kinds() {
    let site = Site::new(quiet());
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    for (kind, expected) in [(0, "0"), (1, "1"), (31, "31"), (32, "other"), (-1, "other"), (i32::MAX, "other")] {
        let body = json!({ "conversation_id": id, "type": kind });
        site.ask("/send_msg", &alice, &body).await;
        let last = site.ask("/get_conversation_lastone_msg", &alice, &json!({ "conversation_id": id })).await;
        assert_eq!(last["data"]["Msg"][0]["Type"], kind);
        assert_eq!(site.stored().messages.last().unwrap().kind, expected);
    }
}

#[tokio::test]
async fn lists_in_requests_have_a_bound() {
    let site = Site::new(quiet());
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    for (path, token, list, most) in [
        ("/create_conversation", alice.as_str(), "sessions", 10_000),
        ("/inner/create_conversation", "", "sessions", 10_000),
        ("/inner/join_conversation", "", "sessions", 10_000),
        ("/inner/kickout_conversation", "", "sessions", 10_000),
        ("/inner/set_archive_conversations", "", "conversation_ids", 1000),
    ] {
        let before = site.mock.calls().len();
        let ask = async |count: usize| {
            let names: Vec<_> = (0..count).map(|number| number.to_string()).collect();
            site.ask(path, token, &json!({ "conversation_id": id, list: names })).await["code"].clone()
        };
        assert_eq!(ask(most + 1).await, 10001, "{path}");
        assert_eq!(site.mock.calls().len(), before, "{path}: nothing is done");
        assert_eq!(ask(most).await, 0, "{path}");
    }
}

#[tokio::test]
async fn a_list_of_conversations_has_a_bound() {
    let site = Site::new(quiet());
    let alice = site.token("alice").await;
    let joined = |number: usize| (number.to_string().repeat(1 << 20), "alice".to_owned());
    site.stored().members.extend((1..=9).map(joined));
    let answer = site.ask("/get_joined_conversation", &alice, &json!({})).await;
    assert_eq!(answer["data"]["Conversations"].as_array().map(Vec::len), Some(9));
    site.stored().members.extend((10..=33).map(joined));
    let error = "internal service call failed: too many conversations for one answer";
    let answer = site.ask("/get_joined_conversation", &alice, &json!({})).await;
    assert_eq!(answer, json!({ "code": 10002, "error": error }));
}

#[tokio::test]
async fn details_tell_of_the_last_message() {
    let site = Site::new(json!({}));
    let id = site.conversation(&["alice", "bob"]).await;
    let (alice, bob) = (site.token("alice").await, site.token("bob").await);
    let body = json!({ "conversation_id": id }).to_string();
    let detail = async || site.post("/get_conversation_detail", &alice, &body).await;
    assert_eq!(
        detail().await,
        format!(
            "{{\"code\":0,\"data\":{{\"ConversationID\":\"{id}\",\"LastMsgID\":null,\"LastSendTime\":null,\"IsDelete\":false,\"ConversationType\":3,\"LastSendSession\":null,\"IsArchive\":false}}}}\n"
        )
    );
    assert_eq!(site.post("/get_lastone_msgid", &alice, &body).await, "{\"code\":0,\"data\":{\"MsgId\":\"\"}}\n");
    let last = site.say(&bob, &id, "hello").await;
    assert_eq!(
        detail().await,
        format!(
            "{{\"code\":0,\"data\":{{\"ConversationID\":\"{id}\",\"LastMsgID\":\"{last}\",\"LastSendTime\":1700000000000000,\"IsDelete\":false,\"ConversationType\":3,\"LastSendSession\":\"bob\",\"IsArchive\":false}}}}\n"
        )
    );
    let answer = site.post("/get_lastone_msgid", &alice, &body).await;
    assert_eq!(answer, format!("{{\"code\":0,\"data\":{{\"MsgId\":\"{last}\"}}}}\n"));
}

#[tokio::test]
async fn times_are_text_for_the_older_contract() {
    let site = Site::new(json!({ "time_format": "rfc3339" }));
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    site.say(&alice, &id, "hello").await;
    let body = json!({ "conversation_id": id });
    let expected = json!("2023-11-15T06:13:20.000000000+08:00");
    let detail = site.ask("/get_conversation_detail", &alice, &body).await;
    assert_eq!(detail["data"]["LastSendTime"], expected);
    let last = site.ask("/get_conversation_lastone_msg", &alice, &body).await;
    assert_eq!(last["data"]["Msg"][0]["SendTime"], expected);
    let stored: Value = serde_json::from_slice(&site.stored().messages[1].body).unwrap();
    assert_eq!(stored["SendTime"], json!(support::NOW), "the archive always has the newer form");
}

#[tokio::test]
async fn conversations_are_put_away_and_taken_out() {
    let site = Site::new(quiet());
    let (one, other) = (site.conversation(&["alice"]).await, site.conversation(&["alice"]).await);
    let alice = site.token("alice").await;
    let archived = async |id: &str| {
        let detail = site.ask("/get_conversation_detail", &alice, &json!({ "conversation_id": id })).await;
        detail["data"]["IsArchive"] == json!(true)
    };
    let set = async |ids: Value, is_archive: bool| {
        let body = json!({ "conversation_ids": ids, "is_archive": is_archive }).to_string();
        let answer = site.post("/inner/set_archive_conversations", "", &body).await;
        assert_eq!(answer, "{\"code\":0,\"data\":{\"Failed\":null}}\n");
    };
    set(json!([one, UNKNOWN, other, one]), true).await;
    assert!(archived(&one).await && archived(&other).await);
    assert!(!site.stored().conversations.contains_key(UNKNOWN));
    // It is a flag, no more.
    site.say(&alice, &one, "still here").await;
    set(json!([one]), false).await;
    assert!(!archived(&one).await && archived(&other).await);
    set(json!([]), true).await;
    set(Value::Null, true).await;

    let site = Site::new(json!({ "set_archive_data": false }));
    assert_eq!(site.post("/inner/set_archive_conversations", "", "{}").await, "{\"code\":0}\n");
}

#[tokio::test]
async fn an_archive_that_fails_is_told_as_a_failure() {
    let site = Site::new(json!({}));
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let body = json!({ "conversation_id": id, "sessions": ["bob"], "conversation_ids": [id] }).to_string();
    for path in [
        "/send_msg",
        "/create_conversation",
        "/leave_conversation",
        "/inner/create_conversation",
        "/inner/join_conversation",
        "/inner/kickout_conversation",
        "/inner/set_archive_conversations",
    ] {
        site.stored().failures.push(ErrorCode::Unavailable);
        assert_eq!(site.post(path, &alice, &body).await, FAILED, "{path}");
        assert_eq!(site.stored().failures, [], "{path}");
    }
    assert_eq!(site.stored().messages.len(), 1);
    let logged = site.mock.logs();
    assert!(!logged.is_empty() && logged.iter().all(|line| !format!("{line:?}").contains(&alice)));
}
