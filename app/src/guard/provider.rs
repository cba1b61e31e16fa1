//! A provider behind its circuit breaker: while it is open nobody is asked, and the call is rejected at once.
//!
//! What must hold: only what is the provider's doing counts as its failure. An answer that it declines, and a question
//! that it does not accept, show that it is there; and that none came in the little time that others had left to it shows nothing.

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
        settle(permit, result.as_ref().err());
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

/// Tells the breaker how a call ended: with this failure, or well.
fn settle(permit: Permit, failure: Option<&ProviderError>) {
    use ErrorKind as Kind;
    match failure.map(|error| error.kind) {
        Some(Kind::Timeout) if failure.is_some_and(|error| error.hurried) => drop(permit),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use techsapo_shared::labels::{BreakerState, Service};

    use super::super::breaker::{Breakers, Policy};
    use super::*;
    use crate::telemetry::Recorder;

    /// Never answers in time.
    struct Late {
        hurried: bool,
    }

    impl Provider for Late {
        fn name(&self) -> Name {
            Name::Claude
        }

        fn models(&self) -> &[String] {
            &[]
        }

        fn variant(&self) -> String {
            String::new()
        }

        fn complete<'a>(
            &'a self,
            _: CompletionRequest<'a>,
        ) -> BoxFuture<'a, Result<Completion, ProviderError>> {
            let error = ProviderError { hurried: self.hurried, ..ProviderError::new(ErrorKind::Timeout, "") };
            async { Err(error) }.boxed()
        }
    }

    #[tokio::test]
    async fn what_others_left_too_little_time_for_is_nobody_s_failure() {
        for (hurried, state) in [(true, BreakerState::Closed), (false, BreakerState::Open)] {
            let policy = Policy {
                window: Duration::from_secs(60),
                failures: 2,
                failure_ppm: 500_000,
                open_for: Duration::from_secs(60),
                open_for_at_most: Duration::from_secs(60),
            };
            let breaker =
                Breakers::new("under-test", Recorder::off()).add(Service::from(Name::Claude), policy);
            let guarded = Guarded::new(Arc::new(Late { hurried }), Arc::clone(&breaker));
            for _ in 0..2 {
                let request = CompletionRequest::of("Why?");
                assert_eq!(guarded.complete(request).await.unwrap_err().kind, ErrorKind::Timeout);
            }
            assert_eq!(breaker.state(), state, "hurried: {hurried}");
        }
    }
}
