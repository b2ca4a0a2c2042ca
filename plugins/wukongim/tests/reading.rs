//! Reading: what is asked of the archive, and what becomes of it.

mod support;

use serde_json::{Value, json};
use stele_plugin_api::ops::{ArchiveFind, ArchiveGet, ArchiveQuery, MessageView};
use stele_wukongim::message::readable;
use support::archive::Rows;
use support::{NOW, Site, body, request};

/// The id of the message that was sent so many milliseconds after [`NOW`].
fn id(millis: i64) -> i64 {
    1_957_230_963_717_050_368 + (millis << 22)
}

/// Message `seq` of a channel, sent that many milliseconds after [`NOW`].
fn message(channel: &str, seq: i64, payload: &str) -> MessageView {
    let body = json!({
        "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 }, "setting": 0,
        "client_msg_no": format!("n{seq}"), "expire": 0, "payload": payload,
    });
    MessageView {
        id: seq * 10,
        native_id: id(seq).to_string(),
        conversation: channel.to_owned(),
        seq,
        sender: "alice".to_owned(),
        sent_at: NOW + seq * 1000,
        kind: "text".to_owned(),
        text: "hi".to_owned(),
        client_id: Some(format!("n{seq}")),
        body: body.to_string().into(),
        ..MessageView::default()
    }
}

fn channel(count: i64) -> Vec<MessageView> {
    (1..=count).map(|seq| message("2/team", seq, "aGk=")).collect()
}

async fn post(site: &Site, path: &str, asked: Value) -> (u16, Value) {
    let reply = site.send(request("POST", path, &asked.to_string())).await;
    (reply.status, body(&reply))
}

async fn get(site: &Site, query: &str) -> (u16, Value) {
    let reply = site.send(request("GET", &format!("/cluster/messages?{query}"), "")).await;
    (reply.status, body(&reply))
}

fn seqs(messages: &Value) -> Vec<i64> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("{messages}"));
    messages.iter().map(|message| message["message_seq"].as_i64().unwrap()).collect()
}

fn sync(start: i64, end: i64, limit: i64, pull_mode: i64) -> Value {
    json!({
        "login_uid": "alice", "channel_id": "team", "channel_type": 2, "start_message_seq": start,
        "end_message_seq": end, "limit": limit, "pull_mode": pull_mode,
    })
}

#[tokio::test]
async fn a_long_answer_is_put_together() {
    let site = Site::with(json!({}), Rows::new(channel(2500)).host());
    for (start, end, limit, mode, expected, more) in [
        (1, 0, 2200, 0, 1..=2200, 1),
        (1, 0, 2500, 0, 1..=2500, 0),
        (0, 0, 2200, 0, 301..=2500, 1),
        (100, 2400, 2300, 1, 100..=2399, 0),
        (100, 2400, 2299, 1, 101..=2399, 1),
    ] {
        let (status, page) = post(&site, "/channel/messagesync", sync(start, end, limit, mode)).await;
        assert_eq!((status, &page["more"]), (200, &json!(more)));
        assert_eq!(seqs(&page["messages"]), expected.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn the_usual_limit_is_a_hundred_and_the_greatest_ten_thousand() {
    let site = Site::with(json!({}), Rows::new(channel(10_001)).host());
    for (limit, expected) in [(0, 9902..=10_001), (20_000, 2..=10_001)] {
        let (_, page) = post(&site, "/channel/messagesync", sync(0, 0, limit, 0)).await;
        assert_eq!((seqs(&page["messages"]), &page["more"]), (expected.collect(), &json!(1)));
    }
}

#[tokio::test]
async fn a_real_server_counts_its_limit_from_the_start() {
    let site = Site::with(json!({ "pull_mode": "upstream" }), Rows::new(channel(12)).host());
    for (start, end, limit, expected, more) in [
        (12, 0, 3, 10..13, 1),
        (13, 0, 3, 11..13, 1),
        (14, 11, 3, 12..13, 0),
        (15, 0, 3, 1..1, 0),
        (20, 0, 3, 1..1, 0),
        (i64::MAX, 0, 3, 1..1, 0),
        (20, 0, 20, 1..13, 0),
        (2, 0, 3, 1..3, 0),
    ] {
        let (status, page) = post(&site, "/channel/messagesync", sync(start, end, limit, 0)).await;
        assert_eq!((status, &page["more"]), (200, &json!(more)), "{start} {end} {limit}");
        assert_eq!(seqs(&page["messages"]), expected.collect::<Vec<_>>(), "{start} {end} {limit}");
    }
}

/// Whoever sends meanwhile does not wait for the whole of it.
#[tokio::test]
async fn others_are_served_while_a_long_answer_is_put_together() {
    let site = Site::with(json!({}), Rows::new(channel(500)).host());
    let mut turns = 0;
    let others = async {
        loop {
            tokio::task::yield_now().await;
            turns += 1;
        }
    };
    tokio::select! {
        biased;
        (status, page) = post(&site, "/channel/messagesync", sync(1, 0, 500, 0)) => {
            assert_eq!((status, page["messages"].as_array().unwrap().len()), (200, 500));
        }
        () = others => unreachable!("they never end"),
    }
    assert!(turns >= 499, "between any two messages: {turns}");
}

/// A walk with what clients do: on from the last number, until there is no more.
#[tokio::test]
async fn large_messages_make_short_pages_and_none_is_lost() {
    let payload = "aGk=".repeat(256 << 10);
    let messages = (1..=40).map(|seq| message("2/team", seq, &payload)).collect();
    let site = Site::with(json!({}), Rows::new(messages).host());
    for newest in [false, true] {
        let (mut walked, mut pages, mut bound) = (Vec::new(), 0, if newest { 0 } else { 1 });
        loop {
            let asked = if newest { sync(0, bound, 10_000, 1) } else { sync(bound, 0, 10_000, 0) };
            let (status, page) = post(&site, "/channel/messagesync", asked).await;
            assert_eq!(status, 200);
            let seqs = seqs(&page["messages"]);
            assert!(seqs.is_sorted() && (1..=32).contains(&seqs.len()), "{seqs:?}");
            bound = if newest { seqs[0] } else { seqs[seqs.len() - 1] + 1 };
            walked.extend(seqs);
            pages += 1;
            if page["more"] == 0 {
                break;
            }
        }
        walked.sort_unstable();
        assert_eq!((walked, pages), ((1..=40).collect(), 2));
    }
    let seqs: Vec<_> = (1..=40).collect();
    let asked = json!({ "channel_id": "team", "channel_type": 2, "message_seqs": seqs });
    let (status, answer) = post(&site, "/messages", asked).await;
    let expected = json!({ "msg": "the messages are too large for one answer, ask for fewer", "status": 400 });
    assert_eq!((status, answer), (400, expected));
}

/// Somebody of a real server is named with an `@`: whoever was archived can be read.
#[tokio::test]
async fn pairs_with_more_than_one_at_are_read() {
    let messages = [1, 2].map(|seq| message("1/bob@alice@work", seq, "aGk=")).to_vec();
    let site = Site::with(json!({}), Rows::new(messages).host());
    for (login_uid, channel_id) in [("alice@work", "bob"), ("bob", "bob@alice@work"), ("carol", "bob@alice@work")] {
        let named = json!({ "login_uid": login_uid, "channel_id": channel_id, "channel_type": 1 });
        let with = |key: &str, value: Value| {
            let mut asked = named.clone();
            asked[key] = value;
            asked
        };
        let page = post(&site, "/channel/messagesync", with("limit", json!(10))).await.1;
        assert_eq!(seqs(&page["messages"]), [1, 2], "{login_uid} {channel_id}");
        assert_eq!(seqs(&post(&site, "/messages", with("message_seqs", json!([2]))).await.1), [2]);
        assert_eq!(post(&site, "/message", with("message_id", json!(id(1)))).await.1["message_seq"], 1);
        let asked = format!("/channel/max_message_seq?channel_id={channel_id}&channel_type=1&login_uid={login_uid}");
        assert_eq!(body(&site.send(request("GET", &asked, "")).await), json!({ "message_seq": 2 }));
    }
}

/// What a channel holds that was reset: the numbers of its first life again, and those of a third one.
#[tokio::test]
async fn equal_numbers_are_told_together() {
    for (lives, limit, max_bytes) in [
        (&[5, 3, 1][..], 1, 32 << 20),
        (&[5, 3, 1], 2, 32 << 20),
        (&[5, 3, 1], 3, 1),
        (&[1100, 1099, 1], 1500, 32 << 20),
    ] {
        let mut messages: Vec<MessageView> = Vec::new();
        for seq in lives.iter().flat_map(|last| 1..=*last) {
            let place = messages.len() as i64 + 1;
            messages.push(MessageView {
                id: place,
                native_id: id(place).to_string(),
                ..message("2/team", seq, "aGk=")
            });
        }
        let expected: Vec<_> = (1..=messages.len() as i64).map(|place| id(place).to_string()).collect();
        let site = Site::with(json!({}), Rows { messages, max_bytes }.host());
        for newest in [false, true] {
            let (mut walked, mut bound) = (Vec::new(), if newest { 0 } else { 1 });
            loop {
                let asked = if newest { sync(0, bound, limit, 1) } else { sync(bound, 0, limit, 0) };
                let page = post(&site, "/channel/messagesync", asked).await.1;
                let seqs = seqs(&page["messages"]);
                assert!(seqs.is_sorted() && seqs.len() < limit as usize + lives.len(), "{seqs:?}");
                bound = if newest { seqs[0] } else { seqs[seqs.len() - 1] + 1 };
                let ids = page["messages"].as_array().unwrap().iter().map(|message| message["message_idstr"].clone());
                walked.extend(ids.map(|id| id.as_str().unwrap().to_owned()));
                if page["more"] == 0 {
                    break;
                }
            }
            walked.sort();
            assert!(walked == expected, "{} of {} {limit} {newest}", walked.len(), expected.len());
        }
    }
}

#[tokio::test]
async fn equal_numbers_are_all_looked_up() {
    let again = MessageView { id: 100, native_id: id(100).to_string(), ..message("2/team", 1, "aGk=") };
    let site = Site::with(json!({ "messages_form": "object" }), Rows::new([channel(3), vec![again]].concat()).host());
    let asked = json!({ "channel_id": "team", "channel_type": 2, "message_seqs": [1, 2] });
    assert_eq!(seqs(&post(&site, "/messages", asked).await.1["messages"]), [1, 1, 2]);
    let offset = |seq| format!("channel_id=team&channel_type=2&offset_message_seq={seq}");
    let (status, answer) = get(&site, &offset(1)).await;
    let said = "offset_message_seq is the number of several messages: give offset_message_id";
    assert_eq!((status, answer), (400, json!({ "msg": said, "status": 400 })));
    assert_eq!(seqs(&get(&site, &offset(2)).await.1["data"])[0], 1);
}

#[tokio::test]
async fn a_channel_is_searched_by_its_id_or_its_type_alone() {
    let at = |conversation: &str, number: i64| MessageView {
        client_id: Some("same".to_owned()),
        ..message(conversation, number, "aGk=")
    };
    let rows = vec![at("2/team", 1), at("4/team", 2), at("2/other", 3), at("1/bob@alice", 4)];
    let site = Site::with(json!({}), Rows::new(rows).host());
    let check = async |query: &str, expected: &[i64]| {
        for more in ["", "&client_msg_no=same"] {
            let (status, answer) = get(&site, &format!("{query}{more}")).await;
            assert_eq!(status, 200, "{query}{more}: {answer}");
            assert_eq!(seqs(&answer["data"]), expected, "{query}{more}: {answer}");
            assert_eq!(answer["total"], expected.len(), "{query}{more}");
        }
    };
    check("channel_id=team", &[2, 1]).await;
    check("channel_id=team&channel_type=4", &[2]).await;
    check("channel_type=2", &[3, 1]).await;
    check("channel_type=2&channel_id=", &[3, 1]).await;
    check("channel_id=alice@bob", &[4]).await;
    check("channel_id=nobody", &[]).await;
    check("channel_type=9", &[]).await;
    check("channel_id=&channel_type=0&from_uid=&message_id=0&offset_message_seq=0", &[4, 3, 2, 1]).await;
    for query in ["channel_id=team&offset_message_seq=1", "channel_type=2&offset_message_seq=1"] {
        let said = "offset_message_seq needs channel_id and channel_type";
        assert_eq!(get(&site, query).await, (400, json!({ "msg": said, "status": 400 })));
    }
}

#[tokio::test]
async fn what_has_expired_is_not_shown() {
    let mut messages = channel(3);
    messages[1].expires_at = Some(NOW);
    messages[2].expires_at = Some(NOW + 1);
    let site = Site::with(json!({}), Rows::new(messages).host());
    let (_, page) = post(&site, "/channel/messagesync", sync(0, 0, 0, 0)).await;
    assert_eq!(seqs(&page["messages"]), [1, 3]);
    let all = json!({ "channel_id": "team", "channel_type": 2, "message_seqs": [1, 2, 3], "client_msg_nos": ["n2"], "message_ids": [id(2)] });
    assert_eq!(seqs(&post(&site, "/messages", all).await.1), [3, 1]);
    for (key, value) in [("client_msg_no", json!("n2")), ("message_id", json!(id(2)))] {
        let asked = json!({ "channel_id": "team", "channel_type": 2, key: value });
        assert_eq!(post(&site, "/message", asked).await.0, 404, "{key}");
    }
    for query in ["", "client_msg_no=n2", &format!("message_id={}", id(2))] {
        let expected = if query.is_empty() { vec![3, 1] } else { vec![] };
        let (_, found) = get(&site, query).await;
        assert_eq!((seqs(&found["data"]), &found["total"]), (expected.clone(), &json!(expected.len())), "{query}");
    }
    let asked = request("GET", "/channel/max_message_seq?channel_id=team&channel_type=2", "");
    assert_eq!(body(&site.send(asked).await), json!({ "message_seq": 3 }));
}

#[tokio::test]
async fn lists_are_looked_up_in_parts_where_the_rows_are_long() {
    let mut rows = Rows::new(channel(100));
    rows.messages.extend((1..=100).map(|seq| message("2/others", 1000 + seq, "aGk=")));
    rows.max_bytes = 1000;
    let site = Site::with(json!({}), rows.host());
    let (seqs_asked, nos): (Vec<_>, Vec<_>) = ((1..=40).collect(), (31..=60).map(|seq| format!("n{seq}")).collect());
    let ids: Vec<_> = (51..=110).chain(1001..=1010).map(id).collect();
    let asked = json!({
        "channel_id": "team", "channel_type": 2, "message_seqs": seqs_asked, "client_msg_nos": nos, "message_ids": ids,
    });
    let (status, answer) = post(&site, "/messages", asked).await;
    assert_eq!((status, seqs(&answer)), (200, (1..=100).rev().collect()));
    assert!(site.mock.requests::<ArchiveFind>().len() > 10 && site.mock.requests::<ArchiveGet>().len() > 10);
    let many: Vec<_> = (0..1001).collect();
    for asked in [
        json!({ "channel_id": "team", "channel_type": 2, "message_seqs": many }),
        json!({ "channel_id": "team", "channel_type": 2, "message_seqs": many[..600], "message_ids": many[..401] }),
    ] {
        assert_eq!(post(&site, "/messages", asked).await.0, 400);
    }
}

/// One call of the archive for an ordinary page: the row beyond it is asked for with it.
#[tokio::test]
async fn an_ordinary_page_is_one_call() {
    let site = Site::with(json!({}), Rows::new(channel(500)).host());
    post(&site, "/channel/messagesync", sync(200, 0, 100, 0)).await;
    let asked = site.mock.requests::<ArchiveQuery>();
    assert_eq!((asked.len(), asked[0].limit, asked[0].unexpired_at), (1, 101, Some(NOW)));
}

#[tokio::test]
async fn offsets_of_a_search_are_places_in_time() {
    let mut messages = channel(5);
    messages.push(MessageView {
        kind: "part".to_owned(),
        conversation: "stream/s1".to_owned(),
        ..message("", 6, "aGk=")
    });
    let site = Site::with(json!({}), Rows::new(messages).host());
    let check = async |query: &str, expected: &[i64], total: usize| {
        let (status, found) = get(&site, query).await;
        assert_eq!((status, seqs(&found["data"])), (200, expected.to_vec()), "{query}");
        assert_eq!(found["total"], total, "{query}");
    };
    check("", &[5, 4, 3, 2, 1], 5).await;
    check(&format!("offset_message_id={}", id(3)), &[2, 1], 5).await;
    check(&format!("offset_message_id={}&pre=1", id(3)), &[5, 4], 5).await;
    // Ids nobody gave: before, between, after.
    check(&format!("offset_message_id={}", id(-1)), &[], 5).await;
    check(&format!("offset_message_id={}&pre=1", id(-1)), &[5, 4, 3, 2, 1], 5).await;
    check(&format!("offset_message_id={}&limit=2", id(3) + 4096), &[2, 1], 5).await;
    check(&format!("offset_message_id={}&pre=1&limit=1", id(3) + 4096), &[4], 5).await;
    check(&format!("offset_message_id={}", i64::MAX), &[5, 4, 3, 2, 1], 5).await;
    check(&format!("client_msg_no=n4&offset_message_id={}", id(3)), &[], 1).await;
    check(&format!("client_msg_no=n4&offset_message_id={}&pre=1", id(3)), &[4], 1).await;
    // Parts of streams are in no channel, however they are asked for.
    check("client_msg_no=n6", &[], 0).await;
    check(&format!("message_id={}", id(6)), &[], 0).await;
}

#[tokio::test]
async fn a_search_goes_through_what_is_readable() {
    let (long, short) = ("消".repeat(400), json!({ "type": 1, "a": "x", "content": "longer, 7" }).to_string());
    let mut messages = channel(2);
    messages[0].text = readable(short.as_bytes()).text;
    messages[1].text.clone_from(&long);
    let site = Site::with(json!({}), Rows::new(messages).host());
    let check = async |payload: &[u8], expected: &[i64]| {
        let text = support::base64(payload).replace('+', "%2B").replace('/', "%2F");
        assert_eq!(seqs(&get(&site, &format!("payload={text}")).await.1["data"]), expected, "{payload:?}");
        let query = format!("client_msg_no=n1&payload={text}");
        let expected: Vec<_> = expected.iter().copied().filter(|seq| *seq == 1).collect();
        assert_eq!(seqs(&get(&site, &query).await.1["data"]), expected, "{payload:?}");
    };
    check(short.as_bytes(), &[1]).await;
    check(b"longer", &[1]).await;
    check(b"7", &[1]).await;
    check(b"content", &[]).await;
    check(long.as_bytes(), &[2]).await;
    for wrong in ["payload=AAEC%2Fw", "payload=e30", "payload=%25", "node_id=2", "limit=-1", "channel_type=256"] {
        assert_eq!(get(&site, wrong).await.0, 400, "{wrong}");
    }
}
