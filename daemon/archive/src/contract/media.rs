//! Files.

use super::Backend;
use super::sample::{NEW_YEAR, SECOND, all, instance, page, put, text};
use crate::{Blob, MediaId, MediaState, MediaTotals, NextAttempt};
use stele_plugin_api::model::{MediaRef, Message};

fn file(handle: &str) -> MediaRef {
    MediaRef { handle: handle.to_owned(), kind: "image".to_owned(), ..MediaRef::default() }
}

fn with(native_id: &str, media: impl IntoIterator<Item = MediaRef>) -> Message {
    Message { media: media.into_iter().collect(), ..text(native_id, "c", "a", &["b"], NEW_YEAR) }
}

fn blob(md5: &str, size: u64) -> Blob {
    Blob { md5: md5.to_owned(), size, mime: "image/png".to_owned(), extension: "png".to_owned() }
}

pub(super) async fn files_go_their_way(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let told = MediaRef {
        name: Some("cat.png".to_owned()),
        size: Some(77),
        md5: Some("aa".to_owned()),
        deadline: Some(NEW_YEAR + SECOND),
        ..file("h1")
    };
    // One file in two messages, and twice in one of them.
    let done =
        put(&*archive, hq, &page([with("m1", [told, file("h2")]), with("m2", [file("h2"), file("h1"), file("h2")])]))
            .await;
    assert_eq!(done.media, 2);
    let rows = archive.messages(hq, &all("c")).await.unwrap().rows;
    let handles: Vec<Vec<_>> =
        rows.iter().map(|row| row.media.iter().map(|file| file.handle.as_str()).collect()).collect();
    assert_eq!(handles, [vec!["h1", "h2"], vec!["h2", "h1", "h2"]], "in the order of the body");
    let twice = ["m2", "m1", "m2"].map(str::to_owned);
    let again = archive.messages_by_native(hq, &twice).await.unwrap();
    assert_eq!(again, [&rows[1], &rows[0], &rows[1]].map(Clone::clone), "asked for twice");
    let first = &rows[0].media[0];
    assert_eq!(
        (first.name.as_str(), first.size, first.state, &first.blob),
        ("cat.png", 77, MediaState::Pending, &None)
    );
    assert_eq!(archive.media_totals(Some(hq)).await.unwrap(), MediaTotals { pending: 2, ..MediaTotals::default() });

    let due = archive.media_due(hq, 0, 10).await.unwrap();
    assert_eq!(due.iter().map(|task| task.handle.as_str()).collect::<Vec<_>>(), ["h1", "h2"]);
    assert_eq!((due[0].md5.as_deref(), due[0].size, due[0].deadline), (Some("aa"), Some(77), Some(NEW_YEAR + SECOND)));
    assert_eq!((due[0].partition.as_str(), due[0].instance, due[0].attempts), ("p", hq, 0));
    let branch = instance(&*archive, "branch").await;
    assert!(archive.media_stored(branch, due[0].id, &blob("bb", 80), None, NEW_YEAR).await.is_err(), "another's");
    assert!(archive.media_failed(branch, due[0].id, "timeout", NextAttempt::Parked).await.is_err(), "another's");
    archive.media_stored(hq, due[0].id, &blob("bb", 80), Some("md5 differs"), NEW_YEAR).await.unwrap();
    archive.media_failed(hq, due[1].id, "timeout", NextAttempt::At(1000)).await.unwrap();
    assert_eq!(archive.media_due(hq, 999, 10).await.unwrap(), []);
    assert_eq!(archive.media_next(hq).await.unwrap(), Some(1000));
    assert_eq!(archive.media_due(hq, 1000, 10).await.unwrap()[0].attempts, 1);
    archive.media_failed(hq, due[1].id, "gone", NextAttempt::Parked).await.unwrap();
    assert_eq!(archive.media_next(hq).await.unwrap(), None);
    let parked = archive.media_parked(hq, 10).await.unwrap();
    assert_eq!(
        (parked.len(), parked[0].0.handle.as_str(), parked[0].0.attempts, parked[0].1.as_str()),
        (1, "h2", 2, "gone")
    );
    let totals = MediaTotals { pending: 0, stored: 1, parked: 1, blobs: 1, bytes: 80 };
    assert_eq!(archive.media_totals(Some(hq)).await.unwrap(), totals);
    backend.restart().await;
    let archive = backend.archive();
    assert_eq!(archive.media_totals(None).await.unwrap(), totals);
    let rows = archive.messages(hq, &all("c")).await.unwrap().rows;
    let stored = &rows[1].media[1];
    assert_eq!((stored.state, stored.size, stored.blob.as_ref()), (MediaState::Stored, 80, Some(&blob("bb", 80))));
    assert_eq!(rows[0].media[1].state, MediaState::Parked);
    assert_eq!(archive.media_unpark(hq, false).await.unwrap(), 1);
    assert_eq!(archive.media_unpark(hq, false).await.unwrap(), 0);
    let due = archive.media_due(hq, 0, 10).await.unwrap();
    assert_eq!((due.len(), due[0].attempts), (1, 0), "as if it were new");
    // A lost one waits for somebody to ask for it.
    archive.media_failed(hq, due[0].id, "no such file", NextAttempt::Lost).await.unwrap();
    assert_eq!(archive.media_totals(Some(hq)).await.unwrap().parked, 1);
    assert_eq!(archive.media_unpark(hq, false).await.unwrap(), 0);
    assert_eq!(archive.media_unpark(hq, true).await.unwrap(), 1);
    archive.media_failed(hq, due[0].id, "too large", NextAttempt::Parked).await.unwrap();
    assert_eq!(archive.media_unpark(hq, false).await.unwrap(), 1, "what it was lost for is forgotten");
    assert!(archive.media_failed(hq, MediaId(999), "no such file", NextAttempt::Parked).await.is_err());
}

pub(super) async fn contents_are_stored_once(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    put(&*archive, hq, &page([with("m1", [file("h1"), file("h2"), file("h3")])])).await;
    assert_eq!(
        put(&*archive, branch, &page([with("m1", [file("h1")])])).await.media,
        1,
        "handles are an instance's own"
    );
    assert_eq!(archive.blob("bb").await.unwrap(), None);
    for instance in [hq, branch] {
        for task in archive.media_due(instance, 0, 10).await.unwrap() {
            let content = if task.handle == "h3" { blob("cc", 5) } else { blob("bb", 80) };
            archive.media_stored(instance, task.id, &content, None, NEW_YEAR).await.unwrap();
            archive.media_stored(instance, task.id, &content, None, NEW_YEAR).await.unwrap();
            archive.media_failed(instance, task.id, "a second attempt", NextAttempt::Parked).await.unwrap();
        }
    }
    assert_eq!(archive.blob("bb").await.unwrap(), Some(blob("bb", 80)));
    let totals = |stored, blobs, bytes| MediaTotals { pending: 0, stored, parked: 0, blobs, bytes };
    assert_eq!(archive.media_totals(Some(hq)).await.unwrap(), totals(3, 2, 85));
    assert_eq!(archive.media_totals(Some(branch)).await.unwrap(), totals(1, 1, 80));
    assert_eq!(archive.media_totals(None).await.unwrap(), totals(4, 2, 85));
}

pub(super) async fn due_files_are_ordered(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let until = |handle: &str, deadline| MediaRef { deadline, ..file(handle) };
    let files = [until("never", None), until("late", Some(9)), until("soon", Some(3)), until("late too", Some(9))];
    put(&*archive, hq, &page([with("m1", files)])).await;
    let due = archive.media_due(hq, 0, 10).await.unwrap();
    let handles: Vec<_> = due.iter().map(|task| task.handle.as_str()).collect();
    assert_eq!(handles, ["soon", "late", "late too", "never"]);
    assert_eq!(archive.media_due(hq, 0, 2).await.unwrap(), due[..2]);
    archive.media_failed(hq, due[0].id, "again later", NextAttempt::At(50)).await.unwrap();
    assert_eq!(archive.media_due(hq, 49, 1).await.unwrap()[0].handle, "late");
    assert_eq!(archive.media_due(hq, 50, 1).await.unwrap()[0].handle, "soon");
    assert!(archive.media_next(hq).await.unwrap().is_some_and(|next| next <= 49), "others are due now");
}
