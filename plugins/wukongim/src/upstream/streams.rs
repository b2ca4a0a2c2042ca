//! What streams of v2 say (reference/wukongim.md §8).
//!
//! A stream that has ended when its message is read is archived with it: the message's own object has all of it. One that is
//! still open goes on under the message that begins it, which stays as it was archived; what it said in the end comes as a
//! message of its own, as that of a stream that is closed here does. Until then it is part of the cursor, and read again in every
//! walk, for at most [`LIFE`]: v2 ends what nothing is added to after minutes, and forgets what was open when it was restarted.

use super::Upstream;
use super::client::CallError;
use super::decode;
use super::native::Native;
use super::pull::AT_ONCE;
use crate::draft::{END, STREAM, ends};
use crate::element::{Element, byte};
use crate::message::{BASE64, Object, readable};
use base64::Engine;
use futures::StreamExt;
use futures::stream;
use serde::{Deserialize, Serialize};
use stele_plugin_api::model::{Conversation, ConversationKind, Message, Micros};

/// How long a stream is waited for.
const LIFE: Micros = 3_600 * 1_000_000;
/// Most streams that are waited for at the same time.
pub const MAX_OPEN: usize = 1000;

/// The reason of an end that nothing was added for too long (reference/wukongim.md §8).
const LEFT: u8 = 1;

/// A stream that is waited for. Part of the cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The channel.
    #[serde(flatten)]
    pub native: Native,
    /// Number of the message that begins it.
    #[serde(rename = "s")]
    pub seq: i64,
    /// When it is waited for no longer.
    #[serde(rename = "u")]
    pub until: Micros,
}

/// Until when the stream is waited for that a message begins which was just read; `None` where it has ended, or it is too late.
pub fn open_until(message: &Message, now: Micros) -> Option<Micros> {
    let until = message.sent_at.saturating_add(LIFE);
    if until <= now {
        return None;
    }
    let read = Element::read(&message.body)?;
    (byte(read.setting) & STREAM != 0 && byte(read.end) == 0).then_some(until)
}

impl Upstream {
    /// What became of streams, in their order: nothing of those that are still open.
    pub(super) async fn ends(&self, open: &[Open]) -> Vec<Result<Option<Message>, CallError>> {
        let ends = stream::iter(open.to_vec()).map(|open| async move {
            let read = |elements: &[&_]| decode::messages(elements, &open.native).0;
            let answer = self.client.messages_from(&open.native, open.seq, 1, read).await?;
            Ok(answer.read.into_iter().next().filter(|message| message.seq == Some(open.seq)))
        });
        ends.buffered(AT_ONCE).collect().await
    }

    /// The end of the stream that this message begins: what it says as a whole. `None` where it says nothing.
    pub(super) fn end(&self, anchor: &Message) -> Option<(Conversation, Message)> {
        let read = Element::read(&anchor.body)?;
        let said = read.said();
        if said.is_empty() {
            return None;
        }
        let id = self.numbering.id();
        let object = Object {
            message_id: id,
            payload: BASE64.encode(&said).into(),
            // Those that never ended were left.
            end: Some(1),
            end_reason: Some(if byte(read.end) == 0 { LEFT } else { byte(read.end_reason) }),
            stream_data: None,
            // That of the end.
            timestamp: None,
            ..Object::written(&anchor.body)
        };
        let conversation = ends(&anchor.conversation);
        let told = Conversation {
            native_id: conversation.clone(),
            kind: Some(ConversationKind::System),
            ..Conversation::default()
        };
        let end = Message {
            native_id: id.to_string(),
            // However often it is read.
            once: true,
            client_id: anchor.client_id.clone(),
            conversation,
            sender: anchor.sender.clone(),
            recipients: anchor.recipients.clone(),
            labels: anchor.labels.clone(),
            sent_at: crate::id::given_at(id),
            kind: END.to_owned(),
            text: readable(&said).text,
            body: serde_json::to_vec(&object).expect("plain values can be written").into(),
            expires_at: anchor.expires_at,
            ..Message::default()
        };
        Some((told, end))
    }
}
