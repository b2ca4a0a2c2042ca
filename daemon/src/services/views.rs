//! From what is stored to what plugins see.

use crate::media::{Links, file_name};
use std::sync::Arc;
use stele_archive::{Clock, ConversationList, MessageList, StoredMedia, StoredMessage};
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{ConversationPage, ConversationRow, MediaView, MessagePage, MessageView};
use stele_search::SearchPage;

/// Renders rows; signs the links of their files.
pub(super) struct Views {
    links: Links,
    clock: Arc<dyn Clock>,
}

impl Views {
    pub fn new(links: Links, clock: Arc<dyn Clock>) -> Self {
        Self { links, clock }
    }

    pub fn conversations(&self, list: ConversationList) -> ConversationPage {
        let now = self.clock.now();
        let row = |listed: stele_archive::ListedConversation| ConversationRow {
            conversation: listed.conversation,
            peer: listed.peer,
            last: self.message(listed.last, now),
        };
        ConversationPage { rows: list.rows.into_iter().map(row).collect(), total: list.total }
    }

    pub fn messages(&self, list: MessageList) -> MessagePage {
        MessagePage { rows: self.rows(list.rows), total: list.total }
    }

    pub fn rows(&self, rows: Vec<StoredMessage>) -> Vec<MessageView> {
        let now = self.clock.now();
        rows.into_iter().map(|row| self.message(row, now)).collect()
    }

    pub fn hits(&self, found: SearchPage) -> MessagePage {
        let now = self.clock.now();
        let row =
            |hit: stele_search::SearchHit| MessageView { highlights: hit.highlights, ..self.message(hit.message, now) };
        MessagePage { rows: found.rows.into_iter().map(row).collect(), total: found.total }
    }

    fn message(&self, stored: StoredMessage, now: Micros) -> MessageView {
        let (revoked_at, revoked_by) = stored.revoked.unzip();
        MessageView {
            id: stored.id.0,
            rev: stored.rev.0,
            native_id: stored.native_id,
            conversation: stored.conversation_native,
            seq: stored.seq,
            sender: stored.sender_native,
            sender_name: stored.sender_name,
            sender_avatar: stored.sender_avatar,
            sent_at: stored.sent_at,
            kind: stored.kind,
            text: stored.text,
            body: stored.body,
            media: stored.media.iter().map(|media| self.media(media, now)).collect(),
            client_id: stored.client_id,
            expires_at: stored.expires_at,
            revoked_at,
            revoked_by,
            highlights: Vec::new(),
        }
    }

    fn media(&self, media: &StoredMedia, now: Micros) -> MediaView {
        let name = file_name(media);
        let link = media.blob.as_ref().map(|blob| self.links.sign(blob, &name, now)).unwrap_or_default();
        MediaView { handle: media.handle.clone(), kind: media.kind.clone(), name, size: media.size, link }
    }
}
