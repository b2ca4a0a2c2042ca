//! What one daemon answers, the other does: everything that is read, of every protocol and of the daemons themselves, is asked of two
//! that share an archive, and compared member by member; also while a job fails.

use crate::rig::sites;
use anyhow::{Context, Result, ensure};
use percent_encoding::percent_decode_str;
use regex::Regex;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};
use stele_tests::{
    backing::Engine,
    client::{Style, http, signed_path},
    corp::{CorpFolder, CorpSpec, Story},
    daemon::{Site, wait_for},
    gateway::{Gateway, token},
    openim::Openim,
    report::Report,
    scenario,
    settings::{API_KEY, Settings, quoted},
    wukongim::{Wukongim, encoded},
};

/// Endpoints that change something, or leave a connection open. What comes of them is compared.
const OTHERS: [&str; 22] = [
    "GET /notify",
    "GET /notify sse",
    "GET /notify ws",
    "POST /auth/get_admin_token",
    "POST /create_conversation",
    "POST /group/create_group",
    "POST /inner/create_conversation",
    "POST /inner/get_token",
    "POST /inner/join_conversation",
    "POST /inner/kickout_conversation",
    "POST /inner/set_archive_conversations",
    "POST /join_conversation",
    "POST /leave_conversation",
    "POST /message/send",
    "POST /message/sendbatch",
    "POST /message/syncack",
    "POST /msg/revoke_msg",
    "POST /msg/send_msg",
    "POST /send_msg",
    "POST /stream/close",
    "POST /stream/open",
    "POST /user/user_register",
];
/// What `/api/v1/instances` says of one daemon (`daemon/src/http/admin/mod.rs`).
const OF_ONE: [&str; 5] = ["listen", "pid", "restarts", "calls_in_flight", "late_frames"];

/// A daemon and what it serves.
struct Member {
    site: Site,
    gateway: Gateway,
    im: Wukongim,
    openim: Openim,
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Daemon,
    Wecom,
    Gateway,
    Wukongim,
    Openim,
}

/// A request that changes nothing.
#[derive(Debug)]
struct Read {
    of: Of,
    path: String,
    /// Of a POST.
    body: Option<Value>,
}

impl Member {
    fn address(&self, of: Of) -> &str {
        match of {
            Of::Daemon => &self.site.settings.admin,
            Of::Wecom => &self.site.settings.listen,
            Of::Gateway => &self.gateway.listen,
            Of::Wukongim => &self.im.listen,
            Of::Openim => &self.openim.listen,
        }
    }

    /// The status and what it says, without what is of one daemon: its address, and when a link to a file was signed.
    async fn answer(&self, read: &Read, tokens: &Tokens) -> Result<(u16, Value)> {
        let (address, Read { of, path, body }) = (self.address(read.of), read);
        let url = format!("http://{address}{path}");
        let mut request = match body {
            Some(body) => http().post(url).body(body.to_string()),
            None => http().get(url),
        };
        request = match of {
            Of::Gateway => request.header("authorization", format!("Bearer {}", tokens.bob)),
            Of::Openim => request.header("token", &tokens.admin).header("operationID", "op"),
            Of::Daemon | Of::Wecom | Of::Wukongim => request,
        };
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?.replace(address, "ADDRESS");
        let signed = Regex::new(r"expires=\d+&signature=[0-9a-f]+")?;
        let text = signed.replace_all(&text, "signed");
        let mut answer = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.as_ref()));
        let instances = answer.get_mut("instances").and_then(Value::as_array_mut);
        for member in instances.into_iter().flatten().filter_map(Value::as_object_mut) {
            OF_ONE.iter().for_each(|name| _ = member.remove(*name));
        }
        Ok((status, answer))
    }
}

/// Of the callers: the same at both.
struct Tokens {
    bob: String,
    admin: String,
}

/// Where two values differ, by path.
fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    let names = |value: &Value| value.as_object().map(|members| members.keys().cloned().collect::<BTreeSet<_>>());
    match (one, other) {
        (Value::Object(_), Value::Object(_)) => {
            for name in names(one).into_iter().chain(names(other)).flatten().collect::<BTreeSet<_>>() {
                let of = |value: &Value| value.get(&name).cloned().unwrap_or_else(|| Value::from("(missing)"));
                differences(&format!("{path}.{name}"), &of(one), &of(other), found);
            }
        }
        (Value::Array(ones), Value::Array(others)) if ones.len() == others.len() => {
            let pairs = ones.iter().zip(others).enumerate();
            pairs.for_each(|(at, (one, other))| differences(&format!("{path}[{at}]"), one, other, found));
        }
        _ if one == other => {}
        _ => found.push(format!("{path}: {one} and {other}")),
    }
}

/// Fails unless both answer the same, and `status`.
async fn same(members: &[Member; 2], tokens: &Tokens, read: &Read) -> Result<Value> {
    let (one, other) = (members[0].answer(read, tokens).await?, members[1].answer(read, tokens).await?);
    let mut found = Vec::new();
    differences("", &one.1, &other.1, &mut found);
    ensure!(one.0 == other.0 && found.is_empty(), "{} and {}: {found:#?}", one.0, other.0);
    ensure!(one.0 == 200, "{} {}", one.0, one.1);
    Ok(one.1)
}

/// The daemon's own: the same after a while, as `/ready` hears of what other daemons do by looking.
async fn same_soon(members: &[Member; 2], tokens: &Tokens, path: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
    let read = Read { of: Of::Daemon, path: path.to_owned(), body: None };
    wait_for(&format!("the same {path}"), || async {
        let answer = same(members, tokens, &read).await.map_err(|error| format!("{error:#}"))?;
        if is(&answer) { Ok(()) } else { Err(answer.to_string()) }
    })
    .await
}

/// Both daemons, with an instance of each protocol.
fn members(folder: &CorpFolder, media: &Path) -> Result<Option<[Member; 2]>> {
    let (mut served, mut settings) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (gateway, im, openim) =
            (Gateway::new("gateway", "")?, Wukongim::new("im", "")?, Openim::new("openim", "")?);
        let sections = [gateway.toml(), im.toml(), openim.toml()].join("\n");
        settings.push(Settings {
            instance: "rate_limit = 0".into(),
            sections: format!("[media]\nfolder = {}\n{sections}", quoted(media)),
            ..Settings::of(folder, Path::new(""), "", "")
        });
        served.push((gateway, im, openim));
    }
    let Some(sites) = sites(Engine::Embedded, None, settings)? else { return Ok(None) };
    let members = sites.into_iter().zip(served);
    let members: Vec<_> = members.map(|(site, (gateway, im, openim))| Member { site, gateway, im, openim }).collect();
    Ok(members.try_into().ok())
}

/// Something is said by every protocol, at both in turn; what there is to read then.
async fn say(members: &[Member; 2]) -> Result<Vec<Read>> {
    let mut reads = Vec::new();
    let conversation = members[0].gateway.api().create(2, &["ann", "bob"]).await?;
    let (mut sent, mut said) = (Vec::new(), Vec::new());
    members[1].openim.api().register(&["ann", "bob"]).await?;
    members[0].openim.api().create_group("team", "ann", &["bob"]).await?;
    for number in 0..12 {
        let Member { gateway, im, openim, .. } = &members[number % 2];
        let text = format!("第{number}条消息");
        sent.push(gateway.api().send(&token("ann", 1), &conversation, &text).await?);
        let no = format!("no{number}");
        let message = json!({
            "from_uid": "ann", "channel_id": "team", "channel_type": 2, "client_msg_no": no, "payload": encoded(text.as_bytes()),
        });
        said.push(im.api().send(&message).await?);
        let message = json!({
            "sendID": "ann", "groupID": "team", "contentType": 101, "content": { "content": text }, "sessionType": 3,
        });
        openim.api().send(&message).await?;
    }
    let corp = |path: &str, more: &[(&str, &str)]| {
        let params = [&[("ext_corp_id", "corp123"), ("ext_staff_id", "staff123"), ("page_size", "50")], more].concat();
        Read { of: Of::Wecom, path: signed_path(path, &params, API_KEY, Style::Raw), body: None }
    };
    reads.extend([
        corp("sessions", &[]),
        corp("session-msgs", &[("receiver_id", "customer456")]),
        corp("search", &[("ext_peer_id", "customer456"), ("keyword", "的")]),
    ]);
    let gateway = |path: &str, body: Value| {
        let mut body = body;
        body["conversation_id"] = json!(conversation);
        Read { of: Of::Gateway, path: path.to_owned(), body: Some(body) }
    };
    let (first, middle, last) = (&sent[0], &sent[5], &sent[11]);
    reads.extend([
        gateway("/check_joined_conversation", json!({})),
        gateway("/get_conversation_detail", json!({})),
        gateway("/get_conversation_lastone_msg", json!({})),
        gateway("/get_joined_conversation", json!({})),
        gateway("/get_lastone_msgid", json!({})),
        gateway("/-%20get_conversation_last_30_msg", json!({ "desc": true })),
        gateway("/get_conversation_30msg_before_the_id", json!({ "msg_id": middle, "desc": false })),
        gateway("/-%20get_conversation_30msg_after_the_id", json!({ "msg_id": middle, "desc": false })),
        gateway("/get_conversation_msg_by_range", json!({ "start_msg_id": first, "end_msg_id": last, "desc": false })),
    ]);
    let channel = |path: &str, body: Value| {
        let mut body = body;
        (body["login_uid"], body["channel_id"], body["channel_type"]) = (json!("ann"), json!("team"), json!(2));
        Read { of: Of::Wukongim, path: path.to_owned(), body: Some(body) }
    };
    let get = |of: Of, path: &str| Read { of, path: path.to_owned(), body: None };
    let ids: Vec<u64> = said.iter().map(|said| said.message_id).collect();
    reads.extend([
        channel(
            "/channel/messagesync",
            json!({ "start_message_seq": 3, "end_message_seq": 9, "limit": 5, "pull_mode": 0 }),
        ),
        channel("/message", json!({ "message_id": ids[3] })),
        channel("/messages", json!({ "message_ids": ids })),
        channel("/message/sync", json!({ "uid": "ann", "message_seq": 0, "limit": 200 })),
        get(Of::Wukongim, "/channel/max_message_seq?channel_id=team&channel_type=2"),
        get(Of::Wukongim, "/cluster/messages?channel_id=team&channel_type=2&limit=20"),
        get(Of::Wukongim, "/docs"),
        get(Of::Wukongim, "/health"),
    ]);
    let openim = |path: &str, body: Value| Read { of: Of::Openim, path: path.to_owned(), body: Some(body) };
    reads.extend([
        openim("/msg/search_msg", json!({ "recvID": "team", "keyword": "消息" })),
        openim("/msg/search_msg", json!({ "sendID": "ann", "pagination": { "pageNumber": 2, "showNumber": 5 } })),
        openim("/msg/search_msg", json!({ "sendID": "ann", "cursor": "", "pagination": { "showNumber": 5 } })),
        openim("/auth/parse_token", json!({ "token": members[0].openim.api().token })),
        get(Of::Openim, "/docs"),
    ]);
    reads.extend(
        [
            "/health",
            "/api/v1/instances",
            "/api/v1/plugins",
            "/api/v1/media/parked?instance=wecom",
            "/api/v1/archive/stats",
            "/api/v1/archive/search?q=%E6%B6%88%E6%81%AF",
            "/api/v1/archive/search?q=%E6%B6%88%E6%81%AF&instance=im&sender=ann&sort=relevance&limit=5",
        ]
        .map(|path| get(Of::Daemon, path)),
    );
    Ok(reads)
}

/// Whether every endpoint of the protocols that reads is among these.
fn is_whole(reads: &[Read]) -> Result<()> {
    for (suite, of) in [("gateway", Of::Gateway), ("wukongim", Of::Wukongim), ("openim", Of::Openim)] {
        let (suite, _) = scenario::read(&stele_tests::source_root().join("tests/scenarios").join(suite))?;
        let mut asked: BTreeSet<String> = OTHERS.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        for read in reads.iter().filter(|read| read.of == of) {
            let path = read.path.split('?').next().unwrap_or_default();
            let method = if read.body.is_some() { "POST" } else { "GET" };
            asked.insert(format!("{method} {}", percent_decode_str(path).decode_utf8()?));
        }
        let left: Vec<_> = suite.endpoints.difference(&asked).collect();
        ensure!(left.is_empty(), "{of:?}: nobody asks {left:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_daemon_answers_the_same() -> Result<()> {
    let files = tempfile::tempdir()?;
    let spec = CorpSpec::recent(3 * Story::PARADE);
    let folder = CorpFolder::generate(&spec, &files.path().join("corp"))?;
    let Some(members) = members(&folder, &files.path().join("media"))? else { return Ok(()) };
    let daemons = [members[0].site.start().await?, members[1].site.start().await?];
    members[0].site.sync().await?;
    members[0].site.media_done().await?;
    let reads = say(&members).await?;
    is_whole(&reads)?;
    let tokens = Tokens { bob: token("bob", 1), admin: members[0].openim.api().token };
    let mut report = Report::default();
    for read in &reads {
        let checked = async { same(&members, &tokens, read).await.map(drop) };
        report.check(&format!("{:?} {} {:?}", read.of, read.path, read.body), checked).await;
    }
    let logs = || format!("{}\n{}", members[0].site.log_tail(), members[1].site.log_tail());
    report.finish(&logs());

    let soon = async |is_failing: bool| {
        let is_ready = |ready: &Value| {
            let told = ready["findings"].to_string().contains("job wecom sync corp123: failed");
            (ready["status"] == "degraded", told) == (is_failing, is_failing)
        };
        let is_told = |jobs: &Value| {
            let sync = jobs["jobs"].as_array().and_then(|jobs| jobs.iter().find(|job| job["key"]["kind"] == "sync"));
            sync.is_some_and(|sync| sync["error"].to_string().contains("301042") == is_failing)
        };
        same_soon(&members, &tokens, "/ready", is_ready).await?;
        same_soon(&members, &tokens, "/api/v1/jobs?instance=wecom", is_told).await?;
        anyhow::Ok(())
    };
    soon(false).await.with_context(logs)?;
    // A person must act, so nobody tries again for a while.
    folder.set_faults(&[r#"chat body {"errcode":301042,"errmsg":"not allow to access from your ip"}"#])?;
    let run = members[1].site.run_job("sync").await?;
    ensure!(run.outcome == "failed", "{run:?}");
    soon(true).await.with_context(logs)?;
    folder.set_faults(&[])?;
    members[0].site.sync().await?;
    soon(false).await.with_context(logs)?;
    for daemon in daemons {
        ensure!(daemon.stop().await?.success(), "{}", logs());
    }
    Ok(())
}
