//! Files of messages: stored once per content, linked to by signature, fetched by a job of their own.
//!
//! Messages never wait for their files. A file is fetched into a temporary file, checked, and put under its final name,
//! which is its MD5 (WeCom names files so, and a content that is there already is not fetched again): in a folder by renaming
//! it, in a bucket by an upload that is seen when it is whole. MD5 is a name here, not a proof: links are signed with HMAC-SHA256.

mod conditions;
mod contents;
mod fetch;
mod folder;
mod links;
mod owner;
mod s3;
mod serve;
mod store;

pub use contents::{ContentStream, Found};
pub use fetch::{FetchError, FetchOptions, Fetcher, MediaSource, MediaStream};
pub use links::{Links, file_name};
pub use owner::{LABEL, Owner};
pub use s3::S3Options;
pub use serve::router;
pub use store::{Draft, MediaStore};
