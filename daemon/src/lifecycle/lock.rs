//! One daemon per data folder.

use rustix::fs::{FlockOperation, flock};
use rustix::process::Uid;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Name of the lock in the data folder.
const FILE: &str = "steled.lock";
/// Longest content of the lock file that is read, in bytes.
const MAX_CONTENT: u64 = 512;

/// Why the folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the data folder {} is in use by {}", folder.display(), owner(*pid))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The other process, as it wrote itself down.
        pid: Option<u32>,
        /// Where its own API listens.
        admin: Option<std::net::SocketAddr>,
    },
    /// It belongs to somebody else, and this process may do everything: what it wrote they could not write any more.
    #[error(
        "the data folder {} belongs to user {owner}: run this as that user (sudo -u '#{owner}' …), so that all in it \
         stays theirs",
        folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The folder cannot be used.
    #[error("the data folder {} cannot be used: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Whose the folder is when it is not this user's, and this user may do everything.
fn foreign_owner(folder: &Path, user: Uid) -> io::Result<Option<u32>> {
    let owner = fs::metadata(folder)?.uid();
    Ok((user.is_root() && owner != user.as_raw()).then_some(owner))
}

/// Refuses a folder in which this process would leave files that its owner cannot write.
pub fn refuse_foreign(folder: &Path) -> Result<(), LockError> {
    match foreign_owner(folder, rustix::process::geteuid()) {
        Ok(None) => Ok(()),
        Ok(Some(owner)) => Err(LockError::Foreign { folder: folder.to_owned(), owner }),
        Err(source) => Err(LockError::Folder { folder: folder.to_owned(), source }),
    }
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// The data folder, held. Released when dropped, also by a crash: the kernel does it.
#[derive(Debug)]
pub struct DataLock {
    file: File,
}

impl DataLock {
    /// Makes the folder when it is not there, and holds it.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        Self::acquire_as(folder, rustix::process::geteuid())
    }

    fn acquire_as(folder: &Path, user: Uid) -> Result<Self, LockError> {
        let unusable = |source| LockError::Folder { folder: folder.to_owned(), source };
        // What people write is for nobody else on this machine. A folder that is there keeps its rights.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        let owner = foreign_owner(folder, user).map_err(unusable)?;
        let refused = || owner.map(|owner| LockError::Foreign { folder: folder.to_owned(), owner });
        let mut options = OpenOptions::new();
        // A daemon that runs can be asked by anybody, so its lock is looked for in any case.
        let opened = options.create(owner.is_none()).truncate(false).read(true).write(true).open(folder.join(FILE));
        let mut file = opened.map_err(|error| match (error.kind(), refused()) {
            (io::ErrorKind::NotFound, Some(refused)) => refused,
            _ => unusable(error),
        })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                if let Some(refused) = refused() {
                    return Err(refused);
                }
                let mut lock = Self { file };
                lock.write_down(None).map_err(unusable)?;
                Ok(lock)
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // What it wrote is a courtesy; that it holds the lock is what counts.
                let _ = (&mut file).take(MAX_CONTENT).read_to_string(&mut text);
                let mut words = text.split_whitespace();
                let pid = words.next().and_then(|word| word.parse().ok());
                let admin = words.next().and_then(|word| word.parse().ok());
                Err(LockError::InUse { folder: folder.to_owned(), pid, admin })
            }
            Err(error) => Err(unusable(error.into())),
        }
    }

    /// Writes down who holds it, and where the holder's own API listens.
    pub fn write_down(&mut self, admin: Option<std::net::SocketAddr>) -> io::Result<()> {
        let admin = admin.map(|admin| format!(" {admin}")).unwrap_or_default();
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}{admin}", std::process::id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_says_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/data");
        let mut first = DataLock::acquire(&path).unwrap();
        first.write_down(Some("127.0.0.1:9090".parse().unwrap())).unwrap();
        let refused = DataLock::acquire(&path).unwrap_err();
        assert!(refused.to_string().ends_with(&format!("is in use by process {}", std::process::id())), "{refused}");
        assert!(matches!(refused, LockError::InUse { admin: Some(admin), .. } if admin.port() == 9090));
        drop(first);
        DataLock::acquire(&path).unwrap();
    }

    #[test]
    fn root_leaves_no_files_in_a_folder_of_another_user() {
        let folder = tempfile::tempdir().unwrap();
        // Without the right to give it away it is another user's than root's already.
        let _ = std::os::unix::fs::chown(folder.path(), Some(4711), None);
        let owner = fs::metadata(folder.path()).unwrap().uid();
        let refused = DataLock::acquire_as(folder.path(), Uid::ROOT).unwrap_err();
        assert!(refused.to_string().contains(&format!("belongs to user {owner}: run this as that user")), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // The daemon that has it can be asked.
        let held = DataLock::acquire_as(folder.path(), Uid::from_raw(owner)).unwrap();
        let refused = DataLock::acquire_as(folder.path(), Uid::ROOT).unwrap_err();
        assert!(matches!(refused, LockError::InUse { .. }), "{refused}");
        drop(held);
        let refused = DataLock::acquire_as(folder.path(), Uid::ROOT).unwrap_err();
        assert!(matches!(refused, LockError::Foreign { .. }), "{refused}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let refused = DataLock::acquire(Path::new("/dev/null/x")).unwrap_err();
        assert!(refused.to_string().starts_with("the data folder /dev/null/x cannot be used: "), "{refused}");
    }
}
