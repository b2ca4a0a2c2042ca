//! What is known of the index, and how it becomes known. Nothing here writes to the server.

use super::document::FORMAT;
use super::marks::{Mark, Owner, Signs, Wish};
use super::{DOWN, FRESH, Inner, PATIENCE, settings};
use crate::error::IndexError;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError, Weak};
use std::time::Instant;
use stele_archive::Rev;

/// What is known of the index.
pub struct Known {
    pub mark: Mark,
    /// What is wished for it.
    pub wish: Option<Wish>,
    seen: Instant,
    /// The number of the question it answers: an answer that took its time says nothing against one to a later question.
    asked: u64,
}

#[derive(Default)]
pub struct Notes {
    /// What the latest question failed with.
    pub unanswered: Option<String>,
    /// What the latest rows failed with.
    pub refused: Option<String>,
    /// That this daemon has found the index to be wrong.
    pub condemned: Option<Wish>,
    /// The life that is fed, and how far it was: rows that were read for one do not go into another, nor beyond a gap.
    pub fed: Option<(String, i64)>,
}

/// Whose an index is that is not somebody else's.
pub enum Whose {
    /// There is none, or it is empty.
    Nobodys,
    Ours(Box<Signs>),
    /// It does not say so and looks like one of ours.
    Unmarked,
}

pub fn silence() -> IndexError {
    IndexError::unavailable("the server does not answer")
}

/// Looks at the index now and then: somebody may wait for its watermark to move, and another daemon may move it.
pub async fn keep_looking(index: Weak<Inner>) {
    let mut pause = FRESH;
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = index.upgrade() else { return };
        pause = FRESH;
        if inner.fresh().is_none() || inner.server.is_silent() {
            let seen = inner.look_in_time().await;
            pause = if inner.noted(seen).is_ok() { FRESH } else { DOWN };
        }
    }
}

impl Inner {
    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, if it was seen just now.
    pub(super) fn fresh(&self) -> Option<Mark> {
        self.known().as_ref().filter(|known| known.seen.elapsed() < FRESH).map(|known| known.mark.clone())
    }

    /// The number of a question after the index that is about to be asked.
    fn ask_anew(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps what was seen in answer to a question; returns what is known now.
    fn see(&self, mark: Mark, wish: Option<Wish>, asked: u64) -> Mark {
        let mut known = self.known();
        let seen = Instant::now();
        let now = match known.take() {
            Some(later) if later.asked > asked => Known { seen, ..later },
            _ => Known { mark, wish, seen, asked },
        };
        let mark = now.mark.clone();
        *known = Some(now);
        drop(known);
        let mut notes = self.notes();
        if !mark.life.is_empty() {
            notes.fed.get_or_insert_with(|| (mark.life.clone(), mark.at));
        }
        // What was found to be wrong is no more.
        notes.condemned.take_if(|condemned| condemned.life != mark.life);
        drop(notes);
        let rev = Rev(mark.at);
        self.progress.send_if_modified(|seen| std::mem::replace(seen, rev) != rev);
        mark
    }

    /// Another life has taken the place of the one before.
    pub(super) fn install(&self, mark: Mark) {
        *self.notes() = Notes::default();
        self.see(mark, None, self.ask_anew());
    }

    /// Forgets what is known, so that it is looked at again.
    pub(super) fn forget(&self) {
        self.unprepare();
        *self.known() = None;
    }

    /// Remembers what went wrong with a question, or that nothing did.
    pub(super) fn noted<T>(&self, result: Result<T, IndexError>) -> Result<T, IndexError> {
        match &result {
            Ok(_) => self.notes().unanswered = None,
            Err(IndexError::Rebuilding | IndexError::TooMany(_)) => {}
            Err(error) => self.notes().unanswered = Some(error.to_string()),
        }
        result
    }

    /// What is known of the index, or what it is when nothing is.
    pub(super) async fn present(&self) -> Result<Mark, IndexError> {
        let known = self.known().as_ref().map(|known| known.mark.clone());
        match known {
            Some(mark) => Ok(mark),
            None => self.look().await,
        }
    }

    /// Asks the server how far the index is. One that is not there holds nothing: that is what a mark without a life says.
    pub(super) async fn look(&self) -> Result<Mark, IndexError> {
        let asked = self.ask_anew();
        let life = self.known().as_ref().map(|known| known.mark.life.clone()).filter(|life| !life.is_empty());
        let seen = match self.whose(self.uid(), life.as_deref()).await {
            Ok(Whose::Nobodys) => Ok((Mark::default(), None)),
            Ok(Whose::Ours(signs)) => fit(*signs),
            Ok(Whose::Unmarked) => Err(IndexError::Corrupt("it does not say whose it is".into())),
            Err(error) => Err(error),
        };
        match seen {
            Ok((mark, wish)) => Ok(self.see(mark, wish, asked)),
            Err(error) => {
                if let IndexError::Corrupt(_) = error {
                    self.forget();
                }
                Err(error)
            }
        }
    }

    /// The same for somebody who waits for the answer.
    pub(super) async fn look_in_time(&self) -> Result<Mark, IndexError> {
        let began = Instant::now();
        tokio::time::timeout(PATIENCE, self.look()).await.unwrap_or_else(|_| {
            self.server.waited_in_vain(began);
            Err(silence())
        })
    }

    /// Whose an index is. `life`: the one it is likely to be in.
    ///
    /// # Errors
    ///
    /// [`IndexError::Unavailable`] when it is somebody else's, or was made by a newer version.
    pub(super) async fn whose(&self, uid: &str, life: Option<&str>) -> Result<Whose, IndexError> {
        let foreign = |whose: &str| {
            IndexError::unavailable(format!(
                "the index {uid:?} of the server belongs to {whose}: choose another name, or delete it there"
            ))
        };
        let Some(signs) = self.server.signs(uid, life).await? else { return Ok(Whose::Nobodys) };
        match &signs.owner {
            Some(owner) if self.is_ours(owner) => Ok(Whose::Ours(Box::new(signs))),
            Some(_) => Err(foreign("another archive")),
            None if self.server.documents(uid).await? == 0 => Ok(Whose::Nobodys),
            None => match self.server.settings(uid).await? {
                Some(present) if present["searchableAttributes"] != settings::wanted()["searchableAttributes"] => {
                    Err(foreign("somebody else"))
                }
                _ => Ok(Whose::Unmarked),
            },
        }
    }

    fn is_ours(&self, owner: &Owner) -> bool {
        owner.archive.is_empty() || owner.archive == self.options.archive
    }
}

/// What signs of ours come to, if the index can be used.
pub fn fit(signs: Signs) -> Result<(Mark, Option<Wish>), IndexError> {
    match signs {
        Signs { owner: Some(owner), .. } if owner.format != FORMAT => {
            Err(IndexError::Corrupt(format!("its format is {}, not {FORMAT}", owner.format)))
        }
        // As when it was deleted while it was written to: the server made it again, for what was on its way.
        Signs { life: None, .. } => Err(IndexError::Corrupt("it does not say which life it is in".into())),
        Signs { mark: None, .. } => Err(IndexError::Corrupt("it does not say how far it has come".into())),
        Signs { mark: Some(mark), wish, .. } => Ok((mark, wish)),
    }
}
