//! Random histories: a small world, so that everything meets everything.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::sample::{select, subsequence};
use stele_plugin_api::model::{Conversation, ConversationKind, Message, Page, Parked, Person, Revocation};

const DAY: i64 = 86_400_000_000;

pub(super) const PEOPLE: [&str; 4] = ["ann", "bob", "cy", "dee"];
pub(super) const CONVERSATIONS: [&str; 4] = ["c0", "c1", "c2", "c3"];
/// Ties, both sides of a midnight, and before 1970.
pub(super) const TIMES: [i64; 6] = [-1, 0, DAY - 1, DAY, DAY + 5, 3 * DAY];
const NAMES: [&str; 4] = ["", "Émile 100%", "émilie", "Ann"];
/// Senders' own ids.
pub(super) const KEYS: [&str; 2] = ["k1", "k2"];
const LABELS: [&str; 3] = ["to:ann", "to:\"é\"", ""];
const TITLES: [&str; 3] = ["", "Team É", "t_t"];
/// Messages there are, over the whole history of an instance.
const MESSAGES: usize = 30;

/// Something that happens to an archive.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Restart,
    Commit { instance: usize, partition: usize, stale: bool, contents: Contents },
}

/// What a page brings.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    messages: Vec<Said>,
    people: Vec<(&'static str, Option<&'static str>)>,
    conversations: Vec<Described>,
    revocations: Vec<usize>,
    parked: Vec<usize>,
}

/// A word on a conversation.
#[derive(Clone, Debug)]
struct Described {
    native: &'static str,
    kind: Option<ConversationKind>,
    title: Option<&'static str>,
    members: Option<Vec<&'static str>>,
    joined: Vec<&'static str>,
    left: Vec<&'static str>,
}

/// A message, in short.
#[derive(Clone, Debug)]
struct Said {
    native: usize,
    conversation: &'static str,
    sender: Option<&'static str>,
    recipients: Vec<&'static str>,
    sent_at: i64,
    kind: &'static str,
    seq: Option<i64>,
    silent: bool,
    client_id: Option<&'static str>,
    once: bool,
    expires_at: Option<i64>,
    labels: Vec<&'static str>,
}

pub(super) fn histories() -> impl Strategy<Value = Vec<Step>> {
    let commit = (0..2_usize, 0..2_usize, prop_oneof![9 => Just(false), 1 => Just(true)], contents())
        .prop_map(|(instance, partition, stale, contents)| Step::Commit { instance, partition, stale, contents });
    vec(prop_oneof![8 => commit, 1 => Just(Step::Restart)], 1..14)
}

fn contents() -> impl Strategy<Value = Contents> {
    let person = (select(&PEOPLE[..]), option::of(select(&NAMES[..])));
    let kind = prop_oneof![
        Just(ConversationKind::Direct),
        Just(ConversationKind::External),
        Just(ConversationKind::Group),
        Just(ConversationKind::Other("stage".to_owned()))
    ];
    let members = option::weighted(0.3, subsequence(&PEOPLE[..], 0..=3));
    let moved = || prop_oneof![1 => Just(Vec::new()), 1 => subsequence(&PEOPLE[..], 0..=2)];
    let title = option::of(select(&TITLES[..]));
    let conversation = (select(&CONVERSATIONS[..]), option::of(kind), title, members, moved(), moved()).prop_map(
        |(native, kind, title, members, joined, left)| Described { native, kind, title, members, joined, left },
    );
    (vec(said(), 0..9), few(person), few(conversation), few(0..MESSAGES), few(0..MESSAGES)).prop_map(
        |(messages, people, conversations, revocations, parked)| Contents {
            messages,
            people,
            conversations,
            revocations,
            parked,
        },
    )
}

/// Mostly nothing.
fn few<S: Strategy + Clone + 'static>(one: S) -> BoxedStrategy<Vec<S::Value>>
where
    S::Value: Clone,
{
    prop_oneof![2 => Just(Vec::new()), 1 => vec(one, 1..4)].boxed()
}

fn said() -> impl Strategy<Value = Said> {
    (
        0..MESSAGES,
        select(&CONVERSATIONS[..]),
        option::weighted(0.9, select(&PEOPLE[..])),
        subsequence(&PEOPLE[..], 0..=2),
        select(&TIMES[..]),
        select(&["text", "image", "file"][..]),
        option::of(0..9_i64),
        any::<bool>(),
        (option::weighted(0.4, select(&KEYS[..])), any::<bool>()),
        (option::weighted(0.3, select(&TIMES[..])), vec(select(&LABELS[..]), 0..3)),
    )
        .prop_map(|(native, conversation, sender, recipients, sent_at, kind, seq, silent, key, extra)| Said {
            native,
            conversation,
            sender,
            recipients,
            sent_at,
            kind,
            seq,
            silent,
            client_id: key.0,
            once: key.1 && key.0.is_some() && sender.is_some(),
            expires_at: extra.0,
            labels: extra.1,
        })
}

/// The page these contents are.
pub(super) fn page_of(contents: &Contents) -> Page {
    Page {
        messages: contents.messages.iter().map(message_of).collect(),
        people: contents
            .people
            .iter()
            .map(|(native, name)| Person {
                native_id: (*native).to_owned(),
                name: name.map(str::to_owned),
                ..Person::default()
            })
            .collect(),
        conversations: contents
            .conversations
            .iter()
            .map(|told| Conversation {
                native_id: told.native.to_owned(),
                kind: told.kind.clone(),
                title: told.title.map(str::to_owned),
                members: told.members.as_deref().map(names),
                joined: names(&told.joined),
                left: names(&told.left),
                ..Conversation::default()
            })
            .collect(),
        revocations: contents
            .revocations
            .iter()
            .enumerate()
            .map(|(at, native)| Revocation { native_id: format!("m{native}"), by: format!("by {at}"), at: at as i64 })
            .collect(),
        parked: contents
            .parked
            .iter()
            .map(|native| Parked {
                native_id: format!("m{native}"),
                reason: "no key".to_owned(),
                envelope: Bytes::new(),
            })
            .collect(),
        ..Page::default()
    }
}

fn names(natives: &[&str]) -> Vec<String> {
    natives.iter().map(|native| (*native).to_owned()).collect()
}

fn message_of(said: &Said) -> Message {
    Message {
        native_id: format!("m{}", said.native),
        conversation: said.conversation.to_owned(),
        seq: said.seq,
        sender: said.sender.unwrap_or_default().to_owned(),
        recipients: names(&said.recipients),
        sent_at: said.sent_at,
        kind: said.kind.to_owned(),
        text: if said.silent { String::new() } else { format!("text of {}", said.native) },
        body: Bytes::from(format!("{} {}", said.native, said.sent_at)),
        client_id: said.client_id.map(str::to_owned),
        once: said.once,
        expires_at: said.expires_at,
        labels: names(&said.labels),
        ..Message::default()
    }
}
