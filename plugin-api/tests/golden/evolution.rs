//! The rules by which the boundary grows, as far as they are about payloads.

use crate::{Any, golden, samples};
use stele_plugin_api::hello::Hello;
use stele_plugin_api::model::{ConversationKind, PersonKind};
use stele_plugin_api::notify::{Level, MetricKind};
use stele_plugin_api::ops::{LiveCarrier, MessageQuery};
use stele_plugin_api::typed::Parts;
use stele_plugin_api::{Encoding, ErrorCode};

const ENCODINGS: [Encoding; 2] = [Encoding::MessagePack, Encoding::Json];

#[test]
fn unknown_fields_are_ignored() {
    for sample in samples() {
        for (file, encoding, frame) in golden(&sample) {
            if frame.payload.is_empty() {
                continue;
            }
            let known: Any = encoding.decode(&frame.payload).expect("a golden payload");
            let grown = encoding.encode(&known.clone().with_unknown_fields()).expect("writes");
            let again = |payload| {
                let parts = Parts { payload, body: frame.body.clone() };
                (sample.again)(encoding, parts).unwrap_or_else(|error| panic!("{file}: {error}"))
            };
            let (with, without) = (again(grown), again(frame.payload.clone()));
            assert_eq!((with.payload, with.body), (without.payload, without.body), "{file}");
        }
    }
}

#[test]
fn unknown_words_are_kept_as_they_came() {
    macro_rules! kept {
        ($($open:ty),+) => {{
            for encoding in ENCODINGS {
                let word = encoding.encode("a-word-of-the-future").expect("writes");
                $(
                    let read: $open = encoding.decode(&word).expect(stringify!($open));
                    assert_eq!(read, <$open>::Other("a-word-of-the-future".to_owned()));
                    assert_eq!(encoding.encode(&read).expect("writes"), word);
                )+
            }
            [$(stringify!($open)),+]
        }};
    }
    let mut tried = kept!(ConversationKind, ErrorCode, Level, LiveCarrier, MetricKind, PersonKind);
    tried.sort_unstable();
    let mut declared: Vec<&str> = SOURCES.iter().flat_map(|source| open_enums(source)).collect();
    declared.sort_unstable();
    assert_eq!(declared, tried);
}

/// Rows in an order nobody knows are not what was asked for.
#[test]
fn an_order_nobody_knows_is_invalid() {
    for encoding in ENCODINGS {
        let mut query: Any =
            encoding.decode(&encoding.encode(&MessageQuery::default()).expect("writes")).expect("a query");
        let Any::Map(fields) = &mut query else { panic!("{query:?}") };
        let order = fields.iter_mut().find(|(name, _)| name == "order").expect("an order is always said");
        order.1 = Any::Text("by_mood".to_owned());
        let error =
            encoding.decode::<MessageQuery>(&encoding.encode(&query).expect("writes")).expect_err("it is unknown");
        assert_eq!(error.code, ErrorCode::Invalid);
    }
    // It is the only one: every other enum is open.
    let closed = SOURCES.iter().flat_map(|source| source.split("derive(").skip(1)).filter_map(|text| {
        let (derived, item) = text.split_once(')')?;
        let item = item.lines().find_map(|line| line.strip_prefix("pub enum "))?;
        derived.contains("Deserialize").then(|| item.trim_end_matches(" {"))
    });
    assert_eq!(closed.collect::<Vec<_>>(), ["MessageOrder"]);
}

#[test]
fn a_newer_minor_is_no_reason_to_refuse() {
    for encoding in ENCODINGS {
        let newer = Hello { abi_minor: u32::MAX, name: "newer".into(), ..Hello::default() };
        let read: Hello = encoding.decode(&encoding.encode(&newer).expect("writes")).expect("a hello");
        assert_eq!(read, newer);
    }
}

/// Where payloads are declared.
pub const SOURCES: [&str; 8] = [
    include_str!("../../src/error.rs"),
    include_str!("../../src/hello.rs"),
    include_str!("../../src/model.rs"),
    include_str!("../../src/notify.rs"),
    include_str!("../../src/ops.rs"),
    include_str!("../../src/ops/archive.rs"),
    include_str!("../../src/ops/live.rs"),
    include_str!("../../src/ops/shown.rs"),
];

/// Names of the open enums of a source.
fn open_enums(source: &str) -> impl Iterator<Item = &str> {
    source.split("open_enum! {").skip(1).filter_map(|text| {
        let name = text.lines().map(str::trim).find(|line| line.ends_with('{') && !line.starts_with("///"))?;
        Some(name.trim_end_matches('{').trim())
    })
}

#[test]
fn every_rule_is_held_by_a_test_that_there_is() {
    let tests = [
        include_str!("../abi.rs"),
        include_str!("../header.rs"),
        include_str!("../peer.rs"),
        include_str!("main.rs"),
        include_str!("evolution.rs"),
        include_str!("minors.rs"),
    ];
    let rules =
        include_str!("../../src/lib.rs").lines().filter(|line| line.starts_with("//! | ") && line.contains('`'));
    let named: Vec<&str> = rules
        .filter_map(|line| line.trim_end_matches(" |").rsplit(" | ").next())
        .flat_map(|cell| cell.split(", ").map(|name| name.trim_matches('`')))
        .collect();
    assert!(named.len() >= 9, "{named:?}");
    for name in named {
        assert!(tests.iter().any(|test| test.contains(&format!("fn {name}("))), "there is no test {name}");
    }
}
