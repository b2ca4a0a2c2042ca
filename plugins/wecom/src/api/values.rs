//! Parameters with a meaning: ids, pages, anchors, orders. What is missing takes its default, what makes no sense gets
//! the code of the contract's table.

use super::errors::ApiError;
use super::params::Params;
use crate::content::kinds;
use stele_plugin_api::model::ConversationKind;
use stele_plugin_api::ops::MessageOrder;

/// Rows per page when the request does not say.
pub const DEFAULT_PAGE_SIZE: u32 = 20;
/// Most rows per page (contract 000, note 3); more is cut to it and the answer says so.
pub const MAX_PAGE_SIZE: u32 = 100;
/// Longest userid in bytes (reference/wecom-archive.md §2.1).
pub const MAX_STAFF_ID_BYTES: usize = 64;
/// Longest id of a peer or room, in bytes.
pub const MAX_PEER_ID_BYTES: usize = 128;
/// Longest keyword and longest name to look for, in characters.
pub const MAX_TEXT_CHARS: usize = 1000;

/// A page of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// From 1.
    pub page: u32,
    /// 1 to [`MAX_PAGE_SIZE`].
    pub page_size: u32,
}

impl Paging {
    /// `page` and `page_size`; 0 and empty mean the default, as the old server's own client sends them.
    ///
    /// # Errors
    ///
    /// 1006 for anything but a number of 32 bits.
    pub fn of(params: &Params) -> Result<Self, ApiError> {
        let page = number(params, "page")?.unwrap_or(1);
        let page_size = number(params, "page_size")?.unwrap_or(DEFAULT_PAGE_SIZE).min(MAX_PAGE_SIZE);
        Ok(Self { page, page_size })
    }

    /// Rows before the page.
    pub fn offset(self) -> u64 {
        u64::from(self.page - 1) * u64::from(self.page_size)
    }
}

fn number(params: &Params, name: &str) -> Result<Option<u32>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let number: u32 = digits(text).and_then(|text| text.parse().ok()).ok_or_else(|| ApiError::paging(name))?;
    Ok(Some(number).filter(|number| *number > 0))
}

/// The text when it is digits only: Rust would take a plus sign, too.
fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}

/// The member of staff asked about.
///
/// # Errors
///
/// 400 when missing, 1002 when no userid looks like it.
pub fn staff(params: &Params) -> Result<&str, ApiError> {
    let staff = params.require("ext_staff_id")?;
    if is_id(staff, MAX_STAFF_ID_BYTES) { Ok(staff) } else { Err(ApiError::staff()) }
}

/// The person or room on the other side.
///
/// # Errors
///
/// 400 when missing, or when no id looks like it.
pub fn peer<'a>(params: &'a Params, name: &'static str) -> Result<&'a str, ApiError> {
    let peer = params.require(name)?;
    if is_id(peer, MAX_PEER_ID_BYTES) { Ok(peer) } else { Err(ApiError::parameter(name)) }
}

fn is_id(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.contains(char::is_control)
}

/// A text to look for, when there is one; anything goes, since messages hold anything, control characters too.
///
/// # Errors
///
/// 400 when it is too long.
pub fn text<'a>(params: &'a Params, name: &'static str) -> Result<Option<&'a str>, ApiError> {
    match params.get(name) {
        Some(text) if text.chars().nth(MAX_TEXT_CHARS).is_some() => Err(ApiError::parameter(name)),
        text => Ok(text),
    }
}

/// The kind of conversations a `session_type` means; `room` is what the old dashboard says for `group`.
///
/// # Errors
///
/// 400 when missing, 1003 for any other word.
pub fn session_kind(params: &Params) -> Result<ConversationKind, ApiError> {
    match params.require("session_type")? {
        "internal" => Ok(ConversationKind::Direct),
        "external" => Ok(ConversationKind::External),
        "group" | "room" => Ok(ConversationKind::Group),
        _ => Err(ApiError::session_type()),
    }
}

/// The contract's word for a kind of conversation; empty for one it does not know.
pub fn session_type(kind: &ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Direct => "internal",
        ConversationKind::External => "external",
        ConversationKind::Group => "group",
        _ => "",
    }
}

/// A message id to page from.
///
/// # Errors
///
/// 400 for anything but digits that fit an id.
pub fn anchor(params: &Params, name: &'static str) -> Result<Option<i64>, ApiError> {
    params
        .get(name)
        .map(|text| digits(text).and_then(|text| text.parse().ok()).ok_or_else(|| ApiError::parameter(name)))
        .transpose()
}

/// The order of messages and, when the request says so, whether it descends.
///
/// # Errors
///
/// 400 for a field messages are not ordered by, and for anything but `asc` and `desc`.
pub fn order(params: &Params) -> Result<(MessageOrder, Option<bool>), ApiError> {
    let order = match params.get("sort_field") {
        None | Some("msg_time" | "msgtime") => MessageOrder::SentAt,
        Some("id") => MessageOrder::Id,
        Some("seq") => MessageOrder::Seq,
        Some(_) => return Err(ApiError::parameter("sort_field")),
    };
    let descending = match params.get("sort_type") {
        None => None,
        Some("asc") => Some(false),
        Some("desc") => Some(true),
        Some(_) => return Err(ApiError::parameter("sort_type")),
    };
    Ok((order, descending))
}

/// Words for a message type that are not its `msgtype`: the key of its body, or a spelling seen in some sources.
const OTHER_WORDS: [(&str, &str); 4] = [
    ("doc", "docmsg"),
    ("recall", "revoke"),
    ("meetingvoicecall", "meeting_voice_call"),
    ("voipdocshare", "voip_doc_share"),
];

/// The kinds of messages a `msg_type` means, in every spelling they are stored under; none means all.
///
/// # Errors
///
/// 1004 for a word that means no type of WeCom's.
pub fn message_kinds(params: &Params) -> Result<Vec<String>, ApiError> {
    let Some(word) = params.get("msg_type") else { return Ok(Vec::new()) };
    let name = OTHER_WORDS.iter().find(|(other, _)| *other == word).map_or(word, |(_, name)| *name);
    if kinds::find(name).is_none() && ![kinds::UNKNOWN, kinds::UNPARSABLE].contains(&name) {
        return Err(ApiError::message_type());
    }
    let others = OTHER_WORDS.iter().filter(|(_, known)| *known == name).map(|(other, _)| *other);
    Ok(std::iter::once(name).chain(others.filter(|other| kinds::find(other).is_some())).map(str::to_owned).collect())
}
