//! Owns the connections: accepts up to a limit, gives each a time to say what it wants and to take what it is told,
//! and ends them in order, and when they are not used.
//!
//! HTTP/1.1 with upgrades, and HTTP/2 for those who begin with its preface (clear text, as a proxy in front speaks).
//! Which of the two it is shows in a connection's first bytes; they are looked at, not taken. By TLS (`tls.listen`) both
//! sides agree on one in the handshake.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use techsapo_tls::{Reloading, ServerTls, accept};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::io::InspectWriter;

use super::access::Peer;
use super::idle::{Activity, Watched};
use crate::config::LimitSettings;
use crate::runtime::OpenConnections;
use crate::shutdown::Shutdown;

/// How long to wait after the system refused a connection for want of something, such as file descriptors.
const BREATH: Duration = Duration::from_millis(100);
/// How often a connection's first bytes are looked at while too few have come to tell.
const GLANCE: Duration = Duration::from_millis(5);
/// What a connection of HTTP/2 begins with, as far as no method of HTTP/1 does.
const PREFACE: &[u8] = b"PRI ";
/// Requests that one connection of HTTP/2 may have open at once.
const MAX_STREAMS: u32 = 128;
/// How often a silent peer of HTTP/2 is asked whether it is still there; and how long it may take to say so.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Headers that hyper has room for without being told, which costs it less than being told.
const HEADERS_OF_HYPER: usize = 100;

/// Serves a router on a listener.
pub struct Server {
    listener: TcpListener,
    serving: Arc<Serving>,
    /// One permit for each connection that may still be opened.
    room: Arc<Semaphore>,
}

/// What every connection is served by.
struct Serving {
    router: Router,
    /// Nothing: in clear.
    tls: Option<Reloading<ServerTls>>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    header_timeout: Duration,
    write_timeout: Duration,
    open: OpenConnections,
    shutdown: Shutdown,
}

/// Why a connection broke off.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A connection whose peer must take what is written within a time.
type Patient<S> = std::pin::Pin<Box<TimeoutStream<S>>>;

impl Server {
    /// A server, by TLS if there is a configuration of it, that counts its connections in `open` and ends them when `shutdown` begins.
    pub fn new(
        listener: TcpListener,
        tls: Option<Reloading<ServerTls>>,
        router: Router,
        limits: &LimitSettings,
        open: OpenConnections,
        shutdown: Shutdown,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
        // Room for one header more than is taken, so that a caller with too many hears it in the one shape of errors.
        if limits.headers >= HEADERS_OF_HYPER {
            http1.max_headers(limits.headers + 1);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1);
        let serving = Serving {
            router,
            tls,
            http1,
            http2,
            header_timeout: limits.header_timeout,
            write_timeout: limits.write_timeout,
            open,
            shutdown,
        };
        Self { listener, serving: Arc::new(serving), room: Arc::new(Semaphore::new(limits.connections)) }
    }

    /// Serves until shutdown begins. The connections that are still open then are among its tasks.
    pub async fn run(self) {
        let begun = self.serving.shutdown.clone();
        tokio::select! {
            () = self.accept() => {}
            () = begun.begun() => {}
        }
        // The listener goes with `self`: whoever connects from here on is refused at once and can go elsewhere.
    }

    async fn accept(&self) {
        loop {
            // Room first: beyond the limit, connections wait in the kernel's queue.
            let Ok(room) = Arc::clone(&self.room).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.serving.shutdown.spawn(Arc::clone(&self.serving).serve(stream, peer, room));
                }
                Err(error) => {
                    tracing::warn!(reason = %error, "A connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
}

impl Serving {
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, room: OwnedSemaphorePermit) {
        let open = self.open.opened();
        if let Err(error) = self.speak(stream, peer).await {
            tracing::debug!(%peer, reason = %error, "A connection broke off");
        }
        drop((open, room));
    }

    async fn speak(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), Broken> {
        // Answers are small and whole: waiting to fill a packet only delays them.
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            let is_http2 = tokio::select! {
                looked = tokio::time::timeout(self.header_timeout, begins_with_preface(&stream)) => looked??,
                () = self.shutdown.begun() => return Ok(()),
            };
            return self.converse(stream, peer, is_http2).await;
        };
        let config = tls.current().config.clone();
        let stream = tokio::select! {
            accepted = accept(stream, config, self.header_timeout) => accepted?,
            () = self.shutdown.begun() => return Ok(()),
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.converse(stream, peer, is_http2).await
    }

    /// Answers requests until the connection ends.
    async fn converse<S>(&self, stream: S, peer: SocketAddr, is_http2: bool) -> Result<(), Broken>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let stream = Box::pin(stream);
        let service =
            FromPeer { router: TowerToHyperService::new(self.router.clone()), peer: Peer(peer.ip()) };
        if is_http2 {
            return self.converse_in_streams(stream, service).await;
        }
        let mut connection = pin!(self.http1.serve_connection(TokioIo::new(stream), service).with_upgrades());
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = self.shutdown.begun() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }

    /// The same by HTTP/2, until shutdown begins or the connection is used no more.
    async fn converse_in_streams<S>(&self, stream: Patient<S>, service: FromPeer) -> Result<(), Broken>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let activity = Arc::new(Activity::default());
        let idle = || activity.until_idle(self.header_timeout, self.write_timeout.max(self.header_timeout));
        let sending = Arc::clone(&activity);
        let stream = InspectWriter::new(stream, move |bytes: &[u8]| sending.sent(bytes.len()));
        let service = Watched { service, activity: Arc::clone(&activity) };
        let mut connection = pin!(self.http2.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = self.shutdown.begun() => connection.as_mut().graceful_shutdown(),
            () = idle() => connection.as_mut().graceful_shutdown(),
        }
        // A request may have been on its way: it is answered. Whoever stays silent does not answer the farewell either.
        tokio::select! {
            ended = connection.as_mut() => Ok(ended?),
            () = idle() => Err("it was not used any more".into()),
        }
    }
}

/// The router for one connection: tells each request where it came from.
struct FromPeer {
    router: TowerToHyperService<Router>,
    peer: Peer,
}

impl Service<Request<Incoming>> for FromPeer {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.router.call(request)
    }
}

/// Whether a connection's first bytes are those of HTTP/2. A connection that ends at once is of neither kind; HTTP/1
/// will find that out.
async fn begins_with_preface(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == PREFACE.len() || seen == 0 || !PREFACE.starts_with(&first[..seen]) {
            return Ok(first == PREFACE);
        }
        tokio::time::sleep(GLANCE).await;
    }
}
