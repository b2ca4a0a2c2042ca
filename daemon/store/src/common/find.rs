//! Messages by number, and by their senders' own ids.

use super::source::{First, Known, Source};
use std::collections::BTreeSet;
use stele_archive::ops::FindQuery;
use stele_archive::{ArchiveError, StoredMessage};

/// Of numbers that lie closer than this, on average, all messages from the first to the last are looked at: that costs less
/// than halving the ids for each.
const CLOSE: i64 = 16;

/// Answer the query.
pub(crate) async fn messages<S: Source>(source: &mut S, query: &FindQuery) -> Result<Vec<StoredMessage>, S::Failure> {
    let mut conversation = None;
    if let Some(native_id) = &query.conversation {
        match source.conversation(native_id).await? {
            Some(known) => conversation = Some(known),
            None => return Ok(Vec::new()),
        }
    } else if !query.seqs.is_empty() {
        return Err(ArchiveError::Invalid("numbers mean nothing without a conversation".to_owned()).into());
    }
    let mut found: BTreeSet<i64> = BTreeSet::new();
    if let Some(known) = conversation.filter(|_| !query.seqs.is_empty()) {
        found.extend(by_number(source, known, query).await?);
    }
    let client_ids: BTreeSet<&str> = query.client_ids.iter().map(String::as_str).collect();
    if !client_ids.is_empty() {
        let client_ids: Vec<&str> = client_ids.into_iter().collect();
        let conversation = conversation.map(|known| known.conversation);
        found.extend(source.by_client(conversation, &client_ids, query.limit).await?);
    }
    let ids: Vec<i64> = found.into_iter().rev().take(query.limit as usize).collect();
    source.messages(&ids).await
}

async fn by_number<S: Source>(source: &mut S, known: Known, query: &FindQuery) -> Result<Vec<i64>, S::Failure> {
    let Known { conversation, own_order, .. } = known;
    let numbers: BTreeSet<i64> = query.seqs.iter().copied().collect();
    let bounds = bounds(&numbers);
    let numbers: Vec<i64> = numbers.into_iter().collect();
    let kinds = source.kinds(conversation).await?;
    if own_order {
        return source.astray(conversation, &numbers, &kinds, query.limit).await;
    }
    let found = source.first_from(conversation, bounds.as_ref().unwrap_or(&numbers), &kinds).await?;
    if bounds.is_none() {
        let is_it = |first: &First| first.seq == Some(first.wanted);
        return Ok(found.into_iter().filter(is_it).filter_map(|first| first.id).collect());
    }
    // None from a number on: nothing is left, or there is no end.
    let ids = found.iter().map(|first| first.id.unwrap_or(i64::MAX));
    let from = ids.clone().min().unwrap_or(i64::MAX);
    let before = ids.filter(|_| found.len() > 1).max().unwrap_or(i64::MAX);
    source.between(conversation, &numbers, &kinds, (from, before)).await
}

/// The first number and the one after the last, if there is one, of numbers that lie close.
fn bounds(numbers: &BTreeSet<i64>) -> Option<Vec<i64>> {
    let (first, last) = (*numbers.first()?, *numbers.last()?);
    let close = last.checked_sub(first).is_some_and(|span| span < CLOSE * (numbers.len() as i64 - 1));
    close.then(|| [first].into_iter().chain(last.checked_add(1)).collect())
}
