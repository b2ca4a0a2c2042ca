//! The plugin: operations of the boundary, handed to whoever does them.

use crate::api::{self, ApiState};
use crate::config::Config;
use crate::corp::{Corp, Provided};
use crate::directory::Directory;
use crate::health;
use crate::lost::Lost;
use crate::media;
use crate::sync::Sync;
use crate::vendor::{self, Fault, Library};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use stele_plugin_api::model::{Micros, Page};
use stele_plugin_api::notify::Level;
use stele_plugin_api::ops::{
    Description, Empty, HealthReport, HttpReply, HttpRequest, MediaChunk, MediaRequest, Partition, Partitions,
    PullRequest, RecoverRequest,
};
use stele_plugin_api::{Error, ErrorCode, Host, ItemSink, Mistake, Plugin};

/// How often to ask WeCom for messages: every minute. Its own notification comes every 15 seconds at most.
const DEFAULT_SYNC: &str = "0 * * * * *";
/// How often to ask for names: four times a day.
const DEFAULT_DIRECTORY: &str = "0 17 */6 * * *";

/// An instance: any number of corps, one library.
pub struct Wecom {
    api: ApiState,
    corps: Vec<Archived>,
    lost: Arc<Lost>,
    library: Option<Fault>,
}

/// One corp and what works on it.
struct Archived {
    corp: Arc<Corp>,
    sync: Sync,
    directory: Directory,
}

impl Wecom {
    /// An instance whose library is this one; [`Plugin::open`] brings the configured one.
    pub fn with_library(config: &Config, host: &Host, library: &Provided) -> Self {
        let lost = Lost::new(host.clone());
        let archived = |corp: &crate::config::Corp| {
            let corp = Arc::new(Corp::new(corp.clone(), config, library, &lost));
            Archived {
                sync: Sync::new(Arc::clone(&corp), config.page_limit, host),
                directory: Directory::new(Arc::clone(&corp), host, &config.api_base),
                corp,
            }
        };
        let this = Self {
            api: ApiState::new(host.clone(), config),
            corps: config.corp.iter().map(archived).collect(),
            lost,
            library: library.as_ref().err().cloned(),
        };
        for finding in &this.report().findings {
            host.log(Level::Warn, finding.as_str(), &[]);
        }
        this
    }

    fn archived(&self, partition: &str) -> Result<&Archived, Error> {
        let known = self.corps.iter().find(|archived| archived.corp.id() == partition);
        // Not `not-found`: with the corp configured again everything of it is there.
        known.ok_or_else(|| Error::new(ErrorCode::Denied, format!("corp `{partition}` is not configured")))
    }

    fn report(&self) -> HealthReport {
        health::report(self.library.as_ref(), &self.lost, self.corps.iter().map(|archived| &*archived.corp))
    }
}

impl Plugin for Wecom {
    type Config = Config;
    const NAME: &'static str = "wecom";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    /// One for pages of a sync, one for the API, so that neither waits for the other.
    const THREADS: usize = 2;

    fn mistakes(config: &Config) -> Vec<Mistake> {
        config.mistakes()
    }

    async fn open(config: Config, host: Host) -> Result<Self, Error> {
        let (path, isolated) = (config.library.clone(), host.is_isolated());
        let provide = move || provide(&path, isolated);
        let library = tokio::task::spawn_blocking(provide)
            .await
            .unwrap_or_else(|_| Err(Fault::Unusable("loading it panicked".to_owned())));
        Ok(Self::with_library(&config, &host, &library))
    }

    fn describe(&self) -> Description {
        let operations =
            ["health", "sync.discover", "sync.pull", "sync.recover", "directory.pull", "media.fetch", "http.handle"];
        Description {
            name: Self::NAME.to_owned(),
            version: Self::VERSION.to_owned(),
            summary: "WeCom message archive and the msg-server API".to_owned(),
            operations: operations.map(str::to_owned).to_vec(),
            default_sync: Some(DEFAULT_SYNC.to_owned()),
            default_directory: Some(DEFAULT_DIRECTORY.to_owned()),
            default_listen: Some(api::DEFAULT_LISTEN.to_owned()),
            default_rate: Some(api::DEFAULT_RATE),
            error_template: Some(api::ERROR_TEMPLATE.to_owned()),
            ..Description::default()
        }
    }

    async fn health(&self) -> Result<HealthReport, Error> {
        Ok(self.report())
    }

    async fn sync_discover(&self, _: Empty) -> Result<Partitions, Error> {
        let partition = |archived: &Archived| Partition {
            key: archived.corp.id().to_owned(),
            title: archived.corp.config.title().to_owned(),
        };
        Ok(Partitions { partitions: self.corps.iter().map(partition).collect() })
    }

    async fn sync_pull(&self, request: PullRequest) -> Result<Page, Error> {
        self.archived(&request.partition)?.sync.pull(&request, now()).await
    }

    async fn sync_recover(&self, request: RecoverRequest) -> Result<Page, Error> {
        self.archived(&request.partition)?.sync.recover(request).await
    }

    async fn directory_pull(&self, request: PullRequest) -> Result<Page, Error> {
        self.archived(&request.partition)?.directory.pull(&request, now()).await
    }

    async fn http_handle(&self, request: HttpRequest) -> Result<HttpReply, Error> {
        Ok(api::handle(&self.api, request).await)
    }

    async fn media_fetch(&self, request: MediaRequest, sink: ItemSink<MediaChunk>) -> Result<Empty, Error> {
        let corp = Arc::clone(&self.archived(&request.partition)?.corp);
        media::fetch(&corp, request, &sink).await
    }

    async fn close(&self) {
        for archived in &self.corps {
            archived.sync.close().await;
        }
    }
}

/// Loads the configured library, in a process that is the plugin's own. It can take its process down and prints access
/// tokens to the standard output; in the daemon's process the one would hurt everybody, and the other could only be kept
/// out of the logs by silencing the daemon.
fn provide(path: &str, isolated: bool) -> Provided {
    if path.is_empty() {
        return Err(Fault::Unusable("`library` is not set".to_owned()));
    }
    if !isolated {
        let reason = "it is only loaded in a process of its own (carrier = \"child\")";
        return Err(Fault::Unusable(reason.to_owned()));
    }
    let path = Path::new(path);
    vendor::silence_stdout()
        .map_err(|error| Fault::Unusable(format!("its output cannot be kept out of the logs: {error}")))?;
    let library = Library::load(path)?;
    Ok((Arc::new(library), identity(path)))
}

/// Tells one library file from another: a newer one may survive what an older one died of.
fn identity(path: &Path) -> String {
    let metadata = path.metadata().ok();
    let length = metadata.as_ref().map_or(0, std::fs::Metadata::len);
    let modified = metadata.and_then(|metadata| metadata.modified().ok());
    let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default().as_secs();
    format!("{} ({length} bytes, {modified})", path.display())
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}
