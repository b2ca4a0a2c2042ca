//! Channels, and what they are stored under (reference/wukongim.md §4).
//!
//! A conversation of the archive is named `{channel_type}/{stored id}`: `2/group123`, `1/bob@alice`.

use std::fmt;
use stele_plugin_api::model::ConversationKind;

/// Two people.
pub const PERSON: u8 = 1;
/// Any number of people.
pub const GROUP: u8 = 2;
/// Whom a message is for that names people, but no channel.
pub const TEMPORARY: u8 = 8;
/// Somebody and an agent. Whoever sends comes first in its id.
pub const AGENT: u8 = 11;

/// Who sends when nobody is named.
pub const SYSTEM: &str = "____system";

/// What the id of a command channel ends with.
const COMMAND: &str = "____cmd";
/// Between the two of a pair.
const PAIR: char = '@';
/// What no uid or channel id may hold that a pair is made of: it could not be taken apart.
const FORBIDDEN: [char; 3] = [PAIR, '#', '&'];

/// A channel, by what it is stored under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// Its type, not 0.
    pub channel_type: u8,
    /// Its id: of two people that of the pair.
    pub id: String,
}

impl Channel {
    /// A channel whose id is that it is stored under.
    pub fn new(channel_type: u8, id: impl Into<String>) -> Self {
        Self { channel_type, id: id.into() }
    }

    /// The channel of two people, whoever of them is named first.
    pub fn person(one: &str, other: &str) -> Self {
        Self::new(PERSON, pair(one, other))
    }

    /// The channel of people who are named without one: its id is the FNV-1a hash of their uids.
    pub fn of_subscribers(subscribers: &[String]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in subscribers.join(",").bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self::new(TEMPORARY, format!("{hash}{COMMAND}"))
    }

    /// The channel a reader means: with two people the other one's uid, or the id of the pair in either order. An id with more
    /// than one `@`, which a real server has of uids that have one themselves (reference/wukongim.md §17, trap 46), is taken as it
    /// is. `None` where the channel cannot be told: the reader is not named, or one of the two.
    pub fn of_reader(channel_type: u8, id: &str, login_uid: &str) -> Option<Self> {
        if channel_type != PERSON {
            return Some(Self::new(channel_type, id));
        }
        let bare = id.strip_suffix(COMMAND).unwrap_or(id);
        let (one, other) = match bare.split_once(PAIR) {
            Some((_, rest)) if rest.contains(PAIR) => return Some(Self::new(PERSON, id)),
            Some((one, other)) => (one, other),
            None => (login_uid, bare),
        };
        if one.is_empty() || other.is_empty() {
            return None;
        }
        let channel = Self::person(one, other);
        Some(if bare.len() < id.len() { channel.command() } else { channel })
    }

    /// The channel of a conversation of the archive; `None` for one that is no channel.
    pub fn of_conversation(native_id: &str) -> Option<Self> {
        let (channel_type, id) = native_id.split_once('/')?;
        Some(Self::new(channel_type.parse().ok()?, id))
    }

    /// The channel of commands beside this one.
    #[must_use]
    pub fn command(mut self) -> Self {
        self.id.push_str(COMMAND);
        self
    }

    /// What the conversation is.
    pub fn kind(&self) -> ConversationKind {
        match self.channel_type {
            _ if self.id.ends_with(COMMAND) => ConversationKind::System,
            1 => ConversationKind::Direct,
            3 => ConversationKind::Service,
            4 | 5 => ConversationKind::Community,
            _ => ConversationKind::Group,
        }
    }

    /// Whom what this person sent is for: of two people the other one, else the channel.
    pub fn recipient(&self, sender: &str) -> &str {
        if self.channel_type != PERSON {
            return &self.id;
        }
        let bare = self.id.strip_suffix(COMMAND).unwrap_or(&self.id);
        let behind = bare.strip_prefix(sender).and_then(|rest| rest.strip_prefix(PAIR));
        let before = || bare.strip_suffix(sender).and_then(|rest| rest.strip_suffix(PAIR));
        // Of what neither of them sent the last one is told, as a real server does.
        let last = || bare.rsplit(PAIR).next().unwrap_or(bare);
        behind.or_else(before).unwrap_or_else(last)
    }
}

/// The native id of the conversation.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.channel_type, self.id)
    }
}

/// Why something cannot be part of the id of a channel, if so.
pub fn forbidden(id: &str) -> Option<&'static str> {
    if id.contains(FORBIDDEN) {
        Some("must not contain @, # or &")
    } else if id.ends_with(COMMAND) {
        Some("must not end with ____cmd, which names channels of commands")
    } else {
        None
    }
}

/// The one with the greater CRC-32 comes first; where they are equal, the greater text.
fn pair(one: &str, other: &str) -> String {
    let weight = |uid: &str| crc32fast::hash(uid.as_bytes());
    let (first, second) = if (weight(one), one) >= (weight(other), other) { (one, other) } else { (other, one) };
    format!("{first}{PAIR}{second}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_those_of_the_reference() {
        let check = |one, other, expected: &str| {
            assert_eq!(Channel::person(one, other).id, expected);
            assert_eq!(Channel::person(other, one).id, expected);
        };
        check("u1", "u2", "u2@u1");
        check("alice", "bob", "bob@alice");
        check("user123", "user456", "user456@user123");
        check("userA", "userB", "userA@userB");
        check("10001", "10002", "10002@10001");
        check("____system", "user123", "user123@____system");
        check("张三", "李四", "张三@李四");
        check("me", "me", "me@me");
    }

    #[test]
    fn equal_sums_are_told_apart_by_the_texts() {
        // Both have the sum 0x4ddb0c25.
        let (one, other) = ("plumless", "buckeroo");
        assert_eq!(crc32fast::hash(one.as_bytes()), crc32fast::hash(other.as_bytes()));
        assert_eq!(Channel::person(one, other).id, "plumless@buckeroo");
        assert_eq!(Channel::person(other, one).id, "plumless@buckeroo");
    }

    #[test]
    fn readers_name_a_person_or_a_pair() {
        let check = |id, login_uid, expected: Option<&str>| {
            let found = Channel::of_reader(PERSON, id, login_uid).map(|channel| channel.to_string());
            assert_eq!(found.as_deref(), expected, "{id} {login_uid}");
        };
        check("bob", "alice", Some("1/bob@alice"));
        check("bob@alice", "", Some("1/bob@alice"));
        check("alice@bob", "carol", Some("1/bob@alice"));
        check("bob____cmd", "alice", Some("1/bob@alice____cmd"));
        check("alice@bob____cmd", "", Some("1/bob@alice____cmd"));
        // Somebody of a real server may be named with an `@`: the pair is given as it is stored, or by the two.
        check("bob@alice@work", "", Some("1/bob@alice@work"));
        check("alice@work@bob", "bob", Some("1/alice@work@bob"));
        check("bob@@", "", Some("1/bob@@"));
        check("bob@alice@work____cmd", "", Some("1/bob@alice@work____cmd"));
        check("bob", "alice@work", Some(&Channel::person("alice@work", "bob").to_string()));
        for (id, login_uid) in [("bob", ""), ("", "alice"), ("@bob", "a"), ("bob@", "a")] {
            check(id, login_uid, None);
        }
        assert_eq!(Channel::of_reader(GROUP, "a@b@c", ""), Some(Channel::new(GROUP, "a@b@c")));
    }

    #[test]
    fn the_recipient_is_the_other_one() {
        let check = |channel: Channel, sender, expected| assert_eq!(channel.recipient(sender), expected, "{channel}");
        check(Channel::person("alice", "bob"), "alice", "bob");
        check(Channel::person("alice", "bob"), "bob", "alice");
        check(Channel::person("alice", "bob").command(), "bob", "alice");
        check(Channel::person("me", "me"), "me", "me");
        check(Channel::person("user123", SYSTEM), SYSTEM, "user123");
        check(Channel::new(PERSON, "bob@alice"), "carol", "alice");
        check(Channel::new(PERSON, "bob@alice"), "", "alice");
        check(Channel::new(GROUP, "team"), "alice", "team");
        check(Channel::new(AGENT, "alice@agent"), "alice", "alice@agent");
    }

    #[test]
    fn channels_have_their_kind() {
        use ConversationKind::{Community, Direct, Group, Service, System};
        let kinds = [Direct, Group, Service, Community, Community, Group, Group, Group];
        for (channel_type, kind) in (1..).zip(kinds) {
            assert_eq!(Channel::new(channel_type, "x").kind(), kind, "{channel_type}");
            assert_eq!(Channel::new(channel_type, "x").command().kind(), System);
        }
    }

    #[test]
    fn people_without_a_channel_have_one_of_their_own() {
        let channel = |uids: &[&str]| {
            Channel::of_subscribers(&uids.iter().map(|uid| (*uid).to_owned()).collect::<Vec<_>>()).to_string()
        };
        // The published vectors of FNV-1a for the empty text, "a" and "foobar".
        assert_eq!(channel(&[]), "8/14695981039346656037____cmd");
        assert_eq!(channel(&["a"]), "8/12638187200555641996____cmd");
        assert_eq!(channel(&["foobar"]), "8/9625390261332436968____cmd");
        assert_ne!(channel(&["a", "b"]), channel(&["ab"]));
    }

    proptest! {
        #[test]
        fn what_two_say_to_each_other_is_in_one_channel(one in "[^@]{1,12}", other in "[^@]{1,12}") {
            prop_assume!(forbidden(&one).is_none() && forbidden(&other).is_none());
            let channel = Channel::person(&one, &other);
            prop_assert_eq!(channel.recipient(&one), &other);
            prop_assert_eq!(channel.recipient(&other), &one);
            prop_assert_eq!(&Channel::of_reader(PERSON, &other, &one), &Some(channel.clone()));
            prop_assert_eq!(&Channel::of_reader(PERSON, &one, &other), &Some(channel.clone()));
            prop_assert_eq!(&Channel::of_reader(PERSON, &channel.id, ""), &Some(channel.clone()));
            prop_assert_eq!(Channel::of_conversation(&channel.to_string()), Some(channel));
        }

        #[test]
        fn names_of_conversations_read_back(channel_type: u8, id: String) {
            let channel = Channel::new(channel_type, id);
            prop_assert_eq!(Channel::of_conversation(&channel.to_string()), Some(channel));
        }
    }
}
