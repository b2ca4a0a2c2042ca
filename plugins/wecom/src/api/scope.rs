//! What a request is about: the corp, the member of staff, and the conversation with somebody.

use super::ApiState;
use super::errors::ApiError;
use super::params::Params;
use super::signature::Caller;
use crate::ids;
use stele_plugin_api::ops::{ById, ConversationGet, ConversationTakesPart, ConversationView, Participation, PersonGet};

/// Prefix of room ids (reference/wecom-archive.md §2.1).
const ROOM_PREFIX: &str = "wr";

/// The corp asked about.
///
/// # Errors
///
/// 400 when missing, 403 when the caller's key is meant for others, 1001 when it is not archived here.
pub fn corp<'a>(state: &ApiState, params: &'a Params, caller: &Caller) -> Result<&'a str, ApiError> {
    let corp = params.require("ext_corp_id")?;
    caller.authorize()?;
    if state.corps.iter().any(|known| known == corp) { Ok(corp) } else { Err(ApiError::corp()) }
}

/// Asked only when nothing was found for a member of staff: whoever has a conversation is known.
///
/// # Errors
///
/// 1002 when neither a message nor the directory ever named them.
pub async fn known_staff(state: &ApiState, corp: &str, staff: &str) -> Result<(), ApiError> {
    let person = state.call::<PersonGet>(ById { native_id: ids::person(corp, staff) }).await?;
    if person.is_some() { Ok(()) } else { Err(ApiError::staff()) }
}

/// The conversation of a member of staff with a person, or the room of this id when they take part in it.
///
/// Rooms are told from people by the prefix of their ids, but not every source keeps to it: whichever exists is taken,
/// the likelier one first.
pub async fn conversation(
    state: &ApiState,
    corp: &str,
    staff: &str,
    peer: &str,
) -> Result<Option<ConversationView>, ApiError> {
    let with_person = ids::Conversation::direct(staff, peer).native_id(corp);
    let room = ids::Conversation::Group(peer.to_owned()).native_id(corp);
    let likelier_first = if peer.starts_with(ROOM_PREFIX) { [&room, &with_person] } else { [&with_person, &room] };
    for native_id in likelier_first {
        let Some(found) = state.call::<ConversationGet>(ById { native_id: native_id.clone() }).await? else { continue };
        let member = Participation { conversation: native_id.clone(), person: ids::person(corp, staff) };
        if *native_id != room || state.call::<ConversationTakesPart>(member).await? {
            return Ok(Some(found));
        }
    }
    known_staff(state, corp, staff).await?;
    Ok(None)
}
