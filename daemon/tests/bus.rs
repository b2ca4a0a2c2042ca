//! The bus between daemons, over real servers.

use std::sync::{Arc, LazyLock};
use std::time::Duration;
use stele_archive::InstanceId;
use stele_servers::{Durability, Nats, Postgres, skip::skip};
use stele_store::{PostgresArchive, PostgresOptions, PostgresUrl};
use steled::bus::{Bus, Carrier, NatsAccess, NatsServers};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long nothing may come that must not.
const SILENCE: Duration = Duration::from_millis(300);

/// A daemon, as far as the bus is concerned.
struct Daemon {
    bus: Bus,
    heard: mpsc::UnboundedReceiver<Option<InstanceId>>,
    _stop: DropGuard,
}

impl Daemon {
    /// Of an archive, once it hears others.
    async fn of(archive_id: &str, carrier: Carrier) -> Self {
        let (hears, heard) = mpsc::unbounded_channel();
        let hears = move |instance| _ = hears.send(instance);
        let bus = Bus::new(carrier, archive_id.to_owned(), Arc::new(hears));
        let stop = CancellationToken::new();
        let (running, until) = (bus.clone(), stop.clone());
        tokio::spawn(async move { running.run(until).await });
        let mut daemon = Self { bus, heard, _stop: stop.drop_guard() };
        assert_eq!(daemon.next().await, None, "once it is there anything may have come");
        daemon
    }

    /// What is heard next.
    async fn next(&mut self) -> Option<InstanceId> {
        tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("something is heard").expect("the bus lives")
    }

    /// Waits until this instance was heard of.
    async fn hears_of(&mut self, instance: i64) {
        while self.next().await != Some(InstanceId(instance)) {}
    }

    async fn hears_nothing(&mut self) {
        let heard = tokio::time::timeout(SILENCE, self.heard.recv()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "the condition did not come true in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What holds over every carrier.
async fn commits_are_heard_of(carrier: impl AsyncFn() -> Carrier) {
    let (mut one, mut two) = (Daemon::of("a1", carrier().await).await, Daemon::of("a1", carrier().await).await);
    let mut stranger = Daemon::of("b2", carrier().await).await;
    one.bus.tell(InstanceId(7));
    assert_eq!(two.next().await, Some(InstanceId(7)));
    two.bus.tell(InstanceId(8));
    assert_eq!(one.next().await, Some(InstanceId(8)), "and nothing of oneself");
    // A burst is few words.
    (0..10_000).for_each(|_| one.bus.tell(InstanceId(9)));
    two.hears_of(9).await;
    two.hears_nothing().await;
    (1000..2000).for_each(|instance| one.bus.tell(InstanceId(instance)));
    two.hears_of(1999).await;
    stranger.hears_nothing().await;
    assert_eq!([&one, &two, &stranger].map(|daemon| daemon.bus.finding()), [None, None, None]);
}

#[tokio::test]
async fn alone_nobody_is_told() {
    let heard = |instance| panic!("{instance:?} was heard of");
    let bus = Bus::new(Carrier::None, "a1".to_owned(), Arc::new(heard));
    bus.tell(InstanceId(1));
    bus.run(CancellationToken::new()).await;
    assert_eq!(bus.finding(), None);
}

fn nats() -> Option<Nats> {
    match Nats::start() {
        Ok(nats) => Some(nats),
        Err(error) => {
            skip("the bus through NATS", &format!("no server can be started: {error:#}"));
            None
        }
    }
}

fn through(address: &str) -> Carrier {
    let servers = NatsServers::parse(&[format!("nats://{address}")]).expect("an address");
    Carrier::Nats(NatsAccess { servers, token: None, user: None, credentials: None, ca: None, name: "test".to_owned() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_heard_of_through_nats() {
    let Some(nats) = nats() else { return };
    commits_are_heard_of(async || through(nats.address())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_that_was_away_costs_nothing_that_was_said() {
    let Some(nats) = nats() else { return };
    let address = nats.address().to_owned();
    let (one, mut two) = (Daemon::of("a1", through(&address)).await, Daemon::of("a1", through(&address)).await);
    drop(nats);
    until(|| one.bus.finding().is_some() && two.bus.finding().is_some()).await;
    (1..=1000).for_each(|_| one.bus.tell(InstanceId(5)));
    two.hears_nothing().await;
    let _again = Nats::start_at(&address).expect("starts again");
    assert_eq!(two.next().await, None, "anything may have come meanwhile");
    until(|| one.bus.finding().is_none() && two.bus.finding().is_none()).await;
    one.bus.tell(InstanceId(6));
    two.hears_of(6).await;
}

#[tokio::test]
async fn a_nats_that_is_not_there_yet_keeps_nobody_from_starting() {
    let address = stele_servers::free_address().expect("an address");
    let (hears, mut heard) = mpsc::unbounded_channel();
    let bus = Bus::new(through(&address), "a1".to_owned(), Arc::new(move |instance| _ = hears.send(instance)));
    let stop = CancellationToken::new();
    let (running, until_then) = (bus.clone(), stop.clone());
    let runs = tokio::spawn(async move { running.run(until_then).await });
    bus.tell(InstanceId(1));
    assert!(bus.finding().is_some());
    assert!(heard.try_recv().is_err());
    stop.cancel();
    tokio::time::timeout(PATIENCE, runs).await.expect("it ends").expect("no panic");
}

static POSTGRES: LazyLock<Option<Postgres>> = LazyLock::new(|| match Postgres::start(Durability::None) {
    Ok(server) => Some(server),
    Err(error) => {
        skip("the bus through Postgres", &format!("no server can be started: {error:#}"));
        None
    }
});

async fn open(url: &str) -> PostgresArchive {
    PostgresArchive::open(&PostgresOptions::new(PostgresUrl::new(url))).await.expect("opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_heard_of_through_postgres() {
    let Some(server) = POSTGRES.as_ref() else { return };
    let url = server.database().expect("a database");
    commits_are_heard_of(async || Carrier::Notify(open(&url).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_is_made_again() {
    let Some(server) = POSTGRES.as_ref() else { return };
    let url = server.database().expect("a database");
    let one = Daemon::of("a1", Carrier::Notify(open(&url).await)).await;
    let mut two = Daemon::of("a1", Carrier::Notify(open(&url).await)).await;
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
    server.psql(&url, ended).expect("their connections are ended");
    assert_eq!(two.next().await, None, "anything may have come meanwhile");
    until(|| one.bus.finding().is_none() && two.bus.finding().is_none()).await;
    one.bus.tell(InstanceId(6));
    two.hears_of(6).await;
}
