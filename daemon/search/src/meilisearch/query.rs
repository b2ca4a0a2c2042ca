//! What an index is asked, in the server's words, and the page out of its answers.

use super::document::{LONG, exact, halves};
use super::grams::Words;
use super::marks::Mark;
use crate::fold::occurrences;
use crate::index::{IndexQuery, Sort};
use crate::rank::{Rank, Top, relevance};
use serde::Deserialize;
use std::collections::HashMap;
use stele_archive::MessageId;
use stele_archive::ops::Place;

/// Numbers the server has exactly.
const EXACT: i64 = 1 << 53;

/// Most triples that are asked for one by one: that costs the server a time that grows with their square, 0.6 s for 480 of them.
const MAX_SINGLE: usize = 16;

/// What a query comes to.
pub struct Plan {
    /// The words, if there is a text.
    pub words: Option<Words>,
    /// All who may be hits.
    base: String,
    doubt: Doubt,
    beyond: Option<String>,
    pub sort: &'static [&'static str],
}

/// Who of them must be looked at.
enum Doubt {
    Nobody,
    /// Those who pass this filter.
    Marked(String),
    Everybody,
}

impl Plan {
    /// For the rows up to this mark.
    pub fn of(query: &IndexQuery, mark: &Mark) -> Self {
        let words = (!query.phrase.is_empty()).then(|| Words::of(&query.phrase));
        let is_ranked = query.sort == Sort::Relevance && words.is_some();
        let doubt = words.as_ref().map_or(Doubt::Nobody, |words| {
            let first = is_ranked.then_some(&words.first);
            let repeated = words.shared.iter().chain(first).map(String::as_str);
            let mut marks = mark.long.then_some(LONG).into_iter().chain(repeated).peekable();
            match marks.peek() {
                _ if !words.complete => Doubt::Everybody,
                None => Doubt::Nobody,
                Some(_) if words.triples.len() > MAX_SINGLE => {
                    let middles = words.triples.iter().map(|(_, middle)| middle);
                    Doubt::Marked(format!("({} OR {})", among("r", marks), among("f", middles)))
                }
                Some(_) => Doubt::Marked(among("r", marks)),
            }
        });
        Self {
            base: base(query, mark, words.as_ref()),
            doubt,
            beyond: query.beyond.map(|place| beyond(query.sort, place)),
            sort: match query.sort {
                Sort::Oldest => &["th:asc", "tl:asc", "n:asc"],
                Sort::Relevance if is_ranked => &["s:desc", "th:desc", "tl:desc", "n:desc"],
                Sort::Newest | Sort::Relevance => &["th:desc", "tl:desc", "n:desc"],
            },
            words,
        }
    }

    /// Those who must be looked at; `None` where nobody has to.
    pub fn doubtful(&self) -> Option<String> {
        match &self.doubt {
            Doubt::Nobody => None,
            Doubt::Marked(marked) => Some(format!("{} AND {marked}", self.base)),
            Doubt::Everybody => Some(self.base.clone()),
        }
    }

    /// Those who are hits; `None` where everybody must be looked at.
    pub fn sure(&self) -> Option<String> {
        match &self.doubt {
            // Who looks for no text finds a long one once.
            Doubt::Nobody if self.words.is_none() => Some(format!("{} AND part NOT EXISTS", self.base)),
            Doubt::Nobody => Some(self.base.clone()),
            Doubt::Marked(marked) => Some(format!("{} AND NOT {marked}", self.base)),
            Doubt::Everybody => None,
        }
    }

    /// Of them those beyond a place, if that was asked for.
    pub fn sure_beyond(&self) -> Option<String> {
        Some(format!("{} AND {}", self.sure()?, self.beyond.as_ref()?))
    }
}

fn base(query: &IndexQuery, mark: &Mark, words: Option<&Words>) -> String {
    let mut filters = vec![fed(mark)];
    if !query.instances.is_empty() {
        filters.push(among("i", query.instances.iter().map(|id| id.0.to_string())));
    }
    filters.extend(query.conversation.map(|id| format!("c = '{}'", id.0)));
    filters.extend(query.sender.map(|id| format!("u = '{}'", id.0)));
    if !query.kinds.is_empty() {
        filters.push(among("k", query.kinds.iter().map(|kind| exact(kind))));
    }
    if !query.except_kinds.is_empty() {
        filters.push(format!("NOT {}", among("k", query.except_kinds.iter().map(|kind| exact(kind)))));
    }
    filters.extend(query.labels.iter().map(|label| format!("b = '{}'", exact(label))));
    filters.extend(query.since.map(|since| compared(("th", "tl"), ">", ">=", since)));
    filters.extend(query.until.map(|until| compared(("th", "tl"), "<", "<", until)));
    filters.extend(query.unexpired_at.map(|at| format!("(eh NOT EXISTS OR {})", compared(("eh", "el"), ">", ">", at))));
    filters
        .extend(words.filter(|words| !words.triples.is_empty()).map(|words| format!("NOT {}", lacks(&words.triples))));
    filters.join(" AND ")
}

/// Those who have the pairs of these triples and not all of the triples. Of many triples only those who deny one: who grants them about
/// a character is looked at.
fn lacks(triples: &[(String, String)]) -> String {
    let denied = among("f", triples.iter().map(|(triple, _)| triple));
    if triples.len() > MAX_SINGLE {
        return denied;
    }
    let others = triples.iter().map(|(triple, middle)| format!(" OR (f = '{middle}' AND NOT y = '{triple}')"));
    format!("({denied}{})", others.collect::<String>())
}

/// All documents up to a mark, in its life of the index.
pub fn fed(mark: &Mark) -> String {
    format!("v = '{}' AND rev <= {}", mark.life, mark.at)
}

/// One of these values, which need no escapes.
fn among<T: std::fmt::Display>(field: &str, values: impl Iterator<Item = T>) -> String {
    let values: Vec<String> = values.map(|value| format!("'{value}'")).collect();
    format!("{field} IN [{}]", values.join(", "))
}

/// A time in two halves compared: `less` decides over the upper half, `last` over the lower one.
fn compared((upper, lower): (&str, &str), less: &str, last: &str, time: i64) -> String {
    let (high, low) = halves(time);
    format!("({upper} {less} {high} OR ({upper} = {high} AND {lower} {last} {low}))")
}

fn beyond(sort: Sort, place: Place) -> String {
    let less = if sort == Sort::Oldest { ">" } else { "<" };
    let (high, low) = halves(place.sent_at);
    let id = place.id.clamp(-EXACT, EXACT);
    format!("(th {less} {high} OR (th = {high} AND (tl {less} {low} OR (tl = {low} AND n {less} {id}))))")
}

/// A part of a list, as pages of the server hold it: number and length of the first page, how many pages, rows of them to pass over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    pub first: usize,
    pub length: usize,
    pub count: usize,
    pub skipped: usize,
}

impl Pages {
    /// The pages that hold `length` rows from `from` on. The server pages by whole pages where it counts exactly.
    pub fn holding(from: usize, length: usize) -> Self {
        if length == 0 || from > u32::MAX as usize {
            return Self { first: 1, length: 0, count: 1, skipped: 0 };
        }
        let one = (length..=length * 2).find(|page| from % page + length <= *page);
        let page = one.unwrap_or(length);
        Self { first: from / page + 1, length: page, count: if one.is_some() { 1 } else { 2 }, skipped: from % page }
    }
}

/// What is read of a document that was found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Found {
    pub n: i64,
    pub th: i64,
    pub tl: i64,
    pub s: u64,
    pub x: String,
    pub l: Option<u64>,
}

/// Fields of it that tell its place, and those that are needed to look at it.
pub const PLACE: &[&str] = &["n", "th", "tl", "s"];
pub const TEXT: &[&str] = &["n", "th", "tl", "x", "l"];

impl Found {
    /// Its place among those who have the query once.
    pub fn rank(&self, is_ranked: bool) -> Rank {
        let score = if is_ranked { self.s } else { 0 };
        Rank { score, sent_at: super::document::whole((self.th, self.tl)), id: MessageId(self.n) }
    }
}

/// Messages that were looked at: what they are hits by.
#[derive(Default)]
pub struct Looked {
    /// By message: when it was sent, characters, occurrences.
    messages: HashMap<i64, (i64, u64, u64)>,
}

impl Looked {
    pub fn look(&mut self, found: &Found, phrase: &str) {
        // What begins in the part that the next one has, too, counts there.
        let counted = match found.l {
            None => occurrences(&found.x, phrase),
            Some(_) => {
                let end = phrase.chars().count() + super::document::PART_CHARS - 1;
                let bytes = found.x.char_indices().nth(end).map_or(found.x.len(), |(at, _)| at);
                occurrences(&found.x[..bytes], phrase)
            }
        };
        let length = found.l.unwrap_or_else(|| found.x.chars().count() as u64);
        let sent_at = super::document::whole((found.th, found.tl));
        self.messages.entry(found.n).or_insert((sent_at, length, 0)).2 += counted;
    }

    /// Those of them that are hits, beyond the place asked for, in order; and the number of all hits.
    pub fn hits(self, query: &IndexQuery) -> (Vec<Rank>, u64) {
        let mut top = Top::new(query.sort, query.beyond, self.messages.len());
        for (id, (sent_at, length, count)) in self.messages {
            if count > 0 {
                let score = if query.sort == Sort::Relevance { relevance(count, length) } else { 0 };
                top.count(1);
                top.keep(Rank { score, sent_at, id: MessageId(id) });
            }
        }
        top.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pages_hold_what_is_wanted(from in 0usize..100_000, length in 0usize..2_000) {
            let pages = Pages::holding(from, length);
            let begin = (pages.first - 1) * pages.length;
            prop_assert!(length == 0 || begin + pages.skipped == from);
            prop_assert!(begin + pages.length * pages.count >= from.min(begin) + pages.skipped + length);
            prop_assert!(pages.length <= 2 * length && pages.count <= 2);
        }
    }

    #[test]
    fn a_long_text_is_looked_at_part_by_part() {
        let text: Vec<char> = "甲乙".chars().cycle().take(2 * super::super::document::PART_CHARS + 1).collect();
        let mut looked = Looked::default();
        for part in text.chunks(super::super::document::PART_CHARS).enumerate().map(|(part, _)| part) {
            let begin = part * super::super::document::PART_CHARS;
            let x: String = text[begin..].iter().take(super::super::document::PART_CHARS + 999).collect();
            looked.look(&Found { n: 5, x, l: Some(text.len() as u64), ..Found::default() }, "甲乙甲");
        }
        let query = IndexQuery { sort: Sort::Relevance, phrase: "甲乙甲".into(), ..IndexQuery::default() };
        let expected = relevance(text.len() as u64 / 2 - 1 + text.len() as u64 % 2, text.len() as u64);
        assert_eq!(looked.hits(&query), (vec![Rank { score: expected, sent_at: 0, id: MessageId(5) }], 1));
    }
}
