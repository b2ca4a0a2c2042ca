//! Several at once.

use super::Backend;
use super::sample::{NEW_YEAR, all, instance, list, page, put, text, try_put};
use crate::{ArchiveError, Rev};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stele_plugin_api::model::Message;

pub(super) async fn one_of_two_rivals_wins(backend: &mut dyn Backend) {
    const ROUNDS: u64 = 20;
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    for round in 0..ROUNDS {
        let from = (round > 0).then(|| (round - 1).to_string());
        let rivals: Vec<_> = ["left", "right", "third"]
            .into_iter()
            .map(|name| {
                let (archive, from) = (archive.clone(), from.clone());
                tokio::spawn(async move {
                    let mut page = page([
                        text(&format!("{round} {name}"), "c", "a", &["b"], NEW_YEAR),
                        text(&format!("{round} common"), "c", "a", &["b"], NEW_YEAR),
                    ]);
                    page.cursor = Some(Bytes::from(round.to_string()));
                    try_put(&*archive, hq, from.as_deref().map(str::as_bytes), &page).await
                })
            })
            .collect();
        let mut won = 0;
        for rival in rivals {
            match rival.await.expect("no panic") {
                Ok(done) => {
                    assert_eq!(done.stored.len(), 2);
                    won += 1;
                }
                Err(error) => assert!(matches!(error, ArchiveError::CursorMoved { .. }), "{error}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
    assert_eq!(archive.messages(hq, &all("c")).await.unwrap().total, 2 * ROUNDS);
}

pub(super) async fn one_of_many_repeats_is_stored(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    for round in 0..10 {
        let senders: Vec<_> = (0..8)
            .map(|at| {
                let archive = archive.clone();
                tokio::spawn(async move {
                    let (client_id, once) = (Some(format!("key {round}")), true);
                    let said = text(&format!("{round}/{at}"), "c", "a", &["b"], NEW_YEAR);
                    put(&*archive, hq, &page([Message { client_id, once, ..said }])).await
                })
            })
            .collect();
        let (mut stored, mut first) = (Vec::new(), Vec::new());
        for sender in senders {
            let done = sender.await.expect("no panic");
            assert_eq!(done.stored.len() + done.repeated.len(), 1);
            stored.extend(done.stored.into_iter().map(|message| message.native_id));
            first.extend(done.repeated.into_iter().map(|message| message.first));
        }
        assert_eq!(stored.len(), 1, "round {round}");
        assert_eq!(first, vec![stored[0].clone(); 7], "round {round}");
    }
    assert_eq!(archive.messages(hq, &all("c")).await.unwrap().total, 10);
}

pub(super) async fn readers_see_whole_pages(backend: &mut dyn Backend) {
    const PAGES: u64 = 15;
    const SIZE: u64 = 40;
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (archive, done) = (archive.clone(), done.clone());
            tokio::spawn(async move {
                let mut seen = Rev(0);
                loop {
                    let last = done.load(Ordering::Acquire);
                    let found = archive.messages(hq, &all("c")).await.expect("answers");
                    assert_eq!(found.total % SIZE, 0, "half a page was seen");
                    assert_eq!(found.rows.len() as u64, found.total, "rows and total agree");
                    let listed = archive.conversations(hq, &list("a")).await.expect("answers");
                    assert!(listed.rows.iter().all(|row| row.conversation.messages % SIZE == 0));
                    for row in archive.feed(seen, 1000).await.expect("answers") {
                        assert!(row.rev > seen, "a revision appeared behind the reader");
                        seen = row.rev;
                    }
                    if last {
                        return seen;
                    }
                }
            })
        })
        .collect();
    for round in 0..PAGES {
        put(&*archive, hq, &page((0..SIZE).map(|at| text(&format!("{round}/{at}"), "c", "a", &["b"], NEW_YEAR)))).await;
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        assert_eq!(reader.await.expect("no panic"), archive.last_rev().await.unwrap());
    }
}
