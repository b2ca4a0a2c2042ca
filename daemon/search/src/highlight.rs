//! Where a hit is in the stored text: one highlighter for all engines.

use crate::fold::Folded;

/// Byte ranges of all occurrences of a folded query in a text, from left to right, not overlapping. A range covers whole
/// characters of the text, so it can be wider than the match: `ﬁ` is marked whole when `f` was asked for.
pub fn highlights(text: &str, folded_query: &str) -> Vec<(u32, u32)> {
    if folded_query.is_empty() {
        return Vec::new();
    }
    let folded = Folded::new(text);
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for (at, found) in folded.as_str().match_indices(folded_query) {
        let range = folded.source_range(at..at + found.len());
        let bounds = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        let (start, end) = (bounds(range.start), bounds(range.end));
        match ranges.last_mut() {
            // Two matches inside one character of the source, or sharing one.
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ => ranges.push((start, end)),
        }
    }
    ranges
}

/// A piece of a text around a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The piece, `…` added where the text goes on.
    pub text: String,
    /// Byte ranges of the highlights in the piece.
    pub highlights: Vec<(u32, u32)>,
}

/// At most `width` characters of `text` around its first highlight, which stands about a third from the left; the
/// beginning of the text when there is none.
pub fn snippet(text: &str, highlights: &[(u32, u32)], width: usize) -> Snippet {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let length = starts.len() - 1;
    let width = width.max(1);
    let first = highlights.first().map_or(0, |(start, _)| starts.partition_point(|at| *at < *start as usize));
    let from = first.saturating_sub(width / 3).min(length.saturating_sub(width));
    let to = (from + width).min(length);
    let (begin, end) = (starts[from], starts[to]);

    let mut piece = String::with_capacity(end - begin + 6);
    if from > 0 {
        piece.push('…');
    }
    let shift = piece.len();
    piece.push_str(&text[begin..end]);
    if to < length {
        piece.push('…');
    }
    let moved = |offset: usize| u32::try_from(offset - begin + shift).unwrap_or(u32::MAX);
    let highlights = highlights
        .iter()
        .map(|(start, stop)| ((*start as usize).max(begin), (*stop as usize).min(end)))
        .filter(|(start, stop)| start < stop)
        .map(|(start, stop)| (moved(start), moved(stop)))
        .collect();
    Snippet { text: piece, highlights }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;

    fn marked(text: &str, query: &str) -> String {
        let mut out = String::new();
        let mut from = 0;
        for (start, end) in highlights(text, &fold(query)) {
            out += &text[from..start as usize];
            out += "[";
            out += &text[start as usize..end as usize];
            out += "]";
            from = end as usize;
        }
        out + &text[from..]
    }

    #[test]
    fn matches_are_marked_in_the_stored_text() {
        for (text, query, expected) in [
            ("请看合同V2，合同v2", "合同v2", "请看[合同V2]，[合同v2]"),
            ("哈哈哈", "哈哈", "[哈哈]哈"),
            ("ＯＫ，ok", "OK", "[ＯＫ]，[ok]"),
            ("of ﬁles", "f", "o[f] [ﬁ]les"),
            ("ﬀ", "f", "[ﬀ]"),
            ("aİb", "i", "a[İ]b"),
            ("👩\u{200d}👧", "👧", "👩\u{200d}[👧]"),
            ("nothing", "x", "nothing"),
        ] {
            assert_eq!(marked(text, query), expected, "{query:?} in {text:?}");
        }
    }

    #[test]
    fn snippets_hold_the_first_match() {
        let text = "一二三四五六七八九十".repeat(3) + "目标" + &"甲乙丙丁".repeat(5);
        let found = highlights(&text, "目标");
        let piece = snippet(&text, &found, 12);
        assert_eq!(piece.text, "…七八九十目标甲乙丙丁甲乙…");
        let (start, end) = piece.highlights[0];
        assert_eq!(&piece.text[start as usize..end as usize], "目标");

        assert_eq!(snippet("短文", &[], 12), Snippet { text: "短文".into(), highlights: vec![] });
        assert_eq!(snippet("目标在前", &[(0, 6)], 3), Snippet { text: "目标在…".into(), highlights: vec![(0, 6)] });
        assert_eq!(snippet("在后目标", &[(6, 12)], 3), Snippet { text: "…后目标".into(), highlights: vec![(6, 12)] });
        // A match longer than the snippet is cut with it.
        assert_eq!(snippet("一二三四", &[(0, 12)], 2), Snippet { text: "一二…".into(), highlights: vec![(0, 6)] });
    }
}
