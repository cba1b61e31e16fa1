//! The providers in force. They change when their configuration does; an analysis that has begun keeps those that it
//! was planned with.

use std::sync::{Arc, PoisonError, RwLock};

use super::Provider;

/// Providers in the order of asking.
pub type ProviderSet = Arc<[Arc<dyn Provider>]>;

/// A set of providers that can be replaced while it is used.
pub struct LiveProviders(RwLock<ProviderSet>);

impl LiveProviders {
    /// These providers, for now.
    pub fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        Self(RwLock::new(providers.into()))
    }

    /// Those in force at the moment.
    pub fn current(&self) -> ProviderSet {
        // Nobody can leave a pointer half-written: what a panicking thread held is whole.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in force, from the next question on.
    pub fn replace(&self, providers: Vec<Arc<dyn Provider>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = providers.into();
    }
}
