//! `[media]`: files of messages, and where their contents are kept.

use super::Config;
use super::reader::Reader;
use super::secret::Secret;
use super::values::{not_empty, within, words};
use std::path::PathBuf;
use url::{Host, Url};

words! {
    /// Where contents are kept.
    pub enum ContentStore {
        /// In a folder.
        Folder = "folder",
        /// In a bucket of an S3-compatible store.
        S3 = "s3",
    }
}

section! {
    /// `[media.s3]`: a bucket.
    pub struct S3 {
        /// Address of the store, e.g. `https://s3.eu-central-1.amazonaws.com`.
        pub endpoint: Option<String> = None, |endpoint: &Option<String>| endpoint_is_valid(endpoint.as_deref());
        /// The bucket.
        pub bucket: Option<String> = None, |bucket: &Option<String>| bucket_is_valid(bucket.as_deref());
        /// Its region; stores that have none do not care.
        pub region: String = "us-east-1".into(), not_empty;
        /// The public half of the credential.
        pub access_key: Option<Secret> = None;
        /// The secret half of it.
        pub secret_key: Option<Secret> = None;
        /// What stands before the name of each content, e.g. `stele/media`.
        pub prefix: String = String::new(), |prefix: &String| prefix_is_valid(prefix);
        /// Whether plain http may leave this machine.
        pub allow_http: bool = false;
        /// Whether the bucket stands in the path, not in the name of the host.
        pub path_style: bool = true;
    }
}

section! {
    /// `[media]`: files of messages.
    pub struct Media {
        /// Where contents are kept.
        pub store: ContentStore = ContentStore::Folder;
        /// Folder of contents; several daemons may share one. Unset: `media` in the data folder, for this daemon alone.
        pub folder: Option<PathBuf> = None;
        /// Days a signed link is valid.
        pub link_days: u32 = 365, within(1..=36_500);
        /// Secret that signs links. Unset: one is made and kept in the archive.
        pub link_key: Option<Secret> = None;
        /// Largest file, in bytes; a larger one is parked.
        pub max_file_bytes: u64 = 1 << 30, within(1..=1 << 40);
        /// Files fetched at the same time, per instance.
        pub concurrency: usize = 2, within(1..=64);
        /// Failed attempts after which a file is parked.
        pub attempts: u32 = 8, within(1..=100);
        /// Seconds a plugin may take from one chunk of a file to the next.
        pub chunk_timeout_seconds: u64 = 60, within(1..=3600);
        /// The bucket.
        pub s3: S3 = S3::default();
    }
}

/// What a bucket needs, if contents are kept in one.
pub(super) fn cross_check(config: &Config, reader: &mut Reader<'_>) {
    let S3 { endpoint, bucket, access_key, secret_key, allow_http, path_style, .. } = &config.media.s3;
    if config.media.store != ContentStore::S3 {
        return;
    }
    for (key, is_set) in [
        ("endpoint", endpoint.is_some()),
        ("bucket", bucket.is_some()),
        ("access_key", access_key.is_some()),
        ("secret_key", secret_key.is_some()),
    ] {
        let key = format!("media.s3.{key}");
        if !is_set && !reader.has_problem_at(&key) {
            reader.problem_at(&key, "is missing: store = \"s3\" needs it");
        }
    }
    let url = endpoint.as_deref().and_then(|endpoint| Url::parse(endpoint).ok());
    let has_name = url.as_ref().is_none_or(|url| matches!(url.host(), Some(Host::Domain(_))));
    if !path_style && !has_name {
        reader.problem_at(
            "media.s3.path_style",
            "the bucket can stand in the name of a host only where endpoint has one",
        );
    }
    if let Some(url) = url.filter(|url| url.scheme() == "http" && !is_loopback(url) && !allow_http) {
        let host = url.host_str().unwrap_or_default();
        reader.problem_at(
            "media.s3.endpoint",
            format!("what goes to {host} by http can be read on its way: that needs https, or allow_http"),
        );
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn endpoint_is_valid(endpoint: Option<&str>) -> Result<(), String> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    // Not shown: an address may hold a password.
    let refused = || {
        Err("expected an address such as \"https://s3.eu-central-1.amazonaws.com\", without path or password"
            .to_owned())
    };
    let Ok(url) = Url::parse(endpoint) else { return refused() };
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    match matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.path() == "/" && plain {
        true => Ok(()),
        false => refused(),
    }
}

fn bucket_is_valid(bucket: Option<&str>) -> Result<(), String> {
    let Some(bucket) = bucket else { return Ok(()) };
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = (3..=63).contains(&bucket.len())
        && bucket.starts_with(is_end)
        && bucket.ends_with(is_end)
        && bucket.chars().all(|c| is_end(c) || matches!(c, '-' | '.'));
    match fits {
        true => Ok(()),
        false => Err(format!("expected 3 to 63 of a-z, 0-9, - and ., found {bucket:?}")),
    }
}

fn prefix_is_valid(prefix: &str) -> Result<(), String> {
    let is_segment = |segment: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !matches!(segment, "" | "." | "..") && segment.chars().all(plain)
    };
    match prefix.is_empty() || (prefix.len() <= 512 && prefix.split('/').all(is_segment)) {
        true => Ok(()),
        false => Err(format!("expected names joined by /, such as \"stele/media\", found {prefix:?}")),
    }
}
