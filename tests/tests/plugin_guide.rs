//! `docs/plugin-guide.md` does what it says: its files compile, its commands answer what it shows, and each mistake it names is told
//! in the words it quotes.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use stele_tests::{
    daemon::{free_address, wait_for},
    places,
    skip::skip,
    source_root,
};

const GUIDE: &str = include_str!("../../docs/plugin-guide.md");

/// A fenced block of the guide.
struct Block<'a> {
    language: &'a str,
    /// The name of the file it is, if it is one.
    file: Option<&'a str>,
    text: &'a str,
}

fn blocks() -> Vec<Block<'static>> {
    assert!(GUIDE.matches("```").count().is_multiple_of(2), "a block of the guide has no end");
    let parts = GUIDE.split("```").skip(1).step_by(2);
    parts
        .map(|part| {
            let (head, text) = part.split_once('\n').expect("a block has lines");
            let (language, file) = head.split_once(" file=").map_or((head, None), |(l, file)| (l, Some(file)));
            Block { language, file, text }
        })
        .collect()
}

/// An author's folder beside the source tree, as the guide has it, with the files of the guide in it.
struct Workshop {
    folder: tempfile::TempDir,
    /// What is different here from what the guide says: addresses.
    replaced: Vec<(&'static str, String)>,
}

impl Workshop {
    fn new() -> Result<Self> {
        let replaced = vec![("127.0.0.1:7070", free_address()?), ("127.0.0.1:7007", free_address()?)];
        let workshop = Self { folder: tempfile::Builder::new().prefix("stele-guide-").tempdir()?, replaced };
        symlink(source_root(), workshop.folder.path().join("stele"))?;
        fs::create_dir_all(workshop.notes().join("src"))?;
        for block in blocks() {
            if let Some(file) = block.file {
                fs::write(workshop.notes().join(file), workshop.here(block.text))?;
            }
        }
        // What is built is kept for the next time, of the versions the workspace has: nothing is fetched.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-guide");
        fs::create_dir_all(&target)?;
        symlink(target, workshop.notes().join("target"))?;
        fs::copy(source_root().join("Cargo.lock"), workshop.notes().join("Cargo.lock"))?;
        Ok(workshop)
    }

    fn notes(&self) -> PathBuf {
        self.folder.path().join("notes")
    }

    fn here(&self, text: &str) -> String {
        self.replaced.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn shell(&self, command: &str) -> Result<Command> {
        let programs = places::program("steled")?.parent().context("a program is in a folder")?.to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path)))?;
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(self.notes()).env("PATH", path).env("CARGO_NET_OFFLINE", "true");
        // What cargo told this test is not meant for another workspace, nor for the daemon, which reads such variables.
        shell.env_remove("CARGO_TARGET_DIR").stdin(Stdio::null());
        let ours =
            std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("STELE_"));
        ours.for_each(|name| _ = shell.env_remove(name));
        Ok(shell)
    }

    /// Runs a command; whether it went well, and all it said.
    fn run(&self, command: &str) -> Result<(bool, String)> {
        let output = self.shell(&format!("{command} 2>&1"))?.output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// The commands of a block, each of which must answer what the block shows.
    fn try_out(&self, block: &str) -> Result<()> {
        for part in self.here(block).split("$ ").skip(1) {
            let (command, shown) = part.split_once('\n').unwrap_or((part, ""));
            let (_, said) = self.run(command)?;
            let mut lines = said.lines();
            for line in shown.lines() {
                ensure!(lines.any(|said| said == line), "`{command}` does not say {line:?}:\n{said}");
            }
            ensure!(!shown.is_empty() || !said.contains("FAIL") && !said.contains("error"), "`{command}`:\n{said}");
        }
        Ok(())
    }
}

/// The daemon of the guide, until it is dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Serving {
    async fn start(workshop: &Workshop) -> Result<Self> {
        let log = fs::File::create(workshop.folder.path().join("steled.log"))?;
        let mut command = workshop.shell("exec steled --config steled.toml serve")?;
        let serving = Self(command.stdout(log.try_clone()?).stderr(log).spawn()?);
        let ready = workshop.here("http://127.0.0.1:7070/ready");
        wait_for("readiness", || async {
            match reqwest::get(&ready).await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(answer.text().await.unwrap_or_default()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        Ok(serving)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_the_guide_shows_happens() -> Result<()> {
    let workshop = Workshop::new()?;
    let mut serving = None;
    for block in blocks().iter().filter(|block| block.language == "console") {
        if block.text.contains("curl ") {
            if !workshop.run("curl --version")?.0 {
                skip("what the guide does with curl", "there is no curl");
                continue;
            }
            serving = Some(Serving::start(&workshop).await?);
        }
        workshop.try_out(block.text)?;
    }
    ensure!(serving.is_some() || !workshop.run("curl --version")?.0, "the guide serves its plugin");
    Ok(())
}

/// What an author gets wrong in `greeter.c`, as `(this, made that)`, and a part of what they are told of it.
const IN_C: &[(&str, &str, &str)] = &[
    ("#define STELE_BUILDING_PLUGIN\n", "", "it does not export `stele_plugin_v1`"),
    ("{ free(ctx); }", "{ extern void forgotten(void *); forgotten(ctx); }", "undefined symbol: forgotten"),
    ("STELE_MAGIC, ", "0, ", "the descriptor begins with 0x00000000"),
    ("STELE_ABI, ", "2, ", "the plugin speaks ABI 2, this program speaks ABI 1"),
    ("sizeof descriptor", "0", "the descriptor has 0 bytes"),
    ("\"greeter\", \"1.0.0\", open", "0, \"1.0.0\", open", "the descriptor has no usable name"),
    ("\\\"max_calls\\\":64", "\\\"max_calls\\\":0", "are below the least"),
    ("\\\"http.handle\\\"]", "\\\"sync.pull\\\"]", "it offers sync.pull and does not support it"),
    ("free(ctx)", "free(ctx), free(ctx)", "was ended by signal 6 (SIGABRT)"),
    ("\"{\\\"ok\\\":true}\"", "\"{ok:true}\"", "unreadable payload: key must be a string"),
];

#[test]
fn mistakes_in_c_are_told_as_the_guide_says() -> Result<()> {
    let workshop = Workshop::new()?;
    let greeter = fs::read_to_string(workshop.notes().join("greeter.c"))?;
    for (this, that, told) in IN_C {
        ensure!(greeter.matches(this).count() >= 1, "{this:?} is not in the guide");
        fs::write(workshop.notes().join("wrong.c"), greeter.replacen(this, that, 1))?;
        let (built, said) = workshop.run(
            "cc -std=c11 -w -fPIC -shared -fvisibility=hidden -I../stele/plugin-api/include -o wrong.so wrong.c",
        )?;
        ensure!(built, "{that:?}: {said}");
        let (passed, said) = workshop.run("steled plugins check wrong.so")?;
        ensure!(!passed && said.contains(told), "{that:?} is told as\n{said}");
        ensure!(GUIDE.contains(told), "the guide does not quote {told:?}");
    }
    Ok(())
}

/// What is wrong in `steled.toml`, likewise.
const IN_TOML: &[(&str, &str, &str)] = &[
    ("book = \"team\"", "bok = \"team\"", "unknown key, expected `book`"),
    ("book = \"team\"", "", "missing field `book`"),
    ("book = \"team\"", "book = 7", "expected a string"),
    ("dirs = [\"target/debug\"]", "", "and is wanted in "),
    ("target/debug/libnotes.so", "target/debug/libnote.so", "there is no plugin file"),
    ("\"target/debug/libnotes.so\"", "\"notes\"", "there is no plugin"),
];

#[test]
fn mistakes_of_configuration_are_told_as_the_guide_says() -> Result<()> {
    let workshop = Workshop::new()?;
    let (built, said) = workshop.run("cargo build --quiet")?;
    ensure!(built, "{said}");
    let config = fs::read_to_string(workshop.notes().join("steled.toml"))?;
    for (this, that, told) in IN_TOML {
        ensure!(config.contains(this), "{this:?} is not in the guide");
        fs::write(workshop.notes().join("wrong.toml"), config.replacen(this, that, 1))?;
        let (_, said) = workshop.run("steled --config wrong.toml check")?;
        ensure!(said.contains(told), "{that:?} is told as\n{said}");
        ensure!(GUIDE.contains(told), "the guide does not quote {told:?}");
    }
    Ok(())
}
