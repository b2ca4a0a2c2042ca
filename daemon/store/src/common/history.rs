//! Messages of a conversation: totals from counters, pages from one range of an index per kind.
//!
//! A page far from where its order begins is not reached by passing over all that comes before: in the order of time the
//! counters tell the day the page begins in, and from there, or in the other orders from the whole, the nearer end is
//! walked from. So what is passed over is at most half of a day; in the orders by id and by number, at most half of what
//! was asked for.
//!
//! Bounds of the number are bounds of the id wherever numbers ascend with ids, and ranges of the index by number elsewhere.
//!
//! What has expired is counted, and taken from the total; where nothing asked for has, the pages are those of all messages.
//! Elsewhere every message on the way is looked at, days are not told by the counters, which count what has expired, too, and
//! the nearer end is the one with less of both on the way: what has expired is taken to be the oldest there is.
//!
//! What is read, and in which order, is decided here; the statements are the backends' own.

use super::DAY;
use super::source::{Count, Given, Known, Source, Walk};
use stele_archive::ops::{MessageOrder, MessageQuery};
use stele_archive::{MessageList, StoredMessage};

/// Of an interval with so many messages at most all are found and put in order afterwards; of a larger one they are found in
/// the order asked for, and those outside passed over.
const NARROW: i64 = 10_000;

/// So many messages are passed over in the index before the day to begin with is looked up.
const SHALLOW: i64 = 64;

/// Answer the query.
pub(crate) async fn messages<S: Source>(source: &mut S, query: &MessageQuery) -> Result<MessageList, S::Failure> {
    let found = source.conversation(&query.conversation).await?;
    let Some(Known { conversation, messages, own_order }) = found else { return Ok(MessageList::default()) };
    let anchors = Anchors::of(query);
    let (unexpired_at, expired) = (None, 0);
    let mut history =
        History { source, conversation, kinds: Vec::new(), some: false, query, anchors, unexpired_at, expired };
    history.choose_kinds().await?;
    if history.kinds.is_empty() {
        return Ok(MessageList::default());
    }
    let mut parts = parts(query);
    let mut total = 0;
    for part in &mut parts {
        let everything = !history.some && query.since.is_none() && query.until.is_none();
        part.messages = if everything { messages } else { history.count(part).await? };
        total += part.messages;
    }
    if let Some(then) = query.unexpired_at {
        history.expired = history.count_expired(then).await?;
        history.unexpired_at = (history.expired > 0).then_some(then);
        total -= history.expired;
    }
    let limit = u64::from(query.limit).min(total.cast_unsigned().saturating_sub(query.offset));
    if limit == 0 {
        return Ok(MessageList { rows: Vec::new(), total: total.cast_unsigned() });
    }
    // Below the total, which is a count of rows.
    let (limit, offset) = (limit.cast_signed(), query.offset.cast_signed());
    // Where numbers ascend with ids, the order by number is that by id.
    let order = if query.order == MessageOrder::Seq && !own_order { MessageOrder::Id } else { query.order };
    if !own_order {
        history.number_by_id().await?;
    }
    let rows = match history.anchors {
        Anchors::NONE => history.page(order, &parts, total, (limit, offset)).await?,
        _ => history.anchored(order, (limit, offset)).await?,
    };
    Ok(MessageList { rows, total: total.cast_unsigned() })
}

/// Bounds of the id, exclusive, and of the number, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchors {
    after: Option<i64>,
    before: Option<i64>,
    from_seq: Option<i64>,
    to_seq: Option<i64>,
}

impl Anchors {
    const NONE: Self = Self { after: None, before: None, from_seq: None, to_seq: None };

    fn of(query: &MessageQuery) -> Self {
        let MessageQuery { after, before, from_seq, to_seq, .. } = *query;
        Self { after, before, from_seq, to_seq }
    }

    /// The order in which they bound what is asked for on both sides.
    fn interval(&self) -> Option<MessageOrder> {
        match self {
            Self { after: Some(_), before: Some(_), .. } => Some(MessageOrder::Id),
            Self { from_seq: Some(_), to_seq: Some(_), .. } => Some(MessageOrder::Seq),
            _ => None,
        }
    }
}

/// Bounds of time: from, and before.
type Bounds = (Option<i64>, Option<i64>);

/// A part of the time asked for: days at the edges are counted in the index, whole ones by their counters.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Whole days: from, and before; microseconds otherwise.
    days: bool,
    from: i64,
    until: i64,
    messages: i64,
}

/// The parts of the time a query asks for, ascending; none of them empty.
fn parts(query: &MessageQuery) -> Vec<Part> {
    let since = query.since.unwrap_or(i64::MIN);
    let until = query.until.unwrap_or(i64::MAX);
    // The first day that is whole, and the first one after it that is not.
    let first =
        query.since.map_or(i64::MIN / DAY - 1, |since| since.div_euclid(DAY) + i64::from(since.rem_euclid(DAY) > 0));
    let end = query.until.map_or(i64::MAX / DAY + 1, |until| until.div_euclid(DAY));
    let (first_start, end_start) = (first.saturating_mul(DAY), end.saturating_mul(DAY));
    let part = |days, from, until| Part { days, from, until, messages: 0 };
    let parts = if first >= end {
        vec![part(false, since, until)]
    } else {
        let before = if query.since.is_none() { first_start } else { since };
        let after = if query.until.is_none() { end_start } else { until };
        vec![part(false, before, first_start), part(true, first, end), part(false, end_start, after)]
    };
    parts.into_iter().filter(|part| part.from < part.until).collect()
}

/// A stretch of time, and how many of the messages asked for were sent in it.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    since: Option<i64>,
    until: Option<i64>,
    messages: i64,
}

/// The messages of a conversation that a query asks for.
struct History<'s, 'q, S> {
    source: &'s mut S,
    conversation: i64,
    /// The kinds asked for that the conversation holds, ascending.
    kinds: Vec<i64>,
    /// Whether only some kinds are asked for.
    some: bool,
    query: &'q MessageQuery,
    /// Those of the query, or what they come to.
    anchors: Anchors,
    /// That of the query, where something it asks for has expired by then.
    unexpired_at: Option<i64>,
    /// How much of what it asks for has.
    expired: i64,
}

impl<S: Source> History<'_, '_, S> {
    async fn choose_kinds(&mut self) -> Result<(), S::Failure> {
        self.kinds = self.source.kinds(self.conversation).await?;
        self.some = !self.query.kinds.is_empty();
        if self.some {
            let asked = self.source.numbers(&self.query.kinds).await?;
            self.kinds.retain(|kind| asked.contains(kind));
        }
        Ok(())
    }

    async fn count(&mut self, part: &Part) -> Result<i64, S::Failure> {
        let count = if part.days { Count::Days { some: self.some } } else { Count::Edge };
        let given = Given { since: Some(part.from), until: Some(part.until), ..self.given() };
        self.source.count(count, given, &self.kinds).await
    }

    /// How many of the messages asked for have expired by then.
    async fn count_expired(&mut self, then: i64) -> Result<i64, S::Failure> {
        let given = Given { unexpired_at: Some(then), ..self.given() };
        let (since, until) = (self.query.since, self.query.until);
        if since.is_some() || until.is_some() {
            let given = Given { since, until, ..given };
            return self.source.count(Count::ExpiredBetween, given, &self.kinds).await;
        }
        let day = then.div_euclid(DAY);
        let given = Given { since: Some(day), until: Some(day.saturating_mul(DAY)), ..given };
        self.source.count(Count::Expired, given, &self.kinds).await
    }

    fn given(&self) -> Given {
        Given { conversation: self.conversation, ..Given::default() }
    }

    /// A page of everything asked for, found from the nearer end of the stretch it begins in.
    async fn page(
        &mut self,
        order: MessageOrder,
        parts: &[Part],
        total: i64,
        (limit, offset): (i64, i64),
    ) -> Result<Vec<StoredMessage>, S::Failure> {
        let (since, until) = (self.query.since, self.query.until);
        let asked = Walk { order, descending: self.query.descending };
        let (stretch, offset) = if order == MessageOrder::SentAt && offset > SHALLOW && self.unexpired_at.is_none() {
            self.stretch(parts, offset).await?
        } else {
            (Stretch { since, until, messages: total }, offset)
        };
        let (old, new) = if asked.descending { (0, self.expired) } else { (self.expired, 0) };
        let ids = if old + offset <= stretch.messages - offset + new {
            let bounds = if asked.descending { (since, stretch.until) } else { (stretch.since, until) };
            self.ids(asked, bounds, (limit, offset)).await?
        } else {
            let rest = stretch.messages - offset;
            let taken = limit.min(rest);
            let back = Walk { descending: !asked.descending, ..asked };
            let mut ids = self.ids(back, (stretch.since, stretch.until), (taken, rest - taken)).await?;
            ids.reverse();
            if taken < limit {
                let bounds = if asked.descending { (since, stretch.since) } else { (stretch.until, until) };
                ids.extend(self.ids(asked, bounds, (limit - taken, 0)).await?);
            }
            ids
        };
        self.source.messages(&ids).await
    }

    /// The day, or part of one, that a page in the order of time begins in, and what is to be passed over there.
    async fn stretch(&mut self, parts: &[Part], mut offset: i64) -> Result<(Stretch, i64), S::Failure> {
        let descending = self.query.descending;
        let mut at = 0;
        let place = |at: usize| if descending { parts.len() - 1 - at } else { at };
        while offset >= parts[place(at)].messages {
            offset -= parts[place(at)].messages;
            at += 1;
        }
        let Part { days, from, until, messages } = parts[place(at)];
        if !days {
            return Ok((Stretch { since: Some(from), until: Some(until), messages }, offset));
        }
        let given = Given { since: Some(from), until: Some(until), offset: Some(offset), ..self.given() };
        let (day, before, messages) = self.source.day(descending, self.some, given, &self.kinds).await?;
        // A day whose end no number of microseconds tells has nothing beyond it.
        let since = day.checked_mul(DAY).or(self.query.since);
        let until = day.checked_add(1).and_then(|next| next.checked_mul(DAY)).or(self.query.until);
        Ok((Stretch { since, until, messages }, offset - before))
    }

    /// Where numbers ascend with ids, bounds of the number become such of the id.
    async fn number_by_id(&mut self) -> Result<(), S::Failure> {
        let Anchors { from_seq, to_seq, .. } = self.anchors;
        if let Some(from) = from_seq {
            // With none from there on, nothing is left.
            let first = self.first_id(from).await?.unwrap_or(i64::MAX);
            self.anchors.after = self.anchors.after.max(Some(first - 1));
        }
        if let Some(to) = to_seq {
            // With none above, everything is.
            let first = match to.checked_add(1) {
                Some(above) => self.first_id(above).await?.unwrap_or(i64::MAX),
                None => i64::MAX,
            };
            self.anchors.before = Some(self.anchors.before.map_or(first, |before| before.min(first)));
        }
        (self.anchors.from_seq, self.anchors.to_seq) = (None, None);
        Ok(())
    }

    /// The least id from a number on, where numbers ascend with ids.
    async fn first_id(&mut self, seq: i64) -> Result<Option<i64>, S::Failure> {
        let found = self.source.first_from(self.conversation, &[seq], &self.kinds).await?;
        Ok(found.first().and_then(|first| first.id))
    }

    /// A page of what the anchors leave.
    async fn anchored(&mut self, order: MessageOrder, page: (i64, i64)) -> Result<Vec<StoredMessage>, S::Failure> {
        let query = self.query;
        let asked = Walk { order, descending: query.descending };
        let by_number = query.order == MessageOrder::Seq && query.from_seq.is_some() != query.to_seq.is_some();
        let walk = match (query.after, query.before) {
            (Some(_), None) => Walk { order: MessageOrder::Id, descending: false },
            (None, Some(_)) => Walk { order: MessageOrder::Id, descending: true },
            (None, None) if by_number => Walk { order, descending: query.to_seq.is_some() },
            _ => asked,
        };
        if walk == asked
            && let Some(interval) = self.anchors.interval().filter(|interval| *interval != order)
            && let Some(rows) = self.between(interval, page).await?
        {
            return Ok(rows);
        }
        let ids = self.ids(walk, (query.since, query.until), page).await?;
        let mut rows = self.source.messages(&ids).await?;
        if walk != asked {
            in_order(&mut rows, query);
        }
        Ok(rows)
    }

    /// A page of what lies in an interval of another order, unless that is too much to put in order.
    async fn between(
        &mut self,
        interval: MessageOrder,
        (limit, offset): (i64, i64),
    ) -> Result<Option<Vec<StoredMessage>>, S::Failure> {
        let walk = Walk { order: interval, descending: false };
        let ids = self.ids(walk, (self.query.since, self.query.until), (NARROW + 1, 0)).await?;
        if ids.len() as i64 > NARROW {
            return Ok(None);
        }
        let keys = self.source.keys(&ids).await?;
        // Both fit: they are below the total.
        let wanted: Vec<i64> =
            sorted(keys, self.query).into_iter().skip(offset as usize).take(limit as usize).collect();
        Ok(Some(self.source.messages(&wanted).await?))
    }

    /// The ids of a page, in the direction of the walk.
    async fn ids(&mut self, walk: Walk, bounds: Bounds, (limit, offset): (i64, i64)) -> Result<Vec<i64>, S::Failure> {
        let Anchors { after, before, from_seq, to_seq } = self.anchors;
        let (since, until) = bounds;
        let (conversation, unexpired_at) = (self.conversation, self.unexpired_at);
        let (limit, offset) = (Some(limit), Some(offset));
        let given = Given { conversation, since, until, after, before, limit, offset, from_seq, to_seq, unexpired_at };
        self.source.ids(walk, given, &self.kinds).await
    }
}

fn sorted(mut keys: Vec<(i64, i64, i64)>, query: &MessageQuery) -> Vec<i64> {
    keys.sort_unstable_by_key(|(sent_at, seq, id)| match query.order {
        MessageOrder::SentAt => (*sent_at, *id),
        MessageOrder::Seq => (*seq, *id),
        MessageOrder::Id => (*id, *id),
    });
    if query.descending {
        keys.reverse();
    }
    keys.into_iter().map(|(.., id)| id).collect()
}

fn in_order(rows: &mut [StoredMessage], query: &MessageQuery) {
    rows.sort_unstable_by_key(|row| match query.order {
        MessageOrder::SentAt => (row.sent_at, row.id),
        MessageOrder::Seq => (row.seq, row.id),
        MessageOrder::Id => (row.id.0, row.id),
    });
    if query.descending {
        rows.reverse();
    }
}
