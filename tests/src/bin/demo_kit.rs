//! What `steled demo` shows: a generated corp behind the stub of the vendor's library, a gateway people talk over,
//! WuKongIM's message API, and OpenIM's message search.
//!
//! Writes to `--out`: the corp's upstream folder and `steled.toml`. With `--serve-directory` it then serves the corp's
//! directory (names, avatars, groups): it prints one line with the address and runs until its standard input is closed. Called
//! again with `--serve-directory` on a folder it has written, it only serves. With `--fill` it has people talk through the APIs,
//! once, and prints what to try.

use anyhow::{Context, Result};
use clap::Parser;
use rand::Rng;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};
use stele_tests::{
    client::{Style, hmac_hex, signed_path},
    corp::{CorpFolder, CorpSpec, Directory, TOPICS, sentence},
    gateway::{self, Gateway},
    openim::{self, Openim},
    settings::{API_KEY, Settings},
    standin::DirectoryStandin,
    wukongim::{self, Wukongim, encoded},
};
use tokio::io::AsyncReadExt;

#[derive(Parser)]
#[command(about = "Makes the corp that `steled demo` archives")]
struct Arguments {
    /// Folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many messages to generate.
    #[arg(long, default_value_t = 4000)]
    messages: usize,
    /// Where the daemon shall answer clients of the protocol.
    #[arg(long, default_value = "127.0.0.1:9002")]
    listen: String,
    /// Where the daemon shall answer clients of the gateway.
    #[arg(long, default_value = "127.0.0.1:8088")]
    live: String,
    /// Where the daemon shall answer clients of WuKongIM's message API.
    #[arg(long, default_value = "127.0.0.1:5001")]
    im: String,
    /// Where the daemon shall answer clients of OpenIM's message search.
    #[arg(long, default_value = "127.0.0.1:10002")]
    openim: String,
    /// Where the daemon's own API shall be.
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: String,
    /// Serve the directory until the standard input is closed.
    #[arg(long)]
    serve_directory: bool,
    /// Fill what is filled through the daemon, which serves, and print what to try.
    #[arg(long)]
    fill: bool,
    /// Where an instance is served.
    #[arg(long, value_name = "NAME=ADDRESS")]
    served: Vec<String>,
}

const CONFIG: &str = "steled.toml";
const UPSTREAM: &str = "upstream";
const PORT: &str = "directory.port";
/// The instances beside that of the corp.
const GATEWAY: &str = "gateway";
const IM: &str = "im";
const OPENIM: &str = "openim";
/// Where a room of the gateway is written down.
const ROOM: &str = "gateway.room";
/// Where the token of WuKongIM's message API is written down.
const TOKEN: &str = "im.token";
/// Where the secret of OpenIM's message search is written down.
const SECRET: &str = "openim.secret";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.fill {
        let corp = examples(served(&arguments, "wecom")?);
        let to_try = [corp, talk(&arguments).await?, send(&arguments).await?, search(&arguments).await?];
        print!("{}", to_try.join("\n"));
        return Ok(());
    }
    let written = arguments.out.join(PORT);
    let port = match fs::read_to_string(&written) {
        Ok(text) => text.trim().parse().with_context(|| format!("{} holds no port", written.display()))?,
        Err(_) => 0,
    };
    // Bound before the configuration is written, since that names the address; kept only to serve.
    let standin = DirectoryStandin::bind(port).await?;
    if port == 0 || !arguments.serve_directory {
        write(&arguments, &standin.api_base())?;
        fs::write(&written, standin.addr.port().to_string())?;
    }
    if arguments.serve_directory {
        let people = fs::read(arguments.out.join(UPSTREAM).join("directory.json"))?;
        standin.add(serde_json::from_slice::<Directory>(&people)?);
        println!("{}", standin.api_base());
        std::io::stdout().flush()?;
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    }
    Ok(())
}

fn write(arguments: &Arguments, api_base: &str) -> Result<()> {
    let upstream = arguments.out.join(UPSTREAM);
    if upstream.exists() {
        fs::remove_dir_all(&upstream)?;
    }
    fs::create_dir_all(&upstream)?;
    let upstream = upstream.canonicalize()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(arguments.messages), &upstream)?;
    let mut settings = Settings::of(&folder, Path::new("data"), &arguments.listen, &arguments.admin);
    settings.api_base = Some(api_base.to_owned());
    // Now and then, so that what is tried later is answered from a living archive.
    settings.sync_cron = Some("* * * * *".to_owned());
    settings.directory_cron = Some("*/10 * * * *".to_owned());
    let (name, listen, key) = (GATEWAY.into(), arguments.live.clone(), random());
    let gateway = Gateway { name, listen, key, instance: String::new(), config: String::new() };
    let (name, listen, token) = (IM.into(), arguments.im.clone(), random());
    fs::write(arguments.out.join(TOKEN), &token)?;
    let im = Wukongim { name, listen, instance: String::new(), config: format!("token = \"{token}\"") };
    let (name, listen, secret) = (OPENIM.into(), arguments.openim.clone(), random());
    fs::write(arguments.out.join(SECRET), &secret)?;
    let openim = Openim { name, listen, secret, instance: String::new(), config: String::new() };
    settings.sections = [gateway.toml(), im.toml(), openim.toml()].concat();
    fs::write(arguments.out.join(CONFIG), settings.toml())?;
    Ok(())
}

/// Something nobody guesses.
fn random() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill(&mut bytes);
    hex::encode(bytes)
}

/// Where this instance is served.
fn served<'a>(arguments: &'a Arguments, name: &str) -> Result<&'a str> {
    let of_name = |served: &'a String| served.strip_prefix(name)?.strip_prefix('=');
    arguments.served.iter().find_map(of_name).with_context(|| format!("nobody said where {name} is served"))
}

/// Rooms of the gateway: who is in them, what they talk about, and how much.
const ROOMS: [(&[&str], usize, usize); 3] =
    [(&["alice", "bob"], 0, 12), (&["alice", "bob", "carol"], 6, 25), (&["alice", "carol", "dave", "erin"], 1, 40)];

/// Has people talk, unless they have; returns what to try.
async fn talk(arguments: &Arguments) -> Result<String> {
    let address = served(arguments, GATEWAY)?;
    let (api, written) = (gateway::Api::new(address), arguments.out.join(ROOM));
    let (alice, bob) = (api.token("alice", 1).await?, api.token("bob", 1).await?);
    if !written.exists() {
        let mut rng = rand::rng();
        let mut rooms = Vec::new();
        for (people, topic, messages) in ROOMS {
            let room = api.create(0, people).await?;
            for index in 0..messages {
                let token = api.token(people[index % people.len()], 1).await?;
                api.send(&token, &room, &sentence(TOPICS[topic], &mut rng)).await?;
            }
            rooms.push(room);
        }
        fs::write(&written, &rooms[0])?;
    }
    let room = fs::read_to_string(&written)?;
    let base = format!("http://{address}");
    let post = |title: &str, token: &str, body: Value, path: &str| {
        format!("# {title}\ncurl -H 'Authorization: Bearer {token}' -d '{body}' '{base}{path}'\n")
    };
    Ok([
        format!(
            "# the gateway: alice listens; keep it open beside\ncurl -N '{base}/notify?protoc=sse&token={alice}'\n"
        ),
        post(
            "bob tells her something",
            &bob,
            json!({ "conversation_id": room, "type": 1, "content": "你好" }),
            "/send_msg",
        ),
        post("what they have said", &alice, json!({ "conversation_id": room }), "/get_conversation_last_30_msg"),
        post("where alice is a member", &alice, json!({}), "/get_joined_conversation"),
        format!(
            "# a token, as a program of the house gets it\ncurl -d '{}' '{base}/inner/get_token'\n",
            json!({ "session": "carol", "platform": 1 })
        ),
    ]
    .join("\n"))
}

/// Channels of WuKongIM: type, id, who talks there, what about, and how much.
const CHANNELS: [(u8, &str, &[&str], usize, usize); 3] =
    [(1, "bob", &["alice"], 0, 8), (1, "alice", &["bob"], 0, 7), (2, "team", &["alice", "bob", "carol"], 6, 30)];
/// What the team, and OpenIM's group, is found by.
const FOUND: &str = "产品介绍";

/// Has people send messages, unless they have; returns what to try.
async fn send(arguments: &Arguments) -> Result<String> {
    let address = served(arguments, IM)?;
    let token = fs::read_to_string(arguments.out.join(TOKEN))?;
    let (api, base) = (wukongim::Api::new(address).with_token(&token), format!("http://{address}"));
    let message = |from: &str, channel: &str, kind: u8, text: &str| {
        let payload = json!({ "type": 1, "content": text }).to_string();
        json!({ "from_uid": from, "channel_id": channel, "channel_type": kind, "payload": encoded(payload.as_bytes()) })
    };
    let last = api.get("/channel/max_message_seq?channel_id=team&channel_type=2").await?.read::<Value>()?;
    if last["message_seq"] == 0 {
        let mut rng = rand::rng();
        for (kind, channel, people, topic, messages) in CHANNELS {
            for index in 0..messages {
                let text = sentence(TOPICS[topic], &mut rng);
                api.send(&message(people[index % people.len()], channel, kind, &text)).await?;
            }
        }
        api.send(&message("carol", "team", 2, &format!("下午三点讨论{FOUND}"))).await?;
    }
    let post = |title: &str, path: &str, body: Value| {
        format!("# {title}\ncurl -H 'Authorization: Bearer {token}' -d '{body}' '{base}{path}'\n")
    };
    let page = |reader: &str, channel: &str, kind: u8| json!({ "login_uid": reader, "channel_id": channel, "channel_type": kind, "limit": 5 });
    let found = percent_encoding::utf8_percent_encode(&encoded(FOUND.as_bytes()), percent_encoding::NON_ALPHANUMERIC)
        .to_string();
    Ok([
        post("WuKongIM's message API: alice sends bob something", "/message/send", message("alice", "bob", 1, "你好")),
        post("what they have written", "/channel/messagesync", page("bob", "alice", 1)),
        post("what the team has written", "/channel/messagesync", page("carol", "team", 2)),
        format!("# where {FOUND} is mentioned\ncurl -H 'Authorization: Bearer {token}' '{base}/cluster/messages?payload={found}'\n"),
    ]
    .join("\n"))
}

/// The example of OpenIM's document, as it is printed there: what it asks for is there.
const EXAMPLE: &str = include_str!("../../data/contract-002-sample.js");
/// The group it asks for, and the beginning of the day, 2026-04-09, in milliseconds.
const GROUP: &str = "group_001";
const DAY: i64 = 1_775_692_800_000;
/// Who talks there.
const PEOPLE: [(&str, &str); 3] = [("u_1001", "王芳"), ("u_1002", "李建国"), ("u_1003", "陈雨桐")];
/// How many hours after that day's beginning they do, what about, and how much, a minute for each.
const TALKS: [(i64, usize, usize); 4] = [(-15, 2, 8), (2, 0, 12), (7, 5, 14), (27, 1, 9)];

/// Has people of OpenIM talk, unless they have; returns what to try.
async fn search(arguments: &Arguments) -> Result<String> {
    let address = served(arguments, OPENIM)?;
    let secret = fs::read_to_string(arguments.out.join(SECRET))?;
    let (api, base) = (openim::Api::admitted(address, &secret, openim::ADMIN).await?, format!("http://{address}"));
    let text = |from: &str, text: &str| {
        let content = json!({ "content": text });
        json!({ "sendID": from, "groupID": GROUP, "sessionType": 3, "contentType": 101, "content": content })
    };
    if api.search(&json!({ "recvID": GROUP })).await?.chat_logs_num == 0 {
        let users = PEOPLE.map(|(user, name)| json!({ "userID": user, "nickname": name }));
        api.done("/user/user_register", &json!({ "users": users })).await?;
        let [owner, others @ ..] = PEOPLE.map(|(user, _)| user);
        let info = json!({ "groupID": GROUP, "groupName": "产品讨论组", "groupType": 2 });
        let group = json!({ "ownerUserID": owner, "memberUserIDs": others, "groupInfo": info });
        api.done("/group/create_group", &group).await?;
        let mut rng = rand::rng();
        for (hours, topic, messages) in TALKS {
            for index in 0..messages {
                let mut message = text(PEOPLE[index % PEOPLE.len()].0, &sentence(TOPICS[topic], &mut rng));
                message["sendTime"] = json!(DAY + hours * 3_600_000 + i64::try_from(index)? * 60_000);
                api.send(&message).await?;
            }
        }
        api.send(&text(PEOPLE[2].0, &format!("下午三点讨论<新版>{FOUND}"))).await?;
    }
    let post = |title: &str, headers: &str, path: &str, body: Value| {
        format!("# {title}\ncurl -H 'operationID: demo'{headers} -d '{body}' '{base}{path}'\n")
    };
    let token = format!(" -H 'token: {}'", api.token);
    let page = json!({ "recvID": GROUP, "sessionType": 3, "pagination": { "pageNumber": 2, "showNumber": 5 } });
    let example = EXAMPLE.replace("http://localhost:10002", &base).replace("<your-token>", &api.token);
    Ok([
        format!("# OpenIM's message search: the example of its document, for Node\nnode -e '\n{example}'\n"),
        post("a token of the admin", "", "/auth/get_admin_token", json!({ "secret": secret, "userID": openim::ADMIN })),
        post("the second page of a group", &token, "/msg/search_msg", page),
        post(
            &format!("where {FOUND} is mentioned, the latest first, with what was hit marked"),
            &token,
            "/msg/search_msg",
            json!({ "keyword": FOUND, "order": "desc" }),
        ),
        post("a message to the group", &token, "/msg/send_msg", text(PEOPLE[1].0, &format!("{FOUND}我看过了"))),
    ]
    .join("\n"))
}

/// Signed requests to try, for a terminal.
fn examples(listen: &str) -> String {
    let base = format!("http://{listen}");
    let get = |title: &str, endpoint: &str, params: &[(&str, &str)]| {
        format!("# {title}\ncurl '{base}{}'\n", signed_path(endpoint, params, API_KEY, Style::Raw))
    };
    let (corp, staff, customer) =
        (("ext_corp_id", "corp123"), ("ext_staff_id", "staff123"), ("receiver_id", "customer456"));
    let signature = hmac_hex(API_KEY, "ext_corp_id=corp123");
    [
        get("who staff123 talks to", "sessions", &[staff, ("session_type", "external"), corp, ("page_size", "5")]),
        get("their groups", "sessions", &[staff, ("session_type", "group"), corp]),
        get("what staff123 and customer456 wrote", "session-msgs", &[staff, customer, corp, ("page_size", "5")]),
        get("their files, with links", "session-msgs", &[staff, customer, corp, ("msg_type", "file")]),
        get(
            "where they mention 产品介绍",
            "search",
            &[("keyword", "产品介绍"), staff, ("ext_peer_id", "customer456"), corp],
        ),
        format!(
            "# fetch new messages now\ncurl -H 'content-type: application/json' \
             -d '{{\"ext_corp_id\":\"corp123\",\"signature\":\"{signature}\"}}' '{base}/api/v1/chat-msg/sync'\n"
        ),
    ]
    .join("\n")
}
