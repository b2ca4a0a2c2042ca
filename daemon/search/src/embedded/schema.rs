//! Fields and tokens of the embedded index.

use crate::fold::{FOLD_VERSION, fold};
use stele_archive::{ConversationId, FeedRow, InstanceId, PersonId};
use tantivy::schema::{Field, IndexRecordOption, NumericOptions, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer, TokenizerManager};
use tantivy::{Index, TantivyDocument, Term};

/// Version of fields and layout; the version of tokens is part of it.
pub(super) const FORMAT: u64 = 1_000 * FOLD_VERSION as u64 + 3;

/// Number of characters per token, as the tokenizers are called in the schema.
const PAIRS: &str = "stele_pairs";
const CHARS: &str = "stele_chars";

/// Fast fields are read by name.
pub(super) const ID: &str = "id";
pub(super) const SENT_AT: &str = "sent_at";
pub(super) const EXPIRES_AT: &str = "expires_at";
pub(super) const LENGTH: &str = "length";

/// Longest kind that is told from others, in bytes: a token must not be much longer.
const LONGEST_KIND: usize = 60_000;

/// The fields. What is one of a few has postings, so that it can be counted without looking at messages (instance,
/// conversation, sender, kind, labels); times are columns; nothing is stored, since rows are shown from the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub pairs: Field,
    pub chars: Field,
    instance: Field,
    conversation: Field,
    sender: Field,
    kind: Field,
    label: Field,
    id: Field,
    sent_at: Field,
    expires_at: Field,
    length: Field,
}

impl Fields {
    pub fn build() -> (Schema, Self) {
        let tokens = |tokenizer: &str, record: IndexRecordOption| {
            TextOptions::default().set_indexing_options(
                TextFieldIndexing::default().set_tokenizer(tokenizer).set_index_option(record).set_fieldnorms(false),
            )
        };
        let column = NumericOptions::default().set_fast();
        let postings = NumericOptions::default().set_indexed();
        let mut schema = Schema::builder();
        let fields = Self {
            pairs: schema.add_text_field("pairs", tokens(PAIRS, IndexRecordOption::WithFreqsAndPositions)),
            chars: schema.add_text_field("chars", tokens(CHARS, IndexRecordOption::WithFreqs)),
            instance: schema.add_i64_field("instance", postings.clone()),
            conversation: schema.add_i64_field("conversation", postings.clone()),
            sender: schema.add_i64_field("sender", postings),
            kind: schema.add_text_field("kind", tokens("raw", IndexRecordOption::Basic)),
            label: schema.add_text_field("label", tokens("raw", IndexRecordOption::Basic)),
            id: schema.add_i64_field(ID, column.clone()),
            sent_at: schema.add_i64_field(SENT_AT, column.clone()),
            expires_at: schema.add_i64_field(EXPIRES_AT, column.clone()),
            length: schema.add_u64_field(LENGTH, column),
        };
        (schema.build(), fields)
    }

    pub fn document(&self, row: &FeedRow) -> TantivyDocument {
        let folded = fold(&row.text);
        let mut document = TantivyDocument::default();
        document.add_text(self.pairs, &folded);
        document.add_text(self.chars, &folded);
        document.add_i64(self.instance, row.instance.0);
        document.add_i64(self.conversation, row.conversation.0);
        if let Some(sender) = row.sender {
            document.add_i64(self.sender, sender.0);
        }
        document.add_text(self.kind, told(&row.kind));
        for label in &row.labels {
            document.add_text(self.label, label);
        }
        document.add_i64(self.id, row.id.0);
        document.add_i64(self.sent_at, row.sent_at);
        if let Some(expires_at) = row.expires_at {
            document.add_i64(self.expires_at, expires_at);
        }
        document.add_u64(self.length, folded.chars().count() as u64);
        document
    }

    pub fn instance(&self, id: InstanceId) -> Term {
        Term::from_field_i64(self.instance, id.0)
    }

    pub fn conversation(&self, id: ConversationId) -> Term {
        Term::from_field_i64(self.conversation, id.0)
    }

    pub fn sender(&self, id: PersonId) -> Term {
        Term::from_field_i64(self.sender, id.0)
    }

    pub fn kind(&self, kind: &str) -> Term {
        Term::from_field_text(self.kind, told(kind))
    }

    pub fn label(&self, label: &str) -> Term {
        Term::from_field_text(self.label, label)
    }
}

/// As much of a kind as is told from others.
fn told(kind: &str) -> &str {
    &kind[..kind.floor_char_boundary(LONGEST_KIND)]
}

/// Makes the tokenizers of the schema known to an index.
pub(super) fn register_tokenizers(index: &mut Index) {
    // The default ones stay: tantivy looks one up for every field, numbers too.
    let tokenizers = TokenizerManager::default();
    tokenizers.register(PAIRS, CharTokenizer { width: 2, token: Token::default() });
    tokenizers.register(CHARS, CharTokenizer { width: 1, token: Token::default() });
    index.set_tokenizers(tokenizers);
}

/// Every run of `width` characters of a folded text is a token; its position is the number of characters before it.
/// Nothing is a separator: white space, punctuation and joiners are characters like any other.
#[derive(Clone)]
struct CharTokenizer {
    width: usize,
    token: Token,
}

impl Tokenizer for CharTokenizer {
    type TokenStream<'a> = CharStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> CharStream<'a> {
        self.token.reset();
        // Where the token that ends with the next character begins, and where that character does.
        let mut ahead = text.char_indices();
        for _ in 1..self.width {
            ahead.next();
        }
        CharStream { text, starts: text.char_indices(), ahead, token: &mut self.token }
    }
}

struct CharStream<'a> {
    text: &'a str,
    starts: std::str::CharIndices<'a>,
    ahead: std::str::CharIndices<'a>,
    token: &'a mut Token,
}

impl TokenStream for CharStream<'_> {
    fn advance(&mut self) -> bool {
        let (Some((start, _)), Some((last, c))) = (self.starts.next(), self.ahead.next()) else { return false };
        let end = last + c.len_utf8();
        self.token.position = self.token.position.wrapping_add(1);
        self.token.offset_from = start;
        self.token.offset_to = end;
        self.token.text.clear();
        self.token.text.push_str(&self.text[start..end]);
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(width: usize, text: &str) -> Vec<(usize, String)> {
        let mut tokenizer = CharTokenizer { width, token: Token::default() };
        let mut stream = tokenizer.token_stream(text);
        let mut found = Vec::new();
        while stream.advance() {
            found.push((stream.token().position, stream.token().text.clone()));
        }
        found
    }

    #[test]
    fn tokens_and_their_positions() {
        for (width, text, expected) in [
            (2, "", vec![]),
            (2, "一", vec![]),
            (2, "一二", vec![(0, "一二")]),
            (2, "a 𠮷b", vec![(0, "a "), (1, " 𠮷"), (2, "𠮷b")]),
            (1, "", vec![]),
            (1, "a𠮷", vec![(0, "a"), (1, "𠮷")]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(at, token)| (at, token.to_owned())).collect();
            assert_eq!(tokens(width, text), expected, "{width} in {text:?}");
        }
    }
}
