//! An answer as it stands in Redis: a checksum, then JSON with what the providers answered.
//!
//! What the answers say together is not stored: it is worked out again when they are read, by the rules of the build that
//! reads. The checksum goes over the key too, so that a value under another's key is none. The form's version is in the key.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use techsapo_shared::labels::Provider as Name;

use super::key::Key;
use crate::analysis::{Call, Plan, Report};
use crate::clock::micros;
use crate::providers::{Completion, Spent, Tokens};

const CHECKSUM_BYTES: usize = 4;

/// Why a value is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damaged {
    /// It is cut off, changed, or another's.
    #[error("its checksum does not fit")]
    Checksum,
    /// The checksum fits, but this build cannot read it.
    #[error("it cannot be read: {0}")]
    Form(#[from] serde_json::Error),
}

/// What is kept of an analysis.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    ended_ms: u64,
    duration_us: u64,
    calls: Vec<StoredCall>,
    /// The call that merged the answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    synthesis: Option<StoredCall>,
}

/// A call that brought an answer.
#[derive(Debug, Serialize, Deserialize)]
struct StoredCall {
    provider: Name,
    model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instead_of: Option<String>,
    text: String,
    attempts: u32,
    ended_ms: u64,
    duration_us: u64,
    input_tokens: u64,
    cached_input_tokens: u64,
    cache_write_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    cost_nanousd: u64,
    unpriced: bool,
}

/// The value for an analysis; nothing where a call brought no answer, or merging the answers failed.
pub(super) fn encode(key: &Key, report: &Report) -> Option<Vec<u8>> {
    let synthesis = match &report.synthesis {
        None => None,
        Some(synthesis) => Some(StoredCall::of(synthesis.call()?)?),
    };
    let stored = Stored {
        ended_ms: report.ended_ms,
        duration_us: micros(report.duration),
        calls: report.calls.iter().map(StoredCall::of).collect::<Option<_>>()?,
        synthesis,
    };
    let mut value = vec![0; CHECKSUM_BYTES];
    // Nothing in it that JSON cannot hold.
    serde_json::to_writer(&mut value, &stored).ok()?;
    let checksum = checksum(key, &value[CHECKSUM_BYTES..]);
    value[..CHECKSUM_BYTES].copy_from_slice(&checksum);
    Some(value)
}

/// Reads a value.
///
/// # Errors
/// When it is not as [`encode`] wrote it for this key.
pub(super) fn decode(key: &Key, value: &[u8]) -> Result<Stored, Damaged> {
    let (stated, body) = value.split_at_checked(CHECKSUM_BYTES).ok_or(Damaged::Checksum)?;
    if stated != checksum(key, body) {
        return Err(Damaged::Checksum);
    }
    Ok(serde_json::from_slice(body)?)
}

fn checksum(key: &Key, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.bytes());
    hasher.update(body);
    hasher.finalize().to_le_bytes()
}

impl Stored {
    /// The report of the analysis, for the same question.
    pub(super) fn recall(self, plan: &Plan) -> Report {
        let calls = self.calls.into_iter().map(StoredCall::call).collect();
        let synthesis = self.synthesis.map(StoredCall::call);
        plan.recall(calls, synthesis, self.ended_ms, Duration::from_micros(self.duration_us))
    }
}

impl StoredCall {
    fn of(call: &Call) -> Option<Self> {
        let Completion { text, model, instead_of, spent, attempts } = call.result.as_ref().ok()?;
        let Spent { tokens, cost_nanousd, unpriced } = *spent;
        Some(Self {
            provider: call.provider,
            model: model.clone(),
            instead_of: instead_of.clone(),
            text: text.clone(),
            attempts: *attempts,
            ended_ms: call.ended_ms,
            duration_us: micros(call.duration),
            input_tokens: tokens.input,
            cached_input_tokens: tokens.cached_input,
            cache_write_tokens: tokens.cache_write,
            output_tokens: tokens.output,
            reasoning_tokens: tokens.reasoning,
            cost_nanousd,
            unpriced,
        })
    }

    fn call(self) -> Call {
        let tokens = Tokens {
            input: self.input_tokens,
            cached_input: self.cached_input_tokens,
            cache_write: self.cache_write_tokens,
            output: self.output_tokens,
            reasoning: self.reasoning_tokens,
        };
        Call {
            provider: self.provider,
            model: self.model.clone(),
            ended_ms: self.ended_ms,
            duration: Duration::from_micros(self.duration_us),
            result: Ok(Completion {
                text: self.text,
                model: self.model,
                instead_of: self.instead_of,
                spent: Spent { tokens, cost_nanousd: self.cost_nanousd, unpriced: self.unpriced },
                attempts: self.attempts,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use techsapo_shared::labels::TaskType;

    use super::*;
    use crate::analysis::{Failure, Hindrance, Mode, Synthesis, Verdict};
    use crate::providers::{ErrorKind, ProviderError};

    fn call(text: &str) -> Call {
        Call {
            provider: Name::Claude,
            model: "served".into(),
            ended_ms: 17,
            duration: Duration::from_micros(1_234),
            result: Ok(Completion {
                text: text.into(),
                model: "served".into(),
                instead_of: Some("asked".into()),
                spent: Spent {
                    tokens: Tokens { input: 9, cached_input: 2, cache_write: 3, output: 5, reasoning: 4 },
                    cost_nanousd: 42,
                    unpriced: true,
                },
                attempts: 2,
            }),
        }
    }

    fn report(calls: Vec<Call>) -> Report {
        Report {
            task_type: TaskType::Basic,
            mode: Mode::Parallel,
            needed: 2,
            calls,
            verdict: Verdict::default(),
            outcome: Err(Failure::NotEnoughAnswers),
            synthesis: None,
            ended_ms: 99,
            duration: Duration::from_micros(5_678),
        }
    }

    #[test]
    fn what_was_stored_is_read_as_it_was() {
        let (key, mut report) = (Key::numbered(1), report(vec![call("はい。\n\"yes\"\0"), call("No.")]));
        report.synthesis = Some(Synthesis::Asked(call("Yes and no.")));
        let stored = decode(&key, &encode(&key, &report).unwrap()).unwrap();
        assert_eq!((stored.ended_ms, stored.duration_us), (99, 5_678));
        let calls: Vec<_> = stored.calls.into_iter().map(StoredCall::call).collect();
        assert_eq!(format!("{calls:?}"), format!("{:?}", report.calls));
        let synthesis = Synthesis::Asked(stored.synthesis.unwrap().call());
        assert_eq!(format!("{synthesis:?}"), format!("{:?}", report.synthesis.unwrap()));
    }

    #[test]
    fn a_failed_call_has_no_stored_form() {
        let failed = Err(ProviderError::new(ErrorKind::Timeout, "").into());
        let calls = vec![call("Yes."), Call { result: failed, ..call("") }];
        assert!(encode(&Key::numbered(1), &report(calls)).is_none());
        let synthesis = Some(Synthesis::NotAsked(Hindrance::NoTime));
        let unmerged = Report { synthesis, ..report(vec![call("Yes."), call("Yes.")]) };
        assert!(encode(&Key::numbered(1), &unmerged).is_none());
    }

    #[test]
    fn whatever_is_changed_cut_off_or_anothers_is_noticed() {
        let key = Key::numbered(1);
        let value = encode(&key, &report(vec![call("Yes.")])).unwrap();
        for end in 0..value.len() {
            assert!(matches!(decode(&key, &value[..end]), Err(Damaged::Checksum)), "cut off at {end}");
        }
        for place in 0..value.len() {
            let mut changed = value.clone();
            changed[place] ^= 1;
            assert!(matches!(decode(&key, &changed), Err(Damaged::Checksum)), "changed at {place}");
        }
        assert!(matches!(decode(&Key::numbered(2), &value), Err(Damaged::Checksum)));
        let foreign = [checksum(&key, b"{}").as_slice(), b"{}"].concat();
        assert!(matches!(decode(&key, &foreign), Err(Damaged::Form(_))));
    }
}
