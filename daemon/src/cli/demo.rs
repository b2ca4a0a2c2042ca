//! `steled demo`: the real path, from a generated company to a signed request, on a throw-away folder.
//!
//! The company comes from the demo kit, a program beside this one: it writes the upstream folder of a stub of the vendor's
//! library and a configuration, and serves the company's directory as long as its standard input is open. Once the daemon
//! serves, the kit is called again: it fills what is filled through the daemon's listeners, and says what to try.

use super::client::JobPort;
use super::sync::{Followed, follow};
use crate::config::Config;
use crate::jobs::{DIRECTORY, MEDIA, SYNC};
use crate::lifecycle::{self, App, Mode, logging};
use anyhow::{Context, Result, bail, ensure};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Name of the kit's program.
const KIT: &str = "stele-demo-kit";
/// Longest wait for the kit's company.
const KIT_PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Archive the company, print one line of JSON, and end
    #[arg(long)]
    exit: bool,
    /// How many messages the company has written
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    messages: u32,
    /// Where the instance listens
    #[arg(long, default_value = "127.0.0.1:9002")]
    listen: SocketAddr,
    /// Where the instance that delivers live listens
    #[arg(long, default_value = "127.0.0.1:8088")]
    live: SocketAddr,
    /// Where WuKongIM's message API listens
    #[arg(long, default_value = "127.0.0.1:5001")]
    im: SocketAddr,
    /// Where OpenIM's message search listens
    #[arg(long, default_value = "127.0.0.1:10002")]
    openim: SocketAddr,
    /// Where the daemon's own API listens
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Folder to use and to keep [default: one that is deleted at the end]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The demo kit [default: beside this program]
    #[arg(long, env = "STELE_DEMO_KIT", value_name = "FILE")]
    kit: Option<PathBuf>,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    if !arguments.exit {
        // The company takes its time to make: better told now.
        is_free("--listen", arguments.listen)?;
        is_free("--live", arguments.live)?;
        is_free("--im", arguments.im)?;
        is_free("--openim", arguments.openim)?;
        is_free("--admin", arguments.admin)?;
    }
    let throw_away = tempfile::Builder::new().prefix("stele-demo-").tempdir()?;
    let folder = arguments.folder.as_deref().unwrap_or(throw_away.path());
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    eprintln!("making a company that has written {} messages ...", HumanCount(arguments.messages.into()));
    let kit = Kit::start(&arguments, folder).await?;
    let mut config = Config::load(Some(&folder.join("steled.toml")))?;
    if std::env::var_os("STELE_LOG__LEVEL").is_none() {
        config.log.level = "warn".to_owned();
    }
    let filter = logging::begin(&config.log);
    let mut figures = archive(&arguments, config.clone()).await?;
    if arguments.exit {
        figures["sent"] = use_briefly(&kit, config).await?.into();
        println!("{figures}");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("archived: {figures}\n");
    let file = folder.join("steled.toml");
    let source = Box::new(move || Config::load(Some(&file)));
    let served = lifecycle::serve(config, source, filter, |app| {
        let examples = kit.fill(app).map_err(|error| format!("{error:#}"))?;
        let addresses = app.overview().instances().into_iter().filter_map(|instance| instance.listen);
        let listen = addresses.map(|address| format!("http://{address}")).collect::<Vec<_>>().join(", ");
        let admin = app.admin_address().map(|address| address.to_string()).unwrap_or_default();
        println!(
            "{examples}\n# the daemon's own API\ncurl 'http://{admin}/api/v1/archive/search?q=%E4%BA%A7%E5%93%81'"
        );
        println!("curl 'http://{admin}/api/v1/jobs'\n\nserving on {listen}; end with Ctrl-C");
        Ok(())
    });
    served.await?;
    Ok(ExitCode::SUCCESS)
}

fn is_free(option: &str, address: SocketAddr) -> Result<()> {
    let bound = std::net::TcpListener::bind(address);
    bound.map(drop).with_context(|| format!("{address} cannot be listened on; choose another address with {option}"))
}

/// Serves for as long as the kit takes to fill what it fills; returns how many messages that were.
async fn use_briefly(kit: &Kit, mut config: Config) -> Result<u64> {
    // Nobody is to find it, so that it disturbs nobody who has these addresses.
    config.admin.listen.set_port(0);
    config.instances.iter_mut().filter_map(|instance| instance.listen.as_mut()).for_each(|listen| listen.set_port(0));
    let app = App::start(config, Mode::Serve).await?;
    app.settled().await;
    let before = app.parts().archive.stats(None).await?.messages;
    let filled = kit.fill(&app);
    let after = app.parts().archive.stats(None).await?.messages;
    app.stop().await;
    filled?;
    Ok(after - before)
}

/// Messages, people, files, and how long that took.
async fn archive(arguments: &Arguments, config: Config) -> Result<Value> {
    let instances: Vec<String> = config.instances.iter().map(|instance| instance.name.clone()).collect();
    let app = App::start(config, Mode::Jobs).await?;
    app.settled().await;
    let unwell = app.unwell();
    let port = JobPort::Here(Box::new(app));
    ensure!(unwell.is_empty(), "{}", unwell.join("; "));
    let template = "{bar:40} {pos}/{len} messages, {per_sec} [{elapsed}]";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::new(arguments.messages.into()).with_style(style);
    let begun = Instant::now();
    for instance in offering(SYNC, &port, &instances).await? {
        check(&follow(&port, instance, SYNC, None, |stored| bar.set_position(stored)).await?)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    bar.finish_and_clear();
    for kind in [DIRECTORY, MEDIA] {
        for instance in offering(kind, &port, &instances).await? {
            check(&follow(&port, instance, kind, None, |_| {}).await?)?;
        }
    }
    let JobPort::Here(app) = port else { unreachable!("it was made here") };
    app.parts().tailer.catch_up().await?;
    let stats = app.parts().archive.stats(None).await?;
    let media = app.parts().archive.media_totals(None).await?;
    app.stop().await;
    Ok(json!({
        "messages": stats.messages,
        "conversations": stats.conversations,
        "people": stats.people,
        "media": media.stored,
        "seconds": (seconds * 1000.0).round() / 1000.0,
        "messages_per_second": (stats.messages as f64 / seconds).round(),
    }))
}

/// The instances that have jobs of this kind.
async fn offering<'i>(kind: &str, port: &JobPort, instances: &'i [String]) -> Result<Vec<&'i str>> {
    let mut offering = Vec::new();
    for instance in instances {
        let jobs = port.snapshot(instance).await?["jobs"].take();
        let is_its = |job: &Value| job["key"]["instance"] == **instance && job["key"]["kind"] == *kind;
        if jobs.as_array().is_some_and(|jobs| jobs.iter().any(is_its)) {
            offering.push(instance.as_str());
        }
    }
    Ok(offering)
}

fn check(followed: &Followed) -> Result<()> {
    let failed = followed.runs.iter().find_map(|run| run["report"]["error"].as_str());
    match failed.or(followed.missing.first().map(String::as_str)) {
        Some(error) => bail!("a job failed: {error}"),
        None => Ok(()),
    }
}

/// The kit's process; it ends when this is dropped.
struct Kit {
    program: PathBuf,
    folder: PathBuf,
    _child: Child,
}

impl Kit {
    async fn start(arguments: &Arguments, folder: &Path) -> Result<Self> {
        let program = match &arguments.kit {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name(KIT),
        };
        if !program.is_file() {
            bail!(
                "the demo kit {} is not there: run `make demo` in the sources, or name it with --kit",
                program.display()
            );
        }
        let mut child = Command::new(&program)
            .arg("--out")
            .arg(folder)
            .args(["--messages", &arguments.messages.to_string()])
            .args(["--listen", &arguments.listen.to_string()])
            .args(["--live", &arguments.live.to_string()])
            .args(["--im", &arguments.im.to_string()])
            .args(["--openim", &arguments.openim.to_string()])
            .args(["--admin", &arguments.admin.to_string()])
            .arg("--serve-directory")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let stdout = child.stdout.take().context("the kit has no standard output")?;
        let mut first = String::new();
        let mut lines = BufReader::new(stdout);
        // It says one line when the company is there.
        let read = tokio::time::timeout(KIT_PATIENCE, lines.read_line(&mut first)).await;
        if read.context("the demo kit takes too long")?? == 0 {
            bail!("the demo kit ended: {}", child.wait().await?);
        }
        Ok(Self { program, folder: folder.to_owned(), _child: child })
    }

    /// Has the kit fill what is filled through the listeners of a daemon that serves; returns what to try.
    fn fill(&self, app: &App) -> Result<String> {
        let unwell = app.unwell();
        ensure!(unwell.is_empty(), "{}", unwell.join("; "));
        let mut command = std::process::Command::new(&self.program);
        command.arg("--out").arg(&self.folder).arg("--fill").stdin(Stdio::null()).stderr(Stdio::inherit());
        for instance in app.overview().instances() {
            if let Some(listen) = instance.listen {
                command.arg("--served").arg(format!("{}={listen}", instance.name));
            }
        }
        let output = tokio::task::block_in_place(|| command.output()).context("the demo kit cannot be started")?;
        ensure!(output.status.success(), "the demo kit failed: {}", output.status);
        String::from_utf8(output.stdout).context("what the demo kit says is no text")
    }
}
