//! WebSocket (RFC 6455): a text message for each event.
//!
//! What clients send is of no interest, but bounded: its size, its number, and the time without a sign of life.

use super::event::Event;
use super::listener::{Listener, Step};
use super::session::End;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header, request};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_util::sync::CancellationToken;

/// Largest message of a client, in bytes.
const MAX_MESSAGE: usize = 64 << 10;
/// Messages a client may send within [`FLOOD_TIME`], pings among them, and pongs that answer nothing.
const FLOOD: u32 = 100;
/// See [`FLOOD`].
const FLOOD_TIME: Duration = Duration::from_secs(10);
/// Pings that may be without an answer.
const UNANSWERED: u32 = 2;
/// Bytes read at once: clients have little to say, and each of thousands has a buffer.
const READ_BUFFER: usize = 512;
/// Bytes that are written at once when there is more.
const WRITE_BUFFER: usize = 4 << 10;
/// Largest frame that is written, in bytes: a socket's buffer holds one whole, and keeps its size. A longer text is a message of
/// several frames (§5.4).
const FRAME: usize = 16 << 10;
/// Events that are written before the client is listened to again.
const BURST: usize = 32;
/// Time a client gets to take what waits and to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// Longest key of a handshake: sixteen bytes in base 64 (§4.1).
const KEY_CHARS: usize = 24;

/// What a request to upgrade is answered by, and what becomes of its connection then.
pub struct Upgrade {
    accept: HeaderValue,
    connection: OnUpgrade,
}

impl Upgrade {
    /// The upgrade a request asks for; `None` when it asks for none (§4.2.1).
    pub fn of(head: &mut request::Parts) -> Option<Self> {
        let headers = &head.headers;
        let key = headers.get(header::SEC_WEBSOCKET_KEY)?.as_bytes();
        let is_upgrade = head.method == Method::GET
            && head.version == Version::HTTP_11
            && lists(headers, &header::CONNECTION, "upgrade")
            && lists(headers, &header::UPGRADE, "websocket")
            && headers.get(header::SEC_WEBSOCKET_VERSION)? == "13"
            && key.len() == KEY_CHARS
            && key.ends_with(b"==");
        let accept = HeaderValue::from_str(&derive_accept_key(key)).ok().filter(|_| is_upgrade)?;
        Some(Self { accept, connection: head.extensions.remove::<OnUpgrade>()? })
    }

    /// The answer that agrees, and the connection to come.
    pub fn agree<B: Default>(self) -> (Response<B>, OnUpgrade) {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        (response, self.connection)
    }
}

/// Whether a header of a comma-separated list has this word.
fn lists(headers: &HeaderMap, name: &header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
}

/// Delivers over an upgraded connection until the session, the client, the credential or the listener ends it.
pub async fn deliver(
    connection: OnUpgrade,
    mut listener: Listener,
    expires: Option<Instant>,
    leaving: CancellationToken,
) {
    let Ok(connection) = connection.await else { return };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
    let (end, code) = converse(&mut socket, &mut listener, expires, &leaving).await;
    listener.end(end);
    // The place is free before the client has said goodbye.
    drop(listener);
    let _ = tokio::time::timeout(GOODBYE, say_goodbye(&mut socket, end, code)).await;
}

/// Returns why it ended, and the code the client is told; `None` when it is gone or said goodbye itself.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    listener: &mut Listener,
    expires: Option<Instant>,
    leaving: &CancellationToken,
) -> (End, Option<CloseCode>) {
    let heartbeat = listener.hub().options().heartbeat;
    let mut beat = Instant::now() + heartbeat;
    let mut timer = pin!(tokio::time::sleep_until(expires.map_or(beat, |expires| expires.min(beat))));
    let (mut pings, mut said, mut since) = (0, 0, Instant::now());
    let mut is_leaving = false;
    let end = loop {
        tokio::select! {
            biased;
            () = leaving.cancelled(), if !is_leaving => {
                is_leaving = true;
                listener.end(End::Stopped);
            }
            // Before what there is to read and write: that may have no end.
            () = timer.as_mut() => {
                if expires.is_some_and(|expires| expires <= Instant::now()) {
                    break End::Expired;
                }
                if pings == UNANSWERED {
                    break End::Unanswered;
                }
                pings += 1;
                beat = Instant::now() + heartbeat;
                timer.as_mut().reset(expires.map_or(beat, |expires| expires.min(beat)));
                if let Err(end) = in_time(socket.send(Message::Ping(Bytes::new())), heartbeat, leaving).await {
                    return end;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Close(_))) | None => return (End::Gone, None),
                Some(Ok(message)) => {
                    let is_answer = message.is_pong() && pings > 0;
                    pings = 0;
                    if since.elapsed() >= FLOOD_TIME {
                        (said, since) = (0, Instant::now());
                    }
                    said += u32::from(!is_answer);
                    if said > FLOOD {
                        break End::Flood;
                    }
                }
                Some(Err(error)) => return of_error(&error),
            },
            step = listener.next() => match step {
                Step::Event(event) => {
                    // What a client does not take within the time of two pings it does not take.
                    let written = write(socket, listener, event);
                    if let Err(end) = in_time(written, heartbeat * UNANSWERED, leaving).await {
                        return end;
                    }
                }
                Step::End(end) => break end.unwrap_or(End::Replaced),
            },
        }
    };
    (end, Some(code_of(end)))
}

/// Waits until something is written: for so long, and only a moment when the listener stops. Otherwise, why it ends.
async fn in_time(
    written: impl Future<Output = Result<(), Error>>,
    limit: Duration,
    leaving: &CancellationToken,
) -> Result<(), (End, Option<CloseCode>)> {
    let stopped = async {
        leaving.cancelled().await;
        tokio::time::sleep(GOODBYE).await;
    };
    let end = tokio::select! {
        biased;
        written = written => return written.map_err(|error| of_error(&error)),
        () = tokio::time::sleep(limit) => End::Slow,
        () = stopped => End::Stopped,
    };
    Err((end, Some(code_of(end))))
}

/// Writes an event and what waits behind it.
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    listener: &Listener,
    first: Arc<Event>,
) -> Result<(), Error> {
    feed(socket, &first).await?;
    for _ in 1..BURST {
        // Why a session ended is found again by whoever asks next.
        let Some(Step::Event(event)) = listener.try_next() else { break };
        feed(socket, &event).await?;
    }
    socket.flush().await
}

async fn feed<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, event: &Event) -> Result<(), Error> {
    let text = event.text();
    if text.len() <= FRAME {
        return socket.feed(Message::Text(text)).await;
    }
    let (mut rest, mut kind) = (event.body(), Data::Text);
    while !rest.is_empty() {
        let part = rest.split_to(rest.len().min(FRAME));
        let frame = Frame::message(part, OpCode::Data(kind), rest.is_empty());
        socket.feed(Message::Frame(frame)).await?;
        kind = Data::Continue;
    }
    Ok(())
}

/// Tells the client why, and waits until it has taken note: a connection that is closed with something unread in it is reset,
/// and takes what was sent last with it.
async fn say_goodbye<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    end: End,
    code: Option<CloseCode>,
) {
    if let Some(code) = code {
        let frame = CloseFrame { code, reason: end.sentence().into() };
        if socket.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
    }
    while let Some(Ok(_)) = socket.next().await {}
    let connection = socket.get_mut();
    let is_shut = connection.shutdown().await.is_ok();
    // Who said goodbye says nothing more; of what is not understood the end is not seen.
    if is_shut && matches!(end, End::Oversize | End::Broken) {
        let mut unread = [0; 256];
        while connection.read(&mut unread).await.is_ok_and(|bytes| bytes > 0) {}
    }
}

fn of_error(error: &Error) -> (End, Option<CloseCode>) {
    match error {
        // The connection's own bound of the time a client may take nothing.
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => (End::Slow, Some(code_of(End::Slow))),
        Error::Capacity(_) => (End::Oversize, Some(code_of(End::Oversize))),
        Error::Utf8(_) => (End::Broken, Some(CloseCode::Invalid)),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => (End::Gone, None),
        Error::Protocol(_) => (End::Broken, Some(code_of(End::Broken))),
        _ => (End::Gone, None),
    }
}

/// §7.4.1; those from 4000 on are ours.
fn code_of(end: End) -> CloseCode {
    match end {
        End::Gone => CloseCode::Normal,
        End::Stopped => CloseCode::Away,
        End::Broken => CloseCode::Protocol,
        End::Flood => CloseCode::Policy,
        End::Oversize => CloseCode::Size,
        End::Unanswered => CloseCode::Error,
        End::Slow => CloseCode::Again,
        End::Replaced => CloseCode::Library(4001),
        End::Expired => CloseCode::Library(4003),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, asked, hub, options};
    use super::super::{Carrier, Options};
    use super::*;
    use tokio::io::DuplexStream;

    /// A listener for whom so many messages wait, a connection of which so many bytes are taken, and its other end.
    async fn begin(messages: usize, bytes: usize) -> (Listener, WebSocketStream<DuplexStream>, DuplexStream) {
        let fake = Arc::new(Fake::default());
        // What waits behind the first ones is in the archive.
        let hub = hub(&fake, Options { queue: 8, ..options() });
        fake.turn(7, 1);
        let listener = hub.listen(&asked(1, "a", None), Carrier::WebSocket).await.expect("there is room");
        (0..messages).for_each(|_| _ = fake.say(7));
        hub.wake();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (ours, theirs) = tokio::io::duplex(bytes);
        (listener, WebSocketStream::from_raw_socket(ours, Role::Server, None).await, theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_delivered_when_the_token_has_expired() {
        let (mut listener, mut socket, _client) = begin(100, 1 << 20).await;
        let (now, stays) = (Some(Instant::now()), CancellationToken::new());
        assert_eq!(converse(&mut socket, &mut listener, now, &stays).await.0, End::Expired);
        assert!(matches!(listener.try_next(), Some(Step::Event(event)) if *event.text() == *"1"));
    }

    #[tokio::test(start_paused = true)]
    async fn pongs_nobody_asked_for_are_messages() {
        let (mut listener, mut socket, client) = begin(0, 1 << 20).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        for _ in 0..=FLOOD {
            client.send(Message::Pong(Bytes::new())).await.expect("there is room");
        }
        let stays = CancellationToken::new();
        assert_eq!(converse(&mut socket, &mut listener, None, &stays).await.0, End::Flood);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_delays_a_stop_by_a_moment() {
        let (mut listener, mut socket, _client) = begin(1000, 64).await;
        let (leaving, begun) = (CancellationToken::new(), Instant::now());
        let stop = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            leaving.cancel();
        };
        let ((end, _), ()) = tokio::join!(converse(&mut socket, &mut listener, None, &leaving), stop);
        assert_eq!((end, begun.elapsed().as_secs()), (End::Stopped, 6));
    }

    #[test]
    fn a_write_that_takes_too_long_is_a_slow_client() {
        let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
        assert_eq!(of_error(&error.into()).0, End::Slow);
    }
}
