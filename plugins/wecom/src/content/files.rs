//! The files of a message: every `sdkfileid` in it, however deep.
//!
//! No list of types: a type nobody has seen yet loses its media five days later, so whatever carries a file id is kept.

use super::{MAX_DEPTH, as_integer, as_text, field, kinds, lenient};
use serde_json::{Map, Value};

/// The field that makes an object a file.
const FILE_ID: &str = "sdkfileid";
/// Fields a size can be in.
const SIZES: [&str; 4] = ["filesize", "voice_size", "imagesize", "size"];

/// A file of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What the library wants to fetch it.
    pub sdkfileid: String,
    /// Type of the message it came in, or of the nested one.
    pub kind: String,
    /// Its name, with extension.
    pub name: Option<String>,
    /// Its size in bytes, as announced.
    pub size: Option<u64>,
    /// Its MD5 in lower-case hex, as announced; WeCom sends empty and wrong ones (reference/wecom-archive.md §1.9).
    pub md5: Option<String>,
}

/// Every file of a message, in their order and each once.
pub(super) fn of(kind: &str, fields: &Map<String, Value>) -> Vec<File> {
    let mut files = Vec::new();
    add_object(kind, fields, 0, &mut files);
    files
}

fn add_object(kind: &str, object: &Map<String, Value>, depth: usize, files: &mut Vec<File>) {
    if let Some(file) = file(kind, object)
        && !files.iter().any(|known| known.sdkfileid == file.sdkfileid)
    {
        files.push(file);
    }
    // An element of a record names its own type beside its content.
    let inner_kind = match (field(object, "type"), field(object, "content")) {
        (Some(Value::String(item_type)), Some(_)) => kinds::of_item(item_type),
        _ => kind.to_owned(),
    };
    for value in object.values() {
        add_any(&inner_kind, value, depth, files);
    }
}

fn add_any(kind: &str, value: &Value, depth: usize, files: &mut Vec<File>) {
    match value {
        Value::Object(object) => add_object(kind, object, depth, files),
        Value::Array(elements) => {
            for element in elements {
                add_any(kind, element, depth, files);
            }
        }
        Value::String(text) if depth < MAX_DEPTH && holds_a_file(text) => {
            if let Some(inner) = lenient::read_str::<Value>(text) {
                add_any(kind, &inner, depth + 1, files);
            }
        }
        _ => {}
    }
}

/// Whether a text is worth reading as JSON.
fn holds_a_file(text: &str) -> bool {
    text.starts_with(['{', '[']) && text.to_ascii_lowercase().contains(FILE_ID)
}

fn file(kind: &str, object: &Map<String, Value>) -> Option<File> {
    let Some(Value::String(sdkfileid)) = field(object, FILE_ID) else { return None };
    if sdkfileid.is_empty() {
        return None;
    }
    Some(File {
        sdkfileid: sdkfileid.clone(),
        kind: kind.to_owned(),
        name: name(object),
        size: SIZES
            .iter()
            .find_map(|size| field(object, size).and_then(as_integer))
            .and_then(|size| u64::try_from(size).ok()),
        md5: field(object, "md5sum").map(as_text).and_then(|md5| {
            let is_md5 = md5.len() == 32 && md5.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_md5.then(|| md5.to_ascii_lowercase())
        }),
    })
}

fn name(object: &Map<String, Value>) -> Option<String> {
    let name = field(object, "filename").map(as_text).filter(|name| !name.is_empty())?.into_owned();
    let extension = field(object, "fileext").map(as_text).unwrap_or_default();
    let extension = extension.trim_start_matches('.');
    let has_extension = name.rsplit_once('.').is_some_and(|(_, known)| known.eq_ignore_ascii_case(extension));
    Some(if extension.is_empty() || has_extension { name } else { format!("{name}.{extension}") })
}
