//! Knows when a connection of HTTP/2 is not used: nothing is worked on for it, and nothing but talk about the connection
//! itself is sent.
//!
//! hyper ends a silent connection of HTTP/1 by itself; of HTTP/2 it only asks whether the peer is there, and even that not
//! before the handshake. Every connection holds one of `limits.connections` places.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;

/// Fewer bytes than this between two looks are pings, settings and the like, no answer.
const SMALL_TALK: u64 = 256;

/// What happens on one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that came.
    requests: AtomicU64,
    /// Requests being handled, and responses that wait for more to say. A response that waits for its peer is not among them.
    at_work: AtomicUsize,
    /// Bytes sent.
    sent: AtomicU64,
}

impl Activity {
    /// Takes note of what was sent.
    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until the connection has not been used for `quiet`, or, where nothing was ever asked, for `unasked`.
    pub(super) async fn until_idle(&self, unasked: Duration, quiet: Duration) {
        let mut idle = Duration::ZERO;
        loop {
            let (sent, requests) = (self.sent.load(Ordering::Relaxed), self.requests.load(Ordering::Relaxed));
            tokio::time::sleep(unasked).await;
            let has_sent = self.sent.load(Ordering::Relaxed) - sent >= SMALL_TALK;
            let was_asked = self.requests.load(Ordering::Relaxed) > requests;
            if has_sent || was_asked || self.at_work.load(Ordering::Relaxed) > 0 {
                idle = Duration::ZERO;
                continue;
            }
            idle += unasked;
            if idle >= quiet || requests == 0 {
                return;
            }
        }
    }
}

/// Something is worked on, until this is dropped.
struct AtWork(Arc<Activity>);

impl AtWork {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.at_work.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A service, with note of when it is at work.
pub(super) struct Watched<S> {
    pub service: S,
    pub activity: Arc<Activity>,
}

impl<S> Service<Request<Incoming>> for Watched<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<WatchedBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.activity.requests.fetch_add(1, Ordering::Relaxed);
        let at_work = AtWork::begin(&self.activity);
        let response = self.service.call(request);
        let activity = Arc::clone(&self.activity);
        Box::pin(async move {
            let response = response.await;
            drop(at_work);
            Ok(response?.map(|body| WatchedBody { body, activity, at_work: None }))
        })
    }
}

/// A response's body, with note of whether it waits for more to say or for its peer to take it.
pub(super) struct WatchedBody {
    body: Body,
    activity: Arc<Activity>,
    /// The last look found nothing to send. hyper only looks while the peer gives leave to send.
    at_work: Option<AtWork>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.at_work = None;
        } else if self.at_work.is_none() {
            self.at_work = Some(AtWork::begin(&self.activity));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
