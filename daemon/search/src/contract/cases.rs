//! The cases of the suite.

use super::{Fixture, day_counts, expected, substrings, text};
use crate::fold::fold;
use crate::{IndexError, IndexPage, IndexQuery, SearchIndex, Sort, Watermark};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::sync::Arc;
use stele_archive::ops::Place;
use stele_archive::{ConversationId, FeedRow, InstanceId, MessageId, PersonId, Rev};

/// Longest substring that is asked for.
const LONGEST: usize = 20;

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;

fn row(rev: i64, text: &str) -> FeedRow {
    FeedRow {
        rev: Rev(rev),
        id: MessageId(1_000 + rev),
        instance: InstanceId(1),
        conversation: ConversationId(1),
        sender: Some(PersonId(1)),
        kind: "text".into(),
        sent_at: rev * 1_000_000,
        expires_at: None,
        text: text.into(),
        labels: Vec::new(),
    }
}

fn rows(texts: &[&str]) -> Vec<FeedRow> {
    texts.iter().zip(1..).map(|(text, rev)| row(rev, text)).collect()
}

fn ask(text: &str) -> IndexQuery {
    IndexQuery { phrase: fold(text), limit: 100, ..IndexQuery::default() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn feed(index: &dyn SearchIndex, rows: &[FeedRow]) {
    let upto = Watermark::at(rows.last().expect("at least one row"));
    index.apply(rows.to_vec(), upto).await.expect("rows are taken in");
}

async fn find(index: &dyn SearchIndex, query: &IndexQuery) -> IndexPage {
    index.search(query).await.expect("the query is answered")
}

async fn ids(index: &dyn SearchIndex, query: &IndexQuery) -> Vec<i64> {
    let page = find(index, query).await;
    page.hits.iter().map(|hit| hit.id.0 - 1_000).collect()
}

/// An engine nobody fed has a watermark of 0, finds nothing and counts nothing.
pub async fn begins_empty(fixture: &dyn Fixture) {
    let index = fixture.open().await;
    assert_eq!(index.watermark().await.unwrap(), Watermark::default());
    assert_eq!(find(&*index, &ask("a")).await, IndexPage::default());
    assert_eq!(find(&*index, &ask("合同")).await, IndexPage::default());
    assert_eq!(find(&*index, &ask("")).await, IndexPage::default());
    assert_eq!(index.day_counts().await.unwrap(), (Rev(0), vec![]));
    index.settle().await.unwrap();
    index.verify().await.unwrap();
}

/// Documents and watermark are there after a restart, and more can be added.
pub async fn survives_a_restart(fixture: &dyn Fixture) {
    let all = rows(&["合同一", "别的", "合同二"]);
    let index = fixture.open().await;
    feed(&*index, &all[..2]).await;
    drop(index);

    let index = fixture.open().await;
    assert_eq!(index.watermark().await.unwrap(), Watermark::at(&all[1]));
    assert_eq!(ids(&*index, &ask("合同")).await, [1]);
    feed(&*index, &all[2..]).await;
    drop(index);

    let index = fixture.open().await;
    assert_eq!(index.watermark().await.unwrap(), Watermark::at(&all[2]));
    assert_eq!(ids(&*index, &ask("合同")).await, [3, 1]);
}

/// Rows that are in already change nothing, alone or together with new ones.
pub async fn passes_over_what_it_has(fixture: &dyn Fixture) {
    let all = rows(&["重复", "重复", "重复", "重复"]);
    let index = fixture.open().await;
    feed(&*index, &all[..3]).await;
    for again in [&all[..3], &all[..1], &all[1..], &all[..]] {
        feed(&*index, again).await;
    }
    assert_eq!(index.watermark().await.unwrap(), Watermark::at(&all[3]));
    assert_eq!(find(&*index, &ask("重复")).await, expected(&all, &ask("重复")));
    assert_eq!(index.day_counts().await.unwrap(), (Rev(4), day_counts(&all)));
}

/// Rows without a text are found by a query without a text, and by no other; no day counts them.
pub async fn takes_in_empty_texts(fixture: &dyn Fixture) {
    let all = rows(&["", "a", "", ""]);
    let index = fixture.open().await;
    feed(&*index, &all[..1]).await;
    assert_eq!(index.watermark().await.unwrap(), Watermark::at(&all[0]));
    feed(&*index, &all[1..]).await;
    assert_eq!(index.watermark().await.unwrap(), Watermark::at(&all[3]));
    assert_eq!(ids(&*index, &ask("a")).await, [2]);
    assert_eq!(ids(&*index, &ask("")).await, [4, 3, 2, 1]);
    assert_eq!(index.day_counts().await.unwrap(), (Rev(4), day_counts(&all)));
    assert_eq!(day_counts(&all).iter().map(|day| day.messages).sum::<u64>(), 1);
}

/// Each filter alone, together, and with what nothing has; with a text of one token and of several, and without one.
pub async fn filters(fixture: &dyn Fixture) {
    let mut all = rows(&["来找我"; 12]);
    all[10].text.clear();
    for (row, n) in all.iter_mut().zip(0i64..) {
        row.instance = InstanceId(1 + n % 2);
        row.conversation = ConversationId(10 + n % 3);
        row.sender = (n % 4 != 0).then_some(PersonId(20 + n % 4));
        row.kind = ["text", "image", "", &"长".repeat(30_000)][(n % 4) as usize].into();
        row.expires_at = (n % 5 == 0).then_some(n * 1_000_000);
        row.labels = words(&["", "to:A", "to:B b", "to:a", &"长".repeat(85)][(n % 3) as usize..3 + (n % 3) as usize]);
    }
    let index = fixture.open().await;
    feed(&*index, &all[..7]).await;
    feed(&*index, &all[7..]).await;

    let base = IndexQuery::default();
    let queries = [
        base.clone(),
        IndexQuery { instances: vec![InstanceId(2)], ..base.clone() },
        IndexQuery { instances: vec![InstanceId(2), InstanceId(1)], ..base.clone() },
        IndexQuery { instances: vec![InstanceId(9)], ..base.clone() },
        IndexQuery { conversation: Some(ConversationId(11)), ..base.clone() },
        IndexQuery { conversation: Some(ConversationId(99)), ..base.clone() },
        IndexQuery { sender: Some(PersonId(21)), ..base.clone() },
        IndexQuery { sender: Some(PersonId(99)), ..base.clone() },
        IndexQuery { kinds: words(&["image"]), ..base.clone() },
        IndexQuery { kinds: words(&["", "text"]), ..base.clone() },
        IndexQuery { kinds: words(&["video"]), ..base.clone() },
        IndexQuery { kinds: vec!["长".repeat(30_000), "text".into()], ..base.clone() },
        IndexQuery { kinds: words(&["text", "image", "text"]), except_kinds: words(&["text"]), ..base.clone() },
        IndexQuery { kinds: words(&["text"]), except_kinds: words(&["text"]), ..base.clone() },
        IndexQuery { except_kinds: words(&["text", "video", "text"]), ..base.clone() },
        IndexQuery { except_kinds: words(&["", "image"]), sender: Some(PersonId(23)), ..base.clone() },
        IndexQuery { labels: words(&["to:a"]), ..base.clone() },
        IndexQuery { labels: words(&["to:A", "to:a", "to:A"]), ..base.clone() },
        IndexQuery { labels: words(&["", "to:a"]), ..base.clone() },
        IndexQuery { labels: words(&["to:"]), ..base.clone() },
        IndexQuery { labels: words(&["b"]), ..base.clone() },
        IndexQuery { labels: vec!["长".repeat(85)], sender: Some(PersonId(21)), ..base.clone() },
        IndexQuery { labels: vec!["长".repeat(30_000)], ..base.clone() },
        IndexQuery { labels: words(&["to:B b"]), except_kinds: words(&["text"]), ..base.clone() },
        IndexQuery {
            labels: words(&["to:B b"]),
            kinds: words(&["text", "image"]),
            until: Some(5_000_000),
            ..base.clone()
        },
        IndexQuery { unexpired_at: Some(-1), ..base.clone() },
        IndexQuery { unexpired_at: Some(0), ..base.clone() },
        IndexQuery { unexpired_at: Some(4_999_999), ..base.clone() },
        IndexQuery { unexpired_at: Some(5_000_000), kinds: words(&["image", "text"]), ..base.clone() },
        IndexQuery { unexpired_at: Some(i64::MAX), ..base.clone() },
        IndexQuery { since: Some(4_000_000), ..base.clone() },
        IndexQuery { until: Some(4_000_000), ..base.clone() },
        IndexQuery { since: Some(4_000_000), until: Some(4_000_001), ..base.clone() },
        IndexQuery { since: Some(5_000_000), until: Some(4_000_000), ..base.clone() },
        IndexQuery { since: Some(i64::MIN), until: Some(i64::MAX), ..base.clone() },
        IndexQuery { since: Some(1_000_000_000), ..base.clone() },
        IndexQuery {
            instances: vec![InstanceId(1)],
            conversation: Some(ConversationId(10)),
            kinds: words(&["text"]),
            since: Some(2_000_000),
            ..base.clone()
        },
    ];
    for text in ["", "找", "找我", "来找我"] {
        for sort in [Sort::Newest, Sort::Oldest, Sort::Relevance] {
            for limit in [100, 0] {
                for query in &queries {
                    let query = IndexQuery { sort, limit, phrase: fold(text), ..query.clone() };
                    assert_eq!(find(&*index, &query).await, expected(&all, &query), "{query:?}");
                }
            }
        }
    }
}

/// All orders, ties included, across commits; pages partition the whole, whatever their size.
pub async fn orders_and_pages(fixture: &dyn Fixture) {
    let mut all: Vec<FeedRow> = (1..=60).map(|rev| row(rev, &"关键 ".repeat(1 + rev as usize % 3))).collect();
    for row in &mut all {
        // Out of order in time, with many ties, and before 1970.
        row.sent_at = (row.rev.0 * 7 % 5 - 2) * 86_400_000_000;
        row.text += &"长".repeat(row.rev.0 as usize % 4);
        row.kind = ["text", "image"][row.rev.0 as usize % 2].into();
    }
    let index = fixture.open().await;
    for batch in all.chunks(9) {
        feed(&*index, batch).await;
    }
    for sort in [Sort::Newest, Sort::Oldest, Sort::Relevance] {
        for word in ["关键", "键", "关键 ", ""] {
            let base = IndexQuery { sort, ..ask(word) };
            for (offset, limit) in
                [(0, 100), (0, 1), (0, 7), (7, 7), (59, 7), (60, 7), (500, 3), (0, 0), (30, 0), (13, 29)]
            {
                let query = IndexQuery { offset, limit, ..base.clone() };
                assert_eq!(find(&*index, &query).await, expected(&all, &query), "{query:?}");
            }
        }
    }
    for sort in [Sort::Newest, Sort::Oldest] {
        for word in ["关键", "关键 ", ""] {
            // From every hit on, and from where there is none.
            let places = all.iter().map(|row| Place { sent_at: row.sent_at, id: row.id.0 });
            let edges = [(i64::MIN, i64::MIN), (i64::MAX, i64::MAX), (0, i64::MIN), (0, i64::MAX), (1, 0)];
            for place in places.chain(edges.map(|(sent_at, id)| Place { sent_at, id })) {
                for (limit, offset) in [(100, 0), (3, 0), (3, 2), (0, 0)] {
                    let except_kinds = if limit == 3 { vec!["image".into()] } else { vec![] };
                    let query = IndexQuery { sort, beyond: Some(place), limit, offset, except_kinds, ..ask(word) };
                    assert_eq!(find(&*index, &query).await, expected(&all, &query), "{query:?}");
                }
            }
        }
    }
    assert_eq!(index.day_counts().await.unwrap(), (Rev(60), day_counts(&all)));
}

/// Of many rows that came about in the order of time the first ones, whatever they are told by; and their number.
pub async fn finds_the_first_of_many(fixture: &dyn Fixture) {
    let all: Vec<FeedRow> = (1..=20_000)
        .map(|rev: i64| FeedRow {
            // Some came an hour late, and now and then one is much older.
            sent_at: if rev % 997 == 0 { rev } else { rev * 1_000_000 + rev * 7_919 % 3_600 * 1_000_000 },
            instance: InstanceId(1 + rev % 2),
            sender: (rev % 3 == 0).then_some(PersonId(rev / 5_000)),
            kind: ["text", "image", "text", "part"][(rev / 3 % 4) as usize].into(),
            labels: words(&["to:all", "to:some"][..1 + (rev % 7 == 0) as usize]),
            ..row(rev, if rev % 5 == 0 { "好" } else { "" })
        })
        .collect();
    let index = fixture.open().await;
    for batch in all.chunks(15_000) {
        feed(&*index, batch).await;
    }
    let place = |rev: i64| Some(Place { sent_at: rev * 1_000_000, id: 0 });
    let queries = [
        IndexQuery::default(),
        IndexQuery { instances: vec![InstanceId(1)], ..IndexQuery::default() },
        IndexQuery { instances: vec![InstanceId(1), InstanceId(2)], ..IndexQuery::default() },
        IndexQuery { sender: Some(PersonId(1)), ..IndexQuery::default() },
        IndexQuery { kinds: words(&["part", "image"]), ..IndexQuery::default() },
        IndexQuery { except_kinds: words(&["part", "image"]), ..IndexQuery::default() },
        IndexQuery { except_kinds: words(&["part"]), instances: vec![InstanceId(2)], ..IndexQuery::default() },
        IndexQuery { labels: words(&["to:some"]), ..IndexQuery::default() },
        IndexQuery { labels: words(&["to:all", "to:some"]), except_kinds: words(&["part"]), ..IndexQuery::default() },
        IndexQuery { since: Some(10_000_000_000), ..IndexQuery::default() },
        ask("好"),
    ];
    for query in queries {
        for sort in [Sort::Newest, Sort::Oldest, Sort::Relevance] {
            let places = if sort == Sort::Relevance { vec![None] } else { vec![None, place(3_000), place(14_000)] };
            for beyond in places {
                for (offset, limit) in [(0, 20), (4_000, 5), (0, 0)] {
                    let query = IndexQuery { sort, beyond, offset, limit, ..query.clone() };
                    assert_eq!(find(&*index, &query).await, expected(&all, &query), "{query:?}");
                }
            }
        }
    }
}

/// Of many rows, most of them sent at a few moments, any page in an order of time.
pub async fn finds_any_of_many(fixture: &dyn Fixture) {
    // Long runs of one moment, some out of order, and a few from the ends of time.
    let sent_at = |rev: i64| match rev % 1_999 {
        0 => i64::MIN + 1 + rev,
        1 => i64::MAX - rev,
        2 => rev,
        _ => (rev / 3_000 - 1) * HOUR + i64::from(rev % 5 == 0) * 3 + i64::from(rev % 7 == 0) * 2 * HOUR,
    };
    let all: Vec<FeedRow> = (1..=13_000)
        .map(|rev: i64| FeedRow {
            sent_at: sent_at(rev),
            sender: (rev % 3 == 0).then_some(PersonId(rev / 4_000)),
            kind: ["text", "image", "text", "part"][(rev / 3 % 4) as usize].into(),
            labels: words(&["to:all", "to:some"][..1 + (rev % 3 == 0) as usize]),
            expires_at: (rev % 50 == 0).then_some(rev),
            ..row(rev, ["", "好", "好吧好吧", "不"][(rev % 4) as usize])
        })
        .collect();
    let index = fixture.open().await;
    for batch in all.chunks(9_000) {
        feed(&*index, batch).await;
    }
    let at = |rev: i64| Some(Place { sent_at: sent_at(rev), id: 1_000 + rev });
    let queries = [
        IndexQuery::default(),
        IndexQuery { labels: words(&["to:some"]), ..IndexQuery::default() },
        IndexQuery { except_kinds: words(&["part"]), ..IndexQuery::default() },
        IndexQuery { kinds: words(&["part", "image"]), sender: Some(PersonId(2)), ..IndexQuery::default() },
        IndexQuery { since: Some(HOUR), until: Some(3 * HOUR + 2), ..IndexQuery::default() },
        IndexQuery { unexpired_at: Some(10_000), ..IndexQuery::default() },
        ask("好"),
        ask("好吧好"),
    ];
    for query in queries {
        let total = expected(&all, &query).total as usize;
        for sort in [Sort::Newest, Sort::Oldest] {
            for beyond in [None, at(7_996)] {
                for (offset, limit) in [
                    (3, 2),
                    (total / 3, 1),
                    (total / 2, 20),
                    (total * 2 / 3, 5),
                    (total - 1, 5),
                    (total, 5),
                    (usize::MAX, 5),
                ] {
                    let query = IndexQuery { sort, beyond, offset, limit, ..query.clone() };
                    assert_eq!(find(&*index, &query).await, expected(&all, &query), "{query:?}");
                }
            }
        }
    }
}

/// Real questions with known answers; nothing in them is syntax.
pub async fn takes_queries_literally(fixture: &dyn Fixture) {
    let all = rows(&[
        "张伟明天去上海",             // 1
        "请张伟和李娜签合同",         // 2
        "订单号2024110512345已发货",  // 3
        "@王小明 请看",               // 4
        "OK，合同v2 已更新",          // 5
        "他说\"不行\"，就是*不*行",   // 6
        "A AND B - not C",            // 7
        "待处理事项：简单处理一下",   // 8
        "a-b a_b a%b C:\\temp\\x",    // 9
        "好👩\u{200d}👧好 ❤\u{fe0f}", // 10
        "𠮷野家的𪚥",                 // 11
        "ＯＫ　ｖ２",                 // 12
        "行",                         // 13
    ]);
    let index = fixture.open().await;
    feed(&*index, &all[..6]).await;
    feed(&*index, &all[6..]).await;
    for (query, found) in [
        ("张伟", vec![2, 1]),
        ("张", vec![2, 1]),
        ("李娜", vec![2]),
        ("王", vec![4]),
        ("@王小明", vec![4]),
        ("11051", vec![3]),
        ("2345", vec![3]),
        ("OK，合同v2", vec![5]),
        ("合同", vec![5, 2]),
        ("ok", vec![12, 5]),
        ("V2", vec![12, 5]),
        ("OK v2", vec![12]),
        ("\"不行\"", vec![6]),
        ("不行", vec![6]),
        ("*不*", vec![6]),
        ("*", vec![6]),
        ("\"", vec![6]),
        ("行", vec![13, 6]),
        ("AND", vec![7]),
        ("a and b", vec![7]),
        ("-", vec![9, 7]),
        (" - ", vec![7]),
        ("NOT", vec![7]),
        ("处理", vec![8]),
        ("简单", vec![8]),
        ("理事", vec![8]),
        ("a%b", vec![9]),
        ("a_b", vec![9]),
        ("\\temp\\", vec![9]),
        ("👩", vec![10]),
        ("👩\u{200d}👧", vec![10]),
        ("\u{200d}", vec![10]),
        ("❤", vec![10]),
        ("𠮷", vec![11]),
        ("的𪚥", vec![11]),
        ("合 同", vec![]),
        ("伟张", vec![]),
        ("OR", vec![]),
        ("吉", vec![]),
        ("张伟李娜", vec![]),
    ] {
        assert_eq!(ids(&*index, &ask(query)).await, found, "{query:?}");
    }
}

/// Recall and precision are 1: every substring of 1 to 20 characters of every stored text is found where it was cut out,
/// and every answer is what a scan gives.
pub async fn finds_every_substring(fixture: &dyn Fixture) {
    let mut runner = TestRunner::deterministic();
    let texts = prop::collection::vec(text(0..=14), 1..=4);
    let index = fixture.open().await;
    let mut all: Vec<FeedRow> = Vec::new();
    for _ in 0..fixture.rounds() {
        let texts = texts.new_tree(&mut runner).expect("texts can be made").current();
        let first = all.len();
        for text in &texts {
            all.push(row(all.len() as i64 + 1, text));
        }
        feed(&*index, &all[first..]).await;
        for (text, row) in texts.iter().zip(&all[first..]) {
            for part in substrings(text, LONGEST) {
                let query = IndexQuery { limit: 1_000, ..ask(part) };
                let page = find(&*index, &query).await;
                assert!(page.hits.iter().any(|hit| hit.id == row.id), "{part:?} of {text:?} is not found");
                assert_eq!(page, expected(&all, &query), "{part:?}");
            }
        }
    }
}

fn any_row() -> impl Strategy<Value = FeedRow> {
    let (sender, expires) = (prop::option::of(1i64..4), prop::option::weighted(0.1, -5i64..40));
    (1i64..4, 1i64..6, sender, 0usize..3, (-5i64..40, expires), text(0..=10), any_labels()).prop_map(
        |(instance, conversation, sender, kind, (hour, expires), text, labels)| FeedRow {
            instance: InstanceId(instance),
            conversation: ConversationId(conversation),
            sender: sender.map(PersonId),
            kind: ["text", "image", "file"][kind].into(),
            sent_at: hour * HOUR,
            expires_at: expires.map(|hour| hour * HOUR),
            labels,
            ..row(0, &text)
        },
    )
}

fn any_query() -> impl Strategy<Value = IndexQuery> {
    (
        text(0..=3),
        prop::collection::vec((1i64..4).prop_map(InstanceId), 0..3),
        prop::option::of((1i64..6).prop_map(ConversationId)),
        prop::option::of((1i64..4).prop_map(PersonId)),
        (any_kinds(), any_kinds(), any_labels()),
        [(); 3].map(|()| prop::option::of(-5i64..40)),
        prop::sample::select(&[Sort::Newest, Sort::Oldest, Sort::Relevance][..]),
        prop::option::of((-5i64..40, 1_000i64..1_200)),
        (0usize..12, 0usize..12),
    )
        .prop_map(|(text, instances, conversation, sender, lists, times, sort, beyond, (offset, limit))| {
            let (kinds, except_kinds, labels) = lists;
            let [since, until, unexpired_at] = times.map(|hour| hour.map(|hour| hour * HOUR));
            let beyond = beyond.filter(|_| sort != Sort::Relevance);
            IndexQuery {
                phrase: fold(&text),
                instances,
                conversation,
                sender,
                kinds,
                except_kinds,
                labels,
                since,
                until,
                unexpired_at,
                sort,
                beyond: beyond.map(|(hour, id)| Place { sent_at: hour * HOUR, id }),
                offset,
                limit,
            }
        })
}

fn any_kinds() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(&["text", "image", "file", "none"][..]).prop_map(str::to_owned), 0..3)
}

fn any_labels() -> impl Strategy<Value = Vec<String>> {
    let labels = prop::sample::subsequence(&["a", "b", "c"][..], 0..3);
    labels.prop_map(|labels| words(&labels))
}

/// Random rows and random questions with all filters, orders and pages, restarts in between.
pub async fn agrees_with_a_scan(fixture: &dyn Fixture) {
    let mut runner = TestRunner::deterministic();
    let (batches, queries) = (prop::collection::vec(any_row(), 1..40), prop::collection::vec(any_query(), 40));
    let mut index = fixture.open().await;
    let mut all: Vec<FeedRow> = Vec::new();
    for round in 0..fixture.rounds() {
        let first = all.len();
        for made in batches.new_tree(&mut runner).expect("rows can be made").current() {
            let FeedRow { rev, id, .. } = row(all.len() as i64 + 1, "");
            all.push(FeedRow { rev, id, ..made });
        }
        feed(&*index, &all[first..]).await;
        if round % 5 == 4 {
            drop(index);
            index = fixture.open().await;
        }
        for query in queries.new_tree(&mut runner).expect("queries can be made").current() {
            assert_eq!(find(&*index, &query).await, expected(&all, &query), "{query:?}");
        }
        assert_eq!(index.day_counts().await.unwrap().1, day_counts(&all));
    }
}

/// Days are UTC days, also before 1970.
pub async fn counts_days(fixture: &dyn Fixture) {
    let mut all = rows(&["a", "b", "c", "d", "e"]);
    for (row, sent_at) in all.iter_mut().zip([-1, 0, 86_399_999_999, 86_400_000_000, -86_400_000_001]) {
        row.sent_at = sent_at;
    }
    let index = fixture.open().await;
    feed(&*index, &all).await;
    let (upto, days) = index.day_counts().await.unwrap();
    let days: Vec<_> = days.iter().map(|count| (count.day, count.messages)).collect();
    assert_eq!((upto, days), (Rev(5), vec![(-2, 1), (-1, 1), (0, 2), (1, 1)]));
}

/// After it was cleared an engine is as good as new, also after a restart.
pub async fn begins_anew(fixture: &dyn Fixture) {
    let all = rows(&["旧的", "新的"]);
    let index = fixture.open().await;
    feed(&*index, &all).await;
    index.condemn("for a reason");
    index.clear("a test").await.unwrap();
    assert_eq!(index.watermark().await.unwrap(), Watermark::default());
    assert_eq!(index.health().condemned, None);
    assert_eq!(find(&*index, &ask("的")).await, IndexPage::default());
    drop(index);
    let index = fixture.open().await;
    assert_eq!(index.watermark().await.unwrap(), Watermark::default());
    feed(&*index, &all[..1]).await;
    assert_eq!(ids(&*index, &ask("的")).await, [1]);
}

/// The present index answers and takes in until the new one is finished; one that is given up leaves nothing behind.
pub async fn rebuilds_beside(fixture: &dyn Fixture) {
    let all = rows(&["甲的", "乙的", "丙的"]);
    let index = fixture.open().await;
    feed(&*index, &all[..2]).await;

    let given_up = index.rebuild().await.unwrap();
    given_up.apply(all[..1].to_vec(), Watermark::at(&all[0])).await.unwrap();
    assert!(matches!(index.rebuild().await.err(), Some(IndexError::Rebuilding)));
    drop(given_up);
    assert_eq!(ids(&*index, &ask("的")).await, [2, 1]);

    index.condemn("for a reason");
    let rebuild = index.rebuild().await.unwrap();
    rebuild.apply(all[1..2].to_vec(), Watermark::at(&all[1])).await.unwrap();
    assert_eq!(ids(&*index, &ask("的")).await, [2, 1]);
    feed(&*index, &all[2..]).await;
    assert_eq!(ids(&*index, &ask("的")).await, [3, 2, 1]);
    rebuild.apply(all[2..].to_vec(), Watermark::at(&all[2])).await.unwrap();
    rebuild.finish().await.unwrap();
    // The new one was not given the first row on purpose: this tells the two apart.
    assert_eq!(ids(&*index, &ask("的")).await, [3, 2]);
    assert_eq!(index.health().condemned, None);
    drop(index);

    let index = fixture.open().await;
    assert_eq!(ids(&*index, &ask("的")).await, [3, 2]);
    assert_eq!(index.watermark().await.unwrap(), Watermark::at(&all[2]));
    drop(index.rebuild().await.expect("the one before is over"));
}

/// Whoever waits for the watermark is told.
pub async fn tells_of_progress(fixture: &dyn Fixture) {
    let all = rows(&["a", ""]);
    let index = fixture.open().await;
    let mut progress = index.progress();
    for row in &all {
        feed(&*index, std::slice::from_ref(row)).await;
        assert!(progress.has_changed().unwrap());
        assert_eq!(*progress.borrow_and_update(), row.rev);
    }
    drop(index);
    let index: Arc<dyn SearchIndex> = fixture.open().await;
    assert_eq!(*index.progress().borrow(), Rev(2));
}

/// Health tells what is in it; somebody who distrusts it is remembered, and it goes on answering.
pub async fn is_sound_and_can_be_condemned(fixture: &dyn Fixture) {
    let all = rows(&["a", "", "b"]);
    let index = fixture.open().await;
    feed(&*index, &all).await;
    index.verify().await.unwrap();
    let health = index.health();
    assert_eq!((health.documents, health.problem, health.condemned), (3, None, None));
    index.condemn("first");
    index.condemn("second");
    assert_eq!(index.health().condemned.as_deref(), Some("first"));
    assert_eq!(ids(&*index, &ask("a")).await, [1]);
}
