//! A bucket of a real store.

use super::contract::check;
use stele_servers::{Seaweed, skip::skip};
use steled::config::Secret;
use steled::media::{MediaStore, S3Options};

/// A bucket, and two stores on it.
pub struct Bucket {
    pub store: MediaStore,
    pub second: MediaStore,
    pub dirs: [tempfile::TempDir; 2],
    pub seaweed: Seaweed,
}

/// Who we are at an address.
pub fn options(endpoint: &str, prefix: &str) -> S3Options {
    S3Options {
        endpoint: endpoint.parse().unwrap(),
        bucket: "stele-media".into(),
        region: "us-east-1".into(),
        access_key: Secret::new(Seaweed::ACCESS_KEY),
        secret_key: Secret::new(Seaweed::SECRET_KEY),
        prefix: prefix.into(),
        path_style: true,
    }
}

/// A bucket of a real store; `None` where there is none.
pub async fn bucket(prefix: &str) -> Option<Bucket> {
    let seaweed = Seaweed::start().inspect_err(|error| skip("SeaweedFS", &format!("{error:#}"))).ok()?;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Whoever writes to a bucket first makes it.
    let outside = MediaStore::bucket(dirs[0].path(), &options(&seaweed.endpoint(), "outside")).await.unwrap();
    outside.draft().await.unwrap().keep(&outside).await.unwrap();
    let open = async |dir: &tempfile::TempDir| {
        MediaStore::bucket(dir.path(), &options(&seaweed.endpoint(), prefix)).await.unwrap()
    };
    let (store, second) = (open(&dirs[0]).await, open(&dirs[1]).await);
    Some(Bucket { store, second, dirs, seaweed })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_its_promises() {
    for prefix in ["", "stele/media"] {
        let Some(bucket) = bucket(prefix).await else { return };
        check(&bucket.store, &bucket.second).await;
        for dir in &bucket.dirs {
            for folder in ["drafts", "uploads"] {
                assert_eq!(std::fs::read_dir(dir.path().join(folder)).unwrap().count(), 0, "{folder}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_or_not_ours_is_told() {
    let Some(Bucket { seaweed, dirs, .. }) = bucket("").await else { return };
    let check = async |change: fn(&mut S3Options), expected: &str| {
        let mut options = options(&seaweed.endpoint(), "");
        change(&mut options);
        let store = MediaStore::bucket(dirs[0].path(), &options).await.unwrap();
        let error = store.upkeep().await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains(Seaweed::SECRET_KEY), "{error}");
        assert!(store.finding().is_some_and(|finding| finding.contains(expected)));
    };
    check(|options| options.bucket = "another".into(), "NoSuchBucket").await;
    check(|options| options.secret_key = Secret::new("wrong"), "SignatureDoesNotMatch").await;
    check(|options| options.access_key = Secret::new("nobody"), "InvalidAccessKeyId").await;
}
