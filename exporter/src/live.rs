//! The key figures as JSON, small enough to be sent every other second: what a live page shows.
//!
//! The same numbers as the metrics page, fewer of them: each family of [`FIGURES`], summed over the labels that are
//! not kept there. Pure: a function of a [`View`].
//!
//! ```json
//! {"time": 1790000000000, "leader": true, "metrics": {
//!   "techsapo_wallbounce_requests_total": [{"labels": {"status": "success"}, "value": 42}],
//!   "techsapo_llm_response_time_seconds": [{"labels": {"provider": "Gemini"}, "count": 42, "sum": 63.2}]}}
//! ```

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::catalog::{Family, FamilyId, Kind};
use crate::gauges::Gauges;
use crate::render::View;

/// The families that are told, each with the labels that are kept.
const FIGURES: &[(FamilyId, &[&str])] = &[
    (FamilyId::WallbounceRequests, &["status"]),
    (FamilyId::ProcessingDuration, &[]),
    (FamilyId::ConsensusConfidence, &[]),
    (FamilyId::WallbounceCost, &[]),
    (FamilyId::LlmRequests, &["provider", "status"]),
    (FamilyId::LlmResponseTime, &["provider"]),
    (FamilyId::LlmTokenUsage, &["type"]),
    (FamilyId::LlmAgreement, &["provider_pair"]),
    (FamilyId::ProviderCost, &["provider"]),
    (FamilyId::HttpRequests, &["status_code"]),
    (FamilyId::Errors, &["severity"]),
    (FamilyId::AuthFailures, &["reason"]),
    (FamilyId::WallbounceSuccessRate, &[]),
    (FamilyId::WallbounceAvgConfidence, &[]),
    (FamilyId::WallbounceConsensusScore, &[]),
    (FamilyId::LlmSuccessRate, &["provider"]),
    (FamilyId::HttpP95, &[]),
    (FamilyId::CacheHitRatio, &["cache_type"]),
    (FamilyId::BudgetUtilization, &["period"]),
    (FamilyId::CircuitBreakerState, &["service", "state"]),
    (FamilyId::ActiveConnections, &["connection_type"]),
    (FamilyId::QueueSize, &["queue_name"]),
    (FamilyId::MemoryUsagePercent, &[]),
    (FamilyId::CpuUsagePercent, &[]),
];

/// Writes the key figures. A figure that has nothing to say is absent; a counter or histogram without any event too.
pub fn live(view: &View<'_>) -> String {
    let gauges = view.leader.then(|| Gauges::new(view.state, view.samples, view.now_ms));
    let mut metrics = Map::new();
    for &(id, keep) in FIGURES {
        let family = id.row();
        let mut sums = Sums { family, keep, by_labels: BTreeMap::new() };
        match family.kind {
            Kind::Gauge => {
                if let Some(gauges) = &gauges {
                    gauges.for_each(id, &mut |labels, value| sums.add(labels, 0, value));
                }
            }
            Kind::Counter | Kind::Histogram(_) => {
                if let Some(state) = view.state {
                    state.series.for_each(id, |labels, cells| {
                        let (&sum, counts) = cells.split_last().unwrap_or((&0, &[]));
                        let scale = 10f64.powi(family.decimals.into());
                        sums.add(labels, counts.iter().sum(), sum as f64 / scale);
                    });
                }
            }
        }
        let told = sums.told();
        if !told.is_empty() {
            metrics.insert(family.name.to_owned(), Value::Array(told));
        }
    }
    json!({"time": view.now_ms, "leader": view.leader, "metrics": metrics}).to_string()
}

/// One family's figures, summed by the labels that are kept.
struct Sums<'a> {
    family: &'a Family,
    keep: &'a [&'a str],
    by_labels: BTreeMap<Vec<String>, (u64, f64)>,
}

impl Sums<'_> {
    fn add(&mut self, labels: &[&str], count: u64, value: f64) {
        let kept = self.family.labels.iter().zip(labels).filter(|((name, _), _)| self.keep.contains(name));
        let sums = self.by_labels.entry(kept.map(|(_, value)| (*value).to_owned()).collect()).or_default();
        sums.0 += count;
        sums.1 += value;
    }

    fn told(self) -> Vec<Value> {
        let names: Vec<_> = self
            .family
            .labels
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| self.keep.contains(name))
            .collect();
        let tell = |(labels, (count, value)): (Vec<String>, (u64, f64))| {
            let labels: Map<_, _> = names
                .iter()
                .map(|name| (*name).to_owned())
                .zip(labels.into_iter().map(Value::from))
                .collect();
            match self.family.kind {
                Kind::Histogram(_) => {
                    (count > 0).then(|| json!({"labels": labels, "count": count, "sum": value}))
                }
                Kind::Counter => (value > 0.0).then(|| json!({"labels": labels, "value": value})),
                Kind::Gauge => Some(json!({"labels": labels, "value": value})),
            }
        };
        self.by_labels.into_iter().filter_map(tell).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::gauges::Samples;
    use crate::series::Key;
    use crate::state::State;

    fn told(leader: bool, state: Option<&State>) -> Value {
        let samples = Samples::default();
        let text = live(&View { leader, state, samples: &samples, own: &[], now_ms: 7 });
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn every_kept_label_is_one_of_its_family() {
        for (id, keep) in FIGURES {
            let family = id.row();
            for label in *keep {
                assert!(family.labels.iter().any(|(name, _)| name == label), "{} {label}", family.name);
            }
        }
    }

    #[test]
    fn what_is_not_kept_is_summed_and_what_is_empty_is_absent() {
        let mut state = State::new(Uuid::nil(), &[], 1_000);
        let model = |state: &mut State, name| state.series.intern(crate::catalog::Domain::Model, name);
        let (a, b) = (model(&mut state, "a"), model(&mut state, "b"));
        for (model, micros) in [(a, 1_500_000), (b, 500_000)] {
            state.series.observe(FamilyId::LlmResponseTime, Key::new(&[0, model]), micros, 1_000);
        }
        let told = told(true, Some(&state));
        assert_eq!((&told["time"], &told["leader"]), (&json!(7), &json!(true)));
        assert_eq!(
            told["metrics"]["techsapo_llm_response_time_seconds"],
            json!([{"labels": {"provider": "Gemini"}, "count": 2, "sum": 2.0}])
        );
        assert!(told["metrics"].get("techsapo_llm_requests_total").is_none());
    }

    #[test]
    fn a_standby_tells_nothing_but_that_it_is_one() {
        assert_eq!(told(false, None), json!({"time": 7, "leader": false, "metrics": {}}));
    }
}
