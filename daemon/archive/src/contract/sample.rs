//! Pages to test with.

use crate::{Archive, Commit, Committed, InstanceId, MessageList, Result, Stream};
use bytes::Bytes;
use stele_plugin_api::model::{Conversation, ConversationKind, Message, Page, Person};
use stele_plugin_api::ops::{ConversationQuery, MessageQuery};

/// A second, in microseconds.
pub(super) const SECOND: i64 = 1_000_000;
/// A day, in microseconds.
pub(super) const DAY: i64 = 86_400 * SECOND;
/// 2024-01-01T00:00:00Z.
pub(super) const NEW_YEAR: i64 = 19_723 * DAY;

/// A text message.
pub(super) fn text(native_id: &str, conversation: &str, sender: &str, recipients: &[&str], sent_at: i64) -> Message {
    Message {
        native_id: native_id.to_owned(),
        conversation: conversation.to_owned(),
        sender: sender.to_owned(),
        recipients: recipients.iter().map(|native| (*native).to_owned()).collect(),
        sent_at,
        kind: "text".to_owned(),
        text: format!("text of {native_id}"),
        body: Bytes::from(format!("{{\"id\":{native_id:?}}}")),
        ..Message::default()
    }
}

/// A conversation of this kind.
pub(super) fn conversation(native_id: &str, kind: ConversationKind) -> Conversation {
    Conversation { native_id: native_id.to_owned(), kind: Some(kind), ..Conversation::default() }
}

/// A person of this name.
pub(super) fn person(native_id: &str, name: &str) -> Person {
    Person { native_id: native_id.to_owned(), name: Some(name.to_owned()), ..Person::default() }
}

/// A page of messages.
pub(super) fn page(messages: impl IntoIterator<Item = Message>) -> Page {
    Page { messages: messages.into_iter().collect(), ..Page::default() }
}

/// Commit a page of partition `p` that leaves the cursor alone, or moves it from nowhere.
pub(super) async fn put(archive: &dyn Archive, instance: InstanceId, page: &Page) -> Committed {
    try_put(archive, instance, None, page).await.expect("the page is stored")
}

/// Commit a page of partition `p`.
pub(super) async fn try_put(
    archive: &dyn Archive,
    instance: InstanceId,
    from: Option<&[u8]>,
    page: &Page,
) -> Result<Committed> {
    let from = from.map(Bytes::copy_from_slice);
    archive.commit(Commit { instance, partition: "p", stream: Stream::Messages, from, page, now: NEW_YEAR }).await
}

/// All messages of a conversation, oldest first.
pub(super) fn all(conversation: &str) -> MessageQuery {
    MessageQuery { conversation: conversation.to_owned(), limit: 1000, ..MessageQuery::default() }
}

/// All conversations of a person.
pub(super) fn list(person: &str) -> ConversationQuery {
    ConversationQuery { person: person.to_owned(), limit: 1000, ..ConversationQuery::default() }
}

/// The native ids of a list's rows.
pub(super) fn natives(list: &MessageList) -> Vec<&str> {
    list.rows.iter().map(|row| row.native_id.as_str()).collect()
}

/// An instance of this name.
pub(super) async fn instance(archive: &dyn Archive, name: &str) -> InstanceId {
    archive.instance(name).await.expect("instances are created")
}
