//! Contents in a bucket of an S3-compatible store: `<prefix>/ab/cd/<md5>`.
//!
//! A content is seen when its object is, and that is when the store has all of it: one request for what fits into a part,
//! else parts that are put together at the end. What is sent is summed again, so that an object is what its name says. An
//! upload of parts takes room in the bucket until it is put together or given up; so each is written down on this machine
//! while it lasts, and whoever starts next gives up those of a daemon that was killed.

use super::contents::{ContentStream, Contents, Found, Key};
use super::owner::{LABEL, MAX_LABEL};
use crate::config::Secret;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as ObjectPath;
use object_store::{BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectStore, PutOptions, RetryConfig};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::fs::{self, File};
use tokio::io::AsyncReadExt;
use url::Url;

/// Bytes of a part, and the most of what goes in one request. Every store takes parts of 5 MiB or more.
const PART: u64 = 8 << 20;
/// Most parts of an upload.
const MAX_PARTS: u64 = 10_000;
/// Time a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Time without a byte of an answer; a part must be sent within it.
const SILENCE: Duration = Duration::from_secs(60);
/// Times a request is sent again, and the time after which it is not.
const RETRIES: usize = 3;
const RETRY_TIME: Duration = Duration::from_secs(60);
/// Pauses before it is sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Most characters of an error of the store that are shown.
const MAX_ERROR_CHARS: usize = 500;

/// Where the bucket is, and who we are there.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// Address of the store.
    pub endpoint: Url,
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The public half of the credential.
    pub access_key: Secret,
    /// The secret half of it.
    pub secret_key: Secret,
    /// What stands before every name, without `/` at either end; may be empty.
    pub prefix: String,
    /// Whether the bucket stands in the path, not in the name of the host.
    pub path_style: bool,
}

/// A bucket.
pub struct S3 {
    bucket: AmazonS3,
    prefix: String,
    /// Never shown, whoever sends it back.
    secrets: [Secret; 2],
    /// Folder of what is remembered of uploads.
    uploads: PathBuf,
    /// Those that are under way.
    under_way: Arc<Mutex<HashSet<PathBuf>>>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.prefix)
    }
}

impl S3 {
    /// The bucket of these options; it is not asked anything yet. `uploads` is a folder of this daemon alone.
    pub fn new(options: &S3Options, uploads: PathBuf) -> io::Result<Self> {
        let retry = RetryConfig {
            backoff: BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: MAX_PAUSE, base: 2. },
            max_retries: RETRIES,
            retry_timeout: RETRY_TIME,
        };
        // Without a bound of the whole transfer: a client takes a large content as slowly as it likes.
        let client = ClientOptions::new()
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT)
            .with_read_timeout(SILENCE)
            .with_allow_http(options.endpoint.scheme() == "http");
        let mut endpoint = options.endpoint.clone();
        if !options.path_style {
            let host = format!("{}.{}", options.bucket, endpoint.host_str().unwrap_or_default());
            endpoint.set_host(Some(&host)).map_err(io::Error::other)?;
        }
        let bucket = AmazonS3Builder::new()
            .with_endpoint(endpoint.as_str().trim_end_matches('/'))
            .with_bucket_name(&options.bucket)
            .with_region(&options.region)
            .with_access_key_id(options.access_key.expose())
            .with_secret_access_key(options.secret_key.expose())
            .with_virtual_hosted_style_request(!options.path_style)
            .with_client_options(client)
            .with_retry(retry)
            .build();
        let secrets = [options.access_key.clone(), options.secret_key.clone()];
        let bucket = bucket.map_err(|error| shown(&error, &secrets))?;
        Ok(Self { bucket, prefix: options.prefix.clone(), secrets, uploads, under_way: Arc::default() })
    }

    fn path(&self, key: &Key) -> ObjectPath {
        self.under(&key.path())
    }

    fn under(&self, path: &str) -> ObjectPath {
        ObjectPath::from(if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) })
    }

    /// The first of what is there.
    async fn list_one(&self) -> io::Result<Option<ObjectPath>> {
        let one = PaginatedListOptions { max_keys: Some(1), ..PaginatedListOptions::default() };
        let prefix = (!self.prefix.is_empty()).then_some(self.prefix.as_str());
        let listed = self.bucket.list_paginated(prefix, one).await.map_err(|error| self.shown(&error))?;
        Ok(listed.result.objects.into_iter().next().map(|object| object.location))
    }

    fn shown(&self, error: &object_store::Error) -> io::Error {
        shown(error, &self.secrets)
    }

    /// `None` for what is not there.
    fn there<T>(&self, result: object_store::Result<T>) -> io::Result<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.shown(&error)),
        }
    }

    async fn put(&self, key: &Key, mut file: File, size: u64) -> io::Result<()> {
        let mut md5 = Md5::new();
        let content = part(&mut file, size, &mut md5).await?;
        same(key, md5)?;
        let put = self.bucket.put_opts(&self.path(key), content.into(), PutOptions::default()).await;
        put.map(|_| ()).map_err(|error| self.shown(&error))
    }

    async fn put_in_parts(&self, key: &Key, mut file: File, size: u64) -> io::Result<()> {
        let path = self.path(key);
        let id = self.bucket.create_multipart(&path).await.map_err(|error| self.shown(&error))?;
        let upload = Upload::begin(self, &path, id).await?;
        let sent = async {
            let mut md5 = Md5::new();
            let (mut parts, mut left): (Vec<PartId>, u64) = (Vec::new(), size);
            while left > 0 {
                let length = left.min(part_size(size));
                let content = part(&mut file, length, &mut md5).await?;
                let sent = self.bucket.put_part(&path, &upload.id, parts.len(), content.into()).await;
                parts.push(sent.map_err(|error| self.shown(&error))?);
                left -= length;
            }
            same(key, md5)?;
            let whole = self.bucket.complete_multipart(&path, &upload.id, parts).await;
            whole.map(|_| ()).map_err(|error| self.shown(&error))
        };
        match sent.await {
            Ok(()) => upload.forget().await,
            Err(error) => {
                // What cannot be given up now is given up later, as it is written down.
                if let Err(kept) = upload.give_up(self).await {
                    tracing::warn!(error = %kept, "an upload that ended early is still in the bucket");
                }
                Err(error)
            }
        }
    }

    /// Gives up an upload; one that is none any more is.
    async fn abort(&self, path: &ObjectPath, id: &String) -> io::Result<()> {
        self.there(self.bucket.abort_multipart(path, id).await).map(|_| ())
    }

    /// Gives up the uploads that are written down and have no writer.
    async fn sweep(&self) -> io::Result<()> {
        let mut notes = fs::read_dir(&self.uploads).await?;
        while let Some(note) = notes.next_entry().await? {
            let note = note.path();
            if self.under_way.lock().expect("no panic happens while it is locked").contains(&note) {
                continue;
            }
            // One that is gone meanwhile ended well.
            let Ok(text) = fs::read_to_string(&note).await else { continue };
            if let Some((path, id)) = text.split_once('\n') {
                self.abort(&ObjectPath::from(path), &id.to_owned()).await?;
                tracing::info!(path, "gave up an upload that had ended early");
            }
            removed(&note).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Contents for S3 {
    async fn find(&self, key: &Key) -> io::Result<Option<Found>> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.there(self.bucket.get_opts(&self.path(key), options).await)?;
        Ok(found.map(|found| Found { size: found.meta.size, modified: found.meta.last_modified.into() }))
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> io::Result<Option<ContentStream>> {
        // There is no range of nothing.
        if range.is_empty() {
            return Ok(self.find(key).await?.map(|_| futures::stream::empty().boxed()));
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.there(self.bucket.get_opts(&self.path(key), options).await)?;
        let secrets = self.secrets.clone();
        Ok(found.map(|found| found.into_stream().map_err(move |error| shown(&error, &secrets)).boxed()))
    }

    async fn take(&self, key: &Key, file: tempfile::TempPath) -> io::Result<()> {
        let open = File::open(&file).await?;
        let size = open.metadata().await?.len();
        // Not over one that is there, since some stores then break off who reads it.
        if self.find(key).await?.is_some_and(|found| found.size == size) {
            return Ok(());
        }
        if size <= PART { self.put(key, open, size).await } else { self.put_in_parts(key, open, size).await }
    }

    async fn label(&self) -> io::Result<Option<String>> {
        let options = GetOptions { range: Some(GetRange::Bounded(0..MAX_LABEL)), ..GetOptions::default() };
        let Some(found) = self.there(self.bucket.get_opts(&self.under(LABEL), options).await)? else { return Ok(None) };
        let label = found.bytes().await.map_err(|error| self.shown(&error))?;
        Ok(Some(String::from_utf8_lossy(&label).into_owned()))
    }

    async fn put_label(&self, label: &str) -> io::Result<()> {
        let label = format!("{label}\n").into_bytes();
        let put = self.bucket.put_opts(&self.under(LABEL), label.into(), PutOptions::default()).await;
        put.map(|_| ()).map_err(|error| self.shown(&error))
    }

    async fn is_empty(&self) -> io::Result<bool> {
        // Contents begin with a digit of a sum, so they come before the label.
        let found = self.list_one().await?;
        Ok(found.is_none_or(|path| path.filename() == Some(LABEL)))
    }

    async fn upkeep(&self) -> io::Result<()> {
        self.list_one().await?;
        self.sweep().await
    }
}

/// An upload that is under way and written down. When dropped it is under way no more, and given up at the next upkeep.
struct Upload {
    path: ObjectPath,
    id: String,
    note: PathBuf,
    under_way: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Upload {
    async fn begin(store: &S3, path: &ObjectPath, id: String) -> io::Result<Self> {
        let note = store.uploads.join(hex::encode(Md5::digest(&id)));
        let under_way = Arc::clone(&store.under_way);
        under_way.lock().expect("no panic happens while it is locked").insert(note.clone());
        let upload = Self { path: path.clone(), id, note, under_way };
        if let Err(error) = written(&upload.note, format!("{path}\n{}", upload.id)).await {
            _ = upload.give_up(store).await;
            return Err(error);
        }
        Ok(upload)
    }

    async fn give_up(self, store: &S3) -> io::Result<()> {
        store.abort(&self.path, &self.id).await?;
        self.forget().await
    }

    async fn forget(self) -> io::Result<()> {
        removed(&self.note).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.under_way.lock().expect("no panic happens while it is locked").remove(&self.note);
    }
}

/// Written whole or not at all, as far as a killed process goes.
async fn written(path: &Path, text: String) -> io::Result<()> {
    let path = path.to_owned();
    let write = move || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(folder)?;
        std::fs::write(file.path(), text)?;
        file.persist(&path)?;
        Ok(())
    };
    tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
}

async fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The next bytes of a file.
async fn part(file: &mut File, length: u64, md5: &mut Md5) -> io::Result<Bytes> {
    let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact(&mut content).await?;
    md5.update(&content);
    Ok(content.into())
}

/// Bytes of each part but the last: as many as it takes to have no more parts than may be.
fn part_size(size: u64) -> u64 {
    PART.max(size.div_ceil(MAX_PARTS))
}

/// What was sent is what it is named after.
fn same(key: &Key, md5: Md5) -> io::Result<()> {
    if hex::encode(md5.finalize()) == key.md5() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the file of {} changed on disk before it was sent", key.md5()),
    ))
}

/// An error as it may be shown. What a store answers can hold the key and what was signed with it, so of its XML only the code
/// is told.
fn shown(error: &object_store::Error, secrets: &[Secret]) -> io::Error {
    let mut text = error.to_string();
    // An error of HTTP says what it is in what it comes from.
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let (before, xml) = text.split_once('<').unwrap_or((&text, ""));
    let code = xml.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    let mut text = format!("{}{code}", before);
    for secret in secrets {
        text = text.replace(secret.expose(), "***");
    }
    io::Error::other(text.trim().chars().take(MAX_ERROR_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_has_as_many_parts_as_may_be() {
        for (size, expected) in [(PART + 1, 2), (1 << 30, 128), (1 << 40, 10_000), (5 << 40, 10_000)] {
            let parts: u64 = size.div_ceil(part_size(size));
            assert!(parts <= MAX_PARTS && parts >= expected - 1, "{size} bytes are {parts} parts");
        }
    }

    #[test]
    fn errors_and_debug_show_no_secret() {
        let secrets = [Secret::new("AKIDEXAMPLE"), Secret::new("topsecret")];
        let body = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code>\
                    <AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId><StringToSign>topsecret</StringToSign></Error>";
        let generic = |text: &str| object_store::Error::Generic { store: "S3", source: text.into() };
        let text = shown(&generic(body), &secrets).to_string();
        assert_eq!(text, "Generic S3 error: Server returned non-2xx status code: 403 Forbidden: SignatureDoesNotMatch");
        let text = shown(&generic("no route for AKIDEXAMPLE:topsecret"), &secrets).to_string();
        assert_eq!(text, "Generic S3 error: no route for ***:***");
        let options = S3Options {
            endpoint: Url::parse("http://127.0.0.1:1").unwrap(),
            bucket: "stele".into(),
            region: "us-east-1".into(),
            access_key: secrets[0].clone(),
            secret_key: secrets[1].clone(),
            prefix: "p".into(),
            path_style: true,
        };
        let store = S3::new(&options, PathBuf::new()).unwrap();
        let text = format!("{options:?} {store:?}");
        assert!(!text.contains("AKIDEXAMPLE") && !text.contains("topsecret"), "{text}");
    }
}
