//! People and conversations as the source describes them.

use super::Backend;
use super::sample::{NEW_YEAR, conversation, instance, list, page, person, put, text};
use stele_plugin_api::model::{Conversation, ConversationKind, Page, Person, PersonKind};
use stele_plugin_api::ops::{JoinedQuery, Membership, Participation, PersonQuery, PersonView};

fn describing(people: impl IntoIterator<Item = Person>, conversations: impl IntoIterator<Item = Conversation>) -> Page {
    Page { people: people.into_iter().collect(), conversations: conversations.into_iter().collect(), ..Page::default() }
}

pub(super) async fn descriptions_are_merged(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let full = Person {
        native_id: "a".to_owned(),
        kind: Some(PersonKind::Staff),
        name: Some("张三".to_owned()),
        avatar: Some("http://a".to_owned()),
        attributes: Some("{\"x\":1}".to_owned()),
    };
    put(&*archive, branch, &describing([person("a", "another")], [])).await;
    put(&*archive, hq, &describing([full.clone(), person("b", "B"), person("b", "Bee")], [])).await;
    put(
        &*archive,
        hq,
        &describing([person("a", "李四"), Person { native_id: "c".to_owned(), ..Person::default() }], []),
    )
    .await;
    put(
        &*archive,
        hq,
        &describing([Person { native_id: "b".to_owned(), name: Some(String::new()), ..Person::default() }], []),
    )
    .await;
    let view = |native: &str, kind, name: &str| PersonView {
        native_id: native.to_owned(),
        kind,
        name: name.to_owned(),
        avatar: String::new(),
        attributes: None,
    };
    let asked = ["c", "nobody", "a", "b"].map(str::to_owned);
    let mut people = archive.people(hq, &asked).await.unwrap();
    people.sort_by(|a, b| a.native_id.cmp(&b.native_id));
    let a = PersonView {
        avatar: "http://a".to_owned(),
        attributes: full.attributes,
        ..view("a", PersonKind::Staff, "李四")
    };
    assert_eq!(people, [a, view("b", PersonKind::User, ""), view("c", PersonKind::User, "")]);
    assert_eq!(archive.people(branch, &["a".to_owned()]).await.unwrap()[0].name, "another");
    assert_eq!(archive.stats(Some(hq)).await.unwrap().people, 3);

    let group = Conversation {
        partition: "q".to_owned(),
        title: Some("Team".to_owned()),
        owner: Some("a".to_owned()),
        attributes: Some("{}".to_owned()),
        ..conversation("g", ConversationKind::Group)
    };
    put(&*archive, hq, &describing([], [group])).await;
    let other = Conversation { native_id: "g".to_owned(), title: Some("Crew".to_owned()), ..Conversation::default() };
    put(&*archive, hq, &describing([], [other])).await;
    let found = archive.conversation(hq, "g").await.unwrap().expect("described");
    assert_eq!((found.title.as_str(), found.owner.as_str(), found.partition.as_str()), ("Crew", "a", "q"));
    assert_eq!((found.kind, found.messages, found.attributes.as_deref()), (ConversationKind::Group, 0, Some("{}")));
    assert_eq!(archive.conversation(branch, "g").await.unwrap(), None);
    assert_eq!(archive.stats(Some(hq)).await.unwrap().conversations, 0, "without messages it does not count");
}

pub(super) async fn a_kind_is_corrected(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let stage = || ConversationKind::Other("stage".to_owned());
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    for (told, expected) in [
        (vec![Some(stage())], stage()),
        (vec![None], stage()),
        (vec![Some(ConversationKind::Direct)], ConversationKind::Direct),
        (vec![Some(ConversationKind::External)], ConversationKind::External),
        // What was seen is not taken back by what was not.
        (vec![Some(ConversationKind::Direct)], ConversationKind::External),
        (vec![Some(ConversationKind::Group)], ConversationKind::Group),
        (vec![Some(ConversationKind::External), None, Some(ConversationKind::Direct)], ConversationKind::External),
        (vec![Some(ConversationKind::Group), Some(ConversationKind::Direct)], ConversationKind::Direct),
    ] {
        let told = told.into_iter().map(|kind| Conversation { kind, ..conversation("c", stage()) });
        put(&*archive, hq, &describing([], told)).await;
        assert_eq!(archive.conversation(hq, "c").await.unwrap().expect("stored").kind, expected);
    }
}

pub(super) async fn undescribed_ones_are_created(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    put(&*archive, hq, &page([text("m1", "c", "a", &["b", "b"], NEW_YEAR), text("m2", "c", "", &[], NEW_YEAR)])).await;
    let found = archive.conversation(hq, "c").await.unwrap().expect("created");
    assert_eq!((found.kind, found.partition.as_str(), found.messages), (ConversationKind::System, "p", 2));
    let people = archive.people(hq, &["a".to_owned(), "b".to_owned(), String::new()]).await.unwrap();
    assert_eq!(people.iter().map(|p| (&p.kind, p.name.as_str())).collect::<Vec<_>>(), [(&PersonKind::User, ""); 2]);
    let rows = archive.messages(hq, &super::sample::all("c")).await.unwrap().rows;
    assert_eq!((rows[1].sender, rows[1].sender_native.as_str()), (None, ""), "sent by nobody");
    assert_eq!(rows[0].sender, archive.person_id(hq, "a").await.unwrap());
    assert_eq!(archive.person_id(hq, "nobody").await.unwrap(), None);
}

pub(super) async fn members_are_replaced(backend: &mut dyn Backend) {
    let hq = instance(&*backend.archive(), "hq").await;
    let group = |members: &[&str]| {
        let members = members.iter().map(|native| (*native).to_owned()).collect();
        let group = Conversation { members: Some(members), ..conversation("g", ConversationKind::Group) };
        describing([], [group])
    };
    let archive = backend.archive();
    put(&*archive, hq, &group(&["a", "b"])).await;
    assert!(archive.conversations(hq, &list("a")).await.unwrap().rows.is_empty(), "nothing was said yet");
    put(&*archive, hq, &page([text("m1", "g", "c", &["b"], NEW_YEAR)])).await;
    backend.restart().await;
    let archive = backend.archive();
    for (person, takes_part) in [("a", true), ("b", true), ("c", true), ("d", false)] {
        assert_eq!(archive.takes_part(hq, "g", person).await.unwrap(), takes_part, "{person}");
        let list = archive.conversations(hq, &list(person)).await.unwrap();
        assert_eq!((list.total, list.rows.len()), (takes_part.into(), takes_part.into()), "{person}");
    }
    put(&*archive, hq, &group(&["d"])).await;
    for (person, takes_part) in [("a", false), ("b", true), ("c", true), ("d", true)] {
        assert_eq!(archive.takes_part(hq, "g", person).await.unwrap(), takes_part, "{person} later");
        let list = archive.conversations(hq, &list(person)).await.unwrap();
        assert_eq!((list.total, list.rows.len()), (takes_part.into(), takes_part.into()), "{person} later");
    }
    put(&*archive, hq, &describing([], [conversation("g", ConversationKind::Group)])).await;
    assert!(archive.takes_part(hq, "g", "d").await.unwrap(), "no list of members changes none");
    put(&*archive, hq, &group(&[])).await;
    assert!(!archive.takes_part(hq, "g", "d").await.unwrap());
    assert!(archive.takes_part(hq, "g", "b").await.unwrap(), "seen in a message");
    assert!(!archive.takes_part(hq, "nowhere", "b").await.unwrap());
    // Who was removed comes back by speaking.
    put(&*archive, hq, &page([text("m2", "g", "a", &[], NEW_YEAR)])).await;
    assert!(archive.takes_part(hq, "g", "a").await.unwrap());
    assert_eq!(archive.conversations(hq, &list("a")).await.unwrap().total, 1);
}

pub(super) async fn conversations_are_put_away(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let hq = instance(&*archive, "hq").await;
    let told =
        |archived, deleted| Conversation { native_id: "c".to_owned(), archived, deleted, ..Conversation::default() };
    for (words, expected) in [
        (vec![told(Some(true), None)], (true, false)),
        (vec![told(None, None)], (true, false)),
        (vec![told(None, Some(true))], (true, true)),
        (vec![told(Some(false), None), told(None, Some(false))], (false, false)),
        (vec![told(Some(false), Some(true)), told(Some(true), None)], (true, true)),
    ] {
        put(&*archive, hq, &describing([], words)).await;
        let found = archive.conversation(hq, "c").await.unwrap().expect("is created by the first word on it");
        assert_eq!((found.archived, found.deleted), expected);
    }
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    let listed = &archive.conversations(hq, &list("a")).await.unwrap().rows[0].conversation;
    assert_eq!((listed.archived, listed.deleted, listed.messages), (true, true, 1), "the archive keeps it");
}

pub(super) async fn members_are_told_from_participants(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let names = |natives: &[&str]| natives.iter().map(|native| (*native).to_owned()).collect::<Vec<_>>();
    let told = |native: &str, joined: &[&str], left: &[&str]| Conversation {
        joined: names(joined),
        left: names(left),
        ..conversation(native, ConversationKind::Group)
    };
    put(&*archive, branch, &describing([], [told("c2", &["b"], &[])])).await;
    put(&*archive, hq, &page([text("m1", "c2", "b", &["c"], NEW_YEAR)])).await;
    let all = ["c9", "c10", "c2", "d", "对话"].map(|native| told(native, &["a", "b"], &[]));
    put(&*archive, hq, &describing([], all)).await;
    put(&*archive, hq, &describing([], [told("d", &[], &["a"]), told("c2", &["a"], &["b"])])).await;
    backend.restart().await;
    let archive = backend.archive();
    for (of, native, person, known, member) in [
        (hq, "c2", "a", true, true),
        (hq, "c2", "b", true, false),
        (hq, "c2", "c", true, false),
        (hq, "c2", "nobody", true, false),
        (hq, "d", "a", true, false),
        (hq, "nowhere", "a", false, false),
        (branch, "c2", "a", true, false),
        (branch, "c2", "b", true, true),
    ] {
        let who = Participation { conversation: native.to_owned(), person: person.to_owned() };
        let conversation = archive.conversation(of, native).await.unwrap();
        assert_eq!(conversation.is_some(), known, "{native}");
        let found = archive.membership(of, &who).await.unwrap();
        assert_eq!(found, Membership { conversation, member }, "{who:?}");
    }
    for (of, person, after, limit, expected) in [
        (hq, "a", "", 100, &["c10", "c2", "c9", "对话"][..]),
        (hq, "a", "c10", 2, &["c2", "c9"]),
        (hq, "a", "c2x", 100, &["c9", "对话"]),
        (hq, "a", "对话", 100, &[]),
        (hq, "a", "", 0, &[]),
        (hq, "b", "", 100, &["c10", "c9", "d", "对话"]),
        (hq, "c", "", 100, &[]),
        (hq, "nobody", "", 100, &[]),
        (branch, "b", "", 100, &["c2"]),
    ] {
        let query = JoinedQuery { person: person.to_owned(), after: after.to_owned(), limit };
        assert_eq!(archive.joined(of, &query).await.unwrap(), expected, "{query:?}");
    }
}

pub(super) async fn people_are_listed(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    put(&*archive, branch, &describing([person("a", "another")], [])).await;
    put(&*archive, hq, &page([text("m1", "c", "u9", &["张", "u10"], NEW_YEAR)])).await;
    put(&*archive, hq, &describing([person("U", "Ü"), person("u10", "Ten")], [])).await;
    for (of, after, limit, expected) in [
        (hq, "", 100, &["U", "u10", "u9", "张"][..]),
        (hq, "U", 2, &["u10", "u9"]),
        (hq, "u2", 100, &["u9", "张"]),
        (hq, "张", 100, &[]),
        (hq, "", 0, &[]),
        (branch, "", 100, &["a"]),
    ] {
        let query = PersonQuery { after: after.to_owned(), limit };
        let found = archive.person_list(of, &query).await.unwrap();
        let natives: Vec<_> = found.iter().map(|person| person.native_id.clone()).collect();
        assert_eq!(natives, expected, "{query:?}");
        for person in &found {
            let alone = archive.people(of, std::slice::from_ref(&person.native_id)).await.unwrap();
            assert_eq!(alone, std::slice::from_ref(person));
        }
    }
}

pub(super) async fn conversations_are_found_by_native_id(backend: &mut dyn Backend) {
    let archive = backend.archive();
    let (hq, branch) = (instance(&*archive, "hq").await, instance(&*archive, "branch").await);
    let many = (0..300).map(|at| conversation(&format!("more {at}"), ConversationKind::Group));
    put(&*archive, hq, &describing([], many)).await;
    put(&*archive, branch, &describing([], [conversation("c", ConversationKind::Direct)])).await;
    put(&*archive, hq, &page([text("m1", "c", "a", &["b"], NEW_YEAR)])).await;
    let mut asked: Vec<String> = (0..300).map(|at| format!("more {at}")).collect();
    asked.extend(["c", "nowhere", "", "C", "c", "more 7"].map(str::to_owned));
    let mut found = archive.conversations_by_native(hq, &asked).await.unwrap();
    found.sort_by_key(|found| found.id);
    let mut expected = Vec::new();
    for native in &asked[..301] {
        expected.push(archive.conversation(hq, native).await.unwrap().expect("known"));
    }
    assert_eq!(found, expected, "each once");
    assert_eq!(archive.conversations_by_native(hq, &[]).await.unwrap(), []);
    let elsewhere = archive.conversations_by_native(branch, &asked).await.unwrap();
    assert_eq!(elsewhere.iter().map(|found| found.native_id.as_str()).collect::<Vec<_>>(), ["c"]);
}
