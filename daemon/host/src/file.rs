//! The file of a plugin: whether it may be loaded, and which bytes exactly are.
//!
//! A file that is pinned by its sum is not loaded itself: between the sum and the load somebody could write to it. It is copied
//! into memory, what was copied is sealed against any change, and its sum compared; then that is what the dynamic loader is given.
//! So the bytes that were summed are those that run, also when the file is overwritten while they do. It costs the memory of a copy,
//! and names relative to the plugin's own folder (`$ORIGIN`) mean nothing in it.

use crate::{guard, loader::LoadError};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, IntoRawFd},
    path::{Path, PathBuf},
};

/// Bytes a pinned file may have.
const MAX_PINNED_BYTES: u64 = 1 << 30;
/// Bytes of a file's head that say what it is.
const HEAD_BYTES: usize = 20;

/// What a plugin's file has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileRules {
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: Option<String>,
    /// Whether it may be one that others could replace: that belongs to, or is written to by, more than root and the user who runs
    /// this, itself or what leads to it.
    pub allow_writable: bool,
}

/// A file that may be loaded.
pub(crate) struct Admitted {
    /// For the dynamic loader.
    pub(crate) path: PathBuf,
    /// What `path` names, when it is a copy.
    copy: Option<File>,
}

impl FileRules {
    /// Looks whether the file is as it has to be. Runs no code of it.
    pub(crate) fn admit(&self, path: &Path) -> Result<Admitted, LoadError> {
        let not_loadable = |reason: String| LoadError::NotLoadable { path: path.to_owned(), reason };
        // A relative path without a slash would make the dynamic loader search its own folders.
        let mut full = path.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LoadError::NotFound { path: path.to_owned() },
            _ => not_loadable(error.to_string()),
        })?;
        if !self.allow_writable {
            full = guard::check(path).map_err(|reason| LoadError::Unguarded { path: path.to_owned(), reason })?;
        }
        if !full.is_file() {
            return Err(not_loadable("it is no file, wanted is a shared library".to_owned()));
        }
        let mut file = File::open(&full).map_err(|error| not_loadable(error.to_string()))?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let read = (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head);
        read.map_err(|error| not_loadable(error.to_string()))?;
        if let Some(found) = no_library(&head) {
            let wanted = std::env::consts::ARCH;
            return Err(not_loadable(format!("it is {found}, wanted is a shared library for {wanted}")));
        }
        let Some(wanted) = &self.sha256 else { return Ok(Admitted { path: full, copy: None }) };
        let (copy, found) = sealed_copy(&head, file).map_err(|error| not_loadable(error.to_string()))?;
        if !found.eq_ignore_ascii_case(wanted) {
            return Err(LoadError::OtherFile { path: path.to_owned(), found, wanted: wanted.clone() });
        }
        Ok(Admitted { path: format!("/proc/self/fd/{}", copy.as_raw_fd()).into(), copy: Some(copy) })
    }
}

impl Admitted {
    /// Keeps a copy for the rest of the process's life, as the library that was loaded from it: the dynamic loader knows it by its
    /// name, and the name is the number of a descriptor, which nothing else may get.
    pub(crate) fn keep(self) {
        let _ = self.copy.map(IntoRawFd::into_raw_fd);
    }
}

/// What `head`, then the rest of `file` hold, in memory where nobody can change it; and its SHA-256, hexadecimal.
fn sealed_copy(head: &[u8], file: File) -> io::Result<(File, String)> {
    let mut copy = File::from(memfd_create("plugin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    let mut sum = Sha256::new();
    let (mut source, mut bytes) = (head.chain(file), vec![0; 1 << 16]);
    let mut copied = 0;
    loop {
        let count = source.read(&mut bytes)?;
        if count == 0 {
            break;
        }
        copied += count as u64;
        if copied > MAX_PINNED_BYTES {
            return Err(io::Error::other("it is larger than the GiB that is copied where sha256 is set"));
        }
        sum.update(&bytes[..count]);
        copy.write_all(&bytes[..count])?;
    }
    fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok((copy, hex::encode(sum.finalize())))
}

/// What a file with this head is, unless it may be a shared library for this machine. The dynamic loader would tell less of it.
fn no_library(head: &[u8]) -> Option<String> {
    if head.len() < HEAD_BYTES || !head.starts_with(b"\x7fELF") {
        return Some(match head {
            [] => "empty".to_owned(),
            _ => format!("no ELF file (it begins with {:02x?})", &head[..head.len().min(4)]),
        });
    }
    let bits = u32::from(head[4]) * 32;
    if bits != usize::BITS {
        return Some(format!("an ELF file of {bits} bits"));
    }
    // Written in the order of bytes of the machine it is for.
    let number = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    let (kind, machine) = (number(16), number(18));
    match kind {
        3 => {}
        1 => return Some("an object file that was not linked".to_owned()),
        2 => return Some("a program".to_owned()),
        _ => return Some(format!("an ELF file of type {kind}")),
    }
    let ours = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        // The dynamic loader knows.
        _ => return None,
    };
    (machine != ours).then(|| format!("a library for another machine ({machine} in its head, wanted is {ours})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(class: u8, kind: u16, machine: u16) -> Vec<u8> {
        let mut head = b"\x7fELF\0\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        head[4] = class;
        head.extend(kind.to_ne_bytes());
        head.extend(machine.to_ne_bytes());
        head
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_is_no_library_for_this_machine_is_told_apart() {
        let check = |head: &[u8], expected: Option<&str>| assert_eq!(no_library(head).as_deref(), expected, "{head:?}");
        check(b"", Some("empty"));
        check(b"no", Some("no ELF file (it begins with [6e, 6f])"));
        check(b"#!/bin/sh and so on, and on", Some("no ELF file (it begins with [23, 21, 2f, 62])"));
        check(&head(1, 3, 62), Some("an ELF file of 32 bits"));
        check(&head(2, 1, 62), Some("an object file that was not linked"));
        check(&head(2, 2, 62), Some("a program"));
        check(&head(2, 3, 183), Some("a library for another machine (183 in its head, wanted is 62)"));
        check(&head(2, 3, 62), None);
    }

    #[test]
    fn a_copy_is_what_was_summed_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        let mut file = File::open(&path).unwrap();
        let mut head = [0; 2];
        file.read_exact(&mut head).unwrap();
        let (mut copy, sum) = sealed_copy(&head, file).unwrap();
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(copy.write_all(b"d").is_err() && copy.set_len(0).is_err());
        let named = format!("/proc/self/fd/{}", copy.as_raw_fd());
        assert_eq!(std::fs::read(named).unwrap(), b"abc");
    }
}
