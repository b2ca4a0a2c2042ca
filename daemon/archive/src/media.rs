//! Files: what is still to be fetched, what is stored, what was given up.

use crate::{InstanceId, MediaId, Result};
use async_trait::async_trait;
use serde::Serialize;
use stele_plugin_api::model::Micros;

/// Stored content; every content is stored once, by its MD5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Lower-case hex MD5 of the stored bytes.
    pub md5: String,
    /// Size in bytes.
    pub size: u64,
    /// Media type found by looking at the content, e.g. `image/jpeg`.
    pub mime: String,
    /// File name extension that goes with it, without the dot; empty when unknown.
    pub extension: String,
}

/// A file to be fetched.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaTask {
    /// Its id.
    pub id: MediaId,
    /// The instance.
    pub instance: InstanceId,
    /// The partition.
    pub partition: String,
    /// What the plugin fetches it by.
    pub handle: String,
    /// The source's word for the type.
    pub kind: String,
    /// The source's name for it.
    pub name: Option<String>,
    /// Size in bytes, as announced.
    pub size: Option<u64>,
    /// Lower-case hex MD5, as announced.
    pub md5: Option<String>,
    /// After this the source no longer has it.
    pub deadline: Option<Micros>,
    /// Failed attempts so far.
    pub attempts: u32,
}

/// What becomes of a file after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAttempt {
    /// It stays pending until then.
    At(Micros),
    /// It is parked, until something changes on our side: a limit, a right, the network.
    Parked,
    /// It is parked, because the source says that there is no such file: nothing on our side can mend that.
    Lost,
}

/// How many files are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MediaTotals {
    /// To be fetched.
    pub pending: u64,
    /// In the archive.
    pub stored: u64,
    /// Given up.
    pub parked: u64,
    /// Different contents, and their size in bytes.
    pub blobs: u64,
    /// Bytes of all contents.
    pub bytes: u64,
}

/// Files.
#[async_trait]
pub trait MediaCatalog: Send + Sync {
    /// Files that are due: pending, with no retry time after `now`. Nearest deadline first, files without one last, then
    /// by id.
    async fn media_due(&self, instance: InstanceId, now: Micros, limit: u32) -> Result<Vec<MediaTask>>;

    /// The blob of this MD5, if its content is stored.
    async fn blob(&self, md5: &str) -> Result<Option<Blob>>;

    /// A file's content is stored. `flaw` says what is wrong with it, e.g. that its MD5 is not the announced one.
    /// [`Invalid`](crate::ArchiveError::Invalid) where the instance has no such file.
    async fn media_stored(
        &self,
        instance: InstanceId,
        id: MediaId,
        blob: &Blob,
        flaw: Option<&str>,
        now: Micros,
    ) -> Result<()>;

    /// An attempt failed, with this error. `next` says what becomes of the file. [`Invalid`](crate::ArchiveError::Invalid) where
    /// the instance has no such file.
    async fn media_failed(&self, instance: InstanceId, id: MediaId, error: &str, next: NextAttempt) -> Result<()>;

    /// Parked files become pending again, as if they were new; [lost](NextAttempt::Lost) ones only if `lost`. Returns how
    /// many.
    async fn media_unpark(&self, instance: InstanceId, lost: bool) -> Result<u64>;

    /// Parked files with their errors, latest first.
    async fn media_parked(&self, instance: InstanceId, limit: u32) -> Result<Vec<(MediaTask, String)>>;

    /// When the next pending file is due: in the past when one is due now, `None` when nothing is pending.
    async fn media_next(&self, instance: InstanceId) -> Result<Option<Micros>>;

    /// How many files are where, of one instance or of all.
    async fn media_totals(&self, instance: Option<InstanceId>) -> Result<MediaTotals>;
}
