//! Contents on disk: `<root>/ab/cd/<md5>`, written beside and renamed.

use md5::{Digest, Md5};
use std::io;
use std::path::{Path, PathBuf};
use stele_archive::Blob;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

/// Bytes at the start of a content that are looked at to tell its type.
const SNIFF_LEN: usize = 4096;
/// Folders above a content, up to and with the root of contents.
const FOLDERS: usize = 3;

/// The folder of contents.
#[derive(Clone, Debug)]
pub struct MediaStore {
    root: PathBuf,
}

impl MediaStore {
    /// Opens the folder, and forgets what an earlier process had not finished.
    pub async fn open(root: &Path) -> io::Result<Self> {
        let drafts = root.join("drafts");
        if fs::try_exists(&drafts).await? {
            fs::remove_dir_all(&drafts).await?;
        }
        fs::create_dir_all(&drafts).await?;
        Ok(Self { root: root.to_owned() })
    }

    /// Where the content of this MD5 lives. `None` when it is not the hex form of an MD5, so that a path cannot be
    /// smuggled in.
    pub fn path(&self, md5: &str) -> Option<PathBuf> {
        let is_md5 = md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_md5.then(|| self.root.join(&md5[..2]).join(&md5[2..4]).join(md5))
    }

    /// A new file to write to; gone when dropped without [`Draft::keep`].
    pub async fn draft(&self) -> io::Result<Draft> {
        let dir = self.root.join("drafts");
        let (file, path) = tokio::task::spawn_blocking(move || tempfile::NamedTempFile::new_in(dir))
            .await
            .map_err(io::Error::other)??
            .into_parts();
        Ok(Draft { file: File::from_std(file), path, md5: Md5::new(), size: 0, head: Vec::new() })
    }
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

    /// Makes it durable under its final name. A content that is there already is left as it is.
    pub async fn keep(mut self, store: &MediaStore) -> io::Result<Blob> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let md5 = self.md5();
        let path = store.path(&md5).expect("an MD5 in lower-case hex has a path");
        let folders: Vec<PathBuf> = path.ancestors().skip(1).take(FOLDERS).map(Path::to_owned).collect();
        let draft = self.path;
        tokio::task::spawn_blocking(move || -> io::Result<()> {
            let [folder, above @ ..] = &folders[..] else { unreachable!("contents live in folders") };
            let is_new = !folder.is_dir();
            std::fs::create_dir_all(folder)?;
            draft.persist(&path)?;
            std::fs::File::open(folder)?.sync_all()?;
            // A folder is as durable as its entry in the one above.
            for above in above.iter().filter(|_| is_new) {
                std::fs::File::open(above)?.sync_all()?;
            }
            Ok(())
        })
        .await
        .map_err(io::Error::other)??;
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

    #[tokio::test]
    async fn a_content_is_kept_once_under_its_md5() {
        let dir = tempfile::tempdir().unwrap();
        let store = MediaStore::open(dir.path()).await.unwrap();
        for _ in 0..2 {
            let mut draft = store.draft().await.unwrap();
            draft.write(b"hel").await.unwrap();
            draft.write(b"lo").await.unwrap();
            let blob = draft.keep(&store).await.unwrap();
            assert_eq!(blob.md5, "5d41402abc4b2a76b9719d911017c592");
            assert_eq!((blob.size, blob.extension.as_str()), (5, "txt"));
            assert_eq!(std::fs::read(store.path(&blob.md5).unwrap()).unwrap(), b"hello");
        }
        drop(store.draft().await.unwrap());
        assert_eq!(std::fs::read_dir(dir.path().join("drafts")).unwrap().count(), 0);
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

    #[tokio::test]
    async fn only_an_md5_has_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let store = MediaStore::open(dir.path()).await.unwrap();
        for bad in ["", "../../etc/passwd", "5D41402ABC4B2A76B9719D911017C592", "5d41402abc4b2a76b9719d911017c59/"] {
            assert_eq!(store.path(bad), None, "{bad}");
        }
    }
}
