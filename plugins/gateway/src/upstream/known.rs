//! Which conversations there are and who is in them, as far as the upstream said.

use std::collections::{BTreeMap, BTreeSet};

/// Conversations and their members. It only grows by what is asked: one conversation for each row of an answer.
#[derive(Debug, Default)]
pub struct Known {
    conversations: BTreeSet<String>,
    /// Every session that was asked for.
    sessions: BTreeMap<String, Session>,
    members: BTreeMap<String, BTreeSet<String>>,
    /// Conversations that are not kept yet.
    unkept: BTreeSet<String>,
}

/// What is known of a session.
#[derive(Debug, Default)]
struct Session {
    /// What the upstream said last.
    joined: BTreeSet<String>,
    /// How often it joined or left through this instance.
    changes: u64,
}

impl Known {
    /// Every conversation, in order.
    pub fn conversations(&self) -> impl Iterator<Item = &str> {
        self.conversations.iter().map(String::as_str)
    }

    /// A conversation that there is.
    pub fn add(&mut self, conversation: &str) {
        if self.conversations.insert(conversation.to_owned()) {
            self.unkept.insert(conversation.to_owned());
        }
    }

    /// A conversation that is kept, by this daemon or another one.
    pub fn remember(&mut self, conversation: String) {
        self.unkept.remove(&conversation);
        self.conversations.insert(conversation);
    }

    /// The conversations that were added and are not kept yet, in order.
    pub fn unkept(&self) -> impl ExactSizeIterator<Item = &str> {
        self.unkept.iter().map(String::as_str)
    }

    /// The upstream is about to be asked what a session is a member of. Returns how often that was changed here so far.
    pub fn changes(&mut self, session: &str) -> u64 {
        self.sessions.entry(session.to_owned()).or_default().changes
    }

    /// Everything a session is a member of. `false`, and nothing is taken, when that was changed here since it had been changed
    /// so often: the answer may be older than the change.
    pub fn tell(&mut self, session: &str, changes: u64, conversations: &[String]) -> bool {
        let known = self.sessions.entry(session.to_owned()).or_default();
        if known.changes != changes {
            return false;
        }
        let joined = conversations.iter().cloned().collect();
        for left in std::mem::replace(&mut known.joined, joined) {
            self.dismiss(session, &left);
        }
        conversations.iter().for_each(|conversation| self.admit(session, conversation));
        true
    }

    /// A session became a member.
    pub fn join(&mut self, session: &str, conversation: &str) {
        self.admit(session, conversation);
        if let Some(known) = self.sessions.get_mut(session) {
            known.joined.insert(conversation.to_owned());
            known.changes += 1;
        }
    }

    /// A session is a member no more.
    pub fn leave(&mut self, session: &str, conversation: &str) {
        self.dismiss(session, conversation);
        if let Some(known) = self.sessions.get_mut(session) {
            known.joined.remove(conversation);
            known.changes += 1;
        }
    }

    fn admit(&mut self, session: &str, conversation: &str) {
        self.add(conversation);
        self.members.entry(conversation.to_owned()).or_default().insert(session.to_owned());
    }

    /// Callers name what they leave: of what has no members nothing is kept.
    fn dismiss(&mut self, session: &str, conversation: &str) {
        if let Some(members) = self.members.get_mut(conversation) {
            members.remove(session);
            if members.is_empty() {
                self.members.remove(conversation);
            }
        }
    }

    /// The members of a conversation, in order.
    pub fn members(&self, conversation: &str) -> impl Iterator<Item = &str> {
        self.members.get(conversation).into_iter().flatten().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_last_counts() {
        let mut known = Known::default();
        let members = |known: &Known, id: &str| known.members(id).map(str::to_owned).collect::<Vec<_>>();
        known.join("bob", "x");
        assert!(known.tell("alice", 0, &["x".to_owned(), "y".to_owned()]));
        assert_eq!(
            (members(&known, "x"), members(&known, "y")),
            (vec!["alice".into(), "bob".into()], vec!["alice".into()])
        );
        assert!(known.unkept().eq(["x", "y"]));
        for id in ["x", "y"] {
            known.remember(id.to_owned());
        }
        assert!(known.tell("alice", 0, &["y".to_owned()]));
        known.leave("bob", "x");
        assert_eq!((members(&known, "x"), members(&known, "y")), (Vec::new(), vec!["alice".to_owned()]));
        // What was once there stays: its history does.
        assert_eq!(known.conversations().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(known.unkept().len(), 0);
    }

    #[test]
    fn an_answer_older_than_a_change_is_not_taken() {
        let mut known = Known::default();
        let began = known.changes("alice");
        known.join("alice", "x");
        assert!(!known.tell("alice", began, &[]));
        assert_eq!(known.members("x").collect::<Vec<_>>(), ["alice"]);
        let began = known.changes("alice");
        known.leave("alice", "x");
        assert!(!known.tell("alice", began, &["x".to_owned()]));
        assert_eq!(known.members("x").count(), 0);
    }

    #[test]
    fn what_is_left_takes_no_memory() {
        let mut known = Known::default();
        (0..100).for_each(|number| known.leave("alice", &format!("made up {number}")));
        known.join("alice", "x");
        known.leave("alice", "x");
        assert!(known.members.is_empty() && known.sessions.is_empty());
    }
}
