//! Signatures: every spelling honest clients sign is accepted, nothing else is.
#![allow(clippy::needless_pass_by_value, reason = "tables of json! values read better without ampersands")]

mod api_support;
use api_support::*;
use proptest::prelude::*;
use serde_json::json;

/// What a client sends, and the signature it made: the vectors of reference/wecom-archive.md §3.1.
const SESSIONS_EXAMPLE: &str = "ext_staff_id=staff123&session_type=external&ext_corp_id=corp123&page=1&page_size=20";
const MSGS_EXAMPLE: &str = "ext_staff_id=staff123&receiver_id=customer456&ext_corp_id=corp123&page=1&page_size=20";
const MSGS_DATES: &str = "ext_staff_id=staff123&receiver_id=customer456&ext_corp_id=corp123\
     &send_at_start=2024-01-01&send_at_end=2024-01-31&page=1&page_size=20";
const SEARCH_CHINESE: &str = "keyword=%E4%BA%A7%E5%93%81%E4%BB%8B%E7%BB%8D&ext_staff_id=staff123\
     &ext_peer_id=customer456&ext_corp_id=corp123&page=1&page_size=20";
const SEARCH_MARKS: &str = "keyword=a+b%2Fc%2Bd%7Ee*&ext_staff_id=staff123&ext_peer_id=customer456&ext_corp_id=corp123";

#[test]
fn the_vectors_of_the_reference_verify() {
    let vectors = [
        (SESSIONS, SESSIONS_EXAMPLE, "682081003cec34e1ef0d4703d53a362705446f6c730fad45503cc5255182863e"),
        (MSGS, MSGS_EXAMPLE, "badcbfa8cb6c4aaa5cde0ae5c663915cd01b73ea100c5da0d50782d00c32ba2b"),
        (MSGS, MSGS_DATES, "2b9ed96d2734338220e5f89d87d46556033621a63148d7cc3580a1cc8b81f532"),
        (SEARCH, SEARCH_CHINESE, "482e2caff8fe8433e642ac505f92abfec9311695e1295c930132d271487b346f"),
        (SEARCH, SEARCH_CHINESE, "9029005d14314aad92a56c1cc2765609d28a3c5388284c3a74639e8b6ca946e6"),
        (SEARCH, SEARCH_MARKS, "0eab3102c0b0f0eed98984ba832919b2cce2195f2037f04c32fc69e40aaadb6f"),
        (SEARCH, SEARCH_MARKS, "d35eb422e92d1d1e49a8ffbed1336791ae89ab5df61fbd5e25f1cced6ef977e1"),
        (SEARCH, SEARCH_MARKS, "8cd448e495fc9334020d5432107ec88de0a71d5200de3c8f1ba6e82e1537c003"),
    ];
    let api = Api::new(json!({}));
    for (path, query, signature) in vectors {
        for signature in [signature.to_owned(), signature.to_uppercase()] {
            assert_eq!(
                api.send_query(path, &format!("{query}&signature={signature}"))["code"],
                0,
                "{query} {signature}"
            );
        }
        let other_key = Api::new(json!({ "api_keys": [{ "key": "another" }] }));
        assert_eq!(other_key.send_query(path, &format!("{query}&signature={signature}"))["code"], 401);
    }
    let sync =
        r#"{"ext_corp_id":"corp123","signature":"72ed0443dfb61fab170ff196334d7ef8fb0605db64c47f54ef217cb7fb1cf794"}"#;
    assert_eq!(api.post(sync), json!({ "code": 0, "message": "同步任务已启动", "data": null }));
}

/// What the Go original signs; one key, one corp.
const GO_VECTORS: [(&str, &str, &str); 3] = [
    (SESSIONS, SESSIONS_EXAMPLE, "9ed7ec46d64375eb918b1c676839b35da819f8971ef6150e96bca986a7a06f14"),
    (MSGS, MSGS_DATES, "80adf3024d990620052d73a45dd5920e65e5a98484f2730106763225d4ee4048"),
    (SEARCH, SEARCH_CHINESE, "fcbfdc96d49f33b5605a486899a4032fb7c6e38afe88b7274b569abd2b082b9c"),
];
const GO_SYNC: &str =
    r#"{"ext_corp_id":"corp123","signature":"24f1aa064c55096fdbed36644773c91a5e2d90d8317b3124e60a5c9b5d1a2402"}"#;

fn check_go(settings: serde_json::Value, expected: u16) {
    let api = Api::new(settings.clone());
    for (path, query, signature) in GO_VECTORS {
        let reply = api.send_query(path, &format!("{query}&signature={signature}"));
        assert_eq!(reply["code"], expected, "{settings} {path}");
    }
    assert_eq!(api.post(GO_SYNC)["code"], if expected == 401 { 400 } else { expected }, "{settings} sync");
}

#[test]
fn the_go_text_counts_only_when_it_can_mean_one_corp() {
    check_go(json!({}), 401);
    check_go(json!({ "legacy_go_signature": true }), 401);
    check_go(json!({ "legacy_go_signature": true, "corp": [{ "id": "corp123" }] }), 0);
    check_go(json!({ "legacy_go_signature": true, "api_keys": [{ "key": KEY, "corps": ["corp123"] }] }), 0);
    check_go(json!({ "legacy_go_signature": true, "api_keys": [{ "key": KEY, "corps": ["corp456"] }] }), 403);
    check_go(
        json!({ "legacy_go_signature": true, "api_keys": [{ "key": KEY, "corps": ["corp123", "corp456"] }] }),
        401,
    );
    check_go(
        json!({ "legacy_go_signature": true, "corp": [{ "id": "corp123" }], "signed_timestamp_seconds": 60 }),
        401,
    );
}

#[test]
fn the_go_text_follows_what_was_received() {
    let api = Api::new(json!({ "legacy_go_signature": true, "corp": [{ "id": "corp123" }] }));
    let cases = [
        (SESSIONS, "page=0&page_size=0", "ExtStaffID=s&Name=&Pager={0 0 0}&SessionType=&Sorter={ }"),
        (SESSIONS, "name=%E5%BC%A0", "ExtStaffID=s&Name=张&Pager={0 0 0}&SessionType=&Sorter={ }"),
        (
            SESSIONS,
            "TotalRows=7&sort_field=id&sort_type=asc",
            "ExtStaffID=s&Name=&Pager={0 0 7}&SessionType=&Sorter={id asc}",
        ),
        (SEARCH, "keyword=x", "ExtPeerID=&ExtStaffID=s&Keyword=x&Pager={0 0 0}"),
        (
            MSGS,
            "limit=5&max_id=9&msg_type=text",
            "ExtStaffID=s&Limit=5&MaxID=9&MinID=&MsgType=text&Pager={0 0 0}&ReceiverID=&SendAtEnd=&SendAtStart=&Sorter={ }",
        ),
    ];
    for (path, query, text) in cases {
        let signature = hmac_hex(KEY, text);
        let reply = api.send_query(path, &format!("ext_corp_id=corp123&ext_staff_id=s&{query}&signature={signature}"));
        assert_ne!(reply["code"], 401, "{text}");
        let wrong = hmac_hex(KEY, &format!("{text}x"));
        let reply = api.send_query(path, &format!("ext_corp_id=corp123&ext_staff_id=s&{query}&signature={wrong}"));
        assert_eq!(reply["code"], 401, "{text}");
    }
    // Trailing ampersands are cut off the whole text, and no text at all is left of a corp of nothing else.
    let signature = hmac_hex(KEY, "corp123");
    assert_ne!(
        api.post(&format!(r#"{{"ext_corp_id":"corp123&&","signature":"{signature}"}}"#))["message"],
        "签名验证失败"
    );
}

/// UTF-16 units put an emoji before a full-width letter, code points after it.
#[test]
fn names_sorted_as_javascript_does_are_understood() {
    let api = Api::new(json!({}));
    let mut params = needed(SESSIONS);
    params.extend([("\u{ff5e}", "1"), ("\u{1f600}", "2")]);
    assert_ne!(sorted(&params), sorted_by_units(&params), "the two orders differ");
    for text in [pairs(&sorted(&params), str::to_owned), pairs(&sorted_by_units(&params), str::to_owned)] {
        let reply = api.send_query(SESSIONS, &format!("{}&signature={}", query(&params), hmac_hex(KEY, &text)));
        assert_eq!(reply["code"], 0, "{text}");
    }
    params.reverse();
    let unsorted = pairs(&params, str::to_owned);
    let reply = api.send_query(SESSIONS, &format!("{}&signature={}", query(&params), hmac_hex(KEY, &unsorted)));
    assert_eq!(reply["code"], 401);
}

#[test]
fn what_is_no_signature_is_refused() {
    let api = Api::new(json!({}));
    let good = hmac_hex(KEY, &raw_text(&needed(SESSIONS)));
    let query = query(&needed(SESSIONS));
    let short = &good[..63];
    for signature in
        ["", "x", "abc123", short, &format!("{good}0"), &format!("{short}g"), &"0".repeat(64), &format!("{good}%00")]
    {
        let reply = api.send_query(SESSIONS, &format!("{query}&signature={signature}"));
        assert_eq!(reply, json!({ "code": 401, "message": "签名验证失败", "data": null }), "{signature}");
    }
    assert_eq!(api.send_query(SESSIONS, &query)["code"], 401);
    assert_eq!(api.send_query(SESSIONS, "")["code"], 401);
    assert_eq!(api.send_query(SESSIONS, &format!("{query}&Signature={good}"))["code"], 401);
    assert!(api.calls.lock().expect("not poisoned").is_empty(), "the daemon is not bothered by unsigned requests");
}

#[test]
fn a_key_is_good_for_its_corps() {
    let keys = json!({ "api_keys": [
        { "key": "one", "corps": ["corp123"] }, { "key": "two", "corps": ["corp456"] }, { "key": "all" },
        { "key": "shared", "corps": ["corp123"] }, { "key": "shared", "corps": ["corp456"] },
    ] });
    let api = Api::new(keys);
    let cases = [
        ("one", Some("corp123"), 0),
        ("one", Some("corp456"), 403),
        ("one", Some("corp999"), 403),
        ("one", None, 400),
        ("two", Some("corp123"), 403),
        ("all", Some("corp123"), 0),
        ("all", Some("corp999"), 1001),
        ("all", Some(""), 400),
        ("shared", Some("corp123"), 0),
        ("none", Some("corp123"), 401),
        ("none", None, 401),
    ];
    for (key, corp, code) in cases {
        let params = changed(SESSIONS, &[("ext_corp_id", corp)]);
        let signature = hmac_hex(key, &raw_text(&params));
        let reply = api.send_query(SESSIONS, &format!("{}&signature={signature}", query(&params)));
        assert_eq!(reply["code"], code, "{key} {corp:?}");
    }
}

#[test]
fn a_signed_timestamp_is_demanded_when_configured() {
    const NOW: i64 = 1_700_000_000;
    let mut api = Api::new(json!({ "signed_timestamp_seconds": 300 }));
    api.state = api.state.with_clock(|| NOW);
    let cases = [
        (None, 401),
        (Some(String::new()), 401),
        (Some("soon".into()), 401),
        (Some("-1".into()), 401),
        (Some("99999999999999999999".into()), 401),
        (Some(NOW.to_string()), 0),
        (Some((NOW * 1000).to_string()), 0),
        (Some((NOW - 300).to_string()), 0),
        (Some((NOW - 301).to_string()), 401),
        (Some((NOW + 60).to_string()), 0),
        (Some((NOW + 61).to_string()), 401),
    ];
    for (stamp, code) in &cases {
        let params = changed(SESSIONS, &[("timestamp", stamp.as_deref())]);
        assert_eq!(api.get(SESSIONS, &params)["code"], *code, "{stamp:?}");
    }
    // A fresh timestamp that the Go text does not cover does not help it.
    let mut go = Api::new(json!({
        "signed_timestamp_seconds": 300, "legacy_go_signature": true, "corp": [{ "id": "corp123" }],
    }));
    go.state = go.state.with_clock(|| NOW);
    let (path, query, signature) = GO_VECTORS[0];
    assert_eq!(go.send_query(path, &format!("{query}&timestamp={NOW}&signature={signature}"))["code"], 401);
    let unsigned = format!("{}&timestamp={NOW}", signed_query(&needed(SESSIONS)));
    assert_eq!(api.send_query(SESSIONS, &unsigned)["code"], 401);
    // Without the setting a timestamp is a parameter like any other.
    let api = Api::new(json!({}));
    assert_eq!(api.get(SESSIONS, &changed(SESSIONS, &[("timestamp", Some("1"))]))["code"], 0);
}

/// Parameters the API does not know, with any text in name and value; they are signed like all others.
fn extras() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof!["[a-z]{1,8}", "\\PC{1,6}", any::<String>()]
        .prop_filter("not a parameter of the API", |name| name.len() > 2 && !KNOWN.contains(&name.as_str()));
    let value = prop_oneof![any::<String>(), "\\PC{0,12}", "[ +%&=~*'()!._/?#-]{0,8}", "[产品介绍价格]{0,4}"];
    proptest::collection::btree_map(name, value, 0..6).prop_map(|extras| extras.into_iter().collect())
}

const KNOWN: [&str; 8] =
    ["ext_corp_id", "ext_staff_id", "session_type", "name", "page", "page_size", "signature", "timestamp"];

type Encoder = fn(&str) -> String;
const ENCODERS: [Encoder; 6] = [
    |text| encode(text, "_.-~", true),       // Python urlencode, PHP
    |text| encode(text, "_.-~", false),      // Python quote
    |text| encode(text, "*-._", true),       // URLSearchParams, Java
    |text| encode(text, "*-._", false),      // Java, patched
    |text| encode(text, "-_.!~*'()", false), // encodeURIComponent
    |text| text.bytes().map(|byte| format!("%{byte:02x}")).collect(), // escapes everything, lower case
];

fn pairs(params: &[(&str, &str)], encoder: impl Fn(&str) -> String) -> String {
    params.iter().map(|(name, value)| format!("{}={}", encoder(name), encoder(value))).collect::<Vec<_>>().join("&")
}

/// Sorted as JavaScript sorts.
fn sorted_by_units<'a>(params: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut params = params.to_vec();
    params.sort_by_key(|(name, _)| name.encode_utf16().collect::<Vec<_>>());
    params
}

fn sorted<'a>(params: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut params = params.to_vec();
    params.sort_unstable();
    params
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_honest_client_is_understood(extras in extras()) {
        let api = Api::new(json!({}));
        let mut params = needed(SESSIONS);
        params.extend(extras.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut texts = vec![
            pairs(&sorted(&params), str::to_owned),
            pairs(&sorted_by_units(&params), str::to_owned),
            pairs(&sorted_by_units(&params), ENCODERS[2]),
        ];
        texts.extend(ENCODERS[..5].iter().map(|encoder| pairs(&sorted(&params), encoder)));
        for wire in ENCODERS {
            // Whatever was signed, and whatever the transport made of it.
            let sent = pairs(&params, wire);
            for text in texts.iter().chain([&pairs(&sorted(&params), wire)]) {
                let reply = api.send_query(SESSIONS, &format!("{sent}&signature={}", hmac_hex(KEY, text)));
                prop_assert_eq!(&reply["code"], 0, "sent {} signed {}", sent, text);
            }
        }
    }

    #[test]
    fn any_change_breaks_the_signature(extras in extras(), pick in any::<prop::sample::Index>(), letter in "[A-Z0-9]") {
        let api = Api::new(json!({}));
        let mut params = needed(SESSIONS);
        params.extend(extras.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let text = pairs(&sorted(&params), ENCODERS[pick.index(5)]);
        let signature = hmac_hex(KEY, &text);
        for index in 0..params.len() {
            let (name, value) = params[index];
            let at = pick.index(value.chars().count() + 1);
            let changed: String = value.chars().take(at).chain(letter.chars()).chain(value.chars().skip(at + 1)).collect();
            let mut tampered = params.clone();
            tampered[index] = (name, &changed);
            if changed != value {
                let reply = api.send_query(SESSIONS, &format!("{}&signature={signature}", query(&tampered)));
                prop_assert_eq!(&reply["code"], 401, "{} became {}", value, changed);
            }
            let mut fewer = params.clone();
            fewer.remove(index);
            let reply = api.send_query(SESSIONS, &format!("{}&signature={signature}", query(&fewer)));
            prop_assert_eq!(&reply["code"], 401, "{} was left out", name);
        }
        let reply = api.send_query(SESSIONS, &format!("{}&zz={letter}&signature={signature}", query(&params)));
        prop_assert_eq!(&reply["code"], 401);
    }

    #[test]
    fn a_change_of_the_signature_itself_breaks_it(nibble in 0usize..64, flip in 1u32..16) {
        let api = Api::new(json!({}));
        let mut signature: Vec<char> = hmac_hex(KEY, &raw_text(&needed(SESSIONS))).chars().collect();
        let digit = signature[nibble].to_digit(16).expect("hex");
        signature[nibble] = char::from_digit(digit ^ flip, 16).expect("four bits");
        let signature: String = signature.into_iter().collect();
        let reply = api.send_query(SESSIONS, &format!("{}&signature={signature}", query(&needed(SESSIONS))));
        prop_assert_eq!(&reply["code"], 401);
    }

    #[test]
    fn no_query_breaks_the_server(query in "\\PC{0,60}|[%&=+a-f0-9]{0,40}", body in any::<Vec<u8>>()) {
        let api = Api::new(json!({}));
        for path in [SESSIONS, MSGS, SEARCH] {
            let code = api.send_query(path, &query)["code"].as_u64();
            prop_assert!(matches!(code, Some(400 | 401)), "{:?}", code);
        }
        let mut post = request("POST", SYNC, &query);
        post.body = body.into();
        let reply = api.send(post);
        prop_assert_eq!(reply.status, 200);
    }
}
