//! What is readable in a message (reference/openim.md §5).
//!
//! A content is JSON text whose shape its type tells, but anything may be in it. So nothing here fails: what has not the shape it
//! should have is read as far as there are texts in it, and what is no JSON is a text itself.

mod leaves;
mod markdown;
mod notices;

use crate::json;
use serde_json::Value;

/// How many messages, or JSON texts, may be within each other; what is deeper is not read.
const MAX_DEPTH: usize = 8;
/// Where the client's message object has what a `contentType` has in `content`.
const ELEMENTS: [(i32, &str); 14] = [
    (101, "textElem"),
    (102, "pictureElem"),
    (103, "soundElem"),
    (104, "videoElem"),
    (105, "fileElem"),
    (106, "atTextElem"),
    (107, "mergeElem"),
    (108, "cardElem"),
    (109, "locationElem"),
    (110, "customElem"),
    (114, "quoteElem"),
    (115, "faceElem"),
    (117, "advancedTextElem"),
    (118, "markdownTextElem"),
];
/// What stands for everybody in a list of those a message names.
const EVERYBODY: &str = "AtAllTag";

/// What search sees of a content.
pub fn readable(content_type: i32, content: &str) -> String {
    let lines = match json::read(content.as_bytes()) {
        Ok(value @ (Value::Object(_) | Value::Array(_) | Value::String(_))) => read(content_type, &value, 0),
        _ if content.is_empty() || is_silent(content_type) => Vec::new(),
        _ => vec![content.to_owned()],
    };
    lines.join("\n")
}

/// What tells clients something, and nobody who reads.
fn is_silent(content_type: i32) -> bool {
    matches!(content_type, 113 | 2101 | 2102 | 2200)
}

/// JSON of an object or a list.
fn parsed(text: &str) -> Option<Value> {
    let is_json = text.trim_start().starts_with(['{', '[']);
    is_json.then(|| json::read(text.as_bytes()).ok()).flatten()
}

/// The lines of a content: by its type, or else all its texts.
fn read(content_type: i32, content: &Value, depth: usize) -> Vec<String> {
    if is_silent(content_type) {
        return Vec::new();
    }
    by_type(content_type, content, depth).unwrap_or_else(|| leaves::of(content, depth))
}

/// The lines of a content that has the shape of its type.
fn by_type(content_type: i32, content: &Value, depth: usize) -> Option<Vec<String>> {
    let text = |name: &str| content[name].as_str().map(str::to_owned);
    let texts = |names: &[&str]| {
        let found: Vec<_> = names.iter().filter_map(|name| text(name)).collect();
        (!found.is_empty()).then_some(found)
    };
    let lines = match content_type {
        101 => vec![text("content").or_else(|| text("text"))?],
        102 => names_of_files(&[&content["sourcePicture"]["uuid"], &content["sourcePicture"]["url"]])?,
        103 => ["sourceUrl", "soundPath", "uuid"].iter().any(|name| content[name].is_string()).then(Vec::new)?,
        104 => names_of_files(&[&content["videoUrl"], &content["videoPath"]])?,
        105 => vec![text("fileName")?],
        106 => {
            let mut lines = vec![named(&text("text")?, content)];
            lines.extend(message(&content["quoteMessage"], depth));
            lines
        }
        107 => merged(content, depth)?,
        108 => texts(&["nickname", "userID"])?,
        109 => leaves::of(content.get("description")?, depth),
        110 | 119 | 120 => {
            let parts: Vec<_> =
                ["description", "data", "extension"].iter().filter_map(|name| content.get(name)).collect();
            (!parts.is_empty()).then(|| parts.into_iter().flat_map(|part| leaves::of(part, depth)).collect())?
        }
        114 => {
            let mut lines = vec![text("text")?];
            lines.extend(message(&content["quoteMessage"], depth));
            lines
        }
        115 => leaves::of(content.get("data")?, depth),
        117 => {
            let mut lines = vec![text("text")?];
            let entities = content["messageEntityList"].as_array().into_iter().flatten();
            lines.extend(entities.filter_map(|entity| entity["url"].as_str()).map(str::to_owned));
            lines
        }
        118 => vec![markdown::plain(&text("content").or_else(|| text("text"))?)],
        1201..=1704 => {
            let detail = parsed(content["detail"].as_str()?)?;
            if content_type == 1400 {
                let told = |name: &str| detail[name].as_str().map(str::to_owned);
                vec![told("notificationName"), Some(told("text")?)].into_iter().flatten().collect()
            } else {
                vec![notices::sentence(content_type, &detail)?]
            }
        }
        _ => return None,
    };
    Some(lines.into_iter().filter(|line| !line.is_empty()).collect())
}

/// What is forwarded: the messages, and what the client made of them.
fn merged(content: &Value, depth: usize) -> Option<Vec<String>> {
    let messages = content["multiMessage"].as_array();
    let title = content["title"].as_str();
    if messages.is_none() && title.is_none() {
        return None;
    }
    let mut lines: Vec<_> = title.map(str::to_owned).into_iter().collect();
    let abstracts = content["abstractList"].as_array().into_iter().flatten();
    lines.extend(abstracts.filter_map(Value::as_str).map(str::to_owned));
    lines.extend(messages.into_iter().flatten().flat_map(|one| message(one, depth)));
    Some(lines)
}

/// The lines of a message within a message, as clients have it: what it says is in one of its elements, or in its content.
fn message(message: &Value, depth: usize) -> Vec<String> {
    if depth >= MAX_DEPTH {
        return Vec::new();
    }
    let depth = depth + 1;
    let content_type = message["contentType"].as_i64().and_then(|kind| i32::try_from(kind).ok()).unwrap_or_default();
    let element = ELEMENTS.iter().find(|(kind, _)| *kind == content_type).map(|(_, name)| &message[name]);
    if let Some(element) = element.filter(|element| element.is_object()) {
        return read(content_type, element, depth);
    }
    match &message["content"] {
        Value::String(content) if !content.is_empty() => match parsed(content) {
            Some(content) => read(content_type, &content, depth),
            None => vec![content.clone()],
        },
        Value::Null | Value::String(_) => elements(message, depth),
        content => read(content_type, content, depth),
    }
}

/// The texts of whichever elements a message has; its ids and names are not what it says.
fn elements(message: &Value, depth: usize) -> Vec<String> {
    let fields = message.as_object().into_iter().flatten();
    fields.filter(|(name, _)| name.ends_with("Elem")).flat_map(|(_, element)| leaves::of(element, depth)).collect()
}

/// A text that names people by their ids, with what they are called instead.
fn named(text: &str, content: &Value) -> String {
    let infos = content["atUsersInfo"].as_array().into_iter().flatten();
    let mut called: Vec<_> = infos
        .filter_map(|info| Some((info["atUserID"].as_str()?, info["groupNickname"].as_str()?)))
        .chain([(EVERYBODY, "everyone")])
        .filter(|(id, name)| !id.is_empty() && !name.is_empty())
        .collect();
    // Of ids that begin alike the longer one is meant.
    called.sort_by_key(|(id, _)| std::cmp::Reverse(id.len()));
    let mut parts = text.split('@');
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        said.push('@');
        match called.iter().find_map(|(id, name)| Some((name, part.strip_prefix(id)?))) {
            Some((name, rest)) => said.extend([name, rest]),
            None => said.push_str(part),
        }
    }
    said
}

/// The names of files in paths and addresses, each once; `None` where there is no path.
fn names_of_files(paths: &[&Value]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut is_path = false;
    for path in paths.iter().filter_map(|path| path.as_str()).filter(|path| !path.is_empty()) {
        is_path = true;
        let path = path.split(['?', '#']).next().unwrap_or(path).trim_end_matches(['/', '\\']);
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    is_path.then_some(names)
}

#[cfg(test)]
mod tests;
