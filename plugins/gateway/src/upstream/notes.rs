//! What operators should know of a page.

use super::decode::Decoded;
use super::window::Window;
use crate::msgid::COUNTER_BITS;
use chrono::{DateTime, SecondsFormat, Utc};
use stele_plugin_api::Error;
use stele_plugin_api::model::Notice;

/// Windows that are named one by one.
const MAX_NAMED: usize = 8;

/// Counts of what was odd.
#[derive(Debug, Default)]
pub struct Notes {
    malformed: usize,
    wrong_times: usize,
    foreign: usize,
    unverified: usize,
    collisions: usize,
    /// Why, and which.
    unreadable: Vec<(&'static str, Window)>,
    more_unreadable: usize,
    /// What is looked through later.
    leapt: Vec<Window>,
    /// What was passed where others were leapt over: how many windows, the first and the last of them.
    searched: Option<(usize, Window, Window)>,
    /// Why looking through it ended early.
    unsearched: Option<Error>,
}

impl Notes {
    /// A message of the page.
    pub fn note(&mut self, decoded: &Decoded) {
        self.malformed += usize::from(decoded.number.is_none());
        self.wrong_times += usize::from(decoded.wrong_time);
        self.foreign += usize::from(decoded.foreign);
        self.unverified += usize::from(decoded.unverified);
    }

    /// Messages whose ids belong to others.
    pub fn collisions(&mut self, count: usize) {
        self.collisions += count;
    }

    /// A window that was passed for this reason.
    pub fn unreadable(&mut self, reason: &'static str, window: Window) {
        if self.unreadable.len() < MAX_NAMED {
            self.unreadable.push((reason, window));
        } else {
            self.more_unreadable += 1;
        }
    }

    /// A stretch that was leapt over.
    pub fn leapt(&mut self, window: Window) {
        self.leapt.push(window);
    }

    /// A window that was passed while a stretch that had been leapt over was looked through.
    pub fn searched(&mut self, window: Window) {
        let (count, first, _) = self.searched.unwrap_or((0, window, window));
        self.searched = Some((count + 1, first, window));
    }

    /// What was leapt over cannot be looked through now.
    pub fn unsearched(&mut self, error: Error) {
        self.unsearched = Some(error);
    }

    /// As notices.
    pub fn told(&self) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut tell = |code: &str, message: String| notices.push(Notice { code: code.to_owned(), message });
        for (reason, window) in &self.unreadable {
            let to = window.to.unwrap_or(window.from);
            tell("unreadable", format!("from {} to {} nothing can be read: {reason}", time(window.from), time(to + 1)));
        }
        for window in &self.leapt {
            let to = window.to.unwrap_or(window.from);
            let (from, to) = (time(window.from), time(to + 1));
            tell("unreadable", format!("from {from} to {to} not everything can be read; later runs look for what can"));
        }
        if let Some((count, first, last)) = self.searched {
            let (from, to) = (time(first.from), time(last.to.unwrap_or(last.from) + 1));
            tell("unreadable", format!("from {from} to {to} {count} milliseconds cannot be read; the others were"));
        }
        if let Some(error) = &self.unsearched {
            tell("unreadable", format!("the search for what can be read goes on with the next run: {error}"));
        }
        if self.more_unreadable > 0 {
            tell("unreadable", format!("so it is with {} more stretches", self.more_unreadable));
        }
        let counts = [
            (
                self.malformed,
                "malformed-id",
                "have no MsgId of the known form; each is stored under an id derived from its bytes",
            ),
            (self.wrong_times, "wrong-time", "have a SendTime that cannot be; the time is that of their ids"),
            (
                self.collisions,
                "collision",
                "have an id that the archive has for another; each is stored under a derived one, too",
            ),
            (self.foreign, "foreign", "say they are of another conversation; they are kept where they were found"),
            (
                self.unverified,
                "unverified",
                "have the text of the automatic one, whose Type, FromSession and Content the upstream may have mixed up",
            ),
        ];
        for (count, code, what) in counts.iter().filter(|(count, ..)| *count > 0) {
            tell(code, format!("messages: {count} {what}"));
        }
        notices
    }
}

/// The millisecond of a number, for people.
fn time(number: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(number >> COUNTER_BITS).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
