//! A crowd that talked for a year, in groups and between two, some much more than others: as many messages as wanted, each as the
//! plugin of a protocol stores it. A message is made from its number alone, so whoever asks for one later knows what is in it.

pub mod gateway;
pub mod openim;
pub mod wecom;
pub mod wukongim;

use crate::corp::{TOPICS, sentence};
use rand::{Rng, SeedableRng, rngs::StdRng};
use stele_plugin_api::model::{Message, Micros, Page};

/// Groups, those who talk between two, and people.
pub const GROUPS: u32 = 1_000;
pub const PAIRS: u32 = 10_000;
pub const PEOPLE: u32 = 3_000;
/// Members of a group.
pub const MEMBERS: u32 = 12;
/// Two characters that many of them say.
pub const KEYWORDS: [&str; 5] = ["报价", "合同", "会议", "预算", "仓库"];

/// Midnight of 2025-07-01, and the time from the first message to the last, in milliseconds.
const BEGIN_MS: i64 = 1_751_328_000_000;
const YEAR_MS: i64 = 365 * 86_400_000;
/// The share of messages that is said in groups, and of those that are files or links.
const IN_GROUPS: f64 = 0.6;
const FILES: f64 = 0.05;

/// As what they talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Wecom,
    Gateway,
    Wukongim,
    Openim,
}

/// Each of them, and its name, which is that of its instance, too.
pub const PROTOCOLS: [(&str, Protocol); 4] = [
    ("wecom", Protocol::Wecom),
    ("gateway", Protocol::Gateway),
    ("wukongim", Protocol::Wukongim),
    ("openim", Protocol::Openim),
];

/// Where a message was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the group of this number.
    Group(u32),
    /// Between the two of this number.
    Pair(u32),
}

impl Place {
    /// Who is there.
    pub fn people(self) -> Vec<u32> {
        match self {
            Self::Group(group) => (0..MEMBERS).map(|index| member(group, index)).collect(),
            Self::Pair(pair) => vec![pair % PEOPLE, (pair * 31 + 1) % PEOPLE],
        }
    }
}

/// Who is in a group.
pub fn member(group: u32, index: u32) -> u32 {
    (group * 7 + index * 13) % PEOPLE
}

/// What somebody said.
pub struct Said {
    pub number: u64,
    pub place: Place,
    pub sender: u32,
    /// Between two the other one.
    pub recipient: Option<u32>,
    pub sent_at_ms: i64,
    pub text: String,
    /// A file or a link of this name instead of a text.
    pub is_file: bool,
}

impl Said {
    fn sent_at(&self) -> Micros {
        self.sent_at_ms * 1000
    }
}

/// The crowd.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// As what they talk.
    pub protocol: Protocol,
    /// How much they say in all.
    pub messages: u64,
}

impl Crowd {
    /// The people and the groups, which a source tells first.
    pub fn known(self) -> Page {
        match self.protocol {
            Protocol::Wecom => wecom::known(),
            Protocol::Gateway => gateway::known(),
            Protocol::Wukongim => wukongim::known(),
            Protocol::Openim => openim::known(),
        }
    }

    /// The message of this number as it is stored.
    pub fn message(self, number: u64) -> Message {
        let said = self.said(number);
        match self.protocol {
            Protocol::Wecom => wecom::message(said),
            Protocol::Gateway => gateway::message(said),
            Protocol::Wukongim => wukongim::message(said),
            Protocol::Openim => openim::message(&said),
        }
    }

    /// What was said as the message of this number.
    pub fn said(self, number: u64) -> Said {
        let mut rng = StdRng::seed_from_u64(number * PROTOCOLS.len() as u64 + self.protocol as u64);
        // The cube, so that some talk much: a tenth of what is said in groups in the first of a thousand.
        let mut one_of = |count: u32| (f64::from(count) * rng.random::<f64>().powi(3)) as u32;
        let (group, pair) = (Place::Group(one_of(GROUPS)), Place::Pair(one_of(PAIRS)));
        let is_group = rng.random_bool(IN_GROUPS);
        let place = if is_group { group } else { pair };
        let people = place.people();
        let sender = rng.random_range(0..people.len());
        Said {
            number,
            place,
            sender: people[sender],
            recipient: (!is_group).then(|| people[1 - sender]),
            sent_at_ms: self.time_ms(number),
            is_file: rng.random_bool(FILES),
            text: sentence(TOPICS[rng.random_range(0..TOPICS.len())], &mut rng),
        }
    }

    /// When it was said, in milliseconds since 1970.
    fn time_ms(self, number: u64) -> i64 {
        let count = |number: u64| i64::try_from(number).expect("there are not that many messages");
        BEGIN_MS + YEAR_MS / count(self.messages) * count(number)
    }
}

/// A time within the year, in milliseconds since 1970.
pub fn time_ms(rng: &mut StdRng) -> i64 {
    BEGIN_MS + rng.random_range(0..YEAR_MS)
}

/// A day of the year, `2025-12-31`.
pub fn day(rng: &mut StdRng) -> String {
    let day = chrono::DateTime::from_timestamp_millis(time_ms(rng)).expect("it is a time");
    day.format("%Y-%m-%d").to_string()
}

/// One of the tenth of the groups that talk most.
pub fn loud_group(rng: &mut StdRng) -> u32 {
    rng.random_range(0..GROUPS / 10)
}

/// Anybody.
pub fn anybody(rng: &mut StdRng) -> u32 {
    rng.random_range(0..PEOPLE)
}

/// Two characters that are looked for.
pub fn keyword(rng: &mut StdRng) -> &'static str {
    KEYWORDS[rng.random_range(0..KEYWORDS.len())]
}
