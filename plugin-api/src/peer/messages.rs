//! What a peer hands to its owner and takes from it: calls, their answers, and what the other side tells.

use super::{ItemSink, Peer};
use crate::codec::Encoding;
use crate::error::{Error, ErrorCode};
use crate::ops::Op;
use crate::session::CallId;
use crate::typed::{self, Parts};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::borrow::Cow;
use std::fmt;

/// A call of the other side.
pub struct Incoming {
    /// Name of the operation.
    pub op: Cow<'static, str>,
    /// How the payload is written.
    pub encoding: Encoding,
    /// Encoded request.
    pub payload: Bytes,
    /// Bulk bytes.
    pub body: Bytes,
    pub(super) id: CallId,
    pub(super) peer: Peer,
}

impl Incoming {
    /// The typed request; takes payload and body.
    ///
    /// # Errors
    ///
    /// `invalid`, when it is malformed.
    pub fn decode<O: Op>(&mut self) -> Result<O::Request, Error> {
        let parts = Parts { payload: std::mem::take(&mut self.payload), body: std::mem::take(&mut self.body) };
        typed::decode_request::<O>(self.encoding, parts)
    }

    /// Where items of the answer go.
    pub fn sink<I: Serialize>(&self) -> ItemSink<I> {
        ItemSink::of_call(self.peer.clone(), self.id, self.encoding)
    }

    /// The answer to give when the operation is not known.
    pub fn unsupported(&self) -> Error {
        unsupported(&self.op)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("op", &self.op).field("id", &self.id).finish_non_exhaustive()
    }
}

/// The error for an operation that is not known.
pub fn unsupported(op: &str) -> Error {
    Error::new(ErrorCode::Unsupported, format!("the operation {op} is not supported"))
}

/// Writes a reply in the encoding the caller speaks.
type Write = Box<dyn FnOnce(Encoding) -> Result<Parts, Error> + Send>;

/// The answer to a call; written in the encoding the caller speaks.
pub struct Outgoing(Write);

impl Outgoing {
    /// A typed answer.
    pub fn of<O: Op>(reply: O::Reply) -> Self {
        Self(Box::new(move |encoding| typed::encode_reply::<O>(encoding, reply)))
    }

    /// An answer that is encoded already.
    pub fn raw(parts: Parts) -> Self {
        Self(Box::new(move |_| Ok(parts)))
    }

    /// Its encoded form.
    ///
    /// # Errors
    ///
    /// As [`Encoding::encode`].
    pub fn encode(self, encoding: Encoding) -> Result<Parts, Error> {
        (self.0)(encoding)
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outgoing")
    }
}

/// Something the other side told.
#[derive(Clone)]
pub struct Notification {
    /// What about.
    pub op: Cow<'static, str>,
    /// How the payload is written.
    pub encoding: Encoding,
    /// Encoded record.
    pub payload: Bytes,
}

impl Notification {
    /// The record.
    ///
    /// # Errors
    ///
    /// `invalid`, when it is malformed.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.encoding.decode(&self.payload)
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification").field("op", &self.op).finish_non_exhaustive()
    }
}
