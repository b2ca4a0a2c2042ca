//! Messages that share an id. The upstream's ids are not quite unique (reference/gateway.md §8): of two messages with the same
//! one it keeps the first, while the other, if it was relayed here, is known as well.

use super::decode;
use std::collections::HashMap;
use stele_plugin_api::model::Message;
use stele_plugin_api::ops::{ArchiveGet, ByIds, MAX_IDS};
use stele_plugin_api::{Error, ErrorCode, Host};

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
    let mut unasked: Vec<&[Message]> = messages.chunks(MAX_IDS).collect();
    while let Some(some) = unasked.pop() {
        let native_ids = some.iter().map(|message| message.native_id.clone()).collect();
        let found = match host.call::<ArchiveGet>(ByIds { native_ids }).await {
            // Long messages: fewer of them at once.
            Err(Error { code: ErrorCode::TooLarge, .. }) if some.len() > 1 => {
                let (first, second) = some.split_at(some.len() / 2);
                unasked.extend([first, second]);
                continue;
            }
            found => found?,
        };
        for row in found.rows {
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

#[cfg(test)]
mod tests {
    use super::*;
    use stele_plugin_api::ops::{MessageView, Messages};
    use stele_plugin_api::testing::MockHost;

    #[tokio::test]
    async fn messages_too_long_for_one_answer_are_looked_at_in_parts() {
        let mock = MockHost::new().on::<ArchiveGet>(|by| {
            if by.native_ids.len() > 3 {
                return Err(Error::new(ErrorCode::TooLarge, "ask for fewer"));
            }
            let row = |native_id| MessageView { native_id, text: "archived".into(), ..MessageView::default() };
            Ok(Messages { rows: by.native_ids.into_iter().map(row).collect() })
        });
        let message = |at: usize| Message {
            native_id: at.to_string(),
            text: if at % 10 == 7 { "another".into() } else { "archived".into() },
            ..Message::default()
        };
        let mut messages: Vec<_> = (0..50).map(message).collect();
        assert_eq!(tell_apart(&mock.host(), &mut messages).await.unwrap(), [7, 17, 27, 37, 47]);
        let asked = mock.requests::<ArchiveGet>().into_iter().filter(|by| by.native_ids.len() <= 3);
        assert_eq!(asked.map(|by| by.native_ids.len()).sum::<usize>(), 50, "each once");
    }
}
