//! `sync.pull`: the next page of all conversations.
//!
//! The listing says how many messages each conversation has, the archive how many of them it has; the differences are read,
//! several conversations at a time. One that cannot be read while the upstream works stops no other: it is told, passed, and tried
//! again by the next run, since nothing says that it is archived.

use super::Upstream;
use super::client::CallError;
use super::notes::{self, Notes};
use super::owed::{Debts, Owed};
use super::reading::{Gaps, Reading, STEP_TIME, Step, StepError, Terms};
use super::walk::{Place, Walk};
use crate::ids;
use futures::StreamExt;
use futures::stream;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stele_plugin_api::model::Page;
use stele_plugin_api::ops::{ArchiveGet, ByIds, PullRequest};
use stele_plugin_api::{Error, ErrorCode};
use tokio::time::{Instant, timeout};

/// Conversations that are read at the same time.
pub const AT_ONCE: usize = 8;
/// Attempts at a conversation, and at what a person has.
pub const ATTEMPTS: u32 = 3;
/// Time after which a page goes as it is; the daemon gives a plugin two minutes, unless it is told otherwise, and a page that takes
/// longer is lost.
pub const PAGE_TIME: Duration = Duration::from_secs(20);
/// Longest time of a step or a listing, which may begin right before that. One that takes longer failed.
const STEP_LIMIT: Duration = Duration::from_secs(50);
/// Bytes of messages after which a page goes as it is.
const PAGE_BYTES: usize = 8 << 20;
/// Most bytes of messages in a page of more than one answer. They are in it twice, and a frame has 64 MiB.
const MAX_BYTES: usize = 20 << 20;
/// Messages of a page when the daemon does not say.
const PAGE: usize = 1000;
/// Conversations a page says the end of: what is only passed counts as well.
const MAX_REACHED: usize = 5000;
/// Pause before another attempt at conversations of which none could be read.
const PAUSE: Duration = Duration::from_millis(100);

/// A page being put together.
struct Draft {
    page: Page,
    notes: Notes,
    walk: Walk,
    /// Failed attempts at the conversations of the walk, in their order.
    failures: Vec<u32>,
    limit: usize,
    bytes: usize,
    /// What is next does not fit into it.
    full: bool,
    /// The search did not answer: what it would be asked is left to the end of the walk.
    search_fails: bool,
    /// When it goes as it is.
    until: Instant,
}

fn too_long() -> StepError {
    StepError::Upstream(CallError::Failed(Error::new(ErrorCode::Deadline, "the upstream takes too long")))
}

impl Upstream {
    /// The next page.
    ///
    /// # Errors
    ///
    /// `denied` when the upstream refuses the secret; `unavailable`, `deadline` when it does not work now.
    pub async fn pull(&self, request: &PullRequest) -> Result<Page, Error> {
        let walk = Walk::read(request.cursor.as_ref());
        let limit = if request.limit == 0 { PAGE } else { request.limit as usize };
        let mut draft = Draft {
            page: Page::default(),
            notes: Notes::default(),
            failures: vec![0; walk.reading.len()],
            walk,
            limit,
            bytes: 0,
            full: false,
            search_fails: false,
            until: Instant::now() + PAGE_TIME,
        };
        // What came since the listing of an earlier process is not in its walk: another one follows it.
        let mut is_old = !draft.walk.is_new() && draft.walk.process != self.process;
        if draft.walk.is_new() {
            draft.walk = self.new_walk(draft.walk.owed);
        }
        let begun = draft.walk.clone();
        while !draft.is_full() {
            if draft.walk.is_new() {
                if !is_old {
                    break;
                }
                (draft.walk, is_old) = (self.new_walk(draft.walk.owed), false);
                continue;
            }
            if draft.walk != begun && Instant::now() >= draft.until {
                break;
            }
            let done = match (&draft.walk.place, draft.walk.reading.is_empty()) {
                (&Some(Place::Owed(left)), true) => self.ask_next(&mut draft, left).await,
                (_, is_empty) => {
                    let done = if is_empty { self.look(&mut draft).await } else { self.read(&mut draft).await };
                    // Behind all else, also behind what was owed right now.
                    if draft.walk.is_new() && !draft.walk.owed.is_empty() {
                        draft.walk.place = Some(Place::Owed(draft.walk.owed.blocks()));
                    }
                    done
                }
            };
            match done {
                Ok(()) => {}
                // What was learned so far is kept.
                Err(_) if draft.walk != begun => break,
                Err(error) => return Err(error),
            }
        }
        let Draft { mut page, notes, walk, .. } = draft;
        // Also where the page is full of the last messages there are: from this cursor the walk would begin anew.
        page.caught_up = walk.is_new() && !is_old;
        page.notices = notes.told();
        page.cursor = Some(walk.write());
        Ok(page)
    }

    fn new_walk(&self, owed: Debts) -> Walk {
        self.listed.begin();
        Walk::begin(self.process, owed)
    }

    /// Takes the conversations of the next page of the listing that have something new.
    async fn look(&self, draft: &mut Draft) -> Result<(), Error> {
        let Some(place) = &draft.walk.place else { return Ok(()) };
        let found = timeout(STEP_LIMIT, self.list(place, draft.until)).await;
        let found = found.unwrap_or_else(|_| Err(too_long().into()))?;
        found.notes.into_iter().for_each(|note| draft.notes.note(note));
        draft.failures = vec![0; found.reading.len()];
        (draft.walk.place, draft.walk.reading) = (found.next, found.reading);
        Ok(())
    }

    /// Asks again for the next of what is owed. Where the search does not answer, the others are left to the next walk.
    async fn ask_next(&self, draft: &mut Draft, left: usize) -> Result<(), Error> {
        let Some(mut owed) = draft.walk.owed.next() else {
            draft.walk.place = None;
            return Ok(());
        };
        let room = draft.limit.saturating_sub(draft.page.messages.len());
        if owed.seqs.len() > room && !draft.page.messages.is_empty() {
            draft.leave(owed);
            return Ok(());
        }
        let mut rest = owed.split_off(room);
        let terms = Terms { search_fails: AtomicBool::new(false), ..draft.terms() };
        let step = loop {
            let step = timeout(STEP_LIMIT, self.ask_again(&owed, &terms)).await;
            match step.unwrap_or_else(|_| Err(too_long())) {
                Err(StepError::Upstream(error)) if error.is_too_large() && owed.seqs.len() > 1 => {
                    rest.extend(owed.split_off(owed.seqs.len() / 2));
                }
                step => break step,
            }
        };
        let mut fails = terms.search_fails.into_inner();
        match step {
            Ok(step) if draft.has_no_room(&step) => {
                draft.leave(owed.with(rest));
                return Ok(());
            }
            Ok(step) => {
                rest.extend(step.owed.iter().copied());
                draft.put(&owed.conversation, step);
            }
            Err(StepError::Archive(error)) => return Err(error),
            Err(StepError::Upstream(error)) => {
                self.warn("what is owed cannot be read now", &error.into());
                rest.append(&mut owed.seqs);
                fails = true;
            }
        }
        draft.walk.owed.add(&owed.conversation, &owed.reader, &Vec::from_iter(rest));
        let is_over = left <= 1 || fails;
        draft.walk.place = (!is_over).then(|| Place::Owed(left - 1));
        if is_over && !draft.walk.owed.is_empty() {
            draft.notes.note(notes::owed(draft.walk.owed.messages()));
        }
        Ok(())
    }

    /// Reads some of the conversations of the walk, one answer of each.
    async fn read(&self, draft: &mut Draft) -> Result<(), Error> {
        let room = draft.limit.saturating_sub(draft.page.messages.len()).max(1);
        let count = draft.walk.reading.len().min(AT_ONCE).min(room);
        let terms = &draft.terms();
        let steps = stream::iter(draft.walk.reading[..count].to_vec()).map(|mut reading| async move {
            let step = timeout(STEP_LIMIT, self.step(&mut reading, room / count, terms)).await;
            (step.unwrap_or_else(|_| Err(too_long())), reading)
        });
        // In their places, so that a page is the same whichever answer comes first.
        let steps: Vec<_> = steps.buffered(AT_ONCE).collect().await;
        let of_upstream = |step: &Result<Step, StepError>, is: fn(&CallError) -> bool| matches!(step, Err(StepError::Upstream(error)) if is(error));
        draft.search_fails = terms.search_fails.load(Ordering::Relaxed);
        let works = steps.iter().any(|(step, _)| step.is_ok());
        if !works || steps.iter().any(|(step, _)| of_upstream(step, CallError::is_denied)) {
            self.client.works().await?;
        }
        let mut reset = Vec::new();
        for (place, (step, reading)) in steps.into_iter().enumerate().rev() {
            match step {
                Ok(step) => {
                    if step.barren {
                        self.listed.saw_nothing(&reading);
                    }
                    if step.done && reading.from >= reading.archived.max(reading.last) {
                        self.listed.is_the_same(&reading.conversation);
                    }
                    reset.extend(step.reset.then(|| ids::notices(&reading.conversation)));
                    draft.take(place, reading, step);
                }
                Err(StepError::Archive(error)) => return Err(error),
                // It asks for less the next time, down to a single message.
                Err(StepError::Upstream(_)) if reading.size != draft.walk.reading[place].size => {
                    draft.walk.reading[place].size = reading.size;
                }
                Err(StepError::Upstream(error)) => {
                    draft.failures[place] += 1;
                    // Another attempt may be one too many for the page.
                    if draft.failures[place] == ATTEMPTS || Instant::now() >= draft.until {
                        let error = Error::from(error).to_string();
                        draft.notes.note(notes::unreadable(&reading.conversation, &error));
                        draft.remove(place);
                    }
                }
            }
        }
        for notices in reset {
            if let Err(error) = self.read_again(draft, notices.clone()).await {
                draft.notes.note(notes::unreadable(&notices, &error.to_string()));
            }
        }
        if !works {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Has a channel of notices read from its beginning: it is that of other messages than before.
    async fn read_again(&self, draft: &mut Draft, notices: String) -> Result<(), Error> {
        self.listed.may_differ(&notices);
        let archived = self.reached(vec![notices.clone()]).await?.first().copied().unwrap_or_default();
        let last = self.client.last_seqs(std::slice::from_ref(&notices)).await?;
        if let Some(last) = last.get(&notices).copied().filter(|last| *last > 0) {
            draft.walk.reading.retain(|reading| reading.conversation != notices);
            draft.walk.reading.push(Reading { from: 0, ..Reading::new(&notices, self.client.admin(), archived, last) });
            draft.failures = vec![0; draft.walk.reading.len()];
        }
        Ok(())
    }

    /// Which of these messages are not archived.
    pub(super) async fn unknown(&self, native_ids: Vec<String>) -> Result<HashSet<String>, Error> {
        let mut unknown: HashSet<_> = native_ids.iter().cloned().collect();
        if !unknown.is_empty() {
            let known = self.host.call_within::<ArchiveGet>(ByIds { native_ids }, crate::CALL).await?;
            known.rows.iter().for_each(|row| _ = unknown.remove(&row.native_id));
        }
        Ok(unknown)
    }
}

impl Draft {
    fn is_full(&self) -> bool {
        self.full
            || self.page.messages.len() >= self.limit
            || self.bytes >= PAGE_BYTES
            || self.page.reached.len() + self.page.revocations.len() >= MAX_REACHED
    }

    fn remove(&mut self, place: usize) {
        self.walk.reading.remove(place);
        self.failures.remove(place);
    }

    /// Puts what a conversation's answer brought into the page, unless that is too much: then it is asked for again.
    fn take(&mut self, place: usize, reading: Reading, step: Step) {
        if self.has_no_room(&step) {
            return;
        }
        self.walk.owed.add(&reading.conversation, &reading.reader, &step.owed);
        let done = step.done;
        self.put(&reading.conversation, step);
        if done {
            self.remove(place);
        } else {
            self.failures[place] = 0;
            self.walk.reading[place] = reading;
        }
    }

    fn has_no_room(&self, step: &Step) -> bool {
        self.bytes > 0 && self.bytes + step.bytes() > MAX_BYTES
    }

    /// Leaves this to the next page.
    fn leave(&mut self, owed: Owed) {
        self.walk.owed.put_back(owed);
        self.full = true;
    }

    /// Puts what there is into the page.
    fn put(&mut self, conversation: &str, step: Step) {
        self.bytes += step.bytes();
        step.notes.into_iter().for_each(|note| self.notes.note(note));
        if !step.messages.is_empty() {
            let conversation = ids::described(conversation);
            if !self.page.conversations.contains(&conversation) {
                self.page.conversations.push(conversation);
            }
        }
        self.page.messages.extend(step.messages);
        self.page.revocations.extend(step.revocations);
        if let Some(reached) = step.reached {
            self.page.reached.retain(|known| known.partition != reached.partition);
            self.page.reached.push(reached);
        }
    }

    fn terms(&self) -> Terms {
        let search_fails = AtomicBool::new(self.search_fails);
        Terms { gaps: Gaps::Pass, may_owe: self.walk.owed.has_room(), search_fails, until: Instant::now() + STEP_TIME }
    }
}
