//! The stand-ins themselves: what the suites rest on.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::process::Stdio;
use stele_tests::{
    corp::{CorpFolder, CorpSpec},
    places,
    standin::{DirectoryStandin, Reply},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

async fn ask(standin: &DirectoryStandin, path: &str, body: Option<Value>) -> Result<Value> {
    let url = format!("{}{path}", standin.api_base());
    let http = stele_tests::client::http();
    let request = match body {
        Some(body) => http.post(url).json(&body),
        None => http.get(url),
    };
    Ok(request.send().await?.json().await?)
}

#[tokio::test]
async fn the_directory_answers_like_wecom() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = CorpFolder::empty(&CorpSpec::recent(10), dir.path())?;
    let standin = DirectoryStandin::start(vec![folder.directory.clone()]).await?;
    standin.limit_pages(4);
    let token = |secret: &str| format!("/cgi-bin/gettoken?corpid=corp123&corpsecret={secret}");
    ensure!(ask(&standin, &token("wrong"), None).await?["errcode"] == 40_001, "a wrong secret");
    let reply = ask(&standin, &token("app-secret-of-corp123"), None).await?;
    let access = reply["access_token"].as_str().context("a token")?.to_owned();
    let (mut cursor, mut found) = (String::new(), Vec::new());
    loop {
        let path = format!("/cgi-bin/user/list_id?access_token={access}");
        let page = ask(&standin, &path, Some(json!({ "cursor": cursor, "limit": 100 }))).await?;
        let rows = page["dept_user"].as_array().context("rows")?;
        ensure!(rows.len() <= 4, "pages are bounded");
        found.extend(rows.iter().filter_map(|row| row["userid"].as_str().map(str::to_owned)));
        cursor = page["next_cursor"].as_str().context("a cursor")?.to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    let expected: Vec<_> = folder.directory.staff.iter().map(|member| member.id.clone()).collect();
    ensure!(found == expected, "{found:?}");
    let room = &folder.directory.groups.iter().find(|group| !group.external).context("an internal group")?.id;
    let path = format!("/cgi-bin/msgaudit/groupchat/get?access_token={access}");
    ensure!(
        ask(&standin, &path, Some(json!({ "roomid": room }))).await?["errcode"] == 48_002,
        "needs the other secret"
    );
    let path = format!("/cgi-bin/user/get?access_token={access}&userid=staff123");
    standin.script.push("/cgi-bin/user/get", Reply::Errcode(45_009), 1);
    ensure!(ask(&standin, &path, None).await?["errcode"] == 45_009, "as scripted");
    ensure!(ask(&standin, &path, None).await?["name"] == "客服小王", "as it is");
    standin.expire_tokens();
    ensure!(ask(&standin, &path, None).await?["errcode"] == 42_001, "an expired token");
    Ok(())
}

#[tokio::test]
async fn the_demo_kit_writes_and_serves() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut kit = Command::new(places::program("stele-demo-kit")?)
        .args(["--messages", "80", "--listen", "127.0.0.1:19002", "--serve-directory", "--out"])
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(kit.stdout.take().context("its output")?).lines();
    let address = lines.next_line().await?.context("it prints the address")?;
    let config = std::fs::read_to_string(dir.path().join("steled.toml"))?;
    ensure!(config.contains(&address) && config.contains("your_secret_key"), "{config}");
    let examples = std::fs::read_to_string(dir.path().join("try.txt"))?;
    ensure!(examples.matches("curl ").count() >= 4 && examples.contains("127.0.0.1:19002"), "{examples}");
    let path = "/cgi-bin/gettoken?corpid=corp123&corpsecret=app-secret-of-corp123";
    let reply: Value = stele_tests::client::http().get(format!("{address}{path}")).send().await?.json().await?;
    ensure!(reply["errcode"] == 0, "{reply}");
    drop(kit.stdin.take());
    ensure!(kit.wait().await?.success(), "it ends with its input");
    Ok(())
}
