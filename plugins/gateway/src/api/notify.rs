//! `/notify`: listen to what comes (reference/gateway.md §5). The daemon keeps the connection.

use super::auth::{header, parameter};
use super::errors::ApiError;
use super::{Api, reply};
use crate::token::Caller;
use crate::upstream::Age;
use stele_plugin_api::ops::{ArchiveGet, ByIds, HttpReply, HttpRequest, LiveCarrier, Subscription};

impl Api {
    pub(super) async fn notify(&self, request: &HttpRequest, caller: Caller) -> Result<HttpReply, ApiError> {
        let protocol = parameter(request, "protoc").unwrap_or_default();
        // Whether a WebSocket can be had is for the daemon to see: the connection is its own.
        let (carrier, headers) = match protocol.as_str() {
            "ws" => (LiveCarrier::WebSocket, &[][..]),
            "sse" => (LiveCarrier::Sse, &[("content-type", "text/event-stream"), ("cache-control", "no-cache")][..]),
            "poll" => (LiveCarrier::Poll, &[("content-type", "application/json")][..]),
            _ => return Err(ApiError::UnsupportedDriver),
        };
        // A browser that comes back says what it has seen in the header, and asks for the address it began with. If nobody knows
        // what it says it begins with what comes: it could do nothing with a refusal.
        let seen = header(request, "last-event-id").filter(|seen| carrier == LiveCarrier::Sse && !seen.is_empty());
        let since = match seen {
            Some(seen) => self.revision(seen.to_owned()).await?,
            None => match parameter(request, "since").filter(|since| !since.is_empty()) {
                Some(since) => Some(self.revision(since).await?.ok_or(ApiError::InvalidParameter)?),
                None => None,
            },
        };
        if let Some(upstream) = &self.upstream {
            upstream.listens(&caller);
            upstream.check(&caller, Age::Believed).await?;
        }
        let subscription = Subscription {
            carrier,
            session: format!("{}/{}", caller.sid, caller.platform),
            person: caller.sid,
            since,
            wait_ms: u64::from(self.config.poll_seconds) * 1000,
            expires_at: caller.expires_at,
        };
        Ok(HttpReply { subscription: Some(subscription), ..reply::with(200, headers, Vec::new()) })
    }

    /// Where a message stands in the order of revisions; `None` when nobody knows it.
    async fn revision(&self, id: String) -> Result<Option<i64>, ApiError> {
        let found = self.call::<ArchiveGet>(ByIds { native_ids: vec![id] }).await?;
        Ok(found.rows.first().map(|message| message.rev))
    }
}
