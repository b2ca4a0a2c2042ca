//! Contract 000 §2.1: the conversations of a member of staff, latest activity first, each with its latest message.
//!
//! `name` looks for letters in what is shown: the names of people and titles of groups, or their ids where there are none.

use super::errors::ApiError;
use super::params::Params;
use super::render::{Pager, Session, SessionItem};
use super::values::{self, Paging};
use super::{ApiState, reply, scope};
use crate::ids;
use serde::Serialize;
use stele_plugin_api::ops::{ConversationList, ConversationQuery, HttpReply};

#[derive(Serialize)]
struct Sessions<'a> {
    items: Vec<SessionItem<'a>>,
    total: u64,
    page: u32,
    page_size: u32,
    /// Where the Go original put the three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pager: Option<Pager>,
}

/// The rows asked for.
pub async fn answer(state: &ApiState, corp: &str, params: &Params, base_url: &str) -> Result<HttpReply, ApiError> {
    let staff = values::staff(params)?;
    let kind = values::session_kind(params)?;
    let name = values::text(params, "name")?;
    let Paging { page, page_size } = Paging::of(params)?;
    let query = ConversationQuery {
        person: ids::person(corp, staff),
        kind: Some(kind),
        name: name.map(str::to_owned),
        offset: Paging { page, page_size }.offset(),
        limit: page_size,
    };
    let found = state.page::<ConversationList>(query).await?;
    if found.total == 0 {
        scope::known_staff(state, corp, staff).await?;
    }
    let sessions: Vec<_> =
        found.rows.iter().map(|row| Session::new(state, corp, base_url, &row.conversation)).collect();
    let items = found.rows.iter().zip(&sessions).map(|(row, session)| SessionItem::new(session, staff, row)).collect();
    let total = found.total;
    let pager = state.go_spellings.then_some(Pager { page, page_size, total_rows: total });
    reply::success(Sessions { items, total, page, page_size, pager })
}
