//! A plugin under supervision, as the daemon holds it.
//!
//! Callers see nothing of the [`supervisor`](crate::supervisor) but errors: a call in flight when a plugin dies fails
//! `unavailable`, a call made while it is coming back waits for it a little.

use crate::{
    carrier::Exit,
    connection::{Connection, InUse},
    measure::Measures,
    services::Services,
    spec::{InstanceSpec, InstanceState, InstanceStatus},
    stream::ItemStream,
    supervisor::{Order, Supervisor},
};
use serde::de::DeserializeOwned;
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use stele_plugin_api::{
    Error, ErrorCode,
    ops::{Description, Op},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

/// Orders that may wait for the supervisor.
const ORDER_QUEUE: usize = 8;

/// A handle of a supervised plugin. Cheap to clone; the plugin is stopped when the last one is dropped.
#[derive(Clone)]
pub struct Instance {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

/// What handle and supervisor share.
pub(crate) struct Shared {
    pub(crate) name: String,
    spec: RwLock<Arc<InstanceSpec>>,
    pub(crate) services: Arc<dyn Services>,
    view: watch::Sender<View>,
    pub(crate) measures: Measures,
    pub(crate) restarts: AtomicU64,
    /// Late frames of lives that are over.
    past_late_frames: AtomicU64,
    last_error: Mutex<Option<Error>>,
}

/// What callers see.
#[derive(Clone)]
struct View {
    state: InstanceState,
    connection: Option<Arc<Connection>>,
}

impl Instance {
    /// Starts the plugin and keeps it alive. Returns at once; must be called within a tokio runtime.
    pub fn start(spec: InstanceSpec, services: Arc<dyn Services>) -> Self {
        let (orders, received) = mpsc::channel(ORDER_QUEUE);
        let shared = Arc::new(Shared {
            measures: Measures::new(&spec.name),
            view: watch::Sender::new(View { state: InstanceState::Starting, connection: None }),
            restarts: AtomicU64::new(0),
            past_late_frames: AtomicU64::new(0),
            last_error: Mutex::new(None),
            name: spec.name.clone(),
            spec: RwLock::new(Arc::new(spec)),
            services,
        });
        tokio::spawn(Supervisor::new(shared.clone(), received).run());
        Self { shared, orders }
    }

    /// Name of the instance.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it was started from.
    pub fn spec(&self) -> Arc<InstanceSpec> {
        self.shared.spec()
    }

    /// Waits until the plugin answers, and returns what it offers.
    ///
    /// # Errors
    ///
    /// Why it cannot be started; `deadline` when it takes longer than `within`.
    pub async fn ready(&self, within: Duration) -> Result<Description, Error> {
        let started = Instant::now();
        let connection = self.shared.connection(within).await?;
        connection.describe(within.saturating_sub(started.elapsed())).await
    }

    /// Calls the plugin and waits for its answer. Dropping the future cancels the call.
    ///
    /// # Errors
    ///
    /// The plugin's own error; `deadline` after `deadline`; `unavailable` when the plugin is not there, or dies meanwhile.
    pub async fn call<O: Op>(&self, request: O::Request, deadline: Duration) -> Result<O::Reply, Error> {
        let started = Instant::now();
        let answer = self.call_once::<O>(request, started, deadline).await;
        self.shared.measures.call(O::NAME, started, answer.as_ref().err());
        answer
    }

    async fn call_once<O: Op>(
        &self,
        request: O::Request,
        started: Instant,
        deadline: Duration,
    ) -> Result<O::Reply, Error> {
        let connection = self.shared.connection(deadline.min(self.shared.spec().limits.wait_for_start)).await?;
        connection.peer.call::<O>(request, deadline.saturating_sub(started.elapsed())).await
    }

    /// Calls an operation that answers with items. The first item, each further one and the end must come within
    /// `between_items` of the one before. The call is made by the first [`ItemStream::next`]; dropping the stream cancels it.
    pub fn stream<O: Op + 'static, I: DeserializeOwned + Send + 'static>(
        &self,
        request: O::Request,
        between_items: Duration,
    ) -> ItemStream<I> {
        let shared = self.shared.clone();
        ItemStream::starting(async move {
            let connection = shared.connection(between_items.min(shared.spec().limits.wait_for_start)).await;
            let started = Instant::now();
            let stream = match connection {
                Ok(connection) => {
                    let stream = connection.peer.stream::<O, I>(request, between_items).await;
                    stream.map(|stream| (stream, connection))
                }
                Err(error) => Err(error),
            };
            shared.measures.call(O::NAME, started, stream.as_ref().err());
            stream
        })
    }

    /// What is seen from outside.
    pub fn status(&self) -> InstanceStatus {
        let view = self.shared.view.borrow().clone();
        let connection = view.connection.as_deref();
        InstanceStatus {
            state: view.state,
            pid: connection.and_then(|connection| connection.link.pid()),
            restarts: self.shared.restarts.load(Ordering::Relaxed),
            last_error: self.shared.last_error().map(|error| error.to_string()),
            calls_in_flight: connection.map_or(0, |connection| connection.peer.calls_in_flight().0),
            late_frames: self.shared.late_frames(connection),
        }
    }

    /// What went wrong with the plugin last, as it said it: why it does not start, or how it ended.
    pub fn last_error(&self) -> Option<Error> {
        self.shared.last_error()
    }

    /// Starts the plugin anew, as in `spec` and from its file as it is now. While the old one works, the new one is started
    /// beside it: once that has said what it offers, new calls go to it, and the old one ends when its calls in flight have
    /// finished; none is lost. An instance that is down, be it for good, is started from `spec` at once; how that goes is
    /// told by [`Instance::ready`].
    ///
    /// # Errors
    ///
    /// Why the new one does not start: then nothing has changed. `unavailable` when the instance was stopped.
    pub async fn restart(&self, spec: Arc<InstanceSpec>) -> Result<(), Error> {
        let (done, wait) = oneshot::channel();
        let stopped = || Error::new(ErrorCode::Unavailable, format!("instance {} is stopped", self.name()));
        self.orders.send(Order::Restart(spec, done)).await.map_err(|_| stopped())?;
        wait.await.map_err(|_| stopped())?
    }

    /// Ends the plugin: no new calls, those in flight finish, goodbye, then SIGTERM and SIGKILL when it takes longer than about
    /// `grace`. Returns when it is gone.
    pub async fn stop(&self, grace: Duration) {
        let (done, wait) = oneshot::channel();
        // An error means that it is stopped already.
        if self.orders.send(Order::Stop(grace, done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// Shows no configuration.
impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("spec", &self.spec()).field("status", &self.status()).finish()
    }
}

impl Shared {
    /// The connection, waiting for one that is on its way for at most `within`.
    async fn connection(&self, within: Duration) -> Result<InUse, Error> {
        if let Some(connection) = self.view.borrow().in_use() {
            return Ok(connection);
        }
        let mut view = self.view.subscribe();
        let settled = view.wait_for(|view| !matches!(view.state, InstanceState::Starting | InstanceState::Restarting));
        let settled = timeout(within, settled).await;
        match settled {
            // Taken under the lock of the view: whoever retires it afterwards waits for us.
            Ok(Ok(view)) => view.in_use().ok_or_else(|| self.unavailable(view.state)),
            Ok(Err(_)) => Err(self.unavailable(InstanceState::Stopped)),
            Err(_) => Err(self.unavailable(self.view.borrow().state)),
        }
    }

    fn unavailable(&self, state: InstanceState) -> Error {
        let name = &self.name;
        match self.last_error().filter(|_| state != InstanceState::Stopped) {
            Some(Error { message, mistakes, .. }) => {
                Error { mistakes, ..Error::unavailable(format!("instance {name} is {state}: {message}")) }
            }
            None => Error::new(ErrorCode::Unavailable, format!("instance {name} is {state}")),
        }
    }

    fn last_error(&self) -> Option<Error> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers what went wrong.
    pub(crate) fn set_last_error(&self, error: Error) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// What it is started from.
    pub(crate) fn spec(&self) -> Arc<InstanceSpec> {
        self.spec.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the log calls its plugin.
    pub(crate) fn plugin(&self) -> String {
        self.spec().shown_plugin()
    }

    /// Lives that begin from now on are started from this.
    pub(crate) fn set_spec(&self, spec: Arc<InstanceSpec>) {
        *self.spec.write().unwrap_or_else(PoisonError::into_inner) = spec;
    }

    /// What callers see of it now.
    pub(crate) fn state(&self) -> InstanceState {
        self.view.borrow().state
    }

    /// Makes a state and its connection visible, and returns the connection before.
    pub(crate) fn show(&self, state: InstanceState, connection: Option<Arc<Connection>>) -> Option<Arc<Connection>> {
        self.measures.state(state);
        self.view.send_replace(View { state, connection }).connection
    }

    /// Late frames of all lives.
    pub(crate) fn late_frames(&self, connection: Option<&Connection>) -> u64 {
        let current = connection.map_or(0, |connection| connection.peer.counters().late);
        self.past_late_frames.load(Ordering::Relaxed) + current
    }

    /// Tells what a life of the plugin does against the rules.
    pub(crate) fn look_at(&self, connection: &Connection) {
        connection.manners.look(&self.name, &self.plugin(), &connection.peer.counters());
    }

    /// Ends a life of the plugin in order, and says how it ended.
    pub(crate) async fn retire(&self, connection: &Connection, grace: Duration) -> Exit {
        let (exit, disorder) = connection.retire(grace).await;
        if let Some(reason) = disorder {
            tracing::warn!(instance = self.name, plugin = self.plugin(), reason, "plugin does not end in order");
        }
        self.bury(connection);
        exit
    }

    /// Keeps the numbers of a life that is over.
    pub(crate) fn bury(&self, connection: &Connection) {
        self.look_at(connection);
        self.past_late_frames.fetch_add(connection.peer.counters().late, Ordering::Relaxed);
    }
}

impl View {
    fn in_use(&self) -> Option<InUse> {
        self.connection.as_ref().map(Connection::enter)
    }
}
