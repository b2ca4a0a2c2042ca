//! Whose files a place keeps: a share that is not mounted and another archive's place do not answer.

use super::bench::Bench;
use super::bucket::{bucket, options};
use super::contract::draft;
use http::{StatusCode, header};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use stele_archive::{Archive, Blob};
use stele_store::{Options, SqliteArchive};
use steled::media::{LABEL, MediaStore, Owner};

/// An archive, and its id.
struct Site {
    archive: Arc<dyn Archive>,
    id: &'static str,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn new(id: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = SqliteArchive::open(&dir.path().join("a.db"), &Options::default()).await.unwrap();
        Self { archive: Arc::new(archive), id, _dir: dir }
    }

    /// A daemon's store, as a start of it makes one.
    fn store(&self, store: MediaStore) -> MediaStore {
        store.of(Owner::new(Arc::clone(&self.archive), self.id))
    }

    async fn shared(&self, root: &Path) -> MediaStore {
        self.store(MediaStore::shared(root).await.unwrap())
    }

    /// Has the archive know of a content.
    async fn knows(&self, blob: &Blob) {
        Bench::fill(&*self.archive, blob).await;
    }
}

async fn kept(store: &MediaStore, content: &[u8]) -> std::io::Result<Blob> {
    draft(store, content).await.keep(store).await
}

/// That it does not answer, and why.
async fn refused(store: &MediaStore, blob: &Blob, why: &str) {
    let errors = [
        store.upkeep().await.unwrap_err(),
        store.find(&blob.md5).await.map(drop).unwrap_err(),
        store.read(&blob.md5, 0..1).await.map(drop).unwrap_err(),
        store.draft().await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains(why), "{error}");
    }
    let finding = store.finding().unwrap();
    assert!(finding.starts_with("the store of files does not answer: ") && finding.contains(why), "{finding}");
    let bench = Bench::of(store, blob.clone()).await;
    let (status, headers, _) = bench.get(&[]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "a link to it");
    assert_eq!(headers[header::RETRY_AFTER], "5");
}

const GONE: &str = "not where this archive's files are";

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_not_mounted_does_not_answer() {
    let (site, dir) = (Site::new("one").await, tempfile::tempdir().unwrap());
    let (mount, away) = (dir.path().join("mount"), dir.path().join("away"));
    let store = site.shared(&mount).await;
    // It is nobody's until there is a file.
    store.upkeep().await.unwrap();
    assert!(!mount.join(LABEL).exists());
    let blob = kept(&store, b"hello").await.unwrap();
    assert_eq!(fs::read_to_string(mount.join(LABEL)).unwrap(), "one\n");
    // Amid the daemon's life, with a download under way.
    let open = draft(&store, b"other").await;
    fs::rename(&mount, &away).unwrap();
    fs::create_dir(&mount).unwrap();
    assert!(open.keep(&store).await.unwrap_err().to_string().contains(GONE));
    refused(&store, &blob, GONE).await;
    // At its start, and for whoever starts for the first time.
    let second = site.shared(&mount).await;
    refused(&second, &blob, GONE).await;
    assert!(!mount.join(LABEL).exists() && !mount.join(&blob.md5[..2]).exists(), "something was put there");
    fs::remove_dir_all(&mount).unwrap();
    fs::rename(&away, &mount).unwrap();
    for store in [&store, &second] {
        assert_eq!(store.find(&blob.md5).await.unwrap().unwrap().size, 5);
        kept(store, b"other").await.unwrap();
        store.upkeep().await.unwrap();
        assert_eq!(store.finding(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_archives_folder_does_not_answer() {
    let (one, two, dir) = (Site::new("one").await, Site::new("two").await, tempfile::tempdir().unwrap());
    let blob = kept(&one.shared(dir.path()).await, b"hello").await.unwrap();
    refused(&two.shared(dir.path()).await, &blob, "another archive's").await;
    assert_eq!(fs::read_to_string(dir.path().join(LABEL)).unwrap(), "one\n");
    // The operator says so.
    fs::write(dir.path().join(LABEL), "two").unwrap();
    two.shared(dir.path()).await.upkeep().await.unwrap();
    refused(&one.shared(dir.path()).await, &blob, "another archive's").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_from_before_there_were_labels_gets_one() {
    let (site, dir) = (Site::new("one").await, tempfile::tempdir().unwrap());
    let blob = kept(&MediaStore::shared(dir.path()).await.unwrap(), b"hello").await.unwrap();
    site.knows(&blob).await;
    let elsewhere = tempfile::tempdir().unwrap();
    refused(&site.shared(elsewhere.path()).await, &blob, GONE).await;
    let store = site.shared(dir.path()).await;
    store.upkeep().await.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join(LABEL)).unwrap(), "one\n");
    assert_eq!(store.find(&blob.md5).await.unwrap().unwrap().size, 5);
    refused(&site.shared(elsewhere.path()).await, &blob, GONE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_one_archives_and_one_that_is_not_there_is_no_empty_one() {
    let Some(bucket) = bucket("stele/media").await else { return };
    let (one, two) = (Site::new("one").await, Site::new("two").await);
    let opened = async |number: usize, change: fn(&mut steled::media::S3Options)| {
        let mut options = options(&bucket.seaweed.endpoint(), "stele/media");
        change(&mut options);
        MediaStore::bucket(bucket.dirs[number].path(), &options).await.unwrap()
    };
    let store = one.store(opened(0, |_| {}).await);
    store.upkeep().await.unwrap();
    let blob = kept(&store, b"hello").await.unwrap();
    assert_eq!(store.find("900150983cd24fb0d6963f7d28e17f72").await.unwrap(), None);
    store.upkeep().await.unwrap();
    refused(&two.store(opened(1, |_| {}).await), &blob, "another archive's").await;
    refused(&one.store(opened(0, |options| options.prefix = "else".into()).await), &blob, GONE).await;
    refused(&one.store(opened(0, |options| options.bucket = "nowhere".into()).await), &blob, "NoSuchBucket").await;
}
