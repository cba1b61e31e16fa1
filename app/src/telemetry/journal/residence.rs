//! Which part of a ring is kept in memory: pages are set up for writing ahead of the tail, and taken out of the process' resident set
//! behind it. Positions in, positions out; `file` tells the kernel.

use std::{
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How far ahead of the tail pages are set up for writing, at least and at most.
const AHEAD: Range<u64> = (4 << 20)..(16 << 20);
/// How much behind the tail stays in the resident set: the shipper reads it next.
const BEHIND: u64 = 1 << 20;
/// How much is taken out of the resident set at once: to do so interrupts the other cores.
const RELEASE: u64 = 1 << 20;

/// What is in memory of one file's ring.
pub(super) struct Residence {
    /// Lowest position that was read since the last change.
    touched: AtomicU64,
    extent: Mutex<Extent>,
}

#[derive(Default)]
struct Extent {
    /// Below here, pages were released.
    released: u64,
    /// Up to here, pages were set up for writing.
    prepared: u64,
    /// The tail at the last change.
    tail: u64,
}

/// What is to be done to the pages at some positions.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Change {
    /// Take them out of the resident set.
    pub(super) release: Option<Range<u64>>,
    /// Set them up for writing.
    pub(super) prepare: Option<Range<u64>>,
}

impl Default for Residence {
    /// Nothing, as of a ring that was just made.
    fn default() -> Self {
        Self { touched: AtomicU64::new(u64::MAX), extent: Mutex::default() }
    }
}

impl Residence {
    /// Makes it that of a file that is never written again, and whose records are `held`.
    pub(super) fn set_of_a_drained(&self, held: Range<u64>) {
        *self.extent() = Extent { released: held.start, prepared: u64::MAX, tail: held.end };
    }

    /// Notes that the ring was read from `pos` on.
    pub(super) fn touch(&self, pos: u64) {
        self.touched.fetch_min(pos, Ordering::Relaxed);
    }

    /// Follows the tail to `end`; nothing is written at `room` or beyond.
    pub(super) fn follow(&self, end: u64, room: u64) -> Change {
        let touched = self.touched.swap(u64::MAX, Ordering::Relaxed);
        let mut extent = self.extent();
        extent.released = extent.released.min(touched);
        let mut change = Change::default();
        let (from, to) = (extent.released, end.saturating_sub(BEHIND));
        if from + RELEASE <= to {
            change.release = Some(from..to);
            extent.released = to;
        }
        // As far ahead as four times what was appended since the last time.
        let ahead = (4 * (end - extent.tail)).clamp(AHEAD.start, AHEAD.end);
        extent.tail = end;
        let goal = (end + ahead).min(room);
        if extent.prepared < goal && (extent.prepared < end + ahead / 2 || goal == room) {
            change.prepare = Some(extent.prepared.max(end)..goal);
            extent.prepared = goal;
        }
        change
    }

    fn extent(&self) -> MutexGuard<'_, Extent> {
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn pages_are_set_up_ahead_and_released_behind() {
        let residence = Residence::default();
        let room = 64 * MIB;
        assert_eq!(residence.follow(0, room), Change { release: None, prepare: Some(0..4 * MIB) });
        assert_eq!(residence.follow(MIB, room), Change::default(), "there is enough");
        // Faster now, and so further ahead.
        let change = residence.follow(4 * MIB, room);
        assert_eq!(change, Change { release: Some(0..3 * MIB), prepare: Some(4 * MIB..16 * MIB) });
        // What was read came back into memory.
        residence.touch(MIB);
        assert_eq!(residence.follow(4 * MIB, room).release, Some(MIB..3 * MIB));
    }

    #[test]
    fn nothing_is_set_up_where_nothing_may_be_written() {
        let residence = Residence::default();
        assert_eq!(residence.follow(0, MIB).prepare, Some(0..MIB));
        assert_eq!(residence.follow(MIB, MIB).prepare, None);
        assert_eq!(residence.follow(MIB, 2 * MIB).prepare, Some(MIB..2 * MIB), "room came back");
    }

    #[test]
    fn a_drained_file_is_only_released() {
        let residence = Residence::default();
        residence.set_of_a_drained(2 * MIB..8 * MIB);
        assert_eq!(
            residence.follow(8 * MIB, 32 * MIB),
            Change { release: Some(2 * MIB..7 * MIB), prepare: None }
        );
    }
}
