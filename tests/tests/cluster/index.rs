//! Who feeds an index that several daemons share, and what becomes of it when that one is killed.

use crate::rig::{LEASE, sites};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use stele_tests::{
    backing::Engine,
    daemon::{Daemon, Site, wait_for},
    gateway::{Gateway, token},
    settings::Settings,
};

/// Messages a daemon has fed to an index since it began.
const FED: &str = "stele_search_indexed_total";
/// More than a task of the server and a look at its watermark take on a machine with much to do.
const WORK: Duration = Duration::from_secs(10);

/// Waits until each of these says that the index has everything; returns how many messages that are.
async fn complete(sites: &[&Site]) -> Result<u64> {
    let messages = sites.first().context("a site")?.stat("messages").await?;
    for site in sites {
        wait_for("an index that has everything", || async {
            let index = site.admin("/api/v1/index").await.map_err(|error| error.to_string())?;
            let (documents, behind) = (&index["health"]["documents"], &index["tailer"]["behind"]);
            if *documents == messages && *behind == 0 { Ok(()) } else { Err(index.to_string()) }
        })
        .await
        .with_context(|| site.log_tail())?;
    }
    Ok(messages)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_several_daemons_is_fed_by_one_and_by_another_when_that_is_killed() -> Result<()> {
    let gateways = (0..3).map(|_| Gateway::new("gateway", "")).collect::<Result<Vec<_>>>()?;
    let settings = gateways.iter().map(|gateway| Settings { sections: gateway.toml(), ..Settings::empty() });
    let Some(sites) = sites(Engine::Meilisearch, None, settings.collect())? else { return Ok(()) };
    let mut daemons: Vec<Option<Daemon>> = Vec::new();
    for site in &sites {
        daemons.push(Some(site.start().await?));
    }
    let conversation = gateways[0].api().create(2, &["ann", "bob"]).await?;
    let send = async |number: usize, count: usize| {
        for sent in 0..count {
            gateways[number].api().send(&token("ann", 1), &conversation, &format!("fed{number}x{sent}x")).await?;
        }
        anyhow::Ok(())
    };
    for number in 0..sites.len() {
        send(number, 10).await?;
    }
    let messages = complete(&sites.iter().collect::<Vec<_>>()).await?;
    let mut feeders = Vec::new();
    for (number, site) in sites.iter().enumerate() {
        let fed = site.metric(FED).await?;
        ensure!(fed == 0.0 || fed == messages as f64, "d{number} has fed {fed}");
        feeders.extend((fed > 0.0).then_some(number));
    }
    let [first] = feeders[..] else { anyhow::bail!("these feed the index: {feeders:?}") };

    // Whoever does not feed it has it built anew by the one that does, and hears of the end.
    for number in (0..sites.len()).filter(|number| *number != first) {
        let output = sites[number].command(&["reindex"])?.output().await?;
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(said.contains(&format!("indexed {messages} messages")), "{output:?}");
        ensure!(told.contains("whoever feeds the index builds it anew"), "{told}");
        ensure!(!sites[number].log().contains("rebuilding the search index"), "{}", sites[number].log_tail());
    }
    ensure!(sites[first].log().matches("rebuilding the search index").count() == 2, "{}", sites[first].log_tail());
    complete(&sites.iter().collect::<Vec<_>>()).await?;

    daemons[first].take().context("it runs")?.kill().await?;
    let (killed, left) = (Instant::now(), (0..sites.len()).filter(|number| *number != first).collect::<Vec<_>>());
    send(left[0], 10).await?;
    let left_sites: Vec<&Site> = left.iter().map(|number| &sites[*number]).collect();
    // Nobody waits for the index.
    for site in &left_sites {
        ensure!(crate::found(site, "fed").await? == 40, "what was just sent is not found");
    }
    complete(&left_sites).await?;
    let taken_over = killed.elapsed();
    println!("another daemon fed the index {taken_over:?} after the kill, with a lease of {LEASE} s");
    ensure!(taken_over < Duration::from_secs(LEASE) + WORK, "it was taken over after {taken_over:?}");
    let fed = [left_sites[0].metric(FED).await?, left_sites[1].metric(FED).await?];
    ensure!(fed == [10.0, 0.0] || fed == [0.0, 10.0], "{fed:?} were fed");

    // Whoever stops leaves it to the other at once.
    let second = left[usize::from(fed[1] > 0.0)];
    let third = left[usize::from(fed[0] > 0.0)];
    let status = daemons[second].take().context("it runs")?.stop().await?;
    ensure!(status.success(), "it ended with {status}");
    send(third, 1).await?;
    complete(&[&sites[third]]).await?;
    ensure!(sites[third].metric(FED).await? == 1.0, "it has fed what was sent last");
    daemons[third].take().context("it runs")?.stop().await?;
    Ok(())
}
