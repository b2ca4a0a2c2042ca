//! What somebody wants to send, before it has an id.

use crate::channel::{Channel, PERSON, SYSTEM};
use crate::id;
use crate::message::{BASE64, Header, Object, readable};
use base64::Engine;
use bytes::Bytes;
use std::borrow::Cow;
use stele_plugin_api::model::{Conversation, ConversationKind, Message, Micros, Person, PersonKind};
use uuid::Uuid;

/// Bit of `setting`: the message is the anchor of a stream.
pub const STREAM: u8 = 0x02;

/// The archive's kind of an item of a stream.
pub const PART: &str = "part";
/// The archive's kind of what is stored when a stream is closed: it says what the whole stream says.
pub const END: &str = "end";

/// What stands before a channel in the name of the conversation of the ends of its streams.
const ENDS: &str = "ends/";

/// What a message is to the stream it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing, or its anchor: a message of its channel.
    Message,
    /// An item of it.
    Part,
    /// Its end. It says what all items say.
    End,
}

/// A message without an id.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its channel.
    pub channel: Channel,
    /// Its flags.
    pub header: Header,
    /// Its bits.
    pub setting: u8,
    /// The sender's own id of it.
    pub client_msg_no: String,
    /// That id is the sender's, not made here: the message is not stored where one with it is.
    pub once: bool,
    /// The stream it begins or is part of.
    pub stream_no: String,
    /// What it is there.
    pub role: Role,
    /// Who sends.
    pub from_uid: String,
    /// Seconds it is good for; 0 for ever.
    pub expire: u32,
    /// When it expires, where `expire` does not say: the end of a stream does with the message that begins it.
    pub expires_at: Option<Micros>,
    /// Whom the sender named.
    pub subscribers: Vec<String>,
    /// What it says.
    pub payload: Bytes,
    /// A label, found as a line of the text is.
    pub tag_key: String,
    /// Where it stands in what was sent, in front of a name of it.
    pub at: String,
    /// The stream's conversation, where the message opens or closes it.
    pub tells: Option<Conversation>,
}

impl Draft {
    /// A message of a channel, with an id made here.
    pub fn new(channel: Channel, header: Header, from_uid: &str, payload: Bytes) -> Self {
        Self {
            channel,
            header,
            setting: 0,
            // Of the form a real server makes it. They ascend, so that those of a commit lie together in the archive's index of
            // client ids: at random, each of them would write a page of it.
            client_msg_no: format!("{}0", Uuid::now_v7().simple()),
            once: false,
            stream_no: String::new(),
            role: Role::Message,
            from_uid: from_uid.to_owned(),
            expire: 0,
            expires_at: None,
            subscribers: Vec::new(),
            payload,
            tag_key: String::new(),
            at: String::new(),
            tells: None,
        }
    }

    /// Whether it goes to the archive. The anchor of a stream does in any case.
    pub fn is_stored(&self) -> bool {
        self.header.no_persist == 0 || self.setting & STREAM != 0
    }

    /// Native id of the conversation it is stored in.
    pub fn conversation(&self) -> String {
        match self.role {
            Role::Message => self.channel.to_string(),
            Role::Part => stream(&self.stream_no),
            Role::End => ends(&self.channel.to_string()),
        }
    }

    /// What the conversations it touches are.
    pub fn conversations(&self) -> impl Iterator<Item = Conversation> {
        let is_channel = self.role == Role::Message;
        let own = || Conversation {
            native_id: self.conversation(),
            kind: Some(if is_channel { self.channel.kind() } else { ConversationKind::System }),
            ..Conversation::default()
        };
        // A stream was told of when it was opened.
        (self.role != Role::Part).then(own).into_iter().chain(self.tells.clone())
    }

    /// Who sends it, where that is nobody in particular.
    pub fn person(&self) -> Option<Person> {
        let system = || Person { native_id: SYSTEM.to_owned(), kind: Some(PersonKind::Bot), ..Person::default() };
        (self.from_uid == SYSTEM).then(system)
    }

    /// What counts of it where bytes are bounded: the payload is in a message twice, as text and in its body.
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.subscribers.iter().map(String::len).sum::<usize>()
    }

    /// The message with this id. It was sent when the id was given.
    pub fn message(&self, id: i64) -> Message {
        let recipient = self.channel.recipient(&self.from_uid);
        let object = Object {
            header: self.header,
            setting: self.setting,
            message_id: id,
            client_msg_no: Cow::Borrowed(&self.client_msg_no),
            stream_no: Cow::Borrowed(&self.stream_no),
            from_uid: Cow::Borrowed(&self.from_uid),
            channel_id: Cow::Borrowed(recipient),
            channel_type: self.channel.channel_type,
            expire: self.expire,
            payload: Cow::Owned(BASE64.encode(&self.payload)),
            tag_key: Cow::Borrowed(&self.tag_key),
            subscribers: self.subscribers.clone(),
            ..Object::default()
        };
        let read = readable(&self.payload);
        // The label is searched for like what is said.
        let lines = [read.text, self.tag_key.clone()];
        let text = lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        let kind = match self.role {
            Role::Message => read.kind,
            Role::Part => PART.to_owned(),
            Role::End => END.to_owned(),
        };
        let mut recipients = self.subscribers.clone();
        if self.channel.channel_type == PERSON && recipient != self.from_uid {
            recipients.push(recipient.to_owned());
        }
        let sent_at = id::given_at(id);
        Message {
            native_id: id.to_string(),
            client_id: Some(self.client_msg_no.clone()),
            once: self.once,
            conversation: self.conversation(),
            sender: self.from_uid.clone(),
            recipients,
            labels: vec![label(self.channel.channel_type)],
            sent_at,
            kind,
            text,
            body: serde_json::to_vec(&object).expect("plain values can be written").into(),
            expires_at: self
                .expires_at
                .or_else(|| (self.expire > 0).then(|| sent_at + i64::from(self.expire) * 1_000_000)),
            ..Message::default()
        }
    }
}

/// Native id of a stream's conversation.
pub fn stream(stream_no: &str) -> String {
    format!("stream/{stream_no}")
}

/// Native id of the conversation of the ends of a channel's streams.
pub fn ends(channel: &str) -> String {
    format!("{ENDS}{channel}")
}

/// The channel whose streams end in this conversation.
pub fn of_ends(conversation: &str) -> &str {
    conversation.strip_prefix(ENDS).unwrap_or(conversation)
}

/// The archive's label of the messages of all channels of a type.
pub fn label(channel_type: u8) -> String {
    format!("type:{channel_type}")
}
