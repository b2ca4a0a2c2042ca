//! Pages and cursors.

use super::Backend;
use super::sample::{NEW_YEAR, SECOND, all, instance, natives, page, put, text, try_put};
use crate::{ArchiveError, Commit, InstanceId, Stats, Stream};
use bytes::Bytes;
use stele_plugin_api::model::{Message, Page, Parked, Reached};

pub(super) async fn a_page_is_stored_with_its_cursor(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    assert_eq!(instance(&*archive, "hq").await, hq, "an instance keeps its id");
    assert_eq!(archive.cursor(hq, "p", Stream::Messages).await.unwrap(), None);
    let mut first = page([text("m1", "c", "a", &["b"], NEW_YEAR), text("m2", "c", "b", &["a"], NEW_YEAR + SECOND)]);
    first.cursor = Some(Bytes::from_static(b"\x00\xff1"));
    let done = put(&*archive, hq, &first).await;
    assert_eq!(done.stored.iter().map(|m| m.native_id.as_str()).collect::<Vec<_>>(), ["m1", "m2"]);
    assert!(done.stored[0].id < done.stored[1].id);
    assert_eq!((done.known, done.parked, done.revoked, done.media), (0, 0, 0, 0));
    backend.restart().await;
    let archive = backend.archive();
    let cursor = archive.cursor(hq, "p", Stream::Messages).await.unwrap();
    assert_eq!(cursor, Some((Bytes::from_static(b"\x00\xff1"), NEW_YEAR)));
    for (partition, stream) in [("q", Stream::Messages), ("p", Stream::Directory)] {
        assert_eq!(archive.cursor(hq, partition, stream).await.unwrap(), None, "{partition} {stream:?}");
    }
    let list = archive.messages(hq, &all("c")).await.unwrap();
    assert_eq!((natives(&list), list.total), (vec!["m1", "m2"], 2));
    let row = &list.rows[0];
    assert_eq!(row.id.0, done.stored[0].id);
    assert_eq!((row.conversation_native.as_str(), row.sender_native.as_str()), ("c", "a"));
    assert_eq!((row.sent_at, row.kind.as_str(), row.text.as_str()), (NEW_YEAR, "text", "text of m1"));
    assert_eq!((row.revoked.as_ref(), row.expires_at, row.client_id.as_ref()), (None, None, None));
    let stats = Stats { messages: 2, conversations: 1, people: 2, parked: 0 };
    assert_eq!(archive.stats(Some(hq)).await.unwrap(), stats);
    assert_eq!(archive.stats(None).await.unwrap(), stats);
}

pub(super) async fn a_cursor_moves_once(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let mut first = page([text("m1", "c", "a", &["b"], NEW_YEAR)]);
    first.cursor = Some(Bytes::from_static(b"1"));
    try_put(&*archive, hq, None, &first).await.expect("from nowhere");
    let mut second = page([text("m2", "c", "a", &["b"], NEW_YEAR)]);
    second.cursor = Some(Bytes::from_static(b"2"));
    for stale in [None, Some(&b"0"[..]), Some(b"2"), Some(b"")] {
        let refused = try_put(&*archive, hq, stale, &second).await;
        assert!(matches!(refused, Err(ArchiveError::CursorMoved { ref partition }) if partition == "p"), "{refused:?}");
    }
    assert_eq!(archive.messages(hq, &all("c")).await.unwrap().total, 1, "nothing of a refused page is stored");
    try_put(&*archive, hq, Some(b"1"), &second).await.expect("from where it is");
    assert_eq!(archive.messages(hq, &all("c")).await.unwrap().total, 2);
}

pub(super) async fn a_page_without_cursor_leaves_it(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let mut first = page([text("m1", "c", "a", &["b"], NEW_YEAR)]);
    first.cursor = Some(Bytes::from_static(b"1"));
    put(&*archive, hq, &first).await;
    try_put(&*archive, hq, Some(b"whatever"), &page([text("m2", "c", "a", &["b"], NEW_YEAR)])).await.expect("no check");
    assert_eq!(archive.cursor(hq, "p", Stream::Messages).await.unwrap().map(|(value, _)| value), first.cursor);
}

pub(super) async fn a_known_message_is_left_as_it_is(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    let before = archive.messages(hq, &all("c")).await.unwrap();
    let last_rev = archive.last_rev().await.unwrap();
    let mut other = text("m1", "d", "x", &["y"], NEW_YEAR + SECOND);
    other.body = Bytes::from_static(b"another body");
    let done = put(&*archive, hq, &page([other, text("m2", "c", "a", &["b"], NEW_YEAR)])).await;
    assert_eq!((done.known, done.stored.len()), (1, 1));
    assert_eq!(archive.messages(hq, &all("c")).await.unwrap().rows[0], before.rows[0]);
    assert_eq!(archive.conversation(hq, "d").await.unwrap(), None, "a known message creates nothing");
    assert_eq!(archive.person_id(hq, "x").await.unwrap(), None, "a known message creates nobody");
    assert!(done.last_rev > last_rev);
    assert_eq!(archive.last_rev().await.unwrap(), done.last_rev);
}

pub(super) async fn labels_are_kept_in_order(backend: &mut dyn Backend) {
    let hq = instance(&*backend.archive(), "hq").await;
    let archive = backend.archive();
    let long = "长".repeat(85) + "!";
    let most: Vec<String> = (0..16).map(|at| format!("{at:02}{}", &long[..252])).collect();
    let cases: [(&[&str], &[&str]); 5] = [
        (&[], &[]),
        (&["to:b"], &["to:b"]),
        (&["to:b", "session:1", "to:b"], &["session:1", "to:b"]),
        (&["", "\"", "[\0\\]", "é", "z"], &["", "\"", "[\0\\]", "z", "é"]),
        (&[&long], &[&long]),
    ];
    let names = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
    let mut expected: Vec<Vec<String>> = cases.iter().map(|(_, kept)| names(kept)).collect();
    let mut told: Vec<Vec<String>> = cases.iter().map(|(told, _)| names(told)).collect();
    told.push(most.iter().rev().cloned().collect());
    expected.push(most);
    let said = |at: usize, labels: &Vec<String>| Message {
        labels: labels.clone(),
        ..text(&format!("m{at}"), "c", "a", &["b"], NEW_YEAR + at as i64)
    };
    // One of them is recovered, and so comes last.
    let late = Parked { native_id: "m2".to_owned(), reason: String::new(), envelope: Bytes::new() };
    put(&*archive, hq, &Page { parked: vec![late], ..Page::default() }).await;
    let (first, rest): (Vec<_>, Vec<_>) =
        told.iter().enumerate().map(|(at, labels)| said(at, labels)).partition(|message| message.native_id != "m2");
    put(&*archive, hq, &page(first)).await;
    put(&*archive, hq, &page(rest)).await;
    // A known message is left as it is, its labels, too.
    put(&*archive, hq, &page([said(1, &names(&["other"]))])).await;
    backend.restart().await;
    let archive = backend.archive();
    let rows = archive.messages(hq, &all("c")).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.labels.clone()).collect::<Vec<_>>(), expected);
    let feed = archive.feed(crate::Rev(0), 100).await.unwrap();
    let late = expected.remove(2);
    expected.push(late);
    assert_eq!(feed.into_iter().map(|row| row.labels).collect::<Vec<_>>(), expected);
}

pub(super) async fn a_page_may_repeat_itself(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let mut again = text("m1", "c", "z", &[], NEW_YEAR + SECOND);
    again.text = "another".to_owned();
    let messages = [text("m1", "c", "a", &["b"], NEW_YEAR), again, text("m2", "c", "a", &["b"], NEW_YEAR)];
    let done = put(&*archive, hq, &page(messages)).await;
    assert_eq!((done.known, done.stored.len()), (1, 2));
    let list = archive.messages(hq, &all("c")).await.unwrap();
    assert_eq!((list.rows[0].text.as_str(), list.total), ("text of m1", 2), "the first one counts");
    assert_eq!(archive.stats(None).await.unwrap().messages, 2);
}

pub(super) async fn numbers_are_given_per_conversation(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let numbered = |native, conversation, seq| Message { seq, ..text(native, conversation, "a", &["b"], NEW_YEAR) };
    put(&*archive, hq, &page([numbered("c1", "c", None), numbered("d1", "d", None), numbered("c2", "c", None)])).await;
    backend.restart().await;
    let archive = backend.archive();
    // A known message takes no number.
    let more = [
        numbered("c2", "c", None),
        numbered("c3", "c", None),
        numbered("d9", "d", Some(9)),
        numbered("d10", "d", None),
    ];
    let done = put(&*archive, hq, &page(more)).await;
    let given: Vec<_> = done.stored.iter().map(|m| (m.native_id.as_str(), m.seq)).collect();
    assert_eq!(given, [("c3", 3), ("d9", 9), ("d10", 10)]);
    let list = archive.messages(hq, &all("c")).await.unwrap();
    assert_eq!(list.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3]);
}

pub(super) async fn bodies_survive_byte_for_byte(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let bodies: [&[u8]; 5] =
        [b"", b"\x00", b"\xff\xfe not utf-8 \x00 \x01", b"{ \"a\" :1,\"a\":2 }", "汉字🙂".as_bytes()];
    let texts = ["", "a\0b", "'; DROP TABLE message; --", "\u{feff}\u{202e}", "汉字🙂"];
    let messages = bodies.iter().zip(texts).enumerate().map(|(at, (body, words))| Message {
        body: Bytes::copy_from_slice(body),
        text: words.to_owned(),
        client_id: (at % 2 == 0).then(|| format!("client {at}")),
        expires_at: Some(NEW_YEAR + at as i64),
        ..text(&format!("m{at}\u{1f}"), "c", "a", &["b"], NEW_YEAR + at as i64)
    });
    let sent = page(messages);
    put(&*archive, hq, &sent).await;
    let list = archive.messages(hq, &all("c")).await.unwrap();
    for (sent, row) in sent.messages.iter().zip(&list.rows) {
        assert_eq!((&row.native_id, &row.body, &row.text), (&sent.native_id, &sent.body, &sent.text));
        assert_eq!((&row.client_id, row.expires_at), (&sent.client_id, sent.expires_at));
    }
    assert_eq!(list.rows.len(), bodies.len());
}

pub(super) async fn instances_do_not_meet(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    assert_ne!(hq, branch);
    let mut same = page([text("m1", "c", "a", &["b"], NEW_YEAR)]);
    same.cursor = Some(Bytes::from_static(b"1"));
    let (one, two) = (put(&*archive, hq, &same).await, put(&*archive, branch, &same).await);
    assert_eq!((one.stored.len(), two.stored.len()), (1, 1), "native ids are unique per instance only");
    put(&*archive, branch, &page([text("m2", "c", "a", &["b"], NEW_YEAR)])).await;
    let (list, other) =
        (archive.messages(hq, &all("c")).await.unwrap(), archive.messages(branch, &all("c")).await.unwrap());
    assert_eq!((list.total, other.total), (1, 2));
    assert_ne!(list.rows[0].conversation, other.rows[0].conversation);
    assert_ne!(archive.person_id(hq, "a").await.unwrap(), archive.person_id(branch, "a").await.unwrap());
    assert_eq!(archive.stats(Some(hq)).await.unwrap().messages, 1);
    assert_eq!(archive.stats(None).await.unwrap(), Stats { messages: 3, conversations: 2, people: 4, parked: 0 });
}

pub(super) async fn invalid_pages_change_nothing(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &page([text("m0", "c", "a", &["b"], NEW_YEAR)])).await;
    let good = text("m1", "c", "a", &["b"], NEW_YEAR);
    for (what, bad) in [
        ("no native id", text("", "c", "a", &["b"], NEW_YEAR)),
        ("no conversation", text("m2", "", "a", &["b"], NEW_YEAR)),
        ("too many labels", Message { labels: vec!["l".to_owned(); 17], ..text("m2", "c", "a", &[], NEW_YEAR) }),
        ("a long label", Message { labels: vec!["长".repeat(86)], ..text("m2", "c", "a", &[], NEW_YEAR) }),
        ("no handle", Message { media: vec![Default::default()], ..text("m2", "c", "a", &[], NEW_YEAR) }),
    ] {
        let mut page = page([good.clone(), bad]);
        page.cursor = Some(Bytes::from_static(b"1"));
        let refused = try_put(&*archive, hq, None, &page).await;
        assert!(matches!(refused, Err(ArchiveError::Invalid(_))), "{what}: {refused:?}");
    }
    assert_eq!(archive.messages(hq, &all("c")).await.unwrap().total, 1);
    assert_eq!(archive.cursor(hq, "p", Stream::Messages).await.unwrap(), None);
    assert_eq!(put(&*archive, hq, &page([good])).await.stored.len(), 1, "and the next page is stored");
}

pub(super) async fn ids_go_on_after_a_restart(backend: &mut dyn Backend) {
    let hq = instance(&*backend.archive(), "hq").await;
    let mut last = (0, crate::Rev(0));
    for round in 0..4 {
        let archive = backend.archive();
        let messages = (0..3).map(|at| text(&format!("m{round}-{at}"), "c", "a", &["b"], NEW_YEAR));
        let done = put(&*archive, hq, &page(messages)).await;
        for stored in &done.stored {
            assert!(stored.id > last.0, "ids ascend");
            last.0 = stored.id;
        }
        assert!(done.last_rev > last.1, "revisions ascend");
        last.1 = done.last_rev;
        backend.restart().await;
        assert_eq!(backend.archive().last_rev().await.unwrap(), last.1);
    }
}

pub(super) async fn an_unknown_instance_is_refused(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let page = page([text("m1", "c", "a", &["b"], NEW_YEAR)]);
    assert!(try_put(&*archive, InstanceId(hq.0 + 1), None, &page).await.is_err());
    assert_eq!(archive.stats(None).await.unwrap(), Stats::default());
    assert_eq!(put(&*archive, hq, &page).await.stored.len(), 1);
}

pub(super) async fn large_pages_are_stored_whole(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    for (round, size) in [1_usize, 5, 300, 1371].into_iter().enumerate() {
        let messages = (0..size).map(|at| {
            let (a, b) = (format!("p{}", at % 40), format!("p{}", at % 7));
            text(&format!("{round}/{at}"), &format!("c{}", at % 23), &a, &[&b], NEW_YEAR + at as i64)
        });
        let mut page = page(messages);
        page.cursor = Some(Bytes::from(round.to_string()));
        let from = round.checked_sub(1).map(|before| Bytes::from(before.to_string()));
        let commit =
            Commit { instance: hq, partition: "p", stream: Stream::Messages, from, page: &page, now: NEW_YEAR };
        let done = archive.commit(commit).await.expect("stored");
        assert_eq!(done.stored.len(), size);
        let sent = page.messages.iter().map(|message| message.native_id.as_str());
        assert!(done.stored.iter().map(|stored| stored.native_id.as_str()).eq(sent), "in the order of the page");
    }
    let stats = archive.stats(None).await.unwrap();
    assert_eq!((stats.messages, stats.conversations, stats.people), (1677, 23, 40));
    let mut total = 0;
    for at in 0..23 {
        total += archive.messages(hq, &all(&format!("c{at}"))).await.unwrap().total;
    }
    assert_eq!(total, 1677);
    let empty = put(&*archive, hq, &Page::default()).await;
    assert_eq!((empty.stored.len(), empty.last_rev), (0, archive.last_rev().await.unwrap()));
}

pub(super) async fn partitions_are_reached(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let says = |reached: &[(&str, i64)]| Page {
        reached: reached.iter().map(|&(of, seq)| Reached { partition: of.to_owned(), seq }).collect(),
        ..Page::default()
    };
    let asked = ["2/g", "1/b@a", "", "2/G", "2/g"].map(str::to_owned);
    assert_eq!(archive.reached(hq, &asked).await.unwrap(), [0; 5]);
    let first =
        Page { messages: page([text("m1", "c", "a", &["b"], NEW_YEAR)]).messages, ..says(&[("2/g", 7), ("", 3)]) };
    assert_eq!(put(&*archive, hq, &first).await.stored.len(), 1);
    assert_eq!(archive.reached(hq, &asked).await.unwrap(), [7, 0, 3, 0, 7]);
    // It never goes back, in whichever order pages come, nor within one.
    put(&*archive, hq, &says(&[("2/g", 6), ("1/b@a", 9), ("1/b@a", 8), ("", i64::MAX)])).await;
    put(&*archive, branch, &says(&[("2/g", 99)])).await;
    backend.restart().await;
    let archive = backend.archive();
    assert_eq!(archive.reached(hq, &asked).await.unwrap(), [7, 9, i64::MAX, 0, 7]);
    assert_eq!(archive.reached(branch, &asked).await.unwrap(), [99, 0, 0, 0, 99]);
    assert_eq!(archive.reached(hq, &[]).await.unwrap(), [0; 0]);

    // A page that is refused said nothing.
    let stale = Page { cursor: Some(Bytes::from_static(b"1")), ..says(&[("2/g", 1000)]) };
    assert!(try_put(&*archive, hq, Some(b"elsewhere"), &stale).await.is_err());
    assert_eq!(archive.reached(hq, &asked[..1]).await.unwrap(), [7]);

    let many: Vec<String> = (0..1000).map(|at| format!("channel {at}")).collect();
    let all: Vec<(&str, i64)> = many.iter().map(String::as_str).zip(1..).collect();
    put(&*archive, hq, &says(&all)).await;
    assert_eq!(archive.reached(hq, &many).await.unwrap(), (1..=1000).collect::<Vec<i64>>());
}
