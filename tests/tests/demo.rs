//! `steled demo`: the main job with built-in data, as a new user runs it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::Stdio;
use stele_tests::places::{plugin, program};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const MESSAGES: u64 = 400;

fn demo(arguments: &[&str]) -> Result<Command> {
    program("stele-demo-kit")?;
    plugin("wecom")?;
    let mut command = Command::new(program("steled")?);
    let messages = MESSAGES.to_string();
    command.args(["demo", "--messages", &messages, "--admin", "127.0.0.1:0"]);
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

#[tokio::test]
async fn it_ends_with_one_line_of_figures() -> Result<()> {
    let output = demo(&["--exit", "--listen", "127.0.0.1:0"])?.output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", output.status);
    let printed = String::from_utf8(output.stdout)?;
    ensure!(printed.lines().count() == 1, "{printed}");
    let figures: Value = serde_json::from_str(&printed)?;
    ensure!(figures["messages"] == MESSAGES, "{figures}");
    for name in ["conversations", "people", "media", "seconds", "messages_per_second"] {
        ensure!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {figures}");
    }
    Ok(())
}

#[tokio::test]
async fn its_own_variable_is_no_setting() -> Result<()> {
    let kit = program("stele-demo-kit")?;
    let output = demo(&["--exit", "--listen", "127.0.0.1:0"])?.env("STELE_DEMO_KIT", kit).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_taken_ends_it() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let output = demo(&["--listen", &address])?.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{said}");
    ensure!(
        said.starts_with(&format!("error: {address} cannot be listened on")) && said.contains("--listen"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn what_it_says_to_try_works() -> Result<()> {
    let mut running = demo(&["--listen", "127.0.0.1:0"])?.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut lines = BufReader::new(running.stdout.take().context("it prints")?).lines();
    let mut to_try = Vec::new();
    let mut address = String::new();
    while let Some(line) = lines.next_line().await? {
        if let Some(served) = line.strip_prefix("serving on http://") {
            address = served.split(';').next().unwrap_or_default().to_owned();
            break;
        }
        if let Some(url) = line.strip_prefix("curl 'http://").and_then(|rest| rest.strip_suffix('\'')) {
            let (_, path) = url.split_once('/').context("a path")?;
            to_try.push(format!("/{path}"));
        }
    }
    ensure!(!address.is_empty(), "it never said that it serves");
    let http = stele_tests::client::http();
    let signed: Vec<&String> = to_try.iter().filter(|path| path.contains("signature=")).collect();
    ensure!(signed.len() >= 4, "{to_try:?}");
    for path in signed {
        let reply: Value = http.get(format!("http://{address}{path}")).send().await?.json().await?;
        ensure!(reply["code"] == 0, "{path}: {reply}");
        ensure!(reply["data"]["items"].as_array().is_some_and(|items| !items.is_empty()), "{path}: {reply}");
    }
    running.kill().await?;
    Ok(())
}
