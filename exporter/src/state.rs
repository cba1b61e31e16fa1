//! The exporter's state: one value that holds everything it knows from the stream.
//!
//! Cursor per stream, next expected number per producer, every series, every window. It changes only by
//! [`State::apply_entry`](crate::apply) and the few inputs below; each is a deterministic function of the state and
//! its arguments, without a clock or I/O, so that replaying the same entries always gives the same state.

use std::collections::{BTreeMap, HashSet};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use techsapo_shared::event::RuntimeSample;
use techsapo_shared::labels::{BreakerState, Service};
use techsapo_shared::wire::EntryId;
use uuid::Uuid;

use crate::budget::Budget;
use crate::catalog::{Domain, FAMILIES, FamilyId, Seed};
use crate::series::{Discarded, Key, SeriesStore, ValueId};
use crate::window::{Sums, Window};

/// Default limit of series in one family.
pub const DEFAULT_SERIES_LIMIT: usize = 1_000;
/// An instance that has not been heard of for so long, by the time of later events, is forgotten. Serving stops
/// showing it much earlier.
const INSTANCE_KEPT_MS: u64 = 3_600_000;
/// What is told of a time so far ahead of the exporter's clock was told by one that was wrong.
const FUTURE_MS: u64 = 300_000;
/// Most instances that are remembered.
const MAX_INSTANCES: usize = 1_000;
/// A producer that has sent nothing for so long, by the stream's own time, is silent.
const PRODUCER_SILENT_MS: u64 = 30 * 24 * 3_600_000;
/// So many producers stay known however long they are silent: a journal may come back after months, and what it sends again must be known
/// as such. Of more, the ones that are silent longest are forgotten.
const MAX_PRODUCERS: usize = 10_000;

/// Everything the exporter knows from the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Names this state in `techsapo:owner`.
    pub id: Uuid,
    /// A state begun anew beside older acknowledgements: a producer that it meets without one is taken from the
    /// oldest event it can still send, and what it sent before is no loss.
    pub adopts: bool,
    /// By stream key.
    pub streams: BTreeMap<String, StreamState>,
    /// By producer id.
    pub producers: FxHashMap<String, Producer>,
    /// All counters and histograms.
    pub series: SeriesStore,
    /// The last minutes.
    pub window: Window,
    /// Spending against the limits.
    pub budget: Budget,
    /// By app instance.
    pub instances: BTreeMap<String, Instance>,
    /// Changes at every input that is not a mere repetition, so that the pipeline knows when to write a checkpoint.
    #[serde(skip)]
    pub revision: u64,
    /// Most series of one family.
    #[serde(skip)]
    pub series_limit: usize,
}

/// How far one stream was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamState {
    /// Id of the last entry that was taken, as it stands in the stream now; what is at or below it may be trimmed.
    #[serde(with = "entry_id")]
    pub cursor: EntryId,
    /// Highest id that was ever taken. Entries without numbers count only above it.
    #[serde(with = "entry_id")]
    pub floor: EntryId,
}

/// What is known of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    /// Number of the next event that will be counted.
    pub expected: u64,
    /// Events that it said it dropped.
    pub dropped: u64,
    /// Time of its last entry, by the stream's clock.
    pub last_entry_ms: u64,
    /// The stream that it writes to, by its place in the order of [`State::streams`] keys.
    pub stream: u32,
}

impl Producer {
    fn is_silent(&self, stream_clocks: &[u64]) -> bool {
        let clock = stream_clocks.get(self.stream as usize);
        clock.is_some_and(|&clock| self.last_entry_ms.saturating_add(PRODUCER_SILENT_MS) < clock)
    }
}

/// What is known of one app instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The last sample, if there was one.
    #[serde(with = "json_bytes")]
    pub sample: Option<RuntimeSample<'static>>,
    /// Last time that it was heard of.
    pub last_t_ms: u64,
    /// State of each breaker and since when it is known.
    pub breakers: BTreeMap<Service, (u64, BreakerState)>,
    /// The providers it is configured with, as numbers of the domain `Provider`.
    pub providers: Vec<ValueId>,
}

/// What tells of a time still to come. As long as somebody's clock is ahead, it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ahead {
    window: Option<(u64, Sums)>,
    instance: Option<u64>,
}

impl State {
    /// A state that has seen nothing of `streams`.
    pub fn new(id: Uuid, streams: &[String], series_limit: usize) -> Self {
        let mut state = Self {
            id,
            adopts: false,
            streams: BTreeMap::new(),
            producers: FxHashMap::default(),
            series: SeriesStore::default(),
            window: Window::default(),
            budget: Budget::default(),
            instances: BTreeMap::new(),
            revision: 0,
            series_limit,
        };
        state.prepare(streams, series_limit);
        state
    }

    /// Makes a state that was read from a checkpoint ready for this build and these streams. Returns what an earlier
    /// build had counted that this one cannot continue.
    pub fn resume(&mut self, streams: &[String], series_limit: usize) -> Vec<Discarded> {
        let discarded = self.series.adopt();
        self.prepare(streams, series_limit);
        discarded
    }

    fn prepare(&mut self, streams: &[String], series_limit: usize) {
        self.series_limit = series_limit;
        for stream in streams {
            self.streams.entry(stream.clone()).or_default();
        }
        for (&family, row) in FamilyId::ALL.iter().zip(FAMILIES) {
            if row.seed == Seed::All && row.cells() > 0 {
                let choices: Vec<Vec<ValueId>> =
                    row.labels.iter().map(|&(_, domain)| all_values(domain)).collect();
                for_each_combination(&choices, |values| {
                    self.series.seed(family, Key::new(values), usize::MAX);
                });
            }
        }
    }

    /// Expects `acknowledged + 1` of a producer: another state has counted what came before.
    pub fn expect_after(&mut self, producer: &str, acknowledged: u64, now_ms: u64) {
        self.producers.insert(
            producer.to_owned(),
            Producer {
                expected: acknowledged.saturating_add(1),
                dropped: 0,
                last_entry_ms: now_ms,
                stream: 0,
            },
        );
    }

    /// The stream is not the one that the cursor was for: it is gone, or its newest id lies below. Whatever it holds
    /// from here on is new to entries without numbers.
    pub fn stream_regressed(&mut self, stream: &str) {
        if let Some(state) = self.streams.get_mut(stream) {
            *state = StreamState::default();
            self.revision += 1;
        }
    }

    /// The newest that tells of a time well after `now_ms`, if anything does.
    pub fn ahead(&self, now_ms: u64) -> Option<Ahead> {
        let latest = now_ms.saturating_add(FUTURE_MS);
        let ahead = Ahead {
            window: self.window.ahead(now_ms).cloned(),
            instance: self
                .instances
                .values()
                .map(|instance| instance.last_t_ms)
                .filter(|&t| t > latest)
                .max(),
        };
        (ahead != Ahead::default()).then_some(ahead)
    }

    /// Takes away what tells of a time well after `now_ms`, counters and sums of money aside: a clock was ahead and has been set right, and until that
    /// time comes nothing that is told now would be taken for newer.
    pub fn forget_the_future(&mut self, now_ms: u64) {
        let latest = now_ms.saturating_add(FUTURE_MS);
        let mut changed = self.window.forget_the_future(now_ms);
        for instance in self.instances.values_mut().filter(|instance| instance.last_t_ms > latest) {
            instance.last_t_ms = now_ms;
            instance.sample.take_if(|sample| sample.t > latest);
            instance.breakers.retain(|_, (since, _)| *since <= latest);
            changed = true;
        }
        self.revision += u64::from(changed);
    }

    /// Producers that have sent nothing for 30 days, by the clock of their stream, as far as that is not ahead of `now_ms`.
    pub fn silent_producers(&self, now_ms: u64) -> Vec<&str> {
        let clocks = self.stream_clocks(now_ms);
        let silent = self.producers.iter().filter(|(_, producer)| producer.is_silent(&clocks));
        silent.map(|(id, _)| id.as_str()).collect()
    }

    /// Leaves of `producers` those that are.
    pub fn retain_silent(&self, producers: &mut HashSet<String>, now_ms: u64) {
        let clocks = self.stream_clocks(now_ms);
        producers.retain(|id| self.producers.get(id).is_some_and(|producer| producer.is_silent(&clocks)));
    }

    /// The time of each stream's newest entry, in their order.
    fn stream_clocks(&self, now_ms: u64) -> Vec<u64> {
        self.streams.values().map(|stream| stream.floor.ms.min(now_ms)).collect()
    }

    /// Those of them that are to be forgotten, for there are too many.
    pub fn surplus_producers(&self, now_ms: u64) -> Vec<String> {
        let surplus = self.producers.len().saturating_sub(MAX_PRODUCERS);
        if surplus == 0 {
            return Vec::new();
        }
        let mut silent = self.silent_producers(now_ms);
        silent.sort_unstable_by_key(|id| (self.producers[*id].last_entry_ms, *id));
        silent.into_iter().take(surplus).map(str::to_owned).collect()
    }

    /// Forgets these producers.
    pub fn forget_producers(&mut self, producers: &[String]) {
        for producer in producers {
            self.producers.remove(producer);
        }
        self.revision += 1;
    }

    /// The instance of this name, heard of at `t_ms`; instances long silent make room.
    pub(crate) fn instance(&mut self, name: &str, t_ms: u64) -> &mut Instance {
        if !self.instances.contains_key(name) {
            self.instances.retain(|_, instance| instance.last_t_ms + INSTANCE_KEPT_MS >= t_ms);
            if self.instances.len() >= MAX_INSTANCES {
                let oldest = self.instances.iter().min_by_key(|(_, instance)| instance.last_t_ms);
                if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                    self.instances.remove(&oldest);
                }
            }
        }
        let instance = self.instances.entry(name.to_owned()).or_default();
        instance.last_t_ms = instance.last_t_ms.max(t_ms);
        instance
    }
}

/// The numbers of every value of a closed domain.
pub(crate) fn all_values(domain: Domain) -> Vec<ValueId> {
    (0..domain.values().len() as ValueId).collect()
}

/// Calls `each` with every way to take one value of each list.
pub(crate) fn for_each_combination(choices: &[Vec<ValueId>], mut each: impl FnMut(&[ValueId])) {
    let total: usize = choices.iter().map(Vec::len).product();
    let mut values = vec![0; choices.len()];
    for mut number in 0..total {
        for (value, list) in values.iter_mut().zip(choices) {
            *value = list[number % list.len()];
            number /= list.len();
        }
        each(&values);
    }
}

/// An entry id as a pair.
mod entry_id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use techsapo_shared::wire::EntryId;

    pub(super) fn serialize<S: Serializer>(id: &EntryId, serializer: S) -> Result<S::Ok, S::Error> {
        (id.ms, id.seq).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EntryId, D::Error> {
        let (ms, seq) = Deserialize::deserialize(deserializer)?;
        Ok(EntryId { ms, seq })
    }
}

/// A sample in the form it has on the wire: that form may grow fields, and the checkpoint's format names none.
mod json_bytes {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use techsapo_shared::event::RuntimeSample;

    pub(super) fn serialize<S: Serializer>(
        sample: &Option<RuntimeSample<'static>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serde_json::to_string(sample).map_err(S::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<RuntimeSample<'static>>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let sample: Option<RuntimeSample<'_>> = serde_json::from_str(&text).map_err(D::Error::custom)?;
        Ok(sample.map(RuntimeSample::into_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_instance_told_while_its_clock_was_ahead_does_not_outlive_its_being_set_right() {
        let mut state = State::new(Uuid::nil(), &[], 0);
        let now_ms = 1_000_000;
        for (service, t_ms) in [(Service::Redis, now_ms), (Service::MySql, now_ms + 3_600_000)] {
            state.instance("one", t_ms).breakers.insert(service, (t_ms, BreakerState::Open));
        }
        state.instance("other", now_ms + 60_000);
        let (before, revision) = (state.instances["other"].clone(), state.revision);
        state.forget_the_future(now_ms);
        let one = &state.instances["one"];
        assert_eq!((one.last_t_ms, one.breakers.keys().collect::<Vec<_>>()), (now_ms, vec![&Service::Redis]));
        assert_eq!(state.instances["other"], before, "a clock may be a little ahead");
        state.forget_the_future(now_ms);
        assert_eq!(state.revision, revision + 1, "only what changes is written down");
    }

    #[test]
    fn of_too_many_producers_those_are_forgotten_that_are_silent_longest() {
        let mut state = State::new(Uuid::nil(), &["a".to_owned(), "b".to_owned()], 0);
        let id = |number: u64| format!("p{number:05}");
        // The later ones come first in the order of ids.
        for number in 0..MAX_PRODUCERS as u64 {
            state.expect_after(&id(number), 1, 1_000_000 - number);
        }
        let later = 1_000_000 + PRODUCER_SILENT_MS;
        state.streams.get_mut("b").unwrap().floor = EntryId { ms: later, seq: 0 };
        assert_eq!(state.silent_producers(later), Vec::<&str>::new(), "another stream's clock says nothing");
        state.streams.get_mut("a").unwrap().floor = EntryId { ms: u64::MAX, seq: 0 };
        assert_eq!(state.silent_producers(later).len(), MAX_PRODUCERS - 1);
        assert_eq!(state.surplus_producers(later), Vec::<String>::new());
        state.expect_after("new", 1, later);
        state.expect_after("newer", 1, later);
        let last = MAX_PRODUCERS as u64 - 1;
        assert_eq!(state.surplus_producers(later), [id(last), id(last - 1)]);
        assert_eq!(state.surplus_producers(1_000_000), Vec::<String>::new(), "none is silent yet");
        let mut some = HashSet::from([id(0), id(1), "nobody".to_owned()]);
        state.retain_silent(&mut some, later);
        assert_eq!(some, HashSet::from([id(1)]));
    }
}
