//! Making the index what it must be, and taking in rows. Only for whoever feeds it.

use super::known::{Whose, fit};
use super::marks::{Life, Mark};
use super::{Inner, feeding};
use crate::error::IndexError;
use crate::index::Watermark;
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use stele_archive::FeedRow;

/// How long an index is taken to be what it must be, before it is looked at again while there is nothing to take in.
const SETTINGS_AGE: Duration = Duration::from_secs(60);

impl Inner {
    /// Makes the index what it must be, and begins it where there is none.
    pub(super) async fn prepare(&self) -> Result<(), IndexError> {
        let mut changing = self.preparing.lock().await;
        let uid = self.uid();
        match self.whose(uid, None).await? {
            Whose::Nobodys => {
                self.server.prepare(uid, &mut changing).await?;
                self.begin(uid).await?;
            }
            Whose::Ours(signs) => {
                // One that is to be replaced is not worth the work.
                fit(*signs)?;
                self.server.prepare(uid, &mut changing).await?;
            }
            // The look that follows says so.
            Whose::Unmarked => return Ok(()),
        }
        // A key that may not use it would be found out when the index must be built anew, and cannot be.
        let new = self.new_uid();
        self.server.idle(&new).await.map_err(|error| {
            IndexError::unavailable(format!(
                "the index {new:?}, which is there during a rebuild, cannot be used: {error}"
            ))
        })?;
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    pub(super) fn unprepare(&self) {
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_prepared(&self, within: Duration) -> bool {
        let prepared = *self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.is_some_and(|at| at.elapsed() < within)
    }

    /// Looks now and then whether it still is what it must be.
    pub(super) async fn keep_prepared(&self) -> Result<(), IndexError> {
        if self.is_prepared(SETTINGS_AGE) { Ok(()) } else { self.prepare().await }
    }

    /// Begins a life in an empty index.
    pub(super) async fn begin(&self, uid: &str) -> Result<Mark, IndexError> {
        let mark = Mark::begin(new_life());
        self.server.write(uid, &[self.owner.line(), Life::line(&mark.life), mark.line()]).await?;
        Ok(mark)
    }

    pub(super) async fn take_in(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), IndexError> {
        let mut queue = self.feeding.lock().await;
        let mut present = self.look().await?;
        if present.life.is_empty() || !self.is_prepared(Duration::MAX) {
            self.prepare().await?;
            present = self.look().await?;
        }
        let before = self.notes().fed.replace((present.life.clone(), present.at));
        match before {
            Some((life, _)) if life != present.life => {
                return Err(IndexError::unavailable("the index began anew: its watermark is another one"));
            }
            Some((_, at)) if at > present.at => {
                return Err(IndexError::unavailable(format!(
                    "the index went back from revision {at} to {}: what it lacks is taken in again",
                    present.at
                )));
            }
            _ => {}
        }
        if upto.rev.0 <= present.at {
            return Ok(());
        }
        let rows: Vec<FeedRow> = rows.into_iter().filter(|row| row.rev.0 > present.at).collect();
        let mark = present.moved(upto, rows.len() as u64);
        let uid = self.uid();
        let mark = feeding::Feeding { server: &self.server, uid, owner: &self.owner, queue: &mut queue }
            .take_in(rows, mark)
            .await?;
        self.notes().fed = Some((mark.life, mark.at));
        // It may have been deleted on the way, or another one have taken its place.
        self.look().await.map(drop)
    }
}

/// The name of a life: no two that were begun in different milliseconds have the same.
fn new_life() -> String {
    format!("{:016x}", uuid::Uuid::now_v7().as_u128() >> 64)
}
