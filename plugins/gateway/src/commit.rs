//! Sends, committed together.
//!
//! One task takes all messages that wait, gives them ids in order, and makes one `archive.append` of them; what is sent
//! meanwhile waits for the next. So the order of ids is the order of commit and of delivery, and how many messages a second
//! are stored does not depend on how long the disk takes for one. A message is answered when it is stored.
//!
//! A caller that goes away changes nothing: its message is committed all the same. A message that waited too long is dropped,
//! since its caller is about to give up, and would send it again. An append whose outcome is unknown is not tried again,
//! since the message might be stored twice; its callers are told that it failed.

use crate::message::{self, JOINED, Shown, Times};
use crate::msgid::{Numbers, Series};
use crate::{CALL, Clock};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::model::{Conversation, Message, Micros, Page};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::ArchiveAppend;
use stele_plugin_api::{Error, ErrorCode, Host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Most messages that wait.
const MAX_WAITING: usize = 4096;
/// Most bytes that wait, of content and of names of members.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// A message that waited so long is not begun. Its caller waits as long as a call may take; the rest is for the append.
const MAX_WAIT: Duration = Duration::from_secs(CALL.as_secs() / 2);
/// Most messages of one append.
const MAX_BATCH: usize = 1000;
/// Bytes after which an append takes no further message; content is in it twice, as text and in its body.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// What a member weighs beside the name, in bytes: it is a row.
const MEMBER_BYTES: usize = 64;
/// How often a message whose id is taken gets another.
const MAX_IDS: u32 = 4;

/// A message without id and time.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The conversation.
    pub conversation: String,
    /// Its type.
    pub kind: u8,
    /// Its greatest number so far: the new one is greater.
    pub above: i64,
    /// Who sends; empty for nobody.
    pub sender: String,
    /// Whatever the sender says.
    pub status: i32,
    /// Type of the message; `None` for the first one of a new conversation, which nobody wrote.
    pub message_type: Option<i32>,
    /// What it says.
    pub content: String,
    /// The conversation it begins, if it does.
    pub opens: Option<Conversation>,
}

impl Draft {
    /// What counts of it where bytes are bounded.
    fn bytes(&self) -> usize {
        let members = self.opens.iter().flat_map(|conversation| &conversation.joined);
        self.content.len() + members.map(|member| member.len() + MEMBER_BYTES).sum::<usize>()
    }

    /// The message with this id, number and time.
    pub fn message(&self, id: &str, number: i64, at: Micros) -> Message {
        let shown = Shown {
            msg_id: id,
            conversation: &self.conversation,
            from_session: &self.sender,
            send_time: Times::MICROS.write(at),
            status: self.status,
            kind: self.message_type.unwrap_or_default(),
            content: &self.content,
            unverified: &[],
        };
        Message {
            native_id: id.to_owned(),
            conversation: self.conversation.clone(),
            seq: Some(number),
            sender: self.sender.clone(),
            sent_at: at,
            kind: self.message_type.map_or_else(|| JOINED.to_owned(), |kind| message::kind(kind.into())),
            text: self.content.clone(),
            body: Bytes::from(serde_json::to_vec(&shown).expect("texts and numbers can be written")),
            ..Message::default()
        }
    }
}

struct Waiting {
    draft: Draft,
    since: Instant,
    answer: oneshot::Sender<Result<String, Error>>,
    _share: OwnedSemaphorePermit,
}

/// Takes messages to commit.
pub struct Committer {
    host: Host,
    queue: mpsc::Sender<Waiting>,
    bytes: Arc<Semaphore>,
}

impl Committer {
    /// Starts the task, on the current runtime. It ends when nobody can send any more.
    pub fn start(host: Host, clock: Clock) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(Task { host: host.clone(), clock, numbers: Numbers::default() }.run(waiting));
        Self { host, queue, bytes: Arc::new(Semaphore::new(MAX_WAITING_BYTES)) }
    }

    /// Commits a message, and says its id.
    ///
    /// # Errors
    ///
    /// `rate_limited` when too many wait, or it waited too long (nothing was done); `deadline`; the archive's error.
    pub async fn commit(&self, draft: Draft) -> Result<String, Error> {
        let full = || {
            let error = Error::new(ErrorCode::RateLimited, "too many messages wait to be stored");
            log_refused(&self.host, 1, &error);
            error
        };
        let bytes = u32::try_from(draft.bytes().clamp(1, MAX_WAITING_BYTES)).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| full())?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { draft, since: Instant::now(), answer, _share: share };
        self.queue.try_send(waiting).map_err(|_| full())?;
        match tokio::time::timeout(CALL, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::internal("the committer is gone")),
            Err(_) => Err(Error::new(ErrorCode::Deadline, "the message was not stored in time")),
        }
    }
}

struct Task {
    host: Host,
    clock: Clock,
    numbers: Numbers,
}

impl Task {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        while let Some(first) = waiting.recv().await {
            let mut bytes = first.draft.bytes();
            let mut batch = vec![first];
            while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
                let Ok(next) = waiting.try_recv() else { break };
                bytes += next.draft.bytes();
                batch.push(next);
            }
            self.commit(batch).await;
        }
    }

    async fn commit(&mut self, batch: Vec<Waiting>) {
        let Err((error, batch)) = self.append(batch).await else { return };
        if batch.len() == 1 || !is_of_the_content(&error) {
            return self.refuse(batch, &error);
        }
        // Nothing of it was stored. It may be the fault of one: the others shall not suffer.
        let mut rest = batch.into_iter();
        while let Some(one) = rest.next() {
            let Err((error, mut refused)) = self.append(vec![one]).await else { continue };
            if !is_of_the_content(&error) {
                refused.extend(rest.by_ref());
            }
            self.refuse(refused, &error);
        }
    }

    /// Appends all of them; a message whose id the archive knows already gets another one.
    async fn append(&mut self, mut batch: Vec<Waiting>) -> Result<(), (Error, Vec<Waiting>)> {
        for _ in 0..MAX_IDS {
            let (begun, messages) = self.begin(batch);
            if begun.is_empty() {
                return Ok(());
            }
            let ids: Vec<_> = messages.iter().map(|message| message.native_id.clone()).collect();
            let conversations = begun.iter().filter_map(|waiting| waiting.draft.opens.clone()).collect();
            let page = Page { messages, conversations, ..Page::default() };
            let stored = match self.host.call_within::<ArchiveAppend>(page, CALL - MAX_WAIT).await {
                Ok(report) => report.stored,
                Err(error) => return Err((error, begun)),
            };
            let stored: HashSet<_> = stored.into_iter().map(|message| message.native_id).collect();
            batch = Vec::new();
            for (waiting, id) in begun.into_iter().zip(ids) {
                if stored.contains(&id) {
                    // Who does not wait any more needs no answer.
                    let _ = waiting.answer.send(Ok(id));
                } else {
                    batch.push(waiting);
                }
            }
        }
        if batch.is_empty() { Ok(()) } else { Err((Error::internal("every id was taken"), batch)) }
    }

    /// Gives ids to all that did not wait too long.
    fn begin(&mut self, batch: Vec<Waiting>) -> (Vec<Waiting>, Vec<Message>) {
        let now = (self.clock)();
        let (late, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|one| one.since.elapsed() >= MAX_WAIT);
        self.refuse(late, &Error::new(ErrorCode::RateLimited, "they waited too long to be stored"));
        let (mut begun, mut messages) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for waiting in batch {
            let Draft { conversation, kind, above, .. } = &waiting.draft;
            if let Some(number) = self.numbers.next(conversation, now, *above) {
                let id = Series::of(conversation, *kind).id(number);
                messages.push(waiting.draft.message(id.as_str(), number, now));
                begun.push(waiting);
            } else {
                self.refuse(vec![waiting], &Error::internal("the newest message of the conversation has the last id"));
            }
        }
        (begun, messages)
    }

    fn refuse(&self, batch: Vec<Waiting>, error: &Error) {
        if batch.is_empty() {
            return;
        }
        log_refused(&self.host, batch.len(), error);
        for waiting in batch {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}

/// Callers learn no more than that it failed.
fn log_refused(host: &Host, messages: usize, error: &Error) {
    let (count, reason) = (messages.to_string(), error.to_string());
    host.log_from("send", Level::Warn, "messages were not stored", &[("messages", &count), ("error", &reason)]);
}

/// Whether an append was refused for what is in it.
pub fn is_of_the_content(error: &Error) -> bool {
    matches!(error.code, ErrorCode::Invalid | ErrorCode::TooLarge)
}
