//! `sync.pull`: the history of a conversation, by windows of time.
//!
//! What cannot be read is told from what does not work now by asking for a range in which nothing can be: when that is answered,
//! the trouble is in the window. It is halved until the millisecond in the way stands alone; that one is asked for again, and
//! then noted and passed. After some of them with nothing between them wider windows are leapt over, and looked through by
//! later runs ([`super::window`]).

use super::apart::tell_apart;
use super::client::{CallError, Device, FAILED};
use super::decode::{self, Decoded};
use super::notes::Notes;
use super::window::{MILLISECOND, Position, Window};
use super::{Upstream, attributes};
use crate::msgid;
use serde_json::json;
use std::time::Duration;
use stele_plugin_api::model::{Conversation, ConversationKind, Micros, Page};
use stele_plugin_api::ops::PullRequest;
use stele_plugin_api::{Error, ErrorCode};
use tokio::time::Instant;

/// Most requests for one page.
const MAX_REQUESTS: usize = 64;
/// Time after which a page goes as it is; the daemon gives a plugin two minutes.
const PAGE_TIME: Duration = Duration::from_secs(40);
/// Messages of a page when the daemon does not say.
const PAGE: usize = 1000;

/// Why a part is passed, as operators read it.
const BROKEN: &str = "the upstream fails at what is stored there";

/// Why a window was not read, though history works.
enum Trouble {
    /// The upstream fails at something in it.
    Broken,
    /// The answer is too large.
    Large,
    /// There was no answer in time.
    Slow(Error),
}

impl Upstream {
    /// The next page of a conversation.
    ///
    /// # Errors
    ///
    /// `denied` when the upstream refuses the token; `unavailable`, `deadline` when it does not work now.
    pub async fn pull(&self, request: &PullRequest) -> Result<Page, Error> {
        self.renew_listeners().await;
        let id = request.partition.as_str();
        let limit = if request.limit == 0 { PAGE } else { request.limit as usize };
        let mut position = Position::read(request.cursor.as_ref(), msgid::number_at(self.begins))?;
        let begun = position;
        let mut page = Page::default();
        let mut notes = Notes::default();
        let mut works = false;
        let until = Instant::now() + PAGE_TIME;
        for _ in 0..MAX_REQUESTS {
            let now = msgid::number_at((self.clock)());
            let window = position.window(now);
            if position.is_trying() {
                match self.can_be_read(id, window, &mut works).await {
                    Ok(can_be_read) => {
                        let leapt = position.tried(window, now, can_be_read);
                        leapt.into_iter().for_each(|leapt| notes.leapt(leapt));
                    }
                    Err(_) if position != begun => break,
                    Err(error) => return Err(error),
                }
                if Instant::now() >= until {
                    break;
                }
                continue;
            }
            let is_searching = position.is_searching();
            match self.try_window(id, window, &mut works).await {
                Ok(Ok(found)) => {
                    if self.take(&mut page, &mut notes, &mut position, window, found, limit) {
                        position.caught_up(now, self.overlap);
                    }
                }
                Ok(Err(trouble)) => match self.give_way(id, &mut position, window, now, trouble).await {
                    Ok(None) => {}
                    Ok(Some(BROKEN)) if is_searching => notes.searched(window),
                    Ok(Some(lost)) => notes.unreadable(lost, window),
                    Err(error) if is_searching => {
                        position.end_search();
                        notes.unsearched(error);
                    }
                    // What was learned so far is kept.
                    Err(_) if position != begun => break,
                    Err(error) => return Err(error),
                },
                Err(error) if is_searching => {
                    position.end_search();
                    notes.unsearched(error);
                }
                Err(_) if position != begun => break,
                Err(error) => return Err(error),
            }
            if is_searching && position.is_searching() {
                position.searched();
            }
            page.caught_up = position.is_caught_up();
            if page.caught_up || !page.messages.is_empty() || Instant::now() >= until {
                break;
            }
        }
        let collisions = tell_apart(&self.host, &mut page.messages).await?;
        let told = begun.told();
        let news = |place: &&usize| page.messages[**place].seq.is_some_and(|number| number > told);
        notes.collisions(collisions.iter().filter(news).count());
        page.notices = notes.told();
        page.cursor = Some(position.write());
        Ok(page)
    }

    /// Puts what a window brought into the page. Whether there is nothing behind it.
    fn take(
        &self,
        page: &mut Page,
        notes: &mut Notes,
        position: &mut Position,
        window: Window,
        mut found: Vec<Decoded>,
        limit: usize,
    ) -> bool {
        found.sort_by(|a, b| (a.message.seq, &a.message.native_id).cmp(&(b.message.seq, &b.message.native_id)));
        let numbers: Vec<i64> = found.iter().filter_map(|decoded| decoded.number).collect();
        let told = position.told();
        let last = limit.checked_sub(1).and_then(|last| numbers.get(last)).filter(|_| numbers.len() > limit).copied();
        match last {
            // What has no number is taken at once: who knows in which window it is found again.
            Some(last) => {
                found.retain(|decoded| decoded.number.is_none_or(|number| number <= last));
                position.cut(window, last);
            }
            None => position.passed(window, numbers.len(), numbers.last().copied(), limit),
        }
        // What a run reads again it has told of already.
        let news = found.iter().filter(|decoded| decoded.message.seq.is_some_and(|seq| seq > told));
        news.for_each(|decoded| notes.note(decoded));
        if let Some(first) = found.first() {
            let kind = found
                .iter()
                .find(|decoded| decoded.number.is_some())
                .and_then(|one| msgid::kind(&one.message.native_id));
            page.conversations.push(Conversation {
                native_id: first.message.conversation.clone(),
                partition: first.message.conversation.clone(),
                kind: Some(ConversationKind::Group),
                attributes: kind.map(attributes),
                ..Conversation::default()
            });
        }
        page.messages.extend(found.into_iter().map(|decoded| decoded.message));
        last.is_none() && window.to.is_none()
    }

    /// A smaller window is next, or what cannot be read is passed: then says why.
    async fn give_way(
        &self,
        id: &str,
        position: &mut Position,
        window: Window,
        now: i64,
        trouble: Trouble,
    ) -> Result<Option<&'static str>, Error> {
        let least = if matches!(trouble, Trouble::Large) { 1 } else { MILLISECOND };
        if position.narrow(window, now, least) {
            return Ok(None);
        }
        let reason = match trouble {
            Trouble::Slow(error) => return Err(error),
            // Had the upstream failed just now, something readable would be passed.
            Trouble::Large | Trouble::Broken => match self.try_window(id, window, &mut false).await? {
                Err(Trouble::Large) if window.to == Some(window.from) => "one message is larger than an answer may be",
                Err(Trouble::Broken) => BROKEN,
                _ => return Ok(None),
            },
        };
        position.give_up(window);
        Ok(Some(reason))
    }

    /// Whether everything in a window can be read. That is also so when there is too much of it for one answer: it fails at once at
    /// what it cannot read.
    async fn can_be_read(&self, id: &str, window: Window, works: &mut bool) -> Result<bool, Error> {
        // Had the upstream failed just now, something readable would be passed: so that history works is seen again.
        for works in [works, &mut false] {
            if !matches!(self.try_window(id, window, works).await?, Err(Trouble::Broken)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Everything in a window; an error when it is not the window's fault. `works`: that history works was seen before.
    async fn try_window(
        &self,
        id: &str,
        window: Window,
        works: &mut bool,
    ) -> Result<Result<Vec<Decoded>, Trouble>, Error> {
        let trouble = match self.range(id, window.bounds(), msgid::time(window.from)).await {
            Ok(found) => return Ok(Ok(found)),
            Err(CallError::Failed(error)) => match error.code {
                ErrorCode::TooLarge => Trouble::Large,
                ErrorCode::Deadline => Trouble::Slow(error),
                _ => return Err(error),
            },
            Err(CallError::Refused(FAILED) | CallError::Unreadable) => Trouble::Broken,
            Err(error) => return Err(error.into()),
        };
        if !*works {
            self.range(id, Window::empty(), 0).await?;
            *works = true;
        }
        Ok(Err(trouble))
    }

    async fn range(&self, id: &str, bounds: (String, String), otherwise: Micros) -> Result<Vec<Decoded>, CallError> {
        let body = json!({ "conversation_id": id, "start_msg_id": bounds.0, "end_msg_id": bounds.1, "desc": false });
        let device = Device { sid: self.reader(id), platform: 0 };
        let read = |data: Option<&_>| {
            let elements = decode::elements(data)?;
            Some(elements.into_iter().map(|element| decode::message(element, id, &self.greeting, otherwise)).collect())
        };
        self.client.call(&device, "/get_conversation_msg_by_range", &body, read).await
    }
}
