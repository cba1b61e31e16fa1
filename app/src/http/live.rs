//! The key figures, live: `GET /api/v1/metrics/stream` (server-sent events) and `GET /ws/metrics` (WebSocket).
//!
//! Both tell the same messages: `{"type":"metrics","data":{…}}` with the exporter's key figures as they are, or
//! `{"type":"unavailable","data":{"reason":…}}` while it cannot be asked. One poll serves every watcher, and there is
//! none while nobody watches. A watcher that is slow sees fewer messages; one that takes none at all loses its
//! connection, or over HTTP/2, where others may share that, its place (`limits.write_timeout`). A stream ends when its key is not taken any
//! more, and when shutdown begins.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, interval_at};

use super::error::ApiError;
use super::{App, ExporterClient};
use crate::config::LiveSettings;
use crate::guard::caller::Caller;
use crate::guard::keys::Keys;
use crate::runtime::{OpenConnection, OpenConnections};
use crate::shutdown::Shutdown;

/// How often a connection shows that it is alive while it has nothing else to say, either way.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Heartbeats that a WebSocket's other side may leave unanswered.
const SILENT_HEARTBEATS: u32 = 2;
/// Largest message that a WebSocket takes; none is needed.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// How long a browser waits before it connects again.
const RECONNECT_AFTER: Duration = Duration::from_secs(3);
/// Tells nginx to pass each message on at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The key figures, and who watches them.
#[derive(Debug, Clone)]
pub struct LiveFigures {
    exporter: ExporterClient,
    every: Duration,
    latest: watch::Sender<Option<Utf8Bytes>>,
    /// Somebody began to watch.
    wanted: Arc<Notify>,
    room: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// By what right somebody watches, which may end meanwhile.
struct Right {
    keys: Keys,
    /// None: no key had been made.
    key_id: Option<String>,
}

impl Right {
    fn of(caller: &Caller, keys: &Keys) -> Self {
        Self { keys: keys.clone(), key_id: caller.key().map(|key| key.id.clone()) }
    }

    fn holds(&self) -> bool {
        let ring = self.keys.ring();
        self.key_id.as_ref().map_or_else(|| ring.is_empty(), |id| ring.is_in_force(id, Timestamp::now()))
    }
}

/// One who watches.
struct Watcher {
    latest: watch::Receiver<Option<Utf8Bytes>>,
    right: Right,
    shutdown: Shutdown,
    _room: OwnedSemaphorePermit,
    _open: OpenConnection,
}

impl LiveFigures {
    /// The figures of this exporter, once [`Self::keep`] runs.
    pub fn new(exporter: ExporterClient, settings: &LiveSettings, shutdown: Shutdown) -> Self {
        Self {
            exporter,
            every: settings.interval,
            latest: watch::Sender::new(None),
            wanted: Arc::default(),
            room: Arc::new(Semaphore::new(settings.connections)),
            shutdown,
        }
    }

    /// Asks the exporter for as long as somebody watches, for ever.
    pub async fn keep(self) {
        loop {
            let wanted = self.wanted.notified();
            if self.latest.receiver_count() == 0 {
                // Whoever comes later must not be told what was true long ago.
                self.latest.send_replace(None);
                wanted.await;
            }
            let message = match self.exporter.key_figures().await {
                Ok(figures) => json!({"type": "metrics", "data": figures}),
                Err(reason) => json!({"type": "unavailable", "data": {"reason": reason}}),
            };
            self.latest.send_replace(Some(message.to_string().into()));
            tokio::time::sleep(self.every).await;
        }
    }

    /// Lets one more watch, if there is room.
    fn watch(&self, right: Right, open: &OpenConnections) -> Result<Watcher, ApiError> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| ApiError::too_many_watchers())?;
        let mut latest = self.latest.subscribe();
        // What stands there is news to whoever has just come.
        latest.mark_changed();
        self.wanted.notify_one();
        Ok(Watcher { latest, right, shutdown: self.shutdown.clone(), _room: room, _open: open.opened() })
    }
}

impl Watcher {
    /// The next message; nothing when shutdown begins, or the right has ended.
    async fn next(&mut self) -> Option<Utf8Bytes> {
        let told = async {
            loop {
                self.latest.changed().await.ok()?;
                if !self.right.holds() {
                    return None;
                }
                if let Some(message) = self.latest.borrow_and_update().clone() {
                    return Some(message);
                }
            }
        };
        tokio::select! {
            message = told => message,
            () = self.shutdown.begun() => None,
        }
    }

    /// The messages. Whoever takes none for so long gives up its place.
    fn messages(self, patience: Duration) -> impl Stream<Item = Utf8Bytes> {
        handed_on(stream::unfold(self, async |mut watcher| Some((watcher.next().await?, watcher))), patience)
    }
}

/// The same messages, one at a time. The source is dropped when nobody takes one for so long, whether or not this stream is ever looked
/// at again: over HTTP/2 it is not while the peer gives no leave to send.
pub(super) fn handed_on<T: Send + 'static>(
    source: impl Stream<Item = T> + Send + 'static,
    patience: Duration,
) -> impl Stream<Item = T> + Send {
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut source = pin!(source);
        loop {
            let message = tokio::select! {
                message = source.next() => message,
                () = tell.closed() => None,
            };
            let Some(message) = message else { return };
            if !matches!(tokio::time::timeout(patience, tell.send(message)).await, Ok(Ok(()))) {
                return;
            }
        }
    });
    stream::unfold(told, async |mut told| Some((told.recv().await?, told)))
}

/// The handler of `GET /api/v1/metrics/stream`.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let watcher = app.live.watch(Right::of(&caller, &app.keys), &app.connections.sse)?;
    let patience = app.settings.limits.write_timeout;
    let hello = stream::iter([Event::default().retry(RECONNECT_AFTER)]);
    let events =
        hello.chain(watcher.messages(patience).map(|message| Event::default().data(message.as_str())));
    Ok(event_stream(events.map(Ok)))
}

/// A response of server-sent events.
pub(super) fn event_stream(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> Response {
    let keep_alive = KeepAlive::new().interval(HEARTBEAT);
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, Sse::new(events).keep_alive(keep_alive)).into_response()
}

/// The handler of `GET /ws/metrics`.
pub(super) async fn socket(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|rejection| ApiError::not_a_websocket(&rejection.to_string()))?;
    let watcher = app.live.watch(Right::of(&caller, &app.keys), &app.connections.websocket)?;
    let shutdown = app.shutdown.clone();
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        // As a task of its own, so that the end of the process waits for its farewell.
        let _ = shutdown.spawn(converse(socket, watcher)).await;
    }))
}

/// A WebSocket's life: messages and heartbeats out; in, nothing but the signs of life.
async fn converse(mut socket: WebSocket, mut watcher: Watcher) {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut unanswered = 0;
    loop {
        let sent = tokio::select! {
            message = watcher.next() => match message {
                Some(message) => socket.send(Message::Text(message)).await,
                None => {
                    let (code, reason) = if watcher.right.holds() {
                        (close_code::AWAY, "shutting down")
                    } else {
                        (close_code::POLICY, "the key is not taken any more")
                    };
                    let farewell = CloseFrame { code, reason: reason.into() };
                    let _ = socket.send(Message::Close(Some(farewell))).await;
                    return;
                }
            },
            _ = heartbeat.tick() => {
                if unanswered == SILENT_HEARTBEATS {
                    return;
                }
                unanswered += 1;
                match socket.send(Message::Ping(Default::default())).await {
                    // Scripts in a browser never see a ping.
                    Ok(()) => socket.send(Message::Text(Utf8Bytes::from_static(r#"{"type":"heartbeat"}"#))).await,
                    failed => failed,
                }
            }
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {
                    unanswered = 0;
                    Ok(())
                }
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over HTTP/2 the body of who gives no leave to send is not looked at, and nothing is written that could take too long.
    #[tokio::test]
    async fn who_takes_no_message_gives_up_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let right = Right { keys: Keys::load(folder.path().join("keys.toml")).unwrap(), key_id: None };
        let (latest, told) = watch::channel(None);
        let room = Arc::new(Semaphore::new(1));
        let watcher = Watcher {
            latest: told,
            right,
            shutdown: Shutdown::default(),
            _room: Arc::clone(&room).try_acquire_owned().unwrap(),
            _open: OpenConnections::default().opened(),
        };
        let messages = watcher.messages(Duration::from_millis(20));
        let begun = Instant::now();
        while room.available_permits() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "its place is kept");
            latest.send_replace(Some("news".into()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(messages.collect::<Vec<_>>().await.len() <= 1, "then its stream ends");
    }
}
