//! Column S of reference/wecom-archive.md §2.2: what of a message people search for.

use super::{MAX_DEPTH, as_text, field, kinds, lenient};
use serde_json::{Map, Value};

/// Strings of unknown types that no person ever reads.
const OPAQUE: [&str; 4] = ["sdkfileid", "md5sum", "aeskey", "fileid"];

/// The searchable text of a body: one line per field, in the order of the type's table; of an unknown type every string.
pub(super) fn of(kind: &str, body: &Map<String, Value>) -> String {
    let mut lines = Lines(Vec::new());
    lines.add_body(kind, body, 0);
    lines.0.join("\n")
}

struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, text: &str) {
        if !text.is_empty() {
            self.0.push(text.to_owned());
        }
    }

    fn add_body(&mut self, kind: &str, body: &Map<String, Value>, depth: usize) {
        let Some(known) = kinds::find(kind) else {
            return self.add_fields(body, depth);
        };
        for path in known.text {
            self.add_path(body, path, kind == "markdown");
        }
        if known.nests
            && let Some(Value::Array(items)) = field(body, "item")
        {
            for item in items.iter().filter_map(Value::as_object) {
                self.add_item(item, depth + 1);
            }
        }
    }

    fn add_path(&mut self, body: &Map<String, Value>, path: &str, is_markdown: bool) {
        let (name, rest) = path.split_once("[]").map_or((path, None), |(name, rest)| (name, Some(rest)));
        match (field(body, name), rest) {
            (Some(Value::Array(elements)), Some(rest)) => {
                for element in elements {
                    match (element, rest.strip_prefix('.')) {
                        (Value::Object(element), Some(inner)) => self.add_path(element, inner, is_markdown),
                        (Value::Object(element), None) => self.add_fields(element, 0),
                        (scalar, _) => self.add(&as_text(scalar)),
                    }
                }
            }
            (Some(value), _) if is_markdown => self.add(&without_markup(&as_text(value))),
            (Some(value), _) => self.add(&as_text(value)),
            (None, _) => {}
        }
    }

    /// An element of a forwarded record or a mixed message: its content is the JSON text of another body.
    fn add_item(&mut self, item: &Map<String, Value>, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let kind = kinds::of_item(&field(item, "type").map(as_text).unwrap_or_default());
        match field(item, "content") {
            Some(Value::Object(body)) => self.add_body(&kind, body, depth),
            Some(Value::String(content)) => match lenient::read_str::<Value>(content) {
                Some(Value::Object(body)) => self.add_body(&kind, &body, depth),
                _ => self.add(content),
            },
            _ => {}
        }
    }

    fn add_fields(&mut self, fields: &Map<String, Value>, depth: usize) {
        for (key, value) in fields {
            if !OPAQUE.iter().any(|opaque| key.eq_ignore_ascii_case(opaque)) {
                self.add_any(value, depth);
            }
        }
    }

    fn add_any(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(fields) => self.add_fields(fields, depth),
            Value::Array(elements) => elements.iter().for_each(|element| self.add_any(element, depth)),
            Value::String(text) if depth < MAX_DEPTH && text.starts_with(['{', '[']) => {
                match lenient::read_str::<Value>(text) {
                    Some(inner) => self.add_any(&inner, depth + 1),
                    None => self.add(text),
                }
            }
            Value::String(text) => self.add(text),
            _ => {}
        }
    }
}

/// Markdown without its marks: heads, quotes and list marks at the start of a line, emphasis, code, tags, and of a link
/// its words. WeCom knows a small subset only; what is not of it stays as it is.
fn without_markup(markdown: &str) -> String {
    let lines: Vec<String> = markdown.lines().map(|line| without_inline_marks(without_line_marks(line))).collect();
    lines.join("\n").trim().to_owned()
}

fn without_line_marks(line: &str) -> &str {
    let line = line.trim_start_matches(|c: char| c == '>' || c.is_whitespace());
    let unhashed = line.trim_start_matches('#');
    if unhashed.len() < line.len() && (unhashed.is_empty() || unhashed.starts_with(' ')) {
        return unhashed.trim_start();
    }
    line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")).unwrap_or(line)
}

fn without_inline_marks(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        let taken = match character {
            '*' | '`' => 1,
            '<' => tag(rest).unwrap_or(0),
            '[' => match link(rest) {
                Some((words, length)) => {
                    text.push_str(&without_inline_marks(words));
                    length
                }
                None => 0,
            },
            _ => 0,
        };
        if taken == 0 {
            text.push(character);
            rest = &rest[character.len_utf8()..];
        } else {
            rest = &rest[taken..];
        }
    }
    text
}

/// Length of the tag `rest` begins with.
fn tag(rest: &str) -> Option<usize> {
    let end = rest.find('>')?;
    let name = rest[1..end].trim_start_matches('/');
    name.starts_with(|c: char| c.is_ascii_alphabetic()).then_some(end + 1)
}

/// Words and length of the link `rest` begins with.
fn link(rest: &str) -> Option<(&str, usize)> {
    let words_end = rest.find("](")?;
    let words = &rest[1..words_end];
    if words.contains('[') {
        return None;
    }
    let address_end = words_end + rest[words_end..].find(')')?;
    Some((words, address_end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_loses_its_marks_only() {
        let cases = [
            ("# 周报\n> **重点**: `完成`", "周报\n重点: 完成"),
            (
                "实时新增<font color=\"warning\">132例</font>，请[相关同事](https://x.example/a)注意",
                "实时新增132例，请相关同事注意",
            ),
            ("- 一\n- 二", "一\n二"),
            ("#标签 a < b > c", "#标签 a < b > c"),
            ("[没有链接] 1 * 2", "[没有链接] 1  2"),
            ("", ""),
        ];
        for (markdown, expected) in cases {
            assert_eq!(without_markup(markdown), expected, "{markdown}");
        }
    }
}
