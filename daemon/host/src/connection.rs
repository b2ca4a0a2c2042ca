//! One life of a plugin: a carrier and the session over it.

use crate::{
    carrier::{Deliver, Exit, Link, StartError},
    child::ChildLink,
    inproc::InProcessLink,
    manners::Manners,
    services::{ServiceHandler, Services},
    spec::{Carrier, InstanceSpec},
};
use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use stele_plugin_api::{
    Error, ErrorCode,
    frame::{Decoded, Frame, Kind},
    hello::{Config, Hello, Limits},
    ops::{Describe, Description, Empty, Health},
    peer::{Dispatch, Peer, Setup},
    session::Role,
};
use tokio::{sync::OnceCell, time::timeout};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Least time a plugin is given for goodbye, however long its calls took.
const LEAST_GOODBYE: Duration = Duration::from_millis(200);

/// What is told of a plugin that says goodbye by itself.
const LEFT: &str = "the plugin ended its session";

/// A plugin that has answered hello.
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) manners: Manners,
    /// One token for each call in flight.
    users: TaskTracker,
    /// When it had answered hello.
    pub(crate) opened: Instant,
    /// Answers the plugin has given.
    heard: Arc<AtomicU64>,
    description: OnceCell<Description>,
}

/// A connection that is not retired as long as this lives.
pub(crate) struct InUse {
    connection: Arc<Connection>,
    _token: TaskTrackerToken,
}

impl std::ops::Deref for InUse {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Why a plugin did not come to life.
pub(crate) struct OpenError {
    /// For operators.
    pub(crate) error: Error,
    /// Trying again cannot help: the file, or the configuration, must change.
    pub(crate) permanent: bool,
}

impl From<StartError> for OpenError {
    fn from(error: StartError) -> Self {
        Self { permanent: !error.may_pass(), error: Error::new(ErrorCode::Unavailable, error.to_string()) }
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self { permanent: !error.is_transient(), error }
    }
}

/// A plugin that is loaded and was told nothing yet.
pub(crate) struct Loaded {
    pub(crate) link: Arc<dyn Link>,
    slot: Arc<OnceLock<Peer>>,
    heard: Arc<AtomicU64>,
    /// When it must have answered hello.
    deadline: Instant,
}

impl Loaded {
    /// Has the carrier load the plugin.
    pub(crate) async fn start(spec: &InstanceSpec) -> Result<Self, StartError> {
        let deadline = Instant::now() + spec.limits.start_timeout;
        let slot = Arc::new(OnceLock::<Peer>::new());
        let heard = Arc::<AtomicU64>::default();
        let link = timeout(spec.limits.start_timeout, start(spec, deliver_to(slot.clone(), heard.clone())));
        let link = link.await.unwrap_or(Err(StartError::Timeout))?;
        Ok(Self { link, slot, heard, deadline })
    }

    /// Greets the plugin.
    pub(crate) async fn greet(
        self,
        spec: &InstanceSpec,
        services: Arc<dyn Services>,
    ) -> Result<Arc<Connection>, Error> {
        let Self { link, slot, heard, deadline } = self;
        // Weak, because the carrier holds the session: who holds the connection decides how long both live.
        let post_to: Weak<dyn Link> = Arc::downgrade(&link);
        let peer = Peer::new(Setup {
            role: Role::Host,
            hello: hello(spec),
            post: move |frame: Frame| {
                if let Some(link) = post_to.upgrade() {
                    link.send(frame);
                }
            },
            handler: Arc::new(ServiceHandler {
                instance: spec.name.as_str().into(),
                services,
                link: Arc::downgrade(&link),
            }),
            runtime: tokio::runtime::Handle::current(),
            dispatch: Dispatch::Spawn,
        });
        let _ = slot.set(peer.clone());
        peer.start(deadline.saturating_duration_since(Instant::now()));
        let (manners, users, description) = (Manners::default(), TaskTracker::new(), OnceCell::new());
        let mut connection = Connection { peer, link, manners, users, opened: Instant::now(), heard, description };
        match connection.greeted().await {
            Ok(()) => {
                connection.opened = Instant::now();
                Ok(Arc::new(connection))
            }
            Err(error) => {
                connection.link.kill();
                Err(error)
            }
        }
    }
}

impl Connection {
    /// Starts the plugin and greets it.
    pub(crate) async fn open(spec: &InstanceSpec, services: Arc<dyn Services>) -> Result<Arc<Self>, OpenError> {
        Ok(Loaded::start(spec).await?.greet(spec, services).await?)
    }

    async fn greeted(&self) -> Result<(), Error> {
        tokio::select! {
            // First, because a plugin that refuses says why and then may end.
            biased;
            opened = self.peer.opened() => opened.map(drop),
            exit = self.link.ended() => {
                self.peer.lost(&exit.to_string());
                self.peer.opened().await.map(drop)
            }
        }
    }

    /// Marks the connection as used by a call.
    pub(crate) fn enter(self: &Arc<Self>) -> InUse {
        InUse { connection: self.clone(), _token: self.users.token() }
    }

    /// Answers the plugin has given so far, late ones included: its signs of life.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// What the plugin offers; asked once.
    pub(crate) async fn describe(&self, deadline: Duration) -> Result<Description, Error> {
        self.description.get_or_try_init(|| self.peer.call::<Describe>(Empty {}, deadline)).await.cloned()
    }

    /// The same, also of a plugin that ends instead: then why.
    pub(crate) async fn described(&self, within: Duration) -> Result<Description, Error> {
        self.or_ended(self.describe(within)).await
    }

    /// What keeps the plugin from working, as it says; `None` when nothing does, or it has no opinion.
    pub(crate) async fn unwell(&self, within: Duration) -> Result<Option<Vec<String>>, Error> {
        match self.or_ended(self.peer.call::<Health>(Empty {}, within)).await {
            Ok(report) => Ok((!report.ok).then_some(report.findings)),
            Err(error) if error.code == ErrorCode::Unsupported => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn or_ended<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            answer = answer => answer,
            reason = self.ended() => Err(Error::new(ErrorCode::Unavailable, reason)),
        }
    }

    /// Waits until the plugin is gone, its session is over, or it has said goodbye by itself, so that it answers no new call; says
    /// which. [`Connection::lose`] must follow, once no new call can find this connection.
    pub(crate) async fn ended(&self) -> String {
        tokio::select! {
            biased;
            exit = self.link.ended() => exit.to_string(),
            error = self.peer.closed() => match error {
                Some(error) => error.to_string(),
                None => LEFT.to_owned(),
            },
            () = self.peer.left() => LEFT.to_owned(),
        }
    }

    /// Gives the plugin up: calls in flight fail, and what is left of it goes away.
    pub(crate) fn lose(&self, reason: &str) {
        self.peer.lost(reason);
        self.link.kill();
    }

    /// Ends the plugin in order: lets calls in flight finish, says goodbye, and ends the carrier; within about `grace`. Says how it
    /// ended, and what of that was not in order.
    pub(crate) async fn retire(&self, grace: Duration) -> (Exit, Option<String>) {
        let deadline = Instant::now() + grace;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.users.close();
        tokio::select! {
            _ = timeout(left(), self.users.wait()) => {}
            exit = self.link.ended() => self.peer.lost(&exit.to_string()),
        }
        let disorder = tokio::select! {
            disorder = self.peer.goodbye(left().max(LEAST_GOODBYE)) => disorder,
            exit = self.link.ended() => {
                self.peer.lost(&exit.to_string());
                self.peer.closed().await
            }
        };
        let exit = self.link.end(left().max(LEAST_GOODBYE)).await;
        let disorder = match disorder.map(|error| error.to_string()) {
            Some(error) if exit.is_in_order() || error.contains(&exit.to_string()) => Some(error),
            Some(error) => Some(format!("{error}; {exit}")),
            None => (!exit.is_in_order()).then(|| exit.to_string()),
        };
        (exit, disorder)
    }
}

/// Hands what the carrier brings to the session, once there is one.
fn deliver_to(slot: Arc<OnceLock<Peer>>, heard: Arc<AtomicU64>) -> Deliver {
    Arc::new(move |decoded| {
        let kind = match &decoded {
            Decoded::Frame(frame) => frame.kind,
            Decoded::Oversized(head) => head.kind,
        };
        if matches!(kind, Kind::Reply | Kind::Error | Kind::Item) {
            // First, so that whoever is woken by an answer finds it counted.
            heard.fetch_add(1, Ordering::Relaxed);
        }
        // Before the host has spoken a plugin has nothing to say.
        let Some(peer) = slot.get() else { return false };
        match decoded {
            Decoded::Frame(frame) => peer.receive(frame),
            Decoded::Oversized(head) => peer.receive_oversized(head),
        }
    })
}

async fn start(spec: &InstanceSpec, deliver: Deliver) -> Result<Arc<dyn Link>, StartError> {
    Ok(match spec.carrier {
        Carrier::Child => ChildLink::start(spec, deliver).await?,
        Carrier::InProcess => InProcessLink::start(spec, deliver).await?,
    })
}

fn hello(spec: &InstanceSpec) -> Hello {
    Hello {
        name: "steled".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        limits: Limits {
            max_frame: spec.limits.max_frame_bytes,
            max_calls: spec.limits.max_incoming_calls,
            credit: spec.limits.stream_credit,
        },
        instance: spec.name.clone(),
        config: Config(spec.config.clone()),
        texts: spec.texts.clone(),
        node: spec.node,
        isolated: spec.carrier == Carrier::Child,
        ..Hello::default()
    }
}
