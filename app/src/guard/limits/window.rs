//! Counts what happened in the last minute: a sliding window in slices of five seconds.
//!
//! What must hold: never more than the limit is let through in any 60 seconds, whatever the pattern. A slice counts
//! until its last moment is a minute old, so that at the edge up to five seconds more than a minute count, never less.
//! `limit.lua` follows the same rules in Redis; a test holds the two together.

/// Length of a slice.
pub const SLICE_MS: u64 = 5_000;
/// Slices that count: those of a whole minute, and the one that is running.
pub const SLICES: u64 = 13;

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may go on.
    pub allowed: bool,
    /// Requests that are let through in a minute.
    pub limit: u64,
    /// How many more would be let through now.
    pub remaining: u64,
    /// Until `remaining` rises again: when the oldest slice that counts stops to.
    pub reset_in_ms: u64,
}

impl Decision {
    /// From what was counted: `used` requests, this one included if it is allowed, the oldest of them in slice `oldest`.
    pub fn new(allowed: bool, limit: u64, used: u64, oldest: u64, now_ms: u64) -> Self {
        let reset_in_ms = ((oldest + SLICES) * SLICE_MS).saturating_sub(now_ms);
        Self { allowed, limit, remaining: limit.saturating_sub(used), reset_in_ms }
    }
}

/// What one account did in the last minute. Time is milliseconds from any fixed moment.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Number of a slice, and what happened in it.
    slices: [(u64, u64); SLICES as usize],
}

impl Window {
    /// Counts a request if there is room for it.
    pub fn take(&mut self, limit: u64, now_ms: u64) -> Decision {
        let current = now_ms / SLICE_MS;
        let used = self.used(current);
        let allowed = used < limit;
        if allowed {
            self.add(now_ms);
        }
        let counting = self.counting(current);
        let oldest = counting.map(|(number, _)| number).min().unwrap_or(current);
        Decision::new(allowed, limit, used + u64::from(allowed), oldest, now_ms)
    }

    /// Whether one more request would be let through, beside `others` that are not counted yet.
    pub fn has_room(&self, limit: u64, others: u64, now_ms: u64) -> bool {
        self.used(now_ms / SLICE_MS).saturating_add(others) < limit
    }

    /// Counts a request for which there was room elsewhere.
    pub fn add(&mut self, now_ms: u64) {
        let current = now_ms / SLICE_MS;
        let slice = &mut self.slices[(current % SLICES) as usize];
        if slice.0 != current {
            *slice = (current, 0);
        }
        slice.1 += 1;
    }

    /// Whether nothing counts any more.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.used(now_ms / SLICE_MS) == 0
    }

    fn used(&self, current: u64) -> u64 {
        self.counting(current).map(|(_, count)| count).sum()
    }

    fn counting(&self, current: u64) -> impl Iterator<Item = (u64, u64)> {
        let counts = move |slice: &(u64, u64)| slice.1 > 0 && slice.0 + SLICES > current;
        self.slices.iter().copied().filter(counts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_limit_is_let_through_at_once_and_room_comes_back_slice_by_slice() {
        let mut window = Window::default();
        let decision =
            |allowed, remaining, reset_in_ms| Decision { allowed, limit: 3, remaining, reset_in_ms };
        assert_eq!(window.take(3, 1_000), decision(true, 2, 64_000));
        assert_eq!(window.take(3, 5_000), decision(true, 1, 60_000));
        assert_eq!(window.take(3, 5_000), decision(true, 0, 60_000));
        assert_eq!(window.take(3, 5_001), decision(false, 0, 59_999));
        assert_eq!(window.take(3, 64_999), decision(false, 0, 1));
        assert_eq!(window.take(3, 65_000), decision(true, 0, 5_000));
        assert!(!window.is_over(129_999));
        assert!(window.is_over(130_000));
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_in_any_minute_and_patience_is_rewarded(
            limit in 1u64..20,
            waits in prop::collection::vec(0u64..9_000, 1..300),
        ) {
            let (mut window, mut now, mut passed) = (Window::default(), 0, Vec::new());
            for wait in waits {
                now += wait;
                let decision = window.take(limit, now);
                if decision.allowed {
                    passed.push(now);
                    let minute = passed.iter().filter(|&&at| at + 60_000 > now).count();
                    prop_assert!(minute as u64 <= limit);
                } else {
                    prop_assert!((1..=65_000).contains(&decision.reset_in_ms));
                    let mut later = window.clone();
                    prop_assert!(!later.take(limit, now + decision.reset_in_ms - 1).allowed);
                    prop_assert!(window.clone().take(limit, now + decision.reset_in_ms).allowed);
                }
            }
        }
    }
}
