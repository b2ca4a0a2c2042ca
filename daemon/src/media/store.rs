//! The store of contents: written into a file of this machine first, checked, and handed to where contents are kept.

use super::contents::{ContentStream, Contents, Found, Key};
use super::folder::Folder;
use super::owner::Owner;
use super::s3::{S3, S3Options};
use md5::{Digest, Md5};
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_archive::Blob;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

/// Bytes at the start of a content that are looked at to tell its type.
const SNIFF_LEN: usize = 4096;
/// Time the place of contents may take to say what it has, or to begin with a content.
const ANSWER: Duration = Duration::from_secs(10);
/// A draft in a shared folder that nobody has written to for so long has no writer any more.
const FORGOTTEN: Duration = Duration::from_secs(86_400);
/// Folder of drafts.
const DRAFTS: &str = "drafts";
/// Folder of what is remembered of uploads.
const UPLOADS: &str = "uploads";

/// The store of contents.
#[derive(Clone, Debug)]
pub struct MediaStore {
    drafts: PathBuf,
    contents: Arc<dyn Contents>,
    /// Whose contents they are; whoever uses the store without one knows.
    owner: Option<Arc<Owner>>,
    /// Whether the place had the owner's label, or nobody's, when that was last looked at.
    is_ours: Arc<AtomicBool>,
    /// Why the place of contents did not do what it was last asked to.
    trouble: Arc<Mutex<Option<String>>>,
}

impl MediaStore {
    /// Contents in a folder that nobody else writes to. Forgets what an earlier process had not finished.
    pub async fn open(root: &Path) -> io::Result<Self> {
        let drafts = own_drafts(root).await?;
        Ok(Self::new(drafts, Folder::new(root)))
    }

    /// Contents in a folder that several daemons write to. Forgets what one of them had not finished a day ago.
    pub async fn shared(root: &Path) -> io::Result<Self> {
        // On the disk of the contents: a rename cannot leave it.
        let drafts = root.join(DRAFTS);
        fs::create_dir_all(&drafts).await?;
        let mut entries = fs::read_dir(&drafts).await?;
        while let Some(entry) = entries.next_entry().await? {
            let age =
                entry.metadata().await.and_then(|meta| meta.modified()).map(|at| at.elapsed().unwrap_or_default());
            // One that is gone meanwhile was renamed or forgotten by another daemon.
            if age.is_ok_and(|age| age > FORGOTTEN) {
                _ = fs::remove_file(entry.path()).await;
            }
        }
        Ok(Self::new(drafts, Folder::new(root)))
    }

    /// Contents in a bucket; `folder` is one of this machine that nobody else writes to. The bucket need not answer yet.
    pub async fn bucket(folder: &Path, options: &S3Options) -> io::Result<Self> {
        let drafts = own_drafts(folder).await?;
        let uploads = folder.join(UPLOADS);
        fs::create_dir_all(&uploads).await?;
        Ok(Self::new(drafts, S3::new(options, uploads)?))
    }

    fn new(drafts: PathBuf, contents: impl Contents + 'static) -> Self {
        let (owner, is_ours, trouble) = (None, Arc::default(), Arc::default());
        Self { drafts, contents: Arc::new(contents), owner, is_ours, trouble }
    }

    /// The same for the contents of this archive alone: a place that is another's, or not where they are, does not answer.
    pub fn of(self, owner: Owner) -> Self {
        Self { owner: Some(Arc::new(owner)), ..self }
    }

    /// What is there under this MD5.
    pub async fn find(&self, md5: &str) -> io::Result<Option<Found>> {
        let Some(key) = Key::new(md5) else { return Ok(None) };
        self.noted(in_time(self.in_ours(self.contents.find(&key)))).await
    }

    /// These bytes of a content; `None` when there is none.
    pub async fn read(&self, md5: &str, range: Range<u64>) -> io::Result<Option<ContentStream>> {
        let Some(key) = Key::new(md5) else { return Ok(None) };
        self.noted(in_time(self.in_ours(self.contents.read(&key, range)))).await
    }

    /// A new file to write to; gone when dropped without [`Draft::keep`].
    pub async fn draft(&self) -> io::Result<Draft> {
        if !self.is_ours.load(Ordering::Relaxed) {
            self.noted(in_time(self.is_owned())).await?;
        }
        let dir = self.drafts.clone();
        let make = move || {
            // A share that is mounted late has none yet.
            std::fs::create_dir_all(&dir)?;
            tempfile::NamedTempFile::new_in(dir)
        };
        let (file, path) = tokio::task::spawn_blocking(make).await.map_err(io::Error::other)??.into_parts();
        Ok(Draft { file: File::from_std(file), path, md5: Md5::new(), size: 0, head: Vec::new() })
    }

    /// Whether the place of contents answers. Forgets what uploads that ended early have left there.
    pub async fn upkeep(&self) -> io::Result<()> {
        let upkeep = async {
            self.contents.upkeep().await?;
            self.is_owned().await.map(drop)
        };
        self.noted(in_time(upkeep)).await
    }

    /// Whether the place has the owner's label; `false` when it is nobody's yet.
    async fn is_owned(&self) -> io::Result<bool> {
        let looked = match &self.owner {
            Some(owner) => owner.has(&*self.contents).await,
            None => Ok(true),
        };
        self.is_ours.store(looked.is_ok(), Ordering::Relaxed);
        looked
    }

    /// What a place that is ours has. That something is not there is only believed of one that is ours then.
    async fn in_ours<T>(&self, look: impl Future<Output = io::Result<Option<T>>>) -> io::Result<Option<T>> {
        if !self.is_ours.load(Ordering::Relaxed) {
            self.is_owned().await?;
        }
        let found = look.await?;
        if found.is_none() {
            self.is_owned().await?;
        }
        Ok(found)
    }

    /// Puts a content into a place that is ours, or becomes it.
    async fn take(&self, key: &Key, file: tempfile::TempPath) -> io::Result<()> {
        if !self.is_owned().await?
            && let Some(owner) = &self.owner
        {
            owner.take(&*self.contents).await?;
        }
        self.contents.take(key, file).await
    }

    /// What is not well with the place of contents.
    pub fn finding(&self) -> Option<String> {
        let trouble = self.trouble.lock().expect("no panic happens while it is locked").clone()?;
        Some(format!("the store of files does not answer: {trouble}"))
    }

    async fn noted<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let done = work.await;
        let trouble = done.as_ref().err().map(io::Error::to_string);
        let before =
            std::mem::replace(&mut *self.trouble.lock().expect("no panic happens while it is locked"), trouble);
        match (&before, &done) {
            (None, Err(error)) => tracing::error!(%error, "the store of files does not answer"),
            (Some(_), Ok(_)) => tracing::info!("the store of files answers again"),
            _ => {}
        }
        done
    }
}

/// The folder of drafts of one daemon alone, empty.
async fn own_drafts(root: &Path) -> io::Result<PathBuf> {
    let drafts = root.join(DRAFTS);
    if fs::try_exists(&drafts).await? {
        fs::remove_dir_all(&drafts).await?;
    }
    fs::create_dir_all(&drafts).await?;
    Ok(drafts)
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", ANSWER.as_secs()));
    tokio::time::timeout(ANSWER, work).await.map_err(late)?
}

/// A content being written.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: tempfile::TempPath,
    md5: Md5,
    size: u64,
    head: Vec<u8>,
}

impl Draft {
    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Lower-case hex MD5 of what is written so far.
    pub fn md5(&self) -> String {
        hex::encode(self.md5.clone().finalize())
    }

    /// Appends a chunk.
    pub async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let room = SNIFF_LEN - self.head.len();
        self.head.extend_from_slice(&chunk[..chunk.len().min(room)]);
        self.md5.update(chunk);
        self.size += chunk.len() as u64;
        self.file.write_all(chunk).await
    }

    /// Makes it durable under its final name. A content that is there already stays the same.
    pub async fn keep(mut self, store: &MediaStore) -> io::Result<Blob> {
        self.file.flush().await?;
        let md5 = self.md5();
        let key = Key::new(&md5).expect("an MD5 in lower-case hex is a name");
        store.noted(store.take(&key, self.path)).await?;
        let (mime, extension) = sniff(&self.head);
        Ok(Blob { md5, size: self.size, mime: mime.to_owned(), extension: extension.to_owned() })
    }
}

/// Media type and usual extension of a content, by its first bytes.
fn sniff(head: &[u8]) -> (&'static str, &'static str) {
    match infer::get(head) {
        Some(found) => (found.mime_type(), found.extension()),
        None if is_text(head) => ("text/plain; charset=utf-8", "txt"),
        None => ("application/octet-stream", ""),
    }
}

/// Whether it is UTF-8; what was cut off at [`SNIFF_LEN`] may end amid a character.
fn is_text(head: &[u8]) -> bool {
    match std::str::from_utf8(head) {
        Ok(text) => !text.is_empty(),
        Err(error) => head.len() == SNIFF_LEN && error.error_len().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[tokio::test]
    async fn drafts_of_a_shared_folder_stay_until_nobody_writes_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let first = MediaStore::shared(dir.path()).await.unwrap();
        let mut draft = first.draft().await.unwrap();
        draft.write(b"hello").await.unwrap();
        let left = dir.path().join(DRAFTS).join("left");
        let old = SystemTime::now() - FORGOTTEN - Duration::from_secs(60);
        std::fs::File::create(&left).unwrap().set_modified(old).unwrap();
        let second = MediaStore::shared(dir.path()).await.unwrap();
        assert!(!left.exists());
        let blob = draft.keep(&first).await.unwrap();
        assert_eq!(second.find(&blob.md5).await.unwrap().unwrap().size, 5);
        // A folder of one's own holds no drafts but those of this process.
        let _draft = first.draft().await.unwrap();
        MediaStore::open(dir.path()).await.unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join(DRAFTS)).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_told_until_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let (root, away) = (dir.path().join("media"), dir.path().join("away"));
        let store = MediaStore::open(&root).await.unwrap();
        store.upkeep().await.unwrap();
        assert_eq!(store.finding(), None);
        std::fs::rename(&root, &away).unwrap();
        store.upkeep().await.unwrap_err();
        assert!(store.finding().is_some_and(|finding| finding.contains("No such file")));
        std::fs::rename(&away, &root).unwrap();
        store.upkeep().await.unwrap();
        assert_eq!(store.finding(), None);
    }

    #[test]
    fn text_is_told_by_its_beginning() {
        let check = |content: &[u8], extension: &str| {
            assert_eq!(sniff(&content[..content.len().min(SNIFF_LEN)]).1, extension, "{} bytes", content.len());
        };
        let chinese = "会话内容存档".repeat(1000);
        for cut in 0..4 {
            check(format!("{}{chinese}", "a".repeat(cut)).as_bytes(), "txt");
        }
        check(&chinese.as_bytes()[..100], "");
        check(&[&chinese.as_bytes()[..99], &[0xff; 5000][..]].concat(), "");
        check(b"", "");
    }
}
