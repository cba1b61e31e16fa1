//! The exporter's process: readers, and the thread that applies, commits, publishes and serves, one step at a time so
//! that it can be killed between any two. What it counts ([`State`]), what it writes ([`checkpoint`]) and what it decides
//! ([`turn`]) is the real thing; the steps around that are those of `pipeline/holder.rs` and `reader.rs`.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use techsapo_exporter::acknowledge::Published;
use techsapo_exporter::checkpoint;
use techsapo_exporter::state::State;
use techsapo_exporter::turn::{self, Beginning, Claim, Durable};
use techsapo_shared::wire::{Batch, EntryId};
use uuid::Uuid;

use crate::ledger::Totals;
use crate::plan::Rules;
use crate::redis::{Fields, Late, Publication, Redis};
use crate::store::Store;
use techsapo_tests::random::Random;

const TICK_MS: u64 = 1_000;
const WAIT_MS: u64 = 250;
const RETRY_MS: u64 = 500;
/// Entries asked for at once: fewer than in truth, so that replies are often not to the end.
const COUNT: usize = 4;
const READ_AHEAD: usize = 2;
const SERIES_LIMIT: usize = 1_000;

/// What happens to a command on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Good,
    Lost,
    Unanswered,
    Late,
}

/// What a step did that somebody outside has to know of.
pub(crate) enum Event {
    /// A state was begun, and how; Redis acknowledged this much then.
    Began(Uuid, Beginning, HashMap<String, u64>),
    /// Every copy of this is durable.
    Durable(Uuid, Totals, HashMap<String, u64>),
    /// This is what scrapes read from now on.
    Serves(Uuid, Totals),
}

enum Reading {
    Connected(Option<EntryId>),
    Entries(Vec<(EntryId, Fields)>, bool),
    Idle,
    Regressed,
}

#[derive(Default)]
struct Reader {
    life: Option<u64>,
    position: EntryId,
    retry_at: u64,
    /// It blocks in `XREAD` until here unless something comes.
    blocks_until: u64,
}

/// Where the thread stands.
enum Stage {
    /// Between ticks: takes what was read.
    Takes,
    Writes {
        slot: usize,
        fresh: Fresh,
    },
    Publishes {
        stream: usize,
        fresh: Option<Fresh>,
    },
    Serves(Option<Fresh>),
}

/// A checkpoint in the making.
struct Fresh {
    bytes: Rc<Vec<u8>>,
    totals: Totals,
}

/// A turn as the state's holder.
struct Holder {
    state: State,
    durable: Durable,
    caught_up: Vec<bool>,
    readers: Vec<Reader>,
    readings: VecDeque<(usize, Reading)>,
    stage: Stage,
    next_tick: u64,
    generation: u64,
}

enum Phase {
    Down,
    /// Looks again at this time.
    Waits(u64),
    /// Has the lock and has asked Redis who owns the stream and what is acknowledged; reads the store next.
    Asked(Vec<String>, HashMap<String, u64>),
    Holds(Box<Holder>),
}

/// One process.
pub(crate) struct Exporter {
    place: usize,
    /// Which store it uses.
    pub(crate) store: usize,
    streams: Vec<String>,
    hold_ms: u64,
    phase: Phase,
    claim: Claim,
    /// Any moment, for what counts from one.
    clock: Instant,
}

/// What a step may touch.
pub(crate) struct Around<'a> {
    pub(crate) redis: &'a mut Redis,
    pub(crate) store: &'a mut Store,
    pub(crate) random: &'a mut Random,
    pub(crate) rules: &'a Rules,
    pub(crate) now_ms: u64,
    pub(crate) way: Way,
    pub(crate) events: &'a mut Vec<Event>,
}

impl Exporter {
    pub(crate) fn new(place: usize, store: usize, streams: Vec<String>, hold_ms: u64) -> Self {
        Self {
            place,
            store,
            streams,
            hold_ms,
            phase: Phase::Waits(0),
            claim: Claim::default(),
            clock: Instant::now(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        !matches!(self.phase, Phase::Down)
    }

    pub(crate) fn start(&mut self) {
        self.claim = Claim::default();
        self.phase = Phase::Waits(0);
    }

    /// `kill -9`. A script that was sent may still arrive.
    pub(crate) fn kill(&mut self, redis: &mut Redis, store: &mut Store, late: bool) {
        if let Phase::Holds(holder) = &self.phase
            && let Stage::Publishes { stream, .. } = holder.stage
            && late
        {
            redis.will_arrive(Late::Publish(stream, holder.publication(stream, true)));
        }
        self.phase = Phase::Down;
        store.release(self.place);
    }

    /// Whether it holds the state, and all of it is durable.
    pub(crate) fn is_durable(&self) -> bool {
        matches!(&self.phase, Phase::Holds(holder) if holder.durable.revision == Some(holder.state.revision))
    }

    /// One step of the thread that owns the state. Says what it did.
    pub(crate) fn step(&mut self, around: &mut Around<'_>) -> Option<String> {
        match &mut self.phase {
            Phase::Down => None,
            Phase::Waits(until) if around.now_ms < *until => None,
            Phase::Waits(_) => {
                if around.store.try_acquire(self.place) {
                    Some(self.ask(around))
                } else {
                    self.phase = Phase::Waits(around.now_ms + WAIT_MS);
                    Some("is on standby".into())
                }
            }
            Phase::Asked(owners, acknowledged) => {
                let (owners, acknowledged) = (std::mem::take(owners), std::mem::take(acknowledged));
                Some(self.begin(&owners, acknowledged, around))
            }
            Phase::Holds(holder) => {
                let (said, again) = holder.step(around, &self.streams, self.hold_ms);
                if again {
                    // At once, in truth; here two that fight over the stream would never let time pass.
                    self.phase = Phase::Waits(around.now_ms + 1);
                }
                said
            }
        }
    }

    fn ask(&mut self, around: &mut Around<'_>) -> String {
        if !around.redis.up || around.way == Way::Lost {
            self.phase = Phase::Waits(around.now_ms + WAIT_MS);
            self.claim.is_unknown();
            return "has the lock, and Redis cannot be asked".into();
        }
        let (mut owners, mut acknowledged) = (Vec::new(), HashMap::new());
        for stream in 0..self.streams.len() {
            owners.extend(around.redis.owner(stream));
            let beside = around.redis.all_acknowledged(stream).iter();
            turn::add_acknowledged(&mut acknowledged, beside.map(|(producer, &seq)| (producer.clone(), seq)));
        }
        let said = format!("has the lock and sees {acknowledged:?}");
        self.phase = Phase::Asked(owners, acknowledged);
        said
    }

    fn begin(
        &mut self,
        owners: &[String],
        mut acknowledged: HashMap<String, u64>,
        around: &mut Around<'_>,
    ) -> String {
        let found = around.store.load();
        let held = found.state.as_ref().map(|bytes| checkpoint::decode(bytes).map_err(|why| why.to_string()));
        let mine = held.as_ref().and_then(|held| held.as_ref().ok()).map(|state| state.id.to_string());
        let stranger = owners.iter().find(|owner| Some(*owner) != mine.as_ref());
        if let Some(owner) = stranger.filter(|_| around.rules.respects_the_owner) {
            self.claim.stands();
            self.phase = Phase::Waits(around.now_ms + WAIT_MS);
            return format!("waits: the stream belongs to {}", short(owner));
        }
        let now = self.clock + Duration::from_millis(around.now_ms);
        if !self.claim.has_lapsed(now) && around.rules.waits_out_a_claim {
            self.phase = Phase::Waits(around.now_ms + WAIT_MS);
            return "waits whether another state's claim is renewed".into();
        }
        if !around.rules.begins_behind_what_is_acknowledged {
            acknowledged.clear();
        }
        let shape = (self.streams.as_slice(), SERIES_LIMIT);
        let id = Uuid::from_u128(u128::from(around.random.number()));
        let (state, beginning) = turn::choose(held, found.damaged, &acknowledged, shape, id, around.now_ms);
        let said = format!("begins the state {}: {beginning:?}", short(&state.id.to_string()));
        let streams = 0..self.streams.len();
        let mut truth = HashMap::new();
        for (producer, &seq) in streams.flat_map(|stream| around.redis.all_acknowledged(stream)) {
            let known = truth.entry(producer.clone()).or_insert(seq);
            *known = seq.max(*known);
        }
        around.events.push(Event::Began(state.id, beginning, truth));
        let holder = Holder {
            state,
            durable: Durable::default(),
            caught_up: vec![false; self.streams.len()],
            readers: self.streams.iter().map(|_| Reader::default()).collect(),
            readings: VecDeque::new(),
            stage: Stage::Takes,
            next_tick: around.now_ms,
            generation: found.generation,
        };
        self.phase = Phase::Holds(Box::new(holder));
        said
    }

    /// One step of one of the reading threads. Says what it did.
    pub(crate) fn read(&mut self, around: &mut Around<'_>) -> Option<String> {
        let Phase::Holds(holder) = &mut self.phase else { return None };
        if holder.readings.len() >= READ_AHEAD {
            return None;
        }
        let place = around.random.place(holder.readers.len());
        let reading = holder.readers[place].step(place, around)?;
        let said = format!("reads {place}: {}", reading.describe());
        holder.readings.push_back((place, reading));
        Some(said)
    }
}

fn short(id: &str) -> String {
    id.chars().skip(24).collect()
}

impl Reading {
    fn describe(&self) -> String {
        match self {
            Self::Connected(newest) => format!("connected, newest {newest:?}"),
            Self::Entries(entries, to_the_end) => {
                format!(
                    "{} entries up to {}, to the end: {to_the_end}",
                    entries.len(),
                    entries[entries.len() - 1].0
                )
            }
            Self::Idle => "idle".into(),
            Self::Regressed => "regressed".into(),
        }
    }
}

impl Reader {
    fn step(&mut self, place: usize, around: &Around<'_>) -> Option<Reading> {
        if around.way == Way::Lost || self.life.is_some_and(|life| life != around.redis.life) {
            self.life = None;
            self.retry_at = around.now_ms + RETRY_MS;
            return None;
        }
        if self.life.is_none() {
            if !around.redis.up || around.now_ms < self.retry_at {
                return None;
            }
            self.life = Some(around.redis.life);
            self.blocks_until = 0;
            if around.rules.reads_again_from_the_start {
                self.position = EntryId::ZERO;
            }
            return Some(Reading::Connected(around.redis.newest(place)));
        }
        let entries = around.redis.read(place, self.position, COUNT);
        if let Some(&(last, _)) = entries.last() {
            self.position = last;
            self.blocks_until = 0;
            let to_the_end = entries.len() < COUNT;
            return Some(Reading::Entries(entries, to_the_end));
        }
        if around.now_ms < self.blocks_until {
            return None;
        }
        self.blocks_until = around.now_ms + TICK_MS;
        let gone = around.redis.newest(place) < Some(self.position);
        if self.position > EntryId::ZERO && gone && around.rules.reads_again_from_the_start {
            self.position = EntryId::ZERO;
            self.blocks_until = 0;
            return Some(Reading::Regressed);
        }
        Some(Reading::Idle)
    }
}

impl Holder {
    /// One step. Says what it did, and whether the turn must end.
    fn step(&mut self, around: &mut Around<'_>, streams: &[String], hold_ms: u64) -> (Option<String>, bool) {
        match std::mem::replace(&mut self.stage, Stage::Takes) {
            Stage::Takes if around.now_ms >= self.next_tick => {
                self.next_tick = around.now_ms + TICK_MS;
                (Some(self.begin_tick(around, streams, hold_ms)), false)
            }
            Stage::Takes => (self.take(streams, around.now_ms), false),
            Stage::Writes { slot, fresh } => (Some(self.write(slot, fresh, around, streams)), false),
            Stage::Publishes { stream, fresh } => self.publish(stream, fresh, around, streams.len()),
            Stage::Serves(fresh) => {
                let said = fresh.map(|fresh| {
                    around.events.push(Event::Serves(self.state.id, fresh.totals));
                    "serves what is durable".to_owned()
                });
                (said, false)
            }
        }
    }

    fn take(&mut self, streams: &[String], now_ms: u64) -> Option<String> {
        let (place, reading) = self.readings.pop_front()?;
        let stream = &streams[place];
        let waited_for = !self.is_caught_up();
        let said = match reading {
            Reading::Connected(newest) => {
                let regressed = newest.unwrap_or_default() < self.state.streams[stream].cursor;
                if regressed {
                    self.state.stream_regressed(stream);
                }
                format!("sees a new connection, regressed: {regressed}")
            }
            Reading::Idle => {
                self.caught_up[place] = true;
                "is idle".into()
            }
            Reading::Regressed => {
                self.state.stream_regressed(stream);
                "reads from the start again".into()
            }
            Reading::Entries(entries, to_the_end) => {
                for (id, fields) in &entries {
                    let batch =
                        Batch::decode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())))
                            .map_err(|error| (error, &[][..]));
                    self.state.apply_entry(stream, *id, batch, &mut Vec::new());
                }
                self.caught_up[place] |= to_the_end;
                let expected: Vec<_> = self
                    .state
                    .producers
                    .iter()
                    .map(|(id, producer)| (id.as_str(), producer.expected))
                    .collect();
                format!("applies {} entries; expects {expected:?}", entries.len())
            }
        };
        if waited_for && self.is_caught_up() {
            self.next_tick = now_ms;
        }
        Some(said)
    }

    fn is_caught_up(&self) -> bool {
        self.caught_up.iter().all(|&caught_up| caught_up)
    }

    fn begin_tick(&mut self, around: &mut Around<'_>, streams: &[String], hold_ms: u64) -> String {
        if self.state.series.hold_newborn(around.now_ms, hold_ms) {
            self.state.revision += 1;
        }
        if self.durable.revision == Some(self.state.revision) {
            self.stage = Stage::Publishes { stream: 0, fresh: None };
            return "ticks, nothing new".into();
        }
        let fresh =
            Fresh { bytes: Rc::new(checkpoint::encode(&self.state)), totals: Totals::of(&self.state) };
        if !around.rules.durable_before_served {
            around.events.push(Event::Serves(self.state.id, fresh.totals.clone()));
        }
        self.generation += 1;
        if !around.rules.durable_before_acknowledged {
            let early = Durable { revision: None, ..Durable::of(&self.state, streams) };
            for (stream, acknowledged) in early.acknowledged.into_iter().enumerate() {
                let owner = self.state.id.to_string();
                let cursor = early.cursors[stream];
                let told = Publication { owner, guarded: true, cursor, acknowledged };
                let _ = around.redis.up.then(|| around.redis.publish(stream, &told));
            }
        }
        self.stage = Stage::Writes { slot: 0, fresh };
        "ticks, something is new".into()
    }

    fn write(&mut self, slot: usize, fresh: Fresh, around: &mut Around<'_>, streams: &[String]) -> String {
        if !around.store.write(slot, self.generation, &fresh.bytes) {
            self.stage = Stage::Publishes { stream: 0, fresh: None };
            return format!("cannot write slot {slot}");
        }
        if slot + 1 < around.rules.slots() {
            self.stage = Stage::Writes { slot: slot + 1, fresh };
        } else {
            self.durable = Durable::of(&self.state, streams);
            let expected =
                self.state.producers.iter().map(|(id, producer)| (id.clone(), producer.expected)).collect();
            around.events.push(Event::Durable(self.state.id, fresh.totals.clone(), expected));
            self.stage = Stage::Publishes { stream: 0, fresh: Some(fresh) };
        }
        format!("writes slot {slot}")
    }

    fn publication(&self, stream: usize, guarded: bool) -> Publication {
        Publication {
            owner: self.state.id.to_string(),
            guarded,
            cursor: self.durable.cursors.get(stream).copied().unwrap_or_default(),
            acknowledged: self.durable.acknowledged.get(stream).cloned().unwrap_or_default(),
        }
    }

    fn publish(
        &mut self,
        stream: usize,
        fresh: Option<Fresh>,
        around: &mut Around<'_>,
        streams: usize,
    ) -> (Option<String>, bool) {
        let next = stream + 1;
        self.stage =
            if next < streams { Stage::Publishes { stream: next, fresh } } else { Stage::Serves(fresh) };
        if self.durable.revision.is_none() {
            return (None, false);
        }
        let told = self.publication(stream, around.rules.respects_the_owner);
        let said = format!("tells Redis of {stream}: up to {} and {:?}", told.cursor, told.acknowledged);
        if !around.redis.up {
            return (Some("finds Redis away".into()), false);
        }
        match around.way {
            Way::Lost => (Some("finds its connection cut".into()), false),
            Way::Late => {
                around.redis.will_arrive(Late::Publish(stream, told));
                (Some("gives a connection up; its script may arrive later".into()), false)
            }
            Way::Good | Way::Unanswered => match around.redis.publish(stream, &told) {
                Ok(Published::OwnedBy(owner)) if around.way == Way::Good => {
                    (Some(format!("finds that the stream belongs to {}", short(&owner))), true)
                }
                Ok(_) => (Some(said), false),
                Err(refused) => (Some(format!("is refused: {}", refused.0)), false),
            },
        }
    }
}
