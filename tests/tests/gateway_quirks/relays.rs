//! What is sent through the gateway plugin to a quick-im-core while other things happen: order, ids that collide, and a sync that
//! was there before. `gateway_upstream.rs` has a listener hear it.

use crate::rig::{BEGIN, ROOM, Rig};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use stele_tests::{
    daemon::wait_for,
    standin::{
        Reply,
        gateway::{Sent, Version},
    },
};

#[tokio::test]
async fn what_is_relayed_at_once_is_committed_in_the_order_of_ids() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({ "timeout_seconds": 60 })).await?;
    rig.standin.converse(ROOM, 1, &["alice", "bob"]);
    rig.standin.script.push("/send_msg", Reply::Delay(Duration::from_millis(700)), 1);
    let sent = rig.send_both(["alice", "first"], ["bob", "second"]).await?;
    let ids: Vec<_> = sent.iter().filter_map(|sent| Some(sent["data"]["MsgID"].as_str()?.to_owned())).collect();
    ensure!(ids.len() == 2 && ids.is_sorted(), "{sent:?}");
    ensure!(rig.kept().committed == ids, "{:?} instead of {ids:?}", rig.kept().committed);
    // Neither one that fails nor one that hangs keeps others from being stored.
    for (bad, code) in [(Reply::Errcode(10_002), 10_002), (Reply::Delay(Duration::from_secs(4)), 0)] {
        rig.standin.script.push("/send_msg", bad.clone(), 1);
        let sent = rig.send_both(["alice", "bad"], ["bob", "good"]).await?;
        ensure!((&sent[0]["code"], &sent[1]["code"]) == (&json!(code), &json!(0)), "{bad:?}: {sent:?}");
        let kept = rig.kept();
        let last = kept.committed.iter().rev().map(|id| kept.messages[id].text.as_str()).find(|text| *text != "bad");
        ensure!(last == Some("good"), "{bad:?}");
        let late = &kept.messages[&kept.committed[kept.committed.len() - 1]];
        ensure!((late.text == "bad") == (code == 0), "what hangs is stored behind what did not wait for it any longer");
    }
    Ok(())
}

#[tokio::test]
async fn relays_whose_ids_collide_are_all_kept_and_once() -> Result<()> {
    // Their answers come as they were sent, or the other way round and too late to wait for.
    for delay in [Duration::from_millis(300), Duration::from_secs(4)] {
        let rig = Rig::new(Version::Src, json!({ "timeout_seconds": 60 })).await?;
        rig.standin.converse(ROOM, 1, &["alice", "bob"]);
        // The second gets the id of the first.
        rig.standin.set(|switches| switches.colliding = true);
        rig.standin.script.push("/send_msg", Reply::Delay(delay), 1);
        let sent = rig.send_both(["alice", "of alice"], ["bob", "of bob"]).await?;
        ensure!(sent[0]["data"] == sent[1]["data"] && sent[0]["code"] == 0, "{sent:?}");
        for _ in 0..2 {
            rig.sync(ROOM, 1000).await?;
            let kept = rig.kept();
            let mut texts: Vec<_> = kept.messages.values().map(|message| message.text.as_str()).collect();
            texts.sort_unstable();
            ensure!(texts == ["of alice", "of bob"], "{delay:?}: {texts:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_relay_and_the_sync_that_was_before_it_are_one_message() -> Result<()> {
    let rig = Rig::new(Version::Src, json!({ "conversations": ["other"] })).await?;
    rig.standin.converse(ROOM, 1, &["alice"]);
    rig.standin.say(&Sent { conversation: "other", from: "bob", kind: 9, content: "for others", at: BEGIN });
    rig.standin.script.push("/send_msg", Reply::Delay(Duration::from_millis(700)), 1);
    let empty = json!({ "conversation_id": ROOM, "type": 1, "status": 5, "content": "" });
    let sync = async {
        wait_for("the send", || async {
            if rig.standin.rows(ROOM).len() == 1 { Ok(()) } else { Err("not there".to_owned()) }
        })
        .await?;
        rig.sync(ROOM, 1000).await
    };
    let (sent, _) = tokio::try_join!(rig.ask("alice", "/send_msg", empty.clone()), sync)?;
    ensure!(sent["code"] == 0 && rig.kept().committed.len() == 1, "{:?}", rig.kept().messages);
    // What only the relay told is as the upstream has it: it drops the status.
    let sent = rig.ask("alice", "/send_msg", empty).await?;
    let id = sent["data"]["MsgID"].as_str().context("an id")?;
    let body: Value = serde_json::from_slice(&rig.kept().messages[id].body)?;
    ensure!((&body["Status"], &body["Type"], &body["Content"]) == (&json!(0), &json!(1), &json!("")), "{body}");
    Ok(())
}
