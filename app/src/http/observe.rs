//! Every response is a fact: an `http_request` event, recorded before the response's last byte is handed over.
//!
//! Whoever has read an answer to its end can therefore rely on its having been counted. A body of known length is
//! recorded with its final frame, an empty one at once, a stream when it ends; whatever is given up half-way, when it is
//! dropped. The small facts that answering it brought are recorded with it, unless it is a stream. Recording cannot fail and
//! does not wait.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use techsapo_shared::event::{Event, HttpRequest};
use techsapo_shared::labels::{ClosedLabel, HttpMethod, RouteKind};

use super::request_id::X_REQUEST_ID;
use super::{App, UNMATCHED, route_kind};
use crate::clock;
use crate::telemetry::gathered::Gathered;

/// The layer.
pub(super) async fn observe(
    app: &App,
    request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let received = Arc::new(AtomicU64::new(0));
    let request = if app.recorder.is_on() {
        let counter = Arc::clone(&received);
        request.map(|body| Body::new(Counted { body, counter }))
    } else {
        request
    };

    let kind = route_kind(route.as_ref().map_or(UNMATCHED, MatchedPath::as_str));
    let answer = next(request);
    let (response, gathered) = if kind == RouteKind::Stream {
        // It lasts as long as its caller likes; that he was let in is not to wait for its end.
        (answer.await, Gathered::nothing(&app.recorder))
    } else {
        app.recorder.gather(answer).await
    };
    let fact = Fact {
        gathered,
        started,
        method: HttpMethod::parse(method.as_str()).unwrap_or(HttpMethod::Other),
        kind,
        route,
        status_code: response.status().as_u16(),
        received,
        request_id: response.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned),
    };
    response.map(|body| Body::new(Observed::new(body, fact, method == Method::HEAD)))
}

/// What will be recorded of a response, once it is known how many bytes were sent.
struct Fact {
    gathered: Gathered,
    started: Instant,
    method: HttpMethod,
    kind: RouteKind,
    route: Option<MatchedPath>,
    status_code: u16,
    received: Arc<AtomicU64>,
    request_id: Option<String>,
}

impl Fact {
    fn record(self, response_bytes: u64) {
        let route = self.route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
        let duration_us = clock::micros(self.started.elapsed());
        self.gathered.record_with(Event::HttpRequest(HttpRequest {
            t: clock::unix_ms(),
            method: self.method,
            route: Cow::Borrowed(route),
            route_kind: self.kind,
            status_code: self.status_code,
            duration_us,
            request_bytes: self.received.load(Ordering::Relaxed),
            response_bytes,
        }));
        let (method, status, ms) = (self.method.as_str(), self.status_code, duration_us / 1_000);
        let request_id = self.request_id.as_deref();
        if self.kind == RouteKind::Probe {
            tracing::debug!(
                requestId = request_id,
                method,
                route,
                status,
                durationMs = ms,
                "Request answered"
            );
        } else {
            tracing::info!(
                requestId = request_id,
                method,
                route,
                status,
                durationMs = ms,
                "Request answered"
            );
        }
    }
}

/// A response's body that records its fact with its end.
struct Observed {
    body: Body,
    /// Length of the body, where it is known beforehand.
    length: Option<u64>,
    sent: u64,
    /// Taken when it is recorded.
    fact: Option<Fact>,
}

impl Observed {
    fn new(body: Body, fact: Fact, head_only: bool) -> Self {
        let length = body.size_hint().exact();
        let mut observed = Self { body, length, sent: 0, fact: Some(fact) };
        // No frame of these will ever be asked for.
        if head_only || observed.body.is_end_stream() {
            observed.record();
        }
        observed
    }

    fn record(&mut self) {
        if let Some(fact) = self.fact.take() {
            fact.record(self.sent);
        }
    }
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.body.is_end_stream() || self.length.is_some_and(|length| self.sent >= length) {
                    self.record();
                }
            }
            Some(Err(_)) | None => self.record(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.record();
    }
}

/// A request's body that counts what is read of it.
struct Counted {
    body: Body,
    counter: Arc<AtomicU64>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            self.counter.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::BodyExt;

    use super::*;
    use crate::telemetry::Recorder;

    fn observed(body: Body, recorder: &Recorder) -> Observed {
        let fact = Fact {
            gathered: Gathered::nothing(recorder),
            started: Instant::now(),
            method: HttpMethod::Get,
            kind: RouteKind::Page,
            route: None,
            status_code: 200,
            received: Arc::default(),
            request_id: None,
        };
        Observed::new(body, fact, false)
    }

    /// Bytes sent, for each response recorded so far.
    fn recorded(recorder: &Recorder) -> Vec<u64> {
        let size = |line: &String| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            event["http_request"]["response_bytes"].as_u64()
        };
        recorder.pending_lines().iter().filter_map(size).collect()
    }

    /// A body of unknown length: each piece comes by itself.
    fn stream_of(pieces: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(pieces).map(|piece| Ok::<_, std::io::Error>(*piece)))
    }

    fn next(body: &mut Observed) -> Option<Bytes> {
        body.frame().now_or_never().flatten().map(|frame| frame.unwrap().into_data().unwrap())
    }

    #[test]
    fn a_body_is_recorded_by_the_time_that_its_end_is_handed_over_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(folder.path(), 1 << 20).unwrap();

        let mut whole = observed(Body::from("pong"), &recorder);
        assert_eq!(recorded(&recorder), [0; 0]);
        assert_eq!(next(&mut whole).as_deref(), Some(&b"pong"[..]));
        assert_eq!(recorded(&recorder), [4]);
        drop(whole);
        assert_eq!(recorded(&recorder), [4]);

        let empty = observed(Body::empty(), &recorder);
        assert_eq!(recorded(&recorder), [4, 0]);
        drop(empty);

        let mut streamed = observed(stream_of(&["ab", "cde"]), &recorder);
        assert!(next(&mut streamed).is_some() && next(&mut streamed).is_some());
        assert_eq!(recorded(&recorder), [4, 0], "nobody knows yet that this was all");
        assert_eq!(next(&mut streamed), None);
        assert_eq!(recorded(&recorder), [4, 0, 5]);
    }

    #[test]
    fn what_is_given_up_half_way_is_recorded_with_what_was_sent() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(folder.path(), 1 << 20).unwrap();
        let mut streamed = observed(stream_of(&["ab", "cde"]), &recorder);
        assert!(next(&mut streamed).is_some());
        drop(streamed);
        assert_eq!(recorded(&recorder), [2]);
    }
}
