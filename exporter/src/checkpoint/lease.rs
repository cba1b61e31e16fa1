//! How long a lock that can run out may be relied on, measured without asking anybody.
//!
//! The clock is the kernel's time since boot: nobody sets it, and unlike the clock behind `Instant` it goes on while
//! the host sleeps, so that an exporter woken up knows at once that its lease is over.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment on this host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The present.
    pub fn now() -> Self {
        // The kernel never gives a negative time since boot.
        Self(clock_gettime(ClockId::Boottime).try_into().unwrap_or_default())
    }

    /// The moment `later` after this one.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(self.0 + later)
    }

    /// Whether it is over.
    pub fn has_passed(self) -> bool {
        self <= Self::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_passes_when_its_time_has_come() {
        let now = Moment::now();
        assert!(now > Moment(Duration::ZERO));
        assert!(now.has_passed());
        assert!(!now.plus(Duration::from_secs(3_600)).has_passed());
    }
}
