//! One corp at work: its secrets, keys, handles and budget of calls.

use crate::config::{self, Config};
use crate::handles::Handles;
use crate::keys::KeyRing;
use crate::lost::Lost;
use crate::rate::CallRate;
use crate::refusal;
use crate::vendor::{Egress, Fault, Vendor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use stele_plugin_api::{Error, ErrorCode};

/// Files fetched at once for a corp; more only queue up behind the same line.
const MEDIA_AT_ONCE: usize = 4;
/// Calls for messages at once: the next one depends on the last one's reply.
const CHAT_AT_ONCE: usize = 1;
/// Replies in a row that could not be parsed until the access token is suspected.
pub const SUSPECT_TOKEN_AFTER: u32 = 3;

/// What the corp's operations share.
pub struct Corp {
    /// Its part of the configuration.
    pub config: config::Corp,
    /// Its private keys.
    pub keys: KeyRing,
    /// Its budget of calls, messages and media together.
    pub calls: CallRate,
    /// Calls of the instance that were given up.
    pub lost: Arc<Lost>,
    /// The library, or why there is none.
    vendor: Result<Loaded, Fault>,
    /// Unparsable replies in a row.
    unparsable: AtomicU32,
}

struct Loaded {
    vendor: Arc<dyn Vendor>,
    identity: String,
    chat: Handles,
    media: Handles,
}

/// The vendor's library as far as it could be brought: itself and what tells it from another file, or what is wrong.
pub type Provided = Result<(Arc<dyn Vendor>, String), Fault>;

impl Corp {
    /// A corp of this configuration.
    pub fn new(corp: config::Corp, config: &Config, vendor: &Provided, lost: &Arc<Lost>) -> Self {
        let egress = Egress {
            proxy: config.proxy.clone(),
            password: config.proxy_password.clone(),
            timeout_seconds: config.timeout_seconds,
        };
        let handles = |vendor: &Arc<dyn Vendor>, at_once| {
            let (secret, lost) = (corp.archive_secret.clone(), Arc::clone(lost));
            Handles::new(Arc::clone(vendor), &corp.id, secret, egress.clone(), at_once, lost)
        };
        let vendor = match vendor {
            Ok((vendor, identity)) => Ok(Loaded {
                vendor: Arc::clone(vendor),
                identity: identity.clone(),
                chat: handles(vendor, CHAT_AT_ONCE),
                media: handles(vendor, MEDIA_AT_ONCE),
            }),
            Err(fault) => Err(fault.clone()),
        };
        Self {
            keys: KeyRing::load(&corp.private_keys),
            calls: CallRate::new(config.calls_per_minute),
            config: corp,
            lost: Arc::clone(lost),
            vendor,
            unparsable: AtomicU32::new(0),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// The library.
    pub fn vendor(&self) -> Result<&Arc<dyn Vendor>, Error> {
        self.loaded().map(|loaded| &loaded.vendor)
    }

    /// What tells the library's file from another one.
    pub fn library(&self) -> Result<&str, Error> {
        self.loaded().map(|loaded| loaded.identity.as_str())
    }

    /// Handles for messages.
    pub fn chat(&self) -> Result<&Handles, Error> {
        self.with_secret().map(|loaded| &loaded.chat)
    }

    /// Handles for files: their own, so that a slow file never holds up a message.
    pub fn media(&self) -> Result<&Handles, Error> {
        self.with_secret().map(|loaded| &loaded.media)
    }

    /// Takes note of how a call ended. Says whether its handles should be renewed: the library hides a stale token behind
    /// "cannot be parsed" (reference/wecom-archive.md §1.6), so the third of these in a row is taken for one.
    pub fn suspects_token<T>(&self, result: &Result<T, Fault>) -> bool {
        match result {
            Err(fault) if fault.code() == Some(crate::vendor::Code::REPLY) => {
                self.unparsable.fetch_add(1, Ordering::Relaxed) + 1 >= SUSPECT_TOKEN_AFTER
                    && self.unparsable.swap(0, Ordering::Relaxed) > 0
            }
            Ok(_) => {
                self.unparsable.store(0, Ordering::Relaxed);
                false
            }
            Err(_) => false,
        }
    }

    /// What keeps this corp from being archived; one sentence each.
    pub fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        if self.config.archive_secret.is_empty() {
            findings.push(format!("corp {}: archive_secret is not set, so no messages can be fetched", self.id()));
        }
        findings.extend(self.keys.faults().iter().map(|fault| format!("corp {}: {fault}", self.id())));
        if self.keys.is_empty() {
            findings.push(format!(
                "corp {}: there is no usable private key; messages are kept sealed until one is configured",
                self.id()
            ));
        }
        findings
    }

    fn loaded(&self) -> Result<&Loaded, Error> {
        self.vendor.as_ref().map_err(refusal::of_fault)
    }

    fn with_secret(&self) -> Result<&Loaded, Error> {
        if self.config.archive_secret.is_empty() {
            let message = format!("corp {} has no archive_secret (管理后台 → 会话内容存档 → Secret)", self.id());
            return Err(Error::new(ErrorCode::Denied, message));
        }
        self.loaded()
    }
}
