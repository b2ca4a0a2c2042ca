//! Whose contents a place keeps.
//!
//! A share that is not mounted is an empty folder, and what is put there is on this machine alone. So a place has a label, the id of
//! its archive, from its first content on, and the archive remembers that there is one. A place without it, or with another's, is
//! none: what is missing there is not gone, and nothing is put into it.

use super::contents::Contents;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stele_archive::{Archive, ArchiveError, InstanceId};

/// Name of the label, beside the folders of contents.
pub const LABEL: &str = "stele-archive-id";
/// Longest label that is read, in bytes.
pub const MAX_LABEL: u64 = 256;
/// Name of what the archive remembers, among the daemons' own values, and what that is.
const LABELLED: &str = "media_labelled";
const YES: &[u8] = b"yes";

/// The archive whose contents are kept.
pub struct Owner {
    archive: Arc<dyn Archive>,
    id: String,
    /// Whether the archive remembers the label, as far as this process knows.
    remembers: AtomicBool,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owner").field(&self.id).finish()
    }
}

impl Owner {
    /// An archive, and its id.
    pub fn new(archive: Arc<dyn Archive>, id: &str) -> Self {
        Self { archive, id: id.to_owned(), remembers: AtomicBool::new(false) }
    }

    /// Whether a place has this archive's label. `false` when it is nobody's yet, and the archive has no other.
    ///
    /// # Errors
    /// When it is another's, or not where the contents of this archive are; when one of the two does not answer.
    pub async fn has(&self, place: &dyn Contents) -> io::Result<bool> {
        match place.label().await? {
            Some(label) if label.trim() == self.id => {
                self.remember().await?;
                return Ok(true);
            }
            Some(_) => return Err(other(format!("it is another archive's, as {LABEL} in it says"))),
            None => {}
        }
        let known = self.archive.state_get(InstanceId(0), LABELLED).await.map_err(|error| unanswered(&error))?;
        let is_empty = place.is_empty().await?;
        let has_files = self.archive.media_totals(None).await.map_err(|error| unanswered(&error))?.blobs > 0;
        match (known, is_empty, has_files) {
            (Some(_), ..) | (None, true, true) => Err(other(format!(
                "it is not where this archive's files are, since it has no {LABEL}: a share that is not mounted, or a folder of one of \
                 several daemons; where files are to be kept from now on, write {} into {LABEL} there",
                self.id
            ))),
            // Filled before there were labels.
            (None, false, true) => self.take(place).await.map(|()| true),
            (None, _, false) => Ok(false),
        }
    }

    /// Makes a place this archive's that is nobody's.
    pub async fn take(&self, place: &dyn Contents) -> io::Result<()> {
        place.put_label(&self.id).await?;
        // Of those who come at once the last one has it.
        match place.label().await? {
            Some(label) if label.trim() == self.id => self.remember().await,
            _ => Err(other("another archive took it at the same time")),
        }
    }

    async fn remember(&self) -> io::Result<()> {
        if !self.remembers.load(Ordering::Relaxed) {
            self.archive.agree(LABELLED, YES).await.map_err(|error| unanswered(&error))?;
            self.remembers.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn other(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

fn unanswered(error: &ArchiveError) -> io::Error {
    other(format!("the archive does not say whose files these are: {error}"))
}
