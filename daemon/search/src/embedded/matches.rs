//! Finding the messages of a segment that contain a phrase.
//!
//! Evaluated here and not by tantivy's query tree for three reasons: the number of occurrences must come out exactly (it
//! is the relevance, see [`relevance`]), and tantivy folds it into a score; the cheap filters on columns
//! must run before the dear look at positions; and hits of a large window need no id to be turned down.

use super::schema::{self, Fields};
use crate::fold::covering_pairs;
use crate::index::{IndexQuery, Sort};
use crate::rank::{Rank, Top, relevance};
use std::sync::Arc;
use stele_archive::MessageId;
use tantivy::columnar::{ColumnIndex, ColumnValues};
use tantivy::fastfield::Column;
use tantivy::postings::{Postings, SegmentPostings};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, DocSet, SegmentReader, TERMINATED, Term};

type Values<T> = Arc<dyn ColumnValues<T>>;

/// The values of a column by document. Every document has exactly one, so the look into which ones do can be spared; it
/// would cost more than the value.
fn values<T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static>(column: Column<T>, missing: T) -> Values<T> {
    match column.index {
        ColumnIndex::Full => column.values,
        _ => column.first_or_default_col(missing),
    }
}

/// Adds the hits of a segment to `top`.
pub(super) fn collect(
    segment: &SegmentReader,
    fields: &Fields,
    query: &IndexQuery,
    top: &mut Top,
) -> tantivy::Result<()> {
    let Some(filters) = Filters::open(segment, query)? else { return Ok(()) };
    let Some(mut candidates) = Candidates::open(segment, fields, query)? else { return Ok(()) };
    let ids = values(segment.fast_fields().i64(schema::ID)?, 0);
    let lengths = match query.sort {
        Sort::Newest => None,
        Sort::Relevance => Some(values(segment.fast_fields().u64(schema::LENGTH)?, 0)),
    };
    let alive = segment.alive_bitset();

    let mut doc = candidates.first();
    while doc != TERMINATED {
        if alive.is_none_or(|alive| alive.is_alive(doc))
            && let Some(sent_at) = filters.admit(doc)
        {
            let occurrences = candidates.occurrences();
            if occurrences > 0 {
                let score = lengths.as_ref().map_or(0, |lengths| relevance(occurrences, lengths.get_val(doc)));
                if top.could_enter(score, sent_at) {
                    top.push(Rank { score, sent_at, id: MessageId(ids.get_val(doc)) });
                } else {
                    top.count();
                }
            }
        }
        doc = candidates.next();
    }
    Ok(())
}

/// What is only compared once a message is a candidate.
struct Filters {
    sent_at: Values<i64>,
    since: i64,
    until: Option<i64>,
    instances: Option<(Values<i64>, Vec<i64>)>,
    kinds: Option<(Column<u64>, Vec<u64>)>,
}

impl Filters {
    /// `None` when no message of the segment can pass.
    fn open(segment: &SegmentReader, query: &IndexQuery) -> tantivy::Result<Option<Self>> {
        let columns = segment.fast_fields();
        let sent_at = values(columns.i64(schema::SENT_AT)?, 0);
        let since = query.since.unwrap_or(i64::MIN);
        if sent_at.max_value() < since || query.until.is_some_and(|until| sent_at.min_value() >= until) {
            return Ok(None);
        }
        let instances = if query.instances.is_empty() {
            None
        } else {
            let wanted = query.instances.iter().map(|instance| instance.0).collect();
            Some((values(columns.i64(schema::INSTANCE)?, 0), wanted))
        };
        let kinds = if query.kinds.is_empty() {
            None
        } else {
            let Some(column) = columns.str(schema::KIND)? else { return Ok(None) };
            let mut wanted = Vec::with_capacity(query.kinds.len());
            for kind in &query.kinds {
                wanted.extend(column.dictionary().term_ord(kind)?);
            }
            if wanted.is_empty() {
                return Ok(None);
            }
            Some((column.ords().clone(), wanted))
        };
        Ok(Some(Self { sent_at, since, until: query.until, instances, kinds }))
    }

    /// When the message was sent, if it passes.
    fn admit(&self, doc: DocId) -> Option<i64> {
        let sent_at = self.sent_at.get_val(doc);
        let passes = sent_at >= self.since
            && self.until.is_none_or(|until| sent_at < until)
            && self.instances.as_ref().is_none_or(|(column, wanted)| wanted.contains(&column.get_val(doc)))
            && self
                .kinds
                .as_ref()
                .is_none_or(|(column, wanted)| column.first(doc).is_some_and(|kind| wanted.contains(&kind)));
        passes.then_some(sent_at)
    }
}

/// Messages in which all tokens of the phrase occur and that are of the conversation and sender asked for.
struct Candidates {
    /// The rarest first: it is walked, the others are sought in.
    lists: Vec<List>,
    /// Positions of the phrase so far, and those of one more token.
    positions: (Vec<u32>, Vec<u32>),
}

struct List {
    postings: SegmentPostings,
    role: Role,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Restricts the candidates.
    Filter,
    /// The whole phrase is this token.
    Phrase,
    /// A token of the phrase; added to its positions this gives the same number for all tokens of one occurrence.
    Part(u32),
}

impl Candidates {
    /// `None` when no message of the segment can be a hit.
    fn open(segment: &SegmentReader, fields: &Fields, query: &IndexQuery) -> tantivy::Result<Option<Self>> {
        let frequencies = match query.sort {
            Sort::Newest => IndexRecordOption::Basic,
            Sort::Relevance => IndexRecordOption::WithFreqs,
        };
        let pairs = covering_pairs(&query.phrase);
        let mut wanted = Vec::with_capacity(pairs.len() + 2);
        match pairs.as_slice() {
            [] => wanted.push((Term::from_field_text(fields.chars, &query.phrase), frequencies, Role::Phrase)),
            [(_, pair)] => wanted.push((Term::from_field_text(fields.pairs, pair), frequencies, Role::Phrase)),
            [.., (last, _)] => wanted.extend(pairs.iter().map(|(at, pair)| {
                let term = Term::from_field_text(fields.pairs, pair);
                (term, IndexRecordOption::WithFreqsAndPositions, Role::Part(last - at))
            })),
        }
        if let Some(conversation) = query.conversation {
            let term = Term::from_field_i64(fields.conversation, conversation.0);
            wanted.push((term, IndexRecordOption::Basic, Role::Filter));
        }
        if let Some(sender) = query.sender {
            wanted.push((Term::from_field_i64(fields.sender, sender.0), IndexRecordOption::Basic, Role::Filter));
        }

        let mut lists = Vec::with_capacity(wanted.len());
        for (term, option, role) in wanted {
            let Some(postings) = segment.inverted_index(term.field())?.read_postings(&term, option)? else {
                return Ok(None);
            };
            lists.push(List { postings, role });
        }
        lists.sort_by_key(|list| list.postings.doc_freq());
        Ok(Some(Self { lists, positions: Default::default() }))
    }

    fn first(&mut self) -> DocId {
        let doc = self.lists[0].postings.doc();
        self.settle(doc)
    }

    fn next(&mut self) -> DocId {
        let doc = self.lists[0].postings.advance();
        self.settle(doc)
    }

    /// The first message from `doc` on, where the rarest list stands, that is in all lists.
    fn settle(&mut self, mut doc: DocId) -> DocId {
        let (rarest, others) = self.lists.split_first_mut().expect("a phrase has at least one token");
        'candidates: while doc != TERMINATED {
            for other in others.iter_mut() {
                let mut at = other.postings.doc();
                if at < doc {
                    at = other.postings.seek(doc);
                }
                if at > doc {
                    doc = rarest.postings.seek(at);
                    continue 'candidates;
                }
            }
            break;
        }
        doc
    }

    /// How often the phrase occurs in the present message. Where it consists of one token and nobody asked for
    /// frequencies this is 1.
    fn occurrences(&mut self) -> u64 {
        let (found, next) = &mut self.positions;
        let mut first = true;
        for list in &mut self.lists {
            match list.role {
                Role::Filter => {}
                Role::Phrase => return u64::from(list.postings.term_freq()),
                Role::Part(shift) if first => {
                    list.postings.positions_with_offset(shift, found);
                    first = false;
                }
                Role::Part(shift) => {
                    list.postings.positions_with_offset(shift, next);
                    keep_common(found, next);
                }
            }
            if !first && found.is_empty() {
                return 0;
            }
        }
        found.len() as u64
    }
}

/// Keeps what is in both of two ascending lists.
fn keep_common(found: &mut Vec<u32>, other: &[u32]) {
    let mut other = other.iter().peekable();
    found.retain(|position| {
        while other.next_if(|next| *next < position).is_some() {}
        other.peek() == Some(&position)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_positions() {
        for (found, other, expected) in [
            (vec![], vec![1], vec![]),
            (vec![1, 3, 5, 7], vec![3, 4, 7, 9], vec![3, 7]),
            (vec![1, 2], vec![], vec![]),
            (vec![4], vec![4], vec![4]),
        ] {
            let mut kept = found.clone();
            keep_common(&mut kept, &other);
            assert_eq!(kept, expected, "{found:?} and {other:?}");
        }
    }
}
