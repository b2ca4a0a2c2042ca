//! Jobs: what there is, what ran, and running one now.

use super::{Admin, Failure};
use crate::jobs::NotStarted;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Runs shown when the caller does not say.
const DEFAULT_RUNS: u32 = 50;
/// Most runs shown.
const MAX_RUNS: u32 = 1000;

#[derive(Deserialize)]
pub struct ListQuery {
    instance: Option<String>,
    limit: Option<u32>,
}

pub async fn list(
    State(admin): State<Arc<Admin>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| Failure::bad(error.body_text()))?;
    let mut jobs = admin.jobs.overview().await;
    if let Some(instance) = &query.instance {
        jobs.retain(|job| job.record.key.instance == *instance);
    }
    let limit = query.limit.unwrap_or(DEFAULT_RUNS).min(MAX_RUNS);
    let runs = admin.archive.runs(query.instance.as_deref(), limit).await?;
    Ok(Json(json!({ "jobs": jobs, "runs": runs })).into_response())
}

#[derive(Deserialize)]
pub struct RunQuery {
    partition: Option<String>,
}

pub async fn run(
    State(admin): State<Arc<Admin>>,
    Path((instance, kind)): Path<(String, String)>,
    query: Result<Query<RunQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| Failure::bad(error.body_text()))?;
    let partition = query.partition.as_deref();
    let answer = admin.jobs.request_by_hand(&instance, &kind, partition).await?.map_err(|reason| match reason {
        NotStarted::Unknown => {
            let of = partition.map(|partition| format!(" for partition {partition:?}")).unwrap_or_default();
            Failure::not_found(format!("instance {instance:?} has no {kind:?} job{of}"))
        }
        NotStarted::Stopping => Failure(StatusCode::SERVICE_UNAVAILABLE, reason.to_string()),
    })?;
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}
