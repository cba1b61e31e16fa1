//! The rules of a circuit breaker as a function of its state and the time: no clock, no lock, nobody told.
//!
//! Time is milliseconds from any fixed moment, and never goes back. Outcomes that come late, of calls let through before
//! the last change of state, count for nothing: they tell of another time.

use std::time::Duration;

use techsapo_shared::labels::BreakerState;

/// Slices that the window is counted in.
const SLICES: usize = 10;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long an outcome counts.
    pub window: Duration,
    /// Fewest failures within the window that open it.
    pub failures: u32,
    /// Smallest share of failures among the window's outcomes that opens it, in millionths. Both must be reached.
    pub failure_ppm: u32,
    /// How long it stays open the first time.
    pub open_for: Duration,
    /// How long at most. Every probe that fails doubles the time.
    pub open_for_at_most: Duration,
}

/// Leave for one call, to be given back with its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leave {
    /// How often the state had changed when it was given.
    era: u64,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure,
    /// It was given up, so that it tells nothing.
    Abandoned,
}

/// Successes and failures within one slice of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    number: u64,
    successes: u32,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open {
        until_ms: u64,
    },
    /// One probe is under way, or may begin.
    HalfOpen {
        probing: bool,
    },
}

/// A breaker's whole state.
#[derive(Debug)]
pub(super) struct Core {
    policy: Policy,
    state: State,
    era: u64,
    slices: [Slice; SLICES],
    /// Times that it opened since it was last closed.
    openings: u32,
}

impl Core {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, state: State::Closed, era: 0, slices: [Slice::default(); SLICES], openings: 0 }
    }

    /// The state to be shown. An open breaker whose time is over stays open until somebody asks.
    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Leave for a call while it is closed, and for nobody else's probe.
    pub(super) fn admit_if_closed(&self) -> Option<Leave> {
        matches!(self.state, State::Closed).then_some(Leave { era: self.era })
    }

    /// Leave for a call, or for how long to stay away.
    pub(super) fn admit(&mut self, now_ms: u64) -> Result<Leave, Duration> {
        match self.state {
            State::Closed => {}
            State::Open { until_ms } if now_ms < until_ms => {
                return Err(Duration::from_millis(until_ms - now_ms));
            }
            State::HalfOpen { probing: true } => return Err(Duration::ZERO),
            State::Open { .. } => self.change(State::HalfOpen { probing: true }),
            State::HalfOpen { probing: false } => self.state = State::HalfOpen { probing: true },
        }
        Ok(Leave { era: self.era })
    }

    /// Takes in how a call ended.
    pub(super) fn settle(&mut self, leave: Leave, outcome: Outcome, now_ms: u64) {
        if leave.era != self.era {
            return;
        }
        match (self.state, outcome) {
            (State::Closed, Outcome::Abandoned) | (State::Open { .. }, _) => {}
            (State::Closed, _) => self.count(outcome, now_ms),
            (State::HalfOpen { .. }, Outcome::Success) => self.close(),
            (State::HalfOpen { .. }, Outcome::Failure) => self.open(now_ms),
            (State::HalfOpen { .. }, Outcome::Abandoned) => self.state = State::HalfOpen { probing: false },
        }
    }

    fn count(&mut self, outcome: Outcome, now_ms: u64) {
        let length_ms = (millis(self.policy.window) / SLICES as u64).max(1);
        let number = now_ms / length_ms;
        let slice = &mut self.slices[(number % SLICES as u64) as usize];
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        match outcome {
            Outcome::Success => slice.successes = slice.successes.saturating_add(1),
            _ => slice.failures = slice.failures.saturating_add(1),
        }
        let recent = self.slices.iter().filter(|slice| slice.number + (SLICES as u64) > number);
        let (successes, failures) = recent.fold((0u64, 0u64), |(successes, failures), slice| {
            (successes + u64::from(slice.successes), failures + u64::from(slice.failures))
        });
        let share_reached =
            failures * 1_000_000 >= u64::from(self.policy.failure_ppm) * (successes + failures);
        if outcome == Outcome::Failure && failures >= u64::from(self.policy.failures) && share_reached {
            self.open(now_ms);
        }
    }

    fn open(&mut self, now_ms: u64) {
        let first = millis(self.policy.open_for);
        let doubled = first.saturating_mul(1u64.checked_shl(self.openings).unwrap_or(u64::MAX));
        let open_ms = doubled.min(millis(self.policy.open_for_at_most)).max(1);
        self.openings = self.openings.saturating_add(1);
        self.change(State::Open { until_ms: now_ms.saturating_add(open_ms) });
    }

    /// Closes it and forgets what it has seen.
    pub(super) fn close(&mut self) {
        self.openings = 0;
        self.slices = [Slice::default(); SLICES];
        self.change(State::Closed);
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy {
        window: Duration::from_millis(1_000),
        failures: 3,
        failure_ppm: 500_000,
        open_for: Duration::from_millis(100),
        open_for_at_most: Duration::from_millis(350),
    };

    /// Lets a call through and settles it at once.
    fn call(core: &mut Core, now_ms: u64, outcome: Outcome) {
        let leave = core.admit(now_ms).unwrap();
        core.settle(leave, outcome, now_ms);
    }

    fn opened(now_ms: u64) -> Core {
        let mut core = Core::new(POLICY);
        (0..3).for_each(|_| call(&mut core, now_ms, Outcome::Failure));
        assert_eq!(core.state(), BreakerState::Open);
        core
    }

    #[test]
    fn it_opens_when_count_and_share_of_failures_are_reached_within_the_window() {
        use Outcome::{Abandoned as A, Failure as F, Success as S};
        type Calls = &'static [(u64, Outcome)];
        let cases: [(&str, Calls, BreakerState); 7] = [
            ("too few", &[(0, F), (0, F)], BreakerState::Closed),
            ("enough", &[(0, F), (0, F), (0, F)], BreakerState::Open),
            (
                "too small a share",
                &[(0, S), (0, S), (0, S), (0, S), (0, F), (0, F), (0, F)],
                BreakerState::Closed,
            ),
            ("just the share", &[(0, S), (0, S), (0, S), (0, F), (0, F), (0, F)], BreakerState::Open),
            ("the first is too old", &[(0, F), (600, F), (1_000, F)], BreakerState::Closed),
            (
                "old successes do not help",
                &[(0, S), (0, S), (0, S), (0, S), (1_500, F), (1_500, F), (1_500, F)],
                BreakerState::Open,
            ),
            ("what was given up tells nothing", &[(0, F), (0, F), (0, A), (0, A)], BreakerState::Closed),
        ];
        for (name, calls, state) in cases {
            let mut core = Core::new(POLICY);
            calls.iter().for_each(|&(at, outcome)| call(&mut core, at, outcome));
            assert_eq!(core.state(), state, "{name}");
        }
    }

    #[test]
    fn open_it_refuses_until_its_time_is_over_and_then_lets_one_probe_through() {
        let mut core = opened(1_000);
        assert_eq!(core.admit(1_099), Err(Duration::from_millis(1)));
        let probe = core.admit(1_100).unwrap();
        assert_eq!(core.state(), BreakerState::HalfOpen);
        assert!(core.admit(1_200).is_err(), "one probe at a time");
        core.settle(probe, Outcome::Success, 1_200);
        assert_eq!(core.state(), BreakerState::Closed);
        call(&mut core, 1_201, Outcome::Failure);
        assert_eq!(core.state(), BreakerState::Closed, "earlier failures are forgotten");
    }

    #[test]
    fn every_probe_that_fails_doubles_the_time_up_to_a_bound_and_success_begins_anew() {
        let mut core = opened(0);
        let mut now = 0;
        for open_ms in [100, 200, 350, 350] {
            assert!(core.admit(now + open_ms - 1).is_err());
            now += open_ms;
            call(&mut core, now, Outcome::Failure);
        }
        now += 350;
        call(&mut core, now, Outcome::Success);
        (0..3).for_each(|_| call(&mut core, now, Outcome::Failure));
        assert_eq!(core.admit(now), Err(Duration::from_millis(100)));
    }

    #[test]
    fn a_probe_that_is_given_up_makes_room_for_another() {
        let mut core = opened(0);
        call(&mut core, 100, Outcome::Abandoned);
        assert_eq!(core.state(), BreakerState::HalfOpen);
        assert!(core.admit(100).is_ok());
    }

    #[test]
    fn who_has_a_way_around_never_probes() {
        let mut core = opened(0);
        assert_eq!(core.admit_if_closed(), None);
        let probe = core.admit(100).unwrap();
        assert_eq!(core.admit_if_closed(), None);
        core.settle(probe, Outcome::Success, 100);
        assert!(core.admit_if_closed().is_some());
    }

    proptest! {
        /// Whatever happens in whatever order: late outcomes change nothing, a half-open breaker has one probe at most,
        /// and an open one always comes back when it is left alone for its longest time.
        #[test]
        fn whatever_happens_one_probe_at_a_time_and_never_stuck(
            steps in prop::collection::vec((0u64..200, 0usize..4, 0usize..3), 1..200),
        ) {
            let mut core = Core::new(POLICY);
            let (mut now, mut held) = (0, Vec::<Leave>::new());
            for (wait, which, outcome) in steps {
                now += wait;
                if outcome == 0 || held.is_empty() {
                    let half_open = core.state() == BreakerState::HalfOpen;
                    let era = core.era;
                    if let Ok(leave) = core.admit(now) {
                        let others = held.iter().filter(|other| other.era == leave.era).count();
                        prop_assert!(core.state() == BreakerState::Closed || others == 0);
                        prop_assert!(!half_open || core.era == era);
                        held.push(leave);
                    }
                } else {
                    let leave = held.swap_remove(which % held.len());
                    let (before, late) = (core.state(), leave.era != core.era);
                    let outcome = [Outcome::Success, Outcome::Failure, Outcome::Abandoned][(which + outcome) % 3];
                    core.settle(leave, outcome, now);
                    prop_assert!(!late || core.state() == before);
                }
            }
            for leave in held {
                core.settle(leave, Outcome::Abandoned, now);
            }
            let leave = core.admit(now + 350);
            prop_assert!(leave.is_ok());
            core.settle(leave.unwrap(), Outcome::Success, now + 350);
            prop_assert_eq!(core.state(), BreakerState::Closed);
        }
    }
}
