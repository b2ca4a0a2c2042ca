//! Sends, committed together.
//!
//! One task takes all messages that wait, gives them ids in order, and makes one `archive.append` of them; what is sent
//! meanwhile waits for the next. So the order of ids is the order of commit and of delivery, and how many messages a second
//! are stored does not depend on how long the disk takes for one. A message is answered when it is stored.
//!
//! A caller that goes away changes nothing: its message is committed all the same. An append whose outcome is unknown is not
//! tried again, since the message might be stored twice; its callers are told that it failed.

use crate::message::{self, JOINED, Shown, Times};
use crate::msgid::{Numbers, Series};
use crate::{CALL, Clock};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use stele_plugin_api::model::{Conversation, Message, Micros, Page};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::ArchiveAppend;
use stele_plugin_api::{Error, ErrorCode, Host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Most messages that wait.
const MAX_WAITING: usize = 4096;
/// Most bytes of content that wait.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Most messages of one append.
const MAX_BATCH: usize = 1000;
/// Bytes of content after which an append takes no further message; each is in it twice, as text and in its body.
const MAX_BATCH_BYTES: usize = 4 << 20;
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
    answer: oneshot::Sender<Result<String, Error>>,
    _share: OwnedSemaphorePermit,
}

/// Takes messages to commit.
pub struct Committer {
    queue: mpsc::Sender<Waiting>,
    bytes: Arc<Semaphore>,
}

impl Committer {
    /// Starts the task, on the current runtime. It ends when nobody can send any more.
    pub fn start(host: Host, clock: Clock) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(Task { host, clock, numbers: Numbers::default() }.run(waiting));
        Self { queue, bytes: Arc::new(Semaphore::new(MAX_WAITING_BYTES)) }
    }

    /// Commits a message, and says its id.
    ///
    /// # Errors
    ///
    /// `rate_limited` when too many wait (nothing was done); `deadline`; the archive's error.
    pub async fn commit(&self, draft: Draft) -> Result<String, Error> {
        let full = || Error::new(ErrorCode::RateLimited, "too many messages wait to be stored");
        let bytes = u32::try_from(draft.content.len().clamp(1, MAX_WAITING_BYTES)).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| full())?;
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Waiting { draft, answer, _share: share }).map_err(|_| full())?;
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
            let mut bytes = first.draft.content.len();
            let mut batch = vec![first];
            while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
                let Ok(next) = waiting.try_recv() else { break };
                bytes += next.draft.content.len();
                batch.push(next);
            }
            self.commit(batch).await;
        }
    }

    async fn commit(&mut self, batch: Vec<Waiting>) {
        match self.append(batch).await {
            Ok(()) => {}
            // Nothing of it was stored. It may be the fault of one: the others shall not suffer.
            Err((error, batch)) if batch.len() > 1 && is_of_the_content(&error) => {
                for one in batch {
                    if let Err((error, one)) = self.append(vec![one]).await {
                        self.refuse(one, &error);
                    }
                }
            }
            Err((error, batch)) => self.refuse(batch, &error),
        }
    }

    /// Appends all of them; a message whose id the archive knows already gets another one.
    async fn append(&mut self, mut batch: Vec<Waiting>) -> Result<(), (Error, Vec<Waiting>)> {
        for _ in 0..MAX_IDS {
            let now = (self.clock)();
            let messages: Vec<_> = batch.iter().map(|waiting| self.message(&waiting.draft, now)).collect();
            let ids: Vec<_> = messages.iter().map(|message| message.native_id.clone()).collect();
            let conversations = batch.iter().filter_map(|waiting| waiting.draft.opens.clone()).collect();
            let page = Page { messages, conversations, ..Page::default() };
            let stored = match self.host.call_within::<ArchiveAppend>(page, CALL).await {
                Ok(report) => report.stored,
                Err(error) => return Err((error, batch)),
            };
            let stored: HashSet<_> = stored.into_iter().map(|message| message.native_id).collect();
            let mut again = Vec::new();
            for (waiting, id) in batch.into_iter().zip(ids) {
                if stored.contains(&id) {
                    // Who does not wait any more needs no answer.
                    let _ = waiting.answer.send(Ok(id));
                } else {
                    again.push(waiting);
                }
            }
            if again.is_empty() {
                return Ok(());
            }
            batch = again;
        }
        Err((Error::internal("every id was taken"), batch))
    }

    fn message(&mut self, draft: &Draft, now: Micros) -> Message {
        let number = self.numbers.next(now, draft.above);
        draft.message(Series::of(&draft.conversation, draft.kind).id(number).as_str(), number, now)
    }

    fn refuse(&self, batch: Vec<Waiting>, error: &Error) {
        let (count, reason) = (batch.len().to_string(), error.to_string());
        let fields = [("messages", count.as_str()), ("error", reason.as_str())];
        self.host.log_from("send", Level::Warn, "messages were not stored", &fields);
        for waiting in batch {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}

/// Whether an append was refused for what is in it.
fn is_of_the_content(error: &Error) -> bool {
    matches!(error.code, ErrorCode::Invalid | ErrorCode::TooLarge)
}
