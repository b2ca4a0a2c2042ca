//! What operators should know of a page.

use stele_plugin_api::model::Notice;

/// Notices of one kind that name what they are about.
const MAX_NAMED: usize = 8;

/// Something odd, of a kind.
pub type Note = (&'static str, String);

/// What was odd.
#[derive(Debug, Default)]
pub struct Notes {
    told: Vec<Notice>,
    more: Vec<(&'static str, usize)>,
}

impl Notes {
    /// One more.
    pub fn note(&mut self, (code, message): Note) {
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

/// Numbers that have no messages, and get none.
pub fn gap(conversation: &str, (first, last): (i64, i64)) -> Note {
    ("gap", format!("{conversation}: the upstream has no messages from {first} to {last}"))
}

/// The same right behind what is archived.
pub fn lost(conversation: &str, (first, last): (i64, i64)) -> Note {
    let message = format!(
        "{conversation}: the upstream has deleted the messages from {first} to {last} before they were archived"
    );
    ("lost", message)
}

/// Other messages than are archived.
pub fn reset(conversation: &str) -> Note {
    let message = format!(
        "{conversation}: the upstream has lost what is archived and has other messages instead; they are archived as well"
    );
    ("reset", message)
}

/// Fewer messages than are archived.
pub fn fewer(conversation: &str, last: i64, archived: i64) -> Note {
    ("fewer", format!("{conversation}: the upstream has {last} messages, and {archived} are archived"))
}

/// Messages of which there is only that they were.
pub fn emptied(conversation: &str, seq: i64) -> Note {
    ("emptied", format!("{conversation}: what message {seq} said is not to be had any more"))
}

/// Messages that are not archived until the upstream's search answers.
pub fn owed(messages: usize) -> Note {
    let what = "messages were taken back or deleted, and the upstream's search does not answer what they said";
    ("owed", format!("{messages} {what}; they are asked for again with every run"))
}

/// A message that was taken back, and that nobody can be asked for.
pub fn unknown(conversation: &str, seq: i64) -> Note {
    ("unknown", format!("{conversation}: message {seq} was taken back, and cannot be found"))
}

/// What could not be read.
pub fn unreadable(what: &str, error: &str) -> Note {
    ("unreadable", format!("{what} cannot be read, and is tried again with the next run: {error}"))
}
