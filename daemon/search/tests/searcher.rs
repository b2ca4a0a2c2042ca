//! One answer from what is indexed, what is not yet, and the stored texts, on each engine.

mod common;

use common::engine::{Engine, Home};
use common::{Moody, add, ids, message, request, scan, within};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use stele_archive::ops::Place;
use stele_archive::{ArchiveError, ConversationId, InstanceId, PersonId, StoredMessage};
use stele_search::contract::MemoryArchive;
use stele_search::{IndexQuery, MAX_WINDOW, SearchError, SearchIndex, SearchRequest, Searcher, Sort, Tailer};

struct World {
    archive: Arc<MemoryArchive>,
    moody: Arc<Moody>,
    searcher: Searcher<MemoryArchive>,
    tailer: Tailer,
    _home: Home,
}

async fn world(engine: Engine) -> World {
    let archive: Arc<MemoryArchive> = Arc::default();
    let home = engine.home().await;
    // So small a window that most pages are approached by counting.
    let moody = Moody::new(home.open_with(5).await);
    let index: Arc<dyn SearchIndex> = moody.clone();
    let searcher = Searcher::new(archive.clone(), index.clone());
    let tailer = engine.tailer(&archive, &index);
    World { archive, moody, searcher, tailer, _home: home }
}

on_each_engine!(
    found_the_moment_it_is_committed,
    pages_of_two_sources_are_cut_as_one,
    commits_and_batches_in_between_do_no_harm,
    rows_come_whole_and_marked,
    what_cannot_be_answered_is_refused,
    beyond_the_window_of_relevance_only_what_is_empty_is_answered,
    while_the_engine_is_down,
    long_messages_are_read_through_few_at_a_time,
    a_conversation_too_long_to_be_read_through,
    too_far_behind,
    a_lying_index_is_not_believed,
    an_index_that_begins_anew_under_a_search,
    messages_the_archive_does_not_have_are_not_shown;
    blocking a_page_lies_where_a_plain_list_has_it
);

async fn found_the_moment_it_is_committed(engine: Engine) {
    let world = world(engine).await;
    for n in 1..=20 {
        add(&world.archive, &["刚刚到的消息"]);
        assert_eq!(world.searcher.search(&request("到刚")).await.unwrap().total, 0);
        assert_eq!(world.searcher.search(&request("刚刚")).await.unwrap().total, n);
        if n % 6 == 0 {
            world.tailer.catch_up().await.unwrap();
            assert_eq!(world.searcher.search(&request("刚刚")).await.unwrap().total, n);
        }
    }
}

async fn pages_of_two_sources_are_cut_as_one(engine: Engine) {
    let world = world(engine).await;
    for n in 0..60i64 {
        // Times go back and forth, so that indexed and waiting hits alternate.
        world.archive.add(message(&format!("合同{}", "合同".repeat(n as usize % 3)), n * 37 % 20 * 1_000_000));
        if n == 33 {
            world.tailer.catch_up().await.unwrap();
        }
    }
    for sort in [Sort::Newest, Sort::Oldest, Sort::Relevance] {
        for limit in [1, 7, 60, 100] {
            for offset in 0..62 {
                let request = SearchRequest { sort, offset, limit, ..request("合同") };
                let page = world.searcher.search(&request).await.unwrap();
                assert_eq!((ids(&page), page.total), scan(&world.archive, &request), "{request:?}");
            }
        }
    }
}

/// Messages that differ in little, many of them sent at the same time.
fn alike() -> impl Strategy<Value = Vec<StoredMessage>> {
    let labels = prop::sample::subsequence(&["a", "b"][..], 0..=2);
    let made = (0i64..4, 0i64..3, any::<bool>(), labels, any::<bool>()).prop_map(
        |(sent_at, conversation, image, labels, silent)| StoredMessage {
            conversation: ConversationId(conversation),
            kind: if image { "image" } else { "text" }.into(),
            labels: labels.into_iter().map(str::to_owned).collect(),
            ..message(if silent { "" } else { "合同 合同" }, sent_at)
        },
    );
    prop::collection::vec(made, 1..400)
}

/// What they are asked for, without a page.
fn asked() -> impl Strategy<Value = SearchRequest> {
    let labels = prop::sample::subsequence(&["a", "b"][..], 0..=2);
    let lists = (labels, prop::option::of(Just("image")), prop::option::weighted(0.2, Just("text")));
    let times = (prop::option::weighted(0.3, 0i64..4), prop::option::weighted(0.3, 0i64..5));
    let order = (any::<bool>(), prop::option::weighted(0.3, (0i64..4, 0i64..400)));
    let text = prop::sample::select(&["", "合同", "同 合"][..]);
    (text, lists, times, order, prop::option::weighted(0.3, 0i64..3)).prop_map(
        |(text, (labels, kind, except), (since, until), (oldest, beyond), conversation)| SearchRequest {
            labels: labels.into_iter().map(str::to_owned).collect(),
            kinds: kind.into_iter().map(str::to_owned).collect(),
            except_kinds: except.into_iter().map(str::to_owned).collect(),
            conversation: conversation.map(|conversation| within(1, conversation)),
            since,
            until,
            sort: if oldest { Sort::Oldest } else { Sort::Newest },
            beyond: beyond.map(|(sent_at, id)| Place { sent_at, id }),
            ..request(text)
        },
    )
}

/// However small the windows of engine and searcher are, and wherever indexed and waiting messages meet.
fn a_page_lies_where_a_plain_list_has_it(engine: Engine) {
    let config = ProptestConfig { cases: engine.rounds(24), ..ProptestConfig::default() };
    let requests = prop::collection::vec((asked(), 0u64..400, 1u32..9), 1..8);
    let made = (alike(), any::<prop::sample::Index>(), 0usize..8, requests);
    proptest!(config, |((messages, indexed, window, asked) in made)| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (archive, home): (Arc<MemoryArchive>, _) = (Arc::default(), engine.home().await);
            let index = home.open_with(window).await;
            let searcher = Searcher::new(archive.clone(), index.clone()).with_window(window as u64);
            let first = indexed.index(messages.len() + 1);
            for (at, message) in messages.into_iter().enumerate() {
                if at == first {
                    engine.tailer(&archive, &index).catch_up().await.unwrap();
                }
                archive.add(message);
            }
            for (request, offset, limit) in asked {
                let total = scan(&archive, &request).1;
                for offset in [offset, total / 2, total.saturating_sub(1), u64::MAX] {
                    let request = SearchRequest { offset, limit, ..request.clone() };
                    let page = searcher.search(&request).await.unwrap();
                    prop_assert_eq!((ids(&page), page.total), scan(&archive, &request), "{:?}", request);
                }
            }
            Ok(())
        })?;
    });
}

async fn commits_and_batches_in_between_do_no_harm(engine: Engine) {
    let world = Arc::new(world(engine).await);
    let writer = {
        let world = world.clone();
        tokio::spawn(async move {
            for n in 0..300 {
                add(&world.archive, &["合同"]);
                if n % 11 == 0 {
                    world.tailer.catch_up().await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let mut least = 0;
    while least < 300 {
        let before = world.archive.rows().len() as u64;
        let page = world.searcher.search(&SearchRequest { limit: 1_000, ..request("合同") }).await.unwrap();
        let after = world.archive.rows().len() as u64;
        assert!((before..=after).contains(&page.total), "{before} <= {} <= {after}", page.total);
        let expected: Vec<i64> = (1..=page.total as i64).rev().collect();
        assert_eq!(ids(&page), expected);
        let deep = SearchRequest { offset: before / 2, limit: 7, ..request("合同") };
        let page = world.searcher.search(&deep).await.unwrap();
        let expected: Vec<i64> = (1..=page.total as i64).rev().skip(before as usize / 2).take(7).collect();
        assert_eq!(ids(&page), expected);
        least = before;
    }
    writer.await.unwrap();
}

async fn rows_come_whole_and_marked(engine: Engine) {
    let world = world(engine).await;
    add(&world.archive, &["请看ＯＫ的合同，ok？"]);
    for _ in 0..2 {
        let page = world.searcher.search(&request("OK")).await.unwrap();
        let hit = &page.rows[0];
        assert_eq!(hit.message, {
            let mut stored = message("请看ＯＫ的合同，ok？", 0);
            stored.id.0 = 1;
            stored.rev.0 = 1;
            stored.conversation_native = "1".into();
            stored.sender_native = "1".into();
            stored
        });
        let marked: Vec<&str> =
            hit.highlights.iter().map(|(start, end)| &hit.message.text[*start as usize..*end as usize]).collect();
        assert_eq!(marked, ["ＯＫ", "ok"]);
        world.tailer.catch_up().await.unwrap();
    }
}

async fn what_cannot_be_answered_is_refused(engine: Engine) {
    let world = world(engine).await;
    add(&world.archive, &["a"]);
    for (request, reason) in [
        (request(&"长".repeat(1_001)), "1001 characters"),
        (SearchRequest { limit: 1_001, ..request("a") }, "at most 1000 rows"),
        (SearchRequest { labels: vec!["l".into(); 17], ..request("a") }, "at most 16 labels"),
        (
            SearchRequest { sort: Sort::Relevance, beyond: Some(Place::default()), ..request("a") },
            "means nothing in that of relevance",
        ),
    ] {
        let error = world.searcher.search(&request).await.unwrap_err();
        assert!(matches!(&error, SearchError::Invalid(text) if text.contains(reason)), "{error}");
        assert_eq!(error.retry_after(), None);
    }
    for request in [
        request(&"长".repeat(1_000)),
        SearchRequest { offset: MAX_WINDOW, limit: 1, ..request("a") },
        SearchRequest { offset: u64::MAX, limit: 1, ..request("a") },
        SearchRequest { limit: 0, ..request("a") },
    ] {
        assert_eq!(world.searcher.search(&request).await.unwrap().rows, []);
    }
    assert_eq!(world.searcher.search(&SearchRequest { limit: 0, ..request("a") }).await.unwrap().total, 1);
}

async fn beyond_the_window_of_relevance_only_what_is_empty_is_answered(engine: Engine) {
    let world = world(engine).await;
    add(&world.archive, &["a"; 5]);
    world.tailer.catch_up().await.unwrap();
    let searcher = world.searcher.with_window(3);
    for (offset, limit, expected) in
        [(0, 3, Some(3)), (2, 1, Some(1)), (5, 1, Some(0)), (u64::MAX, 1, Some(0)), (3, 1, None), (0, 4, None)]
    {
        let request = SearchRequest { offset, limit, ..request("a") };
        let newest = searcher.search(&request).await.unwrap();
        assert_eq!((ids(&newest), newest.total), scan(&world.archive, &request), "{offset} {limit}");
        match (searcher.search(&SearchRequest { sort: Sort::Relevance, ..request }).await, expected) {
            (Ok(page), Some(rows)) => assert_eq!((page.rows.len(), page.total), (rows, 5), "{offset} {limit}"),
            (Err(SearchError::Invalid(text)), None) => {
                assert!(text.contains("only the 3 most relevant rows"), "{text}")
            }
            (answer, _) => panic!("{offset} {limit}: {answer:?}"),
        }
    }
}

async fn while_the_engine_is_down(engine: Engine) {
    let world = world(engine).await;
    for n in 0..2_500i64 {
        let mut message = message(if n % 3 == 0 { "合同 OK 合同" } else { "别的" }, n * 7919 % 2_500);
        message.instance = InstanceId(1 + n % 2);
        message.conversation = ConversationId(10 + n % 2);
        message.sender = Some(PersonId(n % 5));
        message.kind = if n % 4 == 0 { "image" } else { "text" }.into();
        message.expires_at = (n % 7 == 0).then_some(n);
        message.labels = vec![format!("to:{}", n % 3)];
        world.archive.add(message);
    }
    world.moody.down.store(true, SeqCst);

    let global = world.searcher.search(&request("合同")).await.unwrap_err();
    assert!(matches!(&global, SearchError::Unavailable { reason, .. } if reason.contains("switched off")), "{global}");
    assert!(global.retry_after().is_some_and(|wait| wait > Duration::ZERO));

    for request in [
        SearchRequest { conversation: Some(within(1, 10)), ..request("合同") },
        SearchRequest { conversation: Some(within(1, 10)), offset: 5, limit: 7, ..request("合同") },
        SearchRequest { conversation: Some(within(2, 11)), sort: Sort::Relevance, ..request("ok") },
        SearchRequest { conversation: Some(within(2, 11)), sender: Some(PersonId(3)), ..request("合") },
        SearchRequest {
            conversation: Some(within(1, 10)),
            kinds: vec!["image".into()],
            since: Some(100),
            until: Some(2_000),
            ..request("合同")
        },
        SearchRequest {
            conversation: Some(within(1, 10)),
            except_kinds: vec!["image".into()],
            unexpired_at: Some(1_000),
            sort: Sort::Oldest,
            beyond: Some(Place { sent_at: 500, id: 0 }),
            ..request("")
        },
        SearchRequest { conversation: Some(within(1, 10)), labels: vec!["to:1".into()], ..request("") },
        SearchRequest { conversation: Some(within(1, 10)), instances: vec![InstanceId(2)], ..request("合同") },
        SearchRequest { conversation: Some(within(1, 99)), ..request("合同") },
    ] {
        let page = world.searcher.search(&request).await.unwrap();
        assert_eq!((ids(&page), page.total), scan(&world.archive, &request), "{request:?}");
    }

    world.moody.down.store(false, SeqCst);
    assert_eq!(world.searcher.search(&request("合同")).await.unwrap().total, 834);
}

async fn long_messages_are_read_through_few_at_a_time(engine: Engine) {
    let world = world(engine).await;
    let long = StoredMessage { body: vec![b'x'; 9 << 20].into(), ..message("", 0) };
    for n in 0..20 {
        let text = if n % 2 == 0 { "合同" } else { "无" };
        world.archive.add(StoredMessage { text: text.into(), sent_at: n, ..long.clone() });
    }
    world.moody.down.store(true, SeqCst);
    let inside = SearchRequest { conversation: Some(within(1, 1)), limit: 3, ..request("合同") };
    let page = world.searcher.search(&inside).await.unwrap();
    assert_eq!((ids(&page), page.total), (vec![19, 17, 15], 10));
    // Those found are shown with their bodies.
    let all = world.searcher.search(&SearchRequest { limit: 10, ..inside }).await;
    assert!(matches!(all, Err(SearchError::Archive(ArchiveError::TooLarge { .. }))));
}

async fn a_conversation_too_long_to_be_read_through(engine: Engine) {
    let world = world(engine).await;
    for n in 0..50_001 {
        world.archive.add(message("合同", n));
    }
    world.moody.down.store(true, SeqCst);
    let wide = SearchRequest { conversation: Some(within(1, 1)), ..request("合同") };
    assert!(matches!(world.searcher.search(&wide).await, Err(SearchError::Unavailable { .. })));
    // A time range makes it short enough.
    let narrow = SearchRequest { since: Some(49_000), ..wide };
    assert_eq!(world.searcher.search(&narrow).await.unwrap().total, 1_001);
}

async fn too_far_behind(engine: Engine) {
    let world = world(engine).await;
    for n in 0..60_000 {
        let mut message = message("合同", n);
        message.conversation = ConversationId(1 + n % 2);
        world.archive.add(message);
    }
    world.moody.stuck.store(true, SeqCst);
    let error = world.searcher.search(&request("合同")).await.unwrap_err();
    assert!(matches!(error, SearchError::Behind { behind, .. } if behind >= 50_000), "{error}");
    assert!(error.retry_after().is_some());
    // Inside of a conversation there is another way.
    let inside = SearchRequest { conversation: Some(within(1, 2)), ..request("合同") };
    assert_eq!(world.searcher.search(&inside).await.unwrap().total, 30_000);

    // A search that waits goes on as soon as the tailer has come near enough.
    world.moody.stuck.store(false, SeqCst);
    let index: Arc<dyn SearchIndex> = world.moody.clone();
    let tailer = Tailer::new(world.archive.clone(), index, Default::default());
    let request = request("合同");
    let (page, caught_up) = tokio::join!(world.searcher.search(&request), tailer.catch_up());
    caught_up.unwrap();
    match page {
        Ok(page) => assert_eq!(page.total, 60_000),
        // On a machine slow enough the patience is over first.
        Err(error) => assert!(matches!(error, SearchError::Behind { .. }), "{error}"),
    }
    assert_eq!(world.searcher.search(&request).await.unwrap().total, 60_000);
}

async fn a_lying_index_is_not_believed(engine: Engine) {
    let world = world(engine).await;
    add(&world.archive, &["合同一", "别的", "合同二", "别的"]);
    world.tailer.catch_up().await.unwrap();
    // The engine answers with everything that contains 的, whatever it is asked.
    *world.moody.lie.lock().unwrap() = Some(IndexQuery { phrase: "的".into(), limit: 10, ..IndexQuery::default() });
    let page = world.searcher.search(&request("合同")).await.unwrap();
    assert_eq!((page.rows.len(), page.total), (0, 0));
    let condemned = world.moody.health().condemned.expect("it is to be rebuilt");
    assert!(condemned.contains("no hits"), "{condemned}");
}

async fn an_index_that_begins_anew_under_a_search(engine: Engine) {
    let world = world(engine).await;
    add(&world.archive, &["合同"; 3]);
    world.tailer.catch_up().await.unwrap();
    add(&world.archive, &["合同"; 2]);
    world.moody.forgetful.store(true, SeqCst);
    let page = world.searcher.search(&request("合同")).await.unwrap();
    assert_eq!((ids(&page), page.total), (vec![5, 4, 3, 2, 1], 5));
    assert_eq!(world.moody.watermark().await.unwrap().rev.0, 0);
}

async fn messages_the_archive_does_not_have_are_not_shown(engine: Engine) {
    let world = world(engine).await;
    add(&world.archive, &["合同一", "合同二", "合同三"]);
    world.tailer.catch_up().await.unwrap();
    world.archive.truncate(stele_archive::Rev(2));
    let page = world.searcher.search(&request("合同")).await.unwrap();
    assert_eq!((ids(&page), page.total), (vec![2, 1], 2));
    assert!(world.moody.health().condemned.is_some());
}
