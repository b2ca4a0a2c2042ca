//! Random histories, lived through by a backend and by a plain in-memory archive; whatever can be asked must be answered
//! alike.

mod deep;
mod history;
mod memory;

use super::live::{Of, read};
use super::{Backend, Factory};
use crate::{Archive, Commit, ConversationId, InstanceId, MessageId, Portion, Rev, Stay, StoredMessage, Stream};
use bytes::Bytes;
pub use deep::run_deep;
use history::{Step, histories, page_of};
use memory::Memory;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::collections::HashMap;
use stele_plugin_api::model::ConversationKind;
use stele_plugin_api::ops::{ConversationQuery, FindQuery, MessageOrder, MessageQuery};

const INSTANCES: [&str; 2] = ["hq", "branch"];
const PARTITIONS: [&str; 2] = ["p", "q"];

/// Compare over so many random histories. Call it outside of a runtime: it brings one of its own.
///
/// # Panics
/// With the shortest history found on which the backend and the model differ.
pub fn run(factory: &dyn Factory, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let outcome = TestRunner::new(config)
        .run(&histories(), |steps| runtime.block_on(live(factory, &steps)).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Live through a history; the first difference, if there is one.
async fn live(factory: &dyn Factory, steps: &[Step]) -> Result<(), String> {
    let mut backend = factory.fresh().await;
    let mut model = Memory::default();
    let mut instances = Vec::new();
    for name in INSTANCES {
        instances.push(backend.archive().instance(name).await.map_err(|error| error.to_string())?);
    }
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Restart => backend.restart().await,
            Step::Commit { instance, partition, stale, contents } => {
                let place = (*instance, PARTITIONS[*partition]);
                let mut page = page_of(contents);
                page.cursor = Some(Bytes::from(at.to_string()));
                let from = if *stale { Some(Bytes::from_static(b"stale")) } else { model.cursor(place) };
                let commit = Commit {
                    instance: instances[*instance],
                    partition: place.1,
                    stream: Stream::Messages,
                    from,
                    page: &page,
                    now: at as i64,
                };
                let done = backend.archive().commit(commit).await;
                if *stale {
                    same("a stale commit is refused", done.is_err(), true)?;
                    continue;
                }
                let done = done.map_err(|error| format!("step {at}: {error}"))?;
                model.commit(place, &page, &done).map_err(|difference| format!("step {at}: {difference}"))?;
            }
        }
    }
    compare(&*backend, &model, &instances).await
}

/// Equal, or a sentence.
#[expect(clippy::needless_pass_by_value, reason = "what is compared is mostly made for it")]
pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}")) }
}

async fn compare(backend: &dyn Backend, model: &Memory, instances: &[InstanceId]) -> Result<(), String> {
    let archive = backend.archive();
    let broken = |error: crate::ArchiveError| error.to_string();
    for (at, id) in instances.iter().enumerate() {
        for conversation in history::CONVERSATIONS {
            for query in message_queries(model, at, conversation) {
                let found = archive.messages(*id, &query).await.map_err(broken)?;
                let rows: Vec<_> = found.rows.iter().map(memory::Shown::of).collect();
                same(&format!("{at} {query:?}"), (rows, found.total), model.messages(at, &query))?;
            }
            for query in find_queries(conversation) {
                let found = archive.find(*id, &query).await.map_err(broken)?;
                let found: Vec<_> = found.into_iter().map(|row| row.native_id).collect();
                same(&format!("{at} {query:?}"), found, model.find(at, &query))?;
            }
            let found = archive.conversation(*id, conversation).await.map_err(broken)?;
            let found = found.map(|view| (view.kind.to_string(), view.title, view.partition, view.messages));
            same(conversation, found, model.conversation(at, conversation))?;
        }
        for person in history::PEOPLE {
            for query in list_queries(person) {
                let found = archive.conversations(*id, &query).await.map_err(broken)?;
                let rows: Vec<_> = found
                    .rows
                    .iter()
                    .map(|row| {
                        let peer = row.peer.as_ref().map(|peer| (peer.native_id.clone(), peer.name.clone()));
                        (row.conversation.native_id.clone(), row.last.native_id.clone(), peer)
                    })
                    .collect();
                same(&format!("{at} {query:?}"), (rows, found.total), model.conversations(at, &query))?;
            }
            for conversation in history::CONVERSATIONS {
                let found = archive.takes_part(*id, conversation, person).await.map_err(broken)?;
                same(&format!("{at} {person} in {conversation}"), found, model.takes_part(at, conversation, person))?;
            }
        }
        for partition in PARTITIONS {
            let found = archive.cursor(*id, partition, Stream::Messages).await.map_err(broken)?;
            same("cursor", found.map(|(cursor, _)| cursor), model.cursor((at, partition)))?;
            let found = archive.parked(*id, partition, MessageId(0), 1000).await.map_err(broken)?;
            let found: Vec<_> = found.into_iter().map(|row| (row.parked.native_id, row.attempts)).collect();
            same("parked", found, model.parked((at, partition)))?;
        }
        same("stats", archive.stats(Some(*id)).await.map_err(broken)?, model.stats(Some(at)))?;
    }
    same("stats of all", archive.stats(None).await.map_err(broken)?, model.stats(None))?;
    compare_feed(&*archive, model).await.map_err(|error| format!("feed: {error}"))?;
    for (at, id) in instances.iter().enumerate() {
        compare_live(&*archive, model, (at, *id)).await.map_err(|error| format!("live: {error}"))?;
    }
    Ok(())
}

async fn compare_live(archive: &dyn Archive, model: &Memory, (at, id): (usize, InstanceId)) -> Result<(), String> {
    let broken = |error: crate::ArchiveError| error.to_string();
    let revs: Vec<Rev> = archive.feed(Rev(0), 10_000).await.map_err(broken)?.iter().map(|row| row.rev).collect();
    let rev = |readable: usize| readable.checked_sub(1).map_or(Rev(0), |last| revs[last]);
    let readable = |rev: Rev| revs.partition_point(|known| *known <= rev);
    let mut people = HashMap::new();
    for person in history::PEOPLE {
        people.extend(archive.person_id(id, person).await.map_err(broken)?.map(|id| (id, person)));
    }
    let all = revs.len();
    for (after, upto, rows) in [(0, all, 1000), (all / 3, all, 2), (all / 2, all * 2 / 3, 1000)] {
        let portion = Portion { rows, bytes: 1 << 20 };
        let among = (rev(after), rev(upto));
        let shown = |rows: Vec<StoredMessage>| rows.into_iter().map(|row| row.id.0).collect::<Vec<_>>();
        let news = read(archive, Of::All(id), among, portion).await.map_err(broken)?;
        same(&format!("news {after} to {upto}"), shown(news), model.news(at, None, (after, upto)))?;
        for (person, native) in &people {
            let missed = read(archive, Of::MissedBy(id, *person), among, portion).await.map_err(broken)?;
            let expected = model.news(at, Some(*native), (after, upto));
            same(&format!("missed {after} to {upto} by {native}"), shown(missed), expected)?;
        }
        for native in history::CONVERSATIONS {
            let Some(known) = archive.conversation(id, native).await.map_err(broken)? else { continue };
            let found = archive.audience(id, ConversationId(known.id), rev(after)).await.map_err(broken)?;
            let stay = |stay: Stay| (people[&stay.person].to_owned(), readable(stay.after), stay.until.map(readable));
            let mut stays: Vec<_> = found.stays.into_iter().map(stay).collect();
            stays.sort();
            same(
                &format!("audience of {native} since {after}"),
                (found.version, stays),
                model.audience(at, native, after),
            )?;
        }
    }
    Ok(())
}

async fn compare_feed(archive: &dyn Archive, model: &Memory) -> Result<(), String> {
    let broken = |error: crate::ArchiveError| error.to_string();
    let feed = archive.feed(Rev(0), 10_000).await.map_err(broken)?;
    same("order", feed.iter().map(|row| row.id.0).collect(), model.feed())?;
    same("ascending", feed.is_sorted_by(|a, b| a.rev < b.rev), true)?;
    let last = feed.last().map_or(Rev(0), |row| row.rev);
    same("last revision", archive.last_rev().await.map_err(broken)?, last)?;
    for upto in [0, feed.len() / 2, feed.len()] {
        let rev = upto.checked_sub(1).map_or(Rev(0), |at| feed[at].rev);
        let found = archive.day_counts(rev).await.map_err(broken)?;
        same("day counts", found.iter().map(|count| (count.day, count.messages)).collect(), model.day_counts(upto))?;
        let rest = archive.feed(rev, 10_000).await.map_err(broken)?;
        same("rest", &rest[..], &feed[upto..])?;
    }
    Ok(())
}

/// All orders and directions, filters, anchors at known messages, and pages.
fn message_queries(model: &Memory, instance: usize, conversation: &str) -> Vec<MessageQuery> {
    let ids = model.ids(instance, conversation);
    let anchors = [None, ids.first().copied(), ids.get(ids.len() / 2).copied(), ids.last().copied()];
    let numbers = model.numbers(instance, conversation);
    let number = |share: usize| numbers.get(numbers.len() * share / 4).copied();
    let times = [None, Some(history::TIMES[2]), Some(history::TIMES[4])];
    let mut queries = Vec::new();
    for (at, order) in [MessageOrder::SentAt, MessageOrder::Id, MessageOrder::Seq].into_iter().enumerate() {
        for descending in [false, true] {
            // A different corner of the space of queries for every order and direction.
            let turn = at * 2 + usize::from(descending);
            for (offset, limit) in [(0, 1000), (1, 2)] {
                let plain = MessageQuery {
                    conversation: conversation.to_owned(),
                    order,
                    descending,
                    offset,
                    limit,
                    ..MessageQuery::default()
                };
                queries.push(MessageQuery { after: anchors[turn % 4], before: anchors[turn / 2 + 1], ..plain.clone() });
                queries.push(MessageQuery { after: anchors[1 + turn % 3], ..plain.clone() });
                let unexpired_at = Some(history::TIMES[turn % 6]);
                let kinds = if turn % 3 == 0 { vec!["text".to_owned()] } else { Vec::new() };
                let since = times[turn % 3];
                queries.push(MessageQuery { unexpired_at, kinds, since, ..plain.clone() });
                queries.push(MessageQuery { unexpired_at, before: anchors[1 + turn % 3], ..plain.clone() });
                queries.push(MessageQuery { unexpired_at, from_seq: number(turn / 2), ..plain.clone() });
                queries.push(MessageQuery {
                    before: anchors[1 + turn % 3],
                    kinds: vec!["text".to_owned()],
                    ..plain.clone()
                });
                queries.push(MessageQuery {
                    since: times[turn % 3],
                    until: times[(turn + 1) % 3],
                    kinds: if turn % 2 == 0 { Vec::new() } else { vec!["image".to_owned(), "file".to_owned()] },
                    ..plain.clone()
                });
                let bounds = [
                    (number(1), None),
                    (None, number(2)),
                    (number(1), number(3)),
                    (number(3), number(1)),
                    (Some(9), None),
                ];
                for (at, (from_seq, to_seq)) in bounds.into_iter().enumerate() {
                    let bound = MessageQuery { from_seq, to_seq, ..plain.clone() };
                    queries.push(match (turn + at) % 5 {
                        0 => MessageQuery { after: anchors[1 + turn % 3], ..bound },
                        1 => MessageQuery { kinds: vec!["text".to_owned()], ..bound },
                        2 => MessageQuery { since: times[1], before: anchors[3], ..bound },
                        3 => MessageQuery { after: anchors[1], before: anchors[3], ..bound },
                        _ => bound,
                    });
                }
                // Amid the order, and near its far end.
                for (share, kind) in [(1, "text"), (2, "image"), (4, "file")] {
                    let offset = (ids.len() * share / 5) as u64;
                    let kinds = if turn % 2 == 0 { Vec::new() } else { vec![kind.to_owned(), "text".to_owned()] };
                    queries.push(MessageQuery { kinds, offset, ..plain.clone() });
                }
                queries.push(plain);
            }
        }
    }
    queries
}

fn find_queries(conversation: &str) -> [FindQuery; 3] {
    let conversation = Some(conversation.to_owned());
    let client_ids = history::KEYS.map(str::to_owned).to_vec();
    [
        FindQuery { conversation: conversation.clone(), seqs: vec![1, 4, 7, 2], limit: 3, ..FindQuery::default() },
        FindQuery { conversation, seqs: vec![3], client_ids: client_ids[..1].to_vec(), limit: 1000 },
        FindQuery { client_ids, limit: 4, ..FindQuery::default() },
    ]
}

fn list_queries(person: &str) -> Vec<ConversationQuery> {
    let plain = ConversationQuery { person: person.to_owned(), limit: 1000, ..ConversationQuery::default() };
    let mut queries = vec![plain.clone(), ConversationQuery { offset: 1, limit: 2, ..plain.clone() }];
    for name in ["a", "É", "%", "t"] {
        queries.push(ConversationQuery { name: Some(name.to_owned()), ..plain.clone() });
    }
    for kind in
        [ConversationKind::Direct, ConversationKind::External, ConversationKind::Group, ConversationKind::System]
    {
        queries.push(ConversationQuery { kind: Some(kind), ..plain.clone() });
    }
    queries.push(ConversationQuery { kind: Some(ConversationKind::Direct), name: Some("é".to_owned()), ..plain });
    queries
}
