//! Which daemon this is: an id that is made once and kept in the data folder.
//!
//! By it a daemon finds the leases and the number that were its own before it was restarted. Two data folders never have the same, so
//! none may be begun as a copy of another's: see [`presence`](super::presence).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file in the data folder.
const FILE: &str = "daemon.id";
/// Bytes of an id that is made here.
const BYTES: usize = 8;
/// Longest id.
const MAX: usize = 64;

/// Why it is not known which daemon this is.
#[derive(Debug, thiserror::Error)]
#[error("the id of this daemon, {}, cannot be had: {source}", path.display())]
pub struct IdentityError {
    /// The file.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// The file of the id in a data folder.
pub fn file_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// The id of the daemon of this data folder, which the caller holds.
pub fn of(folder: &Path) -> Result<String, IdentityError> {
    let path = file_in(folder);
    let id = match fs::read_to_string(&path) {
        Ok(text) => check(text.trim()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, &path),
        Err(error) => Err(error),
    };
    id.map_err(|source| IdentityError { path, source })
}

fn check(text: &str) -> io::Result<String> {
    let is_id =
        (1..=MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match is_id {
        true => Ok(text.to_owned()),
        false => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no id; without the file another one is made"))
        }
    }
}

fn make(folder: &Path, path: &Path) -> io::Result<String> {
    let mut random = [0; BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let id = hex::encode(random);
    // Whole or not at all, and still there after a power cut: another id would be another daemon.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{id}")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = of(one.path()).unwrap();
        assert_eq!(of(one.path()).unwrap(), id);
        assert_ne!(of(two.path()).unwrap(), id);
        fs::write(one.path().join(FILE), "no id\n").unwrap();
        let error = of(one.path()).unwrap_err().to_string();
        assert!(error.contains("daemon.id") && error.contains("holds no id"), "{error}");
    }
}
