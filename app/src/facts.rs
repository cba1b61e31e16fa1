//! States what an analysis did as events: the one place where reports become facts.

use std::borrow::Cow;

use techsapo_shared::event::{Agreement, Analysis, ErrorEvent, Event, LlmRequest};
use techsapo_shared::labels::{AnswerSource, ClosedLabel, Service, Severity};

use crate::analysis::{Call, CallError, Report};
use crate::clock::micros;
use crate::providers::Completion;
use crate::telemetry::Recorder;

/// Another model served than was asked for.
const SUBSTITUTED: &str = "model_substituted";
/// A model served that has no price, so that its cost counts as nothing.
const UNPRICED: &str = "model_unpriced";

/// Records an analysis: one event for each call, one more for each that failed or was not as it should be, and one for
/// the whole.
pub fn record_analysis(recorder: &Recorder, report: &Report) {
    warn_of_models(report);
    if !recorder.is_on() {
        return;
    }
    for call in &report.calls {
        recorder.record(&Event::LlmRequest(llm_request(report, call)));
        let error = |error_type, severity| {
            recorder.record(&Event::Error(ErrorEvent {
                t: call.ended_ms,
                error_type: Cow::Borrowed(error_type),
                severity,
                service: Service::from(call.provider),
            }));
        };
        match &call.result {
            Err(CallError::Rejected(reason)) => error(reason.kind.as_str(), Severity::Warning),
            Err(reason) => error(reason.kind().as_str(), Severity::Error),
            Ok(Completion { instead_of: Some(_), .. }) => {
                error(SUBSTITUTED, Severity::Warning);
            }
            Ok(_) => {}
        }
        if call.spent().unpriced {
            error(UNPRICED, Severity::Warning);
        }
    }
    recorder.record(&Event::Analysis(analysis(report)));
}

/// Tells the log of models that nobody asked for, and of those without a price.
fn warn_of_models(report: &Report) {
    for call in &report.calls {
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

fn analysis(report: &Report) -> Analysis {
    let pairs = &report.verdict.pairs;
    Analysis {
        t: report.ended_ms,
        task_type: report.task_type,
        provider: report.chosen().map_or(AnswerSource::None, |(call, _)| call.provider.into()),
        status: report.status(),
        duration_us: micros(report.duration),
        cached: false,
        confidence_ppm: report.verdict.confidence_ppm,
        consensus_ppm: report.verdict.consensus_ppm,
        agreements: pairs
            .iter()
            .map(|pair| Agreement { a: pair.a, b: pair.b, score_ppm: pair.score_ppm })
            .collect(),
        audit: None,
    }
}
