//! Messages that are named: `POST /messages`, `POST /message`, `GET /channel/max_message_seq` (contract 001 §3, §4 and §6).

use super::Api;
use super::answer::{Answer, Shown};
use super::fields::Fields;
use super::messagesync::Page;
use super::reply::{self, ApiError};
use super::rows::{Lookup, is_good};
use crate::config::MessagesForm;
use serde_json::json;
use stele_plugin_api::ops::{ById, ConversationGet, HttpReply, HttpRequest, MAX_IDS};

impl Api {
    /// `POST /messages`: each message once, newest first; or in the order of the request, as real servers do.
    pub(super) async fn messages(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let fields = Fields::of_body(request)?;
        let channel = fields.channel(&fields.name("login_uid")?)?.to_string();
        let seqs = fields.seqs("message_seqs", MAX_IDS)?;
        let ids = fields.ids("message_ids", MAX_IDS)?;
        let client_ids = fields.names("client_msg_nos", MAX_IDS)?;
        match seqs.len() + ids.len() + client_ids.len() {
            0 if self.config.messages_form == MessagesForm::Array => {
                return Err(ApiError::bad("one of message_seqs, message_ids and client_msg_nos is needed"));
            }
            keys if keys > MAX_IDS => {
                return Err(ApiError::bad(format!(
                    "message_seqs, message_ids and client_msg_nos must have at most {MAX_IDS} entries together"
                )));
            }
            _ => {}
        }
        let now = self.now();
        let mut answer = Answer::new(self);
        for mut lookup in [Lookup::found(Some(&channel), &seqs, &client_ids), Lookup::ids(&ids)] {
            while let Some(rows) = lookup.next(self).await? {
                for message in rows.iter().filter(|message| message.conversation == channel && is_good(message, now)) {
                    if !answer.add(message, &self.whole(message).await?).await? {
                        return Err(ApiError::too_large());
                    }
                }
            }
        }
        let mut shown = answer.shown;
        shown.sort_by_key(|message| std::cmp::Reverse((message.seq, message.id)));
        shown.dedup_by_key(|message| message.id);
        Ok(match self.config.messages_form {
            MessagesForm::Array => reply::json(200, &shown),
            MessagesForm::Object => {
                let messages = as_asked(&shown, &seqs, &ids, &client_ids);
                reply::json(200, &Page { start_message_seq: 0, end_message_seq: 0, more: 0, messages })
            }
        })
    }

    /// `POST /message`: what is given must all hold.
    pub(super) async fn message(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let fields = Fields::of_body(request)?;
        let channel = fields.channel(&fields.name("login_uid")?)?.to_string();
        let id = fields.id("message_id")?.filter(|id| *id != 0);
        let client_id = fields.name("client_msg_no")?;
        let (ids, client_ids) = (Vec::from_iter(id), [client_id.clone()]);
        let mut lookup = match id {
            None if client_id.is_empty() => return Err(ApiError::bad("message_id or client_msg_no is needed")),
            None => Lookup::found(Some(&channel), &[], &client_ids),
            Some(_) => Lookup::ids(&ids),
        };
        let now = self.now();
        while let Some(rows) = lookup.next(self).await? {
            let found = rows.iter().find(|message| {
                let is_named = client_id.is_empty() || message.client_id.as_ref() == Some(&client_id);
                message.conversation == channel && is_named && is_good(message, now)
            });
            if let Some(message) = found {
                return Ok(reply::json(200, &self.whole(message).await?));
            }
        }
        Err(ApiError::not_found("there is no such message"))
    }

    /// `GET /channel/max_message_seq`: 0 for a channel nobody knows. Messages that have expired had their number.
    pub(super) async fn max_message_seq(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let fields = Fields::of_query(request);
        let channel = fields.channel(&fields.name("login_uid")?)?;
        let last = self.last_seq(&channel.to_string()).await?;
        Ok(reply::json(200, &json!({ "message_seq": last })))
    }

    /// The greatest number of a channel's messages.
    pub(super) async fn last_seq(&self, conversation: &str) -> Result<u64, ApiError> {
        let found = self.call::<ConversationGet>(ById { native_id: conversation.to_owned() }).await?;
        Ok(found.map_or(0, |found| found.last_seq.unsigned_abs()))
    }
}

/// The messages in the order of what they were asked for by: all of a number, and of a client_msg_no that several have the newest.
fn as_asked<'s>(shown: &'s [Shown], seqs: &[i64], ids: &[i64], client_ids: &[String]) -> Vec<&'s Shown> {
    let by_seq = seqs.iter().flat_map(|seq| shown.iter().filter(|message| message.seq == *seq));
    let by_id = ids.iter().filter_map(|id| {
        let id = id.to_string();
        shown.iter().find(|message| message.native_id == id)
    });
    let by_client = client_ids.iter().filter_map(|id| shown.iter().find(|message| message.client_id == *id));
    by_seq.chain(by_id).chain(by_client).collect()
}
