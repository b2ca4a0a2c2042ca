//! The two sample clients printed in contract 000, unchanged, against the demo's corp on the address they name.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};
use stele_tests::{
    corp::{CorpFolder, CorpSpec},
    daemon::Site,
    fetch,
    report::Report,
    settings::Settings,
    skip::skip,
    source_root,
};
use tokio::process::Command;

/// Where the samples look for the service.
const LISTEN: &str = "127.0.0.1:9002";

fn sample(name: &str) -> Result<String> {
    let path = source_root().join("tests/data").join(name);
    fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Runs an interpreter; `None` when there is none.
async fn run(program: &Path, arguments: &[&str]) -> Option<Output> {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().await.ok()
}

fn printed(output: &Output) -> Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "ended with {}: {}", output.status, text(&output.stderr));
    Ok(text(&output.stdout))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contracts_sample_clients_get_rows() -> Result<()> {
    if std::net::TcpListener::bind(LISTEN).is_err() {
        skip("the contract's sample clients", "something else listens on port 9002");
        return Ok(());
    }
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(300), upstream.path())?;
    let mut site = Site::new(|dir| Ok(Settings::of(&folder, dir, "", "")))?;
    site.settings.listen = LISTEN.into();
    let _daemon = site.start().await?;
    site.sync().await?;
    let mut report = Report::default();
    report.check("JavaScript", javascript()).await;
    report.check("Python", python()).await;
    report.finish(&site.log_tail());
    Ok(())
}

async fn javascript() -> Result<()> {
    // Only the call is added: the sample defines the function and leaves calling it to the reader.
    let script = format!("{}\ngetSessionList();\n", sample("contract-000-sample.js")?);
    let Some(output) = run(Path::new("node"), &["-e", &script]).await else {
        skip("the contract's JavaScript sample", "node cannot be run");
        return Ok(());
    };
    let text = printed(&output)?;
    if !text.contains("code: 0") || !text.contains("message: 'success'") || text.contains("items: []") {
        bail!("printed {text}");
    }
    ensure!(text.contains("total:") && text.contains("items: ["), "printed {text}");
    Ok(())
}

async fn python() -> Result<()> {
    let interpreter = match fetch::python_with("requests") {
        Ok(interpreter) => interpreter,
        Err(error) => {
            skip("the contract's Python sample", &format!("{error:#}"));
            return Ok(());
        }
    };
    let script = format!("{}\nget_chat_messages()\n", sample("contract-000-sample.py")?);
    let output = run(&interpreter, &["-c", &script]).await.context("python3 ran a moment ago")?;
    let text = printed(&output)?;
    ensure!(text.contains("'code': 0") && text.contains("'message': 'success'"), "printed {text}");
    ensure!(text.contains("'msgid'") && text.contains("staff123") && text.contains("customer456"), "printed {text}");
    Ok(())
}
