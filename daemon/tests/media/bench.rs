//! An archive with one file in some store, and requests for it.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use std::sync::Arc;
use stele_archive::model::{Conversation, MediaRef, Message, Page};
use stele_archive::{Archive, Blob, Clock, Commit, ManualClock, Stream};
use stele_store::SqliteArchive;
use steled::media::{Links, MediaStore, router};
use tower::ServiceExt;

const NOW: i64 = 1_800_000_000_000_000;

/// An archive with one file, and its link.
pub struct Bench {
    _dir: tempfile::TempDir,
    pub blob: Blob,
    pub link: String,
    pub router: axum::Router,
}

impl Bench {
    pub async fn new(store: &MediaStore, content: &[u8]) -> Self {
        let mut draft = store.draft().await.unwrap();
        draft.write(content).await.unwrap();
        Self::of(store, draft.keep(store).await.unwrap()).await
    }

    /// The same for a content that the store has, or should have.
    pub async fn of(store: &MediaStore, blob: Blob) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = stele_store::Options::default();
        let archive: Arc<dyn Archive> =
            Arc::new(SqliteArchive::open(&dir.path().join("a.db"), &options).await.unwrap());
        Self::fill(&*archive, &blob).await;
        let links = Links::new(*b"key", 365);
        let link = links.sign(&blob, "报价.txt", NOW);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let router = router(links, store.clone(), archive, clock);
        Self { _dir: dir, blob, link, router }
    }

    /// Has an archive know of a content.
    pub async fn fill(archive: &dyn Archive, blob: &Blob) {
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
        archive.media_stored(instance, task.id, blob, None, NOW).await.unwrap();
    }

    pub async fn ask(&self, method: Method, headers: &[(HeaderName, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(&self.link);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    /// The same, with the whole body.
    pub async fn get(&self, headers: &[(HeaderName, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
        whole(self.ask(Method::GET, headers).await).await
    }
}

pub async fn whole(answer: Response) -> (StatusCode, HeaderMap, Vec<u8>) {
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 1 << 30).await.unwrap();
    (head.status, head.headers, body.to_vec())
}
