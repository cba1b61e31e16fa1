//! Asks the providers and returns every call, whatever came of it. When one fails, a spare is asked in its place.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::verdict::{Read, Reader};
use super::{Call, CallError, Limits, Question, Step, Target, Watch};
use crate::providers::{Before, Completion, CompletionRequest};
use crate::turnstile::{Turn, Turnstile};

/// How long a provider may take to give up once its time is over.
const GRACE: Duration = Duration::from_millis(50);

/// What is left of an analysis' time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock<'a> {
    pub(super) started: Instant,
    pub(super) limits: Limits,
    /// Nothing is left once this is cancelled.
    pub(super) cut: &'a CancellationToken,
}

impl Clock<'_> {
    pub(super) fn left(&self) -> Duration {
        if self.cut.is_cancelled() {
            return Duration::ZERO;
        }
        self.limits.analysis.saturating_sub(self.started.elapsed())
    }
}

/// Reads answers as they come, the last one when it is its turn: until all are compared, what is left then is work and no wait.
pub(super) struct Answers<'a> {
    pub(super) reader: Reader<'a>,
    turnstile: &'a Turnstile,
    /// Since the last answer, until this is dropped.
    turn: OnceLock<Turn>,
}

impl<'a> Answers<'a> {
    /// To a question, which is not read yet.
    pub(super) fn to(question: &'a str, turnstile: &'a Turnstile) -> Self {
        Self { reader: Reader::of(question), turnstile, turn: OnceLock::new() }
    }

    /// Reads what a call brought. Of the last one, an answer: without one there is little left to do.
    pub(super) async fn read(&self, call: Call, is_last: bool) -> Read {
        if is_last && call.result.is_ok() {
            let _ = self.turn.set(self.turnstile.turn_to_compare().await);
        }
        self.reader.read(call)
    }
}

/// Asks all at once. The calls come in the order of asking, not of answering, so that the same question reads the same.
pub(super) async fn parallel(
    question: &Question,
    asked: &[Target],
    spares: &[Target],
    clock: Clock<'_>,
    answers: &Answers<'_>,
    watch: &Watch,
) -> Vec<Read> {
    let numbered =
        |index: usize, target| async move { (index, call(question, target, Before::Nothing, clock).await) };
    let mut targets = asked.iter().chain(spares).enumerate();
    let mut running: FuturesUnordered<_> =
        targets.by_ref().take(asked.len()).map(|(index, target)| numbered(index, target)).collect();
    let mut calls = Vec::with_capacity(asked.len());
    while let Some((index, call)) = running.next().await {
        watch(Step::Answer(&call));
        if call.result.is_err() && !clock.left().is_zero() {
            running.extend(targets.next().map(|(index, target)| numbered(index, target)));
        }
        calls.push((index, answers.read(call, running.is_empty()).await));
    }
    calls.sort_by_key(|(index, _)| *index);
    calls.into_iter().map(|(_, call)| call).collect()
}

/// Asks one after another, each seeing the last answer before it.
pub(super) async fn sequential(
    question: &Question,
    asked: &[Target],
    spares: &[Target],
    clock: Clock<'_>,
    answers: &Answers<'_>,
    watch: &Watch,
) -> Vec<Read> {
    let mut calls: Vec<Read> = Vec::with_capacity(asked.len());
    let mut wanted = asked.len();
    let targets = asked.len() + spares.len();
    for (number, target) in asked.iter().chain(spares).enumerate() {
        if calls.len() == wanted || clock.left().is_zero() {
            break;
        }
        let previous = calls.iter().rev().find_map(|read| read.call.result.as_ref().ok());
        let previous = previous.map(|answer| answer.text.as_str());
        let before = previous.map_or(Before::Nothing, Before::Improve);
        let call = call(question, target, before, clock).await;
        watch(Step::Answer(&call));
        wanted += usize::from(call.result.is_err());
        let is_last = calls.len() + 1 == wanted || number + 1 == targets || clock.left().is_zero();
        calls.push(answers.read(call, is_last).await);
    }
    calls
}

/// One call, within what one call may take and what is left of the whole.
pub(super) async fn call(question: &Question, target: &Target, before: Before<'_>, clock: Clock<'_>) -> Call {
    let started = Instant::now();
    let patience = clock.limits.call.min(clock.left());
    let request = CompletionRequest {
        prompt: &question.prompt,
        task_type: question.task_type,
        model: target.model.as_deref(),
        material: question.material.as_ref(),
        before,
        deadline: started + patience,
        patience: clock.limits.call,
    };
    // A provider ends in time by itself, and then says what it spent.
    let completing = tokio::time::timeout(patience + GRACE, target.provider.complete(request));
    let result = tokio::select! {
        biased;
        ended = completing => match ended {
            Ok(result) => result.map_err(CallError::from),
            Err(_) => Err(CallError::Timeout(patience)),
        },
        () = clock.cut.cancelled() => Err(CallError::Timeout(started.elapsed())),
    };
    Call {
        provider: target.provider.name(),
        model: model_of(&result, target),
        ended_ms: crate::clock::unix_ms(),
        duration: started.elapsed(),
        result,
    }
}

/// The model that served, or that was asked last, or that would have been asked first.
fn model_of(result: &Result<Completion, CallError>, target: &Target) -> String {
    let asked = match result {
        Ok(completion) => Some(completion.model.as_str()),
        Err(error) => error.told().and_then(|error| error.model.as_deref()),
    };
    let first = || target.provider.models().first().map(String::as_str);
    asked.or(target.model.as_deref()).or_else(first).unwrap_or_default().to_owned()
}
