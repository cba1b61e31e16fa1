//! Analyses over providers that do as they are told.

use std::pin::pin;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, poll};
use techsapo_shared::event::WHOLE_PPM;

use super::*;
use crate::providers::{Before, CompletionRequest, Spent, Tokens};
use Does::{Answer, Hang};

/// What a provider does when it is asked.
#[derive(Clone, Copy)]
enum Does {
    Answer(&'static str),
    Fail(ErrorKind),
    Hang,
}

struct Fake {
    name: Name,
    models: Vec<String>,
    does: Does,
    /// What it does when it is asked to merge answers.
    merges: Does,
    /// The answers that each question came with.
    saw: Mutex<Vec<Vec<String>>>,
}

impl Provider for Fake {
    fn name(&self) -> Name {
        self.name
    }

    fn models(&self) -> &[String] {
        &self.models
    }

    fn variant(&self) -> String {
        String::new()
    }

    fn complete<'a>(
        &'a self,
        request: CompletionRequest<'a>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>> {
        let before = request.before.answers().iter().map(|&answer| answer.to_owned());
        self.saw.lock().unwrap().push(before.collect());
        let does = if matches!(request.before, Before::Merge(_)) { self.merges } else { self.does };
        async move {
            match does {
                Does::Answer(text) => Ok(Completion {
                    text: text.to_owned(),
                    model: request.model.unwrap_or(&self.models[0]).to_owned(),
                    instead_of: None,
                    spent: SPENT,
                    attempts: 1,
                }),
                Does::Fail(kind) => {
                    Err(ProviderError { spent: Box::new(SPENT), ..ProviderError::new(kind, "") })
                }
                Does::Hang => std::future::pending().await,
            }
        }
        .boxed()
    }
}

const SPENT: Spent = Spent {
    tokens: Tokens { input: 1, cached_input: 0, cache_write: 0, output: 2, reasoning: 0 },
    cost_nanousd: 3,
    unpriced: false,
};
#[allow(non_upper_case_globals)] // Reads as the variant that it stands for.
const Fail: Does = Does::Fail(ErrorKind::Unavailable);
const NAMES: [Name; 4] = [Name::Gemini, Name::OpenAi, Name::Claude, Name::OpenRouter];

fn fakes(does: &[Does]) -> Vec<Arc<Fake>> {
    merging(does, &[Answer("All of it."); 4])
}

/// The same, with what they do when they are asked to merge.
fn merging(does: &[Does], merges: &[Does]) -> Vec<Arc<Fake>> {
    does.iter()
        .zip(merges)
        .zip(NAMES)
        .map(|((&does, &merges), name)| {
            let models = vec![format!("{name}-1"), format!("{name}-2")];
            Arc::new(Fake { name, models, does, merges, saw: Mutex::default() })
        })
        .collect()
}

fn analyzer(fakes: &[Arc<Fake>]) -> Analyzer {
    let limits = Limits { call: Duration::from_millis(20), analysis: Duration::from_secs(60) };
    let providers = fakes.iter().map(|fake| Arc::clone(fake) as Arc<dyn Provider>).collect();
    Analyzer::new(Arc::new(LiveProviders::new(providers)), limits, Turnstile::new(1))
}

fn question(task_type: TaskType, mode: Mode) -> Question {
    Question {
        prompt: "Why?".to_owned(),
        task_type,
        mode,
        models: Vec::new(),
        material: None,
        synthesis: false,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(analyzer: &Analyzer, question: Question) -> Report {
    analyzer.analyze(analyzer.plan(question).unwrap(), &|_| ()).await
}

fn report(does: &[Does], task_type: TaskType) -> Report {
    run(&analyzer(&fakes(does)), question(task_type, Mode::Parallel))
}

const SAME: Does = Answer("Add an index to the table.");
const OTHER: Does = Answer("Buy quicker disks, perhaps.");

#[test]
fn each_tier_asks_as_many_as_it_needs() {
    for (task_type, needed) in [(TaskType::Basic, 2), (TaskType::Premium, 3), (TaskType::Critical, 4)] {
        let report = report(&[SAME; 4], task_type);
        assert_eq!((report.calls.len(), report.needed), (needed, needed));
        assert_eq!(report.status(), Status::Success);
        assert_eq!(report.verdict.consensus_ppm, Some(WHOLE_PPM));
        assert_eq!(report.verdict.confidence_ppm, Some(WHOLE_PPM));
        assert_eq!(report.verdict.pairs.len(), needed * (needed - 1) / 2);
        assert_eq!(report.total_cost_nanousd(), 3 * needed as u64);
    }
}

#[test]
fn a_spare_stands_in_for_a_failed_provider_and_confidence_says_so() {
    let report = report(&[SAME, Fail, SAME, SAME], TaskType::Basic);
    let names: Vec<_> = report.calls.iter().map(|call| (call.provider, call.status())).collect();
    assert_eq!(
        names,
        [(Name::Gemini, Status::Success), (Name::OpenAi, Status::Error), (Name::Claude, Status::Success),]
    );
    assert_eq!(report.status(), Status::Success);
    assert_eq!(report.verdict.consensus_ppm, Some(WHOLE_PPM));
    assert_eq!(report.verdict.confidence_ppm, Some(833_333));
}

#[test]
fn too_few_answers_are_an_error_that_keeps_what_happened() {
    let report = report(&[SAME, Fail, Fail, Fail], TaskType::Basic);
    assert_eq!(report.outcome, Err(Failure::NotEnoughAnswers));
    assert_eq!(report.status(), Status::Error);
    assert!(report.chosen().is_none());
    assert_eq!(report.calls.len(), 4);
    assert_eq!(report.total_cost_nanousd(), 12, "what failed was billed too");
    assert_eq!(report.calls[1].result.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn one_answer_has_neither_agreement_nor_confidence() {
    let verdict = report(&[SAME, Fail, Fail, Fail], TaskType::Basic).verdict;
    assert_eq!((verdict.consensus_ppm, verdict.confidence_ppm), (None, None));
    assert_eq!(verdict.agreement_ppm, [None; 4]);
    assert!(verdict.pairs.is_empty());
}

#[test]
fn a_provider_that_hangs_times_out_and_is_replaced() {
    let report = report(&[Hang, SAME, SAME, SAME], TaskType::Basic);
    assert_eq!(report.calls[0].status(), Status::Timeout);
    assert_eq!(report.calls[0].result.as_ref().unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(report.status(), Status::Success);
}

#[test]
fn the_deadline_ends_an_analysis_whatever_the_providers_do() {
    for mode in [Mode::Parallel, Mode::Sequential { depth: None }] {
        let mut analyzer = analyzer(&fakes(&[Hang; 4]));
        analyzer.limits = Limits { call: Duration::from_secs(60), analysis: Duration::from_millis(20) };
        let report = run(&analyzer, question(TaskType::Critical, mode));
        assert_eq!(report.outcome, Err(Failure::DeadlineExceeded));
        assert_eq!(report.status(), Status::Timeout);
        assert!(report.calls.iter().all(|call| call.status() == Status::Timeout));
    }
}

#[test]
fn the_answer_that_agrees_most_is_returned() {
    let report = report(&[OTHER, SAME, SAME], TaskType::Premium);
    assert_eq!(report.chosen().unwrap().0.provider, Name::OpenAi);
    let verdict = &report.verdict;
    assert!(verdict.confidence_in_ppm(0) < verdict.confidence_in_ppm(1));
    assert!(verdict.consensus_ppm.unwrap() < 700_000, "{verdict:?}");
}

#[test]
fn in_sequence_each_sees_the_answer_before_it() {
    let fakes = fakes(&[SAME, Fail, OTHER, SAME]);
    let report = run(&analyzer(&fakes), question(TaskType::Basic, Mode::Sequential { depth: Some(3) }));
    assert_eq!(report.calls.len(), 4, "the failed call was made up for");
    let saw = |index: usize| fakes[index].saw.lock().unwrap()[0].clone();
    assert!(saw(0).is_empty());
    assert_eq!(saw(1), ["Add an index to the table."]);
    assert_eq!(saw(2), ["Add an index to the table."]);
    assert_eq!(saw(3), ["Buy quicker disks, perhaps."]);
}

#[test]
fn depth_never_falls_below_the_tier_and_goes_round() {
    let calls = |task_type, depth| {
        let question = question(task_type, Mode::Sequential { depth: Some(depth) });
        run(&analyzer(&fakes(&[SAME; 4])), question).calls.len()
    };
    assert_eq!(calls(TaskType::Critical, 1), 4);
    assert_eq!(calls(TaskType::Basic, 5), 5);
}

#[test]
fn named_models_are_asked_and_no_others() {
    let analyzer = analyzer(&fakes(&[SAME; 4]));
    let ask = |models: &[&str]| {
        let models = models.iter().map(|&model| model.to_owned()).collect();
        analyzer.plan(Question { models, ..question(TaskType::Basic, Mode::Parallel) })
    };
    let plan = ask(&["Claude-2", "Gemini-1", "Claude-1"]).unwrap();
    let targets: Vec<_> = plan.asked.iter().map(|target| target.model.as_deref().unwrap()).collect();
    assert_eq!(targets, ["Claude-2", "Gemini-1", "Claude-1"]);
    assert!(plan.spares.is_empty());
    assert_eq!(ask(&["Claude-1"]).err(), Some(PlanError::TooFewNamed { needed: 2, named: 1 }));
    assert_eq!(ask(&["Claude-1", "Claude-1"]).err(), Some(PlanError::RepeatedModel("Claude-1".to_owned())));
    assert!(ask(&["nobody", "Claude-1"]).err().unwrap().to_string().contains("OpenRouter-2"));
}

#[test]
fn a_call_that_was_not_made_is_rejected_and_replaced() {
    let report = report(&[Does::Fail(ErrorKind::Saturated), SAME, SAME], TaskType::Basic);
    assert_eq!(report.calls[0].status(), Status::Rejected);
    assert!(matches!(report.calls[0].result, Err(CallError::Rejected(_))));
    assert_eq!(report.status(), Status::Success);
    assert_eq!((report.verdict.asked, report.verdict.answered), (2, 2));
    assert_eq!(report.verdict.confidence_ppm, report.verdict.consensus_ppm, "nobody failed to answer");
}

#[test]
fn a_failed_call_bears_the_model_that_was_asked_first() {
    let report = report(&[Fail, SAME, SAME], TaskType::Basic);
    assert_eq!(report.calls[0].model, "Gemini-1");
}

#[test]
fn providers_change_between_questions_and_never_within_one() {
    let (before, after) = (fakes(&[SAME; 2]), fakes(&[OTHER; 4]));
    let analyzer = analyzer(&before);
    let plan = analyzer.plan(question(TaskType::Basic, Mode::Parallel)).unwrap();
    let four = || question(TaskType::Critical, Mode::Parallel);
    assert_eq!(analyzer.plan(four()).err(), Some(PlanError::TooFewProviders { needed: 4, configured: 2 }));
    analyzer.providers.replace(after.iter().map(|fake| Arc::clone(fake) as Arc<dyn Provider>).collect());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(analyzer.analyze(plan, &|_| ()));
    assert_eq!(report.chosen().unwrap().1.text, "Add an index to the table.");
    assert_eq!(run(&analyzer, four()).calls.len(), 4);
}

/// Polled by hand, so that no timer ends the wait for a turn.
#[tokio::main(flavor = "current_thread")]
async fn compared_in_turn(does: &[Does], mode: Mode) {
    let fakes = merging(does, &[Does::Hang; 4]);
    let analyzer = analyzer(&fakes);
    let question = Question { synthesis: true, ..question(TaskType::Basic, mode) };
    let mut analysis = pin!(analyzer.analyze(analyzer.plan(question).unwrap(), &|_| ()));
    let turn = analyzer.turnstile.turn().await;
    // What is ready goes on at each: the answers are here, and the question is read.
    for _ in 0..3 {
        assert!(poll!(&mut analysis).is_pending());
    }
    let saw = || fakes.iter().map(|fake| fake.saw.lock().unwrap().len()).sum::<usize>();
    assert_eq!(saw(), does.len(), "nothing was made of the answers while it was another's turn");
    drop(turn);
    assert!(poll!(&mut analysis).is_pending());
    assert_eq!(saw(), does.len() + 1, "then they were compared, and one was asked to merge them");
    assert!(poll!(pin!(analyzer.turnstile.turn())).is_ready(), "whoever waits for that keeps no turn");
}

#[test]
fn answers_are_compared_in_turn() {
    compared_in_turn(&[SAME, OTHER], Mode::Parallel);
    compared_in_turn(&[SAME, OTHER], Mode::Sequential { depth: None });
    // The third is the last, though as many answers as were wanted did not come.
    compared_in_turn(&[SAME, Fail, OTHER], Mode::Sequential { depth: Some(3) });
}

#[tokio::main(flavor = "current_thread")]
#[test]
async fn the_turn_lasts_until_the_answers_are_compared() {
    let turnstile = Turnstile::new(1);
    let answers = fanout::Answers::to("Why?", &turnstile);
    let analyzer = analyzer(&fakes(&[SAME; 2]));
    let plan = analyzer.plan(question(TaskType::Basic, Mode::Parallel)).unwrap();
    let call = analyzer.analyze(plan, &|_| ()).await.calls.remove(0);
    let fell_silent = Call { result: Err(CallError::Timeout(Duration::ZERO)), ..call.clone() };
    let free = async || poll!(pin!(turnstile.turn_to_compare())).is_ready();
    answers.read(call.clone(), false).await;
    answers.read(fell_silent, true).await;
    assert!(free().await, "the one was not the last, the other no answer");
    answers.read(call, true).await;
    assert!(!free().await);
    drop(answers);
    assert!(free().await);
}

fn merged(analyzer: &Analyzer, task_type: TaskType) -> Report {
    run(analyzer, Question { synthesis: true, ..question(task_type, Mode::Parallel) })
}

#[test]
fn merged_answers_are_returned_and_billed_and_the_votes_stay_what_they_are() {
    let fakes = fakes(&[SAME, OTHER, SAME]);
    let report = merged(&analyzer(&fakes), TaskType::Premium);
    let plain = run(&analyzer(&fakes), question(TaskType::Premium, Mode::Parallel));
    assert_eq!((report.answer(), report.source()), (Some("All of it."), AnswerSource::Ensemble));
    assert_eq!(fakes[0].saw.lock().unwrap()[1].len(), 3, "whoever answered first merges what all answered");
    assert_eq!(report.verdict, plain.verdict);
    assert_eq!((report.calls.len(), report.all_calls().count()), (3, 4));
    assert_eq!(report.total_cost_nanousd(), plain.total_cost_nanousd() + 3);
    assert!(report.is_complete());
    assert_eq!((plain.source(), plain.synthesis.is_none()), (AnswerSource::Gemini, true));
}

#[test]
fn whoever_did_not_answer_does_not_merge() {
    let report = merged(&analyzer(&fakes(&[Fail, SAME, SAME])), TaskType::Basic);
    assert_eq!(report.synthesised().map(|(call, _)| call.provider), Some(Name::OpenAi));
    // Two models of one provider: the one that answered is asked.
    let fakes = fakes(&[SAME, SAME]);
    let models = vec!["OpenAI-2".to_owned(), "Gemini-1".to_owned()];
    let question = Question { models, synthesis: true, ..question(TaskType::Basic, Mode::Parallel) };
    assert_eq!(run(&analyzer(&fakes), question).synthesised().unwrap().0.model, "OpenAI-2");
}

#[test]
fn when_merging_fails_the_best_answer_is_there_and_it_is_told_why() {
    for fails in [Fail, Hang, Does::Fail(ErrorKind::CircuitOpen)] {
        let fakes = merging(&[SAME, SAME, OTHER], &[fails; 3]);
        let report = merged(&analyzer(&fakes), TaskType::Premium);
        assert_eq!(report.answer(), Some("Add an index to the table."));
        assert_eq!((report.source(), report.status()), (AnswerSource::Gemini, Status::Success));
        let Some(Synthesis::Asked(call)) = &report.synthesis else { panic!("{:?}", report.synthesis) };
        assert!(call.result.is_err());
        assert_eq!(report.all_calls().count(), 4, "the attempt counts");
        assert!(!report.is_complete());
    }
}

#[test]
fn the_model_that_is_set_up_merges_or_it_is_told_that_there_is_none() {
    let by = |model: &str| analyzer(&fakes(&[SAME; 4])).merging_by(Some(model.to_owned()));
    let report = merged(&by("OpenRouter-2"), TaskType::Basic);
    let (call, _) = report.synthesised().unwrap();
    assert_eq!((call.provider, call.model.as_str()), (Name::OpenRouter, "OpenRouter-2"));

    let report = merged(&by("nobody-1"), TaskType::Basic);
    assert_eq!((report.answer(), report.all_calls().count()), (Some("Add an index to the table."), 2));
    let Some(Synthesis::NotAsked(hindrance)) = report.synthesis else { panic!("{:?}", report.synthesis) };
    assert!(hindrance.to_string().contains("nobody-1"), "{hindrance}");
}

#[test]
fn nothing_is_merged_where_there_is_no_answer_or_no_time() {
    let report = merged(&analyzer(&fakes(&[SAME, Fail, Fail, Fail])), TaskType::Basic);
    assert_eq!((report.outcome, report.synthesis.is_none()), (Err(Failure::NotEnoughAnswers), true));

    let analyzer = Analyzer {
        limits: Limits { call: Duration::from_millis(40), analysis: Duration::from_millis(40) },
        ..analyzer(&fakes(&[SAME, SAME, Hang]))
    };
    let models = ["Gemini-1", "OpenAI-1", "Claude-1"].map(str::to_owned).to_vec();
    let question = Question { models, synthesis: true, ..question(TaskType::Basic, Mode::Parallel) };
    let report = run(&analyzer, question);
    assert_eq!((report.answer(), report.is_complete()), (Some("Add an index to the table."), false));
    assert!(matches!(report.synthesis, Some(Synthesis::NotAsked(Hindrance::NoTime))));
}
