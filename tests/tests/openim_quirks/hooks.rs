//! reference/openim.md §7.3.

use crate::rig::{ALL, Rig};
use anyhow::{Result, ensure};
use axum::{Router, extract::State, http::Uri};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use stele_tests::{
    daemon::wait_for,
    standin::openim::{Arrival, Say, Version},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// What is answered, and the paths that were asked for.
type Shared = Arc<Mutex<(String, Vec<Uri>)>>;

/// Who is told.
struct Receiver {
    url: String,
    shared: Shared,
    task: JoinHandle<()>,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let shared: Shared = Shared::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/hook/secret", listener.local_addr()?);
        let answer = async |State(shared): State<Shared>, uri: Uri| {
            let (answer, asked) = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push(uri);
            answer.clone()
        };
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a bound listener serves until it is dropped");
        });
        let receiver = Self { url, shared, task };
        receiver.answer(&json!({ "actionCode": 0, "errCode": 0, "errMsg": "", "errDlt": "", "nextCode": 0 }));
        Ok(receiver)
    }

    fn answer(&self, answer: &Value) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).0 = answer.to_string();
    }

    fn asked(&self) -> Vec<Uri> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The commands that were told, in order.
fn commands(rig: &Rig) -> Vec<String> {
    rig.standin.told().into_iter().map(|told| told.command).collect()
}

async fn told(rig: &Rig, count: usize) -> Result<()> {
    wait_for("webhooks", || async {
        let told = commands(rig);
        if told.len() >= count { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await?;
    ensure!(rig.standin.told().len() == count, "{:?}", commands(rig));
    Ok(())
}

#[tokio::test]
async fn a_send_is_told_before_it_has_a_number() -> Result<()> {
    for version in ALL {
        let (rig, receiver) = (Rig::new(version).await?, Receiver::start().await?);
        rig.standin.set(|switches| {
            switches.webhook = Some(receiver.url.clone());
            switches.save_hooks = true;
            switches.arrival = Arrival::Queued;
        });
        rig.standin.say(Say { send_time: Some(5000), ..Say::to("alice", "bob", "hi") });
        rig.standin.say(Say::group("alice", "g", "ho"));
        // What is not stored is told as well, and does not say so.
        let passing = json!({
            "sendID": "alice", "recvID": "bob", "content": { "content": "now" }, "contentType": 101, "sessionType": 1,
            "isOnlineOnly": true,
        });
        rig.data("/msg/send_msg", &passing).await?;
        // Typing, and at HEAD notices, are not told.
        rig.standin.say(Say { content_type: 113, ..Say::to("alice", "bob", "") });
        told(&rig, 3).await?;
        ensure!(rig.standin.max_seq("sg_g") == 0, "not there yet");
        rig.standin.arrive();
        let count = if version == Version::Head { 6 } else { 3 };
        told(&rig, count).await?;
        let all = rig.standin.told();
        ensure!(commands(&rig)[..2] == ["callbackAfterSendSingleMsgCommand", "callbackAfterSendGroupMsgCommand"], "");
        let body = &all[0].body;
        ensure!(body["callbackCommand"] == "callbackAfterSendSingleMsgCommand" && body["seq"] == 0, "{body}");
        ensure!(body["recvID"] == "bob" && body.get("groupID").is_none() && body["status"] == 1, "{body}");
        ensure!(body["content"] == r#"{"content":"hi"}"# && body["sendTime"] == 5000, "{body}");
        ensure!(all[1].body["groupID"] == "g" && all[1].body.get("recvID").is_none(), "{:?}", all[1]);
        ensure!(all[0].status == 200 && all[0].answer.contains("actionCode"), "recorded: {:?}", all[0]);
        let first = &receiver.asked()[0];
        ensure!(first.path() == "/hook/secret/callbackAfterSendSingleMsgCommand", "{first}");
        match version {
            Version::Head => {
                let query: Vec<_> = url::form_urlencoded::parse(first.query().unwrap_or("").as_bytes()).collect();
                let key: Value = serde_json::from_slice(&STANDARD.decode(query[0].1.as_bytes())?)?;
                ensure!(key == json!({ "sendID": "alice", "recvID": "bob", "groupID": "" }), "{key}");
                ensure!(all[3].command == "callbackAfterMsgSaveDBCommand" && all[3].body["seq"] == 1, "{:?}", all[3]);
            }
            _ => ensure!(first.query().is_none(), "{first}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn revokes_and_groups_are_told_by_their_names() -> Result<()> {
    let (rig, receiver) = (Rig::new(Version::Head).await?, Receiver::start().await?);
    rig.chat(1);
    rig.standin.set(|switches| switches.webhook = Some(receiver.url.clone()));
    rig.standin.revoke("sg_g", 1, "alice")?;
    rig.data("/group/quit_group", &json!({ "groupID": "g", "userID": "bob" })).await?;
    rig.data("/group/kick_group", &json!({ "groupID": "g", "kickedUserIDs": ["c_d"] })).await?;
    told(&rig, 3).await?;
    let all = rig.standin.told();
    let revoke = json!({
        "conversationID": "sg_g", "seq": 1, "userID": "alice", "callbackCommand": "callbackBeforeAfterMsgCommand",
    });
    ensure!(all[0].command == "callbackBeforeAfterMsgCommand" && all[0].body == revoke, "{:?}", all[0]);
    ensure!(commands(&rig)[1..] == ["callbackAfterQuitGroupCommand", "callbackAfterKickGroupCommand"], "{all:?}");
    Ok(())
}

#[tokio::test]
async fn a_webhook_is_sent_once_or_never() -> Result<()> {
    let (rig, receiver) = (Rig::new(Version::Head).await?, Receiver::start().await?);
    rig.standin.set(|switches| {
        switches.webhook = Some(receiver.url.clone());
        switches.lose_hooks = 2;
    });
    rig.chat(3);
    told(&rig, 1).await?;
    receiver.answer(&json!("nonsense"));
    rig.chat(1);
    told(&rig, 2).await?;
    // Whoever is not there is not asked again.
    rig.standin.set(|switches| switches.webhook = Some("http://127.0.0.1:1/hook".into()));
    rig.chat(1);
    told(&rig, 3).await?;
    ensure!(rig.standin.told()[2].status == 0, "no answer");
    // On request.
    rig.standin.set(|switches| switches.webhook = Some(receiver.url.clone()));
    let answer = rig.standin.hook("callbackAfterDisMissGroupCommand", &json!({ "groupID": "g" })).await?;
    ensure!(answer.status == 200 && answer.answer == "\"nonsense\"", "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_hook_that_is_asked_first_can_refuse() -> Result<()> {
    let (rig, receiver) = (Rig::new(Version::Head).await?, Receiver::start().await?);
    rig.standin.set(|switches| {
        switches.webhook = Some(receiver.url.clone());
        switches.before_hooks = true;
    });
    let body = json!({
        "sendID": "alice", "recvID": "bob", "content": { "content": "hi" }, "contentType": 101, "sessionType": 1,
    });
    let send = async || rig.ask("/msg/send_msg", &body).await;
    for (answer, code) in [
        (json!({ "actionCode": 0, "errCode": 5001, "errMsg": "no", "errDlt": "", "nextCode": 1 }), 5001),
        (json!({ "actionCode": 0, "errCode": 5001, "errMsg": "no", "errDlt": "", "nextCode": 0 }), 0),
        (json!({ "actionCode": 1, "errCode": 5001, "errMsg": "no", "errDlt": "", "nextCode": 1 }), 0),
    ] {
        receiver.answer(&answer);
        ensure!(send().await?["errCode"] == code, "{answer}");
    }
    ensure!(commands(&rig)[0] == "callbackBeforeSendSingleMsgCommand", "{:?}", commands(&rig));
    ensure!(rig.standin.rows()["si_alice_bob"].len() == 2, "the refused one is not there");
    rig.standin.set(|switches| switches.webhook = Some("http://127.0.0.1:1/hook".into()));
    ensure!(send().await?["errCode"] == 90_004, "nobody to ask");
    Ok(())
}
