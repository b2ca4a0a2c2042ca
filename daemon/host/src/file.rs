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
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes of a file's head that say what it is: the header of ELF, 64 bits.
const HEAD_BYTES: usize = 64;
/// Bytes of a program header, and the type of one whose part of the file is loaded.
const PROGRAM_HEADER_BYTES: u16 = 56;
const LOAD: u64 = 1;
/// What a library begins with.
const MAGIC: &[u8] = b"\x7fELF";

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
        let unreadable = |error: io::Error| not_loadable(error.to_string());
        let no_library = |found: &str| LoadError::NoLibrary { path: path.to_owned(), found: found.to_owned() };
        // A relative path without a slash would make the dynamic loader search its own folders.
        let mut full = path.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LoadError::NotFound { path: path.to_owned() },
            _ => unreadable(error),
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
            return Err(no_library("no file"));
        }
        let mut file = File::open(&full).map_err(unreadable)?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(unreadable)?;
        let too_short = |bytes| not_loadable(format!("it has only {bytes} bytes, as if it were being written"));
        if head.len() < HEAD_BYTES && (head.starts_with(MAGIC) || MAGIC.starts_with(&head)) {
            return Err(too_short(head.len() as u64));
        }
        if let Some(found) = told_apart(&head) {
            return Err(no_library(&found));
        }
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.len() < loaded_bytes(&head, &file).map_err(unreadable)? {
            return Err(too_short(metadata.len()));
        }
        let Some(wanted) = &self.sha256 else {
            let version = Version::of(&metadata);
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
fn told_apart(head: &[u8]) -> Option<String> {
    if head.len() < HEAD_BYTES || !head.starts_with(MAGIC) {
        return Some(format!("no ELF file (it begins with {:02x?})", &head[..head.len().min(MAGIC.len())]));
    }
    let bits = u32::from(head[4]) * 32;
    if bits != usize::BITS {
        return Some(format!("an ELF file of {bits} bits"));
    }
    let (kind, machine) = (number(head, 16, 2), number(head, 18, 2));
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

/// Bytes a library with this head has at least. What it lacks of them the dynamic loader would not miss until it is touched, which ends
/// the process.
fn loaded_bytes(head: &[u8], file: &File) -> io::Result<u64> {
    if usize::BITS != 64 || number(head, 54, 2) != u64::from(PROGRAM_HEADER_BYTES) {
        // The dynamic loader knows.
        return Ok(0);
    }
    let (at, count) = (number(head, 32, 8), number(head, 56, 2));
    let mut headers = vec![0; usize::from(PROGRAM_HEADER_BYTES) * count as usize];
    let table_ends = at.saturating_add(headers.len() as u64);
    match file.read_exact_at(&mut headers, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(table_ends),
        read => read?,
    }
    let loaded = headers.chunks(PROGRAM_HEADER_BYTES.into()).filter(|header| number(header, 0, 4) == LOAD);
    let ends = loaded.map(|header| number(header, 8, 8).saturating_add(number(header, 32, 8)));
    Ok(ends.max().unwrap_or(0).max(table_ends))
}

/// A number of ELF, written in the order of bytes of the machine it is for: this one.
fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    let mut number = [0; 8];
    let place = if cfg!(target_endian = "little") { 0 } else { 8 - width };
    number[place..place + width].copy_from_slice(&bytes[at..at + width]);
    u64::from_ne_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(class: u8, kind: u16, machine: u16) -> Vec<u8> {
        let mut head = b"\x7fELF\0\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        head[4] = class;
        head.extend(kind.to_ne_bytes());
        head.extend(machine.to_ne_bytes());
        head.resize(HEAD_BYTES, 0);
        head
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_is_no_library_for_this_machine_is_told_apart() {
        let check = |head: &[u8], expected: Option<&str>| assert_eq!(told_apart(head).as_deref(), expected, "{head:?}");
        check(b"no", Some("no ELF file (it begins with [6e, 6f])"));
        check(b"#!/bin/sh and so on, and on", Some("no ELF file (it begins with [23, 21, 2f, 62])"));
        check(&head(1, 3, 62), Some("an ELF file of 32 bits"));
        check(&head(2, 1, 62), Some("an object file that was not linked"));
        check(&head(2, 2, 62), Some("a program"));
        check(&head(2, 3, 183), Some("a library for another machine (183 in its head, wanted is 62)"));
        check(&head(2, 3, 62), None);
    }
}
