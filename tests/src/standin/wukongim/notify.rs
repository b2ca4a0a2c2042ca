//! The webhooks it calls (reference/wukongim.md §9). What is not taken is dropped after a few attempts.

use super::{Shared, Version, store::Row};
use anyhow::Result;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Pause between two looks at what is new.
const INTERVAL: Duration = Duration::from_millis(50);
/// Most messages of a call.
const BATCH: usize = 100;
/// Attempts at a call.
const ATTEMPTS: u32 = 5;

pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (address, calls) = {
            let state = &mut *shared.lock();
            let news = std::mem::take(&mut state.store.news);
            let Some(address) = state.switches.webhook.clone() else { continue };
            let rows: Vec<_> = news.iter().map(|row| told(row, shared.version)).collect();
            let mut calls = Vec::new();
            for batch in rows.chunks(BATCH) {
                if state.switches.lose_notifies > 0 {
                    state.switches.lose_notifies -= 1;
                    continue;
                }
                let times = if state.switches.repeat_notifies { 2 } else { 1 };
                calls.extend((0..times).map(|_| Value::from(batch)));
            }
            (address, calls)
        };
        for call in calls {
            for _ in 0..ATTEMPTS {
                if post(&address, "msg.notify", &call).await.is_ok_and(|status| status == StatusCode::OK) {
                    break;
                }
                tokio::time::sleep(INTERVAL).await;
            }
        }
    }
}

/// A message as the webhook is told it: the time is taken anew.
fn told(row: &Row, version: Version) -> Value {
    let mut message = row.v2(false);
    message["timestamp"] = json!(row.timestamp + 1);
    if version == Version::V3 {
        message["channel_id"] = json!(row.channel);
        message["from_uid"] = json!(row.from);
    }
    message
}

/// The query is put behind the address, whatever it is.
pub(super) async fn post(address: &str, event: &str, body: &Value) -> Result<StatusCode> {
    let reply = crate::client::http().post(format!("{address}?event={event}")).json(body).send().await?;
    Ok(reply.status())
}
