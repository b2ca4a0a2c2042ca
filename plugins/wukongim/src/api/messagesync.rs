//! `POST /channel/messagesync` (contract 001 §5; reference/wukongim.md §7 and the table of §17).
//!
//! `start` and `end` name the range [start, end), 0 meaning unbounded, and `pull_mode` says from which end of it the `limit` is
//! taken: 0 from the low one, towards newer messages, 1 from the high one, towards older ones. With neither bound it is the
//! newest messages in both. A real server means something else:
//!
//! | pull_mode | start | end | contract | upstream |
//! |---|---|---|---|---|
//! | any | 0 | 0 | the newest | the newest |
//! | 0 | N | 0 | first of [N, last] | last of [1, N] |
//! | 0 | 0 | M | first of [1, M) | none |
//! | 0 | N | M > N | first of [N, M) | none |
//! | 0 | N | M ≤ N | none | last of (M, N] |
//! | 1 | 0 | M | last of [1, M) | first of [1, M) |
//! | 1 | N | 0 | last of [N, last] | first of [N, last] |
//! | 1 | N | M > N | last of [N, M) | first of [N, M) |
//!
//! Where a real server reads down from N, its `limit` counts from N on, also where there is no message yet: with a start of 13 and
//! a limit of 3 the newest two of 12 are told, with a start of 20 none.
//!
//! The answer is ascending in any case, and `more` says exactly whether the range holds more. An answer that would be too large, or
//! tell of too many streams, is shorter than its limit, and says that there is more. Messages of the same number, which a channel
//! has whose upstream was reset, are told together, also beyond the limit: whoever goes on behind a number misses none.

use super::Api;
use super::answer::{Answer, Shown};
use super::fields::Fields;
use super::reply::{self, ApiError};
use crate::config::PullMode;
use crate::message::Object;
use serde::Serialize;
use stele_plugin_api::ops::{HttpReply, HttpRequest, MessageOrder, MessageQuery};

/// Messages of an answer, where nothing else is asked for.
const DEFAULT_LIMIT: u64 = 100;
/// Most messages of an answer.
pub const MAX_LIMIT: u64 = 10_000;

/// Most streams an answer tells of: each is read by itself.
const MAX_STREAMS: usize = 200;

/// Messages, and how they were asked for.
#[derive(Serialize)]
pub struct Page<'s> {
    pub start_message_seq: u64,
    pub end_message_seq: u64,
    /// 1 when the range holds more.
    pub more: u8,
    pub messages: Vec<&'s Shown>,
}

/// Which messages of a channel are chosen, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    from: i64,
    upto: i64,
    /// From the high end on.
    newest: bool,
}

impl Choice {
    fn of(meaning: PullMode, pull_mode: u64, start: u64, end: u64) -> Option<Self> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let last = |end: u64| end.checked_sub(1).map_or(i64::MAX, number);
        let range = |newest| Self { from: number(start), upto: last(end), newest };
        let choice = match (meaning, pull_mode) {
            _ if start == 0 && end == 0 => range(true),
            (PullMode::Contract, mode) => range(mode == 1),
            (PullMode::Upstream, 1) => range(false),
            (PullMode::Upstream, _) if end > start => return None,
            (PullMode::Upstream, _) => Self { from: number(end).saturating_add(1), upto: number(start), newest: true },
        };
        (choice.from <= choice.upto).then_some(choice)
    }
}

impl Api {
    /// `POST /channel/messagesync`.
    pub(super) async fn messagesync(&self, request: &HttpRequest) -> Result<HttpReply, ApiError> {
        let fields = Fields::of_body(request)?;
        let login_uid = fields.name("login_uid")?;
        let channel = fields.channel(&login_uid)?;
        fields.needed("login_uid")?;
        let start = fields.number("start_message_seq", u64::MAX)?.unwrap_or_default();
        let end = fields.number("end_message_seq", u64::MAX)?.unwrap_or_default();
        let limit = fields.number("limit", u64::MAX)?.filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT);
        let pull_mode = match self.config.pull_mode {
            PullMode::Contract => fields.flag("pull_mode")?.into(),
            PullMode::Upstream => fields.number("pull_mode", u64::MAX)?.unwrap_or_default(),
        };
        let streams = fields.flag("stream_v2")? == 1;
        let limit = usize::try_from(limit.min(MAX_LIMIT)).unwrap_or_default();
        let mut answer = Answer::new(self);
        let mut more = false;
        if let Some(choice) = Choice::of(self.config.pull_mode, pull_mode, start, end) {
            let conversation = channel.to_string();
            let limit = match self.config.pull_mode {
                PullMode::Upstream if choice.newest && start > 0 => {
                    let beyond = start.saturating_sub(self.last_seq(&conversation).await?);
                    limit.saturating_sub(usize::try_from(beyond).unwrap_or(usize::MAX))
                }
                _ => limit,
            };
            if limit > 0 {
                more = self.choose(&conversation, choice, (limit, streams), &mut answer).await?;
            }
            if choice.newest {
                answer.shown.reverse();
            }
        }
        let messages = answer.shown.iter().collect();
        Ok(reply::json(200, &Page { start_message_seq: start, end_message_seq: end, more: more.into(), messages }))
    }

    /// Puts what is chosen into an answer, in the order in which it is chosen, perhaps with what streams say. Says whether there is
    /// more.
    async fn choose(
        &self,
        conversation: &str,
        choice: Choice,
        (limit, streams): (usize, bool),
        answer: &mut Answer<'_>,
    ) -> Result<bool, ApiError> {
        let Choice { mut from, mut upto, newest } = choice;
        let mut told = 0;
        let now = self.now();
        let mut rows = u32::MAX;
        // Messages of the number at which it goes on that were seen.
        let mut seen = 0;
        while from <= upto {
            // One more than is wanted, to see whether there is one.
            let left = u32::try_from((limit + 1).saturating_sub(answer.shown.len()).max(1)).unwrap_or(u32::MAX);
            let mut query = MessageQuery {
                conversation: conversation.to_owned(),
                from_seq: Some(from),
                to_seq: Some(upto),
                unexpired_at: Some(now),
                order: MessageOrder::Seq,
                descending: newest,
                offset: seen,
                limit: left.min(rows),
                ..MessageQuery::default()
            };
            let page = self.query(&mut query).await?;
            rows = query.limit;
            for message in &page {
                let is_next = answer.shown.last().is_some_and(|last| last.seq != message.seq);
                if answer.shown.len() >= limit && is_next {
                    return Ok(true);
                }
                let mut object = Object::of(message);
                if !streams {
                    object = object.without_stream();
                } else if object.awaits_end() {
                    self.tell_end(message, &mut object).await?;
                } else if object.begins_stream() {
                    if told == MAX_STREAMS {
                        answer.end_before(message.seq)?;
                        return Ok(true);
                    }
                    told += 1;
                    self.tell_stream(&mut object).await?;
                }
                if !answer.add(message, &object).await? {
                    answer.end_before(message.seq)?;
                    return Ok(true);
                }
            }
            let Some(last) = page.last().filter(|_| page.len() >= rows as usize) else { return Ok(false) };
            let bound = if newest { &mut upto } else { &mut from };
            let equal = page.iter().rev().take_while(|message| message.seq == last.seq).count() as u64;
            seen = if *bound == last.seq { seen + equal } else { equal };
            *bound = last.seq;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: i64 = i64::MAX;

    fn check(meaning: PullMode, pull_mode: u64, start: u64, end: u64, expected: Option<(i64, i64, bool)>) {
        let expected = expected.map(|(from, upto, newest)| Choice { from, upto, newest });
        assert_eq!(Choice::of(meaning, pull_mode, start, end), expected, "{meaning:?} {pull_mode} {start} {end}");
    }

    #[test]
    fn the_contract_chooses_from_either_end_of_the_range() {
        let contract = PullMode::Contract;
        for mode in [0, 1] {
            check(contract, mode, 0, 0, Some((0, LAST, true)));
            check(contract, mode, 7, 0, Some((7, LAST, mode == 1)));
            check(contract, mode, 0, 9, Some((0, 8, mode == 1)));
            check(contract, mode, 7, 9, Some((7, 8, mode == 1)));
            check(contract, mode, 9, 9, None);
            check(contract, mode, 9, 7, None);
            check(contract, mode, u64::MAX, 0, Some((LAST, LAST, mode == 1)));
            check(contract, mode, 1, u64::MAX, Some((1, LAST, mode == 1)));
        }
    }

    #[test]
    fn a_real_server_reads_down_from_the_start_or_up_from_it() {
        let upstream = PullMode::Upstream;
        for mode in [0, 1, 2] {
            check(upstream, mode, 0, 0, Some((0, LAST, true)));
        }
        for mode in [0, 2] {
            check(upstream, mode, 7, 0, Some((1, 7, true)));
            check(upstream, mode, 0, 9, None);
            check(upstream, mode, 7, 9, None);
            check(upstream, mode, 9, 9, None);
            check(upstream, mode, 9, 7, Some((8, 9, true)));
            check(upstream, mode, u64::MAX, 0, Some((1, LAST, true)));
        }
        check(upstream, 1, 7, 0, Some((7, LAST, false)));
        check(upstream, 1, 0, 9, Some((0, 8, false)));
        check(upstream, 1, 7, 9, Some((7, 8, false)));
        check(upstream, 1, 9, 7, None);
    }
}
