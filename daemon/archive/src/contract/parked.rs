//! Envelopes that cannot be read yet.

use super::Backend;
use super::sample::{NEW_YEAR, SECOND, all, instance, list, natives, page, person, put, text, try_put};
use crate::{ArchiveError, Commit, MessageId, Rev, Stream};
use bytes::Bytes;
use stele_plugin_api::model::{Conversation, Message, Page, Parked, Revocation};
use stele_plugin_api::ops::Participation;

fn envelope(native_id: &str, reason: &str) -> Parked {
    Parked {
        native_id: native_id.to_owned(),
        reason: reason.to_owned(),
        envelope: Bytes::from(format!("sealed {native_id}")),
    }
}

fn parking(parked: impl IntoIterator<Item = Parked>) -> Page {
    Page { parked: parked.into_iter().collect(), ..Page::default() }
}

pub(super) async fn an_envelope_keeps_its_place(backend: &mut dyn Backend) {
    let hq = instance(&*backend.archive(), "hq").await;
    let archive = backend.archive();
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    let rev = archive.last_rev().await.unwrap();
    let done = put(&*archive, hq, &parking([envelope("m2", "no key"), envelope("x", "no key")])).await;
    assert_eq!((done.parked, done.stored.len()), (2, 0));
    assert_eq!(archive.last_rev().await.unwrap(), rev, "nothing became readable");
    put(&*archive, hq, &page([text("m3", "c", "a", &["b"], NEW_YEAR + 2 * SECOND)])).await;
    backend.restart().await;
    let archive = backend.archive();
    assert_eq!(archive.stats(Some(hq)).await.unwrap().parked, 2);
    let rows = archive.parked(hq, "p", MessageId(0), 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.parked.clone()).collect::<Vec<_>>(),
        [envelope("m2", "no key"), envelope("x", "no key")]
    );
    assert_eq!((rows[0].attempts, rows[0].since, rows[0].partition.as_str()), (0, NEW_YEAR, "p"));
    let before = archive.last_rev().await.unwrap();

    let recovered = text("m2", "c", "b", &["a"], NEW_YEAR + SECOND);
    let done = put(&*archive, hq, &page([recovered, text("m4", "c", "a", &["b"], NEW_YEAR)])).await;
    assert_eq!(done.stored[0].id, rows[0].reserved.0, "the message takes the id reserved for it");
    let by_id = archive.messages_by_id(&[MessageId(done.stored[0].id), MessageId(done.stored[1].id)]).await.unwrap();
    assert!(before < by_id[0].rev && by_id[0].rev < by_id[1].rev, "and a new revision, in the order of the page");
    assert_eq!(by_id[1].rev, done.last_rev);
    let in_order = archive.messages(hq, &all("c")).await.unwrap();
    assert_eq!(natives(&in_order), ["m1", "m4", "m2", "m3"], "by time sent, then id");
    let feed = archive.feed(Rev(0), 100).await.unwrap();
    assert_eq!(feed.iter().map(|row| row.id).collect::<Vec<_>>(), [1, 4, 2, 5].map(|at| by_position(&in_order, at)));
    let left = archive.parked(hq, "p", MessageId(0), 10).await.unwrap();
    assert_eq!(left.iter().map(|row| row.parked.native_id.as_str()).collect::<Vec<_>>(), ["x"]);
    assert!(archive.parked(hq, "p", left[0].reserved, 10).await.unwrap().is_empty(), "strictly after");
    assert_eq!(archive.stats(Some(hq)).await.unwrap().parked, 1);
    let lists = archive.conversations(hq, &list("a")).await.unwrap();
    assert_eq!(lists.rows[0].last.native_id, "m3", "what came late does not lead");

    // Nothing follows the recovered message: the next id is still free.
    backend.restart().await;
    let done = put(&*backend.archive(), hq, &page([text("m5", "c", "a", &["b"], NEW_YEAR)])).await;
    assert!(done.stored[0].id > by_id[1].id.0 && done.last_rev > by_id[1].rev);
}

/// The id of the message that was the `at`th to arrive: m1, m2, x, m3, m4 were 1 to 5.
fn by_position(list: &crate::MessageList, at: usize) -> MessageId {
    let native = ["m1", "m2", "x", "m3", "m4"][at - 1];
    list.rows.iter().find(|row| row.native_id == native).expect("listed").id
}

pub(super) async fn parking_again_counts_an_attempt(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &parking([envelope("m1", "no key"), envelope("m1", "twice in a page")])).await;
    let again = Parked { envelope: Bytes::from_static(b"sealed anew"), ..envelope("m1", "key is wrong") };
    let done = put(&*archive, hq, &parking([again.clone(), envelope("m2", "no key")])).await;
    assert_eq!(done.parked, 1, "only the new one counts");
    let rows = archive.parked(hq, "p", MessageId(0), 10).await.unwrap();
    assert_eq!((rows[0].attempts, &rows[0].parked), (1, &again));
    assert_eq!(rows[1].attempts, 0);
    assert_eq!(archive.stats(None).await.unwrap().parked, 2);
    let bounded = archive.parked(hq, "p", MessageId(0), 1).await.unwrap();
    assert_eq!(bounded, rows[..1]);
}

pub(super) async fn a_readable_message_is_not_parked(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    let mut both = parking([envelope("m1", "late"), envelope("m2", "same page")]);
    both.messages = vec![text("m2", "c", "a", &["b"], NEW_YEAR)];
    let done = put(&*archive, hq, &both).await;
    assert_eq!((done.parked, done.stored.len()), (0, 1));
    assert_eq!(archive.parked(hq, "p", MessageId(0), 10).await.unwrap(), []);
    assert_eq!(archive.stats(None).await.unwrap().parked, 0);
}

pub(super) async fn partitions_are_listed_apart(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    for (at, (instance, partition)) in [(hq, "p"), (hq, "q"), (branch, "p")].into_iter().enumerate() {
        let page = parking([envelope(&format!("m{at}"), "no key")]);
        let commit = Commit { instance, partition, stream: Stream::Messages, from: None, page: &page, now: NEW_YEAR };
        archive.commit(commit).await.unwrap();
    }
    for (at, (instance, partition)) in [(hq, "p"), (hq, "q"), (branch, "p")].into_iter().enumerate() {
        let rows = archive.parked(instance, partition, MessageId(0), 10).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].parked.native_id, format!("m{at}"));
    }
    // The same native id in another instance is another message.
    put(&*archive, branch, &page([text("m0", "c", "a", &["b"], NEW_YEAR)])).await;
    assert_eq!(archive.stats(Some(hq)).await.unwrap().parked, 2);
    // A message recovered through another partition of its instance is recovered.
    let page = page([text("m1", "c", "a", &["b"], NEW_YEAR)]);
    put(&*archive, hq, &page).await;
    assert_eq!(archive.parked(hq, "q", MessageId(0), 10).await.unwrap(), []);
}

pub(super) async fn what_cannot_be_looked_up_is_parked(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    // None that can be packed.
    let long = |bytes: usize| (0..bytes).map(|at| char::from(b'!' + (at * at % 89) as u8)).collect::<String>();
    let (most, over) = (long(2000), long(2001));
    let said = |key: &str| Message { client_id: Some(key.to_owned()), ..text(key, "c", key, &["b"], NEW_YEAR) };
    put(&*archive, hq, &page([said(&most)])).await;
    let refused = try_put(&*archive, hq, None, &page([said(&over)])).await.unwrap_err();
    assert!(matches!(&refused, ArchiveError::Invalid(text) if text.contains("2000 bytes")), "{refused}");

    let delivered = |cursor: &'static str| {
        let messages = [
            said(&over),
            text("m2", &over, "a", &["b"], NEW_YEAR + SECOND),
            text("m3", "c", "a", &["b"], NEW_YEAR + SECOND),
        ];
        let told = Conversation {
            native_id: "c".to_owned(),
            joined: vec![over.clone(), "d".to_owned()],
            ..Default::default()
        };
        let revocations = vec![Revocation { native_id: over.clone(), ..Revocation::default() }];
        let (people, conversations) = (vec![person(&over, "Long")], vec![told]);
        let cursor = Some(Bytes::from(cursor));
        Page { people, conversations, revocations, cursor, ..page(messages) }
    };
    let done = try_put(&*archive, hq, None, &delivered("1")).await.unwrap();
    // The person has the native id that the message has.
    assert_eq!((done.stored.len(), done.parked), (1, 2));
    let done = try_put(&*archive, hq, Some(b"1"), &delivered("2")).await.unwrap();
    assert_eq!((done.stored.len(), done.known, done.parked), (0, 1, 0));
    assert_eq!(natives(&archive.messages(hq, &all("c")).await.unwrap()), [most.as_str(), "m3"]);
    let joined = Participation { conversation: "c".to_owned(), person: "d".to_owned() };
    assert!(archive.membership(hq, &joined).await.unwrap().member, "beside one who is left out");
    let rows = archive.parked(hq, "p", MessageId(0), 10).await.unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row.attempts, row.parked.native_id.len() < 2000)).collect();
    assert_eq!(found, [(1, true), (1, true)]);
    assert!(rows.iter().all(|row| row.parked.reason.contains("2000 bytes") && row.parked.envelope.len() > 2000));
    assert_eq!(rows[1].parked.native_id, "m2");
}
