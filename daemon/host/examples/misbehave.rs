//! A plugin that does on request what no plugin should: the tests of the host survive it.
//!
//! `http.handle` takes the deed from the path, with its numbers after a slash; `media.fetch` from the handle.

use bytes::Bytes;
use stele_plugin_api::{
    Error, ErrorCode, Host, Plugin, Result, export_plugin,
    notify::Level,
    ops::{Description, Empty, HealthReport, HttpReply, HttpRequest, MediaChunk, MediaRequest, StateGet, StateKey},
    peer::ItemSink,
};

struct Misbehave {
    secret: String,
    host: Host,
}

#[derive(serde::Deserialize)]
struct Config {
    #[serde(default)]
    secret: String,
    /// What to do instead of opening.
    #[serde(default)]
    open: String,
}

impl Plugin for Misbehave {
    type Config = Config;
    const NAME: &'static str = "misbehave";
    const VERSION: &'static str = "1.0.0";
    const THREADS: usize = 2;

    async fn open(config: Config, host: Host) -> Result<Self> {
        match config.open.as_str() {
            "" => Ok(Self { secret: config.secret, host }),
            "abort" => std::process::abort(),
            "hang" => std::future::pending().await,
            "unavailable" => Err(Error::new(ErrorCode::Unavailable, "the upstream does not answer")),
            word => Err(Error::new(ErrorCode::Invalid, format!("open cannot be {word}"))),
        }
    }

    fn describe(&self) -> Description {
        let operations = ["describe", "health", "http.handle", "media.fetch"].map(String::from).to_vec();
        Description { name: Self::NAME.into(), version: Self::VERSION.into(), operations, ..Description::default() }
    }

    async fn health(&self) -> Result<HealthReport> {
        self.host.counter("healths_total", 1);
        Ok(HealthReport { ok: true, findings: Vec::new() })
    }

    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply> {
        let path = request.path.trim_start_matches('/');
        let (deed, number) = path.split_once('/').unwrap_or((path, "0"));
        let number: usize = number.parse().unwrap_or_default();
        let body = match deed {
            "echo" => request.body,
            "pid" => std::process::id().to_string().into(),
            "environment" => std::env::vars().map(|(name, _)| name + "\n").collect::<String>().into(),
            "panic" => panic!("with the secret {} in its text", self.secret),
            "abort" => std::process::abort(),
            "exit" => std::process::exit(i32::try_from(number).unwrap_or_default()),
            "hang" => std::future::pending().await,
            // Not even the runtime goes on.
            "block" => loop {
                std::thread::park();
            },
            // The thread of the runtime waits for the file that the body names.
            "block-until" => {
                let file = String::from_utf8_lossy(&request.body).into_owned();
                while !std::path::Path::new(&file).exists() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Bytes::new()
            }
            "huge" => vec![b'x'; number].into(),
            "noise" => {
                for line in 0..number {
                    println!("noise {line} on stdout");
                    eprintln!("noise {line} on stderr");
                }
                Bytes::new()
            }
            "log" => {
                self.host.log(Level::Info, "a line of the plugin", &[("number", &number.to_string())]);
                self.host.counter("deeds_total", 1);
                Bytes::new()
            }
            // The daemon may call this plugin again before it answers.
            "state" => {
                let key = String::from_utf8_lossy(&request.body).into_owned();
                self.host.call::<StateGet>(StateKey { key }).await?.value.unwrap_or_default()
            }
            _ => return Err(Error::new(ErrorCode::NotFound, "no such deed")),
        };
        Ok(HttpReply { status: 200, body, ..HttpReply::default() })
    }

    /// The handle is `items/bytes`: so many items of so many bytes, then what `resume` says.
    async fn media_fetch(&self, request: MediaRequest, sink: ItemSink<MediaChunk>) -> Result<Empty> {
        let (items, bytes) = request.handle.split_once('/').unwrap_or(("1", "1"));
        let (items, bytes): (u64, usize) = (items.parse().unwrap_or(1), bytes.parse().unwrap_or(1));
        for item in 0..items {
            let chunk = MediaChunk { resume: item.to_string(), last: item + 1 == items };
            sink.send(chunk, vec![item as u8; bytes].into()).await?;
        }
        match request.resume.as_str() {
            "abort" => std::process::abort(),
            "hang" => std::future::pending().await,
            _ => Ok(Empty {}),
        }
    }
}

export_plugin!(Misbehave);
