//! History: five ways to choose messages of a conversation (reference/gateway.md §4.4).
//!
//! Bounds are inclusive, and any text is one; `desc` only orders what was chosen. A conversation nobody knows has no messages.

use super::errors::ApiError;
use super::fields::Fields;
use super::{Api, reply, type_of};
use crate::CALL;
use crate::message::Shown;
use crate::msgid::Series;
use crate::token::Caller;
use std::time::Duration;
use stele_plugin_api::ops::{ArchiveQuery, HttpReply, MessageOrder, MessagePage, MessageQuery, MessageView, Op};
use stele_plugin_api::{Error, ErrorCode};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Messages of an answer, but that of a range.
pub const PAGE: u32 = 30;
/// Large answers put together at the same time: a bound on memory.
const MAX_ANSWERS: usize = 8;
/// Most that wait to be put together. The others are refused at once, so that none of them keeps a call of the plugin.
const MAX_WAITING: usize = 24;
/// How long they wait.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// An answer is large from so many bytes on.
const LARGE: usize = 1 << 20;
/// Largest answer, in bytes: it has to fit into a frame (64 MiB).
pub const MAX_BYTES: usize = 32 << 20;
/// What one call of the archive should bring, in bytes.
const CALL_BYTES: usize = 4 << 20;
/// Most messages of one call, however short the last ones were: the next may be long.
const CALL_ROWS: u32 = 200;

/// Room for large answers.
pub struct Room {
    answers: Semaphore,
    waiting: Semaphore,
}

impl Default for Room {
    fn default() -> Self {
        Self { answers: Semaphore::new(MAX_ANSWERS), waiting: Semaphore::new(MAX_WAITING) }
    }
}

impl Room {
    /// Room for one; `None` when there is none within a moment.
    async fn take(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(taken) = self.answers.try_acquire() {
            return Some(taken);
        }
        let _waits = self.waiting.try_acquire().ok()?;
        timeout(MAX_WAIT, self.answers.acquire()).await.ok()?.ok()
    }
}

/// Messages of a conversation, by number.
struct Choice {
    from: i64,
    upto: i64,
    /// Chosen from the greatest number on.
    newest: bool,
    most: u64,
}

impl Api {
    /// `/get_conversation_msg_by_range`: however many there are, up to 32 MiB.
    pub(super) async fn range(&self, fields: &Fields<'_>, caller: &Caller) -> Result<HttpReply, ApiError> {
        let (start, end) = (fields.text("start_msg_id")?, fields.text("end_msg_id")?);
        let newest = fields.flag("desc")?;
        let choose =
            |ids: Series| Some(Choice { from: ids.from(&start)?, upto: ids.upto(&end)?, newest, most: u64::MAX });
        self.history(fields, caller, choose).await
    }

    /// `/get_conversation_30msg_before_the_id`
    pub(super) async fn before(&self, fields: &Fields<'_>, caller: &Caller) -> Result<HttpReply, ApiError> {
        let anchor = fields.text("msg_id")?;
        let choose = |ids: Series| Some(Choice { from: 0, upto: ids.upto(&anchor)?, newest: true, most: PAGE.into() });
        self.history(fields, caller, choose).await
    }

    /// `/get_conversation_30msg_after_the_id`
    pub(super) async fn after(&self, fields: &Fields<'_>, caller: &Caller) -> Result<HttpReply, ApiError> {
        let anchor = fields.text("msg_id")?;
        let choose =
            |ids: Series| Some(Choice { from: ids.from(&anchor)?, upto: i64::MAX, newest: false, most: PAGE.into() });
        self.history(fields, caller, choose).await
    }

    /// `/get_conversation_last_30_msg`, and `/get_conversation_lastone_msg`, which is a list, too.
    pub(super) async fn newest(&self, fields: &Fields<'_>, caller: &Caller, most: u32) -> Result<HttpReply, ApiError> {
        let choose = |_| Some(Choice { from: 0, upto: i64::MAX, newest: true, most: most.into() });
        self.history(fields, caller, choose).await
    }

    async fn history(
        &self,
        fields: &Fields<'_>,
        caller: &Caller,
        choose: impl FnOnce(Series) -> Option<Choice>,
    ) -> Result<HttpReply, ApiError> {
        let conversation = fields.text("conversation_id")?;
        let descending = fields.flag("desc")?;
        let found = self.open_to(caller, &conversation).await?;
        let mut answer = Answer::default();
        let choice = found.and_then(|found| choose(Series::of(&conversation, type_of(&found))));
        let Some(choice) = choice else { return Ok(reply::json(answer.finish(false))) };
        let reverse = choice.newest != descending;
        self.collect(conversation, choice, &mut answer).await?;
        Ok(reply::json(answer.finish(reverse)))
    }

    /// Puts what is chosen into an answer, in the order in which it is chosen.
    async fn collect(&self, conversation: String, choice: Choice, answer: &mut Answer) -> Result<(), ApiError> {
        let Choice { mut from, mut upto, newest, mut most } = choice;
        // Messages at the bound that the answer has already: numbers are not quite unique.
        let mut passed = 0;
        let mut rows = PAGE;
        let mut room = None;
        while from <= upto && most > 0 {
            let query = MessageQuery {
                conversation: conversation.clone(),
                from_seq: Some(from),
                to_seq: Some(upto),
                order: MessageOrder::Seq,
                descending: newest,
                offset: passed,
                limit: u32::try_from(most).map_or(rows, |most| rows.min(most)),
                ..MessageQuery::default()
            };
            let asked = query.limit;
            let page = match self.host.call_within::<ArchiveQuery>(query, CALL).await {
                Ok(MessagePage { rows, .. }) => rows,
                // Long messages: fewer of them fit into a frame.
                Err(Error { code: ErrorCode::TooLarge, .. }) if asked > 1 => {
                    rows = asked / 2;
                    continue;
                }
                Err(error) => return Err(self.failed(ArchiveQuery::NAME, &error)),
            };
            for message in &page {
                answer.push(&self.shown(message))?;
            }
            if room.is_none() && answer.written.len() > LARGE {
                let full = || Error::new(ErrorCode::RateLimited, "too many large answers at the same time");
                room = Some(self.room.take().await.ok_or_else(|| self.failed(ArchiveQuery::NAME, &full()))?);
            }
            let Some(last) = page.last().filter(|_| page.len() >= asked as usize) else { break };
            let same = page.iter().rev().take_while(|message| message.seq == last.seq).count();
            let bound = if newest { &mut upto } else { &mut from };
            let before = if same == page.len() && *bound == last.seq { passed } else { 0 };
            passed = before + same as u64;
            *bound = last.seq;
            most -= u64::from(asked);
            rows = worthwhile(&page);
        }
        Ok(())
    }
}

/// How many messages like these to ask for at once.
fn worthwhile(page: &[MessageView]) -> u32 {
    let bytes: usize = page.iter().map(|message| message.text.len() + message.body.len()).sum();
    let rows = CALL_BYTES * page.len() / bytes.max(1);
    u32::try_from(rows).unwrap_or(CALL_ROWS).clamp(1, CALL_ROWS)
}

/// Messages of an answer, as they are written.
#[derive(Default)]
struct Answer {
    written: Vec<u8>,
    ends: Vec<usize>,
}

impl Answer {
    fn push(&mut self, message: &Shown<'_>) -> Result<(), ApiError> {
        reply::write(&mut self.written, message);
        self.ends.push(self.written.len());
        if self.written.len() > MAX_BYTES { Err(ApiError::TooMuch) } else { Ok(()) }
    }

    /// The body of the answer.
    fn finish(self, reverse: bool) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.written.len() + self.ends.len() + 32);
        body.extend_from_slice(br#"{"code":0,"data":{"Msg":["#);
        let message = |place: usize| {
            let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.written[start..self.ends[place]]
        };
        let count = self.ends.len();
        for written in 0..count {
            if written > 0 {
                body.push(b',');
            }
            body.extend_from_slice(message(if reverse { count - 1 - written } else { written }));
        }
        body.extend_from_slice(b"]}}\n");
        body
    }
}
