//! The bus between daemons, over real servers.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};
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
    nats_with("")
}

/// One of this configuration.
fn nats_with(config: &str) -> Option<Nats> {
    let address = stele_servers::free_address().expect("an address");
    match Nats::start_with(&address, config) {
        Ok(nats) => Some(nats),
        Err(error) => {
            skip("the bus through NATS", &format!("no server can be started: {error:#}"));
            None
        }
    }
}

/// Shown nothing.
fn access(url: &str) -> NatsAccess {
    let servers = NatsServers::parse(&[url]).expect("an address");
    NatsAccess { servers, token: None, user: None, credentials: None, ca: None, name: "test".to_owned() }
}

fn through(address: &str) -> Carrier {
    Carrier::Nats(access(&format!("nats://{address}")))
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

/// Who shows `right` hears others; who shows `wrong` does not, and is told why, but not what they showed.
async fn is_let_in(nats: &Nats, right: impl Fn(&mut NatsAccess), wrong: impl Fn(&mut NatsAccess), why: &str) {
    let shown = |show: &dyn Fn(&mut NatsAccess)| {
        let mut access = access(&nats.url());
        show(&mut access);
        Carrier::Nats(access)
    };
    commits_are_heard_of(async || shown(&right)).await;
    for show in [&wrong as &dyn Fn(&mut NatsAccess), &|_| {}] {
        let (_bus, finding) = found(shown(show)).await;
        assert!(finding.contains(why) && !finding.contains("wrong"), "{finding}");
    }
}

/// What a daemon that does not hear others says of it.
async fn found(carrier: Carrier) -> (DropGuard, String) {
    let bus = Bus::new(carrier, "a1".to_owned(), Arc::new(|_| {}));
    let stop = CancellationToken::new();
    let (running, until_then) = (bus.clone(), stop.clone());
    tokio::spawn(async move { running.run(until_then).await });
    bus.tell(InstanceId(1));
    until(|| bus.finding().is_some_and(|finding| finding.contains("NATS cannot be used: "))).await;
    (stop.drop_guard(), bus.finding().expect("it stays so"))
}

const REFUSED: &str = "authorization violation";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_lets_in() {
    let Some(nats) = nats_with("authorization { token: right }") else { return };
    let show = |token: &'static str| move |access: &mut NatsAccess| access.token = Some(token.to_owned());
    is_let_in(&nats, show("right"), show("wrong"), REFUSED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_and_their_password_let_in() {
    let Some(nats) = nats_with("authorization { user: stele, password: right }") else { return };
    let show = |password: &'static str| {
        move |access: &mut NatsAccess| access.user = Some(("stele".to_owned(), password.to_owned()))
    };
    is_let_in(&nats, show("right"), show("wrong"), REFUSED).await;
}

/// A signed statement of NATS about whoever has this key.
fn statement(signer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string().as_bytes());
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let (issuer, subject) = (signer.public_key(), subject.public_key());
    let body = json!({ "jti": "1", "iat": 1, "iss": issuer, "sub": subject, "name": "stele", "nats": claims });
    let signed = format!("{}.{}", encode(&header), encode(&body));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).expect("signs"));
    format!("{signed}.{signature}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_let_in() {
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1 });
    let of_operator = statement(&operator, &operator, &json!({ "type": "operator", "version": 2 }));
    let of_account = statement(&operator, &account, &json!({ "type": "account", "version": 2, "limits": limits }));
    let preload = format!("{{ {}: \"{of_account}\" }}", account.public_key());
    let config = format!("operator: \"{of_operator}\"\nresolver: MEMORY\nresolver_preload: {preload}");
    let Some(nats) = nats_with(&config) else { return };
    let credentials = |signer: &KeyPair| {
        let user = KeyPair::new_user();
        let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let (of_user, seed) = (statement(signer, &user, &claims), user.seed().expect("has one"));
        format!(
            "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    };
    let show = |text: String| move |access: &mut NatsAccess| access.credentials = Some(text.clone());
    is_let_in(&nats, show(credentials(&account)), show(credentials(&KeyPair::new_account())), REFUSED).await;
    let odd = NatsAccess { credentials: Some("wrong".to_owned()), ..access(&nats.url()) };
    let (_bus, finding) = found(Carrier::Nats(odd)).await;
    assert!(finding.ends_with("the credentials are none"), "{finding}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_of_a_trusted_authority_is_spoken_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("is written");
        path
    };
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("is made");
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("is made");
    let (certificate, key) =
        (write("certificate.pem", made.cert.pem()), write("key.pem", made.signing_key.serialize_pem()));
    let stranger = write("other.pem", other.cert.pem());
    let config = format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}");
    let Some(nats) = nats_with(&config) else { return };
    // Also where the address does not ask for it: the server does.
    let trust = |ca: &std::path::Path| {
        let ca = ca.to_owned();
        move |access: &mut NatsAccess| access.ca = Some(ca.clone())
    };
    is_let_in(&nats, trust(&certificate), trust(&stranger), "certificate").await;
    let address = format!("tls://{}", nats.address());
    let asked = async || Carrier::Nats(NatsAccess { ca: Some(certificate.clone()), ..access(&address) });
    commits_are_heard_of(asked).await;
}

/// Whoever is let in and may neither speak nor listen hears nothing, which is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_listen_is_told() {
    for permissions in ["subscribe: none", "publish: none"] {
        let users = format!("users = [{{ user: stele, password: right, permissions: {{ {permissions} }} }}]");
        let Some(nats) = nats_with(&format!("authorization {{ {users} }}")) else { return };
        let access = NatsAccess { user: Some(("stele".to_owned(), "right".to_owned())), ..access(&nats.url()) };
        let (_bus, finding) = found(Carrier::Nats(access)).await;
        assert!(finding.contains("Permissions Violation") && finding.contains("stele.a1.commits"), "{finding}");
    }
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
