//! Archives what was relayed, in the order of the upstream's ids, so that listeners hear it in that order.
//!
//! Relays of a conversation are at the upstream at the same time, and their answers come as they like. A message that came back
//! waits for the relays that were away at that moment: they may have lesser ids. What begins later has a greater one. No relay
//! is waited for longer than [`HOLD`] after it began, so one that hangs delays the others and blocks none. One task makes one
//! append of all messages whose turn it is.
//!
//! The upstream has these messages already. What is not archived here comes with the next sync.

use super::apart::tell_apart;
use crate::CALL;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stele_plugin_api::commit::is_of_the_content;
use stele_plugin_api::model::{Message, Page};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::ArchiveAppend;
use stele_plugin_api::{Error, Host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Time since its begin in which a relay holds back others of its conversation.
const HOLD: Duration = Duration::from_secs(2);
/// Most bytes of content that are away or wait.
const MAX_BYTES: usize = 64 << 20;
/// What a message counts at least, in bytes: a bound on their number.
const LEAST_BYTES: usize = 16 << 10;
/// Most messages of one append.
const MAX_BATCH: usize = 1000;
/// Bytes of content after which an append takes no further message.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Takes messages that are relayed.
pub struct Keeper {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
}

/// A relay that is away.
pub struct Away {
    shared: Arc<Shared>,
    conversation: String,
    ticket: u64,
    share: Option<OwnedSemaphorePermit>,
}

struct Shared {
    lines: Mutex<Lines>,
    wake: mpsc::Sender<()>,
}

/// The relays of every conversation that has some.
#[derive(Default)]
struct Lines {
    lines: HashMap<String, Line>,
    /// The last ticket that was given out.
    last: u64,
}

#[derive(Default)]
struct Line {
    /// When the relay with this ticket began.
    away: BTreeMap<u64, Instant>,
    /// What came back, by number and ticket.
    back: BTreeMap<(i64, u64), Waiting>,
}

struct Waiting {
    message: Message,
    /// The last ticket that was given out when it came back: what began later does not matter to it.
    upto: u64,
    done: oneshot::Sender<()>,
    _share: Option<OwnedSemaphorePermit>,
}

impl Keeper {
    /// Starts the task, on the current runtime. It ends when nothing can be relayed any more.
    pub fn start(host: Host) -> Self {
        let (wake, woken) = mpsc::channel(1);
        let shared = Arc::new(Shared { lines: Mutex::default(), wake });
        // It must not keep itself alive.
        tokio::spawn(run(host, Arc::downgrade(&shared), woken));
        Self { shared, room: Arc::new(Semaphore::new(MAX_BYTES)) }
    }

    /// A message with so many bytes of content is about to be relayed to this conversation. `None`: too many are.
    pub fn begin(&self, conversation: &str, bytes: usize) -> Option<Away> {
        let bytes = u32::try_from(bytes.clamp(LEAST_BYTES, MAX_BYTES)).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.room).try_acquire_many_owned(bytes).ok()?;
        let mut lines = self.shared.lines();
        lines.last += 1;
        let ticket = lines.last;
        lines.lines.entry(conversation.to_owned()).or_default().away.insert(ticket, Instant::now());
        Some(Away {
            shared: Arc::clone(&self.shared),
            conversation: conversation.to_owned(),
            ticket,
            share: Some(share),
        })
    }
}

impl Away {
    /// It came back, and is this message. Waits until it is archived, or was given up.
    pub async fn back(mut self, number: i64, message: Message) {
        let (done, kept) = oneshot::channel();
        {
            let mut lines = self.shared.lines();
            let upto = lines.last;
            let waiting = Waiting { message, upto, done, _share: self.share.take() };
            let line = lines.lines.entry(self.conversation.clone()).or_default();
            line.back.insert((number, self.ticket), waiting);
        }
        drop(self);
        // The caller is answered all the same: the upstream has the message.
        let _ = tokio::time::timeout(CALL, kept).await;
    }
}

impl Drop for Away {
    /// Back, failed, or its caller went away: nobody waits for it.
    fn drop(&mut self) {
        let mut lines = self.shared.lines();
        if let Some(line) = lines.lines.get_mut(&self.conversation) {
            line.away.remove(&self.ticket);
            if line.is_empty() {
                lines.lines.remove(&self.conversation);
            }
        }
        drop(lines);
        // A full channel means that the task is about to look.
        let _ = self.shared.wake.try_send(());
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Takes the messages whose turn it is, up to a batch of them; the rest stays. When to look again, if nothing wakes before.
    fn take(&mut self, now: Instant) -> (Vec<Waiting>, Option<Instant>) {
        let (mut batch, mut bytes, mut again) = (Vec::new(), 0, None::<Instant>);
        self.lines.retain(|_, line| {
            while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
                let Some(first) = line.back.first_entry() else { break };
                if let Some(held) = line.away.range(..=first.get().upto).next_back().map(|(_, began)| *began + HOLD)
                    && held > now
                {
                    again = Some(again.map_or(held, |again| again.min(held)));
                    break;
                }
                let next = first.remove();
                bytes += next.message.text.len();
                batch.push(next);
            }
            !line.is_empty()
        });
        (batch, again)
    }
}

impl Line {
    fn is_empty(&self) -> bool {
        self.away.is_empty() && self.back.is_empty()
    }
}

async fn run(host: Host, shared: std::sync::Weak<Shared>, mut woken: mpsc::Receiver<()>) {
    loop {
        let Some((batch, again)) = shared.upgrade().map(|shared| shared.lines().take(Instant::now())) else { return };
        if batch.is_empty() {
            let woke = match again {
                Some(again) => tokio::time::timeout_at(again, woken.recv()).await.unwrap_or(Some(())),
                None => woken.recv().await,
            };
            if woke.is_none() {
                return;
            }
            continue;
        }
        let (messages, done): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.message, one.done)).unzip();
        keep(&host, messages).await;
        for done in done {
            // Who does not wait any more needs no word.
            let _ = done.send(());
        }
    }
}

/// Archives them; should one be at fault, the others.
async fn keep(host: &Host, messages: Vec<Message>) {
    let Err(error) = append(host, messages.clone()).await else { return };
    if messages.len() == 1 || !is_of_the_content(&error) {
        return log_lost(host, messages.len(), &error);
    }
    let mut rest = messages.into_iter();
    while let Some(message) = rest.next() {
        let Err(error) = append(host, vec![message]).await else { continue };
        // An archive that does not answer is not asked again for each of them.
        let others = if is_of_the_content(&error) { 0 } else { rest.by_ref().count() };
        log_lost(host, 1 + others, &error);
    }
}

/// Appends them. One whose id the archive had already is known from a sync, or shares its id with another message: then it
/// gets an id of its own.
async fn append(host: &Host, mut messages: Vec<Message>) -> Result<(), Error> {
    let page = |messages: &[Message]| Page { messages: messages.to_vec(), ..Page::default() };
    let report = host.call_within::<ArchiveAppend>(page(&messages), CALL).await?;
    let mut stored: HashSet<_> = report.stored.into_iter().map(|stored| stored.native_id).collect();
    messages.retain(|message| !stored.remove(&message.native_id));
    if messages.is_empty() {
        return Ok(());
    }
    let others = tell_apart(host, &mut messages).await?;
    let others: Vec<_> = others.into_iter().map(|place| messages[place].clone()).collect();
    if !others.is_empty() {
        host.call_within::<ArchiveAppend>(page(&others), CALL).await?;
    }
    Ok(())
}

fn log_lost(host: &Host, messages: usize, error: &Error) {
    let (count, reason) = (messages.to_string(), error.to_string());
    let fields = [("messages", count.as_str()), ("error", reason.as_str())];
    host.log_from("upstream", Level::Warn, "relayed messages were not archived; they come with the next sync", &fields);
}

#[cfg(test)]
mod tests {
    use super::*;
    use stele_plugin_api::ops::{AppendReport, AppendedMessage};
    use stele_plugin_api::testing::MockHost;

    /// A keeper, and the ids of what it archived in that order.
    fn keeper() -> (Keeper, mpsc::UnboundedReceiver<String>) {
        let (told, archived) = mpsc::unbounded_channel();
        let host = MockHost::new().on::<ArchiveAppend>(move |page: Page| {
            let mut report = AppendReport::default();
            for (id, message) in (1..).zip(page.messages) {
                told.send(message.native_id.clone()).expect("somebody listens");
                report.stored.push(AppendedMessage { id, native_id: message.native_id, seq: id });
            }
            Ok(report)
        });
        (Keeper::start(host.host()), archived)
    }

    /// It comes back under this number.
    fn back(away: Away, number: i64) -> tokio::task::JoinHandle<()> {
        let message = Message { native_id: number.to_string(), ..Message::default() };
        tokio::spawn(away.back(number, message))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_back_waits_for_what_began_before_it() {
        let (keeper, mut archived) = keeper();
        let begin = || keeper.begin("a conversation", 0).unwrap();
        let (first, second) = (begin(), begin());
        let second = back(second, 2);
        tokio::time::sleep(HOLD - Duration::from_millis(1)).await;
        assert!(archived.try_recv().is_err(), "the first may have a lesser id");
        let later = begin();
        back(first, 1).await.unwrap();
        second.await.unwrap();
        assert_eq!([archived.recv().await, archived.recv().await].map(Option::unwrap), ["1", "2"]);
        // One that fails holds nothing back any more, and neither does one of another conversation.
        let _other = keeper.begin("another", 0).unwrap();
        let last = back(begin(), 4);
        drop(later);
        last.await.unwrap();
        assert_eq!(archived.try_recv().unwrap(), "4");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_holds_others_back_for_so_long_only() {
        let (keeper, mut archived) = keeper();
        let hangs = keeper.begin("a conversation", 0).unwrap();
        let began = Instant::now();
        back(keeper.begin("a conversation", 0).unwrap(), 2).await.unwrap();
        assert!((HOLD..HOLD + Duration::from_millis(10)).contains(&began.elapsed()), "{:?}", began.elapsed());
        back(hangs, 1).await.unwrap();
        assert_eq!([archived.recv().await, archived.recv().await].map(Option::unwrap), ["2", "1"]);
    }

    #[tokio::test]
    async fn only_so_much_is_away_and_nothing_is_left_of_it() {
        let keeper = Keeper::start(MockHost::new().host());
        let away: Vec<_> = std::iter::from_fn(|| keeper.begin("a conversation", 0)).collect();
        assert_eq!(away.len(), MAX_BYTES / LEAST_BYTES);
        drop(away);
        assert!(keeper.shared.lines().lines.is_empty());
        let long = keeper.begin("a conversation", usize::MAX);
        assert!(long.is_some() && keeper.begin("another", 0).is_none());
    }
}
