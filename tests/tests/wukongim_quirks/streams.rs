//! What streams of v2 say: archived with their message, or behind it where they were still open.

use crate::rig::{HOOK_SECRET, Rig};
use anyhow::{Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stele_plugin_api::model::Message;
use stele_tests::{
    daemon::wait_for,
    standin::wukongim::{Say, Version},
};

const SAID: &str = "the answer is forty-two";
const ENDS: &str = "ends/2/team";

/// Begins a stream in the channel `team`.
fn begin(rig: &Rig, number: usize) -> i64 {
    let no = format!("st-{number}");
    rig.standin.say(2, "team", &Say { from: "ai", client_msg_no: &no, ..Say::default() })
}

fn of(rig: &Rig, conversation: &str) -> Vec<Message> {
    let kept = rig.kept();
    kept.committed.iter().map(|id| kept.messages[id].clone()).filter(|it| it.conversation == conversation).collect()
}

/// `stream_data`, as a text, and `end` of what `/message` answers.
async fn told(rig: &Rig, number: usize) -> Result<(Value, Value)> {
    let no = format!("st-{number}");
    let asked = json!({ "login_uid": "x", "channel_id": "team", "channel_type": 2, "client_msg_no": no });
    let answer: Value = serde_json::from_slice(&rig.ask("/message", asked).await?.body)?;
    Ok((answer["stream_data"].clone(), answer["end"].clone()))
}

#[tokio::test]
async fn a_stream_that_has_ended_is_in_its_message() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    rig.standin.stream(begin(&rig, 1), SAID, true);
    rig.sync(10).await?;
    rig.complete()?;
    let team = of(&rig, "2/team");
    ensure!(team.len() == 1 && team[0].text == SAID, "{team:?}");
    ensure!(told(&rig, 1).await? == (json!(STANDARD.encode(SAID)), json!(1)), "{:?}", told(&rig, 1).await?);
    Ok(())
}

#[tokio::test]
async fn what_an_open_stream_says_in_the_end_comes_behind_its_message() -> Result<()> {
    for limit in [1, 10] {
        let mut rig = Rig::new(Version::V2, json!({})).await?;
        let ids: Vec<_> = (0..12).map(|number| begin(&rig, number)).collect();
        ids.iter().for_each(|id| rig.standin.stream(*id, "the ans", false));
        rig.say(2, "team", 3);
        rig.sync(limit).await?;
        rig.complete()?;
        ensure!(of(&rig, "2/team").len() == 15 && of(&rig, ENDS).is_empty());
        ensure!(told(&rig, 3).await? == (Value::Null, Value::Null), "{:?}", told(&rig, 3).await?);

        // Some end, and the daemon was restarted.
        ids[..6].iter().for_each(|id| rig.standin.stream(*id, SAID, true));
        rig.reopen()?;
        // Each run has room for a page of them.
        for _ in 0..6 {
            rig.sync(limit).await?;
        }
        let ends = of(&rig, ENDS);
        ensure!(
            ends.len() == 6 && ends.iter().all(|end| end.once && end.kind == "end" && end.text == SAID),
            "{ends:?}"
        );
        ids[6..].iter().for_each(|id| rig.standin.stream(*id, SAID, true));
        // Each run has room for a page of them.
        for _ in 0..6 {
            rig.sync(limit).await?;
        }
        let mut found: Vec<_> = of(&rig, ENDS).into_iter().filter_map(|end| end.client_id).collect();
        found.sort_by_key(|no| no.len());
        let expected: Vec<_> = (0..12).map(|number| format!("st-{number}")).collect();
        ensure!(found == expected, "{found:?}");
        ensure!(told(&rig, 3).await? == (json!(STANDARD.encode(SAID)), json!(1)), "{:?}", told(&rig, 3).await?);
    }
    Ok(())
}

#[tokio::test]
async fn an_open_stream_that_a_webhook_named_is_waited_for() -> Result<()> {
    let rig = Rig::new(Version::V2, json!({})).await?;
    rig.say(2, "team", 2);
    let id = begin(&rig, 1);
    rig.standin.stream(id, "the ans", false);
    rig.say(2, "team", 2);
    let named = json!([{ "channel_id": "team", "channel_type": 2, "from_uid": "ai", "message_seq": 3 }]);
    rig.ask(&format!("/hook/{HOOK_SECRET}?event=msg.notify"), named).await?;
    wait_for("the channel", || async {
        let count = of(&rig, "2/team").len();
        if count == 5 { Ok(()) } else { Err(format!("{count} messages")) }
    })
    .await?;
    rig.sync(10).await?;
    rig.complete()?;
    rig.standin.stream(id, SAID, true);
    rig.sync(10).await?;
    ensure!(of(&rig, ENDS).len() == 1 && of(&rig, "2/team").len() == 5);
    Ok(())
}
