//! Listening by long polls, one after the other.

use super::{Call, End, Heard, Log};
use tokio::sync::watch;

/// Polls until an answer is neither a message nor the end of a wait. Only the first poll says `since`.
pub async fn listen(mut call: Call, log: watch::Sender<Log>) {
    let http = crate::client::http();
    let end = loop {
        let mut request = http.get(call.url("http"));
        if !call.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", call.token));
        }
        let answer = async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status().as_u16(), response.text().await?))
        };
        match answer.await {
            Ok((200, text)) if text.contains("\"MsgId\"") => {
                log.send_modify(|log| log.heard.push(Heard::text(text)));
            }
            Ok((204, text)) if text.is_empty() => log.send_modify(|log| log.beats += 1),
            Ok((status, text)) => break End::Answered { status, text },
            Err(error) => break End::Broken(format!("{:#}", anyhow::Error::from(error))),
        }
        if let Some((path, _)) = call.path.split_once("&since=") {
            call.path = path.to_owned();
        }
    };
    log.send_modify(|log| log.end = Some(end));
}
