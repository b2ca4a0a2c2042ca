//! Finding the messages of a segment that contain a phrase.
//!
//! Evaluated here and not by tantivy's query tree for three reasons: the number of occurrences must come out exactly (it
//! is the relevance, see [`relevance`]), and tantivy folds it into a score; the cheap filters must run before the dear look at
//! positions; and hits of a large window need no id to be turned down.
//!
//! Where neither positions nor columns decide, as in a search without a text, hits are counted by their postings alone, and
//! only those stretches of the segment are looked at whose times may be among the first (see [`Span`]).

use super::candidates::{Candidates, Kinds};
use super::depth::{Cut, Lies};
use super::schema::{self, Fields};
use super::spans::Span;
use crate::index::{IndexQuery, Sort};
use crate::rank::{Rank, Top, relevance};
use std::sync::Arc;
use stele_archive::MessageId;
use tantivy::columnar::{ColumnIndex, ColumnValues};
use tantivy::fastfield::Column;
use tantivy::{DocId, SegmentReader, TERMINATED};

type Values<T> = Arc<dyn ColumnValues<T>>;

/// The values of a column by document. Every document has exactly one, so the look into which ones do can be spared; it
/// would cost more than the value.
pub(super) fn values<T>(column: Column<T>, missing: T) -> Values<T>
where
    T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static,
{
    match column.index {
        ColumnIndex::Full => column.values,
        _ => column.first_or_default_col(missing),
    }
}

/// A segment, what its messages are found by, and what is asked.
pub(super) struct Search<'s> {
    pub segment: &'s SegmentReader,
    pub fields: &'s Fields,
    pub query: &'s IndexQuery,
}

impl Search<'_> {
    /// Adds the hits of the segment to `top`. `spans` tells its stretches; it is asked for only where they help.
    pub fn collect<'a>(
        &self,
        spans: impl FnOnce() -> tantivy::Result<&'a [Span]>,
        top: &mut Top,
    ) -> tantivy::Result<()> {
        let Some(times) = Times::open(self.segment, self.query)? else { return Ok(()) };
        let Some(mut candidates) = self.candidates(Kinds::Asked)? else { return Ok(()) };
        let is_scored = self.query.sort == Sort::Relevance && !self.query.phrase.is_empty();
        let ids = values(self.segment.fast_fields().i64(schema::ID)?, 0);
        if times.all_pass() && candidates.are_hits() && !is_scored {
            top.count(self.count()?);
            return self.pick(spans()?, &times, &ids, top);
        }
        let lengths = match is_scored {
            false => None,
            true => Some(values(self.segment.fast_fields().u64(schema::LENGTH)?, 0)),
        };
        let mut doc = candidates.seek(0);
        while doc != TERMINATED {
            if let Some(sent_at) = times.admit(doc)
                && let Some(occurrences) = candidates.occurrences()
            {
                top.count(1);
                let score = lengths.as_ref().map_or(0, |lengths| relevance(occurrences, lengths.get_val(doc)));
                if top.could_keep(score, sent_at..=sent_at) {
                    top.keep(Rank { score, sent_at, id: MessageId(ids.get_val(doc)) });
                }
            }
            doc = candidates.next();
        }
        Ok(())
    }

    /// Counts the hits of the segment by the slices of a cut. `spans` are all its stretches.
    pub fn weigh(&self, spans: &[Span], cut: &mut Cut) -> tantivy::Result<()> {
        let Some(times) = Times::open(self.segment, self.query)? else { return Ok(()) };
        let Some(mut candidates) = self.candidates(Kinds::Asked)? else { return Ok(()) };
        let all_are_hits = times.all_pass() && candidates.are_hits();
        let ids = values(self.segment.fast_fields().i64(schema::ID)?, 0);
        for span in spans {
            match cut.lies(&span.sent) {
                Lies::Outside => {}
                Lies::Within(slice) if all_are_hits => {
                    let hits = candidates.count_within(span.docs.clone());
                    if hits > 0 {
                        cut.add_within(slice, &span.sent, hits);
                    }
                }
                Lies::Within(_) | Lies::Across => {
                    let mut doc = candidates.seek(span.docs.start);
                    while doc < span.docs.end {
                        if let Some(sent_at) = times.admit(doc)
                            && cut.may_hold(sent_at)
                            && candidates.occurrences().is_some()
                        {
                            cut.add_hit(sent_at, ids.get_val(doc));
                        }
                        doc = candidates.next();
                    }
                }
            }
        }
        Ok(())
    }

    fn candidates(&self, kinds: Kinds) -> tantivy::Result<Option<Candidates>> {
        Candidates::open(self.segment, self.fields, self.query, kinds)
    }

    /// How many candidates there are.
    fn count(&self) -> tantivy::Result<u64> {
        let count = |kinds| Ok(self.candidates(kinds)?.map_or(0, Candidates::count));
        if !self.query.kinds.is_empty() || self.query.except_kinds.is_empty() {
            return count(Kinds::Asked);
        }
        // A message has one kind, so these add up.
        let (all, excepted): (u64, u64) = (count(Kinds::All)?, count(Kinds::Excepted)?);
        Ok(all - excepted)
    }

    /// Keeps the first of the candidates, which have been counted. Stretches are looked at in the order in which they may come,
    /// twice as many each time, so that it costs no more than twice a walk through all candidates.
    fn pick(&self, spans: &[Span], times: &Times, ids: &Values<i64>, top: &mut Top) -> tantivy::Result<()> {
        let mut spans: Vec<&Span> = spans.iter().filter(|span| top.could_keep(0, span.sent.clone())).collect();
        spans.sort_by(|a, b| self.query.sort.compare_spans(&a.sent, &b.sent));
        let mut many = 1;
        while !spans.is_empty() {
            let later = spans.split_off(many.min(spans.len()));
            spans.retain(|span| top.could_keep(0, span.sent.clone()));
            if spans.is_empty() {
                break;
            }
            spans.sort_by_key(|span| span.docs.start);
            let Some(mut candidates) = self.candidates(Kinds::Asked)? else { break };
            for span in &spans {
                let mut doc = candidates.seek(span.docs.start);
                while doc < span.docs.end {
                    let sent_at = times.sent_at(doc);
                    if top.could_keep(0, sent_at..=sent_at) {
                        top.keep(Rank { score: 0, sent_at, id: MessageId(ids.get_val(doc)) });
                    }
                    doc = candidates.next();
                }
            }
            (spans, many) = (later, many * 2);
        }
        Ok(())
    }
}

/// When messages were sent and when they expire: what is only compared once one is a candidate.
struct Times {
    sent_at: Values<i64>,
    /// What is asked for, where not all of the segment is.
    since: Option<i64>,
    until: Option<i64>,
    /// Where something has expired.
    expired: Option<(Column<i64>, i64)>,
}

impl Times {
    /// `None` when no message of the segment can pass.
    fn open(segment: &SegmentReader, query: &IndexQuery) -> tantivy::Result<Option<Self>> {
        let columns = segment.fast_fields();
        let sent_at = values(columns.i64(schema::SENT_AT)?, 0);
        let (first, last) = (sent_at.min_value(), sent_at.max_value());
        if query.since.is_some_and(|since| last < since) || query.until.is_some_and(|until| first >= until) {
            return Ok(None);
        }
        let expired = match query.unexpired_at {
            None => None,
            Some(at) => {
                columns.column_opt(schema::EXPIRES_AT)?.filter(|ends| ends.min_value() <= at).map(|ends| (ends, at))
            }
        };
        let since = query.since.filter(|since| first < *since);
        let until = query.until.filter(|until| last >= *until);
        Ok(Some(Self { sent_at, since, until, expired }))
    }

    fn all_pass(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.expired.is_none()
    }

    fn sent_at(&self, doc: DocId) -> i64 {
        self.sent_at.get_val(doc)
    }

    /// When the message was sent, if it passes.
    fn admit(&self, doc: DocId) -> Option<i64> {
        let sent_at = self.sent_at(doc);
        let passes = self.since.is_none_or(|since| sent_at >= since)
            && self.until.is_none_or(|until| sent_at < until)
            && self.expired.as_ref().is_none_or(|(ends, at)| ends.first(doc).is_none_or(|end| end > *at));
        passes.then_some(sent_at)
    }
}
