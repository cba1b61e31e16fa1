//! What facts add up to, worked out in the plainest way from their lines of JSON: no code of the exporter is in it.

use std::collections::BTreeMap;

use serde_json::Value;
use techsapo_shared::labels::{ClosedLabel, Provider, ProviderPair};

/// Labels by name.
pub(super) type Labels = BTreeMap<String, String>;

/// Counters and their places behind the point.
pub(super) const COUNTERS: [(&str, usize); 8] = [
    ("techsapo_wallbounce_requests_total", 0),
    ("techsapo_wallbounce_cost_usd", 9),
    ("techsapo_provider_cost_usd", 9),
    ("techsapo_llm_requests_total", 0),
    ("techsapo_llm_token_usage_total", 0),
    ("techsapo_http_requests_total", 0),
    ("techsapo_errors_total", 0),
    ("techsapo_telemetry_events_total", 0),
];
/// Histograms and their places behind the point.
pub(super) const HISTOGRAMS: [(&str, usize); 7] = [
    ("techsapo_wallbounce_consensus_confidence", 6),
    ("techsapo_wallbounce_processing_duration_seconds", 6),
    ("techsapo_llm_response_time_seconds", 6),
    ("techsapo_llm_agreement_score", 6),
    ("techsapo_http_request_duration_seconds", 6),
    ("techsapo_http_request_size_bytes", 0),
    ("techsapo_http_response_size_bytes", 0),
];

/// The sums of some facts.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Facts.
    pub(super) events: u64,
    /// Family and labels → what was added, in units of the last place.
    pub(super) counters: BTreeMap<(&'static str, Labels), u64>,
    /// Family and labels → every value that was observed, in units of the last place.
    pub(super) observations: BTreeMap<(&'static str, Labels), Vec<u64>>,
}

impl Sums {
    /// Adds an event, by its line.
    pub(super) fn add(&mut self, line: &str) {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        // A record that went bad.
        let Some((kind, event)) = event.as_object().and_then(|object| object.iter().next()) else { return };
        self.events += 1;
        self.count("techsapo_telemetry_events_total", &[("type", kind)], 1);
        match kind.as_str() {
            "analysis" => self.analysis(event),
            "llm_request" => self.llm_request(event),
            "http_request" => self.http_request(event),
            "error" => {
                let labels = ["error_type", "severity", "service"].map(|name| (name, text(event, name)));
                self.count("techsapo_errors_total", &labels, 1);
            }
            _ => {}
        }
    }

    fn analysis(&mut self, event: &Value) {
        let labels = ["task_type", "provider", "status"].map(|name| (name, text(event, name)));
        self.count("techsapo_wallbounce_requests_total", &labels, 1);
        let duration = number(event, "duration_us");
        self.observe("techsapo_wallbounce_processing_duration_seconds", &labels[..1], duration);
        if let Some(confidence) = event["confidence_ppm"].as_u64() {
            self.observe("techsapo_wallbounce_consensus_confidence", &[], confidence);
        }
        for agreement in event["agreements"].as_array().into_iter().flatten() {
            let pair = ProviderPair::new(provider(&agreement["a"]), provider(&agreement["b"])).to_string();
            let score = number(agreement, "score_ppm");
            self.observe("techsapo_llm_agreement_score", &[("provider_pair", &pair)], score);
        }
    }

    fn llm_request(&mut self, event: &Value) {
        let [of_provider, model, status, task] =
            ["provider", "model", "status", "task_type"].map(|name| (name, text(event, name)));
        self.count("techsapo_llm_requests_total", &[of_provider, model, status, task], 1);
        let duration = number(event, "duration_us");
        self.observe("techsapo_llm_response_time_seconds", &[of_provider, model], duration);
        for kind in ["input", "output"] {
            let tokens = event[format!("{kind}_tokens")].as_u64().unwrap_or(0);
            self.count("techsapo_llm_token_usage_total", &[of_provider, ("type", kind), model], tokens);
        }
        let cost = event["cost_nanousd"].as_u64().unwrap_or(0);
        self.count("techsapo_wallbounce_cost_usd", &[of_provider, task], cost);
        let vendor = provider(&event["provider"]).vendor().as_str();
        self.count("techsapo_provider_cost_usd", &[("provider", vendor)], cost);
    }

    fn http_request(&mut self, event: &Value) {
        let (method, route) = (("method", text(event, "method")), ("route", text(event, "route")));
        let status = number(event, "status_code").to_string();
        self.count("techsapo_http_requests_total", &[method, route, ("status_code", &status)], 1);
        let (sent, answered) = (&event["request_bytes"], &event["response_bytes"]);
        self.observe("techsapo_http_request_size_bytes", &[], sent.as_u64().unwrap_or(0));
        self.observe("techsapo_http_response_size_bytes", &[], answered.as_u64().unwrap_or(0));
        if text(event, "route_kind") != "stream" {
            let duration = number(event, "duration_us");
            self.observe("techsapo_http_request_duration_seconds", &[method, route], duration);
        }
    }

    fn count(&mut self, family: &'static str, labels: &[(&str, &str)], amount: u64) {
        if amount > 0 {
            *self.counters.entry((family, own(labels))).or_default() += amount;
        }
    }

    fn observe(&mut self, family: &'static str, labels: &[(&str, &str)], value: u64) {
        self.observations.entry((family, own(labels))).or_default().push(value);
    }
}

fn own(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_else(|| panic!("{field} of {event}"))
}

fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("{field} of {event}"))
}

fn provider(name: &Value) -> Provider {
    serde_json::from_value(name.clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
}
