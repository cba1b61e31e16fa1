//! What the pure core does for any input, said a second time as naively as it can be: deduplication against a set of
//! numbers, the window against a list of events, newborn series against their totals, gauges against the freshest of
//! what was heard.
#![allow(clippy::unwrap_used)] // What goes wrong here fails the test, and that is what a panic does.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use techsapo_exporter::catalog::FamilyId;
use techsapo_exporter::gauges::{Gauges, Samples};
use techsapo_exporter::series::{Key, SeriesStore};
use techsapo_exporter::state::State;
use techsapo_exporter::window::Window;
use techsapo_shared::event::RuntimeSample;
use techsapo_shared::wire::{Batch, DEFAULT_STREAM, EntryId, Origin};
use uuid::Uuid;

fn state() -> State {
    State::new(Uuid::nil(), &[DEFAULT_STREAM.to_owned()], 1_000)
}

fn total(state: &State, family: FamilyId) -> u64 {
    let mut total = 0;
    state.series.for_each(family, |_, cells| total += cells[0]);
    total
}

fn apply(state: &mut State, entry: u64, origin: Option<Origin<'_>>, lines: &[String]) {
    let data = lines.join("\n");
    let batch = Batch { origin, count: lines.len() as u64, data: data.as_bytes() };
    state.apply_entry(DEFAULT_STREAM, EntryId { ms: entry, seq: 0 }, Ok(batch), &mut Vec::new());
}

/// What happened to a producer's events, as sets of their numbers.
#[derive(Default)]
struct Numbers {
    counted: BTreeSet<u64>,
    lost: BTreeSet<u64>,
}

impl Numbers {
    fn is_known(&self, seq: u64) -> bool {
        self.counted.contains(&seq) || self.lost.contains(&seq)
    }

    /// A batch `first..first + count` of a producer that has nothing before `oldest` any more. Gives duplicates, and
    /// whether there was a gap.
    fn take(&mut self, first: u64, count: u64, oldest: u64) -> (u64, bool) {
        let gone: Vec<u64> = (1..oldest).filter(|&seq| !self.is_known(seq)).collect();
        self.lost.extend(gone);
        if (1..first).any(|seq| !self.is_known(seq)) {
            return (0, true);
        }
        let (old, new): (Vec<u64>, Vec<u64>) = (first..first + count).partition(|&seq| self.is_known(seq));
        self.counted.extend(new);
        (old.len() as u64, false)
    }
}

fn sample(instance: &str, t: u64) -> RuntimeSample<'static> {
    let sample = serde_json::json!({
        "t": t, "app_instance": instance, "heap_used_bytes": t % 1_000, "redis_pool_connections": t % 100,
    });
    serde_json::from_str::<RuntimeSample<'_>>(&sample.to_string()).unwrap().into_owned()
}

proptest! {
    #[test]
    fn what_counts_is_what_sets_of_numbers_say(
        batches in vec((0..3u8, 1..30u64, 1..9u64, 0..12u64), 1..60)
    ) {
        let mut state = state();
        let mut producers = BTreeMap::<u8, Numbers>::new();
        let (mut duplicates, mut gaps) = (0, 0);
        for (entry, &(producer, first, count, kept)) in (1..).zip(&batches) {
            let oldest = first.saturating_sub(kept).max(1);
            let (name, line) = (format!("p{producer}"), r#"{"config_changed":{"t":1,"component":"app"}}"#);
            let origin = Origin { producer: &name, first_seq: first, oldest_seq: oldest, dropped: 0 };
            apply(&mut state, entry, Some(origin), &vec![line.to_owned(); count as usize]);
            let (old, gap) = producers.entry(producer).or_default().take(first, count, oldest);
            (duplicates, gaps) = (duplicates + old, gaps + u64::from(gap));

            let size = |of: fn(&Numbers) -> &BTreeSet<u64>| producers.values().map(|one| of(one).len() as u64).sum::<u64>();
            prop_assert_eq!(total(&state, FamilyId::TelemetryEvents), size(|one| &one.counted));
            prop_assert_eq!(total(&state, FamilyId::TelemetryLost), size(|one| &one.lost));
            prop_assert_eq!(total(&state, FamilyId::TelemetryDuplicates), duplicates);
            prop_assert_eq!(total(&state, FamilyId::TelemetryGaps), gaps);
        }
    }

    #[test]
    fn the_window_holds_what_a_list_of_events_holds(
        events in vec((1_000_000..2_500_000u64, any::<bool>()), 0..120),
        now in 1_000_000..2_600_000u64,
    ) {
        const SLOT_MS: u64 = 10_000;
        let mut window = Window::default();
        let mut list: Vec<(u64, bool)> = Vec::new();
        let mut newest = 0;
        for &(t, success) in &events {
            let slot = t / SLOT_MS;
            newest = newest.max(slot);
            let taken = window.at(t).map(|sums| sums.analysis(success)).is_some();
            prop_assert_eq!(taken, slot + 60 > newest, "twice the window is kept");
            list.push((slot, success));
            list.retain(|&(slot, _)| slot + 60 > newest);
        }
        let current = now / SLOT_MS;
        let inside = |slot: u64| slot + 30 > current && slot < current + 30;
        let expected: Vec<bool> = list.iter().filter(|(slot, _)| inside(*slot)).map(|&(_, success)| success).collect();
        let sums = window.last_five_minutes(now);
        prop_assert_eq!(sums.analyses.all, expected.len() as u64);
        prop_assert_eq!(sums.analyses.good, expected.iter().filter(|&&success| success).count() as u64);
        prop_assert!(sums.analyses.ratio().is_none_or(|ratio| (0.0..=1.0).contains(&ratio)));
    }

    /// A series is shown at zero when it is new, and with all that it counted from `hold_ms` later at the latest; it is
    /// never shown with less than before, whatever the clock does.
    #[test]
    fn a_newborn_series_is_shown_at_zero_then_whole_and_never_with_less(
        steps in vec((0..6u16, 1..5u64, -3_000..6_000i64), 1..80),
        hold_ms in 1..20_000u64,
    ) {
        let mut store = SeriesStore::default();
        let (mut now, mut furthest) = (1_000_000u64, 1_000_000u64);
        let mut totals = BTreeMap::<u16, u64>::new();
        let mut shown = BTreeMap::<u16, u64>::new();
        let mut first_held = BTreeMap::<u16, u64>::new();
        for &(code, amount, passed) in &steps {
            store.count(FamilyId::HttpRequests, Key::new(&[0, 0, 200 + code]), amount, 1_000);
            *totals.entry(code).or_default() += amount;
            now = now.saturating_add_signed(passed);
            furthest = furthest.max(now);
            store.hold_newborn(now, hold_ms);
            first_held.entry(code).or_insert(now);
            let mut page = BTreeMap::new();
            store.for_each(FamilyId::HttpRequests, |labels, cells| {
                page.insert(labels[2].parse::<u16>().unwrap() - 200, cells[0]);
            });
            prop_assert_eq!(page.keys().collect::<Vec<_>>(), totals.keys().collect::<Vec<_>>());
            for (code, &value) in &page {
                let before = shown.insert(*code, value);
                prop_assert!(before.is_some() || value == 0, "shown at zero first");
                prop_assert!(value >= before.unwrap_or(0), "shown with less than before");
                prop_assert!(value == 0 || value == totals[code], "shown in part");
                let over = now >= first_held[code] + hold_ms;
                prop_assert!(!over || value == totals[code], "held back for too long");
            }
        }
    }

    /// Of each instance the freshest sample counts, wherever it came from, and none that is older than 30 s.
    #[test]
    fn gauges_are_made_of_the_freshest_samples(
        heard in vec((0..3u8, any::<bool>(), 1_000_000..1_080_000u64), 0..30),
        now in 1_000_000..1_100_000u64,
    ) {
        let mut state = state();
        let mut samples = Samples::default();
        let mut freshest = BTreeMap::<String, u64>::new();
        for (entry, &(instance, polled, t)) in (1_100_000..).zip(&heard) {
            let name = format!("app-{instance}");
            if polled {
                samples.apps.retain(|known| known.app_instance != name || known.t >= t);
                if samples.apps.iter().all(|known| known.app_instance != name) {
                    samples.apps.push(sample(&name, t));
                }
            } else {
                let line = serde_json::json!({ "runtime_sample": sample(&name, t) }).to_string();
                apply(&mut state, entry, None, &[line]);
            }
            let known = freshest.entry(name).or_insert(t);
            *known = t.max(*known);
        }
        freshest.retain(|_, t| *t + 30_000 > now);
        let gauges = Gauges::new(Some(&state), &samples, now);
        let mut per_instance = BTreeMap::new();
        gauges.for_each(FamilyId::HeapUsed, &mut |labels, value| {
            per_instance.insert(labels[0].to_owned(), value as u64);
        });
        let expected: BTreeMap<_, _> = freshest.iter().map(|(name, t)| (name.clone(), t % 1_000)).collect();
        prop_assert_eq!(per_instance, expected);
        let mut pool = None;
        gauges.for_each(FamilyId::RedisPoolSize, &mut |_, value| pool = Some(value as u64));
        let all = freshest.values().map(|t| t % 100).reduce(|a, b| a + b);
        prop_assert_eq!(pool, all, "absent where nobody says anything");
    }
}
