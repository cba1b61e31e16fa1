//! From a line of the journal to rows of the audit's tables. Pure.

use mysql_async::Value;
use techsapo_shared::audit::{AuditCall, AuditedAnalysis};
use techsapo_shared::labels::ClosedLabel as _;

use crate::clock;

/// Columns of `analyses`, in the order of [`Analysis::values`].
pub(super) const ANALYSIS_COLUMNS: [&str; 18] = [
    "producer",
    "seq",
    "ended_at",
    "request_id",
    "session_id",
    "caller",
    "user_pseudonym",
    "task_type",
    "mode",
    "status",
    "answer_source",
    "cached",
    "duration_us",
    "confidence_ppm",
    "consensus_ppm",
    "cost_nanousd",
    "prompt_bytes",
    "prompt_hash",
];
/// Columns of `analysis_calls`, in the order of [`Analysis::calls`].
pub(super) const CALL_COLUMNS: [&str; 11] = [
    "producer",
    "seq",
    "call_number",
    "provider",
    "model",
    "status",
    "duration_us",
    "input_tokens",
    "output_tokens",
    "cost_nanousd",
    "error_kind",
];

/// A record of the journal that the audit is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The run of an app that wrote it.
    pub(super) producer: String,
    /// Its number there.
    pub(super) seq: u64,
    /// The event, as it stands in the journal.
    pub(super) line: Vec<u8>,
}

/// A record, read.
#[derive(Debug)]
pub(super) struct Analysis {
    producer: String,
    seq: u64,
    facts: AuditedAnalysis,
}

impl Analysis {
    /// Reads a record.
    pub(super) fn of(record: &Record) -> Result<Self, serde_json::Error> {
        let facts = AuditedAnalysis::decode(&record.line)?;
        Ok(Self { producer: record.producer.clone(), seq: record.seq, facts })
    }

    /// The row of `analyses`.
    pub(super) fn values(&self) -> [Value; ANALYSIS_COLUMNS.len()] {
        let (facts, note) = (&self.facts, &self.facts.audit);
        [
            (&self.producer).into(),
            self.seq.into(),
            datetime(facts.t).into(),
            (&note.request_id).into(),
            (&note.session_id).into(),
            (&note.caller).into(),
            note.user.as_deref().into(),
            facts.task_type.as_str().into(),
            note.mode.as_ref().into(),
            facts.status.as_str().into(),
            facts.provider.as_str().into(),
            facts.cached.into(),
            facts.duration_us.into(),
            facts.confidence_ppm.into(),
            facts.consensus_ppm.into(),
            note.cost_nanousd.into(),
            note.prompt_bytes.into(),
            (&note.prompt_hash).into(),
        ]
    }

    /// The rows of `analysis_calls`.
    pub(super) fn calls(&self) -> impl Iterator<Item = [Value; CALL_COLUMNS.len()]> {
        self.facts.audit.calls.iter().enumerate().map(|(index, call)| self.call(index, call))
    }

    fn call(&self, index: usize, call: &AuditCall) -> [Value; CALL_COLUMNS.len()] {
        [
            (&self.producer).into(),
            self.seq.into(),
            (index as u64 + 1).into(),
            call.provider.as_str().into(),
            (&call.model).into(),
            call.status.as_str().into(),
            call.duration_us.into(),
            call.input_tokens.into(),
            call.output_tokens.into(),
            call.cost_nanousd.into(),
            call.error.as_deref().into(),
        ]
    }
}

/// An instant as MySQL writes it, in UTC.
pub(super) fn datetime(unix_ms: u64) -> String {
    clock::rfc3339(unix_ms).replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_values_are_in_the_same_order() {
        let line = br#"{"analysis":{"t":1790000000123,"task_type":"basic","provider":"Gemini","status":"success",
            "duration_us":5,"confidence_ppm":6,"agreements":[],"audit":{"request_id":"r","session_id":"s","caller":"shop","user":"u",
            "mode":"sequential","prompt_bytes":9,"prompt_hash":"h","cost_nanousd":11,"calls":[{"provider":"OpenAI",
            "model":"gpt-5","status":"timeout","duration_us":1,"input_tokens":2,"output_tokens":3,"cost_nanousd":4,
            "error":"timeout"}]}}}"#;
        let record = Record { producer: "p".into(), seq: 7, line: line.to_vec() };
        let analysis = Analysis::of(&record).unwrap();
        let named = |columns: &[&str], values: &[Value]| {
            let pairs =
                columns.iter().zip(values).map(|(name, value)| format!("{name}={}", value.as_sql(true)));
            pairs.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            named(&ANALYSIS_COLUMNS, &analysis.values()),
            "producer='p' seq=7 ended_at='2026-09-21 14:13:20.123' request_id='r' session_id='s' caller='shop' \
             user_pseudonym='u' task_type='basic' mode='sequential' status='success' answer_source='Gemini' cached=0 \
             duration_us=5 confidence_ppm=6 consensus_ppm=NULL cost_nanousd=11 prompt_bytes=9 prompt_hash='h'"
        );
        let calls: Vec<_> = analysis.calls().map(|call| named(&CALL_COLUMNS, &call)).collect();
        assert_eq!(
            calls,
            [
                "producer='p' seq=7 call_number=1 provider='OpenAI' model='gpt-5' status='timeout' duration_us=1 \
              input_tokens=2 output_tokens=3 cost_nanousd=4 error_kind='timeout'"
            ]
        );
    }
}
