//! From a key to its line and column.

use super::problem::{ConfigErrors, Place};
use std::fmt::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml_edit::{Document, Item, TableLike, Value};

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into an array.
    Index(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

/// `instance[0].sync.cron`
pub fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => write!(text, ".{key}").expect("writing to a string cannot fail"),
            Step::Index(index) => write!(text, "[{index}]").expect("writing to a string cannot fail"),
        }
    }
    text
}

/// The file with the spans of everything in it.
#[derive(Debug)]
pub struct Places {
    file: Option<PathBuf>,
    document: Document<String>,
}

impl Places {
    /// Reads a text; a mistake in its syntax is the only one that can be told then.
    pub fn parse(file: Option<&Path>, text: &str) -> Result<Self, ConfigErrors> {
        match Document::parse(text.to_owned()) {
            Ok(document) => Ok(Self { file: file.map(Path::to_owned), document }),
            Err(error) => {
                let file = file.unwrap_or(Path::new("<text>"));
                let place = error.span().map_or_else(
                    || Place::File(file.to_owned()),
                    |span| {
                        let (line, column) = line_column(text, span.start);
                        Place::Text { file: file.to_owned(), line, column }
                    },
                );
                let message = error.message().trim().replace('\n', ", ");
                Err(ConfigErrors::of_place(place, &message))
            }
        }
    }

    /// The folder of the file, which relative paths in it start from.
    pub fn folder(&self) -> Option<&Path> {
        self.file.as_deref().and_then(Path::parent)
    }

    /// Where the value of this path begins; when there is none, where the nearest table around it begins.
    pub fn value(&self, path: &[Step]) -> Place {
        (0..=path.len())
            .rev()
            .find_map(|length| self.span(&path[..length]))
            .map_or_else(|| self.whole(), |span| self.text(&span))
    }

    /// Where the key of this path stands.
    pub fn key(&self, path: &[Step]) -> Place {
        let key_span = match path.split_last() {
            Some((Step::Key(key), parents)) => self.item(parents).and_then(|node| match node {
                Node::Item(item) => key_span(item.as_table_like()?, key),
                Node::Value(value) => key_span(value.as_inline_table()?, key),
            }),
            _ => None,
        };
        key_span.map_or_else(|| self.value(path), |span| self.text(&span))
    }

    fn whole(&self) -> Place {
        self.file.clone().map_or(Place::Defaults, Place::File)
    }

    fn text(&self, span: &Range<usize>) -> Place {
        let (line, column) = line_column(self.document.raw(), span.start);
        Place::Text { file: self.file.clone().unwrap_or_else(|| "<text>".into()), line, column }
    }

    fn span(&self, path: &[Step]) -> Option<Range<usize>> {
        if path.is_empty() {
            return None;
        }
        match self.item(path)? {
            Node::Item(item) => item.span(),
            Node::Value(value) => value.span(),
        }
    }

    fn item(&self, path: &[Step]) -> Option<Node<'_>> {
        path.iter().try_fold(Node::Item(self.document.as_item()), |node, step| node.child(step))
    }
}

/// A table of an array of tables is no `Item`, an element of an array is a `Value`: both are a node of the tree here.
enum Node<'a> {
    Item(&'a dyn ItemLike),
    Value(&'a Value),
}

/// What `Item` and `Table` have in common.
trait ItemLike {
    fn as_table_like(&self) -> Option<&dyn TableLike>;
    fn span(&self) -> Option<Range<usize>>;
    fn index(&self, index: usize) -> Option<Node<'_>>;
}

impl ItemLike for Item {
    fn as_table_like(&self) -> Option<&dyn TableLike> {
        Item::as_table_like(self)
    }
    fn span(&self) -> Option<Range<usize>> {
        Item::span(self)
    }
    fn index(&self, index: usize) -> Option<Node<'_>> {
        match self {
            Item::ArrayOfTables(tables) => tables.get(index).map(|table| Node::Item(table)),
            Item::Value(Value::Array(values)) => values.get(index).map(Node::Value),
            _ => None,
        }
    }
}

impl ItemLike for toml_edit::Table {
    fn as_table_like(&self) -> Option<&dyn TableLike> {
        Some(self)
    }
    fn span(&self) -> Option<Range<usize>> {
        toml_edit::Table::span(self)
    }
    fn index(&self, _: usize) -> Option<Node<'_>> {
        None
    }
}

impl<'a> Node<'a> {
    fn child(self, step: &Step) -> Option<Node<'a>> {
        match (self, step) {
            (Node::Item(item), Step::Key(key)) => item.as_table_like()?.get(key).map(|item| Node::Item(item)),
            (Node::Item(item), Step::Index(index)) => item.index(*index),
            (Node::Value(value), Step::Key(key)) => value.as_inline_table()?.get(key).map(Node::Value),
            (Node::Value(value), Step::Index(index)) => value.as_array()?.get(*index).map(Node::Value),
        }
    }
}

fn key_span(table: &dyn TableLike, key: &str) -> Option<Range<usize>> {
    table.get_key_value(key).and_then(|(key, _)| key.span())
}

fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
