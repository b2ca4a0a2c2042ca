//! Messages as documents.
//!
//! | field | content |
//! |---|---|
//! | `id` | the life and the message's id; of a later part of a long text, `-part` as well |
//! | `n` | the message's id as a number, for order |
//! | `rev` | its revision |
//! | `v` | the [life](super::marks) of the index it is in |
//! | `i`, `c`, `u` | instance, conversation, sender |
//! | `k`, `b` | kind and labels, see [`exact`] |
//! | `th`, `tl` | when it was sent: the upper 32 bits and the lower ones, since the server's numbers are exact up to 2^53 only |
//! | `eh`, `el` | likewise when it expires, if it does |
//! | `day` | UTC day it was sent, where it has a text: these are counted |
//! | `x` | the folded text, or this part of it |
//! | `t`, `r` | its [grams](super::grams), and those that are repeated in it |
//! | `f`, `y` | triples that are denied and granted |
//! | `s` | relevance of a query that occurs once |
//! | `l`, `part` | characters of the whole of a long text, and which part of it this is, from the second on |
//!
//! An attribute holds 65,535 words and no more, so a long text is several documents, each with the beginning of the next: as much as
//! a query can be long. An occurrence counts where it begins.

use super::grams::Grams;
use crate::fold::{FOLD_VERSION, MAX_QUERY_CHARS, fold};
use crate::rank::relevance;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use stele_archive::FeedRow;

/// Version of documents and settings; an index of another version begins anew.
pub const FORMAT: u32 = FOLD_VERSION << 16 | 4;

/// Characters of a part, those aside that are the beginning of the next one.
pub const PART_CHARS: usize = 8_000;

/// Longest text that is one document.
const WHOLE_CHARS: usize = PART_CHARS + MAX_QUERY_CHARS - 1;

/// What parts of a long text have among what is repeated: they are looked at one by one, since several are one hit.
pub const LONG: &str = "0";

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Bytes of documents that are sent at once, about; the server takes 100 MB.
const GROUP_BYTES: usize = 24 << 20;

#[derive(Serialize)]
struct Document<'a> {
    id: String,
    n: i64,
    rev: i64,
    v: &'a str,
    i: String,
    c: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    u: Option<String>,
    k: String,
    b: Vec<String>,
    th: i64,
    tl: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    eh: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    el: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    x: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    t: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    r: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    f: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    y: &'a [String],
    s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    l: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<usize>,
}

/// A time in two numbers; both are in its order.
pub fn halves(time: i64) -> (i64, i64) {
    (time >> 32, time & 0xffff_ffff)
}

/// The time two halves make.
pub fn whole((high, low): (i64, i64)) -> i64 {
    high << 32 | low
}

/// A word of a plugin as the server compares it exactly: what it folds, trims or finds too long (468 bytes) is a digest.
pub fn exact(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !word.is_empty() && word.len() <= 40 && word.bytes().all(plain) {
        return word.to_owned();
    }
    Sha256::digest(word.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A document ready to be sent.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The message.
    pub message: i64,
    /// The day it counts for, if it does.
    pub day: Option<i64>,
    /// Whether it is a part of a long text.
    pub is_long: bool,
    /// Its line.
    pub line: String,
}

/// Makes documents of rows, as many at a time as are sent at once.
pub struct Encoder {
    rows: Arc<Vec<FeedRow>>,
    life: String,
    next: usize,
    /// The folded text of the next row, and its next part; once it was begun.
    begun: Option<(Vec<char>, usize)>,
}

impl Encoder {
    /// For the index of this life.
    pub fn new(rows: Arc<Vec<FeedRow>>, life: String) -> Self {
        Self { rows, life, next: 0, begun: None }
    }

    /// The next documents; none when all were made. Takes a second for a text of some dozen megabytes.
    pub fn group(&mut self) -> Vec<Unit> {
        let (mut units, mut bytes) = (Vec::new(), 0);
        while bytes < GROUP_BYTES
            && let Some(row) = self.rows.get(self.next)
        {
            let (text, part) = self.begun.take().unwrap_or_else(|| (fold(&row.text).chars().collect(), 0));
            let unit = unit(row, &text, part, &self.life);
            bytes += unit.line.len();
            units.push(unit);
            if text.len() > WHOLE_CHARS && (part + 1) * PART_CHARS < text.len() {
                self.begun = Some((text, part + 1));
            } else {
                self.next += 1;
            }
        }
        units
    }

    pub fn is_done(&self) -> bool {
        self.next == self.rows.len()
    }
}

fn unit(row: &FeedRow, text: &[char], part: usize, life: &str) -> Unit {
    let is_long = text.len() > WHOLE_CHARS;
    let begin = part * PART_CHARS;
    let chars = if is_long { &text[begin..text.len().min(begin + WHOLE_CHARS)] } else { text };
    let mut grams = Grams::of(chars);
    if is_long {
        grams = Grams { words: grams.words, repeated: vec![LONG.to_owned()], ..Grams::default() };
    }
    let (th, tl) = halves(row.sent_at);
    let expires = row.expires_at.map(halves);
    let day = (!text.is_empty() && part == 0).then(|| row.sent_at.div_euclid(DAY));
    let document = Document {
        id: if part == 0 { format!("{life}-{}", row.id.0) } else { format!("{life}-{}-{part}", row.id.0) },
        n: row.id.0,
        rev: row.rev.0,
        v: life,
        i: row.instance.0.to_string(),
        c: row.conversation.0.to_string(),
        u: row.sender.map(|sender| sender.0.to_string()),
        k: exact(&row.kind),
        b: row.labels.iter().map(|label| exact(label)).collect(),
        th,
        tl,
        eh: expires.map(|(high, _)| high),
        el: expires.map(|(_, low)| low),
        day,
        x: &chars.iter().collect::<String>(),
        t: &grams.words,
        r: &grams.repeated,
        f: &grams.denied,
        y: &grams.granted,
        s: relevance(1, text.len() as u64),
        l: is_long.then_some(text.len() as u64),
        part: (part > 0).then_some(part),
    };
    let line = serde_json::to_string(&document).expect("text and numbers");
    Unit { message: row.id.0, day, is_long, line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stele_archive::{MessageId, Rev};

    fn units(text: &str) -> Vec<serde_json::Value> {
        let row = FeedRow {
            rev: Rev(7),
            id: MessageId(42),
            instance: stele_archive::InstanceId(1),
            conversation: stele_archive::ConversationId(2),
            sender: None,
            kind: "text".into(),
            sent_at: -1,
            expires_at: Some(i64::MAX),
            text: text.into(),
            labels: Vec::new(),
        };
        let mut encoder = Encoder::new(Arc::new(vec![row]), "7f".into());
        let mut lines = Vec::new();
        while !encoder.is_done() {
            lines.extend(encoder.group().iter().map(|unit| serde_json::from_str(&unit.line).unwrap()));
        }
        lines
    }

    #[test]
    fn long_texts_are_several_documents_that_overlap() {
        for (length, parts) in
            [(0, 1), (WHOLE_CHARS, 1), (WHOLE_CHARS + 1, 2), (2 * PART_CHARS, 2), (2 * PART_CHARS + 1, 3)]
        {
            let text: String = ('一'..).take(length.min(20_000)).collect();
            let units = units(&text);
            assert_eq!(units.len(), parts, "{length}");
            let mut joined = String::new();
            for unit in &units {
                assert_eq!(unit["l"].is_null(), parts == 1);
                let part = unit["x"].as_str().unwrap_or_default();
                assert!(unit["t"].as_str().unwrap_or_default().split(' ').count() < 65_535);
                joined.extend(part.chars().take(if parts > 1 { PART_CHARS } else { length }));
            }
            assert_eq!(joined, text);
            let days: Vec<_> = units.iter().filter(|unit| !unit["day"].is_null()).collect();
            assert_eq!(days.len(), usize::from(length > 0));
        }
        assert_eq!(units("a")[0]["id"], "7f-42");
        assert_eq!(units(&"长".repeat(9_000))[1]["id"], "7f-42-1");
    }

    #[test]
    fn times_are_whole_again() {
        for time in [i64::MIN, -1, 0, 1, 1_790_000_000_000_000, i64::MAX] {
            let (high, low) = halves(time);
            assert_eq!(whole((high, low)), time);
            assert!(high.abs() <= 1 << 31 && (0..1 << 32).contains(&low));
        }
        let mut times = [5, -5, i64::MIN, i64::MAX, 0, 1 << 40, -(1 << 40)];
        times.sort_by_key(|time| halves(*time));
        assert!(times.is_sorted());
    }

    #[test]
    fn words_of_plugins_are_compared_exactly() {
        assert_eq!(exact("text"), "text");
        let words = ["", "to:A", "to:a", " a", "a", "A", &"长".repeat(30_000), &"a".repeat(64)];
        let exact: std::collections::BTreeSet<String> = words.iter().map(|word| exact(word)).collect();
        assert_eq!(exact.len(), words.len());
        assert!(exact.iter().all(|word| word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }
}
