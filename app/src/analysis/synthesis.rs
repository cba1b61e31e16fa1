//! Merges the answers into one by a further call, where that is asked for.
//!
//! What must hold: the votes stay what they are; consensus and confidence are theirs. Where nothing comes of merging, the best
//! answer is still there, and the report says why.

use super::fanout::{self, Clock};
use super::{Call, Question, Step, Target, Watch};
use crate::providers::Before;

/// What came of merging the answers.
#[derive(Debug, Clone)]
pub enum Synthesis {
    /// A provider was asked to.
    Asked(Call),
    /// Nobody was.
    NotAsked(Hindrance),
}

/// Why nobody was asked to merge the answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hindrance {
    /// The analysis had taken all its time.
    #[error("no time was left to merge the answers")]
    NoTime,
    /// The model that is set up for it is none of those in force.
    #[error("no provider has the model {0:?}, which is set up to merge answers (setting synthesis.model)")]
    NoModel(String),
}

/// Who merges.
#[derive(Clone)]
pub(super) enum Merger {
    /// Whoever answered first in the order of asking.
    FirstAnswered,
    /// This one.
    Chosen(Target),
    /// The one that is set up is not in force.
    Missing(String),
}

impl Synthesis {
    /// The call, if there was one.
    pub fn call(&self) -> Option<&Call> {
        match self {
            Self::Asked(call) => Some(call),
            Self::NotAsked(_) => None,
        }
    }
}

/// Asks for one answer made of those that `calls` brought; nothing where there is none.
pub(super) async fn merge(
    question: &Question,
    merger: &Merger,
    targets: &[&Target],
    calls: &[Call],
    clock: Clock<'_>,
    watch: &Watch,
) -> Option<Synthesis> {
    let target = match merger {
        Merger::Chosen(target) => target,
        Merger::FirstAnswered => first_answered(targets, calls)?,
        Merger::Missing(model) => return Some(Synthesis::NotAsked(Hindrance::NoModel(model.clone()))),
    };
    if clock.left().is_zero() {
        return Some(Synthesis::NotAsked(Hindrance::NoTime));
    }
    let answers: Vec<&str> = calls
        .iter()
        .filter_map(|call| call.result.as_ref().ok())
        .map(|answer| answer.text.as_str())
        .collect();
    let call = fanout::call(question, target, Before::Merge(&answers), clock).await;
    watch(Step::Synthesis(&call));
    Some(Synthesis::Asked(call))
}

/// The first in the order of asking who answered, with the model that was asked for there.
fn first_answered<'a>(targets: &[&'a Target], calls: &[Call]) -> Option<&'a Target> {
    let answered = |target: &&&Target| {
        calls.iter().any(|call| match &call.result {
            Ok(answer) => {
                let asked = answer.instead_of.as_ref().unwrap_or(&answer.model);
                call.provider == target.provider.name()
                    && target.model.as_ref().is_none_or(|model| model == asked)
            }
            Err(_) => false,
        })
    };
    targets.iter().find(answered).copied()
}
