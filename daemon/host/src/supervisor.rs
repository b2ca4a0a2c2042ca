//! Keeps a plugin alive.
//!
//! One task per instance: it starts the plugin, notices its end and its [silence](crate::watchdog), starts it again after a while, and gives up when that is no
//! use. What is not worth a second try (a file that is no plugin, a configuration the plugin refuses) fails at once.
//!
//! A reload starts a second life of the plugin, moves new calls to it, lets the calls of the first one finish, and then ends
//! that. Until the second one has answered hello nothing changes, so that a broken update costs nothing.

use crate::{
    backoff::{CrashLog, Verdict},
    connection::{Connection, OpenError},
    instance::Shared,
    spec::InstanceState,
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
    time::{interval, sleep},
};

/// How often numbers that nobody asks for are published.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);

/// Keeps one plugin alive.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    crashes: CrashLog,
}

/// What a handle asks of its supervisor.
pub(crate) enum Order {
    /// A new life of the plugin.
    Restart(oneshot::Sender<Result<(), Error>>),
    /// The end, after this grace.
    Stop(Duration, oneshot::Sender<()>),
}

/// Who waits for a new life of the plugin.
type Waiting = Vec<oneshot::Sender<Result<(), Error>>>;

/// What the supervisor does next.
enum Next {
    Start(Waiting),
    Attend(Arc<Connection>),
    Wait(Duration),
    StayDown,
    Stop(Duration, Option<oneshot::Sender<()>>),
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, orders: mpsc::Receiver<Order>) -> Self {
        let crashes = CrashLog::new(shared.spec.limits.restart);
        Self { shared, orders, crashes }
    }

    pub(crate) async fn run(mut self) {
        let mut next = Next::Start(Waiting::new());
        loop {
            next = match next {
                Next::Start(waiting) => self.start(waiting).await,
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
                Next::Start(Waiting::new())
            }
            order = self.orders.recv() => self.obey_while_down(order),
        }
    }

    async fn stop(&mut self, grace: Duration, done: Option<oneshot::Sender<()>>) {
        let connection = self.shared.show(InstanceState::Stopped, None);
        // Orders that come from now on find nobody.
        self.orders.close();
        if let Some(connection) = connection {
            let exit = connection.retire(grace).await;
            self.shared.bury(&connection);
            tracing::info!(instance = self.shared.spec.name, %exit, "plugin has stopped");
        }
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
            Some(Order::Restart(waiting)) => {
                self.crashes.forget();
                Next::Start(vec![waiting])
            }
            order => self.stop_for(order),
        }
    }

    fn stop_for(&self, order: Option<Order>) -> Next {
        match order {
            Some(Order::Stop(grace, done)) => Next::Stop(grace, Some(done)),
            // The last handle is gone.
            _ => Next::Stop(self.shared.spec.limits.stop_grace, None),
        }
    }

    /// Starts the plugin when none is there.
    async fn start(&mut self, mut waiting: Waiting) -> Next {
        self.shared.show(InstanceState::Starting, None);
        let shared = self.shared.clone();
        let mut opening = pin!(Connection::open(&shared.spec, shared.services.clone()));
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                order = self.orders.recv() => match order {
                    // It has begun already.
                    Some(Order::Restart(also)) => waiting.push(also),
                    order => return self.stop_for(order),
                }
            }
        };
        match opened {
            Ok(connection) => {
                tracing::info!(instance = shared.spec.name, pid = connection.link.pid(), "plugin is running");
                shared.show(InstanceState::Running, Some(connection.clone()));
                tell(waiting, &Ok(()));
                Next::Attend(connection)
            }
            Err(OpenError { error, permanent }) => {
                tracing::error!(instance = shared.spec.name, %error, "plugin does not start");
                tell(waiting, &Err(error.clone()));
                shared.set_last_error(error);
                if permanent { Next::StayDown } else { self.after_crash() }
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
                    reason = connection.ended() => break Err(reason),
                    reason = &mut hung => break Err(reason),
                    order = self.orders.recv() => break Ok(order),
                    _ = publish.tick() => {
                        let in_flight = connection.peer.calls_in_flight().0;
                        shared.measures.publish(in_flight, shared.late_frames(Some(&connection)));
                    }
                }
            }
        };
        match next {
            Ok(Some(Order::Restart(waiting))) => self.replace(connection, vec![waiting]).await,
            Ok(order) => self.stop_for(order),
            Err(reason) => {
                let next = self.after_crash();
                let state =
                    if matches!(next, Next::StayDown) { InstanceState::Failed } else { InstanceState::Restarting };
                self.crashed(&connection, &reason, state);
                next
            }
        }
    }

    /// Starts a new life, moves the calls to it, and ends the old one behind everybody's back.
    async fn replace(&mut self, old: Arc<Connection>, mut waiting: Waiting) -> Next {
        let shared = self.shared.clone();
        let mut opening = pin!(Connection::open(&shared.spec, shared.services.clone()));
        let mut old = Some(old);
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                reason = ended(old.as_deref()) => {
                    // Its calls fail now; those that are made from now on wait for the new one.
                    if let Some(old) = old.take() {
                        self.crashed(&old, &reason, InstanceState::Starting);
                    }
                }
                order = self.orders.recv() => match order {
                    Some(Order::Restart(also)) => waiting.push(also),
                    order => return self.stop_for(order),
                }
            }
        };
        match (opened, old) {
            (Ok(new), old) => {
                tracing::info!(instance = shared.spec.name, pid = new.link.pid(), "plugin is replaced");
                self.crashes.forget();
                shared.show(InstanceState::Running, Some(new.clone()));
                tell(waiting, &Ok(()));
                if let Some(old) = old {
                    let shared = shared.clone();
                    tokio::spawn(async move {
                        old.retire(shared.spec.limits.stop_grace).await;
                        shared.bury(&old);
                    });
                }
                Next::Attend(new)
            }
            (Err(OpenError { error, .. }), Some(old)) => {
                tracing::error!(instance = shared.spec.name, %error, "plugin does not start; the old one goes on");
                tell(waiting, &Err(error.clone()));
                shared.set_last_error(error);
                Next::Attend(old)
            }
            (Err(OpenError { error, .. }), None) => {
                tell(waiting, &Err(error.clone()));
                shared.set_last_error(error);
                self.after_crash()
            }
        }
    }

    /// Lets go of a plugin that has ended. Who is told by the end of a call, and calls again, must not find it any more.
    fn crashed(&self, connection: &Connection, reason: &str, state: InstanceState) {
        tracing::error!(instance = self.shared.spec.name, reason, "plugin has crashed");
        self.shared.set_last_error(Error::new(ErrorCode::Unavailable, reason));
        self.shared.show(state, None);
        connection.lose(reason);
        self.shared.bury(connection);
    }

    fn after_crash(&mut self) -> Next {
        match self.crashes.crashed(Instant::now()) {
            Verdict::RestartAfter(delay) => {
                tracing::info!(instance = self.shared.spec.name, ?delay, "plugin is started again");
                Next::Wait(delay)
            }
            Verdict::GiveUp => {
                let instance = &self.shared.spec.name;
                tracing::error!(instance, "plugin crashes too often; it stays down until somebody restarts it");
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

fn tell(waiting: Waiting, outcome: &Result<(), Error>) {
    for waiting in waiting {
        // Who does not wait any more need not know.
        let _ = waiting.send(outcome.clone());
    }
}
