//! What this instance holds at the moment, and how late its scheduler is: sampled for the exporter.
//!
//! The heap's figures are the allocator's own (jemalloc): resident and allocated bytes. There is no garbage collector,
//! so no event of one is ever written.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use techsapo_shared::event::{ConnectionCount, Event, EventLoopLag, QueueLength, RuntimeSample};
use techsapo_shared::labels::{ConnectionType, QueueName};
use tikv_jemalloc_ctl::{epoch, stats};
use tokio::time::Instant;

use crate::analysis::Admission;
use crate::clock;
use crate::guard::breaker::Breakers;
use crate::store::audit::AuditStatus;
use crate::store::redis::Redis;
use crate::telemetry::Recorder;

/// How often a sample is recorded.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// How often lateness is measured.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// How many connections are open.
#[derive(Debug, Clone, Default)]
pub struct OpenConnections(Arc<AtomicU64>);

impl OpenConnections {
    /// How many are open now.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more, until what is returned is dropped.
    pub fn opened(&self) -> OpenConnection {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.0))
    }
}

/// Connections of each kind that callers have open.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    /// All of HTTP, those that carry a stream of events among them; a WebSocket has left them.
    pub http: OpenConnections,
    /// Streams of server-sent events.
    pub sse: OpenConnections,
    /// WebSockets.
    pub websocket: OpenConnections,
}

/// One open connection, counted until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<AtomicU64>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes samples of this instance.
#[derive(Clone)]
pub struct Sampler {
    instance: Arc<str>,
    recorder: Recorder,
    connections: Connections,
    admission: Arc<Admission>,
    breakers: Breakers,
    redis: Redis,
    audit: Option<AuditStatus>,
}

impl Sampler {
    /// A sampler of the instance with this name.
    pub fn new(
        instance: &str,
        recorder: Recorder,
        connections: Connections,
        admission: Arc<Admission>,
        breakers: Breakers,
        redis: Redis,
        audit: Option<AuditStatus>,
    ) -> Self {
        Self { instance: Arc::from(instance), recorder, connections, admission, breakers, redis, audit }
    }

    /// The instance's name in measurements.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// What the instance holds now. Stores that it does not have yet are left out.
    pub fn sample(&self) -> RuntimeSample<'static> {
        let heap = Heap::now();
        let redis = self.redis.sample();
        let mut connections = vec![
            count(ConnectionType::Http, self.connections.http.count()),
            count(ConnectionType::Sse, self.connections.sse.count()),
            count(ConnectionType::WebSocket, self.connections.websocket.count()),
            count(ConnectionType::Redis, redis.open_connections),
        ];
        let queue = |queue_name, length| QueueLength { queue_name, length };
        let mut queues = vec![
            queue(QueueName::Journal, self.recorder.pending_events()),
            queue(QueueName::Analysis, self.admission.waiting() as u64),
        ];
        if let Some(audit) = &self.audit {
            connections.push(count(ConnectionType::MySql, audit.connections()));
            queues.push(queue(QueueName::Audit, audit.waiting()));
        }
        RuntimeSample {
            t: clock::unix_ms(),
            app_instance: Cow::Owned(self.instance.to_string()),
            resident_bytes: resident_bytes().unwrap_or(heap.resident_bytes),
            heap_total_bytes: heap.resident_bytes,
            heap_used_bytes: heap.allocated_bytes,
            connections,
            redis_pool_connections: Some(redis.open_connections),
            redis_consecutive_failures: Some(redis.consecutive_failures),
            mysql_memory_bytes: self.audit.as_ref().and_then(AuditStatus::memory_bytes),
            queues,
            breakers: self.breakers.sample(),
            journal: self.recorder.sample(),
        }
    }

    /// Records a sample every five seconds, for ever.
    pub async fn record_samples(self) {
        loop {
            self.recorder.record(&Event::RuntimeSample(self.sample().into()));
            tokio::time::sleep(SAMPLE_EVERY).await;
        }
    }

    /// Records every second how late a timer fired, for ever. tokio's timers have a grain of a millisecond, so that an
    /// idle instance shows one or two.
    pub async fn record_lag(self) {
        loop {
            let due = Instant::now() + LAG_EVERY;
            tokio::time::sleep_until(due).await;
            self.recorder.record(&Event::EventLoopLag(EventLoopLag {
                t: clock::unix_ms(),
                app_instance: Cow::Borrowed(&self.instance),
                lag_us: clock::micros(due.elapsed()),
            }));
        }
    }
}

fn count(connection_type: ConnectionType, open: u64) -> ConnectionCount {
    ConnectionCount { connection_type, open }
}

/// The allocator's figures.
#[derive(Debug, Clone, Copy, Default)]
struct Heap {
    resident_bytes: u64,
    allocated_bytes: u64,
}

impl Heap {
    fn now() -> Self {
        // The figures stand still until the epoch is advanced.
        let _ = epoch::advance();
        Self {
            resident_bytes: stats::resident::read().unwrap_or(0) as u64,
            allocated_bytes: stats::allocated::read().unwrap_or(0) as u64,
        }
    }
}

/// Resident memory of this process; nothing where the system does not say it in Linux' way.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
