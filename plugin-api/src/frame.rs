//! Frames as this side owns them, and their form on a byte stream.
//!
//! In-process a frame crosses as [`crate::abi::SteleFrame`]; to a child process it crosses as a fixed header of
//! [`HEADER`] bytes, little-endian, followed by op, payload and body:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | [`WIRE_MAGIC`] |
//! | 4 | 4 | kind |
//! | 8 | 8 | id |
//! | 16 | 4 | flags |
//! | 20 | 4 | length of op |
//! | 24 | 4 | length of payload |
//! | 28 | 4 | length of body |
//!
//! Lengths are checked before anything is allocated for them. A frame that is too large is passed over without being kept,
//! and reported with its head, so that one too large answer fails one call and not the session. Anything else that is
//! wrong with a header means that the stream is out of step: that ends it.

use crate::typed::Parts;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::borrow::Cow;
use std::fmt;

/// Payloads of this frame are JSON; without it they are MessagePack. A plugin whose descriptor says JSON need not set it.
pub const FLAG_JSON: u32 = 1;

/// A call whose caller takes items.
pub const FLAG_STREAM: u32 = 2;

/// Bytes an operation's name may have.
pub const MAX_OP: usize = 128;

/// Bytes of the header on a byte stream.
pub const HEADER: usize = 32;

/// First field of every header: the bytes `STLF`.
pub const WIRE_MAGIC: u32 = u32::from_le_bytes(*b"STLF");

/// What a frame is for. The numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Who the sender is and what it bears: the first frame of each side.
    Hello,
    /// Asks for an operation.
    Call,
    /// One part of an answer that has many.
    Item,
    /// Answers a call.
    Reply,
    /// Answers a call that failed.
    Error,
    /// The caller no longer wants the answer.
    Cancel,
    /// The caller takes more items.
    Credit,
    /// Tells something that is not answered.
    Notify,
    /// The sender makes no more calls.
    Goodbye,
    /// A kind this version does not know: ignored and counted.
    Unknown(u32),
}

impl From<u32> for Kind {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Hello,
            2 => Self::Call,
            3 => Self::Item,
            4 => Self::Reply,
            5 => Self::Error,
            6 => Self::Cancel,
            7 => Self::Credit,
            8 => Self::Notify,
            9 => Self::Goodbye,
            other => Self::Unknown(other),
        }
    }
}

impl From<Kind> for u32 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Hello => 1,
            Kind::Call => 2,
            Kind::Item => 3,
            Kind::Reply => 4,
            Kind::Error => 5,
            Kind::Cancel => 6,
            Kind::Credit => 7,
            Kind::Notify => 8,
            Kind::Goodbye => 9,
            Kind::Unknown(other) => other,
        }
    }
}

/// One message between a plugin and its host.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub kind: Kind,
    /// Number of the call it belongs to, given by the caller; 0 when it belongs to none.
    pub id: u64,
    /// [`FLAG_JSON`], [`FLAG_STREAM`].
    pub flags: u32,
    /// Name of the operation; empty except in calls and notifies.
    pub op: Cow<'static, str>,
    /// Encoded request, reply, item or error.
    pub payload: Bytes,
    /// Bulk bytes.
    pub body: Bytes,
}

impl Frame {
    /// A frame with neither op, payload nor body.
    pub fn bare(kind: Kind, id: u64) -> Self {
        Self { kind, id, flags: 0, op: Cow::Borrowed(""), payload: Bytes::new(), body: Bytes::new() }
    }

    /// Bytes that count against [`crate::hello::Limits::max_frame`]: payload and body.
    pub fn size(&self) -> u64 {
        self.payload.len() as u64 + self.body.len() as u64
    }

    /// Its contents.
    pub fn into_parts(self) -> Parts {
        Parts { payload: self.payload, body: self.body }
    }

    /// Its head, without the contents.
    pub fn head(&self) -> Head {
        Head { kind: self.kind, id: self.id, flags: self.flags, size: self.size() }
    }

    /// Writes header and op; payload and body follow on the stream, in this order (a vectored write saves copying them).
    ///
    /// Lengths beyond 32 bits cannot be written; no session lets such a frame pass (see [`crate::hello::Limits`]).
    pub fn encode_head(&self, out: &mut BytesMut) {
        let length = |bytes: usize| {
            u32::try_from(bytes).expect("a session refuses frames larger than its limits, which are u32")
        };
        out.reserve(HEADER + self.op.len());
        out.put_u32_le(WIRE_MAGIC);
        out.put_u32_le(self.kind.into());
        out.put_u64_le(self.id);
        out.put_u32_le(self.flags);
        out.put_u32_le(length(self.op.len()));
        out.put_u32_le(length(self.payload.len()));
        out.put_u32_le(length(self.body.len()));
        out.put_slice(self.op.as_bytes());
    }

    /// Writes the whole frame.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(HEADER + self.op.len() + self.payload.len() + self.body.len());
        self.encode_head(out);
        out.put_slice(&self.payload);
        out.put_slice(&self.body);
    }
}

/// Never shows contents: they are other people's messages, and hello carries secrets.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("flags", &self.flags)
            .field("op", &self.op)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// A frame without its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is for.
    pub kind: Kind,
    /// Number of its call.
    pub id: u64,
    /// Its flags.
    pub flags: u32,
    /// Bytes of payload and body.
    pub size: u64,
}

/// What a [`Decoder`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole frame.
    Frame(Frame),
    /// A frame that was too large and was passed over.
    Oversized(Head),
}

/// Why a byte stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// A header does not begin with [`WIRE_MAGIC`].
    Magic(u32),
    /// A name has more than [`MAX_OP`] bytes.
    OpTooLong(u32),
    /// A name is no UTF-8.
    OpNotUtf8,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "expected a frame, found {found:#010x}"),
            Self::OpTooLong(len) => write!(f, "the name of an operation has {len} bytes, at most {MAX_OP} are allowed"),
            Self::OpNotUtf8 => write!(f, "the name of an operation is not UTF-8"),
        }
    }
}

impl std::error::Error for WireError {}

/// Takes frames off a byte stream, however its bytes are cut.
#[derive(Debug)]
pub struct Decoder {
    max_frame: u32,
    /// Bytes of an oversized frame that are still to come.
    skip: u64,
}

impl Decoder {
    /// A decoder that keeps frames of at most `max_frame` bytes of payload and body.
    pub fn new(max_frame: u32) -> Self {
        Self { max_frame, skip: 0 }
    }

    /// The next frame in `input`, which loses the bytes of it. `None` means that more bytes are needed; `input` then has room
    /// for the rest of the frame that has begun.
    ///
    /// # Errors
    ///
    /// [`WireError`]: the stream is out of step and must be given up.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded>, WireError> {
        if self.skip > 0 {
            let now = input.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            input.advance(now);
            self.skip -= now as u64;
            if self.skip > 0 {
                return Ok(None);
            }
        }
        let Some(mut header) = input.get(..HEADER) else { return Ok(None) };
        let magic = header.get_u32_le();
        if magic != WIRE_MAGIC {
            return Err(WireError::Magic(magic));
        }
        let kind = Kind::from(header.get_u32_le());
        let id = header.get_u64_le();
        let flags = header.get_u32_le();
        let (op, payload, body) = (header.get_u32_le(), header.get_u32_le(), header.get_u32_le());
        if op as usize > MAX_OP {
            return Err(WireError::OpTooLong(op));
        }
        let size = u64::from(payload) + u64::from(body);
        if size > u64::from(self.max_frame) {
            input.advance(HEADER);
            self.skip = u64::from(op) + size;
            return Ok(Some(Decoded::Oversized(Head { kind, id, flags, size })));
        }
        let total = HEADER + op as usize + payload as usize + body as usize;
        if input.len() < total {
            input.reserve(total - input.len());
            return Ok(None);
        }
        let mut frame = input.split_to(total).freeze();
        frame.advance(HEADER);
        let op = frame.split_to(op as usize);
        let op = match std::str::from_utf8(&op) {
            Ok("") => Cow::Borrowed(""),
            Ok(op) => Cow::Owned(op.to_owned()),
            Err(_) => return Err(WireError::OpNotUtf8),
        };
        let payload = frame.split_to(payload as usize);
        Ok(Some(Decoded::Frame(Frame { kind, id, flags, op, payload, body: frame })))
    }
}
