//! What operators should know of a page.

use super::client::CallError;
use super::native::Native;
use stele_plugin_api::Error;
use stele_plugin_api::model::Notice;

/// Notices of one kind that name what they are about.
const MAX_NAMED: usize = 8;

/// What was odd.
#[derive(Debug, Default)]
pub struct Notes {
    told: Vec<Notice>,
    more: Vec<(&'static str, usize)>,
}

impl Notes {
    /// Numbers of a channel the upstream does not have.
    pub fn hole(&mut self, native: &Native, (first, last): (i64, i64)) {
        let message = format!("channel {}: the upstream has no messages from {first} to {last}", native.key());
        self.note("hole", message);
    }

    /// Elements that are no messages.
    pub fn malformed(&mut self, native: &Native, count: usize) {
        if count > 0 {
            self.note("malformed", format!("channel {}: {count} elements are no messages", native.key()));
        }
    }

    /// A channel that could not be read.
    pub fn unreadable(&mut self, native: &Native, error: &CallError) {
        let error = Error::from(error.clone());
        let message = format!("channel {} cannot be read, and is tried again with the next run: {error}", native.key());
        self.note("unreadable", message);
    }

    /// A channel of type 0, which v2 takes, and nobody could ask for here.
    pub fn untyped(&mut self, native: &Native) {
        self.note("untyped", format!("channel {}: channels of type 0 are not archived", native.key()));
    }

    /// Messages that the listing tells of and the channel has not.
    pub fn short(&mut self, native: &Native, (first, last): (i64, i64)) {
        let message = format!("channel {}: {first} to {last} are listed, and cannot be read yet", native.key());
        self.note("short", message);
    }

    /// Fewer messages than are archived.
    pub fn fewer(&mut self, native: &Native, (listed, archived): (i64, i64)) {
        let message = format!("channel {}: {listed} messages are listed, and {archived} are archived", native.key());
        self.note("fewer", message);
    }

    /// Other messages than are archived.
    pub fn reset(&mut self, native: &Native) {
        let message = format!(
            "channel {}: the upstream has lost what is archived and has other messages instead; they are archived as well",
            native.key()
        );
        self.note("reset", message);
    }

    /// More open streams than are waited for.
    pub fn stream(&mut self, native: &Native, seq: i64) {
        let message = format!("channel {}: too many streams are open; what {seq} says is not archived", native.key());
        self.note("stream", message);
    }

    /// A stream that was open, and could not be read again.
    pub fn unread(&mut self, native: &Native, seq: i64, error: &CallError) {
        let error = Error::from(error.clone());
        self.note("stream", format!("channel {}: what {seq} said in the end cannot be read: {error}", native.key()));
    }

    /// A node that could not be asked for its channels.
    pub fn passed(&mut self, node: u64, reason: &str) {
        self.note("node", format!("node {node} does not list its channels: {reason}"));
    }

    fn note(&mut self, code: &'static str, message: String) {
        if self.told.iter().filter(|notice| notice.code == code).count() < MAX_NAMED {
            self.told.push(Notice { code: code.to_owned(), message });
        } else if let Some((_, count)) = self.more.iter_mut().find(|(known, _)| *known == code) {
            *count += 1;
        } else {
            self.more.push((code, 1));
        }
    }

    /// As notices.
    pub fn told(mut self) -> Vec<Notice> {
        let more = |(code, count): (&str, usize)| Notice {
            code: code.to_owned(),
            message: format!("so it is {count} times more"),
        };
        self.told.extend(self.more.into_iter().map(more));
        self.told
    }
}
