//! Plugins: what there is, and starting one anew.

use super::{Admin, Failure};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;

pub async fn list(State(admin): State<Arc<Admin>>) -> Response {
    Json(json!({ "plugins": admin.overview.plugins() })).into_response()
}

/// Answers when it is done. Whoever does not wait for the answer ends nothing of it: a plugin that has taken over needs the rest.
pub async fn reload(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Result<Response, Failure> {
    let reloading = tokio::spawn(async move { admin.overview.reload_plugins(&name).await });
    let stopped = || Failure(StatusCode::SERVICE_UNAVAILABLE, "the daemon stops".into());
    match reloading.await.ok().flatten().ok_or_else(stopped)? {
        Err(unknown) => Err(Failure::not_found(unknown)),
        Ok(reloads) => {
            let (failed, done): (Vec<_>, Vec<_>) = reloads.into_iter().partition(|reload| reload.error.is_some());
            if failed.is_empty() {
                return Ok(Json(json!({ "reloaded": done })).into_response());
            }
            let told =
                failed.iter().filter_map(|reload| Some(format!("{}: {}", reload.instance, reload.error.as_ref()?)));
            let mut error = told.collect::<Vec<_>>().join("; ");
            if !done.is_empty() {
                let names: Vec<_> = done.iter().map(|reload| reload.instance.as_str()).collect();
                error = format!("{error}; reloaded: {}", names.join(", "));
            }
            Err(Failure(StatusCode::CONFLICT, error))
        }
    }
}
