//! Messages by number, and by their senders' own ids.

use super::Backend;
use super::sample::{NEW_YEAR, instance, page, put, text};
use crate::{Archive, ArchiveError, InstanceId, MAX_ANSWER};
use stele_plugin_api::model::Message;
use stele_plugin_api::ops::FindQuery;

async fn ask(archive: &dyn Archive, instance: InstanceId, query: FindQuery) -> Vec<String> {
    let found = archive.find(instance, &query).await.expect("answers");
    assert!(found.is_sorted_by(|one, next| one.id > next.id), "latest arrival first");
    found.into_iter().map(|row| row.native_id).collect()
}

fn by_number(conversation: &str, seqs: &[i64]) -> FindQuery {
    FindQuery { conversation: Some(conversation.to_owned()), seqs: seqs.to_vec(), limit: 1000, ..FindQuery::default() }
}

fn by_client(client_ids: &[&str]) -> FindQuery {
    let client_ids = client_ids.iter().map(|&id| id.to_owned()).collect();
    FindQuery { client_ids, limit: 1000, ..FindQuery::default() }
}

fn numbered(native_id: &str, conversation: &str, seq: Option<i64>) -> Message {
    Message {
        seq,
        kind: format!("kind of {}", native_id.len()),
        ..text(native_id, conversation, "a", &["b"], NEW_YEAR)
    }
}

pub(super) async fn numbers_are_found(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    // Numbers that are given, that ascend with gaps, and that come in no order, some of them twice.
    let mut messages = Vec::new();
    for at in 0..60_i64 {
        messages.push(numbered(&format!("g{at}"), "given", None));
        messages.push(numbered(&format!("u{at}"), "up", Some(at * 10 - 5)));
        messages.push(numbered(&format!("x{at}"), "astray", Some(at * 31 % 50)));
    }
    put(&*archive, hq, &page(messages)).await;
    put(&*archive, branch, &page([numbered("b", "given", None)])).await;
    for (query, expected) in [
        (by_number("given", &[1]), &["g0"][..]),
        (by_number("given", &[60, 1, 30, 30, 61, 0, -1, i64::MAX, i64::MIN]), &["g59", "g29", "g0"]),
        (by_number("given", &[1, 60]), &["g59", "g0"]),
        (by_number("given", &[61, 59, 60]), &["g59", "g58"]),
        (by_number("given", &[62, 63]), &[]),
        (by_number("given", &[i64::MAX, i64::MAX - 1]), &[]),
        (by_number("given", &[i64::MIN, i64::MIN + 1]), &[]),
        (by_number("up", &[25, 26, 34, 35]), &["u4", "u3"]),
        (by_number("up", &[-5, 5, 6, 0, 585, 595]), &["u59", "u1", "u0"]),
        (by_number("astray", &[0]), &["x50", "x0"]),
        (by_number("astray", &[49, 0, 31, 0]), &["x51", "x50", "x29", "x1", "x0"]),
        (by_number("astray", &[50, -1, i64::MAX, i64::MIN]), &[]),
        (by_number("nowhere", &[1]), &[]),
        (by_number("given", &[]), &[]),
        (FindQuery { limit: 2, ..by_number("given", &[1, 2, 3, 4]) }, &["g3", "g2"]),
        (FindQuery { limit: 3, ..by_number("astray", &[49, 0, 31, 0]) }, &["x51", "x50", "x29"]),
        (FindQuery { limit: 0, ..by_number("astray", &[1]) }, &[]),
    ] {
        assert_eq!(ask(&*archive, hq, query.clone()).await, expected, "{query:?}");
    }
    let all: Vec<i64> = (-500..500).collect();
    for (conversation, first) in [("given", 'g'), ("up", 'u'), ("astray", 'x')] {
        let expected: Vec<String> = (0..60).rev().map(|at| format!("{first}{at}")).collect();
        let mut asked = by_number(conversation, &all);
        if conversation == "up" {
            asked.seqs = (0..60).map(|at| at * 10 - 5).collect();
        }
        assert_eq!(ask(&*archive, hq, asked).await, expected);
    }
    assert_eq!(ask(&*archive, branch, by_number("given", &[1, 2])).await, ["b"]);
    let refused = archive.find(hq, &FindQuery { conversation: None, ..by_number("", &[1]) }).await;
    assert!(matches!(refused, Err(ArchiveError::Invalid(_))), "{refused:?}");
}

pub(super) async fn client_ids_are_found(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let said = |native: &str, place: &str, sender: &str, client_id: &str| Message {
        client_id: Some(client_id.to_owned()),
        ..text(native, place, sender, &[], NEW_YEAR)
    };
    put(
        &*archive,
        hq,
        &page([
            said("m1", "c", "b", "k1"),
            said("m2", "d", "a", "k1"),
            said("m3", "c", "a", "k2"),
            said("m4", "c", "a", "k1"),
            text("m5", "c", "a", &[], NEW_YEAR),
            said("m6", "c", "a", ""),
            said("m7", "c", "a", "汉\0字"),
        ]),
    )
    .await;
    put(&*archive, branch, &page([said("b1", "c", "a", "k1")])).await;
    let in_c = |query| FindQuery { conversation: Some("c".to_owned()), ..query };
    for (query, expected) in [
        (by_client(&["k1"]), &["m4", "m2", "m1"][..]),
        (by_client(&["k2", "k1", "k2", "unheard of"]), &["m4", "m3", "m2", "m1"]),
        (in_c(by_client(&["k2", "k1"])), &["m4", "m3", "m1"]),
        (FindQuery { limit: 2, ..by_client(&["k1"]) }, &["m4", "m2"]),
        (FindQuery { limit: 2, ..in_c(by_client(&["k1"])) }, &["m4", "m1"]),
        (by_client(&["K1", "k1 ", "m1"]), &[]),
        (by_client(&[""]), &["m6"]),
        (by_client(&["汉\0字", "汉"]), &["m7"]),
        (FindQuery { conversation: Some("nowhere".to_owned()), ..by_client(&["k1"]) }, &[]),
        // Each once, whatever it is found by.
        (FindQuery { seqs: vec![1, 2, 3], ..in_c(by_client(&["k1"])) }, &["m4", "m3", "m1"]),
        (FindQuery { seqs: vec![2], limit: 2, ..in_c(by_client(&["k1"])) }, &["m4", "m3"]),
        (FindQuery { limit: 10, ..FindQuery::default() }, &[]),
    ] {
        assert_eq!(ask(&*archive, hq, query.clone()).await, expected, "{query:?}");
    }
    put(&*archive, hq, &page((0..500).map(|at| said(&format!("n{at}"), "e", "a", &format!("id {at}"))))).await;
    let asked: Vec<String> = (0..1000).map(|at| format!("id {at}")).collect();
    let asked = FindQuery { client_ids: asked, limit: 1000, ..FindQuery::default() };
    let expected: Vec<String> = (0..500).rev().map(|at| format!("n{at}")).collect();
    assert_eq!(ask(&*archive, hq, asked.clone()).await, expected);
    assert_eq!(ask(&*archive, hq, FindQuery { limit: 7, ..asked }).await, expected[..7]);
}

pub(super) async fn what_is_found_may_be_too_much(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let long =
        |native: &str| Message { body: vec![b'y'; MAX_ANSWER / 2].into(), ..text(native, "c", "a", &[], NEW_YEAR) };
    put(&*archive, hq, &page([long("m1"), long("m2")])).await;
    let both = by_number("c", &[1, 2]);
    let refused = archive.find(hq, &both).await;
    assert!(matches!(refused, Err(ArchiveError::TooLarge { most: MAX_ANSWER })), "it is a text too much");
    assert_eq!(ask(&*archive, hq, FindQuery { limit: 1, ..both }).await, ["m2"]);
}
