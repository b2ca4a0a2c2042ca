//! The stand-ins themselves: what the suites rest on.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::process::Stdio;
use stele_tests::{
    corp::{CorpFolder, CorpSpec},
    gateway::{Claims, jwt},
    places,
    standin::{
        DirectoryStandin, Reply,
        gateway::{GREETING, GatewayStandin, Sent, Version, msgid, token},
        wukongim::{self, Say, WukongimStandin},
    },
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
    let path = "/cgi-bin/gettoken?corpid=corp123&corpsecret=app-secret-of-corp123";
    let reply: Value = stele_tests::client::http().get(format!("{address}{path}")).send().await?.json().await?;
    ensure!(reply["errcode"] == 0, "{reply}");
    drop(kit.stdin.take());
    ensure!(kit.wait().await?.success(), "it ends with its input");
    Ok(())
}

const CONVERSATION: &str = "11111111-2222-3333-4444-555555555555";

async fn gateway(standin: &GatewayStandin, path: &str, body: Value) -> Result<Value> {
    let token = token::mint(token::FIXED_KEY, "alice", 1, i64::MAX);
    let request = stele_tests::client::http().post(format!("{}{path}", standin.url())).bearer_auth(token);
    let text = request.json(&body).send().await?.text().await?;
    serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))
}

async fn range(standin: &GatewayStandin, start: &str, end: &str) -> Result<Value> {
    let body = json!({ "conversation_id": CONVERSATION, "start_msg_id": start, "end_msg_id": end });
    gateway(standin, "/get_conversation_msg_by_range", body).await
}

/// A conversation with these messages: microseconds, type, text.
async fn with_messages(version: Version, messages: &[(i64, i64, &str)]) -> Result<(GatewayStandin, Vec<String>)> {
    let standin = GatewayStandin::start(version).await?;
    standin.converse(CONVERSATION, 1, &["alice"]);
    let say = |&(at, kind, content): &(i64, i64, &str)| {
        standin.say(&Sent { conversation: CONVERSATION, from: "alice", kind, content, at })
    };
    let ids = messages.iter().map(say).collect();
    Ok((standin, ids))
}

#[tokio::test]
async fn the_gateway_writes_times_as_its_versions_do() -> Result<()> {
    let messages = [
        (1_700_000_000_632_897, 1, "a"),
        (1_700_000_001_050_000, 1, "b"),
        (1_700_000_002_005_766, 1, "c"),
        (1_700_000_003_000_012, 1, "d"),
    ];
    let (standin, ids) = with_messages(Version::Src, &messages).await?;
    let times = |reply: &Value| {
        let rows = reply["data"]["Msg"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["SendTime"].clone()).collect::<Vec<_>>()
    };
    let found = times(&range(&standin, &ids[0], &ids[3]).await?);
    let rounded = [1_700_000_000_633_000_i64, 170_000_000_150_000, 17_000_000_026_000, 1_700_000_003_000];
    ensure!(found == rounded.map(Value::from), "{found:?}");
    standin.set(|switches| switches.rounded = false);
    let found = times(&range(&standin, "", "Z").await?);
    let exact = [1_700_000_000_632_897_i64, 170_000_000_150_000, 17_000_000_025_766, 1_700_000_003_012];
    ensure!(found == exact.map(Value::from), "{found:?}");
    let (standin, ids) = with_messages(Version::SrcOld, &messages[..2]).await?;
    let found = times(&range(&standin, &ids[0], &ids[1]).await?);
    ensure!(found == ["2023-11-15T06:13:20.633+08:00", "2023-11-15T06:13:21.05+08:00"], "{found:?}");
    Ok(())
}

#[tokio::test]
async fn the_gateway_cannot_read_what_the_other_version_wrote() -> Result<()> {
    let (standin, ids) = with_messages(Version::SrcOld, &[(1_700_000_000_000_000, 1, "old")]).await?;
    standin.set(|switches| switches.version = Version::Src);
    let sent = Sent { conversation: CONVERSATION, from: "bob", kind: 1, content: "new", at: 1_700_000_001_000_000 };
    let new = standin.say(&sent);
    ensure!(
        range(&standin, &ids[0], &new).await?
            == json!({ "code": 10002, "error": "internal service call failed", "data": {} })
    );
    ensure!(range(&standin, &new, "Z").await?["data"]["Msg"][0]["Content"] == "new", "the new one alone");
    ensure!(range(&standin, "a", "b").await? == json!({ "code": 0, "data": { "Msg": null } }), "nothing");
    standin.set(|switches| switches.version = Version::SrcOld);
    let time = &range(&standin, "", "Z").await?["data"]["Msg"][1]["SendTime"];
    ensure!(*time == "0001-01-01T00:00:00+08:05", "{time}");
    Ok(())
}

#[tokio::test]
async fn the_gateway_stores_as_it_does() -> Result<()> {
    let messages =
        [(1_700_000_000_000_000, 7, "first"), (1_700_000_001_000_000, 0, ""), (1_700_000_002_000_000, 1, "<b>")];
    let (standin, ids) = with_messages(Version::Src, &messages).await?;
    let reply = range(&standin, &ids[1], &ids[1]).await?;
    let inherited = (&reply["data"]["Msg"][0]["Type"], &reply["data"]["Msg"][0]["Content"]);
    ensure!(inherited == (&json!(7), &json!("first")), "{reply}");
    ensure!(standin.rows(CONVERSATION)[2].1.contains(r"\u003cb\u003e"), "escaped as in Go");
    standin.set(|switches| {
        switches.sortable = 2;
        switches.late_calls = 1;
        switches.inherits = false;
    });
    let last = json!({ "conversation_id": CONVERSATION });
    ensure!(gateway(&standin, "/get_conversation_last_30_msg", last).await?["code"] == 10_002, "too many to sort");
    let sent = Sent { conversation: CONVERSATION, from: "bob", kind: 1, content: "late", at: 1_700_000_003_000_000 };
    let late = standin.say(&sent);
    ensure!(range(&standin, &late, &late).await?["data"]["Msg"].is_null(), "not yet");
    ensure!(range(&standin, &late, &late).await?["data"]["Msg"][0]["Content"] == "late", "now");
    standin.set(|switches| switches.colliding = true);
    ensure!(standin.say(&Sent { content: "lost", ..sent }) == late, "the id is taken");
    ensure!(standin.rows(CONVERSATION).len() == 4, "so the message is lost");
    Ok(())
}

#[tokio::test]
async fn the_gateway_gives_an_id_once_and_forgets_members_with_its_redis() -> Result<()> {
    let (standin, ids) = with_messages(Version::Src, &[(1_700_000_000_000_000, 1, "first")]).await?;
    let sent = Sent { conversation: "elsewhere", from: "bob", kind: 1, content: "lost", at: 1_700_000_000_000_000 };
    standin.say_as(&ids[0], &sent);
    ensure!(standin.rows("elsewhere").is_empty(), "an id is taken in every conversation");
    let this = json!({ "conversation_id": CONVERSATION });
    standin.converse(CONVERSATION, 1, &["alice"]);
    standin.converse("elsewhere", 1, &["mallory"]);
    let joined = async |session: &str| {
        let expires = chrono::Utc::now().timestamp() + 60;
        let token = token::mint(token::FIXED_KEY, session, 1, expires);
        let request = stele_tests::client::http().post(format!("{}/check_joined_conversation", standin.url()));
        let reply: Value = request.bearer_auth(token).json(&this).send().await?.json().await?;
        anyhow::Ok(reply["data"]["Joined"] == true)
    };
    ensure!(joined("alice").await? && !joined("mallory").await?, "as it is");
    standin.lose_redis();
    ensure!(!joined("alice").await?, "nobody is known");
    let joined_rows = gateway(&standin, "/get_joined_conversation", json!({})).await?;
    ensure!(joined_rows["data"]["Conversations"] == json!([CONVERSATION]), "{joined_rows}");
    let message = json!({ "conversation_id": CONVERSATION, "type": 1, "content": "second" });
    ensure!(gateway(&standin, "/send_msg", message).await?["code"] == 0);
    ensure!(joined("alice").await? && joined("mallory").await?, "everybody is a member now");
    Ok(())
}

#[tokio::test]
async fn the_gateway_takes_three_algorithms() -> Result<()> {
    let standin = GatewayStandin::start(Version::Src).await?;
    for (algorithm, code) in [("HS256", 0), ("HS384", 0), ("HS512", 0), ("none", 10_101), ("HS1024", 10_101)] {
        let token = jwt(algorithm, &Claims::new("alice", 1), token::FIXED_KEY);
        let request = stele_tests::client::http().post(format!("{}/get_joined_conversation", standin.url()));
        let reply: Value = request.bearer_auth(token).send().await?.json().await?;
        ensure!(reply["code"] == code, "{algorithm}: {reply}");
    }
    Ok(())
}

#[tokio::test]
async fn the_gateway_answers_like_quick_im() -> Result<()> {
    let standin = GatewayStandin::start(Version::Src).await?;
    let id =
        gateway(&standin, "/create_conversation", json!({ "conversation_type": 2 })).await?["data"]["ConversationID"]
            .clone();
    let this = json!({ "conversation_id": id });
    let found = gateway(&standin, "/get_conversation_lastone_msg", this.clone()).await?;
    ensure!(found["data"]["Msg"][0]["Content"] == GREETING, "{found}");
    let detail = gateway(&standin, "/get_conversation_detail", this.clone()).await?;
    ensure!(detail["data"]["ConversationType"] == 2 && detail["data"]["LastMsgID"].is_null(), "{detail}");
    let sent = gateway(&standin, "/send_msg", json!({ "CONVERSATION_ID": id, "type": 1, "content": "hello" })).await?;
    let sent = sent["data"]["MsgID"].as_str().context("an id")?.to_owned();
    ensure!(msgid::ms_of(&sent).is_some(), "{sent}");
    ensure!(gateway(&standin, "/get_lastone_msgid", this.clone()).await?["data"]["MsgId"] == "alice", "a session");
    let other = json!({ "conversation_id": CONVERSATION });
    let joined = gateway(&standin, "/join_conversation", other.clone()).await?;
    ensure!(joined["data"] == json!({ "ConversationID": "" }), "{joined}");
    ensure!(gateway(&standin, "/check_joined_conversation", other.clone()).await?["data"]["Joined"] == false, "wrong");
    gateway(&standin, "/join_conversation", other.clone()).await?;
    let found = gateway(&standin, "/get_joined_conversation", json!({})).await?;
    ensure!(found["data"]["Conversations"] == json!([id, CONVERSATION, CONVERSATION]), "{found}");
    let left = gateway(&standin, "/leave_conversation", other).await?;
    ensure!(left["data"] == json!({ "Failed": null }), "{left}");
    ensure!(gateway(&standin, "/send_msg", json!({ "type": 1_u64 << 40 })).await?["code"] == 10_001, "no int32");
    ensure!(
        gateway(&standin, "/send_msg", json!({ "conversation_id": "nowhere" })).await?["code"] == 10_002,
        "unknown"
    );
    standin.set(|switches| switches.key = "another".to_owned());
    ensure!(gateway(&standin, "/send_msg", this.clone()).await?["code"] == 10_101, "signed with the wrong key");
    let token = gateway(&standin, "/inner/get_token", json!({ "session": "bob", "platform": 1 })).await?;
    ensure!(token["data"].is_string(), "{token}");
    standin.set(|switches| switches.inner = false);
    ensure!(gateway(&standin, "/inner/get_token", json!({})).await?["code"] == 10_003, "not on the list");
    ensure!(standin.calls("/inner/get_token") == 2, "calls are counted");
    let post = |path: &str| stele_tests::client::http().post(format!("{}{path}", standin.url())).send();
    ensure!(post("/-%20get_conversation_last_30_msg").await?.status() == 404, "an odd path");
    standin.script.push("/send_msg", Reply::Errcode(10_002), 1);
    ensure!(gateway(&standin, "/send_msg", this).await?["code"] == 10_002, "as scripted");
    Ok(())
}

async fn wukongim(standin: &WukongimStandin, path: &str, body: Value) -> Result<Value> {
    let base = if path.starts_with("/manager") { standin.manager_url() } else { standin.url() };
    let http = stele_tests::client::http();
    let request = match body {
        Value::Null => http.get(format!("{base}{path}")),
        body => http.post(format!("{base}{path}")).json(&body),
    };
    let text = request.send().await?.text().await?;
    serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))
}

fn seqs(answer: &Value, list: &str) -> Vec<u64> {
    answer[list].as_array().into_iter().flatten().filter_map(|row| row["message_seq"].as_u64()).collect()
}

#[tokio::test]
async fn wukongim_v2_reads_as_it_does() -> Result<()> {
    let standin = WukongimStandin::start(wukongim::Version::V2).await?;
    for _ in 0..5 {
        standin.say(2, "g", &Say { from: "alice", payload: b"hi", red_dot: 1, ..Say::default() });
    }
    let sync = async |start: u64, end: u64, limit: i64, mode: u8| {
        let body = json!({
            "login_uid": "x", "channel_id": "g", "channel_type": 2, "start_message_seq": start,
            "end_message_seq": end, "limit": limit, "pull_mode": mode,
        });
        let answer = wukongim(&standin, "/channel/messagesync", body).await?;
        anyhow::Ok((seqs(&answer, "messages"), answer["more"] == 1, answer))
    };
    let check = async |[start, end]: [u64; 2], limit: i64, mode: u8, rows: &[u64], more: bool| {
        let (found, is_more, _) = sync(start, end, limit, mode).await?;
        ensure!((found.as_slice(), is_more) == (rows, more), "{start} {end} {limit} {mode}: {found:?} {is_more}");
        Ok(())
    };
    check([0, 0], 2, 0, &[4, 5], true).await?;
    check([2, 0], 2, 1, &[2, 3], true).await?;
    check([4, 0], 2, 1, &[4, 5], true).await?;
    check([4, 0], 3, 1, &[4, 5], false).await?;
    check([3, 0], 2, 0, &[2, 3], true).await?;
    check([4, 1], 10, 0, &[2, 3, 4], false).await?;
    check([2, 4], 10, 0, &[], false).await?;
    check([0, 3], 10, 1, &[1, 2], false).await?;
    check([0, 0], 0, 0, &[], true).await?;
    check([2, 0], 0, 1, &[2, 3, 4, 5], false).await?;
    let dots = async |mode: u8| {
        let (_, _, answer) = sync(3, 0, 2, mode).await?;
        let dots =
            answer["messages"].as_array().context("messages")?.iter().map(|row| row["header"]["red_dot"].clone());
        anyhow::Ok(dots.collect::<Vec<_>>())
    };
    ensure!((dots(1).await?, dots(0).await?) == (vec![json!(0), json!(1)], vec![json!(1), json!(1)]), "flags are lost");
    let one = json!({ "login_uid": "x", "channel_id": "g", "channel_type": 2, "message_seqs": [9, 2] });
    ensure!(seqs(&wukongim(&standin, "/messages", one).await?, "messages") == [2], "an object, the missing left out");
    let none = wukongim(&standin, "/message", json!({ "channel_id": "g", "channel_type": 2, "message_id": 1 })).await?;
    ensure!(none == json!({ "status": 404 }), "{none}");
    let max = async |id: &str| {
        wukongim(&standin, &format!("/channel/max_message_seq?channel_id={id}&channel_type=2"), Value::Null).await
    };
    ensure!(max("g").await?["message_seq"] == 5 && max("nowhere").await?["status"] == 400);
    let nowhere = json!({ "login_uid": "x", "channel_id": "nowhere", "channel_type": 2, "limit": 1 });
    wukongim(&standin, "/channel/messagesync", nowhere).await?;
    ensure!(max("nowhere").await?["message_seq"] == 0, "it exists because it was read");
    let listing = wukongim(&standin, "/cluster/nodes/1/channels?limit=1", Value::Null).await?;
    ensure!(listing["data"][0]["channel_id"] == "nowhere" && listing["more"] == 1, "newest first: {listing}");
    let path = format!("/cluster/nodes/1/channels?offset_created_at={}", listing["data"][0]["created_at"]);
    let listing = wukongim(&standin, &path, Value::Null).await?;
    ensure!(listing["data"][0]["last_message_seq"] == 5 && listing["more"] == 0, "{listing}");
    Ok(())
}

#[tokio::test]
async fn wukongim_v2_sends_as_it_does() -> Result<()> {
    let standin = WukongimStandin::start(wukongim::Version::V2).await?;
    let message = json!({
        "from_uid": "alice", "channel_id": "bob", "channel_type": 1, "payload": "aGk=", "client_msg_no": "n1",
    });
    let send = async |message: &Value| wukongim(&standin, "/message/send", message.clone()).await;
    let first = send(&message).await?;
    ensure!(first["data"]["client_msg_no"] == "n1" && first["data"].get("message_seq").is_none(), "{first}");
    ensure!(send(&message).await?["data"]["message_id"] != first["data"]["message_id"], "it does not know repeats");
    standin.set(|switches| switches.lose_sends = 1);
    ensure!(send(&message).await?["status"] == 200, "answered, not stored");
    let key = (1, "bob@alice".to_owned());
    ensure!(standin.channels()[&key].len() == 2, "two of three");
    standin.set(|switches| switches.late_reads = 1);
    send(&message).await?;
    let read = json!({ "login_uid": "alice", "channel_id": "bob", "channel_type": 1, "limit": 9 });
    for expected in [2, 3] {
        let answer = wukongim(&standin, "/channel/messagesync", read.clone()).await?;
        ensure!(seqs(&answer, "messages").len() == expected, "{answer}");
        ensure!(answer["messages"][0]["channel_id"] == "bob", "the recipient");
    }
    for (name, value) in [("payload", json!("")), ("channel_id", json!("a@b")), ("channel_type", json!("1"))] {
        let mut wrong = message.clone();
        wrong[name] = value;
        ensure!(send(&wrong).await?["status"] == 400, "{wrong}");
    }
    standin.set(|switches| switches.token = Some("secret".into()));
    let status = stele_tests::client::http().get(format!("{}/health", standin.url())).send().await?.status();
    ensure!(status == 401, "{status}");
    Ok(())
}

#[tokio::test]
async fn wukongim_v3_answers_as_it_does() -> Result<()> {
    let standin = WukongimStandin::start(wukongim::Version::V3).await?;
    let message = |client: &str, payload: &str| {
        json!({
            "from_uid": "alice", "channel_id": "g", "channel_type": 2, "payload": payload, "client_msg_no": client,
        })
    };
    let send = async |message: Value| wukongim(&standin, "/message/send", message).await;
    let first = send(message("n1", "aGk=")).await?;
    ensure!(first["message_seq"] == 1 && first["reason"] == 1, "{first}");
    ensure!(send(message("n1", "aGk=")).await? == first && send(message("n1", "aGo=")).await?["error"].is_string());
    for number in 2..=5 {
        send(message(&format!("n{number}"), "aGk=")).await?;
    }
    let path = "/manager/messages?channel_id=g&channel_type=2&limit=3";
    let page = wukongim(&standin, path, Value::Null).await?;
    ensure!(seqs(&page, "items") == [5, 4, 3] && page["items"][0]["message_id"].is_string(), "{page}");
    let next = page["next_cursor"].as_str().context("a cursor")?;
    let page = wukongim(&standin, &format!("{path}&cursor={next}"), Value::Null).await?;
    ensure!(seqs(&page, "items") == [2, 1] && page["has_more"] == false, "{page}");
    let path = "/manager/channel-runtime-meta?limit=200&include_max_message_seq=true";
    let metas = wukongim(&standin, path, Value::Null).await?;
    ensure!(metas["items"][0]["max_message_seq"] == 5 && metas["has_more"] == false, "{metas}");
    standin.set(|switches| switches.manager = Some(("admin".into(), "password".into())));
    ensure!(wukongim(&standin, path, Value::Null).await?["error"] == "unauthorized");
    let login = json!({ "username": "admin", "password": "password" });
    let token =
        wukongim(&standin, "/manager/login", login).await?["access_token"].as_str().context("a token")?.to_owned();
    let request = stele_tests::client::http().get(format!("{}{path}", standin.manager_url())).bearer_auth(token);
    ensure!(request.send().await?.status() == 200);
    Ok(())
}
