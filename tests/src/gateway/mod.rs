//! The gateway as its callers see it: an instance of it, its tokens, its API (contracts 003 and 004).

mod api;
mod token;

pub use api::{Api, Reply, Sent};
pub use token::{Claims, jwt, sign, token};

use crate::daemon::{Site, free_address};
use anyhow::Result;

/// Signs the tokens of every test.
pub const KEY: &str = "the key of the tests' tokens, thirty-two bytes and more";

/// A configured gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Name of the instance.
    pub name: String,
    /// Address of its listener.
    pub listen: String,
    /// Signs its tokens.
    pub key: String,
    /// More of `[[instance]]`.
    pub instance: String,
    /// More of `[instance.config]`.
    pub config: String,
}

impl Gateway {
    /// One at a free address, without a limit of requests.
    pub fn new(name: &str, config: &str) -> Result<Self> {
        let (name, config) = (name.to_owned(), config.to_owned());
        Ok(Self { name, listen: free_address()?, key: KEY.into(), instance: "rate_limit = 0".into(), config })
    }

    /// Its section of the configuration.
    pub fn toml(&self) -> String {
        let Self { name, listen, key, instance, config } = self;
        let key = serde_json::to_string(key).expect("text has a JSON form");
        format!(
            "[[instance]]\nname = \"{name}\"\nplugin = \"gateway\"\nlisten = \"{listen}\"\n{instance}\n\
             [instance.config]\njwt_keys = [{key}]\n{config}\n"
        )
    }

    /// A caller of its API.
    pub fn api(&self) -> Api {
        Api::new(&self.listen)
    }
}

/// A daemon with these gateways and nothing else; `sections` are more of its file, e.g. `[live]`.
pub fn site(gateways: &[Gateway], sections: &str) -> Result<Site> {
    let instances: Vec<_> = gateways.iter().map(Gateway::toml).collect();
    Site::of(format!("{sections}\n{}", instances.join("\n")))
}
