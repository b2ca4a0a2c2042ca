//! What the answers that are made alike in every backend are made of.

use async_trait::async_trait;
use stele_archive::ops::MessageOrder;
use stele_archive::{ArchiveError, StoredMessage};

/// What a backend reads of the conversations of an instance, all of it from one snapshot.
#[async_trait]
pub(crate) trait Source: Send {
    /// What goes wrong there.
    type Failure: From<ArchiveError> + Send;

    /// The conversation of this native id.
    async fn conversation(&mut self, native_id: &str) -> Result<Option<Known>, Self::Failure>;

    /// The kinds it holds, ascending.
    async fn kinds(&mut self, conversation: i64) -> Result<Vec<i64>, Self::Failure>;

    /// The numbers of those of these kinds that the archive knows.
    async fn numbers(&mut self, kinds: &[String]) -> Result<Vec<i64>, Self::Failure>;

    /// How many there are of these kinds.
    async fn count(&mut self, count: Count, given: Given, kinds: &[i64]) -> Result<i64, Self::Failure>;

    /// The day, of those from `since` and before `until`, that holds the message at the offset in this direction, how many
    /// messages come before that day, and how many are of it. With `some` of these kinds, otherwise of all.
    async fn day(
        &mut self,
        descending: bool,
        some: bool,
        given: Given,
        kinds: &[i64],
    ) -> Result<(i64, i64, i64), Self::Failure>;

    /// The ids of a page of these kinds, in the direction of the walk.
    async fn ids(&mut self, walk: Walk, given: Given, kinds: &[i64]) -> Result<Vec<i64>, Self::Failure>;

    /// The message of these kinds with the least id from each of some numbers on, where numbers ascend with ids.
    async fn first_from(
        &mut self,
        conversation: i64,
        numbers: &[i64],
        kinds: &[i64],
    ) -> Result<Vec<First>, Self::Failure>;

    /// When messages were sent, their numbers and their ids, in no particular order.
    async fn keys(&mut self, ids: &[i64]) -> Result<Vec<(i64, i64, i64)>, Self::Failure>;

    /// The ids of those with one of these numbers and of these kinds, from an id on and before another, in any order.
    async fn between(
        &mut self,
        conversation: i64,
        numbers: &[i64],
        kinds: &[i64],
        ids: (i64, i64),
    ) -> Result<Vec<i64>, Self::Failure>;

    /// The latest ids of those with one of these numbers and of these kinds, where numbers do not ascend with ids.
    async fn astray(
        &mut self,
        conversation: i64,
        numbers: &[i64],
        kinds: &[i64],
        limit: u32,
    ) -> Result<Vec<i64>, Self::Failure>;

    /// The ids of those with one of these senders' own ids, in a conversation or anywhere: the latest ones are among them.
    async fn by_client(
        &mut self,
        conversation: Option<i64>,
        client_ids: &[&str],
        limit: u32,
    ) -> Result<Vec<i64>, Self::Failure>;

    /// Messages for one answer, in the order of their ids.
    async fn messages(&mut self, ids: &[i64]) -> Result<Vec<StoredMessage>, Self::Failure>;
}

/// What is known of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub conversation: i64,
    pub messages: i64,
    /// Whether its numbers do not ascend with ids.
    pub own_order: bool,
}

/// The message with the least id from a number on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// The number asked for.
    pub wanted: i64,
    /// `None` where all numbers are less.
    pub id: Option<i64>,
    /// Its own number.
    pub seq: Option<i64>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// The days from `since` and before `until`, by their counters; not `some` are all kinds.
    Days { some: bool },
    /// A part of a day, in the index.
    Edge,
    /// What has expired by the day `since`, by its counters, and on that day from its first moment `until` on, one by one.
    Expired,
    /// What has expired of an interval of time, one by one.
    ExpiredBetween,
}

/// Which index answers, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    pub order: MessageOrder,
    pub descending: bool,
}

/// Values that a statement is given, but for the kinds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given {
    pub conversation: i64,
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub after: Option<i64>,
    pub before: Option<i64>,
    pub limit: Option<i64>,
    pub offset: Option<i64>,
    pub from_seq: Option<i64>,
    pub to_seq: Option<i64>,
    pub unexpired_at: Option<i64>,
}

impl Given {
    /// The bounds there are.
    pub fn shape(&self) -> Shape {
        Shape {
            since: self.since.is_some(),
            until: self.until.is_some(),
            after: self.after.is_some(),
            before: self.before.is_some(),
            from_seq: self.from_seq.is_some(),
            to_seq: self.to_seq.is_some(),
            unexpired: self.unexpired_at.is_some(),
        }
    }
}

/// The bounds of a query, as far as they shape its statement.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    pub since: bool,
    pub until: bool,
    pub after: bool,
    pub before: bool,
    pub from_seq: bool,
    pub to_seq: bool,
    /// Only what has not expired.
    pub unexpired: bool,
}
