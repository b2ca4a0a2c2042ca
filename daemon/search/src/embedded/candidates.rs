//! The messages of a segment that all lists of a query have.

use super::schema::Fields;
use crate::fold::covering_pairs;
use crate::index::{IndexQuery, Sort};
use std::ops::Range;
use tantivy::postings::{Postings, SegmentPostings};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, DocSet, SegmentReader, TERMINATED, Term};

/// Which kinds of messages are candidates.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kinds {
    /// Those asked for.
    Asked,
    /// All of them.
    All,
    /// Those that are left out.
    Excepted,
}

/// Messages in which all tokens of the phrase occur and that are of the instance, conversation, sender and kind asked for
/// and have the labels. No
/// message is ever deleted from an index.
pub(super) struct Candidates {
    /// The rarest first: it is walked, the others are sought in.
    lists: Vec<List>,
    /// Those of messages that are left out.
    except: Vec<SegmentPostings>,
    /// Positions of the phrase so far, and those of one more token.
    positions: (Vec<u32>, Vec<u32>),
}

struct List {
    docs: Docs,
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
    pub fn open(
        segment: &SegmentReader,
        fields: &Fields,
        query: &IndexQuery,
        kinds: Kinds,
    ) -> tantivy::Result<Option<Self>> {
        let read = |term: &Term, option| -> tantivy::Result<_> {
            Ok(segment.inverted_index(term.field())?.read_postings(term, option)?)
        };
        let frequencies = match query.sort {
            Sort::Newest | Sort::Oldest => IndexRecordOption::Basic,
            Sort::Relevance => IndexRecordOption::WithFreqs,
        };
        let pairs = covering_pairs(&query.phrase);
        let mut tokens = Vec::with_capacity(pairs.len());
        match pairs.as_slice() {
            [] if query.phrase.is_empty() => {}
            [] => tokens.push((Term::from_field_text(fields.chars, &query.phrase), frequencies, Role::Phrase)),
            [(_, pair)] => tokens.push((Term::from_field_text(fields.pairs, pair), frequencies, Role::Phrase)),
            [.., (last, _)] => tokens.extend(pairs.iter().map(|(at, pair)| {
                let term = Term::from_field_text(fields.pairs, pair);
                (term, IndexRecordOption::WithFreqsAndPositions, Role::Part(last - at))
            })),
        }
        let mut lists = Vec::with_capacity(tokens.len() + 4);
        for (term, option, role) in tokens {
            let Some(postings) = read(&term, option)? else { return Ok(None) };
            lists.push(List { docs: Docs::Of(Box::new(postings)), role });
        }

        let (wanted, excepted) = match kinds {
            Kinds::All => (None, &[][..]),
            Kinds::Excepted => (Some(query.except_kinds.clone()), &[][..]),
            Kinds::Asked if query.kinds.is_empty() => (None, &query.except_kinds[..]),
            Kinds::Asked => {
                let left = query.kinds.iter().filter(|kind| !query.except_kinds.contains(kind));
                (Some(left.cloned().collect()), &[][..])
            }
        };
        let instances = query.instances.iter().map(|instance| fields.instance(*instance)).collect::<Vec<_>>();
        let filters = [
            Some(instances).filter(|instances| !instances.is_empty()),
            query.conversation.map(|conversation| vec![fields.conversation(conversation)]),
            query.sender.map(|sender| vec![fields.sender(sender)]),
            wanted.map(|kinds| kinds.iter().map(|kind| fields.kind(kind)).collect()),
        ];
        let labels = query.labels.iter().map(|label| Some(vec![fields.label(label)]));
        for mut terms in filters.into_iter().chain(labels).flatten() {
            terms.sort_unstable();
            terms.dedup();
            let mut parts = Vec::with_capacity(terms.len());
            for term in &terms {
                parts.extend(read(term, IndexRecordOption::Basic)?);
            }
            let docs = match parts.len() {
                0 => return Ok(None),
                1 => Docs::Of(Box::new(parts.remove(0))),
                _ => Docs::OfAny(parts),
            };
            // What everything passes is no filter.
            if docs.frequency() < u64::from(segment.max_doc()) {
                lists.push(List { docs, role: Role::Filter });
            }
        }
        if lists.is_empty() {
            lists.push(List { docs: Docs::All { at: 0, end: segment.max_doc() }, role: Role::Filter });
        }
        lists.sort_by_key(|list| list.docs.frequency());
        let mut except = Vec::with_capacity(excepted.len());
        for kind in excepted {
            except.extend(read(&fields.kind(kind), IndexRecordOption::Basic)?);
        }
        Ok(Some(Self { lists, except, positions: Default::default() }))
    }

    /// Whether each of them is a hit as far as the text goes: there are no positions to be compared.
    pub fn are_hits(&self) -> bool {
        !self.lists.iter().any(|list| matches!(list.role, Role::Part(_)))
    }

    /// How many there are.
    pub fn count(mut self) -> u64 {
        if let ([only], []) = (&self.lists[..], &self.except[..]) {
            return only.docs.frequency();
        }
        let mut count = 0;
        let mut doc = self.seek(0);
        while doc != TERMINATED {
            count += 1;
            doc = self.next();
        }
        count
    }

    /// How many there are among these messages, which lie not before the present one.
    pub fn count_within(&mut self, docs: Range<DocId>) -> u64 {
        if let ([List { docs: Docs::All { .. }, .. }], []) = (&self.lists[..], &self.except[..]) {
            return u64::from(docs.end - docs.start);
        }
        let mut count = 0;
        let mut doc = self.seek(docs.start);
        while doc < docs.end {
            count += 1;
            doc = self.next();
        }
        count
    }

    /// The first one from `target` on, which is not before the present one.
    pub fn seek(&mut self, target: DocId) -> DocId {
        let doc = self.lists[0].docs.seek(target);
        self.settle(doc)
    }

    pub fn next(&mut self) -> DocId {
        let doc = self.lists[0].docs.advance();
        self.settle(doc)
    }

    /// The first message from `doc` on, where the rarest list stands, that is in all lists and not left out.
    fn settle(&mut self, mut doc: DocId) -> DocId {
        let (rarest, others) = self.lists.split_first_mut().expect("there is at least one list");
        'candidates: while doc != TERMINATED {
            for other in others.iter_mut() {
                let at = other.docs.seek(doc);
                if at > doc {
                    doc = rarest.docs.seek(at);
                    continue 'candidates;
                }
            }
            if self.except.iter_mut().any(|left_out| sought(left_out, doc) == doc) {
                doc = rarest.docs.advance();
                continue;
            }
            break;
        }
        doc
    }

    /// How often the phrase occurs in the present message, `None` when it does not. Where it consists of one token and nobody
    /// asked for frequencies this is 1.
    pub fn occurrences(&mut self) -> Option<u64> {
        let (found, next) = &mut self.positions;
        let mut parts = 0;
        for list in &mut self.lists {
            match (list.role, &mut list.docs) {
                (Role::Phrase, Docs::Of(postings)) => return Some(u64::from(postings.term_freq())),
                (Role::Part(shift), Docs::Of(postings)) if parts == 0 => {
                    postings.positions_with_offset(shift, found);
                    parts += 1;
                }
                (Role::Part(shift), Docs::Of(postings)) => {
                    postings.positions_with_offset(shift, next);
                    keep_common(found, next);
                    parts += 1;
                }
                _ => continue,
            }
            if found.is_empty() {
                return None;
            }
        }
        // Without a phrase there is nothing that has to occur.
        Some(if parts == 0 { 0 } else { found.len() as u64 })
    }
}

/// An ascending list of messages.
enum Docs {
    /// The whole segment.
    All { at: DocId, end: DocId },
    /// Those that have a term.
    Of(Box<SegmentPostings>),
    /// Those that have one of several terms, of which no message has two.
    OfAny(Vec<SegmentPostings>),
}

impl Docs {
    fn doc(&self) -> DocId {
        match self {
            Self::All { at, end } if at < end => *at,
            Self::All { .. } => TERMINATED,
            Self::Of(postings) => postings.doc(),
            Self::OfAny(parts) => parts.iter().map(SegmentPostings::doc).min().unwrap_or(TERMINATED),
        }
    }

    fn advance(&mut self) -> DocId {
        match self {
            Self::Of(postings) => postings.advance(),
            _ => self.seek(self.doc() + 1),
        }
    }

    /// The first one from `target` on. Stays where it is when it is further already.
    fn seek(&mut self, target: DocId) -> DocId {
        match self {
            Self::All { at, .. } => *at = target.max(*at),
            Self::Of(postings) => return sought(postings, target),
            Self::OfAny(parts) => {
                for part in parts {
                    sought(part, target);
                }
            }
        }
        self.doc()
    }

    fn frequency(&self) -> u64 {
        match self {
            Self::All { end, .. } => u64::from(*end),
            Self::Of(postings) => u64::from(postings.doc_freq()),
            Self::OfAny(parts) => parts.iter().map(|part| u64::from(part.doc_freq())).sum(),
        }
    }
}

/// Postings are only sought forward.
fn sought(postings: &mut SegmentPostings, target: DocId) -> DocId {
    match postings.doc() {
        at if at < target => postings.seek(target),
        at => at,
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
