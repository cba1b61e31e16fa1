//! Providers that are held to the budget, and simulated ones, which are only counted.
//!
//! What must hold: a real provider is not asked unless there is room for what it may cost; whatever came of the call, what
//! it cost is settled; and as long as nobody knows what that is, what it may have cost.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use techsapo_shared::labels::Provider as Name;

use super::Budget;
use crate::providers::{Completion, CompletionRequest, ErrorKind, Priced, Provider, ProviderError, Spent};

/// A provider that is paid, and the budget that pays it.
pub struct Budgeted {
    provider: Arc<dyn Priced>,
    budget: Budget,
}

impl Budgeted {
    /// Has `budget` pay `provider`.
    pub fn new(provider: Arc<dyn Priced>, budget: Budget) -> Self {
        Self { provider, budget }
    }

    async fn ask(&self, request: CompletionRequest<'_>) -> Result<Completion, ProviderError> {
        let most = self.provider.cost_at_most_nanousd(&request);
        let patience = request.deadline.saturating_duration_since(Instant::now());
        let reservation = self.budget.reserve(most, patience).await.map_err(|refusal| {
            ProviderError::new(ErrorKind::OverBudget, refusal.to_string()).or_after(Some(refusal.retry_in))
        })?;
        let result = self.provider.complete(request).await;
        let spent = spent(&result);
        // A limit that counts what has no price as nothing is never reached.
        reservation.settle(if spent.unpriced { most.max(spent.cost_nanousd) } else { spent.cost_nanousd });
        result
    }
}

impl Provider for Budgeted {
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

/// A provider whose cost nobody pays.
pub struct Counted {
    provider: Arc<dyn Provider>,
    budget: Budget,
}

impl Counted {
    /// Has `budget` count what `provider` would have cost.
    pub fn new(provider: Arc<dyn Provider>, budget: Budget) -> Self {
        Self { provider, budget }
    }
}

impl Provider for Counted {
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
        let counted = |result| {
            self.budget.count_simulated(spent(&result).cost_nanousd);
            result
        };
        self.provider.complete(request).map(counted).boxed()
    }
}

fn spent(result: &Result<Completion, ProviderError>) -> Spent {
    match result {
        Ok(completion) => completion.spent,
        Err(error) => *error.spent,
    }
}
