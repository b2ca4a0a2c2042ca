//! The texts of a JSON value of no known shape.

use serde_json::Value;

/// Every text in it, in their order, those that are empty left out.
pub fn of(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    // The reader bounds how deep a value is.
    collect(value, &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
        _ => {}
    }
}
