//! What daemons agree on.

use super::Backend;
use crate::{GONE, InstanceId};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) async fn whoever_comes_first_is_agreed_with(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let asking: Vec<_> = (0..8_u8)
        .map(|who| {
            let archive = Arc::clone(&archive);
            tokio::spawn(async move { archive.agree("k", &[who, 0]).await.unwrap() })
        })
        .collect();
    let mut agreed = BTreeSet::new();
    for asked in asking {
        agreed.insert(asked.await.unwrap());
    }
    assert_eq!(agreed.len(), 1, "all have the same: {agreed:?}");
    let first = agreed.pop_first().unwrap();
    assert_eq!(archive.agree("other", b"x").await.unwrap(), Bytes::from_static(b"x"));
    backend.restart().await;
    let archive = backend.archive();
    assert_eq!(archive.agree("k", b"late").await.unwrap(), first);
    assert_eq!(archive.state_get(InstanceId(0), "k").await.unwrap(), Some(first));
}

pub(super) async fn every_daemon_has_a_number_of_its_own(backend: &mut dyn Backend) {
    let archive = backend.archive();
    assert_eq!(archive.node("a", 0).await.unwrap(), 1);
    let asking: Vec<_> = (0..8)
        .map(|who| {
            let archive = Arc::clone(&archive);
            tokio::spawn(async move { archive.node(&format!("d{who}"), 1).await.unwrap() })
        })
        .collect();
    let mut numbers = BTreeSet::new();
    for asked in asking {
        numbers.insert(asked.await.unwrap());
    }
    assert_eq!(numbers, (2..=9).collect());
    backend.restart().await;
    let archive = backend.archive();
    assert_eq!(archive.node("a", GONE + 1).await.unwrap(), 1, "the same for ever");
    assert_eq!(archive.node("b", GONE + 2).await.unwrap(), 10, "whoever is away keeps theirs while there are others");
}
