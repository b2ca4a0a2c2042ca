//! Contents in a folder, of this machine or shared: `<root>/ab/cd/<md5>`, written beside and renamed.

use super::contents::{ContentStream, Contents, Found, Key};
use async_trait::async_trait;
use futures::StreamExt;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Folders above a content, up to and with the root of contents.
const FOLDERS: usize = 3;
/// Bytes read at a time.
const STEP: usize = 64 << 10;

/// A folder of contents.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder `root`, which is there.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.path())
    }
}

#[async_trait]
impl Contents for Folder {
    async fn find(&self, key: &Key) -> io::Result<Option<Found>> {
        let Some(meta) = there(fs::metadata(self.path(key)).await)? else { return Ok(None) };
        Ok(Some(Found { size: meta.len(), modified: meta.modified()? }))
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> io::Result<Option<ContentStream>> {
        let Some(mut file) = there(File::open(self.path(key)).await)? else { return Ok(None) };
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start)).await?;
        }
        let part = file.take(range.end.saturating_sub(range.start));
        Ok(Some(ReaderStream::with_capacity(part, STEP).boxed()))
    }

    async fn take(&self, key: &Key, file: tempfile::TempPath) -> io::Result<()> {
        let path = self.path(key);
        let folders: Vec<PathBuf> = path.ancestors().skip(1).take(FOLDERS).map(Path::to_owned).collect();
        let taken = tokio::task::spawn_blocking(move || -> io::Result<()> {
            let [folder, above @ ..] = &folders[..] else { unreachable!("contents live in folders") };
            let is_new = !folder.is_dir();
            std::fs::create_dir_all(folder)?;
            std::fs::File::open(&file)?.sync_all()?;
            file.persist(&path)?;
            std::fs::File::open(folder)?.sync_all()?;
            // A folder is as durable as its entry in the one above.
            for above in above.iter().filter(|_| is_new) {
                std::fs::File::open(above)?.sync_all()?;
            }
            Ok(())
        });
        taken.await.map_err(io::Error::other)?
    }

    async fn upkeep(&self) -> io::Result<()> {
        fs::metadata(&self.root).await.map(|_| ())
    }
}

/// `None` for what is not there.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
