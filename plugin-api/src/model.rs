//! The vocabulary both sides share: messages, people, conversations, media, and pages of them.
//!
//! These are wire types. Every struct is `#[serde(default)]` where a field may be missing and ignores fields it does not
//! know, so that a plugin and a daemon of different minors understand each other (see [`crate`] on evolution). Enums are
//! open: an unknown word is kept as `Other`.
//!
//! # Naming things
//!
//! Native ids are the plugin's own and unique **within an instance**. A plugin whose ids are only unique within a
//! partition (WeCom: within a corp) prefixes them itself, e.g. `corp123/zhang`.
//!
//! A message that is in several conversations at once is stored once for each. The further copies are named after the first:
//! its native id, [`COPY`], and whatever tells them apart. All copies belong into one page, and share their revocation.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Between the native id of a message and what tells a further copy of it from it.
pub const COPY: char = '#';

/// Most labels of a message, and in a search.
pub const MAX_LABELS: usize = 16;
/// Longest label, in bytes.
pub const MAX_LABEL: usize = 256;

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

open_enum! {
    /// What a conversation is.
    ConversationKind {
        /// Two members of one company.
        Direct = "direct",
        /// A member of the company and somebody outside of it.
        External = "external",
        /// Any number of people.
        Group = "group",
        /// A customer and whoever serves them.
        Service = "service",
        /// Open to a whole community.
        Community = "community",
        /// Events of the source that belong to nobody's conversation.
        System = "system",
    }
}

impl Default for ConversationKind {
    /// What a conversation is that nobody has described.
    fn default() -> Self {
        Self::System
    }
}

impl ConversationKind {
    /// Whether this, told of a conversation known as `known`, corrects it. Any other kind does, save one: that somebody
    /// from outside takes part is seen, that nobody does is only not seen.
    pub fn corrects(&self, known: &Self) -> bool {
        self != known && !(*self == Self::Direct && *known == Self::External)
    }
}

open_enum! {
    /// What a person is to the company.
    PersonKind {
        /// A member of the company.
        Staff = "staff",
        /// Somebody outside of the company.
        Customer = "customer",
        /// A program.
        Bot = "bot",
        /// A user of a system that makes no such difference.
        User = "user",
    }
}

/// One archived message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// The idempotency key: unique per instance. A message with a known one is not stored again.
    pub native_id: String,
    /// The sender's own id of it, if the source has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client id is an idempotency key, too: where a message of the same sender with this client id is in the conversation,
    /// this one is not stored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// Native id of the conversation. Created when unknown; [`Page::conversations`] may describe it.
    pub conversation: String,
    /// The source's own number of the message; `None` lets the daemon count within the conversation, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// Native id of the sender; empty for events that nobody sent.
    pub sender: String,
    /// Native ids of those it was sent to, the sender excepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// When the source says it was sent.
    pub sent_at: Micros,
    /// The source's word for the type, e.g. `text` or `image`.
    pub kind: String,
    /// What search sees; empty when there is nothing to find.
    pub text: String,
    /// The plugin's own words by which a search finds it exactly ([`SearchQuery::labels`](crate::ops::SearchQuery::labels)); order
    /// and repeats mean nothing. At most [`MAX_LABELS`], each of at most [`MAX_LABEL`] bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The source's own JSON, byte for byte.
    pub body: Bytes,
    /// Files that belong to it, in the order of the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<MediaRef>,
    /// When the source lets it expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Micros>,
}

/// A file a message refers to, still at its source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaRef {
    /// What `media.fetch` needs to get it; unique per instance.
    pub handle: String,
    /// The source's word for the type, e.g. `image`.
    pub kind: String,
    /// The file's name, when the source has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Size in bytes, as the source announces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Lower-case hex MD5 of the content, as the source announces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// After this the source no longer has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Micros>,
}

/// A person as the source describes them. A page's people are merged into what is known: `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    /// Native id.
    pub native_id: String,
    /// What they are to the company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<PersonKind>,
    /// The name people call them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address of their picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// The plugin's own facts, as JSON text; opaque to the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<String>,
}

/// A conversation as the source describes it. Merged into what is known: `None` leaves a field as it is.
///
/// What a page says of members holds before its messages: those who join hear them, those who leave do not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversation {
    /// Native id.
    pub native_id: String,
    /// The partition it belongs to.
    pub partition: String,
    /// What it is. The latest word counts, but [`Direct`](ConversationKind::Direct) does not take back
    /// [`External`](ConversationKind::External): see [`ConversationKind::corrects`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ConversationKind>,
    /// Its title; empty means the source has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Native id of the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Native ids of all members, when the source tells: the list replaces the one known. The members seen as senders
    /// and recipients of messages remain participants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<String>>,
    /// Native ids of people who became members: added to those known, or to `members`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<String>,
    /// Native ids of people who are members no more; whoever is in `joined` as well is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// Put away, or taken out again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// Deleted at the source. The archive keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
    /// The plugin's own facts, as JSON text; opaque to the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<String>,
}

/// The source took a message back. The original stays and is marked, and with it its further copies ([`COPY`]); one that
/// is not stored yet is marked when it comes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revocation {
    /// Native id of the message taken back.
    pub native_id: String,
    /// Native id of who took it back.
    pub by: String,
    /// When.
    pub at: Micros,
}

/// Something the source delivered that cannot be read yet, kept until it can (WeCom: the private key is missing).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parked {
    /// Native id the message will have.
    pub native_id: String,
    /// Why it could not be read; shown to operators.
    pub reason: String,
    /// What the plugin needs to try again; opaque to the daemon.
    pub envelope: Bytes,
}

/// A fact the operator should know: a gap in the source's history, a refused credential.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notice {
    /// Short stable word, e.g. `gap`.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

/// What one pull brought. The daemon commits all of it and the cursor in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// New messages, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// People the page tells about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Person>,
    /// Conversations the page tells about; needed at least once for every new conversation of the page.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conversations: Vec<Conversation>,
    /// Messages taken back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<Revocation>,
    /// What could not be read yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
    /// Facts for the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// Where the next pull goes on; `None` leaves the cursor as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Bytes>,
    /// Up to which numbers partitions are archived with this page. For a plugin that reads many partitions in one job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reached: Vec<Reached>,
    /// Nothing is left at the source for now.
    pub caught_up: bool,
}

/// Everything of a partition up to a number is archived. It never takes back what was said before, so it holds in whichever
/// order pages come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reached {
    /// The partition.
    pub partition: String,
    /// The number of its last message that is archived with all before it.
    pub seq: i64,
}
