//! Loads a plugin's library. The only module of the daemon's side with `unsafe` code.
//!
//! A library is never unloaded: a plugin may have threads, thread-local destructors and buffers of ours still to release,
//! and no order of unloading is safe for all of them. A new version of a plugin is loaded by a new process instead, and in-process
//! beside the old one ([`crate::source`]).
//!
//! What the descriptor must say is checked by [`stele_plugin_api::abi::Descriptor`], which also keeps the rules of ownership
//! while frames cross.

#![allow(unsafe_code)]

use crate::{
    file::{Admitted, FileRules},
    source::Source,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::path::{Path, PathBuf};
use stele_plugin_api::abi::{AbiError, Descriptor, EntryPoint, SYMBOL};

/// Why a file cannot be used as a plugin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file.
    #[error("plugin {path:?} does not exist")]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read, or the dynamic loader refuses it: half of it is missing, or something it needs.
    #[error("plugin {path:?} cannot be loaded: {reason}")]
    NotLoadable {
        /// The file.
        path: PathBuf,
        /// The system's words, or the dynamic loader's.
        reason: String,
    },
    /// It is no library, or one for another machine.
    #[error(
        "plugin {path:?} cannot be loaded: it is {found}, wanted is a shared library for {}",
        std::env::consts::ARCH
    )]
    NoLibrary {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// Others could put another file in its place.
    #[error("plugin {path:?} is not loaded: {reason} (plugins.allow_writable = true would load it)")]
    Unguarded {
        /// The file.
        path: PathBuf,
        /// What could be replaced and by whom, and what is wanted.
        reason: String,
    },
    /// It is not where plugins are to be.
    #[error("plugin {path:?} is not loaded: it is {found:?}, and is wanted in {} (plugins.dirs names the folders)", shown(.wanted))]
    Elsewhere {
        /// The file.
        path: PathBuf,
        /// Where it really is.
        found: PathBuf,
        /// Folders it has to lie in.
        wanted: Vec<PathBuf>,
    },
    /// It is not the one that is pinned.
    #[error("plugin {path:?} is not the one that is pinned: its SHA-256 is {found}, and sha256 wants {wanted}")]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// Its sum.
        found: String,
        /// The sum it has to have.
        wanted: String,
    },
    /// A library that lacks the one symbol.
    #[error(
        "{path:?} is a library but no plugin: it does not export `stele_plugin_v1`, which `export_plugin!` defines in Rust, and what \
         `STELE_BUILDING_PLUGIN` before the header makes visible in C"
    )]
    NotAPlugin {
        /// The file.
        path: PathBuf,
    },
    /// A plugin whose descriptor is wrong or of another ABI.
    #[error("plugin {path:?} does not fit: {reason}")]
    Descriptor {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: AbiError,
    },
}

fn shown(folders: &[PathBuf]) -> String {
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    if folders.is_empty() { "no folder at all".to_owned() } else { folders.join(" or ") }
}

impl LoadError {
    /// Whether it may be otherwise in a moment, though nobody mends it: a file that is just being installed, a machine that has nothing
    /// left, a plugin that could not open.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::NotLoadable { .. } => true,
            Self::Descriptor { reason, .. } => matches!(reason, AbiError::Open(_)),
            Self::NoLibrary { .. }
            | Self::Unguarded { .. }
            | Self::Elsewhere { .. }
            | Self::OtherFile { .. }
            | Self::NotAPlugin { .. } => false,
        }
    }

    pub(crate) fn at(path: &Path, reason: AbiError) -> Self {
        Self::Descriptor { path: path.to_owned(), reason }
    }
}

/// Loads the plugin at `path`, as the file is now, for the rest of the process's life, if it is as `rules` has it, and checks its
/// descriptor.
///
/// Loading runs the library's constructors, in this process: do it for plugins that are trusted to run here.
///
/// # Errors
///
/// [`LoadError`], each with the path and what a person can do about it.
pub fn load(path: &Path, rules: &FileRules) -> Result<Descriptor, LoadError> {
    let Admitted { version, source } = rules.admit(path)?;
    // SAFETY: constructors of the library run here. The path comes from the configuration, whose author decides what code
    // runs as a plugin; RTLD_LOCAL keeps its symbols from replacing anybody else's, RTLD_NOW reports missing ones here
    // instead of killing the process at first use.
    let library = unsafe { Library::open(Some(&source.name), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        Source::forget(&version);
        LoadError::NotLoadable { path: path.to_owned(), reason: loader_words(&error) }
    })?;
    // SAFETY: the name carries the ABI's version, so that a library that exports it means a function of this type; the
    // pointer is copied out and stays valid because the library is leaked below before anybody calls it.
    let entry = unsafe { library.get::<EntryPoint>(SYMBOL) }.map(|symbol| *symbol);
    // Never unloaded, even when it turns out to be no plugin: its constructors have run.
    let _ = library.into_raw();
    let Ok(entry) = entry else { return Err(LoadError::NotAPlugin { path: path.to_owned() }) };
    // SAFETY: `entry` is the symbol of a library that is never unloaded.
    unsafe { Descriptor::load(entry) }.map_err(|reason| LoadError::at(path, reason))
}

/// What the dynamic loader said, without libloading's own frame around it.
fn loader_words(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
