//! Contract 000 §1.1: start a sync of a corp.
//!
//! The answer does not wait for the sync (the original blocked until the whole backlog was there). A second request while
//! one runs is a success too: the daemon runs once more afterwards, so that nothing that came meanwhile is missed.

use super::ApiState;
use super::errors::ApiError;
use super::reply;
use stele_plugin_api::ops::{HttpReply, JobRequest, JobStart};

/// Start the job, or say that it runs.
pub async fn answer(state: &ApiState, corp: &str) -> Result<HttpReply, ApiError> {
    let job = JobRequest { kind: "sync".to_owned(), partition: Some(corp.to_owned()) };
    let job = state.call::<JobStart>(job).await?;
    reply::done(if job.started { "同步任务已启动" } else { "同步任务正在运行" })
}
