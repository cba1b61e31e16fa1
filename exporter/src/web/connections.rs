//! Owns the connections: accepts up to a limit, makes handshakes, serves the pages on what comes of them, and ends in
//! order.
//!
//! With TLS, whoever has not proved who it is has a place among [`MAX_HANDSHAKES`] for [`HANDSHAKE`] at most, and takes
//! none of those that serve. Every handshake follows the certificates and demands that are in force at that moment.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use techsapo_tls::{HandshakeError, TlsStream, accept};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, warn};

use crate::http::{Pages, answer};

/// A request's head must arrive within this time, counted from the end of the one before: long enough for Prometheus
/// to keep its connection between scrapes.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// The first one within this: whoever has asked nothing yet holds a place that others want.
const FIRST_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may leave everything unread that was sent: as with silence, others want its place.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections served at once; Prometheus needs one.
const MAX_CONNECTIONS: usize = 64;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes under way at once.
const MAX_HANDSHAKES: usize = 256;
/// How long connections may finish their response when the process stops.
const DRAIN: Duration = Duration::from_secs(3);
/// How long nothing more is told of clients that were refused, once one was.
const QUIET: Duration = Duration::from_secs(60);

/// What all connections share.
struct Doors {
    pages: Arc<Pages>,
    /// Places to be served at.
    room: Arc<Semaphore>,
    /// Becomes true at the end.
    closing: watch::Receiver<bool>,
    /// When the log last told of a refused client: whoever comes shall not fill it.
    told: Mutex<Option<Instant>>,
}

/// Serves until `stop` ends, then lets open responses finish.
pub async fn serve(listener: TcpListener, pages: Arc<Pages>, stop: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let encrypted = pages.web.is_encrypted();
    let entrance = if encrypted { Arc::new(Semaphore::new(MAX_HANDSHAKES)) } else { Arc::clone(&room) };
    let (close, closing) = watch::channel(false);
    let graceful = GracefulShutdown::new();
    let doors = Arc::new(Doors { pages, room, closing, told: Mutex::default() });
    tokio::pin!(stop);
    loop {
        // A place first: while all are taken, callers wait in the kernel's queue.
        let accept = async { (entrance.clone().acquire_owned().await, listener.accept().await) };
        let (place, accepted) = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                // Out of file descriptors, most likely: taking the next one at once would fail as well.
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = place else { break };
        let watcher = graceful.watcher();
        if encrypted {
            tokio::spawn(doors.clone().shake_and_speak(stream, peer, watcher, place));
        } else {
            tokio::spawn(speak(doors.pages.clone(), stream, peer, watcher, place));
        }
    }
    drop(listener);
    // Handshakes end at once; connections after the response that they are at.
    let _ = close.send(true);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        warn!("some connections did not finish in time");
    }
}

impl Doors {
    async fn shake_and_speak(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        watcher: Watcher,
        waiting: OwnedSemaphorePermit,
    ) {
        let mut closing = self.closing.clone();
        let ready = async {
            let stream = self.shake(stream).await?;
            self.room
                .clone()
                .acquire_owned()
                .await
                .map(|place| (stream, place))
                .map_err(|_| HandshakeError::Gone)
        };
        let ready = tokio::select! {
            ready = ready => ready,
            _ = closing.wait_for(|&closing| closing) => return,
        };
        drop(waiting);
        match ready {
            Ok((stream, place)) => speak(self.pages.clone(), stream, peer, watcher, place).await,
            // Whoever only looks whether the port is open means no harm.
            Err(HandshakeError::Gone) => {}
            Err(error) => self.refuse(peer, &error),
        }
    }

    async fn shake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let settings = self.pages.web.settings();
        let tls = settings.tls.as_ref().ok_or(HandshakeError::Gone)?;
        accept(stream, tls.config.clone(), HANDSHAKE).await
    }

    fn refuse(&self, peer: SocketAddr, error: &HandshakeError) {
        self.pages.own.tls_handshake_failures.inc();
        let reason = error.to_string();
        debug!(%peer, reason, "a TLS handshake failed");
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= QUIET) {
            warn!(%peer, reason, "a client was refused: its TLS handshake failed (others within a minute are only counted)");
            *told = Some(Instant::now());
        }
    }
}

/// Serves the pages on a connection until it ends.
async fn speak<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    pages: Arc<Pages>,
    stream: S,
    peer: SocketAddr,
    watcher: Watcher,
    place: OwnedSemaphorePermit,
) {
    let asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&asked);
    let service = service_fn(move |request| {
        asks.store(true, Ordering::Relaxed);
        answer(pages.clone(), request)
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let silence = async {
        sleep(FIRST_HEADER_TIMEOUT).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = watcher.watch(server.serve_connection(TokioIo::new(Box::pin(stream)), service)) => {
            if let Err(error) = served {
                debug!(%peer, %error, "a connection ended early");
            }
        }
        () = silence => debug!(%peer, "a connection asked nothing"),
    }
    drop(place);
}
