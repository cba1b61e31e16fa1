//! The app's own use of Redis: one multiplexed connection with bounded times, behind a circuit breaker.
//!
//! What must hold: a request never connects and never probes. Where there is no connection, or the breaker is not
//! closed, it hears so at once and goes another way; [`Redis::keep_connected`] finds Redis again in the background. Every
//! operation is stated as a `redis_operation` fact, one that failed as an `error` too.
//!
//! All keys stand under [`PREFIX`], whose hash tag keeps them in one slot of a cluster, so that a script may touch
//! several.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisError, RedisResult, ScriptInvocation};
use techsapo_redis_route::Route;
use techsapo_shared::event::{ErrorEvent, Event, RedisOperationEvent};
use techsapo_shared::labels::{BreakerState, OperationStatus, RedisOperation, Service, Severity};
use tokio::sync::Notify;

use crate::clock;
use crate::guard::breaker::{Breaker, Breakers, Permit, Policy};
use crate::telemetry::Recorder;

/// What the app's own keys begin with.
pub const PREFIX: &str = "techsapo:{app}:";

/// How long the connection may lie idle before it is tried.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// Shortest time between two attempts to connect.
const BREATH: Duration = Duration::from_millis(20);
/// How much longer than an answer a connection may take: there are several answers in it.
const CONNECT_FACTOR: u32 = 5;
/// Three failures in short order are enough: every one of them cost a request its time-out.
const POLICY: Policy = Policy {
    window: Duration::from_secs(10),
    failures: 3,
    failure_ppm: 200_000,
    open_for: Duration::from_millis(250),
    open_for_at_most: Duration::from_secs(2),
};

/// Why an operation brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was sent: Redis is known to be away.
    #[error("Redis is away")]
    Away,
    /// It was sent, and failed.
    #[error("Redis failed")]
    Failed(#[source] RedisError),
}

/// What there is to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisSample {
    /// Connections that are open.
    pub open_connections: u64,
    /// Operations that failed since the last success.
    pub consecutive_failures: u64,
}

/// The app's Redis. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    route: Route,
    connect_timeout: Duration,
    times: AsyncConnectionConfig,
    recorder: Recorder,
    breaker: Arc<Breaker>,
    connection: Mutex<Option<Numbered>>,
    /// Connections that were opened, ever.
    opened: AtomicU64,
    /// Wakes who keeps it connected.
    lost: Notify,
    consecutive_failures: AtomicU64,
    /// What was wrong last.
    trouble: Mutex<Option<String>>,
}

/// A connection, told from those before it.
#[derive(Clone)]
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

impl Redis {
    /// The Redis that `route` leads to, not yet connected. No operation takes longer than `timeout`.
    pub fn new(route: Route, timeout: Duration, recorder: Recorder, breakers: &Breakers) -> Self {
        let connect_timeout = timeout * CONNECT_FACTOR;
        let times = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout(Some(timeout));
        let shared = Shared {
            route,
            connect_timeout,
            times,
            recorder,
            breaker: breakers.add(Service::Redis, POLICY),
            connection: Mutex::default(),
            opened: AtomicU64::new(0),
            lost: Notify::new(),
            consecutive_failures: AtomicU64::new(0),
            trouble: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What there is to measure now.
    pub fn sample(&self) -> RedisSample {
        RedisSample {
            open_connections: self.shared.connection().is_some().into(),
            consecutive_failures: self.shared.consecutive_failures.load(Ordering::Relaxed),
        }
    }

    /// Whether operations go there.
    pub fn is_there(&self) -> bool {
        self.shared.connection().is_some() && self.shared.breaker.state() == BreakerState::Closed
    }

    /// Whether operations go there, else why not. What requests do follows from the same.
    ///
    /// # Errors
    /// What went wrong last.
    pub fn check(&self) -> Result<(), String> {
        if self.is_there() {
            return Ok(());
        }
        Err(self.shared.trouble().clone().unwrap_or_else(|| "it was not reached yet".to_owned()))
    }

    /// Runs a command.
    ///
    /// # Errors
    /// At once where Redis is away, else within the time-out.
    pub async fn query<T: FromRedisValue>(
        &self,
        operation: RedisOperation,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        self.run(operation, async |mut connection: MultiplexedConnection| {
            command.query_async(&mut connection).await
        })
        .await
    }

    /// Runs a script, which Redis is told when it does not know it.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn eval<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.run(RedisOperation::Eval, async |mut connection: MultiplexedConnection| {
            script.invoke_async(&mut connection).await
        })
        .await
    }

    async fn run<T>(
        &self,
        operation: RedisOperation,
        work: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let shared = &self.shared;
        let current = shared.connection().clone().ok_or(StoreError::Away)?;
        let permit = shared.breaker.admit_if_closed().ok_or(StoreError::Away)?;
        let result = work(current.connection).await;
        shared.settle(permit, operation, &result);
        result.map_err(|error| {
            shared.give_up(current.number);
            StoreError::Failed(error)
        })
    }

    /// Connects if need be and asks whether Redis is there, as far as the breaker allows.
    pub async fn probe(&self) {
        let shared = &self.shared;
        let Ok(permit) = shared.breaker.admit() else { return };
        let result = shared.ping().await;
        shared.settle(permit, RedisOperation::Ping, &result);
    }

    /// Keeps it connected, for ever.
    pub async fn keep_connected(self) {
        loop {
            let connected = self.shared.connection().is_some();
            let well = self.shared.breaker.admit_if_closed().is_some();
            if connected && well {
                tokio::select! {
                    () = self.shared.lost.notified() => {}
                    () = tokio::time::sleep(TRY_EVERY) => {}
                }
            } else {
                tokio::time::sleep(BREATH).await;
            }
            self.probe().await;
        }
    }
}

/// A write that changes nothing. A server that is out of memory, a replica, or cannot save refuses it, as it refuses every
/// other write, while it still answers a PING.
pub fn idle_write(key: &str) -> Cmd {
    let mut command = redis::cmd("SETRANGE");
    command.arg(key).arg(0).arg("");
    command
}

/// A user who may do only what it was given: whether the server takes writes cannot be tried.
pub fn is_not_permitted(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

impl Shared {
    fn connection(&self) -> MutexGuard<'_, Option<Numbered>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sign that it takes writes, over the connection there is, else over a new one, which is then kept.
    async fn ping(&self) -> RedisResult<()> {
        let current = self.connection().clone();
        let (number, mut connection) = match current {
            Some(current) => (current.number, current.connection),
            None => (self.opened.fetch_add(1, Ordering::Relaxed), self.connect().await?),
        };
        let mut answered = idle_write(&format!("{PREFIX}writable")).exec_async(&mut connection).await;
        if answered.as_ref().is_err_and(is_not_permitted) {
            answered = redis::cmd("PING").exec_async(&mut connection).await;
        }
        if answered.is_err() {
            self.give_up(number);
            return answered;
        }
        self.connection().get_or_insert(Numbered { number, connection });
        Ok(())
    }

    /// A new connection. Where the keys are is found out anew each time.
    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let (route, timeout) = (self.route.clone(), self.connect_timeout);
        let client = tokio::task::spawn_blocking(move || route.client_for(PREFIX, timeout)).await;
        let client = client.map_err(std::io::Error::from)??;
        client.get_multiplexed_async_connection_with_config(&self.times).await
    }

    /// Forgets a connection after an error of any kind: the next one may lead to a server that can do it, for roles move
    /// and a server that is loading is replaced. Calls under way on it may end.
    fn give_up(&self, number: u64) {
        let lost = self.connection().take_if(|current| current.number == number);
        if lost.is_some() {
            self.lost.notify_one();
        }
    }

    /// States how an operation ended.
    fn settle<T>(&self, permit: Permit, operation: RedisOperation, result: &RedisResult<T>) {
        let t = clock::unix_ms();
        let status = match result {
            Ok(_) => OperationStatus::Success,
            Err(error) if error.is_timeout() => OperationStatus::Timeout,
            Err(_) => OperationStatus::Error,
        };
        self.recorder.record(&Event::RedisOperation(RedisOperationEvent { t, operation, status }));
        let Err(error) = result else {
            permit.success();
            self.consecutive_failures.store(0, Ordering::Relaxed);
            return;
        };
        *self.trouble() = Some(error.to_string());
        permit.failure();
        self.consecutive_failures.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(reason = %error, "An operation on Redis failed");
        self.recorder.record(&Event::Error(ErrorEvent {
            t,
            error_type: error_type(error),
            severity: Severity::Warning,
            service: Service::Redis,
        }));
    }
}

fn error_type(error: &RedisError) -> Cow<'static, str> {
    match error.code() {
        Some(code) => Cow::Owned(code.to_ascii_lowercase()),
        None if error.is_timeout() => Cow::Borrowed("timeout"),
        None if error.is_connection_refusal() => Cow::Borrowed("connection_refused"),
        None if error.is_io_error() => Cow::Borrowed("io"),
        None => Cow::Borrowed("redis"),
    }
}
