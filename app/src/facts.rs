//! States what an analysis did as events: the one place where reports become facts.

use std::borrow::Cow;

use techsapo_shared::event::{Agreement, Analysis, ErrorEvent, Event, LlmRequest};
use techsapo_shared::labels::{AnswerSource, Service, Severity};

use crate::analysis::{Call, Report};
use crate::clock::micros;
use crate::telemetry::Recorder;

/// Records an analysis: one event for each call, one more for each that failed, and one for the whole.
pub fn record_analysis(recorder: &Recorder, report: &Report) {
    if !recorder.is_on() {
        return;
    }
    for call in &report.calls {
        recorder.record(&Event::LlmRequest(llm_request(report, call)));
        if let Err(error) = &call.result {
            recorder.record(&Event::Error(ErrorEvent {
                t: call.ended_ms,
                error_type: Cow::Borrowed(error.kind()),
                severity: Severity::Error,
                service: Service::from(call.provider),
            }));
        }
    }
    recorder.record(&Event::Analysis(analysis(report)));
}

fn llm_request<'a>(report: &Report, call: &'a Call) -> LlmRequest<'a> {
    let answer = call.result.as_ref().ok();
    LlmRequest {
        t: call.ended_ms,
        provider: call.provider,
        model: Cow::Borrowed(&call.model),
        task_type: report.task_type,
        status: call.status(),
        duration_us: micros(call.duration),
        input_tokens: answer.map_or(0, |answer| answer.input_tokens),
        output_tokens: answer.map_or(0, |answer| answer.output_tokens),
        cost_nanousd: call.cost_nanousd(),
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
    }
}
