//! What an `analysis` event says for the audit, beyond what is measured.
//!
//! The app writes an [`AuditNote`] into the event's field `audit` and reads it back from its own journal as an
//! [`AuditedAnalysis`]. To the exporter the field is an unknown one: it is passed over unread, and the event's schema
//! does not name it. What must hold: nothing here is personal. Users are pseudonyms, a prompt is its length and a
//! keyed hash.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::labels::{AnswerSource, Provider, Status, TaskType};

/// Who asked what, and what each call came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditNote {
    /// Id of the HTTP request.
    pub request_id: String,
    /// Name of the API key that was shown, or `anonymous`.
    pub caller: String,
    /// Pseudonym of the user that the caller named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Id of the session; a pseudonym where it could say something about a person.
    pub session_id: String,
    /// How the providers were asked: `parallel` or `sequential`.
    pub mode: Cow<'static, str>,
    /// Length of the prompt, bytes of UTF-8.
    pub prompt_bytes: u64,
    /// Keyed hash of the prompt, hexadecimal.
    pub prompt_hash: String,
    /// What all calls cost together.
    pub cost_nanousd: u64,
    /// Every call, in the order of asking, the one that was to merge the answers last; none for a cached answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<AuditCall>,
}

/// One call to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCall {
    /// Who was asked.
    pub provider: Provider,
    /// The model that served, or that was asked for when none did.
    pub model: String,
    /// How it ended.
    pub status: Status,
    /// From the first attempt to the end of the last.
    pub duration_us: u64,
    /// Billable input tokens.
    pub input_tokens: u64,
    /// Billable output tokens.
    pub output_tokens: u64,
    /// What it cost.
    pub cost_nanousd: u64,
    /// Kind of failure; absent where it brought an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An `analysis` event as the audit reads it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditedAnalysis {
    /// When it ended, Unix milliseconds.
    pub t: u64,
    /// The tier that was asked for.
    pub task_type: TaskType,
    /// Whose answer was returned.
    pub provider: AnswerSource,
    /// How it ended.
    pub status: Status,
    /// From accepting the question to having the answer.
    pub duration_us: u64,
    /// The answer came from a cache.
    #[serde(default)]
    pub cached: bool,
    /// Confidence in the answer.
    #[serde(default)]
    pub confidence_ppm: Option<u32>,
    /// Mean pairwise agreement of the answers.
    #[serde(default)]
    pub consensus_ppm: Option<u32>,
    /// What only the audit needs.
    pub audit: AuditNote,
}

/// How every line with an `analysis` event begins, as the app writes it.
const ANALYSIS: &[u8] = br#"{"analysis":"#;

#[derive(Deserialize)]
struct Line {
    analysis: AuditedAnalysis,
}

impl AuditedAnalysis {
    /// Whether a line of the journal is an analysis; cheap, for most are not.
    pub fn is_in(line: &[u8]) -> bool {
        line.starts_with(ANALYSIS)
    }

    /// Reads a line for which [`Self::is_in`] holds.
    ///
    /// # Errors
    /// When it is no such event, or has no note for the audit.
    pub fn decode(line: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Line>(line).map(|line| line.analysis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Analysis, Event};
    use crate::wire::{Line, decode_line};

    fn note() -> AuditNote {
        AuditNote {
            request_id: "r-1".into(),
            caller: "shop".into(),
            user: Some("u-00".into()),
            session_id: "s".into(),
            mode: "parallel".into(),
            prompt_bytes: 12,
            prompt_hash: "ab".into(),
            cost_nanousd: 42,
            calls: vec![AuditCall {
                provider: Provider::Gemini,
                model: "gemini-2.5-pro".into(),
                status: Status::Timeout,
                duration_us: 7,
                input_tokens: 1,
                output_tokens: 2,
                cost_nanousd: 42,
                error: Some("timeout".into()),
            }],
        }
    }

    #[test]
    fn the_audit_reads_what_the_app_wrote_and_the_exporter_passes_it_over() {
        let mut analysis = Analysis {
            t: 1_790_000_000_000,
            task_type: TaskType::Basic,
            provider: AnswerSource::None,
            status: Status::Error,
            duration_us: 9,
            cached: false,
            confidence_ppm: Some(1),
            consensus_ppm: None,
            agreements: Vec::new(),
            audit: Some(Box::new(note())),
        };
        let line = serde_json::to_vec(&Event::Analysis(analysis.clone())).unwrap();
        assert!(AuditedAnalysis::is_in(&line));
        let read = AuditedAnalysis::decode(&line).unwrap();
        assert_eq!((read.t, read.confidence_ppm, &read.audit), (analysis.t, Some(1), &note()));

        analysis.audit = None;
        let Ok(Line::Event(measured)) = decode_line(&line) else { panic!("the exporter refuses it") };
        assert_eq!(measured, Event::Analysis(analysis.clone()));
        let bare = serde_json::to_vec(&Event::Analysis(analysis)).unwrap();
        assert!(AuditedAnalysis::is_in(&bare));
        assert!(AuditedAnalysis::decode(&bare).is_err(), "there is nothing to audit in it");
    }
}
