//! A store that does wrong what real ones rarely do, and what becomes of it.

use super::bench::Bench;
use super::bucket::options;
use super::content;
use super::contract::draft;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::{Method, StatusCode, header};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stele_archive::Blob;
use steled::media::MediaStore;
use tokio::sync::watch;

/// What it does: `None` for what is right. Sees the method and the query.
type Fault = Box<dyn Fn(&Method, &str) -> Option<Response> + Send>;

/// A bucket that takes everything and has what it is told.
struct Standin {
    endpoint: String,
    told: Arc<Told>,
    _server: tokio::task::JoinHandle<()>,
}

struct Told {
    fault: Mutex<Fault>,
    /// Method and query of each request.
    calls: Mutex<Vec<String>>,
}

impl Standin {
    async fn start() -> Self {
        let told = Arc::new(Told { fault: Mutex::new(Box::new(|_, _| None)), calls: Mutex::default() });
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&told));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { endpoint, told, _server: server }
    }

    fn fault(&self, fault: impl Fn(&Method, &str) -> Option<Response> + Send + 'static) {
        *self.told.fault.lock().unwrap() = Box::new(fault);
    }

    /// Requests so far that begin like this.
    fn calls(&self, begin: &str) -> usize {
        self.told.calls.lock().unwrap().iter().filter(|call| call.starts_with(begin)).count()
    }

    async fn store(&self, dir: &tempfile::TempDir) -> MediaStore {
        MediaStore::bucket(dir.path(), &options(&self.endpoint, "")).await.unwrap()
    }
}

async fn answer(State(told): State<Arc<Told>>, request: Request) -> Response {
    let (method, query) = (request.method().clone(), request.uri().query().unwrap_or_default().to_owned());
    told.calls.lock().unwrap().push(format!("{method} {query}"));
    // Taken to its end, as stores do before they answer.
    axum::body::to_bytes(request.into_body(), 1 << 30).await.unwrap();
    if let Some(fault) = told.fault.lock().unwrap()(&method, &query) {
        return fault;
    }
    let xml = |text: &'static str| ([(header::CONTENT_TYPE, "application/xml")], text).into_response();
    match (method, query.as_str()) {
        (Method::HEAD, _) => StatusCode::NOT_FOUND.into_response(),
        (Method::GET, _) => xml("<ListBucketResult></ListBucketResult>"),
        (Method::POST, "uploads") | (Method::POST, "uploads=") => {
            xml("<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
        }
        (Method::POST, _) => xml("<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>"),
        (Method::DELETE, _) => StatusCode::NO_CONTENT.into_response(),
        _ => [(header::ETAG, "\"x\"")].into_response(),
    }
}

/// What a content of so many bytes is answered with.
fn object(size: u64, body: Body) -> Response {
    let headers = [
        (header::CONTENT_LENGTH, size.to_string()),
        (header::ETAG, "\"x\"".to_owned()),
        (header::LAST_MODIFIED, "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
    ];
    (headers, body).into_response()
}

fn blob(size: u64) -> Blob {
    Blob { md5: "5d41402abc4b2a76b9719d911017c592".into(), size, mime: "image/png".into(), extension: "png".into() }
}

fn notes(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(dir.path().join("uploads")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_is_given_up_now_or_later() {
    let (standin, dir) = (Standin::start().await, tempfile::tempdir().unwrap());
    let store = standin.store(&dir).await;
    let large = content(9 << 20);
    standin.fault(|_, query| query.contains("partNumber=2").then(|| StatusCode::BAD_REQUEST.into_response()));
    draft(&store, &large).await.keep(&store).await.unwrap_err();
    assert_eq!((standin.calls("DELETE uploadId=u1"), standin.calls("POST uploadId"), notes(&dir)), (1, 0, 0));
    // One that cannot be given up, either.
    standin.fault(|method, query| {
        let fails = query.contains("partNumber=2") || method == Method::DELETE;
        fails.then(|| StatusCode::BAD_REQUEST.into_response())
    });
    draft(&store, &large).await.keep(&store).await.unwrap_err();
    assert_eq!(notes(&dir), 1, "it is written down");
    store.upkeep().await.unwrap_err();
    assert_eq!(notes(&dir), 1);
    // The next life of the daemon does so, and is told that it is none any more.
    standin.fault(|method, _| (method == Method::DELETE).then(|| StatusCode::NOT_FOUND.into_response()));
    let store = standin.store(&dir).await;
    let before = standin.calls("DELETE uploadId=u1");
    store.upkeep().await.unwrap();
    assert_eq!((standin.calls("DELETE uploadId=u1"), notes(&dir)), (before + 1, 0));
    assert_eq!(standin.calls("POST uploadId"), 0, "nothing was put together");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_sender_goes_away_is_given_up() {
    let (standin, dir) = (Standin::start().await, tempfile::tempdir().unwrap());
    let store = standin.store(&dir).await;
    let (seen, mut sent) = watch::channel(false);
    standin.fault(move |_, query| {
        // Never done, as far as the sender knows.
        let second = query.contains("partNumber=2");
        seen.send_if_modified(|seen| std::mem::replace(seen, second) != second);
        second.then(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
    });
    let draft = draft(&store, &content(9 << 20)).await;
    let keeping = tokio::spawn({
        let store = store.clone();
        async move { draft.keep(&store).await }
    });
    sent.wait_for(|sent| *sent).await.unwrap();
    // Not while it is under way.
    store.upkeep().await.unwrap();
    assert_eq!((standin.calls("DELETE"), notes(&dir)), (0, 1));
    keeping.abort();
    _ = keeping.await;
    store.upkeep().await.unwrap();
    assert_eq!((standin.calls("DELETE uploadId=u1"), notes(&dir)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_ends_the_transfer() {
    let (standin, dir) = (Standin::start().await, tempfile::tempdir().unwrap());
    let store = standin.store(&dir).await;
    const SIZE: u64 = 1 << 40;
    let (sending, mut sends) = watch::channel(0_u64);
    let sending = Arc::new(Mutex::new(Some(sending)));
    standin.fault(move |method, _| match *method {
        Method::HEAD => Some(object(SIZE, Body::empty())),
        _ => {
            let sending = sending.lock().unwrap().take()?;
            let chunks = futures::stream::repeat(Bytes::from_static(&[7; 64 << 10]));
            let body = chunks.map(move |chunk| {
                sending.send_modify(|sent| *sent += chunk.len() as u64);
                Ok::<_, std::io::Error>(chunk)
            });
            let mut answer = object(SIZE, Body::from_stream(body));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes 0-{}/{SIZE}", SIZE - 1);
            answer.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
            Some(answer)
        }
    });
    let bench = Bench::of(&store, blob(SIZE)).await;
    let answer = bench.ask(Method::GET, &[]).await;
    assert_eq!(
        (answer.status(), &answer.headers()[header::CONTENT_LENGTH]),
        (StatusCode::OK, &SIZE.to_string().parse().unwrap())
    );
    let mut body = answer.into_body().into_data_stream();
    for _ in 0..100 {
        assert!(body.next().await.unwrap().unwrap().iter().all(|byte| *byte == 7));
    }
    drop(body);
    // The sender is dropped with the stream, and that with the connection.
    while sends.changed().await.is_ok() {}
    let sent = *sends.borrow();
    assert!(sent < 1 << 30, "{sent} bytes were sent, and nobody took them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let (standin, dir) = (Standin::start().await, tempfile::tempdir().unwrap());
    let store = standin.store(&dir).await;
    let whole = Bytes::from(content(3 << 20));
    let size = whole.len() as u64;
    let (first, sent) = (Mutex::new(true), whole.clone());
    standin.fault(move |method, _| match *method {
        Method::HEAD => Some(object(size, Body::empty())),
        _ => {
            let start = if std::mem::replace(&mut *first.lock().unwrap(), false) { 0 } else { 1 << 20 };
            let (part, breaks_off) = match start {
                0 => (sent.slice(..1 << 20), vec![Err(std::io::Error::other("broken"))]),
                _ => (sent.slice(start..), Vec::new()),
            };
            let mut answer = object(
                size - start as u64,
                Body::from_stream(futures::stream::iter([vec![Ok(part)], breaks_off].into_iter().flatten())),
            );
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {start}-{}/{size}", size - 1);
            answer.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
            Some(answer)
        }
    });
    let bench = Bench::of(&store, blob(size)).await;
    let (status, _, body) = bench.get(&[]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body == whole, "{} bytes", body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_or_hangs_is_answered_503_in_bounded_time() {
    let (standin, dir) = (Standin::start().await, tempfile::tempdir().unwrap());
    let store = standin.store(&dir).await;
    let bench = Bench::of(&store, blob(5)).await;
    let unavailable = async || {
        let begun = std::time::Instant::now();
        let (status, headers, body) = bench.get(&[]).await;
        assert_eq!(
            (status, body.as_slice()),
            (StatusCode::SERVICE_UNAVAILABLE, &b"the store of files does not answer"[..])
        );
        assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(headers[header::RETRY_AFTER], "5");
        assert!(!headers.contains_key(header::CACHE_CONTROL) && begun.elapsed() < Duration::from_secs(15));
    };
    standin.fault(|_, _| Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()));
    unavailable().await;
    let tries = standin.calls("HEAD");
    assert!((2..=4).contains(&tries), "tried {tries} times");
    assert!(store.finding().is_some());
    // An answer whose body never comes, for whatever is asked: the head of a HEAD does.
    standin.fault(|method, _| match *method {
        Method::HEAD => Some(object(5, Body::empty())),
        _ => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
    });
    unavailable().await;
    standin.fault(|_, _| None);
    store.upkeep().await.unwrap();
    assert_eq!(store.finding(), None);
    // One that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let store = MediaStore::bucket(dir.path(), &options(&endpoint, "")).await.unwrap();
    let bench = Bench::of(&store, blob(5)).await;
    let begun = std::time::Instant::now();
    assert_eq!(bench.get(&[]).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert!(store.finding().is_some_and(|finding| finding.contains("no answer within 10 s")));
}
