//! Who can be asked: one trait, and one vendor per file. Facts in, facts out.
//!
//! A provider knows nothing of HTTP routes, analyses or measuring. It returns what it was told and what that cost, or
//! why there is nothing; whoever asks decides how long to wait.

pub mod simulated;

use futures_util::future::BoxFuture;
use techsapo_shared::labels::{Provider as Name, TaskType};

/// One question to one model.
#[derive(Debug, Clone, Copy)]
pub struct CompletionRequest<'a> {
    /// The question.
    pub prompt: &'a str,
    /// How demanding it is.
    pub task_type: TaskType,
    /// The model to ask: one of [`Provider::models`].
    pub model: &'a str,
    /// The answer that another provider gave before, to be examined and bettered.
    pub previous: Option<&'a str>,
}

/// An answer and what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The answer.
    pub text: String,
    /// The model that served.
    pub model: String,
    /// Billable input tokens.
    pub input_tokens: u64,
    /// Billable output tokens.
    pub output_tokens: u64,
    /// What the call costs, in billionths of a US dollar.
    pub cost_nanousd: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The provider says that it cannot answer now.
    #[error("the provider is unavailable: {0}")]
    Unavailable(String),
}

impl ProviderError {
    /// What kind of failure it is, in one word for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
        }
    }
}

/// Someone who answers questions.
pub trait Provider: Send + Sync {
    /// Who it is.
    fn name(&self) -> Name;

    /// Its models, the preferred one first; never empty.
    fn models(&self) -> &[String];

    /// Asks once. Waits as long as it takes: time-outs are the caller's, who simply stops waiting.
    fn complete<'a>(
        &'a self,
        request: CompletionRequest<'a>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>>;
}
