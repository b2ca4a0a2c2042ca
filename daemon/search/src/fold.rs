//! What counts as the same text, and why no hit can be missed.
//!
//! # The definition
//!
//! `fold(c)` of one character is the lower case of its compatibility form (NFKC), with every kind of white space turned
//! into a space. It may give several characters (`㎏` gives `kg`, `ﬁ` gives `fi`, `İ` gives `i` and a combining dot), but
//! never none. `fold` of a text is the concatenation over its characters. A message **is a hit** when the folded query is
//! a substring of its folded text; nothing else is.
//!
//! # The argument
//!
//! Folding character by character is a homomorphism: `fold(a + b) = fold(a) + fold(b)`. So when a query `q` is a substring
//! of a text `t = x + q + y`, then `fold(t) = fold(x) + fold(q) + fold(y)` contains `fold(q)`, wherever `q` was cut out of
//! `t`, even between an emoji and its joiner or between a letter and its accent. Normalising the text as a whole would
//! lose that: it composes across characters, and a query that ends before a combining mark would differ from the text it
//! was taken from. Dropping characters (zero-width ones, punctuation) would keep it, but make texts equal that are not.
//!
//! An index over this needs no linguistics. Its tokens are the pairs of adjacent characters of `fold(t)` with consecutive
//! positions, and single characters beside them. A folded query of one character is a token. One of `n ≥ 2` characters
//! occurs in `fold(t)` exactly when there is a position at which all its pairs stand one after the other; and since pairs
//! overlap, every second one (and the last) already pins down all characters, see [`covering_pairs`]. So recall and
//! precision are 1 by construction, totals counted in the index are exact, and checking the rows of a page against the
//! stored text can fail only when the index is damaged.

use std::ops::Range;
use unicode_normalization::UnicodeNormalization;

/// Version of folding and tokens together; an index of another version is rebuilt.
pub const FOLD_VERSION: u32 = 1;

/// Longest query, in folded characters.
pub const MAX_QUERY_CHARS: usize = 1_000;

/// Hands the folded form of one character to `emit`.
fn fold_char(c: char, mut emit: impl FnMut(char)) {
    match c {
        // The two ranges most texts are made of, both their own compatibility form.
        '\0'..='\x7f' => emit(if c.is_ascii_whitespace() || c == '\x0b' { ' ' } else { c.to_ascii_lowercase() }),
        '\u{4e00}'..='\u{9fff}' => emit(c),
        _ => {
            for compatible in std::iter::once(c).nfkc() {
                for lower in compatible.to_lowercase() {
                    emit(match lower {
                        // The form of sigma depends on the next character, so it must not distinguish.
                        'ς' => 'σ',
                        space if space.is_whitespace() => ' ',
                        other => other,
                    });
                }
            }
        }
    }
}

/// The folded text.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        fold_char(c, |f| folded.push(f));
    }
    folded
}

/// A folded text that knows where it came from.
#[derive(Clone, Debug)]
pub struct Folded {
    text: String,
    /// Per character of the source: where its folded form begins, and where it begins itself, in bytes. A last entry
    /// holds both lengths.
    marks: Vec<(usize, usize)>,
}

impl Folded {
    /// Folds a text.
    pub fn new(source: &str) -> Self {
        let mut text = String::with_capacity(source.len());
        let mut marks = Vec::with_capacity(source.len() / 2 + 1);
        for (at, c) in source.char_indices() {
            marks.push((text.len(), at));
            fold_char(c, |f| text.push(f));
        }
        marks.push((text.len(), source.len()));
        Self { text, marks }
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The bytes of the source whose folded form touches these bytes (not none) of the folded text: always whole
    /// characters of the source.
    pub fn source_range(&self, folded: Range<usize>) -> Range<usize> {
        let first = self.marks.partition_point(|(at, _)| *at <= folded.start).saturating_sub(1);
        let after = self.marks.partition_point(|(at, _)| *at < folded.end).min(self.marks.len() - 1);
        self.marks[first].1..self.marks[after].1
    }
}

/// How often a folded query occurs in a folded text, overlapping occurrences included: what the positions of an index
/// count.
pub fn occurrences(folded_text: &str, folded_query: &str) -> u64 {
    let Some(first) = folded_query.chars().next() else { return 0 };
    let mut count = 0;
    let mut from = 0;
    while let Some(at) = folded_text[from..].find(folded_query) {
        count += 1;
        from += at + first.len_utf8();
    }
    count
}

/// Every second pair of adjacent characters with its position, and the last one: together they cover all characters of a
/// query of at least two.
pub fn covering_pairs(folded_query: &str) -> Vec<(u32, String)> {
    let chars: Vec<char> = folded_query.chars().collect();
    let Some(last) = chars.len().checked_sub(2) else { return Vec::new() };
    (0..last)
        .step_by(2)
        .chain(std::iter::once(last))
        .map(|at| (u32::try_from(at).expect("queries are bounded"), chars[at..at + 2].iter().collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folding() {
        for (source, expected) in [
            ("", ""),
            ("Contract合同 V2", "contract合同 v2"),
            ("ＡＢＣ１２３！", "abc123!"),
            ("a\u{3000}b\u{a0}c\td\r\ne\u{b}f", "a b c d  e f"),
            ("ﬁnal ㎏ ①", "final kg 1"),
            ("İstanbul", "i\u{307}stanbul"),
            ("STRASSE straße ẞ", "strasse straße ß"),
            ("ΟΔΟΣ οδος", "οδοσ οδοσ"),
            ("e\u{301} é", "e\u{301} é"),
            ("👩\u{200d}👧 ❤\u{fe0f}", "👩\u{200d}👧 ❤\u{fe0f}"),
            ("𠮷野家 𪚥", "𠮷野家 𪚥"),
            ("ｶﾞ", "カ\u{3099}"),
            ("\u{0958}", "\u{0915}\u{093c}"),
        ] {
            assert_eq!(fold(source), expected, "{source:?}");
            assert_eq!(Folded::new(source).as_str(), expected, "{source:?}");
        }
    }

    #[test]
    fn counting_overlaps() {
        for (text, query, expected) in [
            ("哈哈哈", "哈哈", 2),
            ("aaaa", "a", 4),
            ("abc", "d", 0),
            ("", "a", 0),
            ("abc", "", 0),
            ("测试测试", "测试", 2),
        ] {
            assert_eq!(occurrences(text, query), expected, "{query:?} in {text:?}");
        }
    }

    #[test]
    fn pairs_cover_the_query() {
        for (query, expected) in [
            ("一", vec![]),
            ("一二", vec![(0, "一二")]),
            ("一二三", vec![(0, "一二"), (1, "二三")]),
            ("一二三四", vec![(0, "一二"), (2, "三四")]),
            ("一二三四五", vec![(0, "一二"), (2, "三四"), (3, "四五")]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(at, pair)| (at, pair.to_owned())).collect();
            assert_eq!(covering_pairs(query), expected, "{query:?}");
        }
    }

    proptest! {
        #[test]
        fn a_homomorphism_that_drops_nothing(a in ".*", b in ".*") {
            prop_assert_eq!(fold(&format!("{a}{b}")), fold(&a) + &fold(&b));
            for c in a.chars() {
                prop_assert!(!fold(&c.to_string()).is_empty(), "{:?} vanished", c);
            }
        }

        #[test]
        fn ranges_lead_back(source in ".{1,40}", from in 0usize..40, length in 1usize..10) {
            let folded = Folded::new(&source);
            let bounds: Vec<usize> =
                folded.as_str().char_indices().map(|(at, _)| at).chain([folded.as_str().len()]).collect();
            let from = from.min(bounds.len() - 2);
            let to = (from + length).min(bounds.len() - 1);
            let found = &folded.as_str()[bounds[from]..bounds[to]];
            let range = folded.source_range(bounds[from]..bounds[to]);
            prop_assert!(fold(&source[range]).contains(found));
        }
    }
}
