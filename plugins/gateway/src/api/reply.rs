//! Answers: the envelope around every JSON body, as Go writes it.

use super::errors::ApiError;
use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};
use std::io;
use stele_plugin_api::ops::HttpReply;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Serialize)]
struct Success<T> {
    code: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

#[derive(Serialize)]
struct Failure {
    code: u32,
    error: &'static str,
}

/// Code 0 with this data.
pub fn success<T: Serialize>(data: T) -> HttpReply {
    json(line(&Success { code: 0, data: Some(data) }).into_bytes())
}

/// Code 0 and nothing else.
pub fn done() -> HttpReply {
    json(line(&Success::<()> { code: 0, data: None }).into_bytes())
}

/// A failure, without `data`.
pub fn failure(error: ApiError, specific: bool) -> HttpReply {
    let (code, error) = error.told(specific);
    json(line(&Failure { code, error }).into_bytes())
}

/// A JSON body that is written already.
pub fn json(body: Vec<u8>) -> HttpReply {
    with(200, &[("content-type", JSON)], body)
}

/// Status, headers, and a line of text.
pub fn text(status: u16, headers: &[(&str, &str)], line: &str) -> HttpReply {
    let mut reply = with(status, headers, format!("{line}\n").into_bytes());
    reply.headers.push(("content-type".to_owned(), TEXT.to_owned()));
    reply
}

/// Status, headers and body.
pub fn with(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> HttpReply {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HttpReply { status, headers, body: Bytes::from(body), ..HttpReply::default() }
}

/// A value as a line of JSON.
pub fn line<T: Serialize>(value: &T) -> String {
    let mut line = Vec::new();
    write(&mut line, value);
    line.push(b'\n');
    String::from_utf8(line).expect("JSON is text")
}

/// Writes a value as Go's `encoding/json` does (that of Go 1.21, as the original): `<`, `>`, `&`, U+2028 and U+2029 are escaped,
/// and of control characters only tab and line ends have a short form.
pub fn write<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    let mut serializer = Serializer::with_formatter(out, Go);
    value.serialize(&mut serializer).expect("plain values can be written, and memory takes them");
}

struct Go;

impl Formatter for Go {
    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Backspace => writer.write_all(br"\u0008"),
            CharEscape::FormFeed => writer.write_all(br"\u000c"),
            escape => CompactFormatter.write_char_escape(writer, escape),
        }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, found) = rest.split_at(at);
            let mut letters = found.chars();
            let letter = letters.next().map_or(0, u32::from);
            write!(writer, "{before}\\u{letter:04x}")?;
            rest = letters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_written_as_go_writes_them() {
        let check = |reply: HttpReply, expected: &str| {
            assert_eq!(String::from_utf8_lossy(&reply.body), expected);
            assert_eq!((reply.status, reply.headers), (200, vec![("content-type".into(), "application/json".into())]));
        };
        check(
            success("<a & b>\u{2028}\u{2029}\"\\\n你"),
            "{\"code\":0,\"data\":\"\\u003ca \\u0026 b\\u003e\\u2028\\u2029\\\"\\\\\\n你\"}\n",
        );
        check(
            success("\u{8}\u{c}\t\u{0}\u{1f}\u{7f}"),
            "{\"code\":0,\"data\":\"\\u0008\\u000c\\t\\u0000\\u001f\u{7f}\"}\n",
        );
        check(done(), "{\"code\":0}\n");
        check(failure(ApiError::NoMember, false), "{\"code\":10002,\"error\":\"internal service call failed\"}\n");
        check(
            failure(ApiError::NoMember, true),
            "{\"code\":90011,\"error\":\"conversation contains at least one user\"}\n",
        );
        check(
            failure(ApiError::TypeOutOfRange, true),
            "{\"code\":90010,\"error\":\"conversation id ranges from 0 to 15\"}\n",
        );
    }
}
