//! The typed operations: what the daemon asks of a plugin, and a plugin of the daemon.
//!
//! An operation is a name, a request and a reply. The payload of its frames is the request or reply in MessagePack (JSON
//! for a plugin that says so); bulk bytes travel beside it in the frame's body: see [`HttpRequest`], [`HttpReply`],
//! [`MediaChunk`], [`FetchRequest`], [`FetchReply`].

mod archive;
mod live;
mod shown;

pub use archive::{
    AppendReport, AppendedMessage, Feed, FeedQuery, FindQuery, MediaView, MessageOrder, MessagePage, MessageQuery,
    MessageView, Messages, PartitionKeys, PartitionNumbers, Place, Repeated, SearchQuery,
};
pub use live::{LiveCarrier, LiveEvent, RenderRequest, Rendered, Subscription};
pub use shown::first_segment;

use crate::model::{ConversationKind, Micros, Page, Parked, PersonKind};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// An operation: ties a name to the types of its request and its reply.
pub trait Op {
    /// The name in the frame.
    const NAME: &'static str;
    /// What is asked.
    type Request: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What is answered.
    type Reply: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The part of a request that travels in the frame's body.
    fn request_body(_request: &mut Self::Request) -> Option<&mut Bytes> {
        None
    }

    /// The part of a reply that travels in the frame's body.
    fn reply_body(_reply: &mut Self::Reply) -> Option<&mut Bytes> {
        None
    }
}

/// Who asks for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The daemon asks a plugin.
    Daemon,
    /// A plugin asks the daemon.
    Plugin,
}

/// An operation, as a table of them shows it.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The name in the frame.
    pub name: &'static str,
    /// Who asks for it.
    pub caller: Caller,
    /// What it is for.
    pub summary: &'static str,
    /// The request and the reply by the names of their types.
    pub types: (&'static str, &'static str),
}

macro_rules! ops {
    (@caller daemon) => { Caller::Daemon };
    (@caller plugin) => { Caller::Plugin };
    ($($caller:ident asks {$(
        #[doc = $summary:literal]
        $name:ident = $wire:literal: $request:ty $([$sent:ident])? => $reply:ty $([$answered:ident])?;
    )+})+) => {
        $($(
        #[doc = $summary]
        #[doc = concat!("\n\nThe ", stringify!($caller), " asks.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Op for $name {
            const NAME: &'static str = $wire;
            type Request = $request;
            type Reply = $reply;
            $(fn request_body(request: &mut $request) -> Option<&mut Bytes> {
                Some(&mut request.$sent)
            })?
            $(fn reply_body(reply: &mut $reply) -> Option<&mut Bytes> {
                Some(&mut reply.$answered)
            })?
        }
        )+)+

        /// Every operation of this version.
        pub const OPERATIONS: &[Operation] = &[$($(
            Operation {
                name: $wire,
                caller: ops!(@caller $caller),
                summary: $summary.trim_ascii(),
                types: (stringify!($request), stringify!($reply)),
            },
        )+)+];
    };
}

// A part in brackets travels in the frame's body.
ops! {
    daemon asks {
        /// What the plugin offers.
        Describe = "describe": Empty => Description;
        /// Whether the instance can work, with reasons.
        Health = "health": Empty => HealthReport;
        /// The partitions to sync.
        SyncDiscover = "sync.discover": Empty => Partitions;
        /// The next page of a partition.
        SyncPull = "sync.pull": PullRequest => Page;
        /// Try parked envelopes again.
        SyncRecover = "sync.recover": RecoverRequest => Page;
        /// The next page of people and conversations of a partition.
        DirectoryPull = "directory.pull": PullRequest => Page;
        /// Answer a request of the instance's listener.
        HttpHandle = "http.handle": HttpRequest [body] => HttpReply [body];
        /// Stream a file. Each item is a [`MediaChunk`] with its bytes in the frame's body.
        MediaFetch = "media.fetch": MediaRequest => Empty;
        /// What listeners get of messages.
        LiveRender = "live.render": RenderRequest => Rendered;
    }
    plugin asks {
        /// Conversations a person takes part in, latest first.
        ConversationList = "conversation.list": ConversationQuery => ConversationPage;
        /// One conversation.
        ConversationGet = "conversation.get": ById => Option<ConversationView>;
        /// Many conversations at once; unknown ones are left out.
        ConversationGetMany = "conversation.get_many": ByIds => Conversations;
        /// Whether a person takes part in a conversation; false when either is unknown.
        ConversationTakesPart = "conversation.takes_part": Participation => bool;
        /// A conversation, and whether a person is a member of it.
        ConversationMembership = "conversation.membership": Participation => Membership;
        /// The conversations a person is a member of, with or without messages.
        ConversationJoined = "conversation.joined": JoinedQuery => Joined;
        /// One person.
        PersonGet = "person.get": ById => Option<PersonView>;
        /// Many people at once; unknown ones are left out.
        PersonGetMany = "person.get_many": ByIds => People;
        /// The people of the instance, a page at a time.
        PersonList = "person.list": PersonQuery => People;
        /// Messages of a conversation.
        ArchiveQuery = "archive.query": MessageQuery => MessagePage;
        /// Messages by native id, in the order of the ids; unknown ones are left out.
        ArchiveGet = "archive.get": ByIds => Messages;
        /// Messages by number, or by their senders' own ids.
        ArchiveFind = "archive.find": FindQuery => Messages;
        /// What became readable after a revision, in the order of revisions; waits for it.
        ArchiveFeed = "archive.feed": FeedQuery => Feed;
        /// Messages that contain a text.
        ArchiveSearch = "archive.search": SearchQuery => MessagePage;
        /// Commit a page that did not come from a sync.
        ArchiveAppend = "archive.append": Page => AppendReport;
        /// Up to which number partitions are archived.
        PartitionReached = "partition.reached": PartitionKeys => PartitionNumbers;
        /// Start a job of this instance, unless it runs.
        JobStart = "job.start": JobRequest => JobStarted;
        /// A small value kept for the instance.
        StateGet = "state.get": StateKey => StateValue;
        /// Keep a small value for the instance.
        StatePut = "state.put": StateEntry => Empty;
        /// Hold something of the instance that only one of all daemons holds at a time, or go on holding it.
        LeaseHold = "lease.hold": HoldRequest => HoldReply;
        /// Make an HTTP request through the daemon's client.
        HttpFetch = "http.fetch": FetchRequest [body] => FetchReply [body];
    }
}

/// Nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// What a plugin offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// Name of the plugin, e.g. `wecom`.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// Operations it answers.
    pub operations: Vec<String>,
    /// Where clients of the protocol expect it, e.g. `127.0.0.1:9002`; `None` when it serves no HTTP.
    pub default_listen: Option<String>,
    /// How often the daemon should check on messages of a partition when the configuration does not say (cron pattern).
    pub default_sync: Option<String>,
    /// The same for people and conversations.
    pub default_directory: Option<String>,
    /// Requests a second one caller may make when the configuration does not say.
    pub default_rate: Option<u32>,
    /// JSON text in which the daemon puts errors of its own (too many requests, body too large, plugin unavailable), so
    /// that they have the protocol's shape: `{status}` becomes the number, `{message}` the escaped text.
    pub error_template: Option<String>,
    /// Headers of those errors, e.g. `access-control-allow-origin`, so that a browser may read them as it may read the plugin's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_headers: Vec<(String, String)>,
    /// Largest body of a request, in bytes, when the configuration does not say. All bodies of an instance share what its
    /// requests in flight could take with a MiB each; what is recommended beyond that counts as that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_max_body: Option<u64>,
    /// Beginnings of paths whose rest is a secret, e.g. `/hook/`: the rest is never logged. Until the plugin is described no more of
    /// any path is than its first segment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_paths: Vec<String>,
}

impl Description {
    /// Whether it answers this operation.
    pub fn offers(&self, op: &str) -> bool {
        self.operations.iter().any(|offered| offered == op)
    }
}

/// Whether an instance can work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthReport {
    /// Everything needed is there.
    pub ok: bool,
    /// What is wrong, or worth knowing; one sentence each, without secrets.
    pub findings: Vec<String>,
}

/// The partitions of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Partitions {
    /// One entry per partition.
    pub partitions: Vec<Partition>,
}

/// The unit that has a cursor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Partition {
    /// Its native id, e.g. a corp id.
    pub key: String,
    /// Its name for people.
    pub title: String,
}

/// Ask for the next page of a partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullRequest {
    /// The partition.
    pub partition: String,
    /// The cursor of the last committed page; `None` at the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Bytes>,
    /// How many messages the daemon would like at most.
    pub limit: u32,
    /// When the last page of this partition that had a cursor was committed, be it the same one; lets a plugin notice that
    /// history was lost meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<Micros>,
}

/// Parked envelopes to try again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecoverRequest {
    /// The partition they came from.
    pub partition: String,
    /// The envelopes. Those that can be read come back as [`Page::messages`], the others as [`Page::parked`].
    pub parked: Vec<Parked>,
}

/// A request of an instance's listener. The request's body is the frame's body.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpRequest {
    /// Upper-case method.
    pub method: String,
    /// Path as received, still percent-encoded, without the listener's prefix.
    pub path: String,
    /// Query as received, still percent-encoded, without the question mark; `None` when there was no question mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Headers in order; names in lower case, values lossily decoded.
    pub headers: Vec<(String, String)>,
    /// Address of the caller.
    pub remote: String,
    /// Id of the request, in every log line about it.
    pub request_id: String,
    /// The address clients use for this listener (scheme and authority), for links in replies.
    pub base_url: String,
    /// The body. Not part of the payload: it travels in the frame's body.
    #[serde(skip)]
    pub body: Bytes,
}

/// The reply to an [`HttpRequest`]. The body is the frame's body.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpReply {
    /// Status code.
    pub status: u16,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Deliver what comes to this connection. There is no body then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
    /// The body. Not part of the payload: it travels in the frame's body.
    #[serde(skip)]
    pub body: Bytes,
}

/// Ask for a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaRequest {
    /// The partition it belongs to.
    pub partition: String,
    /// [`crate::model::MediaRef::handle`].
    pub handle: String,
    /// [`MediaChunk::resume`] of the last chunk that was kept; empty for the beginning.
    pub resume: String,
}

/// One chunk of a file. Its bytes are the frame's body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaChunk {
    /// Where a later call goes on after this chunk.
    pub resume: String,
    /// This is the last one.
    pub last: bool,
}

/// By native id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ById {
    /// Native id.
    pub native_id: String,
}

/// By native ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ByIds {
    /// Native ids; at most [`MAX_IDS`].
    pub native_ids: Vec<String>,
}

/// Most native ids in one [`ByIds`].
pub const MAX_IDS: usize = 1000;
/// Most rows in one page of an answer. Messages that hold more than 32 MiB of texts and bodies are not answered at once, but with
/// [`TooLarge`](crate::ErrorCode::TooLarge): ask for fewer. One alone is always answered.
pub const MAX_ROWS: u32 = 1000;

/// People found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct People {
    /// In no particular order.
    pub people: Vec<PersonView>,
}

/// A stored person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonView {
    /// Native id.
    pub native_id: String,
    /// What they are to the company.
    pub kind: PersonKind,
    /// Name; empty when unknown.
    #[serde(default)]
    pub name: String,
    /// Address of their picture; empty when unknown.
    #[serde(default)]
    pub avatar: String,
    /// The plugin's own facts, as JSON text.
    #[serde(default)]
    pub attributes: Option<String>,
}

/// A stored conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConversationView {
    /// The archive's id of it.
    pub id: i64,
    /// Native id.
    pub native_id: String,
    /// The partition it belongs to.
    pub partition: String,
    /// What it is.
    pub kind: ConversationKind,
    /// Title; empty when it has none.
    pub title: String,
    /// Native id of the owner; empty when unknown.
    pub owner: String,
    /// Number of stored messages.
    pub messages: u64,
    /// The greatest number of a message, the source's or the daemon's; 0 without messages.
    pub last_seq: i64,
    /// Put away, as the source says.
    pub archived: bool,
    /// Deleted at the source. The archive keeps it.
    pub deleted: bool,
    /// The plugin's own facts, as JSON text.
    pub attributes: Option<String>,
}

/// Conversations found by their native ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversations {
    /// In no particular order.
    pub conversations: Vec<ConversationView>,
}

/// Ask for the conversations a person takes part in, latest activity first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConversationQuery {
    /// Native id of the person.
    pub person: String,
    /// Only of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ConversationKind>,
    /// Only where the peer's name (or the title, in a group) contains this, letter case aside. Where there is none the last
    /// part of the native id stands for it, behind its last `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Rows to pass over.
    pub offset: u64,
    /// Rows wanted, at most [`MAX_ROWS`].
    pub limit: u32,
}

/// A person and a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Participation {
    /// Native id of the conversation.
    pub conversation: String,
    /// Native id of the person.
    pub person: String,
}

/// A conversation, and whether a person is a member of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Membership {
    /// The conversation; `None` when nobody knows it.
    pub conversation: Option<ConversationView>,
    /// Whether the person is a member now. One who was, or who only wrote, is none.
    pub member: bool,
}

/// Ask for the conversations a person is a member of, in the order of their native ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinedQuery {
    /// Native id of the person.
    pub person: String,
    /// Only native ids greater than this.
    pub after: String,
    /// Ids wanted, at most [`MAX_ROWS`].
    pub limit: u32,
}

/// The conversations a person is a member of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Joined {
    /// Native ids, ascending. Fewer than asked for: there are no more.
    pub conversations: Vec<String>,
}

/// Ask for the people of the instance, in the order of their native ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersonQuery {
    /// Only native ids greater than this.
    pub after: String,
    /// People wanted, at most [`MAX_ROWS`]. Fewer come: there are no more.
    pub limit: u32,
}

/// Conversations found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConversationPage {
    /// The rows asked for.
    pub rows: Vec<ConversationRow>,
    /// Exact number of rows without paging.
    pub total: u64,
}

/// A conversation in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConversationRow {
    /// The conversation.
    pub conversation: ConversationView,
    /// The other one, in a conversation of two.
    #[serde(default)]
    pub peer: Option<PersonView>,
    /// Its latest message.
    pub last: MessageView,
}

/// Start a job of the instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobRequest {
    /// `sync`, `directory`, `media` or `recover`.
    pub kind: String,
    /// Only this partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
}

/// Whether a job was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobStarted {
    /// It runs because of this request.
    pub started: bool,
    /// It was running already; another run follows, so that what came meanwhile is not missed.
    pub running: bool,
}

/// An HTTP request through the daemon's client. The body is the frame's body.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FetchRequest {
    /// Upper-case method.
    pub method: String,
    /// Absolute URL. Its query is never logged.
    pub url: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Milliseconds until it is given up, body included.
    pub timeout_ms: u64,
    /// The body. Not part of the payload: it travels in the frame's body.
    #[serde(skip)]
    pub body: Bytes,
}

/// The reply to a [`FetchRequest`]. The body is the frame's body.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FetchReply {
    /// Status code.
    pub status: u16,
    /// Headers in order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body. Not part of the payload: it travels in the frame's body.
    #[serde(skip)]
    pub body: Bytes,
}

/// Name of a small value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateKey {
    /// The name.
    pub key: String,
}

/// A small value, if there is one.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateValue {
    /// The value.
    pub value: Option<Bytes>,
}

/// A small value and its name; `None` removes it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateEntry {
    /// The name.
    pub key: String,
    /// The value, at most 64 KiB.
    pub value: Option<Bytes>,
}

/// Ask to hold something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoldRequest {
    /// What it is called within the instance; at most 256 bytes.
    pub key: String,
    /// For how many seconds from now, at most an hour; 0 gives it back. The daemon gives it back when it stops; one that dies holds
    /// it until then.
    pub seconds: u32,
}

/// Whether it is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoldReply {
    /// This daemon holds it. `false`: another one does, or it was given back.
    pub held: bool,
}
