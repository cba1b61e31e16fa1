//! What happened in the last five minutes: sums per slot of ten seconds, and a sketch of response times.
//!
//! Pure: an event's own time decides its slot, and the caller's `now` decides which slots count. Nothing expires while
//! applying, so that replaying the same events always gives the same value.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use techsapo_shared::labels::{CacheType, ClosedLabel, Provider};

/// Length of one slot.
const SLOT_MS: u64 = 10_000;
/// Slots that make up the window.
const WINDOW_SLOTS: u64 = 30;
/// Slots that are kept: the window, and as many again so that a clock a minute ahead pushes nothing out early.
const KEPT_SLOTS: u64 = 2 * WINDOW_SLOTS;
/// Buckets of the sketch per doubling of the value.
const SUB_BUCKET_BITS: u32 = 6;

// The checkpoint holds a share for each of them, without saying how many there are: with one more, no older checkpoint could be read, and all
// counters would begin at zero. Whoever adds one makes lists of them here, and a new `checkpoint::FORMAT` that still reads this one.
const _: () = assert!(Provider::ALL.len() == 8 && CacheType::ALL.len() == 2);

/// A number of good ones among a number of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Those that count as good.
    pub good: u64,
    /// All.
    pub all: u64,
}

impl Share {
    fn add(&mut self, good: bool) {
        self.good += u64::from(good);
        self.all += 1;
    }

    fn merge(&mut self, other: Self) {
        self.good += other.good;
        self.all += other.all;
    }

    /// 0 to 1, or nothing if there was nothing.
    pub fn ratio(self) -> Option<f64> {
        (self.all > 0).then(|| self.good as f64 / self.all as f64)
    }
}

/// A sum of scores and how many there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mean {
    /// Sum in millionths.
    pub sum_ppm: u64,
    /// Number of scores.
    pub count: u64,
}

impl Mean {
    fn add(&mut self, score_ppm: u32) {
        self.sum_ppm += u64::from(score_ppm);
        self.count += 1;
    }

    fn merge(&mut self, other: Self) {
        self.sum_ppm += other.sum_ppm;
        self.count += other.count;
    }

    /// 0 to 1, or nothing if there was nothing.
    pub fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_ppm as f64 / self.count as f64 / 1e6)
    }
}

/// Counts of durations in buckets whose width grows with the value: 64 to each doubling, so that a bucket's middle is
/// within 0.8 % of everything in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// (bucket, count), ascending by bucket.
    buckets: Vec<(u16, u64)>,
}

impl Sketch {
    /// Counts one duration.
    pub fn add(&mut self, micros: u64) {
        self.add_to(bucket_of(micros), 1);
    }

    fn add_to(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |&(known, _)| known) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    fn merge(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            self.add_to(bucket, count);
        }
    }

    /// The duration that `percent` of all do not exceed (nearest rank), in microseconds; nothing if there are none.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let all: u64 = self.buckets.iter().map(|&(_, count)| count).sum();
        if all == 0 {
            return None;
        }
        let rank = (all * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.buckets.iter().find_map(|&(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| middle_of(bucket))
        })
    }
}

fn bucket_of(value: u64) -> u16 {
    let whole = 1 << SUB_BUCKET_BITS;
    if value < 2 * whole {
        // Small values have a bucket each.
        return value as u16;
    }
    let shift = value.ilog2() - SUB_BUCKET_BITS;
    // `value >> shift` lies in whole..2·whole, so each further doubling takes the next `whole` numbers.
    (u64::from(shift) * whole + (value >> shift)) as u16
}

fn middle_of(bucket: u16) -> u64 {
    let whole = 1u64 << SUB_BUCKET_BITS;
    let bucket = u64::from(bucket);
    if bucket < 2 * whole {
        return bucket;
    }
    let shift = bucket / whole - 1;
    let lowest = (bucket - shift * whole) << shift;
    lowest + (1 << shift) / 2
}

/// Sums of one slot, or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Analyses that succeeded, among those that were not refused.
    pub analyses: Share,
    /// Confidence of fresh analyses.
    pub confidence: Mean,
    /// Consensus of fresh analyses.
    pub consensus: Mean,
    /// Calls that succeeded among those that were made, by [`Provider::index`].
    pub providers: [Share; Provider::ALL.len()],
    /// Look-ups that hit among all, by [`CacheType::index`].
    pub caches: [Share; CacheType::ALL.len()],
    /// Response times of the API's routes.
    pub api: Sketch,
}

impl Sums {
    /// Counts an analysis that was not refused.
    pub fn analysis(&mut self, success: bool) {
        self.analyses.add(success);
    }

    /// Counts a fresh analysis' confidence.
    pub fn confidence(&mut self, score_ppm: u32) {
        self.confidence.add(score_ppm);
    }

    /// Counts a fresh analysis' consensus.
    pub fn consensus(&mut self, score_ppm: u32) {
        self.consensus.add(score_ppm);
    }

    /// Counts a provider's call.
    pub fn provider(&mut self, provider: Provider, success: bool) {
        self.providers[provider.index()].add(success);
    }

    /// Counts a look into a cache.
    pub fn cache(&mut self, cache: CacheType, hit: bool) {
        self.caches[cache.index()].add(hit);
    }

    fn merge(&mut self, other: &Self) {
        self.analyses.merge(other.analyses);
        self.confidence.merge(other.confidence);
        self.consensus.merge(other.consensus);
        for (mine, theirs) in self.providers.iter_mut().zip(&other.providers) {
            mine.merge(*theirs);
        }
        for (mine, theirs) in self.caches.iter_mut().zip(&other.caches) {
            mine.merge(*theirs);
        }
        self.api.merge(&other.api);
    }
}

/// The last minutes, slot by slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// (slot number, sums), ascending and without empty slots.
    slots: VecDeque<(u64, Sums)>,
}

impl Window {
    /// The sums that an event of time `t_ms` belongs to; nothing if it is older than all that is kept.
    pub fn at(&mut self, t_ms: u64) -> Option<&mut Sums> {
        let slot = t_ms / SLOT_MS;
        let newest = self.slots.back().map_or(slot, |&(newest, _)| newest.max(slot));
        if slot + KEPT_SLOTS <= newest {
            return None;
        }
        while self.slots.front().is_some_and(|&(oldest, _)| oldest + KEPT_SLOTS <= newest) {
            self.slots.pop_front();
        }
        let at = match self.slots.binary_search_by_key(&slot, |&(known, _)| known) {
            Ok(at) => at,
            Err(at) => {
                self.slots.insert(at, (slot, Sums::default()));
                at
            }
        };
        self.slots.get_mut(at).map(|(_, sums)| sums)
    }

    /// Takes away what lies a window or more ahead of `now_ms`, and says whether there was any. A clock was ahead then and has been set
    /// right; what comes now would be too old beside it for as long as it was ahead.
    pub fn forget_the_future(&mut self, now_ms: u64) -> bool {
        let future = now_ms / SLOT_MS + WINDOW_SLOTS;
        let known = self.slots.partition_point(|&(slot, _)| slot < future);
        let any = known < self.slots.len();
        self.slots.truncate(known);
        any
    }

    /// The newest slot, if it lies a window or more ahead of `now_ms`. What is told now would be too old beside it.
    pub fn ahead(&self, now_ms: u64) -> Option<&(u64, Sums)> {
        self.slots.back().filter(|&&(slot, _)| slot >= now_ms / SLOT_MS + WINDOW_SLOTS)
    }

    /// The sums of the five minutes that end at `now_ms`. What lies less than a window ahead (a producer's clock)
    /// counts too.
    pub fn last_five_minutes(&self, now_ms: u64) -> Sums {
        let now = now_ms / SLOT_MS;
        let mut total = Sums::default();
        for (slot, sums) in &self.slots {
            if slot + WINDOW_SLOTS > now && *slot < now + WINDOW_SLOTS {
                total.merge(sums);
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_buckets_middle_is_within_one_percent(value in 0u64..1 << 40) {
            let middle = middle_of(bucket_of(value));
            prop_assert!(middle.abs_diff(value) * 100 <= value, "{} for {}", middle, value);
        }

        #[test]
        fn the_percentile_is_within_one_percent_of_the_exact_one(
            mut values in prop::collection::vec(1u64..100_000_000, 1..300)
        ) {
            let mut sketch = Sketch::default();
            for &value in &values {
                sketch.add(value);
            }
            values.sort_unstable();
            let exact = values[(values.len() * 95).div_ceil(100) - 1];
            let found = sketch.percentile(95).unwrap();
            prop_assert!(found.abs_diff(exact) * 100 <= exact, "{} for {}", found, exact);
        }

        #[test]
        fn the_order_of_events_does_not_matter_within_the_window(
            times in prop::collection::vec(1_000_000u64..1_290_000, 0..60)
        ) {
            let count = |times: &[u64]| {
                let mut window = Window::default();
                for &t in times {
                    window.at(t).unwrap().analysis(true);
                }
                window.last_five_minutes(1_290_000).analyses.all
            };
            let mut reversed = times.clone();
            reversed.reverse();
            prop_assert_eq!(count(&times), times.len() as u64);
            prop_assert_eq!(count(&reversed), times.len() as u64);
        }
    }

    #[test]
    fn what_is_older_than_five_minutes_does_not_count() {
        let mut window = Window::default();
        window.at(1_000_000).unwrap().analysis(true);
        assert_eq!(window.last_five_minutes(1_000_000).analyses.ratio(), Some(1.0));
        assert_eq!(window.last_five_minutes(1_299_999).analyses.all, 1);
        assert_eq!(window.last_five_minutes(1_300_000).analyses.ratio(), None);
    }

    #[test]
    fn a_clock_that_was_hours_ahead_does_not_keep_out_what_comes_after_it_was_set_right() {
        const HOURS: u64 = 9 * 3_600_000;
        let (mut window, now_ms) = (Window::default(), 1_000_000);
        for t_ms in [now_ms, now_ms + 60_000, now_ms + HOURS] {
            window.at(t_ms).unwrap().analysis(false);
        }
        assert!(window.at(now_ms).is_none());
        assert!(window.forget_the_future(now_ms) && !window.forget_the_future(now_ms));
        window.at(now_ms).unwrap().analysis(true);
        assert_eq!(
            window.last_five_minutes(now_ms).analyses.all,
            1,
            "the jump ahead had pushed out the rest"
        );
        window.at(now_ms + 60_000).unwrap().analysis(true);
        assert!(!window.forget_the_future(now_ms), "a clock may be a little ahead");
    }

    #[test]
    fn a_backlog_read_late_does_not_raise_the_last_five_minutes() {
        let mut window = Window::default();
        window.at(10_000_000).unwrap().analysis(true);
        assert!(window.at(10_000_000 - 3_600_000).is_none());
        assert_eq!(window.last_five_minutes(10_000_000).analyses.all, 1);
    }
}
