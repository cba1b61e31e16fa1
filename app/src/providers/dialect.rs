//! What a vendor's wire format must say, and what is read from it.

use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use techsapo_shared::event::MAX_TOKENS;

use super::keys::Key;
use super::sse::Event;
use super::{CompletionRequest, ErrorKind, ProviderError, Tokens};

/// How to speak with one vendor. Bytes in, facts out: no network, no clock.
pub(super) trait Dialect: Send + Sync {
    /// Where a question goes, behind the base address.
    fn path(&self, model: &str, streamed: bool) -> String;

    /// What opens the door. Never in the address: addresses are logged.
    fn headers(&self, key: &Key) -> Vec<(HeaderName, HeaderValue)>;

    /// The question.
    fn body(&self, question: &str, model: &str, max_output_tokens: u64, streamed: bool) -> Value;

    /// Reads a whole response of 200.
    ///
    /// # Errors
    /// When it is none that the vendor documents, or says that there is no answer.
    fn read(&self, body: &[u8], draft: &mut Draft) -> Result<(), ProviderError>;

    /// Reads one event of a streamed response; says whether it is known to be the last.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn read_event(&self, event: &Event, draft: &mut Draft) -> Result<bool, ProviderError>;

    /// What a response of another status means.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> ProviderError;
}

/// An answer in the making. What it holds of tokens is what is billed, also when nothing comes of it.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The text so far.
    pub(super) text: String,
    /// The model that serves.
    pub(super) model: Option<String>,
    /// Billable tokens. Where a vendor repeats them, the last is the sum.
    pub(super) tokens: Tokens,
    /// What the vendor says that it charges, where it does.
    pub(super) charged_nanousd: Option<u64>,
    /// How the model ended; nothing: it has not.
    pub(super) ending: Option<Ending>,
}

/// How a model ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// It had said everything.
    Complete,
    /// Otherwise.
    Failed(ErrorKind, String),
}

impl Draft {
    /// Takes in the tokens that a vendor states, made consistent: parts are never more than the whole.
    pub(super) fn set_tokens(&mut self, stated: Tokens) {
        let input = stated.input.min(MAX_TOKENS);
        let cached_input = stated.cached_input.min(input);
        let output = stated.output.min(MAX_TOKENS);
        self.tokens = Tokens {
            input,
            cached_input,
            cache_write: stated.cache_write.min(input - cached_input),
            output,
            reasoning: stated.reasoning.min(output),
        };
    }

    /// Whether this is an answer.
    pub(super) fn conclude(&self) -> Result<(), ProviderError> {
        match &self.ending {
            None => Err(ProviderError::new(ErrorKind::Network, "the response ended before the answer did")),
            Some(Ending::Failed(kind, detail)) => Err(ProviderError::new(*kind, detail.as_str())),
            Some(Ending::Complete) if self.text.trim().is_empty() => {
                Err(ProviderError::new(ErrorKind::Empty, ""))
            }
            Some(Ending::Complete) => Ok(()),
        }
    }
}

/// The question in words, with what is to be read beside it and the answer that went before.
pub(super) fn question(request: &CompletionRequest<'_>) -> String {
    let CompletionRequest { prompt, material, previous, .. } = request;
    let mut question = (*prompt).to_owned();
    if let Some(material) = material {
        question.push_str("\n\n---\n");
        question.push_str(material.as_str());
    }
    if let Some(previous) = previous {
        question.push_str(
            "\n\n---\nAnother assistant gave the answer below. Check it: correct what is wrong, add what is missing, keep what is \
             right. Then give your own complete answer to the question above, in the language of the question.\n\n<answer>\n",
        );
        question.push_str(previous);
        question.push_str("\n</answer>");
    }
    question
}

/// JSON as the vendor documents it.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProviderError> {
    serde_json::from_slice(body).map_err(|error| {
        // By place alone: serde's message repeats what it found, and that may be the question.
        let what = match error.classify() {
            serde_json::error::Category::Data => "not the documented JSON",
            _ => "no JSON",
        };
        let (line, column) = (error.line(), error.column());
        ProviderError::new(ErrorKind::Malformed, format!("{what}, at line {line}, column {column}"))
    })
}

/// What a status means where the body does not say more.
pub(super) fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 | 403 => ErrorKind::Auth,
        402 => ErrorKind::Quota,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::RateLimited,
        529 => ErrorKind::Overloaded,
        408 | 409 | 425 | 500..=599 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::InvalidRequest,
        _ => ErrorKind::Malformed,
    }
}

/// An error with its status, and the vendor's code where there is one.
pub(super) fn refused(kind: ErrorKind, status: StatusCode, code: &str) -> ProviderError {
    let mut detail = format!("HTTP {}", status.as_u16());
    if status.is_redirection() {
        detail.push_str(": a redirection, which is not followed; set base_url to where it leads");
    } else if !code.is_empty() {
        detail.push(' ');
        detail.push_str(&super::error::code(code));
    }
    ProviderError::new(kind, detail)
}
