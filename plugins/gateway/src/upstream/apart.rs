//! Messages that share an id. The upstream's ids are not quite unique (reference/gateway.md §8): of two messages with the same
//! one it keeps the first, while the other, if it was relayed here, is known as well.

use super::decode;
use std::collections::HashMap;
use stele_plugin_api::model::Message;
use stele_plugin_api::ops::{ArchiveGet, ByIds, MAX_IDS};
use stele_plugin_api::{Error, Host};

/// What says whether two messages of one id are one.
struct Said {
    conversation: String,
    sender: String,
    text: String,
}

impl Said {
    /// What was sent empty the upstream fills with another message's: that it is empty in one of them says nothing.
    fn is(&self, message: &Message) -> bool {
        let same = |one: &str, other: &str| one == other || one.is_empty() || other.is_empty();
        self.conversation == message.conversation
            && same(&self.text, &message.text)
            && same(&self.sender, &message.sender)
    }
}

/// Gives messages whose id another one has an id of their own: one in the archive, or one before them. Returns their places.
///
/// # Errors
///
/// The archive's.
pub async fn tell_apart(host: &Host, messages: &mut [Message]) -> Result<Vec<usize>, Error> {
    let mut known = HashMap::new();
    for messages in messages.chunks(MAX_IDS) {
        let native_ids = messages.iter().map(|message| message.native_id.clone()).collect();
        for row in host.call::<ArchiveGet>(ByIds { native_ids }).await?.rows {
            known.insert(row.native_id, Said { conversation: row.conversation, sender: row.sender, text: row.text });
        }
    }
    let mut others = Vec::new();
    for (place, message) in messages.iter_mut().enumerate() {
        match known.get(&message.native_id) {
            Some(said) if said.is(message) => {}
            Some(_) => {
                message.native_id = decode::derived_of(message);
                others.push(place);
            }
            None => {
                let Message { conversation, sender, text, .. } = &*message;
                let said = Said { conversation: conversation.clone(), sender: sender.clone(), text: text.clone() };
                known.insert(message.native_id.clone(), said);
            }
        }
    }
    Ok(others)
}
