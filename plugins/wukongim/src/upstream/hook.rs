//! The upstream's webhooks (reference/wukongim.md §9).
//!
//! They name channels, and those are read: what a webhook says of a message may differ from what is stored, and be lost on the
//! way. They are answered at once, whatever comes of it, since the upstream repeats and then drops what it thinks was not taken.
//! They carry no signature, so a secret is part of their path.

use super::Upstream;
use super::native::Native;
use super::pull::AT_ONCE;
use crate::api::HOOK;
use crate::api::reply::{self, ApiError};
use crate::channel::SYSTEM;
use crate::element::{Field, number, text};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use stele_plugin_api::model::{Page, Person, PersonKind};
use stele_plugin_api::ops::{ArchiveAppend, HttpReply, HttpRequest};
use subtle::ConstantTimeEq;
use tokio::sync::Notify;

/// Most channels that wait to be read; more are left to the sync.
const MAX_CHANNELS: usize = 10_000;
/// Most people whose state waits to be noted; more are dropped.
const MAX_PEOPLE: usize = 10_000;
/// Time after which the task looks whether there still is an upstream.
const LOOK: Duration = Duration::from_secs(5);
/// People noted together.
const PEOPLE: usize = 1000;

/// What webhooks told and nobody looked at yet.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    channels: VecDeque<Native>,
    known: HashSet<Native>,
    /// Whether somebody is there.
    people: BTreeMap<String, bool>,
}

/// What is looked at next.
enum Next {
    Channel(Native),
    People(BTreeMap<String, bool>),
}

/// What is looked at of a message in a webhook. What is odd in it does not hide which channel it is about.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told<'a> {
    #[serde(borrow)]
    header: Field<'a>,
    #[serde(borrow)]
    from_uid: Field<'a>,
    #[serde(borrow)]
    channel_id: Field<'a>,
    #[serde(borrow)]
    channel_type: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Header<'a> {
    #[serde(borrow)]
    no_persist: Field<'a>,
    #[serde(borrow)]
    sync_once: Field<'a>,
}

/// A list, or one thing alone.
fn list<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Option<Vec<T>> {
    if body.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(body).ok();
    }
    Some(vec![serde_json::from_slice(body).ok()?])
}

impl Upstream {
    /// Takes a webhook. One without the secret learns nothing.
    pub fn hook(&self, request: &HttpRequest) -> HttpReply {
        let nothing = || ApiError::not_found("there is nothing at this path").reply();
        let Some(secret) = &self.config.hook_secret else { return nothing() };
        let rest = request.path.strip_prefix(HOOK).unwrap_or_default();
        let given = percent_decode_str(rest.split('/').next().unwrap_or_default()).collect::<Vec<u8>>();
        // Of equal length and compared whole, so that the time it takes tells nothing.
        let (given, wanted) = (Sha256::digest(&given), Sha256::digest(secret.expose()));
        if !bool::from(given.as_slice().ct_eq(wanted.as_slice())) {
            return nothing();
        }
        if request.method != "POST" {
            return reply::wrong_method("POST");
        }
        let pairs = request.query.as_deref().unwrap_or_default().split('&');
        let event = pairs.filter_map(|pair| pair.strip_prefix("event=")).next_back().unwrap_or_default();
        let taken = match event {
            "msg.notify" | "msg.offline" => self.take_messages(&request.body),
            "user.onlinestatus" => self.take_people(&request.body),
            // Whatever else it is about, nobody wants it again.
            _ => Some(()),
        };
        match taken {
            Some(()) => reply::done(),
            None => ApiError::bad("the body is not what this event has").reply(),
        }
    }

    fn take_messages(&self, body: &[u8]) -> Option<()> {
        // One that is odd shall not hide the others.
        let list: Vec<&RawValue> = list(body)?;
        for told in list.iter().filter_map(|one| serde_json::from_str::<Told<'_>>(one.get()).ok()) {
            let header = told.header.and_then(|header| serde_json::from_str::<Header<'_>>(header.get()).ok());
            let header = header.unwrap_or_default();
            if number(header.no_persist) != 0 {
                continue;
            }
            let (from, id) = (text(told.from_uid), text(told.channel_id));
            let from = if from.is_empty() { SYSTEM } else { &from };
            let is_command = number(header.sync_once) == 1;
            let channel_type = u8::try_from(number(told.channel_type)).unwrap_or_default();
            let native = Native::of_hook(channel_type, from, &id, is_command);
            if let Some(native) = native.filter(|native| self.config.commands || !native.is_command()) {
                self.inbox.waiting().add(native);
                self.inbox.wake.notify_one();
            }
        }
        Some(())
    }

    /// `uid-device-online-connection-connections of the device-connections`; a uid may hold a `-` itself.
    fn take_people(&self, body: &[u8]) -> Option<()> {
        let list: Vec<&RawValue> = list(body)?;
        for told in list.iter().filter_map(|one| serde_json::from_str::<String>(one.get()).ok()) {
            let parts: Vec<&str> = told.rsplitn(6, '-').collect();
            if let [all, _, _, _, _, uid] = parts[..]
                && !uid.is_empty()
                && let Ok(connections) = all.parse::<u64>()
            {
                let mut waiting = self.inbox.waiting();
                if waiting.people.len() < MAX_PEOPLE || waiting.people.contains_key(uid) {
                    waiting.people.insert(uid.to_owned(), connections > 0);
                }
            }
        }
        self.inbox.wake.notify_one();
        Some(())
    }

    async fn take_in(&self) {
        loop {
            // Not held while it is looked at.
            let next = self.inbox.waiting().next();
            match next {
                None => return,
                Some(Next::Channel(native)) => {
                    if let Err(error) = self.refresh(&native, |_| ()).await {
                        self.warn("a channel that a webhook named was not read; the sync does it", &error.into());
                    }
                }
                Some(Next::People(people)) => {
                    let people = people.into_iter().map(|(uid, online)| Person {
                        kind: Some(if uid == SYSTEM { PersonKind::Bot } else { PersonKind::User }),
                        native_id: uid,
                        attributes: Some(format!("{{\"online\":{online}}}")),
                        ..Person::default()
                    });
                    let page = Page { people: people.collect(), ..Page::default() };
                    if let Err(error) = self.host.call_within::<ArchiveAppend>(page, crate::CALL).await {
                        self.warn("who is online was not noted", &error);
                    }
                }
            }
        }
    }
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn add(&mut self, native: Native) {
        if self.channels.len() < MAX_CHANNELS && self.known.insert(native.clone()) {
            self.channels.push_back(native);
        }
    }

    /// What is next. A channel that is named while it is being read is read again.
    fn next(&mut self) -> Option<Next> {
        if let Some(native) = self.channels.pop_front() {
            self.known.remove(&native);
            return Some(Next::Channel(native));
        }
        let rest = self.people.keys().nth(PEOPLE).cloned().map(|first| self.people.split_off(&first));
        let people = std::mem::replace(&mut self.people, rest.unwrap_or_default());
        (!people.is_empty()).then_some(Next::People(people))
    }
}

/// Reads what webhooks name, for as long as the upstream is there; one that hangs keeps no other from being read.
pub(super) fn start(upstream: &Arc<Upstream>) {
    (0..AT_ONCE).for_each(|_| drop(tokio::spawn(run(Arc::downgrade(upstream)))));
}

async fn run(upstream: Weak<Upstream>) {
    loop {
        let Some(held) = upstream.upgrade() else { return };
        held.take_in().await;
        let woken = held.inbox.wake.notified();
        // It must not keep itself alive for ever.
        let _ = tokio::time::timeout(LOOK, woken).await;
    }
}
