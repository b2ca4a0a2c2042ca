//! What is delivered: rendered once, written to many.

use bytes::{BufMut, Bytes, BytesMut};
use std::sync::OnceLock;
use stele_archive::Rev;
use stele_plugin_api::ops::LiveEvent;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// A message as listeners get it.
#[derive(Debug)]
pub struct Event {
    /// Its place in the order.
    pub rev: Rev,
    id: String,
    name: String,
    data: Utf8Bytes,
    /// As server-sent event; made when the first one needs it.
    sse: OnceLock<Bytes>,
}

impl Event {
    /// The event of the message of this revision.
    pub fn new(rev: Rev, event: LiveEvent) -> Self {
        let LiveEvent { id, name, data } = event;
        Self { rev, id, name, data: data.into(), sse: OnceLock::new() }
    }

    /// What it takes of a queue, in bytes.
    pub fn size(&self) -> usize {
        self.id.len() + self.name.len() + self.data.len()
    }

    /// The text.
    pub fn text(&self) -> Utf8Bytes {
        self.data.clone()
    }

    /// The text as bytes.
    pub fn body(&self) -> Bytes {
        self.data.clone().into()
    }

    /// As server-sent event (HTML, "Server-sent events" §9.2.5).
    pub fn sse(&self) -> Bytes {
        self.sse.get_or_init(|| self.write_sse()).clone()
    }

    fn write_sse(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.size() + 32);
        for (field, value) in [("id", &self.id), ("event", &self.name)] {
            // What would end the line, or make clients ignore the id, is not for a field of one line.
            let line = value.replace(['\r', '\n', '\0'], " ");
            if !line.is_empty() {
                write_line(&mut out, field, &line);
            }
        }
        let data = self.data.strip_suffix('\n').unwrap_or(&self.data);
        let data = data.replace("\r\n", "\n");
        data.split(['\r', '\n']).for_each(|line| write_line(&mut out, "data", line));
        out.put_u8(b'\n');
        out.freeze()
    }
}

fn write_line(out: &mut BytesMut, field: &str, value: &str) {
    for part in [field, ": ", value, "\n"] {
        out.put_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_sent_event_has_a_line_for_each_line() {
        for (id, name, data, expected) in [
            ("7", "message", "{\"a\":1}\n", "id: 7\nevent: message\ndata: {\"a\":1}\n\n"),
            ("", "", "a\nb\r\nc\rd\n\n", "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
            ("1\n2", "a\rb", "", "id: 1 2\nevent: a b\ndata: \n\n"),
        ] {
            let event = LiveEvent { id: id.into(), name: name.into(), data: data.into() };
            assert_eq!(Event::new(Rev(1), event).sse(), expected, "{data:?}");
        }
    }
}
