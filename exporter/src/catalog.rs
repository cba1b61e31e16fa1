//! THE table of metrics: name, type, unit, labels, buckets, source event, initial series, help. One row per family.
//!
//! Everything that names a metric is derived from this table (the exposition, `docs/metrics.md`, the exporter's own
//! registry) or checked against it (rules, alerts, dashboards). To add a metric: add a row here, then update it in
//! `apply/event.rs` (a counter or histogram) or compute it in `gauges.rs` (a gauge).
//!
//! Values are integers in the unit of the wire (nano-USD, microseconds, millionths); `decimals` says how far the
//! point moves to the left on the page, so that `1234567` µs reads `1.234567` seconds and no sum is ever rounded.

use std::fmt::Write as _;

use techsapo_shared::event::Event;
use techsapo_shared::labels::{
    AnomalyType, AnswerSource, AuthFailureReason, AuthMethod, AuthStatus, Blocked, BreakerState,
    BudgetPeriod, CacheType, ClosedLabel, ConfigComponent, ConnectionType, HttpMethod, MemoryComponent,
    OperationStatus, Provider, ProviderChange, ProviderPair, QueryType, QueueName, RedisOperation,
    SanitizationType, Service, Severity, Status, TaskType, TokenType, Vendor,
};

/// Where a metric stands in the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Analyses, providers, money.
    Business,
    /// HTTP, stores, errors.
    Application,
    /// Runtime and host.
    System,
    /// Who came in, who was refused.
    Security,
    /// Figures worked out here, ready for a dashboard.
    Derived,
    /// Facts that alerts need.
    Changes,
    /// The pipeline about itself: exact, durable, part of the state.
    Telemetry,
    /// The exporter's process about itself.
    Exporter,
}

/// How a family's values are kept and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows, kept in the state.
    Counter,
    /// Counts per bucket, kept in the state; bounds in the unit of the wire.
    Histogram(&'static [u64]),
    /// Worked out when the page is served.
    Gauge,
}

/// Which series of a family stand at zero before their first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// None: an open label's values are not known beforehand.
    None,
    /// Every combination of the labels' values.
    All,
    /// Every combination that the configured providers and their models allow.
    Configured,
}

/// The set that a label's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the closed list of the same name in `shared::labels`, or what its comment says.
pub enum Domain {
    AnomalyType,
    AnswerSource,
    AuthFailureReason,
    AuthMethod,
    AuthStatus,
    Blocked,
    BreakerState,
    BudgetPeriod,
    CacheType,
    ConfigComponent,
    ConnectionType,
    HttpMethod,
    MemoryComponent,
    OperationStatus,
    Provider,
    ProviderChange,
    ProviderPair,
    QueryType,
    QueueName,
    RedisOperation,
    SanitizationType,
    Service,
    Severity,
    Status,
    TaskType,
    TokenType,
    Vendor,
    /// Names of the event types.
    EventType,
    /// Why an event was refused.
    EventReject,
    /// Why a whole batch was refused.
    BatchReject,
    /// Names of the families of this table.
    Family,
    /// HTTP status codes; the value is the code itself.
    StatusCode,
    /// Open: model names.
    Model,
    /// Open: route templates.
    Route,
    /// Open: masked addresses.
    ClientIp,
    /// Open: kinds of failure.
    ErrorType,
    /// Open: app instances.
    AppInstance,
    /// Which of the exporter's certificates; on its own metrics alone.
    Certificate,
    /// Keys of streams; on the exporter's own metrics alone.
    Stream,
    /// Addresses of apps; on the exporter's own metrics alone.
    Url,
    /// Build information; on the exporter's own metrics alone.
    Text,
}

/// Why an event was refused, as it stands in `techsapo_telemetry_rejected_events_total{reason}`.
pub const EVENT_REJECTS: [&str; 5] = ["syntax", "unknown_type", "schema", "out_of_bounds", "overflow"];
/// Why a batch was refused, as it stands in `techsapo_telemetry_rejected_batches_total{reason}`.
pub const BATCH_REJECTS: [&str; 4] = ["version", "missing_field", "malformed_field", "nonsense"];
/// The exporter's certificates, as they stand in `techsapo_exporter_tls_reload_successful{certificate}`: the one that its
/// pages are served with, and the one that it shows to Redis, MySQL and apps.
pub const CERTIFICATES: [&str; 2] = ["server", "client"];
/// What the value of an open label becomes when its family is full.
pub const OTHER: &str = "other";

fn spell<L: ClosedLabel>() -> Vec<String> {
    L::ALL.iter().map(|value| value.as_str().to_owned()).collect()
}

fn own(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

impl Domain {
    /// Whether producers choose the values; their number is bounded, and beyond it they become `other`.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Model | Self::Route | Self::ClientIp | Self::ErrorType | Self::AppInstance)
    }

    /// All values in the order of their ids; empty for an open domain.
    pub fn values(self) -> Vec<String> {
        match self {
            Self::AnomalyType => spell::<AnomalyType>(),
            Self::AnswerSource => spell::<AnswerSource>(),
            Self::AuthFailureReason => spell::<AuthFailureReason>(),
            Self::AuthMethod => spell::<AuthMethod>(),
            Self::AuthStatus => spell::<AuthStatus>(),
            Self::Blocked => spell::<Blocked>(),
            Self::BreakerState => spell::<BreakerState>(),
            Self::BudgetPeriod => spell::<BudgetPeriod>(),
            Self::CacheType => spell::<CacheType>(),
            Self::ConfigComponent => spell::<ConfigComponent>(),
            Self::ConnectionType => spell::<ConnectionType>(),
            Self::HttpMethod => spell::<HttpMethod>(),
            Self::MemoryComponent => spell::<MemoryComponent>(),
            Self::OperationStatus => spell::<OperationStatus>(),
            Self::Provider => spell::<Provider>(),
            Self::ProviderChange => spell::<ProviderChange>(),
            Self::ProviderPair => ProviderPair::all().map(|pair| pair.to_string()).collect(),
            Self::QueryType => spell::<QueryType>(),
            Self::QueueName => spell::<QueueName>(),
            Self::RedisOperation => spell::<RedisOperation>(),
            Self::SanitizationType => spell::<SanitizationType>(),
            Self::Service => spell::<Service>(),
            Self::Severity => spell::<Severity>(),
            Self::Status => spell::<Status>(),
            Self::TaskType => spell::<TaskType>(),
            Self::TokenType => spell::<TokenType>(),
            Self::Vendor => spell::<Vendor>(),
            Self::EventType => own(Event::TYPES),
            Self::EventReject => own(&EVENT_REJECTS),
            Self::BatchReject => own(&BATCH_REJECTS),
            Self::Certificate => own(&CERTIFICATES),
            Self::Family => FAMILIES.iter().map(|family| family.name.to_owned()).collect(),
            Self::StatusCode => (0..=599).map(|code: u16| code.to_string()).collect(),
            Self::Model | Self::Route | Self::ClientIp | Self::ErrorType | Self::AppInstance => Vec::new(),
            Self::Stream | Self::Url | Self::Text => Vec::new(),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::StatusCode => "100 … 599".to_owned(),
            Self::ProviderPair => "two provider names in their order, `Claude:Gemini`".to_owned(),
            Self::Family => "the family's name".to_owned(),
            Self::EventType => "the type of the event".to_owned(),
            Self::Stream => "the stream's key".to_owned(),
            Self::Url => "the app's address".to_owned(),
            Self::Text => "free text".to_owned(),
            open if open.is_open() => "open; beyond the family's limit `other`".to_owned(),
            closed => {
                let values: Vec<_> = closed.values().iter().map(|value| format!("`{value}`")).collect();
                values.join(" ")
            }
        }
    }
}

/// One label of a family.
pub type Label = (&'static str, Domain);

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Name on the page.
    pub name: &'static str,
    /// How values are kept.
    pub kind: Kind,
    /// Places that the decimal point moves to the left on the page.
    pub decimals: u8,
    /// Labels in their order; at most four.
    pub labels: &'static [Label],
    /// Where it stands in the documents.
    pub section: Section,
    /// The event, or the sampler, that moves it.
    pub source: &'static str,
    /// Series that stand at zero from the start.
    pub seed: Seed,
    /// The HELP line.
    pub help: &'static str,
}

impl Family {
    const fn new(name: &'static str, kind: Kind, section: Section) -> Self {
        Self { name, kind, decimals: 0, labels: &[], section, source: "", seed: Seed::None, help: "" }
    }

    const fn decimals(mut self, decimals: u8) -> Self {
        self.decimals = decimals;
        self
    }

    const fn labels(mut self, labels: &'static [Label]) -> Self {
        assert!(labels.len() <= 4, "a series key holds four label values");
        self.labels = labels;
        self
    }

    const fn from(mut self, source: &'static str) -> Self {
        self.source = source;
        self
    }

    const fn seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// Integers that one series takes in the state: 1 for a counter; for a histogram one per bucket, one for what
    /// lies above the last bound, one for the sum. 0 for what the state does not keep.
    pub fn cells(&self) -> usize {
        match self.kind {
            Kind::Counter if self.section != Section::Exporter => 1,
            Kind::Histogram(bounds) => bounds.len() + 2,
            Kind::Counter | Kind::Gauge => 0,
        }
    }

    /// The TYPE line's word.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "counter",
            Kind::Histogram(_) => "histogram",
            Kind::Gauge => "gauge",
        }
    }
}

const fn counter(name: &'static str, section: Section) -> Family {
    Family::new(name, Kind::Counter, section)
}

const fn histogram(name: &'static str, section: Section, bounds: &'static [u64]) -> Family {
    Family::new(name, Kind::Histogram(bounds), section)
}

const fn gauge(name: &'static str, section: Section) -> Family {
    Family::new(name, Kind::Gauge, section)
}

/// Decimal places between the wire's unit and the page's.
const NANOUSD: u8 = 9;
const MICROS: u8 = 6;
const MILLIONTHS: u8 = 6;

const MS: u64 = 1_000;
const S: u64 = 1_000_000;
/// Analyses last from half a second to minutes.
const ANALYSIS_US: &[u64] = &[S / 2, S, 2 * S, 5 * S, 10 * S, 30 * S, 60 * S, 120 * S, 300 * S, 600 * S];
const COMPLETION_US: &[u64] =
    &[S / 10, S / 2, S, 2 * S, 5 * S, 10 * S, 30 * S, 60 * S, 120 * S, 300 * S, 600 * S];
const HTTP_US: &[u64] = &[
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    5 * S / 2,
    5 * S,
    10 * S,
    30 * S,
    60 * S,
];
const SIZE_BYTES: &[u64] = &[100, 1_000, 10_000, 100_000, 1_000_000];
const CONFIDENCE_PPM: &[u64] =
    &[100_000, 300_000, 500_000, 700_000, 800_000, 850_000, 900_000, 950_000, 1_000_000];
const AGREEMENT_PPM: &[u64] = &[0, 100_000, 300_000, 500_000, 700_000, 800_000, 900_000, 1_000_000];
const PAUSE_US: &[u64] =
    &[MS / 10, MS / 2, MS, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, S, 5 * S];

macro_rules! families {
    ($($id:ident = $row:expr;)+) => {
        /// A row of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // Each is documented by its row's help.
        pub enum FamilyId { $($id),+ }

        /// All rows, in the order of the page.
        pub static FAMILIES: &[Family] = &[$($row),+];

        impl FamilyId {
            /// Every row's id, in the order of [`FAMILIES`].
            pub const ALL: &'static [Self] = &[$(Self::$id),+];
        }
    };
}

impl FamilyId {
    /// The row itself.
    pub fn row(self) -> &'static Family {
        &FAMILIES[self as usize]
    }
}

use Domain as D;
use Section::{Application, Business, Changes, Derived, Exporter, Security, System, Telemetry};

families! {
    // ── Business ────────────────────────────────────────────────────────────────────────────────────────────────
    WallbounceRequests = counter("techsapo_wallbounce_requests_total", Business)
        .labels(&[("task_type", D::TaskType), ("provider", D::AnswerSource), ("status", D::Status)])
        .from("analysis").seed(Seed::Configured)
        .help("Wall-bounce analyses. provider is whose answer was returned: ensemble if several were synthesised, none if there was no answer.");
    ConsensusConfidence = histogram("techsapo_wallbounce_consensus_confidence", Business, CONFIDENCE_PPM)
        .decimals(MILLIONTHS).from("analysis").seed(Seed::All)
        .help("Confidence (0-1) of fresh analyses with at least two answers.");
    ProcessingDuration = histogram("techsapo_wallbounce_processing_duration_seconds", Business, ANALYSIS_US)
        .decimals(MICROS).labels(&[("task_type", D::TaskType)]).from("analysis").seed(Seed::All)
        .help("Duration of analyses in seconds; refused ones are not in it.");
    WallbounceCost = counter("techsapo_wallbounce_cost_usd", Business)
        .decimals(NANOUSD).labels(&[("provider", D::Provider), ("task_type", D::TaskType)])
        .from("llm_request").seed(Seed::Configured)
        .help("Cost of provider calls in US dollars, exact to the billionth.");
    LlmRequests = counter("techsapo_llm_requests_total", Business)
        .labels(&[("provider", D::Provider), ("model", D::Model), ("status", D::Status), ("task_type", D::TaskType)])
        .from("llm_request").seed(Seed::Configured)
        .help("Finished provider calls, after their retries.");
    LlmResponseTime = histogram("techsapo_llm_response_time_seconds", Business, COMPLETION_US)
        .decimals(MICROS).labels(&[("provider", D::Provider), ("model", D::Model)])
        .from("llm_request").seed(Seed::Configured)
        .help("Duration of provider calls in seconds; calls refused before they were made are not in it.");
    LlmTokenUsage = counter("techsapo_llm_token_usage_total", Business)
        .labels(&[("provider", D::Provider), ("type", D::TokenType), ("model", D::Model)])
        .from("llm_request").seed(Seed::Configured)
        .help("Billable tokens as the provider reported them.");
    LlmAgreement = histogram("techsapo_llm_agreement_score", Business, AGREEMENT_PPM)
        .decimals(MILLIONTHS).labels(&[("provider_pair", D::ProviderPair)])
        .from("analysis").seed(Seed::Configured)
        .help("Agreement (0-1) of two providers' answers to the same question.");

    // ── Application ─────────────────────────────────────────────────────────────────────────────────────────────
    HttpRequests = counter("techsapo_http_requests_total", Application)
        .labels(&[("method", D::HttpMethod), ("route", D::Route), ("status_code", D::StatusCode)])
        .from("http_request")
        .help("HTTP responses by route template; what matched no route is unmatched.");
    HttpRequestDuration = histogram("techsapo_http_request_duration_seconds", Application, HTTP_US)
        .decimals(MICROS).labels(&[("method", D::HttpMethod), ("route", D::Route)])
        .from("http_request")
        .help("Duration of HTTP requests in seconds; long-lived streams are not in it.");
    HttpRequestSize = histogram("techsapo_http_request_size_bytes", Application, SIZE_BYTES)
        .from("http_request").seed(Seed::All)
        .help("Size of HTTP request bodies in bytes.");
    HttpResponseSize = histogram("techsapo_http_response_size_bytes", Application, SIZE_BYTES)
        .from("http_request").seed(Seed::All)
        .help("Size of HTTP response bodies in bytes.");
    RedisOperations = counter("techsapo_redis_operations_total", Application)
        .labels(&[("operation", D::RedisOperation), ("status", D::OperationStatus)])
        .from("redis_operation").seed(Seed::All)
        .help("Redis operations of the app's cache, limiter and budget.");
    RedisPoolSize = gauge("techsapo_redis_connection_pool_size", Application)
        .from("runtime_sample")
        .help("Open connections of the apps' Redis pools, over live instances.");
    MysqlQueries = counter("techsapo_mysql_queries_total", Application)
        .labels(&[("query_type", D::QueryType), ("status", D::OperationStatus)])
        .from("mysql_query").seed(Seed::All)
        .help("MySQL statements of the app.");
    CacheHitRatio = gauge("techsapo_cache_hit_ratio", Application)
        .labels(&[("cache_type", D::CacheType)]).from("cache_lookup")
        .help("Share (0-1) of cache look-ups of the last 5 minutes that found an answer.");
    Errors = counter("techsapo_errors_total", Application)
        .labels(&[("error_type", D::ErrorType), ("severity", D::Severity), ("service", D::Service)])
        .from("error")
        .help("Failures by kind, severity and the part that failed.");
    CircuitBreakerState = gauge("techsapo_circuit_breaker_state", Application)
        .labels(&[("service", D::Service), ("state", D::BreakerState)])
        .from("circuit_breaker, runtime_sample")
        .help("1 for a state that the service's breaker is in on a live instance, else 0.");

    // ── System ──────────────────────────────────────────────────────────────────────────────────────────────────
    HeapTotal = gauge("nodejs_heap_size_total_bytes", System)
        .labels(&[("app_instance", D::AppInstance)]).from("runtime_sample")
        .help("Heap of the app's runtime in bytes: V8's total heap from a Node.js producer, the allocator's resident bytes from the Rust app.");
    HeapUsed = gauge("nodejs_heap_size_used_bytes", System)
        .labels(&[("app_instance", D::AppInstance)]).from("runtime_sample")
        .help("Used heap of the app's runtime in bytes: V8's used heap from a Node.js producer, the allocator's allocated bytes from the Rust app.");
    EventLoopLag = histogram("nodejs_eventloop_lag_seconds", System, PAUSE_US)
        .decimals(MICROS).labels(&[("app_instance", D::AppInstance)]).from("event_loop_lag")
        .help("How late timers fire, in seconds: event-loop lag of a Node.js producer, scheduler lag of tokio in the Rust app.");
    GcDuration = histogram("nodejs_gc_duration_seconds", System, PAUSE_US)
        .decimals(MICROS).labels(&[("app_instance", D::AppInstance)]).from("gc_pause")
        .help("Garbage-collection pauses in seconds, from producers that collect garbage. The Rust app has none.");
    MemoryUsage = gauge("techsapo_memory_usage_bytes", System)
        .labels(&[("component", D::MemoryComponent)]).from("runtime_sample, the exporter's samplers")
        .help("Memory in bytes: resident for app (over live instances), exporter and host (used); as Redis and MySQL report it themselves.");
    ActiveConnections = gauge("techsapo_active_connections", System)
        .labels(&[("connection_type", D::ConnectionType)]).from("runtime_sample")
        .help("Open connections, over live instances.");
    QueueSize = gauge("techsapo_queue_size", System)
        .labels(&[("queue_name", D::QueueName)]).from("runtime_sample")
        .help("Waiting items, over live instances.");

    // ── Security ────────────────────────────────────────────────────────────────────────────────────────────────
    AuthAttempts = counter("techsapo_auth_attempts_total", Security)
        .labels(&[("status", D::AuthStatus), ("method", D::AuthMethod)]).from("auth_attempt").seed(Seed::All)
        .help("Attempts to be let in.");
    AuthFailures = counter("techsapo_auth_failures_total", Security)
        .labels(&[("reason", D::AuthFailureReason)]).from("auth_attempt").seed(Seed::All)
        .help("Refused callers by reason.");
    RateLimitHits = counter("techsapo_rate_limit_hits_total", Security)
        .labels(&[("endpoint", D::Route), ("client_ip", D::ClientIp)]).from("rate_limit_hit")
        .help("Requests refused by a rate limit; client_ip is masked by the app (IPv4 /24, IPv6 /48).");
    InputSanitization = counter("techsapo_input_sanitization_total", Security)
        .labels(&[("type", D::SanitizationType), ("blocked", D::Blocked)])
        .from("input_sanitization").seed(Seed::All)
        .help("Findings of input sanitisation. The app finds no html, invalid_encoding or pii: these are for other producers.");
    AnomalyRequests = counter("techsapo_anomaly_requests_total", Security)
        .labels(&[("type", D::AnomalyType)]).from("anomaly").seed(Seed::All)
        .help("Requests that behaved unusually.");

    // ── Derived ─────────────────────────────────────────────────────────────────────────────────────────────────
    WallbounceSuccessRate = gauge("techsapo_wallbounce_success_rate", Derived)
        .from("analysis")
        .help("Share (0-1) of analyses of the last 5 minutes that succeeded; refused ones do not count.");
    WallbounceAvgConfidence = gauge("techsapo_wallbounce_avg_confidence_5m", Derived)
        .from("analysis")
        .help("Mean confidence (0-1) of fresh analyses of the last 5 minutes.");
    WallbounceConsensusScore = gauge("techsapo_wallbounce_consensus_score", Derived)
        .from("analysis")
        .help("Mean consensus (0-1) of analyses of the last 5 minutes; an analysis' consensus is the mean pairwise agreement of its answers.");
    LlmSuccessRate = gauge("techsapo_llm_success_rate_by_provider", Derived)
        .labels(&[("provider", D::Provider)]).from("llm_request")
        .help("Share (0-1) of a provider's calls of the last 5 minutes that succeeded; refused ones do not count.");
    HttpP95 = gauge("techsapo_http_p95_response_time", Derived)
        .from("http_request")
        .help("95th percentile, in seconds, of the last 5 minutes' response times over the API's routes; relative error at most 1 %.");
    MemoryUsagePercent = gauge("techsapo_memory_usage_percent", Derived)
        .from("the exporter's samplers")
        .help("Used memory of the exporter's host, 0-100.");
    CpuUsagePercent = gauge("techsapo_cpu_usage_percent", Derived)
        .from("the exporter's samplers")
        .help("CPU use of the exporter's host, 0-100.");
    ProviderCost = counter("techsapo_provider_cost_usd", Derived)
        .decimals(NANOUSD).labels(&[("provider", D::Vendor)]).from("llm_request").seed(Seed::Configured)
        .help("Cost in US dollars by the vendor that bills it.");
    BudgetUtilization = gauge("techsapo_budget_utilization_percent", Derived)
        .labels(&[("period", D::BudgetPeriod)]).from("llm_request, budget_limits")
        .help("Spent share of the budget of this calendar day or month, in percent; above 100 when overspent.");

    // ── Changes ─────────────────────────────────────────────────────────────────────────────────────────────────
    ConfigChanges = counter("techsapo_config_changes_total", Changes)
        .labels(&[("component", D::ConfigComponent)]).from("config_changed").seed(Seed::All)
        .help("Changes of what instances are configured with, made while they run or by a restart.");
    ProviderChanges = counter("techsapo_llm_provider_changes_total", Changes)
        .labels(&[("provider", D::Provider), ("change", D::ProviderChange)])
        .from("providers_configured").seed(Seed::All)
        .help("Providers added to or removed from the set that any instance is configured with.");
    RedisConsecutiveFailures = gauge("techsapo_redis_consecutive_failures", Changes)
        .from("runtime_sample")
        .help("Failures in a row of the app's Redis operations; the worst live instance.");

    // ── The pipeline about itself ───────────────────────────────────────────────────────────────────────────────
    TelemetryEvents = counter("techsapo_telemetry_events_total", Telemetry)
        .labels(&[("type", D::EventType)]).from("every event").seed(Seed::All)
        .help("Events counted, each exactly once.");
    TelemetryUnnumbered = counter("techsapo_telemetry_unnumbered_events_total", Telemetry)
        .from("batches without p and s").seed(Seed::All)
        .help("Events among those counted that came without a sequence number: taken at least once.");
    TelemetryDuplicates = counter("techsapo_telemetry_duplicate_events_total", Telemetry)
        .from("every batch").seed(Seed::All)
        .help("Events that came again and were not counted again.");
    TelemetryRejected = counter("techsapo_telemetry_rejected_events_total", Telemetry)
        .labels(&[("reason", D::EventReject)]).from("every event").seed(Seed::All)
        .help("Events that are none by the contract; copies are in the quarantine stream.");
    TelemetryRejectedBatches = counter("techsapo_telemetry_rejected_batches_total", Telemetry)
        .labels(&[("reason", D::BatchReject)]).from("every batch").seed(Seed::All)
        .help("Stream entries that are no batch by the contract; copies are in the quarantine stream.");
    TelemetryGaps = counter("techsapo_telemetry_gaps_total", Telemetry)
        .from("every batch").seed(Seed::All)
        .help("Batches passed over because earlier ones of their producer are missing; the producer sends them again.");
    TelemetryLost = counter("techsapo_telemetry_lost_events_total", Telemetry)
        .from("every batch").seed(Seed::All)
        .help("Events that their producer can no longer send: lost. Zero unless a disk or a power supply failed.");
    TelemetryDropped = counter("techsapo_telemetry_dropped_total", Telemetry)
        .from("every batch").seed(Seed::All)
        .help("Events that producers dropped because their journal was full.");
    TelemetryOverflow = counter("techsapo_telemetry_series_overflow_total", Telemetry)
        .labels(&[("family", D::Family)]).from("every event")
        .help("Updates whose open label values became other because their family had reached its limit of series.");
    JournalUsed = gauge("techsapo_telemetry_journal_used_bytes", Telemetry)
        .labels(&[("app_instance", D::AppInstance)]).from("runtime_sample")
        .help("Bytes of the app's journal that hold events not yet acknowledged.");
    JournalCapacity = gauge("techsapo_telemetry_journal_capacity_bytes", Telemetry)
        .labels(&[("app_instance", D::AppInstance)]).from("runtime_sample")
        .help("Bytes that the app's journal can hold.");

    // ── The exporter's process about itself ─────────────────────────────────────────────────────────────────────
    BuildInfo = gauge("techsapo_exporter_build_info", Exporter)
        .labels(&[("version", D::Text)]).from("the exporter")
        .help("1, labelled with the exporter's version.");
    Leader = gauge("techsapo_exporter_leader", Exporter)
        .from("the exporter")
        .help("1 while this exporter holds the state's lock and serves it, 0 on standby.");
    Ready = gauge("techsapo_exporter_ready", Exporter)
        .from("the exporter")
        .help("1 while /-/ready answers 200: the stream was read to its end and what was read is served.");
    CheckpointAge = gauge("techsapo_exporter_checkpoint_age_seconds", Exporter)
        .from("the exporter")
        .help("Seconds since all that was read was last known to be durable.");
    CheckpointSize = gauge("techsapo_exporter_checkpoint_size_bytes", Exporter)
        .from("the exporter")
        .help("Size of the last checkpoint in bytes.");
    Checkpoints = counter("techsapo_exporter_checkpoints_total", Exporter)
        .from("the exporter")
        .help("Checkpoints made durable by this process.");
    CheckpointFailures = counter("techsapo_exporter_checkpoint_failures_total", Exporter)
        .from("the exporter")
        .help("Checkpoints that could not be made durable; nothing is acknowledged until one can.");
    LagSeconds = gauge("techsapo_exporter_lag_seconds", Exporter)
        .labels(&[("stream", D::Stream)]).from("the exporter")
        .help("Age of the newest entry read, while the stream holds newer ones; 0 at the stream's end.");
    LagEntries = gauge("techsapo_exporter_lag_entries", Exporter)
        .labels(&[("stream", D::Stream)]).from("the exporter")
        .help("Entries in the stream that are not yet durable here.");
    RedisUp = gauge("techsapo_exporter_redis_up", Exporter)
        .labels(&[("stream", D::Stream)]).from("the exporter")
        .help("1 while the stream can be read.");
    RedisReconnects = counter("techsapo_exporter_redis_connections_total", Exporter)
        .labels(&[("stream", D::Stream)]).from("the exporter")
        .help("Connections that the reader opened; each begins again at the stream's start.");
    AppUp = gauge("techsapo_exporter_app_up", Exporter)
        .labels(&[("url", D::Url)]).from("the exporter's samplers")
        .help("1 if the app answered the last poll of its status.");
    Series = gauge("techsapo_exporter_series", Exporter)
        .from("the exporter")
        .help("Counters and histograms in the state, one per label set.");
    Scrapes = counter("techsapo_exporter_scrapes_total", Exporter)
        .from("the exporter")
        .help("Pages served.");
    TlsHandshakeFailures = counter("techsapo_exporter_tls_handshake_failures_total", Exporter)
        .from("the exporter")
        .help("Clients that were refused, or gave up, before they could ask anything: see --web.config.file.");
    TlsReloadSuccessful = gauge("techsapo_exporter_tls_reload_successful", Exporter)
        .labels(&[("certificate", D::Certificate)]).from("the exporter")
        .help("1 if the files of the certificate, as they are now, are in force; 0 if they cannot be used, and what was read before is.");
    TlsNotAfter = gauge("techsapo_exporter_tls_certificate_not_after_timestamp_seconds", Exporter)
        .labels(&[("certificate", D::Certificate)]).from("the exporter")
        .help("When the certificate that is in force runs out, in Unix time.");
}

impl Section {
    /// Its title in the documents.
    pub fn title(self) -> &'static str {
        match self {
            Business => "Business",
            Application => "Application",
            System => "System",
            Security => "Security",
            Derived => "Derived gauges",
            Changes => "Changes and failures that alerts need",
            Telemetry => "The pipeline about itself",
            Exporter => "The exporter about itself",
        }
    }
}

/// Writes `units` with the decimal point moved `decimals` places to the left, without trailing zeros.
pub fn write_scaled(out: &mut String, units: u64, decimals: u8) {
    let scale = 10u64.pow(decimals.into());
    let (whole, fraction) = (units / scale, units % scale);
    let _ = write!(out, "{whole}");
    if fraction != 0 {
        let digits = format!("{fraction:0width$}", width = decimals.into());
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}

/// `docs/metrics.md`: the table for people.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n<!-- Generated from exporter/src/catalog.rs; `UPDATE_GENERATED=1 cargo test -p techsapo-exporter` \
         writes it anew. -->\n\nEvery family that the exporter serves. A histogram `x` stands on the page as `x_bucket`, \
         `x_sum` and `x_count`. *At zero from the start*: `all` label sets, or those of the `configured` providers and \
         models, so that `increase()` sees the first event; a series born later is served at 0 for `--birth-hold` \
         (20 s) first. Labels marked open are bounded by `--series-limit` (1 000 series per family).\n",
    );
    let mut section = None;
    for family in FAMILIES {
        if section != Some(family.section) {
            section = Some(family.section);
            let _ = write!(page, "\n## {}\n", family.section.title());
        }
        family.describe(&mut page);
    }
    page
}

impl Family {
    fn describe(&self, page: &mut String) {
        let _ = write!(page, "\n### `{}`\n\n{}\n\n- type: {}\n", self.name, self.help, self.type_name());
        for (name, domain) in self.labels {
            let _ = writeln!(page, "- label `{name}`: {}", domain.describe());
        }
        if let Kind::Histogram(bounds) = self.kind {
            page.push_str("- buckets:");
            for &bound in bounds {
                page.push(' ');
                write_scaled(page, bound, self.decimals);
            }
            page.push('\n');
        }
        let _ = writeln!(page, "- moved by: {}", self.source);
        match self.seed {
            Seed::None => {}
            Seed::All => page.push_str("- at zero from the start: all\n"),
            Seed::Configured => page.push_str("- at zero from the start: configured\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_is_whole_and_named_once() {
        let mut names = HashSet::new();
        for family in FAMILIES {
            assert!(names.insert(family.name), "{} stands twice", family.name);
            assert!(!family.help.is_empty() && !family.source.is_empty(), "{} is incomplete", family.name);
            assert!(!family.help.contains('\n') && !family.help.contains('\\'), "{}", family.name);
            if family.seed == Seed::All {
                assert!(family.labels.iter().all(|(_, domain)| !domain.is_open()), "{}", family.name);
            }
            if let Kind::Histogram(bounds) = family.kind {
                assert!(bounds.is_sorted_by(|a, b| a < b), "{}'s bounds are not ascending", family.name);
            }
        }
    }

    #[test]
    fn the_documents_table_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == markdown(),
            "docs/metrics.md is not what the catalogue says; UPDATE_GENERATED=1 cargo test -p techsapo-exporter writes it"
        );
    }

    #[test]
    fn numbers_are_written_exactly() {
        let written = |units, decimals| {
            let mut out = String::new();
            write_scaled(&mut out, units, decimals);
            out
        };
        assert_eq!(written(0, 9), "0");
        assert_eq!(written(9_640_000, 9), "0.00964");
        assert_eq!(written(1, 9), "0.000000001");
        assert_eq!(written(2_500_000, 6), "2.5");
        assert_eq!(written(u64::MAX, 0), "18446744073709551615");
    }
}
