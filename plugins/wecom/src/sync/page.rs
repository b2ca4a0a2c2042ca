//! Putting a page together.

use super::cursor::Cursor;
use super::opener::Outcome;
use std::collections::{BTreeSet, HashSet};
use stele_plugin_api::model::{ConversationKind, Micros, Notice, Page, Person};

/// Rows of a page, from what became of its envelopes.
#[derive(Debug, Default)]
pub struct Builder {
    page: Page,
    people: HashSet<String>,
    conversations: HashSet<(String, Option<ConversationKind>)>,
    /// Reasons without seq.
    sealed: BTreeSet<String>,
    /// When the latest message was sent.
    latest: Micros,
}

impl Builder {
    /// A page after messages of which the latest was sent at this time.
    pub fn after(latest: Micros) -> Self {
        Self { latest, ..Self::default() }
    }

    /// Adds envelopes, in order of seq.
    pub fn add(&mut self, outcomes: Vec<(u64, Outcome)>) {
        for (_, outcome) in outcomes {
            match outcome {
                Outcome::Entry(entry) => self.add_entry(*entry),
                Outcome::Parked(parked) => {
                    let reason = parked.reason.split_once(": ").map_or(parked.reason.as_str(), |(_, reason)| reason);
                    self.sealed.insert(reason.to_owned());
                    self.page.parked.push(parked);
                }
            }
        }
    }

    fn add_entry(&mut self, mut entry: super::entry::Entry) {
        match entry.sent_at {
            Some(sent_at) => self.latest = self.latest.max(sent_at),
            // Neither the message nor its id says when: as late as what came before it.
            None => entry.set_time(self.latest),
        }
        self.page.messages.append(&mut entry.messages);
        self.page.revocations.append(&mut entry.revocations);
        // What is told of a person depends on their id only; of a conversation, on the message as well.
        let is_new = |person: &Person| self.people.insert(person.native_id.clone());
        self.page.people.extend(entry.people.into_iter().filter(is_new));
        for conversation in entry.conversations {
            if self.conversations.insert((conversation.native_id.clone(), conversation.kind.clone())) {
                self.page.conversations.push(conversation);
            }
        }
    }

    /// Adds a notice, if there is one.
    pub fn notice(&mut self, notice: Option<Notice>) {
        self.page.notices.extend(notice);
    }

    /// The page of a pull, which goes on after this seq.
    pub fn up_to(self, seq: u64) -> Page {
        let cursor = Cursor { seq, latest: self.latest, silence: 0 };
        Page { cursor: Some(cursor.write()), ..self.finish() }
    }

    /// A page that leaves the cursor where it is.
    pub fn finish(mut self) -> Page {
        for reason in self.sealed {
            // How many is counted by the daemon; without it every page says the same, which is told once.
            let message = format!("messages are kept sealed: {reason}");
            self.page.notices.push(Notice { code: "sealed".to_owned(), message });
        }
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::entry::Entry;
    use crate::sync::envelope::Envelope;
    use serde_json::json;

    #[test]
    fn a_page_tells_all_it_learns_of_a_pair_once() {
        let agree = json!({"from": "customer456", "tolist": ["zhang"], "msgtype": "agree", "agree": {}}).to_string();
        let outcomes = [(1, "a"), (2, "b_external"), (3, "c"), (4, "d_external")].map(|(seq, msgid)| {
            let envelope = Envelope { seq, msgid: msgid.into(), ..Envelope::default() };
            (seq, Outcome::Entry(Box::new(Entry::read("corp123", &envelope, agree.clone().into_bytes()))))
        });
        let mut page = Builder::default();
        page.add(outcomes.into());
        let told = page.finish().conversations.into_iter().map(|row| (row.native_id, row.kind));
        let pair = || "corp123/d/customer456/zhang".to_owned();
        assert_eq!(
            told.collect::<Vec<_>>(),
            [(pair(), Some(ConversationKind::Direct)), (pair(), Some(ConversationKind::External))]
        );
    }
}
