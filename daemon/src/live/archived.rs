//! The archive as a source of hubs.

use super::Source;
use async_trait::async_trait;
use std::sync::Arc;
use stele_archive::{Archive, ArchiveError, Clock, Commit, InstanceId, Live, PersonId, Result, Rev, Stream};
use stele_plugin_api::model::{Page, Person};

/// The archive as a source of hubs.
pub struct Archived {
    archive: Arc<dyn Archive>,
    clock: Arc<dyn Clock>,
}

impl Archived {
    /// This archive.
    pub fn new(archive: Arc<dyn Archive>, clock: Arc<dyn Clock>) -> Self {
        Self { archive, clock }
    }
}

#[async_trait]
impl Source for Archived {
    fn live(&self) -> &dyn Live {
        &*self.archive
    }

    async fn last_rev(&self) -> Result<Rev> {
        self.archive.last_rev().await
    }

    async fn person(&self, instance: InstanceId, native_id: &str) -> Result<PersonId> {
        if let Some(known) = self.archive.person_id(instance, native_id).await? {
            return Ok(known);
        }
        let person = Person { native_id: native_id.to_owned(), ..Person::default() };
        let page = Page { people: vec![person], ..Page::default() };
        let now = self.clock.now();
        let commit = Commit { instance, partition: "", stream: Stream::Directory, from: None, page: &page, now };
        self.archive.commit(commit).await?;
        let known = self.archive.person_id(instance, native_id).await?;
        known.ok_or_else(|| ArchiveError::Invalid("a person without an id cannot listen".to_owned()))
    }
}
