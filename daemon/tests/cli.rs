//! The program: its help, its exit codes, its signals.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use stele_servers::{Durability, Postgres, skip::skip};
use stele_store::{PostgresArchive, PostgresOptions, PostgresUrl};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn steled(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steled"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = steled(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn write(folder: &Path, text: &str) -> String {
    let file = folder.join("steled.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn help_is_as_it_was() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("help", help);
    for command in ["serve", "check", "demo", "sync", "jobs", "plugins", "reindex", "verify", "migrate"] {
        let (code, help, _) = run(&[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        insta::assert_snapshot!(format!("help-{command}"), help);
    }
}

#[test]
fn exit_codes_tell_what_kind_of_failure_it_was() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&["nonsense"]).0, 2);
    let wrong = write(folder.path(), "[log]\nlevle = 'x'\n[jobs]\nconcurrency = 0\n");
    for command in
        [&["check"][..], &["serve"], &[], &["jobs"], &["sync", "hq"], &["reindex"], &["verify"], &["plugins"]]
    {
        let (code, stdout, stderr) = run(&[command, &["--config", &wrong]].concat());
        assert_eq!((code, stdout.as_str()), (78, ""), "{command:?}");
        assert!(stderr.starts_with("2 errors in the configuration\n"), "{stderr}");
        assert!(stderr.contains("steled.toml:2:1: log.levle: unknown key; did you mean \"level\"?"), "{stderr}");
    }
    let (code, _, stderr) = run(&["check", "--config", "/nowhere.toml"]);
    assert_eq!(code, 78);
    assert!(stderr.contains("/nowhere.toml: cannot be read: "), "{stderr}");
    let (code, _, stderr) = run(&["plugins", "check", "/nowhere.so"]);
    assert_eq!((code, stderr.as_str()), (1, "error: there is no plugin file /nowhere.so\n"));
    let (code, _, stderr) = run(&["demo", "--kit", "/nowhere"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("error: the demo kit /nowhere is not there"), "{stderr}");
}

#[test]
fn check_says_what_is_not_there_and_prints_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "[[instance]]\nname = 'hq'\nplugin = 'nowhere'\n[instance.config]\nsecret = 'topsecret'\nlibrary = '/lib'\n";
    let file = write(folder.path(), text);
    let (code, stdout, stderr) = run(&["check", "--config", &file]);
    assert_eq!((code, stdout), (0, format!("{file}: ok, 1 instance\n")));
    assert!(stderr.starts_with("warning: instance hq: there is no plugin \"nowhere\" in "), "{stderr}");
    let (code, printed, _) = run(&["check", "--print", "--config", &file]);
    assert_eq!(code, 0);
    assert!(printed.contains("library = \"/lib\"") && printed.contains("secret = \"***\""), "{printed}");
    assert!(!printed.contains("topsecret"));
    let (code, default, _) = run(&["check", "--default"]);
    assert_eq!((code, default.as_str()), (0, steled::config::DEFAULT_FILE));
}

#[test]
fn an_archive_in_postgres_is_made_by_no_command_that_reads() {
    let server = match Postgres::start(Durability::None) {
        Ok(server) => server,
        Err(error) => return skip("commands on a Postgres", &format!("no server can be started: {error:#}")),
    };
    let url = server.database().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("url"), &url).unwrap();
    let file = write(folder.path(), "data_dir = 'data'\n[archive]\nurl = { file = 'url' }\n");
    for command in ["jobs", "reindex", "verify"] {
        let (code, stdout, stderr) = run(&[command, "--config", &file]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{command}");
        assert!(stderr.contains("stele_0 at 127.0.0.1:") && stderr.contains("holds no archive"), "{stderr}");
    }
    let open = async { PostgresArchive::open(&PostgresOptions::new(PostgresUrl::new(url))).await };
    tokio::runtime::Runtime::new().unwrap().block_on(open).unwrap();
    let (code, stdout, stderr) = run(&["verify", "--config", &file]);
    assert_eq!((code, stdout.as_str()), (0, "0 pages, 0 messages: all as they were written\nhead -\n"), "{stderr}");
    let (code, _, stderr) = run(&["jobs", "--config", &file]);
    assert_eq!(code, 0, "{stderr}");
    let kept = folder.path().join("data");
    assert!(kept.join("daemon.id").exists() && !kept.join("archive.db").exists());
}

#[test]
fn a_command_that_reads_makes_no_archive() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "data_dir = 'data'\n");
    for command in ["jobs", "reindex"] {
        let (code, stdout, stderr) = run(&[command, "--config", &file]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{command}");
        assert!(
            stderr.contains("data/archive.db: nothing was archived yet, or data_dir is another folder"),
            "{stderr}"
        );
        assert!(!folder.path().join("data").exists(), "{command}");
    }
}

#[test]
fn completions_name_the_commands() {
    let (code, script, _) = run(&["completions", "bash"]);
    assert_eq!(code, 0);
    assert!(script.contains("reindex") && !script.contains("plugin-host --"), "{script}");
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// A daemon without instances; its own API is the one it wrote into the lock file.
fn serve(folder: &Path) -> (std::process::Child, String) {
    let file = write(folder, "data_dir = 'data'\n[admin]\nlisten = '127.0.0.1:0'\n[log]\nformat = 'json'\n");
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = steled(&["--config", &file]).stderr(log).stdout(Stdio::null()).spawn().unwrap();
    let log = folder.join("log");
    wait_for("readiness", || std::fs::read_to_string(&log).ok().filter(|log| log.contains("\"message\":\"ready\"")));
    (child, file)
}

fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn the_daemon_lives_by_its_signals() {
    use rustix::process::Signal;
    let folder = tempfile::tempdir().unwrap();
    let (mut child, file) = serve(folder.path());
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();

    // The archive is for nobody else on this machine.
    let data = std::fs::metadata(folder.path().join("data")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o777, 0o700);

    // Commands find the daemon that holds the folder.
    let (code, stdout, stderr) = run(&["jobs", "--config", &file]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("no jobs yet"), "{stdout}");
    let (code, stdout, stderr) = run(&["reindex", "--config", &file]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("indexed 0 messages in "), "{stdout}");
    let (code, _, stderr) = run(&["sync", "hq", "--config", &file]);
    assert_eq!((code, stderr.as_str()), (1, "error: instance \"hq\" has no \"sync\" job\n"));

    // A second daemon is told who has it.
    let (code, _, stderr) = run(&["serve", "--config", &file]);
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("data is in use by process {}", child.id())), "{stderr}");

    // A reload: a wrong configuration is refused, a right one taken.
    let right = std::fs::read_to_string(&file).unwrap();
    write(folder.path(), "nonsense = 1");
    signal(&child, Signal::HUP);
    wait_for("refusal", || log().contains("keeping the configuration in use").then_some(()));
    let junk = folder.path().join("junk.so");
    std::fs::write(&junk, "no plugin").unwrap();
    let junk = format!("[[instance]]\nname = 'junk'\nplugin = '{}'\n", junk.display());
    write(
        folder.path(),
        &format!("{right}[jobs]\nconcurrency = 2\n[[instance]]\nname = 'new'\nplugin = '/nowhere.so'\n{junk}"),
    );
    signal(&child, Signal::HUP);
    wait_for("reload", || log().contains("\"message\":\"configuration read again\"").then_some(()));
    wait_for("a word about a restart", || log().contains("\"sections\":\"jobs\"").then_some(()));
    assert!(log().contains("\"started\":\"junk,new\""), "{}", log());

    // What was given up is tried again by a reload, also when the configuration is the same.
    signal(&child, Signal::HUP);
    wait_for("another try", || log().contains("\"restarted\":\"junk\"").then_some(()));

    signal(&child, Signal::TERM);
    let status = wait_for("end", || child.try_wait().unwrap());
    assert!(status.success(), "{status}: {}", log());
    assert!(log().contains("\"message\":\"stopped\""), "{}", log());

    // Nobody holds the folder now: the same commands work on it themselves.
    let (code, stdout, stderr) = run(&["reindex", "--config", &file]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("indexed 0 messages in "), "{stdout}");
}

#[test]
fn systemd_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let file = write(folder.path(), "data_dir = 'data'\n[admin]\nlisten = '127.0.0.1:0'\n");
    let mut child = steled(&["serve", "--config", &file])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "300000")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let next = |wanted: &str| {
        let mut buffer = [0; 1024];
        for _ in 0..1000 {
            let read = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            if String::from_utf8_lossy(&buffer[..read]).lines().any(|line| line == wanted) {
                return;
            }
        }
        panic!("no {wanted} among 1000 notifications");
    };
    next("READY=1");
    next("WATCHDOG=1");
    next("WATCHDOG=1");
    signal(&child, rustix::process::Signal::INT);
    next("STOPPING=1");
    assert!(wait_for("end", || child.try_wait().unwrap()).success());
}
