//! Channels as the upstream names them, and as the archive does.

use super::client::Version;
use crate::channel::{Channel, PERSON};
use serde::{Deserialize, Serialize};

/// Who reads what is nobody's own: any name that is not blank does (reference/wukongim.md §10).
const READER: &str = "stele";
/// Between the two of a pair.
const PAIR: char = '@';
/// What the id of a command channel ends with.
const COMMAND: &str = "____cmd";

/// A channel of the upstream, by the id it stores it under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Native {
    /// Its type.
    #[serde(rename = "t")]
    pub channel_type: u8,
    /// Its id.
    #[serde(rename = "c")]
    pub id: String,
}

impl Native {
    /// What the archive remembers about how far it is archived. Not the conversation: two of v2's channels may be one (trap 45).
    pub fn key(&self) -> String {
        format!("{}/{}", self.channel_type, self.id)
    }

    /// Whether only commands are in it.
    pub fn is_command(&self) -> bool {
        self.id.ends_with(COMMAND)
    }

    /// The channel it is in the archive: of a pair whose order v2 left to chance, one for both.
    pub fn channel(&self) -> Channel {
        let pair = (self.channel_type == PERSON).then(|| Channel::of_reader(PERSON, &self.id, "")).flatten();
        pair.unwrap_or_else(|| Channel::new(self.channel_type, self.id.clone()))
    }

    /// Whether the archive numbers its messages: v2 may have two channels of two people, one for each direction, where their
    /// sums are equal (trap 45). They are one conversation, in which each number would be there twice.
    pub fn is_counted_here(&self, version: Version) -> bool {
        let bare = self.id.strip_suffix(COMMAND).unwrap_or(&self.id);
        let weight = |uid: &str| crc32fast::hash(uid.as_bytes());
        let pair = bare.split_once(PAIR).filter(|(_, other)| self.channel_type == PERSON && !other.contains(PAIR));
        version == Version::V2 && pair.is_some_and(|(one, other)| one != other && weight(one) == weight(other))
    }

    /// `login_uid` and `channel_id` with which v2 comes to this id: it joins the two again, the one with the greater sum first,
    /// and of equal ones the `channel_id`. `None` where there are no such two.
    pub fn named(&self) -> Option<(&str, &str)> {
        if self.channel_type != PERSON {
            return Some((READER, &self.id));
        }
        let weight = |uid: &str| crc32fast::hash(uid.as_bytes());
        let parts = self.id.match_indices(PAIR).map(|(at, _)| (&self.id[..at], &self.id[at + PAIR.len_utf8()..]));
        // Of an id with more than one `@` any two that lead to it do.
        let mut fitting = parts.filter(|(first, second)| !second.is_empty() && weight(first) >= weight(second));
        fitting.next().map(|(first, second)| (second, first))
    }

    /// Where a message of a webhook is stored, as far as that can be told. `from`: who sent it, `id`: the channel as the webhook
    /// has it, which between two people is the recipient (v2) or that of the pair (v3).
    pub fn of_hook(channel_type: u8, from: &str, id: &str, is_command: bool) -> Option<Self> {
        let mut channel = match channel_type {
            0 => return None,
            // A message's own channel can be told by its recipient when only one order is possible.
            PERSON if !id.contains(PAIR) => {
                let bare = id.strip_suffix(COMMAND).unwrap_or(id);
                let certain = crc32fast::hash(from.as_bytes()) != crc32fast::hash(bare.as_bytes()) || from == bare;
                let pair = Channel::person(from, bare);
                let command = bare.len() < id.len();
                (certain && !from.contains(PAIR)).then(|| if command { pair.command() } else { pair })?
            }
            _ => Channel::new(channel_type, id),
        };
        if is_command && !channel.id.ends_with(COMMAND) {
            channel = channel.command();
        }
        Some(Self { channel_type, id: channel.id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: &str) -> Native {
        Native { channel_type: PERSON, id: id.to_owned() }
    }

    #[test]
    fn v2_comes_to_the_same_id() {
        assert_eq!(person("bob@alice").named(), Some(("alice", "bob")));
        assert_eq!(person("alice@bob").named(), None, "v2 would come to bob@alice");
        // Equal sums: one channel for each order.
        assert_eq!(person("plumless@buckeroo").named(), Some(("buckeroo", "plumless")));
        assert_eq!(person("buckeroo@plumless").named(), Some(("plumless", "buckeroo")));
        assert_eq!(person("buckeroo@plumless").channel(), person("plumless@buckeroo").channel());
        assert_eq!(person("me@me").named(), Some(("me", "me")));
        // Somebody was named with an `@`: bob@alice@work is bob and alice@work, or bob@alice and work.
        let work = person("bob@alice@work");
        let (login, other) = work.named().expect("a name that leads to it");
        assert_eq!(format!("{other}@{login}"), "bob@alice@work");
        assert_eq!(work.channel(), Channel::new(PERSON, "bob@alice@work"));
        assert_eq!(person("nobody").named(), None);
        let group = Native { channel_type: 2, id: "a@b".to_owned() };
        assert_eq!((group.named(), group.key()), (Some((READER, "a@b")), "2/a@b".to_owned()));
    }

    #[test]
    fn the_archive_counts_where_two_channels_are_one() {
        for id in ["plumless@buckeroo", "buckeroo@plumless", "buckeroo@plumless____cmd"] {
            assert!(person(id).is_counted_here(Version::V2), "{id}");
            assert!(!person(id).is_counted_here(Version::V3), "{id}: there is one alone");
        }
        let group = Native { channel_type: 2, id: "plumless@buckeroo".to_owned() };
        for native in [person("bob@alice"), person("me@me"), person("plumless@buckeroo@work"), person("nobody"), group]
        {
            assert!(!native.is_counted_here(Version::V2), "{native:?}");
        }
    }

    #[test]
    fn webhooks_name_the_recipient_or_the_pair() {
        let of = |channel_type, from, id, command| Native::of_hook(channel_type, from, id, command).map(|it| it.key());
        assert_eq!(of(1, "alice", "bob", false).as_deref(), Some("1/bob@alice"));
        assert_eq!(of(1, "bob", "bob@alice", false).as_deref(), Some("1/bob@alice"));
        assert_eq!(of(1, "alice", "bob____cmd", true).as_deref(), Some("1/bob@alice____cmd"));
        assert_eq!(of(1, "alice", "bob", true).as_deref(), Some("1/bob@alice____cmd"));
        assert_eq!(of(2, "alice", "team", true).as_deref(), Some("2/team____cmd"));
        assert_eq!(of(2, "alice", "team", false).as_deref(), Some("2/team"));
        assert_eq!(of(1, "alice@work", "bob", false), None);
        assert_eq!(of(1, "plumless", "buckeroo", false), None);
        assert_eq!(of(0, "alice", "x", false), None);
    }
}
