//! What can be read in a JSON value of no known shape.

use super::{MAX_DEPTH, parsed};
use serde_json::Value;

/// Every text in it, number, and `true` or `false`, in their order, texts that are empty left out. JSON in a text is read as well,
/// in as many texts within each other as `depth` says.
pub fn of(value: &Value, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    collect(value, depth, &mut found);
    found
}

// How deep a value is is bounded by whoever read it.
fn collect(value: &Value, depth: usize, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => match parsed(text).filter(|_| depth < MAX_DEPTH) {
            Some(value) => collect(&value, depth + 1, found),
            None => found.push(text.clone()),
        },
        Value::Array(items) => items.iter().for_each(|item| collect(item, depth, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, depth, found)),
        Value::Number(_) | Value::Bool(_) => found.push(value.to_string()),
        Value::Null => {}
    }
}
