//! The daemon's own listener: health, readiness, metrics, and the API over jobs, instances, plugins and the archive.
//!
//! | method and path | what |
//! |---|---|
//! | `GET /health` | the process lives |
//! | `GET /ready` | 200 when it serves (also when degraded: the body says what is not well), else 503: it starts, it stops, or its archive has not answered for ten seconds |
//! | `GET /metrics` | Prometheus |
//! | `GET /api/v1/instances` | instances, how they are, what they hold |
//! | `GET /api/v1/plugins` | plugin files found, and which instance uses them |
//! | `POST /api/v1/plugins/{name}/reload` | start the plugin of the instance of this name anew, and of all whose plugin has it; 409 says why not |
//! | `GET /api/v1/jobs?instance=&limit=` | jobs, and the latest runs |
//! | `POST /api/v1/jobs/{instance}/{kind}/run?partition=` | run a job now |
//! | `GET /api/v1/media/parked?instance=&limit=` | files of an instance that were given up, latest first, and why |
//! | `GET /api/v1/archive/stats` | how much there is |
//! | `GET /api/v1/archive/search?q=&instance=&…` | search over all instances |
//! | `GET /api/v1/index`, `POST /api/v1/index/rebuild` | the search index; build it anew |
//!
//! Errors are `{"error": "sentence"}` with a fitting status.
//!
//! Daemons that share an archive answer alike. Of one daemon alone are `/metrics` and `/api/v1/index`; what `/ready` finds about the
//! daemon's own index, files, plugins and connections; and of an instance its address, and the process, restarts, calls in flight and
//! late frames of its plugin. Of a job that failed, or succeeded, in another daemon `/ready` hears within five seconds.

mod access;
mod archive;
mod jobs;
mod media;
mod plugins;
mod state;

pub use state::{Admin, InstanceView, Overview, PluginReload, PluginView, Readiness, Reindexing};

use super::Answers;
use super::listener::{Handler, Peer};
use super::observe::{Paths, observed};
use async_trait::async_trait;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::{Request, StatusCode, header};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

/// Shape of errors of this API.
const ERRORS: &str = r#"{"error":"{message}"}"#;

/// Serves the daemon's own API.
pub struct AdminHandler {
    router: Router,
    answers: Answers,
    timeout: Duration,
}

impl AdminHandler {
    /// Over these parts of the daemon.
    pub fn new(admin: Arc<Admin>, timeout: Duration) -> Self {
        let api = Router::new()
            .route("/instances", get(instances))
            .route("/plugins", get(plugins::list))
            .route("/plugins/{name}/reload", post(plugins::reload))
            .route("/jobs", get(jobs::list))
            .route("/jobs/{instance}/{kind}/run", post(jobs::run))
            .route("/media/parked", get(media::parked))
            .route("/archive/stats", get(archive::stats))
            .route("/archive/search", get(archive::search))
            .route("/index", get(archive::index))
            .route("/index/rebuild", post(archive::rebuild))
            .layer(middleware::from_fn_with_state(Arc::clone(&admin), access::check));
        let router = Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .nest("/api/v1", api)
            .fallback(async || Failure(StatusCode::NOT_FOUND, "no such path".into()))
            .method_not_allowed_fallback(async || {
                Failure(StatusCode::METHOD_NOT_ALLOWED, "not with this method".into())
            })
            .with_state(admin);
        Self { router, answers: Answers::new(ERRORS), timeout }
    }
}

#[async_trait]
impl Handler for AdminHandler {
    async fn handle(&self, request: Request<Body>, peer: Peer) -> Response {
        observed("admin", &self.answers, &Paths::AllBut(Vec::new()), request, peer, async |request, _| {
            // What this one waits for has bounds of its own: a plugin's start, and the end of the one before.
            let patience = if request.uri().path().ends_with("/reload") { Duration::MAX } else { self.timeout };
            match tokio::time::timeout(patience, self.router.clone().oneshot(request)).await {
                Ok(Ok(response)) => response,
                Err(_) => self.answers.render(StatusCode::GATEWAY_TIMEOUT, "this took too long"),
            }
        })
        .await
    }
}

/// An error of this API.
struct Failure(StatusCode, String);

impl Failure {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, message.into())
    }
}

impl From<stele_archive::ArchiveError> for Failure {
    fn from(error: stele_archive::ArchiveError) -> Self {
        tracing::error!(%error, "the archive does not answer");
        Self(StatusCode::SERVICE_UNAVAILABLE, "the archive does not answer".into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

async fn health() -> Response {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })).into_response()
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let readiness = admin.overview.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, admin.metrics.render()).into_response()
}

async fn instances(State(admin): State<Arc<Admin>>) -> Result<Response, Failure> {
    let mut rows = Vec::new();
    for view in admin.overview.instances() {
        let (stats, media) = match view.id {
            Some(id) => (Some(admin.archive.stats(Some(id)).await?), Some(admin.archive.media_totals(Some(id)).await?)),
            None => (None, None),
        };
        let mut row = serde_json::to_value(view).expect("a view has only text keys");
        row["stats"] = json!(stats);
        row["media"] = json!(media);
        rows.push(row);
    }
    Ok(Json(json!({ "instances": rows })).into_response())
}
