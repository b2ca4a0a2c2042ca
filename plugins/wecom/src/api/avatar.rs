//! The picture of people and groups that have none.
//!
//! WeCom no longer hands out avatars of staff to most apps (reference/wecom-archive.md §4.2), and the dashboard hides
//! every session without one (§3.4): so there is always one, served here, public and the same for everybody.

use super::router::AVATAR_PATH;
use bytes::Bytes;
use stele_plugin_api::ops::HttpReply;

const PICTURE: &str = concat!(
    r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" role="img" aria-label="avatar">"##,
    r##"<rect width="64" height="64" rx="8" fill="#c9d2dc"/><circle cx="32" cy="25" r="11" fill="#fff"/>"##,
    r##"<path d="M10 58a22 19 0 0 1 44 0z" fill="#fff"/></svg>"##,
);

/// The picture.
pub fn reply() -> HttpReply {
    let headers = [("content-type", "image/svg+xml"), ("cache-control", "public, max-age=86400")];
    HttpReply {
        status: 200,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        body: Bytes::from_static(PICTURE.as_bytes()),
        ..HttpReply::default()
    }
}

/// A person's own picture, or the address of the common one.
pub fn or_default(avatar: &str, base_url: &str) -> String {
    if avatar.is_empty() { format!("{base_url}{AVATAR_PATH}") } else { avatar.to_owned() }
}
