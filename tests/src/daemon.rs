//! The real `steled`, in a process of its own.

use crate::{backing::Backing, client::Client, places, settings::Settings};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    future::Future,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
pub use stele_servers::free_address;
use tokio::process::{Child, Command};

/// How long to wait for anything before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Pause between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(15);

/// Waits for a condition: `look` returns what was waited for, or what it saw instead.
pub async fn wait_for<T, F>(what: &str, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, String>>,
{
    let begin = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(seen) if begin.elapsed() > PATIENCE => bail!("no {what} within {PATIENCE:?}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// A folder for one daemon, its configuration and its log. Outlives the processes started in it.
pub struct Site {
    /// The folder.
    pub dir: tempfile::TempDir,
    /// What the next start will use.
    pub settings: Settings,
    /// What the daemon keeps its archive and its index in, as variables of its surroundings.
    backing: Vec<(&'static str, String)>,
    http: reqwest::Client,
}

impl Site {
    /// A site whose settings come from `make`, which gets the folder.
    pub fn new(make: impl FnOnce(&Path) -> Result<Settings>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("stele-").tempdir()?;
        let mut settings = make(dir.path())?;
        settings.listen = free_address()?;
        settings.admin = free_address()?;
        settings.data_dir = dir.path().join("data");
        Ok(Self { dir, settings, backing: Backing::usual()?.settings()?, http: crate::client::http() })
    }

    /// The same with this backing, a new one.
    pub fn backed_by(self, backing: Backing) -> Result<Self> {
        Ok(Self { backing: backing.settings()?, ..self })
    }

    /// The same with the backing of another one: their daemons share it.
    pub fn beside(self, other: &Self) -> Self {
        Self { backing: other.backing.clone(), ..self }
    }

    /// A site of these sections, e.g. instances, and nothing else.
    pub fn of(sections: String) -> Result<Self> {
        Self::new(|_| Ok(Settings { sections, ..Settings::empty() }))
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("steled.toml")
    }

    /// Everything all daemons of this site have written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("steled.log")).unwrap_or_default()).into_owned()
    }

    /// A client with the contract's key.
    pub fn client(&self) -> Client {
        self.client_with(crate::settings::API_KEY)
    }

    /// A client with this key.
    pub fn client_with(&self, key: &str) -> Client {
        Client::new(&format!("http://{}", self.settings.listen), key)
    }

    /// A command of `steled` on this site's configuration, its surroundings empty.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        fs::write(self.config_file(), self.settings.toml())?;
        let mut command = Command::new(places::program("steled")?);
        places::plugin("wecom")?;
        command.args(arguments).env_clear().env("STELE_CONFIG", self.config_file()).env("RUST_BACKTRACE", "1");
        command.envs(self.backing.iter().map(|(name, value)| (name, value)));
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    /// Runs a command to its end and returns its standard output; fails unless it succeeds.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?.output().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = output.status;
        ensure!(
            status.success(),
            "steled {arguments:?} ended with {status}:\n{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    }

    /// Starts the daemon without waiting for it.
    pub fn spawn(&self) -> Result<Daemon> {
        self.spawn_as(self.command(&["serve"])?)
    }

    fn spawn_as(&self, mut command: Command) -> Result<Daemon> {
        let log = OpenOptions::new().create(true).append(true).open(self.dir.path().join("steled.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        Ok(Daemon { child: command.spawn().context("steled cannot be started")? })
    }

    /// Starts the daemon and waits until it says it is ready.
    pub async fn start(&self) -> Result<Daemon> {
        self.ready(self.spawn()?).await
    }

    /// The same, after a command of the shell that the daemon's process goes on from, e.g. `ulimit -Sn 64`.
    pub async fn start_under(&self, shell: &str) -> Result<Daemon> {
        let daemon = self.command(&[])?;
        let (plain, mut command) = (daemon.as_std(), Command::new("sh"));
        let program = plain.get_program().to_owned();
        command.arg("-c").arg(format!("{shell}; exec \"$0\" serve")).arg(program).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.dir.path()).stdin(Stdio::null()).kill_on_drop(true);
        self.ready(self.spawn_as(command)?).await
    }

    async fn ready(&self, mut daemon: Daemon) -> Result<Daemon> {
        let ready = wait_for("readiness", || {
            let ended = daemon.child.try_wait().ok().flatten();
            async move {
                if let Some(status) = ended {
                    return Ok(Err(status));
                }
                match self.http.get(format!("http://{}/ready", self.settings.admin)).send().await {
                    Ok(response) if response.status().is_success() => Ok(Ok(())),
                    Ok(response) => Err(response.text().await.unwrap_or_default()),
                    Err(error) => Err(error.to_string()),
                }
            }
        });
        match ready.await {
            Ok(Ok(())) => Ok(daemon),
            Ok(Err(status)) => bail!("steled ended with {status}:\n{}", self.log_tail()),
            Err(error) => bail!("{error}\n{}", self.log_tail()),
        }
    }

    /// The end of the log, for failures, without the requests.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().filter(|line| !line.contains("steled::access")).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// A reply of the admin listener, as JSON.
    pub async fn admin(&self, path: &str) -> Result<Value> {
        let response = self.http.get(format!("http://{}{path}", self.settings.admin)).send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "{path} answered {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path} answered no JSON: {text}"))
    }

    /// A metric's value, all its series added up; 0 when it does not occur.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.http.get(format!("http://{}/metrics", self.settings.admin)).send().await?.text().await?;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        Ok(text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

/// A running daemon. Killed when dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Process ids of its children: the plugins.
    pub fn children(&self) -> Vec<u32> {
        let Some(pid) = self.pid() else { return Vec::new() };
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children =
            lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>());
        // The one that ends what plugins have started is no plugin.
        let is_keeper = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("\0plugin-keeper"))
        };
        children.filter(|pid| !is_keeper(pid)).collect()
    }

    /// SIGKILL; returns when the process and its plugins are gone.
    pub async fn kill(mut self) -> Result<()> {
        let children = self.children();
        self.child.kill().await?;
        wait_for("end of the plugins", || async {
            match children.iter().find(|pid| is_alive(**pid)) {
                Some(pid) => Err(format!("process {pid} outlives its daemon")),
                None => Ok(()),
            }
        })
        .await
    }

    /// The most bytes a file it writes may have from now on; `None` for any number.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(self.process()?), Resource::Fsize, limit)?;
        Ok(())
    }

    /// SIGHUP: the configuration is read again.
    pub fn reload(&self) -> Result<()> {
        Ok(kill_process(self.process()?, Signal::HUP)?)
    }

    fn process(&self) -> Result<Pid> {
        self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).context("it has ended already")
    }

    /// SIGTERM; returns how it ended.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        kill_process(self.process()?, Signal::TERM)?;
        tokio::time::timeout(PATIENCE, self.child.wait()).await.context("it does not stop")?.map_err(Into::into)
    }
}

/// A line of a process's status, in KiB: `VmRSS`, or `VmHWM`, the most it ever had.
pub fn memory(pid: u32, line: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next());
    Ok(found.with_context(|| format!("no {line}"))?.parse()?)
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
