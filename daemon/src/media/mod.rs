//! Files of messages: stored once per content, linked to by signature, fetched by a job of their own.
//!
//! Messages never wait for their files. A file is fetched into a temporary file, checked, and renamed to its final name,
//! which is its MD5 (WeCom names files so, and a content that is there already is not fetched again). MD5 is a name here,
//! not a proof: links are signed with HMAC-SHA256.

mod fetch;
mod links;
mod serve;
mod store;

pub use fetch::{FetchError, FetchOptions, Fetcher, MediaSource, MediaStream};
pub use links::{Links, file_name};
pub use serve::router;
pub use store::{Draft, MediaStore};
