//! What holds whatever bytes a peer sends: the bodies of the fuzz targets.
//!
//! Each takes the bytes of a stream as a child process sends them, so that the golden frames are a corpus of all three.

pub mod frames;
pub mod golden;
pub mod payloads;
pub mod session;
