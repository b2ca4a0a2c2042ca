//! The message object, the same in history, in deliveries and in the archive (contract 004; reference/gateway.md §4.4).

use crate::config::{Config, TimeFormat};
use chrono::DateTime;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::MessageView;

/// The archive's kind of the message that a new conversation begins with. Its Type is 0, and it is nobody's "last message".
pub const JOINED: &str = "joined";

/// Greatest Type that is a kind of the archive by its number.
const MAX_KIND: i64 = 31;
/// The archive's kind of messages with any other Type.
const OTHER: &str = "other";

/// The archive's kind of a message with this Type: its decimal digits from 0 to 31, or `other`. The archive keeps a table of
/// kinds, and looks at each of them in turn: senders shall not make new ones. The Type itself is in the body.
pub fn kind(message_type: i64) -> String {
    if (0..=MAX_KIND).contains(&message_type) { message_type.to_string() } else { OTHER.to_owned() }
}

/// The archive's kinds of messages that somebody sent.
pub fn sent_kinds() -> Vec<String> {
    (0..=MAX_KIND).map(|kind| kind.to_string()).chain([OTHER.to_owned()]).collect()
}

/// How times are written.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    format: TimeFormat,
    zone: Tz,
}

/// A time as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Time {
    /// Microseconds since 1970.
    Micros(Micros),
    /// `2023-10-22T22:59:04.069413000+08:00`
    Text(String),
}

impl Times {
    /// As this instance is configured.
    pub fn of(config: &Config) -> Self {
        Self { format: config.time_format, zone: config.zone() }
    }

    /// As contract 004 has them.
    pub const MICROS: Self = Self { format: TimeFormat::Micros, zone: Tz::UTC };

    /// A time as it is written.
    pub fn write(self, at: Micros) -> Time {
        let text = || {
            let at = DateTime::from_timestamp_micros(at)?.with_timezone(&self.zone);
            // Nine digits, as in the contract's sample.
            Some(Time::Text(at.format("%Y-%m-%dT%H:%M:%S%.9f%:z").to_string()))
        };
        match self.format {
            TimeFormat::Micros => Time::Micros(at),
            TimeFormat::Rfc3339 => text().unwrap_or(Time::Micros(at)),
        }
    }
}

/// What an upstream may have mixed up in its automatic messages (reference/gateway.md §7). Their Content may be that of one
/// before, too: what was sent empty takes it, and looks like one of them.
pub const MIXED_UP: &[&str] = &["Type", "FromSession", "Content"];

/// A message, with its keys in the order in which they are sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shown<'m> {
    /// Its id.
    pub msg_id: &'m str,
    /// The conversation.
    #[serde(rename = "ConversationID")]
    pub conversation: &'m str,
    /// Who sent it; empty when nobody did.
    pub from_session: &'m str,
    /// When.
    pub send_time: Time,
    /// Whatever the sender says.
    pub status: i32,
    /// Whatever the sender says.
    #[serde(rename = "Type")]
    pub kind: i32,
    /// What it says.
    pub content: &'m str,
    /// Keys whose values may be wrong; an addition to the documents.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub unverified: &'static [&'static str],
}

/// What only the body knows.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Body {
    status: i32,
    r#type: i32,
}

impl<'m> Shown<'m> {
    /// A stored message.
    pub fn of(message: &'m MessageView, times: Times) -> Self {
        let body: Body = serde_json::from_slice(&message.body).unwrap_or_default();
        Self {
            msg_id: &message.native_id,
            conversation: &message.conversation,
            from_session: &message.sender,
            send_time: times.write(message.sent_at),
            status: body.status,
            kind: body.r#type,
            content: &message.text,
            unverified: &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_contracts() {
        let check = |format, zone, at, expected: &str| {
            let time = Times { format, zone }.write(at);
            assert_eq!(serde_json::to_string(&time).unwrap(), expected);
        };
        let at = 1_697_986_744_069_413;
        check(TimeFormat::Micros, Tz::Asia__Shanghai, at, "1697986744069413");
        check(TimeFormat::Rfc3339, Tz::Asia__Shanghai, at, "\"2023-10-22T22:59:04.069413000+08:00\"");
        check(TimeFormat::Rfc3339, Tz::UTC, 0, "\"1970-01-01T00:00:00.000000000+00:00\"");
    }
}
