//! What the daemons of one archive agree on. With one daemon alone there is nothing to agree on, and the same is done.

use crate::{ArchiveError, Result};
use async_trait::async_trait;
use bytes::Bytes;
use stele_plugin_api::model::Micros;

/// Numbers of nodes there are: 0 to one less.
pub const NODES: u16 = 1024;
/// A daemon that was not seen for longer is gone for good, and its number may be another's: 30 days, in microseconds.
pub const GONE: Micros = 30 * 86_400_000_000;

/// A daemon whose latest word is older is not counted among those that run: 30 s, in microseconds.
pub const RUNNING: Micros = 30_000_000;

/// What a daemon learns by saying that it is still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Which other process has said so under the same id since this one did, or before it did for the first time, and when.
    pub other: Option<(String, Micros)>,
    /// Other daemons that run.
    pub others: u64,
}

/// A daemon that has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub daemon: String,
    /// Its number.
    pub number: u16,
    /// When it was seen last.
    pub seen_at: Micros,
}

/// What the daemons of one archive agree on.
#[async_trait]
pub trait Daemons: Send + Sync {
    /// A value of the daemons' own that whoever comes first gives and all others get: kept under this name from then on, beside
    /// those of [`StateTable`](crate::StateTable) under instance 0.
    async fn agree(&self, key: &str, value: &[u8]) -> Result<Bytes>;

    /// The number of the daemon of this id, and that it was seen: less than [`NODES`], the same every time, and that of nobody else
    /// who was seen within [`GONE`]. The first daemon of an archive has number 1.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when all numbers are those of others.
    async fn node(&self, daemon: &str, now: Micros) -> Result<u16>;

    /// Says that the daemon of this id is still there, and which of its processes it is. Nothing is kept of one that has no number yet.
    /// Where only one process can have the archive open there are never others.
    async fn beat(&self, daemon: &str, process: &str, now: Micros) -> Result<Beat>;
}

/// The number for a daemon that has none yet, and whose it was until now.
///
/// # Errors
/// [`ArchiveError::Invalid`] when all numbers are those of others.
pub fn free_number(nodes: &[Node], now: Micros) -> Result<(u16, Option<&Node>)> {
    let is_free = |number: &u16| nodes.iter().all(|node| node.number != *number);
    if let Some(free) = (1..NODES).chain([0]).find(is_free) {
        return Ok((free, None));
    }
    let eldest = nodes.iter().min_by_key(|node| node.seen_at).filter(|node| now.saturating_sub(node.seen_at) > GONE);
    let eldest = eldest.ok_or_else(|| {
        ArchiveError::Invalid(format!("{NODES} daemons had this archive open within 30 days, and there can be no more"))
    })?;
    Ok((eldest.number, Some(eldest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16, seen_at: Micros) -> Node {
        Node { daemon: format!("d{number}"), number, seen_at }
    }

    #[test]
    fn numbers_are_given_from_one_on_and_again_when_their_daemon_is_gone() {
        let number = |nodes: &[Node], now| free_number(nodes, now).map(|(number, before)| (number, before.cloned()));
        assert_eq!(number(&[], 0).unwrap(), (1, None));
        assert_eq!(number(&[node(1, 0), node(3, 0)], 0).unwrap(), (2, None));
        let mut all: Vec<Node> = (1..NODES).map(|number| node(number, 7)).collect();
        assert_eq!(number(&all, 0).unwrap(), (0, None));
        all.push(node(0, 7));
        all[41].seen_at = 5;
        assert!(number(&all, GONE + 5).is_err(), "not gone yet");
        assert_eq!(number(&all, GONE + 6).unwrap(), (42, Some(node(42, 5))));
    }
}
