//! Answers signed links with the file, ranges included.

use super::links::PREFIX;
use super::{Links, MediaStore};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::sync::Arc;
use stele_archive::{Archive, Clock};
use tower::ServiceExt;
use tower_http::services::ServeFile;

/// What may be shown inside a page; anything else is offered for download, so that a file from a chat never runs as a
/// page of this origin.
const INLINE: &[&str] =
    &["image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "audio/", "video/", "application/pdf"];

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
    let (path, blob) = match (media.store.path(&md5), media.archive.blob(&md5).await) {
        (Some(path), Ok(Some(blob))) => (path, blob),
        (_, Ok(_)) => return refuse(StatusCode::NOT_FOUND, "no such file"),
        (_, Err(error)) => {
            tracing::error!(%error, "cannot look up a file");
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the archive does not answer");
        }
    };
    let Ok(mut response) = ServeFile::new(path).oneshot(request).await.map(|r| r.map(Body::new));
    if response.status() == StatusCode::NOT_FOUND || response.status().is_server_error() {
        // Somebody else was in the data folder. Not to be remembered by anybody: the file may be put back.
        tracing::error!(md5, "a stored file is not on disk");
        return refuse(StatusCode::NOT_FOUND, "this file is not here any more");
    }
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        return response;
    }
    let headers = response.headers_mut();
    let inline = INLINE.iter().any(|allowed| blob.mime.starts_with(allowed));
    let disposition = if inline { "inline" } else { "attachment" };
    let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
    set(headers, header::CONTENT_TYPE, &blob.mime);
    set(headers, header::CONTENT_DISPOSITION, &format!("{disposition}; filename*=UTF-8''{encoded}"));
    set(headers, header::CACHE_CONTROL, "private, max-age=86400, immutable");
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    response
}

fn set(headers: &mut http::HeaderMap, name: header::HeaderName, value: &str) {
    // Every value above is visible ASCII: percent-encoded, or from a table of media types.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn refuse(status: StatusCode, message: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], message).into_response()
}
