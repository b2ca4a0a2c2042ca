//! Messages and files in, through the plugin's public face, on a vendor that is none.

mod inbound_support;

use inbound_support::{CHUNK, CORP, FakeVendor, KeyPair, Mood, config, host, text_message};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use stele_plugin_api::model::{Micros, Page, Parked};
use stele_plugin_api::ops::{Empty, MediaRequest, PullRequest, RecoverRequest};
use stele_plugin_api::testing::sink;
use stele_plugin_api::{Error, ErrorCode, Plugin};
use stele_wecom::Wecom;
use stele_wecom::sync::{Cursor, Envelope};

fn request(cursor: Option<&Page>, limit: u32) -> PullRequest {
    PullRequest {
        partition: CORP.into(),
        cursor: cursor.and_then(|page| page.cursor.clone()),
        limit,
        last_commit: None,
    }
}

/// Pulls until nothing is left, as the daemon does.
async fn pull_all(plugin: &Wecom, limit: u32) -> Result<Vec<Page>, Error> {
    let mut pages: Vec<Page> = Vec::new();
    loop {
        let page = plugin.sync_pull(request(pages.last(), limit)).await?;
        if page.caught_up {
            assert!(page.messages.is_empty());
            assert_eq!(page.cursor, pages.last().and_then(|page| page.cursor.clone()));
            return Ok(pages);
        }
        pages.push(page);
    }
}

fn texts(pages: &[Page]) -> Vec<&str> {
    pages.iter().flat_map(|page| &page.messages).map(|message| message.text.as_str()).collect()
}

fn seq_of(page: &Page) -> u64 {
    Cursor::read(page.cursor.as_ref()).expect("it is one of ours").seq
}

fn error_of<T>(result: Result<T, Error>) -> Error {
    result.err().expect("it fails")
}

#[tokio::test]
async fn every_message_comes_once_and_in_order() {
    let vendor = FakeVendor::default();
    let expected: Vec<String> = (1..=25).map(|n| format!("第{n}条")).collect();
    for (n, text) in (1..).zip(&expected) {
        vendor.send(n * 10, if n > 12 { 2 } else { 1 }, text_message(n * 10, text).to_string().as_bytes());
    }
    let plugin = vendor.instance(&host().host(), config(&[1, 2]));
    let pages = pull_all(&plugin, 10).await.expect("nothing is wrong");

    assert_eq!(texts(&pages), expected);
    assert_eq!(pages.iter().map(seq_of).collect::<Vec<_>>(), [100, 200, 250]);
    // The last known seq itself is passed, and no page is asked for twice.
    assert_eq!(vendor.world().asked, [(0, 10), (100, 10), (200, 10), (250, 10)]);
    assert_eq!(vendor.world().handles, 1);
    let message = &pages[0].messages[0];
    assert_eq!(message.seq, Some(10));
    assert_eq!(message.body, text_message(10, "第1条").to_string());
    // Each page describes what it talks about once, and tells of nobody what no id says.
    assert!(pages.iter().all(|page| page.people.is_empty() && page.conversations.len() == 1));
}

#[tokio::test]
async fn what_was_prefetched_is_thrown_away_when_the_daemon_asks_otherwise() {
    let vendor = FakeVendor::default();
    (1..=30).for_each(|seq| vendor.send_text(seq, &seq.to_string()));
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let first = plugin.sync_pull(request(None, 10)).await.expect("nothing is wrong");
    let again = plugin.sync_pull(request(None, 10)).await.expect("nothing is wrong");
    assert_eq!(first, again);
    let second = plugin.sync_pull(request(Some(&first), 10)).await.expect("nothing is wrong");
    assert_eq!((seq_of(&first), seq_of(&second)), (10, 20));
    let smaller = plugin.sync_pull(request(Some(&first), 5)).await.expect("nothing is wrong");
    assert_eq!(seq_of(&smaller), 15);
}

#[tokio::test]
async fn what_comes_after_the_end_is_found_by_the_next_pull() {
    let vendor = FakeVendor::default();
    let plugin = vendor.instance(&host().host(), config(&[1]));
    assert!(plugin.sync_pull(request(None, 10)).await.expect("nothing is wrong").caught_up);
    vendor.send_text(1, "一");
    let pages = pull_all(&plugin, 10).await.expect("nothing is wrong");
    assert_eq!(texts(&pages), ["一"]);
    vendor.send_text(2, "二");
    let next = plugin.sync_pull(request(pages.last(), 10)).await.expect("nothing is wrong");
    assert_eq!(texts(&[next]), ["二"]);
}

#[tokio::test]
async fn pages_that_would_not_fit_into_a_frame_are_cut() {
    const HUGE: usize = 5 << 20;
    let vendor = FakeVendor::default();
    (1..=2).for_each(|seq| vendor.send_text(seq, &format!("{seq}{}", "x".repeat(HUGE))));
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let pages = pull_all(&plugin, 1000).await.expect("nothing is wrong");
    assert_eq!(pages.iter().map(seq_of).collect::<Vec<_>>(), [1, 2]);
    let lengths: Vec<usize> = texts(&pages).iter().map(|text| text.len()).collect();
    assert_eq!(lengths, [HUGE + 1; 2]);
}

#[tokio::test]
async fn shuffled_and_doubled_pages_lose_and_double_nothing() {
    let vendor = FakeVendor::default();
    (1..=9).for_each(|seq| vendor.send_text(seq, &seq.to_string()));
    vendor.world().chat.push_back(Mood::Shuffled);
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let pages = pull_all(&plugin, 100).await.expect("nothing is wrong");
    assert_eq!(texts(&pages), ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[tokio::test]
async fn a_reply_that_only_repeats_moves_nothing_back() {
    let vendor = FakeVendor::default();
    let old = json!({"errcode": 0, "chatdata": [{"seq": 3, "msgid": "m3"}]}).to_string().into_bytes();
    vendor.world().chat.push_back(Mood::Says(old));
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let cursor = Some(Cursor { seq: 7, ..Cursor::default() }.write());
    let page = plugin.sync_pull(PullRequest { cursor, ..request(None, 10) }).await.expect("nothing is wrong");
    assert!(page.caught_up && page.cursor.is_none() && page.messages.is_empty() && page.parked.is_empty());
    assert_eq!(page.notices[0].code, "repeated-page");
}

#[tokio::test]
async fn upstream_faults_are_told_and_lose_nothing() {
    let refusal =
        |code: i64, words: &str| Mood::Says(json!({"errcode": code, "errmsg": words}).to_string().into_bytes());
    let cases = [
        (vec![Mood::Returns(10001)], ErrorCode::Unavailable, "10001"),
        (vec![Mood::Returns(10003)], ErrorCode::Unavailable, "10003"),
        (vec![Mood::Returns(10009)], ErrorCode::Denied, "allowlist"),
        (vec![Mood::Cut], ErrorCode::Unavailable, "no valid list"),
        (vec![Mood::Says(b"<html>502</html>".to_vec())], ErrorCode::Unavailable, "no valid list"),
        (vec![Mood::Says(Vec::new())], ErrorCode::Unavailable, "0 bytes"),
        (vec![refusal(45009, "freq")], ErrorCode::RateLimited, "45009"),
        (vec![refusal(45033, "conc")], ErrorCode::RateLimited, "45033"),
        (vec![refusal(40013, "corp")], ErrorCode::Denied, "corp id"),
        (vec![refusal(41001, "missing")], ErrorCode::Denied, "archive_secret"),
        (vec![refusal(301_042, "no, from ip: 203.0.113.9, see")], ErrorCode::Denied, "203.0.113.9"),
        (vec![refusal(301_052, "")], ErrorCode::Denied, "expired"),
        (vec![refusal(301_053, "")], ErrorCode::Denied, "not enabled"),
        (vec![refusal(-1, "busy")], ErrorCode::Unavailable, "busy"),
        (vec![refusal(40001, "bad s3cr3t"), refusal(40001, "bad s3cr3t")], ErrorCode::Denied, "archive_secret"),
    ];
    for (moods, code, part) in cases {
        let vendor = FakeVendor::default();
        (1..=3).for_each(|seq| vendor.send_text(seq, &seq.to_string()));
        vendor.world().chat.extend(moods);
        let plugin = vendor.instance(&host().host(), config(&[1]));
        let error = error_of(plugin.sync_pull(request(None, 10)).await);
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(part) && !error.message.contains("s3cr3t"), "{error}");
        let pages = pull_all(&plugin, 10).await.expect("it works again");
        assert_eq!(texts(&pages), ["1", "2", "3"]);
    }
}

#[tokio::test]
async fn a_stale_token_costs_a_handle_and_nothing_else() {
    for code in [40001, 40014, 42001] {
        let vendor = FakeVendor::default();
        vendor.send_text(1, "一");
        let stale = json!({"errcode": code, "errmsg": "stale"}).to_string().into_bytes();
        vendor.world().chat.push_back(Mood::Says(stale));
        let plugin = vendor.instance(&host().host(), config(&[1]));
        assert_eq!(texts(&pull_all(&plugin, 10).await.expect("a new handle helps")), ["一"]);
        assert_eq!(vendor.world().handles, 2, "{code}");
    }
}

#[tokio::test]
async fn the_third_unparsable_reply_in_a_row_costs_the_handle() {
    let vendor = FakeVendor::default();
    vendor.world().chat.extend([10002, 10002, 10002].map(Mood::Returns));
    let plugin = vendor.instance(&host().host(), config(&[1]));
    for handles in [1, 1, 1] {
        assert_eq!(error_of(plugin.sync_pull(request(None, 10)).await).code, ErrorCode::Unavailable);
        assert_eq!(vendor.world().handles, handles);
    }
    assert!(plugin.sync_pull(request(None, 10)).await.expect("it works again").caught_up);
    assert_eq!(vendor.world().handles, 2);
}

#[tokio::test]
async fn too_large_pages_are_halved_and_grow_back() {
    let vendor = FakeVendor::default();
    (1..=60).for_each(|seq| vendor.send_text(seq, &seq.to_string()));
    let too_large = || Mood::Says(json!({"errcode": 301_058, "errmsg": "too large"}).to_string().into_bytes());
    vendor.world().chat.extend([too_large(), too_large()]);
    let mut settings = config(&[1]);
    settings["page_limit"] = json!(40);
    let plugin = vendor.instance(&host().host(), settings);
    assert_eq!(texts(&pull_all(&plugin, 1000).await.expect("small ones pass")).len(), 60);
    let limits: Vec<u32> = vendor.world().asked.iter().map(|(_, limit)| *limit).collect();
    assert_eq!(limits[..6], [40, 20, 10, 12, 14, 16]);

    let hopeless = FakeVendor::default();
    hopeless.world().chat.extend((0..20).map(|_| too_large()));
    let plugin = hopeless.instance(&host().host(), config(&[1]));
    assert_eq!(error_of(plugin.sync_pull(request(None, 1000)).await).code, ErrorCode::Unavailable);
    let limits: Vec<u32> = hopeless.world().asked.iter().map(|(_, limit)| *limit).collect();
    assert_eq!(limits, [1000, 500, 250, 125, 62, 31, 15, 7, 3, 1]);
}

#[tokio::test]
async fn what_cannot_be_opened_is_parked_and_opened_when_the_key_comes() {
    let vendor = FakeVendor::default();
    vendor.send_text(1, "一");
    vendor.send(2, 2, text_message(2, "二").to_string().as_bytes());
    vendor.send_sealed(3, &json!(1), "no base64!", b"{}");
    vendor.send_sealed(4, &json!(1), &KeyPair::shared(1).seal("another key"), b"{}");
    vendor.send_sealed(5, &Value::Null, &KeyPair::shared(1).seal("x"), b"{}");
    vendor.send_text(6, "六");
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let pages = pull_all(&plugin, 10).await.expect("nothing stops the archive");
    assert_eq!(texts(&pages), ["一", "六"]);
    // Of a page the archive numbers what is readable first: what follows the parked ones in order is in the next page.
    assert_eq!((seq_of(&pages[0]), seq_of(&pages[1])), (5, 6));
    assert!(
        vendor.world().asked.iter().all(|(after, _)| *after != 5),
        "what is left of a reply is not asked for again"
    );
    let told: Vec<(&str, &str)> =
        pages[0].parked.iter().map(|parked| (parked.native_id.as_str(), parked.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            ("corp123/m2", "seq 2, key version 2: there is no private key of version 2"),
            ("corp123/m3", "seq 3, key version 1: the private key of version 1 does not open it"),
            ("corp123/m4", "seq 4, key version 1: vendor code 10008: the key does not fit the message"),
            ("corp123/m5", "seq 5, key version none: vendor code 10008: the key does not fit the message"),
        ]
    );
    assert!(pages[0].notices.iter().all(|notice| notice.code == "sealed") && pages[0].notices.len() == 3);

    let recover = RecoverRequest { partition: CORP.into(), parked: pages[0].parked.clone() };
    let none = plugin.sync_recover(recover.clone()).await.expect("nothing is wrong");
    assert_eq!((none.messages.len(), none.parked.len(), none.cursor), (0, 4, None));
    let with_key = vendor.instance(&host().host(), config(&[1, 2]));
    let page = with_key.sync_recover(recover).await.expect("nothing is wrong");
    assert_eq!(texts(std::slice::from_ref(&page)), ["二"]);
    assert_eq!((page.messages[0].native_id.as_str(), page.messages[0].seq), ("corp123/m2", Some(2)));
    assert_eq!(page.parked.len(), 3);
}

#[tokio::test]
async fn envelopes_that_would_end_the_process_never_reach_the_library() {
    let vendor = FakeVendor::default();
    let body = json!({"errcode": 0, "chatdata": [
        {"seq": 1, "msgid": "m1", "publickey_ver": 1, "encrypt_random_key": KeyPair::shared(1).seal("k"), "encrypt_chat_msg": "short"},
        {"seq": 2, "msgid": "m2"}, {"seq": 3}]});
    vendor.world().chat.push_back(Mood::Says(body.to_string().into_bytes()));
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let page = plugin.sync_pull(request(None, 10)).await.expect("nothing stops the archive");
    assert_eq!(
        page.parked.iter().map(|parked| parked.native_id.as_str()).collect::<Vec<_>>(),
        ["corp123/m1", "corp123/m2", "corp123/seq-3"]
    );
    assert!(page.parked.iter().all(|parked| parked.reason.contains("too short")));
}

#[tokio::test]
async fn a_malformed_element_is_kept_and_stops_nothing() {
    let vendor = FakeVendor::default();
    let key = KeyPair::shared(1).seal("k");
    vendor.send_text(1, "一");
    vendor.send_sealed(2, &json!("1"), &key, b"{}");
    vendor.send_sealed(3, &json!({}), &key, b"{}");
    vendor.send_text(4, "四");
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let pages = pull_all(&plugin, 10).await.expect("nothing stops the archive");
    assert_eq!(texts(&pages), ["一", "四"]);
    let parked: Vec<Parked> = pages.iter().flat_map(|page| page.parked.clone()).collect();
    let told: Vec<(&str, &str)> = parked.iter().map(|p| (p.native_id.as_str(), p.reason.as_str())).collect();
    let reason = |seq| format!("seq {seq}, key version none: wecom delivered it malformed; it is kept as it came");
    assert_eq!(told, [("corp123/m2", reason(2).as_str()), ("corp123/m3", reason(3).as_str())]);
    let kept: Envelope = serde_json::from_slice(&parked[0].envelope).expect("it is an envelope");
    assert!(kept.malformed.is_some_and(|json| json.contains(&key) && json.contains(r#""publickey_ver":"1""#)));
    let recover = RecoverRequest { partition: CORP.into(), parked: parked.clone() };
    assert_eq!(plugin.sync_recover(recover).await.expect("nothing is wrong").parked, parked);
}

#[tokio::test]
async fn what_cannot_be_recovered_comes_back_as_it_was() {
    let plugin = FakeVendor::default().instance(&host().host(), config(&[1]));
    let odd = Parked { native_id: "corp123/x".into(), reason: "odd".into(), envelope: "no envelope".into() };
    let request = RecoverRequest { partition: CORP.into(), parked: vec![odd.clone()] };
    assert_eq!(plugin.sync_recover(request).await.expect("nothing is wrong").parked, [odd]);
}

#[tokio::test]
async fn a_message_the_library_dies_of_is_found_and_set_aside() {
    let vendor = FakeVendor::default();
    (1..=40).for_each(|seq| vendor.send_text(seq, &if seq == 17 { "poison".to_owned() } else { seq.to_string() }));
    vendor.world().deadly = Some("poison".into());
    let (host, hangs) = (host(), vendor.hangs.clone());
    // A process that dies and one that hangs look the same to the next one.
    for _death in 0..2 {
        let plugin = vendor.instance(&host.host(), config(&[1]));
        tokio::select! {
            _ = plugin.sync_pull(request(None, 30)) => panic!("it gets past the message"),
            () = hangs.notified() => {}
        }
    }
    let plugin = vendor.instance(&host.host(), config(&[1]));
    let pages = pull_all(&plugin, 30).await.expect("it goes on without the message");
    assert_eq!(texts(&pages).len(), 39);
    let [parked] = &pages[0].parked[..] else { panic!("one is set aside: {:?}", pages[0].parked) };
    assert_eq!(parked.native_id, "corp123/m17");
    assert!(parked.reason.contains("crashed"), "{}", parked.reason);

    // It is not tried again with the library that dies of it.
    let recover = RecoverRequest { partition: CORP.into(), parked: vec![parked.clone()] };
    assert_eq!(plugin.sync_recover(recover).await.expect("nothing is wrong").parked, std::slice::from_ref(parked));
    // Another library is another matter.
    vendor.world().deadly = None;
    let mut envelope: Envelope = serde_json::from_slice(&parked.envelope).expect("it is an envelope");
    envelope.deadly_to = Some("an older library".into());
    let older = Parked { envelope: serde_json::to_vec(&envelope).expect("plain data").into(), ..parked.clone() };
    let recover = RecoverRequest { partition: CORP.into(), parked: vec![older] };
    assert_eq!(texts(&[plugin.sync_recover(recover).await.expect("nothing is wrong")]), ["poison"]);
    vendor.release();
}

#[tokio::test]
async fn an_end_in_order_blames_no_message() {
    let vendors = [(); 2].map(|()| {
        let vendor = FakeVendor::default();
        (1..=30).for_each(|seq| vendor.send_text(seq, &if seq == 17 { "slow".to_owned() } else { seq.to_string() }));
        vendor.world().deadly = Some("slow".into());
        vendor
    });
    let _at_last = vendors.each_ref().map(FakeVendor::released_at_last);
    let host = host();
    // After a death the page is opened one by one; then the daemon gives the pull up, and lets the instance end.
    let instances = vendors.each_ref().map(|vendor| vendor.instance(&host.host(), config(&[1])));
    for (vendor, plugin) in vendors.iter().zip(&instances) {
        tokio::select! {
            _ = plugin.sync_pull(request(None, 30)) => panic!("it gets past the message"),
            () = vendor.hangs.notified() => {}
        }
    }
    let ([_, vendor], [_, plugin]) = (&vendors, &instances);
    vendor.release();
    plugin.close().await;
    assert_eq!(vendor.world().decrypted, 17, "nobody waits for what comes after it");
    let next = vendor.instance(&host.host(), config(&[1]));
    let pages = pull_all(&next, 30).await.expect("nothing is wrong");
    assert_eq!(texts(&pages).len(), 30);
    assert!(pages.iter().all(|page| page.parked.is_empty()), "{pages:?}");
}

/// Waits until a released vendor's calls have returned.
async fn healthy(plugin: &Wecom) {
    while !plugin.health().await.expect("it can always tell").ok {
        tokio::task::yield_now().await;
    }
}

/// In a process that is not the plugin's own.
#[tokio::test(start_paused = true)]
async fn a_decryption_that_never_returns_is_given_up_once() {
    let vendor = FakeVendor::default();
    let _at_last = vendor.released_at_last();
    (1..=9).for_each(|seq| vendor.send_text(seq, &if seq == 5 { "poison".to_owned() } else { seq.to_string() }));
    vendor.world().deadly = Some("poison".into());
    let host = host();
    let plugin = vendor.instance(&host.host(), config(&[1]));
    // A daemon that gives the call up earlier is no way to get another thread stuck.
    tokio::select! {
        _ = plugin.sync_pull(request(None, 10)) => panic!("it gets past the message"),
        () = vendor.hangs.notified() => {}
    }
    while plugin.health().await.expect("it can always tell").ok {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    for _again in 0..3 {
        let error = error_of(plugin.sync_pull(request(None, 10)).await);
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.message.contains("not returned from earlier calls"), "{error}");
    }
    let report = plugin.health().await.expect("it can always tell");
    assert!(report.findings[0].contains("does not return from 1 calls"), "{report:?}");
    let told: Vec<String> = host.logs().into_iter().map(|log| log.message).collect();
    assert!(told.iter().any(|message| message.contains("decrypting a message for 10 s")), "{told:?}");
    vendor.release();
    healthy(&plugin).await;
    assert_eq!(texts(&pull_all(&plugin, 10).await.expect("it works again")).len(), 9);
}

/// In a process that is not the plugin's own.
#[tokio::test(start_paused = true)]
async fn calls_that_never_return_are_given_up_a_few_times() {
    let vendor = FakeVendor::default();
    let _at_last = vendor.released_at_last();
    vendor.send_text(1, "一");
    vendor.world().chat.extend((0..9).map(|_| Mood::Hangs));
    let plugin = Arc::new(vendor.instance(&host().host(), config(&[1])));
    for _stuck in 0..4 {
        let pulling = Arc::clone(&plugin);
        let pull = tokio::spawn(async move { pulling.sync_pull(request(None, 10)).await });
        vendor.hangs.notified().await;
        while !pull.is_finished() {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let error = error_of(pull.await.expect("it does not panic"));
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.message.contains("for 25 s"), "{error}");
    }
    assert!(!plugin.health().await.expect("it can always tell").ok);
    for _refused in 0..3 {
        let error = error_of(plugin.sync_pull(request(None, 10)).await);
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.message.contains("not returned from earlier calls"), "{error}");
    }
    assert_eq!(vendor.world().asked.len(), 4);
    vendor.release();
    healthy(&plugin).await;
    assert_eq!(texts(&pull_all(&plugin, 10).await.expect("it works again")), ["一"]);
}

/// In a process that is not the plugin's own.
#[tokio::test(start_paused = true)]
async fn a_stuck_call_counts_though_the_daemon_gave_up_first() {
    let vendor = FakeVendor::default();
    let _at_last = vendor.released_at_last();
    vendor.send_text(1, "一");
    vendor.world().chat.extend((0..9).map(|_| Mood::Hangs));
    let plugin = vendor.instance(&host().host(), config(&[1]));
    for _stuck in 0..4 {
        tokio::select! {
            answer = plugin.sync_pull(request(None, 10)) => panic!("it does not hang: {answer:?}"),
            () = vendor.hangs.notified() => {}
        }
        tokio::time::advance(Duration::from_secs(26)).await;
    }
    while plugin.health().await.expect("it can always tell").ok {
        tokio::task::yield_now().await;
    }
    assert_eq!(vendor.world().asked.len(), 4);
    vendor.release();
    healthy(&plugin).await;
}

#[tokio::test]
async fn a_long_silence_is_told() {
    const DAY: Micros = 24 * 3_600 * 1_000_000;
    let now = chrono::Utc::now().timestamp_micros();
    for (silence, expected) in [(3 * DAY, None), (4 * DAY + 1, Some("gap-risk")), (6 * DAY, Some("gap"))] {
        let vendor = FakeVendor::default();
        vendor.send_text(500, "后来");
        let plugin = vendor.instance(&host().host(), config(&[1]));
        let request = PullRequest {
            cursor: Some(Cursor { seq: 7, latest: now - silence, silence: 0 }.write()),
            last_commit: Some(now - silence),
            ..request(None, 10)
        };
        let page = plugin.sync_pull(request).await.expect("nothing is wrong");
        assert_eq!(page.notices.first().map(|notice| notice.code.as_str()), expected);
        assert!(
            expected.is_none()
                || page.notices[0].message.contains("seq 7") && page.notices[0].message.contains("seq 500")
        );
    }
}

#[tokio::test]
async fn nothing_new_after_a_long_silence_is_not_the_end_of_it() {
    const DAY: Micros = 24 * 3_600 * 1_000_000;
    let now = chrono::Utc::now().timestamp_micros();
    let pull = async |plugin: &Wecom, cursor, last_commit| {
        let request = PullRequest { cursor, last_commit: Some(last_commit), ..request(None, 10) };
        plugin.sync_pull(request).await.expect("nothing is wrong")
    };
    for (silence, expected) in [(DAY, None), (6 * DAY, Some("gap"))] {
        let vendor = FakeVendor::default();
        let plugin = vendor.instance(&host().host(), config(&[1]));
        let known = Cursor { seq: 7, latest: now - 30 * DAY, silence: 0 }.write();
        let nothing = pull(&plugin, Some(known), now - silence).await;
        assert!(nothing.caught_up && nothing.notices.is_empty() && nothing.cursor.is_some());
        vendor.send_text(500, "后来");
        let page = pull(&plugin, nothing.cursor, now).await;
        assert_eq!(page.notices.first().map(|notice| notice.code.as_str()), expected);
        assert_eq!(Cursor::read(page.cursor.as_ref()).expect("it is one of ours").silence, 0);
    }
}

#[tokio::test]
async fn the_cursor_keeps_the_latest_time() {
    let vendor = FakeVendor::default();
    vendor.send_text(1, "一");
    let silent =
        json!({"msgid": "m2", "from": "zhang", "tolist": ["li"], "msgtype": "text", "text": {"content": "何时"}});
    vendor.send(2, 1, silent.to_string().as_bytes());
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let page = plugin.sync_pull(request(None, 1000)).await.expect("nothing is wrong");
    let cursor = Cursor::read(page.cursor.as_ref()).expect("it is one of ours");
    assert_eq!(cursor, Cursor { seq: 2, latest: 1_700_000_000_001_000, silence: 0 });
    // A message that does not say when comes right after the one before it.
    assert_eq!(page.messages[1].sent_at, 1_700_000_000_001_000);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let plugin = FakeVendor::default().instance(&host().host(), config(&[1]));
    let unknown = PullRequest { partition: "nobody".into(), ..request(None, 1) };
    assert_eq!(error_of(plugin.sync_pull(unknown).await).code, ErrorCode::Denied);
    let odd = PullRequest { cursor: Some("odd".into()), ..request(None, 1) };
    assert_eq!(error_of(plugin.sync_pull(odd).await).code, ErrorCode::Invalid);

    let mut settings = config(&[1]);
    settings["corp"][0]["archive_secret"] = json!("");
    let plugin = FakeVendor::default().instance(&host().host(), settings);
    let error = error_of(plugin.sync_pull(request(None, 1)).await);
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(error.message.contains("archive_secret"), "{error}");
}

#[tokio::test]
async fn health_says_what_is_missing_and_nothing_secret() {
    let whole = FakeVendor::default().instance(&host().host(), config(&[1]));
    let report = whole.health().await.expect("it can always tell");
    assert!(report.ok && report.findings.len() == 1 && report.findings[0].contains("app_secret"), "{report:?}");
    assert_eq!(whole.sync_discover(Empty {}).await.expect("it can always tell").partitions[0].key, CORP);

    let mut settings = config(&[]);
    settings["corp"][0]["private_keys"] = json!([{"version": 1, "pem": "s3cr3t"}]);
    settings["corp"][0]["archive_secret"] = json!("");
    // In no process of its own a library is not even tried.
    settings["library"] = json!("/nowhere/libWeWorkFinanceSdk_C.so");
    let config = serde_json::from_value(settings).expect("it has the right shape");
    let broken = Wecom::open(config, host().host()).await.expect("it opens and serves what it has");
    let report = broken.health().await.expect("it can always tell");
    let findings = report.findings.join("\n");
    assert!(!report.ok && !findings.contains("s3cr3t"), "{findings}");
    for part in ["process of its own", "archive_secret", "version 1", "no usable private key"] {
        assert!(findings.contains(part), "{part}: {findings}");
    }
    assert_eq!(error_of(broken.sync_pull(request(None, 1)).await).code, ErrorCode::Denied);
}

#[test]
fn a_library_that_is_not_there_is_named() {
    let missing = std::path::Path::new("/nowhere/libWeWorkFinanceSdk_C.so");
    let fault = stele_wecom::vendor::Library::load(missing).err().expect("there is none").to_string();
    assert!(fault.contains("/nowhere/libWeWorkFinanceSdk_C.so") && fault.contains("No such file"), "{fault}");
}

#[test]
fn a_bad_configuration_is_told_setting_by_setting() {
    let config = serde_json::from_value(json!({"page_limit": 0})).expect("it has the right shape");
    let told = format!("{:?}", Wecom::mistakes(&config));
    for part in ["api_keys", "corp", "page_limit"] {
        assert!(told.contains(part), "{told}");
    }
}

/// Fetches a file: its bytes and the resume texts of its chunks.
async fn fetch(plugin: &Wecom, handle: &str, resume: &str) -> Result<(Vec<u8>, Vec<String>), Error> {
    let (sink, kept) = sink();
    let request = MediaRequest { partition: CORP.into(), handle: handle.into(), resume: resume.into() };
    plugin.media_fetch(request, sink).await?;
    let items = kept.items();
    assert!(items.iter().enumerate().all(|(index, (chunk, _))| chunk.last == (index + 1 == items.len())));
    Ok((
        items.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect(),
        items.into_iter().map(|(chunk, _)| chunk.resume).collect(),
    ))
}

#[tokio::test(start_paused = true)]
async fn files_come_whole_and_can_be_resumed() {
    let vendor = FakeVendor::default();
    let file: Vec<u8> = (0..CHUNK * 3 + 5).map(|n| u8::try_from(n % 7).expect("it is small")).collect();
    vendor.world().files.insert("Ct/YK+==".into(), file.clone());
    vendor.world().files.insert("empty".into(), Vec::new());
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let (bytes, resumes) = fetch(&plugin, "corp123/Ct/YK+==", "").await.expect("nothing is wrong");
    assert_eq!(bytes, file);
    assert_eq!(resumes, ["16", "32", "48", "53"]);
    let (rest, _) = fetch(&plugin, "corp123/Ct/YK+==", &resumes[1]).await.expect("nothing is wrong");
    assert_eq!(rest, file[CHUNK * 2..]);
    assert_eq!(fetch(&plugin, "corp123/empty", "").await, Ok((Vec::new(), vec!["0".into()])));
}

#[tokio::test(start_paused = true)]
async fn a_failed_chunk_is_asked_for_again() {
    let vendor = FakeVendor::default();
    vendor.world().files.insert("F".into(), vec![1; CHUNK + 1]);
    vendor.world().media.extend([10001, 10003]);
    let plugin = vendor.instance(&host().host(), config(&[1]));
    assert_eq!(fetch(&plugin, "corp123/F", "").await.expect("it works in the end").0.len(), CHUNK + 1);
    assert_eq!(vendor.world().indexes, ["", "", "", "16"]);

    // The third unparsable reply in a row: a new handle, with which it works.
    vendor.world().media.extend([10002, 10002, 10002]);
    assert_eq!(fetch(&plugin, "corp123/F", "").await.expect("a new handle helps").0.len(), CHUNK + 1);
    assert_eq!(vendor.world().handles, 2);
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_had_say_why() {
    for (codes, expected) in [
        (vec![10010], ErrorCode::NotFound),
        (vec![10005], ErrorCode::NotFound),
        (vec![10009], ErrorCode::Denied),
        (vec![10000], ErrorCode::Invalid),
        (vec![10001; 4], ErrorCode::Unavailable),
        (vec![10006; 4], ErrorCode::Unavailable),
    ] {
        let vendor = FakeVendor::default();
        vendor.world().files.insert("F".into(), vec![1]);
        vendor.world().media.extend(codes.clone());
        let plugin = vendor.instance(&host().host(), config(&[1]));
        assert_eq!(error_of(fetch(&plugin, "corp123/F", "").await).code, expected, "{codes:?}");
        assert_eq!(vendor.world().indexes.len(), codes.len());
        assert_eq!(fetch(&plugin, "corp123/F", "").await.expect("the next call works").0, [1]);
    }
    let plugin = FakeVendor::default().instance(&host().host(), config(&[1]));
    for handle in ["", "corp123", "corp123/", "other/F"] {
        assert_eq!(error_of(fetch(&plugin, handle, "").await).code, ErrorCode::Invalid, "{handle}");
    }
    // The files of a corp that is not configured are not gone: it may come back.
    let elsewhere = MediaRequest { partition: "nobody".into(), handle: "nobody/F".into(), resume: String::new() };
    assert_eq!(error_of(plugin.media_fetch(elsewhere, sink().0).await).code, ErrorCode::Denied);
}
