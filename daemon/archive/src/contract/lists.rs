//! A person's conversations.

use super::Backend;
use super::sample::{NEW_YEAR, SECOND, conversation, instance, list, page, person, put, text};
use crate::{Archive, ConversationList, InstanceId};
use stele_plugin_api::model::{Conversation, ConversationKind, Page};
use stele_plugin_api::ops::ConversationQuery;

fn shown(list: &ConversationList) -> Vec<(&str, &str)> {
    list.rows.iter().map(|row| (row.conversation.native_id.as_str(), row.last.native_id.as_str())).collect()
}

async fn direct(archive: &dyn Archive, instance: InstanceId, conversations: &[(&str, ConversationKind)]) {
    let conversations = conversations.iter().map(|(native, kind)| conversation(native, kind.clone())).collect();
    put(archive, instance, &Page { conversations, ..Page::default() }).await;
}

pub(super) async fn the_latest_comes_first(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    direct(&*archive, hq, &[("c1", ConversationKind::Direct), ("c2", ConversationKind::External)]).await;
    put(&*archive, hq, &Page { people: vec![person("b", "Bee")], ..Page::default() }).await;
    let messages = [
        text("m1", "c1", "a", &["b"], NEW_YEAR),
        text("m2", "c2", "c", &["a"], NEW_YEAR + SECOND),
        text("m3", "c3", "a", &[], NEW_YEAR + SECOND),
        text("m4", "c4", "b", &["c"], NEW_YEAR + 9 * SECOND),
    ];
    put(&*archive, hq, &page(messages)).await;
    let mine = archive.conversations(hq, &list("a")).await.unwrap();
    assert_eq!(shown(&mine), [("c3", "m3"), ("c2", "m2"), ("c1", "m1")], "by time sent, then id, latest first");
    assert_eq!(mine.total, 3);
    let peers: Vec<_> =
        mine.rows.iter().map(|row| row.peer.as_ref().map(|p| (p.native_id.as_str(), p.name.as_str()))).collect();
    assert_eq!(peers, [None, Some(("c", "")), Some(("b", "Bee"))], "the other one of two");
    assert_eq!(mine.rows[2].conversation.messages, 1);
    put(&*archive, hq, &page([text("m5", "c1", "b", &["a"], NEW_YEAR + 2 * SECOND)])).await;
    backend.restart().await;
    let archive = backend.archive();
    let mine = archive.conversations(hq, &list("a")).await.unwrap();
    assert_eq!(shown(&mine), [("c1", "m5"), ("c3", "m3"), ("c2", "m2")]);
    assert_eq!((mine.rows[0].last.sender_name.as_str(), mine.rows[0].conversation.messages), ("Bee", 2));
    let others = archive.conversations(hq, &list("b")).await.unwrap();
    assert_eq!(shown(&others), [("c4", "m4"), ("c1", "m5")]);
}

pub(super) async fn a_late_message_does_not_lead(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(
        &*archive,
        hq,
        &page([text("m1", "c", "a", &["b"], NEW_YEAR), text("n1", "d", "a", &["b"], NEW_YEAR + SECOND)]),
    )
    .await;
    put(&*archive, hq, &page([text("m2", "c", "a", &["b"], NEW_YEAR - SECOND), text("m3", "c", "a", &["z"], -5)]))
        .await;
    let mine = archive.conversations(hq, &list("a")).await.unwrap();
    assert_eq!(shown(&mine), [("d", "n1"), ("c", "m1")]);
    assert_eq!(
        shown(&archive.conversations(hq, &list("z")).await.unwrap()),
        [("c", "m1")],
        "the list of a newcomer too"
    );
    put(&*archive, hq, &page([text("m4", "c", "a", &["b"], NEW_YEAR)])).await;
    assert_eq!(
        shown(&archive.conversations(hq, &list("a")).await.unwrap())[1],
        ("c", "m4"),
        "of one moment, the later id"
    );
}

pub(super) async fn kinds_are_told_apart(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let stage = ConversationKind::Other("stage".to_owned());
    let kinds = [ConversationKind::Group, ConversationKind::Direct, stage.clone(), ConversationKind::Direct];
    for (at, kind) in kinds.iter().enumerate() {
        let native = format!("c{at}");
        direct(&*archive, hq, &[(&native, kind.clone())]).await;
        put(&*archive, hq, &page([text(&format!("m{at}"), &native, "a", &["b"], NEW_YEAR + at as i64)])).await;
    }
    let all = archive.conversations(hq, &list("a")).await.unwrap();
    assert_eq!(shown(&all), [("c3", "m3"), ("c2", "m2"), ("c1", "m1"), ("c0", "m0")], "kinds mix in a list");
    assert_eq!(all.rows[1].conversation.kind, stage);
    for (kind, expected) in [
        (ConversationKind::Direct, &["c3", "c1"][..]),
        (ConversationKind::Group, &["c0"]),
        (stage, &["c2"]),
        (ConversationKind::Service, &[]),
        (ConversationKind::Other("unheard of".to_owned()), &[]),
    ] {
        let query = ConversationQuery { kind: Some(kind.clone()), ..list("a") };
        let found = archive.conversations(hq, &query).await.unwrap();
        assert_eq!(shown(&found).iter().map(|(c, _)| *c).collect::<Vec<_>>(), expected, "{kind}");
        assert_eq!(found.total, expected.len() as u64, "{kind}");
    }
}

pub(super) async fn a_corrected_kind_moves_lists(backend: &mut dyn Backend) {
    let hq = instance(&*backend.archive(), "hq").await;
    let archive = backend.archive();
    let (internal, outside) = (ConversationKind::Direct, ConversationKind::External);
    direct(&*archive, hq, &[("c", internal.clone()), ("d", internal.clone())]).await;
    let people = vec![person("b", "Bee"), person("a", "Ay")];
    let said = [text("m1", "c", "a", &["b"], NEW_YEAR), text("m2", "d", "a", &["e"], NEW_YEAR + SECOND)];
    put(&*archive, hq, &Page { people, ..page(said) }).await;
    // The list of one kind, and how long it claims to be, by number and by name.
    async fn of_kind(archive: &dyn Archive, hq: InstanceId, person: &str, kind: &ConversationKind) -> Vec<String> {
        let query = ConversationQuery { kind: Some(kind.clone()), ..list(person) };
        let found = archive.conversations(hq, &query).await.unwrap();
        assert_eq!(found.total, found.rows.len() as u64);
        found.rows.into_iter().map(|row| row.conversation.native_id).collect()
    }
    // Corrected by a page with a message and by one without, with and without what the backend remembers.
    let correction = Page {
        conversations: vec![conversation("c", outside.clone())],
        ..page([text("m3", "c", "b", &["a"], NEW_YEAR + 2 * SECOND)])
    };
    put(&*archive, hq, &correction).await;
    backend.restart().await;
    let archive = backend.archive();
    for person in ["a", "b"] {
        assert_eq!(of_kind(&*archive, hq, person, &outside).await, ["c"], "{person}");
    }
    assert_eq!(of_kind(&*archive, hq, "a", &internal).await, ["d"]);
    assert!(of_kind(&*archive, hq, "b", &internal).await.is_empty());
    direct(&*archive, hq, &[("d", outside.clone())]).await;
    put(&*archive, hq, &page([text("m4", "d", "z", &["a"], NEW_YEAR + 3 * SECOND)])).await;
    assert_eq!(of_kind(&*archive, hq, "a", &outside).await, ["d", "c"]);
    assert_eq!(of_kind(&*archive, hq, "z", &outside).await, ["d"], "who came later, too");
    assert!(of_kind(&*archive, hq, "a", &internal).await.is_empty());
    assert_eq!(archive.conversations(hq, &list("a")).await.unwrap().total, 2);
    // The name it is found by follows: of two it is the other's, of a group the title.
    let named = |name: &str| ConversationQuery { name: Some(name.to_owned()), ..list("a") };
    assert_eq!(shown(&archive.conversations(hq, &named("bee")).await.unwrap()), [("c", "m3")]);
    direct(&*archive, hq, &[("c", ConversationKind::Group)]).await;
    assert!(archive.conversations(hq, &named("bee")).await.unwrap().rows.is_empty());
    assert_eq!(archive.conversations(hq, &list("b")).await.unwrap().rows[0].peer, None);
}

pub(super) async fn names_are_searched_literally(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    for instance in [hq, branch] {
        let names = [("b", "Ärger 100%"), ("c", "ärgerlich_x"), ("d", "ΟΔΥΣΣΕΥΣ"), ("e", "王小明"), ("f", "")];
        let people = names.iter().map(|(native, name)| person(native, name)).collect();
        let group = |native: &str, title: &str| Conversation {
            title: Some(title.to_owned()),
            ..conversation(native, ConversationKind::Group)
        };
        let mut conversations: Vec<_> =
            names.iter().map(|(native, _)| conversation(&format!("with {native}"), ConversationKind::Direct)).collect();
        conversations.extend([group("g", "Ärger 王"), group("h", "")]);
        let mut messages: Vec<_> = names
            .iter()
            .map(|(native, _)| text(&format!("to {native}"), &format!("with {native}"), "a", &[native], NEW_YEAR))
            .collect();
        messages.push(text("to g", "g", "b", &["a", "c", "e"], NEW_YEAR));
        messages.push(text("to h", "h", "e", &["a", "b"], NEW_YEAR));
        // Somebody else's conversation with the same people.
        messages.push(text("elsewhere", "else", "b", &["e"], NEW_YEAR));
        put(&*archive, instance, &Page { people, conversations, messages, ..Page::default() }).await;
    }
    for (name, expected) in [
        ("ärger", &["g", "with b", "with c"][..]),
        ("ÄRGER", &["g", "with b", "with c"]),
        ("%", &["with b"]),
        ("_", &["with c"]),
        ("σευς", &["with d"]),
        ("ΣΣ", &["with d"]),
        ("小", &["with e"]),
        ("王", &["g", "with e"]),
        ("'", &[]),
        ("\\", &[]),
        ("gel", &[]),
        // Who has no name stands there with the id.
        ("F", &["with f"]),
        ("h", &["h", "with c"]),
        ("", &["g", "h", "with b", "with c", "with d", "with e", "with f"]),
    ] {
        let query = ConversationQuery { name: Some(name.to_owned()), ..list("a") };
        let found = archive.conversations(hq, &query).await.unwrap();
        let mut natives: Vec<_> = shown(&found).into_iter().map(|(native, _)| native).collect();
        natives.sort_unstable();
        assert_eq!(natives, expected, "{name:?}");
        assert_eq!(found.total, expected.len() as u64, "{name:?}");
        let paged = ConversationQuery { offset: 1, limit: 1, ..query };
        let paged = archive.conversations(hq, &paged).await.unwrap();
        assert_eq!(
            (paged.total, shown(&paged)),
            (found.total, shown(&found).into_iter().skip(1).take(1).collect()),
            "{name:?}"
        );
    }
    let of_kind = ConversationQuery { kind: Some(ConversationKind::Group), name: Some("王".to_owned()), ..list("a") };
    assert_eq!(shown(&archive.conversations(hq, &of_kind).await.unwrap()), [("g", "to g")]);
}

pub(super) async fn names_follow_their_people(backend: &mut dyn Backend) {
    let hq = instance(&*backend.archive(), "hq").await;
    let archive = backend.archive();
    direct(&*archive, hq, &[("c", ConversationKind::Direct)]).await;
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR), text("m2", "g", "a", &["b"], NEW_YEAR)])).await;
    backend.restart().await;
    let archive = backend.archive();
    let named = |name: &str| ConversationQuery { name: Some(name.to_owned()), ..list("a") };
    put(&*archive, hq, &Page { people: vec![person("b", "Bee"), person("a", "Ay")], ..Page::default() }).await;
    assert_eq!(shown(&archive.conversations(hq, &named("bee")).await.unwrap()), [("c", "m1")]);
    assert!(archive.conversations(hq, &named("ay")).await.unwrap().rows.is_empty(), "not under one's own name");
    put(&*archive, hq, &Page { people: vec![person("b", "Wasp")], ..Page::default() }).await;
    assert!(archive.conversations(hq, &named("bee")).await.unwrap().rows.is_empty());
    assert_eq!(shown(&archive.conversations(hq, &named("wasp")).await.unwrap()), [("c", "m1")]);
    let title = |title: &str| Conversation {
        native_id: "g".to_owned(),
        title: Some(title.to_owned()),
        ..Conversation::default()
    };
    put(&*archive, hq, &Page { conversations: vec![title("Nest")], ..Page::default() }).await;
    assert_eq!(shown(&archive.conversations(hq, &named("nest")).await.unwrap()), [("g", "m2")]);
    // A third one in a conversation of two: it is shown under its title, and has no other one.
    put(&*archive, hq, &page([text("m3", "c", "z", &["a"], NEW_YEAR)])).await;
    assert!(archive.conversations(hq, &named("wasp")).await.unwrap().rows.is_empty());
    assert_eq!(archive.conversations(hq, &list("a")).await.unwrap().rows[0].peer, None);
}

pub(super) async fn pages_of_lists_join(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let kinds = [ConversationKind::Direct, ConversationKind::Group, ConversationKind::External];
    let natives: Vec<String> = (0..57).map(|at| format!("c{at}")).collect();
    let described: Vec<_> =
        natives.iter().zip(kinds.iter().cycle()).map(|(native, kind)| (native.as_str(), kind.clone())).collect();
    direct(&*archive, hq, &described).await;
    let messages = natives
        .iter()
        .enumerate()
        .map(|(at, native)| text(&format!("m{at}"), native, "a", &["b"], NEW_YEAR + (at as i64 * 17) % 29));
    put(&*archive, hq, &page(messages)).await;
    let whole = archive.conversations(hq, &list("a")).await.unwrap();
    assert_eq!(whole.rows.len(), 57);
    let keys: Vec<_> = whole.rows.iter().map(|row| (row.last.sent_at, row.last.id)).collect();
    assert!(keys.is_sorted_by(|a, b| a > b), "latest first, ties by id");
    let mut joined = Vec::new();
    for page in 0..9 {
        let query = ConversationQuery { offset: page * 7, limit: 7, ..list("a") };
        let found = archive.conversations(hq, &query).await.unwrap();
        assert_eq!(found.total, 57);
        joined.extend(found.rows);
    }
    assert_eq!(joined, whole.rows);
    for (offset, limit) in [(57, 7), (u64::MAX, 7), (0, 0)] {
        let found = archive.conversations(hq, &ConversationQuery { offset, limit, ..list("a") }).await.unwrap();
        assert_eq!((found.rows.len(), found.total), (0, 57));
    }
}

pub(super) async fn members_see_what_was_said_before(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &page([text("m1", "g", "a", &["b"], NEW_YEAR)])).await;
    let told =
        Conversation { native_id: "g".to_owned(), members: Some(vec!["n".to_owned()]), ..Conversation::default() };
    put(&*archive, hq, &Page { conversations: vec![told], ..Page::default() }).await;
    assert_eq!(shown(&archive.conversations(hq, &list("n")).await.unwrap()), [("g", "m1")]);
    put(&*archive, hq, &page([text("m2", "g", "a", &["b"], NEW_YEAR + SECOND)])).await;
    let found = archive.conversations(hq, &list("n")).await.unwrap();
    assert_eq!((shown(&found), found.total), (vec![("g", "m2")], 1));
}

pub(super) async fn a_stranger_has_nothing(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    for (instance, person) in [(hq, "nobody"), (hq, ""), (branch, "a"), (hq, "%")] {
        for name in [None, Some(String::new()), Some("x".to_owned())] {
            let query = ConversationQuery { name, ..list(person) };
            assert_eq!(archive.conversations(instance, &query).await.unwrap(), ConversationList::default());
        }
    }
}
