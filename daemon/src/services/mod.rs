//! What plugins may ask of the daemon: one typed answer per operation.
//!
//! Every answer is about the instance that asks; a plugin cannot name another one.

mod feed;
mod fetch;
mod observe;
mod views;

pub use feed::Commits;
pub use fetch::{FetchLimits, HttpClient};

use crate::jobs::{Jobs, NotStarted};
use crate::media::Links;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use stele_archive::{Archive, ArchiveError, Clock, Commit, Committed, InstanceId, News, StoredMessage, Stream};
use stele_host::{Incoming, LogRecord, MetricRecord, Outgoing, Services};
use stele_plugin_api::ops::{self, Empty, Op};
use stele_plugin_api::{Error, ErrorCode};
use stele_search::{SearchError, SearchRequest, Searcher, Sort, Within};
use views::Views;

/// Largest value a plugin may keep, in bytes.
const MAX_STATE: usize = 64 * 1024;
/// Longest name of such a value, or of what is held, in bytes.
const MAX_STATE_KEY: usize = 256;
/// Longest time something is held without being asked for again, in seconds.
const MAX_HOLD: u32 = 3600;

/// The daemon's side of the operations.
pub struct DaemonServices {
    archive: Arc<dyn Archive>,
    searcher: Arc<Searcher>,
    jobs: Jobs,
    clock: Arc<dyn Clock>,
    views: Views,
    http: HttpClient,
    commits: Arc<Commits>,
    instances: RwLock<BTreeMap<String, Registered>>,
    lines: observe::Lines,
    series: observe::Series,
}

/// What is known of an instance.
struct Registered {
    id: InstanceId,
    /// What the log calls its plugin.
    plugin: String,
}

impl std::fmt::Debug for DaemonServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonServices").finish_non_exhaustive()
    }
}

impl DaemonServices {
    /// Services over an archive. Instances are made known by [`DaemonServices::register`].
    pub fn new(
        archive: Arc<dyn Archive>,
        searcher: Arc<Searcher>,
        jobs: Jobs,
        clock: Arc<dyn Clock>,
        links: Links,
        http: HttpClient,
        commits: Arc<Commits>,
    ) -> Self {
        let views = Views::new(links, Arc::clone(&clock));
        Self {
            archive,
            searcher,
            jobs,
            clock,
            views,
            http,
            commits,
            instances: RwLock::default(),
            lines: Default::default(),
            series: Default::default(),
        }
    }

    /// Makes an instance known, and what the log calls its plugin.
    pub fn register(&self, name: &str, plugin: String, id: InstanceId) {
        let registered = Registered { id, plugin };
        self.instances.write().expect("no panic happens while the list is locked").insert(name.to_owned(), registered);
    }

    /// The daemon stops: no plugin waits for a commit any more.
    pub fn stopping(&self) {
        self.commits.close();
    }

    /// Gives back what plugins hold, none of which is there any more.
    pub async fn give_back(&self) {
        self.jobs.holds().give_back_all().await;
    }

    /// Messages as plugins see them.
    pub fn shown(&self, messages: &[StoredMessage]) -> Vec<ops::MessageView> {
        self.views.rows(messages.to_vec())
    }

    fn instance(&self, name: &str) -> Result<InstanceId, Error> {
        let instances = self.instances.read().expect("no panic happens while the list is locked");
        let known = instances.get(name).map(|known| known.id);
        known.ok_or_else(|| Error::new(ErrorCode::Internal, "the instance is not registered"))
    }

    /// What the log calls the plugin of an instance.
    fn plugin(&self, name: &str) -> String {
        let instances = self.instances.read().expect("no panic happens while the list is locked");
        instances.get(name).map(|known| known.plugin.clone()).unwrap_or_default()
    }

    async fn conversation_list(
        &self,
        id: InstanceId,
        query: ops::ConversationQuery,
    ) -> Result<ops::ConversationPage, Error> {
        let list = self.archive.conversations(id, &query).await.map_err(archive_error)?;
        Ok(self.views.conversations(list))
    }

    async fn archive_query(&self, id: InstanceId, query: ops::MessageQuery) -> Result<ops::MessagePage, Error> {
        let list = self.archive.messages(id, &query).await.map_err(archive_error)?;
        Ok(self.views.messages(list))
    }

    async fn archive_search(&self, instance: InstanceId, query: ops::SearchQuery) -> Result<ops::MessagePage, Error> {
        let mut request = SearchRequest {
            text: query.text,
            instances: vec![instance],
            conversation: None,
            sender: None,
            kinds: query.kinds,
            except_kinds: query.except_kinds,
            labels: query.labels,
            since: query.since,
            until: query.until,
            unexpired_at: query.unexpired_at,
            sort: if query.oldest_first { Sort::Oldest } else { Sort::Newest },
            beyond: query.beyond,
            offset: query.offset,
            limit: query.limit.min(ops::MAX_ROWS),
        };
        // A conversation or person nobody knows has no messages.
        if let Some(native) = &query.conversation {
            match self.archive.conversation(instance, native).await.map_err(archive_error)? {
                Some(found) => {
                    let (native_id, id) = (found.native_id, stele_archive::ConversationId(found.id));
                    request.conversation = Some(Within { id, instance, native_id });
                }
                None => return Ok(ops::MessagePage::default()),
            }
        }
        if let Some(native) = &query.sender {
            match self.archive.person_id(instance, native).await.map_err(archive_error)? {
                Some(found) => request.sender = Some(found),
                None => return Ok(ops::MessagePage::default()),
            }
        }
        let found = self.searcher.search(&request).await.map_err(search_error)?;
        Ok(self.views.hits(found))
    }

    async fn archive_append(
        &self,
        id: InstanceId,
        page: stele_archive::model::Page,
    ) -> Result<ops::AppendReport, Error> {
        let commit = Commit {
            instance: id,
            partition: "",
            stream: Stream::Messages,
            from: None,
            page: &page,
            now: self.clock.now(),
        };
        let committed = self.archive.commit(commit).await.map_err(archive_error)?;
        self.commits.tell(id);
        let Committed { stored, known, repeated, .. } = committed;
        Ok(ops::AppendReport { stored, known, repeated })
    }

    async fn job_start(&self, instance: &str, request: &ops::JobRequest) -> Result<ops::JobStarted, Error> {
        let started = self.jobs.request(instance, &request.kind, request.partition.as_deref()).await;
        started.map_err(|reason| match reason {
            NotStarted::Unknown => {
                let partition = request.partition.as_deref().unwrap_or("any partition");
                Error::new(ErrorCode::NotFound, format!("no {} job for {partition}", request.kind))
            }
            NotStarted::Stopping => Error::new(ErrorCode::Unavailable, reason.to_string()),
        })
    }

    async fn hold(&self, instance: &str, request: &ops::HoldRequest) -> Result<ops::HoldReply, Error> {
        let ops::HoldRequest { key, seconds } = request;
        if key.len() > MAX_STATE_KEY || *seconds > MAX_HOLD {
            let bounds =
                format!("a name has at most {MAX_STATE_KEY} bytes, and is held for at most {MAX_HOLD} seconds");
            return Err(Error::new(ErrorCode::TooLarge, bounds));
        }
        let held = match seconds {
            0 => self.jobs.holds().give_back(instance, key).await.map(|()| false),
            _ => self.jobs.holds().hold(instance, key, i64::from(*seconds) * 1_000_000).await,
        };
        Ok(ops::HoldReply { held: held.map_err(archive_error)? })
    }

    async fn state_put(&self, id: InstanceId, entry: ops::StateEntry) -> Result<Empty, Error> {
        let size = entry.value.as_ref().map_or(0, bytes::Bytes::len);
        if size > MAX_STATE || entry.key.len() > MAX_STATE_KEY {
            return Err(Error::new(
                ErrorCode::TooLarge,
                format!("a value has at most {MAX_STATE} bytes, this one {size}"),
            ));
        }
        self.archive.state_put(id, &entry.key, entry.value.as_deref()).await.map_err(archive_error)?;
        Ok(Empty {})
    }
}

#[async_trait]
impl Services for DaemonServices {
    async fn call(&self, instance: &str, call: Incoming) -> Result<Outgoing, Error> {
        let id = self.instance(instance)?;
        /// Decodes the request of an operation, answers it, encodes the reply.
        macro_rules! answer {
            ($op:ty, |$request:ident| $answer:expr) => {{
                let $request = call.decode::<$op>()?;
                Outgoing::of::<$op>($answer)
            }};
        }
        Ok(match &*call.op {
            ops::ConversationList::NAME => {
                answer!(ops::ConversationList, |query| self.conversation_list(id, query).await?)
            }
            ops::ConversationGet::NAME => answer!(ops::ConversationGet, |by| {
                self.archive.conversation(id, &by.native_id).await.map_err(archive_error)?
            }),
            ops::ConversationGetMany::NAME => answer!(ops::ConversationGetMany, |by| {
                bounded(by.native_ids.len(), ops::MAX_IDS, "ids")?;
                let found = self.archive.conversations_by_native(id, &by.native_ids).await;
                ops::Conversations { conversations: found.map_err(archive_error)? }
            }),
            ops::ConversationTakesPart::NAME => answer!(ops::ConversationTakesPart, |who| {
                self.archive.takes_part(id, &who.conversation, &who.person).await.map_err(archive_error)?
            }),
            ops::ConversationMembership::NAME => answer!(ops::ConversationMembership, |who| {
                self.archive.membership(id, &who).await.map_err(archive_error)?
            }),
            ops::ConversationJoined::NAME => answer!(ops::ConversationJoined, |query| {
                bounded(query.limit as usize, ops::MAX_ROWS as usize, "rows")?;
                ops::Joined { conversations: self.archive.joined(id, &query).await.map_err(archive_error)? }
            }),
            ops::PersonGet::NAME => answer!(ops::PersonGet, |by| {
                self.archive.people(id, &[by.native_id]).await.map_err(archive_error)?.pop()
            }),
            ops::PersonGetMany::NAME => answer!(ops::PersonGetMany, |by| {
                bounded(by.native_ids.len(), ops::MAX_IDS, "ids")?;
                ops::People { people: self.archive.people(id, &by.native_ids).await.map_err(archive_error)? }
            }),
            ops::PersonList::NAME => answer!(ops::PersonList, |query| {
                bounded(query.limit as usize, ops::MAX_ROWS as usize, "rows")?;
                ops::People { people: self.archive.person_list(id, &query).await.map_err(archive_error)? }
            }),
            ops::ArchiveQuery::NAME => answer!(ops::ArchiveQuery, |query| self.archive_query(id, query).await?),
            ops::ArchiveGet::NAME => answer!(ops::ArchiveGet, |by| {
                bounded(by.native_ids.len(), ops::MAX_IDS, "ids")?;
                let found = self.archive.messages_by_native(id, &by.native_ids).await.map_err(archive_error)?;
                ops::Messages { rows: self.views.rows(found) }
            }),
            ops::ArchiveFind::NAME => answer!(ops::ArchiveFind, |query| {
                bounded(query.seqs.len().saturating_add(query.client_ids.len()), ops::MAX_IDS, "ids and numbers")?;
                bounded(query.limit as usize, ops::MAX_ROWS as usize, "rows")?;
                let found = self.archive.find(id, &query).await.map_err(archive_error)?;
                ops::Messages { rows: self.views.rows(found) }
            }),
            ops::ArchiveFeed::NAME => answer!(ops::ArchiveFeed, |query| {
                let News { messages, upto } = feed::feed(&*self.archive, &self.commits, id, &query).await?;
                ops::Feed { rows: self.views.rows(messages), upto: upto.0 }
            }),
            ops::ArchiveSearch::NAME => answer!(ops::ArchiveSearch, |query| self.archive_search(id, query).await?),
            ops::ArchiveAppend::NAME => answer!(ops::ArchiveAppend, |page| self.archive_append(id, page).await?),
            ops::PartitionReached::NAME => answer!(ops::PartitionReached, |keys| {
                bounded(keys.partitions.len(), ops::MAX_IDS, "partitions")?;
                let seqs = self.archive.reached(id, &keys.partitions).await.map_err(archive_error)?;
                ops::PartitionNumbers { seqs }
            }),
            ops::JobStart::NAME => answer!(ops::JobStart, |request| self.job_start(instance, &request).await?),
            ops::HttpFetch::NAME => answer!(ops::HttpFetch, |request| self.http.fetch(request).await?),
            ops::StateGet::NAME => answer!(ops::StateGet, |key| {
                ops::StateValue { value: self.archive.state_get(id, &key.key).await.map_err(archive_error)? }
            }),
            ops::StatePut::NAME => answer!(ops::StatePut, |entry| self.state_put(id, entry).await?),
            ops::LeaseHold::NAME => answer!(ops::LeaseHold, |request| self.hold(instance, &request).await?),
            _ => return Err(call.unsupported()),
        })
    }

    fn log(&self, instance: &str, record: LogRecord) {
        self.lines.take(instance, &self.plugin(instance), &record);
    }

    fn metric(&self, instance: &str, metric: MetricRecord) {
        self.series.take(instance, &metric);
    }
}

/// Refuses to answer for more than is answered at once. A shorter answer would be taken for the end.
fn bounded(asked: usize, most: usize, what: &str) -> Result<(), Error> {
    if asked > most {
        return Err(Error::new(ErrorCode::TooLarge, format!("at most {most} {what} at once")));
    }
    Ok(())
}

/// A storage error as plugins see it: its class, and nothing of the inside.
fn archive_error(error: ArchiveError) -> Error {
    match error {
        ArchiveError::Invalid(what) => Error::new(ErrorCode::Invalid, what),
        ArchiveError::TooLarge { .. } => Error::new(ErrorCode::TooLarge, format!("{error}; ask for fewer")),
        ArchiveError::CursorMoved { .. } | ArchiveError::LeaseLost { .. } | ArchiveError::Unavailable(_) => {
            tracing::warn!(%error, "the archive does not answer");
            Error::new(ErrorCode::Unavailable, "the archive does not answer now")
        }
        ArchiveError::Backend(_) => {
            tracing::error!(%error, "the archive failed");
            Error::new(ErrorCode::Internal, "the archive failed")
        }
    }
}

fn search_error(error: SearchError) -> Error {
    match error {
        SearchError::Invalid(what) => Error::new(ErrorCode::Invalid, what),
        SearchError::Archive(error) => archive_error(error),
        SearchError::Behind { retry_after, .. } | SearchError::Unavailable { retry_after, .. } => {
            tracing::warn!(%error, "search cannot answer now");
            Error::new(ErrorCode::Unavailable, "search cannot answer now").retry_after(retry_after)
        }
    }
}
