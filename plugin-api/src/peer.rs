//! An async driver of the [`session`](crate::session), for either side and either carrier.
//!
//! A [`Peer`] is given a function that posts frames and is told of frames that came; in between it makes futures of calls and
//! tasks of the other side's calls. It works on the thread that brings a frame: an answer wakes its caller without passing
//! through another queue, and nothing is queued that the session's limits do not bound.
//!
//! Its lock is held while the state machine moves and never while anything else is called, so that a frame posted in-process
//! may come back through the same peer.

mod items;
mod messages;

pub use items::{ItemSink, ItemStream};
pub use messages::{Incoming, Notification, Outgoing, unsupported};

use crate::codec::Encoding;
use crate::error::{Error, ErrorCode};
use crate::frame::{Frame, Head};
use crate::hello::Hello;
use crate::ops::Op;
use crate::session::{CallId, Counters, Event, ItemRefused, Request, Role, Session};
use crate::typed::{self, Parts};
use items::CallGuard;
use serde::{Serialize, de::DeserializeOwned};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

/// How long the answer to the other side's goodbye waits for our own calls.
const GOODBYE_GRACE: Duration = Duration::from_secs(10);

/// A future on the heap.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What one side does for the other.
pub trait Handler: Send + Sync + 'static {
    /// Answers a call. Runs as a task of its own, which is dropped when the caller no longer wants the answer; a panic in it is
    /// answered `internal`.
    fn call(&self, call: Incoming) -> BoxFuture<Result<Outgoing, Error>>;

    /// Is told something. Runs on the thread that brought it: must return at once. Unknown ones are ignored.
    fn notify(&self, _notification: Notification) {}

    /// The other side introduced itself. A plugin opens its instance, and calls [`Peer::accept`] or [`Peer::refuse`].
    fn hello(&self, _peer: &Peer, _hello: &Hello) {}

    /// The other side makes no more calls and all are answered; this side says goodbye when the future is done.
    fn drained(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// Where the other side's calls are first worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dispatch {
    /// On the runtime's threads.
    #[default]
    Spawn,
    /// On the thread that brings them, until they wait for something for the first time; then on the runtime's. Saves two
    /// changes of thread, and is only right for handlers that never block.
    PollFirst,
}

/// How far the session is.
#[derive(Clone, Debug)]
enum Phase {
    Opening,
    Open(Arc<Hello>),
    /// The other side has said goodbye.
    Leaving(Arc<Hello>),
    Closed(Option<Error>),
}

enum Waiter {
    Reply(oneshot::Sender<Result<Answer, Error>>),
    /// Bounded by the credit of the call.
    Items(mpsc::UnboundedSender<Part>),
}

/// The end of a call of ours.
struct Answer {
    encoding: Encoding,
    parts: Parts,
}

/// A piece of a stream.
enum Part {
    Item(Answer),
    End(Result<(), Error>),
}

/// A call of the other side that is being worked on.
#[derive(Default)]
struct Work {
    task: Option<AbortHandle>,
    credit: Option<Arc<Notify>>,
}

struct State {
    session: Session,
    handler: Option<Arc<dyn Handler>>,
    waiters: HashMap<CallId, Waiter>,
    work: HashMap<CallId, Work>,
    /// When the timer looks next, if it sleeps.
    armed: Option<Instant>,
}

struct Inner {
    state: Mutex<State>,
    post: Box<dyn Fn(Frame) + Send + Sync>,
    runtime: tokio::runtime::Handle,
    dispatch: Dispatch,
    /// Calls the other side still takes.
    slots: Arc<Semaphore>,
    json: AtomicBool,
    timer: Arc<Notify>,
    phase: watch::Sender<Phase>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Lets the timer notice that nobody needs it.
        self.timer.notify_one();
    }
}

/// One side of an established carrier. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("phase", &*self.0.phase.borrow()).finish_non_exhaustive()
    }
}

/// What a [`Peer`] is made of.
pub struct Setup<P> {
    /// Which side it is.
    pub role: Role,
    /// What it says of itself.
    pub hello: Hello,
    /// Sends a frame; called from any thread, must not block.
    pub post: P,
    /// What it does for the other side.
    pub handler: Arc<dyn Handler>,
    /// Where its tasks run.
    pub runtime: tokio::runtime::Handle,
    /// Where calls are first worked on.
    pub dispatch: Dispatch,
}

impl<P> fmt::Debug for Setup<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("role", &self.role).field("hello", &self.hello).finish_non_exhaustive()
    }
}

impl Peer {
    /// A peer; the host's then needs [`Peer::start`].
    pub fn new<P: Fn(Frame) + Send + Sync + 'static>(setup: Setup<P>) -> Self {
        let timer = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                session: Session::new(setup.role, setup.hello),
                handler: Some(setup.handler),
                waiters: HashMap::new(),
                work: HashMap::new(),
                armed: None,
            }),
            post: Box::new(setup.post),
            runtime: setup.runtime,
            dispatch: setup.dispatch,
            slots: Arc::new(Semaphore::new(0)),
            json: AtomicBool::new(false),
            timer: timer.clone(),
            phase: watch::Sender::new(Phase::Opening),
        });
        inner.runtime.spawn(keep_time(Arc::downgrade(&inner), timer));
        Self(inner)
    }

    /// Host: says hello, which the plugin must answer within `timeout`. See [`Peer::opened`].
    pub fn start(&self, timeout: Duration) {
        self.update(|state| state.session.start(Instant::now() + timeout));
    }

    /// Plugin: the instance is open.
    pub fn accept(&self, encoding: Encoding) {
        self.0.json.store(encoding == Encoding::Json, Ordering::Release);
        self.update(|state| state.session.accept(encoding));
    }

    /// Plugin: the instance cannot be opened.
    pub fn refuse(&self, error: &Error) {
        self.update(|state| state.session.refuse(error));
    }

    /// Takes a frame of the other side, and says whether it was awaited ([`Session::receive`]).
    pub fn receive(&self, frame: Frame) -> bool {
        self.update(|state| state.session.receive(frame, Instant::now()))
    }

    /// A frame of the other side was too large and was passed over ([`crate::frame::Decoded::Oversized`]). Says whether it was
    /// awaited.
    pub fn receive_oversized(&self, head: Head) -> bool {
        self.update(|state| state.session.receive_oversized(head))
    }

    /// The carrier is gone: every call in flight fails with `unavailable`.
    pub fn lost(&self, reason: &str) {
        self.update(|state| state.session.lost(reason));
    }

    /// Waits until the other side has introduced itself.
    ///
    /// # Errors
    ///
    /// Why it could not be opened, or was closed.
    pub async fn opened(&self) -> Result<Arc<Hello>, Error> {
        let mut phase = self.0.phase.subscribe();
        let phase = phase.wait_for(|phase| !matches!(phase, Phase::Opening)).await;
        match phase.as_deref() {
            Ok(Phase::Open(hello) | Phase::Leaving(hello)) => Ok(hello.clone()),
            Ok(Phase::Closed(Some(error))) => Err(error.clone()),
            _ => Err(Error::new(ErrorCode::Unavailable, "the session was closed")),
        }
    }

    /// Waits until the other side has said goodbye, or the session is over.
    pub async fn left(&self) {
        let mut phase = self.0.phase.subscribe();
        let _ = phase.wait_for(|phase| matches!(phase, Phase::Leaving(_) | Phase::Closed(_))).await;
    }

    /// Waits until the session is over; `None` after goodbyes from both sides.
    pub async fn closed(&self) -> Option<Error> {
        let mut phase = self.0.phase.subscribe();
        match phase.wait_for(|phase| matches!(phase, Phase::Closed(_))).await.as_deref() {
            Ok(Phase::Closed(error)) => error.clone(),
            _ => None,
        }
    }

    /// Makes no more calls, lets those in flight finish, and waits until the session is over, at most about `grace`.
    pub async fn goodbye(&self, grace: Duration) -> Option<Error> {
        self.update(|state| state.session.goodbye(Instant::now() + grace));
        self.closed().await
    }

    /// Calls the other side and waits for its answer, at most `timeout`, waiting for its turn included. Dropping the future
    /// cancels the call.
    ///
    /// # Errors
    ///
    /// The other side's error; `deadline`; `unavailable` when the session is not open or was lost.
    pub async fn call<O: Op>(&self, request: O::Request, timeout: Duration) -> Result<O::Reply, Error> {
        let write = |encoding| typed::encode_request::<O>(encoding, request);
        let (encoding, parts) = self.call_raw(Cow::Borrowed(O::NAME), write, timeout).await?;
        typed::decode_reply::<O>(encoding, parts)
    }

    /// [`Peer::call`] for an operation that has no type; `write` is given the encoding the other side speaks.
    ///
    /// # Errors
    ///
    /// As [`Peer::call`].
    pub async fn call_raw(
        &self,
        op: Cow<'static, str>,
        write: impl FnOnce(Encoding) -> Result<Parts, Error>,
        timeout: Duration,
    ) -> Result<(Encoding, Parts), Error> {
        let deadline = Instant::now() + timeout;
        let slot = self.slot(deadline).await?;
        self.ask(op, write, deadline, slot).await
    }

    /// [`Peer::call`] whose time counts from when it is sent: a turn that does not come is no fault of the other side. Whoever
    /// judges the other side by its silence calls so.
    ///
    /// # Errors
    ///
    /// As [`Peer::call`].
    pub async fn call_in_turn<O: Op>(&self, request: O::Request, timeout: Duration) -> Result<O::Reply, Error> {
        let write = |encoding| typed::encode_request::<O>(encoding, request);
        let slot = self.0.slots.clone().acquire_owned().await.map_err(|_| self.gone())?;
        let (encoding, parts) = self.ask(Cow::Borrowed(O::NAME), write, Instant::now() + timeout, slot).await?;
        typed::decode_reply::<O>(encoding, parts)
    }

    async fn ask(
        &self,
        op: Cow<'static, str>,
        write: impl FnOnce(Encoding) -> Result<Parts, Error>,
        deadline: Instant,
        slot: OwnedSemaphorePermit,
    ) -> Result<(Encoding, Parts), Error> {
        let (sender, receiver) = oneshot::channel();
        let request = self.request(op, write, deadline, None)?;
        let mut guard = self.begin(request, Waiter::Reply(sender), slot)?;
        let answer = receiver.await.unwrap_or_else(|_| Err(self.gone()));
        guard.over = true;
        answer.map(|answer| (answer.encoding, answer.parts))
    }

    /// Calls an operation that answers with items. The first item, each further one, and the end must come within `timeout` of
    /// the one before. Dropping the stream cancels the call.
    ///
    /// # Errors
    ///
    /// As [`Peer::call`], when the call cannot even be sent.
    pub async fn stream<O: Op, I: DeserializeOwned>(
        &self,
        request: O::Request,
        timeout: Duration,
    ) -> Result<ItemStream<I>, Error> {
        let deadline = Instant::now() + timeout;
        let slot = self.slot(deadline).await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let write = |encoding| typed::encode_request::<O>(encoding, request);
        let request = self.request(Cow::Borrowed(O::NAME), write, deadline, Some(timeout))?;
        let guard = self.begin(request, Waiter::Items(sender), slot)?;
        let credit = self.lock().session.local_limits().credit;
        Ok(ItemStream::new(guard, receiver, credit))
    }

    /// Tells the other side something.
    ///
    /// # Errors
    ///
    /// `unavailable` when nobody listens, `too_large` when it does not fit.
    pub fn notify<T: Serialize + ?Sized>(&self, op: &'static str, record: &T) -> Result<(), Error> {
        let payload = self.encoding().encode(record)?;
        self.update(|state| state.session.notify(Cow::Borrowed(op), payload))
    }

    /// How this side writes.
    pub fn encoding(&self) -> Encoding {
        if self.0.json.load(Ordering::Acquire) { Encoding::Json } else { Encoding::MessagePack }
    }

    /// What was dropped so far.
    pub fn counters(&self) -> Counters {
        self.lock().session.counters()
    }

    /// Calls in flight: ours, and the other side's.
    pub fn calls_in_flight(&self) -> (usize, usize) {
        let state = self.lock();
        (state.session.calls_out(), state.session.calls_in())
    }

    /// Runs something on the peer's runtime.
    #[cfg(feature = "sdk")]
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.runtime.spawn(work));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state machine leaves nothing half done, so that a panic while it was locked does no harm.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing can be asked any more.
    fn gone(&self) -> Error {
        match &*self.0.phase.borrow() {
            Phase::Closed(Some(error)) => Error::unavailable(error.message.clone()),
            _ => Error::unavailable("the session was closed"),
        }
    }

    async fn slot(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(slot) = self.0.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        match tokio::time::timeout_at(deadline.into(), self.0.slots.clone().acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(self.gone()),
            Err(_) => {
                Err(Error::new(ErrorCode::Deadline, "too many calls are in flight; its turn did not come in time"))
            }
        }
    }

    fn request(
        &self,
        op: Cow<'static, str>,
        write: impl FnOnce(Encoding) -> Result<Parts, Error>,
        deadline: Instant,
        stream: Option<Duration>,
    ) -> Result<Request, Error> {
        Ok(Request { op, parts: write(self.encoding())?, deadline, stream })
    }

    fn begin(&self, request: Request, waiter: Waiter, slot: OwnedSemaphorePermit) -> Result<CallGuard, Error> {
        let id = self.update(|state| {
            let id = state.session.call(request)?;
            state.waiters.insert(id, waiter);
            Ok::<_, Error>(id)
        })?;
        Ok(CallGuard { peer: self.clone(), id, over: false, _slot: slot })
    }

    /// Moves the state machine, then sends and does what came of it, without the lock.
    fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut actions = Vec::new();
        let (result, first, rest) = {
            let mut state = self.lock();
            let result = change(&mut state);
            let first = state.session.poll_frame();
            // Almost always there is one frame: the rest allocates nothing then.
            let rest: Vec<Frame> = std::iter::from_fn(|| state.session.poll_frame()).collect();
            while let Some(event) = state.session.poll_event() {
                actions.push(self.act_on(&mut state, event));
            }
            let next = state.session.next_deadline();
            if next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed)) {
                state.armed = next;
                self.0.timer.notify_one();
            }
            (result, first, rest)
        };
        // Before the actions: who is woken may call again, and must not overtake a cancel.
        for frame in first.into_iter().chain(rest) {
            (self.0.post)(frame);
        }
        for action in actions {
            self.perform(action);
        }
        result
    }

    /// The locked half of an event.
    fn act_on(&self, state: &mut State, event: Event) -> Action {
        match event {
            Event::Hello(hello) => {
                if state.session.encoding() == Encoding::Json {
                    self.0.json.store(true, Ordering::Release);
                }
                self.0.slots.add_permits(state.session.remote_limits().max_calls as usize);
                Action::Hello(hello, state.handler.clone())
            }
            Event::Call { id, op, encoding, parts: Parts { payload, body } } => {
                let call = Incoming { op, encoding, payload, body, id, peer: self.clone() };
                Action::Call(call, state.handler.clone())
            }
            Event::Dropped { id } => Action::Drop(state.work.remove(&id)),
            Event::Credit { id } => Action::Wake(state.work.get(&id).and_then(|work| work.credit.clone())),
            Event::Item { id, encoding, parts } => {
                if let Some(Waiter::Items(items)) = state.waiters.get(&id) {
                    let _ = items.send(Part::Item(Answer { encoding, parts }));
                }
                Action::Nothing
            }
            Event::Replied { id, encoding, parts } => {
                Action::Finish(state.waiters.remove(&id), Ok(Answer { encoding, parts }))
            }
            Event::Failed { id, error } => Action::Finish(state.waiters.remove(&id), Err(error)),
            Event::Notify { op, encoding, parts } => {
                Action::Notify(Notification { op, encoding, payload: parts.payload }, state.handler.clone())
            }
            Event::Goodbye => Action::Leave,
            Event::Drained => Action::Drained(state.handler.clone()),
            // The handler may hold this peer: letting go of it ends the circle.
            Event::Closed(error) => Action::Closed(error, state.handler.take()),
        }
    }

    /// The other half, without the lock.
    fn perform(&self, action: Action) {
        match action {
            Action::Nothing => {}
            Action::Hello(hello, handler) => {
                if let Some(handler) = handler {
                    handler.hello(self, &hello);
                }
                self.0.phase.send_if_modified(|phase| {
                    let opening = matches!(phase, Phase::Opening);
                    if opening {
                        *phase = Phase::Open(Arc::new(Hello { config: crate::hello::Config::default(), ..*hello }));
                    }
                    opening
                });
            }
            Action::Call(call, Some(handler)) => self.dispatch(call, handler),
            Action::Call(_, None) => {}
            Action::Drop(work) => {
                if let Some(work) = work {
                    if let Some(task) = work.task {
                        task.abort();
                    }
                    if let Some(credit) = work.credit {
                        credit.notify_waiters();
                    }
                }
            }
            Action::Wake(credit) => {
                if let Some(credit) = credit {
                    credit.notify_waiters();
                }
            }
            Action::Finish(Some(Waiter::Reply(waiter)), answer) => drop(waiter.send(answer)),
            Action::Finish(Some(Waiter::Items(items)), answer) => drop(items.send(Part::End(answer.map(drop)))),
            Action::Finish(None, _) => {}
            Action::Notify(notification, handler) => {
                if let Some(handler) = handler {
                    handler.notify(notification);
                }
            }
            Action::Leave => {
                self.0.phase.send_if_modified(|phase| {
                    let Phase::Open(hello) = phase else { return false };
                    *phase = Phase::Leaving(hello.clone());
                    true
                });
            }
            Action::Drained(handler) => {
                let peer = self.clone();
                self.0.runtime.spawn(async move {
                    if let Some(handler) = handler {
                        // A panic here must not keep the session from ending.
                        let _ = CatchUnwind(Box::pin(async move { handler.drained().await })).await;
                    }
                    peer.update(|state| state.session.goodbye(Instant::now() + GOODBYE_GRACE));
                });
            }
            Action::Closed(error, handler) => {
                // In this order: who finds no slot looks up why.
                self.0.phase.send_replace(Phase::Closed(error));
                self.0.slots.close();
                drop(handler);
            }
        }
    }

    fn dispatch(&self, call: Incoming, handler: Arc<dyn Handler>) {
        let id = call.id;
        let mut work = Box::pin(self.clone().work(call, handler));
        if self.0.dispatch == Dispatch::PollFirst {
            let _entered = self.0.runtime.enter();
            if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                return;
            }
        }
        // Spawning polls again, with a waker that counts.
        let task = self.0.runtime.spawn(work).abort_handle();
        let mut state = self.lock();
        if state.session.wants_answer(id) {
            state.work.entry(id).or_default().task = Some(task);
        } else {
            drop(state);
            task.abort();
        }
    }

    async fn work(self, call: Incoming, handler: Arc<dyn Handler>) {
        let (id, encoding) = (call.id, call.encoding);
        let answer = CatchUnwind(Box::pin(async move { handler.call(call).await })).await;
        // What panicked, and with which text, is for the panic hook: the text may hold a secret.
        let answer = answer.unwrap_or_else(|_| Err(Error::new(ErrorCode::Internal, "the handler panicked")));
        let answer = answer.and_then(|reply| reply.encode(encoding));
        let over = self.update(|state| {
            match answer {
                Ok(Parts { payload, body }) => state.session.reply(id, payload, body),
                Err(error) => state.session.fail(id, &error),
            }
            state.work.remove(&id)
        });
        // A sink that outlives its call learns that nobody takes its items.
        if let Some(credit) = over.and_then(|work| work.credit) {
            credit.notify_waiters();
        }
    }

    async fn send_item(&self, id: CallId, parts: Parts) -> Result<(), Error> {
        loop {
            let Parts { payload, body } = parts.clone();
            let turn = self.update(|state| match state.session.item(id, payload, body, Instant::now()) {
                Ok(()) => Ok(None),
                Err(ItemRefused::Failed(error)) => Err(error),
                Err(ItemRefused::NoCredit) => {
                    let credit = state.work.entry(id).or_default().credit.get_or_insert_default();
                    // Made under the lock, so that no credit slips in between.
                    Ok(Some(credit.clone().notified_owned()))
                }
            })?;
            match turn {
                None => return Ok(()),
                Some(turn) => turn.await,
            }
        }
    }
}

enum Action {
    Nothing,
    Hello(Box<Hello>, Option<Arc<dyn Handler>>),
    Call(Incoming, Option<Arc<dyn Handler>>),
    Drop(Option<Work>),
    Wake(Option<Arc<Notify>>),
    Finish(Option<Waiter>, Result<Answer, Error>),
    Notify(Notification, Option<Arc<dyn Handler>>),
    Leave,
    Drained(Option<Arc<dyn Handler>>),
    Closed(Option<Error>, Option<Arc<dyn Handler>>),
}

/// Expires what is due, until nobody holds the peer any more.
async fn keep_time(inner: Weak<Inner>, timer: Arc<Notify>) {
    loop {
        let next = {
            let Some(inner) = inner.upgrade() else { return };
            let peer = Peer(inner);
            peer.update(|state| {
                state.session.expire(Instant::now());
                state.armed = state.session.next_deadline();
                (!state.session.is_closed()).then_some(state.armed)
            })
        };
        match next {
            None => return,
            Some(None) => timer.notified().await,
            Some(Some(next)) => {
                let _ = tokio::time::timeout_at(next.into(), timer.notified()).await;
            }
        }
    }
}

/// The panic barrier: a future that ends with an error instead of unwinding.
pub(crate) struct CatchUnwind<T>(pub(crate) BoxFuture<T>);

impl<T> Future for CatchUnwind<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Broken invariants stay within the future, which is not polled again.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

/// A future panicked.
pub(crate) struct Panicked;
