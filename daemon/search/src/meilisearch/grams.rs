//! Texts and queries as words that Meilisearch neither cuts nor folds.
//!
//! # Words
//!
//! A folded text becomes the set of its *grams*: its characters, its pairs and its triples of adjacent characters, each written in
//! lower-case ASCII letters alone, so that no segmenter, normaliser, stop word or dictionary of the server has anything to
//! do with it. The code of a character is prefix-free, so different grams are different words.
//!
//! # Why sets of grams and no phrases
//!
//! A quoted phrase of Meilisearch is not a phrase: what is asked is whether all its words are somewhere in the text, and
//! each three that follow one another somewhere near each other (`compute_phrase_docids` of v1.50). Over single characters
//! that finds 30 % too much for digits, and the number of hits is wrong with it. A phrase also ends, silently, after 1,000 tokens.
//!
//! A query of up to three characters *is* a gram: whoever has the word is a hit, and nobody else. A longer query has as its
//! words all its triples. A text that has them all is a hit unless it has them in different places. When can that be?
//! Two triples that follow one another share a pair. Where this pair occurs once in the text, both triples stand at it, so
//! one behind the other; where that holds for all the pairs that are shared, the triples stand in a row, and that is the query.
//! So **only a text in which one of the shared pairs is repeated can be wrong**, and these the index can name: a document
//! lists the characters and pairs that are repeated in it ([`Grams::repeated`]). They are looked at one by one, against
//! the text; all others are hits by construction, counted and put in order by the server.
//!
//! The same list tells how often a query occurs: once, unless its first pair (or the character it is) is repeated.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Most words of a query; the server reads 1,000 tokens of one, separators and quotes included, and no more.
const MAX_WORDS: usize = 480;

/// What a document says of its text.
#[derive(Debug, Default, PartialEq)]
pub struct Grams {
    /// All its grams, once each, with a space between two.
    pub words: String,
    /// The characters and pairs that are repeated in it.
    pub repeated: Vec<String>,
}

impl Grams {
    /// The grams of a folded text.
    pub fn of(text: &[char]) -> Self {
        let mut grams = Self { words: String::with_capacity(text.len() * 24), repeated: Vec::new() };
        // The value: whether it is known to be repeated.
        let mut seen: HashMap<u64, bool> = HashMap::with_capacity(text.len() * 3);
        for at in 0..text.len() {
            for length in 1..=3.min(text.len() - at) {
                let gram = &text[at..at + length];
                match seen.entry(packed(gram)) {
                    Entry::Vacant(entry) => {
                        entry.insert(false);
                        if !grams.words.is_empty() {
                            grams.words.push(' ');
                        }
                        write(gram, &mut grams.words);
                    }
                    Entry::Occupied(mut entry) if length < 3 && !entry.get() => {
                        entry.insert(true);
                        grams.repeated.push(word(gram));
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
        grams
    }
}

/// A query as the index is asked it.
#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    /// The words a hit has, as one quoted phrase.
    pub phrase: String,
    /// A text that has them all and repeats none of these is a hit.
    pub shared: Vec<String>,
    /// Whoever does not repeat this has the query once.
    pub first: String,
    /// Whether the words are all of the query's. Else every text that has them must be looked at.
    pub complete: bool,
}

impl Words {
    /// The words of a folded query, which is not empty.
    pub fn of(query: &str) -> Self {
        let chars: Vec<char> = query.chars().collect();
        let all = distinct(chars.windows(chars.len().min(3)));
        let inner = if chars.len() > 3 { &chars[1..chars.len() - 1] } else { &[] };
        Self {
            phrase: format!("\"{}\"", all[..all.len().min(MAX_WORDS)].join(" ")),
            shared: distinct(inner.windows(2)),
            first: word(&chars[..chars.len().min(2)]),
            complete: all.len() <= MAX_WORDS,
        }
    }
}

fn distinct<'a>(grams: impl Iterator<Item = &'a [char]>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    grams.filter(|gram| seen.insert(packed(gram))).map(word).collect()
}

/// A gram in one number: a code point has 21 bits, and 0 stands for none.
fn packed(gram: &[char]) -> u64 {
    gram.iter().rev().fold(0, |number, c| number << 21 | (u64::from(u32::from(*c)) + 1))
}

fn word(gram: &[char]) -> String {
    let mut word = String::with_capacity(gram.len() * 4);
    write(gram, &mut word);
    word
}

/// How a character is written: what it begins with tells how many letters it has. ASCII has two, nearly everything else four.
fn write(gram: &[char], word: &mut String) {
    for c in gram {
        let code = u32::from(*c);
        let (code, first, letters) = match code {
            0..ASCII => (code, 0, 2),
            ASCII..USUAL => (code - ASCII, 5, 4),
            _ => (code - USUAL, 25, 6),
        };
        for place in (0..letters).rev() {
            let digit = code / 26_u32.pow(place) % 26 + if place + 1 == letters { first } else { 0 };
            word.push(char::from(b'a' + digit as u8));
        }
    }
}

/// Code points below this begin with a to e.
const ASCII: u32 = 128;
/// Those below this with f to y, all others with z.
const USUAL: u32 = ASCII + 20 * 26 * 26 * 26;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{substrings, text};
    use crate::fold::{MAX_QUERY_CHARS, fold, occurrences};
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn every_character_has_a_word_no_other_begins_with() {
        let words: Vec<String> = ('\0'..=char::MAX).map(|c| word(&[c])).collect();
        assert!(words.iter().all(|word| word.bytes().all(|letter| letter.is_ascii_lowercase())));
        let all: HashSet<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(all.len(), words.len());
        assert!(words.iter().all(|word| (1..word.len()).all(|end| !all.contains(&word[..end]))));
        assert_eq!(word(&['a', '合']).len(), 6);
    }

    #[test]
    fn a_text_is_its_grams_once_each() {
        let grams = Grams::of(&chars("哈哈哈a"));
        let of = |text| word(&chars(text));
        let expected = ["哈", "哈哈", "哈哈哈", "哈哈a", "哈a", "a"].map(of);
        assert_eq!(grams.words.split(' ').map(str::to_owned).collect::<HashSet<_>>(), expected.into());
        assert_eq!(grams.repeated, [of("哈"), of("哈哈")]);
        assert_eq!(Grams::of(&[]), Grams::default());
    }

    #[test]
    fn a_query_is_short_enough_for_the_server() {
        let long: String = ('一'..).take(MAX_QUERY_CHARS).collect();
        let words = Words::of(&long);
        assert!(!words.complete);
        assert!(words.phrase.split(' ').count() * 2 < 1_000);
        assert!(Words::of(&"ab".repeat(MAX_QUERY_CHARS / 2)).complete);
        let short = Words::of("合");
        assert_eq!((short.shared.len(), short.complete), (0, true));
    }

    /// What the server and the marks say of a text: `None` when it must be looked at, else how often the query occurs.
    fn told(text: &str, query: &str) -> Option<u64> {
        let (grams, words) = (Grams::of(&chars(text)), Words::of(query));
        let has: HashSet<&str> = grams.words.split(' ').collect();
        if !words.phrase.trim_matches('"').split(' ').all(|word| has.contains(word)) {
            return Some(0);
        }
        let marked = grams.repeated.iter().any(|gram| words.shared.contains(gram) || *gram == words.first);
        (!marked && words.complete).then_some(1)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn what_is_not_looked_at_is_right(
            texts in prop::collection::vec(text(0..=14), 1..5),
            narrow in prop::collection::vec("[ab]{0,12}", 4),
        ) {
            let texts: Vec<String> = texts.iter().chain(&narrow).map(|text| fold(text)).collect();
            for query in texts.iter().flat_map(|text| substrings(text, 9)) {
                for text in &texts {
                    let truth = occurrences(text, query);
                    prop_assert!(told(text, query).is_none_or(|told| told == truth), "{query:?} in {text:?}");
                }
            }
        }
    }
}
