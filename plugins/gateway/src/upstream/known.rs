//! Which conversations there are and who is in them, as far as the upstream said.

use std::collections::{BTreeMap, BTreeSet};

/// Conversations and their members. It only grows by what is asked: one conversation for each row of an answer.
#[derive(Debug, Default)]
pub struct Known {
    conversations: BTreeSet<String>,
    /// Of each session what the upstream said last.
    joined: BTreeMap<String, BTreeSet<String>>,
    members: BTreeMap<String, BTreeSet<String>>,
    /// Conversations that were new since this was taken.
    new: Vec<String>,
}

impl Known {
    /// Every conversation, in order.
    pub fn conversations(&self) -> impl Iterator<Item = &str> {
        self.conversations.iter().map(String::as_str)
    }

    /// A conversation that there is.
    pub fn add(&mut self, conversation: &str) {
        if self.conversations.insert(conversation.to_owned()) {
            self.new.push(conversation.to_owned());
        }
    }

    /// A conversation that there was known to be before.
    pub fn remember(&mut self, conversation: String) {
        self.conversations.insert(conversation);
    }

    /// The conversations that were added since this was asked last.
    pub fn take_new(&mut self) -> Vec<String> {
        std::mem::take(&mut self.new)
    }

    /// What was taken as new was not kept: it is new again.
    pub fn put_back(&mut self, new: Vec<String>) {
        self.new.extend(new);
    }

    /// Everything a session is a member of.
    pub fn tell(&mut self, session: &str, conversations: &[String]) {
        for left in self.joined.remove(session).unwrap_or_default() {
            self.members.entry(left).or_default().remove(session);
        }
        self.joined.insert(session.to_owned(), BTreeSet::new());
        conversations.iter().for_each(|conversation| self.join(session, conversation));
    }

    /// A session became a member.
    pub fn join(&mut self, session: &str, conversation: &str) {
        self.add(conversation);
        self.members.entry(conversation.to_owned()).or_default().insert(session.to_owned());
        if let Some(joined) = self.joined.get_mut(session) {
            joined.insert(conversation.to_owned());
        }
    }

    /// A session is a member no more.
    pub fn leave(&mut self, session: &str, conversation: &str) {
        self.members.entry(conversation.to_owned()).or_default().remove(session);
        if let Some(joined) = self.joined.get_mut(session) {
            joined.remove(conversation);
        }
    }

    /// The members of a conversation, in order.
    pub fn members(&self, conversation: &str) -> impl Iterator<Item = &str> {
        self.members.get(conversation).into_iter().flatten().map(String::as_str)
    }

    /// Whether the upstream said what this session is a member of.
    pub fn has_told(&self, session: &str) -> bool {
        self.joined.contains_key(session)
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
        known.tell("alice", &["x".to_owned(), "y".to_owned()]);
        assert_eq!(
            (members(&known, "x"), members(&known, "y")),
            (vec!["alice".into(), "bob".into()], vec!["alice".into()])
        );
        assert_eq!(known.take_new(), ["x", "y"]);
        known.tell("alice", &["y".to_owned()]);
        known.leave("bob", "x");
        assert_eq!((members(&known, "x"), members(&known, "y")), (Vec::new(), vec!["alice".to_owned()]));
        assert!(known.has_told("alice") && !known.has_told("bob"));
        // What was once there stays: its history does.
        assert_eq!(known.conversations().collect::<Vec<_>>(), ["x", "y"]);
        assert!(known.take_new().is_empty());
    }
}
