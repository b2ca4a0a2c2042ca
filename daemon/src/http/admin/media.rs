//! Files that were given up. Running the media job by hand tries them again.

use super::{Admin, Failure};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Files shown when the caller does not say.
const DEFAULT_ROWS: u32 = 100;
/// Most files shown.
const MAX_ROWS: u32 = 1000;

#[derive(Deserialize)]
pub struct ParkedQuery {
    instance: String,
    limit: Option<u32>,
}

pub async fn parked(
    State(admin): State<Arc<Admin>>,
    query: Result<Query<ParkedQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(ParkedQuery { instance, limit }) = query.map_err(|error| Failure::bad(error.body_text()))?;
    let known = admin.overview.instances().into_iter().find(|view| view.name == instance);
    let id = known.and_then(|view| view.id).ok_or_else(|| Failure::not_found(format!("no instance {instance:?}")))?;
    let total = admin.archive.media_totals(Some(id)).await?.parked;
    let rows = admin.archive.media_parked(id, limit.unwrap_or(DEFAULT_ROWS).min(MAX_ROWS)).await?;
    // The handle stays inside: for some sources it is a right to the file.
    let row = |(task, error): (stele_archive::MediaTask, String)| -> Value {
        json!({
            "id": task.id, "partition": task.partition, "kind": task.kind, "name": task.name, "size": task.size,
            "deadline": task.deadline, "attempts": task.attempts, "error": error,
        })
    };
    let rows: Vec<Value> = rows.into_iter().map(row).collect();
    Ok(Json(json!({ "total": total, "rows": rows })).into_response())
}
