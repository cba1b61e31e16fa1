//! Where counters and histograms live: per family, integers in one flat list, found by a key of packed label values.
//!
//! A label value is a small number: a closed one its place in its list, an open one its place in a table of
//! [`Symbols`]. Up to four of them make a [`Key`], so that finding a series costs one look-up by a 64-bit number and
//! adding one to it allocates nothing.

mod symbols;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use self::symbols::Symbols;
use crate::catalog::{Domain, FAMILIES, Family, FamilyId, Kind, OTHER};

/// One label value's number within its domain.
pub type ValueId = u16;
/// The number of [`OTHER`] in every open domain.
const OTHER_ID: ValueId = 0;
/// The open domains, in the order in which a checkpoint lists their values: a new one goes last.
const OPEN: [Domain; 5] =
    [Domain::Model, Domain::Route, Domain::ClientIp, Domain::ErrorType, Domain::AppInstance];
/// A status code is its own number in every build, so checkpoints need not list these.
static STATUS_CODES: LazyLock<Vec<String>> = LazyLock::new(|| Domain::StatusCode.values());

/// The label values of one series, in the order of its family's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(u64);

impl Key {
    /// Packs up to four values.
    pub fn new(values: &[ValueId]) -> Self {
        Self(values.iter().enumerate().fold(0, |key, (at, &value)| key | u64::from(value) << (16 * at)))
    }

    /// The value of the label at position `at`.
    pub fn value(self, at: usize) -> ValueId {
        (self.0 >> (16 * at)) as ValueId
    }

    fn with(self, at: usize, value: ValueId) -> Self {
        Self(self.0 & !(0xffff << (16 * at)) | u64::from(value) << (16 * at))
    }
}

/// Where the series are that were added to lately, found without searching: most events add to a few series, and each
/// adds to several. It is no part of a family's value.
#[derive(Debug, Clone)]
struct Recent([(Key, u32); Recent::SLOTS]);

impl Recent {
    const SLOTS: usize = 128;
    /// The place that no series has.
    const NOWHERE: u32 = u32::MAX;

    /// The only slot that a key may be in. Labels that differ little must not share it.
    fn slot(key: Key) -> usize {
        (key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::SLOTS.ilog2())) as usize
    }

    fn get(&self, key: Key) -> Option<u32> {
        let (known, at) = self.0[Self::slot(key)];
        (known == key && at != Self::NOWHERE).then_some(at)
    }

    fn put(&mut self, key: Key, at: u32) {
        self.0[Self::slot(key)] = (key, at);
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self([(Key(0), Self::NOWHERE); Self::SLOTS])
    }
}

impl PartialEq for Recent {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Recent {}

/// The series of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FamilySeries {
    name: String,
    /// Bounds of the buckets, so that a checkpoint written with others is noticed.
    bounds: Vec<u64>,
    keys: Vec<Key>,
    /// `Family::cells` integers for each key.
    cells: Vec<u64>,
    /// Which series must still be served at zero, and since when they have been (Unix milliseconds).
    held: Vec<(u32, u64)>,
    /// All that was ever added to this family's sums: no single sum is greater.
    #[serde(skip)]
    total: u64,
    #[serde(skip)]
    index: FxHashMap<Key, u32>,
    #[serde(skip)]
    recent: Recent,
    /// Series that were born since the last tick.
    #[serde(skip)]
    newborn: Vec<u32>,
}

impl FamilySeries {
    fn new(family: &Family) -> Self {
        Self {
            name: family.name.to_owned(),
            bounds: bounds_of(family).to_vec(),
            keys: Vec::new(),
            cells: Vec::new(),
            held: Vec::new(),
            total: 0,
            index: FxHashMap::default(),
            recent: Recent::default(),
            newborn: Vec::new(),
        }
    }

    /// Makes what was read from a checkpoint searchable.
    fn prepare(&mut self, row: &Family) {
        self.index = self.keys.iter().copied().zip(0..).collect();
        self.recent = Recent::default();
        // The sum is the last of a series' integers; a counter has no other.
        let sums = self.cells.chunks_exact(row.cells().max(1)).filter_map(|cells| cells.last());
        self.total = sums.fold(0, |total, &sum| total.saturating_add(sum));
    }
}

fn bounds_of(family: &Family) -> &'static [u64] {
    match family.kind {
        Kind::Histogram(bounds) => bounds,
        Kind::Counter | Kind::Gauge => &[],
    }
}

/// All counters and histograms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesStore {
    families: Vec<FamilySeries>,
    /// By [`OPEN`].
    open: Vec<Symbols>,
    /// How the closed domains were numbered when this was written.
    closed: BTreeMap<String, Vec<String>>,
}

/// What a checkpoint of another build held that this build cannot continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// The family's name.
    pub family: String,
    /// Why.
    pub reason: &'static str,
}

impl Default for SeriesStore {
    fn default() -> Self {
        let labels = || FAMILIES.iter().flat_map(|family| family.labels).map(|&(_, domain)| domain);
        Self {
            families: FAMILIES.iter().map(FamilySeries::new).collect(),
            open: OPEN.iter().map(|_| Symbols::default()).collect(),
            closed: labels()
                .filter(|&domain| is_listed(domain))
                .map(|domain| (domain_name(domain), domain.values()))
                .collect(),
        }
    }
}

/// Whether a checkpoint lists this domain's values, so that a later build can tell how they were numbered.
fn is_listed(domain: Domain) -> bool {
    !domain.is_open() && domain != Domain::StatusCode
}

fn domain_name(domain: Domain) -> String {
    format!("{domain:?}")
}

impl SeriesStore {
    /// The number of an open label value.
    pub fn intern(&mut self, domain: Domain, name: &str) -> ValueId {
        match open_place(domain) {
            Some(place) => self.open[place].intern(name),
            None => OTHER_ID,
        }
    }

    /// Makes sure that a series exists, at zero, without holding it back; unless the family has reached its limit.
    pub fn seed(&mut self, family: FamilyId, key: Key, limit: usize) {
        let series = &mut self.families[family as usize];
        if !series.index.contains_key(&key) && series.keys.len() < limit {
            insert(series, family.row(), key);
        }
    }

    /// Whether `amount` can still be added to any sum of the family. To be asked for all that an event adds, before
    /// any of it is added: an event counts as a whole or not at all.
    pub fn has_room(&self, family: FamilyId, amount: u64) -> bool {
        self.families[family as usize].total.checked_add(amount).is_some()
    }

    /// Adds to a counter. Beyond `limit` series its open labels become `other`.
    pub fn count(&mut self, family: FamilyId, key: Key, amount: u64, limit: usize) {
        let at = self.find(family, key, limit);
        let series = &mut self.families[family as usize];
        series.cells[at] = series.cells[at].saturating_add(amount);
        series.total = series.total.saturating_add(amount);
    }

    /// Adds one observation to a histogram. Beyond `limit` series its open labels become `other`.
    pub fn observe(&mut self, family: FamilyId, key: Key, value: u64, limit: usize) {
        let bounds = bounds_of(family.row());
        let cells = bounds.len() + 2;
        let first = self.find(family, key, limit) * cells;
        let series = &mut self.families[family as usize];
        let cells = &mut series.cells[first..first + cells];
        cells[bounds.partition_point(|&bound| bound < value)] += 1;
        if let Some(sum) = cells.last_mut() {
            *sum = sum.saturating_add(value);
        }
        series.total = series.total.saturating_add(value);
    }

    fn find(&mut self, family: FamilyId, key: Key, limit: usize) -> usize {
        let series = &mut self.families[family as usize];
        if let Some(at) = series.recent.get(key) {
            return at as usize;
        }
        if let Some(&at) = series.index.get(&key) {
            series.recent.put(key, at);
            return at as usize;
        }
        let row = family.row();
        let (mut key, mut overflown) = (key, false);
        if series.keys.len() >= limit {
            for (at, _) in row.labels.iter().enumerate().filter(|(_, (_, domain))| domain.is_open()) {
                key = key.with(at, OTHER_ID);
                overflown = true;
            }
        }
        let at = match series.index.get(&key) {
            Some(&at) => at,
            None => {
                let at = insert(series, row, key);
                series.newborn.push(at);
                at
            }
        };
        if overflown {
            self.count(FamilyId::TelemetryOverflow, Key::new(&[family as ValueId]), 1, usize::MAX);
        }
        at as usize
    }

    /// Notes the series born since the last tick as held at zero from `now_ms` on, and releases those that were held
    /// for `hold_ms`. Says whether anything changed.
    pub fn hold_newborn(&mut self, now_ms: u64, hold_ms: u64) -> bool {
        let mut changed = false;
        for series in &mut self.families {
            let before = series.held.len();
            // A clock that was set back must not hide for longer what was never shown: an age below zero releases.
            series.held.retain(|&(_, since)| now_ms.checked_sub(since).is_some_and(|age| age < hold_ms));
            changed |= series.held.len() != before || !series.newborn.is_empty();
            let newborn = series.newborn.drain(..);
            if hold_ms > 0 {
                series.held.extend(newborn.map(|at| (at, now_ms)));
            }
        }
        changed
    }

    /// The sum that a series holds; 0 if there is no such series.
    pub fn get(&self, family: FamilyId, key: Key) -> u64 {
        let series = &self.families[family as usize];
        let cells = family.row().cells();
        let at = series.index.get(&key).map(|&at| (at as usize + 1) * cells - 1);
        at.and_then(|at| series.cells.get(at)).copied().unwrap_or(0)
    }

    /// Number of series in all families.
    pub fn len(&self) -> usize {
        self.families.iter().map(|series| series.keys.len()).sum()
    }

    /// Whether there is no series at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows every series of a family as the page must: its label values, and its integers (zeros while it is held).
    pub fn for_each(&self, family: FamilyId, mut show: impl FnMut(&[&str], &[u64])) {
        let row = family.row();
        let series = &self.families[family as usize];
        let cells = row.cells();
        let zeros = vec![0; cells];
        let tables: Vec<Table<'_>> = row.labels.iter().map(|&(_, domain)| self.table(domain)).collect();
        let mut labels = Vec::with_capacity(tables.len());
        for (at, key) in series.keys.iter().enumerate() {
            labels.clear();
            labels.extend(tables.iter().enumerate().map(|(position, table)| table.name(key.value(position))));
            // Series are held in the order of their birth, which is the order of their places.
            let held = series.held.binary_search_by_key(&(at as u32), |&(held, _)| held).is_ok();
            let values = &series.cells[at * cells..(at + 1) * cells];
            show(&labels, if held { &zeros } else { values });
        }
    }

    fn table(&self, domain: Domain) -> Table<'_> {
        if domain == Domain::StatusCode {
            return Table::Closed(&STATUS_CODES);
        }
        match open_place(domain) {
            Some(place) => Table::Open(&self.open[place]),
            None => Table::Closed(self.closed.get(&domain_name(domain)).map_or(&[], Vec::as_slice)),
        }
    }

    /// Fits what an earlier build wrote to this build's catalogue, and makes it searchable. Returns what could not be
    /// continued; its counters begin again at zero.
    pub fn adopt(&mut self) -> Vec<Discarded> {
        let mut discarded = Vec::new();
        let mut fresh = Self::default();
        for (mine, theirs) in fresh.open.iter_mut().zip(std::mem::take(&mut self.open)) {
            *mine = theirs;
            mine.prepare();
        }
        for mut old in std::mem::take(&mut self.families) {
            let Some((family, row)) =
                FamilyId::ALL.iter().zip(FAMILIES).find(|(_, row)| row.name == old.name)
            else {
                discarded.push(Discarded { family: old.name, reason: "this build has no such metric" });
                continue;
            };
            let whole = old.cells.len() == old.keys.len() * row.cells();
            if old.bounds != bounds_of(row) || !whole {
                discarded.push(Discarded { family: old.name, reason: "its buckets have changed" });
                continue;
            }
            if self.renumber(&mut old, row, &fresh) {
                old.prepare(row);
                fresh.families[*family as usize] = old;
            } else {
                discarded.push(Discarded { family: old.name, reason: "its label values have changed" });
            }
        }
        *self = fresh;
        discarded
    }

    /// Rewrites the closed label values of `old` in the numbering of `fresh`; false if one is no more.
    fn renumber(&self, old: &mut FamilySeries, row: &Family, fresh: &Self) -> bool {
        for (at, &(_, domain)) in row.labels.iter().enumerate().filter(|(_, (_, domain))| is_listed(*domain))
        {
            let name = domain_name(domain);
            let (then, now) = (self.closed.get(&name), &fresh.closed[&name]);
            if then == Some(now) {
                continue;
            }
            let Some(then) = then else { return old.keys.is_empty() };
            let places: Vec<Option<ValueId>> = then
                .iter()
                .map(|value| now.iter().position(|known| known == value).map(|id| id as ValueId))
                .collect();
            for key in &mut old.keys {
                match places.get(usize::from(key.value(at))).copied().flatten() {
                    Some(id) => *key = key.with(at, id),
                    None => return false,
                }
            }
        }
        true
    }
}

fn open_place(domain: Domain) -> Option<usize> {
    OPEN.iter().position(|&open| open == domain)
}

fn insert(series: &mut FamilySeries, row: &Family, key: Key) -> u32 {
    let at = series.keys.len() as u32;
    series.keys.push(key);
    series.cells.resize(series.cells.len() + row.cells(), 0);
    series.index.insert(key, at);
    at
}

enum Table<'a> {
    Open(&'a Symbols),
    Closed(&'a [String]),
}

impl Table<'_> {
    fn name(&self, id: ValueId) -> &str {
        match self {
            Self::Open(symbols) => symbols.name(id),
            Self::Closed(names) => names.get(usize::from(id)).map_or(OTHER, String::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(store: &SeriesStore, family: FamilyId) -> u64 {
        let mut total = 0;
        store.for_each(family, |_, cells| total += cells[0]);
        total
    }

    #[test]
    fn beyond_the_limit_open_labels_become_other_and_totals_stay_exact() {
        let mut store = SeriesStore::default();
        for number in 0..50u16 {
            let model = store.intern(Domain::Model, &format!("model-{number}"));
            store.count(FamilyId::LlmRequests, Key::new(&[0, model, 0, 0]), 1, 10);
        }
        assert_eq!(total(&store, FamilyId::LlmRequests), 50);
        assert_eq!(total(&store, FamilyId::TelemetryOverflow), 40);
        let mut others = 0;
        store.for_each(FamilyId::LlmRequests, |labels, cells| {
            if labels[1] == OTHER {
                others = cells[0];
            }
        });
        assert_eq!(others, 40);
    }

    #[test]
    fn a_family_knows_when_no_sum_may_grow_by_so_much() {
        let mut store = SeriesStore::default();
        store.count(FamilyId::WallbounceCost, Key::new(&[0, 0]), u64::MAX - 10, 10);
        store.count(FamilyId::WallbounceCost, Key::new(&[1, 0]), 5, 10);
        assert!(store.has_room(FamilyId::WallbounceCost, 5));
        assert!(!store.has_room(FamilyId::WallbounceCost, 6));
        store.observe(FamilyId::HttpResponseSize, Key::new(&[]), u64::MAX, 10);
        assert!(!store.has_room(FamilyId::HttpResponseSize, 1));
        store.adopt();
        assert!(!store.has_room(FamilyId::HttpResponseSize, 1), "also after a restart");
        assert!(store.has_room(FamilyId::WallbounceCost, 5) && !store.has_room(FamilyId::WallbounceCost, 6));
    }

    #[test]
    fn a_newborn_series_is_shown_at_zero_until_it_is_released() {
        let mut store = SeriesStore::default();
        store.count(FamilyId::TelemetryLost, Key::new(&[]), 3, 10);
        assert!(store.hold_newborn(1_000, 20_000));
        assert_eq!(total(&store, FamilyId::TelemetryLost), 0);
        assert!(!store.hold_newborn(20_999, 20_000));
        assert_eq!(total(&store, FamilyId::TelemetryLost), 0);
        assert!(store.hold_newborn(21_000, 20_000));
        assert_eq!(total(&store, FamilyId::TelemetryLost), 3);
    }

    #[test]
    fn a_clock_set_back_does_not_hide_a_series_again() {
        let mut store = SeriesStore::default();
        store.count(FamilyId::TelemetryLost, Key::new(&[]), 3, 10);
        store.hold_newborn(100_000, 20_000);
        store.hold_newborn(120_000, 20_000);
        store.hold_newborn(101_000, 20_000);
        assert_eq!(total(&store, FamilyId::TelemetryLost), 3);
    }

    #[test]
    fn a_checkpoint_with_another_numbering_is_renumbered() {
        let mut store = SeriesStore::default();
        store.count(FamilyId::ConfigChanges, Key::new(&[1]), 5, 10);
        // As if an earlier build had known two components only, in another order.
        let name = domain_name(Domain::ConfigComponent);
        store.closed.insert(name, vec!["logging".to_owned(), "budget".to_owned()]);
        assert_eq!(store.adopt(), []);
        store.for_each(FamilyId::ConfigChanges, |labels, cells| {
            assert_eq!((labels, cells), (&["budget"][..], &[5][..]));
        });
    }

    #[test]
    fn a_family_whose_buckets_changed_begins_again_and_says_so() {
        let mut store = SeriesStore::default();
        store.observe(FamilyId::ConsensusConfidence, Key::new(&[]), 1, 10);
        store.families[FamilyId::ConsensusConfidence as usize].bounds = vec![7];
        let discarded = store.adopt();
        assert_eq!(discarded[0].family, "techsapo_wallbounce_consensus_confidence");
        assert!(store.is_empty());
    }
}
