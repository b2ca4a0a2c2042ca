//! The bus through NATS.
//!
//! The client connects again by itself, for ever. Words that cannot be sent now are kept (one entry per instance, no more) and sent
//! when it is back. It counts as there once a greeting came back: a server may let somebody in who may neither speak nor listen.

use super::{Bus, PAUSES, pause};
use async_nats::{ConnectOptions, Event, ServerAddr};
use futures::StreamExt;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a silent server is asked whether it is there.
const PING: Duration = Duration::from_secs(10);
/// How long handing a word over may take; it takes long only where the connection does not.
const SAY: Duration = Duration::from_secs(2);
/// How long a greeting may take to come back before the connection is made anew.
const GREETING: Duration = Duration::from_secs(10);
/// Words that wait to be heard; more are let go of, and are noticed late.
const WAITING: usize = 1024;

/// The servers, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsServers(Vec<ServerAddr>);

impl NatsServers {
    /// These addresses.
    ///
    /// # Errors
    ///
    /// What is wrong with the first that is none.
    pub fn parse(urls: &[impl AsRef<str>]) -> Result<Self, &'static str> {
        let parse = |url: &str| {
            let address: ServerAddr =
                url.parse().map_err(|_| "expected an address, e.g. nats://nats.example.com:4222")?;
            match address.scheme() {
                // It is shown.
                _ if address.has_user_pass() => Err("must hold no user or password; they have settings of their own"),
                "nats" | "tls" => Ok(address),
                _ => Err("must begin with nats:// or tls://"),
            }
        };
        urls.iter().map(|url| parse(url.as_ref())).collect::<Result<_, _>>().map(Self)
    }
}

/// The servers, and what this daemon shows them. `Debug` shows no secret.
#[derive(Clone)]
pub struct NatsAccess {
    /// The servers: one cluster.
    pub servers: NatsServers,
    /// A token.
    pub token: Option<String>,
    /// A user and their password.
    pub user: Option<(String, String)>,
    /// The text of a credentials file.
    pub credentials: Option<String>,
    /// Certificates of authorities to trust instead of those of the system: a PEM file.
    pub ca: Option<PathBuf>,
    /// What this daemon is called in the server's lists.
    pub name: String,
}

impl fmt::Debug for NatsAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsAccess").field("name", &self.name).finish_non_exhaustive()
    }
}

impl NatsAccess {
    fn options(&self) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new();
        if let Some(token) = &self.token {
            options = options.token(token.clone());
        }
        if let Some((user, password)) = &self.user {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let Some(credentials) = &self.credentials {
            // The error may repeat a part of them.
            options = options.credentials(credentials).map_err(|_| "the credentials are none".to_owned())?;
        }
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        Ok(options)
    }
}

/// Speaks and listens, for ever.
pub(super) async fn run(bus: &Bus, access: &NatsAccess, archive_id: &str) {
    let options = match access.options() {
        Ok(options) => options,
        Err(trouble) => return bus.lost(Some(trouble)),
    };
    let (connection, mut is_connected) = watch::channel(false);
    let told = bus.clone();
    let options = options
        .name(format!("steled {}", access.name))
        .connection_timeout(CONNECT)
        .ping_interval(PING)
        .subscription_capacity(WAITING)
        .reconnect_delay_callback(|attempts| pause(u32::try_from(attempts).unwrap_or(u32::MAX)))
        .event_callback(move |event| {
            match &event {
                Event::Connected => _ = connection.send_replace(true),
                Event::Disconnected | Event::Closed => {
                    connection.send_replace(false);
                    told.lost(None);
                }
                Event::ServerError(error) => told.lost(Some(error.to_string())),
                Event::ClientError(error) => told.lost_because(error.to_string()),
                Event::SlowConsumer(_) => (told.0.heard)(None),
                Event::LameDuckMode | Event::Draining => {}
            }
            std::future::ready(())
        });
    let subject = format!("stele.{archive_id}.commits");
    let mut failures = 0;
    let (client, mut words) = loop {
        // Not with the client's own patience: it keeps to itself what a certificate lacks.
        let subscribed = async {
            let client = options.clone().connect(access.servers.0.clone()).await.map_err(|error| error.to_string())?;
            let words = client.subscribe(subject.clone()).await.map_err(|error| error.to_string())?;
            Ok::<_, String>((client, words))
        };
        match subscribed.await {
            Ok(subscribed) => break subscribed,
            Err(trouble) => bus.lost(Some(trouble)),
        }
        tokio::time::sleep(pause(failures)).await;
        failures += 1;
    };
    let (mut greetings, mut greeting) = (0, String::new());
    let mut late = Instant::now();
    loop {
        let connected = *is_connected.borrow();
        tokio::select! {
            changed = is_connected.changed() => {
                if changed.is_err() {
                    return;
                }
                if *is_connected.borrow_and_update() {
                    greetings += 1;
                    greeting = bus.greeting(greetings).to_string();
                    late = Instant::now() + GREETING;
                    // What is not sent does not come back.
                    _ = tokio::time::timeout(SAY, client.publish(subject.clone(), greeting.clone().into())).await;
                }
            }
            () = tokio::time::sleep_until(late), if connected && !bus.is_connected() => {
                late = Instant::now() + GREETING;
                // An error says that the client has ended, and then so do its words.
                _ = client.force_reconnect().await;
            }
            word = words.next() => match word {
                Some(word) if word.payload == greeting.as_bytes() => bus.connected(),
                Some(word) => bus.hear(&word.payload),
                None => return bus.lost(Some("the subscription has ended".to_owned())),
            },
            word = bus.to_say(), if bus.is_connected() => {
                for word in word.split() {
                    let sent = client.publish(subject.clone(), word.to_string().into());
                    match tokio::time::timeout(SAY, sent).await {
                        Ok(Ok(())) => bus.said(),
                        Ok(Err(_)) | Err(_) => {
                            bus.unsay(word);
                            tokio::time::sleep(PAUSES.0).await;
                        }
                    }
                }
            }
        }
    }
}
