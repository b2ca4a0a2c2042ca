//! What several daemons have in common at others: a receiver of webhooks, whom one of them tells at a time; an OpenIM, whose token
//! each of them uses.

use crate::rig::sites;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use stele_tests::{
    backing::Engine,
    client::http,
    daemon::{Daemon, Site, wait_for},
    openim::Openim,
    settings::Settings,
    standin::openim::{Ended, OpenimStandin, Say, Version},
    wukongim::{Receiver, Wukongim, encoded},
};

/// How long a plugin's turn is good for without being renewed, and more than it takes to look whether it is over.
const TURN: Duration = Duration::from_secs(20 + 5);
/// More than a webhook takes on a machine with much to do.
const WORK: Duration = Duration::from_secs(10);
/// Messages a daemon has told the receiver since it began.
const TOLD: &str = "stele_plugin_webhook_messages";

/// The ids of so many messages, as they are told.
async fn told(receiver: &mut Receiver, count: usize) -> Result<Vec<u64>> {
    let mut told = Vec::new();
    while told.len() < count {
        told.extend(receiver.next().await?.ids()?);
    }
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_told_by_one_daemon_and_by_another_when_that_stops_or_is_killed() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let config = format!(
        "[instance.config.webhook]\nhttpAddr = \"{}\"\nfocusEvents = [\"msg.notify\"]\nmsgNotifyEventPushInterval = \"10ms\"",
        receiver.url
    );
    let instances = (0..2).map(|_| Wukongim::new("im", &config)).collect::<Result<Vec<_>>>()?;
    let settings = instances.iter().map(|im| Settings { sections: im.toml(), ..Settings::empty() });
    let Some(sites) = sites(Engine::Embedded, None, settings.collect())? else { return Ok(()) };
    let mut daemons: Vec<Option<Daemon>> = Vec::new();
    for site in &sites {
        daemons.push(Some(site.start().await?));
    }
    let send = async |number: usize| {
        let payload = encoded(b"hi");
        let message = json!({ "from_uid": "ann", "channel_id": "team", "channel_type": 2, "payload": payload });
        anyhow::Ok(instances[number].api().send(&message).await?.message_id)
    };
    // Whoever told so many, once that is counted; the other one told none.
    let who_told = async |count: f64| {
        wait_for("count of what was told", || async {
            let look = async { anyhow::Ok((sites[0].metric(TOLD).await?, sites[1].metric(TOLD).await?)) };
            match look.await {
                Ok((one, other)) if (one, other) == (count, 0.0) => Ok(0),
                Ok((one, other)) if (one, other) == (0.0, count) => Ok(1),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await
    };
    let mut sent = Vec::new();
    for number in [0, 1, 0, 1, 0, 1] {
        sent.push(send(number).await?);
    }
    ensure!(told(&mut receiver, sent.len()).await? == sent, "they are told as they were committed");
    let first = who_told(6.0).await?;

    daemons[first].take().context("it runs")?.kill().await?;
    let (killed, second) = (Instant::now(), 1 - first);
    let sent: BTreeSet<u64> = [send(second).await?, send(second).await?].into();
    let mut seen = BTreeSet::new();
    // What was told just before the kill may be told again.
    while !sent.is_subset(&seen) {
        seen.extend(receiver.next().await?.ids()?);
    }
    let taken_over = killed.elapsed();
    println!("another daemon told the receiver {taken_over:?} after the kill");
    ensure!(taken_over < TURN + WORK, "it took {taken_over:?}");

    // Whoever stops leaves it to the other one, which looks every five seconds.
    daemons[first] = Some(sites[first].start().await?);
    daemons[second].take().context("it runs")?.stop().await?;
    let (stopped, last) = (Instant::now(), send(first).await?);
    while !receiver.next().await?.ids()?.contains(&last) {}
    ensure!(stopped.elapsed() < Duration::from_secs(5) + WORK, "it took {:?}", stopped.elapsed());
    daemons[first].take().context("it runs")?.stop().await?;
    Ok(())
}

/// An OpenIM's conversation grows by a message, and this daemon archives it.
async fn archives(site: &Site, standin: &OpenimStandin, messages: &mut u64) -> Result<()> {
    standin.say(Say::to("alice", "bob", &format!("第 {messages} 条")));
    *messages += 1;
    let before = site.runs("sync").await?.first().map_or(0, |run| run.id);
    // Refused while its plugin has not told its partitions yet.
    wait_for("start of a run", || async {
        site.request_run_of("im", "sync").await.map(drop).map_err(|error| error.to_string())
    })
    .await?;
    let run = site.ended_after("sync", before).await?;
    let stored = site.stat("messages").await?;
    ensure!(stored == *messages, "{stored} of {messages} are stored after {run:?}\n{}", site.log_tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_use_one_token_of_an_openim_and_each_takes_the_next_one() -> Result<()> {
    let standin = OpenimStandin::start(Version::Head).await?;
    standin.add_user("alice", "Alice");
    standin.add_user("bob", "Bob");
    let upstream = format!("[instance.config.upstream]\nurl = \"{}\"", standin.url());
    let instances = (0..2)
        .map(|_| {
            let instance =
                "rate_limit = 0\n[instance.sync]\nenabled = false\n[instance.directory]\nenabled = false".to_owned();
            Ok(Openim { secret: "openIM123".into(), instance, ..Openim::new("im", &upstream)? })
        })
        .collect::<Result<Vec<_>>>()?;
    let settings = instances.iter().map(|im| Settings { sections: im.toml(), ..Settings::empty() });
    let Some(sites) = sites(Engine::Embedded, None, settings.collect())? else { return Ok(()) };
    let (one, other) = (&sites[0], &sites[1]);
    let daemons = [one.start().await?, other.start().await?];
    let (mut messages, mut expected) = (0, 1);
    let mut renews = one;
    for ended in [None, Some(Ended::Kicked), Some(Ended::Gone), Some(Ended::Expired)] {
        if let Some(ended) = ended {
            standin.end_tokens(ended);
            expected += 1;
        }
        // Whoever comes first gets a new one, and the other takes that; the next time they change places.
        let takes = if std::ptr::eq(renews, one) { other } else { one };
        for site in [renews, takes, renews] {
            archives(site, &standin, &mut messages).await?;
            ensure!(standin.tokens() == expected, "{ended:?}: {} tokens instead of {expected}", standin.tokens());
        }
        renews = takes;
    }
    // The tokens it gives itself say whose they are, so every daemon takes those of any.
    let ask = async |number: usize, path: &str, token: &str, body: Value| {
        let request = http().post(format!("http://{}{path}", instances[number].listen)).json(&body);
        let response = request.header("operationID", "op").header("token", token).send().await?;
        anyhow::Ok(response.json::<Value>().await?)
    };
    let asked = json!({ "secret": "openIM123", "userID": "imAdmin" });
    let given = ask(0, "/auth/get_admin_token", "", asked).await?;
    let token = given["data"]["token"].as_str().with_context(|| given.to_string())?;
    let page = json!({ "pagination": { "pageNumber": 1, "showNumber": 10 } });
    let found = ask(1, "/msg/search_msg", token, page).await?;
    ensure!(found["data"]["chatLogsNum"] == messages, "{found}");
    for daemon in daemons {
        daemon.stop().await?;
    }
    Ok(())
}
