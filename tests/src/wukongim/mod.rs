//! WuKongIM's message API as its callers see it (contract 001): an instance of it, requests, and a receiver of its webhooks.

mod api;
mod receiver;

pub use api::{Api, Message, Page, Reply, Sent, encoded};
pub use receiver::{Receiver, Told};

use crate::daemon::{Site, free_address};
use anyhow::Result;

/// A configured instance.
#[derive(Clone, Debug)]
pub struct Wukongim {
    /// Name of the instance.
    pub name: String,
    /// Address of its listener.
    pub listen: String,
    /// More of `[[instance]]`.
    pub instance: String,
    /// `[instance.config]`.
    pub config: String,
}

impl Wukongim {
    /// One at a free address, without a limit of requests.
    pub fn new(name: &str, config: &str) -> Result<Self> {
        let (name, config) = (name.to_owned(), config.to_owned());
        Ok(Self { name, listen: free_address()?, instance: "rate_limit = 0".into(), config })
    }

    /// Its section of the configuration.
    pub fn toml(&self) -> String {
        let Self { name, listen, instance, config } = self;
        format!(
            "[[instance]]\nname = \"{name}\"\nplugin = \"wukongim\"\nlisten = \"{listen}\"\n{instance}\n\
             [instance.config]\n{config}\n"
        )
    }

    /// A caller of its API.
    pub fn api(&self) -> Api {
        Api::new(&self.listen)
    }
}

/// A daemon with these instances and nothing else; `sections` are more of its file, e.g. `[http]`.
pub fn site(instances: &[Wukongim], sections: &str) -> Result<Site> {
    let instances: Vec<_> = instances.iter().map(Wukongim::toml).collect();
    Site::of(format!("{sections}\n{}", instances.join("\n")))
}
