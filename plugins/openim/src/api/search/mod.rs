//! `POST /msg/search_msg` (contract 002; reference/openim.md §2).
//!
//! What is given must all hold of each message that is found, and `chatLogsNum` counts all of those. The order is that in which they
//! were sent, and of what was sent at once, that in which they arrived. A page begins where the one before ended ([`walks`]), or
//! so many messages after the beginning; with a cursor an answer begins at a place of the order, whatever has arrived.

mod chat_log;
mod cursor;
mod day;
mod highlight;
mod walks;
mod wanted;

use super::{Api, Call, header};
use crate::answer::{self, Failure};
use crate::config::Revoked;
use crate::{CALL, ids};
use chat_log::{Group, Hit};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use stele_plugin_api::ops::{
    ArchiveSearch, ByIds, ConversationGetMany, HttpReply, MAX_ROWS, MessagePage, MessageView, Op, PersonGetMany, Place,
    SearchQuery,
};
use stele_plugin_api::{Error, ErrorCode};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::timeout;
use walks::{End, Question, Walks};
use wanted::{Start, Wanted};

/// Largest answer, in bytes of messages as they are written.
const MAX_BYTES: usize = 32 << 20;
/// An answer is large from so many bytes on.
const LARGE: usize = 1 << 20;
/// Large answers put together at the same time: a bound on memory.
const MAX_LARGE: usize = 2;
/// How long one waits for its turn, which leaves time to be answered in.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// What searches share.
pub struct Searches {
    walks: Walks,
    room: Semaphore,
}

impl Default for Searches {
    fn default() -> Self {
        Self { walks: Walks::default(), room: Semaphore::new(MAX_LARGE) }
    }
}

/// `data` of the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    chat_logs_num: i32,
    chat_logs: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// An answer that is put together.
#[derive(Default)]
struct Answer<'a> {
    total: u64,
    shown: Vec<Box<RawValue>>,
    /// The place of the last one shown.
    last: Option<Place>,
    bytes: usize,
    /// There was no room for all that was asked for.
    is_cut: bool,
    turn: Option<SemaphorePermit<'a>>,
}

impl Api {
    /// `POST /msg/search_msg`.
    pub(super) async fn search_msg(&self, call: Call<'_>) -> Result<HttpReply, Failure> {
        let wanted = Wanted::read(&call.fields, &self.config)?;
        let (answer, next_cursor) = match wanted.start {
            Start::Page(page) => (self.page(&wanted, page, &call).await?, None),
            Start::Cursor(place) => {
                let answer = self.found(SearchQuery { beyond: place, ..wanted.query.clone() }, wanted.show).await?;
                let is_more = answer.is_cut || answer.shown.len() >= wanted.show;
                let next = answer.last.filter(|_| is_more).map(|last| cursor::write(wanted.order, last));
                (answer, Some(next.unwrap_or_default()))
            }
        };
        let chat_logs_num = i32::try_from(answer.total).unwrap_or(i32::MAX);
        Ok(answer::data(&Found { chat_logs_num, chat_logs: answer.shown, next_cursor }))
    }

    /// A page by its number. One that would be too large is refused, since the next one begins behind a whole page.
    async fn page(&self, wanted: &Wanted, page: u64, call: &Call<'_>) -> Result<Answer<'_>, Failure> {
        let asked = serde_json::to_string(&(&wanted.query, wanted.show)).expect("plain values can be written");
        let question = Question::of([header(call.request, "token"), &call.request.remote, &asked]);
        let before = self.searches.walks.before(question, page, self.now());
        let (known, met) = before.map_or((0, 0), |(known, end)| (known, end.met));
        let offset = (page - 1 - known).saturating_mul(wanted.show as u64);
        let query = SearchQuery { beyond: before.map(|(_, end)| end.place), offset, ..wanted.query.clone() };
        let mut answer = self.found(query, wanted.show).await?;
        if answer.is_cut {
            return Err(Failure::args("the messages are too large for one answer: ask for fewer, or with a cursor"));
        }
        let met = met.saturating_add(offset).saturating_add(answer.shown.len() as u64);
        if let Some(place) = answer.last {
            self.searches.walks.ended(question, page, End { place, met }, self.now());
        }
        // A page behind the last one does not show how many were passed over.
        let is_told = offset == 0 || !answer.shown.is_empty();
        if answer.shown.len() < wanted.show && is_told {
            answer.total = met;
        }
        Ok(answer)
    }

    /// So many messages, or those there are, or there is room for.
    async fn found(&self, mut query: SearchQuery, most: usize) -> Result<Answer<'_>, Failure> {
        let (mut answer, mut at_once) = (Answer::default(), MAX_ROWS);
        loop {
            let left = u32::try_from(most - answer.shown.len()).unwrap_or(u32::MAX);
            query.limit = left.min(at_once);
            let page = self.rows(&mut query).await?;
            at_once = query.limit.max(1);
            // What comes while the answer is put together is not counted.
            if answer.last.is_none() {
                answer.total = page.total;
            }
            let is_end = page.rows.len() < query.limit as usize;
            self.show(&page.rows, &query, &mut answer).await?;
            if is_end || answer.is_cut || answer.shown.len() >= most {
                return Ok(answer);
            }
            (query.beyond, query.offset) = (answer.last, 0);
        }
    }

    /// As many of the rows asked for as are answered at once: `limit` becomes how many were asked for in the end.
    async fn rows(&self, query: &mut SearchQuery) -> Result<MessagePage, Failure> {
        loop {
            match self.host.call_within::<ArchiveSearch>(query.clone(), CALL).await {
                Err(Error { code: ErrorCode::TooLarge, .. }) if query.limit > 1 => query.limit /= 2,
                Err(Error { code: ErrorCode::Invalid, message, .. }) if !query.text.is_empty() => {
                    return Err(Failure::args(format!("keyword cannot be searched for: {message}")));
                }
                found => return found.map_err(|error| self.failed(ArchiveSearch::NAME, &error)),
            }
        }
    }

    /// Adds rows to an answer, with what is known of whom they name.
    async fn show<'a>(
        &'a self,
        rows: &[MessageView],
        query: &SearchQuery,
        answer: &mut Answer<'a>,
    ) -> Result<(), Failure> {
        let mut hits: Vec<_> = rows.iter().map(Hit::of).collect();
        let groups = self.groups(&hits).await?;
        let names = self.names(&hits).await?;
        for hit in &mut hits {
            hit.group = groups.get(hit.conversation()).cloned();
            hit.receiver = names.get(hit.receiver_id()).cloned().unwrap_or_default();
            hit.is_hidden = hit.is_revoked() && self.config.revoked == Revoked::Hidden;
            hit.is_searched = !query.text.is_empty();
            // Who sends does not wait until thousands of messages are written.
            yield_now().await;
            let written = to_raw_value(&hit.shown()).expect("plain values can be written");
            let bytes = answer.bytes + written.get().len();
            if bytes > MAX_BYTES && !answer.shown.is_empty() {
                answer.is_cut = true;
                return Ok(());
            }
            if bytes > LARGE && answer.turn.is_none() {
                let turn = timeout(MAX_WAIT, self.searches.room.acquire()).await.ok().and_then(Result::ok);
                answer.turn = Some(turn.ok_or_else(|| Failure::internal("too much is asked at once, try again"))?);
            }
            (answer.bytes, answer.last) = (bytes, Some(hit.place()));
            answer.shown.push(written);
        }
        Ok(())
    }

    /// The groups messages are in, by conversation.
    async fn groups(&self, hits: &[Hit<'_>]) -> Result<HashMap<String, Group>, Failure> {
        let ids: BTreeSet<_> = hits.iter().map(Hit::conversation).filter(|id| ids::group_of(id).is_some()).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let native_ids = ids.into_iter().map(str::to_owned).collect();
        let found = self.call::<ConversationGetMany>(ByIds { native_ids }).await?;
        Ok(found.conversations.into_iter().map(|view| (view.native_id.clone(), Group::of(view))).collect())
    }

    /// What those are called whom messages went to.
    async fn names(&self, hits: &[Hit<'_>]) -> Result<HashMap<String, String>, Failure> {
        let ids: BTreeSet<_> = hits.iter().map(Hit::receiver_id).filter(|id| !id.is_empty()).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let native_ids = ids.into_iter().map(str::to_owned).collect();
        let found = self.call::<PersonGetMany>(ByIds { native_ids }).await?;
        Ok(found.people.into_iter().map(|person| (person.native_id, person.name)).collect())
    }
}
