//! Circuit breakers: what keeps failing is not asked for a while; then one probe finds out whether it is well again.
//!
//! [`Breakers`] makes and knows them all. Every change of state is logged and stated as a `circuit_breaker` event, and
//! the runtime sample tells all states. The rules are in `core`.

mod core;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use techsapo_shared::event::{BreakerSample, CircuitBreaker, Event};
use techsapo_shared::labels::{BreakerState, ClosedLabel, Service};

use self::core::{Core, Leave, Outcome};
use crate::clock;
use crate::telemetry::Recorder;

pub use self::core::Policy;

/// The breaker is open: nothing was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{service} failed too often and is left alone")]
pub struct Refused {
    /// What stands behind it.
    pub service: Service,
    /// When to try again at the earliest; zero while a probe is under way.
    pub retry_in: Duration,
}

/// All breakers of this instance.
#[derive(Clone)]
pub struct Breakers {
    instance: Arc<str>,
    recorder: Recorder,
    all: Arc<Mutex<Vec<Arc<Breaker>>>>,
}

impl Breakers {
    /// None yet, for the instance with this name.
    pub fn new(instance: &str, recorder: Recorder) -> Self {
        Self { instance: Arc::from(instance), recorder, all: Arc::default() }
    }

    /// Adds a breaker before a service, closed, and states that it is there.
    pub fn add(&self, service: Service, policy: Policy) -> Arc<Breaker> {
        let breaker = Arc::new(Breaker {
            service,
            instance: Arc::clone(&self.instance),
            recorder: self.recorder.clone(),
            began: Instant::now(),
            since_ms: AtomicU64::new(clock::unix_ms()),
            core: Mutex::new(Core::new(policy)),
        });
        breaker.state_fact(BreakerState::Closed);
        lock(&self.all).push(Arc::clone(&breaker));
        breaker
    }

    /// The state of each.
    pub fn sample(&self) -> Vec<BreakerSample> {
        let sample =
            |breaker: &Arc<Breaker>| BreakerSample { service: breaker.service, state: breaker.state() };
        lock(&self.all).iter().map(sample).collect()
    }

    /// The state of the breaker before a service, and since when (Unix milliseconds) it is in it; nothing where there is none.
    pub fn state_of(&self, service: Service) -> Option<(BreakerState, u64)> {
        let all = lock(&self.all);
        let breaker = all.iter().find(|breaker| breaker.service == service)?;
        // Under the lock under which both change.
        let core = lock(&breaker.core);
        Some((core.state(), breaker.since_ms.load(Ordering::Relaxed)))
    }
}

/// One circuit breaker.
pub struct Breaker {
    service: Service,
    instance: Arc<str>,
    recorder: Recorder,
    began: Instant,
    /// When it came into its state, Unix milliseconds.
    since_ms: AtomicU64,
    core: Mutex<Core>,
}

impl Breaker {
    /// Its state.
    pub fn state(&self) -> BreakerState {
        lock(&self.core).state()
    }

    /// Leave to call the service; it may be the probe.
    ///
    /// # Errors
    /// When the breaker is open, or another's probe is under way.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Refused> {
        let leave = self.change(Core::admit);
        let leave = leave.map_err(|retry_in| Refused { service: self.service, retry_in })?;
        Ok(Permit { breaker: Arc::clone(self), leave, outcome: Outcome::Abandoned })
    }

    /// Leave to call the service while the breaker is closed: for those who have a way around it, and leave probing to
    /// somebody whom nobody waits for.
    pub fn admit_if_closed(self: &Arc<Self>) -> Option<Permit> {
        let leave = lock(&self.core).admit_if_closed()?;
        Some(Permit { breaker: Arc::clone(self), leave, outcome: Outcome::Abandoned })
    }

    /// Closes it and forgets what it has seen: what stands behind it is no longer the same.
    pub fn reset(&self) {
        self.change(|core, _| core.close());
    }

    /// Does something with the core, and tells when that changed its state.
    fn change<T>(&self, act: impl FnOnce(&mut Core, u64) -> T) -> T {
        let now_ms = clock::micros(self.began.elapsed()) / 1_000;
        let mut core = lock(&self.core);
        let before = core.state();
        let result = act(&mut core, now_ms);
        let after = core.state();
        // Told under the lock, so that events of one breaker are in the order of its states.
        if before != after {
            let (service, state) = (self.service.as_str(), after.as_str());
            if after == BreakerState::Open {
                tracing::warn!(service, state, "A circuit breaker opened");
            } else {
                tracing::info!(service, state, "A circuit breaker changed its state");
            }
            self.since_ms.store(clock::unix_ms(), Ordering::Relaxed);
            self.state_fact(after);
        }
        result
    }

    fn state_fact(&self, state: BreakerState) {
        self.recorder.record(&Event::CircuitBreaker(CircuitBreaker {
            t: clock::unix_ms(),
            app_instance: Cow::Borrowed(&self.instance),
            service: self.service,
            state,
        }));
    }
}

/// Leave for one call. Dropped without an outcome, the call was given up and tells nothing about the service.
#[must_use = "a permit wants to hear how the call ended"]
pub struct Permit {
    breaker: Arc<Breaker>,
    leave: Leave,
    outcome: Outcome,
}

impl Permit {
    /// The service did what it should.
    pub fn success(mut self) {
        self.outcome = Outcome::Success;
    }

    /// The service failed.
    pub fn failure(mut self) {
        self.outcome = Outcome::Failure;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.change(|core, now_ms| core.settle(self.leave, self.outcome, now_ms));
    }
}

/// What a panic left behind is still a breaker.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        window: Duration::from_secs(60),
        failures: 2,
        failure_ppm: 0,
        open_for: Duration::from_secs(3_600),
        open_for_at_most: Duration::from_secs(3_600),
    };

    #[test]
    fn every_change_is_an_event_and_the_sample_tells_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(folder.path(), 1 << 20).unwrap();
        let breakers = Breakers::new("under-test", recorder.clone());
        let breaker = breakers.add(Service::Redis, POLICY);
        breaker.admit().unwrap().failure();
        drop(breaker.admit().unwrap());
        breaker.admit().unwrap().failure();
        let refused = breaker.admit().err().expect("it is open");
        assert_eq!(refused.service, Service::Redis);
        assert!(refused.retry_in > Duration::from_secs(3_500));
        assert!(breaker.admit_if_closed().is_none());

        let open = BreakerSample { service: Service::Redis, state: BreakerState::Open };
        assert_eq!(breakers.sample(), [open]);
        let states: Vec<_> = recorder
            .pending_lines()
            .iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .map(|event| event["circuit_breaker"]["state"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(states, ["closed", "open"]);
    }
}
