//! What is wished for an index that several daemons share: that whoever feeds it builds it anew.
//!
//! A wish is a document of the index, so it outlives whoever wishes and whoever feeds. It names the life that is to be replaced: two
//! daemons that find the same fault wish for the same, and where the index began anew already the wish is void.

use super::marks::{Mark, Wish};
use super::{FRESH, Inner};
use crate::error::IndexError;
use crate::index::Wished;
use std::sync::Weak;
use stele_archive::Rev;

/// Why an index is built anew that nobody found to be wrong.
const ASKED: &str = "somebody asked for it";

/// Writes down what this daemon has condemned, until it is there.
pub async fn keep_wishing(index: Weak<Inner>) {
    loop {
        tokio::time::sleep(FRESH).await;
        let Some(inner) = index.upgrade() else { return };
        if let Some(wish) = inner.unwritten()
            && let Err(error) = inner.write_wish(&wish).await
        {
            tracing::debug!(%error, "that the search index is wrong could not be written down; that is tried again");
        }
    }
}

impl Inner {
    pub(super) fn condemn(&self, reason: &str) {
        let life = self.known().as_ref().map(|known| known.mark.life.clone()).filter(|life| !life.is_empty());
        // Whoever feeds it sees by itself when there is nothing that could be wrong.
        let Some(life) = life else { return };
        self.notes().condemned.get_or_insert_with(|| Wish::new(&life, reason, false));
    }

    /// Why the index is to be built anew, if it is.
    pub(super) fn condemned(&self) -> Option<String> {
        let own = self.notes().condemned.as_ref().map(|wish| wish.reason.clone());
        own.or_else(|| self.wish().filter(|wish| wish.declined.is_none()).map(|wish| wish.reason))
    }

    /// What is wished for the life the index is in, as far as is known.
    fn wish(&self) -> Option<Wish> {
        let known = self.known();
        let known = known.as_ref()?;
        known.wish.clone().filter(|wish| wish.life == known.mark.life)
    }

    fn unwritten(&self) -> Option<Wish> {
        let condemned = self.notes().condemned.clone()?;
        let is_there = self.wish().is_some_and(|wish| !wish.asked);
        let is_in_place = self.fresh().is_some_and(|mark| mark.life == condemned.life);
        (is_in_place && !is_there).then_some(condemned)
    }

    async fn write_wish(&self, wish: &Wish) -> Result<(), IndexError> {
        self.server.write(self.uid(), &[self.owner.line(), wish.line()]).await?;
        self.look().await.map(drop)
    }

    /// The mark of the index in use; one that has to begin anew holds nothing.
    async fn sound(&self) -> Result<Mark, IndexError> {
        match self.look().await {
            Err(IndexError::Corrupt(_)) => Ok(Mark::default()),
            seen => seen,
        }
    }

    /// Wishes; returns the life that is to be replaced.
    pub(super) async fn ask_for_another(&self) -> Result<String, IndexError> {
        let life = self.sound().await?.life;
        if life.is_empty() {
            // Whoever feeds it makes one.
            return Ok(life);
        }
        self.beside().await?;
        if self.wish().is_none_or(|wish| wish.declined.is_some()) {
            self.write_wish(&Wish::new(&life, ASKED, true)).await?;
        }
        Ok(life)
    }

    /// What has become of the wish that this life be replaced.
    pub(super) async fn wished(&self, life: &str) -> Result<Wished, IndexError> {
        let mark = self.sound().await?;
        if mark.life != life {
            return Ok(Wished::Replaced { rev: Rev(mark.at), rows: mark.documents });
        }
        if life.is_empty() {
            return Ok(Wished::Waiting);
        }
        match self.wish() {
            Some(Wish { declined: Some(reason), .. }) => return Ok(Wished::Declined(reason)),
            Some(_) => {}
            // A wish that somebody had for the life before was written over it.
            None => self.write_wish(&Wish::new(life, ASKED, true)).await?,
        }
        Ok(self
            .beside()
            .await?
            .mark
            .map_or(Wished::Waiting, |mark| Wished::Building { rev: Rev(mark.at), rows: mark.documents }))
    }

    /// Says why what was asked for cannot be done.
    pub(super) async fn decline(&self, reason: &str) -> Result<(), IndexError> {
        match self.wish() {
            Some(wish) if wish.asked && wish.declined.is_none() => self.write_wish(&wish.declined(reason)).await,
            _ => Ok(()),
        }
    }
}
