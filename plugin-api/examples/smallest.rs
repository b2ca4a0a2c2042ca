//! The smallest useful plugin: a listener that answers every request with a greeting from its configuration.

use stele_plugin_api::ops::{Description, HttpReply, HttpRequest};
use stele_plugin_api::{Host, Plugin, Result, export_plugin};

struct Greeter {
    greeting: String,
}

#[derive(serde::Deserialize)]
struct Config {
    greeting: String,
}

impl Plugin for Greeter {
    type Config = Config;
    const NAME: &'static str = "greeter";
    const VERSION: &'static str = "1.0.0";

    async fn open(config: Config, _host: Host) -> Result<Self> {
        Ok(Self { greeting: config.greeting })
    }

    fn describe(&self) -> Description {
        let operations = ["describe", "health", "http.handle"].map(String::from).to_vec();
        Description { name: Self::NAME.into(), version: Self::VERSION.into(), operations, ..Description::default() }
    }

    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply> {
        let body = format!("{}, {}\n", self.greeting, request.path);
        Ok(HttpReply { status: 200, body: body.into(), ..HttpReply::default() })
    }
}

export_plugin!(Greeter);
