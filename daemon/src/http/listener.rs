//! Sockets: accepting connections within bounds, and ending them without losing a request.
//!
//! hyper's own connections are used instead of `axum::serve` for the sake of three bounds: the time a client may take to send
//! the head of a request, the time it may take nothing of an answer, and the time it may ask nothing. Without them a few
//! sockets can keep every connection slot.

use super::rest::Rest;
use super::tls::Tls;
use crate::config::Http;
use async_trait::async_trait;
use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Pause after the system refused a connection (out of file descriptors), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often refused connections are told, at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Time a connection that has asked nothing gets when the listener stops: what is on its way may still come in.
const LAST_CALL: Duration = Duration::from_millis(250);
/// Requests one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 128;
/// Bytes of an answer that may wait behind an HTTP/2 stream's window; what is in here is not known to be taken.
const SEND_BUFFER: usize = 64 << 10;
/// How often a silent HTTP/2 connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Who a connection is with.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The caller.
    pub remote: SocketAddr,
    /// The address of ours it reached.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

/// What a request's connection holds, for an answer that outlives the exchange; in the request's extensions. The connection's
/// slot is taken, and the listener waits for its end, as long as there is one of these.
#[derive(Clone)]
pub struct Held(Arc<Holding>);

struct Holding {
    soft: CancellationToken,
    hard: CancellationToken,
    _slot: OwnedSemaphorePermit,
    _task: TaskTrackerToken,
}

impl Held {
    /// Cancelled when the listener stops: what goes on is to end.
    pub fn leaving(&self) -> &CancellationToken {
        &self.0.soft
    }

    /// Cancelled when the listener waits no longer.
    pub fn cut_off(&self) -> &CancellationToken {
        &self.0.hard
    }
}

/// Answers requests.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The answer to a request; there always is one.
    async fn handle(&self, request: Request<Body>, peer: Peer) -> Response<Body>;
}

/// A bound socket that serves nothing yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Binds an address; port 0 picks a free one.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<Tls>>) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, tls })
    }

    /// The address it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to serve.
    pub fn serve(self, handler: Arc<dyn Handler>, bounds: &Http) -> Running {
        let running = Running {
            address: self.address,
            tls: Arc::new(RwLock::new(self.tls)),
            closed: CancellationToken::new(),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let connections = Connections {
            handler,
            local: self.address,
            header_timeout: bounds.header_timeout(),
            max_header_bytes: bounds.max_header_bytes,
            max_headers: bounds.max_headers,
            soft: running.soft.clone(),
            hard: running.hard.clone(),
            tasks: running.tasks.clone(),
        };
        let slots = Arc::new(Semaphore::new(bounds.max_connections));
        let accepting = accept(self.socket, running.tls.clone(), Arc::new(connections), slots, running.tasks.clone());
        let closed = running.closed.clone().drop_guard();
        running.tasks.spawn(async move {
            accepting.await;
            drop(closed);
        });
        running
    }
}

/// A listener that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    tls: Encryption,
    /// The socket is.
    closed: CancellationToken,
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

/// What connections are encrypted with from now on.
type Encryption = Arc<RwLock<Option<Arc<Tls>>>>;

impl Running {
    /// The address it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Encrypts connections with this from now on, or not at all.
    pub fn encrypt(&self, tls: Option<Arc<Tls>>) {
        *self.tls.write().expect("no panic happens while it is locked") = tls;
    }

    /// Accepts no more. Returns once the address is free.
    pub async fn close(&self) {
        self.soft.cancel();
        self.closed.cancelled().await;
    }

    /// Accepts no more, lets requests in flight finish for so long, and ends what is left. Returns whether all finished.
    pub async fn stop(&self, drain: Duration) -> bool {
        self.soft.cancel();
        self.tasks.close();
        if tokio::time::timeout(drain, self.tasks.wait()).await.is_ok() {
            return true;
        }
        self.hard.cancel();
        self.tasks.wait().await;
        false
    }
}

struct Connections {
    handler: Arc<dyn Handler>,
    local: SocketAddr,
    header_timeout: Duration,
    max_header_bytes: usize,
    max_headers: usize,
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

async fn accept(
    socket: TcpListener,
    tls: Encryption,
    connections: Arc<Connections>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
) {
    let soft = connections.soft.clone();
    let mut told: Option<Instant> = None;
    // Without a free slot nothing is accepted: callers wait in the kernel's queue.
    while let Some(Ok(slot)) = soft.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await {
        match soft.run_until_cancelled(socket.accept()).await {
            None => return,
            Some(Ok((stream, remote))) => {
                let tls = tls.read().expect("no panic happens while it is locked").clone();
                let connection = Arc::clone(&connections).connection(stream, remote, tls, slot);
                tasks.spawn(connection);
            }
            Some(Err(error)) => {
                if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                    tracing::warn!(%error, listen = %connections.local, "cannot accept connections");
                    told = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Connections {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        tls: Option<Arc<Tls>>,
        slot: OwnedSemaphorePermit,
    ) {
        let (soft, hard) = (self.soft.clone(), self.hard.clone());
        let held = Held(Arc::new(Holding { soft, hard, _slot: slot, _task: self.tasks.token() }));
        // Answers are written whole: waiting for more to send only costs time.
        let _ = stream.set_nodelay(true);
        let peer = Peer { remote, local: self.local, encrypted: tls.is_some() };
        // Who asks and never reads the answer must not keep the slot.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.header_timeout));
        let stream = Box::pin(stream);
        let Some(tls) = tls else { return self.http1(stream, peer, held).await };
        match tokio::time::timeout(self.header_timeout, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, peer, held).await;
            }
            Ok(Ok(stream)) => self.http1(stream, peer, held).await,
            Ok(Err(error)) => tracing::debug!(%error, %remote, "TLS handshake failed"),
            Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
        }
    }

    async fn http1(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        held: Held,
    ) {
        let asked = AtomicBool::new(false);
        let service = service_fn(async |request| {
            asked.store(true, Ordering::Relaxed);
            // hyper's own bound is that of its buffer, which may hold more than it reads at once.
            if head_bytes(&request) > self.max_header_bytes {
                tracing::debug!(remote = %peer.remote, "the head of a request is too large");
                return Ok(too_large());
            }
            self.answer(request, peer, held.clone()).await
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(self.max_header_bytes)
            .max_headers(self.max_headers)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return log_end(ended, peer),
            () = self.soft.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        // hyper ends idle connections at once, but waits for the first request of those that have made none.
        let silent = async {
            tokio::time::sleep(LAST_CALL).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending().await
            }
        };
        tokio::select! {
            ended = connection.as_mut() => log_end(ended, peer),
            () = silent => {}
            () = self.hard.cancelled() => {}
        }
    }

    async fn http2(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        held: Held,
    ) {
        let rest = Rest::default();
        let service = {
            let (connections, rest) = (Arc::clone(self), rest.clone());
            service_fn(move |request| {
                let (connections, working, held) = (Arc::clone(&connections), rest.request(), held.clone());
                async move {
                    let answer = connections.answer(request, peer, held).await?;
                    Ok::<_, Infallible>(answer.map(|body| working.answered(body)))
                }
            })
        };
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(self.header_timeout)
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(self.max_header_bytes).unwrap_or(u32::MAX))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return log_end(ended, peer),
            () = self.soft.cancelled() => {}
            () = rest.reached(self.header_timeout) => {}
        }
        connection.as_mut().graceful_shutdown();
        // hyper waits for the client to confirm; one that is silent never does.
        let patience = if rest.asked() { self.header_timeout } else { LAST_CALL };
        tokio::select! {
            ended = connection.as_mut() => log_end(ended, peer),
            () = rest.reached(patience) => {}
            () = self.hard.cancelled() => {}
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        held: Held,
    ) -> Result<Response<Body>, Infallible> {
        request.extensions_mut().insert(held);
        Ok(self.handler.handle(request.map(Body::new), peer).await)
    }
}

/// Bytes of a request's head as HTTP/1 writes it.
fn head_bytes<B>(request: &Request<B>) -> usize {
    const LINE: usize = "  HTTP/1.1\r\n".len();
    const FIELD: usize = ": \r\n".len();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    request.method().as_str().len() + target + LINE + fields.sum::<usize>() + "\r\n".len()
}

/// What hyper itself answers to a head that exceeds its buffer.
fn too_large() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn log_end(ended: hyper::Result<()>, peer: Peer) {
    if let Err(error) = ended {
        tracing::debug!(%error, remote = %peer.remote, "connection ended early");
    }
}
