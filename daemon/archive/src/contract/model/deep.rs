//! A long history with busy days, rare kinds and stragglers, asked for pages anywhere in it.

use super::memory::{Memory, Shown};
use super::{PARTITIONS, same};
use crate::contract::Factory;
use crate::{Commit, Stream};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use stele_plugin_api::model::{Message, Page, Parked};
use stele_plugin_api::ops::{MessageOrder, MessageQuery};

const DAY: i64 = 86_400_000_000;
const DAYS: i64 = 30;
/// A day with as much talk as all others have together.
const BUSY: i64 = 11;
const MESSAGES: usize = 3_000;
/// Messages of a page while the archive is filled.
const PAGE: usize = 250;
/// One numbered as it becomes readable, one numbered by its source in another order, and one where that is the order of
/// arrival.
const CONVERSATIONS: [&str; 3] = ["plain", "astray", "ascending"];
const KINDS: [&str; 4] = ["text", "image", "file", "note"];

/// Compare so many answers about one long history. Call it outside of a runtime: it brings one of its own.
///
/// # Panics
/// With the simplest query found to which the backend and the model answer differently.
pub fn run_deep(factory: &dyn Factory, queries: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = Config { cases: queries, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let messages = vec(said(), MESSAGES).new_tree(&mut runner).expect("a history").current();
    let backend = runtime.block_on(factory.fresh());
    let archive = backend.archive();
    let mut model = Memory::default();
    let instance = runtime.block_on(archive.instance("hq")).expect("an instance");
    for (at, mut page) in pages(messages).into_iter().enumerate() {
        page.cursor = Some(Bytes::from(at.to_string()));
        let cursor = model.cursor((0, PARTITIONS[0]));
        let commit =
            Commit { instance, partition: PARTITIONS[0], stream: Stream::Messages, from: cursor, page: &page, now: 1 };
        let done = runtime.block_on(archive.commit(commit)).expect("stored");
        model.commit((0, PARTITIONS[0]), &page, &done).expect("stored alike");
    }
    let ask = async |query: &MessageQuery| -> Result<(), String> {
        let found = archive.messages(instance, query).await.map_err(|error| error.to_string())?;
        let rows: Vec<_> = found.rows.iter().map(Shown::of).collect();
        same("answer", (rows, found.total), model.messages(0, query))
    };
    let ids = CONVERSATIONS.map(|conversation| model.ids(0, conversation));
    let numbers = CONVERSATIONS.map(|conversation| model.numbers(0, conversation));
    let outcome = runner.run(&query(), |(place, mut query, (after, before), (from, to))| {
        let id = |at: Index| ids[place][at.index(ids[place].len())];
        let number = |(at, off): (Index, i64)| numbers[place][at.index(numbers[place].len())] + off;
        query.conversation = CONVERSATIONS[place].to_owned();
        (query.after, query.before) = (after.map(id), before.map(id));
        (query.from_seq, query.to_seq) = (from.map(number), to.map(number));
        runtime.block_on(ask(&query)).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A message, but for its place in the history.
#[derive(Clone, Debug)]
struct Said {
    place: usize,
    moment: i64,
    kind: &'static str,
    seq: i64,
    /// Comes as an envelope first, and can be read some pages later.
    late: bool,
    /// Days after which it expires.
    lasts: Option<i64>,
}

fn said() -> impl Strategy<Value = Said> {
    let kind = prop_oneof![60 => Just("text"), 30 => Just("image"), 9 => Just("file"), 1 => Just("note")];
    let late = prop_oneof![19 => Just(false), 1 => Just(true)];
    let lasts = option::weighted(0.2, 0..5_i64);
    (0..CONVERSATIONS.len(), 0..DAY / 1_000_000, kind, 0..500_i64, late, lasts).prop_map(
        |(place, second, kind, seq, late, lasts)| Said { place, moment: second * 1_000_000, kind, seq, late, lasts },
    )
}

/// Day follows day, half of all messages fall on the busy one, and now and then one was sent on any day.
fn pages(said: Vec<Said>) -> Vec<Page> {
    let mut pages = vec![Page::default(); MESSAGES / PAGE + 2];
    for (at, said) in said.into_iter().enumerate() {
        let native_id = format!("m{at}");
        let day = match at {
            at if at % 97 == 0 => said.moment / 1_000_000 % DAYS,
            at if at < MESSAGES / 4 => at as i64 * BUSY / (MESSAGES / 4) as i64,
            at if at < MESSAGES * 3 / 4 => BUSY,
            at => at as i64 * DAYS / MESSAGES as i64,
        };
        let page = at / PAGE;
        let late = said.late && said.place != 2;
        if late {
            let reason = "no key".to_owned();
            pages[page].parked.push(Parked { native_id: native_id.clone(), reason, ..Parked::default() });
        }
        pages[if late { page + 2 } else { page }].messages.push(Message {
            native_id,
            conversation: CONVERSATIONS[said.place].to_owned(),
            sender: "ann".to_owned(),
            sent_at: (day - BUSY) * DAY + said.moment,
            kind: said.kind.to_owned(),
            seq: [None, Some(said.seq), Some(7 * at as i64)][said.place],
            expires_at: said.lasts.map(|days| (day - BUSY + days) * DAY + said.moment),
            text: format!("text of {at}"),
            ..Message::default()
        });
    }
    pages
}

type Anchors = (Option<Index>, Option<Index>);
/// A number there is, or one beside it.
type Numbers = (Option<(Index, i64)>, Option<(Index, i64)>);

fn query() -> impl Strategy<Value = (usize, MessageQuery, Anchors, Numbers)> {
    let anchor = option::weighted(0.3, any::<Index>());
    let number = option::weighted(0.3, (any::<Index>(), -1..=1_i64));
    let moment = prop_oneof![-BUSY..DAYS - BUSY].prop_flat_map(|day| (Just(day * DAY), prop_oneof![Just(0), 0..DAY]));
    let moment = option::weighted(0.3, moment.prop_map(|(day, rest)| day + rest));
    let kinds = prop_oneof![Just(Vec::new()), subsequence(&KINDS[..], 1..=3)];
    let order = select(&[MessageOrder::SentAt, MessageOrder::Id, MessageOrder::Seq][..]);
    let offset = prop_oneof![0..50_u64, 0..MESSAGES as u64 / 2];
    (
        0..CONVERSATIONS.len(),
        (anchor.clone(), anchor),
        (number.clone(), number),
        kinds,
        (moment.clone(), moment.clone(), moment),
        order,
        any::<bool>(),
        offset,
        1..40_u32,
    )
        .prop_map(
            |(place, anchors, numbers, kinds, (since, until, unexpired_at), order, descending, offset, limit)| {
                let kinds = kinds.into_iter().map(str::to_owned).collect();
                let query =
                    MessageQuery { kinds, since, until, unexpired_at, order, descending, ..MessageQuery::default() };
                let query = MessageQuery { offset, limit, ..query };
                (place, query, anchors, numbers)
            },
        )
}
