//! What can be looked up by an index, which takes only so much of a text.

use super::text::written;
use stele_archive::{ArchiveError, Commit, Result};

/// Longest text of an index, in bytes: three of them must fit on one of its pages of 8 KiB.
const MAX_KEY: usize = 2_000;

/// Refuse a text that no index takes.
pub(super) fn check(what: &str, key: &str) -> Result<()> {
    if key.len() > MAX_KEY / 3 && written(key).len() > MAX_KEY {
        let begin: String = key.chars().take(40).collect();
        let text = format!("{what} is longer than the {MAX_KEY} bytes that Postgres can look up: {begin:?}…");
        return Err(ArchiveError::Invalid(text));
    }
    Ok(())
}

/// The same for all that a page names.
pub(super) fn check_page(commit: &Commit<'_>) -> Result<()> {
    let page = commit.page;
    check("a partition", commit.partition)?;
    for message in &page.messages {
        check("the native id of a message", &message.native_id)?;
        check("the native id of a conversation", &message.conversation)?;
        check("the native id of a person", &message.sender)?;
        check("a client id", message.client_id.as_deref().unwrap_or_default())?;
        check("the kind of a message", &message.kind)?;
        message.recipients.iter().try_for_each(|native| check("the native id of a person", native))?;
        message.media.iter().try_for_each(|file| check("the handle of a file", &file.handle))?;
    }
    for conversation in &page.conversations {
        check("the native id of a conversation", &conversation.native_id)?;
        check("the kind of a conversation", conversation.kind.as_ref().map_or("", |kind| kind.as_str()))?;
        let members = conversation.members.iter().flatten().chain(&conversation.joined).chain(&conversation.left);
        members.into_iter().try_for_each(|native| check("the native id of a person", native))?;
    }
    page.people.iter().try_for_each(|person| check("the native id of a person", &person.native_id))?;
    page.revocations.iter().try_for_each(|message| check("the native id of a message", &message.native_id))?;
    page.parked.iter().try_for_each(|message| check("the native id of a message", &message.native_id))?;
    page.reached.iter().try_for_each(|reached| check("a partition", &reached.partition))
}
