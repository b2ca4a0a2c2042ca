//! `steled demo`: the main job with built-in data, as a new user runs it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::process::Stdio;
use stele_tests::{
    live::{Call, Carrier, Listener},
    openim,
    places::{plugin, program},
    skip::skip,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const MESSAGES: u64 = 400;

fn demo(arguments: &[&str]) -> Result<Command> {
    program("stele-demo-kit")?;
    plugin("wecom")?;
    plugin("gateway")?;
    plugin("wukongim")?;
    plugin("openim")?;
    let mut command = Command::new(program("steled")?);
    let messages = MESSAGES.to_string();
    let free = "127.0.0.1:0";
    command.args(["demo", "--messages", &messages, "--admin", free, "--live", free, "--im", free, "--openim", free]);
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
    for name in ["conversations", "people", "media", "seconds", "messages_per_second", "sent"] {
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
    let (mut to_try, mut script, mut is_script) = (Vec::new(), String::new(), false);
    let mut is_served = false;
    while let Some(line) = lines.next_line().await? {
        is_served = line.starts_with("serving on http://");
        if is_served {
            break;
        }
        to_try.extend(line.starts_with("curl ").then(|| Try::of(&line)));
        // A script is what is quoted behind this line.
        match line.as_str() {
            "node -e '" => is_script = true,
            "'" => is_script = false,
            line if is_script => script.extend([line, "\n"]),
            _ => {}
        }
    }
    ensure!(is_served, "it never said that it serves");
    let signed: Vec<&Try> = to_try.iter().filter(|to_try| to_try.path.contains("signature=")).collect();
    ensure!(signed.len() >= 4, "{to_try:?}");
    for to_try in signed {
        let reply = to_try.reply().await?;
        ensure!(reply["code"] == 0, "{to_try:?}: {reply}");
        ensure!(reply["data"]["items"].as_array().is_some_and(|items| !items.is_empty()), "{to_try:?}: {reply}");
    }
    // The gateway: who listens hears what is sent then.
    let listens = to_try.iter().find(|to_try| to_try.path.contains("protoc=sse")).context("a line that listens")?;
    let call = Call { address: listens.address.clone(), path: listens.path.clone(), token: String::new() };
    let listener = Listener::open(Carrier::Sse, &call).await?;
    let said: Vec<&Try> =
        to_try.iter().filter(|to_try| to_try.address == listens.address && to_try.body.is_some()).collect();
    ensure!(said.len() >= 4, "{to_try:?}");
    for to_try in &said {
        let reply = to_try.reply().await?;
        ensure!(reply["code"] == 0 && !reply["data"].is_null(), "{to_try:?}: {reply}");
    }
    let heard = listener.hears(1).await?.heard[0].message();
    ensure!(heard["FromSession"] == "bob" && heard["Content"] == "你好", "{heard}");
    let history = said.iter().find(|to_try| to_try.path == "/get_conversation_last_30_msg").context("a history")?;
    let reply = history.reply().await?;
    let messages = reply["data"]["Msg"].as_array().context("messages")?;
    ensure!(messages.len() > 5 && messages.last() == Some(&heard), "{reply}");
    // WuKongIM's message API: what is sent is read, and what is there is found.
    let sends = to_try.iter().find(|to_try| to_try.path == "/message/send").context("a line that sends")?;
    let sent = sends.reply().await?;
    let of_its: Vec<&Try> = to_try.iter().filter(|to_try| to_try.address == sends.address).collect();
    let pages: Vec<&&Try> = of_its.iter().filter(|to_try| to_try.path == "/channel/messagesync").collect();
    ensure!(pages.len() == 2, "{of_its:?}");
    let between = pages[0].reply().await?;
    let last = between["messages"].as_array().and_then(|messages| messages.last()).context("messages")?;
    ensure!(sent["message_seq"] == 16 && last["message_id"] == sent["message_id"], "{between}");
    let team = pages[1].reply().await?;
    ensure!(team["messages"].as_array().is_some_and(|messages| messages.len() == 5), "{team}");
    let search = of_its.iter().find(|to_try| to_try.path.contains("?payload=")).context("a search")?.reply().await?;
    ensure!(search["total"].as_u64() >= Some(1) && search["data"][0]["channel_id"] == "team", "{search}");
    // OpenIM's message search: the example of its document finds something, and so do the others.
    let gets_token = to_try.iter().find(|to_try| to_try.path == "/auth/get_admin_token").context("a token")?;
    let of_its: Vec<&Try> = to_try.iter().filter(|to_try| to_try.address == gets_token.address).collect();
    let searches: Vec<&&Try> = of_its.iter().filter(|to_try| to_try.path == "/msg/search_msg").collect();
    ensure!(searches.len() == 2, "{of_its:?}");
    let token = gets_token.reply().await?["data"]["token"].take();
    let api = openim::Api::new(&gets_token.address, token.as_str().context("a token")?);
    let found = api.search(&json!({ "recvID": "group_001", "sessionType": 3, "sendTime": "2026-04-09" })).await?;
    ensure!(found.chat_logs_num == 26 && found.chat_logs.len() == 20, "{found:?}");
    documented(&script, found.chat_logs_num).await?;
    let page = searches[0].reply().await?["data"].take();
    let first = &page["chatLogs"][0]["chatLog"];
    ensure!(page["chatLogs"].as_array().is_some_and(|page| page.len() == 5), "{page}");
    ensure!(first["groupName"] == "产品讨论组" && first["senderNickname"] == "陈雨桐", "{page}");
    let sends = of_its.iter().find(|to_try| to_try.path == "/msg/send_msg").context("a line that sends")?;
    let sent = sends.reply().await?["data"].take();
    let search = searches[1].reply().await?["data"].take();
    let [newest, before] = [0, 1].map(|index| &search["chatLogs"][index]);
    ensure!(newest["chatLog"]["serverMsgID"] == sent["serverMsgID"], "{sent} {search}");
    ensure!(before["highlight"] == "下午三点讨论&lt;新版&gt;<em>产品介绍</em>", "{search}");
    running.kill().await?;
    Ok(())
}

/// Runs the script of a document, which is to find so many messages.
async fn documented(script: &str, messages: i32) -> Result<()> {
    let Ok(output) = Command::new("node").args(["-e", script]).stdin(Stdio::null()).output().await else {
        skip("the example of OpenIM's document", "node cannot be run");
        return Ok(());
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(printed.contains("errCode: 0") && printed.contains(&format!("chatLogsNum: {messages},")), "{printed}");
    Ok(())
}

/// A line of curl.
#[derive(Debug)]
struct Try {
    address: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Try {
    fn of(line: &str) -> Self {
        // What is quoted is every second part.
        let parts: Vec<&str> = line.split('\'').collect();
        let after = |option: &str| -> Vec<&str> {
            let options = parts.chunks_exact(2).filter(|pair| pair[0].trim_end().ends_with(option));
            options.map(|pair| pair[1]).collect()
        };
        let url = parts.iter().skip(1).step_by(2).find_map(|part| part.strip_prefix("http://")).unwrap_or_default();
        let (address, path) = url.split_once('/').unwrap_or_default();
        let headers = after("-H").into_iter().filter_map(|header| header.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body = after("-d").first().map(|body| (*body).to_owned());
        Self { address: address.to_owned(), path: format!("/{path}"), headers, body }
    }

    async fn reply(&self) -> Result<Value> {
        let (http, url) = (stele_tests::client::http(), format!("http://{}{}", self.address, self.path));
        let mut request = match &self.body {
            Some(body) => http.post(url).body(body.clone()),
            None => http.get(url),
        };
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.send().await?.json().await?)
    }
}
