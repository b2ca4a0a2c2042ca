//! Which bytes the dynamic loader is given, and by which name.
//!
//! It knows a library by the name it was given, and by its inode: asked for a file that was replaced, it hands out what it has loaded
//! under that name before. So the first version of a file that this process loads is loaded by its path, as a debugger, `$ORIGIN` and
//! shared pages want it. Every further one is copied into memory, sealed against any change, and loaded from there, under a name of its
//! own; and so is a file that is pinned by its sum, since between the sum and the load somebody could write to it. A copy costs its
//! memory, and names relative to the plugin's own folder (`$ORIGIN`) mean nothing in it.
//!
//! Libraries are never unloaded, so each version stays, and its copy with it, as long as the process lives. None is loaded twice.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes a file may have that is copied.
const MAX_COPIED_BYTES: u64 = 1 << 30;
/// Characters of a file's name that its copy shows in `/proc/PID/maps`.
const MAX_LABEL: usize = 60;

/// What tells the bytes of a file from all others that were loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// SHA-256, hexadecimal.
    Sum(String),
    /// Device, inode, size, and when it was written to and changed: seconds and nanoseconds.
    File { device: u64, inode: u64, size: u64, written: (i64, i64), changed: (i64, i64) },
}

impl Version {
    pub(crate) fn of(file: &Metadata) -> Self {
        Self::File {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            written: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// What was loaded, or is about to be.
static LOADED: Mutex<BTreeMap<Version, Arc<Source>>> = Mutex::new(BTreeMap::new());

/// A library for the dynamic loader.
#[derive(Debug)]
pub(crate) struct Source {
    /// What it is asked for.
    pub(crate) name: PathBuf,
    /// What the name means, where it is a copy. The name is the number of a descriptor, which nothing else may get.
    _copy: Option<File>,
}

impl Source {
    /// The one for this version of the file at `path`; `copy` makes a copy, where there has to be one.
    pub(crate) fn of(version: &Version, path: &Path, copy: impl FnOnce() -> io::Result<File>) -> io::Result<Arc<Self>> {
        let mut loaded = lock();
        if let Some(known) = loaded.get(version) {
            return Ok(known.clone());
        }
        let is_taken = loaded.values().any(|source| source.name == path);
        let copy = if is_taken || matches!(version, Version::Sum(_)) { Some(copy()?) } else { None };
        let name = copy.as_ref().map_or_else(|| path.to_owned(), name_of);
        let source = Arc::new(Self { name, _copy: copy });
        loaded.insert(version.clone(), source.clone());
        Ok(source)
    }

    /// It was not loaded after all.
    pub(crate) fn forget(version: &Version) {
        lock().remove(version);
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<Version, Arc<Source>>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name of an open file, for this process.
fn name_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// What `head`, then the rest of `file` hold, in memory where nobody can change it; and its SHA-256, hexadecimal.
pub(crate) fn sealed_copy(path: &Path, head: &[u8], file: File) -> io::Result<(File, String)> {
    let label: String = path.file_name().unwrap_or_default().to_string_lossy().chars().take(MAX_LABEL).collect();
    let mut copy = File::from(memfd_create(label.as_str(), MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    let mut sum = Sha256::new();
    let (mut source, mut bytes) = (head.chain(file), vec![0; 1 << 16]);
    let mut copied = 0;
    loop {
        let count = source.read(&mut bytes)?;
        if count == 0 {
            break;
        }
        copied += count as u64;
        if copied > MAX_COPIED_BYTES {
            return Err(io::Error::other("it is larger than the GiB that is copied"));
        }
        sum.update(&bytes[..count]);
        copy.write_all(&bytes[..count])?;
    }
    fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok((copy, hex::encode(sum.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_what_was_summed_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        let mut file = File::open(&path).unwrap();
        let mut head = [0; 2];
        file.read_exact(&mut head).unwrap();
        let (mut copy, sum) = sealed_copy(&path, &head, file).unwrap();
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(copy.write_all(b"d").is_err() && copy.set_len(0).is_err());
        assert_eq!(std::fs::read(name_of(&copy)).unwrap(), b"abc");
    }

    #[test]
    fn each_version_has_a_name_of_its_own_and_the_first_one_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin.so");
        let source = |text: &str| {
            std::fs::write(path.with_extension("draft"), text).unwrap();
            std::fs::rename(path.with_extension("draft"), &path).unwrap();
            again(&path)
        };
        let first = source("first");
        assert_eq!((&first.name, &again(&path).name), (&path, &path));
        let second = source("second");
        assert_eq!(std::fs::read_to_string(&second.name).unwrap(), "second");
        assert!(second.name != path && Arc::ptr_eq(&second, &again(&path)), "it is copied once");
        // What could not be loaded is not what the dynamic loader knows by that name.
        Source::forget(&Version::of(&path.metadata().unwrap()));
        assert!(!Arc::ptr_eq(&second, &again(&path)));
    }

    fn again(path: &Path) -> Arc<Source> {
        let file = File::open(path).unwrap();
        let version = Version::of(&file.metadata().unwrap());
        Source::of(&version, path, || Ok(sealed_copy(path, &[], file)?.0)).unwrap()
    }
}
