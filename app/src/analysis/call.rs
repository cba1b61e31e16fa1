//! One call to a provider, whatever came of it.

use std::time::Duration;

use techsapo_shared::labels::{Provider as Name, Status};

use crate::providers::{Completion, ErrorKind, ProviderError, Spent};

/// Why a call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The provider did not even give up in time, and was not waited for any longer.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// No call was made: something here forbade it.
    #[error("not asked: {0}")]
    Rejected(ProviderError),
    /// The provider failed.
    #[error(transparent)]
    Provider(ProviderError),
}

impl From<ProviderError> for CallError {
    fn from(error: ProviderError) -> Self {
        if error.kind.rejected() { Self::Rejected(error) } else { Self::Provider(error) }
    }
}

impl CallError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout(_) => ErrorKind::Timeout,
            Self::Rejected(error) | Self::Provider(error) => error.kind,
        }
    }

    /// What the provider told of it, unless it told nothing.
    pub fn told(&self) -> Option<&ProviderError> {
        match self {
            Self::Timeout(_) => None,
            Self::Rejected(error) | Self::Provider(error) => Some(error),
        }
    }
}

/// One finished call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who was asked.
    pub provider: Name,
    /// The model that served, or that was asked when none did.
    pub model: String,
    /// When it ended, Unix milliseconds.
    pub ended_ms: u64,
    /// How long it took.
    pub duration: Duration,
    /// What came of it.
    pub result: Result<Completion, CallError>,
}

impl Call {
    /// How it ended.
    pub fn status(&self) -> Status {
        match &self.result {
            Ok(_) => Status::Success,
            Err(CallError::Rejected(_)) => Status::Rejected,
            Err(error) if error.kind() == ErrorKind::Timeout => Status::Timeout,
            Err(_) => Status::Error,
        }
    }

    /// What it used, whatever came of it.
    pub fn spent(&self) -> Spent {
        match &self.result {
            Ok(completion) => completion.spent,
            Err(error) => error.told().map_or_else(Spent::default, |error| *error.spent),
        }
    }

    /// What it costs.
    pub fn cost_nanousd(&self) -> u64 {
        self.spent().cost_nanousd
    }

    /// Attempts made, as far as is known.
    pub fn attempts(&self) -> u32 {
        match &self.result {
            Ok(completion) => completion.attempts,
            Err(error) => error.told().map_or(1, |error| error.attempts),
        }
    }
}
