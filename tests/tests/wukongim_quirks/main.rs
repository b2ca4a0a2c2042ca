//! The wukongim plugin against a WuKongIM with its quirks, one by one (reference/wukongim.md §17, traps 41 to 50): the plugin
//! itself, its requests sent as they are, and an archive that fits into a test. `wukongim_upstream.rs` does the same with the
//! daemon.

mod relays;
mod rig;
mod streams;

use anyhow::{Result, ensure};
use rig::{HOOK_SECRET, Rig};
use serde_json::{Value, json};
use std::time::Duration;
use stele_plugin_api::{ErrorCode, Plugin, ops::HttpRequest};
use stele_tests::{
    daemon::wait_for,
    standin::{
        Reply,
        wukongim::{Say, Version, pair},
    },
};

const BOTH: [Version; 2] = [Version::V2, Version::V3];
const SYNC: &str = "/channel/messagesync";
const LISTING: &str = "/cluster/nodes/1/channels";
const META: &str = "/manager/channel-runtime-meta";
const MESSAGES: &str = "/manager/messages";

fn has(notices: &[String], words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(notices.iter().any(|notice| notice.contains(word)), "no {word} in {notices:#?}");
    }
    ensure!(words.is_empty() == notices.is_empty(), "{notices:#?}");
    Ok(())
}

#[tokio::test]
async fn everything_both_versions_hold_is_archived() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        for number in 0..40 {
            rig.say(2, &format!("group {number}/&?#%"), number);
        }
        rig.say(1, &pair("alice", "bob"), 7);
        rig.say(4, "long", 777);
        for limit in [1000, 40, 7] {
            has(&rig.sync(limit).await?, &[])?;
            rig.complete()?;
            // What is new, and a channel that was not there.
            rig.say(2, "group 3/&?#%", 60);
            rig.say(4, "long", limit as usize);
            rig.say(2, &format!("new {limit}"), 3);
        }
        has(&rig.sync(3).await?, &[])?;
        rig.complete()?;
        let path = if version == Version::V2 { SYNC } else { MESSAGES };
        let calls = rig.standin.calls(path);
        has(&rig.sync(1000).await?, &[])?;
        ensure!(rig.standin.calls(path) == calls, "nothing is new, nothing is read");
        let committed = rig.kept().committed.len();
        ensure!(committed == rig.kept().messages.len(), "each once");
    }
    Ok(())
}

#[tokio::test]
async fn a_page_that_is_full_of_the_last_messages_ends_the_run() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        for _ in 0..3 {
            rig.say(2, "g", 10);
            has(&rig.sync(10).await?, &[])?;
            rig.complete()?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_cut_off_anywhere_goes_on() -> Result<()> {
    for version in BOTH {
        let mut rig = Rig::new(version, json!({})).await?;
        (0..5).for_each(|number| rig.say(2, &format!("g{number}"), 50 + 40 * number));
        // Every third page is lost with the daemon.
        for number in 0..400 {
            let page = rig.pull(13).await?;
            if number % 3 == 0 {
                rig.reopen()?;
                if number % 2 == 0 {
                    rig.say(2, "g1", 1);
                }
                continue;
            }
            let caught_up = page.caught_up;
            rig.commit(page);
            if caught_up && number > 300 {
                break;
            }
        }
        rig.sync(13).await?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn failures_at_every_call_pass() -> Result<()> {
    let failures = [
        Reply::Status(500),
        Reply::Status(502),
        Reply::Close,
        Reply::Truncated,
        Reply::Body("<html>".into()),
        Reply::Body("{\"status\":404}".into()),
        Reply::Body("x".repeat(17 << 20)),
        Reply::Errcode(500),
        Reply::Delay(Duration::from_millis(1200)),
    ];
    for version in BOTH {
        let paths: &[&str] = match version {
            Version::V2 => &["/healthz", "/health", "/cluster/simpleNodes", LISTING, SYNC],
            Version::V3 => &["/healthz", META, MESSAGES],
        };
        let mut rig = Rig::new(version, json!({ "timeout_seconds": 1 })).await?;
        (0..12).for_each(|number| rig.say(2, &format!("g{number}"), 30));
        for failure in &failures {
            for path in paths {
                rig.reopen()?;
                rig.standin.script.push(path, failure.clone(), 1);
                rig.say(2, "g3", 3);
                rig.say(1, &pair("alice", &format!("{path} {failure:?}").chars().take(40).collect::<String>()), 2);
                // The daemon tries a page again, too.
                for _ in 0..5 {
                    if rig.sync(50).await.is_ok() {
                        break;
                    }
                }
                rig.sync(50).await?;
                rig.standin.script.clear();
                rig.complete()?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn one_channel_that_cannot_be_read_stops_no_other() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        (0..20).for_each(|number| rig.say(2, &format!("g{number}"), 5));
        rig.standin.set(|switches| switches.unreadable = ["g7".to_owned(), "g0".to_owned()].into());
        let notices = rig.sync(1000).await?;
        has(&notices, &["unreadable: channel 2/g7 ", "unreadable: channel 2/g0 "])?;
        ensure!(rig.kept().messages.len() == 90 && notices.len() == 2, "{notices:#?}");
        rig.standin.set(|switches| switches.unreadable.clear());
        has(&rig.sync(1000).await?, &[])?;
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_channel_that_is_refused_stops_no_other() -> Result<()> {
    let answers = [(403, r#"{"msg":"no","status":403}"#), (401, ""), (404, "404 page not found"), (301, "")];
    for version in BOTH {
        for (status, text) in answers {
            let rig = Rig::new(version, json!({})).await?;
            (0..20).for_each(|number| rig.say(2, &format!("g{number}"), 5));
            let refused = (status, text.to_owned());
            rig.standin.set(|switches| switches.refused = [("g7".to_owned(), refused)].into());
            let is_told = |notices: &[String]| has(notices, &["unreadable: channel 2/g7 "]);
            is_told(&rig.sync(1000).await?)?;
            ensure!(rig.kept().messages.len() == 95, "{version:?} {status}");
            // Also where no other has anything new.
            is_told(&rig.sync(1000).await?)?;
            let findings = rig.plugin.health().await?.findings.join("\n");
            ensure!(!findings.contains("upstream"), "{version:?} {status}: {findings}");
            rig.standin.set(|switches| switches.refused.clear());
            has(&rig.sync(1000).await?, &[])?;
            rig.complete()?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_listing_that_is_refused_is_no_success() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    rig.say(2, "team", 3);
    rig.standin.script.push(LISTING, Reply::Errcode(400), 1);
    let error = rig.pull(1000).await.expect_err("no node lists its channels");
    ensure!(error.code == ErrorCode::Unavailable, "{error}");
    // A node that is away, beside one that is not, is told.
    let nodes = json!({ "total": 2, "data": [{ "id": 1 }, { "id": 2 }] });
    rig.standin.script.push("/cluster/simpleNodes", Reply::Body(nodes.to_string()), u32::MAX);
    has(&rig.sync(1000).await?, &["node: node 2 "])?;
    rig.complete()?;
    rig.standin.script.push(LISTING, Reply::Errcode(400), 1);
    ensure!(rig.pull(1000).await.is_err(), "neither node lists its channels");
    Ok(())
}

#[tokio::test]
async fn a_channel_whose_node_is_away_is_told() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    rig.say(2, "team", 3);
    rig.sync(1000).await?;
    rig.say(2, "team", 3);
    rig.standin.set(|switches| switches.led_elsewhere = ["team".to_owned()].into());
    has(&rig.sync(1000).await?, &["fewer: channel 2/team: 0 messages are listed, and 3 are archived"])?;
    rig.standin.set(|switches| switches.led_elsewhere.clear());
    has(&rig.sync(1000).await?, &[])?;
    rig.complete()
}

#[tokio::test]
async fn an_upstream_that_lost_its_messages_is_read_again() -> Result<()> {
    for version in BOTH {
        for (said, again) in [(100, 10), (100, 100), (100, 120), (3, 700)] {
            let rig = Rig::new(version, json!({})).await?;
            rig.say(2, "team", said);
            rig.say(2, "other", 5);
            has(&rig.sync(1000).await?, &[])?;
            rig.standin.wipe(2, "team");
            rig.say(2, "team", again);
            let notices = rig.sync(30).await?;
            if again != said {
                has(&notices, &["reset: channel 2/team: "])?;
                ensure!(rig.kept().messages.len() == said + again + 5, "{version:?} {said} {again}");
            }
            rig.say(2, "team", 1);
            has(&rig.sync(30).await?, if again <= said { &["channel 2/team: "] } else { &[] })?;
            ensure!(rig.kept().messages.len() == said + again + 6, "{version:?} {said} {again}");
            let committed = rig.kept().committed.len();
            ensure!(committed == rig.kept().messages.len(), "each once");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_webhook_leaves_an_upstream_that_lost_its_messages_to_the_sync() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        rig.say(2, "team", 10);
        rig.sync(1000).await?;
        rig.standin.wipe(2, "team");
        rig.say(2, "team", 11);
        let told = json!({ "from_uid": "alice", "channel_id": "team", "channel_type": 2 });
        ensure!(rig.ask(&hook("msg.offline"), told).await?.status == 200);
        wait_for("a warning", || async {
            let warned = rig.mock.logs().iter().any(|line| line.message.contains("the sync reads it again"));
            if warned { Ok(()) } else { Err("none".to_owned()) }
        })
        .await?;
        has(&rig.sync(1000).await?, &["reset: channel 2/team: "])?;
        ensure!(rig.kept().messages.len() == 21, "{}", rig.kept().messages.len());
    }
    Ok(())
}

#[tokio::test]
async fn holes_are_told_once_and_passed() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        rig.say(2, "holes", 120);
        for seq in [1, 2, 40, 41, 42, 100] {
            rig.standin.lose(2, "holes", seq);
        }
        let notices = rig.sync(30).await?;
        has(&notices, &["from 1 to 2", "from 40 to 42", "from 100 to 100"])?;
        ensure!(notices.len() == 3, "{notices:#?}");
        rig.complete()?;
        has(&rig.sync(30).await?, &[])?;
    }
    Ok(())
}

#[tokio::test]
async fn large_messages_are_asked_for_few_at_a_time() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({ "timeout_seconds": 20 })).await?;
        let payload = vec![b'x'; 900 << 10];
        for _ in 0..20 {
            rig.standin.say(2, "large", &Say { from: "alice", payload: &payload, ..Say::default() });
        }
        rig.say(2, "small", 300);
        let mut pages = 0;
        while pages < 100 {
            pages += 1;
            let page = rig.pull(1000).await?;
            let bytes: usize = page.messages.iter().map(|message| message.body.len() + message.text.len()).sum();
            ensure!(bytes < 48 << 20, "a page of {bytes} bytes");
            let caught_up = page.caught_up;
            rig.commit(page);
            if caught_up {
                break;
            }
        }
        rig.complete()?;
    }
    Ok(())
}

#[tokio::test]
async fn channels_of_no_type_are_told() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        rig.say(0, "odd", 3);
        rig.say(2, "team", 3);
        has(&rig.sync(1000).await?, &["untyped: channel 0/odd: "])?;
        ensure!(rig.kept().messages.len() == 3, "{:?}", rig.kept().conversations);
    }
    Ok(())
}

#[tokio::test]
async fn names_that_cannot_be_told_apart_are_read_all_the_same() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    // More than one @, and equal sums in both orders.
    let many = pair("alice@work", "bob");
    for channel in [many.as_str(), "plumless@buckeroo", "buckeroo@plumless"] {
        rig.say(1, channel, 4);
    }
    has(&rig.sync(1000).await?, &[])?;
    let kept = rig.kept();
    let of = |conversation: &str| {
        let messages = kept.messages.values().filter(|message| message.conversation == conversation);
        messages.map(|message| message.seq).collect::<Vec<_>>()
    };
    ensure!(of(&format!("1/{many}")).into_iter().eq((1..=4).map(Some)), "{:?}", kept.messages);
    ensure!(of("1/plumless@buckeroo") == [None; 8], "the archive counts, since both have 1 to 4: {:?}", kept.messages);
    ensure!(kept.reached.len() == 3, "{:?}", kept.reached);
    ensure!(rig.standin.channels().len() == 3, "no channel was made by reading");
    Ok(())
}

#[tokio::test]
async fn channels_of_one_nanosecond_are_all_found() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    (0..900).for_each(|number| rig.say(2, &format!("g{number}"), 1));
    has(&rig.sync(1000).await?, &[])?;
    rig.complete()?;
    // As many as a page has.
    let rig = Rig::new(Version::V2, json!({})).await?;
    (0..450).for_each(|number| rig.say(2, &format!("g{number}"), 1));
    rig.standin.created_at_once(2, "g0");
    (0..300).for_each(|number| rig.say(2, &format!("later{number}"), 1));
    has(&rig.sync(1000).await?, &[])?;
    rig.complete()
}

#[tokio::test]
async fn commands_are_left_out_unless_they_are_wanted() -> Result<()> {
    for (commands, expected) in [(false, 3), (true, 5)] {
        let rig = Rig::new(Version::V2, json!({ "commands": commands })).await?;
        rig.say(2, "team", 3);
        rig.say(2, "team____cmd", 2);
        rig.sync(1000).await?;
        ensure!(rig.kept().messages.len() == expected);
    }
    Ok(())
}

#[tokio::test]
async fn tokens_are_sent_and_refused_ones_told() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({ "token": "right" })).await?;
    rig.say(2, "team", 3);
    rig.standin.set(|switches| switches.token = Some("right".into()));
    rig.sync(1000).await?;
    rig.complete()?;
    rig.standin.set(|switches| switches.token = Some("another".into()));
    let error = rig.pull(1000).await.expect_err("its token does not hold");
    ensure!(error.code == ErrorCode::Denied, "{error}");
    let findings = rig.plugin.health().await?.findings.join("\n");
    ensure!(findings.contains("upstream.token") && !findings.contains("right\""), "{findings}");

    let rig = Rig::new(Version::V3, json!({ "username": "admin", "password": "right" })).await?;
    rig.say(2, "team", 3);
    rig.standin.set(|switches| switches.manager = Some(("admin".into(), "right".into())));
    rig.sync(1000).await?;
    rig.complete()?;
    rig.say(2, "team", 3);
    // A login that ended is renewed.
    rig.standin.script.push(META, Reply::Errcode(401), 1);
    rig.sync(1000).await?;
    rig.complete()?;
    rig.standin.set(|switches| switches.manager = Some(("admin".into(), "another".into())));
    rig.standin.script.push(META, Reply::Errcode(401), 2);
    let error = rig.pull(1000).await.expect_err("its password does not hold");
    ensure!(error.code == ErrorCode::Denied, "{error}");
    Ok(())
}

#[tokio::test]
async fn an_upgrade_of_the_upstream_is_noticed() -> Result<()> {
    let rig = Rig::new(Version::V3, json!({})).await?;
    // A cursor of v2 in front of v3.
    rig.kept().cursor = Some(r#"{"place":{"v2":{"node":1,"before":7}}}"#.into());
    rig.say(2, "team", 3);
    rig.sync(1000).await?;
    rig.complete()
}

fn hook(event: &str) -> String {
    format!("/hook/{HOOK_SECRET}/wukongim?event={event}")
}

/// Waits until everything is there without any sync.
async fn arrives(rig: &Rig) -> Result<()> {
    wait_for("what the webhooks named", || async { rig.complete().map_err(|error| error.to_string()) }).await
}

#[tokio::test]
async fn webhooks_make_it_fresh() -> Result<()> {
    for version in BOTH {
        let rig = Rig::new(version, json!({})).await?;
        rig.say(2, "team", 20);
        rig.sync(1000).await?;
        let channel = |id: &str| if version == Version::V2 { id.to_owned() } else { pair("alice", id) };
        let message = |kind: u8, id: &str| json!({ "from_uid": "alice", "channel_id": id, "channel_type": kind });
        rig.say(2, "team", 5);
        rig.say(1, &pair("alice", "bob"), 3);
        rig.say(2, "team____cmd", 3);
        let told = json!([
            message(2, "team"), message(2, "team"), message(1, &channel("bob")), message(2, "team____cmd"),
            7, { "channel_type": "odd" }, null,
        ]);
        for _ in 0..3 {
            ensure!(rig.ask(&hook("msg.notify"), told.clone()).await?.status == 200);
        }
        arrives(&rig).await?;
        // One object, as msg.offline has it, about one that is not stored.
        let mut offline = message(2, "nowhere");
        offline["header"] = json!({ "no_persist": 1 });
        ensure!(rig.ask(&hook("msg.offline"), offline).await?.status == 200);
        rig.say(2, "team", 1);
        let mut headless = message(2, "team");
        headless["header"] = Value::Null;
        headless["from_uid"] = json!([]);
        ensure!(rig.ask(&hook("msg.offline"), headless).await?.status == 200);
        arrives(&rig).await?;
        ensure!(!rig.standin.channels().contains_key(&(2, "nowhere".to_owned())), "it was not asked for");
        has(&rig.sync(1000).await?, &[])?;
        let committed = rig.kept().committed.len();
        ensure!(committed == rig.kept().messages.len(), "each once");
    }
    Ok(())
}

#[tokio::test]
async fn webhooks_need_their_secret_and_their_form() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    let nothing = json!([]);
    for path in ["/hook/", "/hook", "/hook/another-secret-of-it", &format!("/hook/x{HOOK_SECRET}")] {
        ensure!(rig.ask(path, nothing.clone()).await?.status == 404, "{path}");
    }
    ensure!(rig.ask(&hook("msg.notify"), json!("x")).await?.status == 200, "an odd one hides no other");
    ensure!(rig.ask(&hook("something.new"), nothing.clone()).await?.status == 200);
    ensure!(rig.ask(&hook("user.onlinestatus"), json!([7])).await?.status == 200, "nor here");
    let broken = HttpRequest {
        method: "POST".into(),
        path: format!("/hook/{HOOK_SECRET}"),
        query: Some("event=user.onlinestatus".into()),
        body: "[".into(),
        ..HttpRequest::default()
    };
    ensure!(rig.plugin.http_handle(broken).await?.status == 400, "that is no list");
    let without = Rig::new(Version::V2, json!({ "hook_secret": Value::Null })).await?;
    ensure!(without.ask(&hook("msg.notify"), nothing).await?.status == 404, "none are taken");
    Ok(())
}

#[tokio::test]
async fn who_is_online_is_noted() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    let told = json!(["alice-0-1-1042-1-2", "bob-of-the-team-1-0-1043-0-0", "odd", 5, null]);
    ensure!(rig.ask(&hook("user.onlinestatus"), told).await?.status == 200);
    wait_for("who is online", || async {
        let kept = rig.kept();
        let of = |uid: &str| kept.people.get(uid).and_then(|person| person.attributes.clone()).unwrap_or_default();
        let seen = (of("alice"), of("bob-of-the-team"), kept.people.len());
        if seen == (r#"{"online":true}"#.into(), r#"{"online":false}"#.into(), 2) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await
}

#[tokio::test]
async fn a_webhook_that_cannot_be_followed_is_left_to_the_sync() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    rig.say(2, "team", 5);
    rig.standin.script.push(SYNC, Reply::Silence, 1);
    ensure!(rig.ask(&hook("msg.notify"), json!({ "channel_id": "team", "channel_type": 2 })).await?.status == 200);
    wait_for("a warning", || async {
        let warned = rig.mock.logs().iter().any(|line| line.message.contains("the sync does it"));
        if warned { Ok(()) } else { Err("none".to_owned()) }
    })
    .await?;
    rig.sync(1000).await?;
    rig.complete()
}
