//! The exporter's figures about its own process, in the `prometheus` crate's registry. Their names and helps come from
//! the catalogue.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry};

use techsapo_tls::ClientTls;

use crate::catalog::{CERTIFICATES, FamilyId};
use crate::web::Certificate;

/// One series of the exporter's own.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnSample {
    /// Name of its family.
    pub family: String,
    /// Its label values, in the order of the family's labels.
    pub labels: Vec<String>,
    /// Its value.
    pub value: f64,
}

/// What the exporter measures of itself.
pub struct Own {
    registry: Registry,
    /// Holds the state's lock.
    pub leader: Gauge,
    /// Caught up once and serving.
    pub ready: Gauge,
    /// Bytes of the last checkpoint.
    pub checkpoint_size: Gauge,
    /// Checkpoints made durable.
    pub checkpoints: IntCounter,
    /// Checkpoints that failed.
    pub checkpoint_failures: IntCounter,
    /// By stream: seconds behind.
    pub lag_seconds: GaugeVec,
    /// By stream: entries behind.
    pub lag_entries: GaugeVec,
    /// By stream: whether it can be read.
    pub redis_up: GaugeVec,
    /// By stream: connections opened.
    pub redis_connections: IntCounterVec,
    /// By address: whether the app answered.
    pub app_up: GaugeVec,
    /// Series in the state.
    pub series: Gauge,
    /// Pages served.
    pub scrapes: IntCounter,
    /// TLS handshakes that failed.
    pub tls_handshake_failures: IntCounter,
    tls_reload_successful: GaugeVec,
    tls_not_after: GaugeVec,
    checkpoint_age: Gauge,
    durable_at_ms: AtomicU64,
    not_ready: Mutex<String>,
}

fn options(family: FamilyId) -> Opts {
    let row = family.row();
    Opts::new(row.name, row.help)
}

fn label_names(family: FamilyId) -> Vec<&'static str> {
    family.row().labels.iter().map(|&(label, _)| label).collect()
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

impl Own {
    /// Registers every figure.
    ///
    /// # Errors
    /// The catalogue names one twice or badly.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let gauge = |family| registered(&registry, Gauge::with_opts(options(family)));
        let counter = |family| registered(&registry, IntCounter::with_opts(options(family)));
        let gauges = |family| registered(&registry, GaugeVec::new(options(family), &label_names(family)));
        let build = gauges(FamilyId::BuildInfo)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        Ok(Self {
            leader: gauge(FamilyId::Leader)?,
            ready: gauge(FamilyId::Ready)?,
            checkpoint_age: gauge(FamilyId::CheckpointAge)?,
            checkpoint_size: gauge(FamilyId::CheckpointSize)?,
            checkpoints: counter(FamilyId::Checkpoints)?,
            checkpoint_failures: counter(FamilyId::CheckpointFailures)?,
            lag_seconds: gauges(FamilyId::LagSeconds)?,
            lag_entries: gauges(FamilyId::LagEntries)?,
            redis_up: gauges(FamilyId::RedisUp)?,
            redis_connections: registered(
                &registry,
                IntCounterVec::new(
                    options(FamilyId::RedisReconnects),
                    &label_names(FamilyId::RedisReconnects),
                ),
            )?,
            app_up: gauges(FamilyId::AppUp)?,
            series: gauge(FamilyId::Series)?,
            scrapes: counter(FamilyId::Scrapes)?,
            tls_handshake_failures: counter(FamilyId::TlsHandshakeFailures)?,
            tls_reload_successful: gauges(FamilyId::TlsReloadSuccessful)?,
            tls_not_after: gauges(FamilyId::TlsNotAfter)?,
            durable_at_ms: AtomicU64::new(0),
            not_ready: Mutex::new("starting".to_owned()),
            registry,
        })
    }

    /// Puts the figures of these streams on the page before anything has happened to them.
    pub fn announce(&self, streams: &[String]) {
        self.rest(streams);
        for stream in streams {
            self.redis_connections.with_label_values(&[stream]).reset();
        }
    }

    /// Notes that these streams are not read now, nor the state held: on standby it is the holder's figures that count.
    pub fn rest(&self, streams: &[String]) {
        for stream in streams {
            self.redis_up.with_label_values(&[stream]).set(0.0);
            self.lag_seconds.with_label_values(&[stream]).set(0.0);
            self.lag_entries.with_label_values(&[stream]).set(0.0);
        }
        self.series.set(0.0);
        self.durable_at_ms.store(0, Ordering::Relaxed);
        self.checkpoint_age.set(0.0);
    }

    /// Notes how the certificates are doing: that of the pages, and that of the exporter as a client.
    pub fn certificates(&self, shown: Option<Certificate>, client: &ClientTls) {
        if let Some(Certificate { in_force, not_after }) = shown {
            self.certificate(CERTIFICATES[0], in_force.is_ok(), Some(not_after));
        }
        if client.is_from_files() {
            self.certificate(CERTIFICATES[1], client.check().is_ok(), client.not_after());
        }
    }

    fn certificate(&self, which: &str, in_force: bool, not_after: Option<i64>) {
        self.tls_reload_successful.with_label_values(&[which]).set(f64::from(u8::from(in_force)));
        if let Some(not_after) = not_after {
            self.tls_not_after.with_label_values(&[which]).set(not_after as f64);
        }
    }

    /// Notes that everything that was read is durable at this moment.
    pub fn is_durable_at(&self, now_ms: u64) {
        self.durable_at_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Notes that the exporter is ready, or why it is not.
    pub fn set_ready(&self, ready: Result<(), &str>) {
        self.ready.set(f64::from(u8::from(ready.is_ok())));
        if let Ok(mut reason) = self.not_ready.lock() {
            reason.clear();
            reason.push_str(ready.err().unwrap_or_default());
        }
    }

    /// Why the exporter is not ready; nothing when it is.
    pub fn why_not_ready(&self) -> Option<String> {
        let reason =
            self.not_ready.lock().map_or_else(|_| "a thread failed".to_owned(), |reason| reason.clone());
        (!reason.is_empty()).then_some(reason)
    }

    /// Every figure at `now_ms`, ready for the page.
    pub fn samples(&self, now_ms: u64) -> Vec<OwnSample> {
        let durable_at_ms = self.durable_at_ms.load(Ordering::Relaxed);
        if durable_at_ms > 0 {
            self.checkpoint_age.set(now_ms.saturating_sub(durable_at_ms) as f64 / 1e3);
        }
        let mut samples = Vec::new();
        for family in self.registry.gather() {
            for metric in family.get_metric() {
                let labels = metric.get_label().iter().map(|label| label.value().to_owned()).collect();
                let value = match family.get_field_type() {
                    MetricType::COUNTER => metric.get_counter().get_value(),
                    _ => metric.get_gauge().get_value(),
                };
                samples.push(OwnSample { family: family.name().to_owned(), labels, value });
            }
        }
        samples
    }
}
