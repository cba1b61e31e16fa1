//! The built-in simulated providers: four of them, so that everything runs without a key.
//!
//! Whatever one does (its answer, latency, failure, whether it contradicts the others) follows from the seed, the
//! provider, the tier and the prompt by a hash, so that the same question always goes the same way.
//!
//! Tokens are counted by a rule of thumb: one for each Chinese or Japanese character, one for four other characters,
//! rounded up. The cost is what those tokens cost at the configured prices, rounded up to the nano-dollar.

mod text;

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use techsapo_shared::labels::{ClosedLabel, Provider as Name, TaskType};

use super::{Before, Completion, CompletionRequest, ErrorKind, Provider, ProviderError, Spent, Tokens};
use text::{Stance, is_ideographic};

/// The simulated providers, in the order in which lists of settings name them.
pub const NAMES: [Name; 4] =
    [Name::SimulatedGemini, Name::SimulatedOpenAi, Name::SimulatedClaude, Name::SimulatedOpenRouter];

/// How one simulated provider behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Another seed, other answers.
    pub seed: u64,
    /// Mean time until an answer.
    pub latency: Duration,
    /// How far a latency may lie from the mean; at most the mean.
    pub latency_jitter: Duration,
    /// Millionths of the calls that fail.
    pub failure_ppm: u32,
    /// Millionths of the calls that never answer.
    pub timeout_ppm: u32,
    /// Millionths of the answers that contradict the others.
    pub disagreement_ppm: u32,
    /// Price of a million input tokens.
    pub input_price_nanousd: u64,
    /// Price of a million output tokens.
    pub output_price_nanousd: u64,
}

/// A provider that makes its answers up.
#[derive(Debug)]
pub struct Simulated {
    name: Name,
    models: Vec<String>,
    behaviour: Behaviour,
}

impl Simulated {
    /// A simulated provider with one model.
    pub fn new(name: Name, model: String, behaviour: Behaviour) -> Self {
        Self { name, models: vec![model], behaviour }
    }

    /// What is drawn for the question, the same for all providers, and what is drawn for this provider alone.
    fn draws(&self, request: &CompletionRequest<'_>) -> (Draw, Draw) {
        let question =
            Draw::new(&[&self.behaviour.seed.to_string(), request.task_type.as_str(), request.prompt]);
        let own = question.with(self.name.as_str());
        // Who merges does not fail because it failed to answer, or the other way round.
        (question, if matches!(request.before, Before::Merge(_)) { own.with("merge") } else { own })
    }

    /// What comes of a call that ends.
    fn outcome(&self, request: &CompletionRequest<'_>) -> Result<Completion, ProviderError> {
        let (question, own) = self.draws(request);
        if own.happens("failure", self.behaviour.failure_ppm) {
            return Err(ProviderError {
                attempts: 1,
                ..ProviderError::new(ErrorKind::Unavailable, "simulated failure")
            });
        }
        let stance = if own.happens("disagree", self.behaviour.disagreement_ppm) {
            Stance::Contrary
        } else {
            Stance::Common
        };
        let sentences = match request.task_type {
            TaskType::Basic => 3,
            TaskType::Premium => 4,
            TaskType::Critical => 5,
        };
        let text = match request.before {
            Before::Merge(answers) => text::merge(answers),
            Before::Nothing | Before::Improve(_) => {
                text::compose(request.prompt, stance, sentences, question, own)
            }
        };
        let beside = request.material.map_or(0, |material| tokens(material.as_str()));
        let before = request.before.answers().iter().map(|answer| tokens(answer)).sum::<u64>();
        let (input, output) = (tokens(request.prompt) + beside + before, tokens(&text));
        Ok(Completion {
            model: request.model.unwrap_or(&self.models[0]).to_owned(),
            instead_of: None,
            spent: Spent {
                tokens: Tokens { input, output, ..Tokens::default() },
                cost_nanousd: self.cost_nanousd(input, output),
                unpriced: false,
            },
            attempts: 1,
            text,
        })
    }

    fn cost_nanousd(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        let of = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let millionths = of(input_tokens, self.behaviour.input_price_nanousd)
            + of(output_tokens, self.behaviour.output_price_nanousd);
        u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// How long this answer takes: evenly between mean − jitter and mean + jitter.
    fn latency(&self, own: Draw) -> Duration {
        let jitter = self.behaviour.latency_jitter;
        let late = (jitter * 2).mul_f64(f64::from(own.ppm("latency")) / 1e6);
        self.behaviour.latency.saturating_sub(jitter) + late
    }
}

impl Provider for Simulated {
    fn name(&self) -> Name {
        self.name
    }

    fn models(&self) -> &[String] {
        &self.models
    }

    fn variant(&self) -> String {
        format!("seed {}, disagreement {}", self.behaviour.seed, self.behaviour.disagreement_ppm)
    }

    fn complete<'a>(
        &'a self,
        request: CompletionRequest<'a>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>> {
        async move {
            let (_, own) = self.draws(&request);
            let hurried = request.is_hurried();
            let latency = self.latency(own);
            let left = request.deadline.saturating_duration_since(Instant::now());
            if latency >= left || own.happens("timeout", self.behaviour.timeout_ppm) {
                tokio::time::sleep(left).await;
                return Err(ProviderError {
                    attempts: 1,
                    hurried,
                    ..ProviderError::new(ErrorKind::Timeout, "simulated")
                });
            }
            // A timer would take a millisecond to find that there is nothing to wait for.
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            self.outcome(&request)
        }
        .boxed()
    }
}

/// Tokens of a text, by the rule of thumb above.
fn tokens(text: &str) -> u64 {
    let ideographic = text.chars().filter(|&c| is_ideographic(c)).count() as u64;
    let other = text.chars().count() as u64 - ideographic;
    ideographic + other.div_ceil(4)
}

/// A source of numbers that look random and follow from what they are about: FNV-1a over the words, mixed by
/// SplitMix64's finaliser. Enough for a simulation, and the same on every machine and in every version.
#[derive(Debug, Clone, Copy)]
struct Draw(u64);

impl Draw {
    fn new(words: &[&str]) -> Self {
        words.iter().fold(Self(0xcbf2_9ce4_8422_2325), |draw, word| draw.with(word))
    }

    /// The draws about one more thing.
    fn with(self, word: &str) -> Self {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        // A byte that UTF-8 never holds ends each word, so that "ab","c" and "a","bc" differ.
        Self(word.bytes().chain([0xff]).fold(self.0, step))
    }

    fn number(self, about: &str) -> u64 {
        let mut mixed = self.with(about).0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a million, evenly.
    fn ppm(self, about: &str) -> u32 {
        // The upper half times the range: the remainder of a division would favour small numbers.
        (((self.number(about) >> 32) * 1_000_000) >> 32) as u32
    }

    fn happens(self, about: &str, ppm: u32) -> bool {
        self.ppm(about) < ppm
    }

    /// One of `choices`, which are not empty.
    fn choose<T: Copy>(self, about: &str, choices: &[T]) -> T {
        choices[(self.number(about) % choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour() -> Behaviour {
        Behaviour {
            seed: 1,
            latency: Duration::ZERO,
            latency_jitter: Duration::ZERO,
            failure_ppm: 0,
            timeout_ppm: 0,
            disagreement_ppm: 0,
            input_price_nanousd: 1_250_000_000,
            output_price_nanousd: 10_000_000_000,
        }
    }

    fn ask(behaviour: &Behaviour, prompt: &str) -> Result<Completion, ProviderError> {
        let provider = Simulated::new(Name::SimulatedGemini, "m".to_owned(), behaviour.clone());
        provider.outcome(&CompletionRequest::of(prompt))
    }

    #[test]
    fn the_same_question_gets_the_same_answer_and_another_seed_another() {
        let (one, other) = (behaviour(), Behaviour { seed: 2, ..behaviour() });
        let questions: Vec<_> = (0..20).map(|number| format!("question {number}")).collect();
        assert!(questions.iter().all(|question| ask(&one, question) == ask(&one, question)));
        assert!(questions.iter().any(|question| ask(&one, question) != ask(&other, question)));
    }

    #[test]
    fn failures_come_at_their_rate_and_stay_with_their_question() {
        let behaviour = Behaviour { failure_ppm: 250_000, ..behaviour() };
        let failed = |number: &u32| ask(&behaviour, &format!("question {number}")).is_err();
        let first: Vec<_> = (0..2_000).filter(failed).collect();
        assert!((400..600).contains(&first.len()), "{} of 2000 failed", first.len());
        assert_eq!(first, (0..2_000).filter(failed).collect::<Vec<_>>());
    }

    #[test]
    fn latency_stays_within_its_jitter() {
        let behaviour = Behaviour {
            latency: Duration::from_millis(300),
            latency_jitter: Duration::from_millis(100),
            ..behaviour()
        };
        let provider = Simulated::new(Name::SimulatedOpenAi, "m".to_owned(), behaviour);
        let latencies: Vec<_> = (0..500).map(|n| provider.latency(Draw::new(&[&n.to_string()]))).collect();
        assert!(latencies.iter().all(|latency| (200..=400).contains(&latency.as_millis())));
        assert!(latencies.iter().any(|latency| latency.as_millis() < 250));
        assert!(latencies.iter().any(|latency| latency.as_millis() > 350));
    }

    #[test]
    fn tokens_and_cost_follow_the_rules() {
        assert_eq!(tokens("abcd efgh"), 3);
        assert_eq!(tokens("日本語です。"), 6);
        let provider = Simulated::new(Name::SimulatedGemini, "m".to_owned(), behaviour());
        assert_eq!(provider.cost_nanousd(1_000, 100), 1_000 * 1_250 + 100 * 10_000);
        let cheap = Behaviour { input_price_nanousd: 1, output_price_nanousd: 0, ..behaviour() };
        assert_eq!(Simulated::new(Name::SimulatedGemini, "m".to_owned(), cheap).cost_nanousd(1, 0), 1);
    }

    #[test]
    fn a_previous_answer_is_billed_as_input() {
        let provider = Simulated::new(Name::SimulatedGemini, "m".to_owned(), behaviour());
        let request = CompletionRequest { model: Some("m"), ..CompletionRequest::of("abcd") };
        assert_eq!(provider.outcome(&request).unwrap().spent.tokens.input, 1);
        let later = CompletionRequest { before: Before::Improve("12345678"), ..request };
        assert_eq!(provider.outcome(&later).unwrap().spent.tokens.input, 3);
        let merge = CompletionRequest { before: Before::Merge(&["12345678", "1234"]), ..request };
        assert_eq!(provider.outcome(&merge).unwrap().spent.tokens.input, 4);
    }
}
