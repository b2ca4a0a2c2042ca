//! What callers are told when something is not done (reference/gateway.md §2).

use crate::upstream::Refusal;
use stele_plugin_api::Error;

/// Why a request is not answered as it was meant. HTTP status 200 in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// The body is not JSON, or something in it has the wrong type.
    InvalidParameter,
    /// It cannot be done: the conversation is unknown, or the archive does not answer.
    Failed,
    /// A range holds more than one answer may.
    TooMuch,
    /// A session is a member of more conversations than an answer holds.
    TooManyJoined,
    /// Not theirs: a conversation they are no member of, or an inner route from elsewhere.
    NotAllowed,
    /// No token, or one that does not hold.
    InvalidToken,
    /// A way of delivery that does not exist.
    UnsupportedDriver,
    /// A type of conversation that does not exist.
    TypeOutOfRange,
    /// A conversation without anybody in it.
    NoMember,
    /// The upstream refuses with this code.
    Upstream(u32),
}

impl ApiError {
    /// Code and text. The original's clients never see the codes of the last two, but that of a failure, unless `specific`.
    pub fn told(self, specific: bool) -> (u32, &'static str) {
        match self {
            Self::InvalidParameter => (10001, "invalid parameter"),
            Self::TypeOutOfRange if specific => (90010, "conversation id ranges from 0 to 15"),
            Self::NoMember if specific => (90011, "conversation contains at least one user"),
            Self::Failed | Self::TypeOutOfRange | Self::NoMember => (10002, "internal service call failed"),
            Self::TooMuch => {
                (10002, "internal service call failed: too many messages for one answer, narrow the range")
            }
            Self::TooManyJoined => (10002, "internal service call failed: too many conversations for one answer"),
            Self::Upstream(10002) => Self::Failed.told(specific),
            Self::Upstream(90010) => Self::TypeOutOfRange.told(true),
            Self::Upstream(90011) => Self::NoMember.told(true),
            Self::Upstream(code) => (code, "refused by the upstream"),
            Self::NotAllowed => (10003, "not allowed request"),
            Self::InvalidToken => (10101, "invalid token"),
            Self::UnsupportedDriver => (90013, "unsupported driver"),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid => Self::InvalidParameter,
            Refusal::NotAllowed => Self::NotAllowed,
            Refusal::Failed => Self::Failed,
            Refusal::Other(code) => Self::Upstream(code),
        }
    }
}

impl From<Error> for ApiError {
    /// Whatever the daemon says, callers learn no more.
    fn from(_: Error) -> Self {
        Self::Failed
    }
}
