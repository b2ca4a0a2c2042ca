//! What a place of contents does, whatever it is, and the names contents have there.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::fmt;
use std::io;
use std::ops::Range;
use std::time::SystemTime;

/// A content as it comes.
pub type ContentStream = BoxStream<'static, io::Result<Bytes>>;

/// A content that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its size in bytes.
    pub size: u64,
    /// When it was put there.
    pub modified: SystemTime,
}

/// The name of a content: its MD5 in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// `None` when it is not the hex form of an MD5, so that a path cannot be smuggled in.
    pub fn new(md5: &str) -> Option<Self> {
        let is_md5 = md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_md5.then(|| Self(md5.to_owned()))
    }

    /// The MD5.
    pub fn md5(&self) -> &str {
        &self.0
    }

    /// Where it lies, the same in every place, so that any tool copies contents from one to another.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", &self.0[..2], &self.0[2..4], self.0)
    }
}

/// A place of contents. Whoever finds a content finds all of it: nothing is seen before it is whole. Several daemons may
/// share one, and store the same content at the same time.
///
/// # Errors
///
/// Every operation fails when the place does not answer; what was asked may be asked again.
#[async_trait]
pub trait Contents: Send + Sync + fmt::Debug {
    /// What is there under this name.
    async fn find(&self, key: &Key) -> io::Result<Option<Found>>;

    /// These bytes of it; `None` when there is none. Whoever drops the stream ends the transfer.
    async fn read(&self, key: &Key, range: Range<u64>) -> io::Result<Option<ContentStream>>;

    /// Takes in a file that is whole and has this MD5. When it returns the content is durable.
    async fn take(&self, key: &Key, file: tempfile::TempPath) -> io::Result<()>;

    /// Whose it is, as far as that was written there.
    async fn label(&self) -> io::Result<Option<String>>;

    /// Writes that there, durably.
    async fn put_label(&self, label: &str) -> io::Result<()>;

    /// Whether there is no content.
    async fn is_empty(&self) -> io::Result<bool>;

    /// Whether it answers. Forgets what uploads that ended early have left.
    async fn upkeep(&self) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_md5_is_a_name() {
        for bad in ["", "../../etc/passwd", "5D41402ABC4B2A76B9719D911017C592", "5d41402abc4b2a76b9719d911017c59/"] {
            assert_eq!(Key::new(bad), None, "{bad}");
        }
        let key = Key::new("5d41402abc4b2a76b9719d911017c592").unwrap();
        assert_eq!(key.path(), "5d/41/5d41402abc4b2a76b9719d911017c592");
    }
}
