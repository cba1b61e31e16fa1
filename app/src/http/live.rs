//! The key figures, live: `GET /api/v1/metrics/stream` (server-sent events) and `GET /ws/metrics` (WebSocket).
//!
//! Both tell the same messages: `{"type":"metrics","data":{…}}` with the exporter's key figures as they are, or
//! `{"type":"unavailable","data":{"reason":…}}` while it cannot be asked. One poll serves every watcher, and there is
//! none while nobody watches. A watcher that is slow sees fewer messages; one that takes none at all loses its
//! connection (`limits.write_timeout`). All streams end when shutdown begins.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde_json::json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, interval_at};

use super::error::ApiError;
use super::{App, ExporterClient};
use crate::config::LiveSettings;
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

/// One who watches.
struct Watcher {
    latest: watch::Receiver<Option<Utf8Bytes>>,
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
    fn watch(&self, open: &OpenConnections) -> Result<Watcher, ApiError> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| ApiError::too_many_watchers())?;
        let mut latest = self.latest.subscribe();
        // What stands there is news to whoever has just come.
        latest.mark_changed();
        self.wanted.notify_one();
        Ok(Watcher { latest, shutdown: self.shutdown.clone(), _room: room, _open: open.opened() })
    }
}

impl Watcher {
    /// The next message; nothing when shutdown begins.
    async fn next(&mut self) -> Option<Utf8Bytes> {
        let told = async {
            loop {
                self.latest.changed().await.ok()?;
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

    fn messages(self) -> impl Stream<Item = Utf8Bytes> {
        stream::unfold(self, async |mut watcher| Some((watcher.next().await?, watcher)))
    }
}

/// The handler of `GET /api/v1/metrics/stream`.
pub(super) async fn events(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let watcher = app.live.watch(&app.connections.sse)?;
    let hello = stream::iter([Event::default().retry(RECONNECT_AFTER)]);
    let events = hello.chain(watcher.messages().map(|message| Event::default().data(message.as_str())));
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
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|rejection| ApiError::not_a_websocket(&rejection.to_string()))?;
    let watcher = app.live.watch(&app.connections.websocket)?;
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
                    let farewell = CloseFrame { code: close_code::AWAY, reason: "shutting down".into() };
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
