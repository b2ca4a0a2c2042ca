//! Messages that are stored once.

use super::Backend;
use super::sample::{NEW_YEAR, SECOND, all, instance, natives, page, put, text, try_put};
use crate::{ArchiveError, Committed, Stats};
use bytes::Bytes;
use stele_plugin_api::model::{Message, Page, Parked};

/// A message of this sender's own id, to be stored once.
fn once(native_id: &str, conversation: &str, sender: &str, client_id: &str) -> Message {
    Message { once: true, ..told(native_id, conversation, sender, client_id) }
}

/// The same, to be stored in any case.
fn told(native_id: &str, conversation: &str, sender: &str, client_id: &str) -> Message {
    Message { client_id: Some(client_id.to_owned()), ..text(native_id, conversation, sender, &["z"], NEW_YEAR) }
}

fn repeats(done: &Committed) -> Vec<(&str, &str)> {
    done.repeated.iter().map(|message| (message.native_id.as_str(), message.first.as_str())).collect()
}

fn stored(done: &Committed) -> Vec<&str> {
    done.stored.iter().map(|message| message.native_id.as_str()).collect()
}

pub(super) async fn a_repeated_message_is_not_stored(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let first = put(&*archive, hq, &page([once("m1", "c", "a", "k1")])).await;
    assert_eq!((stored(&first), repeats(&first)), (vec!["m1"], vec![]));
    let before = archive.messages(hq, &all("c")).await.unwrap();

    let mut again = page([once("m2", "c", "a", "k1")]);
    again.messages[0].body = Bytes::from_static(b"another");
    again.messages[0].recipients = vec!["nobody yet".to_owned()];
    let done = put(&*archive, hq, &again).await;
    assert_eq!((stored(&done), done.known, repeats(&done)), (vec![], 1, vec![("m2", "m1")]));
    assert_eq!(archive.messages(hq, &all("c")).await.unwrap(), before, "the first one is left as it is");
    assert_eq!(archive.person_id(hq, "nobody yet").await.unwrap(), None, "what is not stored creates nobody");
    backend.restart().await;
    let archive = backend.archive();
    let done = put(&*archive, hq, &again).await;
    assert_eq!((stored(&done), repeats(&done)), (vec![], vec![("m2", "m1")]), "whoever asks again gets the same");
    let numbered = put(&*archive, hq, &page([once("m3", "c", "a", "k2")])).await;
    assert_eq!(numbered.stored[0].seq, 2, "what is not stored takes no number");
    assert_eq!(archive.stats(None).await.unwrap(), Stats { messages: 2, conversations: 1, people: 2, parked: 0 });
}

pub(super) async fn another_place_sender_or_key_is_another_message(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    put(&*archive, hq, &page([once("m1", "c", "a", "k"), text("m2", "d", "b", &[], NEW_YEAR)])).await;
    let others = [
        once("m3", "d", "a", "k"),
        once("m4", "c", "b", "k"),
        once("m5", "c", "a", "K"),
        once("m6", "c", "a", "k "),
        once("m7", "new", "a", "k"),
        once("m8", "c", "new", "k"),
        text("m9", "c", "a", &[], NEW_YEAR),
    ];
    let done = put(&*archive, hq, &page(others)).await;
    assert_eq!((done.stored.len(), done.known, repeats(&done)), (7, 0, vec![]));
    let done = put(&*archive, branch, &page([once("m1", "c", "a", "k")])).await;
    assert_eq!(stored(&done), ["m1"], "instances do not meet");
}

pub(super) async fn a_page_repeats_itself_once(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &page([once("m0", "c", "a", "k0")])).await;
    let mixed = [
        once("m1", "c", "a", "k1"),
        once("m2", "c", "a", "k0"),
        once("m3", "c", "a", "k1"),
        once("m4", "d", "a", "k1"),
        told("m5", "c", "a", "k1"), // Not to be stored once: stored again.
        told("m6", "c", "a", "k2"), // The first of its key, whatever it is itself.
        once("m7", "c", "a", "k2"),
        once("m3", "c", "a", "k9"), // Its native id was there before.
    ];
    let done = put(&*archive, hq, &page(mixed)).await;
    assert_eq!(stored(&done), ["m1", "m4", "m5", "m6"]);
    assert_eq!((done.known, repeats(&done)), (4, vec![("m2", "m0"), ("m3", "m1"), ("m7", "m6")]));
    assert_eq!(natives(&archive.messages(hq, &all("c")).await.unwrap()), ["m0", "m1", "m5", "m6"]);
    let done = put(&*archive, hq, &page([once("m8", "c", "a", "k1")])).await;
    assert_eq!(repeats(&done), [("m8", "m1")], "the first of several");

    // Hundreds, half of which the page holds twice.
    let many = (0..700).map(|at| once(&format!("n{at}"), &format!("c{}", at % 3), "a", &format!("k{}", at % 350 / 3)));
    let done = put(&*archive, hq, &page(many.clone())).await;
    assert_eq!((done.stored.len(), done.repeated.len()), (351, 349));
    let again =
        put(&*archive, hq, &page(many.map(|said| Message { native_id: format!("o{}", said.native_id), ..said }))).await;
    assert_eq!((again.stored.len(), again.repeated.len(), again.known), (0, 700, 700));
}

pub(super) async fn a_known_message_repeats_nothing(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &page([once("m1", "c", "a", "k1"), once("m2", "c", "a", "k2")])).await;
    for (again, what) in [
        (once("m1", "c", "a", "k1"), "itself"),
        (once("m2", "c", "a", "k1"), "told otherwise than it is known"),
        (once("m2", "c", "a", "k3"), "of a key nobody has"),
    ] {
        let done = put(&*archive, hq, &page([again])).await;
        assert_eq!((stored(&done), done.known, repeats(&done)), (vec![], 1, vec![]), "{what}");
    }
    // A key that is only told of a known message is nobody's.
    let done = put(&*archive, hq, &page([once("m1", "c", "a", "k4"), once("m3", "c", "a", "k4")])).await;
    assert_eq!((stored(&done), done.known, repeats(&done)), (vec!["m3"], 1, vec![]));
}

pub(super) async fn what_cannot_be_told_apart_is_refused(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let mut keyless = once("m1", "c", "a", "k");
    keyless.client_id = None;
    for wrong in [keyless, once("m1", "c", "a", ""), once("m1", "c", "", "k")] {
        let mut whole = page([once("m0", "c", "a", "k"), wrong]);
        whole.cursor = Some(Bytes::from_static(b"1"));
        let refused = try_put(&*archive, hq, None, &whole).await;
        assert!(matches!(&refused, Err(ArchiveError::Invalid(text)) if text.contains("\"m1\"")), "{refused:?}");
    }
    assert_eq!(archive.stats(None).await.unwrap(), Stats::default(), "nothing of a refused page is stored");
}

pub(super) async fn a_repeated_message_is_parked_no_more(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let envelope = Parked { native_id: "m2".to_owned(), reason: "no key".to_owned(), ..Parked::default() };
    put(&*archive, hq, &Page { parked: vec![envelope], ..page([once("m1", "c", "a", "k")]) }).await;
    assert_eq!(archive.stats(None).await.unwrap().parked, 1);
    let late = Message { sent_at: NEW_YEAR + SECOND, ..once("m2", "c", "a", "k") };
    assert_eq!(repeats(&put(&*archive, hq, &page([late])).await), [("m2", "m1")]);
    assert_eq!(archive.stats(None).await.unwrap().parked, 0);
    assert_eq!(archive.parked(hq, "p", crate::MessageId(0), 10).await.unwrap(), []);
}
