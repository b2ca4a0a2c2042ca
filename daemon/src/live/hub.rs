//! The hub of an instance: follows the archive while somebody listens, and hands each event to those who hear it.

use super::audiences::{self, Audiences};
use super::event::Event;
use super::listener::Listener;
use super::meters::Meters;
use super::render::Rendering;
use super::session::{Behind, Carrier, End, Pushed, Session};
use super::{Options, Source};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use stele_archive::{ArchiveError, Audience, Clock, InstanceId, News, PersonId, Portion, Rev, Stay};
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::Subscription;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most messages of a batch; fewer with short queues, so that one batch never fills half a queue.
const BATCH_ROWS: usize = 128;
/// Bodies and texts of a batch, in bytes; one larger message is a batch.
const BATCH_BYTES: usize = 4 << 20;
/// Messages that were sent so long before they came are history, not news.
const HISTORY: Micros = 3_600_000_000;
/// How often sessions nobody polls any more are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Sessions of an instance that catch up at the same time: so many batches are in memory.
const CATCHING_UP: usize = 16;
/// An audience of so many stays for each person who listens is not walked: their stays are looked up in it.
const LOOK_UP: usize = 8;
/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why nobody listens.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There are as many as may be.
    #[error("too many listeners")]
    Full,
    /// The instance or the daemon stops.
    #[error("the instance stops")]
    Closed,
    /// The archive does not answer.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// The hub of an instance.
pub struct Hub {
    pub(super) name: String,
    instance: InstanceId,
    pub(super) source: Arc<dyn Source>,
    pub(super) rendering: Mutex<Rendering>,
    clock: Arc<dyn Clock>,
    options: Options,
    state: Mutex<State>,
    news: Notify,
    /// The first commit that the follower took no note of yet.
    committed: Mutex<Option<Moment>>,
    catching_up: Semaphore,
    /// Shared by all hubs: readers of the archive they may have at the same time.
    readers: Arc<Semaphore>,
    pub(super) meters: Meters,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A time, by both clocks.
#[derive(Clone, Copy)]
struct Moment {
    instant: Instant,
    time: Micros,
}

/// How much of what there was is delivered.
enum Delivered {
    /// There was nothing.
    Nothing,
    /// There is more.
    Part,
    /// Everything that was there when it was looked for.
    All,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, Arc<Session>>,
    by_person: HashMap<PersonId, Vec<Arc<Session>>>,
    /// Everything up to here was handed out; meaningful while somebody follows.
    at: Rev,
    is_following: bool,
    is_closed: bool,
}

impl Hub {
    pub(super) fn new(
        name: &str,
        instance: InstanceId,
        source: Arc<dyn Source>,
        clock: Arc<dyn Clock>,
        options: Options,
        readers: Arc<Semaphore>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            name: name.to_owned(),
            instance,
            source,
            rendering: Mutex::default(),
            clock,
            options,
            state: Mutex::default(),
            news: Notify::new(),
            committed: Mutex::default(),
            catching_up: Semaphore::new(CATCHING_UP),
            readers,
            meters: Meters::new(name),
            stop: CancellationToken::new(),
            tasks,
        }
    }

    /// The instance.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Bounds and times.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The moment of this time; now, when it is over.
    pub fn moment(&self, time: Micros) -> Instant {
        let left = u64::try_from(time.saturating_sub(self.clock.now())).unwrap_or(0);
        // Further than a century off is never.
        Instant::now() + Duration::from_micros(left.min(100 * 365 * 86_400_000_000))
    }

    /// Something was committed.
    pub fn wake(&self) {
        self.committed().get_or_insert_with(|| self.now());
        self.news.notify_one();
    }

    fn now(&self) -> Moment {
        Moment { instant: Instant::now(), time: self.clock.now() }
    }

    /// Ends all sessions, and lets nobody in any more.
    pub(super) fn close(&self) {
        self.stop.cancel();
        let sessions = {
            let mut state = self.state();
            state.is_closed = true;
            let sessions: Vec<Arc<Session>> = state.sessions.values().cloned().collect();
            sessions.iter().for_each(|session| state.remove(session));
            sessions
        };
        sessions.iter().for_each(|session| self.ended(session, End::Stopped));
        // What renders holds the plugin.
        self.render_by(None);
    }

    /// Lets somebody listen: to what comes from now on, or after what they have seen.
    pub async fn listen(self: &Arc<Self>, asked: &Subscription, carrier: Carrier) -> Result<Listener, Refused> {
        let person = self.source.person(self.instance, &asked.person).await?;
        let last = self.source.last_rev().await?;
        let since = asked.since.map(Rev);
        let (session, turn, replaced) = {
            let mut state = self.state();
            if state.is_closed {
                return Err(Refused::Closed);
            }
            let before = state.sessions.get(&asked.session).cloned();
            let goes_on = |session: &Session| carrier == Carrier::Poll && session.carrier == carrier;
            if let Some(session) = before.clone().filter(|session| goes_on(session) && session.person == person) {
                let turn = session.take_turn(since);
                return Ok(Listener::new(Arc::clone(self), session, turn));
            }
            if before.is_none() && state.sessions.len() >= self.options.max_sessions {
                return Err(Refused::Full);
            }
            if let Some(before) = &before {
                state.remove(before);
            }
            if !state.is_following {
                (state.is_following, state.at) = (true, last);
                // What came while nobody listened is nobody's news.
                *self.committed() = None;
                let follower = Arc::clone(self);
                self.tasks.spawn(async move { _ = follower.stop.run_until_cancelled(follower.follow()).await });
            }
            let session = Arc::new(Session::new(&asked.session, person, carrier, since, last.max(state.at)));
            state.sessions.insert(asked.session.clone(), Arc::clone(&session));
            state.by_person.entry(person).or_default().push(Arc::clone(&session));
            self.meters.began(carrier);
            (session, 0, before)
        };
        if let Some(before) = replaced {
            self.ended(&before, End::Replaced);
        }
        Ok(Listener::new(Arc::clone(self), session, turn))
    }

    /// Ends a session, unless it has ended.
    pub(super) fn end(&self, session: &Arc<Session>, end: End) {
        let is_there = {
            let mut state = self.state();
            let is_there = state.has(session);
            if is_there {
                state.remove(session);
            }
            is_there
        };
        if is_there {
            self.ended(session, end);
        }
    }

    /// A session that was taken out of the table ends.
    fn ended(&self, session: &Session, end: End) {
        let dropped = session.end(end);
        let (instance, carrier, reason) = (&self.name, session.carrier.as_str(), end.as_str());
        if end == End::Slow {
            self.meters.dropped(reason, dropped);
            tracing::info!(instance, carrier, reason, events = dropped, "a listener loses its place");
        } else {
            tracing::debug!(instance, carrier, reason, "a listener ends");
        }
        self.meters.ended(session.carrier, end);
    }

    /// Has read what a session misses, unless that goes on already.
    pub(super) fn read_on(self: &Arc<Self>, session: &Arc<Session>, behind: Behind) {
        session.read_by(|| {
            let (hub, session) = (Arc::clone(self), Arc::clone(session));
            self.tasks.spawn(async move { hub.catch_up(&session, behind).await }).abort_handle()
        });
    }

    /// Brings a session on, however long it takes.
    async fn catch_up(&self, session: &Session, behind: Behind) {
        let mut failures = 0;
        while let Err(error) = self.try_catch_up(session, behind).await {
            failures += 1;
            tracing::warn!(instance = self.name, %error, "what a listener missed cannot be read; trying again");
            tokio::time::sleep(pause(failures)).await;
        }
    }

    /// Brings a session on: by what is in the archive, or by letting it hear what comes.
    async fn try_catch_up(&self, session: &Session, behind: Behind) -> Result<(), ArchiveError> {
        let Behind { after, oldest } = behind;
        let _turn = self.catching_up.acquire().await.expect("the semaphore is never closed");
        let upto = {
            // Nothing is handed out meanwhile.
            let state = self.state();
            if after >= state.at {
                session.level(after);
                return Ok(());
            }
            state.at
        };
        let portion = Portion { bytes: BATCH_BYTES.min(self.options.queue_bytes), ..self.batch() };
        let News { mut messages, upto } = {
            let _reader = self.readers.acquire().await.expect("the semaphore is never closed");
            self.source.live().missed(self.instance, session.person, after, upto, portion).await?
        };
        messages.retain(|message| message.sent_at >= oldest);
        let events = self.render(messages).await;
        session.load(after, &events, upto);
        Ok(())
    }

    /// Follows the archive while there is a session.
    async fn follow(self: &Arc<Self>) {
        let mut audiences = Audiences::default();
        let (mut failures, mut swept) = (0, Instant::now());
        // The first commit whose messages were not all delivered yet.
        let mut pending = None;
        loop {
            if swept.elapsed() >= SWEEP_EVERY {
                self.sweep();
                swept = Instant::now();
            }
            let Some(at) = self.go_on() else { return };
            pending = pending.or_else(|| self.committed().take());
            match self.deliver_news(at, pending, &mut audiences).await {
                Ok(Delivered::Part) => failures = 0,
                // What is committed from here on was noted anew.
                Ok(Delivered::All) => (failures, pending) = (0, None),
                Ok(Delivered::Nothing) => {
                    (failures, pending) = (0, None);
                    let _ = tokio::time::timeout(SWEEP_EVERY, self.news.notified()).await;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(instance = self.name, %error, "the archive does not tell what is new; trying again");
                    tokio::time::sleep(pause(failures)).await;
                }
            }
        }
    }

    /// Where the hub is; `None`, and nobody follows, when there is no session.
    fn go_on(&self) -> Option<Rev> {
        let mut state = self.state();
        state.is_following = !state.sessions.is_empty();
        state.is_following.then_some(state.at)
    }

    /// Ends sessions nobody polls any more.
    fn sweep(&self) {
        let is_over = |session: &Session| session.left().is_some_and(|left| left.elapsed() >= self.options.poll_grace);
        let over: Vec<Arc<Session>> = {
            let mut state = self.state();
            let over: Vec<_> = state.sessions.values().filter(|session| is_over(session)).cloned().collect();
            over.iter().for_each(|session| state.remove(session));
            over
        };
        over.iter().for_each(|session| self.ended(session, End::Gone));
    }

    /// Delivers the next messages, of which none came before `pending`.
    async fn deliver_news(
        &self,
        at: Rev,
        pending: Option<Moment>,
        audiences: &mut Audiences,
    ) -> Result<Delivered, ArchiveError> {
        let live = self.source.live();
        let came = pending.unwrap_or_else(|| self.now());
        let last = self.source.last_rev().await?;
        // What came of other instances is passed over for good.
        let News { messages: mut rows, upto } = live.news(self.instance, at, last, self.batch()).await?;
        if rows.is_empty() {
            self.state().at = upto;
            return Ok(if upto < last { Delivered::Part } else { Delivered::Nothing });
        }
        let oldest = came.time - HISTORY;
        let all = rows.len();
        rows.retain(|row| row.sent_at >= oldest);
        self.meters.dropped("history", all - rows.len());
        let conversations = rows.iter().map(|row| row.conversation).collect();
        let heard_by = audiences.of(live, self.instance, conversations, at).await?;
        let places: HashMap<Rev, Arc<Audience>> =
            rows.iter().map(|row| (row.rev, Arc::clone(&heard_by[&row.conversation]))).collect();
        for event in self.render(rows).await {
            if let Some(audience) = places.get(&event.rev) {
                self.hand_out(&event, audience, oldest);
            }
            // An event for thousands is a piece of work: others are to have their turn.
            tokio::task::yield_now().await;
        }
        self.state().at = upto;
        self.meters.delay(came.instant.elapsed());
        Ok(if upto < last { Delivered::Part } else { Delivered::All })
    }

    /// Hands an event to those who hear it.
    fn hand_out(&self, event: &Arc<Event>, audience: &Audience, oldest: Micros) {
        let Options { queue, queue_bytes, .. } = self.options;
        let mut slow = Vec::new();
        {
            let mut state = self.state();
            let mut hand = |stay: &Stay, sessions: &[Arc<Session>]| {
                for session in sessions.iter().filter(|_| stay.hears(event.rev)) {
                    match session.push(event, oldest, queue, queue_bytes) {
                        Pushed::Done => {}
                        Pushed::Slow => slow.push(Arc::clone(session)),
                    }
                }
            };
            if state.by_person.len() < audience.stays.len() / LOOK_UP {
                for (person, sessions) in &state.by_person {
                    audiences::stays_of(audience, *person).iter().for_each(|stay| hand(stay, sessions));
                }
            } else {
                for stay in &audience.stays {
                    state.by_person.get(&stay.person).into_iter().for_each(|sessions| hand(stay, sessions));
                }
            }
            slow.iter().for_each(|session| state.remove(session));
            state.at = event.rev;
        }
        slow.iter().for_each(|session| self.ended(session, End::Slow));
    }

    fn batch(&self) -> Portion {
        Portion { rows: (self.options.queue / 4).clamp(1, BATCH_ROWS) as u32, bytes: BATCH_BYTES }
    }

    fn committed(&self) -> MutexGuard<'_, Option<Moment>> {
        self.committed.lock().expect("no panic happens while it is locked")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens while the sessions are locked")
    }
}

impl State {
    fn has(&self, session: &Arc<Session>) -> bool {
        self.sessions.get(&session.key).is_some_and(|there| Arc::ptr_eq(there, session))
    }

    /// Takes a session out.
    fn remove(&mut self, session: &Arc<Session>) {
        self.sessions.remove(&session.key);
        if let Some(sessions) = self.by_person.get_mut(&session.person) {
            sessions.retain(|there| !Arc::ptr_eq(there, session));
            if sessions.is_empty() {
                self.by_person.remove(&session.person);
            }
        }
    }
}

/// Pause after so many failures in a row.
pub(super) fn pause(failures: u32) -> Duration {
    let (first, longest) = PAUSES;
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest)
}
