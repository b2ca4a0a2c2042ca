//! The frozen boundary between Stele and its plugins.
#![warn(missing_docs)]

#[macro_use]
mod macros;

mod error;
pub mod model;
pub mod ops;

pub use error::{Error, ErrorCode, Result};
