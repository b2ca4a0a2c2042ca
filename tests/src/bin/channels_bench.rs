//! The bench of a WuKongIM with many channels: a stand-in of v2 has them, with a few messages each; the real daemon discovers and
//! archives them, and once more with nothing new. How long that takes, and the memory of the daemon and the plugin at most.
//! The stand-in works on the same cores. Run a release build: `make channels`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::json;
use std::time::{Duration, Instant};
use stele_tests::{
    daemon::{Site, memory},
    standin::wukongim::{Say, Version, WukongimStandin},
    wukongim::{Wukongim, site},
};

#[derive(Parser)]
#[command(about = "Many channels of an upstream")]
struct Arguments {
    /// Channels.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    channels: u32,
    /// Messages of each.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
}

/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { channels, messages } = Arguments::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing");
    }
    let standin = WukongimStandin::start(Version::V2).await?;
    let payload = json!({ "type": 1, "content": "今天的会议改到下午三点" }).to_string();
    for channel in 0..channels {
        for _ in 0..messages {
            standin.say(
                2,
                &format!("group-{channel}"),
                &Say { from: "alice", payload: payload.as_bytes(), ..Say::default() },
            );
        }
    }
    let mut instance = Wukongim::new("im", &format!("[instance.config.upstream]\nurl = \"{}\"", standin.url()))?;
    instance.instance.push_str("\n[instance.sync]\nenabled = false");
    let site = site(std::slice::from_ref(&instance), "[log]\nlevel = \"warn\"")?;
    let daemon = site.start().await?;
    let wanted = u64::from(channels) * u64::from(messages);
    let first = sync(&site).await?;
    ensure!(site.stat("messages").await? == wanted, "not everything is archived\n{}", site.log_tail());
    let second = sync(&site).await?;
    ensure!(site.stat("messages").await? == wanted, "something was archived twice");
    let plugin = daemon.children().into_iter().map(|pid| memory(pid, "VmHWM")).sum::<Result<u64>>()?;
    println!(
        "{}",
        json!({
            "cores": std::thread::available_parallelism().map_or(1, usize::from), "channels": channels, "messages": wanted,
            "seconds": first, "messages_per_second": (wanted as f64 / first).round(), "seconds_with_nothing_new": second,
            "daemon_kib": memory(daemon.pid().context("it runs")?, "VmHWM")?, "plugin_kib": plugin,
        })
    );
    daemon.stop().await?;
    Ok(())
}

/// Runs the sync to its end; returns its seconds.
async fn sync(site: &Site) -> Result<f64> {
    let begin = Instant::now();
    let before = site.runs("sync").await?.first().map_or(0, |run| run.id);
    site.request_run_of("im", "sync").await?;
    loop {
        let last = site.runs("sync").await?.into_iter().next();
        if let Some(run) = last.filter(|run| run.id > before && run.outcome != "running") {
            ensure!(run.outcome == "succeeded", "{}\n{}", run.complaints(), site.log_tail());
            return Ok((begin.elapsed().as_secs_f64() * 100.0).round() / 100.0);
        }
        tokio::time::sleep(LOOK).await;
    }
}
