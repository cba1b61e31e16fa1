//! Joins the rooms: from settings, a listener and a recorder to a running app.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use techsapo_shared::event::WHOLE_PPM;
use techsapo_shared::labels::{ClosedLabel, ConfigComponent};
use techsapo_tls::ClientTls;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::analysis::{Admission, Analyzer, Limits};
use crate::changes::Changes;
use crate::clock;
use crate::config::Settings;
use crate::configured::Configured;
use crate::guard::breaker::Breakers;
use crate::guard::budget::Budget;
use crate::guard::keys::Keys;
use crate::guard::keys::file::KeyFileError;
use crate::guard::limits::Limits as RateLimits;
use crate::guard::sanitise::Sanitiser;
use crate::http::{Alerts, App, ExporterClient, HealthChecks, LiveFigures, Server, Suspicion, router};
use crate::providers::keys::KeySources;
use crate::pseudonym::{KeyError, Pseudonyms};
use crate::reload::{ReloadError, Reloader};
use crate::roster::{Assembled, Sources};
use crate::runtime::{Connections, Sampler};
use crate::shutdown::Shutdown;
use crate::store::answers::Answers;
use crate::store::audit::{self, Audit, AuditError, AuditSettings};
use crate::store::drive::{Drive, DriveStartError};
use crate::store::redis::Redis;
use crate::telemetry::Recorder;
use crate::tls::{self, Tls, TlsSettingError};
use crate::turnstile::Turnstile;

/// How long what was cut off has to be told, and stated.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the app cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (set listen, or TECHSAPO_LISTEN): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsSettingError),
    /// The file of keys is wrong.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Strangers could ask.
    #[error(
        "listening on {address}, beyond this machine, needs API keys, and {} holds none that is in force: make one with \
         `techsapo keys create --name NAME --tier basic`, or listen on 127.0.0.1 (setting listen, environment TECHSAPO_LISTEN)",
        path.display()
    )]
    NoKeys {
        /// Where it would listen.
        address: SocketAddr,
        /// The file of keys.
        path: PathBuf,
    },
    /// A rule for what callers write is no regular expression.
    #[error("a rule for prompts cannot be read: {0}")]
    Rules(#[from] regex::Error),
    /// There can be no audit, though it is asked for.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Documents cannot be read, though they are asked for.
    #[error(transparent)]
    Documents(#[from] DriveStartError),
    /// There is no key for pseudonyms.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The system has no random numbers.
    #[error("no key for pseudonyms can be made")]
    Randomness(#[source] std::io::Error),
    /// No client for the exporter or Alertmanager can be made.
    #[error("cannot make a client for the exporter or Alertmanager: {0}")]
    Exporter(#[from] reqwest::Error),
    /// It is not clear who is to be asked.
    #[error(transparent)]
    Providers(#[from] ReloadError),
}

/// Reads the API keys. Without any, only this machine may ask.
///
/// # Errors
/// When their file is wrong, or the app would answer strangers without a key.
pub fn keys(settings: &Settings) -> Result<Keys, StartError> {
    let (path, address) = (settings.keys.file.clone(), settings.listen);
    let keys = Keys::load(path.clone())?;
    if keys.ring().usable(Timestamp::now()) == 0 && !address.ip().is_loopback() {
        return Err(StartError::NoKeys { address, path });
    }
    Ok(keys)
}

/// Takes the address that the app will listen on.
///
/// # Errors
/// Says which address, and what the system has against it.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// Serves with the vendors whose keys are set, until `stop`, then drains: connections first, then analyses whose callers have gone.
///
/// # Errors
/// Says why it cannot start. Once it serves, it does not fail.
pub async fn serve(
    settings: Settings,
    tls: Tls,
    listener: TcpListener,
    keys: Keys,
    vendor_keys: KeySources,
    recorder: Recorder,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let instance = settings.instance.clone().unwrap_or_else(|| host_and_port(&listener));
    let connections = Connections::default();
    let shutdown = Shutdown::default();
    let (running, in_line) = (settings.limits.concurrent_analyses, settings.limits.queued_analyses);
    let admission = Arc::new(Admission::new(running, in_line, shutdown.cut()));
    let breakers = Breakers::new(&instance, recorder.clone());
    let route = settings.store.redis_url.as_ref().unwrap_or(&settings.redis.url).clone();
    let redis = Redis::new(route, settings.store.timeout, recorder.clone(), &breakers);
    let answers = Answers::new(&settings.cache, redis.clone(), recorder.clone());
    let pseudonyms = pseudonyms(&settings)?;
    let audit = start_audit(&settings, &tls.client, &recorder, &breakers)?;
    let documents = Drive::open(&settings.drive, recorder.clone(), &breakers)?;
    let audited = audit.as_ref().map(Audit::status);
    let sampler = Sampler::new(
        &instance,
        recorder.clone(),
        connections.clone(),
        Arc::clone(&admission),
        breakers.clone(),
        redis.clone(),
        audited.clone(),
    );
    let exporter = ExporterClient::new(&settings.exporter.url, &tls.client)?;
    let alerts = Alerts::new(settings.alertmanager.url.as_deref(), &tls.client)?;
    let budget = budget(&settings, &recorder, redis.clone(), audit.as_ref());
    let health = HealthChecks::new(
        settings.redis.clone(),
        exporter.clone(),
        recorder.clone(),
        redis.clone(),
        audited.clone(),
        budget.clone(),
        documents.clone(),
    );
    let limits = Limits { call: settings.analysis.provider_timeout, analysis: settings.analysis.deadline };
    let sanitiser = Sanitiser::new(settings.sanitise.clone())?;
    keys.announce();
    let assembled = Assembled::new(breakers.clone(), &settings.breakers, budget.clone());
    let sources = Sources::new(&settings, vendor_keys);
    let changes = Changes::open(&settings.journal.dir, recorder.clone());
    changes.look_at_settings(&settings);
    let configured = Configured::new(recorder.clone(), &instance, settings.budget.clone());
    let reloader =
        Reloader::start(sources, assembled, recorder.clone(), configured.clone(), changes.clone())?;
    configured.state_budget();
    let turnstile = Turnstile::new(tokio::runtime::Handle::current().metrics().num_workers());
    let analyzer = Analyzer::new(reloader.live(), limits, turnstile.clone())
        .merging_by(settings.synthesis.model.clone())
        .ending_by(shutdown.cut());
    let asked: Vec<_> = analyzer.providers().iter().map(|provider| provider.name().as_str()).collect();

    // The first requests should find Redis, if it is there.
    redis.probe().await;
    budget.exchange().await;
    // Dropped, and thereby stopped, when this function returns.
    let mut background = JoinSet::new();
    if recorder.is_on() {
        background.spawn(sampler.clone().record_samples());
        background.spawn(sampler.clone().record_lag());
    }
    background.spawn(health.clone().watch());
    let live = LiveFigures::new(exporter.clone(), &settings.live, shutdown.clone());
    background.spawn(live.clone().keep());
    background.spawn(redis.clone().keep_connected());
    background.spawn(budget.clone().keep());
    background.spawn(keys.clone().follow(recorder.clone(), changes.clone()));
    background.spawn(changes.follow(ConfigComponent::Certificates, tls::files(&settings)));
    background.spawn(configured.repeat(reloader.live()));
    background.spawn(reloader.watch());
    if let Some(documents) = documents.clone() {
        background.spawn(documents.keep());
    }

    let deadline = settings.shutdown.deadline;
    let limit_settings = settings.limits.clone();
    let app = Arc::new(App {
        settings,
        analyzer,
        answers,
        admission: Arc::clone(&admission),
        turnstile,
        recorder,
        sampler,
        exporter,
        alerts,
        health,
        breakers,
        budget: budget.clone(),
        keys,
        live,
        connections: connections.clone(),
        shutdown: shutdown.clone(),
        sanitiser,
        suspicion: Suspicion::default(),
        limits: RateLimits::new(&limit_settings, redis.clone()),
        pseudonyms,
        audit: audited,
        documents,
        started: Instant::now(),
    });
    let address = listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
    let server = Server::new(
        listener,
        tls.door,
        router(app),
        &limit_settings,
        connections.http.clone(),
        shutdown.clone(),
    );
    tracing::info!(instance, address, providers = asked.join(","), "Serving");
    if asked.is_empty() {
        tracing::warn!(
            "No provider has a key, and simulated ones are not allowed: no question can be answered"
        );
    }
    let beginning = shutdown.clone();
    background.spawn(async move {
        stop.await;
        beginning.begin();
    });
    server.run().await;
    tracing::info!("Stopping: running requests may end");
    let drained = async || {
        shutdown.ended().await;
        admission.idle().await;
    };
    if tokio::time::timeout(deadline, drained()).await.is_err() {
        tracing::warn!(
            connections = connections.http.count(),
            "The shutdown deadline cut off what was still running"
        );
        // Analyses end now, are stated, and their callers told.
        shutdown.cut_off();
        if tokio::time::timeout(LAST_WORDS, drained()).await.is_err() {
            tracing::warn!(connections = connections.http.count(), "Some take nothing: they are left behind");
        }
    }
    // The last calls may have been settled just now.
    budget.exchange().await;
    if let Some(audit) = audit {
        // It waits for its thread.
        let _ = tokio::task::spawn_blocking(move || audit.shutdown(deadline)).await;
    }
    Ok(())
}

/// The budget, under the id of this run in the audit.
fn budget(settings: &Settings, recorder: &Recorder, redis: Redis, audit: Option<&Audit>) -> Budget {
    let unrecorded = || Uuid::new_v4().to_string();
    let run = recorder.producer().map_or_else(unrecorded, str::to_owned);
    Budget::new(&settings.budget, &run, redis, audit.map(Audit::spending), Arc::new(clock::unix_ms))
}

/// The audit, if there is to be one.
fn start_audit(
    settings: &Settings,
    tls: &ClientTls,
    recorder: &Recorder,
    breakers: &Breakers,
) -> Result<Option<Audit>, StartError> {
    let Some(audit) = audit_settings(settings, tls)? else {
        audit::set_aside_leftovers(&settings.journal.dir, recorder)?;
        return Ok(None);
    };
    Ok(Some(Audit::start(&audit, recorder.clone(), breakers)?))
}

/// Where the audit goes; nothing where there is none.
///
/// # Errors
/// `mysql.ca_file` cannot be used.
pub fn audit_settings(settings: &Settings, tls: &ClientTls) -> Result<Option<AuditSettings>, StartError> {
    let Some(mysql_url) = settings.mysql.url.clone() else { return Ok(None) };
    let tls = match settings.mysql.ca_file.clone() {
        // An authority of its own, and still the same certificate of ours.
        Some(ca_file) => tls::with_authority(settings, "mysql.ca_file", ca_file)?,
        None => tls.clone(),
    };
    Ok(Some(AuditSettings {
        mysql_url,
        tls,
        migrate: settings.mysql.migrate,
        journal_dir: settings.journal.dir.clone(),
        hold_bytes: share_of(settings.journal.max_bytes, settings.audit.journal_share),
    }))
}

/// A share in millionths of a number of bytes.
fn share_of(bytes: u64, ppm: u32) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(ppm) / u128::from(WHOLE_PPM)).unwrap_or(bytes)
}

/// Names for users: lasting ones where there is an audit, for that is read long after this run.
fn pseudonyms(settings: &Settings) -> Result<Pseudonyms, StartError> {
    match settings.mysql.url {
        Some(_) => Ok(Pseudonyms::lasting(&settings.audit.key_file)?),
        None => Pseudonyms::passing().map_err(StartError::Randomness),
    }
}

/// A name for this instance where none is set: unique on its network.
fn host_and_port(listener: &TcpListener) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    let port = listener.local_addr().map_or(0, |address| address.port());
    format!("{host}:{port}")
}
