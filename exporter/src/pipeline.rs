//! Read → apply → checkpoint → acknowledge → serve. One thread owns the state; readers feed it, the page is served
//! from what it made durable last.
//!
//! Order is all: nothing is acknowledged, trimmed or served before every copy of the checkpoint is durable.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::Value;
use techsapo_shared::wire::{Batch, EntryId};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::acknowledge::{Acknowledger, Published};
use crate::apply::Quarantined;
use crate::catalog::FamilyId;
use crate::checkpoint::lease::Moment;
use crate::checkpoint::{self, Store, StoreError, Unreadable};
use crate::own::Own;
use crate::reader::{self, Reading};
use crate::series::Key;
use crate::state::State;
use crate::turn::{self, Beginning, Claim, Durable};

/// A checkpoint is written at most so often, and Redis is told so often, changed or not: it may have forgotten.
const TICK: Duration = Duration::from_secs(1);
/// Pause between looks at a lock, an owner or a Redis that is not there yet.
const WAIT: Duration = Duration::from_millis(250);
/// Replies that wait between the readers and the pipeline.
const READ_AHEAD: usize = 2;
/// Items that wait to be copied to the quarantine; more in one tick are counted, not copied.
const MAX_QUARANTINED: usize = 1_000;

/// What the pipeline works with.
pub struct Settings {
    /// Where the streams are.
    pub redis: redis::Client,
    /// Keys of the streams; at least one.
    pub streams: Vec<String>,
    /// How long a series born later is served at zero first.
    pub birth_hold: Duration,
    /// Most series of one family.
    pub series_limit: usize,
}

/// What may be served at the moment: written by the pipeline, read by the page.
#[derive(Clone, Default)]
pub struct Served(Arc<Mutex<Serving>>);

/// See [`Served`].
#[derive(Clone, Default)]
pub struct Serving {
    /// Whether this exporter holds the state's lock.
    pub leader: bool,
    /// The last durable checkpoint.
    pub checkpoint: Option<Arc<Vec<u8>>>,
    /// Until when all this holds; nothing if until it is changed.
    pub until: Option<Moment>,
}

impl Serving {
    /// Whether the lock has run out, and may be another's by now.
    pub fn has_lapsed(&self) -> bool {
        self.until.is_some_and(Moment::has_passed)
    }
}

impl Served {
    /// What may be served now: nothing, once the lock has run out, even if the pipeline hangs and cannot say so.
    pub fn get(&self) -> Serving {
        let serving = self.lock().clone();
        if serving.has_lapsed() { Serving { until: serving.until, ..Serving::default() } } else { serving }
    }

    fn set(&self, serving: Serving) {
        *self.lock() = serving;
    }

    fn extend(&self, until: Option<Moment>) {
        self.lock().until = until;
    }

    fn lock(&self) -> MutexGuard<'_, Serving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a turn as the state's holder ended.
enum End {
    /// The process is asked to stop.
    Stopped,
    /// Begin again from the store: something else owns what we thought was ours.
    Again,
}

/// The thread that owns the state.
pub struct Pipeline {
    settings: Settings,
    store: Box<dyn Store>,
    /// One per stream, in the order of the settings.
    acknowledgers: Vec<Acknowledger>,
    own: Arc<Own>,
    served: Served,
    stop: Arc<AtomicBool>,
    /// That of another state, which this one has to wait for.
    claim: Claim,
}

impl Pipeline {
    /// Joins the parts; nothing happens before [`Pipeline::run`].
    pub fn new(
        settings: Settings,
        store: Box<dyn Store>,
        own: Arc<Own>,
        served: Served,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let streams = settings.streams.iter();
        let acknowledgers = streams.map(|stream| Acknowledger::new(settings.redis.clone(), stream)).collect();
        Self { settings, store, acknowledgers, own, served, stop, claim: Claim::default() }
    }

    /// Works until it is asked to stop; then writes a last checkpoint and says how far it came.
    pub fn run(&mut self) {
        while !self.stopped() {
            let Some(state) = self.begin() else { break };
            let end = self.hold(state);
            self.served.set(Serving::default());
            self.own.rest(&self.settings.streams);
            if matches!(end, End::Stopped) {
                break;
            }
        }
        // Nothing is served any more: from here on the next one may.
        self.served.set(Serving::default());
        self.store.release();
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits for the lock, for Redis and for the streams' owner key; then gives the state to continue. Nothing when
    /// asked to stop.
    fn begin(&mut self) -> Option<State> {
        let mut told = String::new();
        while !self.stopped() {
            match self.try_begin() {
                Ok(state) => return Some(state),
                Err(why) => {
                    self.own.set_ready(Err(&why));
                    if why != told {
                        warn!("waiting: {why}");
                        told = why;
                    }
                    thread::sleep(WAIT);
                }
            }
        }
        None
    }

    fn try_begin(&mut self) -> Result<State, String> {
        let acquired = self.store.try_acquire();
        let leader = matches!(acquired, Ok(true));
        self.served.set(Serving { leader, checkpoint: None, until: self.store.held_until() });
        match acquired {
            Ok(true) => {}
            Ok(false) => return Err(format!("standby: another exporter holds {}", self.store.describe())),
            Err(error) => return Err(chain(&error)),
        }
        let mut owners = Vec::new();
        let mut acknowledged = HashMap::new();
        for stream in &mut self.acknowledgers {
            let survey = stream.survey().map_err(|error| {
                self.claim.is_unknown();
                format!("Redis cannot be asked: {error}")
            })?;
            owners.extend(survey.owner);
            turn::add_acknowledged(&mut acknowledged, survey.acknowledged);
        }
        let loaded = self.store.load().map_err(|error| chain(&error))?;
        let held = loaded.state.as_deref().map(checkpoint::decode);
        if let Some(Err(why @ Unreadable::TooNew(_))) = &held {
            let place = self.store.describe();
            self.served.set(Serving::default());
            self.store.release();
            return Err(format!(
                "a later build wrote the checkpoint in {place}, this one leaves it alone: {why}"
            ));
        }
        let held = held.map(|held| held.map_err(|why| why.to_string()));
        let mine = held.as_ref().and_then(|held| held.as_ref().ok()).map(|state| state.id.to_string());
        if let Some(owner) = owners.iter().find(|owner| Some(owner.as_str()) != mine.as_deref()) {
            self.claim.stands();
            return Err(format!(
                "the stream belongs to the state {owner}, not to the one in {}; if that exporter is gone for good, \
                 its claim lapses within 40 s",
                self.store.describe()
            ));
        }
        if !self.claim.has_lapsed(Instant::now()) {
            return Err(
                "another state's claim on the stream is gone; waiting whether it is renewed".to_owned()
            );
        }
        for damage in &loaded.damaged {
            error!("a checkpoint is damaged: {damage}");
        }
        Ok(self.choose(held, !loaded.damaged.is_empty(), &acknowledged))
    }

    /// The state to continue, and a word about it in the log.
    fn choose(
        &self,
        held: Option<Result<State, String>>,
        damaged: bool,
        acknowledged: &HashMap<String, u64>,
    ) -> State {
        let shape = (self.settings.streams.as_slice(), self.settings.series_limit);
        let (state, beginning) = turn::choose(held, damaged, acknowledged, shape, Uuid::new_v4(), now_ms());
        match beginning {
            Beginning::First => info!(state = %state.id, "first start: counting from zero"),
            Beginning::Anew(why) => {
                error!(state = %state.id, "begins anew, all counters from zero: {why}");
            }
            Beginning::Continued(discarded) => {
                for lost in discarded {
                    warn!(family = lost.family, "begins again at zero: {}", lost.reason);
                }
                info!(state = %state.id, series = state.series.len(), "continuing from {}", self.store.describe());
            }
        }
        state
    }

    /// A turn as the state's holder.
    fn hold(&mut self, state: State) -> End {
        let (out, readings) = sync_channel(READ_AHEAD);
        for (place, key) in self.settings.streams.iter().enumerate() {
            let spawned = reader::spawn(self.settings.redis.clone(), place, key.clone(), out.clone());
            if let Err(error) = spawned {
                error!(%error, "cannot start a reader");
                return End::Again;
            }
        }
        drop(out);
        Holder::new(self, state).run(&readings)
    }
}

/// One turn of reading, applying, committing.
struct Holder<'a> {
    pipeline: &'a mut Pipeline,
    state: State,
    /// Per stream: was it read to its end since this turn began?
    caught_up: Vec<bool>,
    /// What the last durable checkpoint allows to be told.
    durable: Durable,
    quarantine: Vec<Quarantined>,
    /// Lost events that the log knows of.
    lost_told: u64,
    store_failing: bool,
}

impl<'a> Holder<'a> {
    fn new(pipeline: &'a mut Pipeline, state: State) -> Self {
        let caught_up = vec![false; pipeline.settings.streams.len()];
        Self {
            pipeline,
            lost_told: lost(&state),
            state,
            caught_up,
            durable: Durable::default(),
            quarantine: Vec::new(),
            store_failing: false,
        }
    }

    fn run(mut self, readings: &Receiver<(usize, Reading)>) -> End {
        self.pipeline.own.set_ready(Err("reading what waits in the stream"));
        // The state that was loaded (or begun) is made durable first: from then on this turn may acknowledge.
        let mut next_tick = Instant::now();
        loop {
            if self.pipeline.stopped() {
                self.tick();
                return End::Stopped;
            }
            if Instant::now() >= next_tick {
                if let Some(end) = self.tick() {
                    return end;
                }
                next_tick = Instant::now() + TICK;
            }
            let patience = next_tick.saturating_duration_since(Instant::now()).min(WAIT);
            match readings.recv_timeout(patience) {
                Ok((place, reading)) => {
                    let waited_for = !self.is_caught_up();
                    self.take(place, reading);
                    if waited_for && self.is_caught_up() {
                        // Ready means served: do not let the first reader wait for the tick.
                        next_tick = Instant::now();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return End::Again,
            }
        }
    }

    fn is_caught_up(&self) -> bool {
        self.caught_up.iter().all(|&caught_up| caught_up)
    }

    fn take(&mut self, place: usize, reading: Reading) {
        let own = &self.pipeline.own;
        let stream = self.pipeline.settings.streams[place].as_str();
        match reading {
            Reading::Connected { newest } => {
                own.redis_up.with_label_values(&[stream]).set(1.0);
                own.redis_connections.with_label_values(&[stream]).inc();
                if newest.unwrap_or_default() < self.state.streams[stream].cursor {
                    self.regressed(place);
                }
            }
            Reading::Disconnected(_) => own.redis_up.with_label_values(&[stream]).set(0.0),
            Reading::Idle => self.caught_up[place] = true,
            Reading::Regressed => self.regressed(place),
            Reading::Entries { reply, to_the_end } => {
                self.apply(place, &reply);
                if to_the_end {
                    self.caught_up[place] = true;
                }
            }
        }
    }

    fn regressed(&mut self, place: usize) {
        let stream = &self.pipeline.settings.streams[place];
        warn!(stream, "the stream is gone, was replaced or lost its end; reading it from its start");
        self.state.stream_regressed(stream);
    }

    fn apply(&mut self, place: usize, reply: &Value) {
        let stream = self.pipeline.settings.streams[place].as_str();
        for (id, fields) in reader::entries(reply).iter().filter_map(reader::entry) {
            let batch = Batch::decode(fields.iter().copied()).map_err(|error| {
                let data = fields.iter().find(|&&(name, _)| name == b"d").map_or(&[][..], |&(_, data)| data);
                (error, data)
            });
            self.state.apply_entry(stream, id, batch, &mut self.quarantine);
            self.quarantine.truncate(MAX_QUARANTINED);
        }
    }

    /// Makes what is new durable, tells Redis, serves it: in this order. Says if the turn must end.
    fn tick(&mut self) -> Option<End> {
        let now_ms = now_ms();
        let hold_ms = self.pipeline.settings.birth_hold.as_millis() as u64;
        if self.state.series.hold_newborn(now_ms, hold_ms) {
            self.state.revision += 1;
        }
        let changed = self.durable.revision != Some(self.state.revision);
        let kept = if changed { self.commit().map(Some) } else { self.pipeline.store.renew().map(|()| None) };
        let fresh = match kept {
            Ok(fresh) => {
                if self.store_failing {
                    info!("checkpoints can be written again");
                    self.store_failing = false;
                }
                fresh
            }
            Err(error @ StoreError::Deposed(_)) => return Some(deposed(&error)),
            Err(error) => {
                if changed {
                    self.pipeline.own.checkpoint_failures.inc();
                }
                if !self.store_failing {
                    error!("{}; nothing new is acknowledged until it works again", chain(&error));
                    self.store_failing = true;
                }
                None
            }
        };
        let durable = fresh.is_some() || !changed;
        if durable {
            self.pipeline.own.is_durable_at(now_ms);
        }
        // Also when this commit failed: what was durable before still is, and the claim on the stream must not lapse.
        if self.durable.revision.is_some()
            && let Some(end) = self.publish(now_ms)
        {
            return Some(end);
        }
        self.copy_to_quarantine();
        self.tell_losses();
        self.forget_silent(now_ms);
        if let Some(checkpoint) = fresh {
            let until = self.pipeline.store.held_until();
            self.pipeline.served.set(Serving { leader: true, checkpoint: Some(checkpoint), until });
        }
        if durable && self.is_caught_up() && self.pipeline.served.get().leader {
            self.pipeline.own.set_ready(Ok(()));
        }
        None
    }

    /// Writes a checkpoint.
    fn commit(&mut self) -> Result<Arc<Vec<u8>>, StoreError> {
        let bytes = checkpoint::encode(&self.state);
        self.pipeline.store.commit(&bytes)?;
        let own = &self.pipeline.own;
        own.checkpoints.inc();
        own.checkpoint_size.set(bytes.len() as f64);
        own.series.set(self.state.series.len() as f64);
        self.durable = Durable::of(&self.state, &self.pipeline.settings.streams);
        Ok(Arc::new(bytes))
    }

    /// Tells Redis what is durable, and learns how far behind that is. Says if the turn must end.
    fn publish(&mut self, now_ms: u64) -> Option<End> {
        let id = self.state.id.to_string();
        for (place, stream) in self.pipeline.acknowledgers.iter_mut().enumerate() {
            // Before each stream, for a Redis that hangs takes seconds for each.
            if let Err(error @ StoreError::Deposed(_)) = self.pipeline.store.renew() {
                return Some(deposed(&error));
            }
            let until = self.pipeline.store.held_until();
            self.pipeline.served.extend(until);
            if until.is_some_and(Moment::has_passed) {
                // Perhaps another holds the state by now: what it made durable is its to tell.
                return None;
            }
            let cursor = self.durable.cursors[place];
            match stream.publish(&id, cursor, &self.durable.acknowledged[place]) {
                Ok(Published::OwnedBy(owner)) => {
                    error!(
                        "the stream now belongs to the state {owner}; this exporter stops counting and begins again"
                    );
                    return Some(End::Again);
                }
                Ok(Published::Done { left, newest }) => {
                    let behind = if newest > cursor { now_ms.saturating_sub(cursor.ms) } else { 0 };
                    let own = &self.pipeline.own;
                    own.lag_entries.with_label_values(&[stream.stream()]).set(left as f64);
                    // Before the first entry there is no entry to be behind of.
                    let seconds = if cursor == EntryId::ZERO { 0.0 } else { behind as f64 / 1e3 };
                    own.lag_seconds.with_label_values(&[stream.stream()]).set(seconds);
                }
                // Told in the log where it failed; the next tick tells Redis all of it again.
                Err(_) => {}
            }
        }
        None
    }

    fn copy_to_quarantine(&mut self) {
        if !self.quarantine.is_empty() {
            let items = std::mem::take(&mut self.quarantine);
            warn!(items = items.len(), reason = items[0].reason, "events or batches were refused");
            // Counted already; the copy is a courtesy that a Redis in trouble may not be able to take.
            let _ = self.pipeline.acknowledgers[0].quarantine(&items);
        }
    }

    fn tell_losses(&mut self) {
        let lost = lost(&self.state);
        if lost > self.lost_told {
            error!(
                events = lost - self.lost_told,
                total = lost,
                "events are lost: their producer can no longer send them, or their records went bad; they are counted \
                 in techsapo_telemetry_lost_events_total"
            );
            self.lost_told = lost;
        }
    }

    /// Forgets producers that have long been silent: in Redis first, for an acknowledgement that the state does not
    /// know would look like another state's.
    fn forget_silent(&mut self, now_ms: u64) {
        let newest = self.state.streams.values().map(|stream| stream.floor.ms).max().unwrap_or(0);
        let silent = self.state.silent_producers(newest.min(now_ms));
        if !silent.is_empty()
            && self.pipeline.acknowledgers.iter_mut().all(|stream| stream.forget(&silent).is_ok())
        {
            info!(producers = silent.len(), "forgetting producers that were silent for 30 days");
            self.state.forget_producers(&silent);
        }
    }
}

fn lost(state: &State) -> u64 {
    state.series.get(FamilyId::TelemetryLost, Key::new(&[]))
}

fn deposed(error: &StoreError) -> End {
    error!("{error}; this one stops counting and stands by");
    End::Again
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_served_past_the_end_of_a_lease() {
        let served = Served::default();
        let later = Moment::now().plus(Duration::from_secs(3_600));
        let checkpoint = Some(Arc::new(vec![1]));
        served.set(Serving { leader: true, checkpoint: checkpoint.clone(), until: Some(later) });
        assert!(served.get().leader && served.get().checkpoint == checkpoint);
        served.extend(Some(Moment::now()));
        let serving = served.get();
        assert!(serving.has_lapsed() && !serving.leader && serving.checkpoint.is_none());
        served.extend(Some(later));
        assert!(served.get().checkpoint == checkpoint, "renewed before another had it");
        served.set(Serving::default());
        assert!(!served.get().has_lapsed(), "who holds nothing can lose nothing");
    }
}
