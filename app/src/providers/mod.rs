//! Who can be asked: one trait, and one vendor per file. Facts in, facts out.
//!
//! A provider knows nothing of HTTP routes, analyses or measuring. It returns what it was told and what that cost, or
//! why there is nothing and what that cost.
//!
//! * [`openai`], [`gemini`], [`anthropic`], [`openrouter`]: each vendor's wire format, as a `dialect`.
//! * [`remote`]: a provider over the network in one of these dialects: attempts, fall-back to the next model, cost.
//! * `transport`, `sse`: one attempt, and its events. [`Material`]: what is read beside a question.
//! * [`prices`]: what tokens cost. [`key`]: what opens the door; [`keys`]: where it is found. [`simulated`]: answers without any of it.
//! * [`live`]: the providers in force, which change while analyses run.
//!
//! [`Priced`] is who can say beforehand what a question may cost.
//!
//! Guards around calls are providers that wrap another (`guard::provider`). They refuse with a kind that
//! [`ErrorKind::rejected`] knows: an analysis then counts the call as rejected.

pub mod anthropic;
mod dialect;
mod error;
pub mod gemini;
pub mod key;
pub mod keys;
pub mod live;
mod material;
pub mod openai;
pub mod openrouter;
pub mod prices;
pub mod remote;
pub mod simulated;
mod sse;
mod transport;
pub mod vendors;

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use techsapo_shared::labels::{Provider as Name, TaskType};

pub use error::{ErrorKind, ProviderError};
pub use live::LiveProviders;
pub use material::Material;

/// One question to one provider.
#[derive(Debug, Clone, Copy)]
pub struct CompletionRequest<'a> {
    /// The question.
    pub prompt: &'a str,
    /// How demanding it is.
    pub task_type: TaskType,
    /// The model to ask and no other, one of [`Provider::models`]; nothing: the provider's choice.
    pub model: Option<&'a str>,
    /// What is to be read beside the question.
    pub material: Option<&'a Material>,
    /// What was answered before.
    pub before: Before<'a>,
    /// When an answer is of no more use. A provider gives up by then, and says what it spent.
    pub deadline: Instant,
    /// What a call may take. Less is left where the analysis ends before.
    pub patience: Duration,
}

impl CompletionRequest<'_> {
    /// Whether a call that begins now has clearly less time than one may take: that it gets no answer then says nothing of the provider.
    pub fn is_hurried(&self) -> bool {
        is_hurried(self.deadline.saturating_duration_since(Instant::now()), self.patience)
    }
}

#[cfg(test)]
impl<'a> CompletionRequest<'a> {
    /// A question with nothing beside it, whose time is over.
    pub(crate) fn of(prompt: &'a str) -> Self {
        Self {
            prompt,
            task_type: TaskType::Basic,
            model: None,
            material: None,
            before: Before::Nothing,
            deadline: Instant::now(),
            patience: Duration::ZERO,
        }
    }
}

/// Whether `left` is clearly less than the whole `patience`.
fn is_hurried(left: Duration, patience: Duration) -> bool {
    left < patience.mul_f64(0.9)
}

/// What was answered to the question before, and what is to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before<'a> {
    /// Nothing: the question alone is put.
    Nothing,
    /// Another provider's answer, to be examined and bettered.
    Improve(&'a str),
    /// Several providers' answers, to be merged into one.
    Merge(&'a [&'a str]),
}

impl<'a> Before<'a> {
    /// The answers.
    pub fn answers(&self) -> &[&'a str] {
        match self {
            Self::Nothing => &[],
            Self::Improve(answer) => std::slice::from_ref(answer),
            Self::Merge(answers) => answers,
        }
    }
}

/// Tokens as the vendor bills them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// All input, with what was read from and written to a cache.
    pub input: u64,
    /// The part of `input` that was read from the vendor's cache.
    pub cached_input: u64,
    /// The part of `input` that was written to the vendor's cache.
    pub cache_write: u64,
    /// All output, with what the model reasoned.
    pub output: u64,
    /// The part of `output` that was reasoning, where the vendor tells.
    pub reasoning: u64,
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        self.input += more.input;
        self.cached_input += more.cached_input;
        self.cache_write += more.cache_write;
        self.output += more.output;
        self.reasoning += more.reasoning;
    }
}

/// What a call used, all its attempts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Billable tokens.
    pub tokens: Tokens,
    /// What they cost, in billionths of a US dollar.
    pub cost_nanousd: u64,
    /// Some of them have no price: the cost is too low.
    pub unpriced: bool,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.tokens += more.tokens;
        self.cost_nanousd = self.cost_nanousd.saturating_add(more.cost_nanousd);
        self.unpriced |= more.unpriced;
    }
}

/// An answer and what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The answer.
    pub text: String,
    /// The model that served. A dated snapshot of the model asked for bears that one's name.
    pub model: String,
    /// The model that was asked for, where another served.
    pub instead_of: Option<String>,
    /// What all attempts used.
    pub spent: Spent,
    /// Attempts made; at least one.
    pub attempts: u32,
}

/// Someone who answers questions.
pub trait Provider: Send + Sync {
    /// Who it is.
    fn name(&self) -> Name;

    /// Its models, the preferred one first; never empty.
    fn models(&self) -> &[String];

    /// Whatever in its settings decides what it answers, beside its name and its models: with another variant, the same
    /// question may be answered otherwise.
    fn variant(&self) -> String;

    /// Asks, and gives up at the request's deadline. Who asks may also simply stop waiting; what was spent is then
    /// not known.
    fn complete<'a>(
        &'a self,
        request: CompletionRequest<'a>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>>;
}

/// A provider that is paid.
pub trait Priced: Provider {
    /// The most that one attempt at this request can cost, in billionths of a US dollar; 0 where no price is known.
    fn cost_at_most_nanousd(&self, request: &CompletionRequest<'_>) -> u64;
}
