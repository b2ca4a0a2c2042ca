//! OpenIM's API as its callers see it (contract 002): an instance of it, tokens, and requests.

mod api;

pub use api::{Api, ChatLog, Found, Hit, Reply, Sent};

use crate::daemon::{Site, free_address};
use crate::gateway::jwt;
use anyhow::Result;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The secret of the tests.
pub const SECRET: &str = "the secret of the tests";
/// Who may search.
pub const ADMIN: &str = "imAdmin";

/// A configured instance.
#[derive(Clone, Debug)]
pub struct Openim {
    /// Name of the instance.
    pub name: String,
    /// Address of its listener.
    pub listen: String,
    /// What tokens are signed with.
    pub secret: String,
    /// More of `[[instance]]`.
    pub instance: String,
    /// `[instance.config]` beside the secret.
    pub config: String,
}

impl Openim {
    /// One at a free address, without a limit of requests.
    pub fn new(name: &str, config: &str) -> Result<Self> {
        let (name, secret, config) = (name.to_owned(), SECRET.to_owned(), config.to_owned());
        Ok(Self { name, listen: free_address()?, secret, instance: "rate_limit = 0".into(), config })
    }

    /// Its section of the configuration.
    pub fn toml(&self) -> String {
        let Self { name, listen, secret, instance, config } = self;
        format!(
            "[[instance]]\nname = \"{name}\"\nplugin = \"openim\"\nlisten = \"{listen}\"\n{instance}\n\
             [instance.config]\nsecret = \"{secret}\"\n{config}\n"
        )
    }

    /// A caller of its API, with a token of an admin.
    pub fn api(&self) -> Api {
        Api::new(&self.listen, &jwt("HS256", &claims(ADMIN), &self.secret))
    }
}

/// What a good token of this user says: valid for an hour.
pub fn claims(user: &str) -> Value {
    let now = now();
    json!({ "UserID": user, "PlatformID": 10, "exp": now + 3600, "iat": now - 5 })
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// A daemon with these instances and nothing else; `sections` are more of its file, e.g. `[http]`.
pub fn site(instances: &[Openim], sections: &str) -> Result<Site> {
    let instances: Vec<_> = instances.iter().map(Openim::toml).collect();
    Site::of(format!("{sections}\n{}", instances.join("\n")))
}
