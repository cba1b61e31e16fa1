//! The facts that producers state, one struct per type of event.
//!
//! An event stands in a batch as one line of JSON, externally tagged: `{"<type>": {"t": <unix ms>, …}}`. Units are in
//! the field names: `_us` microseconds, `_bytes`, `_nanousd` billionths of a US dollar, `_ppm` millionths (a score of
//! 0.85 is 850 000). Everything is an integer, so that sums are exact whatever the order. Unknown fields are ignored,
//! which lets the contract grow; an unknown type is refused by the exporter and counted.
//!
//! Strings borrow from the line that they were decoded from: decoding an event allocates nothing but the lists.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::audit::AuditNote;
use crate::labels::{
    AnomalyType, AnswerSource, AuthFailureReason, AuthMethod, AuthStatus, BreakerState, CacheType,
    ConfigComponent, ConnectionType, HttpMethod, OperationStatus, Provider, QueryType, QueueName,
    RedisOperation, RouteKind, SanitizationType, Service, Severity, Status, TaskType,
};

/// Largest duration of one fact: seven days.
pub const MAX_DURATION_US: u64 = 7 * 24 * 3_600 * 1_000_000;
/// Largest cost of one fact: a million dollars.
pub const MAX_COST_NANOUSD: u64 = 1_000_000 * 1_000_000_000;
/// Most tokens of one fact, in one direction.
pub const MAX_TOKENS: u64 = 10_000_000_000;
/// Largest size in one fact: one pebibyte.
pub const MAX_BYTES: u64 = 1 << 50;
/// A whole: the score 1.0.
pub const WHOLE_PPM: u32 = 1_000_000;
/// Longest open label value (a model, a route, an instance), in bytes of UTF-8.
pub const MAX_LABEL_BYTES: usize = 200;
/// Most entries of a list inside one event.
pub const MAX_LIST: usize = 256;
/// Latest instant that an event may name: the end of the year 9999.
pub const MAX_T_MS: u64 = 253_402_300_799_999;

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event<'a> {
    /// An analysis ended.
    Analysis(Analysis),
    /// A call to a provider ended, after its retries.
    #[serde(borrow)]
    LlmRequest(LlmRequest<'a>),
    /// An HTTP response was sent.
    #[serde(borrow)]
    HttpRequest(HttpRequest<'a>),
    /// The app used Redis.
    RedisOperation(RedisOperationEvent),
    /// The app used MySQL.
    MysqlQuery(MysqlQuery),
    /// A cached answer was looked for.
    CacheLookup(CacheLookup),
    /// Something failed.
    #[serde(borrow)]
    Error(ErrorEvent<'a>),
    /// A circuit breaker changed its state.
    #[serde(borrow)]
    CircuitBreaker(CircuitBreaker<'a>),
    /// A caller was let in or refused.
    AuthAttempt(AuthAttempt),
    /// A rate limit refused a request.
    #[serde(borrow)]
    RateLimitHit(RateLimitHit<'a>),
    /// Input sanitisation found something.
    InputSanitization(InputSanitization),
    /// Something unusual was seen.
    Anomaly(Anomaly),
    /// What a running instance holds at the moment.
    #[serde(borrow)]
    // In a box, for it is by far the largest and one of the rarest: every event would be as large.
    RuntimeSample(Box<RuntimeSample<'a>>),
    /// How late the event loop (Node.js) or the scheduler (tokio) woke a timer.
    #[serde(borrow)]
    EventLoopLag(EventLoopLag<'a>),
    /// A garbage collector stopped the runtime. Only from producers that collect garbage.
    #[serde(borrow)]
    GcPause(GcPause<'a>),
    /// A part of the configuration was changed in a running instance.
    ConfigChanged(ConfigChanged),
    /// Which providers and models an instance is set up to ask. Stated at its start and whenever that changes.
    #[serde(borrow)]
    ProvidersConfigured(ProvidersConfigured<'a>),
    /// What may be spent. Stated at an instance's start and whenever that changes.
    #[serde(borrow)]
    BudgetLimits(BudgetLimits<'a>),
}

/// One analysis, whatever came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Analysis {
    /// When it ended, Unix milliseconds.
    pub t: u64,
    /// The tier that was asked for.
    pub task_type: TaskType,
    /// Whose answer was returned.
    pub provider: AnswerSource,
    /// How it ended.
    pub status: Status,
    /// From accepting the question to having the answer.
    pub duration_us: u64,
    /// The answer came from a cache; no provider was asked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cached: bool,
    /// Confidence in the answer; absent with fewer than two answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence_ppm: Option<u32>,
    /// Mean pairwise agreement of the answers; absent with fewer than two answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus_ppm: Option<u32>,
    /// Agreement of every pair of answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agreements: Vec<Agreement>,
    /// What only the app's audit needs. Decoding an event passes it over, as any unknown field: nothing is spent on
    /// it where it is not wanted; [`crate::audit::AuditedAnalysis`] reads it.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(skip))]
    pub audit: Option<Box<AuditNote>>,
}

/// How far two answers agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Agreement {
    /// One of the two providers; their order does not matter.
    pub a: Provider,
    /// The other.
    pub b: Provider,
    /// 0: nothing in common, 1 000 000: the same answer.
    pub score_ppm: u32,
}

/// One call to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LlmRequest<'a> {
    /// When it ended, Unix milliseconds.
    pub t: u64,
    /// Who was asked.
    pub provider: Provider,
    /// The model that served, or that was asked for when none did.
    #[serde(borrow)]
    pub model: Cow<'a, str>,
    /// The tier of the analysis that asked.
    pub task_type: TaskType,
    /// How it ended.
    pub status: Status,
    /// From the first attempt to the end of the last.
    pub duration_us: u64,
    /// Billable input tokens as the provider reported them.
    #[serde(default)]
    pub input_tokens: u64,
    /// Billable output tokens as the provider reported them.
    #[serde(default)]
    pub output_tokens: u64,
    /// What the call costs.
    #[serde(default)]
    pub cost_nanousd: u64,
}

/// One HTTP response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HttpRequest<'a> {
    /// When its last byte was handed over, Unix milliseconds.
    pub t: u64,
    /// Method of the request.
    pub method: HttpMethod,
    /// Template of the route that answered; `unmatched` where none did.
    #[serde(borrow)]
    pub route: Cow<'a, str>,
    /// What kind of route it is.
    pub route_kind: RouteKind,
    /// Status of the response, 100 to 599.
    pub status_code: u16,
    /// From having the request's head to handing over the response's last byte.
    pub duration_us: u64,
    /// Body of the request, as read.
    #[serde(default)]
    pub request_bytes: u64,
    /// Body of the response, as sent.
    #[serde(default)]
    pub response_bytes: u64,
}

/// One operation of the app's own on Redis (its event stream is not among them).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "RedisOperationEvent"))]
pub struct RedisOperationEvent {
    /// When it ended, Unix milliseconds.
    pub t: u64,
    /// The command.
    pub operation: RedisOperation,
    /// How it ended.
    pub status: OperationStatus,
}

/// One MySQL statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MysqlQuery {
    /// When it ended, Unix milliseconds.
    pub t: u64,
    /// Kind of the statement.
    pub query_type: QueryType,
    /// How it ended.
    pub status: OperationStatus,
}

/// One look into a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CacheLookup {
    /// When, Unix milliseconds.
    pub t: u64,
    /// Which cache.
    pub cache_type: CacheType,
    /// Whether the answer was there.
    pub hit: bool,
}

/// One failure, as an operator would count it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorEvent<'a> {
    /// When, Unix milliseconds.
    pub t: u64,
    /// What kind of failure, in the words of the part that failed (`http_429`, `connect`, `bad_response`).
    #[serde(borrow)]
    pub error_type: Cow<'a, str>,
    /// How bad it is.
    pub severity: Severity,
    /// Which part failed.
    pub service: Service,
}

/// A circuit breaker's new state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CircuitBreaker<'a> {
    /// When it changed, Unix milliseconds.
    pub t: u64,
    /// The instance whose breaker it is.
    #[serde(borrow)]
    pub app_instance: Cow<'a, str>,
    /// What stands behind it.
    pub service: Service,
    /// The state that it is in now.
    pub state: BreakerState,
}

/// One attempt to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuthAttempt {
    /// When, Unix milliseconds.
    pub t: u64,
    /// Whether it succeeded.
    pub status: AuthStatus,
    /// What the caller showed.
    pub method: AuthMethod,
    /// Why it failed; absent on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<AuthFailureReason>,
}

/// A request that a rate limit refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RateLimitHit<'a> {
    /// When, Unix milliseconds.
    pub t: u64,
    /// Template of the route that was asked for.
    #[serde(borrow)]
    pub endpoint: Cow<'a, str>,
    /// The caller's address, masked by the producer: IPv4 to /24, IPv6 to /48.
    #[serde(borrow)]
    pub client_ip: Cow<'a, str>,
}

/// A finding of input sanitisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InputSanitization {
    /// When, Unix milliseconds.
    pub t: u64,
    /// What was found.
    #[serde(rename = "type")]
    pub kind: SanitizationType,
    /// Whether the request was refused for it.
    pub blocked: bool,
}

/// Unusual behaviour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Anomaly {
    /// When, Unix milliseconds.
    pub t: u64,
    /// What was seen.
    #[serde(rename = "type")]
    pub kind: AnomalyType,
}

/// What an instance holds at one moment. Also what it answers at `GET /internal/status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuntimeSample<'a> {
    /// When it was taken, Unix milliseconds.
    pub t: u64,
    /// The instance.
    #[serde(borrow)]
    pub app_instance: Cow<'a, str>,
    /// Resident memory of the process.
    #[serde(default)]
    pub resident_bytes: u64,
    /// V8's total heap; the allocator's resident bytes in the Rust app.
    #[serde(default)]
    pub heap_total_bytes: u64,
    /// V8's used heap; the allocator's allocated bytes in the Rust app.
    #[serde(default)]
    pub heap_used_bytes: u64,
    /// Open connections by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<ConnectionCount>,
    /// Open connections of the pool for the app's own Redis operations; absent where there is no pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis_pool_connections: Option<u64>,
    /// Failures of Redis operations since the last success; absent where Redis is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis_consecutive_failures: Option<u64>,
    /// Memory that the MySQL server says it uses; absent where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql_memory_bytes: Option<u64>,
    /// Waiting items by queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueLength>,
    /// State of every circuit breaker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerSample>,
    /// The journal of events; absent from producers that keep none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalSample>,
}

/// Open connections of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConnectionCount {
    /// What they serve.
    pub connection_type: ConnectionType,
    /// How many are open.
    pub open: u64,
}

/// Items waiting in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QueueLength {
    /// Which queue.
    pub queue_name: QueueName,
    /// How many wait.
    pub length: u64,
}

/// One circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BreakerSample {
    /// What stands behind it.
    pub service: Service,
    /// Its state.
    pub state: BreakerState,
}

/// The journal of events, over all its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JournalSample {
    /// Bytes of records that are not yet free.
    pub used_bytes: u64,
    /// Bytes that it can hold.
    pub capacity_bytes: u64,
    /// Events dropped by this run because it was full.
    pub dropped: u64,
}

/// One measurement of lateness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventLoopLag<'a> {
    /// When, Unix milliseconds.
    pub t: u64,
    /// The instance.
    #[serde(borrow)]
    pub app_instance: Cow<'a, str>,
    /// How late a timer fired.
    pub lag_us: u64,
}

/// One pause for garbage collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GcPause<'a> {
    /// When it ended, Unix milliseconds.
    pub t: u64,
    /// The instance.
    #[serde(borrow)]
    pub app_instance: Cow<'a, str>,
    /// How long it lasted.
    pub duration_us: u64,
}

/// A change of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConfigChanged {
    /// When it took effect, Unix milliseconds.
    pub t: u64,
    /// Which part.
    pub component: ConfigComponent,
}

/// The providers that an instance asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProvidersConfigured<'a> {
    /// When it took effect, Unix milliseconds.
    pub t: u64,
    /// The instance.
    #[serde(borrow)]
    pub app_instance: Cow<'a, str>,
    /// Each provider with its models.
    #[serde(borrow)]
    pub providers: Vec<ConfiguredProvider<'a>>,
}

/// One provider of [`ProvidersConfigured`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConfiguredProvider<'a> {
    /// Who.
    pub provider: Provider,
    /// Models in order of preference.
    #[serde(borrow)]
    pub models: Vec<Cow<'a, str>>,
}

/// What may be spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BudgetLimits<'a> {
    /// When it took effect, Unix milliseconds.
    pub t: u64,
    /// Limit of a calendar day.
    pub daily_nanousd: u64,
    /// Limit of a calendar month.
    pub monthly_nanousd: u64,
    /// IANA name of the time zone that days and months begin in, such as `Asia/Tokyo`.
    #[serde(borrow)]
    pub time_zone: Cow<'a, str>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature is serde's.
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A value outside the contract's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} is outside its bounds")]
pub struct OutOfBounds {
    /// The field, as it is spelled in the event.
    pub field: &'static str,
}

impl Event<'_> {
    /// Names of all types, as they stand in the tag.
    pub const TYPES: &'static [&'static str] = &[
        "analysis",
        "llm_request",
        "http_request",
        "redis_operation",
        "mysql_query",
        "cache_lookup",
        "error",
        "circuit_breaker",
        "auth_attempt",
        "rate_limit_hit",
        "input_sanitization",
        "anomaly",
        "runtime_sample",
        "event_loop_lag",
        "gc_pause",
        "config_changed",
        "providers_configured",
        "budget_limits",
    ];

    /// Place of this event's type in [`Event::TYPES`].
    pub fn type_index(&self) -> usize {
        match self {
            Self::Analysis(_) => 0,
            Self::LlmRequest(_) => 1,
            Self::HttpRequest(_) => 2,
            Self::RedisOperation(_) => 3,
            Self::MysqlQuery(_) => 4,
            Self::CacheLookup(_) => 5,
            Self::Error(_) => 6,
            Self::CircuitBreaker(_) => 7,
            Self::AuthAttempt(_) => 8,
            Self::RateLimitHit(_) => 9,
            Self::InputSanitization(_) => 10,
            Self::Anomaly(_) => 11,
            Self::RuntimeSample(_) => 12,
            Self::EventLoopLag(_) => 13,
            Self::GcPause(_) => 14,
            Self::ConfigChanged(_) => 15,
            Self::ProvidersConfigured(_) => 16,
            Self::BudgetLimits(_) => 17,
        }
    }

    /// When the fact happened, Unix milliseconds.
    pub fn t(&self) -> u64 {
        match self {
            Self::Analysis(event) => event.t,
            Self::LlmRequest(event) => event.t,
            Self::HttpRequest(event) => event.t,
            Self::RedisOperation(event) => event.t,
            Self::MysqlQuery(event) => event.t,
            Self::CacheLookup(event) => event.t,
            Self::Error(event) => event.t,
            Self::CircuitBreaker(event) => event.t,
            Self::AuthAttempt(event) => event.t,
            Self::RateLimitHit(event) => event.t,
            Self::InputSanitization(event) => event.t,
            Self::Anomaly(event) => event.t,
            Self::RuntimeSample(event) => event.t,
            Self::EventLoopLag(event) => event.t,
            Self::GcPause(event) => event.t,
            Self::ConfigChanged(event) => event.t,
            Self::ProvidersConfigured(event) => event.t,
            Self::BudgetLimits(event) => event.t,
        }
    }

    /// Whether every number and string is within the contract's bounds.
    ///
    /// # Errors
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        at_most("t", self.t(), MAX_T_MS)?;
        match self {
            Self::Analysis(event) => {
                at_most("duration_us", event.duration_us, MAX_DURATION_US)?;
                score("confidence_ppm", event.confidence_ppm)?;
                score("consensus_ppm", event.consensus_ppm)?;
                list("agreements", &event.agreements)?;
                event.agreements.iter().try_for_each(|pair| score("score_ppm", Some(pair.score_ppm)))
            }
            Self::LlmRequest(event) => {
                label("model", &event.model)?;
                at_most("duration_us", event.duration_us, MAX_DURATION_US)?;
                at_most("input_tokens", event.input_tokens, MAX_TOKENS)?;
                at_most("output_tokens", event.output_tokens, MAX_TOKENS)?;
                at_most("cost_nanousd", event.cost_nanousd, MAX_COST_NANOUSD)
            }
            Self::HttpRequest(event) => {
                label("route", &event.route)?;
                if !(100..=599).contains(&event.status_code) {
                    return Err(OutOfBounds { field: "status_code" });
                }
                at_most("duration_us", event.duration_us, MAX_DURATION_US)?;
                at_most("request_bytes", event.request_bytes, MAX_BYTES)?;
                at_most("response_bytes", event.response_bytes, MAX_BYTES)
            }
            Self::Error(event) => label("error_type", &event.error_type),
            Self::CircuitBreaker(event) => label("app_instance", &event.app_instance),
            Self::RateLimitHit(event) => {
                label("endpoint", &event.endpoint)?;
                label("client_ip", &event.client_ip)
            }
            Self::RuntimeSample(event) => event.check(),
            Self::EventLoopLag(event) => {
                label("app_instance", &event.app_instance)?;
                at_most("lag_us", event.lag_us, MAX_DURATION_US)
            }
            Self::GcPause(event) => {
                label("app_instance", &event.app_instance)?;
                at_most("duration_us", event.duration_us, MAX_DURATION_US)
            }
            Self::ProvidersConfigured(event) => {
                label("app_instance", &event.app_instance)?;
                list("providers", &event.providers)?;
                for provider in &event.providers {
                    list("models", &provider.models)?;
                    provider.models.iter().try_for_each(|model| label("models", model))?;
                }
                Ok(())
            }
            Self::BudgetLimits(event) => {
                at_most("daily_nanousd", event.daily_nanousd, MAX_COST_NANOUSD)?;
                at_most("monthly_nanousd", event.monthly_nanousd, MAX_COST_NANOUSD)?;
                label("time_zone", &event.time_zone)
            }
            Self::RedisOperation(_)
            | Self::MysqlQuery(_)
            | Self::CacheLookup(_)
            | Self::AuthAttempt(_)
            | Self::InputSanitization(_)
            | Self::Anomaly(_)
            | Self::ConfigChanged(_) => Ok(()),
        }
    }
}

impl RuntimeSample<'_> {
    /// Whether every number and string is within the contract's bounds.
    ///
    /// # Errors
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        label("app_instance", &self.app_instance)?;
        at_most("resident_bytes", self.resident_bytes, MAX_BYTES)?;
        at_most("heap_total_bytes", self.heap_total_bytes, MAX_BYTES)?;
        at_most("heap_used_bytes", self.heap_used_bytes, MAX_BYTES)?;
        at_most("redis_pool_connections", self.redis_pool_connections.unwrap_or(0), MAX_BYTES)?;
        at_most("redis_consecutive_failures", self.redis_consecutive_failures.unwrap_or(0), MAX_BYTES)?;
        at_most("mysql_memory_bytes", self.mysql_memory_bytes.unwrap_or(0), MAX_BYTES)?;
        list("connections", &self.connections)?;
        self.connections.iter().try_for_each(|entry| at_most("open", entry.open, MAX_BYTES))?;
        list("queues", &self.queues)?;
        self.queues.iter().try_for_each(|entry| at_most("length", entry.length, MAX_BYTES))?;
        list("breakers", &self.breakers)?;
        let journal = self.journal.unwrap_or_default();
        at_most("used_bytes", journal.used_bytes, MAX_BYTES)?;
        at_most("capacity_bytes", journal.capacity_bytes, MAX_BYTES)?;
        at_most("dropped", journal.dropped, MAX_BYTES)
    }

    /// The same sample, holding its strings itself.
    pub fn into_owned(self) -> RuntimeSample<'static> {
        RuntimeSample {
            t: self.t,
            app_instance: Cow::Owned(self.app_instance.into_owned()),
            resident_bytes: self.resident_bytes,
            heap_total_bytes: self.heap_total_bytes,
            heap_used_bytes: self.heap_used_bytes,
            connections: self.connections,
            redis_pool_connections: self.redis_pool_connections,
            redis_consecutive_failures: self.redis_consecutive_failures,
            mysql_memory_bytes: self.mysql_memory_bytes,
            queues: self.queues,
            breakers: self.breakers,
            journal: self.journal,
        }
    }
}

fn at_most(field: &'static str, value: u64, most: u64) -> Result<(), OutOfBounds> {
    if value <= most { Ok(()) } else { Err(OutOfBounds { field }) }
}

fn score(field: &'static str, value: Option<u32>) -> Result<(), OutOfBounds> {
    at_most(field, value.unwrap_or(0).into(), WHOLE_PPM.into())
}

fn list<T>(field: &'static str, items: &[T]) -> Result<(), OutOfBounds> {
    at_most(field, items.len() as u64, MAX_LIST as u64)
}

/// An open label value is never empty (Prometheus takes an empty label for an absent one) and never long.
fn label(field: &'static str, value: &str) -> Result<(), OutOfBounds> {
    if value.is_empty() || value.len() > MAX_LABEL_BYTES { Err(OutOfBounds { field }) } else { Ok(()) }
}
