//! Files behind signed links: ranges, types, and files that are gone.

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode, header};
use std::sync::Arc;
use stele_archive::model::{Conversation, MediaRef, Message, Page};
use stele_archive::{Archive, Blob, Clock, Commit, ManualClock, Stream};
use stele_store::SqliteArchive;
use steled::media::{Links, MediaStore, router};
use tower::ServiceExt;

const NOW: i64 = 1_800_000_000_000_000;

struct Bench {
    _dir: tempfile::TempDir,
    store: MediaStore,
    blob: Blob,
    link: String,
    router: axum::Router,
}

/// An archive with one file.
async fn bench(content: &[u8]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let options = stele_store::Options::default();
    let archive: Arc<dyn Archive> = Arc::new(SqliteArchive::open(&dir.path().join("a.db"), &options).await.unwrap());
    let store = MediaStore::open(&dir.path().join("media")).await.unwrap();
    let instance = archive.instance("hq").await.unwrap();
    let message = Message {
        native_id: "m".into(),
        conversation: "c".into(),
        sender: "z".into(),
        sent_at: NOW,
        kind: "file".into(),
        media: vec![MediaRef { handle: "h".into(), kind: "file".into(), ..MediaRef::default() }],
        ..Message::default()
    };
    let conversation = Conversation { native_id: "c".into(), ..Conversation::default() };
    let page = Page { messages: vec![message], conversations: vec![conversation], ..Page::default() };
    let stream = Stream::Messages;
    archive.commit(Commit { instance, partition: "p", stream, from: None, page: &page, now: NOW }).await.unwrap();
    let task = archive.media_due(instance, NOW, 1).await.unwrap().remove(0);
    let mut draft = store.draft().await.unwrap();
    draft.write(content).await.unwrap();
    let blob = draft.keep(&store).await.unwrap();
    archive.media_stored(instance, task.id, &blob, None, NOW).await.unwrap();
    let links = Links::new(*b"key", 365);
    let link = links.sign(&blob, "报价.txt", NOW);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let router = router(links, store.clone(), archive, clock);
    Bench { _dir: dir, store, blob, link, router }
}

impl Bench {
    async fn get(&self, range: Option<&str>) -> (Response, Vec<u8>) {
        let mut request = Request::get(&self.link);
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (Response::from_parts(head, Body::empty()), body.to_vec())
    }
}

#[tokio::test]
async fn a_link_is_answered_in_whole_and_in_parts() {
    let bench = bench(b"hello, world").await;
    let (answer, body) = bench.get(None).await;
    assert_eq!((answer.status(), body.as_slice()), (StatusCode::OK, &b"hello, world"[..]));
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "private, max-age=86400, immutable");
    assert!(answer.headers()[header::CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment; "));
    for (range, status, expected) in [
        ("bytes=0-4", StatusCode::PARTIAL_CONTENT, "hello"),
        ("bytes=-5", StatusCode::PARTIAL_CONTENT, "world"),
        ("bytes=7-", StatusCode::PARTIAL_CONTENT, "world"),
    ] {
        let (answer, body) = bench.get(Some(range)).await;
        assert_eq!((answer.status(), String::from_utf8(body).unwrap().as_str()), (status, expected), "{range}");
    }
    let (answer, _) = bench.get(Some("bytes=12-")).await;
    assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(answer.headers()[header::CONTENT_RANGE], "bytes */12");
    assert!(!answer.headers().contains_key(header::CACHE_CONTROL));
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_remembered_as_such() {
    let bench = bench(b"hello, world").await;
    let path = bench.store.path(&bench.blob.md5).unwrap();
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    let (answer, body) = bench.get(None).await;
    assert_eq!((answer.status(), body.as_slice()), (StatusCode::NOT_FOUND, &b"this file is not here any more"[..]));
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert!(!answer.headers().contains_key(header::CACHE_CONTROL), "nobody may keep this answer");
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(bench.get(None).await.0.status(), StatusCode::OK);
}
