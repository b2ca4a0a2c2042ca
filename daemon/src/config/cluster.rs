//! `[cluster]`: this daemon among others on the same archive.

use super::Config;
use super::reader::Reader;
use super::secret::Secret;
use crate::bus::{NatsAccess, NatsServers};
use std::path::PathBuf;

/// Longest name of a daemon.
const MAX_NAME: usize = 32;

section! {
    /// `[cluster]`: this daemon among others on the same archive.
    pub struct Cluster {
        /// What this daemon is called in lists of jobs and at NATS, before its id. Empty: by its id alone.
        pub name: String = String::new(), |name: &String| name_is_valid(name);
        /// NATS servers, one cluster, through which daemons tell each other that something was committed. Empty: the database tells
        /// them, where it can.
        pub nats: Vec<String> = Vec::new(), |urls: &Vec<String>| Ok(NatsServers::parse(urls).map(drop)?);
        /// A token they ask for.
        pub nats_token: Option<Secret> = None;
        /// A user of theirs, and the password.
        pub nats_user: Option<Secret> = None;
        /// See `nats_user`.
        pub nats_password: Option<Secret> = None;
        /// The content of a credentials file of theirs.
        pub nats_credentials: Option<Secret> = None;
        /// Certificates of authorities to trust instead of those of the system (PEM file).
        pub nats_ca: Option<PathBuf> = None;
    }
}

impl Cluster {
    /// How the NATS servers are reached by a daemon of this name, if there are any.
    pub fn access(&self, daemon: &str) -> Option<NatsAccess> {
        let servers = NatsServers::parse(&self.nats).ok().filter(|_| !self.nats.is_empty())?;
        let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        Some(NatsAccess {
            servers,
            token: text(&self.nats_token),
            user: text(&self.nats_user).zip(text(&self.nats_password)),
            credentials: text(&self.nats_credentials),
            ca: self.nats_ca.clone(),
            name: daemon.to_owned(),
        })
    }
}

fn name_is_valid(name: &str) -> Result<(), String> {
    let is_word = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    match is_word && name.len() <= MAX_NAME {
        true => Ok(()),
        false => Err(format!("expected at most {MAX_NAME} of a-z, 0-9 and -, found {name:?}")),
    }
}

/// What belongs together is there together, and what shows who this is only once.
pub(super) fn cross_check(config: &Config, reader: &mut Reader<'_>) {
    let Cluster { nats, nats_token, nats_user, nats_password, nats_credentials, .. } = &config.cluster;
    let shown = [
        ("nats_token", nats_token.is_some()),
        ("nats_user", nats_user.is_some() || nats_password.is_some()),
        ("nats_credentials", nats_credentials.is_some()),
    ];
    let shown: Vec<&str> = shown.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect();
    if nats_user.is_some() != nats_password.is_some() {
        reader.problem_at("cluster.nats_user", "nats_user and nats_password belong together");
    }
    if shown.len() > 1 {
        reader.problem_at("cluster.nats", format!("one of {} is enough", shown.join(", ")));
    }
    if nats.is_empty() && !shown.is_empty() && !reader.has_problem_at("cluster.nats") {
        reader.problem_at("cluster.nats", format!("is missing: {} is for the servers named there", shown.join(", ")));
    }
}
