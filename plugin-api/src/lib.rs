//! The frozen boundary between Stele and its plugins.
//!
//! A plugin is a shared library with one symbol. Everything else is messages: [`frame`]s that carry typed operations
//! ([`ops`]) under the rules of one [`session`] state machine, either through function calls within one process ([`abi`]) or
//! through a byte stream to a child process ([`frame::Decoder`]).
//!
//! # Evolution
//!
//! A plugin that was built once is loaded for as long as the ABI has this version, by older daemons and by newer ones. What may
//! change, and what whoever does not know it yet makes of it:
//!
//! | rule | held by |
//! |---|---|
//! | A structure of the ABI grows at its end only and says its size; one that is larger than known is read as far as it is known, a smaller one is refused. | `structures_that_grew_are_taken_and_smaller_ones_refused` |
//! | Sizes, offsets and constants are the same in Rust and in C, for ever. | `sizes_offsets_and_constants_agree` |
//! | Flags and frame kinds nobody knows are ignored; kinds are counted. | `what_is_asked_or_told_and_unknown_harms_nothing` |
//! | An operation nobody knows is answered `unsupported`, a notify nobody knows is ignored. | `what_is_asked_or_told_and_unknown_harms_nothing` |
//! | A field nobody knows is ignored, at any depth. | `unknown_fields_are_ignored` |
//! | A new field may be missing, and then means what was true before there was one; no field changes its meaning or its type. | `golden_frames_are_understood_and_still_written` |
//! | A word of an enum nobody knows is kept as it came; where it says what to do, the call is answered `invalid`. | `unknown_words_are_kept_as_they_came`, `an_order_nobody_knows_is_invalid` |
//! | A new operation, or a field of one, raises [`abi::ABI_MINOR`], which is told in hello and is no reason to refuse. | `what_is_new_raises_the_minor`, `a_newer_minor_is_no_reason_to_refuse` |
//! | What was sent once is understood for ever: golden frames of every minor, never edited. | `golden_frames_are_understood_and_still_written`, `golden_files_are_never_edited`, `what_is_new_raises_the_minor` |
//! | All of it holds in MessagePack and in JSON. | each of them |
//!
//! # The smallest plugin
//!
//! A library with `crate-type = ["cdylib"]` and this in it (`examples/smallest.rs`):
//!
//! ```no_run
#![doc = include_str!("../examples/smallest.rs")]
//! ```
//!
//! From C: `include/stele_plugin.h`.
#![warn(missing_docs)]

#[macro_use]
mod macros;

pub mod abi;
pub mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
pub mod frame;
pub mod hello;
pub mod model;
pub mod notify;
pub mod ops;
pub mod peer;
#[cfg(feature = "sdk")]
mod sdk;
pub mod session;
#[cfg(feature = "sdk")]
pub mod testing;
pub mod typed;

pub use codec::Encoding;
pub use error::{Error, ErrorCode, Mistake, Result};
pub use peer::ItemSink;
#[cfg(feature = "sdk")]
pub use sdk::{Host, Plugin, Secret, Turn, commit, entry};
