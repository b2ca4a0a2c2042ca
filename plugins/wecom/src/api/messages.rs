//! Contract 000 §3.1: the messages of one conversation.
//!
//! `max_id` and `min_id` mean 'greater than' and 'less than' (the contract's words, not their names' hint): the rows
//! nearest to the anchor are taken, then ordered; both together are the open interval between them. `page` counts from
//! the anchor. The total knows neither pages nor anchors (reference/wecom-archive.md §8-12, §8-22, §8-23).

use super::errors::ApiError;
use super::params::Params;
use super::render::{MessageItem, Session};
use super::values::{self, Paging};
use super::{ApiState, dates, reply, scope};
use stele_plugin_api::ops::{ArchiveQuery, HttpReply, MessageQuery};

/// The rows asked for.
pub async fn answer(state: &ApiState, corp: &str, params: &Params, base_url: &str) -> Result<HttpReply, ApiError> {
    let staff = values::staff(params)?;
    let peer = values::peer(params, "receiver_id")?;
    let kinds = values::message_kinds(params)?;
    let range = dates::range(params.get("send_at_start"), params.get("send_at_end"), state.zone)?;
    let (after, before) = (values::anchor(params, "max_id")?, values::anchor(params, "min_id")?);
    let (order, descending) = values::order(params)?;
    let paging = Paging::of(params)?;
    let Some(conversation) = scope::conversation(state, corp, staff, peer).await? else {
        return reply::success(reply::Rows::<()> { items: Vec::new(), total: 0 });
    };
    let anchored = after.is_some() || before.is_some();
    let query = MessageQuery {
        conversation: conversation.native_id.clone(),
        kinds,
        since: range.since,
        until: range.until,
        after,
        before,
        order,
        descending: descending.unwrap_or(!(anchored && state.anchor_ascending)),
        offset: paging.offset(),
        limit: paging.page_size,
        ..MessageQuery::default()
    };
    let found = state.page::<ArchiveQuery>(query).await?;
    let session = Session::new(state, corp, base_url, &conversation);
    let items: Vec<_> = found.rows.iter().map(|message| MessageItem::new(&session, message)).collect();
    reply::success(reply::Rows { items, total: found.total })
}
