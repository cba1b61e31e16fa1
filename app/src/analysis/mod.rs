//! The use case: ask several providers the same question, compare their answers, decide.
//!
//! [`Analyzer::plan`] checks what is asked for against what there is; [`Analyzer::analyze`] asks and returns a
//! [`Report`] of everything that happened, also when nothing came of it. Nothing here knows HTTP or measuring.
//!
//! * `admission`: how many analyses run at once, and how many may wait.
//! * [`agreement`]: how far two answers agree.
//! * `call`: one provider's part, whatever came of it.
//! * `fanout`: asks, in parallel or in turn, within the deadline.
//! * `synthesis`: one answer made of several, by a further call.
//! * `verdict`: consensus, confidence, and whose answer is returned.

mod admission;
pub mod agreement;
mod call;
mod fanout;
mod synthesis;
mod verdict;

use std::sync::Arc;
use std::time::{Duration, Instant};

use techsapo_shared::labels::{AnswerSource, Provider as Name, Status, TaskType};
use tokio_util::sync::CancellationToken;

use crate::providers::live::ProviderSet;
use crate::providers::{Completion, ErrorKind, LiveProviders, Material, Provider, ProviderError};
use crate::turnstile::Turnstile;
pub use admission::Admission;
pub use call::{Call, CallError};
use synthesis::Merger;
pub use synthesis::{Hindrance, Synthesis};
pub use verdict::{Pair, Verdict};
use verdict::{Read, Reader};

/// Longest chain of calls that can be asked for in sequential mode.
pub const MAX_DEPTH: usize = 5;

/// How many answers a tier needs at least.
pub fn answers_needed(task_type: TaskType) -> usize {
    match task_type {
        TaskType::Basic => 2,
        TaskType::Premium => 3,
        TaskType::Critical => 4,
    }
}

/// How the providers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All at once, independently.
    Parallel,
    /// One after another, each seeing the answer before it.
    Sequential {
        /// How many are asked; fewer than the tier needs is raised to that. When it exceeds the providers, the first
        /// is asked again.
        depth: Option<usize>,
    },
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The question itself.
    pub prompt: String,
    /// How demanding it is.
    pub task_type: TaskType,
    /// How the providers are asked.
    pub mode: Mode,
    /// The models to ask, and no others; empty: the analyzer chooses.
    pub models: Vec<String>,
    /// What the providers read beside the question. Answers are compared as answers to the question alone.
    pub material: Option<Material>,
    /// Whether the answers are to be merged into one.
    pub synthesis: bool,
}

/// Why a question cannot be asked as it was put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No provider has this model.
    #[error("no provider has the model {model:?}; there are {}", known.join(", "))]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A model was named twice.
    #[error("the model {0:?} is named twice")]
    RepeatedModel(String),
    /// Fewer models named than answers needed.
    #[error("this tier needs at least {needed} models, {named} are named")]
    TooFewNamed {
        /// Answers needed.
        needed: usize,
        /// Models named.
        named: usize,
    },
    /// Fewer providers configured than answers needed: nothing that the question could change.
    #[error("this tier needs at least {needed} providers, {configured} are configured")]
    TooFewProviders {
        /// Answers needed.
        needed: usize,
        /// Providers in force.
        configured: usize,
    },
}

/// One provider, and the model to ask there if the question names one; else the choice is the provider's.
#[derive(Clone)]
struct Target {
    provider: Arc<dyn Provider>,
    model: Option<String>,
}

impl Target {
    /// The provider that has this model.
    fn with_model(providers: &ProviderSet, model: &String) -> Option<Self> {
        let provider = providers.iter().find(|provider| provider.models().contains(model))?;
        Some(Self { provider: Arc::clone(provider), model: Some(model.clone()) })
    }

    fn choice(&self) -> Choice {
        let Self { provider, model } = self;
        Choice {
            provider: provider.name(),
            models: model.clone().map_or_else(|| provider.models().to_vec(), |model| vec![model]),
            variant: provider.variant(),
        }
    }
}

/// A question, and who will be asked.
pub struct Plan {
    question: Question,
    needed: usize,
    asked: Vec<Target>,
    /// Who is asked instead when one of those fails.
    spares: Vec<Target>,
    /// Who merges the answers, if that is asked for.
    merger: Option<Merger>,
}

/// One who will be asked, as far as it decides the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Who it is.
    pub provider: Name,
    /// The model that is asked for; or all of them, where the choice is the provider's.
    pub models: Vec<String>,
    /// What else its answers depend on.
    pub variant: String,
}

impl Plan {
    /// The question.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Who is asked, as long as nobody fails.
    pub fn asked(&self) -> Vec<Name> {
        self.asked.iter().map(|target| target.provider.name()).collect()
    }

    /// The same in detail, in the order of asking.
    pub fn choices(&self) -> impl Iterator<Item = Choice> {
        self.asked.iter().map(Target::choice)
    }

    /// Who merges the answers, where that is set up; else it is one of those who are asked.
    pub fn merger(&self) -> Option<Choice> {
        match &self.merger {
            Some(Merger::Chosen(target)) => Some(target.choice()),
            Some(Merger::FirstAnswered | Merger::Missing(_)) | None => None,
        }
    }

    /// The report of an analysis that was made before, when the same question, put to the same providers, brought these
    /// calls.
    pub fn recall(
        &self,
        calls: Vec<Call>,
        synthesis: Option<Call>,
        ended_ms: u64,
        duration: Duration,
    ) -> Report {
        let reader = Reader::of(&self.question.prompt);
        let read = calls.into_iter().map(|call| reader.read(call)).collect();
        let (verdict, calls, outcome) = judge(read, self.needed, Failure::NotEnoughAnswers);
        let Question { task_type, mode, .. } = self.question;
        let synthesis = synthesis.map(Synthesis::Asked);
        Report {
            task_type,
            mode,
            needed: self.needed,
            calls,
            verdict,
            outcome,
            synthesis,
            ended_ms,
            duration,
        }
    }
}

/// A call that ended.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// It was to answer the question.
    Answer(&'a Call),
    /// It was to merge the answers.
    Synthesis(&'a Call),
}

/// Sees each call as it ends, in the order of ending. Must not wait.
pub type Watch = dyn Fn(Step<'_>) + Send + Sync;

/// Everything that happened in one analysis.
#[derive(Debug, Clone)]
pub struct Report {
    /// How demanding the question was.
    pub task_type: TaskType,
    /// How the providers were asked.
    pub mode: Mode,
    /// Answers that were needed.
    pub needed: usize,
    /// Every call, in the order of asking.
    pub calls: Vec<Call>,
    /// What the answers say together.
    pub verdict: Verdict,
    /// Index in `calls` of the best answer; or why none is returned.
    pub outcome: Result<usize, Failure>,
    /// What came of merging the answers; nothing where that was not asked for, or there was nothing to merge.
    pub synthesis: Option<Synthesis>,
    /// When it ended, Unix milliseconds.
    pub ended_ms: u64,
    /// How long it took.
    pub duration: Duration,
}

/// Why an analysis returned nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Too few providers answered.
    NotEnoughAnswers,
    /// The same, for the budget had no room for those who might have.
    OverBudget,
    /// Too few had answered when the time was over.
    DeadlineExceeded,
}

impl Report {
    /// The calls that brought an answer.
    pub fn answered(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.result.is_ok())
    }

    /// Whether it has an answer and nothing is missing from it: every call brought one, and merging them did if it was
    /// asked for.
    pub fn is_complete(&self) -> bool {
        let merged = self.synthesis.is_none() || self.synthesised().is_some();
        self.outcome.is_ok() && merged && self.calls.iter().all(|call| call.result.is_ok())
    }

    /// The steps of the analysis, in the order of asking.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let merging = self.synthesis.as_ref().and_then(Synthesis::call);
        self.calls.iter().map(Step::Answer).chain(merging.map(Step::Synthesis))
    }

    /// Every call, the one that was to merge the answers last.
    pub fn all_calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().chain(self.synthesis.as_ref().and_then(Synthesis::call))
    }

    /// The call that merged the answers, with what it made of them.
    pub fn synthesised(&self) -> Option<(&Call, &Completion)> {
        let call = self.synthesis.as_ref()?.call()?;
        Some((call, call.result.as_ref().ok()?))
    }

    /// The answer that is returned: the merged one if there is one, else the best.
    pub fn answer(&self) -> Option<&str> {
        self.synthesised().or_else(|| self.chosen()).map(|(_, answer)| answer.text.as_str())
    }

    /// Whose answer is returned.
    pub fn source(&self) -> AnswerSource {
        match (self.synthesised(), self.chosen()) {
            (Some(_), _) => AnswerSource::Ensemble,
            (None, Some((call, _))) => call.provider.into(),
            (None, None) => AnswerSource::None,
        }
    }

    /// The call whose answer is the best, with that answer.
    pub fn chosen(&self) -> Option<(&Call, &Completion)> {
        let call = self.calls.get(self.outcome.ok()?)?;
        Some((call, call.result.as_ref().ok()?))
    }

    /// What the budget said to calls that it had no room for.
    pub fn over_budget(&self) -> Vec<&ProviderError> {
        over_budget(&self.calls).collect()
    }

    /// What all calls cost together.
    pub fn total_cost_nanousd(&self) -> u64 {
        self.all_calls().map(Call::cost_nanousd).sum()
    }

    /// Whether nobody was asked: a breaker, a limit or the budget refused each call before it was made.
    fn is_refused(&self) -> bool {
        !self.calls.is_empty() && self.calls.iter().all(|call| call.status() == Status::Rejected)
    }

    /// How it ended.
    pub fn status(&self) -> Status {
        match self.outcome {
            Ok(_) => Status::Success,
            // Also if some were asked: nothing but the owner's decision was in the way of the others.
            Err(Failure::OverBudget) => Status::Rejected,
            Err(_) if self.is_refused() => Status::Rejected,
            Err(Failure::NotEnoughAnswers) => Status::Error,
            Err(Failure::DeadlineExceeded) => Status::Timeout,
        }
    }
}

fn over_budget(calls: &[Call]) -> impl Iterator<Item = &ProviderError> {
    let told = calls.iter().filter_map(|call| call.result.as_ref().err()?.told());
    told.filter(|error| error.kind == ErrorKind::OverBudget)
}

/// Asks providers and compares what they say.
pub struct Analyzer {
    providers: Arc<LiveProviders>,
    limits: Limits,
    /// Decides in which order answers are compared.
    turnstile: Turnstile,
    /// The model that merges answers; nothing: that of the first who answered.
    merging_model: Option<String>,
    /// Cancelled when no analysis has any time left.
    cut: CancellationToken,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One call.
    pub call: Duration,
    /// A whole analysis.
    pub analysis: Duration,
}

impl Analyzer {
    /// An analyzer that asks those of these providers that are in force when a question comes, the preferred ones first,
    /// and compares what they answer when it is its turn.
    pub fn new(providers: Arc<LiveProviders>, limits: Limits, turnstile: Turnstile) -> Self {
        Self { providers, limits, turnstile, merging_model: None, cut: CancellationToken::new() }
    }

    /// The same, with answers merged by this model.
    #[must_use]
    pub fn merging_by(self, model: Option<String>) -> Self {
        Self { merging_model: model, ..self }
    }

    /// The same, whose analyses have no time left once `cut` is cancelled: their calls end as those whose time is over.
    #[must_use]
    pub fn ending_by(self, cut: CancellationToken) -> Self {
        Self { cut, ..self }
    }

    /// Whom it can ask, the preferred ones first.
    pub fn providers(&self) -> ProviderSet {
        self.providers.current()
    }

    /// Decides whom to ask.
    ///
    /// # Errors
    /// Says why the question cannot be asked as it was put.
    pub fn plan(&self, question: Question) -> Result<Plan, PlanError> {
        let needed = answers_needed(question.task_type);
        let mut candidates = self.candidates(&question.models)?;
        if candidates.len() < needed {
            let there_are = candidates.len();
            return Err(if question.models.is_empty() {
                PlanError::TooFewProviders { needed, configured: there_are }
            } else {
                PlanError::TooFewNamed { needed, named: there_are }
            });
        }
        let wanted = match question.mode {
            _ if !question.models.is_empty() => candidates.len(),
            Mode::Sequential { depth: Some(depth) } => depth.clamp(needed, MAX_DEPTH),
            Mode::Sequential { depth: None } | Mode::Parallel => needed,
        };
        let spares = candidates.split_off(wanted.min(candidates.len()));
        let asked = candidates.iter().cycle().take(wanted).cloned().collect();
        let merger = question.synthesis.then(|| self.merger());
        Ok(Plan { question, needed, asked, spares, merger })
    }

    fn merger(&self) -> Merger {
        let Some(model) = &self.merging_model else { return Merger::FirstAnswered };
        let target = Target::with_model(&self.providers.current(), model);
        target.map_or_else(|| Merger::Missing(model.clone()), Merger::Chosen)
    }

    /// The named models, or every provider.
    fn candidates(&self, models: &[String]) -> Result<Vec<Target>, PlanError> {
        let providers = self.providers.current();
        if models.is_empty() {
            let target =
                |provider: &Arc<dyn Provider>| Target { provider: Arc::clone(provider), model: None };
            return Ok(providers.iter().map(target).collect());
        }
        let find = |model: &String| {
            Target::with_model(&providers, model).ok_or_else(|| PlanError::UnknownModel {
                model: model.clone(),
                known: providers.iter().flat_map(|provider| provider.models()).cloned().collect(),
            })
        };
        for (index, model) in models.iter().enumerate() {
            if models[..index].contains(model) {
                return Err(PlanError::RepeatedModel(model.clone()));
            }
        }
        models.iter().map(find).collect()
    }

    /// Asks, compares, decides. Ends within the analysis' time, whatever the providers do.
    /// `watch` sees each call as it ends.
    pub async fn analyze(&self, plan: Plan, watch: &Watch) -> Report {
        let started = Instant::now();
        let Plan { question, needed, asked, spares, merger } = plan;
        let clock = fanout::Clock { started, limits: self.limits, cut: &self.cut };
        let answers = fanout::Answers::to(&question.prompt, &self.turnstile);
        let asking = async {
            match question.mode {
                Mode::Parallel => fanout::parallel(&question, &asked, &spares, clock, &answers, watch).await,
                Mode::Sequential { .. } => {
                    fanout::sequential(&question, &asked, &spares, clock, &answers, watch).await
                }
            }
        };
        let reading = async {
            // The connections' turn first, so that the question is under way while it is read here.
            tokio::task::yield_now().await;
            answers.reader.prompt();
        };
        let (read, ()) = tokio::join!(asking, reading);
        let in_vain =
            if clock.left().is_zero() { Failure::DeadlineExceeded } else { Failure::NotEnoughAnswers };
        let (verdict, calls, outcome) = judge(read, needed, in_vain);
        // Also before another call, which is a long wait.
        drop(answers);
        let synthesis = match merger.filter(|_| outcome.is_ok()) {
            Some(merger) => {
                let targets: Vec<_> = asked.iter().chain(&spares).collect();
                synthesis::merge(&question, &merger, &targets, &calls, clock, watch).await
            }
            None => None,
        };
        Report {
            task_type: question.task_type,
            mode: question.mode,
            needed,
            calls,
            verdict,
            outcome,
            synthesis,
            ended_ms: crate::clock::unix_ms(),
            duration: started.elapsed(),
        }
    }
}

/// What the answers say together, the calls that brought them, and which one is returned; else that the budget was in the way,
/// or `in_vain`.
fn judge(read: Vec<Read>, needed: usize, in_vain: Failure) -> (Verdict, Vec<Call>, Result<usize, Failure>) {
    let (verdict, calls) = Verdict::of(read);
    let could_have = verdict.answered + over_budget(&calls).count();
    let in_vain = if could_have >= needed { Failure::OverBudget } else { in_vain };
    let outcome = verdict.chosen.filter(|_| verdict.answered >= needed).ok_or(in_vain);
    (verdict, calls, outcome)
}

#[cfg(test)]
mod tests;
