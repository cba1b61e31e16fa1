//! Owns the connections: accepts up to a limit, gives each a time to say what it wants, and ends them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Connection;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::access::Peer;
use crate::config::LimitSettings;
use crate::runtime::OpenConnections;

/// How long to wait after the system refused a connection for want of something, such as file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Serves a router on a listener.
pub struct Server {
    listener: TcpListener,
    router: Router,
    http: hyper::server::conn::http1::Builder,
    /// One permit for each connection that may still be opened.
    room: Arc<Semaphore>,
    open: OpenConnections,
}

impl Server {
    /// A server that counts its connections in `open`.
    pub fn new(listener: TcpListener, router: Router, limits: &LimitSettings, open: OpenConnections) -> Self {
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
        Self { listener, router, http, room: Arc::new(Semaphore::new(limits.connections)), open }
    }

    /// Serves until `stop`. Returns the connections that are still open, to be ended in order.
    pub async fn run(self, stop: impl Future<Output = ()>) -> GracefulShutdown {
        let connections = GracefulShutdown::new();
        tokio::select! {
            () = self.accept(&connections) => {}
            () = stop => {}
        }
        // The listener goes with `self`: whoever connects from here on is refused at once and can go elsewhere.
        connections
    }

    async fn accept(&self, connections: &GracefulShutdown) {
        loop {
            // Room first: beyond the limit, connections wait in the kernel's queue.
            let Ok(room) = Arc::clone(&self.room).acquire_owned().await else { return };
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(reason = %error, "A connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            };
            let open = self.open.opened();
            let connection = connections.watch(self.serve(stream, peer));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(reason = %error, "A connection broke off");
                }
                drop((open, room));
            });
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Connection<TokioIo<TcpStream>, FromPeer> {
        // Answers are small and whole: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(self.router.clone());
        self.http.serve_connection(TokioIo::new(stream), FromPeer { router, peer: Peer(peer.ip()) })
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
