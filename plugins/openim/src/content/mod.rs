//! What is readable in a message (reference/openim.md §5).

mod leaves;

use serde_json::Value;

/// What search sees of a content, which should be JSON text. Anything may be in it, so there is nothing that fails.
pub fn readable(_content_type: i32, content: &str) -> String {
    match serde_json::from_str::<Value>(content) {
        Ok(content) => leaves::of(&content).join("\n"),
        Err(_) => content.to_owned(),
    }
}
