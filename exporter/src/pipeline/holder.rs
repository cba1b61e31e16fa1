//! One turn as the state's holder: apply what the readers bring, and every tick commit, tell Redis, serve.
//!
//! What comes in: readings, in any order between streams. What must hold: nothing is acknowledged, trimmed or served
//! before every copy of the checkpoint is durable.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use techsapo_shared::wire::{Batch, EntryId};
use tracing::{error, info, warn};

use super::{End, Pipeline, Serving, WAIT, chain, now_ms};
use crate::acknowledge::Published;
use crate::apply::Quarantined;
use crate::catalog::FamilyId;
use crate::checkpoint::lease::Moment;
use crate::checkpoint::{self, StoreError};
use crate::reader::Reading;
use crate::reader::entries::Entries;
use crate::series::Key;
use crate::state::State;
use crate::turn::{Clocks, Durable};

/// A checkpoint is written at most so often, and Redis is told so often, changed or not: our claim on the stream must not lapse.
const TICK: Duration = Duration::from_secs(1);
/// Items that wait to be copied to the quarantine; more in one tick are counted, not copied.
const MAX_QUARANTINED: usize = 1_000;

/// One turn of reading, applying, committing.
pub(super) struct Holder<'a> {
    pipeline: &'a mut Pipeline,
    state: State,
    /// Per stream: was it read to its end since this turn began?
    caught_up: Vec<bool>,
    /// What the last durable checkpoint allows to be told.
    durable: Durable,
    clocks: Clocks,
    /// Producers of whom Redis is told no more, until they speak again.
    hushed: HashSet<String>,
    quarantine: Vec<Quarantined>,
    /// Lost events that the log knows of.
    lost_told: u64,
    store_failing: bool,
}

impl<'a> Holder<'a> {
    /// A turn that continues `state`; nothing happens before [`Holder::run`].
    pub(super) fn new(pipeline: &'a mut Pipeline, state: State) -> Self {
        let caught_up = vec![false; pipeline.settings.streams.len()];
        Self {
            pipeline,
            lost_told: lost(&state),
            state,
            caught_up,
            durable: Durable::default(),
            clocks: Clocks::default(),
            hushed: HashSet::new(),
            quarantine: Vec::new(),
            store_failing: false,
        }
    }

    /// Works until the process is asked to stop, or until the state or a stream is no longer ours.
    pub(super) fn run(mut self, readings: &Receiver<(usize, Reading)>) -> End {
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
                self.apply(place, reply.bytes());
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

    fn apply(&mut self, place: usize, reply: &[u8]) {
        let stream = self.pipeline.settings.streams[place].as_str();
        let (mut entries, mut fields) = (Entries::of(reply), Vec::new());
        while let Some(id) = entries.next(&mut fields) {
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
        if self.clocks.were_ahead(&self.state, now_ms, Instant::now()) {
            info!(
                "a clock was ahead and is no more: what it told of a time to come is left out of windows and gauges"
            );
            self.state.forget_the_future(now_ms);
        }
        let changed = self.durable.revision != Some(self.state.revision);
        let kept =
            if changed { self.commit(now_ms).map(Some) } else { self.pipeline.store.renew().map(|()| None) };
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
        self.hush_silent(now_ms);
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
    fn commit(&mut self, now_ms: u64) -> Result<Arc<Vec<u8>>, StoreError> {
        let bytes = checkpoint::encode(&self.state);
        self.pipeline.store.commit(&bytes)?;
        let own = &self.pipeline.own;
        own.checkpoints.inc();
        own.checkpoint_size.set(bytes.len() as f64);
        own.series.set(self.state.series.len() as f64);
        self.durable = Durable::of(&self.state, &self.pipeline.settings.streams);
        self.state.retain_silent(&mut self.hushed, now_ms);
        self.durable.withdraw(&self.hushed);
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

    /// Removes the acknowledgements of producers that have long been silent, so that they do not fill Redis. The state knows them still: one
    /// that comes back is counted on. Of too many the oldest are forgotten, in Redis first, for an acknowledgement that the state does
    /// not know looks like another state's.
    fn hush_silent(&mut self, now_ms: u64) {
        let silent = self.state.silent_producers(now_ms).into_iter().filter(|id| !self.hushed.contains(*id));
        let silent: Vec<String> = silent.map(str::to_owned).collect();
        if !silent.is_empty() {
            if !self.take_from_redis(&silent) {
                return;
            }
            info!(producers = silent.len(), "silent for 30 days: their acknowledgements leave Redis");
            self.hushed.extend(silent);
            self.durable.withdraw(&self.hushed);
        }
        // All of them are hushed by now: nothing that is durable tells Redis of them.
        let surplus = self.state.surplus_producers(now_ms);
        if !surplus.is_empty() && self.take_from_redis(&surplus) {
            info!(
                producers = surplus.len(),
                "forgetting the producers that were silent longest: there are too many"
            );
            self.state.forget_producers(&surplus);
        }
    }

    /// Whether Redis acknowledges nothing of these any more.
    fn take_from_redis(&mut self, producers: &[String]) -> bool {
        self.pipeline.acknowledgers.iter_mut().all(|stream| stream.forget(producers).is_ok())
    }
}

fn lost(state: &State) -> u64 {
    state.series.get(FamilyId::TelemetryLost, Key::new(&[]))
}

fn deposed(error: &StoreError) -> End {
    error!("{error}; this one stops counting and stands by");
    End::Again
}
