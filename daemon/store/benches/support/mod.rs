//! Messages to measure with: a company's, with the shape of real ones.

use bytes::Bytes;
use stele_archive::model::{Conversation, ConversationKind, Message, Page, Person};

/// 2024-01-01T00:00:00Z in microseconds.
pub const NEW_YEAR: i64 = 1_704_067_200_000_000;
/// People of the company and its customers.
pub const PEOPLE: u64 = 4_000;
/// Conversations; one in five is a group.
pub const CONVERSATIONS: u64 = 10_000;
/// People of a group.
const GROUP: u64 = 8;
const WORDS: [&str; 12] =
    ["您好", "请问", "发票", "已经", "今天下午", "合同", "报价单", "谢谢", "ok", "meeting at 3", "产品介绍", "收到"];

/// A small, fast, repeatable source of numbers (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, small numbers far more often: few conversations hold most of the talk.
    pub fn skewed(&mut self, end: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((unit * unit * unit) * end as f64) as u64
    }
}

pub fn person(at: u64) -> String {
    format!("corp/p{at}")
}

pub fn conversation(at: u64) -> String {
    format!("corp/c{at}")
}

/// The people of a conversation.
pub fn members(at: u64) -> Vec<u64> {
    let count = if at.is_multiple_of(5) { GROUP } else { 2 };
    (0..count).map(|seat| Random(at * 31 + seat * 7).next() % PEOPLE).collect()
}

/// The page that introduces everybody.
pub fn directory() -> Page {
    Page {
        people: (0..PEOPLE)
            .map(|at| Person { native_id: person(at), name: Some(format!("王{at}")), ..Person::default() })
            .collect(),
        conversations: (0..CONVERSATIONS)
            .map(|at| Conversation {
                native_id: conversation(at),
                kind: Some(if at.is_multiple_of(5) { ConversationKind::Group } else { ConversationKind::Direct }),
                ..Conversation::default()
            })
            .collect(),
        ..Page::default()
    }
}

/// The message of this number: half a second after the one before, a few of them late.
pub fn message(at: u64, conversations: u64) -> Message {
    let mut random = Random(at);
    let place = random.skewed(conversations);
    let members = members(place);
    let sender = members[(random.next() % members.len() as u64) as usize];
    let text: String = (0..3 + random.next() % 8).map(|_| WORDS[(random.next() % 12) as usize]).collect();
    let native_id = format!("{:016x}{:016x}", random.next(), random.next());
    let body = format!(
        "{{\"msgid\":\"{native_id}\",\"action\":\"send\",\"from\":\"p{sender}\",\"roomid\":\"\",\"msgtime\":{},\
         \"msgtype\":\"text\",\"text\":{{\"content\":\"{text}\"}}}}",
        NEW_YEAR / 1000 + at as i64 * 500,
    );
    Message {
        native_id,
        conversation: conversation(place),
        seq: Some(at as i64 + 1),
        sender: person(sender),
        recipients: members.into_iter().filter(|member| *member != sender).map(person).collect(),
        sent_at: NEW_YEAR + at as i64 * 500_000 - i64::from(random.next().is_multiple_of(50)) * 3_600_000_000,
        kind: ["text", "text", "text", "text", "image", "voice", "file"][(random.next() % 7) as usize].to_owned(),
        text,
        body: Bytes::from(body),
        ..Message::default()
    }
}
