//! The Stele daemon.

pub mod jobs;
pub mod media;
