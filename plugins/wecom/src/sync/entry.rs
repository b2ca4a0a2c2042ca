//! One plaintext as rows of the archive.
//!
//! WeCom delivers a message to a group once, and one without a room to all its receivers at once. The archive orders
//! messages within conversations, so the latter becomes one message per receiver: the first keeps WeCom's id, the others
//! get their receiver appended ([`crate::ids`]). A recall names the first, and the archive marks all of them: its own
//! receivers may be in another order, or missing.

use super::envelope::Envelope;
use crate::content::{Plain, kinds};
use crate::ids::{self, Conversation};
use bytes::Bytes;
use stele_plugin_api::model::{
    Conversation as ConversationRow, ConversationKind, MediaRef, Message, Micros, Person, PersonKind, Revocation,
};

/// How long WeCom keeps files, in microseconds (reference/wecom-archive.md §1.10).
pub const MEDIA_LIFE: Micros = 5 * 24 * 3_600 * 1_000_000;
/// Longest run of decimal digits that is read as a time in a msgid.
const MILLIS_DIGITS: usize = 13;

/// What one envelope brings to a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The message, once per conversation it is in.
    pub messages: Vec<Message>,
    /// Those conversations.
    pub conversations: Vec<ConversationRow>,
    /// Those of whom it tells what they are.
    pub people: Vec<Person>,
    /// What it takes back.
    pub revocations: Vec<Revocation>,
    /// When it was sent, as far as it says.
    pub sent_at: Option<Micros>,
}

impl Entry {
    /// Reads a plaintext. Whatever is wrong with it, the result has at least one message with all of its bytes.
    pub fn read(corp: &str, envelope: &Envelope, plaintext: Vec<u8>) -> Self {
        match Plain::parse(&plaintext) {
            Some(plain) => Reader { corp, envelope, plain: &plain }.entry(Bytes::from(plaintext)),
            None => Self::unparsable(corp, envelope, plaintext),
        }
    }

    /// What is no JSON object is kept in the corp's own conversation; what of it is text can be found.
    fn unparsable(corp: &str, envelope: &Envelope, plaintext: Vec<u8>) -> Self {
        let sent_at = time_in(&envelope.msgid);
        let message = Message {
            native_id: ids::message(corp, &envelope.msgid(), None),
            conversation: Conversation::System.native_id(corp),
            seq: number(envelope.seq),
            sent_at: sent_at.unwrap_or_default(),
            kind: kinds::UNPARSABLE.to_owned(),
            text: std::str::from_utf8(&plaintext).map(str::to_owned).unwrap_or_default(),
            body: Bytes::from(plaintext),
            ..Message::default()
        };
        Self {
            messages: vec![message],
            conversations: vec![row(corp, &Conversation::System, false)],
            sent_at,
            ..Self::default()
        }
    }

    /// Gives a message without a time of its own this one.
    pub fn set_time(&mut self, sent_at: Micros) {
        self.sent_at = Some(sent_at);
        for message in &mut self.messages {
            message.sent_at = sent_at;
            for media in &mut message.media {
                media.deadline = sent_at.checked_add(MEDIA_LIFE);
            }
        }
        for revocation in &mut self.revocations {
            revocation.at = sent_at;
        }
    }
}

struct Reader<'r> {
    corp: &'r str,
    envelope: &'r Envelope,
    plain: &'r Plain,
}

impl Reader<'_> {
    fn entry(&self, body: Bytes) -> Entry {
        let msgid = self.msgid();
        let sender = self.sender();
        let receivers = self.plain.tolist();
        let sent_at = self.plain.msgtime().and_then(|millis| millis.checked_mul(1000)).or_else(|| time_in(&msgid));
        let template = Message {
            seq: number(self.envelope.seq),
            sender: self.person(&sender),
            kind: self.plain.kind().into_owned(),
            text: self.plain.text(),
            body,
            media: self.media(),
            ..Message::default()
        };
        let mut entry = Entry::default();
        for (conversation, recipients, copy_for) in self.places(&sender, &receivers) {
            entry.conversations.push(row(self.corp, &conversation, ids::is_external(&msgid) && receivers.len() == 1));
            entry.messages.push(Message {
                native_id: ids::message(self.corp, &msgid, copy_for),
                conversation: conversation.native_id(self.corp),
                recipients: recipients.iter().map(|user| self.person(user)).collect(),
                ..template.clone()
            });
        }
        entry.revocations.extend(self.plain.revokes().map(|revoked| Revocation {
            native_id: ids::message(self.corp, &revoked, None),
            by: self.person(&sender),
            at: 0,
        }));
        entry.people = self.people(&sender, &receivers);
        if let Some(sent_at) = sent_at {
            entry.set_time(sent_at);
        }
        entry
    }

    /// The envelope's id: it is there even if the plaintext's is not, and the one a parked envelope was stored under.
    fn msgid(&self) -> String {
        match self.plain.msgid() {
            inner if self.envelope.msgid.is_empty() && !inner.is_empty() => inner.into_owned(),
            _ => self.envelope.msgid(),
        }
    }

    /// Who sent it; of a switch event who switched.
    fn sender(&self) -> String {
        let sender = self.plain.from();
        if sender.is_empty() && self.plain.kind() == kinds::SWITCH { self.plain.user() } else { sender }.into_owned()
    }

    /// Conversation, recipients, and whose copy it is if it is a further one: one entry per message to store.
    fn places<'r>(&self, sender: &str, receivers: &'r [String]) -> Vec<(Conversation, Vec<&'r str>, Option<&'r str>)> {
        let room = self.plain.roomid();
        if !room.is_empty() {
            let others = receivers.iter().map(String::as_str).filter(|user| *user != sender).collect();
            return vec![(Conversation::Group(room.into_owned()), others, None)];
        }
        if sender.is_empty() || receivers.is_empty() {
            return vec![(Conversation::System, receivers.iter().map(String::as_str).collect(), None)];
        }
        let place = |(index, receiver): (usize, &'r String)| {
            (Conversation::direct(sender, receiver), vec![receiver.as_str()], (index > 0).then_some(receiver.as_str()))
        };
        receivers.iter().enumerate().map(place).collect()
    }

    fn media(&self) -> Vec<MediaRef> {
        let media = self.plain.files().into_iter().map(|file| MediaRef {
            handle: ids::media(self.corp, &file.sdkfileid),
            kind: file.kind,
            name: file.name,
            size: file.size,
            md5: file.md5,
            deadline: None,
        });
        media.collect()
    }

    /// Those of whom it tells what they are. Nobody is told to be a member: the msgid of a message of a customer may
    /// lack its suffix, and what the directory says of somebody must not be taken back.
    fn people(&self, sender: &str, receivers: &[String]) -> Vec<Person> {
        let users = std::iter::once(sender).chain(receivers.iter().map(String::as_str));
        let people = users.filter_map(|user| {
            let kind = Some(ids::person_kind(user)?);
            Some(Person { native_id: self.person(user), kind, ..Person::default() })
        });
        people.collect()
    }

    fn person(&self, user: &str) -> String {
        if user.is_empty() { String::new() } else { ids::person(self.corp, user) }
    }
}

/// A conversation, as far as one message tells. Of two people it is external if one is a customer by their id, or if the
/// message is and went to nobody else (`is_external`): who is meant by a msgid of several receivers it does not say.
fn row(corp: &str, conversation: &Conversation, is_external: bool) -> ConversationRow {
    let is_customer = |user: &String| ids::person_kind(user) == Some(PersonKind::Customer);
    let kind = match conversation {
        Conversation::Direct(one, other) if is_external || is_customer(one) || is_customer(other) => {
            ConversationKind::External
        }
        Conversation::Direct(..) => ConversationKind::Direct,
        Conversation::Group(_) => ConversationKind::Group,
        Conversation::System => ConversationKind::System,
    };
    ConversationRow {
        native_id: conversation.native_id(corp),
        partition: corp.to_owned(),
        kind: Some(kind),
        ..ConversationRow::default()
    }
}

/// A number that an archive keeps; others are none.
fn number(seq: u64) -> Option<i64> {
    i64::try_from(seq).ok().filter(|seq| *seq < i64::MAX)
}

/// The time a msgid ends with: `10007_1700000000001_external`. For messages that do not say when they were sent.
fn time_in(msgid: &str) -> Option<Micros> {
    let digits = msgid.split('_').nth(1)?;
    (digits.len() == MILLIS_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse::<i64>().ok()?.checked_mul(1000))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(msgid: &str, plaintext: &Value) -> Entry {
        let envelope = Envelope { seq: 7, msgid: msgid.into(), ..Envelope::default() };
        Entry::read("corp123", &envelope, plaintext.to_string().into_bytes())
    }

    /// `native id, conversation, sender → recipients` of each message.
    fn lines(entry: &Entry) -> Vec<String> {
        let line = |message: &Message| {
            format!(
                "{} {} {}>{}",
                message.native_id,
                message.conversation,
                message.sender,
                message.recipients.join(",")
            )
        };
        entry.messages.iter().map(line).collect()
    }

    // Every argument is a literal, and reads best as one.
    #[allow(clippy::needless_pass_by_value)]
    fn text(from: &str, tolist: Value, roomid: &str) -> Value {
        json!({"msgid": "m", "action": "send", "from": from, "tolist": tolist, "roomid": roomid,
            "msgtime": 1_700_000_000_101_i64, "msgtype": "text", "text": {"content": "好"}})
    }

    #[test]
    fn a_message_belongs_where_it_was_sent() {
        let cases = [
            (text("zhang", json!(["li"]), ""), vec!["corp123/m corp123/d/li/zhang corp123/zhang>corp123/li"]),
            (
                text("zhang", json!(["li", "wmA", "wang"]), ""),
                vec![
                    "corp123/m corp123/d/li/zhang corp123/zhang>corp123/li",
                    "corp123/m#wmA corp123/d/wmA/zhang corp123/zhang>corp123/wmA",
                    "corp123/m#wang corp123/d/wang/zhang corp123/zhang>corp123/wang",
                ],
            ),
            (
                text("zhang", json!(["li", "zhang", "wmA"]), "wrR"),
                vec!["corp123/m corp123/g/wrR corp123/zhang>corp123/li,corp123/wmA"],
            ),
            (text("zhang", json!([]), ""), vec!["corp123/m corp123/s corp123/zhang>"]),
            (text("", json!(["li"]), ""), vec!["corp123/m corp123/s >corp123/li"]),
            (text("zhang", json!(["zhang"]), ""), vec!["corp123/m corp123/d/zhang/zhang corp123/zhang>corp123/zhang"]),
            (
                json!({"msgid": "m", "action": "switch", "time": 1_700_000_000_000_i64, "user": "zhang"}),
                vec!["corp123/m corp123/s corp123/zhang>"],
            ),
            (json!({}), vec!["corp123/m corp123/s >"]),
        ];
        for (plaintext, expected) in cases {
            assert_eq!(lines(&read("m", &plaintext)), expected, "{plaintext}");
        }
    }

    /// The kinds of a message's conversations, and who is told to be what.
    fn kinds(msgid: &str, plaintext: &Value) -> (Vec<String>, Vec<String>) {
        let entry = read(msgid, plaintext);
        let conversations = entry.conversations.iter().filter_map(|row| Some(row.kind.as_ref()?.to_string()));
        let people = entry.people.iter().map(|person| {
            format!("{} {}", person.native_id, person.kind.as_ref().expect("nobody is told of without a kind"))
        });
        (conversations.collect(), people.collect())
    }

    #[test]
    fn a_pair_is_external_by_its_ids_or_by_a_message_of_its_own() {
        const CUSTOMER: &str = "wmCust1AAAAAAAAAAAAAAAAAAAAAAAAA";
        const ROBOT: &str = "wbR00000000000000000000000000AAA";
        let (customer, robot) = (format!("corp123/{CUSTOMER} customer"), format!("corp123/{ROBOT} bot"));
        let (customer, robot) = (&[customer.as_str()][..], &[robot.as_str()][..]);
        for (msgid, from, tolist, conversations, people) in [
            ("1_2_external", "zhang", json!([CUSTOMER]), &["external"][..], customer),
            // Its msgid lacks the suffix.
            ("1_2", CUSTOMER, json!(["zhang"]), &["external"], customer),
            ("1_2_external", "zhang", json!(["li", CUSTOMER]), &["direct", "external"], customer),
            ("1_2_external", CUSTOMER, json!(["li", "zhang"]), &["external", "external"], customer),
            // Ids that say nothing: members, and people of a partner.
            ("1_2", "zhang", json!(["wolf"]), &["direct"], &[]),
            ("1_2", "zhang", json!(["woLiu"]), &["direct"], &[]),
            ("1_2_external", "zhang", json!(["customer456"]), &["external"], &[]),
            ("1_2_updown_stream", "zhang", json!(["wang"]), &["external"], &[]),
            ("1_2", "zhang", json!([ROBOT]), &["direct"], robot),
        ] {
            let told = kinds(msgid, &text(from, tolist.clone(), ""));
            let expected = (
                conversations.iter().map(ToString::to_string).collect(),
                people.iter().map(ToString::to_string).collect(),
            );
            assert_eq!(told, expected, "{msgid} {from} {tolist}");
        }
        let group = kinds("1_2_external", &text("zhang", json!([ROBOT]), "wrR"));
        assert_eq!(group, (vec!["group".to_owned()], robot.iter().map(ToString::to_string).collect()));
    }

    #[test]
    fn a_recall_takes_the_message_back_and_is_kept() {
        for (receivers, messages) in [(json!(["li", "wang"]), 2), (json!(["wang", "li"]), 2), (json!([]), 1)] {
            let plaintext = json!({"msgid": "9", "action": "recall", "from": "zhang", "tolist": receivers,
                "msgtime": 1_700_000_000_102_i64, "msgtype": "revoke", "revoke": {"pre_msgid": "m"}});
            let entry = read("9", &plaintext);
            let taken_back: Vec<_> =
                entry.revocations.iter().map(|r| (r.native_id.as_str(), r.by.as_str(), r.at)).collect();
            assert_eq!(taken_back, [("corp123/m", "corp123/zhang", 1_700_000_000_102_000)]);
            assert_eq!(entry.messages.len(), messages);
            assert_eq!(entry.messages[0].kind, "revoke");
        }
    }

    #[test]
    fn times_fall_back_to_the_msgid() {
        let silent = json!({"from": "zhang", "tolist": ["li"], "msgtype": "image", "image": {"sdkfileid": "F/1"}});
        let known = read("5_1700000000001_external", &silent);
        assert_eq!(known.sent_at, Some(1_700_000_000_001_000));
        assert_eq!(known.messages[0].media[0].deadline, Some(1_700_000_000_001_000 + MEDIA_LIFE));
        assert_eq!(known.messages[0].media[0].handle, "corp123/F/1");
        assert_eq!(read("5_x", &silent).sent_at, None);
        assert_eq!(read("5", &silent).sent_at, None);
    }

    #[test]
    fn bytes_are_kept_whatever_they_are() {
        let numbered = |seq| Entry::read("c", &Envelope { seq, ..Envelope::default() }, Vec::new()).messages[0].seq;
        assert_eq!((numbered(i64::MAX as u64 - 1), numbered(i64::MAX as u64)), (Some(i64::MAX - 1), None));
        for (plaintext, kind, text) in [
            (&b"not json \x01"[..], "unparsable", "not json \u{1}"),
            (b"\xff\xfe", "unparsable", ""),
            (b"", "unparsable", ""),
            (b"{\"msgtype\":\"text\",\"text\":{\"content\":\"a\x02b\"}}", "text", "a\u{2}b"),
        ] {
            let envelope = Envelope { seq: u64::MAX, ..Envelope::default() };
            let entry = Entry::read("c", &envelope, plaintext.to_vec());
            let message = &entry.messages[0];
            assert_eq!((message.kind.as_str(), message.text.as_str(), &message.body[..]), (kind, text, plaintext));
            assert_eq!((message.native_id.as_str(), message.seq), ("c/seq-18446744073709551615", None));
        }
    }
}
