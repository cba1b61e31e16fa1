//! Read → apply → checkpoint → acknowledge → serve. One thread owns the state; readers feed it, the page is served
//! from what it made durable last.
//!
//! Here: how a turn as the state's holder begins. What comes in: the settings, the store, the streams' owner keys and
//! acknowledgements. What must hold: nothing is read before the lock is held and every stream is ours. The turn itself
//! is [`holder`], what the page may show is [`served`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use techsapo_redis_route::Route;
use tracing::{error, info, warn};
use uuid::Uuid;

use self::holder::Holder;
pub use self::served::{Served, Serving};
use crate::acknowledge::Acknowledger;
use crate::checkpoint::{self, Store, Unreadable};
use crate::own::Own;
use crate::reader;
use crate::state::State;
use crate::turn::{self, Beginning, Claim};

mod holder;
mod served;

/// Pause between looks at a lock, an owner or a Redis that is not there yet.
const WAIT: Duration = Duration::from_millis(250);
/// Replies that wait between the readers and the pipeline.
const READ_AHEAD: usize = 2;

/// What the pipeline works with.
pub struct Settings {
    /// The way to the streams.
    pub redis: Route,
    /// Keys of the streams; at least one.
    pub streams: Vec<String>,
    /// How long a series born later is served at zero first.
    pub birth_hold: Duration,
    /// Most series of one family.
    pub series_limit: usize,
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

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
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
