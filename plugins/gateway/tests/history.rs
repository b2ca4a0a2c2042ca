//! The five ways to choose messages: bounds, order, pages, sizes.

mod support;

use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_plugin_api::ops::{ArchiveAppend, ArchiveQuery};
use support::{FAILED, Site, Stored, answering};
use tokio::sync::Semaphore;

/// A conversation with so many messages, one a millisecond; their ids.
async fn talk(site: &Site, count: usize) -> (String, String, Vec<String>) {
    let conversation = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(site.say(&alice, &conversation, &number.to_string()).await);
        site.clock.fetch_add(1000, Ordering::Relaxed);
    }
    (conversation, alice, ids)
}

fn contents(answer: &Value) -> Vec<usize> {
    let messages = answer["data"]["Msg"].as_array().unwrap_or_else(|| panic!("{answer}"));
    messages.iter().map(|message| message["Content"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn each_way_chooses_its_messages() {
    let site = Site::new(json!({ "greeting": "" }));
    let (conversation, alice, ids) = talk(&site, 100).await;
    let check = async |path: &str, ask: Value, expected: Vec<usize>| {
        for desc in [false, true] {
            let mut body = json!({ "conversation_id": conversation, "desc": desc });
            body.as_object_mut().unwrap().extend(ask.as_object().unwrap().clone());
            let mut expected = expected.clone();
            if desc {
                expected.reverse();
            }
            assert_eq!(contents(&site.ask(path, &alice, &body).await), expected, "{path} {body}");
        }
    };
    let before = "/get_conversation_30msg_before_the_id";
    check(before, json!({ "msg_id": ids[50] }), (21..=50).collect()).await;
    check(before, json!({ "msg_id": ids[5] }), (0..=5).collect()).await;
    check(before, json!({ "msg_id": "ZZZZZ-ZZZZ-ZZZZ-ZZZ" }), (70..100).collect()).await;
    check(before, json!({ "msg_id": "" }), vec![]).await;
    check(before, json!({ "msg_id": "EDTZL" }), vec![]).await;
    let after = "/get_conversation_30msg_after_the_id";
    check(after, json!({ "msg_id": ids[50] }), (50..80).collect()).await;
    check(after, json!({ "msg_id": ids[90] }), (90..100).collect()).await;
    check(after, json!({ "msg_id": "" }), (0..30).collect()).await;
    check(after, json!({ "msg_id": "ZZZZZ-ZZZZ-ZZZZ-ZZZ" }), vec![]).await;
    check("/-%20get_conversation_30msg_after_the_id", json!({ "msg_id": ids[98] }), vec![98, 99]).await;
    for path in ["/get_conversation_last_30_msg", "/-%20get_conversation_last_30_msg"] {
        check(path, json!({}), (70..100).collect()).await;
    }
    check("/get_conversation_lastone_msg", json!({}), vec![99]).await;
    let range = "/get_conversation_msg_by_range";
    check(range, json!({ "start_msg_id": ids[3], "end_msg_id": ids[90] }), (3..=90).collect()).await;
    check(range, json!({ "start_msg_id": "", "end_msg_id": "ZZZZZ-ZZZZ-ZZZZ-ZZZ" }), (0..100).collect()).await;
    check(range, json!({ "start_msg_id": ids[7], "end_msg_id": ids[7] }), vec![7]).await;
    check(range, json!({ "start_msg_id": ids[8], "end_msg_id": ids[7] }), vec![]).await;
    check(range, json!({ "start_msg_id": "", "end_msg_id": "" }), vec![]).await;
    check(range, json!({}), vec![]).await;
    // An id is a bound, whether there is such a message or not.
    let between = format!("{}Z", ids[7]);
    check(range, json!({ "start_msg_id": between, "end_msg_id": ids[9] }), vec![8, 9]).await;
    check(range, json!({ "start_msg_id": ids[5], "end_msg_id": between }), vec![5, 6, 7]).await;
}

#[tokio::test]
async fn messages_that_do_not_fit_come_in_smaller_pages() {
    let site = Site::new(json!({ "greeting": "" }));
    let (conversation, alice, _) = talk(&site, 50).await;
    for message in &mut site.stored().messages {
        message.text = format!("{:0>1000}", message.text);
    }
    site.stored().max_bytes = 3500;
    let body = json!({ "conversation_id": conversation });
    assert_eq!(contents(&site.ask("/get_conversation_last_30_msg", &alice, &body).await), (20..50).collect::<Vec<_>>());
    let body = json!({ "conversation_id": conversation, "end_msg_id": "Z", "desc": true });
    let all = site.ask("/get_conversation_msg_by_range", &alice, &body).await;
    assert_eq!(contents(&all), (0..50).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_range_of_any_length_is_read_in_few_pages() {
    let site = Site::new(json!({ "greeting": "" }));
    let (conversation, alice, _) = talk(&site, 1000).await;
    let before = site.mock.requests::<ArchiveQuery>().len();
    let body = json!({ "conversation_id": conversation, "end_msg_id": "Z" });
    let all = site.ask("/get_conversation_msg_by_range", &alice, &body).await;
    assert_eq!(contents(&all), (0..1000).collect::<Vec<_>>());
    assert_eq!(site.mock.requests::<ArchiveQuery>().len() - before, 6, "30, and 200 at a time");
}

#[tokio::test]
async fn an_answer_that_would_be_too_large_is_refused_clearly() {
    let site = Site::new(json!({ "greeting": "" }));
    let (conversation, alice, ids) = talk(&site, 40).await;
    let long = "x".repeat(1 << 20);
    for message in &mut site.stored().messages {
        message.text.clone_from(&long);
    }
    let body = json!({ "conversation_id": conversation, "end_msg_id": "Z" });
    let answer = site.ask("/get_conversation_msg_by_range", &alice, &body).await;
    let error = "internal service call failed: too many messages for one answer, narrow the range";
    assert_eq!(answer, json!({ "code": 10002, "error": error }));
    let body = json!({ "conversation_id": conversation, "start_msg_id": ids[10], "end_msg_id": ids[20] });
    let answer = site.ask("/get_conversation_msg_by_range", &alice, &body).await;
    assert_eq!(answer["data"]["Msg"].as_array().unwrap().len(), 11);
}

#[tokio::test]
async fn thirty_long_messages_are_put_together_unless_they_are_too_much() {
    let site = Site::new(json!({ "greeting": "" }));
    let (conversation, alice, _) = talk(&site, 40).await;
    site.stored().max_bytes = 32 << 20;
    let set = |length: usize| {
        for (number, message) in site.stored().messages.iter_mut().enumerate() {
            message.text = format!("{}{number:02}", "0".repeat(length));
            // A body holds its text once more, so that thirty do not come at once.
            message.body = vec![b' '; length].into();
        }
    };
    let body = json!({ "conversation_id": conversation });
    set(1_000_000);
    let before = site.mock.requests::<ArchiveQuery>().len();
    let answer = site.ask("/get_conversation_last_30_msg", &alice, &body).await;
    assert_eq!(contents(&answer), (10..40).collect::<Vec<_>>());
    let limits: Vec<_> = site.mock.requests::<ArchiveQuery>()[before..].iter().map(|query| query.limit).collect();
    assert_eq!(limits[..2], [30, 15]);
    set(1_200_000);
    let answer = site.ask("/get_conversation_last_30_msg", &alice, &body).await;
    let error = "internal service call failed: too many messages for one answer, narrow the range";
    assert_eq!(answer, json!({ "code": 10002, "error": error }));
}

#[tokio::test(start_paused = true)]
async fn large_answers_wait_for_each_other_a_moment_and_small_ones_for_nobody() {
    let stored = Arc::new(Mutex::new(Stored::default()));
    let gate = Arc::new(Semaphore::new(0));
    let (append, query, held) = (Arc::clone(&stored), Arc::clone(&stored), Arc::clone(&gate));
    let mock = answering(&stored)
        .on::<ArchiveAppend>(move |page| append.lock().unwrap().append(page))
        .on_async::<ArchiveQuery, _>(move |request| {
            let (page, held) = (query.lock().unwrap().query(&request), Arc::clone(&held));
            async move {
                // Second pages of long messages wait until they are let through.
                if request.from_seq != Some(0) && page.as_ref().is_ok_and(|page| page.rows[0].text.len() > 1000) {
                    held.acquire().await.expect("the gate is never closed").forget();
                }
                page
            }
        });
    let site = Arc::new(Site::with(json!({ "greeting": "" }), stored, mock));
    let (large, alice, _) = talk(&site, 35).await;
    for message in &mut site.stored().messages {
        message.text = format!("{:0>36000}", message.text);
    }
    let (small, _, _) = talk(&site, 35).await;
    let ask = |conversation: &str| {
        let body = json!({ "conversation_id": conversation, "end_msg_id": "Z" });
        let (site, alice) = (Arc::clone(&site), alice.clone());
        tokio::spawn(async move { site.ask("/get_conversation_msg_by_range", &alice, &body).await })
    };
    let asked: Vec<_> = (0..40).map(|_| ask(&large)).collect();
    assert_eq!(contents(&ask(&small).await.unwrap()), (0..35).collect::<Vec<_>>());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.iter().filter(|one| one.is_finished()).count(), 40 - 8 - 24, "so many need not even wait");
    tokio::time::advance(Duration::from_secs(2)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.iter().filter(|one| one.is_finished()).count(), 40 - 8, "nor wait for long");
    gate.add_permits(8);
    let mut answered = 0;
    for one in asked {
        match one.await.unwrap() {
            answer if answer["code"] == 0 => {
                assert_eq!(contents(&answer), (0..35).collect::<Vec<_>>());
                answered += 1;
            }
            answer => assert_eq!(format!("{answer}\n"), FAILED),
        }
    }
    assert_eq!(answered, 8);
    assert_eq!(
        contents(&site.ask("/get_conversation_last_30_msg", &alice, &json!({ "conversation_id": large })).await).len(),
        30
    );
}

/// Messages that an upstream gave the same id have the same number.
#[tokio::test]
async fn messages_of_one_number_are_all_there() {
    let site = Site::new(json!({ "greeting": "" }));
    let (conversation, alice, ids) = talk(&site, 400).await;
    for shared in [20..40, 100..400] {
        let messages = &mut site.stored().messages[shared];
        let number = messages[0].seq;
        messages.iter_mut().for_each(|message| message.seq = number);
    }
    for desc in [false, true] {
        let body = json!({ "conversation_id": conversation, "end_msg_id": "Z", "desc": desc });
        let mut all = contents(&site.ask("/get_conversation_msg_by_range", &alice, &body).await);
        if desc {
            all.reverse();
        }
        assert_eq!(all, (0..400).collect::<Vec<_>>(), "{body}");
    }
    let body = json!({ "conversation_id": conversation, "msg_id": ids[25] });
    let after = site.ask("/get_conversation_30msg_after_the_id", &alice, &body).await;
    assert_eq!(contents(&after), (40..70).collect::<Vec<_>>(), "theirs comes before");
}
