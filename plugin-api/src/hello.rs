//! The first frame of each side: who it is, and what it bears.
//!
//! The host speaks first. Its hello is JSON, whatever the plugin speaks, because it does not know yet; it carries the
//! instance's configuration, with secrets. The plugin opens the instance and answers with its own hello, or with an error of
//! call 0 that says why it cannot. The encoding of the plugin's hello is the encoding of everything the host sends later.
//!
//! Limits are what the sender bears as a **receiver**; the other side keeps to them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who one side is, and what it bears.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// Minor of the operations it knows ([`crate::abi::ABI_MINOR`]).
    pub abi_minor: u32,
    /// Name of the program or plugin.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it bears.
    pub limits: Limits,
    /// Host → plugin: name of the instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// Host → plugin: the instance's configuration, with secrets.
    #[serde(skip_serializing_if = "Config::is_null")]
    pub config: Config,
    /// Host → plugin: JSON pointers of text in the configuration that came from where everything is text, such as a variable;
    /// it may stand for a number or a truth value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Host → plugin: the instance has a process of its own, which it may reshape and take down without hurting anybody.
    #[serde(skip_serializing_if = "is_false")]
    pub isolated: bool,
    /// Host → plugin: number of the daemon, less than 1024, which no other daemon of the same archive has: for ids that are made at
    /// several places at once. `None` when the daemon does not say (before minor 4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u16>,
    /// Plugin → host: worker threads of its runtime; 0 when it does not say.
    #[serde(skip_serializing_if = "is_zero")]
    pub threads: u32,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            abi_minor: crate::abi::ABI_MINOR,
            name: String::new(),
            version: String::new(),
            limits: Limits::default(),
            instance: String::new(),
            config: Config::default(),
            texts: Vec::new(),
            isolated: false,
            node: None,
            threads: 0,
        }
    }
}

/// What one side bears as a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of payload and body of one frame.
    pub max_frame: u32,
    /// Calls it works on at once.
    pub max_calls: u32,
    /// Items of one stream it takes before it must grant more.
    pub credit: u32,
}

impl Limits {
    /// The least a side may offer; smaller numbers of a peer are raised to these.
    pub const LEAST: Self = Self { max_frame: 64 * 1024, max_calls: 1, credit: 1 };

    /// The most this version uses, whatever a peer offers.
    pub const MOST: Self = Self { max_frame: 1024 * 1024 * 1024, max_calls: 65_536, credit: 4_096 };

    /// These limits, within [`Limits::LEAST`] and [`Limits::MOST`].
    #[must_use]
    pub fn sane(self) -> Self {
        Self {
            max_frame: self.max_frame.clamp(Self::LEAST.max_frame, Self::MOST.max_frame),
            max_calls: self.max_calls.clamp(Self::LEAST.max_calls, Self::MOST.max_calls),
            credit: self.credit.clamp(Self::LEAST.credit, Self::MOST.credit),
        }
    }
}

impl Default for Limits {
    /// 64 MiB, 256 calls, 8 items.
    fn default() -> Self {
        Self { max_frame: 64 * 1024 * 1024, max_calls: 256, credit: 8 }
    }
}

/// An instance's configuration. Holds secrets: `Debug` shows nothing of it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Config(pub serde_json::Value);

impl Config {
    fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Config(hidden)")
    }
}

/// Payload of a credit frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Credit {
    /// Items more that the caller takes.
    pub items: u32,
}

// The signature is what `skip_serializing_if` asks for.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

// As above.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !*flag
}
