//! What `POST /api/v1/generate` answers. Scores are 0 to 1, money in USD, exact figures beside it in nano-USD.

use serde::Serialize;
use techsapo_shared::event::WHOLE_PPM;
use techsapo_shared::labels::{AnswerSource, CacheType, Provider as Name, Status, TaskType, Vendor};

use super::answered::Answered;
use super::documents::Citation;
use super::ready::Told;
use crate::analysis::agreement::Comparison;
use crate::analysis::{Call, Mode, Pair, Report, Synthesis, Verdict};
use crate::clock;
use crate::store::answers::Found;

/// Stands in every response in which a simulated provider had a part.
const SIMULATED_NOTICE: &str =
    "Simulated providers answered: the text is made up, and so are its cost and the time that it took.";

/// A score as a number from 0 to 1.
pub(super) fn score(ppm: u32) -> f64 {
    f64::from(ppm) / f64::from(WHOLE_PPM)
}

/// An amount in USD. Sums are made before this, in integers.
pub(super) fn usd(nanousd: u64) -> f64 {
    nanousd as f64 / 1e9
}

/// The answer to a question.
#[derive(Serialize)]
pub(super) struct GenerateResponse<'a> {
    response: &'a str,
    confidence: Option<f64>,
    reasoning: String,
    task_type: TaskType,
    session_id: &'a str,
    wall_bounce_analysis: WallBounceAnalysis<'a>,
    /// The answer was given before; this one cost nothing.
    cached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<CacheView>,
    /// The passages that the providers read, by the numbers that the answer names.
    #[serde(skip_serializing_if = "Option::is_none")]
    citations: Option<&'a [Citation]>,
    simulated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'static str>,
    request_id: &'a str,
    timestamp: String,
}

/// Where an answer was that is given again, and what that saves.
#[derive(Serialize)]
struct CacheView {
    found_in: CacheType,
    /// When the analysis was made.
    analysed_at: String,
    age_ms: u64,
    /// What it cost then.
    saved_cost: f64,
    saved_cost_nanousd: u64,
}

impl CacheView {
    fn of(found: &Found) -> Self {
        let saved = found.report.total_cost_nanousd();
        Self {
            found_in: found.cache_type,
            analysed_at: clock::rfc3339(found.report.ended_ms),
            age_ms: found.found_ms.saturating_sub(found.report.ended_ms),
            saved_cost: usd(saved),
            saved_cost_nanousd: saved,
        }
    }
}

#[derive(Serialize)]
struct WallBounceAnalysis<'a> {
    mode: &'static str,
    /// Whose answer is returned; `ensemble` where it was made of several.
    answer_source: AnswerSource,
    /// Those who answered, in the order of asking.
    providers_used: Vec<Name>,
    llm_votes: Vec<CallView<'a>>,
    consensus: Option<f64>,
    consensus_components: ConsensusComponents<'a>,
    /// What came of merging the answers, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    synthesis: Option<SynthesisView<'a>>,
    total_cost: f64,
    total_cost_nanousd: u64,
    processing_time_ms: u64,
}

/// What consensus and confidence are made of.
#[derive(Serialize)]
struct ConsensusComponents<'a> {
    asked: usize,
    answered: usize,
    /// Those whose answers stand together, the largest cluster first; each by its place in `llm_votes`.
    clusters: &'a [Vec<usize>],
    /// How the answers split over the clusters: 0 together, 1 each alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    entropy: Option<f64>,
    pairs: Vec<PairView<'a>>,
}

/// How far two answers agree, and why.
#[derive(Serialize)]
struct PairView<'a> {
    a: Name,
    b: Name,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

impl<'a> ConsensusComponents<'a> {
    fn of(verdict: &'a Verdict) -> Self {
        let pair = |pair: &'a Pair| PairView { a: pair.a, b: pair.b, comparison: &pair.comparison };
        Self {
            asked: verdict.asked,
            answered: verdict.answered,
            clusters: &verdict.clusters,
            entropy: verdict.entropy_ppm.map(score),
            pairs: verdict.pairs.iter().map(pair).collect(),
        }
    }
}

impl<'a> GenerateResponse<'a> {
    pub(super) fn new(answered: &'a Answered, told: &'a Told, request_id: &'a str) -> Self {
        let (report, found) = (answered.report(), answered.found());
        let simulated = report.all_calls().any(|call| call.provider.vendor() == Vendor::Simulated);
        let mut providers_used = Vec::new();
        for call in report.answered() {
            // In sequence a provider may have answered twice; it is still one.
            if !providers_used.contains(&call.provider) {
                providers_used.push(call.provider);
            }
        }
        Self {
            response: report.answer().unwrap_or_default(),
            confidence: report.verdict.confidence_ppm.map(score),
            reasoning: reasoning(report, found),
            task_type: report.task_type,
            session_id: &told.session_id,
            wall_bounce_analysis: WallBounceAnalysis {
                mode: match report.mode {
                    Mode::Parallel => "parallel",
                    Mode::Sequential { .. } => "sequential",
                },
                answer_source: report.source(),
                providers_used,
                llm_votes: match found {
                    None => CallView::all(report),
                    Some(_) => CallView::all(report).into_iter().map(CallView::unused).collect(),
                },
                consensus: report.verdict.consensus_ppm.map(score),
                consensus_components: ConsensusComponents::of(&report.verdict),
                synthesis: report.synthesis.as_ref().map(|synthesis| SynthesisView::of(synthesis, found)),
                total_cost: usd(answered.cost_nanousd()),
                total_cost_nanousd: answered.cost_nanousd(),
                processing_time_ms: clock::micros(answered.duration()) / 1_000,
            },
            cached: found.is_some(),
            cache: found.map(CacheView::of),
            citations: told.citations.as_deref(),
            simulated,
            notice: simulated.then_some(SIMULATED_NOTICE),
            request_id,
            timestamp: clock::rfc3339(answered.ended_ms()),
        }
    }
}

/// Why this answer, in a sentence or two.
fn reasoning(report: &Report, found: Option<&Found>) -> String {
    let mut reasoning = choice(report);
    if found.is_some() {
        let made = clock::rfc3339(report.ended_ms);
        reasoning.push_str(&format!(" The analysis was made at {made}, and its answer is given again."));
    }
    reasoning
}

/// Why this answer and no other.
fn choice(report: &Report) -> String {
    let (answered, asked) = (report.answered().count(), report.calls.len());
    let Some((chosen, _)) = report.chosen() else { return String::new() };
    let percent = |ppm: u32| f64::from(ppm) / 1e4;
    let agreement = report.outcome.ok().and_then(|index| report.verdict.agreement_ppm[index]);
    match (report.verdict.consensus_ppm, agreement) {
        (Some(consensus), Some(agreement)) => {
            let agree = format!(
                "{answered} of {asked} calls brought an answer; the answers agree by {:.1} % on average.",
                percent(consensus)
            );
            let (best, agreement) = (chosen.provider, percent(agreement));
            match (&report.synthesis, report.synthesised()) {
                (_, Some((merging, _))) => format!(
                    "{agree} {} made one answer of them; confidence is that of the answers it was made of.",
                    merging.provider
                ),
                (Some(failed), None) => format!(
                    "{agree} They could not be merged ({}); the answer of {best} is returned instead because it agrees most \
                     with the others ({agreement:.1} %).",
                    problem_of(failed)
                ),
                (None, None) => format!(
                    "{agree} The answer of {best} is returned because it agrees most with the others \
                     ({agreement:.1} %)."
                ),
            }
        }
        _ => format!(
            "The only answer, of {}, is returned; there was none to compare it with.",
            chosen.provider
        ),
    }
}

/// Why there is no merged answer.
fn problem_of(synthesis: &Synthesis) -> String {
    match synthesis {
        Synthesis::NotAsked(hindrance) => hindrance.to_string(),
        Synthesis::Asked(call) => call.result.as_ref().err().map(ToString::to_string).unwrap_or_default(),
    }
}

/// What came of merging the answers, as a caller sees it.
#[derive(Serialize)]
#[serde(untagged)]
enum SynthesisView<'a> {
    /// The call, whatever came of it.
    Asked(CallView<'a>),
    /// Nobody was asked.
    NotAsked {
        /// `not_asked`.
        status: &'static str,
        error: String,
    },
}

impl<'a> SynthesisView<'a> {
    fn of(synthesis: &'a Synthesis, found: Option<&Found>) -> Self {
        match synthesis {
            Synthesis::Asked(call) if found.is_some() => Self::Asked(CallView::of(call).unused()),
            Synthesis::Asked(call) => Self::Asked(CallView::of(call)),
            Synthesis::NotAsked(hindrance) => {
                Self::NotAsked { status: "not_asked", error: hindrance.to_string() }
            }
        }
    }
}

/// One call, as a caller sees it.
#[derive(Serialize)]
pub(super) struct CallView<'a> {
    provider: Name,
    model: &'a str,
    status: Status,
    /// Confidence that there would be if this answer had been returned; measured, never the model's own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    /// Mean agreement with the other answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement_score: Option<f64>,
    duration_ms: u64,
    attempts: u32,
    input_tokens: u64,
    output_tokens: u64,
    cost: f64,
    cost_nanousd: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<CallProblem>,
}

#[derive(Serialize)]
struct CallProblem {
    kind: &'static str,
    message: String,
}

impl<'a> CallView<'a> {
    /// Every call of a report, in the order of asking.
    pub(super) fn all(report: &'a Report) -> Vec<Self> {
        report.calls.iter().enumerate().map(|(index, call)| Self::new(report, index, call)).collect()
    }

    fn new(report: &'a Report, index: usize, call: &'a Call) -> Self {
        Self {
            confidence: report.verdict.confidence_in_ppm(index).map(score),
            agreement_score: report.verdict.agreement_ppm[index].map(score),
            ..Self::of(call)
        }
    }

    /// The call of an answer that is given again: what it used, it used then.
    pub(super) fn unused(self) -> Self {
        Self { input_tokens: 0, output_tokens: 0, cost: 0.0, cost_nanousd: 0, ..self }
    }

    /// A call by itself: what it agrees with is not known yet.
    pub(super) fn of(call: &'a Call) -> Self {
        let spent = call.spent();
        let problem = |error: &crate::analysis::CallError| CallProblem {
            kind: error.kind().as_str(),
            message: error.to_string(),
        };
        Self {
            provider: call.provider,
            model: &call.model,
            status: call.status(),
            confidence: None,
            agreement_score: None,
            duration_ms: clock::micros(call.duration) / 1_000,
            attempts: call.attempts(),
            input_tokens: spent.tokens.input,
            output_tokens: spent.tokens.output,
            cost: usd(spent.cost_nanousd),
            cost_nanousd: spent.cost_nanousd,
            error: call.result.as_ref().err().map(problem),
        }
    }
}
