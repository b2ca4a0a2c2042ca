//! Return codes of the library (reference/wecom-archive.md §1.3).

use std::fmt;

/// A non-zero return code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub i32);

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// A fault of ours, or of the request: asking again cannot help.
    Bug,
    /// Try again, with back-off.
    Retry,
    /// Try again; from the third time in a row with a new handle, because the token may be stale.
    Recreate,
    /// A person must act.
    Alert,
    /// The file is gone for good.
    Gone,
    /// The private key is the wrong one, or the message is damaged: keep the envelope.
    Park,
}

impl Code {
    /// Bad parameter.
    pub const PARAMETER: Self = Self(10000);
    /// Network, or no access token.
    pub const NETWORK: Self = Self(10001);
    /// The reply cannot be parsed; on media calls any other error of WeCom, a stale token among them.
    pub const REPLY: Self = Self(10002);
    /// A system call failed; on media calls: the reply is no media.
    pub const SYSTEM: Self = Self(10003);
    /// Key error during encryption.
    pub const ENCRYPTION_KEY: Self = Self(10004);
    /// Bad file id.
    pub const FILE_ID: Self = Self(10005);
    /// The file cannot be decrypted.
    pub const FILE_DECRYPTION: Self = Self(10006);
    /// No private key of the message's version.
    pub const NO_KEY: Self = Self(10007);
    /// The key given for a message is not its key.
    pub const WRONG_KEY: Self = Self(10008);
    /// The caller's address is not allowed.
    pub const ADDRESS: Self = Self(10009);
    /// Older than WeCom keeps.
    pub const EXPIRED: Self = Self(10010);
    /// The TLS certificate is refused.
    pub const CERTIFICATE: Self = Self(10011);

    /// What to do about it.
    pub fn treatment(self) -> Treatment {
        match self {
            Self::PARAMETER => Treatment::Bug,
            Self::REPLY => Treatment::Recreate,
            Self::FILE_ID | Self::EXPIRED => Treatment::Gone,
            Self::ENCRYPTION_KEY | Self::NO_KEY | Self::ADDRESS | Self::CERTIFICATE => Treatment::Alert,
            Self::WRONG_KEY => Treatment::Park,
            // Network, system call, file decryption, and codes nobody has documented yet.
            _ => Treatment::Retry,
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::PARAMETER => "a parameter was refused",
            Self::NETWORK => {
                "no connection, or no access token: check network, proxy, corp id, archive secret and IP allowlist \
                 (the library does not say which)"
            }
            Self::REPLY => "the reply could not be parsed, or WeCom refused the call",
            Self::SYSTEM => "a system call failed, or the reply was no media",
            Self::ENCRYPTION_KEY => "key error during encryption",
            Self::FILE_ID => "the file id is not valid",
            Self::FILE_DECRYPTION => "the file could not be decrypted",
            Self::NO_KEY => "no private key of this version",
            Self::WRONG_KEY => "the key does not fit the message",
            Self::ADDRESS => "this machine's address is not in the IP allowlist of the message archive",
            Self::EXPIRED => "WeCom no longer keeps it (5 days)",
            Self::CERTIFICATE => "the TLS certificate was refused",
            _ => "unknown to this version",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vendor code {}: {}", self.0, self.meaning())
    }
}
