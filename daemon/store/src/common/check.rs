//! What a page must be like.

use stele_archive::model::{MAX_LABEL, MAX_LABELS};
use stele_archive::{ArchiveError, Commit, Result};

/// What no attempt can make right is refused before anything is written.
pub(crate) fn check(commit: &Commit<'_>) -> Result<()> {
    let page = commit.page;
    let invalid = |text: String| Err(ArchiveError::Invalid(text));
    for message in &page.messages {
        if message.native_id.is_empty() {
            return invalid("a message has no native id".to_owned());
        }
        if message.conversation.is_empty() {
            return invalid(format!("message {:?} has no conversation", message.native_id));
        }
        if message.sent_at == i64::MIN || message.seq == Some(i64::MAX) {
            return invalid(format!("message {:?} has a time or number that is out of range", message.native_id));
        }
        if message.once && (message.sender.is_empty() || message.client_id.as_ref().is_none_or(String::is_empty)) {
            return invalid(format!(
                "message {:?} is to be stored once, and has no sender or no client id to tell it by",
                message.native_id
            ));
        }
        if message.labels.len() > MAX_LABELS {
            return invalid(format!("message {:?} has more than {MAX_LABELS} labels", message.native_id));
        }
        if message.labels.iter().any(|label| label.len() > MAX_LABEL) {
            return invalid(format!("message {:?} has a label of more than {MAX_LABEL} bytes", message.native_id));
        }
        if message.media.iter().any(|file| file.handle.is_empty()) {
            return invalid(format!("message {:?} has a file without a handle", message.native_id));
        }
    }
    if page.people.iter().any(|person| person.native_id.is_empty()) {
        return invalid("a person has no native id".to_owned());
    }
    if page.conversations.iter().any(|conversation| conversation.native_id.is_empty()) {
        return invalid("a conversation has no native id".to_owned());
    }
    if page.revocations.iter().any(|revocation| revocation.native_id.is_empty()) {
        return invalid("a revocation has no native id".to_owned());
    }
    if page.parked.iter().any(|parked| parked.native_id.is_empty()) {
        return invalid("a parked envelope has no native id".to_owned());
    }
    Ok(())
}
