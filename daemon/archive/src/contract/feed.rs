//! Following the archive.

use super::Backend;
use super::sample::{DAY, NEW_YEAR, instance, page, put, text};
use crate::{DayCount, FeedRow, Rev};
use bytes::Bytes;
use stele_plugin_api::model::{Message, Page, Parked};

pub(super) async fn revisions_ascend(backend: &mut dyn Backend) {
    let archive = backend.archive();
    assert_eq!(archive.last_rev().await.unwrap(), Rev(0));
    assert_eq!(archive.feed(Rev(0), 10).await.unwrap(), []);
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let park = |native: &str| Page {
        parked: vec![Parked { native_id: native.to_owned(), reason: String::new(), envelope: Bytes::new() }],
        ..Page::default()
    };
    put(&*archive, hq, &park("l1")).await;
    put(&*archive, hq, &page((0..10).map(|at| text(&format!("m{at}"), "c", "a", &["b"], NEW_YEAR + at)))).await;
    put(&*archive, branch, &park("l2")).await;
    put(
        &*archive,
        branch,
        &page([Message {
            kind: "image".to_owned(),
            text: String::new(),
            expires_at: Some(6),
            ..text("n1", "c", "", &[], 5)
        }]),
    )
    .await;
    put(&*archive, hq, &page([text("m10", "c", "a", &["b"], NEW_YEAR), text("l1", "c", "a", &["b"], NEW_YEAR)])).await;
    put(&*archive, branch, &page([text("l2", "c", "a", &["b"], NEW_YEAR), text("n2", "c", "a", &["b"], NEW_YEAR)]))
        .await;

    let whole = archive.feed(Rev(0), 1000).await.unwrap();
    assert_eq!(whole.len(), 15);
    assert!(whole.is_sorted_by(|a, b| a.rev < b.rev), "strictly ascending");
    assert!(whole[0].rev > Rev(0));
    assert_eq!(whole.last().map(|row| row.rev), Some(archive.last_rev().await.unwrap()));
    for step in [1, 4, 7] {
        let (mut after, mut joined) = (Rev(0), Vec::new());
        loop {
            let rows = archive.feed(after, step).await.unwrap();
            assert!(rows.len() <= step as usize);
            let Some(last) = rows.last() else { break };
            after = last.rev;
            joined.extend(rows);
        }
        assert_eq!(joined, whole, "in steps of {step}");
    }
    let ids: Vec<_> = whole.iter().map(|row| row.id).collect();
    for (row, message) in whole.iter().zip(archive.messages_by_id(&ids).await.unwrap()) {
        assert_eq!(row, &FeedRow::from(&message));
    }
}

pub(super) async fn day_counts_follow(backend: &mut dyn Backend) {
    let hq = instance(&*backend.archive(), "hq").await;
    let archive = backend.archive();
    assert_eq!(archive.day_counts(Rev(0)).await.unwrap(), []);
    let silent = Message { text: String::new(), ..text("silent", "c", "a", &["b"], NEW_YEAR) };
    let parked = Parked { native_id: "late".to_owned(), reason: String::new(), envelope: Bytes::new() };
    let mut first = page([text("m1", "c", "a", &["b"], NEW_YEAR), silent, text("m2", "c", "a", &["b"], -1)]);
    first.parked = vec![parked];
    let first = put(&*archive, hq, &first).await.last_rev;
    let second = put(
        &*archive,
        hq,
        &page([text("m1", "c", "a", &["b"], NEW_YEAR), text("m3", "d", "a", &["b"], NEW_YEAR + DAY - 1)]),
    )
    .await
    .last_rev;
    let third = put(&*archive, hq, &page([text("late", "c", "a", &["b"], NEW_YEAR + DAY)])).await.last_rev;
    backend.restart().await;
    let archive = backend.archive();
    let day = NEW_YEAR / DAY;
    let count = |day, messages| DayCount { day, messages };
    assert_eq!(archive.day_counts(third).await.unwrap(), [count(-1, 1), count(day, 2), count(day + 1, 1)]);
    assert_eq!(archive.day_counts(Rev(i64::MAX)).await.unwrap(), archive.day_counts(third).await.unwrap());
    assert_eq!(archive.day_counts(second).await.unwrap(), [count(-1, 1), count(day, 2)]);
    assert_eq!(archive.day_counts(first).await.unwrap(), [count(-1, 1), count(day, 1)]);
    assert_eq!(archive.day_counts(Rev(0)).await.unwrap(), []);
}
