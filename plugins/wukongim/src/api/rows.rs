//! Rows of the archive, in calls that are answered: at most 1000 rows each, and fewer where they are long.

use super::Api;
use super::reply::ApiError;
use crate::CALL;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{
    ArchiveFind, ArchiveGet, ArchiveQuery, ArchiveSearch, ByIds, FindQuery, MAX_ROWS, MessagePage, MessageQuery,
    MessageView, Op, SearchQuery,
};
use stele_plugin_api::{Error, ErrorCode};

/// Whether a message is still good.
pub fn is_good(message: &MessageView, now: Micros) -> bool {
    message.expires_at.is_none_or(|at| at > now)
}

impl Api {
    /// As many of the rows asked for as are answered at once. `limit` becomes how many were asked for in the end: fewer came,
    /// there are no more.
    pub(super) async fn query(&self, query: &mut MessageQuery) -> Result<Vec<MessageView>, ApiError> {
        query.limit = query.limit.min(MAX_ROWS);
        loop {
            match self.fitting::<ArchiveQuery>(query.clone()).await? {
                Some(page) => return Ok(page.rows),
                None if query.limit > 1 => query.limit /= 2,
                None => return Err(ApiError::too_large()),
            }
        }
    }

    /// The same for a search, and how many there are in all.
    pub(super) async fn search(&self, query: &mut SearchQuery) -> Result<MessagePage, ApiError> {
        query.limit = query.limit.min(MAX_ROWS);
        loop {
            match self.fitting::<ArchiveSearch>(query.clone()).await? {
                Some(page) => return Ok(page),
                None if query.limit > 1 => query.limit /= 2,
                None => return Err(ApiError::too_large()),
            }
        }
    }

    /// The message of an id.
    pub(super) async fn by_id(&self, id: i64) -> Result<Option<MessageView>, ApiError> {
        let found = self.call::<ArchiveGet>(ByIds { native_ids: vec![id.to_string()] }).await?;
        Ok(found.rows.into_iter().next())
    }

    /// Calls the archive; `None` where the rows are too much for one answer.
    async fn fitting<O: Op>(&self, request: O::Request) -> Result<Option<O::Reply>, ApiError> {
        match self.host.call_within::<O>(request, CALL).await {
            Ok(reply) => Ok(Some(reply)),
            Err(Error { code: ErrorCode::TooLarge, .. }) => Ok(None),
            Err(Error { code: ErrorCode::Invalid, message, .. }) if O::NAME == ArchiveSearch::NAME => {
                Err(ApiError::bad(format!("payload cannot be searched for: {message}")))
            }
            Err(error) => Err(self.failed(O::NAME, &error)),
        }
    }
}

/// Messages that are looked up, some at a time.
pub struct Lookup<'k> {
    conversation: Option<&'k str>,
    rest: Vec<Keys<'k>>,
}

/// What messages are looked up by.
#[derive(Clone, Copy)]
enum Keys<'k> {
    Ids(&'k [i64]),
    /// Numbers, the senders' own ids, and how many rows.
    Found(&'k [i64], &'k [String], u32),
}

impl<'k> Lookup<'k> {
    /// By id, wherever they are.
    pub fn ids(ids: &'k [i64]) -> Self {
        Self { conversation: None, rest: vec![Keys::Ids(ids)] }
    }

    /// By number, which needs a conversation, and by the senders' own ids: of each at most the 1000 that came last.
    pub fn found(conversation: Option<&'k str>, seqs: &'k [i64], client_ids: &'k [String]) -> Self {
        Self { conversation, rest: vec![Keys::Found(seqs, client_ids, MAX_ROWS)] }
    }

    /// The next ones; `None` at the end.
    pub async fn next(&mut self, api: &Api) -> Result<Option<Vec<MessageView>>, ApiError> {
        while let Some(keys) = self.rest.pop() {
            if keys.count() == 0 {
                continue;
            }
            match self.look_up(api, keys).await? {
                Some(rows) => return Ok(Some(rows)),
                None => self.rest.extend(keys.fewer().ok_or_else(ApiError::too_large)?),
            }
        }
        Ok(None)
    }

    /// All of these; `None` where they are too many for one answer.
    async fn look_up(&self, api: &Api, keys: Keys<'_>) -> Result<Option<Vec<MessageView>>, ApiError> {
        match keys {
            Keys::Ids(ids) => {
                let native_ids = ids.iter().map(i64::to_string).collect();
                Ok(api.fitting::<ArchiveGet>(ByIds { native_ids }).await?.map(|found| found.rows))
            }
            Keys::Found(seqs, client_ids, limit) => {
                let conversation = self.conversation.map(str::to_owned);
                let query = FindQuery { conversation, seqs: seqs.to_vec(), client_ids: client_ids.to_vec(), limit };
                let found = api.fitting::<ArchiveFind>(query).await?;
                Ok(found.map(|found| found.rows).filter(|rows| keys.count() == 1 || rows.len() < limit as usize))
            }
        }
    }
}

impl Keys<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Found(seqs, client_ids, _) => seqs.len() + client_ids.len(),
        }
    }

    /// The same in parts, the first one last; `None` where there is nothing less.
    fn fewer(self) -> Option<Vec<Self>> {
        match self {
            Self::Ids(ids) if ids.len() > 1 => {
                let (first, second) = ids.split_at(ids.len() / 2);
                Some(vec![Self::Ids(second), Self::Ids(first)])
            }
            Self::Found(seqs, client_ids, limit) if self.count() > 1 => {
                let (seqs, more_seqs) = seqs.split_at(seqs.len() / 2);
                let (client_ids, more_ids) = client_ids.split_at(client_ids.len().div_ceil(2));
                Some(vec![Self::Found(more_seqs, more_ids, limit), Self::Found(seqs, client_ids, limit)])
            }
            Self::Found(seqs, client_ids, limit) if limit > 1 => Some(vec![Self::Found(seqs, client_ids, limit / 2)]),
            _ => None,
        }
    }
}
