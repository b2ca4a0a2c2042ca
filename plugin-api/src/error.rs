//! The one error of the boundary.

use crate::model::Micros;
use serde::{Deserialize, Serialize};
use std::fmt;

open_enum! {
    /// What kind of error it is, and so what the other side should do.
    ErrorCode {
        /// The operation is unknown to the callee.
        Unsupported = "unsupported",
        /// The request breaks a rule; sending it again cannot help.
        Invalid = "invalid",
        /// The thing asked for does not exist, or no longer.
        NotFound = "not_found",
        /// A credential or right is missing; a person must act. Probe slowly.
        Denied = "denied",
        /// Too much was asked; see `retry_after_ms`.
        RateLimited = "rate_limited",
        /// Does not work now; trying again can help.
        Unavailable = "unavailable",
        /// It was not done in time.
        Deadline = "deadline",
        /// The caller did not want it any more.
        Cancelled = "cancelled",
        /// A bound of the boundary was exceeded: frame size, calls in flight.
        TooLarge = "too_large",
        /// A fault of the callee: a panic, a broken invariant.
        Internal = "internal",
    }
}

/// An error as it crosses the boundary. Never carries a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// What kind.
    pub code: ErrorCode,
    /// One sentence for operators, lower case, no final stop.
    #[serde(default)]
    pub message: String,
    /// Milliseconds to wait before trying again, when the callee knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// When it happened, when that is not now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Micros>,
    /// What is wrong with an instance's configuration, each with its setting, when that is why it does not open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
}

/// What is wrong with one setting of an instance's configuration. Carries no value: it may be a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mistake {
    /// The setting, such as `corp[0].id`; empty when it is about the whole.
    #[serde(default)]
    pub key: String,
    /// What is wrong with it, in a few words.
    pub message: String,
}

impl Mistake {
    /// This is wrong with this setting.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.key, self.message) }
    }
}

/// Result of a call across the boundary.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, at: None, mistakes: Vec::new() }
    }

    /// The request breaks a rule.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// An instance's configuration cannot be used, for these reasons.
    pub fn misconfigured(mistakes: Vec<Mistake>) -> Self {
        Self { mistakes, ..Self::invalid("unusable configuration") }
    }

    /// It does not work now; trying again can help.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// A fault of the callee.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// With a time to wait before trying again.
    #[must_use]
    pub fn retry_after(mut self, after: std::time::Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Whether trying the same again later can help without a person's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self.code, ErrorCode::Unavailable | ErrorCode::Deadline | ErrorCode::RateLimited | ErrorCode::Internal)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        for (index, mistake) in self.mistakes.iter().enumerate() {
            write!(f, "{} {mistake}", if index == 0 { ':' } else { ';' })?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
