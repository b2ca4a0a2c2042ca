//! Keeps a plugin alive.
//!
//! One task per instance: it starts the plugin, notices its end and its [silence](crate::watchdog), starts it again after a while,
//! and gives up when that is no use. What is not worth a second try (a file that is no plugin, or not to be trusted, a configuration the
//! plugin refuses) fails at once; what may pass by (half of a file, no thread left, a plugin that does not open) is tried again.
//!
//! A reload starts a second life of the plugin, moves new calls to it, lets the calls of the first one finish, and then ends
//! that. Until the second one has said what it offers and how it is nothing changes, so that a broken update costs nothing. There
//! is at most one life that is on its way out: the next reload waits for it.

use crate::{
    backoff::{Failures, Verdict},
    connection::{Connection, OpenError},
    instance::Shared,
    services::Services,
    spec::{InstanceSpec, InstanceState},
    watchdog,
};
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use stele_plugin_api::{Error, ErrorCode};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{interval, sleep, timeout},
};

/// How often numbers that nobody asks for are published.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);

/// Keeps one plugin alive.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    failures: Failures,
    /// The life that was replaced last, as long as it lasts.
    retiring: Option<Retiring>,
}

/// A life on its way out.
struct Retiring {
    connection: Arc<Connection>,
    task: JoinHandle<()>,
}

/// What a handle asks of its supervisor.
pub(crate) enum Order {
    /// A new life of the plugin, started from this.
    Restart(Arc<InstanceSpec>, Restarted),
    /// The end, after this grace.
    Stop(Duration, oneshot::Sender<()>),
}

/// Tells who asked for a new life of the plugin.
type Restarted = oneshot::Sender<Result<(), Error>>;

/// What the supervisor does next.
enum Next {
    Start,
    Attend(Arc<Connection>),
    Wait(Duration),
    StayDown,
    Stop(Duration, Option<oneshot::Sender<()>>),
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, orders: mpsc::Receiver<Order>) -> Self {
        let failures = Failures::new(shared.spec().limits.restart);
        Self { shared, orders, failures, retiring: None }
    }

    pub(crate) async fn run(mut self) {
        let mut next = Next::Start;
        loop {
            next = match next {
                Next::Start => self.start().await,
                Next::Attend(connection) => self.attend(connection).await,
                Next::Wait(delay) => self.wait(delay).await,
                Next::StayDown => {
                    self.shared.show(InstanceState::Failed, None);
                    let order = self.orders.recv().await;
                    self.obey_while_down(order)
                }
                Next::Stop(grace, done) => return self.stop(grace, done).await,
            }
        }
    }

    /// Lets time pass after a crash.
    async fn wait(&mut self, delay: Duration) -> Next {
        self.shared.show(InstanceState::Restarting, None);
        tokio::select! {
            () = sleep(delay) => {
                self.shared.restarts.fetch_add(1, Ordering::Relaxed);
                self.shared.measures.restarted();
                Next::Start
            }
            order = self.orders.recv() => self.obey_while_down(order),
        }
    }

    async fn stop(&mut self, grace: Duration, done: Option<oneshot::Sender<()>>) {
        let connection = self.shared.show(InstanceState::Stopped, None);
        // Orders that come from now on find nobody.
        self.orders.close();
        let retiring = self.retiring.take();
        let current = async {
            if let Some(connection) = connection {
                let exit = self.shared.retire(&connection, grace).await;
                tracing::info!(instance = self.shared.name, plugin = self.shared.plugin(), %exit, "plugin has stopped");
            }
        };
        let replaced = async {
            if let Some(Retiring { connection, mut task }) = retiring
                && timeout(grace, &mut task).await.is_err()
            {
                connection.lose("the instance is stopped");
                task.abort();
            }
        };
        tokio::join!(current, replaced);
        let _ = done.map(|done| done.send(()));
        while let Some(order) = self.orders.recv().await {
            // Dropping a restart's sender tells its caller.
            if let Order::Stop(_, done) = order {
                let _ = done.send(());
            }
        }
    }

    fn obey_while_down(&mut self, order: Option<Order>) -> Next {
        match order {
            Some(Order::Restart(spec, done)) => self.start_as(spec, done),
            order => self.stop_for(order),
        }
    }

    /// Starts from this, whatever was before.
    fn start_as(&mut self, spec: Arc<InstanceSpec>, done: Restarted) -> Next {
        self.failures = Failures::new(spec.limits.restart);
        self.shared.set_spec(spec);
        // Before anybody is told, so that nobody finds the state of before.
        self.shared.show(InstanceState::Starting, None);
        let _ = done.send(Ok(()));
        Next::Start
    }

    fn stop_for(&self, order: Option<Order>) -> Next {
        match order {
            Some(Order::Stop(grace, done)) => Next::Stop(grace, Some(done)),
            // The last handle is gone.
            _ => Next::Stop(self.shared.spec().limits.stop_grace, None),
        }
    }

    /// Starts the plugin when none is there.
    async fn start(&mut self) -> Next {
        self.shared.show(InstanceState::Starting, None);
        let shared = self.shared.clone();
        let spec = shared.spec();
        let mut opening = pin!(Connection::open(&spec, shared.services.clone()));
        let opened = tokio::select! {
            opened = &mut opening => opened,
            order = self.orders.recv() => return self.obey_while_down(order),
        };
        match opened {
            Ok(connection) => {
                let (plugin, pid) = (spec.shown_plugin(), connection.link.pid());
                tracing::info!(instance = shared.name, plugin, pid, "plugin is running");
                shared.show(InstanceState::Running, Some(connection.clone()));
                Next::Attend(connection)
            }
            Err(OpenError { error, permanent }) => {
                tracing::error!(instance = shared.name, plugin = spec.shown_plugin(), %error, "plugin does not start");
                shared.set_last_error(error);
                if permanent { Next::StayDown } else { self.after_failure(Duration::ZERO) }
            }
        }
    }

    /// Stays with a running plugin until it ends, hangs, or is to end.
    async fn attend(&mut self, connection: Arc<Connection>) -> Next {
        let mut publish = interval(PUBLISH_EVERY);
        // A block, because the watchdog's own call must not outlast it: a plugin that is to end waits for its calls.
        let next = {
            let shared = self.shared.clone();
            let mut hung = pin!(watchdog::hung(&shared, &connection));
            loop {
                tokio::select! {
                    // The end first: a plugin that is gone says nothing either.
                    biased;
                    reason = connection.ended() => break Err((reason, Instant::now())),
                    hung = &mut hung => break Err((hung.reason, hung.since)),
                    order = self.orders.recv() => break Ok(order),
                    _ = publish.tick() => {
                        let in_flight = connection.peer.calls_in_flight().0;
                        shared.measures.publish(in_flight, shared.late_frames(Some(&connection)));
                        shared.look_at(&connection);
                    }
                }
            }
        };
        match next {
            Ok(Some(Order::Restart(spec, done))) => self.replace(connection, spec, done).await,
            Ok(order) => self.stop_for(order),
            Err((reason, until)) => {
                let next = self.after_failure(until.saturating_duration_since(connection.opened));
                let state =
                    if matches!(next, Next::StayDown) { InstanceState::Failed } else { InstanceState::Restarting };
                self.crashed(&connection, &reason, state);
                next
            }
        }
    }

    /// Starts a new life, moves the calls to it, and ends the old one behind everybody's back.
    async fn replace(&mut self, old: Arc<Connection>, spec: Arc<InstanceSpec>, done: Restarted) -> Next {
        let shared = self.shared.clone();
        let mut before = self.retiring.take();
        let mut old = Some(old);
        let replaced = old.clone();
        // A block, because a stop meanwhile has to wait for the life of before, too.
        let opened = {
            let mut opening = pin!(async {
                if let Some(life) = &mut before {
                    let _ = (&mut life.task).await;
                }
                before = None;
                open_proven(&spec, shared.services.clone(), replaced.as_deref()).await
            });
            loop {
                tokio::select! {
                    opened = &mut opening => break Ok(opened),
                    reason = ended(old.as_deref()) => {
                        // Its calls fail now; those that are made from now on wait for the new one.
                        if let Some(old) = old.take() {
                            self.crashed(&old, &reason, InstanceState::Starting);
                        }
                    }
                    order = self.orders.recv() => match order {
                        Some(Order::Restart(_, other)) => {
                            let _ = other.send(Err(Error::new(ErrorCode::Unavailable, "another restart goes on")));
                        }
                        order => break Err(order),
                    }
                }
            }
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(order) => {
                self.retiring = before;
                return self.stop_for(order);
            }
        };
        match (opened, old) {
            (Ok(new), old) => {
                let (plugin, pid) = (spec.shown_plugin(), new.link.pid());
                tracing::info!(instance = shared.name, plugin, pid, "plugin is replaced");
                let patience = spec.limits.drain + spec.limits.stop_grace;
                self.failures = Failures::new(spec.limits.restart);
                shared.set_spec(spec.clone());
                shared.show(InstanceState::Running, Some(new.clone()));
                let _ = done.send(Ok(()));
                self.retiring = old.map(|old| {
                    let (shared, connection) = (shared.clone(), old.clone());
                    let task = tokio::spawn(async move {
                        shared.retire(&old, patience).await;
                    });
                    Retiring { connection, task }
                });
                Next::Attend(new)
            }
            (Err(OpenError { error, .. }), Some(old)) => {
                let plugin = spec.shown_plugin();
                tracing::error!(instance = shared.name, plugin, %error, "plugin does not start; the old one goes on");
                let _ = done.send(Err(error.clone()));
                shared.set_last_error(error);
                Next::Attend(old)
            }
            (Err(OpenError { error, .. }), None) => {
                let _ = done.send(Err(error.clone()));
                shared.set_last_error(error);
                self.after_failure(Duration::ZERO)
            }
        }
    }

    /// Lets go of a plugin that has ended. Who is told by the end of a call, and calls again, must not find it any more.
    fn crashed(&self, connection: &Connection, reason: &str, state: InstanceState) {
        tracing::error!(instance = self.shared.name, plugin = self.shared.plugin(), reason, "plugin has crashed");
        self.shared.set_last_error(Error::new(ErrorCode::Unavailable, reason));
        self.shared.show(state, None);
        connection.lose(reason);
        self.shared.bury(connection);
    }

    /// What follows when a plugin that had worked for so long has failed.
    fn after_failure(&mut self, worked: Duration) -> Next {
        match self.failures.failed_after(worked) {
            Verdict::RestartAfter(delay) => {
                tracing::info!(instance = self.shared.name, ?delay, "plugin is started again");
                Next::Wait(delay)
            }
            Verdict::GiveUp => {
                let (instance, plugin) = (&self.shared.name, self.shared.plugin());
                tracing::error!(instance, plugin, "plugin fails too often; it stays down until a reload");
                Next::StayDown
            }
        }
    }
}

/// [`Connection::ended`] of a connection that may be gone already.
async fn ended(connection: Option<&Connection>) -> String {
    match connection {
        Some(connection) => connection.ended().await,
        None => std::future::pending().await,
    }
}

/// A plugin that is ready to take over from `old`: it has answered hello, said what it offers, and is not worse.
async fn open_proven(
    spec: &InstanceSpec,
    services: Arc<dyn Services>,
    old: Option<&Connection>,
) -> Result<Arc<Connection>, OpenError> {
    let connection = Connection::open(spec, services).await?;
    match proven(&connection, old, spec.limits.start_timeout).await {
        Ok(()) => Ok(connection),
        Err(error) => {
            connection.lose(&error.message);
            Err(error.into())
        }
    }
}

/// One that is not well takes over from one that is not either: what it lacks, the other may lack as well.
async fn proven(new: &Connection, old: Option<&Connection>, within: Duration) -> Result<(), Error> {
    new.described(within).await?;
    let findings = new.unwell(within).await?;
    let (Some(findings), Some(old)) = (findings, old) else { return Ok(()) };
    match old.unwell(within).await {
        Ok(None) => {
            Err(Error::unavailable(format!("the new one is not well, and the old one is: {}", findings.join("; "))))
        }
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}
