//! Why there is no answer: a closed set of kinds, and what is known beside.
//!
//! An error holds words of ours and a vendor's error code, never a vendor's free text: that may repeat the question, or
//! part of a key.

use std::time::Duration;

use super::Spent;

/// What kind of failure it is; decides whether asking again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Every place for a call was taken until the time was over: no call was made.
    Saturated,
    /// It failed too often and is left alone for a while: no call was made.
    CircuitOpen,
    /// The budget has no room for what it may cost: no call was made.
    OverBudget,
    /// The key is wrong, or may not do this.
    Auth,
    /// The account has no money or no quota left.
    Quota,
    /// Too many requests or tokens at the moment.
    RateLimited,
    /// The vendor says that it is overloaded.
    Overloaded,
    /// The vendor failed or is away.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// The model or a filter declined to answer.
    Refused,
    /// The answer was cut off at the limit of tokens.
    Incomplete,
    /// An answer without text.
    Empty,
    /// The vendor does not accept the request.
    InvalidRequest,
    /// The vendor does not have the model (any more).
    ModelGone,
    /// What came is not what the vendor documents.
    Malformed,
    /// The connection could not be made, or broke.
    Network,
    /// The question, or the answer, is larger than it may be.
    TooLarge,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::Saturated,
        Self::CircuitOpen,
        Self::OverBudget,
        Self::Auth,
        Self::Quota,
        Self::RateLimited,
        Self::Overloaded,
        Self::Unavailable,
        Self::Timeout,
        Self::Refused,
        Self::Incomplete,
        Self::Empty,
        Self::InvalidRequest,
        Self::ModelGone,
        Self::Malformed,
        Self::Network,
        Self::TooLarge,
    ];

    /// One word, for counting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Saturated => "saturated",
            Self::CircuitOpen => "circuit_open",
            Self::OverBudget => "budget_exhausted",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Incomplete => "incomplete",
            Self::Empty => "empty_answer",
            Self::InvalidRequest => "invalid_request",
            Self::ModelGone => "model_gone",
            Self::Malformed => "malformed_response",
            Self::Network => "network",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether the same call may succeed a little later.
    pub fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::Unavailable | Self::Network)
    }

    /// Whether no call was made at all, because something here forbade it.
    pub fn rejected(self) -> bool {
        matches!(self, Self::Saturated | Self::CircuitOpen | Self::OverBudget)
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Saturated => {
                "all places for calls to this provider are taken (concurrency in providers.toml)"
            }
            Self::CircuitOpen => "the provider failed too often and is left alone for a while",
            Self::OverBudget => "the budget has no room for this call",
            Self::Auth => "the provider does not accept the key, or the key may not do this",
            Self::Quota => "the account has no credit or quota left",
            Self::RateLimited => "the provider limits the rate of requests",
            Self::Overloaded => "the provider is overloaded",
            Self::Unavailable => "the provider is unavailable",
            Self::Timeout => "the provider did not answer in time",
            Self::Refused => "the provider declined to answer",
            Self::Incomplete => "the answer was cut off at the limit of tokens (max_output_tokens)",
            Self::Empty => "the provider answered without text",
            Self::InvalidRequest => "the provider does not accept the request",
            Self::ModelGone => "the provider does not have this model",
            Self::Malformed => "the provider's response is not what it documents",
            Self::Network => "the connection to the provider failed",
            Self::TooLarge => "the question or the answer is too large",
        }
    }
}

/// Why there is no answer, and what the attempts cost all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", kind.sentence(), in_brackets(detail))]
pub struct ProviderError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// More about it, such as the status and the vendor's code; or nothing.
    pub detail: Box<str>,
    /// When the vendor says that asking again makes sense.
    pub retry_after: Option<Duration>,
    /// The model that was asked last, if one was.
    pub model: Option<Box<str>>,
    /// What the attempts cost.
    pub spent: Box<Spent>,
    /// Attempts made.
    pub attempts: u32,
    /// A timeout before the call had the time that one may take: it says nothing of the provider.
    pub hurried: bool,
}

impl ProviderError {
    /// A failure of this kind.
    pub fn new(kind: ErrorKind, detail: impl Into<Box<str>>) -> Self {
        let detail = detail.into();
        Self {
            kind,
            detail,
            retry_after: None,
            model: None,
            spent: Box::default(),
            attempts: 0,
            hurried: false,
        }
    }

    /// The same, with the time after which asking again makes sense, unless it is known already.
    #[must_use]
    pub fn or_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = self.retry_after.or(wait);
        self
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// A vendor's code as far as it may be repeated: short, of letters, digits and a few signs.
pub(super) fn code(text: &str) -> String {
    let harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']');
    text.chars().take_while(harmless).take(64).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_its_own_word_and_sentence() {
        let words: BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let sentences: BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.sentence()).collect();
        assert_eq!((words.len(), sentences.len()), (ErrorKind::ALL.len(), ErrorKind::ALL.len()));
    }

    #[test]
    fn a_code_repeats_no_sentence() {
        assert_eq!(code("insufficient_quota"), "insufficient_quota");
        assert_eq!(code("input[0].content"), "input[0].content");
        assert_eq!(code("Incorrect API key provided: sk-abc"), "Incorrect");
        assert_eq!(code(&"x".repeat(100)).len(), 64);
    }
}
