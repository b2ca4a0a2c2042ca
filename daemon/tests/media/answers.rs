//! What requests for a file are answered, alike from every store.

use super::bench::{Bench, whole};
use super::bucket::bucket;
use http::{HeaderName, Method, StatusCode, header};
use std::path::Path;
use steled::media::MediaStore;

const CONTENT: &[u8] = b"hello, world";
const ETAG: &str = "\"e4d7f1b4ed2e42d15898f4b27b019da4\"";

async fn in_folder(root: &Path) -> (MediaStore, Bench) {
    let store = MediaStore::open(root).await.unwrap();
    let bench = Bench::new(&store, CONTENT).await;
    (store, bench)
}

#[tokio::test]
async fn a_link_is_answered_in_whole_and_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (_, bench) = in_folder(dir.path()).await;
    let (status, headers, body) = bench.get(&[]).await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, CONTENT));
    assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(headers[header::CONTENT_LENGTH], "12");
    assert_eq!(headers[header::ETAG], ETAG);
    assert_eq!(headers[header::CACHE_CONTROL], "private, max-age=86400, immutable");
    assert!(headers[header::CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment; "));
    for (range, expected, content_range) in [
        ("bytes=0-4", "hello", "bytes 0-4/12"),
        ("bytes=-5", "world", "bytes 7-11/12"),
        ("bytes=7-", "world", "bytes 7-11/12"),
    ] {
        let (status, headers, body) = bench.get(&[(header::RANGE, range)]).await;
        assert_eq!((status, body.as_slice()), (StatusCode::PARTIAL_CONTENT, expected.as_bytes()), "{range}");
        assert_eq!(
            (&headers[header::CONTENT_RANGE], &headers[header::CONTENT_LENGTH]),
            (&content_range.parse().unwrap(), &"5".parse().unwrap())
        );
    }
    let (status, headers, _) = bench.get(&[(header::RANGE, "bytes=12-")]).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(headers[header::CONTENT_RANGE], "bytes */12");
    assert!(!headers.contains_key(header::CACHE_CONTROL));
    let (status, headers, body) = whole(bench.ask(Method::HEAD, &[]).await).await;
    assert_eq!((status, &headers[header::CONTENT_LENGTH], body.len()), (StatusCode::OK, &"12".parse().unwrap(), 0));
}

#[tokio::test]
async fn a_file_that_is_gone_or_not_whole_is_not_remembered_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let (_, bench) = in_folder(dir.path()).await;
    let md5 = &bench.blob.md5;
    let path = dir.path().join(&md5[..2]).join(&md5[2..4]).join(md5);
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    for half in [None, Some(&CONTENT[..6])] {
        half.iter().for_each(|half| std::fs::write(&path, half).unwrap());
        let (status, headers, body) = bench.get(&[]).await;
        assert_eq!((status, body.as_slice()), (StatusCode::NOT_FOUND, &b"this file is not here any more"[..]));
        assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        assert!(!headers.contains_key(header::CACHE_CONTROL), "nobody may keep this answer");
    }
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(bench.get(&[]).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_answers_as_a_folder_does() {
    let Some(bucket) = bucket("answers").await else { return };
    let store = &bucket.store;
    let dir = tempfile::tempdir().unwrap();
    let (folder, in_folder) = in_folder(dir.path()).await;
    let in_bucket = Bench::new(store, CONTENT).await;
    // What is copied keeps no time: requests that name one name each its own.
    let modified = async |store: &MediaStore| {
        let found = store.find(&in_folder.blob.md5).await.unwrap().unwrap();
        [
            httpdate::fmt_http_date(found.modified),
            httpdate::fmt_http_date(found.modified - std::time::Duration::from_secs(9)),
        ]
    };
    let (of_folder, of_bucket) = (modified(&folder).await, modified(store).await);
    let weak = format!("W/{ETAG}, \"x\"");
    let range = (header::RANGE, "bytes=0-4");
    let asked: &[&[(HeaderName, &str)]] = &[
        &[],
        &[(header::RANGE, "bytes=0-4")],
        &[(header::RANGE, "bytes=7-")],
        &[(header::RANGE, "bytes=-5")],
        &[(header::RANGE, "bytes=-500")],
        &[(header::RANGE, "bytes=5-500")],
        &[(header::RANGE, "bytes=12-")],
        &[(header::RANGE, "bytes=-0")],
        &[(header::RANGE, "bytes=4-2")],
        &[(header::RANGE, "bytes=0-1,3-4")],
        &[(header::IF_NONE_MATCH, ETAG)],
        &[(header::IF_NONE_MATCH, &weak)],
        &[(header::IF_NONE_MATCH, "\"x\""), range.clone()],
        &[(header::IF_MATCH, ETAG), range.clone()],
        &[(header::IF_MATCH, &weak)],
        &[(header::IF_RANGE, ETAG), range.clone()],
        &[(header::IF_RANGE, "\"x\""), range.clone()],
        &[(header::IF_RANGE, "NOW"), range.clone()],
        &[(header::IF_RANGE, "BEFORE"), range.clone()],
        &[(header::IF_MODIFIED_SINCE, "NOW")],
        &[(header::IF_MODIFIED_SINCE, "BEFORE")],
        &[(header::IF_UNMODIFIED_SINCE, "NOW")],
        &[(header::IF_UNMODIFIED_SINCE, "BEFORE")],
    ];
    let mut seen = std::collections::BTreeSet::new();
    for headers in asked {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let answer = async |bench: &Bench, dates: &[String; 2]| {
                let dated = |value| match value {
                    "NOW" => dates[0].as_str(),
                    "BEFORE" => dates[1].as_str(),
                    value => value,
                };
                let headers: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), dated(*value))).collect();
                let (status, mut headers, body) = whole(bench.ask(method.clone(), &headers).await).await;
                if let Some(modified) = headers.get_mut(header::LAST_MODIFIED) {
                    assert_eq!(*modified, dates[0]);
                    *modified = "NOW".parse().unwrap();
                }
                (status, headers, body)
            };
            let (folder, bucket) = (answer(&in_folder, &of_folder).await, answer(&in_bucket, &of_bucket).await);
            assert_eq!(folder, bucket, "{method} {headers:?}");
            seen.insert(folder.0.as_u16());
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [200, 206, 304, 405, 412, 416]);
}
