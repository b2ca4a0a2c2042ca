//! Texts that make search engines stumble.

use proptest::prelude::*;
use std::ops::RangeInclusive;

/// Small alphabets, so that texts share pieces and repeat themselves; each with a trap of its own.
const PIECES: &[&str] = &[
    // Han, simplified and traditional, and a ligature of them.
    "合",
    "同",
    "合同",
    "简",
    "簡",
    "单",
    "待",
    "处",
    "理",
    "哈",
    "㍿",
    "的",
    // Rare Han: extensions A to H, compatibility.
    "㐀",
    "𠀀",
    "𠮷",
    "𪜀",
    "𫝀",
    "𫠠",
    "𬺰",
    "𰀀",
    "𱍐",
    "豈",
    "﨑",
    // ASCII, digits, what query languages stumble over.
    "a",
    "B",
    "ab",
    "OK",
    "1",
    "23",
    "0",
    " ",
    "\"",
    "*",
    "-",
    "AND",
    "OR",
    "NOT",
    "(",
    ")",
    "\\",
    "'",
    "%",
    "_",
    ":",
    "@",
    // Full and half width, white space of all kinds.
    "ＯＫ",
    "１",
    "，",
    "。",
    "！",
    "ｶﾞ",
    "\u{3000}",
    "\u{a0}",
    "\t",
    "\n",
    "\r\n",
    "\u{2028}",
    // Emoji with joiners, variation selectors, skin tones, flags, keycaps.
    "👩\u{200d}👩\u{200d}👧",
    "❤\u{fe0f}",
    "❤",
    "👍🏽",
    "🇨🇳",
    "1\u{fe0f}\u{20e3}",
    "\u{200d}",
    "\u{fe0f}",
    // Combining marks and what composes with them.
    "e\u{301}",
    "é",
    "\u{301}",
    "Å",
    "ÅÅ",
    "가",
    "각",
    "\u{1100}",
    "\u{1161}",
    "\u{11a8}",
    // Letters whose case is not one to one, ligatures, compatibility forms.
    "İ",
    "ı",
    "i",
    "I",
    "ß",
    "ẞ",
    "ss",
    "Σ",
    "σ",
    "ς",
    "ﬁ",
    "fi",
    "㎏",
    "①",
    "½",
    "ǅ",
    "ﷺ",
    // Zero width and control characters.
    "\u{200b}",
    "\u{feff}",
    "\u{ad}",
    "\0",
    "\u{1}",
    "\u{7f}",
];

/// Texts of these many pieces.
pub fn text(pieces: RangeInclusive<usize>) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        12 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, pieces).prop_map(|pieces| pieces.concat())
}

/// All substrings of 1 to `longest` characters.
pub fn substrings(text: &str, longest: usize) -> Vec<&str> {
    let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut found = Vec::new();
    for from in 0..bounds.len() {
        for to in from + 1..bounds.len().min(from + 1 + longest) {
            found.push(&text[bounds[from]..bounds[to]]);
        }
    }
    found
}
