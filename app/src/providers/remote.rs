//! A provider over the network: attempts within the deadline, a limited number at once, the next model when one is gone,
//! and what it all cost.
//!
//! What must hold: no attempt begins that cannot end before the deadline; what any attempt was billed is in the result,
//! also in a failure; the price is that of the model that served, at the time of the call; a place is held by calls that are under
//! way, not by those that pause.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use techsapo_shared::event::MAX_LABEL_BYTES;
use techsapo_shared::labels::Provider as Name;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::dialect::{self, Draft};
use super::key::Key;
use super::prices::{Price, at_most_nanousd, in_force, is_snapshot};
use super::transport::{Exchange, Transport};
use super::vendors::Vendor;
use super::{Completion, CompletionRequest, ErrorKind, Priced, Provider, ProviderError, Spent, Tokens};
use crate::{clock, retry};

/// How long a model that the vendor does not have is not asked again.
const GONE_FOR: Duration = Duration::from_secs(3_600);

/// What vendors add to a question, in tokens: marks of roles and of beginning and end; theirs take about ten.
const FRAME_TOKENS: u64 = 64;

/// How one vendor is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Where it serves; ends in no slash.
    pub base_url: String,
    /// Its models, the preferred one first; not empty.
    pub models: Vec<String>,
    /// Whether answers are streamed.
    pub stream: bool,
    /// How long a call may take, all its attempts together.
    pub timeout: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a stream may fall silent.
    pub idle_timeout: Duration,
    /// Attempts at one model.
    pub attempts: u32,
    /// Calls at once.
    pub concurrency: usize,
    /// Most tokens of an answer, with what the model reasons.
    pub max_output_tokens: u64,
    /// What tokens cost.
    pub prices: Vec<Price>,
}

/// A vendor, asked with a key.
pub struct Remote {
    vendor: &'static Vendor,
    settings: RemoteSettings,
    key: Key,
    transport: Transport,
    places: Semaphore,
    /// Models that the vendor does not have, and until when that is believed.
    gone: Mutex<HashMap<String, Instant>>,
}

/// One call, all its attempts.
struct Course<'a> {
    deadline: Instant,
    /// One of the places for calls, but not during a pause.
    place: Option<SemaphorePermit<'a>>,
    /// How long it waited for a place, at first and after pauses.
    waited: Duration,
    /// What was used so far.
    spent: Spent,
    attempts: u32,
}

impl Remote {
    /// A provider that asks `vendor` with `key`.
    ///
    /// # Errors
    /// Says why no HTTP client can be made.
    pub fn new(vendor: &'static Vendor, settings: RemoteSettings, key: Key) -> Result<Self, reqwest::Error> {
        let transport = Transport::new(&settings.base_url, settings.connect_timeout, settings.idle_timeout)?;
        let places = Semaphore::new(settings.concurrency);
        Ok(Self { vendor, settings, key, transport, places, gone: Mutex::default() })
    }

    async fn ask(&self, request: CompletionRequest<'_>) -> Result<Completion, ProviderError> {
        let begun = Instant::now();
        let mut course = Course {
            deadline: request.deadline.min(begun + self.settings.timeout),
            place: None,
            waited: Duration::ZERO,
            spent: Spent::default(),
            attempts: 0,
        };
        let time = course.deadline.saturating_duration_since(begun);
        if !self.take_place(&mut course).await {
            return Err(ProviderError::new(ErrorKind::Saturated, ""));
        }
        let question = dialect::question(&request);
        let mut failure = ProviderError::new(ErrorKind::ModelGone, "");
        for model in self.candidates(request.model) {
            match self.ask_model(model, &question, &mut course).await {
                Ok(completion) => return Ok(completion),
                Err(error) => {
                    failure = ProviderError { model: Some(model.into()), ..error };
                    if failure.kind != ErrorKind::ModelGone {
                        break;
                    }
                    self.remember_gone(model);
                }
            }
        }
        let patience = self.settings.timeout.min(request.patience);
        // A stream that fell silent did so of itself.
        let hurried = failure.kind == ErrorKind::Timeout
            && Instant::now() >= course.deadline
            && super::is_hurried(time.saturating_sub(course.waited), patience);
        Err(ProviderError { spent: Box::new(course.spent), attempts: course.attempts, hurried, ..failure })
    }

    /// Waits for a place for a call; says whether one was free before the deadline.
    async fn take_place<'a>(&'a self, course: &mut Course<'a>) -> bool {
        let begun = Instant::now();
        let place = timeout_at(course.deadline.into(), self.places.acquire()).await;
        course.place = place.ok().and_then(Result::ok);
        course.waited += begun.elapsed();
        course.place.is_some()
    }

    /// The models to ask, one after another as each turns out to be gone: the one that is wanted; or all, but those known
    /// to be gone, unless that is all of them.
    fn candidates<'a>(&'a self, wanted: Option<&'a str>) -> Vec<&'a str> {
        if let Some(model) = wanted {
            return vec![model];
        }
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.retain(|_, until| *until > Instant::now());
        let all = || self.settings.models.iter().map(String::as_str);
        let left: Vec<_> = all().filter(|model| !gone.contains_key(*model)).collect();
        if left.is_empty() { all().collect() } else { left }
    }

    fn remember_gone(&self, model: &str) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.insert(model.to_owned(), Instant::now() + GONE_FOR).is_none() {
            tracing::warn!(
                provider = %self.vendor.provider,
                model,
                minutes = GONE_FOR.as_secs() / 60,
                "The provider does not have this model; the next in providers.toml is asked meanwhile"
            );
        }
    }

    /// Attempts at one model, until it answers or another attempt makes no sense.
    async fn ask_model<'a>(
        &'a self,
        model: &str,
        question: &str,
        course: &mut Course<'a>,
    ) -> Result<Completion, ProviderError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            course.attempts += 1;
            let mut draft = Draft::default();
            let result = self.attempt(model, question, course.deadline, &mut draft).await;
            let served = draft.model.as_deref().unwrap_or(model);
            course.spent += self.bill(served, &draft, result.is_ok());
            let error = match result {
                Ok(()) => return Ok(completion(model, draft, course)),
                Err(error) => error,
            };
            let left = course.deadline.saturating_duration_since(Instant::now());
            let pause = error
                .kind
                .retryable()
                .then(|| {
                    retry::pause(error.retry_after, attempt, self.settings.attempts, left, retry::chance())
                })
                .flatten();
            let Some(pause) = pause else { return Err(error) };
            tracing::debug!(
                provider = %self.vendor.provider,
                model,
                attempt,
                pause_ms = pause.as_millis(),
                reason = %error,
                "An attempt failed; another follows"
            );
            course.place = None;
            tokio::time::sleep(pause).await;
            if !self.take_place(course).await {
                return Err(error);
            }
        }
    }

    async fn attempt(
        &self,
        model: &str,
        question: &str,
        deadline: Instant,
        draft: &mut Draft,
    ) -> Result<(), ProviderError> {
        let exchange = Exchange {
            dialect: self.vendor.dialect,
            key: &self.key,
            model,
            question,
            max_output_tokens: self.settings.max_output_tokens,
            streamed: self.settings.stream,
        };
        match timeout_at(deadline.into(), self.transport.exchange(exchange, draft)).await {
            Ok(result) => result,
            Err(_) => Err(ProviderError::new(ErrorKind::Timeout, "")),
        }
    }

    /// What an attempt costs: what the vendor says that it charges, else by its tokens.
    fn bill(&self, served: &str, draft: &Draft, answered: bool) -> Spent {
        let tokens = draft.tokens;
        if let Some(cost_nanousd) = draft.charged_nanousd {
            return Spent { tokens, cost_nanousd, unpriced: false };
        }
        if tokens == Tokens::default() {
            // An answer costs; one without a bill has no known price.
            return Spent { tokens, cost_nanousd: 0, unpriced: answered };
        }
        let price = in_force(&self.settings.prices, served, clock::unix_ms(), tokens.input);
        Spent {
            tokens,
            cost_nanousd: price.map_or(0, |price| price.cost_nanousd(tokens)),
            unpriced: price.is_none(),
        }
    }
}

fn completion(asked: &str, draft: Draft, course: &Course<'_>) -> Completion {
    let mut served = draft.model.filter(|model| !model.is_empty()).unwrap_or_else(|| asked.to_owned());
    while served.len() > MAX_LABEL_BYTES {
        served.pop();
    }
    let same = served == asked || is_snapshot(&served, asked);
    let (model, instead_of) = if same { (asked.to_owned(), None) } else { (served, Some(asked.to_owned())) };
    Completion { text: draft.text, model, instead_of, spent: course.spent, attempts: course.attempts }
}

impl Provider for Remote {
    fn name(&self) -> Name {
        self.vendor.provider
    }

    fn models(&self) -> &[String] {
        &self.settings.models
    }

    fn variant(&self) -> String {
        format!("{}, {} tokens", self.settings.base_url, self.settings.max_output_tokens)
    }

    fn complete<'a>(
        &'a self,
        request: CompletionRequest<'a>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>> {
        self.ask(request).boxed()
    }
}

impl Priced for Remote {
    /// A token has at least one byte, and an answer never more tokens than it may. Who is asked when a model turns out to be
    /// gone may be dearer.
    fn cost_at_most_nanousd(&self, request: &CompletionRequest<'_>) -> u64 {
        let input = dialect::question(request).len() as u64 + FRAME_TOKENS;
        let (prices, now_ms) = (&self.settings.prices, clock::unix_ms());
        let most = |model| at_most_nanousd(prices, model, now_ms, input, self.settings.max_output_tokens);
        self.candidates(request.model).into_iter().map(most).max().unwrap_or_default()
    }
}
