//! The file of a plugin: whether it may be loaded.
//!
//! A file that is pinned by its sum is not loaded itself: what was summed is ([`crate::source`]). So the bytes that were summed are
//! those that run, also when the file is overwritten while they do.

use crate::{
    guard,
    loader::LoadError,
    source::{Source, Version, sealed_copy},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

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
    /// Folders in which it has to lie, or deeper, wherever links to it are; `None` for anywhere.
    pub folders: Option<Vec<PathBuf>>,
}

/// A file that may be loaded.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) version: Version,
    /// For the dynamic loader.
    pub(crate) source: Arc<Source>,
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
        if let Some(folders) = &self.folders {
            let holds = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| full.starts_with(folder));
            if !folders.iter().any(holds) {
                return Err(LoadError::Elsewhere { path: path.to_owned(), found: full, wanted: folders.clone() });
            }
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
        let unreadable = |error: io::Error| not_loadable(error.to_string());
        let Some(wanted) = &self.sha256 else {
            let version = Version::of(&file.metadata().map_err(unreadable)?);
            let copy = || Ok(sealed_copy(&full, &head, file)?.0);
            let source = Source::of(&version, &full, copy).map_err(unreadable)?;
            return Ok(Admitted { version, source });
        };
        let (copy, found) = sealed_copy(&full, &head, file).map_err(unreadable)?;
        if !found.eq_ignore_ascii_case(wanted) {
            return Err(LoadError::OtherFile { path: path.to_owned(), found, wanted: wanted.clone() });
        }
        let version = Version::Sum(found);
        let source = Source::of(&version, &full, || Ok(copy)).map_err(unreadable)?;
        Ok(Admitted { version, source })
    }
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
}
