//! The vendor's closed library (WeWorkFinanceSdk), and the trait everything else sees of it.
//!
//! All `unsafe` of the plugin is in this folder. Above it there are two traits: [`Vendor`], of which there is one per
//! instance, and [`Handle`], which owns one connection state (with the access token in it) and belongs to whoever holds
//! it: it can be sent to another thread, never shared. Calls block; see [`crate::handles`] for who makes them where.
//!
//! The library is hostile to the process that loads it: it aborts on input it does not like, it writes replies with access
//! tokens to the standard output, and it brings its own OpenSSL (reference/wecom-archive.md §1). So [`Library::load`] is
//! only called in a process of its own (the child carrier), after [`silence_stdout`].

mod code;
mod ffi;
mod library;
mod stdout;

pub use code::{Code, Treatment};
pub use library::Library;
pub use stdout::silence_stdout;

use stele_plugin_api::Secret;

/// Least characters an `encrypt_chat_msg` has; with fewer the library ends the process (reference/wecom-archive.md §1.7).
pub const MIN_ENCRYPTED: usize = 13;

/// What does not belong to one connection.
pub trait Vendor: Send + Sync + 'static {
    /// A new handle for a corp. Makes no request yet.
    fn open(&self, corp: &str, secret: &Secret) -> Result<Box<dyn Handle>, Fault>;

    /// Decrypts a message with its random key: a pure function, any number at once. The plaintext is UTF-8 JSON, nearly.
    fn decrypt(&self, random_key: &[u8], message: &str) -> Result<Vec<u8>, Fault>;
}

/// One connection state, with its cached access token. Only a new handle gets a new token.
pub trait Handle: Send {
    /// The reply body for messages after this seq: it may still carry an error code, or be no JSON at all.
    fn chat_data(&mut self, after: u64, limit: u32, egress: &Egress) -> Result<Vec<u8>, Fault>;

    /// A chunk of a file; an empty index means the first.
    fn media_chunk(&mut self, index: &str, sdkfileid: &str, egress: &Egress) -> Result<Chunk, Fault>;
}

/// How requests leave the machine.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// The proxy as configured, handed over verbatim; may be empty.
    pub proxy: String,
    /// `user:password` for it; may be empty.
    pub password: Secret,
    /// Seconds one request may take; 0 is taken as 1, because the library would wait forever.
    pub timeout_seconds: u32,
}

/// A piece of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Index of the next one.
    pub next: String,
    /// It was the last.
    pub last: bool,
}

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The library returned this code.
    #[error("{0}")]
    Returned(Code),
    /// The call was not made, because the library would misbehave.
    #[error("{0}")]
    Refused(&'static str),
    /// The call has not returned in its time. Its thread and its handle are lost until it does.
    #[error("the vendor library has not returned for {0} s")]
    Stuck(u64),
    /// The call was not made, because too many others have not returned.
    #[error(
        "the vendor library has not returned from earlier calls; no more are made until it has, or is started again"
    )]
    NoMore,
    /// The library cannot be used at all.
    #[error("the vendor library cannot be used: {0}")]
    Unusable(String),
}

impl Fault {
    /// The code, if the library returned one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Returned(code) => Some(*code),
            Self::Refused(_) | Self::Stuck(_) | Self::NoMore | Self::Unusable(_) => None,
        }
    }
}
