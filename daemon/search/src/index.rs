//! The trait every engine implements.

use crate::error::IndexError;
use crate::rank::Rank;
use async_trait::async_trait;
use serde::Serialize;
use stele_archive::model::Micros;
use stele_archive::ops::Place;
use stele_archive::{ConversationId, DayCount, FeedRow, InstanceId, PersonId, Rev};
use tokio::sync::watch;

/// How far an index has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
pub struct Watermark {
    /// Everything up to this revision is indexed, nothing after it. 0: nothing.
    pub rev: Rev,
    /// [`Self::fingerprint`] of the row of this revision: tells whether the archive is still the one that was indexed, or
    /// another one took its place (a restored backup).
    pub mark: u64,
}

impl Watermark {
    /// The watermark of an index that ends with this row.
    pub fn at(row: &FeedRow) -> Self {
        Self { rev: row.rev, mark: Self::fingerprint(row) }
    }

    /// FNV-1a over what never changes of a row. It is stored, so it must not depend on the build.
    pub fn fingerprint(row: &FeedRow) -> u64 {
        let sender = row.sender.map_or(0, |sender| sender.0);
        let expires_at = row.expires_at.unwrap_or(i64::MAX);
        let ids = [row.rev.0, row.id.0, row.instance.0, row.conversation.0, sender];
        let bytes = ids.into_iter().chain([row.sent_at, expires_at]).flat_map(i64::to_le_bytes);
        bytes
            .chain(row.kind.bytes())
            .chain(row.text.bytes())
            // No text has this byte.
            .chain(row.labels.iter().flat_map(|label| [0xff].into_iter().chain(label.bytes())))
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

/// Order of hits. Ties are broken by time, then by id, so the order is total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// Latest sent first.
    #[default]
    Newest,
    /// Earliest sent first; among those sent at the same time the one that arrived first.
    Oldest,
    /// [Most relevant](crate::relevance) first.
    Relevance,
}

/// What an index is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IndexQuery {
    /// The folded query: up to [`MAX_QUERY_CHARS`](crate::fold::MAX_QUERY_CHARS) characters; empty for every message.
    pub phrase: String,
    /// Only of these instances; empty means all.
    pub instances: Vec<InstanceId>,
    /// Only in this conversation.
    pub conversation: Option<ConversationId>,
    /// Only from this person.
    pub sender: Option<PersonId>,
    /// Only of these kinds; empty means all.
    pub kinds: Vec<String>,
    /// Not of these kinds.
    pub except_kinds: Vec<String>,
    /// Only with all of these labels.
    pub labels: Vec<String>,
    /// Sent at or after.
    pub since: Option<Micros>,
    /// Sent before.
    pub until: Option<Micros>,
    /// Only what has not expired by then.
    pub unexpired_at: Option<Micros>,
    /// Order of the hits.
    pub sort: Sort,
    /// Only hits that come after this place; not with [`Sort::Relevance`]. The total is that of all.
    pub beyond: Option<Place>,
    /// Hits to pass over.
    pub offset: usize,
    /// Hits wanted.
    pub limit: usize,
}

impl IndexQuery {
    /// Whether a message passes the filters; its text is another matter.
    pub fn admits(&self, row: &FeedRow) -> bool {
        (self.instances.is_empty() || self.instances.contains(&row.instance))
            && self.conversation.is_none_or(|wanted| wanted == row.conversation)
            && self.sender.is_none_or(|wanted| row.sender == Some(wanted))
            && (self.kinds.is_empty() || self.kinds.contains(&row.kind))
            && !self.except_kinds.contains(&row.kind)
            && self.labels.iter().all(|label| row.labels.contains(label))
            && self.since.is_none_or(|since| row.sent_at >= since)
            && self.until.is_none_or(|until| row.sent_at < until)
            && self.unexpired_at.is_none_or(|at| row.expires_at.is_none_or(|end| end > at))
    }

    /// How many of the first hits an engine has to find, those passed over included.
    pub(crate) fn window(&self) -> usize {
        if self.limit == 0 { 0 } else { self.offset.saturating_add(self.limit) }
    }
}

/// What an index found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IndexPage {
    /// The hits asked for, in order.
    pub hits: Vec<Rank>,
    /// Exact number of hits without paging.
    pub total: u64,
    /// Answered from exactly the messages up to this revision.
    pub watermark: Rev,
}

/// How an engine feels.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct IndexHealth {
    /// What keeps it from answering or taking in, if anything.
    pub problem: Option<String>,
    /// Why it is to be rebuilt, if it is. It still answers.
    pub condemned: Option<String>,
    /// Indexed messages.
    pub documents: u64,
    /// Parts it consists of; many of them make searches slow.
    pub segments: u64,
    /// Messages it could not take in, by a fault of theirs: they are not found.
    pub parked: u64,
}

/// What has become of a wish that an index be built anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wished {
    /// Nobody has begun yet.
    Waiting,
    /// It is being built, and has come so far.
    Building {
        /// Everything up to this revision is in.
        rev: Rev,
        /// Messages that are in.
        rows: u64,
    },
    /// Another life of the index is in use, which has come so far.
    Replaced {
        /// Everything up to this revision is in.
        rev: Rev,
        /// Messages that are in.
        rows: u64,
    },
    /// It was tried and cannot be done, for this reason.
    Declined(String),
}

/// A search engine.
///
/// # What every engine keeps (suite: `contract`)
///
/// - **Watermark and documents move together.** After a crash at any moment [`watermark`](Self::watermark) tells exactly
///   which rows are in. So nothing is lost, and nothing is doubled: rows at or below the watermark are passed over when
///   they are fed again.
/// - **A search answers from exactly the rows up to the watermark it reports**, never from half a batch. That is what
///   makes the sum of indexed and not yet indexed hits exact.
/// - A query with an empty phrase finds every row that passes its filters; one with a phrase never finds a row with an empty
///   text.
/// - In an order of time a page may be as deep as one likes, and takes no more memory for it.
/// - Texts are matched as [`fold`](crate::fold) defines, orders are those of [`Sort::compare`].
#[async_trait]
pub trait SearchIndex: Send + Sync {
    /// Name of the engine.
    fn engine(&self) -> &'static str;

    /// How far it has come.
    async fn watermark(&self) -> Result<Watermark, IndexError>;

    /// Tells whenever the watermark has moved.
    fn progress(&self) -> watch::Receiver<Rev>;

    /// Takes in rows of ascending revisions, all of them up to `upto`, together with the new watermark. Returns when both
    /// would survive a crash. Rows and watermarks that are not ahead of the present one change nothing.
    async fn apply(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), IndexError>;

    /// Finds messages.
    async fn search(&self, query: &IndexQuery) -> Result<IndexPage, IndexError>;

    /// Indexed messages with a text per UTC day they were sent, days ascending, and the watermark they were counted at.
    async fn day_counts(&self) -> Result<(Rev, Vec<DayCount>), IndexError>;

    /// Forgets everything: the watermark is 0 afterwards. This is how a damaged index begins anew.
    async fn clear(&self, reason: &str) -> Result<(), IndexError>;

    /// Begins a second index beside this one, empty, which takes its place when it is [finished](Rebuild::finish).
    /// Searches are answered from the present one until then. One at a time: [`IndexError::Rebuilding`].
    async fn rebuild(&self) -> Result<Box<dyn Rebuild>, IndexError>;

    /// Looks for damage that searches would not notice (checksums). [`IndexError::Corrupt`] when there is some. Can take
    /// seconds; searches go on.
    async fn verify(&self) -> Result<(), IndexError>;

    /// Called when there is nothing to take in, for housekeeping.
    async fn settle(&self) -> Result<(), IndexError> {
        Ok(())
    }

    /// Somebody found this index to be wrong. It goes on answering until it is rebuilt. Of an index that several daemons share all of
    /// them learn of it.
    fn condemn(&self, reason: &str);

    /// Asks whoever feeds this index to build it anew; returns the life of it that is to be replaced, by which the wish is
    /// [followed](Self::wished). `None` where only this daemon has the index: then it builds it anew itself.
    async fn wish(&self) -> Result<Option<String>, IndexError> {
        Ok(None)
    }

    /// What has become of the wish that this life be replaced.
    async fn wished(&self, _life: &str) -> Result<Wished, IndexError> {
        Ok(Wished::Waiting)
    }

    /// What was wished for cannot be done, for this reason: whoever waits for it is told, and it is not tried again. An index that was
    /// condemned stays so.
    async fn decline(&self, _reason: &str) -> Result<(), IndexError> {
        Ok(())
    }

    /// How it feels. Cheap.
    fn health(&self) -> IndexHealth;
}

/// An index in the making. Dropped without [`finish`](Self::finish) it leaves nothing behind.
#[async_trait]
pub trait Rebuild: Send + Sync {
    /// As [`SearchIndex::apply`].
    async fn apply(&self, rows: Vec<FeedRow>, upto: Watermark) -> Result<(), IndexError>;

    /// Messages with a text per UTC day they were sent, days ascending, up to the watermark.
    async fn day_counts(&self) -> Result<Vec<DayCount>, IndexError>;

    /// Takes the place of the present index, which is deleted. The watermark can only stay or grow by this when the
    /// caller has fed at least as much as the present one has.
    async fn finish(self: Box<Self>) -> Result<(), IndexError>;
}
