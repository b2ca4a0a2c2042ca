//! Listening over a WebSocket.

use super::{Call, End, Heard, Log};
use anyhow::{Context, Result, bail};
use futures::StreamExt;
use tokio::{net::TcpStream, sync::watch};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig},
};

/// A connected WebSocket.
pub type Socket = WebSocketStream<TcpStream>;

/// Connects; an answer that is no upgrade is an error that tells it.
pub async fn connect(call: &Call) -> Result<Socket> {
    match try_connect(call).await? {
        Ok(socket) => Ok(socket),
        Err((status, text)) => bail!("no upgrade but {status}: {text}"),
    }
}

/// Connects, or tells the answer that is no upgrade.
pub async fn try_connect(call: &Call) -> Result<Result<Socket, (u16, String)>> {
    over(TcpStream::connect(&call.address).await.with_context(|| call.address.clone())?, call).await
}

/// The same over a connection that is there.
pub async fn over(stream: TcpStream, call: &Call) -> Result<Result<Socket, (u16, String)>> {
    let mut request = call.url("ws").into_client_request()?;
    if !call.token.is_empty() {
        let value = HeaderValue::from_str(&format!("Bearer {}", call.token))?;
        request.headers_mut().insert("authorization", value);
    }
    stream.set_nodelay(true)?;
    // The library would keep 128 KiB for each.
    let config = WebSocketConfig::default().read_buffer_size(2048);
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(Ok(socket)),
        Err(Error::Http(response)) => {
            let text = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
            Ok(Err((response.status().as_u16(), text)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads until the end. Pings are answered by the library.
pub async fn listen(mut socket: Socket, log: watch::Sender<Log>) {
    let end = loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => log.send_modify(|log| log.heard.push(Heard::text(text.to_string()))),
            Some(Ok(Message::Ping(_))) => log.send_modify(|log| log.beats += 1),
            Some(Ok(Message::Close(Some(frame)))) => {
                break End::Closed { code: frame.code.into(), reason: frame.reason.to_string() };
            }
            Some(Ok(Message::Close(None))) => break End::Closed { code: 1005, reason: String::new() },
            Some(Ok(other)) => break End::Broken(format!("a message that is no text: {other:?}")),
            Some(Err(error)) => break End::Broken(error.to_string()),
            None => break End::Over,
        }
    };
    log.send_modify(|log| log.end = Some(end));
    // The answer to a close frame is sent by going on to read.
    while let Some(Ok(_)) = socket.next().await {}
}
