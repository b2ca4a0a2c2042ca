//! Why a library is no plugin: what was found, what is wanted, and where.

use super::{ABI, MAGIC, MAX_TEXT, OPEN_FAILED, OPEN_INVALID, OPEN_OK, SteleDescriptor};
use std::fmt;

/// Why a library is no plugin of this ABI, or could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbiError {
    /// The symbol returned null.
    Null,
    /// The descriptor does not begin with [`MAGIC`].
    Magic(u32),
    /// The descriptor is of another version.
    Version(u16),
    /// The descriptor is smaller than version 1's.
    Size(usize),
    /// The name or the version is no text that can be used.
    Text(&'static str, TextFault),
    /// This function of the descriptor is null.
    Missing(&'static str),
    /// `open` returned this instead of 0.
    Open(i32),
    /// `open` returned 0 and filled in nothing that can be posted to.
    Peer,
}

/// What is wrong with a text of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFault {
    /// It is null.
    Null,
    /// It has no bytes.
    Empty,
    /// It is not UTF-8.
    NotUtf8,
    /// It does not end in time.
    TooLong,
}

impl fmt::Display for AbiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(
                f,
                "the library returned no descriptor, but null: `stele_plugin_v1` has to return the address of its `stele_descriptor`"
            ),
            Self::Magic(found) => write!(
                f,
                "the descriptor begins with {found:#010x} instead of {MAGIC:#010x}: its `magic` has to be `STELE_MAGIC`"
            ),
            Self::Version(found) => write!(
                f,
                "the plugin speaks ABI {found}, this program speaks ABI {ABI}: it has to be built with the `STELE_ABI` of this program's header"
            ),
            Self::Size(found) => write!(
                f,
                "the descriptor has {found} bytes, ABI {ABI} needs {}: its `size` has to be `sizeof(stele_descriptor)`",
                size_of::<SteleDescriptor>()
            ),
            Self::Text(what, fault) => write!(
                f,
                "the descriptor has no usable {what}: it {fault}, and has to be UTF-8 of 1 to {MAX_TEXT} bytes with a zero behind it"
            ),
            Self::Missing(what) => write!(f, "the descriptor has no `{what}`, but null: it has to be a function"),
            Self::Open(code) => {
                let meaning = match *code {
                    OPEN_INVALID => "`STELE_OPEN_INVALID`: it cannot use what it was given",
                    OPEN_FAILED => "`STELE_OPEN_FAILED`: something failed within it, which it may have printed",
                    _ => "which means what its author says",
                };
                write!(
                    f,
                    "the plugin refused to open with code {code} ({meaning}), and {OPEN_OK} (`STELE_OPEN_OK`) is wanted"
                )
            }
            Self::Peer => write!(
                f,
                "the plugin has no usable post function: its `open` returned 0 without `size` and `post` of the peer it has to fill in"
            ),
        }
    }
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "is null",
            Self::Empty => "is empty",
            Self::NotUtf8 => "is not UTF-8",
            Self::TooLong => "is longer",
        })
    }
}

impl std::error::Error for AbiError {}
