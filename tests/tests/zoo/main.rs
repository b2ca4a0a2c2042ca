//! Plugins that keep no rule of the boundary, all of them in one daemon beside one that keeps them (`animals.rs`). Of each the
//! operator reads one clear line, which names plugin, instance and cause, and is not repeated without end; the other instance
//! notices nothing; and nothing is lost of what was archived.

mod animals;
mod rig;

use animals::{ANIMALS, EVERYWHERE, PANICS};
use anyhow::{Result, ensure};
use futures::future::join_all;
use rig::{Zoo, complaints, gone};
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use stele_tests::{daemon::wait_for, report::Report};

/// Lines at which the daemon complains of one instance: attempts to start it, requests that were not answered, runs that failed.
const MOST_COMPLAINTS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_no_rule_hurts_nobody_else() -> Result<()> {
    let zoo = Arc::new(Zoo::new()?);
    let daemon = zoo.site.spawn()?;
    let neighbour = zoo.neighbour.name.as_str();
    wait_for("the neighbour", || async {
        match zoo.view(neighbour).await {
            Ok(view) if view["state"] == "running" && !view["listen"].is_null() => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await?;
    let before = zoo.view(neighbour).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let living = tokio::spawn({
        let (zoo, stop) = (Arc::clone(&zoo), Arc::clone(&stop));
        async move { zoo.live_beside(&stop).await }
    });

    let mut report = Report::default();
    let provoked = join_all(ANIMALS.iter().map(|animal| zoo.provoke(animal)));
    let (provoked, panicked) = tokio::join!(provoked, panic_everywhere(&zoo));
    for (animal, outcome) in ANIMALS.iter().zip(provoked) {
        report.add(animal.name, outcome);
    }
    report.add("panics", panicked);
    let told = zoo.told()?;
    report.add("what is told", zoo.wait_until_told(&told).await);

    stop.store(true, Ordering::Relaxed);
    let sent = living.await?;
    report.check("the neighbour", notices_nothing(&zoo, &before, &sent)).await;
    let processes = daemon.children();
    let stopped = daemon.stop().await?;
    report.add("the daemon", if stopped.success() { Ok(()) } else { Err(anyhow::anyhow!("{stopped}")) });
    let left = wait_for("end of what they started", || async { gone(&processes).map_err(|error| error.to_string()) });
    report.add("processes", left.await);

    let log = zoo.site.log();
    for told in &told {
        report.add(&told.name(), told.check(&log));
    }
    for (instance, lines) in complaints(&log) {
        let is_bounded = lines <= MOST_COMPLAINTS;
        report.add(instance, if is_bounded { Ok(()) } else { Err(anyhow::anyhow!("{lines} complaints")) });
    }
    let attempts = log.matches("cannot define the instance's jobs yet").count();
    report.add("discovery", if attempts == 1 { Ok(()) } else { Err(anyhow::anyhow!("told {attempts} times")) });
    let kept = zoo.kept.load(Ordering::Relaxed) + sent.unwrap_or_default();
    report.check("the archive", loses_nothing(&zoo, kept)).await;
    report.finish(&zoo.site.log_tail());
    Ok(())
}

/// Has the plugin in Rust reach every place in which it panics.
async fn panic_everywhere(zoo: &Zoo) -> Result<()> {
    for panics in PANICS.iter().filter(|panics| panics.at.contains(&"http")) {
        zoo.answers(panics.name).await?;
        for (path, status) in [("/http", 500), ("/task", 200)] {
            let found = zoo.get(panics.name, path).await?;
            ensure!(found == status, "{path} of {} was answered {found}", panics.name);
        }
        zoo.answers(panics.name).await?;
    }
    ensure!(zoo.get(EVERYWHERE, "/thread").await? == 200);
    zoo.run("pulling", "sync").await?;
    // Its page brings a file, and something that cannot be read yet.
    zoo.run(EVERYWHERE, "sync").await?;
    wait_for("the page", || async {
        match zoo.site.stat("parked").await {
            Ok(1) => Ok(()),
            seen => Err(format!("{seen:?} parked")),
        }
    })
    .await?;
    zoo.kept.fetch_add(1, Ordering::Relaxed);
    zoo.run(EVERYWHERE, "recover").await?;
    zoo.run(EVERYWHERE, "directory").await?;
    // Whoever listens gets nothing, since nothing can be rendered: how that is answered depends on who gives up first.
    zoo.get(EVERYWHERE, "/listen").await?;
    zoo.answers(EVERYWHERE).await
}

/// That the neighbour is the process it was, has answered all it was asked, and has all it was given.
async fn notices_nothing(zoo: &Zoo, before: &serde_json::Value, sent: &Result<u64>) -> Result<()> {
    let sent = match sent {
        Ok(sent) => *sent,
        Err(error) => anyhow::bail!("{error:#}"),
    };
    ensure!(sent > 0);
    let now = zoo.view(&zoo.neighbour.name).await?;
    for field in ["pid", "restarts", "problem", "late_frames"] {
        ensure!(now[field] == before[field], "{field} was {} and is {}", before[field], now[field]);
    }
    let mut ids = BTreeSet::new();
    let mut from = 1;
    while from <= sent {
        let range = json!({
            "login_uid": "ann", "channel_id": "all", "channel_type": 2, "start_message_seq": from, "limit": 10_000,
        });
        let page = zoo.neighbour.api().sync(&range).await?;
        ensure!(!page.messages.is_empty(), "nothing from {from} on, of {sent}");
        from += page.messages.len() as u64;
        ids.extend(page.messages.into_iter().map(|message| message.message_id));
    }
    ensure!(ids.len() as u64 == sent, "{} of {sent}", ids.len());
    Ok(())
}

/// That all is there which was acknowledged, as it was written.
async fn loses_nothing(zoo: &Zoo, kept: u64) -> Result<()> {
    let verified = zoo.site.run(&["verify"]).await?;
    ensure!(verified.contains(&format!(", {kept} messages: all as they were written")), "{kept} were kept: {verified}");
    Ok(())
}
