//! From typed operations to payload and body, and back.

use crate::codec::Encoding;
use crate::error::Error;
use crate::ops::Op;
use bytes::Bytes;
use std::fmt;

/// The encoded form of a request, reply or item.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// The payload.
    pub payload: Bytes,
    /// The bulk bytes beside it.
    pub body: Bytes,
}

/// Shows sizes only: tokens and other people's messages pass through here.
impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parts({} + {} bytes)", self.payload.len(), self.body.len())
    }
}

/// Writes a request.
///
/// # Errors
///
/// As [`Encoding::encode`].
pub fn encode_request<O: Op>(encoding: Encoding, mut request: O::Request) -> Result<Parts, Error> {
    let body = O::request_body(&mut request).map(std::mem::take).unwrap_or_default();
    Ok(Parts { payload: encoding.encode(&request)?, body })
}

/// Reads a request.
///
/// # Errors
///
/// As [`Encoding::decode`].
pub fn decode_request<O: Op>(encoding: Encoding, parts: Parts) -> Result<O::Request, Error> {
    let mut request = encoding.decode::<O::Request>(&parts.payload)?;
    if let Some(body) = O::request_body(&mut request) {
        *body = parts.body;
    }
    Ok(request)
}

/// Writes a reply.
///
/// # Errors
///
/// As [`Encoding::encode`].
pub fn encode_reply<O: Op>(encoding: Encoding, mut reply: O::Reply) -> Result<Parts, Error> {
    let body = O::reply_body(&mut reply).map(std::mem::take).unwrap_or_default();
    Ok(Parts { payload: encoding.encode(&reply)?, body })
}

/// Reads a reply.
///
/// # Errors
///
/// As [`Encoding::decode`].
pub fn decode_reply<O: Op>(encoding: Encoding, parts: Parts) -> Result<O::Reply, Error> {
    let mut reply = encoding.decode::<O::Reply>(&parts.payload)?;
    if let Some(body) = O::reply_body(&mut reply) {
        *body = parts.body;
    }
    Ok(reply)
}
