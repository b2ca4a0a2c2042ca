//! That this daemon is there, said to the archive all the time; and who else is.
//!
//! # A copied id
//!
//! Who has a daemon's id has its number and gives back its leases. So two must not run under one, as they would with a data folder
//! that is a copy. Each process says its own name with each word, so each of two learns of the other. Whoever starts and finds the word
//! of another process, and not long ago, knows that one dead if it was of the same file on the same machine, whose folder only one
//! process has at a time. Else it listens for some words, and gives way to whoever goes on saying them.

use super::error::StartError;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_archive::model::Micros;
use stele_archive::{Archive, Beat, Clock, RUNNING};
use tokio::time::Instant;

/// Pause between two words where others may have the archive open, and where nobody can.
const EVERY: Duration = Duration::from_secs(5);
const EVERY_ALONE: Duration = Duration::from_secs(3600);
/// Time the archive may take to hear one.
const ANSWER: Duration = Duration::from_secs(5);
/// Time a start listens for another process of its id, and the pause between two looks: for more than two words.
const LISTEN: Duration = Duration::from_secs(12);
const LOOK: Duration = Duration::from_secs(1);
/// Time for which another process of this id is told of once it was heard.
const TOLD: Duration = Duration::from_secs(60);
/// Bytes of the name of a process that are random.
const RANDOM: usize = 8;

/// That this daemon is there, and who else is.
pub struct Presence {
    archive: Arc<dyn Archive>,
    clock: Arc<dyn Clock>,
    /// The daemon's id, and the file that has it.
    daemon: String,
    file: PathBuf,
    process: String,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// When another process of this id was heard last.
    twin: Option<Instant>,
    /// Whether there are other daemons, and files in a folder that none of them has.
    is_apart: bool,
}

impl Presence {
    /// The daemon of this id, which is in this file, and its number.
    ///
    /// # Errors
    /// [`StartError::Twin`] when another process runs under the same id.
    pub async fn announce(
        archive: Arc<dyn Archive>,
        clock: Arc<dyn Clock>,
        daemon: &str,
        file: &Path,
    ) -> Result<(Self, u16), StartError> {
        let mut random = [0; RANDOM];
        getrandom::fill(&mut random).map_err(|error| StartError::Randomness(error.into()))?;
        let place = place(file).map_err(|source| StartError::Folder { path: file.to_owned(), source })?;
        let process = format!("{place}/{}", hex::encode(random));
        let (daemon, file, heard) = (daemon.to_owned(), file.to_owned(), Mutex::default());
        let presence = Self { archive, clock, daemon, file, process, heard };
        if let Some((other, at)) = presence.say().await?.other
            && other.rsplit_once('/').is_none_or(|(of, _)| of != place)
            && presence.is_lately(at)
        {
            presence.listen().await?;
        }
        let node = presence.archive.node(&presence.daemon, presence.clock.now()).await?;
        Ok((presence, node))
    }

    async fn say(&self) -> stele_archive::Result<Beat> {
        self.archive.beat(&self.daemon, &self.process, self.clock.now()).await
    }

    fn is_lately(&self, at: Micros) -> bool {
        self.clock.now().saturating_sub(at) < RUNNING
    }

    /// Gives way to whoever goes on saying that this daemon is there.
    async fn listen(&self) -> Result<(), StartError> {
        tracing::warn!("another process was this daemon a moment ago; listening for whether it still is");
        let until = Instant::now() + LISTEN;
        while Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            if self.say().await?.other.is_some() {
                return Err(StartError::Twin { id: self.daemon.clone(), file: self.file.clone() });
            }
        }
        Ok(())
    }

    /// Goes on saying so until it is dropped. `is_shared`: whether other daemons may have the archive open; `keeps_own`: whether files
    /// are in a folder of this daemon's own.
    pub async fn go_on(&self, is_shared: bool, keeps_own: bool) {
        let every = if is_shared { EVERY } else { EVERY_ALONE };
        loop {
            tokio::time::sleep(every).await;
            match tokio::time::timeout(ANSWER, self.beat(keeps_own)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the archive did not hear that this daemon is still there"),
                Err(_) => tracing::debug!("the archive did not hear in time that this daemon is still there"),
            }
        }
    }

    async fn beat(&self, keeps_own: bool) -> stele_archive::Result<()> {
        let beat = self.say().await?;
        let has_files = keeps_own && beat.others > 0 && {
            let files = self.archive.media_totals(None).await?;
            files.pending + files.stored + files.parked > 0
        };
        let mut heard = self.heard.lock().expect("no panic happens while it is locked");
        heard.is_apart = has_files;
        if beat.other.is_some() {
            heard.twin = Some(Instant::now());
            tracing::error!(
                id = self.daemon,
                "another process runs as this daemon: the data folder of one of the two is a copy; stop that one, remove daemon.id \
                 in its data folder, and start it again"
            );
        }
        Ok(())
    }

    /// What is not well with who else is there.
    pub fn findings(&self) -> Vec<String> {
        let heard = self.heard.lock().expect("no panic happens while it is locked");
        let twin = heard.twin.filter(|at| at.elapsed() < TOLD).map(|_| {
            format!("another process runs as this daemon, {}: the daemon.id of one of the two is a copy", self.daemon)
        });
        let apart = heard.is_apart.then(|| {
            "other daemons have this archive open, and this one keeps files in a folder of its own: set media.folder to one that all share, \
             or media.store"
                .to_owned()
        });
        twin.into_iter().chain(apart).collect()
    }
}

/// Tells a file from its copies.
fn place(file: &Path) -> io::Result<String> {
    let meta = std::fs::metadata(file)?;
    // Where there is none the file alone has to do.
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    Ok(format!("{}:{}:{}", machine.trim(), meta.dev(), meta.ino()))
}
