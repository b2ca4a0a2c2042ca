//! What jobs need of an instance.

use crate::media::MediaSource;
use async_trait::async_trait;
use stele_archive::Stream;
use stele_plugin_api::Error;
use stele_plugin_api::model::Page;
use stele_plugin_api::ops::{Partitions, PullRequest, RecoverRequest};

/// A running instance, as far as jobs use it. Kept apart from the plugin boundary so that jobs are tested without one.
#[async_trait]
pub trait Source: MediaSource {
    /// The partitions there are.
    async fn discover(&self) -> Result<Partitions, Error>;
    /// The next page.
    async fn pull(&self, stream: Stream, request: PullRequest) -> Result<Page, Error>;
    /// Parked envelopes again.
    async fn recover(&self, request: RecoverRequest) -> Result<Page, Error>;
}
