//! Messages of a conversation.

use super::Backend;
use super::sample::{DAY, NEW_YEAR, SECOND, all, instance, list, natives, page, put, text};
use crate::{Archive, ArchiveError, InstanceId, MAX_ANSWER, MessageId, MessageList};
use stele_plugin_api::model::Message;
use stele_plugin_api::ops::{ConversationQuery, MessageOrder, MessageQuery};

async fn ask(archive: &dyn Archive, instance: InstanceId, query: MessageQuery) -> MessageList {
    archive.messages(instance, &query).await.expect("answers")
}

/// Five messages of conversation `c` that arrive as m0 to m4, and one elsewhere. Returns their ids.
async fn five(archive: &dyn Archive, instance: InstanceId) -> Vec<i64> {
    // (seconds after new year, number, kind)
    let facts = [(3, 10, "text"), (1, 50, "image"), (1, 20, "text"), (4, 20, "file"), (2, 30, "image")];
    let mut messages = Vec::new();
    for (at, (seconds, seq, kind)) in facts.into_iter().enumerate() {
        let message = text(&format!("m{at}"), "c", "a", &["b"], NEW_YEAR + seconds * SECOND);
        messages.push(Message { seq: Some(seq), kind: kind.to_owned(), ..message });
        messages.push(text(&format!("other {at}"), "d", "a", &["b"], NEW_YEAR));
    }
    let done = put(archive, instance, &page(messages)).await;
    done.stored.iter().filter(|stored| stored.native_id.starts_with('m')).map(|stored| stored.id).collect()
}

pub(super) async fn orders_and_ties(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    five(&*archive, hq).await;
    for (order, expected) in [
        (MessageOrder::SentAt, ["m1", "m2", "m4", "m0", "m3"]),
        (MessageOrder::Id, ["m0", "m1", "m2", "m3", "m4"]),
        (MessageOrder::Seq, ["m0", "m2", "m3", "m4", "m1"]),
    ] {
        let found = ask(&*archive, hq, MessageQuery { order, ..all("c") }).await;
        assert_eq!((natives(&found), found.total), (expected.to_vec(), 5), "{order:?}");
        let found = ask(&*archive, hq, MessageQuery { order, descending: true, ..all("c") }).await;
        assert_eq!(natives(&found), expected.into_iter().rev().collect::<Vec<_>>(), "{order:?}, greatest first");
    }
    let nothing = ask(&*archive, hq, all("nowhere")).await;
    assert_eq!(nothing, MessageList::default());
}

pub(super) async fn anchors_take_the_nearest(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let ids = five(&*archive, hq).await;
    let by_time = MessageQuery { limit: 2, ..all("c") };
    for (what, query, expected) in [
        ("after, ascending", MessageQuery { after: Some(ids[0]), ..by_time.clone() }, &["m1", "m2"][..]),
        ("after, descending", MessageQuery { after: Some(ids[0]), descending: true, ..by_time.clone() }, &["m2", "m1"]),
        ("before, ascending", MessageQuery { before: Some(ids[4]), ..by_time.clone() }, &["m2", "m3"]),
        (
            "before, descending",
            MessageQuery { before: Some(ids[4]), descending: true, ..by_time.clone() },
            &["m3", "m2"],
        ),
        ("before, offset", MessageQuery { before: Some(ids[4]), offset: 2, ..by_time.clone() }, &["m1", "m0"]),
        ("after, offset", MessageQuery { after: Some(ids[0]), offset: 3, ..by_time.clone() }, &["m4"]),
        ("after all", MessageQuery { after: Some(ids[4]), ..by_time.clone() }, &[]),
        ("before all", MessageQuery { before: Some(ids[0]), ..by_time.clone() }, &[]),
        ("after nothing", MessageQuery { after: Some(0), order: MessageOrder::Id, ..by_time.clone() }, &["m0", "m1"]),
        (
            "before, by id",
            MessageQuery { before: Some(i64::MAX), order: MessageOrder::Id, ..by_time.clone() },
            &["m3", "m4"],
        ),
        (
            "after, by number",
            MessageQuery { after: Some(ids[0]), limit: 3, order: MessageOrder::Seq, ..by_time.clone() },
            &["m2", "m3", "m1"],
        ),
        (
            "before, of a kind",
            MessageQuery { before: Some(ids[4]), kinds: vec!["text".to_owned()], ..by_time.clone() },
            &["m2", "m0"],
        ),
        (
            "after, since",
            MessageQuery { after: Some(ids[0]), since: Some(NEW_YEAR + 2 * SECOND), ..by_time.clone() },
            &["m4", "m3"],
        ),
    ] {
        let total = if query.kinds.is_empty() { if query.since.is_some() { 3 } else { 5 } } else { 2 };
        let found = ask(&*archive, hq, query).await;
        assert_eq!((natives(&found), found.total), (expected.to_vec(), total), "{what}");
    }
}

pub(super) async fn two_anchors_are_an_interval(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let ids = five(&*archive, hq).await;
    for far in [0, 1_000_000_000] {
        // Bounds far apart must answer as near ones do.
        let between = MessageQuery { after: Some(ids[0] - far), before: Some(ids[4] + far), ..all("c") };
        let (by_time, by_seq): (&[&str], &[&str]) = if far == 0 {
            (&["m1", "m2", "m3"], &["m2", "m3", "m1"])
        } else {
            (&["m1", "m2", "m4", "m0", "m3"], &["m0", "m2", "m3", "m4", "m1"])
        };
        let found = ask(&*archive, hq, between.clone()).await;
        assert_eq!((natives(&found), found.total), (by_time.to_vec(), 5));
        let found = ask(&*archive, hq, MessageQuery { order: MessageOrder::Seq, ..between.clone() }).await;
        assert_eq!(natives(&found), by_seq);
        let found =
            ask(&*archive, hq, MessageQuery { order: MessageOrder::Id, limit: 1, offset: 1, ..between.clone() }).await;
        assert_eq!(natives(&found), if far == 0 { ["m2"] } else { ["m1"] });
        let found = ask(&*archive, hq, MessageQuery { descending: true, limit: 1, offset: 1, ..between }).await;
        assert_eq!(natives(&found), if far == 0 { ["m2"] } else { ["m0"] });
    }
    let crossed = MessageQuery { after: Some(ids[4]), before: Some(ids[0]), ..all("c") };
    assert_eq!(natives(&ask(&*archive, hq, crossed).await), [""; 0]);
    let touching = MessageQuery { after: Some(ids[0]), before: Some(ids[1]), ..all("c") };
    assert_eq!(natives(&ask(&*archive, hq, touching).await), [""; 0]);
}

pub(super) async fn bounds_of_the_number_take_the_nearest(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let ids = five(&*archive, hq).await;
    // The same numbers in the order of arrival: `e` has n1, n2, n3, n4, n0 as `c` has m0, m2, m3, m4, m1, but no tie.
    let ascending = [10, 20, 21, 30, 50].into_iter().zip(["n0", "n1", "n2", "n3", "n4"]).map(|(seq, native)| Message {
        seq: Some(seq),
        ..text(native, "e", "a", &["b"], NEW_YEAR + (40 - seq) * SECOND)
    });
    put(&*archive, hq, &page(ascending)).await;
    let by_number = MessageQuery { order: MessageOrder::Seq, limit: 2, ..MessageQuery::default() };
    let descending = MessageQuery { descending: true, ..by_number.clone() };
    let by_time = MessageQuery { order: MessageOrder::SentAt, limit: 3, ..MessageQuery::default() };
    for (what, query, astray, straight) in [
        ("from", MessageQuery { from_seq: Some(20), ..by_number.clone() }, &["m2", "m3"][..], &["n1", "n2"][..]),
        (
            "from, greatest first",
            MessageQuery { from_seq: Some(11), ..descending.clone() },
            &["m3", "m2"],
            &["n2", "n1"],
        ),
        (
            "from, offset",
            MessageQuery { from_seq: Some(20), offset: 1, ..by_number.clone() },
            &["m3", "m4"],
            &["n2", "n3"],
        ),
        ("from above all", MessageQuery { from_seq: Some(51), ..by_number.clone() }, &[], &[]),
        (
            "from below all",
            MessageQuery { from_seq: Some(i64::MIN), ..by_number.clone() },
            &["m0", "m2"],
            &["n0", "n1"],
        ),
        ("to", MessageQuery { to_seq: Some(49), ..by_number.clone() }, &["m3", "m4"], &["n2", "n3"]),
        ("to, greatest first", MessageQuery { to_seq: Some(30), ..descending.clone() }, &["m4", "m3"], &["n3", "n2"]),
        ("to below all", MessageQuery { to_seq: Some(9), ..by_number.clone() }, &[], &[]),
        ("to above all", MessageQuery { to_seq: Some(i64::MAX), ..by_number.clone() }, &["m4", "m1"], &["n3", "n4"]),
        (
            "both",
            MessageQuery { from_seq: Some(11), to_seq: Some(50), ..by_number.clone() },
            &["m2", "m3"],
            &["n1", "n2"],
        ),
        (
            "both, greatest first",
            MessageQuery { from_seq: Some(10), to_seq: Some(30), ..descending.clone() },
            &["m4", "m3"],
            &["n3", "n2"],
        ),
        ("crossed", MessageQuery { from_seq: Some(30), to_seq: Some(20), ..by_number.clone() }, &[], &[]),
        (
            "from, by time",
            MessageQuery { from_seq: Some(20), ..by_time.clone() },
            &["m1", "m2", "m4"],
            &["n4", "n3", "n2"],
        ),
        (
            "both, by time",
            MessageQuery { from_seq: Some(10), to_seq: Some(21), ..by_time.clone() },
            &["m2", "m0", "m3"],
            &["n2", "n1", "n0"],
        ),
        (
            "from, of a kind",
            MessageQuery { from_seq: Some(11), kinds: vec!["text".to_owned()], ..by_number.clone() },
            &["m2"],
            &["n1", "n2"],
        ),
        (
            "from, before an id of c",
            MessageQuery { from_seq: Some(10), before: Some(ids[3]), ..by_number.clone() },
            &["m2", "m1"],
            &[],
        ),
    ] {
        for (conversation, expected) in [("c", astray), ("e", straight)] {
            let found =
                ask(&*archive, hq, MessageQuery { conversation: conversation.to_owned(), ..query.clone() }).await;
            let total = if conversation == "c" && !query.kinds.is_empty() { 2 } else { 5 };
            assert_eq!((natives(&found), found.total), (expected.to_vec(), total), "{what} in {conversation}");
        }
    }
}

pub(super) async fn filters_and_exact_totals(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    // One message each 6 hours for 10 days, in no order; kinds take turns.
    let kinds = ["text", "image", "file"];
    let sent: Vec<(i64, &str)> =
        (0..40).map(|at: i64| (NEW_YEAR + (at * 7 % 40) * DAY / 4, kinds[at as usize % 3])).collect();
    let messages = sent.iter().enumerate().map(|(at, (sent_at, kind))| Message {
        kind: (*kind).to_owned(),
        ..text(&format!("m{at}"), "c", "a", &["b"], *sent_at)
    });
    put(&*archive, hq, &page(messages)).await;
    let bounds = [
        None,
        Some(0),
        Some(1),
        Some(DAY / 2),
        Some(DAY),
        Some(DAY + 1),
        Some(2 * DAY),
        Some(5 * DAY - 1),
        Some(9 * DAY),
        Some(20 * DAY),
    ];
    for since in bounds {
        for until in bounds {
            for wanted in [&[][..], &["text"], &["image", "file"], &["unheard of"], &["text", "unheard of", "text"]] {
                let (since, until) = (since.map(|after| NEW_YEAR + after), until.map(|after| NEW_YEAR + after));
                let matches = |(sent_at, kind): &&(i64, &str)| {
                    since.is_none_or(|since| *sent_at >= since)
                        && until.is_none_or(|until| *sent_at < until)
                        && (wanted.is_empty() || wanted.contains(kind))
                };
                let mut expected: Vec<_> = sent.iter().filter(matches).map(|(sent_at, _)| *sent_at).collect();
                expected.sort_unstable();
                let total = expected.len() as u64;
                expected.truncate(7);
                let kinds = wanted.iter().map(|kind| (*kind).to_owned()).collect();
                let query = MessageQuery { since, until, kinds, limit: 7, ..all("c") };
                let found = ask(&*archive, hq, query).await;
                let rows: Vec<_> = found.rows.iter().map(|row| row.sent_at).collect();
                assert_eq!((rows, found.total), (expected, total), "{since:?} to {until:?} of {wanted:?}");
            }
        }
    }
}

pub(super) async fn days_before_1970_count(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let times = [-DAY - 1, -DAY, -1, 0, 1, DAY, i64::MAX, i64::MIN + 1];
    put(
        &*archive,
        hq,
        &page(times.iter().enumerate().map(|(at, time)| text(&format!("m{at}"), "c", "a", &["b"], *time))),
    )
    .await;
    for (since, until, expected) in [
        (None, Some(0), 4),
        (Some(0), None, 4),
        (Some(-DAY), Some(0), 2),
        (Some(-DAY), Some(DAY), 4),
        (Some(-DAY + 1), Some(DAY + 1), 4),
        (Some(i64::MIN), Some(i64::MAX), 7),
        (Some(1), Some(1), 0),
        (Some(5), Some(-5), 0),
        (None, None, 8),
    ] {
        let found = ask(&*archive, hq, MessageQuery { since, until, ..all("c") }).await;
        assert_eq!((found.total, found.rows.len()), (expected, expected as usize), "{since:?} to {until:?}");
    }
    let found = ask(&*archive, hq, all("c")).await;
    assert!(found.rows.iter().map(|row| row.sent_at).is_sorted());
}

pub(super) async fn pages_join(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let messages = (0..53).map(|at: i64| Message {
        seq: Some(at * 31 % 17),
        ..text(&format!("m{at}"), "c", "a", &["b"], NEW_YEAR + at * 19 % 11)
    });
    put(&*archive, hq, &page(messages)).await;
    for order in [MessageOrder::SentAt, MessageOrder::Id, MessageOrder::Seq] {
        for descending in [false, true] {
            let query = MessageQuery { order, descending, ..all("c") };
            let whole = ask(&*archive, hq, query.clone()).await;
            let mut joined = Vec::new();
            for page in 0..8 {
                let found = ask(&*archive, hq, MessageQuery { offset: page * 7, limit: 7, ..query.clone() }).await;
                assert_eq!(found.total, 53);
                joined.extend(found.rows);
            }
            assert_eq!(joined, whole.rows, "{order:?} {descending}");
            for (offset, limit) in [(53, 7), (u64::MAX, 7), (0, 0)] {
                let found = ask(&*archive, hq, MessageQuery { offset, limit, ..query.clone() }).await;
                assert_eq!((found.rows.len(), found.total), (0, 53));
            }
        }
    }
}

pub(super) async fn many_kinds_are_one_order(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    // At last more than any source has.
    for kinds in [3, 60, 90_i64] {
        let place = format!("of {kinds}");
        let messages = (0..2 * kinds).map(|at| Message {
            kind: format!("kind {}", at % kinds),
            ..text(&format!("{kinds}/{at}"), &place, "a", &["b"], NEW_YEAR + at * 7 % 31 * DAY)
        });
        put(&*archive, hq, &page(messages)).await;
        let whole = ask(&*archive, hq, all(&place)).await;
        assert_eq!((whole.rows.len() as i64, whole.total as i64), (2 * kinds, 2 * kinds));
        assert!(whole.rows.is_sorted_by_key(|row| (row.sent_at, row.id)), "{kinds} kinds");
        for offset in [1, 2 * kinds / 3, 2 * kinds - 5] {
            let query = MessageQuery { offset: offset.cast_unsigned(), limit: 4, ..all(&place) };
            let found = ask(&*archive, hq, query).await;
            assert_eq!(found.rows, whole.rows[offset as usize..][..4], "{offset} of {kinds} kinds");
        }
    }
}

pub(super) async fn by_id_keeps_the_order(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let ids = five(&*archive, hq).await;
    let elsewhere = put(&*archive, branch, &page([text("m0", "c", "a", &["b"], NEW_YEAR)])).await.stored[0].id;
    let asked = [ids[3], elsewhere, 999_999, ids[0], -1, ids[3]].map(MessageId);
    let found = archive.messages_by_id(&asked).await.unwrap();
    let rows: Vec<_> = found.iter().map(|row| (row.instance, row.native_id.as_str())).collect();
    assert_eq!(rows, [(hq, "m3"), (branch, "m0"), (hq, "m0"), (hq, "m3")]);
    assert_eq!(archive.messages_by_id(&[]).await.unwrap(), []);
}

pub(super) async fn by_native_keeps_the_order(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let ids = five(&*archive, hq).await;
    put(&*archive, branch, &page([text("m0", "c", "a", &["b"], NEW_YEAR)])).await;
    put(&*archive, hq, &page((0..300).map(|at| text(&format!("more {at}"), "c", "a", &["b"], NEW_YEAR)))).await;
    let mut asked: Vec<String> = (0..300).rev().map(|at| format!("more {at}")).collect();
    asked.extend(["m3", "nothing", "", "m0", "M0", "m3"].map(str::to_owned));
    let found = archive.messages_by_native(hq, &asked).await.unwrap();
    asked.retain(|native| native.starts_with('m') && !native.starts_with("M"));
    assert_eq!(found.iter().map(|row| row.native_id.clone()).collect::<Vec<_>>(), asked);
    assert_eq!((found[300].id.0, found[301].id.0, found[302].id.0), (ids[3], ids[0], ids[3]), "of this instance");
    assert_eq!(archive.messages_by_native(hq, &[]).await.unwrap(), []);
}

pub(super) async fn what_is_too_much_is_refused(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let long = |native: &str, conversation: &str, length: usize| Message {
        text: "x".repeat(length / 4),
        body: vec![b'y'; length - length / 4].into(),
        ..text(native, conversation, "a", &["b"], NEW_YEAR)
    };
    let half = MAX_ANSWER / 2;
    let three = [long("m0", "c", half), long("m1", "c", half), text("m2", "c", "a", &[], NEW_YEAR)];
    let mut ids = Vec::new();
    for page in [page(three), page([long("m3", "d", MAX_ANSWER + 1)])] {
        ids.extend(put(&*archive, hq, &page).await.stored.iter().map(|stored| MessageId(stored.id)));
    }
    let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let refused = |error: Option<ArchiveError>| matches!(error, Some(ArchiveError::TooLarge { most: MAX_ANSWER }));

    for order in [MessageOrder::SentAt, MessageOrder::Id, MessageOrder::Seq] {
        for descending in [false, true] {
            let query = MessageQuery { order, descending, ..all("c") };
            assert!(refused(archive.messages(hq, &query).await.err()), "{order:?}");
            let after = MessageQuery { after: Some(0), ..query.clone() };
            assert!(refused(archive.messages(hq, &after).await.err()), "{order:?} from an anchor");
            let found = ask(&*archive, hq, MessageQuery { limit: 2, ..query }).await;
            assert_eq!((found.rows.len(), found.total), (2, 3), "{order:?}");
        }
    }
    assert!(refused(archive.messages_by_id(&ids[..3]).await.err()));
    assert_eq!(archive.messages_by_id(&ids[..2]).await.unwrap().len(), 2, "just enough");
    assert!(refused(archive.messages_by_native(hq, &named(&["m0", "m1", "m2"])).await.err()));
    assert_eq!(archive.messages_by_native(hq, &named(&["m2", "m1", "m5"])).await.unwrap().len(), 2);
    assert!(refused(archive.conversations(hq, &list("a")).await.err()), "each with its latest message");

    // One alone comes, however long it is.
    assert_eq!(natives(&ask(&*archive, hq, all("d")).await), ["m3"]);
    assert_eq!(archive.messages_by_id(&ids[3..]).await.unwrap()[0].body.len(), MAX_ANSWER + 1 - (MAX_ANSWER + 1) / 4);
    for offset in [0, 1] {
        let query = ConversationQuery { offset, limit: 1, ..list("a") };
        assert_eq!(archive.conversations(hq, &query).await.unwrap().rows.len(), 1);
    }
}
