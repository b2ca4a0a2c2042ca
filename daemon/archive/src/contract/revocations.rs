//! Messages taken back.

use super::Backend;
use super::sample::{NEW_YEAR, SECOND, all, instance, page, put, text};
use stele_plugin_api::model::{Page, Revocation};

fn revoking(revocations: impl IntoIterator<Item = (&'static str, &'static str, i64)>) -> Page {
    let revocations = revocations
        .into_iter()
        .map(|(native_id, by, at)| Revocation { native_id: native_id.to_owned(), by: by.to_owned(), at })
        .collect();
    Page { revocations, ..Page::default() }
}

pub(super) async fn a_revocation_marks_the_original(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let messages = [text("m1", "c", "a", &["b"], NEW_YEAR), text("m2", "c", "a", &["b"], NEW_YEAR + SECOND)];
    put(&*archive, hq, &page(messages.clone())).await;
    put(&*archive, branch, &page(messages)).await;
    let mut taken_back = revoking([("m1", "a", NEW_YEAR + 5), ("m3", "b", NEW_YEAR + 6)]);
    taken_back.messages = vec![text("m3", "c", "b", &["a"], NEW_YEAR + 2 * SECOND)];
    let done = put(&*archive, hq, &taken_back).await;
    assert_eq!(done.revoked, 2, "one of an earlier page and one of this");
    let rows = archive.messages(hq, &all("c")).await.unwrap().rows;
    assert_eq!(rows[0].revoked, Some((NEW_YEAR + 5, "a".to_owned())));
    assert_eq!((rows[0].text.as_str(), rows.len()), ("text of m1", 3), "an archive forgets nothing");
    assert_eq!(rows[1].revoked, None);
    assert_eq!(rows[2].revoked, Some((NEW_YEAR + 6, "b".to_owned())));
    assert_eq!(archive.messages(branch, &all("c")).await.unwrap().rows[0].revoked, None, "of this instance only");
}

pub(super) async fn a_revocation_waits_for_its_message(backend: &mut dyn Backend) {
    let hq = instance(&*backend.archive(), "hq").await;
    let branch = instance(&*backend.archive(), "branch").await;
    let done = put(&*backend.archive(), hq, &revoking([("m1", "a", 7), ("m1", "b", 9)])).await;
    assert_eq!(done.revoked, 1);
    assert_eq!(put(&*backend.archive(), hq, &revoking([("m1", "c", 8)])).await.revoked, 0, "it waits already");
    backend.restart().await;
    let archive = backend.archive();
    put(&*archive, branch, &page([text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    put(&*archive, hq, &page([text("m0", "c", "a", &["b"], NEW_YEAR), text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    let rows = archive.messages(hq, &all("c")).await.unwrap().rows;
    assert_eq!((&rows[0].revoked, &rows[1].revoked), (&None, &Some((7, "a".to_owned()))));
    assert_eq!(archive.messages(branch, &all("c")).await.unwrap().rows[0].revoked, None);
    assert_eq!(put(&*archive, hq, &revoking([("m1", "c", 8)])).await.revoked, 0, "it is marked already");
}

pub(super) async fn a_revocation_takes_every_copy_back(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    // Neither a longer id nor a copy of another message is one of its copies.
    let natives = ["m1", "m1#b", "m1#c", "m10", "m10#b", "m1$"];
    let sent = |natives: &[&str]| page(natives.iter().map(|native| text(native, "c", "a", &["b"], NEW_YEAR)));
    let revoked = async || {
        let rows = archive.messages(hq, &all("c")).await.unwrap().rows;
        let revoked = rows.into_iter().filter(|row| row.revoked == Some((7, "a".to_owned())));
        revoked.map(|row| row.native_id).collect::<Vec<_>>()
    };
    put(&*archive, hq, &sent(&natives)).await;
    assert_eq!(put(&*archive, hq, &revoking([("m1", "a", 7)])).await.revoked, 1);
    assert_eq!(revoked().await, ["m1", "m1#b", "m1#c"]);
    // One that comes first waits for all of them.
    assert_eq!(put(&*archive, hq, &revoking([("m2", "a", 7)])).await.revoked, 1);
    put(&*archive, hq, &sent(&["m2", "m2#b", "m20"])).await;
    assert_eq!(revoked().await, ["m1", "m1#b", "m1#c", "m2", "m2#b"]);
}

pub(super) async fn the_first_revocation_counts(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    assert_eq!(put(&*archive, hq, &revoking([("m1", "a", 7)])).await.revoked, 1);
    assert_eq!(put(&*archive, hq, &revoking([("m1", "b", 6)])).await.revoked, 0);
    let rows = archive.messages(hq, &all("c")).await.unwrap().rows;
    assert_eq!(rows[0].revoked, Some((7, "a".to_owned())));
}
