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
#![warn(missing_docs)]

#[macro_use]
mod macros;

pub mod abi;
pub mod codec;
mod error;
pub mod frame;
pub mod hello;
pub mod model;
pub mod ops;
pub mod session;

pub use codec::Encoding;
pub use error::{Error, ErrorCode, Result};
