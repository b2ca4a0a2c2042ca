//! What the real daemon tells the receiver of webhooks (contract 001, Webhook配置; reference/wukongim.md §9).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stele_tests::{
    client::hmac_hex,
    daemon::{Site, wait_for},
    standin::wukongim::{Version, WukongimStandin},
    wukongim::{Receiver, Wukongim, encoded, site},
};

const SECRET: &str = "the secret of the tests' webhooks";

/// An instance that tells this receiver; `more` are more settings of its webhook.
fn telling(receiver: &Receiver, more: &str) -> Result<(Site, Wukongim)> {
    let config = format!("[instance.config.webhook]\nhttpAddr = \"{}?from=stele\"\n{more}", receiver.url);
    let instance = Wukongim::new("im", &config)?;
    Ok((site(std::slice::from_ref(&instance), "")?, instance))
}

fn message(text: &str) -> Value {
    json!({ "from_uid": "alice", "channel_id": "team", "channel_type": 2, "payload": encoded(text.as_bytes()) })
}

#[tokio::test]
async fn messages_are_told_in_signed_batches() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let settings = format!("focusEvents = [\"msg.notify\"]\nmsgNotifyEventCountPerPush = 20\nsecret = \"{SECRET}\"");
    let (site, instance) = telling(&receiver, &settings)?;
    let daemon = site.start().await?;
    let messages: Vec<_> = (0..50).map(|number| message(&format!("message {number}"))).collect();
    let sent: Vec<Value> = instance.api().post("/message/sendbatch", &json!(messages)).await?.read()?;
    let sent: Vec<_> = sent.iter().filter_map(|sent| sent["message_id"].as_u64()).collect();
    let mut told = Vec::new();
    while told.len() < sent.len() {
        let push = receiver.next().await.with_context(|| site.log_tail())?;
        ensure!(push.query == "from=stele&event=msg.notify", "{push:?}");
        let signature = push.signature.as_deref().context("it is signed")?;
        let (stamp, sign) =
            signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).context("t and v1")?;
        ensure!(sign == hmac_hex(SECRET, &format!("{stamp}.{}", push.text)), "{push:?}");
        let age = chrono::Utc::now().timestamp() - stamp.parse::<i64>()?;
        ensure!((0..60).contains(&age), "{push:?}");
        let ids = push.ids()?;
        ensure!((1..=20).contains(&ids.len()), "{push:?}");
        told.extend(ids);
    }
    ensure!(told == sent, "{told:?} instead of {sent:?}");
    // As the API shows it.
    let one = instance.api().send(&message("one more")).await?;
    let asked = json!({
        "login_uid": "alice", "channel_id": "team", "channel_type": 2, "message_id": one.message_id,
    });
    let shown: Value = instance.api().post("/message", &asked).await?.read()?;
    let push = receiver.next().await?;
    ensure!(push.body()? == json!([shown]), "{push:?} instead of {shown}");
    wait_for("count of what was told", || async {
        match site.metric("stele_plugin_webhook_messages").await {
            Ok(51.0) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await?;
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_is_away_and_a_daemon_that_is_killed_lose_nothing() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let settings =
        "focusEvents = [\"msg.notify\"]\nmsgNotifyEventPushInterval = \"10ms\"\nmsgNotifyEventRetryMaxCount = 100";
    let (site, instance) = telling(&receiver, settings)?;
    let daemon = site.start().await?;
    receiver.answer(503);
    let first = instance.api().send(&message("told to nobody")).await?;
    // The same again, since it was not taken.
    for _ in 0..2 {
        ensure!(receiver.next().await?.ids()? == [first.message_id]);
    }
    wait_for("a line of the log", || async {
        let log = site.log();
        if log.contains("the receiver answers 503 instead of 200") { Ok(()) } else { Err(site.log_tail()) }
    })
    .await?;
    let second = instance.api().send(&message("stored meanwhile")).await?;
    daemon.kill().await?;
    receiver.answer(200);
    let daemon = site.start().await?;
    // What was sent to it before the daemon was killed is the first message alone.
    let told = loop {
        let told = receiver.next().await.with_context(|| site.log_tail())?.ids()?;
        if told != [first.message_id] {
            break told;
        }
    };
    ensure!(told == [first.message_id, second.message_id], "{told:?}");
    // Once the next one is told, the place behind these is kept.
    let third = instance.api().send(&message("afterwards")).await?;
    ensure!(receiver.next().await?.ids()? == [third.message_id]);
    daemon.stop().await?;
    let daemon = site.start().await?;
    let fourth = instance.api().send(&message("after all of it")).await?;
    let told = receiver.next().await.with_context(|| site.log_tail())?.ids()?;
    ensure!(
        told == [fourth.message_id] || told == [third.message_id, fourth.message_id] || told == [third.message_id],
        "{told:?}"
    );
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn each_message_is_told_with_whom_it_is_for() -> Result<()> {
    told_with_whom_it_is_for("").await
}

#[tokio::test]
async fn what_is_relayed_is_told_as_what_is_stored_here() -> Result<()> {
    let upstream = WukongimStandin::start(Version::V2).await?;
    told_with_whom_it_is_for(&format!("[instance.config.upstream]\nurl = \"{}\"", upstream.url())).await
}

/// `more` are more settings of the instance.
async fn told_with_whom_it_is_for(more: &str) -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let settings = format!("focusEvents = [\"msg.offline\", \"user.onlinestatus\"]\n{more}");
    let (site, instance) = telling(&receiver, &settings)?;
    let daemon = site.start().await?;
    let api = instance.api();
    let payload = encoded(b"hi");
    let stored = json!({ "from_uid": "alice", "channel_id": "bob", "channel_type": 1, "payload": payload });
    let mut passing = stored.clone();
    passing["header"] = json!({ "no_persist": 1 });
    let named = json!({
        "header": { "sync_once": 1 }, "from_uid": "alice", "subscribers": ["bob", "carol"], "payload": payload,
    });
    for (sent, to, persists) in
        [(&stored, json!(["bob"]), true), (&passing, json!(["bob"]), false), (&named, json!(["bob", "carol"]), true)]
    {
        let sent = api.send(sent).await?;
        let push = receiver.next().await.with_context(|| site.log_tail())?;
        let told = push.body()?;
        ensure!(push.query == "from=stele&event=msg.offline" && push.signature.is_none(), "{push:?}");
        ensure!(told["message_id"] == sent.message_id && told["to_uids"] == to, "{told}");
        ensure!((told["message_seq"] == 0) != persists && told["payload"] == payload, "{told}");
    }
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn mistakes_are_named_with_their_place() -> Result<()> {
    let receiver = Receiver::start().await?;
    let settings = "grpcAddr = \"localhost:6979\"\nfocusEvents = [\"msg.notify\", \"msg.lost\"]";
    let (site, _) = telling(&receiver, settings)?;
    let output = site.command(&["check"])?.output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{said}");
    let line =
        |text: &str| said.lines().find(|line| line.contains(text)).with_context(|| format!("no {text} in {said}"));
    ensure!(line("focusEvents[1]")?.contains("msg.offline, user.onlinestatus"), "{said}");
    ensure!(line("grpcAddr")?.contains("set httpAddr"), "{said}");
    Ok(())
}
