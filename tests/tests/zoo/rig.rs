//! One daemon with all of them in it, one that keeps the rules beside them, and what is read of them in its log.

use crate::animals::{ANIMALS, AT_STOP, Animal, PANICS, Panics};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};
use stele_tests::{
    client::http,
    daemon::{Site, free_address, wait_for},
    places,
    settings::quoted,
    wukongim::{Wukongim, encoded},
    zoo,
};

/// Times short enough to wait for, and long enough for a machine with other things to do.
const SECTIONS: &str = "[http]\nrequest_timeout_seconds = 8\n\
    [plugins]\ndirs = DIRS\nstart_timeout_seconds = 10\nstop_timeout_seconds = 2\nsilence_seconds = 9\nmax_frame_mib = 1\n";
/// What it may take to store a message and to read it, half of the times, beside plugins that take all the machine has.
const PROMPT: Duration = Duration::from_secs(4);
/// Pause between two messages to the one that keeps the rules.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause between two looks at the log, which is read as a whole.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The daemon.
pub struct Zoo {
    pub site: Site,
    /// The one that keeps the rules.
    pub neighbour: Wukongim,
    /// Where all others are served, each under its name.
    address: String,
    http: reqwest::Client,
    /// Messages whose storing was acknowledged.
    pub kept: AtomicU64,
    /// Files of plugins that are named for what is wrong with them.
    files: tempfile::TempDir,
}

/// A line the operator is to read.
pub struct Told {
    instance: &'static str,
    plugin: PathBuf,
    words: Vec<String>,
    most: usize,
    pub at_stop: bool,
}

impl Told {
    fn is(&self, line: &str) -> bool {
        let plugin = self.plugin.display().to_string();
        line.contains(&format!("instance=\"{}\"", self.instance))
            && line.contains(&format!("plugin={plugin:?}"))
            && self.words.iter().all(|word| line.contains(word))
    }

    /// That it is there, and not more often than it may be.
    pub fn check(&self, log: &str) -> Result<()> {
        let lines: Vec<&str> = log.lines().filter(|line| self.is(line)).collect();
        let found = lines.len();
        ensure!((1..=self.most).contains(&found), "{found} lines with {:?}: {lines:?}", self.words);
        Ok(())
    }

    /// What it is about.
    pub fn name(&self) -> String {
        format!("what is told of {}: {}", self.instance, self.words.join(", "))
    }
}

impl Zoo {
    pub fn new() -> Result<Self> {
        let (neighbour, address, files) = (Wukongim::new("neighbour", "")?, free_address()?, tempfile::tempdir()?);
        for animal in ANIMALS.iter().filter(|animal| !animal.file.is_empty()) {
            fs::copy(zoo(), file_of(files.path(), animal))?;
        }
        let dirs = format!("[{}, {}]", quoted(places::build_dir()), quoted(files.path()));
        let mut sections = format!("{}\n{}", SECTIONS.replace("DIRS", &dirs), neighbour.toml());
        for animal in ANIMALS {
            let limits = format!("[instance.limits]\n{}", animal.limits);
            let limits = if animal.limits.is_empty() { "" } else { limits.as_str() };
            let config = format!("deed = \"{}\"", animal.deed);
            let plugin = file_of(files.path(), animal);
            sections += &instance(animal.name, animal.carrier, &plugin, &address, limits, &config);
        }
        let plugin = places::example("zoo")?;
        for Panics { name, carrier, at, .. } in PANICS {
            sections += &instance(name, carrier, &plugin, &address, "", &format!("panics = {at:?}"));
        }
        let (site, http) = (Site::of(sections)?, http());
        Ok(Self { site, neighbour, address, http, kept: AtomicU64::new(0), files })
    }

    /// Every line the operator is to read.
    pub fn told(&self) -> Result<Vec<Told>> {
        let of_animal = |animal: &Animal| Told {
            instance: animal.name,
            plugin: file_of(self.files.path(), animal),
            words: animal.told.iter().map(|word| (*word).to_owned()).collect(),
            most: animal.most,
            at_stop: animal.at_stop,
        };
        let mut told: Vec<Told> = ANIMALS.iter().map(of_animal).collect();
        let plugin = places::example("zoo")?;
        let places = places_of_panics();
        for Panics { name, at, told: words, .. } in PANICS {
            let line = |words: Vec<String>, at_stop| Told {
                instance: name,
                plugin: plugin.clone(),
                words,
                // An attempt, or a report of one of so many, is no repetition; there are few of both.
                most: 8,
                at_stop,
            };
            for place in *at {
                let number = places.get(*place).with_context(|| format!("nothing panics at {place:?}"))?;
                told.push(line(vec!["panicked".to_owned(), format!("zoo.rs:{number}:")], AT_STOP.contains(place)));
            }
            if !words.is_empty() {
                told.push(line(words.iter().map(|word| (*word).to_owned()).collect(), false));
            }
        }
        Ok(told)
    }

    /// The status of a request to an instance.
    pub async fn get(&self, instance: &str, path: &str) -> Result<u16> {
        let answer = self.http.get(format!("http://{}/{instance}{path}", self.address)).send().await?;
        Ok(answer.status().as_u16())
    }

    /// Waits until an instance answers as it should.
    pub async fn answers(&self, instance: &str) -> Result<()> {
        wait_for(&format!("answer of {instance}"), || async {
            match self.get(instance, "/").await {
                Ok(200) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// Has one do what it does, which is not before it has archived something, and sees it live on.
    pub async fn provoke(&self, animal: &Animal) -> Result<()> {
        if animal.asked.is_empty() {
            return Ok(());
        }
        self.answers(animal.name).await?;
        ensure!(self.get(animal.name, "/keep/1").await? == 200, "it cannot archive");
        self.kept.fetch_add(1, Ordering::Relaxed);
        for (path, statuses) in animal.asked {
            let status = self.get(animal.name, path).await?;
            ensure!(statuses.contains(&status), "{path} was answered {status}");
        }
        self.answers(animal.name).await
    }

    /// Asks for a run of a job as soon as there is one.
    pub async fn run(&self, instance: &str, kind: &str) -> Result<()> {
        wait_for(&format!("{kind} of {instance}"), || async {
            self.site.request_run_of(instance, kind).await.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    /// Writes to the one that keeps the rules, and reads, all the time; how many messages were acknowledged.
    pub async fn live_beside(&self, stop: &AtomicBool) -> Result<u64> {
        let api = self.neighbour.api();
        let (mut sent, mut times) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let payload = encoded(format!("number {sent}").as_bytes());
            let message = json!({ "from_uid": "ann", "channel_id": "all", "channel_type": 2, "payload": payload });
            let begun = Instant::now();
            let answer = api.send(&message).await?;
            sent += 1;
            ensure!(answer.message_seq == sent, "number {sent} became {}", answer.message_seq);
            let newest = api.sync(&json!({ "login_uid": "ann", "channel_id": "all", "channel_type": 2 })).await?;
            ensure!(
                newest.messages.iter().any(|message| message.message_id == answer.message_id),
                "{sent} is not read"
            );
            times.push(begun.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        ensure!(median < PROMPT, "half of {sent} messages took longer than {median:?}, the slowest {:?}", times.last());
        Ok(sent)
    }

    /// How the daemon sees an instance.
    pub async fn view(&self, name: &str) -> Result<Value> {
        let views = self.site.admin("/api/v1/instances").await?;
        let views = views["instances"].as_array().context("no list of instances")?;
        views.iter().find(|view| view["name"] == name).cloned().with_context(|| format!("no instance {name}"))
    }

    /// Waits until every line is there that is to come before the daemon stops.
    pub async fn wait_until_told(&self, told: &[Told]) -> Result<()> {
        wait_for("lines of the log", || async {
            let log = self.site.log();
            let missing = told.iter().filter(|told| !told.at_stop && !log.lines().any(|line| told.is(line)));
            let missing: Vec<String> = missing.map(Told::name).collect();
            if missing.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            Err(missing.join("\n"))
        })
        .await
    }
}

fn file_of(files: &Path, animal: &Animal) -> PathBuf {
    if animal.file.is_empty() { zoo().to_owned() } else { files.join(format!("zoo-{}.so", animal.file)) }
}

fn instance(name: &str, carrier: &str, plugin: &Path, address: &str, limits: &str, config: &str) -> String {
    format!(
        "\n[[instance]]\nname = \"{name}\"\nplugin = {}\ncarrier = \"{carrier}\"\nlisten = \"{address}\"\nprefix = \"/{name}\"\n\
         rate_limit = 0\n{limits}\n[instance.sync]\nenabled = false\n[instance.directory]\nenabled = false\n\
         [instance.config]\n{config}\n",
        quoted(plugin)
    )
}

/// The line of the plugin in Rust for each place in which it can panic.
fn places_of_panics() -> BTreeMap<&'static str, usize> {
    let source = include_str!("../../examples/zoo.rs");
    let place = |line: &'static str| Some(line.split_once(".at(\"")?.1.split_once('"')?.0);
    source.lines().zip(1..).filter_map(|(line, number)| Some((place(line)?, number))).collect()
}

/// Lines of a log that are more than information, by instance: those the daemon writes itself.
pub fn complaints(log: &str) -> BTreeMap<&str, usize> {
    let mut complaints = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")) {
        let instance = line.split_once("instance=\"").and_then(|(_, rest)| rest.split_once('"'));
        if let Some((instance, _)) = instance.filter(|_| !line.contains(" stele::plugin: ")) {
            *complaints.entry(instance).or_default() += 1;
        }
    }
    complaints
}

/// Fails while any of these processes lives, or another one of a group it leads.
pub fn gone(leaders: &[u32]) -> Result<()> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let [state, _, group, ..] = fields[..] else { continue };
        if state != "Z" && group.parse().is_ok_and(|group| leaders.contains(&group)) {
            bail!("process {pid} of the group {group} lives");
        }
    }
    Ok(())
}
