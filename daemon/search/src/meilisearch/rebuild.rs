//! A second index beside the one in use, and what is left of one.
//!
//! It has a name of its own and takes the other's by a swap, which is one task of the server. Whatever has the name afterwards is
//! not needed: the old index, or one whose making was given up. What has that name and is not of this archive is left alone.
//!
//! Whose turn it is to build one is decided by a lease, and a lease may be lost unnoticed. So before and after each batch the index
//! beside must be as the batch before left it, and it takes the place of the other only as a whole. Whether it did, the life says that
//! is found under the name in use.

use super::Inner;
use super::feeding::{Feeding, Queue};
use super::known::Whose;
use super::marks::{Mark, Signs};
use crate::error::IndexError;
use crate::index::{Rebuild, Watermark};
use async_trait::async_trait;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;
use stele_archive::{DayCount, FeedRow};
use tokio::task::JoinHandle;

/// How often the server is asked for a swap that did not take place.
const SWAPS: usize = 3;

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

    fn tidying(&self) -> MutexGuard<'_, Tidying> {
        self.tidying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the index beside says of itself, if there is one.
    ///
    /// # Errors
    ///
    /// [`IndexError::Unavailable`] when it is in the way: it may not be deleted.
    pub(super) async fn beside(&self) -> Result<Signs, IndexError> {
        let uid = self.new_uid();
        match self.whose(&uid, None).await? {
            Whose::Nobodys => Ok(Signs::default()),
            Whose::Ours(signs) if signs.owner.as_ref().is_some_and(|owner| owner.archive == self.options.archive) => {
                Ok(*signs)
            }
            Whose::Ours(_) | Whose::Unmarked => Err(IndexError::unavailable(format!(
                "the index {uid:?} of the server does not say whose it is: choose another name, or delete it there"
            ))),
        }
    }

    /// An empty index beside the one in use.
    async fn create(&self) -> Result<Mark, IndexError> {
        if let Whose::Nobodys = self.whose(self.uid(), None).await? {
            // Where there is no index there is nothing to take the place of.
            self.prepare().await?;
        }
        let deleting = self.tidying().deleting.take();
        if let Some(deleting) = deleting {
            deleting.await.map_err(IndexError::unavailable)?;
        }
        self.beside().await?;
        let uid = self.new_uid();
        self.server.delete(&uid).await?;
        // What is asked of the server is done in order: the one to be deleted is gone when this one is made.
        self.server.create(&uid).await?;
        self.begin(&uid).await
    }

    /// Fails unless the index beside is the one that was left so.
    async fn is_as_left(&self, mark: &Mark) -> Result<(), IndexError> {
        let signs = self.server.signs(&self.new_uid(), Some(&mark.life)).await?.unwrap_or_default();
        if signs.life.as_ref() == Some(&mark.life) && signs.mark.as_ref() == Some(mark) {
            return Ok(());
        }
        Err(IndexError::unavailable("another daemon began to build an index meanwhile"))
    }

    /// The index beside, which was left so, takes the place of the one in use.
    async fn take_over(&self, mark: &Mark) -> Result<(), IndexError> {
        let uid = self.new_uid();
        let mut refused = String::new();
        for _ in 0..SWAPS {
            self.is_as_left(mark).await?;
            let swapped = self.server.swap(self.uid(), &uid, self.owner.line()).await?;
            let present = self.server.signs(self.uid(), Some(&mark.life)).await?.unwrap_or_default();
            if present.life.as_ref() == Some(&mark.life) {
                if let Err(error) = self.server.delete(&uid).await {
                    tracing::warn!(%error, index = uid, "the old search index could not be deleted; that is tried again later");
                }
                return Ok(());
            }
            refused = swapped.err().unwrap_or_default();
        }
        Err(IndexError::unavailable(format!("the new index does not take the place of the old one: {refused}")))
    }

    /// Deletes the index beside, unless it is another one than ours.
    async fn give_up(&self, life: &str) -> Result<(), IndexError> {
        let uid = self.new_uid();
        match self.server.signs(&uid, Some(life)).await? {
            Some(signs) if signs.life.as_deref() == Some(life) => self.server.delete(&uid).await,
            _ => Ok(()),
        }
    }

    /// Begins anew.
    pub(super) async fn replace(&self) -> Result<(), IndexError> {
        let _nobody_feeds = self.feeding.lock().await;
        if let Whose::Nobodys = self.whose(self.uid(), None).await? {
            self.prepare().await?;
            return self.look().await.map(drop);
        }
        let mark = self.create().await?;
        self.take_over(&mark).await?;
        self.install(mark);
        Ok(())
    }

    /// Deletes the index beside when nobody works at it any more.
    pub(super) async fn tidy(&self) -> Result<(), IndexError> {
        let age = self.options.leftover_age;
        {
            let mut tidying = self.tidying();
            if self.rebuilding.load(Ordering::Acquire) || tidying.looked.is_some_and(|at| at.elapsed() < age) {
                return Ok(());
            }
            tidying.looked = Some(Instant::now());
        }
        let uid = self.new_uid();
        if self.server.idle(&uid).await?.is_some_and(|idle| idle >= age) && self.beside().await.is_ok() {
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
        inner.is_as_left(mark).await?;
        let rows: Vec<FeedRow> = rows.into_iter().filter(|row| row.rev.0 > mark.at).collect();
        let next = mark.moved(upto, rows.len() as u64);
        let uid = inner.new_uid();
        *mark = Feeding { server: &inner.server, uid: &uid, owner: &inner.owner, queue }.take_in(rows, next).await?;
        inner.is_as_left(mark).await
    }

    async fn day_counts(&self) -> Result<Vec<DayCount>, IndexError> {
        let mark = self.state.lock().await.0.clone();
        self.busy.0.count_days_beside(&mark).await
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
        inner.tidying().deleting = Some(deleting);
    }
}
