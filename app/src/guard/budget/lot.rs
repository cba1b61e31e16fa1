//! Room that Redis has reserved ahead of calls, so that where many come a second, few of them wait for it. Pure.
//!
//! What must hold: no more is taken of a lot than it holds, and no call is in it that Redis might let expire before the
//! call does.

/// Lots in a second, about: how often Redis is asked instead of before each call.
const IN_A_SECOND: u64 = 4;

/// A lot. Amounts are nano-USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    number: u64,
    nanousd: u64,
    left: u64,
    expires_ms: u64,
}

impl Lot {
    /// The lot that Redis knows under this number, and lets expire then or later, by the instance's own clock.
    pub fn new(number: u64, nanousd: u64, expires_ms: u64) -> Self {
        Self { number, nanousd, left: nanousd, expires_ms }
    }

    /// Its number among this run's calls.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When it expires.
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// What it holds in Redis.
    pub fn nanousd(&self) -> u64 {
        self.nanousd
    }

    /// Takes room for a call, which expires then, if there is enough. One that has more patience than the call for which the lot was
    /// fetched may find no place.
    pub fn take(&mut self, nanousd: u64, expires_ms: u64) -> bool {
        let has_room = self.left >= nanousd && self.expires_ms >= expires_ms;
        self.left -= if has_room { nanousd } else { 0 };
        has_room
    }

    /// A call that had taken `reserved` cost so much: the rest is there again. One that was dearer takes what it can.
    pub fn settle(&mut self, reserved: u64, nanousd: u64) {
        self.left = (self.left + reserved).saturating_sub(nanousd);
    }
}

/// How many calls there are in a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    now: u64,
    before: u64,
}

impl Pace {
    /// There is one more.
    pub fn call(&mut self) {
        self.now += 1;
    }

    /// A second is over.
    pub fn second(&mut self) {
        *self = Self { now: 0, before: self.now };
    }

    /// For how many calls a lot is to hold; for one, none is worth while.
    pub fn calls_in_lot(&self) -> u64 {
        (self.now.max(self.before) / IN_A_SECOND).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_it_holds_and_what_was_not_spent_is_there_again() {
        let mut lot = Lot::new(1, 100, 50);
        assert!(lot.take(60, 50) && !lot.take(41, 50) && lot.take(40, 50) && !lot.take(1, 50));
        lot.settle(60, 10);
        assert!(lot.take(50, 50) && !lot.take(1, 50));
        lot.settle(40, 45);
        assert!(!lot.take(1, 50), "dearer than was reserved");
        lot.settle(50, 0);
        assert!(!lot.take(51, 50) && lot.take(50, 50));
    }

    #[test]
    fn a_call_that_would_outlive_it_is_not_in_it() {
        let mut lot = Lot::new(1, 100, 50);
        assert!(!lot.take(1, 51) && lot.take(1, 50));
    }

    #[test]
    fn where_calls_are_rare_there_is_no_lot() {
        let mut pace = Pace::default();
        (0..7).for_each(|_| pace.call());
        assert_eq!(pace.calls_in_lot(), 1);
        (7..400).for_each(|_| pace.call());
        assert_eq!(pace.calls_in_lot(), 100);
        pace.second();
        assert_eq!(pace.calls_in_lot(), 100);
        pace.second();
        assert_eq!(pace.calls_in_lot(), 1);
    }
}
