//! A plugin's instance as a source of jobs.

use super::Source;
use crate::media::{MediaSource, MediaStream};
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;
use stele_archive::Stream;
use stele_host::{Instance, ItemStream};
use stele_plugin_api::Error;
use stele_plugin_api::model::Page;
use stele_plugin_api::ops::{self, Empty, MediaChunk, MediaRequest, Partitions, PullRequest, RecoverRequest};

/// Time to tell the partitions.
const DISCOVER: Duration = Duration::from_secs(30);

/// An instance as a source.
#[derive(Clone)]
pub struct PluginSource {
    /// The instance.
    pub instance: Instance,
    /// Time it may take for a page.
    pub page_timeout: Duration,
    /// Time it may take from one chunk of a file to the next.
    pub chunk_timeout: Duration,
}

#[async_trait]
impl Source for PluginSource {
    async fn discover(&self) -> Result<Partitions, Error> {
        self.instance.call::<ops::SyncDiscover>(Empty {}, DISCOVER).await
    }

    async fn pull(&self, stream: Stream, request: PullRequest) -> Result<Page, Error> {
        match stream {
            Stream::Messages => self.instance.call::<ops::SyncPull>(request, self.page_timeout).await,
            Stream::Directory => self.instance.call::<ops::DirectoryPull>(request, self.page_timeout).await,
        }
    }

    async fn recover(&self, request: RecoverRequest) -> Result<Page, Error> {
        self.instance.call::<ops::SyncRecover>(request, self.page_timeout).await
    }
}

#[async_trait]
impl MediaSource for PluginSource {
    async fn open(&self, request: MediaRequest) -> Result<Box<dyn MediaStream>, Error> {
        Ok(Box::new(PluginStream(self.instance.stream::<ops::MediaFetch, MediaChunk>(request, self.chunk_timeout))))
    }
}

struct PluginStream(ItemStream<MediaChunk>);

#[async_trait]
impl MediaStream for PluginStream {
    async fn next(&mut self) -> Option<Result<(MediaChunk, Bytes), Error>> {
        self.0.next().await
    }
}
