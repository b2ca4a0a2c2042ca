//! Listening to server-sent events, parsed as the HTML standard says.

use super::{Call, End, Heard, Log};
use anyhow::{Result, bail};
use futures::StreamExt;
use tokio::sync::watch;

/// Requests the stream; fails unless the answer is one.
pub async fn connect(call: &Call) -> Result<reqwest::Response> {
    let mut request = crate::client::http().get(call.url("http")).header("accept", "text/event-stream");
    if !call.token.is_empty() {
        request = request.header("authorization", format!("Bearer {}", call.token));
    }
    let response = request.send().await?;
    let (status, kind) = (response.status(), response.headers().get("content-type"));
    let stream = status == 200 && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if stream {
        return Ok(response);
    }
    bail!("no stream but {status}: {}", response.text().await?)
}

/// Reads until the end.
pub async fn listen(response: reqwest::Response, log: watch::Sender<Log>) {
    let (mut stream, mut parser) = (response.bytes_stream(), Parser::default());
    let end = loop {
        match stream.next().await {
            Some(Ok(bytes)) => {
                let said = parser.take(&bytes);
                log.send_modify(|log| {
                    for said in said {
                        match said {
                            Said::Event(heard) => log.heard.push(heard),
                            Said::Comment(text) => {
                                log.beats += 1;
                                log.comments.push(text);
                            }
                        }
                    }
                });
            }
            Some(Err(error)) => break End::Broken(format!("{:#}", anyhow::Error::from(error))),
            None => break End::Over,
        }
    };
    log.send_modify(|log| log.end = Some(end));
}

/// A thing said in a stream.
#[derive(Debug)]
pub enum Said {
    Event(Heard),
    Comment(String),
}

/// Takes a stream apart, however its bytes are cut. Lines end with a line feed, with or without a carriage return.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    id: Option<String>,
    event: Option<String>,
    data: Option<String>,
}

impl Parser {
    /// What these bytes complete.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
                said.extend(self.line(&line));
            } else {
                self.line.push(*byte);
            }
        }
        said
    }

    fn line(&mut self, line: &str) -> Option<Said> {
        if line.is_empty() {
            let (id, event) = (self.id.clone(), self.event.take());
            return self.data.take().map(|text| Said::Event(Heard { id, event, ..Heard::text(text) }));
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => return Some(Said::Comment(value.to_owned())),
            "id" => self.id = Some(value.to_owned()),
            "event" => self.event = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_means_the_same_however_it_is_cut() {
        let stream =
            ": hello\n\nid: 1\nevent: message\ndata: 产品\ndata:  b\n\nretry: 5\r\nid: 2\r\ndata\r\n\r\nid: 3\n\n";
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let said: Vec<_> = stream.as_bytes().chunks(size).flat_map(|bytes| parser.take(bytes)).collect();
            let [Said::Comment(comment), Said::Event(first), Said::Event(second)] = &said[..] else {
                panic!("{said:?}");
            };
            assert_eq!(comment, "hello");
            assert_eq!((first.id.as_deref(), first.event.as_deref()), (Some("1"), Some("message")));
            assert_eq!(first.text, "产品\n b");
            assert_eq!((second.id.as_deref(), second.event.as_deref(), &*second.text), (Some("2"), None, ""));
        }
    }
}
