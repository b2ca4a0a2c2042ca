//! Searching the archive: what is indexed, what is not indexed yet, and the rows themselves.
//!
//! # One answer from two places
//!
//! Let `w` be the watermark the index answers from. A message that was committed when the search began is either at or
//! below `w`, then the index knows it, or above, then it is among the waiting rows, which are read *before* the index is
//! asked (the watermark only grows meanwhile; should the index begin anew, the search starts over). Rows at or below `w` are left out of the latter. So each message is
//! considered exactly once, the totals add up, and a commit in between does no harm.
//!
//! The two ordered lists are merged by [`Sort::compare`]. To cut the page `[offset, offset + limit)` out of the merged list it is
//! not needed to know where the waiting hits go: at most as many of them as there are can come before a hit of the index,
//! so the hits of the index from `offset` less that number on are enough.

use crate::error::{IndexError, SearchError};
use crate::fold::{MAX_QUERY_CHARS, fold};
use crate::highlight::highlights;
use crate::index::{IndexQuery, SearchIndex, Sort};
use crate::overlay::{self, Backlog, Overlay, Waiting};
use crate::rank::{Rank, Top, rank};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stele_archive::model::{MAX_LABELS, Micros};
use stele_archive::ops::{MAX_ROWS, MessageOrder, MessageQuery, Place};
use stele_archive::{
    Archive, ArchiveError, ConversationId, Feed, FeedRow, InstanceId, MessageId, PersonId, Queries, Rev, StoredMessage,
};

/// Deepest row that can be asked for in the order of relevance, `offset + limit`. Deeper ones would cost memory for rows nobody
/// looks at; a narrower time range gets to them. In the orders of time there is no such bound.
pub const MAX_WINDOW: u64 = 100_000;

/// Most messages of a conversation that are read through while the engine is down.
const MAX_SCANNED: u64 = 50_000;

/// Waiting rows that are looked through on the spot; more of them leave the async thread.
const SCANNED_INLINE: usize = 1_000;

/// How long a search waits for the tailer.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How often a search starts over because the index began anew under it.
const ATTEMPTS: usize = 3;

/// What callers are told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A conversation to search in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Within {
    /// The archive's id of it.
    pub id: ConversationId,
    /// Its instance.
    pub instance: InstanceId,
    /// Its native id: by this it is read when the engine is down.
    pub native_id: String,
}

/// What is searched for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchRequest {
    /// The text, taken literally: quotes, `*` and `AND` are characters. Empty for every message.
    pub text: String,
    /// Only of these instances; empty means all.
    pub instances: Vec<InstanceId>,
    /// Only in this conversation.
    pub conversation: Option<Within>,
    /// Only from this person.
    pub sender: Option<PersonId>,
    /// Only of these kinds; empty means all.
    pub kinds: Vec<String>,
    /// Not of these kinds.
    pub except_kinds: Vec<String>,
    /// Only with all of these labels, at most [`MAX_LABELS`].
    pub labels: Vec<String>,
    /// Sent at or after.
    pub since: Option<Micros>,
    /// Sent before.
    pub until: Option<Micros>,
    /// Only what has not expired by then.
    pub unexpired_at: Option<Micros>,
    /// Order of the rows.
    pub sort: Sort,
    /// Only rows that come after this place; not with [`Sort::Relevance`].
    pub beyond: Option<Place>,
    /// Rows to pass over.
    pub offset: u64,
    /// Rows wanted, at most [`MAX_ROWS`]; with 0 only the total is counted.
    pub limit: u32,
}

/// A message that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchHit {
    /// The message.
    pub message: StoredMessage,
    /// Where in its text the query occurs: byte ranges, ascending, not overlapping.
    pub highlights: Vec<(u32, u32)>,
}

/// Messages that were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchPage {
    /// The rows asked for.
    pub rows: Vec<SearchHit>,
    /// Exact number of messages that are hits; paging does not change it.
    pub total: u64,
}

/// Searches an archive.
pub struct Searcher<A: ?Sized = dyn Archive> {
    archive: Arc<A>,
    index: Arc<dyn SearchIndex>,
    overlay: Overlay,
    window: u64,
}

impl<A: Feed + Queries + ?Sized> Searcher<A> {
    /// Searches this archive with this index of it.
    pub fn new(archive: Arc<A>, index: Arc<dyn SearchIndex>) -> Self {
        Self { archive, index, overlay: Overlay::default(), window: MAX_WINDOW }
    }

    /// With another deepest row of relevance than [`MAX_WINDOW`].
    #[must_use]
    pub fn with_window(self, window: u64) -> Self {
        Self { window, ..self }
    }

    /// Finds messages, among all that were committed when this was called.
    pub async fn search(&self, request: &SearchRequest) -> Result<SearchPage, SearchError> {
        let began = Instant::now();
        let result = self.answer(request).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(SearchError::Invalid(_)) => "invalid",
            Err(SearchError::Behind { .. }) => "behind",
            Err(SearchError::Unavailable { .. }) => "unavailable",
            Err(SearchError::Archive(_)) => "archive",
        };
        metrics::histogram!("stele_search_seconds", "outcome" => outcome).record(began.elapsed().as_secs_f64());
        result
    }

    async fn answer(&self, request: &SearchRequest) -> Result<SearchPage, SearchError> {
        let mut query = checked(request)?;
        // Beyond the window there is nothing to rank: it is an error only where there would be rows.
        let too_deep =
            request.sort == Sort::Relevance && request.offset.saturating_add(u64::from(request.limit)) > self.window;
        if too_deep {
            (query.offset, query.limit) = (0, 0);
        }
        let (ranks, total) = match (self.ranked(&query).await, &request.conversation) {
            (Ok(found), _) => found,
            (Err(SearchError::Unavailable { reason, .. }), Some(conversation)) => {
                self.scanned(&query, conversation, &reason).await?
            }
            (Err(behind @ SearchError::Behind { .. }), Some(conversation)) => {
                self.scanned(&query, conversation, &behind.to_string()).await?
            }
            (Err(error), _) => return Err(error),
        };
        if too_deep && request.limit > 0 && request.offset < total {
            return Err(SearchError::Invalid(format!(
                "only the {} most relevant rows can be asked for; narrow the search by time",
                self.window
            )));
        }
        self.rows(&query, &ranks, total).await
    }

    /// The page out of the index and the waiting rows.
    async fn ranked(&self, query: &IndexQuery) -> Result<(Vec<Rank>, u64), SearchError> {
        for _ in 0..ATTEMPTS {
            let (after, waiting) = self.waiting().await?;
            let index_query = IndexQuery {
                offset: query.offset.saturating_sub(waiting.len()),
                limit: query.limit + query.offset.min(waiting.len()),
                ..query.clone()
            };
            let indexed = self.index.search(&index_query).await.map_err(|error| self.unavailable(&error))?;
            if indexed.watermark < after {
                // The index began anew in between, so there is more to wait for than was read.
                continue;
            }
            let (waiting, found) = waiting_hits(waiting, query, indexed.watermark).await;
            let total = indexed.total + found;
            return Ok((cut(&indexed.hits, &waiting, index_query.offset, query), total));
        }
        Err(SearchError::Unavailable { reason: "the index keeps beginning anew".into(), retry_after: RETRY_AFTER })
    }

    /// All rows the index does not know, and the revision they come after. When these are too many, waits a moment for
    /// the tailer.
    async fn waiting(&self) -> Result<(Rev, Vec<Arc<Waiting>>), SearchError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut progress = self.index.progress();
        loop {
            progress.mark_unchanged();
            let watermark = self.index.watermark().await.map_err(|error| self.unavailable(&error))?;
            match self.overlay.after(&*self.archive, watermark.rev).await? {
                Backlog::Rows(rows) => return Ok((watermark.rev, rows)),
                Backlog::TooMany(behind) => {
                    let moved = tokio::time::timeout_at(deadline, progress.changed()).await;
                    if !matches!(moved, Ok(Ok(()))) {
                        return Err(SearchError::Behind { behind, retry_after: RETRY_AFTER });
                    }
                }
            }
        }
    }

    /// The page by reading the conversation, newest first. Refuses conversations that are too long for it.
    async fn scanned(
        &self,
        query: &IndexQuery,
        conversation: &Within,
        reason: &str,
    ) -> Result<(Vec<Rank>, u64), SearchError> {
        let mut top = Top::new(query.sort, query.beyond, query.window());
        let (mut before, mut limit) = (None, MAX_ROWS);
        if !query.instances.is_empty() && !query.instances.contains(&conversation.instance) {
            return Ok((Vec::new(), 0));
        }
        loop {
            let page = MessageQuery {
                conversation: conversation.native_id.clone(),
                kinds: query.kinds.clone(),
                since: query.since,
                until: query.until,
                before,
                order: MessageOrder::Id,
                descending: true,
                limit,
                ..MessageQuery::default()
            };
            let messages = match self.archive.messages(conversation.instance, &page).await {
                // Long messages: fewer of them at once.
                Err(ArchiveError::TooLarge { .. }) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                found => found?,
            };
            if messages.total > MAX_SCANNED {
                return Err(SearchError::Unavailable { reason: reason.to_owned(), retry_after: RETRY_AFTER });
            }
            for message in &messages.rows {
                let folded = fold(&message.text);
                if query.admits(&FeedRow::from(message)) && folded.contains(&query.phrase) {
                    top.count(1);
                    top.keep(rank(query.sort, &folded, &query.phrase, message.sent_at, message.id));
                }
            }
            before = messages.rows.last().map(|message| message.id.0);
            if messages.rows.len() < limit as usize {
                break;
            }
        }
        let (mut ranks, total) = top.finish();
        ranks.drain(..query.offset.min(ranks.len()));
        Ok((ranks, total))
    }

    /// The messages of these ranks, each checked against its stored text.
    async fn rows(&self, query: &IndexQuery, ranks: &[Rank], total: u64) -> Result<SearchPage, SearchError> {
        let ids: Vec<MessageId> = ranks.iter().map(|rank| rank.id).collect();
        let messages = if ids.is_empty() { Vec::new() } else { self.archive.messages_by_id(&ids).await? };
        let rows: Vec<SearchHit> = messages
            .into_iter()
            .map(|message| SearchHit { highlights: highlights(&message.text, &query.phrase), message })
            .filter(|hit| query.phrase.is_empty() || !hit.highlights.is_empty())
            .collect();
        // Cannot happen with a sound index, see `fold`. What is no hit is never shown.
        let wrong = (ids.len() - rows.len()) as u64;
        if wrong > 0 {
            metrics::counter!("stele_search_wrong_hits_total").increment(wrong);
            tracing::error!(wrong, engine = self.index.engine(), "the search index names messages that are no hits");
            self.index.condemn("it named messages that are no hits");
        }
        Ok(SearchPage { rows, total: total.saturating_sub(wrong) })
    }

    fn unavailable(&self, error: &IndexError) -> SearchError {
        if let IndexError::TooMany(_) = error {
            return SearchError::Invalid(error.to_string());
        }
        tracing::warn!(%error, engine = self.index.engine(), "the search engine failed");
        if let IndexError::Corrupt(reason) = error {
            self.index.condemn(reason);
        }
        SearchError::Unavailable { reason: error.to_string(), retry_after: RETRY_AFTER }
    }
}

/// The query of a request, if it can be answered.
fn checked(request: &SearchRequest) -> Result<IndexQuery, SearchError> {
    let phrase = fold(&request.text);
    let length = phrase.chars().count();
    if length > MAX_QUERY_CHARS {
        return Err(SearchError::Invalid(format!(
            "the text has {length} characters, at most {MAX_QUERY_CHARS} can be searched for"
        )));
    }
    if request.limit > MAX_ROWS {
        return Err(SearchError::Invalid(format!("at most {MAX_ROWS} rows can be asked for at once")));
    }
    if request.labels.len() > MAX_LABELS {
        return Err(SearchError::Invalid(format!("at most {MAX_LABELS} labels can be asked for at once")));
    }
    if request.beyond.is_some() && request.sort == Sort::Relevance {
        return Err(SearchError::Invalid("a place in the order of time means nothing in that of relevance".into()));
    }
    Ok(IndexQuery {
        phrase,
        instances: request.instances.clone(),
        conversation: request.conversation.as_ref().map(|conversation| conversation.id),
        sender: request.sender,
        kinds: request.kinds.clone(),
        except_kinds: request.except_kinds.clone(),
        labels: request.labels.clone(),
        since: request.since,
        until: request.until,
        unexpired_at: request.unexpired_at,
        sort: request.sort,
        beyond: request.beyond,
        offset: usize::try_from(request.offset).unwrap_or(usize::MAX),
        limit: request.limit as usize,
    })
}

/// The page out of the hits of the index from `first` on and all waiting hits, both in order.
pub(crate) fn cut(indexed: &[Rank], waiting: &[Rank], first: usize, query: &IndexQuery) -> Vec<Rank> {
    let (mut indexed, mut waiting) = (indexed.iter().peekable(), waiting.iter().peekable());
    std::iter::from_fn(|| match (indexed.peek(), waiting.peek()) {
        (Some(a), Some(b)) if query.sort.compare(b, a).is_lt() => waiting.next(),
        (Some(_), _) => indexed.next(),
        (None, _) => waiting.next(),
    })
    .skip(query.offset - first)
    .take(query.limit)
    .copied()
    .collect()
}

async fn waiting_hits(waiting: Vec<Arc<Waiting>>, query: &IndexQuery, watermark: Rev) -> (Vec<Rank>, u64) {
    if waiting.len() <= SCANNED_INLINE {
        return overlay::hits(&waiting, query, watermark);
    }
    let query = query.clone();
    tokio::task::spawn_blocking(move || overlay::hits(&waiting, &query, watermark))
        .await
        .expect("comparing texts does not panic")
}
