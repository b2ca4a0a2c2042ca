//! Answers signed links with the file, ranges and conditions included: alike, wherever contents are kept.

use super::conditions::{Known, Wanted};
use super::contents::Found;
use super::links::PREFIX;
use super::{Links, MediaStore};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::TryStreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use stele_archive::{Archive, Blob, Clock};

/// What may be shown inside a page; anything else is offered for download, so that a file from a chat never runs as a
/// page of this origin.
const INLINE: &[&str] =
    &["image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "audio/", "video/", "application/pdf"];

/// When to come back while the archive or the store of files does not answer.
const COME_BACK: Duration = Duration::from_secs(5);

struct Media {
    links: Links,
    store: MediaStore,
    archive: Arc<dyn Archive>,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct Signed {
    expires: i64,
    signature: String,
}

/// The routes under `/media`.
pub fn router(links: Links, store: MediaStore, archive: Arc<dyn Archive>, clock: Arc<dyn Clock>) -> Router {
    Router::new().route(&format!("{PREFIX}/{{md5}}/{{name}}"), get(serve)).with_state(Arc::new(Media {
        links,
        store,
        archive,
        clock,
    }))
}

async fn serve(
    State(media): State<Arc<Media>>,
    Path((md5, name)): Path<(String, String)>,
    signed: Result<Query<Signed>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Response {
    let Ok(Query(signed)) = signed else { return refuse(StatusCode::FORBIDDEN, "this link is not signed") };
    if !media.links.verify(&md5, &name, signed.expires, &signed.signature, media.clock.now()) {
        return refuse(StatusCode::FORBIDDEN, "this link is expired or not genuine");
    }
    let blob = match media.archive.blob(&md5).await {
        Ok(Some(blob)) => blob,
        Ok(None) => return refuse(StatusCode::NOT_FOUND, "no such file"),
        Err(error) => {
            tracing::error!(%error, "cannot look up a file");
            return unavailable("the archive does not answer");
        }
    };
    let found = match media.store.find(&md5).await {
        Ok(Some(found)) if found.size == blob.size => found,
        Ok(found) => return gone(&blob, found),
        // The store tells of it itself.
        Err(_) => return unavailable("the store of files does not answer"),
    };
    let etag = format!("\"{md5}\"");
    let known = Known { etag: &etag, modified: found.modified, size: found.size };
    let (status, part) = match known.wanted(request.method(), request.headers()) {
        Wanted::Whole => (StatusCode::OK, 0..found.size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::NotModified => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            identify(response.headers_mut(), &known);
            return response;
        }
        Wanted::PreconditionFailed => return StatusCode::PRECONDITION_FAILED.into_response(),
        Wanted::Unsatisfiable => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            set(response.headers_mut(), header::ACCEPT_RANGES, "bytes");
            set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", found.size));
            return response;
        }
    };
    let length = part.end - part.start;
    let content_range = format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), found.size);
    let body = match content(&media.store, request.method(), &md5, part).await {
        Ok(Some(body)) => body,
        Ok(None) => return gone(&blob, None),
        Err(_) => return unavailable("the store of files does not answer"),
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    identify(headers, &known);
    let inline = INLINE.iter().any(|allowed| blob.mime.starts_with(allowed));
    let disposition = if inline { "inline" } else { "attachment" };
    let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
    set(headers, header::CONTENT_LENGTH, &length.to_string());
    set(headers, header::ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        set(headers, header::CONTENT_RANGE, &content_range);
    }
    set(headers, header::CONTENT_TYPE, &blob.mime);
    set(headers, header::CONTENT_DISPOSITION, &format!("{disposition}; filename*=UTF-8''{encoded}"));
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    response
}

/// The bytes of an answer, as the store has them; whoever goes away ends the transfer.
async fn content(store: &MediaStore, method: &Method, md5: &str, part: Range<u64>) -> io::Result<Option<Body>> {
    if method == Method::HEAD {
        return Ok(Some(Body::empty()));
    }
    let md5 = md5.to_owned();
    let stream = store.read(&md5, part).await?;
    Ok(stream.map(|stream| {
        Body::from_stream(
            stream.inspect_err(move |error| tracing::warn!(md5, %error, "a file broke off while it was sent")),
        )
    }))
}

/// What a copy is told by, and how long it is good.
fn identify(headers: &mut HeaderMap, known: &Known<'_>) {
    set(headers, header::ETAG, known.etag);
    set(headers, header::LAST_MODIFIED, &httpdate::fmt_http_date(known.modified));
    set(headers, header::CACHE_CONTROL, "private, max-age=86400, immutable");
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // Every value above is visible ASCII: percent-encoded, or from a table of media types.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Somebody else was in the store. Not to be remembered by anybody: the file may be put back.
fn gone(blob: &Blob, found: Option<Found>) -> Response {
    let (md5, size, found) = (&blob.md5, blob.size, found.map(|found| found.size));
    tracing::error!(md5, size, found, "a stored file is not there, or not whole");
    refuse(StatusCode::NOT_FOUND, "this file is not here any more")
}

fn unavailable(message: &'static str) -> Response {
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, message);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(COME_BACK.as_secs()));
    response
}

fn refuse(status: StatusCode, message: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], message).into_response()
}
