//! The frozen boundary between Stele and its plugins.
//!
//! A plugin is a shared library with one symbol. Everything else is messages: [`frame`]s that carry typed operations
//! ([`ops`]) under the rules of one [`session`] state machine, either through function calls within one process ([`abi`]) or
//! through a byte stream to a child process ([`frame::Decoder`]).
//!
//! # Evolution
//!
//! New fields are optional, unknown fields are ignored, an unknown call is answered `unsupported`, an unknown notify and an
//! unknown frame kind are ignored, open enums keep an unknown word as it came. Golden frames of every minor are kept and
//! must decode for ever.
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
