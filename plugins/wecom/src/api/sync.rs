//! Contract 000 §1.1: start a sync of a corp.
//!
//! The answer does not wait for the sync (the original blocked until the whole backlog was there). A second request while
//! one runs is a success too: the daemon runs once more afterwards, so that nothing that came meanwhile is missed.

use super::ApiState;
use super::errors::{ApiError, DEFAULT_RETRY_AFTER_S};
use super::reply;
use stele_plugin_api::ErrorCode;
use stele_plugin_api::ops::{HttpReply, JobRequest, JobStart};

/// Start the job, or say that it runs.
pub async fn answer(state: &ApiState, corp: &str) -> Result<HttpReply, ApiError> {
    let job = JobRequest { kind: "sync".to_owned(), partition: Some(corp.to_owned()) };
    let job = state.try_call::<JobStart>(job).await.map_err(|error| match error.code {
        // The corp is configured: the daemon, just started, has not asked for its partitions yet.
        ErrorCode::NotFound => ApiError::unavailable(DEFAULT_RETRY_AFTER_S),
        _ => ApiError::from_host(&error),
    })?;
    reply::done(if job.started { "同步任务已启动" } else { "同步任务正在运行" })
}
