//! States what an analysis did as events: the one place where reports become facts.

use std::borrow::Cow;
use std::sync::Arc;

use techsapo_shared::audit::{AuditCall, AuditNote};
use techsapo_shared::event::{Agreement, Analysis, ErrorEvent, Event, LlmRequest};
use techsapo_shared::labels::{ClosedLabel, Service, Severity};

use crate::analysis::{Call, CallError, Mode, Report};
use crate::clock::micros;
use crate::providers::Completion;
use crate::store::answers::Found;
use crate::telemetry::Recorder;

/// Another model served than was asked for.
const SUBSTITUTED: &str = "model_substituted";
/// A model served that has no price, so that its cost counts as nothing.
const UNPRICED: &str = "model_unpriced";

/// Who asked, as the audit is told: nothing personal.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Id of the HTTP request.
    pub request_id: Arc<str>,
    /// Name of the API key that was shown, or `anonymous`.
    pub caller: String,
    /// Pseudonym of the user.
    pub user: Option<String>,
    /// Id of the session, or its pseudonym.
    pub session_id: String,
    /// Length of the prompt.
    pub prompt_bytes: usize,
    /// Fingerprint of the prompt.
    pub prompt_hash: String,
}

/// Records an analysis: one event for each call, one more for each that failed or was not as it should be, and one for
/// the whole, with a note for the audit if there is one.
pub fn record_analysis(recorder: &Recorder, report: &Report, audit: Option<&Asker>) {
    warn_of_models(report);
    if !recorder.is_on() {
        return;
    }
    let mut events = Vec::with_capacity(report.calls.len() + 2);
    for call in report.all_calls() {
        events.push(Event::LlmRequest(llm_request(report, call)));
        let error = |error_type, severity| {
            Event::Error(ErrorEvent {
                t: call.ended_ms,
                error_type: Cow::Borrowed(error_type),
                severity,
                service: Service::from(call.provider),
            })
        };
        match &call.result {
            Err(CallError::Rejected(reason)) => events.push(error(reason.kind.as_str(), Severity::Warning)),
            Err(reason) => events.push(error(reason.kind().as_str(), Severity::Error)),
            Ok(Completion { instead_of: Some(_), .. }) => events.push(error(SUBSTITUTED, Severity::Warning)),
            Ok(_) => {}
        }
        if call.spent().unpriced {
            events.push(error(UNPRICED, Severity::Warning));
        }
    }
    events.push(Event::Analysis(analysis(report, audit)));
    recorder.record_all(&events);
}

/// Records that an analysis was made before, and that its answer was given again: one event for the whole. No call was made
/// and nothing spent.
pub fn record_again(recorder: &Recorder, found: &Found, audit: Option<&Asker>) {
    if !recorder.is_on() {
        return;
    }
    let note = |asker: &Asker| {
        let then = note(&found.report, asker);
        Box::new(AuditNote { cost_nanousd: 0, calls: Vec::new(), ..then })
    };
    recorder.record(&Event::Analysis(Analysis {
        t: found.found_ms,
        duration_us: micros(found.took),
        cached: true,
        agreements: Vec::new(),
        audit: audit.map(note),
        ..analysis(&found.report, None)
    }));
}

/// Tells the log of models that nobody asked for, and of those without a price.
fn warn_of_models(report: &Report) {
    for call in report.all_calls() {
        let (provider, model) = (call.provider.as_str(), call.model.as_str());
        if let Ok(Completion { instead_of: Some(asked), .. }) = &call.result {
            tracing::warn!(provider, asked, model, "Another model served than was asked for");
        }
        if call.spent().unpriced {
            tracing::warn!(provider, model, "A call cost something, but providers.toml has no price for it");
        }
    }
}

fn llm_request<'a>(report: &Report, call: &'a Call) -> LlmRequest<'a> {
    let spent = call.spent();
    LlmRequest {
        t: call.ended_ms,
        provider: call.provider,
        model: Cow::Borrowed(&call.model),
        task_type: report.task_type,
        status: call.status(),
        duration_us: micros(call.duration),
        input_tokens: spent.tokens.input,
        output_tokens: spent.tokens.output,
        cost_nanousd: spent.cost_nanousd,
    }
}

fn analysis(report: &Report, audit: Option<&Asker>) -> Analysis {
    let pairs = &report.verdict.pairs;
    Analysis {
        t: report.ended_ms,
        task_type: report.task_type,
        provider: report.source(),
        status: report.status(),
        duration_us: micros(report.duration),
        cached: false,
        confidence_ppm: report.verdict.confidence_ppm,
        consensus_ppm: report.verdict.consensus_ppm,
        agreements: pairs
            .iter()
            .map(|pair| Agreement { a: pair.a, b: pair.b, score_ppm: pair.score_ppm })
            .collect(),
        audit: audit.map(|asker| Box::new(note(report, asker))),
    }
}

fn note(report: &Report, asker: &Asker) -> AuditNote {
    let call = |call: &Call| {
        let spent = call.spent();
        AuditCall {
            provider: call.provider,
            model: call.model.clone(),
            status: call.status(),
            duration_us: micros(call.duration),
            input_tokens: spent.tokens.input,
            output_tokens: spent.tokens.output,
            cost_nanousd: spent.cost_nanousd,
            error: call.result.as_ref().err().map(|error| error.kind().as_str().to_owned()),
        }
    };
    AuditNote {
        request_id: asker.request_id.to_string(),
        caller: asker.caller.clone(),
        user: asker.user.clone(),
        session_id: asker.session_id.clone(),
        mode: match report.mode {
            Mode::Parallel => "parallel".into(),
            Mode::Sequential { .. } => "sequential".into(),
        },
        prompt_bytes: asker.prompt_bytes as u64,
        prompt_hash: asker.prompt_hash.clone(),
        cost_nanousd: report.total_cost_nanousd(),
        calls: report.all_calls().map(call).collect(),
    }
}
