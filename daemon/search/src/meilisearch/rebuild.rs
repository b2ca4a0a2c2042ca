//! A second index beside the one in use, and what is left of one.
//!
//! It has a name of its own and takes the other's by a swap, which is one task of the server. Whatever has the name afterwards is
//! not needed: the old index, or one whose making was given up.

use super::Inner;
use super::document::Mark;
use super::feeding::{Feeding, Queue};
use crate::error::IndexError;
use crate::index::{Rebuild, Watermark};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use stele_archive::FeedRow;
use tokio::task::JoinHandle;

/// What is under way, or was last done, about leftovers.
#[derive(Debug, Default)]
pub struct Tidying {
    deleting: Option<JoinHandle<()>>,
    looked: Option<Instant>,
}

impl Inner {
    pub(super) fn new_uid(&self) -> String {
        format!("{}-new", self.uid())
    }

    /// An empty index beside the one in use.
    async fn create(&self) -> Result<Mark, IndexError> {
        match self.server.mark(self.uid()).await {
            Ok(Some(present)) => self.is_ours(&present)?,
            Ok(None) | Err(IndexError::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
        let uid = self.new_uid();
        let deleting = self.tidying.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).deleting.take();
        if let Some(deleting) = deleting {
            deleting.await.map_err(IndexError::unavailable)?;
        }
        self.server.delete(&uid).await?;
        // What is asked of the server is done in order: the one to be deleted is gone when this one is made.
        self.server.create(&uid).await?;
        self.begin(&uid).await
    }

    /// The index beside takes the place of the one in use. Its mark says which one it must be: another daemon may have begun another.
    async fn take_over(&self, mark: &Mark) -> Result<(), IndexError> {
        let uid = self.new_uid();
        let present = self.server.mark(&uid).await?;
        if present.is_none_or(|present| present.life != mark.life) {
            return Err(IndexError::unavailable("another daemon began to build an index meanwhile"));
        }
        self.server.swap(self.uid(), &uid).await?;
        if let Err(error) = self.server.delete(&uid).await {
            tracing::warn!(%error, index = uid, "the old search index could not be deleted; that is tried again later");
        }
        Ok(())
    }

    /// Deletes the index beside, unless it is another one than ours.
    async fn give_up(&self, life: &str) -> Result<(), IndexError> {
        let uid = self.new_uid();
        match self.server.mark(&uid).await? {
            Some(mark) if mark.life == life => self.server.delete(&uid).await,
            _ => Ok(()),
        }
    }

    /// An empty index takes the place of the one in use; its mark.
    pub(super) async fn replaced(&self) -> Result<Mark, IndexError> {
        let mark = self.create().await?;
        self.take_over(&mark).await?;
        Ok(mark)
    }

    /// Begins anew.
    pub(super) async fn replace(&self) -> Result<(), IndexError> {
        let _nobody_feeds = self.feeding.lock().await;
        // Where there is no index there is nothing to take the place of.
        self.server.prepare(self.uid()).await?;
        let mark = self.replaced().await?;
        self.install(mark);
        Ok(())
    }

    /// Deletes the index beside when nobody works at it any more.
    pub(super) async fn tidy(&self) -> Result<(), IndexError> {
        let age = self.options.leftover_age;
        {
            let mut tidying = self.tidying.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if self.rebuilding.load(Ordering::Acquire) || tidying.looked.is_some_and(|at| at.elapsed() < age) {
                return Ok(());
            }
            tidying.looked = Some(Instant::now());
        }
        let uid = self.new_uid();
        if self.server.idle(&uid).await?.is_some_and(|idle| idle >= age) {
            tracing::info!(index = uid, "deleting what is left of an index that was not finished");
            self.server.delete(&uid).await?;
        }
        Ok(())
    }
}

/// Lets the next rebuild begin.
struct Busy(Arc<Inner>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.rebuilding.store(false, Ordering::Release);
    }
}

struct MeiliRebuild {
    busy: Busy,
    state: tokio::sync::Mutex<(Mark, Queue)>,
    is_finished: bool,
}

pub async fn begin(inner: Arc<Inner>) -> Result<Box<dyn Rebuild>, IndexError> {
    if inner.rebuilding.swap(true, Ordering::AcqRel) {
        return Err(IndexError::Rebuilding);
    }
    let busy = Busy(inner);
    let mark = busy.0.create().await?;
    Ok(Box::new(MeiliRebuild { busy, state: tokio::sync::Mutex::new((mark, Queue::default())), is_finished: false }))
}

#[async_trait]
impl Rebuild for MeiliRebuild {
    async fn apply(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), IndexError> {
        let inner = &self.busy.0;
        let mut state = self.state.lock().await;
        let (mark, queue) = &mut *state;
        if upto.rev.0 <= mark.at {
            return Ok(());
        }
        let rows: Vec<FeedRow> = rows.into_iter().filter(|row| row.rev.0 > mark.at).collect();
        let next = mark.moved(upto, rows.len() as u64);
        let uid = inner.new_uid();
        *mark = Feeding { server: &inner.server, uid: &uid, queue }.take_in(rows, next).await?;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), IndexError> {
        let inner = self.busy.0.clone();
        let mark = self.state.get_mut().0.clone();
        let _nobody_feeds = inner.feeding.lock().await;
        let taken_over = inner.take_over(&mark).await;
        inner.noted(taken_over)?;
        inner.install(mark);
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for MeiliRebuild {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let inner = self.busy.0.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let life = self.state.get_mut().0.life.clone();
        let deleting = runtime.spawn({
            let inner = inner.clone();
            async move {
                if let Err(error) = inner.give_up(&life).await {
                    tracing::warn!(%error, "an unfinished search index could not be deleted; that is tried again later");
                }
            }
        });
        inner.tidying.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).deleting = Some(deleting);
    }
}
