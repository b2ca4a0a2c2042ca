//! Contents in a folder, of this machine or shared: `<root>/ab/cd/<md5>`, written beside and renamed.

use super::contents::{ContentStream, Contents, Found, Key};
use super::owner::{LABEL, MAX_LABEL};
use async_trait::async_trait;
use futures::StreamExt;
use std::fs::Permissions;
use std::io::{self, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
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

    async fn label(&self) -> io::Result<Option<String>> {
        let Some(file) = there(File::open(self.root.join(LABEL)).await)? else { return Ok(None) };
        let mut label = String::new();
        file.take(MAX_LABEL).read_to_string(&mut label).await?;
        Ok(Some(label))
    }

    async fn put_label(&self, label: &str) -> io::Result<()> {
        let (root, label) = (self.root.clone(), format!("{label}\n"));
        let put = tokio::task::spawn_blocking(move || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&root)?;
            file.write_all(label.as_bytes())?;
            // For whoever is to copy it, and other daemons' users, as contents are.
            file.as_file().set_permissions(Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(root.join(LABEL))?;
            std::fs::File::open(&root)?.sync_all()
        });
        put.await.map_err(io::Error::other)?
    }

    async fn is_empty(&self) -> io::Result<bool> {
        let mut entries = fs::read_dir(&self.root).await?;
        while let Some(entry) = entries.next_entry().await? {
            if entry.file_name().to_str().is_some_and(is_first_folder) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn upkeep(&self) -> io::Result<()> {
        fs::metadata(&self.root).await.map(|_| ())
    }
}

/// Whether contents are under a name: those of folders begin with two digits of their sum.
fn is_first_folder(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `None` for what is not there.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
