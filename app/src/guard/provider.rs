//! A provider behind its circuit breaker: while it is open nobody is asked, and the call is rejected at once.
//!
//! What must hold: only what is the provider's doing counts as its failure. An answer that it declines, and a question
//! that it does not accept, show that it is there.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use techsapo_shared::labels::Provider as Name;

use super::breaker::{Breaker, Permit};
use crate::providers::{Completion, CompletionRequest, ErrorKind, Provider, ProviderError};

/// A provider, and the breaker before it.
pub struct Guarded {
    provider: Arc<dyn Provider>,
    breaker: Arc<Breaker>,
}

impl Guarded {
    /// Puts `breaker` before `provider`.
    pub fn new(provider: Arc<dyn Provider>, breaker: Arc<Breaker>) -> Self {
        Self { provider, breaker }
    }

    async fn ask(&self, request: CompletionRequest<'_>) -> Result<Completion, ProviderError> {
        let permit = self.breaker.admit().map_err(|refused| {
            let wait = (!refused.retry_in.is_zero()).then_some(refused.retry_in);
            ProviderError::new(ErrorKind::CircuitOpen, "").or_after(wait)
        })?;
        let result = self.provider.complete(request).await;
        settle(permit, result.as_ref().err().map(|error| error.kind));
        result
    }
}

impl Provider for Guarded {
    fn name(&self) -> Name {
        self.provider.name()
    }

    fn models(&self) -> &[String] {
        self.provider.models()
    }

    fn variant(&self) -> String {
        self.provider.variant()
    }

    fn complete<'a>(
        &'a self,
        request: CompletionRequest<'a>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>> {
        self.ask(request).boxed()
    }
}

/// Tells the breaker how a call ended: with a failure of this kind, or well.
fn settle(permit: Permit, failure: Option<ErrorKind>) {
    use ErrorKind as Kind;
    match failure {
        Some(
            Kind::Auth
            | Kind::Quota
            | Kind::RateLimited
            | Kind::Overloaded
            | Kind::Unavailable
            | Kind::Timeout
            | Kind::Malformed
            | Kind::Network,
        ) => permit.failure(),
        // It was not asked, so that nothing is known.
        Some(Kind::Saturated | Kind::CircuitOpen | Kind::OverBudget) => drop(permit),
        None
        | Some(
            Kind::Refused
            | Kind::Incomplete
            | Kind::Empty
            | Kind::InvalidRequest
            | Kind::ModelGone
            | Kind::TooLarge,
        ) => permit.success(),
    }
}
