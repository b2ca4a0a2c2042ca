//! What is sent through the gateway plugin to a quick-im-core while other things happen: order, ids that collide, and a sync that
//! was there before. `gateway_upstream.rs` has a listener hear it; how long a message waits for another is tested where the plugin
//! decides it, without a clock of the machine.

use crate::rig::{BEGIN, ROOM, Rig};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use stele_tests::{
    daemon::wait_for,
    standin::{
        Reply,
        gateway::{Sent, Version},
    },
};
use tokio::sync::Notify;

const SEND: &str = "/send_msg";
/// How long the plugin has a message wait for those sent before it.
const HOLD: Duration = Duration::from_secs(2);

/// The next send gets its answer when this says so.
fn hold(rig: &Rig) -> Arc<Notify> {
    let go = Arc::new(Notify::new());
    rig.standin.script.push(SEND, Reply::Held(Arc::clone(&go)), 1);
    go
}

/// Lets it go when something is so.
async fn let_go(go: &Notify, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, || std::future::ready(if is_so() { Ok(()) } else { Err("not there".to_owned()) })).await?;
    go.notify_one();
    Ok(())
}

#[tokio::test]
async fn what_is_relayed_at_once_is_committed_in_the_order_of_ids() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({ "timeout_seconds": 60 })).await?;
    rig.standin.converse(ROOM, 1, &["alice", "bob"]);
    let (go, begin) = (hold(&rig), Instant::now());
    let both_there = let_go(&go, "both sends", || rig.standin.calls(SEND) == 2);
    let (sent, ()) = tokio::try_join!(rig.send_both(["alice", "first"], ["bob", "second"]), both_there)?;
    let ids: Vec<_> = sent.iter().filter_map(|sent| Some(sent["data"]["MsgID"].as_str()?.to_owned())).collect();
    ensure!(ids.len() == 2 && ids.is_sorted(), "{sent:?}");
    // A machine that is too slow for that makes the first one hang.
    let committed = rig.kept().committed.clone();
    ensure!(committed == ids || begin.elapsed() > HOLD, "{committed:?} instead of {ids:?}");

    // Neither one that fails nor one that hangs keeps others from being stored.
    rig.standin.script.push(SEND, Reply::Errcode(10_002), 1);
    let sent = rig.send_both(["alice", "bad"], ["bob", "good"]).await?;
    ensure!((&sent[0]["code"], &sent[1]["code"]) == (&json!(10_002), &json!(0)), "{sent:?}");
    ensure!(rig.texts() == ["first", "good", "second"], "{:?}", rig.texts());
    let go = hold(&rig);
    let stored = let_go(&go, "the one that does not hang", || rig.texts().contains(&"better".to_owned()));
    let (sent, ()) = tokio::try_join!(rig.send_both(["alice", "late"], ["bob", "better"]), stored)?;
    ensure!((&sent[0]["code"], &sent[1]["code"]) == (&json!(0), &json!(0)), "{sent:?}");
    let kept = rig.kept();
    let last = kept.committed.last().context("it is stored")?;
    ensure!(kept.messages[last].text == "late", "what hangs is stored behind what did not wait for it any longer");
    Ok(())
}

#[tokio::test]
async fn relays_whose_ids_collide_are_all_kept_and_once() -> Result<()> {
    // Their answers come together, or the other way round and too late to wait for.
    for is_late in [false, true] {
        let rig = Rig::new(Version::Src, json!({ "timeout_seconds": 60 })).await?;
        rig.standin.converse(ROOM, 1, &["alice", "bob"]);
        // The second gets the id of the first.
        rig.standin.set(|switches| switches.colliding = true);
        let go = hold(&rig);
        let enough = || if is_late { rig.texts() == ["of bob"] } else { rig.standin.calls(SEND) == 2 };
        let both = rig.send_both(["alice", "of alice"], ["bob", "of bob"]);
        let (sent, ()) = tokio::try_join!(both, let_go(&go, "the second", enough))?;
        ensure!(sent[0]["data"] == sent[1]["data"] && sent[0]["code"] == 0, "{sent:?}");
        for _ in 0..2 {
            rig.sync(ROOM, 1000).await?;
            ensure!(rig.texts() == ["of alice", "of bob"], "late: {is_late}: {:?}", rig.texts());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_relay_and_the_sync_that_was_before_it_are_one_message() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({ "conversations": ["other"] })).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    rig.standin.say(&Sent { conversation: "other", from: "bob", kind: 9, content: "for others", at: BEGIN });
    let go = hold(&rig);
    let empty = json!({ "conversation_id": ROOM, "type": 1, "status": 5, "content": "" });
    let sync = async {
        wait_for("the send", || async {
            if rig.standin.rows(ROOM).len() == 1 { Ok(()) } else { Err("not there".to_owned()) }
        })
        .await?;
        rig.sync(ROOM, 1000).await?;
        go.notify_one();
        Ok(())
    };
    let (sent, ()) = tokio::try_join!(rig.ask("alice", SEND, empty.clone()), sync)?;
    ensure!(sent["code"] == 0 && rig.kept().committed.len() == 1, "{:?}", rig.kept().messages);
    // What only the relay told is as the upstream has it: it drops the status.
    let sent = rig.ask("alice", SEND, empty).await?;
    let id = sent["data"]["MsgID"].as_str().context("an id")?;
    let body: Value = serde_json::from_slice(&rig.kept().messages[id].body)?;
    ensure!((&body["Status"], &body["Type"], &body["Content"]) == (&json!(0), &json!(1), &json!("")), "{body}");
    Ok(())
}
