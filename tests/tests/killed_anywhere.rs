//! SIGKILL at random points of a sync, files included, again and again. In the end every message is there exactly once,
//! in order, findable, and every file is stored.

use anyhow::{Context, Result, ensure};
use md5::{Digest, Md5};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use stele_tests::{
    corp::{CorpFolder, CorpSpec, Entry, Story},
    daemon::Site,
    settings::Settings,
};

/// How many kills have to hit a running job.
const HITS: usize = 50;
/// Most kills until then.
const MAX_KILLS: usize = 160;
/// Messages that arrive before each start, so that there is always something to fetch.
const FRESH: usize = 16;
/// Longest time from a request to its kill, milliseconds. It follows the speed of the machine: shorter after a kill that
/// came when all was done, longer after one that hit.
const LIFE_MS: std::ops::RangeInclusive<f64> = 15.0..=400.0;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled() -> Result<()> {
    // Printed with the failure, since the test harness shows the output of failed tests only; set it to see one again.
    let seed = std::env::var("STELE_KILL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("STELE_KILL_SEED={seed}");
    run(seed).await.with_context(|| format!("STELE_KILL_SEED={seed} shows it again"))
}

async fn run(seed: u64) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let spec = CorpSpec { seed, ..CorpSpec::recent(200 + MAX_KILLS * FRESH) };
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&spec, upstream.path())?;
    let mut story = Story::new(&spec);
    folder.extend(&mut story, 200)?;
    // Slow enough that a page and a file take a while each.
    folder.set_faults(&["chat delay 15", "media delay 8"])?;
    let site = Site::new(|dir| {
        let mut settings = Settings::of(&folder, dir, "", "");
        settings.instance = "rate_limit = 0".into();
        settings.config = "page_limit = 10\ncalls_per_minute = 60000".into();
        settings.sections = "[search]\ncommit_messages = 40\ncommit_milliseconds = 100\n".into();
        Ok(settings)
    })?;
    let (mut kills, mut in_sync, mut before_ready) = (0, 0, 0);
    let mut longest = 200.0;
    while in_sync < HITS {
        ensure!(kills < MAX_KILLS, "only {in_sync} of {kills} kills hit a running job");
        folder.extend(&mut story, FRESH)?;
        let life = Duration::from_secs_f64(rng.random_range(0.0..longest) / 1000.0);
        kills += 1;
        // Now and then it does not even get to be ready.
        if kills % 8 == 0 {
            let daemon = site.spawn()?;
            tokio::time::sleep(life).await;
            daemon.kill().await?;
            before_ready += 1;
            continue;
        }
        let daemon = site.start().await?;
        // Refused while the plugin has not told its partitions yet: then the kill hits that moment.
        let requested = site.request_run("sync").await.is_ok();
        tokio::time::sleep(life).await;
        let running = requested && site.is_running("sync").await.unwrap_or(false);
        let hit = running || site.is_running("media").await.unwrap_or(false);
        daemon.kill().await?;
        in_sync += usize::from(hit);
        longest = (longest * if hit { 1.1 } else { 0.85 }).clamp(*LIFE_MS.start(), *LIFE_MS.end());
    }
    folder.extend(&mut story, usize::MAX)?;
    folder.set_faults(&[])?;
    let daemon = site.start().await?;
    site.sync().await?;
    site.media_done().await?;
    println!("{kills} kills, {in_sync} of them while a job ran, {before_ready} before it was ready");
    let entries: Vec<_> = Story::new(&spec).collect();
    let count = site.stat("messages").await?;
    ensure!(count == entries.len() as u64, "{count} messages, {} written\n{}", entries.len(), site.log_tail());
    ensure!(site.stat("parked").await? == 0, "something was parked");
    let rows = everything(&site, &entries).await?;
    findable(&site, &entries, &mut rng).await?;
    files(&entries, &rows).await?;
    let status = daemon.stop().await?;
    ensure!(status.success(), "the daemon ended with {status}");
    Ok(())
}

/// Conversations of the story: a member of staff and whom to ask for, with the msgids in order.
fn conversations(entries: &[Entry], is_staff: impl Fn(&str) -> bool) -> BTreeMap<(String, String), Vec<&Entry>> {
    let mut conversations: BTreeMap<(String, String), Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind != "switch") {
        let mut people: Vec<_> = entry.to.iter().chain([&entry.from]).cloned().collect();
        people.sort_by_key(|id| (!is_staff(id), id.clone()));
        let key = if entry.room.is_empty() {
            (people[0].clone(), people[1].clone())
        } else {
            (String::new(), entry.room.clone())
        };
        conversations.entry(key).or_default().push(entry);
    }
    conversations
}

/// Reads every conversation through the contract's API: each message once, in order. Returns the rows by msgid.
async fn everything(site: &Site, entries: &[Entry]) -> Result<BTreeMap<String, serde_json::Value>> {
    let is_staff =
        |id: &str| !id.starts_with("wm") && !id.starts_with("wo") && !id.starts_with("wb") && id != "customer456";
    let client = site.client();
    let mut seen = BTreeMap::new();
    for ((staff, peer), expected) in conversations(entries, is_staff) {
        // In a group whoever of staff wrote or received there may read it.
        let staff = if staff.is_empty() {
            let everybody = expected.iter().flat_map(|entry| entry.to.iter().chain([&entry.from]));
            everybody.into_iter().find(|id| is_staff(id)).context("a member of staff")?.clone()
        } else {
            staff
        };
        let params = [
            ("ext_staff_id", staff.as_str()),
            ("receiver_id", peer.as_str()),
            ("ext_corp_id", "corp123"),
            ("sort_field", "id"),
            ("sort_type", "asc"),
        ];
        let rows = client.all("session-msgs", &params).await?;
        let found: Vec<_> = rows.iter().filter_map(|row| row["msgid"].as_str()).collect();
        let expected: Vec<_> = expected.iter().map(|entry| entry.msgid.as_str()).collect();
        ensure!(found == expected, "{staff} with {peer}: found {found:?}\nexpected {expected:?}");
        for row in rows {
            let msgid = row["msgid"].as_str().context("a msgid")?.to_owned();
            ensure!(seen.insert(msgid.clone(), row).is_none(), "{msgid} is in two conversations");
        }
    }
    let switches = entries.iter().filter(|entry| entry.kind == "switch").count();
    ensure!(seen.len() + switches == entries.len(), "{} of {} messages", seen.len(), entries.len());
    Ok(seen)
}

/// Searches for a piece of every second text, over all instances.
async fn findable(site: &Site, entries: &[Entry], rng: &mut StdRng) -> Result<()> {
    for entry in entries.iter().filter(|entry| !entry.find.is_empty()).step_by(2) {
        let text = &entry.find[rng.random_range(0..entry.find.len())];
        let characters: Vec<char> = text.chars().collect();
        let start = rng.random_range(0..characters.len());
        let piece: String = characters[start..characters.len().min(start + rng.random_range(8..30))].iter().collect();
        if piece.trim().is_empty() {
            continue;
        }
        let query: String = url::form_urlencoded::byte_serialize(piece.as_bytes()).collect();
        let mut offset = 0;
        loop {
            let reply = site.admin(&format!("/api/v1/archive/search?q={query}&limit=100&offset={offset}")).await?;
            let rows = reply["rows"].as_array().context("rows")?;
            if rows.iter().any(|row| row["native_id"] == format!("corp123/{}", entry.msgid)) {
                break;
            }
            ensure!(!rows.is_empty(), "{piece:?} does not find {}", entry.msgid);
            offset += rows.len();
        }
    }
    Ok(())
}

/// Every file of every message has a link, and every content is right.
async fn files(entries: &[Entry], rows: &BTreeMap<String, serde_json::Value>) -> Result<()> {
    let http = stele_tests::client::http();
    let mut checked = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.media.len() == 1) {
        let link = rows[&entry.msgid]["chat_msg_content"]["file_url"].as_str().unwrap_or_default();
        ensure!(!link.is_empty(), "{} ({}) has no file", entry.msgid, entry.kind);
        if checked.insert(&entry.media[0].md5) {
            let bytes = http.get(link).send().await?.error_for_status()?.bytes().await?;
            ensure!(hex::encode(Md5::digest(&bytes)) == entry.media[0].md5, "the file of {} is damaged", entry.msgid);
        }
    }
    ensure!(checked.len() > 10, "{} contents", checked.len());
    Ok(())
}
