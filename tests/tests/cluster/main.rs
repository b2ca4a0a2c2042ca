//! Several daemons on one Postgres, with NATS between them and without: what one does all others show, and what one leaves undone
//! another does.

mod answers;
mod index;
mod kills;
mod rig;
mod turns;

use anyhow::{Context, Result, ensure};
use rig::{Cluster, LEASE, fetched_again};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use stele_tests::{
    backing::Engine,
    daemon::{Site, free_address, wait_for},
    gateway::{Gateway, token},
    live::{Call, Carrier, Listener},
    settings::Settings,
    wukongim::{Receiver, Wukongim, encoded},
};

/// So late, at most, is what another daemon commits or leaves noticed while nobody tells of it; and what a machine with much to do adds.
const LATE: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(3);

/// How many messages a daemon finds that contain this.
async fn found(site: &Site, text: &str) -> Result<u64> {
    let found = site.admin(&format!("/api/v1/archive/search?q={text}")).await?;
    found["total"].as_u64().with_context(|| format!("no total: {found}"))
}

async fn is_heard_and_found(with_nats: bool) -> Result<()> {
    let Some(mut cluster) = Cluster::start(Engine::Embedded, 3, with_nats, 0).await? else { return Ok(()) };
    let first = cluster.members[0].gateway.api();
    let conversation = first.create(2, &["ann", "bob"]).await?;
    let mut listeners = Vec::new();
    for (platform, member) in (1..).zip(&cluster.members) {
        let call = Call::notify(&member.gateway.listen, Carrier::Ws, &token("bob", platform), None);
        listeners.push(Listener::open(Carrier::Ws, &call).await?);
    }
    let send = async |cluster: &Cluster, number: usize, text: &str| {
        let api = cluster.members[number].gateway.api();
        let (sent, begun) = (api.send(&token("ann", 9), &conversation, text).await?, Instant::now());
        for listener in &listeners {
            listener.hears_id(&sent).await?;
        }
        let heard = begun.elapsed();
        for member in &cluster.members {
            let found = found(&member.site, text).await?;
            ensure!(found == 1, "{text} is found {found} times");
        }
        anyhow::Ok(heard)
    };
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        for number in 0..3 {
            slowest = slowest.max(send(&cluster, number, &format!("round{round}of{number}x")).await?);
        }
    }
    println!("the slowest of 30 was heard everywhere after {slowest:?}");
    // Without a bus some would be later.
    ensure!(slowest < LATE - SLACK / 3, "the slowest was heard after {slowest:?}");
    for member in &cluster.members {
        let ready = member.site.admin("/ready").await?;
        ensure!(ready["status"] == "ready", "{ready}");
    }
    if cluster.nats.take().is_some() {
        wait_for("word of it", || async {
            let ready = cluster.site(1).admin("/ready").await.map_err(|error| error.to_string())?;
            if ready.to_string().contains("NATS cannot be used") { Ok(()) } else { Err(ready.to_string()) }
        })
        .await?;
        let heard = send(&cluster, 2, "withoutnats").await?;
        println!("without NATS one was heard everywhere after {heard:?}");
        ensure!(heard < LATE + SLACK, "it was heard after {heard:?}");
    }
    let expected = listeners[0].log().ids();
    // Each has an index of its own.
    let stored = cluster.site(0).stat("messages").await?;
    for member in &cluster.members {
        wait_for("everything in the index", || async {
            match member.site.metric("stele_search_indexed_total").await {
                Ok(indexed) if indexed == stored as f64 => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await?;
    }
    ensure!(
        expected.iter().collect::<BTreeSet<_>>().len() == expected.len(),
        "something was heard twice: {expected:?}"
    );
    for listener in &listeners {
        ensure!(listener.log().ids() == expected, "{:?} is not {expected:?}", listener.log().ids());
    }
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_is_sent_all_deliver_and_find_with_nats() -> Result<()> {
    is_heard_and_found(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_is_sent_all_deliver_and_find_without_nats() -> Result<()> {
    is_heard_and_found(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_bus_feeds_and_listeners_are_late_by_five_seconds_at_most() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let webhook = format!(
        "[instance.config.webhook]\nhttpAddr = \"{}\"\nfocusEvents = [\"msg.notify\"]\nmsgNotifyEventPushInterval = \"10ms\"",
        receiver.url
    );
    let nobody = format!("nats://{}", free_address()?);
    let (mut gateways, mut ims, mut settings) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..2 {
        let (gateway, im) = (Gateway::new("gateway", "")?, Wukongim::new("im", &webhook)?);
        settings.push(Settings { sections: format!("{}\n{}", gateway.toml(), im.toml()), ..Settings::empty() });
        gateways.push(gateway);
        ims.push(im);
    }
    let Some(sites) = rig::sites(Engine::Embedded, Some(&nobody), settings)? else { return Ok(()) };
    let daemons = [sites[0].start().await?, sites[1].start().await?];
    let conversation = gateways[0].api().create(2, &["ann", "bob"]).await?;
    let call = Call::notify(&gateways[1].listen, Carrier::Ws, &token("bob", 1), None);
    let listener = Listener::open(Carrier::Ws, &call).await?;
    let live = async {
        let sent = gateways[0].api().send(&token("ann", 9), &conversation, "hi").await?;
        let begun = Instant::now();
        listener.hears_id(&sent).await?;
        anyhow::Ok(begun.elapsed())
    };
    // One of the two follows for the receiver, so of one message nobody tells it.
    let followed = async {
        let mut slowest = Duration::ZERO;
        for im in &ims {
            let payload = encoded(b"hi");
            let message = json!({ "from_uid": "ann", "channel_id": "team", "channel_type": 2, "payload": payload });
            let (sent, begun) = (im.api().send(&message).await?.message_id, Instant::now());
            while !receiver.next().await?.ids()?.contains(&sent) {}
            slowest = slowest.max(begun.elapsed());
        }
        anyhow::Ok(slowest)
    };
    let (live, followed) = tokio::try_join!(live, followed)?;
    println!("without any bus a listener heard after {live:?}, and a follower after {followed:?}");
    ensure!(live.max(followed) < LATE + SLACK, "{live:?} and {followed:?}");
    for daemon in daemons {
        daemon.stop().await?;
    }
    Ok(())
}

/// The sync as a daemon shows it.
async fn sync_job(site: &Site) -> Result<Value> {
    let jobs = site.admin("/api/v1/jobs?instance=wecom&limit=1").await?["jobs"].take();
    let mut jobs = jobs.as_array().cloned().unwrap_or_default().into_iter();
    jobs.find(|job| job["key"]["kind"] == "sync").context("there is a sync")
}

/// `asked`: somebody asks another daemon for the sync as well.
async fn goes_on_in_another_daemon(asked: bool) -> Result<()> {
    const MESSAGES: usize = 400;
    let Some(mut cluster) = Cluster::start(Engine::Embedded, 3, false, MESSAGES).await? else { return Ok(()) };
    cluster.folder.extend(&mut cluster.story, MESSAGES)?;
    // Slow enough to be met under way.
    cluster.folder.set_faults(&["chat delay 100"])?;
    wait_for("definition of the jobs", || async { sync_job(cluster.site(0)).await.map_err(|error| error.to_string()) })
        .await?;
    cluster.site(0).request_run("sync").await?;
    wait_for("first pages", || async {
        match cluster.site(0).stat("messages").await {
            Ok(stored) if stored > 0 => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await?;
    if asked {
        let answer = cluster.site(1).request_run("sync").await?;
        ensure!(answer["running"] == true && answer["started"] == false, "another daemon runs it: {answer}");
    }
    let (of_one, of_two) = (sync_job(cluster.site(1)).await?, sync_job(cluster.site(2)).await?);
    for job in [&of_one, &of_two] {
        ensure!(job["running"] == true && !job["report"].is_null() && !job["lease"].is_null(), "{job}");
    }
    cluster.members[0].kill().await?;
    let (begun, before) = (Instant::now(), cluster.site(1).stat("messages").await?);
    ensure!((before as usize) < MESSAGES, "all {before} were stored before the kill");
    cluster.folder.set_faults(&[])?;
    let stored = async |wanted: std::ops::RangeInclusive<u64>| {
        wait_for("messages", || async {
            match cluster.site(2).stat("messages").await {
                Ok(stored) if wanted.contains(&stored) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await
    };
    stored(before + 1..=MESSAGES as u64).await?;
    let taken_over = begun.elapsed();
    println!(
        "{before} of {MESSAGES} were stored; others were {taken_over:?} after the kill, with a lease of {LEASE} s"
    );
    // Whoever was not asked looks now and then.
    let most = Duration::from_secs(LEASE) + if asked { Duration::from_secs(LEASE) } else { LATE + SLACK };
    ensure!(taken_over < most, "it was taken over after {taken_over:?}");
    stored(MESSAGES as u64..=MESSAGES as u64).await?;
    let run = cluster.site(1).ended_after("sync", 0).await?;
    ensure!(run.outcome == "succeeded", "{run:?}");
    let runs = cluster.site(2).runs("sync").await?;
    ensure!(runs.iter().any(|run| run.outcome == "lost"), "the killed one's is told as lost: {runs:?}");
    // Whatever was stored twice would have been known.
    let known: u64 = runs.iter().map(|run| run.known).sum();
    ensure!(known == 0, "{known} messages were met a second time: {runs:?}");
    fetched_again(&cluster.pages()?, &runs)?;
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_goes_on_in_another_daemon_when_its_own_is_killed() -> Result<()> {
    goes_on_in_another_daemon(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_nobody_else_was_asked_for_goes_on_as_well() -> Result<()> {
    goes_on_in_another_daemon(false).await
}
