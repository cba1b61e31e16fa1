//! What an entry of the stream does to the state. Pure: (state, entry) → state, and nothing else.
//!
//! The first half decides which of an entry's events are new (each producer numbers its events; the state knows the
//! next number that it expects); the second half says what one event of each type counts.

use techsapo_shared::event::{
    Analysis, BudgetLimits, CircuitBreaker, Event, HttpRequest, LlmRequest, ProvidersConfigured,
    RuntimeSample,
};
use techsapo_shared::labels::{
    AnswerSource, Blocked, ClosedLabel, ProviderChange, ProviderPair, RouteKind, Status, TokenType,
};
use techsapo_shared::wire::{Batch, EntryId, HeaderError, Line, LineError, Origin, decode_line};

use crate::catalog::{Domain, FAMILIES, FamilyId, Seed};
use crate::series::{Key, ValueId};
use crate::state::{Producer, State, all_values, for_each_combination};

/// How far an event's time may lie after its entry's: a producer's clock may be a little ahead.
const MAX_AHEAD_MS: u64 = 60_000;
/// An instance unheard of for so long no longer decides which providers are configured.
const CONFIGURED_KEPT_MS: u64 = 600_000;

/// Something that could not be read, to be kept for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Why.
    pub reason: String,
    /// The producer, if the entry named one.
    pub producer: Option<String>,
    /// The event's line; for a refused batch its events as they came.
    pub data: Vec<u8>,
}

/// Why one event does not count.
enum Refused {
    Line(LineError),
    Overflow,
}

impl Refused {
    /// Place in [`crate::catalog::EVENT_REJECTS`].
    fn reason(&self) -> ValueId {
        match self {
            Self::Line(LineError::Syntax) => 0,
            Self::Line(LineError::UnknownType) => 1,
            Self::Line(LineError::Schema) => 2,
            Self::Line(LineError::OutOfBounds(_)) => 3,
            Self::Overflow => 4,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Line(error) => error.to_string(),
            Self::Overflow => "a sum would exceed 64 bits".to_owned(),
        }
    }
}

impl State {
    /// Takes one entry: counts what is new in it, and moves the stream's cursor past it. What could not be read is
    /// added to `quarantine`.
    pub fn apply_entry(
        &mut self,
        stream: &str,
        id: EntryId,
        batch: Result<Batch<'_>, (HeaderError, &[u8])>,
        quarantine: &mut Vec<Quarantined>,
    ) {
        self.revision += 1;
        let place = self.streams.keys().position(|key| key == stream).unwrap_or(0) as u32;
        let above_floor = match self.streams.get_mut(stream) {
            Some(state) => {
                let above = id > state.floor;
                state.cursor = id;
                state.floor = state.floor.max(id);
                above
            }
            None => true,
        };
        match batch {
            Err((error, data)) => self.refuse_batch(error, data, quarantine),
            Ok(batch) => match batch.origin {
                Some(origin) => self.apply_numbered(place, id, &origin, &batch, quarantine),
                None if above_floor => {
                    self.tally(FamilyId::TelemetryUnnumbered, &[], batch.count);
                    batch.lines().for_each(|line| self.apply_line(id, None, line, quarantine));
                }
                None => self.tally(FamilyId::TelemetryDuplicates, &[], batch.count),
            },
        }
    }

    fn refuse_batch(&mut self, error: HeaderError, data: &[u8], quarantine: &mut Vec<Quarantined>) {
        let reason = match error {
            HeaderError::Version => 0,
            HeaderError::Missing(_) => 1,
            HeaderError::Malformed(_) => 2,
            HeaderError::Nonsense(_) => 3,
        };
        self.tally(FamilyId::TelemetryRejectedBatches, &[reason], 1);
        quarantine.push(Quarantined { reason: error.to_string(), producer: None, data: data.to_vec() });
    }

    fn apply_numbered(
        &mut self,
        stream: u32,
        id: EntryId,
        origin: &Origin<'_>,
        batch: &Batch<'_>,
        quarantine: &mut Vec<Quarantined>,
    ) {
        let first_expected = if self.adopts { origin.oldest_seq } else { 1 };
        let mut producer = self.producers.get(origin.producer).copied().unwrap_or(Producer {
            expected: first_expected,
            dropped: 0,
            last_entry_ms: 0,
            stream,
        });
        producer.stream = stream;
        producer.last_entry_ms = producer.last_entry_ms.max(id.ms);
        let dropped = origin.dropped.saturating_sub(producer.dropped);
        producer.dropped += dropped;
        let lost = origin.oldest_seq.saturating_sub(producer.expected);
        producer.expected += lost;
        let gap = origin.first_seq > producer.expected;
        let old = producer.expected.saturating_sub(origin.first_seq).min(batch.count);
        if !gap {
            producer.expected = producer.expected.max(origin.first_seq + batch.count);
        }
        match self.producers.get_mut(origin.producer) {
            Some(known) => *known = producer,
            None => {
                self.producers.insert(origin.producer.to_owned(), producer);
            }
        }
        self.tally(FamilyId::TelemetryDropped, &[], dropped);
        self.tally(FamilyId::TelemetryLost, &[], lost);
        if gap {
            self.tally(FamilyId::TelemetryGaps, &[], 1);
            return;
        }
        self.tally(FamilyId::TelemetryDuplicates, &[], old);
        for line in batch.lines().skip(old as usize) {
            self.apply_line(id, Some(origin.producer), line, quarantine);
        }
    }

    fn apply_line(
        &mut self,
        id: EntryId,
        producer: Option<&str>,
        line: &[u8],
        quarantine: &mut Vec<Quarantined>,
    ) {
        let refused = match decode_line(line) {
            Ok(Line::Lost) => return self.tally(FamilyId::TelemetryLost, &[], 1),
            Ok(Line::Event(event)) => {
                let t_ms = event.t().min(id.ms.saturating_add(MAX_AHEAD_MS));
                match self.apply_event(&event, t_ms) {
                    Ok(()) => return,
                    Err(refused) => refused,
                }
            }
            Err(error) => Refused::Line(error),
        };
        self.tally(FamilyId::TelemetryRejected, &[refused.reason()], 1);
        quarantine.push(Quarantined {
            reason: refused.describe(),
            producer: producer.map(str::to_owned),
            data: line.to_vec(),
        });
    }

    /// Adds to a counter of the pipeline's own. None of them can reach 64 bits, and none has an open label.
    fn tally(&mut self, family: FamilyId, values: &[ValueId], amount: u64) {
        if amount > 0 {
            self.series.count(family, Key::new(values), amount, usize::MAX);
        }
    }

    fn count(&mut self, family: FamilyId, values: &[ValueId], amount: u64) {
        self.series.count(family, Key::new(values), amount, self.series_limit);
    }

    fn observe(&mut self, family: FamilyId, values: &[ValueId], value: u64) {
        self.series.observe(family, Key::new(values), value, self.series_limit);
    }

    /// Whether every sum has room for what an event is about to add. (Counts, and scores of at most a million, cannot
    /// fill 64 bits in any time.)
    fn has_room(&self, additions: &[(FamilyId, u64)]) -> Result<(), Refused> {
        let fits = additions.iter().all(|&(family, amount)| self.series.has_room(family, amount));
        if fits { Ok(()) } else { Err(Refused::Overflow) }
    }
}

fn id<L: ClosedLabel>(value: L) -> ValueId {
    value.index() as ValueId
}

fn pair_id(pair: ProviderPair) -> ValueId {
    ProviderPair::all().position(|known| known == pair).unwrap_or(0) as ValueId
}

/// What one event of each type counts.
impl State {
    fn apply_event(&mut self, event: &Event<'_>, t_ms: u64) -> Result<(), Refused> {
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
            let recent = |last_t_ms: u64| last_t_ms + CONFIGURED_KEPT_MS >= t_ms;
            let instances = state.instances.values().filter(|instance| recent(instance.last_t_ms));
            instances.flat_map(|instance| instance.providers.iter().copied()).collect()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::checkpoint;

    const STREAM: &str = "techsapo:events";
    const GC: &str = r#"{"gc_pause":{"t":1,"app_instance":"a","duration_us":1}}"#;

    fn state() -> State {
        State::new(Uuid::nil(), &[STREAM.to_owned()], 1_000)
    }

    fn total(state: &State, family: FamilyId) -> u64 {
        let mut total = 0;
        state.series.for_each(family, |_, cells| total += cells[0]);
        total
    }

    /// Events counted, whatever their type.
    fn counted(state: &State) -> u64 {
        total(state, FamilyId::TelemetryEvents)
    }

    /// Sends the events `first..first + count` of producer `p`.
    fn send(state: &mut State, entry: u64, first: u64, count: u64, oldest: u64) {
        let data = vec![GC; count as usize].join("\n");
        let origin = Origin { producer: "p", first_seq: first, oldest_seq: oldest, dropped: 0 };
        let batch = Batch { origin: Some(origin), count, data: data.as_bytes() };
        state.apply_entry(STREAM, EntryId { ms: entry, seq: 0 }, Ok(batch), &mut Vec::new());
    }

    fn send_lines(state: &mut State, entry: u64, lines: &[&str]) -> Vec<Quarantined> {
        let data = lines.join("\n");
        let mut quarantine = Vec::new();
        let batch = Batch { origin: None, count: lines.len() as u64, data: data.as_bytes() };
        state.apply_entry(STREAM, EntryId { ms: entry, seq: 0 }, Ok(batch), &mut quarantine);
        quarantine
    }

    #[test]
    fn what_comes_again_is_not_counted_again() {
        let mut state = state();
        send(&mut state, 1, 1, 5, 1);
        send(&mut state, 2, 1, 5, 1);
        send(&mut state, 3, 4, 4, 1);
        assert_eq!(counted(&state), 7);
        assert_eq!(total(&state, FamilyId::TelemetryDuplicates), 7);
        assert_eq!(state.producers["p"].expected, 8);
    }

    #[test]
    fn a_gap_waits_for_the_producer_to_come_back() {
        let mut state = state();
        send(&mut state, 1, 1, 2, 1);
        send(&mut state, 2, 5, 2, 1);
        assert_eq!((counted(&state), total(&state, FamilyId::TelemetryGaps)), (2, 1));
        send(&mut state, 3, 3, 4, 1);
        assert_eq!((counted(&state), total(&state, FamilyId::TelemetryLost)), (6, 0));
    }

    #[test]
    fn what_can_no_longer_be_sent_is_counted_as_lost() {
        let mut state = state();
        send(&mut state, 1, 1, 2, 1);
        send(&mut state, 2, 10, 1, 8);
        assert_eq!((total(&state, FamilyId::TelemetryLost), total(&state, FamilyId::TelemetryGaps)), (5, 1));
        send(&mut state, 3, 8, 3, 8);
        assert_eq!((counted(&state), total(&state, FamilyId::TelemetryLost)), (5, 5));
    }

    #[test]
    fn a_state_begun_anew_takes_an_unknown_producer_from_what_it_can_still_send() {
        let mut state = state();
        state.adopts = true;
        state.expect_after("p", 6, 0);
        send(&mut state, 1, 5, 4, 5);
        assert_eq!((counted(&state), total(&state, FamilyId::TelemetryLost)), (2, 0));
        let mut state = super::tests::state();
        state.adopts = true;
        send(&mut state, 1, 500, 1, 400);
        assert_eq!((counted(&state), total(&state, FamilyId::TelemetryGaps)), (0, 1));
        send(&mut state, 2, 400, 101, 400);
        assert_eq!((counted(&state), total(&state, FamilyId::TelemetryLost)), (101, 0));
    }

    #[test]
    fn entries_without_numbers_count_only_above_what_was_taken() {
        let mut state = state();
        send_lines(&mut state, 5, &[GC, GC]);
        send_lines(&mut state, 5, &[GC, GC]);
        send_lines(&mut state, 4, &[GC]);
        assert_eq!((counted(&state), total(&state, FamilyId::TelemetryUnnumbered)), (2, 2));
        // Reading the stream again from its start moves the cursor back, but not what counts as taken.
        assert_eq!(state.streams[STREAM].cursor.ms, 4);
        send_lines(&mut state, 6, &[GC]);
        assert_eq!(counted(&state), 3);
        state.stream_regressed(STREAM);
        send_lines(&mut state, 1, &[GC]);
        assert_eq!(counted(&state), 4);
    }

    #[test]
    fn poison_is_counted_by_reason_and_passed_over() {
        let mut state = state();
        let quarantine = send_lines(
            &mut state,
            1,
            &[
                "{",
                r#"{"weather":{"t":1}}"#,
                r#"{"gc_pause":{"t":1}}"#,
                r#"{"gc_pause":{"t":1,"app_instance":"","duration_us":1}}"#,
                r#"{"budget_limits":{"t":1,"daily_nanousd":1,"monthly_nanousd":1,"time_zone":"Nowhere"}}"#,
                GC,
            ],
        );
        assert_eq!((counted(&state), quarantine.len()), (1, 5));
        let mut reasons = Vec::new();
        state.series.for_each(FamilyId::TelemetryRejected, |labels, cells| {
            reasons.push(format!("{} {}", labels[0], cells[0]));
        });
        assert_eq!(reasons, ["syntax 1", "unknown_type 1", "schema 1", "out_of_bounds 2", "overflow 0"]);
    }

    #[test]
    fn a_time_far_ahead_of_its_entry_is_brought_back() {
        let mut state = state();
        let lookup = r#"{"cache_lookup":{"t":9000000000000,"cache_type":"redis","hit":true}}"#;
        send_lines(&mut state, 1_000_000, &[lookup]);
        assert_eq!(state.window.last_five_minutes(1_060_000).caches[1].all, 1);
    }

    #[test]
    fn a_change_of_providers_is_counted_once_for_all_instances() {
        let configured = |t: u64, instance: &str, providers: &str| {
            format!(
                r#"{{"providers_configured":{{"t":{t},"app_instance":"{instance}","providers":[{providers}]}}}}"#
            )
        };
        let (gemini, claude) =
            (r#"{"provider":"Gemini","models":["g"]}"#, r#"{"provider":"Claude","models":["c"]}"#);
        let both = format!("{gemini},{claude}");
        let mut state = state();
        let mut send = |entry: u64, instance: &str, providers: &str| {
            send_lines(&mut state, entry, &[&configured(entry, instance, providers)]);
            total(&state, FamilyId::ProviderChanges)
        };
        assert_eq!(send(1, "a", gemini), 0, "a beginning is no change");
        assert_eq!(send(2, "b", gemini), 0);
        assert_eq!(send(3, "a", &both), 1, "added");
        assert_eq!(send(4, "b", &both), 1, "the second instance follows");
        assert_eq!(send(5, "a", gemini), 1, "the other still has it");
        assert_eq!(send(6, "b", gemini), 2, "removed");
    }

    #[test]
    fn configured_label_sets_stand_at_zero() {
        let mut state = state();
        let line = r#"{"providers_configured":{"t":1,"app_instance":"a","providers":[{"provider":"Gemini","models":["g1","g2"]},{"provider":"Claude","models":["c"]}]}}"#;
        send_lines(&mut state, 1, &[line]);
        let count = |family| {
            let mut series = 0;
            state.series.for_each(family, |_, cells| {
                assert_eq!(cells[0], 0);
                series += 1;
            });
            series
        };
        assert_eq!(count(FamilyId::LlmRequests), 3 * 4 * 3);
        assert_eq!(count(FamilyId::LlmAgreement), 1);
        assert_eq!(count(FamilyId::WallbounceRequests), 3 * 4 * 4);
        assert_eq!(count(FamilyId::ProviderCost), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever is resent, repeated or skipped, in whatever pieces: what is counted is exactly the unbroken run of
        /// events from the first.
        #[test]
        fn counted_is_what_a_set_of_numbers_says(
            batches in prop::collection::vec((1u64..40, 1u64..10), 1..60)
        ) {
            let mut state = state();
            let mut next = 1;
            for (entry, &(first, count)) in batches.iter().enumerate() {
                send(&mut state, entry as u64 + 1, first, count, 1);
                if first <= next {
                    next = next.max(first + count);
                }
                prop_assert_eq!(counted(&state), next - 1);
                // A restart from the checkpoint changes nothing.
                state.series.hold_newborn(0, 0);
                let written = checkpoint::encode(&state);
                let mut again = checkpoint::decode(&written).unwrap();
                prop_assert!(again.resume(&[STREAM.to_owned()], 1_000).is_empty());
                again.revision = state.revision;
                prop_assert!(again == state && checkpoint::encode(&again) == written);
                state = again;
            }
            prop_assert_eq!(total(&state, FamilyId::TelemetryLost), 0);
        }

        /// Applying is a function: the same entries give the same state.
        #[test]
        fn the_same_entries_give_the_same_state(
            batches in prop::collection::vec((1u64..20, 1u64..5, 1u64..20), 1..30)
        ) {
            let run = || {
                let mut state = state();
                for (entry, &(first, count, oldest)) in batches.iter().enumerate() {
                    send(&mut state, entry as u64, first.max(oldest), count, oldest);
                }
                state
            };
            prop_assert!(checkpoint::encode(&run()) == checkpoint::encode(&run()));
        }
    }
}
