//! The upstream's webhooks (reference/openim.md §7.3).
//!
//! They name conversations, and those are read: what a webhook says of a message has no number, may be lost and come twice. They are
//! answered at once, whatever comes of it, and in the upstream's own shape: what is asked before something is done is agreed to. They
//! carry no signature, so a secret is part of their path. They come before their message can be read, so it is looked for again
//! until it is there, with growing pauses and not for ever: the sync finds it as well. Meanwhile nothing waits for it.

use super::Upstream;
use super::pull::AT_ONCE;
use super::readers;
use crate::answer;
use crate::ids;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use stele_plugin_api::model::Message;
use stele_plugin_api::ops::{ArchiveFind, FindQuery, HttpReply, HttpRequest, MAX_ROWS};
use subtle::ConstantTimeEq;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What stands before the secret in a path.
pub const HOOK: &str = "/hook/";
/// Most conversations that wait to be read; more are left to the sync.
const MAX_CONVERSATIONS: usize = 10_000;
/// Most messages that are looked for in a conversation at once.
const MAX_WANTED: usize = 100;
/// Time after which the task looks whether there still is an upstream.
const LOOK: Duration = Duration::from_secs(5);
/// How long a message is looked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause before it is looked for again; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Types of messages that are never stored: typing, and custom ones for who is online (reference/openim.md §4.2).
const NEVER_STORED: [i32; 2] = [113, 120];

/// What webhooks named, and what of it is not there yet.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

/// Conversations that are to be read, each in one of two queues.
#[derive(Default)]
struct Waiting {
    /// Named since they were read.
    order: VecDeque<String>,
    /// Read, and to be read again then: what they were named for was not there. Whatever is named comes first, since many of
    /// these never are: an OpenIM tells messages that it does not store as well, and does not say so.
    later: BTreeSet<(Instant, String)>,
    named: HashMap<String, Named>,
}

/// What is to be looked for in a conversation.
struct Named {
    /// Who may see it.
    readers: BTreeSet<String>,
    /// Messages that should be there, by their senders' own ids, and until when they are looked for.
    wanted: HashMap<String, Instant>,
    /// Numbers of messages that were taken back.
    revoked: BTreeSet<i64>,
    /// Until when it is read again if it cannot be.
    until: Instant,
    /// Pause before it is read again.
    pause: Duration,
    /// When it is read again; `None` while it is in the other queue.
    due: Option<Instant>,
}

/// What is looked at of a webhook.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told {
    #[serde(rename = "sendID")]
    send_id: String,
    #[serde(rename = "recvID")]
    recv_id: String,
    #[serde(rename = "groupID")]
    group_id: String,
    #[serde(rename = "clientMsgID")]
    client_msg_id: String,
    session_type: i32,
    content_type: i32,
    #[serde(rename = "conversationID")]
    conversation: String,
    seq: i64,
    #[serde(rename = "userID")]
    user_id: String,
}

impl Upstream {
    /// Takes a webhook. One without the secret learns nothing.
    pub fn hook(&self, request: &HttpRequest) -> HttpReply {
        let Some(secret) = &self.config.hook_secret else { return answer::nothing() };
        let rest = request.path.strip_prefix(HOOK).unwrap_or_default();
        let mut segments = rest.split('/');
        let given = percent_decode_str(segments.next().unwrap_or_default()).collect::<Vec<u8>>();
        // Of equal length and compared whole, so that the time it takes tells nothing.
        let (given, wanted) = (Sha256::digest(&given), Sha256::digest(secret.expose()));
        if !bool::from(given.as_slice().ct_eq(wanted.as_slice())) || request.method != "POST" {
            return answer::nothing();
        }
        // What cannot be read is answered all the same: before-hooks must not keep anybody from sending.
        if let Ok(told) = serde_json::from_slice::<Told>(&request.body) {
            match segments.next_back().unwrap_or_default() {
                "callbackAfterSendSingleMsgCommand"
                | "callbackAfterSendGroupMsgCommand"
                | "callbackAfterMsgSaveDBCommand" => self.name(told),
                "callbackBeforeAfterMsgCommand" => self.name_revoked(told),
                // Whatever else it is about, the sync finds it.
                _ => {}
            }
        }
        answer::agreed()
    }

    /// A message was sent.
    fn name(&self, told: Told) {
        let Told { send_id, recv_id, group_id, client_msg_id, session_type, content_type, .. } = told;
        if NEVER_STORED.contains(&content_type) {
            return;
        }
        if let Some(conversation) = ids::conversation(session_type, &send_id, &recv_id, &group_id) {
            self.expect(conversation, [send_id, recv_id], client_msg_id);
        }
    }

    /// Has a conversation read until this message is in it. `readers`: who may see it.
    pub(super) fn expect(&self, conversation: String, readers: [String; 2], client_msg_id: String) {
        self.inbox.waiting().add(conversation, |named| {
            named.may_be_read_as(readers);
            if named.wanted.len() < MAX_WANTED && !client_msg_id.is_empty() {
                named.wanted.insert(client_msg_id, named.until);
            }
        });
        self.inbox.wake.notify_one();
    }

    /// A message was taken back.
    fn name_revoked(&self, told: Told) {
        if told.conversation.is_empty() || told.seq <= 0 {
            return;
        }
        self.expect_revoked(told.conversation, told.seq, told.user_id);
    }

    /// Has a message that was taken back marked.
    pub(super) fn expect_revoked(&self, conversation: String, seq: i64, reader: String) {
        self.inbox.waiting().add(conversation, |named| {
            named.may_be_read_as([reader]);
            if named.revoked.len() < MAX_WANTED {
                named.revoked.insert(seq);
            }
        });
        self.inbox.wake.notify_one();
    }

    /// Reads what is to be read now. Returns when something is to be read again.
    async fn take_in(&self) -> Instant {
        loop {
            // Not held while it is looked at.
            let next = self.inbox.waiting().next(Instant::now());
            let Some((conversation, named)) = next else { break };
            if !self.inbox.waiting().order.is_empty() {
                self.inbox.wake.notify_one();
            }
            if let Some(left) = self.look_for(&conversation, named).await {
                self.inbox.waiting().put_back(conversation, left);
                self.inbox.wake.notify_one();
            }
        }
        let look = Instant::now() + LOOK;
        self.inbox.waiting().later.first().map_or(look, |(due, _)| look.min(*due))
    }

    /// Reads a conversation. Returns what is not there, unless it was looked for long enough.
    async fn look_for(&self, conversation: &str, mut named: Named) -> Option<Named> {
        let readers: Vec<_> = named.readers.iter().cloned().collect();
        for seq in std::mem::take(&mut named.revoked) {
            if let Err(error) = self.mark(conversation, seq, &readers).await {
                self.warn("a message that a webhook named was not marked; the sync does it", &error.into());
            }
        }
        let see = |message: &Message| message.client_id.iter().for_each(|id| _ = named.wanted.remove(id));
        let read = self.refresh(conversation, &readers, see).await;
        if !named.wanted.is_empty() {
            self.forget_archived(conversation, &mut named.wanted).await;
        }
        let now = Instant::now();
        named.wanted.retain(|_, until| *until > now);
        match read {
            Ok(()) => (!named.wanted.is_empty()).then_some(named),
            Err(_) if named.until > now => Some(named),
            Err(error) => {
                self.warn("a conversation that a webhook named was not read; the sync does it", &error.into());
                None
            }
        }
    }

    /// Whoever else read the conversation may have archived what is looked for.
    async fn forget_archived(&self, conversation: &str, wanted: &mut HashMap<String, Instant>) {
        let query = FindQuery {
            conversation: Some(conversation.to_owned()),
            client_ids: wanted.keys().cloned().collect(),
            limit: MAX_ROWS,
            ..FindQuery::default()
        };
        if let Ok(found) = self.host.call_within::<ArchiveFind>(query, crate::CALL).await {
            found.rows.iter().filter_map(|row| row.client_id.as_ref()).for_each(|id| _ = wanted.remove(id));
        }
    }
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn add(&mut self, conversation: String, say: impl FnOnce(&mut Named)) {
        let now = Instant::now();
        if let Some(named) = self.named.get_mut(&conversation) {
            (named.until, named.pause) = (now + PATIENCE, FIRST_PAUSE);
            say(named);
            if let Some(due) = named.due.take() {
                self.later.remove(&(due, conversation.clone()));
                self.order.push_back(conversation);
            }
        } else if self.named.len() < MAX_CONVERSATIONS {
            let mut named = Named::until(now + PATIENCE);
            say(&mut named);
            self.order.push_back(conversation.clone());
            self.named.insert(conversation, named);
        }
    }

    /// What is next. A conversation that is named while it is being read is read again.
    fn next(&mut self, now: Instant) -> Option<(String, Named)> {
        let is_due = self.later.first().is_some_and(|(due, _)| *due <= now);
        let conversation = match self.order.pop_front() {
            None if is_due => self.later.pop_first()?.1,
            named => named?,
        };
        let mut named = self.named.remove(&conversation)?;
        named.due = None;
        Some((conversation, named))
    }

    /// What of a conversation that was read is not there yet.
    fn put_back(&mut self, conversation: String, mut left: Named) {
        if let Some(named) = self.named.get_mut(&conversation) {
            let room = MAX_WANTED.saturating_sub(named.wanted.len());
            named.wanted.extend(left.wanted.into_iter().take(room));
        } else if self.named.len() < MAX_CONVERSATIONS {
            let due = Instant::now() + left.pause;
            left.pause = (left.pause * 2).min(MAX_PAUSE);
            left.due = Some(due);
            self.later.insert((due, conversation.clone()));
            self.named.insert(conversation, left);
        }
    }
}

impl Named {
    fn until(until: Instant) -> Self {
        Self {
            readers: BTreeSet::new(),
            wanted: HashMap::new(),
            revoked: BTreeSet::new(),
            until,
            pause: FIRST_PAUSE,
            due: None,
        }
    }

    fn may_be_read_as<const N: usize>(&mut self, readers: [String; N]) {
        let room = readers::MOST.saturating_sub(self.readers.len());
        self.readers.extend(readers.into_iter().filter(|reader| !reader.is_empty()).take(room));
    }
}

/// Reads what webhooks name, for as long as the upstream is there; one that hangs keeps no other from being read.
pub(super) fn start(upstream: &Arc<Upstream>) {
    (0..AT_ONCE).for_each(|_| drop(tokio::spawn(run(Arc::downgrade(upstream)))));
}

async fn run(upstream: Weak<Upstream>) {
    loop {
        let Some(held) = upstream.upgrade() else { return };
        // It must not keep itself alive for ever.
        let until = held.take_in().await;
        let _ = tokio::time::timeout_at(until, held.inbox.wake.notified()).await;
    }
}
