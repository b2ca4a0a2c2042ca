//! Sends are committed together, in the order of their ids.

mod support;

use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_gateway::msgid;
use stele_plugin_api::ErrorCode;
use stele_plugin_api::ops::ArchiveAppend;
use support::{FAILED, Site, Stored, answering};
use tokio::sync::Semaphore;

/// A site whose appends wait until they are let through.
fn gated() -> (Arc<Site>, Arc<Semaphore>) {
    gated_with(json!({ "greeting": "" }))
}

fn gated_with(settings: Value) -> (Arc<Site>, Arc<Semaphore>) {
    let stored = Arc::new(Mutex::new(Stored::default()));
    let gate = Arc::new(Semaphore::new(0));
    let (held, appended) = (Arc::clone(&gate), Arc::clone(&stored));
    let mock = answering(&stored).on_async::<ArchiveAppend, _>(move |page| {
        let (held, appended) = (Arc::clone(&held), Arc::clone(&appended));
        async move {
            held.acquire().await.expect("the gate is never closed").forget();
            appended.lock().unwrap().append(page)
        }
    });
    (Arc::new(Site::with(settings, stored, mock)), gate)
}

/// Lets every task run until nothing is left to do but wait for the gate: each turn runs all that are ready.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_is_stored_together_and_in_order() {
    let (site, gate) = gated();
    gate.add_permits(1);
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let send = |number: i32| {
        let (site, id, alice) = (Arc::clone(&site), id.clone(), alice.clone());
        tokio::spawn(async move { (number, site.say(&alice, &id, &number.to_string()).await) })
    };
    let mut sends = vec![send(0)];
    settle().await;
    sends.extend((1..500).map(send));
    settle().await;
    assert_eq!(site.mock.requests::<ArchiveAppend>().len(), 2, "one append is under way, whatever waits");
    assert_eq!(site.stored().messages.len(), 0);
    gate.add_permits(2);
    let mut answered = Vec::new();
    for send in sends {
        answered.push(send.await.unwrap());
    }
    let stored = site.stored();
    assert_eq!(stored.appends, [0, 1, 499]);
    let ids: Vec<_> = stored.messages.iter().map(|message| message.native_id.clone()).collect();
    assert!(ids.is_sorted());
    for (number, id) in answered {
        let message =
            stored.messages.iter().find(|message| message.native_id == id).expect("what is answered is stored");
        assert_eq!(message.text, number.to_string());
        assert_eq!(msgid::number(&id), Some(message.seq));
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_changes_nothing() {
    let (site, gate) = gated();
    gate.add_permits(1);
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let gone = {
        let (site, id, alice) = (Arc::clone(&site), id.clone(), alice.clone());
        tokio::spawn(async move { site.say(&alice, &id, "gone").await })
    };
    settle().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.add_permits(2);
    site.say(&alice, &id, "there").await;
    let texts: Vec<_> = site.stored().messages.iter().map(|message| message.text.clone()).collect();
    assert_eq!(texts, ["gone", "there"]);
}

#[tokio::test(start_paused = true)]
async fn too_many_that_wait_are_refused_and_the_others_stored() {
    let (site, gate) = gated();
    gate.add_permits(1);
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let body = json!({ "conversation_id": id, "content": "x".repeat(1 << 20) }).to_string();
    let sends: Vec<_> = (0..100)
        .map(|_| {
            let (site, alice, body) = (Arc::clone(&site), alice.clone(), body.clone());
            tokio::spawn(async move { site.post("/send_msg", &alice, &body).await })
        })
        .collect();
    settle().await;
    gate.add_permits(100);
    let mut refused = 0;
    for send in sends {
        refused += usize::from(send.await.unwrap() == FAILED);
    }
    assert_eq!(refused, 36, "64 MiB wait at most");
    assert_eq!(site.stored().messages.len(), 64);
    // Half of a page is the text, half the body: none is near the size of a frame.
    assert!(site.stored().appends.iter().all(|size| *size <= 4), "{:?}", site.stored().appends);
    site.say(&alice, &id, "room again").await;
}

#[tokio::test(start_paused = true)]
async fn an_archive_that_does_not_answer_fails_the_send() {
    let (site, gate) = gated();
    gate.add_permits(1);
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let body = json!({ "conversation_id": id }).to_string();
    assert_eq!(site.post("/send_msg", &alice, &body).await, FAILED);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_too_long_is_not_stored_behind_its_callers_back() {
    let (site, gate) = gated();
    gate.add_permits(1);
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let send = |text: &str| {
        let body = json!({ "conversation_id": id, "content": text }).to_string();
        let (site, alice) = (Arc::clone(&site), alice.clone());
        tokio::spawn(async move { site.post("/send_msg", &alice, &body).await })
    };
    let stuck = send("stuck");
    settle().await;
    tokio::time::advance(Duration::from_secs(5)).await;
    let late = send("late");
    settle().await;
    tokio::time::advance(Duration::from_secs(10)).await;
    let soon = send("soon");
    settle().await;
    assert_eq!(stuck.await.unwrap(), FAILED, "the archive gave no answer for 20 seconds");
    gate.add_permits(100);
    assert_eq!(late.await.unwrap(), FAILED, "it waited for 15 seconds");
    assert_ne!(soon.await.unwrap(), FAILED);
    let texts: Vec<_> = site.stored().messages.iter().map(|message| message.text.clone()).collect();
    assert!(!texts.contains(&"late".to_owned()) && texts.contains(&"soon".to_owned()), "{texts:?}");
}

#[tokio::test]
async fn an_archive_that_fails_is_not_asked_for_each_message_of_a_batch() {
    let (site, gate) = gated();
    gate.add_permits(1);
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let send = |_| {
        let (site, alice, body) = (Arc::clone(&site), alice.clone(), json!({ "conversation_id": id }).to_string());
        tokio::spawn(async move { site.post("/send_msg", &alice, &body).await })
    };
    let sends: Vec<_> = (0..4).map(send).collect();
    settle().await;
    site.stored().failures = vec![ErrorCode::Unavailable, ErrorCode::Invalid];
    gate.add_permits(100);
    for send in sends {
        assert_eq!(send.await.unwrap(), FAILED);
    }
    assert_eq!(site.stored().appends, [0, 4, 1], "the fault is not in the messages");
}

#[tokio::test(start_paused = true)]
async fn names_of_members_are_weighed_as_well() {
    let (site, gate) = gated_with(json!({}));
    let members: Vec<_> = (0..8192).map(|number| format!("{number:0>64}")).collect();
    let body = Arc::new(json!({ "sessions": members }).to_string());
    let opens: Vec<_> = (0..80)
        .map(|_| {
            let (site, body) = (Arc::clone(&site), Arc::clone(&body));
            tokio::spawn(async move { site.post("/inner/create_conversation", "", &body).await == FAILED })
        })
        .collect();
    settle().await;
    gate.add_permits(100);
    let mut refused = 0;
    for open in opens {
        refused += usize::from(open.await.unwrap());
    }
    // Of each the 8192 names weigh a MiB, 64 bytes and as much beside, and the greeting a little.
    assert_eq!(refused, 80 - 63, "64 MiB wait at most");
    assert!(site.stored().appends.iter().all(|size| *size <= 4), "{:?}", site.stored().appends);
    let logged = site.mock.logs();
    assert!(logged.iter().any(|line| format!("{line:?}").contains("too many messages wait")), "{logged:?}");
}

#[tokio::test]
async fn a_message_that_is_refused_takes_no_others_with_it() {
    let (site, gate) = gated();
    gate.add_permits(1);
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    site.stored().poison = "poison".to_owned();
    let sends: Vec<_> = ["good", "poison", "better"]
        .into_iter()
        .map(|text| {
            let body = json!({ "conversation_id": id, "content": text }).to_string();
            let (site, alice) = (Arc::clone(&site), alice.clone());
            tokio::spawn(async move { (text, site.post("/send_msg", &alice, &body).await == FAILED) })
        })
        .collect();
    settle().await;
    gate.add_permits(100);
    for send in sends {
        let (text, failed) = send.await.unwrap();
        assert_eq!(failed, text == "poison", "{text}");
    }
    assert_eq!(site.stored().appends, [0, 3, 1, 1, 1]);
}

#[tokio::test]
async fn an_append_whose_outcome_is_unknown_is_not_repeated() {
    let site = Site::new(json!({ "greeting": "" }));
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    site.stored().failures.push(ErrorCode::Deadline);
    let body = json!({ "conversation_id": id }).to_string();
    assert_eq!(site.post("/send_msg", &alice, &body).await, FAILED);
    assert_eq!(site.stored().appends, [0, 1]);
}

#[tokio::test]
async fn an_id_that_is_taken_is_not_given_again() {
    let site = Site::new(json!({ "greeting": "" }));
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    // Another daemon has just sent at the same time, and this one has not heard of it yet.
    let series = msgid::Series::of(&id, 3);
    let first = (support::NOW / 1000) << 12 | 1;
    for number in [first, first + 1] {
        let taken = series.id(number).to_string();
        site.stored().messages.push(stele_plugin_api::ops::MessageView {
            native_id: taken,
            conversation: id.clone(),
            seq: number,
            ..Default::default()
        });
    }
    let sent = site.say(&alice, &id, "hello").await;
    assert_eq!(msgid::number(&sent), Some(first + 2));
    assert_eq!(site.stored().appends, [0, 1, 1, 1]);
}

#[tokio::test]
async fn a_message_comes_behind_the_newest_of_its_conversation() {
    let site = Site::new(json!({ "greeting": "" }));
    let id = site.conversation(&["alice"]).await;
    let alice = site.token("alice").await;
    let first = site.say(&alice, &id, "sent by a daemon whose clock is a minute ahead").await;
    site.clock.fetch_sub(60_000_000, Ordering::Relaxed);
    let later = Site::with(json!({}), Arc::clone(&site.stored), {
        let stored = Arc::clone(&site.stored);
        answering(&site.stored).on::<ArchiveAppend>(move |page| stored.lock().unwrap().append(page))
    });
    later.clock.store(support::NOW - 60_000_000, Ordering::Relaxed);
    let second = later.say(&alice, &id, "sent by another").await;
    assert!(second > first, "{second} {first}");
    assert_eq!(site.stored().messages[1].sent_at, support::NOW - 60_000_000, "the time is that of the clock");
}
