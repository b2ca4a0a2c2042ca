//! Tables and times for terminals.

use chrono::{DateTime, SecondsFormat};
use serde_json::Value;

/// Columns of text, each as wide as its widest cell; the last one is not filled up.
pub fn render(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A time in microseconds, to the second, UTC; `-` when there is none.
pub fn time(micros: &Value) -> String {
    let time = micros.as_i64().and_then(DateTime::from_timestamp_micros);
    time.map_or_else(|| "-".to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The text of a value; `-` when there is none.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Null | Value::String(_) => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["名字 long".to_owned(), "-".to_owned()]];
        assert_eq!(render(&["NAME", "N"], &rows), "NAME     N\na        1\n名字 long  -\n");
    }

    #[test]
    fn absent_is_a_dash() {
        assert_eq!([time(&json!(null)), text(&json!(null)), text(&json!(""))], ["-", "-", "-"]);
        assert_eq!(time(&json!(1_700_000_000_000_000_i64)), "2023-11-14T22:13:20Z");
    }
}
