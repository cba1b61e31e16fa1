//! Figures worked out when the page is served: from the state, from what the samplers saw, and from the time of the
//! scrape. Pure: that time is an argument. What has nothing to say is absent, never zero.

use std::collections::BTreeMap;

use techsapo_shared::event::RuntimeSample;
use techsapo_shared::labels::{
    BreakerState, BudgetPeriod, CacheType, ClosedLabel, ConnectionType, MemoryComponent, Provider, QueueName,
    Service,
};

use crate::catalog::FamilyId;
use crate::state::State;
use crate::window::Sums;

/// An instance that has been silent for so long is no longer shown.
const SILENT_MS: u64 = 30_000;

/// What the samplers know at the moment.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// The exporter's host.
    pub host: Option<HostSample>,
    /// Memory of the Redis server, as its INFO says.
    pub redis_memory_bytes: Option<u64>,
    /// The last answer of each app that was asked for its status.
    pub apps: Vec<RuntimeSample<'static>>,
}

/// The exporter's host and process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostSample {
    /// 0 to 100.
    pub cpu_percent: f64,
    /// All memory.
    pub memory_bytes: u64,
    /// Memory in use.
    pub memory_used_bytes: u64,
    /// Resident memory of the exporter.
    pub exporter_resident_bytes: u64,
}

/// All that gauges are worked out from.
pub struct Gauges<'a> {
    samples: &'a Samples,
    budget: (Option<f64>, Option<f64>),
    sums: Sums,
    live: BTreeMap<String, RuntimeSample<'static>>,
    breakers: Vec<(Service, BreakerState)>,
}

impl<'a> Gauges<'a> {
    /// The figures at `now_ms`. Of an instance's own sample and what it answered when asked, the fresher counts.
    pub fn new(state: Option<&State>, samples: &'a Samples, now_ms: u64) -> Self {
        let live = |t_ms: u64| t_ms + SILENT_MS > now_ms;
        let mut instances: BTreeMap<String, RuntimeSample<'static>> = BTreeMap::new();
        let mut breakers: BTreeMap<(String, Service), (u64, BreakerState)> = BTreeMap::new();
        let mut learn = |instance: &str, service, t_ms, breaker| {
            let known = breakers.entry((instance.to_owned(), service)).or_insert((t_ms, breaker));
            if t_ms >= known.0 {
                *known = (t_ms, breaker);
            }
        };
        for (name, instance) in state.iter().flat_map(|state| &state.instances) {
            if !live(instance.last_t_ms) {
                continue;
            }
            for (&service, &(t_ms, breaker)) in &instance.breakers {
                learn(name, service, t_ms, breaker);
            }
            if let Some(sample) = instance.sample.as_ref().filter(|sample| live(sample.t)) {
                instances.insert(name.clone(), sample.clone());
            }
        }
        for sample in samples.apps.iter().filter(|sample| live(sample.t)) {
            for breaker in &sample.breakers {
                learn(&sample.app_instance, breaker.service, sample.t, breaker.state);
            }
            let known = instances.get(sample.app_instance.as_ref());
            if known.is_none_or(|known| known.t <= sample.t) {
                instances.insert(sample.app_instance.to_string(), sample.clone());
            }
        }
        Self {
            samples,
            budget: state.map_or((None, None), |state| state.budget.utilization(now_ms)),
            sums: state.map_or_else(Sums::default, |state| state.window.last_five_minutes(now_ms)),
            live: instances,
            breakers: breakers.into_iter().map(|((_, service), (_, breaker))| (service, breaker)).collect(),
        }
    }

    /// Shows every series of one gauge: its label values and its value.
    pub fn for_each(&self, family: FamilyId, show: &mut dyn FnMut(&[&str], f64)) {
        let mut show_some = |labels: &[&str], value: Option<f64>| {
            if let Some(value) = value {
                show(labels, value);
            }
        };
        match family {
            FamilyId::RedisPoolSize => {
                show_some(&[], self.sum(|sample| sample.redis_pool_connections));
            }
            FamilyId::RedisConsecutiveFailures => {
                let worst = self.live.values().filter_map(|sample| sample.redis_consecutive_failures).max();
                show_some(&[], worst.map(|failures| failures as f64));
            }
            FamilyId::CacheHitRatio => {
                for (cache, share) in CacheType::ALL.iter().zip(self.sums.caches) {
                    show_some(&[cache.as_str()], share.ratio());
                }
            }
            FamilyId::CircuitBreakerState => self.breakers(show),
            FamilyId::HeapTotal => self.per_instance(show, |sample| Some(sample.heap_total_bytes)),
            FamilyId::HeapUsed => self.per_instance(show, |sample| Some(sample.heap_used_bytes)),
            FamilyId::JournalUsed => {
                self.per_instance(show, |sample| sample.journal.map(|journal| journal.used_bytes));
            }
            FamilyId::JournalCapacity => {
                self.per_instance(show, |sample| sample.journal.map(|journal| journal.capacity_bytes));
            }
            FamilyId::MemoryUsage => self.memory(&mut show_some),
            FamilyId::ActiveConnections => {
                for kind in ConnectionType::ALL {
                    let of_kind = |sample: &RuntimeSample<'_>| {
                        let counts = sample.connections.iter().filter(|entry| entry.connection_type == *kind);
                        counts.map(|entry| entry.open).reduce(u64::saturating_add)
                    };
                    show_some(&[kind.as_str()], self.sum(of_kind));
                }
            }
            FamilyId::QueueSize => {
                for queue in QueueName::ALL {
                    let of_queue = |sample: &RuntimeSample<'_>| {
                        let lengths = sample.queues.iter().filter(|entry| entry.queue_name == *queue);
                        lengths.map(|entry| entry.length).reduce(u64::saturating_add)
                    };
                    show_some(&[queue.as_str()], self.sum(of_queue));
                }
            }
            FamilyId::WallbounceSuccessRate => show_some(&[], self.sums.analyses.ratio()),
            FamilyId::WallbounceAvgConfidence => show_some(&[], self.sums.confidence.value()),
            FamilyId::WallbounceConsensusScore => show_some(&[], self.sums.consensus.value()),
            FamilyId::LlmSuccessRate => {
                for (provider, share) in Provider::ALL.iter().zip(self.sums.providers) {
                    show_some(&[provider.as_str()], share.ratio());
                }
            }
            FamilyId::HttpP95 => {
                show_some(&[], self.sums.api.percentile(95).map(|micros| micros as f64 / 1e6));
            }
            FamilyId::MemoryUsagePercent => {
                let host = self.samples.host.filter(|host| host.memory_bytes > 0);
                show_some(
                    &[],
                    host.map(|host| host.memory_used_bytes as f64 / host.memory_bytes as f64 * 100.0),
                );
            }
            FamilyId::CpuUsagePercent => show_some(&[], self.samples.host.map(|host| host.cpu_percent)),
            FamilyId::BudgetUtilization => {
                show_some(&[BudgetPeriod::Daily.as_str()], self.budget.0);
                show_some(&[BudgetPeriod::Monthly.as_str()], self.budget.1);
            }
            _ => {}
        }
    }

    fn sum(&self, of: impl Fn(&RuntimeSample<'_>) -> Option<u64>) -> Option<f64> {
        self.live.values().filter_map(of).reduce(u64::saturating_add).map(|sum| sum as f64)
    }

    fn per_instance(
        &self,
        show: &mut dyn FnMut(&[&str], f64),
        of: impl Fn(&RuntimeSample<'_>) -> Option<u64>,
    ) {
        for (name, sample) in &self.live {
            if let Some(value) = of(sample) {
                show(&[name], value as f64);
            }
        }
    }

    fn breakers(&self, show: &mut dyn FnMut(&[&str], f64)) {
        for service in Service::ALL {
            let states: Vec<BreakerState> =
                self.breakers.iter().filter(|(of, _)| of == service).map(|&(_, state)| state).collect();
            if states.is_empty() {
                continue;
            }
            for state in BreakerState::ALL {
                show(&[service.as_str(), state.as_str()], f64::from(u8::from(states.contains(state))));
            }
        }
    }

    fn memory(&self, show: &mut dyn FnMut(&[&str], Option<f64>)) {
        let host = self.samples.host;
        let mysql = self.live.values().filter_map(|sample| sample.mysql_memory_bytes).max();
        for (component, bytes) in [
            (MemoryComponent::App, self.sum(|sample| Some(sample.resident_bytes))),
            (MemoryComponent::Exporter, host.map(|host| host.exporter_resident_bytes as f64)),
            (MemoryComponent::Redis, self.samples.redis_memory_bytes.map(|bytes| bytes as f64)),
            (MemoryComponent::MySql, mysql.map(|bytes| bytes as f64)),
            (MemoryComponent::Host, host.map(|host| host.memory_used_bytes as f64)),
        ] {
            show(&[component.as_str()], bytes);
        }
    }
}
