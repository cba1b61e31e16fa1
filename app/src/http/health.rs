//! `GET /health` says that this instance answers; `GET /api/v1/health` says how each service that it uses is, and since
//! when. Neither fails because a service is away: the app goes on answering without Redis and without the exporter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Json};
use serde::Serialize;
use serde_json::{Value, json};
use techsapo_shared::event::JournalSample;
use techsapo_shared::labels::{BreakerState, ClosedLabel, Service, TaskType, Vendor};
use tokio::sync::Mutex;

use super::{App, ExporterClient};
use crate::analysis::answers_needed;
use crate::clock;
use crate::config::RedisSettings;
use crate::guard::breaker::Breakers;
use crate::guard::budget::{Budget, BudgetState, Link};
use crate::providers::Provider;
use crate::store::audit::AuditStatus;
use crate::store::drive::Drive;
use crate::store::redis::{Redis, idle_write, is_not_permitted};
use crate::telemetry::Recorder;

/// How long what was found is still true. Callers that come at once share one look.
const FRESH: Duration = Duration::from_millis(250);
/// How often somebody looks when nobody asks, so that "since" is right.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long Redis may take to connect, and then to answer.
const REDIS_TIMEOUT: Duration = Duration::from_secs(1);

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Up,
    /// Switched off, and therefore no trouble.
    Off,
    Degraded,
    Down,
}

/// What was found about one service.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    state: Condition,
    #[serde(serialize_with = "as_rfc3339")]
    since: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn as_rfc3339<S: serde::Serializer>(unix_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&clock::rfc3339(*unix_ms))
}

type Findings = BTreeMap<&'static str, Finding>;

/// Services that a circuit breaker stands before, and what they are called here.
const BEHIND_BREAKERS: [(&str, Service); 3] =
    [("store", Service::Redis), ("mysql", Service::MySql), ("google_drive", Service::GoogleDrive)];

/// Looks after the services and remembers since when they are as they are.
#[derive(Clone)]
pub struct HealthChecks {
    redis: RedisSettings,
    exporter: ExporterClient,
    recorder: Recorder,
    store: Redis,
    audit: Option<AuditStatus>,
    budget: Budget,
    documents: Option<Drive>,
    last: Arc<Mutex<(Option<Instant>, Findings)>>,
}

impl HealthChecks {
    /// For these services.
    pub fn new(
        redis: RedisSettings,
        exporter: ExporterClient,
        recorder: Recorder,
        store: Redis,
        audit: Option<AuditStatus>,
        budget: Budget,
        documents: Option<Drive>,
    ) -> Self {
        Self { redis, exporter, recorder, store, audit, budget, documents, last: Arc::default() }
    }

    /// Looks now and then, for ever.
    pub async fn watch(self) {
        loop {
            self.findings().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn findings(&self) -> Findings {
        let mut last = self.last.lock().await;
        if last.0.is_some_and(|at| at.elapsed() < FRESH) {
            return last.1.clone();
        }
        let (redis, exporter) = tokio::join!(check_redis(self.redis.clone()), self.exporter.check());
        note(&mut last.1, "redis", up_or_down(redis));
        note(&mut last.1, "store", up_or_down(self.store.check()));
        note(&mut last.1, "exporter", up_or_down(exporter));
        note(&mut last.1, "mysql", check_audit(self.audit.as_ref()));
        note(&mut last.1, "budget", check_budget(&self.budget.state()));
        note(&mut last.1, "google_drive", check_documents(self.documents.as_ref()));
        note(&mut last.1, "journal", check_journal(self.recorder.sample()));
        last.0 = Some(Instant::now());
        last.1.clone()
    }
}

/// Takes in what was found; the moment changes only with the state.
fn note(findings: &mut Findings, service: &'static str, (state, reason): (Condition, Option<String>)) {
    let before = findings.get(service).filter(|before| before.state == state);
    let since = before.map_or_else(clock::unix_ms, |before| before.since);
    findings.insert(service, Finding { state, since, reason });
}

fn up_or_down(checked: Result<(), String>) -> (Condition, Option<String>) {
    match checked {
        Ok(()) => (Condition::Up, None),
        Err(reason) => (Condition::Down, Some(reason)),
    }
}

/// MySQL, as the audit's thread last saw it.
fn check_audit(audit: Option<&AuditStatus>) -> (Condition, Option<String>) {
    match audit {
        Some(audit) => up_or_down(audit.check()),
        None => (Condition::Off, Some("mysql.url is empty: there is no audit".to_owned())),
    }
}

/// The budget is well as long as it is counted with all instances, and has room.
fn check_budget(state: &BudgetState) -> (Condition, Option<String>) {
    if !state.enforced {
        let reason = "budget.enforce is false: what is spent is counted, and nobody is refused";
        return (Condition::Off, Some(reason.to_owned()));
    }
    let reached = state.periods.iter().rev().find(|period| period.is_reached);
    let reason = match (reached, state.link) {
        (Some(reached), _) => format!(
            "the {} limit is reached until {}: real providers are not asked; budget.{}_usd sets it",
            reached.period.as_str(),
            clock::rfc3339(reached.span.ends_ms),
            reached.period.as_str(),
        ),
        (None, Link::Shared) => return (Condition::Up, None),
        (None, Link::Alone) => {
            "the Redis of store.redis_url is away: this instance counts alone, and spends no more than budget.alone_share of \
             what was left"
                .to_owned()
        }
        (None, Link::Unknown) => {
            "Redis has lost what was spent, and the audit in MySQL, which knows it, cannot be read: this instance spends no \
             more than budget.alone_share"
                .to_owned()
        }
    };
    (Condition::Degraded, Some(reason))
}

/// Google Drive, as it was when the documents were looked at last.
fn check_documents(documents: Option<&Drive>) -> (Condition, Option<String>) {
    let Some(documents) = documents else {
        return (Condition::Off, Some("drive.key_file is empty: there are no documents".to_owned()));
    };
    let status = documents.status();
    match (status.problem, status.read_at_ms) {
        (Some(problem), _) => (Condition::Down, Some(problem)),
        (None, None) => (Condition::Degraded, Some("is being read for the first time".to_owned())),
        (None, Some(_)) if status.unread > 0 => {
            (Condition::Degraded, Some(format!("{} documents could not be read", status.unread)))
        }
        (None, Some(_)) => (Condition::Up, None),
    }
}

/// The journal always takes part, unless it is switched off; it is in a bad way when it is nearly full.
fn check_journal(sample: Option<JournalSample>) -> (Condition, Option<String>) {
    let Some(sample) = sample else {
        let reason = "telemetry.enabled is false: nothing that this instance does is measured";
        return (Condition::Off, Some(reason.to_owned()));
    };
    let nearly_full = sample.used_bytes.saturating_mul(10) >= sample.capacity_bytes.saturating_mul(9);
    if nearly_full {
        (Condition::Degraded, Some("more than nine tenths full: is the exporter reading?".to_owned()))
    } else {
        (Condition::Up, None)
    }
}

/// Whether every stream's server takes writes.
async fn check_redis(redis: RedisSettings) -> Result<(), String> {
    let ping = move || {
        for stream in &redis.streams {
            let mut connection = redis.url.connect(stream, REDIS_TIMEOUT)?;
            match idle_write(&format!("{stream}:writable")).exec(&mut connection) {
                Err(error) if is_not_permitted(&error) => redis::cmd("PING").exec(&mut connection)?,
                answer => answer?,
            }
        }
        Ok(())
    };
    match tokio::task::spawn_blocking(ping).await {
        Ok(answer) => answer.map_err(|error: redis::RedisError| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The handler of `GET /health`.
pub(super) async fn basic(State(app): State<Arc<App>>) -> impl IntoResponse {
    Json(json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "instance": app.sampler.instance(),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "timestamp": clock::rfc3339(clock::unix_ms()),
    }))
}

/// The handler of `GET /api/v1/health`.
pub(super) async fn detail(State(app): State<Arc<App>>) -> impl IntoResponse {
    let findings = app.health.findings().await;
    let well = findings.values().all(|finding| matches!(finding.state, Condition::Up | Condition::Off));
    let well = well && can_answer(&app);
    let mut services = json!(findings);
    if let Some(journal) = app.recorder.sample() {
        services["journal"]["used_bytes"] = json!(journal.used_bytes);
        services["journal"]["capacity_bytes"] = json!(journal.capacity_bytes);
        services["journal"]["dropped_events"] = json!(journal.dropped);
        services["journal"]["pending_events"] = json!(app.recorder.pending_events());
    }
    for (name, service) in BEHIND_BREAKERS {
        if let Some(breaker) = breaker(&app.breakers, service) {
            services[name]["breaker"] = breaker;
        }
    }
    if let Some(audit) = &app.audit {
        services["mysql"]["waiting"] = json!(audit.waiting());
    }
    if let Some(documents) = &app.documents {
        let (status, index) = (documents.status(), documents.index());
        services["google_drive"]["documents"] = json!(index.as_ref().map_or(0, |index| index.documents()));
        services["google_drive"]["passages"] = json!(index.as_ref().map_or(0, |index| index.passages()));
        services["google_drive"]["skipped"] = json!(status.skipped);
        services["google_drive"]["left_out"] = json!(status.left_out);
        services["google_drive"]["read_at"] = json!(status.read_at_ms.map(clock::rfc3339));
    }
    Json(json!({
        "status": if well { "ok" } else { "degraded" },
        "version": env!("CARGO_PKG_VERSION"),
        "instance": app.sampler.instance(),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "services": services,
        "providers": providers(&app),
        "timestamp": clock::rfc3339(clock::unix_ms()),
    }))
}

/// Whether enough providers can be asked for the least demanding question.
fn can_answer(app: &App) -> bool {
    let providers = app.analyzer.providers();
    let can_be_asked = |provider: &&Arc<dyn Provider>| {
        let state = app.breakers.state_of(provider.name().into());
        state.is_none_or(|(state, _)| state != BreakerState::Open)
    };
    providers.iter().filter(can_be_asked).count() >= answers_needed(TaskType::Basic)
}

fn providers(app: &App) -> Vec<Value> {
    let view = |provider: &dyn Provider| {
        json!({
            "provider": provider.name().as_str(),
            "models": provider.models(),
            "simulated": provider.name().vendor() == Vendor::Simulated,
            "breaker": breaker(&app.breakers, provider.name().into()),
        })
    };
    app.analyzer.providers().iter().map(|provider| view(provider.as_ref())).collect()
}

/// The state of the breaker before a service, and since when it is in it.
fn breaker(breakers: &Breakers, service: Service) -> Option<Value> {
    let (state, since_ms) = breakers.state_of(service)?;
    Some(json!({"state": state.as_str(), "since": clock::rfc3339(since_ms)}))
}
