//! Contract 000 §4.1: messages of one conversation that contain a keyword, newest first.
//!
//! The keyword is taken literally: no wildcards, no word boundaries, from one character up.

use super::errors::ApiError;
use super::params::Params;
use super::render::{MessageItem, Session};
use super::values::{self, Paging};
use super::{ApiState, reply, scope};
use stele_plugin_api::ErrorCode;
use stele_plugin_api::ops::{ArchiveSearch, HttpReply, SearchQuery};

/// The rows found.
pub async fn answer(state: &ApiState, corp: &str, params: &Params, base_url: &str) -> Result<HttpReply, ApiError> {
    let staff = values::staff(params)?;
    let peer = values::peer(params, "ext_peer_id")?;
    let keyword = values::text(params, "keyword")?.ok_or_else(|| ApiError::missing("keyword"))?;
    let paging = Paging::of(params)?;
    let Some(conversation) = scope::conversation(state, corp, staff, peer).await? else {
        return reply::success(reply::Rows::<()> { items: Vec::new(), total: 0 });
    };
    let query = SearchQuery {
        text: keyword.to_owned(),
        conversation: Some(conversation.native_id.clone()),
        offset: paging.offset(),
        limit: paging.page_size,
        ..SearchQuery::default()
    };
    let found = state.try_call::<ArchiveSearch>(query).await.map_err(|error| match error.code {
        // The index knows best what can be looked for.
        ErrorCode::Invalid => ApiError::parameter("keyword"),
        _ => ApiError::of_page(&error),
    })?;
    let session = Session::new(state, corp, base_url, &conversation);
    let items: Vec<_> = found.rows.iter().map(|message| MessageItem::new(&session, message)).collect();
    reply::success(reply::Rows { items, total: found.total })
}
