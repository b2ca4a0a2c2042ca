//! The unit file is one systemd accepts, and it is as tight as it claims.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Highest exposure `systemd-analyze security` may find, in tenths (its scale goes from 0 to 10).
const MAX_EXPOSURE_TENTHS: u32 = 20;

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a systemd tool; `None`, said loudly, where there is none.
fn run(tool: &str, arguments: &[&std::ffi::OsStr]) -> Option<Output> {
    match Command::new(tool).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            // Past the capture of the test harness.
            _ = writeln!(std::io::stderr(), "*** SKIPPED: {tool} cannot be run on this machine ({error})");
            None
        }
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn systemd_accepts_the_unit() {
    // The unit names the installed program, which need not be there: put the one under test in its place.
    let unit = std::fs::read_to_string(top().join("config/systemd/steled.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("steled.service");
    std::fs::write(&path, unit.replace("/usr/bin/steled", env!("CARGO_BIN_EXE_steled"))).unwrap();
    let Some(output) = run("systemd-analyze", &["verify".as_ref(), "--man=no".as_ref(), path.as_ref()]) else { return };
    let about_ours: Vec<String> =
        text(&output).lines().filter(|line| line.contains("steled")).map(str::to_owned).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{about_ours:#?}");
}

#[test]
fn a_wrong_configuration_is_not_tried_again() {
    let unit = std::fs::read_to_string(top().join("config/systemd/steled.service")).unwrap();
    let values = |key: &str| -> Vec<&str> { unit.lines().filter_map(|line| line.strip_prefix(key)).collect() };
    let [start] = values("ExecStart=")[..] else { panic!("one command: {unit}") };
    // What is exempt from being tried again is an exit of this command; those of commands before it are not.
    assert_eq!(values("ExecStartPre="), [] as [&str; 0]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("steled.toml");
    std::fs::write(&file, "nonsense = 1\n").unwrap();
    let arguments = start.split_whitespace().skip(1).map(|word| match word {
        "/etc/stele/steled.toml" => file.as_os_str(),
        word => word.as_ref(),
    });
    let ended = Command::new(env!("CARGO_BIN_EXE_steled")).args(arguments).env_clear().output().unwrap();
    let code = ended.status.code().unwrap().to_string();
    assert_eq!(values("RestartPreventExitStatus="), [code.as_str()], "{}", text(&ended));
}

#[test]
fn the_unit_is_tight() {
    let unit = top().join("config/systemd/steled.service");
    let arguments: [&std::ffi::OsStr; 4] =
        ["security".as_ref(), "--offline=true".as_ref(), "--no-pager".as_ref(), unit.as_ref()];
    let Some(output) = run("systemd-analyze", &arguments) else { return };
    let text = text(&output);
    let line = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{text}"));
    let exposure = line.split_whitespace().find(|word| word.contains('.') && word.parse::<f64>().is_ok()).unwrap();
    let tenths: u32 = exposure.replace('.', "").parse().unwrap();
    assert!(tenths <= MAX_EXPOSURE_TENTHS, "exposure {exposure}\n{text}");
}

#[test]
fn sysusers_and_tmpfiles_accept_theirs() {
    let root = tempfile::tempdir().unwrap();
    let root = format!("--root={}", root.path().display());
    let users = top().join("config/systemd/steled.sysusers");
    if let Some(output) = run("systemd-sysusers", &["--dry-run".as_ref(), root.as_ref(), users.as_ref()]) {
        assert!(output.status.success() && text(&output).contains("stele"), "{}", text(&output));
    }
    let entries = std::fs::read_to_string(top().join("config/systemd/steled.tmpfiles")).unwrap();
    for line in entries.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert!(
            matches!(fields[..], ["d", path, "0750", "root", "stele", "-"] if path.starts_with("/etc/stele"))
                || fields == ["z", "/etc/stele/steled.toml", "0640", "root", "stele", "-"],
            "{line}"
        );
    }
}
