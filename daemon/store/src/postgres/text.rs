//! Texts of Postgres, which cannot hold U+0000.
//!
//! What a source says is kept as it is said, so such texts are written otherwise: U+0000 to U+0003 as U+0001 and two characters out of
//! U+0002 and U+0003. No two texts are written alike; written texts have the order of the texts; and one is a part of another exactly
//! where it is so written, since U+0001 only ever begins what stands for one character. Other texts, all but a few, are written as
//! they are.

use crate::common::rows::Columns;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::borrow::Cow;

/// Begins what stands for a character.
const MARK: char = '\u{1}';
/// The digits after it: two of them, the greater one first.
const DIGITS: [char; 2] = ['\u{2}', '\u{3}'];

/// A text as it is written.
pub(crate) fn written(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte <= 3) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char as usize {
            number @ 0..=3 => written.extend([MARK, DIGITS[number >> 1], DIGITS[number & 1]]),
            _ => written.push(char),
        }
    }
    Cow::Owned(written)
}

/// The text that was written so.
pub(crate) fn read(written: String) -> String {
    if !written.contains(MARK) {
        return written;
    }
    let digit = |char: Option<char>| u32::from(char == Some(DIGITS[1]));
    let mut text = String::with_capacity(written.len());
    let mut chars = written.chars();
    while let Some(char) = chars.next() {
        match char {
            MARK => text.push(char::from((digit(chars.next()) << 1 | digit(chars.next())) as u8)),
            _ => text.push(char),
        }
    }
    text
}

impl Columns for PgRow {
    fn text(&self, column: usize) -> String {
        read(self.get(column))
    }

    fn some_text(&self, column: usize) -> Option<String> {
        self.get::<Option<String>, _>(column).map(read)
    }

    fn number(&self, column: usize) -> i64 {
        self.get(column)
    }

    fn some_number(&self, column: usize) -> Option<i64> {
        self.get(column)
    }

    fn flag(&self, column: usize) -> bool {
        self.get(column)
    }

    fn bytes(&self, column: usize) -> Vec<u8> {
        self.get(column)
    }
}

#[cfg(test)]
mod tests {
    use super::{read, written};
    use proptest::prelude::*;

    #[test]
    fn what_can_be_held_is_written_as_it_is() {
        for text in ["", "a", "张三\n\t\u{4}\u{7f}"] {
            assert!(matches!(written(text), std::borrow::Cow::Borrowed(same) if same == text));
        }
        assert_eq!(written("a\0"), "a\u{1}\u{2}\u{2}");
    }

    /// Mostly of what is written otherwise, and what that is written with.
    fn texts() -> impl Strategy<Value = String> {
        "[\u{0}-\u{5}ab张]{0,8}"
    }

    proptest! {
        #[test]
        fn every_text_is_kept_in_its_order(one in texts(), other in texts()) {
            prop_assert!(!written(&one).contains('\0'));
            prop_assert_eq!(&read(written(&one).into_owned()), &one);
            prop_assert_eq!(written(&one).cmp(&written(&other)), one.cmp(&other));
        }

        #[test]
        fn a_part_is_found_where_it_is(whole in texts(), part in "[\u{0}-\u{5}ab]{1,2}") {
            prop_assert_eq!(written(&whole).contains(&*written(&part)), whole.contains(&part));
        }
    }
}
