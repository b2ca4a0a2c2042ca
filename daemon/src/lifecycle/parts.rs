//! The parts that do not depend on instances: lock, archive, index, tailer, jobs, services, live delivery.

use super::answering::Answering;
use super::error::StartError;
use super::feeder::Feeder;
use super::identity;
use super::lock::DataLock;
use super::presence::Presence;
use super::store::Store;
use crate::bus::{Bus, Carrier};
use crate::config::{self, Config, ContentStore, Engine};
use crate::http::admin::Reindexing;
use crate::jobs::{JobOptions, Jobs};
use crate::live::{self, Archived, Hubs};
use crate::media::{Links, MediaStore, Owner, S3Options};
use crate::services::{Commits, DaemonServices, FetchLimits, HttpClient};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stele_archive::{Archive, Clock, InstanceId, SystemClock};
use stele_search::{
    EmbeddedIndex, EmbeddedOptions, IndexError, MeiliIndex, MeiliOptions, ReindexProgress, SearchIndex, Searcher,
    TailError, Tailer, TailerOptions,
};

/// Folder of the index in the data folder.
const INDEX: &str = "index";
/// Folder of files in the data folder.
const MEDIA: &str = "media";
/// Name of the key that signs links, among the daemon's own values.
const LINK_KEY: &str = "link_key";
/// Length of a key made here, in bytes.
const LINK_KEY_BYTES: usize = 32;
/// Name of the archive's id, among the daemons' own values, and its length in bytes.
const ARCHIVE_ID: &str = "archive_id";
const ARCHIVE_ID_BYTES: usize = 16;
/// Time an index gets to be let go of by an earlier life of this process, and the pause between two looks.
const INDEX_PATIENCE: Duration = Duration::from_secs(10);
const INDEX_PAUSE: Duration = Duration::from_millis(10);

/// The parts that do not depend on instances.
pub struct Parts {
    /// The archive.
    pub archive: Arc<dyn Archive>,
    /// Whether it answers.
    pub answering: Answering,
    /// Searches it.
    pub searcher: Arc<Searcher>,
    /// The search index.
    pub index: Arc<dyn SearchIndex>,
    /// Brings the index up to the archive.
    pub tailer: Arc<Tailer>,
    /// Has it do so, when it is this daemon's turn.
    pub(super) feeder: Feeder,
    /// Builds the index anew.
    pub reindexing: Arc<Reindexing>,
    /// Runs jobs.
    pub jobs: Jobs,
    /// What plugins may ask.
    pub services: Arc<DaemonServices>,
    /// Delivers to those who listen.
    pub live: Arc<Hubs>,
    /// Signs links.
    pub links: Links,
    /// Contents of files.
    pub media: MediaStore,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Tells other daemons of commits, and hears of theirs.
    pub bus: Bus,
    /// Number of this daemon, which no other one of the archive has.
    pub node: u16,
    /// Who else is there.
    pub presence: Presence,
    /// What it is called in leases.
    owner: String,
    store: Store,
    lock: DataLock,
}

impl Parts {
    /// Opens all of them in the data folder.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let lock = DataLock::acquire(&config.data_dir)?;
        let id = identity::of(&config.data_dir)?;
        let owner = match config.cluster.name.as_str() {
            "" => id.clone(),
            name => format!("{name}-{id}"),
        };
        let store = Store::open(config).await?;
        let archive = store.archive();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let file = identity::file_in(&config.data_dir);
        let (presence, node) = Presence::announce(Arc::clone(&archive), Arc::clone(&clock), &id, &file).await?;
        let archive_id = archive_id(&*archive).await?;
        let index = open_index(config, &archive_id).await?;
        let tailer = Arc::new(Tailer::new(store.archive(), Arc::clone(&index), tailer_options(config)));
        let searcher = Arc::new(Searcher::new(Arc::clone(&archive), Arc::clone(&index)));
        let links = Links::new(link_key(config, &*archive).await?, config.media.link_days);
        let media = open_media(config).await?.of(Owner::new(Arc::clone(&archive), &archive_id));
        let source = Archived::new(Arc::clone(&archive), Arc::clone(&clock));
        let live = live::Options::new(&config.live, &config.http, &config.archive);
        let live = Arc::new(Hubs::new(Arc::new(source), Arc::clone(&clock), live));
        // Weak: whoever still holds a job or a service after the end must not keep the index open.
        let commits = Arc::new(Commits::new({
            let (tailer, live) = (Arc::downgrade(&tailer), Arc::downgrade(&live));
            move |instance: Option<InstanceId>| {
                _ = tailer.upgrade().map(|tailer| tailer.wake());
                _ = live.upgrade().map(|live| live.committed(instance));
            }
        }));
        let carrier = match (config.cluster.access(&owner), &store) {
            (Some(nats), _) => Carrier::Nats(nats),
            (None, Store::Postgres(database)) => Carrier::Notify(database.clone()),
            (None, Store::Sqlite(_)) => Carrier::None,
        };
        let heard = Arc::downgrade(&commits);
        let heard = move |instance| _ = heard.upgrade().map(|commits| commits.heard(instance));
        let bus = Bus::new(carrier, archive_id, Arc::new(heard));
        commits.tell_others(bus.clone());
        let told = Arc::clone(&commits);
        let on_commit = move |instance: InstanceId| told.tell(instance);
        let options = job_options(config, &owner);
        let jobs = Jobs::new(Arc::clone(&archive), media.clone(), Arc::clone(&clock), options, on_commit);
        let client = HttpClient::new(FetchLimits::default()).map_err(|error| StartError::Client(error.into()))?;
        let services = Arc::new(DaemonServices::new(
            Arc::clone(&archive),
            Arc::clone(&searcher),
            jobs.clone(),
            Arc::clone(&clock),
            links.clone(),
            client,
            commits,
        ));
        let reindexing = Arc::new(Reindexing::new(Arc::clone(&tailer)));
        let feeder = match config.search.engine {
            Engine::Embedded => Feeder::alone(Arc::clone(&tailer)),
            Engine::Meilisearch => {
                let lease = Duration::from_secs(config.jobs.lease_seconds);
                Feeder::in_turns(Arc::clone(&tailer), jobs.clone(), lease)
            }
        };
        Ok(Self {
            archive,
            answering: Answering::default(),
            searcher,
            index,
            tailer,
            feeder,
            reindexing,
            jobs,
            services,
            live,
            links,
            media,
            clock,
            bus,
            node,
            presence,
            owner,
            store,
            lock,
        })
    }

    /// Writes down where the daemon's own API listens, for commands that find the folder in use.
    pub fn write_down(&mut self, admin: std::net::SocketAddr) {
        if let Err(error) = self.lock.write_down(Some(admin)) {
            tracing::warn!(%error, "the lock file cannot be written");
        }
    }

    /// Goes on telling the archive that this daemon is there, until it is dropped.
    pub async fn is_there(&self, config: &Config) {
        let is_shared = matches!(self.store, Store::Postgres(_));
        let keeps_own = config.media.store == ContentStore::Folder && config.media.folder.is_none();
        self.presence.go_on(is_shared, keeps_own).await;
    }

    /// Gives back what an earlier process of this daemon held. The job runner does so itself when it begins to tick.
    pub async fn sweep_leases(&self) -> Result<u64, StartError> {
        Ok(self.archive.lease_sweep(&self.owner, self.clock.now()).await?)
    }

    /// Has the index built anew, without a daemon that runs here.
    pub async fn reindex(&self, shown: impl Fn(ReindexProgress) + Send + Sync) -> Result<ReindexProgress, TailError> {
        // An earlier process of this daemon may have been killed while it fed the index.
        self.archive.lease_sweep(&self.owner, self.clock.now()).await?;
        self.feeder.beside(self.reindexing.run(shown)).await
    }

    /// Takes in what is left and closes the archive. The folder is let go of when the parts are dropped.
    pub async fn close(&self) {
        self.feeder.finish().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the archive was not closed cleanly; it heals itself at the next start");
        }
    }
}

async fn open_index(config: &Config, archive_id: &str) -> Result<Arc<dyn SearchIndex>, StartError> {
    match config.search.engine {
        Engine::Embedded => open_embedded(config).await,
        Engine::Meilisearch => {
            let search = &config.search;
            if let Some(warning) = search.in_clear() {
                tracing::warn!("{warning}");
            }
            let options = MeiliOptions {
                url: search.url.clone().unwrap_or_default(),
                key: search.key.as_ref().map(|key| key.expose().to_owned()),
                index: search.index.clone(),
                archive: archive_id.to_owned(),
                timeout: Duration::from_secs(search.timeout_seconds),
                ..MeiliOptions::default()
            };
            Ok(Arc::new(MeiliIndex::open(options).await?))
        }
    }
}

async fn open_embedded(config: &Config) -> Result<Arc<dyn SearchIndex>, StartError> {
    let options = EmbeddedOptions {
        threads: config.search.threads,
        memory_per_thread: config.search.memory_mib << 20,
        ..EmbeddedOptions::default()
    };
    let folder = config.data_dir.join(INDEX);
    let begun = Instant::now();
    loop {
        let (folder, options) = (folder.clone(), options.clone());
        let opened = tokio::task::spawn_blocking(move || EmbeddedIndex::open(folder, options)).await;
        match opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(index) => return Ok(Arc::new(index)),
            // The data folder is ours, so this is the last commit of an earlier life of this process.
            Err(IndexError::InUse(_)) if begun.elapsed() < INDEX_PATIENCE => tokio::time::sleep(INDEX_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn open_media(config: &Config) -> Result<MediaStore, StartError> {
    let own = config.data_dir.join(MEDIA);
    let (opened, path) = match (config.media.store, &config.media.folder) {
        (ContentStore::Folder, None) => (MediaStore::open(&own).await, own),
        (ContentStore::Folder, Some(shared)) => (MediaStore::shared(shared).await, shared.clone()),
        (ContentStore::S3, _) => {
            let options = s3_options(&config.media.s3).ok_or_else(|| {
                StartError::Bucket(std::io::Error::other("its address, its name or a key is missing"))
            })?;
            return MediaStore::bucket(&own, &options).await.map_err(StartError::Bucket);
        }
    };
    opened.map_err(|source| StartError::Folder { path, source })
}

fn s3_options(s3: &config::S3) -> Option<S3Options> {
    Some(S3Options {
        endpoint: s3.endpoint.as_deref()?.parse().ok()?,
        bucket: s3.bucket.clone()?,
        region: s3.region.clone(),
        access_key: s3.access_key.clone()?,
        secret_key: s3.secret_key.clone()?,
        prefix: s3.prefix.clone(),
        path_style: s3.path_style,
    })
}

fn tailer_options(config: &Config) -> TailerOptions {
    let usual = match config.search.engine {
        Engine::Embedded => TailerOptions::default(),
        Engine::Meilisearch => MeiliIndex::tailer_options(),
    };
    TailerOptions {
        batch_rows: config.search.commit_messages.unwrap_or(usual.batch_rows),
        linger: Duration::from_millis(config.search.commit_milliseconds),
        reconcile: Duration::from_secs(config.search.reconcile_hours * 3600),
        ..usual
    }
}

fn job_options(config: &Config, owner: &str) -> JobOptions {
    let micros = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX / 1_000_000) * 1_000_000;
    JobOptions {
        owner: owner.to_owned(),
        concurrency: config.jobs.concurrency,
        lease: micros(config.jobs.lease_seconds),
        retry_min: micros(config.jobs.retry_min_seconds),
        retry_max: micros(config.jobs.retry_max_seconds),
    }
}

/// The configured key, or the one of the archive, made at the first start of its first daemon.
async fn link_key(config: &Config, archive: &dyn Archive) -> Result<Vec<u8>, StartError> {
    if let Some(key) = &config.media.link_key {
        return Ok(key.expose().as_bytes().to_vec());
    }
    Ok(archive.agree(LINK_KEY, &random::<LINK_KEY_BYTES>()?).await?.to_vec())
}

/// By what the archive is told from others, made at the first start of its first daemon.
async fn archive_id(archive: &dyn Archive) -> Result<String, StartError> {
    Ok(hex::encode(archive.agree(ARCHIVE_ID, &random::<ARCHIVE_ID_BYTES>()?).await?))
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut random = [0; N];
    getrandom::fill(&mut random).map_err(|error| StartError::Randomness(error.into()))?;
    Ok(random)
}
