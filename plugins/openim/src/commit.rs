//! Sends, committed together ([`commit`]): the order of commit is that of the numbers the archive gives.
//!
//! Ids of messages are made up at random. So an append whose outcome is unknown is tried once more, with the same ids, and what
//! the first one stored is not stored twice.

use crate::{CALL, ids};
use std::collections::BTreeSet;
use std::time::Duration;
use stele_plugin_api::commit::{self, Outcome, Store};
use stele_plugin_api::model::{Message, Page};
use stele_plugin_api::ops::ArchiveAppend;
use stele_plugin_api::{Error, Host};

/// Takes messages to commit.
pub type Committer = commit::Committer<Appending>;

/// Starts the task that commits, on the current runtime. It ends when nobody can send any more.
pub fn start(host: Host) -> Committer {
    Committer::start(host.clone(), Appending { host }, CALL)
}

/// Appends messages.
pub struct Appending {
    host: Host,
}

impl Store for Appending {
    type Item = Message;
    type Answer = ();

    fn bytes(message: &Message) -> usize {
        message.text.len() + message.body.len()
    }

    async fn store(&mut self, messages: Vec<&Message>, within: Duration) -> Result<Vec<Outcome<()>>, Error> {
        let conversations: BTreeSet<_> = messages.iter().map(|message| message.conversation.as_str()).collect();
        let page = Page {
            conversations: conversations.into_iter().map(ids::described).collect(),
            messages: messages.iter().map(|message| (*message).clone()).collect(),
            ..Page::default()
        };
        let within = within / 2;
        match self.host.call_within::<ArchiveAppend>(page.clone(), within).await {
            Err(error) if error.is_transient() => self.host.call_within::<ArchiveAppend>(page, within).await?,
            outcome => outcome?,
        };
        Ok(messages.iter().map(|_| Outcome::Stored(())).collect())
    }
}
