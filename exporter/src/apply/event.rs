//! What one event of each type counts.

use techsapo_shared::event::{
    Analysis, BudgetLimits, CircuitBreaker, Event, HttpRequest, LlmRequest, ProvidersConfigured,
    RuntimeSample,
};
use techsapo_shared::labels::{
    AnswerSource, Blocked, ClosedLabel, ProviderChange, ProviderPair, RouteKind, Status, TokenType,
};
use techsapo_shared::wire::LineError;

use super::Refused;
use crate::catalog::{Domain, FAMILIES, FamilyId, Seed};
use crate::series::{Key, ValueId};
use crate::state::{State, all_values, for_each_combination};

/// An instance unheard of for so long no longer decides which providers are configured.
const CONFIGURED_KEPT_MS: u64 = 600_000;

fn id<L: ClosedLabel>(value: L) -> ValueId {
    value.index() as ValueId
}

fn pair_id(pair: ProviderPair) -> ValueId {
    ProviderPair::all().position(|known| known == pair).unwrap_or(0) as ValueId
}

impl State {
    /// Counts an event that happened at `t_ms`, or says why it does not count: then nothing of it does.
    pub(super) fn apply_event(&mut self, event: &Event<'_>, t_ms: u64) -> Result<(), Refused> {
        match event {
            Event::Analysis(event) => self.analysis(event, t_ms)?,
            Event::LlmRequest(event) => self.llm_request(event, t_ms)?,
            Event::HttpRequest(event) => self.http_request(event, t_ms)?,
            Event::RedisOperation(event) => {
                self.count(FamilyId::RedisOperations, &[id(event.operation), id(event.status)], 1);
            }
            Event::MysqlQuery(event) => {
                self.count(FamilyId::MysqlQueries, &[id(event.query_type), id(event.status)], 1);
            }
            Event::CacheLookup(event) => {
                if let Some(sums) = self.window.at(t_ms) {
                    sums.cache(event.cache_type, event.hit);
                }
            }
            Event::Error(event) => {
                let kind = self.series.intern(Domain::ErrorType, &event.error_type);
                self.count(FamilyId::Errors, &[kind, id(event.severity), id(event.service)], 1);
            }
            Event::CircuitBreaker(event) => {
                self.circuit_breaker(event, t_ms);
            }
            Event::AuthAttempt(event) => {
                if let Some(reason) = event.reason {
                    self.count(FamilyId::AuthFailures, &[id(reason)], 1);
                }
                self.count(FamilyId::AuthAttempts, &[id(event.status), id(event.method)], 1);
            }
            Event::RateLimitHit(event) => {
                let route = self.series.intern(Domain::Route, &event.endpoint);
                let client = self.series.intern(Domain::ClientIp, &event.client_ip);
                self.count(FamilyId::RateLimitHits, &[route, client], 1);
            }
            Event::InputSanitization(event) => {
                let blocked = Blocked::from(event.blocked);
                self.count(FamilyId::InputSanitization, &[id(event.kind), id(blocked)], 1);
            }
            Event::Anomaly(event) => self.count(FamilyId::AnomalyRequests, &[id(event.kind)], 1),
            Event::RuntimeSample(event) => {
                self.runtime_sample(event, t_ms);
            }
            Event::EventLoopLag(event) => {
                let instance = self.series.intern(Domain::AppInstance, &event.app_instance);
                self.has_room(&[(FamilyId::EventLoopLag, event.lag_us)])?;
                self.observe(FamilyId::EventLoopLag, &[instance], event.lag_us);
            }
            Event::GcPause(event) => {
                let instance = self.series.intern(Domain::AppInstance, &event.app_instance);
                self.has_room(&[(FamilyId::GcDuration, event.duration_us)])?;
                self.observe(FamilyId::GcDuration, &[instance], event.duration_us);
            }
            Event::ConfigChanged(event) => self.count(FamilyId::ConfigChanges, &[id(event.component)], 1),
            Event::ProvidersConfigured(event) => {
                self.providers_configured(event, t_ms);
            }
            Event::BudgetLimits(event) => self.budget_limits(event)?,
        }
        self.tally(FamilyId::TelemetryEvents, &[event.type_index() as ValueId], 1);
        Ok(())
    }

    fn analysis(&mut self, event: &Analysis, t_ms: u64) -> Result<(), Refused> {
        self.has_room(&[(FamilyId::ProcessingDuration, event.duration_us)])?;
        let task = id(event.task_type);
        self.count(FamilyId::WallbounceRequests, &[task, id(event.provider), id(event.status)], 1);
        if event.status != Status::Rejected {
            self.observe(FamilyId::ProcessingDuration, &[task], event.duration_us);
        }
        // A cached answer's agreement was measured when the answer was fresh.
        let fresh = |score: Option<u32>| score.filter(|_| !event.cached);
        if let Some(confidence) = fresh(event.confidence_ppm) {
            self.observe(FamilyId::ConsensusConfidence, &[], confidence.into());
        }
        for agreement in event.agreements.iter().filter(|_| !event.cached) {
            let pair = pair_id(ProviderPair::new(agreement.a, agreement.b));
            self.observe(FamilyId::LlmAgreement, &[pair], agreement.score_ppm.into());
        }
        if let Some(sums) = self.window.at(t_ms) {
            if event.status != Status::Rejected {
                sums.analysis(event.status == Status::Success);
            }
            if let Some(confidence) = fresh(event.confidence_ppm) {
                sums.confidence(confidence);
            }
            if let Some(consensus) = fresh(event.consensus_ppm) {
                sums.consensus(consensus);
            }
        }
        Ok(())
    }

    fn llm_request(&mut self, event: &LlmRequest<'_>, t_ms: u64) -> Result<(), Refused> {
        self.has_room(&[
            (FamilyId::LlmResponseTime, event.duration_us),
            (FamilyId::LlmTokenUsage, event.input_tokens.saturating_add(event.output_tokens)),
            (FamilyId::WallbounceCost, event.cost_nanousd),
            (FamilyId::ProviderCost, event.cost_nanousd),
        ])?;
        let (provider, task) = (id(event.provider), id(event.task_type));
        let model = self.series.intern(Domain::Model, &event.model);
        self.count(FamilyId::LlmRequests, &[provider, model, id(event.status), task], 1);
        if event.status != Status::Rejected {
            self.observe(FamilyId::LlmResponseTime, &[provider, model], event.duration_us);
            if let Some(sums) = self.window.at(t_ms) {
                sums.provider(event.provider, event.status == Status::Success);
            }
        }
        for (kind, tokens) in
            [(TokenType::Input, event.input_tokens), (TokenType::Output, event.output_tokens)]
        {
            if tokens > 0 {
                self.count(FamilyId::LlmTokenUsage, &[provider, id(kind), model], tokens);
            }
        }
        if event.cost_nanousd > 0 {
            self.count(FamilyId::WallbounceCost, &[provider, task], event.cost_nanousd);
            self.count(FamilyId::ProviderCost, &[id(event.provider.vendor())], event.cost_nanousd);
            self.budget.spend(t_ms, event.cost_nanousd);
        }
        Ok(())
    }

    fn http_request(&mut self, event: &HttpRequest<'_>, t_ms: u64) -> Result<(), Refused> {
        self.has_room(&[
            (FamilyId::HttpRequestDuration, event.duration_us),
            (FamilyId::HttpRequestSize, event.request_bytes),
            (FamilyId::HttpResponseSize, event.response_bytes),
        ])?;
        let (method, route) = (id(event.method), self.series.intern(Domain::Route, &event.route));
        self.count(FamilyId::HttpRequests, &[method, route, event.status_code], 1);
        self.observe(FamilyId::HttpRequestSize, &[], event.request_bytes);
        self.observe(FamilyId::HttpResponseSize, &[], event.response_bytes);
        if event.route_kind == RouteKind::Stream {
            return Ok(());
        }
        self.observe(FamilyId::HttpRequestDuration, &[method, route], event.duration_us);
        if event.route_kind == RouteKind::Api
            && let Some(sums) = self.window.at(t_ms)
        {
            sums.api.add(event.duration_us);
        }
        Ok(())
    }

    fn circuit_breaker(&mut self, event: &CircuitBreaker<'_>, t_ms: u64) {
        let instance = self.instance(&event.app_instance, t_ms);
        let known = instance.breakers.entry(event.service).or_insert((t_ms, event.state));
        if t_ms >= known.0 {
            *known = (t_ms, event.state);
        }
    }

    fn runtime_sample(&mut self, event: &RuntimeSample<'_>, t_ms: u64) {
        let instance = self.instance(&event.app_instance, t_ms);
        if instance.sample.as_ref().is_some_and(|known| known.t > t_ms) {
            return;
        }
        instance.breakers.retain(|_, &mut (since, _)| since > t_ms);
        for breaker in &event.breakers {
            instance.breakers.entry(breaker.service).or_insert((t_ms, breaker.state));
        }
        instance.sample = Some(RuntimeSample { t: t_ms, ..event.clone().into_owned() });
    }

    /// Counts what this changed in the set of providers that any instance is configured with, and puts the label sets
    /// that have become possible at zero.
    fn providers_configured(&mut self, event: &ProvidersConfigured<'_>, t_ms: u64) {
        let configured = |state: &Self| -> Vec<ValueId> {
            // Of the one that states it, what it stated before counts however long ago that was.
            let recent = |name: &str, last_t_ms: u64| {
                name == event.app_instance || last_t_ms + CONFIGURED_KEPT_MS >= t_ms
            };
            let instances =
                state.instances.iter().filter(|(name, instance)| recent(name, instance.last_t_ms));
            instances.flat_map(|(_, instance)| instance.providers.iter().copied()).collect()
        };
        let known_before = self.instances.values().any(|instance| !instance.providers.is_empty());
        let before = configured(self);
        let mut providers: Vec<ValueId> = event.providers.iter().map(|entry| id(entry.provider)).collect();
        providers.sort_unstable();
        providers.dedup();
        self.instance(&event.app_instance, t_ms).providers = providers;
        let after = configured(self);
        // The very first statement is a beginning, not a change.
        if known_before {
            for provider in all_values(Domain::Provider) {
                let change = match (before.contains(&provider), after.contains(&provider)) {
                    (false, true) => ProviderChange::Added,
                    (true, false) => ProviderChange::Removed,
                    _ => continue,
                };
                self.tally(FamilyId::ProviderChanges, &[provider, id(change)], 1);
            }
        }
        self.seed_configured(event, &after);
    }

    fn seed_configured(&mut self, event: &ProvidersConfigured<'_>, configured: &[ValueId]) {
        let limit = self.series_limit;
        for entry in &event.providers {
            let models: Vec<ValueId> =
                entry.models.iter().map(|model| self.series.intern(Domain::Model, model)).collect();
            let provider = entry.provider;
            let values = |domain| match domain {
                Domain::Provider => vec![id(provider)],
                Domain::Vendor => vec![id(provider.vendor())],
                Domain::AnswerSource => {
                    vec![id(AnswerSource::from(provider)), id(AnswerSource::Ensemble), id(AnswerSource::None)]
                }
                Domain::Model => models.clone(),
                Domain::ProviderPair => configured
                    .iter()
                    .filter_map(|&other| techsapo_shared::labels::Provider::ALL.get(usize::from(other)))
                    .filter(|&&other| other != provider)
                    .map(|&other| pair_id(ProviderPair::new(provider, other)))
                    .collect(),
                closed => all_values(closed),
            };
            for (&family, row) in FamilyId::ALL.iter().zip(FAMILIES) {
                if row.seed == Seed::Configured {
                    let choices: Vec<Vec<ValueId>> =
                        row.labels.iter().map(|&(_, domain)| values(domain)).collect();
                    for_each_combination(&choices, |values| {
                        self.series.seed(family, Key::new(values), limit);
                    });
                }
            }
        }
    }

    fn budget_limits(&mut self, event: &BudgetLimits<'_>) -> Result<(), Refused> {
        self.budget
            .set_limits(event.daily_nanousd, event.monthly_nanousd, &event.time_zone)
            .map_err(|_| Refused::Line(LineError::OutOfBounds("time_zone")))
    }
}
