//! The gateway plugin against a quick-im-core with its defects, one by one (reference/gateway.md §12): the plugin itself, its
//! requests sent as they are, and an archive that fits into a test. `gateway_upstream.rs` does the same with the daemon.

mod relays;
mod rig;

use anyhow::{Context, Result, ensure};
use rig::{BEGIN, DAY, MINUTE, NOW, RANGE, ROOM, Rig};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use stele_plugin_api::{
    Error, ErrorCode, Plugin,
    ops::{self, PullRequest},
};
use stele_tests::standin::{
    Reply,
    gateway::{GREETING, Sent, Switches, Version, token},
};

fn has(notices: &[String], words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(notices.iter().any(|notice| notice.contains(word)), "no {word} in {notices:#?}");
    }
    ensure!(words.is_empty() == notices.is_empty(), "{notices:#?}");
    Ok(())
}

#[tokio::test]
async fn everything_both_versions_hold_is_archived() -> Result<()> {
    for version in [Version::Src, Version::SrcOld] {
        let rig = Rig::new(version, json!({})).await?;
        rig.standin.converse(ROOM, 3, &["alice"]);
        rig.standin.say(&Sent { conversation: ROOM, from: "", kind: 0, content: GREETING, at: BEGIN });
        // Bursts, days of silence, and every length of the microseconds.
        let mut at = BEGIN;
        for number in 0..500_i64 {
            at += [7, 12, 250, 5_766, 99_999, 1_000_000, 3 * DAY, MINUTE][usize::try_from(number * 7 % 8)?]
                / (1 + number % 3);
            rig.say(at.min(*NOW - MINUTE), number % 5 - 1, &format!("消息 {number} <b>&\u{2028}"));
        }
        let notices = rig.sync(ROOM, 40).await?;
        has(&notices, &["unverified: messages: 1 "]).with_context(|| format!("{version:?}"))?;
        rig.complete(ROOM, |_| true).with_context(|| format!("{version:?}"))?;
        ensure!(
            rig.kept().conversations[ROOM].attributes.as_deref() == Some(r#"{"type":3}"#),
            "its type is in its ids"
        );
        // The next run takes one request, and brings nothing new.
        let (calls, stored) = (rig.standin.calls(RANGE), rig.kept().messages.len());
        has(&rig.sync(ROOM, 1000).await?, &[])?;
        ensure!((rig.standin.calls(RANGE), rig.kept().messages.len()) == (calls + 1, stored));
    }
    Ok(())
}

#[tokio::test]
async fn what_an_upgrade_made_unreadable_is_told_and_passed() -> Result<()> {
    let rig = Rig::new(Version::SrcOld, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    let old: Vec<_> = (0..5).map(|day| rig.say(BEGIN + day * DAY, 1, "old")).collect();
    rig.standin.set(|switches| switches.version = Version::Src);
    rig.say(BEGIN + 2 * DAY + MINUTE, 1, "between");
    (0..20).for_each(|day| drop(rig.say(BEGIN + (5 + day) * DAY, 1, "new")));
    let notices = rig.sync(ROOM, 1000).await?;
    has(&notices, &["unreadable: from 2023-11-14T22:13:19.998Z to 2023-11-14T22:13:19.999Z nothing can be read"])?;
    ensure!(notices.len() == old.len(), "{notices:#?}");
    rig.complete(ROOM, |id| !old.iter().any(|old| old == id))?;
    let calls = rig.standin.calls(RANGE);
    has(&rig.sync(ROOM, 1000).await?, &[])?;
    ensure!(rig.standin.calls(RANGE) == calls + 1, "what cannot be read is not tried again");
    Ok(())
}

#[tokio::test]
async fn a_long_unreadable_past_takes_few_requests() -> Result<()> {
    let rig = Rig::new(Version::SrcOld, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    let old: BTreeSet<_> = (0..2000).map(|number| rig.say(BEGIN + number * 5_000_000, 1, "old")).collect();
    rig.standin.set(|switches| switches.version = Version::Src);
    (0..100).for_each(|minute| drop(rig.say(BEGIN + 2000 * 5_000_000 + minute * MINUTE, 1, "new")));
    let notices = rig.sync(ROOM, 1000).await?;
    rig.complete(ROOM, |id| !old.contains(id))?;
    let calls = rig.standin.calls(RANGE);
    ensure!(calls < 500, "{calls} requests");
    has(
        &notices,
        &["unreadable: from 2023-11-14T22:13:19.998Z", "to 2023-11-15T00:59:54.999Z not everything can be read"],
    )?;
    ensure!(notices.len() < 20, "{notices:#?}");
    Ok(())
}

#[tokio::test]
async fn what_can_be_read_between_many_rows_that_cannot_comes_in_later_runs() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    // Two servers of both versions wrote it in turns.
    let mut old = BTreeSet::new();
    for number in 0..240 {
        let is_old = number % 2 == 0;
        rig.standin.set(|switches| switches.version = if is_old { Version::SrcOld } else { Version::Src });
        let id = rig.say(BEGIN + number * MINUTE, 1, "said");
        old.extend(is_old.then_some(id));
    }
    rig.standin.set(|switches| switches.version = Version::Src);
    let new: Vec<_> = (0..50).map(|minute| rig.say(*NOW - (100 - minute) * MINUTE, 1, "new")).collect();
    let notices = rig.sync(ROOM, 1000).await?;
    ensure!(notices.iter().any(|notice| notice.contains("later runs look for what can")), "{notices:#?}");
    ensure!(new.iter().all(|id| rig.kept().messages.contains_key(id)), "what is new does not wait");
    // Nor does it wait when looking through the rest fails again and again.
    for minute in 1..3 {
        let new = rig.say(*NOW - minute * MINUTE, 1, "new");
        rig.standin.script.push(RANGE, Reply::Delay(Duration::ZERO), 1);
        rig.standin.script.push(RANGE, Reply::Status(502), u32::MAX);
        let outcome = rig.sync(ROOM, 1000).await;
        rig.standin.script.clear();
        ensure!(rig.kept().messages.contains_key(&new), "what is new waits");
        has(&outcome?, &["the search for what can be read goes on with the next run"])?;
    }
    // A request for each that is looked at, and two more to tell what is broken from what does not work now.
    let most = 3 * 64 + 10;
    let mut runs = 0;
    while rig.complete(ROOM, |id| !old.contains(id)).is_err() {
        let calls = rig.standin.calls(RANGE);
        rig.say(*NOW + runs * 1000, 1, "new");
        rig.sync(ROOM, 1000).await?;
        ensure!(rig.standin.calls(RANGE) - calls <= most, "{} requests", rig.standin.calls(RANGE) - calls);
        runs += 1;
        ensure!(runs < 200, "not everything is found");
    }
    ensure!(runs > 1, "it is too few rows to be leapt over");
    // And then it is done.
    wait_for_a_quiet_run(&rig).await
}

/// A run takes one request when nothing is looked for any more.
async fn wait_for_a_quiet_run(rig: &Rig) -> Result<()> {
    for _ in 0..20 {
        let calls = rig.standin.calls(RANGE);
        rig.sync(ROOM, 1000).await?;
        if rig.standin.calls(RANGE) == calls + 1 {
            return Ok(());
        }
    }
    anyhow::bail!("it looks for ever")
}

#[tokio::test]
async fn the_older_version_shows_times_that_cannot_be() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    rig.say(BEGIN, 1, "written by the newer one");
    rig.standin.set(|switches| switches.version = Version::SrcOld);
    rig.say(BEGIN + MINUTE, 1, "written by the older one");
    has(&rig.sync(ROOM, 1000).await?, &["wrong-time: messages: 1 "])?;
    rig.complete(ROOM, |_| true)
}

#[tokio::test]
async fn what_was_mixed_up_is_kept_as_it_is_and_flagged() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({ "conversations": [ROOM] })).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    rig.standin.converse("other", 1, &["bob"]);
    let secret = Sent { conversation: "other", from: "bob", kind: 9, content: "for others", at: BEGIN };
    rig.standin.say(&secret);
    rig.standin.say(&Sent { conversation: ROOM, from: "", kind: 0, content: GREETING, at: BEGIN + 1000 });
    rig.standin.say(&secret);
    rig.say(BEGIN + 2000, 0, "");
    has(&rig.sync(ROOM, 1000).await?, &["unverified: messages: 1 "])?;
    rig.complete(ROOM, |_| true)?;
    let kept = rig.kept();
    let found: Vec<_> =
        kept.messages.values().map(|message| (message.sender.as_str(), message.text.as_str())).collect();
    ensure!(found == [("bob", GREETING), ("alice", "for others")], "{found:?}");
    Ok(())
}

#[tokio::test]
async fn late_messages_and_clocks_that_differ_lose_nothing() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    rig.say(*NOW - 5 * MINUTE, 1, "there");
    rig.sync(ROOM, 1000).await?;
    rig.standin.set(|switches| switches.late_calls = 1);
    let late = rig.say(*NOW - 9 * MINUTE, 1, "stored late");
    rig.sync(ROOM, 1000).await?;
    rig.complete(ROOM, |id| id != late)?;
    rig.standin.set(|switches| switches.late_calls = 0);
    // Its clock may be an hour ahead, or step back by minutes.
    rig.say(*NOW + 60 * MINUTE, 1, "from tomorrow");
    rig.sync(ROOM, 1000).await?;
    rig.complete(ROOM, |_| true)?;
    rig.say(*NOW - 4 * MINUTE, 1, "stepped back");
    rig.sync(ROOM, 1000).await?;
    rig.complete(ROOM, |_| true)
}

#[tokio::test]
async fn windows_shrink_to_what_fits() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    // More in one millisecond than a page or a reply takes, then an hour full of messages.
    (0..200).for_each(|number| drop(rig.say(BEGIN + number % 3, 1, &format!("burst {number}"))));
    (0..600).for_each(|number| drop(rig.say(BEGIN + MINUTE + number * 6_000_000, 1, &format!("{number}"))));
    rig.standin.set(|switches| switches.sortable = 10);
    rig.kept().max_reply = 6000;
    has(&rig.sync(ROOM, 25).await?, &[])?;
    rig.complete(ROOM, |_| true)?;
    let large = rig.say(BEGIN + 20 * DAY, 1, &"x".repeat(7000));
    rig.say(BEGIN + 21 * DAY, 1, "behind it");
    has(&rig.sync(ROOM, 25).await?, &["larger than an answer may be"])?;
    rig.complete(ROOM, |id| id != large)
}

#[tokio::test]
async fn what_is_no_message_stops_nothing() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    let first = rig.say(BEGIN, 1, "first");
    let odd = [
        "null".to_owned(),
        "[1, {\"a\": 2}]".to_owned(),
        r#"{"MsgId":"not one","SendTime":1700000000000123,"Type":1,"Content":"kept"}"#.to_owned(),
        format!(r#"{{"MsgID":"{first}","Content":"twice"}}"#),
    ];
    for (number, json) in odd.iter().enumerate() {
        rig.standin.put_raw(ROOM, &format!("{first}{number}"), json);
    }
    rig.say(BEGIN + DAY, 1, "last");
    for _ in 0..2 {
        rig.sync(ROOM, 2).await?;
    }
    let kept = rig.kept();
    let bodies: BTreeSet<_> = kept.messages.values().map(|message| String::from_utf8_lossy(&message.body)).collect();
    ensure!(odd.iter().all(|json| bodies.contains(json.as_str())), "{bodies:#?}");
    ensure!(kept.messages.len() == 6, "{bodies:#?}");
    ensure!(kept.messages.values().any(|message| message.text == "kept" && message.sent_at == BEGIN + 123));
    Ok(())
}

#[tokio::test]
async fn failures_of_the_upstream_pass() -> Result<()> {
    let failures = [
        Reply::Status(500),
        Reply::Status(502),
        Reply::Close,
        Reply::Truncated,
        Reply::Body("<html>".into()),
        Reply::Body("{}".into()),
        Reply::Errcode(10_002),
        Reply::Delay(Duration::from_millis(2500)),
        Reply::Body("x".repeat(20 << 20)),
    ];
    let rig = Rig::new(Version::Src, json!({ "timeout_seconds": 2 })).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    for (number, failure) in (1_i64..).zip(failures) {
        (0..30).for_each(|minute| drop(rig.say(BEGIN + number * DAY + minute * MINUTE, 1, "said")));
        // Once in the midst of a run, then until every attempt of it fails.
        rig.standin.script.push(RANGE, failure.clone(), 1);
        let mut errors = 0;
        while rig.sync(ROOM, 7).await.is_err() {
            errors += 1;
            ensure!(errors < 3, "{failure:?} does not pass");
        }
        rig.complete(ROOM, |_| true).with_context(|| format!("{failure:?}"))?;
        if matches!(failure, Reply::Delay(_)) {
            continue;
        }
        rig.say(BEGIN + number * DAY + 40 * MINUTE, 1, "said");
        rig.standin.script.push(RANGE, failure.clone(), u32::MAX);
        let outcome = rig.sync(ROOM, 1000).await;
        rig.standin.script.clear();
        let error = outcome.err().with_context(|| format!("{failure:?} is no error"))?;
        let error = error.downcast::<Error>()?;
        ensure!(error.is_transient(), "{failure:?}: {error}");
        rig.sync(ROOM, 1000).await?;
        rig.complete(ROOM, |_| true).with_context(|| format!("{failure:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_then_told() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({ "key": null, "use_inner_token": true })).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    rig.say(BEGIN, 1, "said");
    rig.sync(ROOM, 1000).await?;
    // Tokens of before are worth nothing; the next ones are.
    rig.standin.set(|switches| switches.key = "another".into());
    rig.sync(ROOM, 1000).await?;
    ensure!(rig.standin.calls("/inner/get_token") == 2, "{}", rig.standin.calls("/inner/get_token"));
    rig.standin.set(|switches| (switches.key, switches.inner) = ("a third".into(), false));
    let error = rig.sync(ROOM, 1000).await.err().context("no token")?.downcast::<Error>()?;
    ensure!(error.code == ErrorCode::Denied, "{error}");
    let health = rig.gateway.health().await?;
    ensure!(!health.ok && health.findings[0].contains("allowlist"), "{health:?}");

    let rig = Rig::new(Version::Src, json!({ "key": "not the upstream's" })).await?;
    let error = rig.sync(ROOM, 1000).await.err().context("refused")?.downcast::<Error>()?;
    ensure!(error.code == ErrorCode::Denied && error.message.contains("upstream.key"), "{error}");
    ensure!(rig.standin.calls(RANGE) == 2, "renewed once");
    let health = rig.gateway.health().await?;
    ensure!(!health.ok && health.findings[0].contains("10101"), "{health:?}");
    rig.standin.set(|switches| switches.key = "not the upstream's".into());
    rig.sync(ROOM, 1000).await?;
    ensure!(rig.gateway.health().await?.ok, "it works again");
    let elsewhere = Rig::new(Version::Src, json!({ "url": format!("{}/im", rig.standin.url()) })).await?;
    let error = elsewhere.sync(ROOM, 1000).await.err().context("404")?.downcast::<Error>()?;
    ensure!(error.code == ErrorCode::Denied && error.message.contains("upstream.url"), "{error}");
    Ok(())
}

#[tokio::test]
async fn conversations_are_found_through_their_members() -> Result<()> {
    let upstream = json!({ "conversations": ["configured", ROOM], "sessions": ["alice"] });
    let mut rig = Rig::new(Version::Src, upstream).await?;
    rig.standin.converse(ROOM, 2, &["alice", "alice", "bob"]);
    rig.standin.converse("bobs", 5, &["bob"]);
    rig.standin.converse("", 1, &["alice"]);
    let partitions = async |rig: &Rig| {
        let found = rig.gateway.sync_discover(ops::Empty {}).await?;
        anyhow::Ok(found.partitions.into_iter().map(|partition| partition.key).collect::<Vec<_>>())
    };
    ensure!(partitions(&rig).await? == [ROOM, "configured"]);
    rig.kept().people.insert("bob".into());
    ensure!(partitions(&rig).await? == [ROOM, "bobs", "configured"], "the archive's people are asked for");
    ensure!(rig.is_member("alice") && rig.is_member("bob"), "who is in them is known before their messages");
    let pull = |key: &str| PullRequest { partition: key.into(), ..PullRequest::default() };
    let page = rig.gateway.directory_pull(pull(ROOM)).await?;
    let told = page.conversations.first().context("it is told of")?;
    ensure!(told.archived == Some(false), "{told:?}");
    ensure!(told.attributes.as_deref() == Some(r#"{"type":2}"#) && page.caught_up, "{told:?}");
    let page = rig.gateway.directory_pull(pull("configured")).await?;
    ensure!(page.notices.len() == 1 && page.caught_up, "{page:?}");
    // What was found stays, whoever left, and while the upstream is away.
    rig.reopen()?;
    rig.kept().people.clear();
    rig.standin.script.push("/get_joined_conversation", Reply::Status(502), 1);
    ensure!(partitions(&rig).await? == [ROOM, "bobs", "configured"]);
    Ok(())
}

#[tokio::test]
async fn a_session_that_cannot_be_asked_for_keeps_nobody_waiting() -> Result<()> {
    for failure in [Reply::Status(500), Reply::Close, Reply::Delay(Duration::from_millis(1300)), Reply::Errcode(10_002)]
    {
        let rig = Rig::new(Version::Src, json!({ "sessions": ["alice", "bob"], "timeout_seconds": 2 })).await?;
        rig.standin.converse(ROOM, 1, &["bob"]);
        rig.standin.script.push("/get_joined_conversation", failure.clone(), 1);
        let found = rig.gateway.sync_discover(ops::Empty {}).await.with_context(|| format!("{failure:?}"))?;
        ensure!(found.partitions.len() == 1 && rig.is_member("bob"), "{failure:?}: {found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn who_comes_and_goes_at_the_upstream_is_noticed_in_a_minute() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice", "bob"]);
    let message = json!({ "conversation_id": ROOM, "type": 1, "content": "hello" });
    for session in ["alice", "bob"] {
        ensure!(rig.ask(session, "/send_msg", message.clone()).await?["code"] == 0, "{session}");
    }
    // Who was removed and comes back at once is back there, too.
    rig.elsewhere("/inner/kickout_conversation", "bob").await?;
    ensure!(rig.ask("bob", "/join_conversation", json!({ "conversation_id": ROOM })).await?["code"] == 0);
    let joined = rig.standin.calls("/join_conversation");
    ensure!(joined == 1 && rig.is_member("bob"), "{joined}");
    rig.elsewhere("/inner/kickout_conversation", "alice").await?;
    rig.listen("carol").await?;
    rig.elsewhere("/inner/join_conversation", "carol").await?;
    rig.kept().later = MINUTE;
    for session in ["alice", "bob"] {
        let code = if session == "bob" { 0 } else { 10_003 };
        ensure!(rig.ask(session, "/send_msg", message.clone()).await?["code"] == code, "{session}");
    }
    // Who only listens is a member before the next messages are there.
    ensure!(!rig.is_member("carol"));
    rig.pull(ROOM, 10).await?;
    ensure!(rig.is_member("carol") && rig.is_member("bob") && !rig.is_member("alice"));
    let asked = rig.standin.calls("/get_joined_conversation");
    rig.sync(ROOM, 10).await?;
    ensure!(rig.standin.calls("/get_joined_conversation") == asked, "not more than once a minute");
    // What the archive knows is believed while the upstream is away.
    rig.kept().later = 2 * MINUTE;
    rig.standin.script.push("/get_joined_conversation", Reply::Status(502), u32::MAX);
    let checked = rig.ask("bob", "/check_joined_conversation", json!({ "conversation_id": ROOM })).await?;
    ensure!(checked["data"]["Joined"] == true, "{checked}");
    Ok(())
}

#[tokio::test]
async fn what_clients_do_is_done_at_the_upstream() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({ "sessions": ["alice"] })).await?;
    let created =
        rig.ask("alice", "/create_conversation", json!({ "conversation_type": 4, "sessions": ["bob"] })).await?;
    let room = created["data"]["ConversationId"].as_str().context("an id")?.to_owned();
    ensure!(rig.standin.calls("/inner/create_conversation") == 1, "that route is documented to take members");
    let this = json!({ "conversation_id": room });
    let message = json!({ "conversation_id": room, "type": 1, "content": "hello" });
    let sent = rig.ask("bob", "/send_msg", message.clone()).await?;
    let id = sent["data"]["MsgID"].as_str().context("an id")?.to_owned();
    ensure!(rig.kept().messages[&id].text == "hello", "it is archived");
    rig.sync(&room, 1000).await?;
    ensure!(rig.kept().messages.len() == 2, "once, beside the automatic one");
    // Nobody tells whether it was sent: it is not sent again, and comes with the sync.
    for unknown in [Reply::Close, Reply::Status(504), Reply::Truncated, Reply::Body("?".into())] {
        let calls = rig.standin.calls("/send_msg");
        rig.standin.script.push("/send_msg", unknown, 1);
        let failed = rig.ask("bob", "/send_msg", message.clone()).await?;
        ensure!(failed["code"] == 10_002 && failed.get("data").is_none(), "{failed}");
        ensure!(rig.standin.calls("/send_msg") == calls + 1, "sent once");
    }
    rig.sync(&room, 1000).await?;
    let rows = rig.standin.rows(&room).len();
    ensure!(rows == 6 && rig.kept().messages.len() == rows, "{rows} there, {} kept", rig.kept().messages.len());
    for (code, told) in [(10_001, 10_001), (10_002, 10_002), (10_003, 10_003), (90_010, 90_010), (77, 77)] {
        rig.standin.script.push("/send_msg", Reply::Errcode(code), 1);
        let refused = rig.ask("bob", "/send_msg", message.clone()).await?;
        ensure!(refused["code"] == told, "{code}: {refused}");
    }
    // The upstream lost this one to another with its id; here both are.
    rig.standin.set(|switches| switches.colliding = true);
    rig.ask("bob", "/send_msg", json!({ "conversation_id": room, "type": 1, "content": "lost there" })).await?;
    ensure!(rig.standin.rows(&room).len() == rows && rig.kept().messages.len() == rows + 1, "both are kept");
    rig.standin.set(|switches| switches.colliding = false);

    for path in ["/leave_conversation", "/join_conversation"] {
        ensure!(rig.ask("bob", path, this.clone()).await?["code"] == 0, "{path}");
    }
    let kick = json!({ "conversation_id": room, "sessions": ["bob"] });
    ensure!(rig.ask("bob", "/inner/kickout_conversation", kick.clone()).await?["data"]["Failed"].is_null());
    ensure!(!rig.kept().members.contains(&(room.clone(), "bob".into())), "kicked");
    ensure!(rig.ask("bob", "/inner/join_conversation", kick).await?["code"] == 0);
    ensure!(rig.kept().members.contains(&(room.clone(), "bob".into())), "back");
    let archive = json!({ "conversation_ids": [room], "is_archive": true });
    ensure!(rig.ask("bob", "/inner/set_archive_conversations", archive).await?["code"] == 0);
    let detail = rig.gateway.directory_pull(PullRequest { partition: room.clone(), ..PullRequest::default() }).await?;
    ensure!(detail.conversations[0].archived == Some(true), "{detail:?}");
    for path in ["/join_conversation", "/inner/join_conversation"] {
        let nowhere = json!({ "conversation_id": "nowhere", "sessions": ["bob"] });
        ensure!(rig.ask("bob", path, nowhere).await?["code"] == 10_002, "{path}: it would be made by joining it");
    }
    Ok(())
}

#[tokio::test]
async fn who_is_a_member_the_upstream_says() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    let message = json!({ "conversation_id": ROOM, "type": 1, "content": "hello" });
    // The archive knows nobody yet: the upstream is asked, once in a while.
    ensure!(rig.ask("alice", "/send_msg", message.clone()).await?["code"] == 0, "she is a member there");
    ensure!(rig.ask("mallory", "/send_msg", message.clone()).await?["code"] == 10_003, "he is not");
    for _ in 0..5 {
        ensure!(rig.ask("mallory", "/send_msg", message.clone()).await?["code"] == 10_003, "nor now");
    }
    ensure!(rig.standin.calls("/get_joined_conversation") == 2, "{}", rig.standin.calls("/get_joined_conversation"));
    let joined = rig.ask("alice", "/get_joined_conversation", json!({})).await?;
    ensure!(joined["data"]["Conversations"] == json!([ROOM]), "{joined}");
    ensure!(
        rig.ask("alice", "/check_joined_conversation", json!({ "conversation_id": ROOM })).await?["data"]["Joined"]
            == true
    );
    Ok(())
}

#[tokio::test]
async fn who_is_a_member_does_not_change_with_a_lost_redis() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({})).await?;
    rig.standin.converse(ROOM, 1, &["alice", "bob"]);
    rig.standin.converse("elsewhere", 1, &["mallory"]);
    let kick = json!({ "conversation_id": ROOM, "sessions": ["bob"] });
    ensure!(rig.ask("alice", "/inner/kickout_conversation", kick).await?["code"] == 0);
    let message = json!({ "conversation_id": ROOM, "type": 1, "content": "hello" });
    let this = json!({ "conversation_id": ROOM });
    ensure!(rig.ask("alice", "/check_joined_conversation", this.clone()).await?["data"]["Joined"] == true);
    rig.standin.lose_redis();
    // With the first message there, everybody is told of everything there; with the second, all that is past.
    for _ in 0..2 {
        for (session, code) in [("bob", 10_003), ("mallory", 10_003), ("alice", 0)] {
            let sent = rig.ask(session, "/send_msg", message.clone()).await?;
            ensure!(sent["code"] == code, "{session}: {sent}");
            let joined = rig.ask(session, "/check_joined_conversation", this.clone()).await?;
            ensure!(joined["data"]["Joined"] == (code == 0), "{session}: {joined}");
        }
    }
    ensure!(rig.standin.rows(ROOM).len() == 2, "nobody else's message went there");
    Ok(())
}

/// What is tested above is what the stand-in does unless it is told otherwise.
#[test]
fn the_defects_are_on() {
    let switches = Switches::of(Version::Src);
    assert!(switches.unpadded && switches.rounded && switches.inherits && switches.forgetful_join);
    assert_eq!((switches.sortable, switches.key.as_str()), (100_000, token::FIXED_KEY));
}
