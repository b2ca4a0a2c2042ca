//! Texts and queries as words that Meilisearch neither cuts nor folds.
//!
//! # Words
//!
//! A folded text becomes the set of its *grams*: its characters and its pairs of adjacent characters, each written in
//! lower-case ASCII letters alone, so that no segmenter, normaliser, stop word or dictionary of the server has anything to
//! do with it. The code of a character is prefix-free, so different grams are different words.
//!
//! # Why sets of grams and no phrases
//!
//! A quoted phrase of Meilisearch is not a phrase: what is asked is whether all its words are somewhere in the text, and
//! each three that follow one another somewhere near each other (`compute_phrase_docids` of v1.50). Over single characters
//! that finds 30 % too much for digits, and the number of hits is wrong with it. A phrase also ends, silently, after 1,000 tokens.
//!
//! # Why the answers are exact
//!
//! A query of one or two characters *is* a gram: whoever has the word is a hit, and nobody else. A longer query has as its
//! words all its pairs. A text that has `ab` and `bc` has `abc`, too, unless `b` is repeated in it. So few triples are *false*,
//! made of pairs of the text and not in it, that a document lists them ([`Grams::denied`]): a third as many as it has true ones,
//! and each costs the server a third of a word. Where a character has more false triples about it than true ones, it is listed
//! itself, and beside it the true ones ([`Grams::granted`]). So the server knows of each triple whether the text has it.
//!
//! A text that has all triples of a query is a hit unless it has them in different places. When can that be?
//! Two triples that follow one another share a pair. Where this pair occurs once in the text, both triples stand at it, so
//! one behind the other; where that holds for all the pairs that are shared, the triples stand in a row, and that is the query.
//! So **only a text in which one of the shared pairs is repeated can be wrong**, and these the index can name: a document
//! lists the characters and pairs that are repeated in it ([`Grams::repeated`]). They are looked at one by one, against
//! the text; all others are hits by construction, counted and put in order by the server.
//!
//! The same list tells how often a query occurs: once, unless its first pair (or the character it is) is repeated.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Most words of a query; the server reads 1,000 tokens of one, separators and quotes included, and no more.
const MAX_WORDS: usize = 480;

/// What a document says of its text.
#[derive(Debug, Default, PartialEq)]
pub struct Grams {
    /// All its grams, once each, with a space between two.
    pub words: String,
    /// Those that are repeated in it.
    pub repeated: Vec<String>,
    /// Triples that are not in it, though both their pairs are; and characters all of whose triples are among the granted.
    pub denied: Vec<String>,
    /// The triples about such characters.
    pub granted: Vec<String>,
}

impl Grams {
    /// The grams of a folded text.
    pub fn of(text: &[char]) -> Self {
        let mut grams = Self { words: String::with_capacity(text.len() * 13), ..Self::default() };
        // The value: whether it is known to be repeated.
        let mut seen: HashMap<u64, bool> = HashMap::with_capacity(text.len() * 2);
        for at in 0..text.len() {
            for length in 1..=2.min(text.len() - at) {
                let gram = &text[at..at + length];
                match seen.entry(packed(gram)) {
                    Entry::Vacant(entry) => {
                        entry.insert(false);
                        if !grams.words.is_empty() {
                            grams.words.push(' ');
                        }
                        write(gram, &mut grams.words);
                    }
                    Entry::Occupied(mut entry) => {
                        if !entry.insert(true) {
                            grams.repeated.push(word(gram));
                        }
                    }
                }
            }
        }
        let is_repeated = |c: char| seen[&packed(&[c])];
        for (c, around) in neighbours(text, is_repeated) {
            let wrong = around.before.len() * around.after.len() - around.both.len();
            if wrong > around.both.len() {
                grams.denied.push(word(&[c]));
                grams.granted.extend(around.both.iter().map(|(before, after)| word(&[*before, c, *after])));
            } else if wrong > 0 {
                let pairs = around.before.iter().flat_map(|b| around.after.iter().map(move |a| (*b, *a)));
                let denied = pairs.filter(|pair| !around.both.contains(pair));
                grams.denied.extend(denied.map(|(before, after)| word(&[before, c, after])));
            }
        }
        grams
    }
}

/// What stands next to a character in a text.
#[derive(Default)]
struct Neighbours {
    before: BTreeSet<char>,
    after: BTreeSet<char>,
    both: BTreeSet<(char, char)>,
}

fn neighbours(text: &[char], of: impl Fn(char) -> bool) -> BTreeMap<char, Neighbours> {
    let mut all: BTreeMap<char, Neighbours> = BTreeMap::new();
    for (at, c) in text.iter().enumerate().filter(|(_, c)| of(**c)) {
        let neighbours = all.entry(*c).or_default();
        let (before, after) = (at.checked_sub(1).map(|before| text[before]), text.get(at + 1).copied());
        neighbours.before.extend(before);
        neighbours.after.extend(after);
        neighbours.both.extend(before.zip(after));
    }
    all
}

/// A query as the index is asked it.
#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    /// The words a hit has, as one quoted phrase.
    pub phrase: String,
    /// Its triples, each with the character in the middle: which of them a text has is told by what it denies and grants.
    pub triples: Vec<(String, String)>,
    /// A text that has them all and repeats none of these is a hit.
    pub shared: Vec<String>,
    /// Whoever does not repeat this has the query once.
    pub first: String,
    /// Whether these are all of the query's. Else every text that has them must be looked at.
    pub complete: bool,
}

impl Words {
    /// The words of a folded query, which is not empty.
    pub fn of(query: &str) -> Self {
        let chars: Vec<char> = query.chars().collect();
        let grams = distinct(chars.windows(chars.len().min(2)));
        let triples = distinct(chars.windows(3));
        let inner = if chars.len() > 3 { &chars[1..chars.len() - 1] } else { &[] };
        Self {
            complete: grams.len().max(triples.len()) <= MAX_WORDS,
            phrase: format!("\"{}\"", words(&grams).join(" ")),
            triples: words(&triples).into_iter().zip(triples.iter().map(|triple| word(&triple[1..2]))).collect(),
            shared: distinct(inner.windows(2)).into_iter().map(word).collect(),
            first: word(&chars[..chars.len().min(2)]),
        }
    }
}

/// As many of them as are asked for.
fn words(grams: &[&[char]]) -> Vec<String> {
    grams.iter().take(MAX_WORDS).map(|gram| word(gram)).collect()
}

fn distinct<'a>(grams: impl Iterator<Item = &'a [char]>) -> Vec<&'a [char]> {
    let mut seen = HashSet::new();
    grams.filter(|gram| seen.insert(packed(gram))).collect()
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
        assert_eq!(grams.words.split(' ').collect::<Vec<_>>(), ["哈", "哈哈", "哈a", "a"].map(of));
        assert_eq!(grams.repeated, ["哈", "哈哈"].map(of));
        assert_eq!(Grams::of(&[]), Grams::default());
    }

    #[test]
    fn triples_are_named_where_their_pairs_do_not_tell() {
        let check = |text: &str, denied: &[&str], granted: &[&str]| {
            let grams = Grams::of(&chars(text));
            let of = |all: &[&str]| all.iter().map(|text| word(&chars(text))).collect::<Vec<_>>();
            assert_eq!((grams.denied, grams.granted), (of(denied), of(granted)), "{text}");
        };
        check("合同甲乙", &[], &[]);
        check("哈哈哈", &[], &[]);
        check("a合b", &[], &[]);
        check("a合b a合b", &[], &[]);
        check("a合bc合d", &["a合d", "c合b"], &[]);
        // Found nowhere in between: whoever asks for one of its triples asks in vain.
        check("合ab合", &["合"], &[]);
        check("a合bc合de合f", &["合"], &["a合b", "c合d", "e合f"]);
    }

    #[test]
    fn a_query_is_short_enough_for_the_server() {
        let long: String = ('一'..).take(MAX_QUERY_CHARS).collect();
        let words = Words::of(&long);
        assert!(!words.complete);
        assert!(words.phrase.split(' ').count() * 2 < 1_000);
        assert!(Words::of(&"ab".repeat(MAX_QUERY_CHARS / 2)).complete);
        let short = Words::of("合");
        assert_eq!((short.triples.len(), short.shared.len(), short.complete), (0, 0, true));
    }

    /// What the server and the marks say of a text: `None` when it must be looked at, else how often the query occurs.
    fn told(text: &str, query: &str) -> Option<u64> {
        let (grams, words) = (Grams::of(&chars(text)), Words::of(query));
        let has: HashSet<&str> = grams.words.split(' ').collect();
        if !words.phrase.trim_matches('"').split(' ').all(|word| has.contains(word)) {
            return Some(0);
        }
        let denied = |(triple, middle): &(String, String)| {
            grams.denied.contains(triple) || grams.denied.contains(middle) && !grams.granted.contains(triple)
        };
        if words.triples.iter().any(denied) {
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
