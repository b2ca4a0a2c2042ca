//! Every type of payload, in both encodings: what can be read can be written, and reads back as the same; what cannot is an
//! error that is short and says `invalid`.

use bytes::BytesMut;
use serde_json::Value;
use stele_plugin_api::frame::{Decoded, Decoder, Frame, Kind};
use stele_plugin_api::hello::{Config, Credit, Hello};
use stele_plugin_api::notify::{LOG, LogRecord, METRIC, MetricRecord};
use stele_plugin_api::ops::{
    ArchiveAppend, ArchiveFeed, ArchiveFind, ArchiveGet, ArchiveQuery, ArchiveSearch, ConversationGet,
    ConversationGetMany, ConversationJoined, ConversationList, ConversationMembership, ConversationTakesPart, Describe,
    DirectoryPull, Health, HttpFetch, HttpHandle, JobStart, LeaseHold, LiveRender, MediaChunk, MediaFetch, Op,
    PartitionReached, PersonGet, PersonGetMany, PersonList, StateGet, StatePut, SyncDiscover, SyncPull, SyncRecover,
};
use stele_plugin_api::typed::{self, Parts};
use stele_plugin_api::{Encoding, Error, ErrorCode};

/// Bytes of a message that says why a payload cannot be read: names of ours, and nothing that was sent.
const MAX_MESSAGE: usize = 512;

/// Reads in the one encoding and writes in the other.
type Rewrite = fn(Encoding, Parts, Encoding) -> Result<Parts, Error>;

/// An operation and the types of its payloads.
#[derive(Debug)]
pub struct Operation {
    /// Its name in a frame.
    pub name: &'static str,
    request: Rewrite,
    reply: Rewrite,
}

macro_rules! operations {
    ($($op:ident),+ $(,)?) => {
        /// Every operation of this version.
        pub const OPERATIONS: &[Operation] = &[$(Operation {
            name: <$op as Op>::NAME,
            request: |from, parts, to| typed::encode_request::<$op>(to, typed::decode_request::<$op>(from, parts)?),
            reply: |from, parts, to| typed::encode_reply::<$op>(to, typed::decode_reply::<$op>(from, parts)?),
        }),+];
    };
}

operations!(
    ArchiveAppend,
    ArchiveFeed,
    ArchiveFind,
    ArchiveGet,
    ArchiveQuery,
    ArchiveSearch,
    ConversationGet,
    ConversationGetMany,
    ConversationJoined,
    ConversationList,
    ConversationMembership,
    ConversationTakesPart,
    Describe,
    DirectoryPull,
    Health,
    HttpFetch,
    HttpHandle,
    JobStart,
    LeaseHold,
    LiveRender,
    MediaFetch,
    PartitionReached,
    PersonGet,
    PersonGetMany,
    PersonList,
    StateGet,
    StatePut,
    SyncDiscover,
    SyncPull,
    SyncRecover,
);

/// Payloads that belong to no operation.
macro_rules! rewrite {
    ($type:ty) => {
        |from, parts, to| Ok(Parts { payload: to.encode(&from.decode::<$type>(&parts.payload)?)?, body: parts.body })
    };
}

/// See the module's documentation.
pub fn check(data: &[u8]) {
    let (mut decoder, mut input) = (Decoder::new(u32::MAX), BytesMut::from(data));
    while let Ok(Some(decoded)) = decoder.decode(&mut input) {
        if let Decoded::Frame(frame) = decoded
            && let Some(rewrite) = rewrite_of(&frame)
        {
            check_one(Encoding::of(frame.flags), &frame.into_parts(), rewrite);
        }
    }
}

/// What is in a frame by its kind and its operation. A reply does not say what it answers: here its number does.
fn rewrite_of(frame: &Frame) -> Option<Rewrite> {
    match frame.kind {
        Kind::Hello => Some(hello),
        Kind::Call => Some(OPERATIONS.iter().find(|operation| operation.name == frame.op)?.request),
        Kind::Item => Some(rewrite!(MediaChunk)),
        Kind::Reply => Some(OPERATIONS[(frame.id % OPERATIONS.len() as u64) as usize].reply),
        Kind::Error => Some(rewrite!(Error)),
        Kind::Credit => Some(rewrite!(Credit)),
        Kind::Notify if frame.op == LOG => Some(rewrite!(LogRecord)),
        Kind::Notify if frame.op == METRIC => Some(metric),
        Kind::Notify | Kind::Cancel | Kind::Goodbye | Kind::Unknown(_) => None,
    }
}

/// MessagePack has configurations that JSON has not (keys that are numbers, the largest floating-point numbers): one is compared in
/// the encoding in which it came.
fn hello(from: Encoding, parts: Parts, to: Encoding) -> Result<Parts, Error> {
    let mut hello: Hello = from.decode(&parts.payload)?;
    if from != to {
        hello.config = Config::default();
    }
    Ok(Parts { payload: to.encode(&hello)?, body: parts.body })
}

/// JSON has no infinity and nothing that is no number, and reads the largest ones as the former.
fn metric(from: Encoding, parts: Parts, to: Encoding) -> Result<Parts, Error> {
    let mut record: MetricRecord = from.decode(&parts.payload)?;
    if to == Encoding::Json && (record.value.is_nan() || record.value.abs() > 1e300) {
        record.value = 0.0;
    }
    Ok(Parts { payload: to.encode(&record)?, body: parts.body })
}

fn check_one(from: Encoding, parts: &Parts, rewrite: Rewrite) {
    for to in [Encoding::MessagePack, Encoding::Json] {
        let written = match rewrite(from, parts.clone(), to) {
            Ok(written) => written,
            Err(error) => {
                assert_eq!(error.code, ErrorCode::Invalid, "{from:?} to {to:?}: {error}");
                assert!(error.message.len() <= MAX_MESSAGE, "{error}");
                continue;
            }
        };
        let again = rewrite(to, written.clone(), to).unwrap_or_else(|error| panic!("{from:?} to {to:?}: {error}"));
        assert_eq!(again.body, written.body);
        match to {
            Encoding::MessagePack => assert_eq!(again.payload, written.payload, "from {from:?}"),
            Encoding::Json => {
                let read = |payload: &[u8]| serde_json::from_slice::<Value>(payload).expect("what was written is JSON");
                let (again, written) = (read(&again.payload), read(&written.payload));
                assert!(same(&again, &written), "from {from:?}: {again} and {written}");
            }
        }
    }
}

/// Whether two values say the same. A number with a fraction may differ in its last digit, which serde_json reads fast rather
/// than exactly.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            (one - other).abs() <= one.abs() * 1e-14 + f64::MIN_POSITIVE
        }
        (one, other) => one == other,
    }
}
