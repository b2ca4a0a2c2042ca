//! What came, and who was there to hear it.

use super::Backend;
use super::sample::{NEW_YEAR, instance, page, put, text};
use crate::{Archive, Audience, ConversationId, InstanceId, News, PersonId, Portion, Result, Rev, StoredMessage};
use bytes::Bytes;
use std::collections::BTreeSet;
use stele_plugin_api::model::{Conversation, Message, Page, Parked};

fn natives(rows: &[StoredMessage]) -> Vec<&str> {
    rows.iter().map(|row| row.native_id.as_str()).collect()
}

fn names(natives: &[&str]) -> Vec<String> {
    natives.iter().map(|native| (*native).to_owned()).collect()
}

/// Conversation `c`, of which these have joined and these have left.
fn moved(joined: &[&str], left: &[&str]) -> Conversation {
    Conversation { native_id: "c".to_owned(), joined: names(joined), left: names(left), ..Conversation::default() }
}

/// Conversation `c` with exactly these members.
fn of(members: &[&str]) -> Conversation {
    Conversation { native_id: "c".to_owned(), members: Some(names(members)), ..Conversation::default() }
}

/// What a page says of conversations, and a message `m…` each in `c` and elsewhere.
async fn tell(archive: &dyn Archive, hq: InstanceId, told: &[Conversation], messages: &[&str]) {
    let messages = messages.iter().map(|native| text(native, "c", "zoe", &[], NEW_YEAR));
    put(archive, hq, &Page { conversations: told.to_vec(), ..page(messages) }).await;
}

async fn conversation(archive: &dyn Archive, hq: InstanceId, native: &str) -> ConversationId {
    ConversationId(archive.conversation(hq, native).await.unwrap().expect("is known").id)
}

async fn audience(archive: &dyn Archive, hq: InstanceId, since: Rev) -> Audience {
    archive.audience(hq, conversation(archive, hq, "c").await, since).await.unwrap()
}

async fn members(archive: &dyn Archive, hq: InstanceId) -> BTreeSet<i64> {
    let Audience { stays, .. } = audience(archive, hq, Rev(0)).await;
    stays.iter().filter(|stay| stay.until.is_none()).map(|stay| stay.person.0).collect()
}

/// More than any test has.
const PLENTY: Portion = Portion { rows: 1000, bytes: 1 << 20 };

/// Whose messages are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    All(InstanceId),
    MissedBy(InstanceId, PersonId),
}

/// Reads everything between two revisions, a portion at a time.
pub(super) async fn read(
    archive: &dyn Archive,
    of: Of,
    (mut after, upto): (Rev, Rev),
    portion: Portion,
) -> Result<Vec<StoredMessage>> {
    let mut read = Vec::new();
    while after < upto {
        let News { messages, upto: reached } = match of {
            Of::All(instance) => archive.news(instance, after, upto, portion).await?,
            Of::MissedBy(instance, person) => archive.missed(instance, person, after, upto, portion).await?,
        };
        let bytes: usize = messages.iter().map(|row| row.text.len() + row.body.len()).sum();
        assert!(messages.len() <= portion.rows as usize, "{} messages, {portion:?}", messages.len());
        assert!(messages.len() <= 1 || bytes <= portion.bytes, "{bytes} bytes, {portion:?}");
        assert!(after < reached && reached <= upto, "from {after} to {reached}, up to {upto}");
        assert!(messages.iter().all(|row| after < row.rev && row.rev <= reached), "{after} to {reached}: {messages:?}");
        read.extend(messages);
        after = reached;
    }
    Ok(read)
}

/// What somebody missed after a revision; the same by what was told of who hears it.
async fn heard(archive: &dyn Archive, hq: InstanceId, person: &str, after: Rev) -> Vec<String> {
    let person = archive.person_id(hq, person).await.unwrap().expect("is known");
    let range = (after, archive.last_rev().await.unwrap());
    let missed = read(archive, Of::MissedBy(hq, person), range, PLENTY).await.unwrap();
    for portion in [Portion { rows: 1, ..PLENTY }, Portion { rows: 2, ..PLENTY }, Portion { bytes: 1, ..PLENTY }] {
        assert_eq!(read(archive, Of::MissedBy(hq, person), range, portion).await.unwrap(), missed, "{portion:?}");
    }
    let Audience { stays, .. } = audience(archive, hq, after).await;
    let news = read(archive, Of::All(hq), range, PLENTY).await.unwrap();
    let is_member = stays.iter().any(|stay| stay.person == person && stay.until.is_none());
    let hears = |row: &&StoredMessage| {
        stays.iter().any(|stay| stay.person == person && stay.hears(row.rev)) && row.conversation_native == "c"
    };
    assert_eq!(missed, news.iter().filter(|_| is_member).filter(hears).cloned().collect::<Vec<_>>(), "live and later");
    missed.into_iter().map(|row| row.native_id).collect()
}

pub(super) async fn news_come_in_order(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let last = async || archive.last_rev().await.unwrap();
    let nothing = News { messages: Vec::new(), upto: Rev(7) };
    assert_eq!(archive.news(hq, Rev(0), nothing.upto, PLENTY).await.unwrap(), nothing);
    let parked = ["l1", "l2"].map(|native| Parked { native_id: native.to_owned(), ..Parked::default() }).to_vec();
    put(&*archive, hq, &Page { parked, ..page([text("m1", "c", "a", &[], NEW_YEAR)]) }).await;
    put(&*archive, branch, &page([text("n1", "c", "a", &[], NEW_YEAR)])).await;
    put(&*archive, hq, &page(["m2", "l2", "m3"].map(|native| text(native, "d", "a", &[], NEW_YEAR)))).await;
    let middle = last().await;
    put(&*archive, hq, &page(["l1", "m4"].map(|native| text(native, "c", "a", &[], NEW_YEAR - 1)))).await;
    backend.restart().await;
    let archive = backend.archive();
    let end = archive.last_rev().await.unwrap();
    let News { messages: whole, upto } = archive.news(hq, Rev(0), end, PLENTY).await.unwrap();
    assert_eq!(upto, end);
    assert_eq!(natives(&whole), ["m1", "m2", "l2", "m3", "l1", "m4"], "late ones where they became readable");
    assert!(whole.is_sorted_by(|a, b| a.rev < b.rev));
    let ids: Vec<_> = whole.iter().map(|row| row.id).collect();
    assert_eq!(whole, archive.messages_by_id(&ids).await.unwrap(), "whole messages");
    let everything = Rev(i64::MAX);
    for (after, upto, rows, expected, reached) in [
        (Rev(0), middle, 1000, &whole[..4], middle),
        (middle, end, 1000, &whole[4..], end),
        (whole[1].rev, end, 3, &whole[2..5], whole[4].rev),
        (whole[2].rev, whole[2].rev, 1000, &[], whole[2].rev),
        (end, everything, 1000, &[], everything),
        (Rev(0), everything, 0, &[], Rev(0)),
        (Rev(-5), everything, 1, &whole[..1], whole[0].rev),
    ] {
        let found = archive.news(hq, after, upto, Portion { rows, ..PLENTY }).await.unwrap();
        assert_eq!(found, News { messages: expected.to_vec(), upto: reached }, "{after} to {upto}, {rows}");
    }
    for portion in [Portion { rows: 1, ..PLENTY }, Portion { bytes: 1, ..PLENTY }] {
        assert_eq!(read(&*archive, Of::All(hq), (Rev(0), end), portion).await.unwrap(), whole, "{portion:?}");
    }
    let first_two = whole[..2].iter().map(|row| row.text.len() + row.body.len()).sum();
    for (bytes, expected) in [(first_two, 2), (first_two - 1, 1)] {
        let found = archive.news(hq, Rev(0), end, Portion { bytes, ..PLENTY }).await.unwrap();
        assert_eq!(found.messages.len(), expected, "within {bytes} bytes");
    }
    assert_eq!(natives(&archive.news(branch, Rev(0), end, PLENTY).await.unwrap().messages), ["n1"]);
}

pub(super) async fn members_hear_what_is_said_while_they_are(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    // Who joins with a page hears it, who leaves with it does not.
    tell(&*archive, hq, &[], &["m0"]).await;
    tell(&*archive, hq, &[moved(&["ann", "bob"], &[])], &["m1", "m2"]).await;
    let second = archive.last_rev().await.unwrap();
    put(&*archive, hq, &page([text("e1", "elsewhere", "ann", &["bob"], NEW_YEAR)])).await;
    tell(&*archive, hq, &[of(&["ann", "cy"])], &["m3"]).await;
    tell(&*archive, hq, &[moved(&["bob"], &["ann"])], &["m4"]).await;
    backend.restart().await;
    let archive = backend.archive();
    tell(&*archive, hq, &[moved(&[], &["bob"])], &[]).await;
    tell(&*archive, hq, &[moved(&[], &["cy"])], &["m5"]).await;
    tell(&*archive, hq, &[moved(&["ann"], &[])], &["m6"]).await;
    for (person, all, later) in [
        ("ann", &["m1", "m2", "m3", "m6"][..], &["m3", "m6"][..]),
        // Who is no member any more is told nothing.
        ("bob", &[], &[]),
        ("cy", &[], &[]),
        // Who only speaks is no member.
        ("zoe", &[], &[]),
    ] {
        assert_eq!(heard(&*archive, hq, person, Rev(0)).await, all, "{person}");
        assert_eq!(heard(&*archive, hq, person, second).await, later, "{person} later");
    }
    let ann = archive.person_id(hq, "ann").await.unwrap().expect("is known");
    let missed = read(&*archive, Of::MissedBy(hq, ann), (Rev(0), Rev(i64::MAX)), PLENTY).await.unwrap();
    assert_eq!(natives(&missed), ["m1", "m2", "m3", "m6"]);
    let missed = read(&*archive, Of::MissedBy(hq, ann), (missed[0].rev, missed[2].rev), PLENTY).await.unwrap();
    assert_eq!(natives(&missed), ["m2", "m3"]);
    // Who left before is not told of: ann's first stay, and both of bob's.
    let last = archive.last_rev().await.unwrap();
    let since = audience(&*archive, hq, last).await.stays;
    assert_eq!(since.iter().map(|stay| (stay.person, stay.until)).collect::<Vec<_>>(), [(ann, None)]);
    assert_eq!(audience(&*archive, hq, Rev(0)).await.stays.len(), 5);
    // An instance knows nothing of another's.
    let (branch, c) = (instance(&*archive, "branch").await, conversation(&*archive, hq, "c").await);
    assert_eq!(read(&*archive, Of::MissedBy(branch, ann), (Rev(0), last), PLENTY).await.unwrap(), []);
    assert_eq!(archive.audience(branch, c, Rev(0)).await.unwrap(), Audience::default());
    assert_eq!(archive.audience_versions(branch, &[c]).await.unwrap(), [0]);
    // Somebody let in again is told what they heard before, too.
    tell(&*archive, hq, &[moved(&["bob"], &[])], &["m7"]).await;
    assert_eq!(heard(&*archive, hq, "bob", Rev(0)).await, ["m1", "m2", "m4", "m7"]);
}

pub(super) async fn what_was_missed_in_many_places_is_one_order(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let places = ["c", "d", "e", "f"];
    let told = places.map(|native| Conversation { native_id: native.to_owned(), ..moved(&["ann"], &[]) });
    let parked = ["l1", "l2", "l3"].map(|native| Parked { native_id: native.to_owned(), ..Parked::default() }).to_vec();
    put(&*archive, hq, &Page { conversations: told.to_vec(), parked, ..Page::default() }).await;
    let say = |native: &str, conversation: &str, kind: &str| Message {
        kind: kind.to_owned(),
        ..text(native, conversation, "zoe", &[], NEW_YEAR)
    };
    let mut said = Vec::new();
    for round in 0..30_usize {
        let mut messages = Vec::new();
        for at in 0..7_usize {
            let (conversation, kind) = (places[(round + at * at) % 4], ["text", "image", "file"][(round * at) % 3]);
            said.push(format!("m{round}-{at}"));
            messages.push(say(&said[said.len() - 1], conversation, kind));
            messages.push(say(&format!("x{round}-{at}"), "elsewhere", kind));
        }
        // Recovered in between, in an order of their own.
        if let Some(late) = [(5, "l2"), (11, "l3"), (25, "l1")].iter().find(|(when, _)| *when == round) {
            said.push(late.1.to_owned());
            messages.push(say(late.1, "d", "text"));
        }
        put(&*archive, hq, &page(messages)).await;
    }
    backend.restart().await;
    let archive = backend.archive();
    let ann = archive.person_id(hq, "ann").await.unwrap().expect("is known");
    let last = archive.last_rev().await.unwrap();
    for rows in [1, 2, 7, 1000] {
        let portion = Portion { rows, ..PLENTY };
        let missed = read(&*archive, Of::MissedBy(hq, ann), (Rev(0), last), portion).await.unwrap();
        assert_eq!(natives(&missed), said, "{rows} at a time");
        let later = read(&*archive, Of::MissedBy(hq, ann), (missed[50].rev, missed[150].rev), portion).await.unwrap();
        assert_eq!(natives(&later), said[51..=150], "{rows} at a time");
    }
}

pub(super) async fn a_late_message_is_heard_when_it_can_be_read(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let parked = vec![Parked { native_id: "late".to_owned(), envelope: Bytes::new(), ..Parked::default() }];
    put(&*archive, hq, &Page { parked, conversations: vec![moved(&["ann"], &[])], ..Page::default() }).await;
    tell(&*archive, hq, &[moved(&["bob"], &["ann"])], &["m1"]).await;
    tell(&*archive, hq, &[], &["late"]).await;
    assert_eq!(heard(&*archive, hq, "ann", Rev(0)).await, [""; 0]);
    assert_eq!(heard(&*archive, hq, "bob", Rev(0)).await, ["m1", "late"]);
}

pub(super) async fn words_on_members_are_merged(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let of_and = |members: &[&str], change: Conversation| Conversation { members: of(members).members, ..change };
    for (told, expected) in [
        // In one word, whoever joined and left is a member.
        (vec![moved(&["a", "b", "b"], &["b", "c"])], &["a", "b"][..]),
        (vec![of_and(&["a", "b", ""], moved(&["c", ""], &["b"]))], &["a", "c"]),
        // Of several, the later counts.
        (vec![moved(&["d"], &[]), moved(&[], &["d", "a"])], &["c"]),
        (vec![moved(&[], &["c"]), moved(&["c"], &[])], &["c"]),
        (vec![moved(&["a"], &["c"]), of(&["b"])], &["b"]),
        (vec![of(&["a"]), moved(&["d"], &["a"]), moved(&["c"], &[])], &["c", "d"]),
        (vec![moved(&[], &["nobody"])], &["c", "d"]),
        (vec![of(&[])], &[]),
    ] {
        tell(&*archive, hq, &told, &[]).await;
        let mut ids = BTreeSet::new();
        for native in expected {
            ids.insert(archive.person_id(hq, native).await.unwrap().expect("is known").0);
            assert!(archive.takes_part(hq, "c", native).await.unwrap(), "{native}");
        }
        assert_eq!(members(&*archive, hq).await, ids, "{told:?}");
    }
    assert_eq!(archive.person_id(hq, "").await.unwrap(), None);
    assert_eq!(archive.stats(Some(hq)).await.unwrap().people, 5, "everybody named is known");
}

pub(super) async fn an_audience_has_a_version(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR), text("m2", "d", "a", &[], NEW_YEAR)])).await;
    let (c, d) = (conversation(&*archive, hq, "c").await, conversation(&*archive, hq, "d").await);
    assert_eq!(archive.audience_versions(hq, &[c, d]).await.unwrap(), [0, 0]);
    assert_eq!(archive.audience(hq, c, Rev(0)).await.unwrap(), Audience::default());
    let mut version = 0;
    for (told, changes) in [
        (vec![moved(&["a", "b"], &[])], true),
        (vec![moved(&["a"], &["x"])], false),
        (vec![of(&["b", "a"])], false),
        (vec![moved(&["a"], &["a"])], false),
        (vec![moved(&[], &["a"]), moved(&["a"], &[])], false),
        (vec![of(&["b", "c"])], true),
        (vec![Conversation { title: Some("C".to_owned()), ..moved(&[], &[]) }], false),
        (vec![moved(&[], &["b", "c"])], true),
        (vec![of(&[])], false),
    ] {
        let archive = backend.archive();
        let stays = archive.audience(hq, c, Rev(0)).await.unwrap().stays;
        tell(&*archive, hq, &told, &[]).await;
        backend.restart().await;
        let archive = backend.archive();
        let now = archive.audience(hq, c, Rev(0)).await.unwrap();
        assert_eq!(now.version > version, changes, "{told:?}");
        assert_eq!(now.stays != stays, changes, "{told:?}");
        version = now.version;
        let asked = [d, ConversationId(999_999), c, c];
        assert_eq!(archive.audience_versions(hq, &asked).await.unwrap(), [0, 0, version, version]);
    }
}

pub(super) async fn a_coming_and_going_is_one_stay(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    tell(&*archive, hq, &[moved(&["ann"], &[])], &[]).await;
    for _ in 0..3 {
        tell(&*archive, hq, &[moved(&[], &["ann"])], &[]).await;
        assert_eq!(members(&*archive, hq).await.len(), 0);
        tell(&*archive, hq, &[moved(&["ann"], &[])], &[]).await;
    }
    assert_eq!(audience(&*archive, hq, Rev(0)).await.stays.len(), 1, "nothing was said meanwhile");
    tell(&*archive, hq, &[], &["m1"]).await;
    tell(&*archive, hq, &[moved(&[], &["ann"])], &["m2"]).await;
    tell(&*archive, hq, &[moved(&["ann"], &[])], &["m3"]).await;
    assert_eq!(audience(&*archive, hq, Rev(0)).await.stays.len(), 2);
    assert_eq!(heard(&*archive, hq, "ann", Rev(0)).await, ["m1", "m3"]);
}
