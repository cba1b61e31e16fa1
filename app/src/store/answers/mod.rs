//! Answers that are given again: kept in memory, and in Redis for all instances and runs.
//!
//! [`Answers::find`] gives what was answered before, or leave to make the answer; whoever makes it hands it in by
//! [`Making::finish`]. What must hold:
//!
//! * The same question means the same [`key`]: question, tier, mode, providers, models, and whom answers are shared with.
//! * Only whole and good answers are kept: every call brought one, merging succeeded if it was asked for, and confidence is not below `cache.min_confidence`.
//! * Memory is bounded in bytes, a value in Redis in size and time.
//! * A Redis that is away costs a request nothing: memory goes on alone. What is damaged is not there.
//! * A question that several ask at once is put to the providers once, as long as its answer is one to be kept; else each
//!   asks for itself, all at the same time.
//!
//! Each look is stated as a `cache_lookup` fact. A look into Redis is one when Redis replied.

mod flight;
mod key;
mod memory;
mod stored;

use std::sync::Arc;
use std::time::{Duration, Instant};

use techsapo_shared::event::{CacheLookup, Event};
use techsapo_shared::labels::{CacheType, RedisOperation};

use self::flight::{Arrival, Flight, Flights, Seat};
use self::key::Key;
use self::memory::Memory;
use super::redis::Redis;
use crate::analysis::{Plan, Report};
use crate::clock;
use crate::config::CacheSettings;
use crate::telemetry::Recorder;

/// What a caller wants of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// An answer that was given before will do, if it is not older than this.
    Reuse {
        /// Beside the time for which answers are kept at all.
        max_age: Option<Duration>,
    },
    /// A fresh answer, which others may be given.
    Fresh,
    /// A fresh answer that is kept nowhere.
    Unkept,
}

impl Default for Wish {
    fn default() -> Self {
        Self::Reuse { max_age: None }
    }
}

impl Wish {
    /// What satisfies both wishes.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unkept, _) | (_, Self::Unkept) => Self::Unkept,
            (Self::Fresh, _) | (_, Self::Fresh) => Self::Fresh,
            (Self::Reuse { max_age: one }, Self::Reuse { max_age: other }) => {
                Self::Reuse { max_age: one.into_iter().chain(other).min() }
            }
        }
    }
}

/// Who asks, as far as it decides whose answers are given.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// Id of the API key; nothing: anonymous.
    pub key: Option<String>,
    /// The user that the caller named.
    pub user: Option<String>,
}

/// What came of looking.
pub enum Search {
    /// It was answered before.
    Found(Found),
    /// It was not, or that answer is not wanted.
    Missing(Making),
    /// Another was to make it, and was refused or took too long: it is no better to begin anew.
    Refused,
}

/// An answer that is given again.
#[derive(Debug, Clone)]
pub struct Found {
    /// The analysis that was made then.
    pub report: Arc<Report>,
    /// Where it was.
    pub cache_type: CacheType,
    /// When it was found, Unix milliseconds.
    pub found_ms: u64,
    /// How long that took.
    pub took: Duration,
}

/// Answers given before, and those in the making. Cheap to clone.
#[derive(Clone)]
pub struct Answers {
    /// Nothing: switched off.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    settings: CacheSettings,
    memory: Memory,
    flights: Flights,
    redis: Option<Redis>,
    recorder: Recorder,
}

impl Answers {
    /// A cache as it is set up, empty in memory; other instances' answers are in `redis`.
    pub fn new(settings: &CacheSettings, redis: Redis, recorder: Recorder) -> Self {
        let shared = settings.enabled.then(|| {
            Arc::new(Shared {
                memory: Memory::new(settings.memory_bytes),
                flights: Flights::default(),
                redis: settings.redis.then_some(redis),
                recorder,
                settings: settings.clone(),
            })
        });
        Self { shared }
    }

    /// Looks for the answer to a question as `reader` may be given it. Where the same question is being answered for
    /// another, waits for that answer, but no longer than `patience`; `waits` hears of it before, for that may take as long as an
    /// analysis.
    pub async fn find(
        &self,
        plan: &Plan,
        reader: &Reader,
        wish: Wish,
        patience: Duration,
        mut waits: impl FnMut(),
    ) -> Search {
        let (began, began_ms) = (Instant::now(), clock::unix_ms());
        let Some(shared) = &self.shared else { return Search::Missing(Making::default()) };
        let key = Key::of(plan, shared.settings.scope, reader);
        let max_age = match wish {
            Wish::Reuse { max_age } => max_age,
            Wish::Fresh => return shared.missing(key, None),
            Wish::Unkept => return Search::Missing(Making::default()),
        };
        let give_up = tokio::time::Instant::now() + patience;
        let found = |report, cache_type| {
            Search::Found(Found { report, cache_type, found_ms: clock::unix_ms(), took: began.elapsed() })
        };
        let flight = loop {
            if let Some(report) = shared.in_memory(&key, max_age) {
                shared.looked(CacheType::Memory, true);
                return found(report, CacheType::Memory);
            }
            let passenger = match shared.flights.board(key) {
                Seat::Pilot(flight) => break flight,
                Seat::Passenger(passenger) => passenger,
            };
            waits();
            // Of all whom it waits for, one after another.
            match tokio::time::timeout_at(give_up, passenger.arrival()).await.unwrap_or(Arrival::Refused) {
                // What was made meanwhile is as new as can be; but who went before may have been content with an older one.
                Arrival::Answer(report)
                    if report.ended_ms >= began_ms || shared.is_young(report.ended_ms, max_age) =>
                {
                    shared.looked(CacheType::Memory, true);
                    return found(report, CacheType::Memory);
                }
                Arrival::NotKept => {
                    shared.looked(CacheType::Memory, false);
                    return shared.missing(key, None);
                }
                Arrival::Refused => return Search::Refused,
                // Who was making it has gone, or found one that is too old for this: one of those who wait begins.
                Arrival::Lost | Arrival::Answer(_) => {}
            }
        };
        // Once more: the answer may have come between looking and boarding.
        if let Some(report) = shared.in_memory(&key, max_age) {
            shared.looked(CacheType::Memory, true);
            flight.land(Arrival::Answer(Arc::clone(&report)));
            return found(report, CacheType::Memory);
        }
        shared.looked(CacheType::Memory, false);
        if let Some((report, bytes)) = shared.in_redis(&key, plan, max_age).await {
            shared.memory.insert(key, Arc::clone(&report), bytes);
            flight.land(Arrival::Answer(Arc::clone(&report)));
            return found(report, CacheType::Redis);
        }
        shared.missing(key, Some(flight))
    }
}

impl Shared {
    fn missing(self: &Arc<Self>, key: Key, flight: Option<Flight>) -> Search {
        Search::Missing(Making { target: Some((Arc::clone(self), key)), flight })
    }

    fn looked(&self, cache_type: CacheType, hit: bool) {
        self.recorder.record(&Event::CacheLookup(CacheLookup { t: clock::unix_ms(), cache_type, hit }));
    }

    /// Whether an analysis that ended then may still be given.
    fn is_young(&self, ended_ms: u64, max_age: Option<Duration>) -> bool {
        // Another host's clock may be ahead of this one's.
        let age = Duration::from_millis(clock::unix_ms().saturating_sub(ended_ms));
        age < self.settings.ttl && max_age.is_none_or(|most| age <= most)
    }

    /// Whether an answer deserves to be given again.
    fn is_good(&self, report: &Report) -> bool {
        let least = self.settings.min_confidence;
        report.is_complete() && report.verdict.confidence_ppm.is_some_and(|confidence| confidence >= least)
    }

    fn in_memory(&self, key: &Key, max_age: Option<Duration>) -> Option<Arc<Report>> {
        let report = self.memory.get(key)?;
        if !self.is_young(report.ended_ms, None) {
            self.memory.remove(key);
            return None;
        }
        self.is_young(report.ended_ms, max_age).then_some(report)
    }

    /// The answer in Redis, and its size there.
    async fn in_redis(
        &self,
        key: &Key,
        plan: &Plan,
        max_age: Option<Duration>,
    ) -> Option<(Arc<Report>, usize)> {
        let redis = self.redis.as_ref()?;
        let get = redis::cmd("GET").arg(key.in_redis()).to_owned();
        let value: Option<Vec<u8>> = redis.query(RedisOperation::Get, &get).await.ok()?;
        let bytes = value.as_ref().map_or(0, Vec::len);
        let found = value.and_then(|value| {
            let read = stored::decode(key, &value);
            if let Err(damaged) = &read {
                tracing::warn!(reason = %damaged, "A cached answer in Redis is passed over");
            }
            let report = read.ok()?.recall(plan);
            (self.is_good(&report) && self.is_young(report.ended_ms, max_age)).then(|| Arc::new(report))
        });
        self.looked(CacheType::Redis, found.is_some());
        found.map(|report| (report, bytes))
    }
}

/// Leave to make an answer. Dropped without an answer, somebody who waits for it begins anew.
#[derive(Default)]
pub struct Making {
    /// Where the answer is kept; nothing: nowhere.
    target: Option<(Arc<Shared>, Key)>,
    /// Those who wait for it.
    flight: Option<Flight>,
}

impl Making {
    /// Takes what came of it: into memory at once if it is to be given again, to those who wait, and on the way to Redis.
    pub fn finish(self, report: &Arc<Report>) -> Option<Upload> {
        let (shared, key) = self.target?;
        let most = usize::try_from(shared.settings.answer_bytes).unwrap_or(usize::MAX);
        let value = shared.is_good(report).then(|| stored::encode(&key, report)).flatten();
        let value = value.filter(|value| value.len() <= most);
        let arrival = match &value {
            Some(value) => {
                shared.memory.insert(key, Arc::clone(report), value.len());
                Arrival::Answer(Arc::clone(report))
            }
            None => Arrival::NotKept,
        };
        if let Some(flight) = self.flight {
            flight.land(arrival);
        }
        let redis = shared.redis.clone()?;
        Some(Upload { redis, key, value: value?, ttl: shared.settings.ttl })
    }

    /// There is no place to make it in: who waits for it is told so, rather than that each waits for a place in its turn.
    pub fn refuse(self) {
        if let Some(flight) = self.flight {
            flight.land(Arrival::Refused);
        }
    }
}

/// An answer on its way to the other instances.
pub struct Upload {
    redis: Redis,
    key: Key,
    value: Vec<u8>,
    ttl: Duration,
}

impl Upload {
    /// Puts it into Redis. Where that fails, it is only not there; the failure is stated by the operation.
    pub async fn run(self) {
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let mut set = redis::cmd("SET");
        set.arg(self.key.in_redis()).arg(self.value).arg("PX").arg(ttl_ms);
        let _: Result<(), _> = self.redis.query(RedisOperation::Set, &set).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::pin::pin;
    use std::task::Poll;

    use futures_util::poll;

    use super::key::tests::{analyzer, question};
    use super::*;
    use crate::config;
    use crate::guard::breaker::Breakers;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn in_memory() -> Answers {
        let settings = config::load(None, &BTreeMap::new()).unwrap().settings;
        let recorder = Recorder::off();
        let breakers = Breakers::new("test", recorder.clone());
        let redis = Redis::new(settings.redis.url.clone(), Duration::ZERO, recorder.clone(), &breakers);
        Answers::new(&CacheSettings { redis: false, ..settings.cache }, redis, recorder)
    }

    #[tokio::test]
    async fn who_is_to_wait_for_the_answer_of_another_hears_of_it_before() {
        let answers = in_memory();
        let plan = analyzer(0, 2).plan(question("Why?")).unwrap();
        let (reader, told) = (Reader::default(), Cell::new(0));
        let find = || answers.find(&plan, &reader, Wish::default(), HOUR, || told.set(told.get() + 1));

        let Search::Missing(making) = find().await else { panic!("nobody has asked before") };
        assert_eq!(told.get(), 0, "it makes the answer itself");
        let mut waiting = pin!(find());
        assert!(poll!(&mut waiting).is_pending());
        assert_eq!(told.get(), 1);
        drop(making);
        assert!(matches!(waiting.await, Search::Missing(_)));
    }

    #[tokio::test]
    async fn all_who_wait_for_one_that_is_refused_are_refused_with_it() {
        let answers = in_memory();
        let plan = analyzer(0, 2).plan(question("Why?")).unwrap();
        let reader = Reader::default();
        let find = || answers.find(&plan, &reader, Wish::default(), HOUR, || ());

        let Search::Missing(making) = find().await else { panic!("nobody has asked before") };
        let (mut one, mut other) = (pin!(find()), pin!(find()));
        assert!(poll!(&mut one).is_pending() && poll!(&mut other).is_pending());
        making.refuse();
        assert!(matches!((one.await, other.await), (Search::Refused, Search::Refused)));
        assert!(matches!(find().await, Search::Missing(_)), "the next one tries");
    }

    #[tokio::test]
    async fn nobody_waits_for_one_after_another_longer_than_its_patience() {
        let answers = in_memory();
        let plan = analyzer(0, 2).plan(question("Why?")).unwrap();
        let reader = Reader::default();
        let find = |patience| answers.find(&plan, &reader, Wish::default(), patience, || ());

        let Search::Missing(mut making) = find(HOUR).await else { panic!("nobody has asked before") };
        let mut waiting = pin!(find(Duration::from_millis(50)));
        let begun = Instant::now();
        let ended = loop {
            if let Poll::Ready(ended) = poll!(&mut waiting) {
                break ended;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it waits on");
            tokio::time::sleep(Duration::from_millis(1)).await;
            // Whoever makes it goes, and another comes before the one who waits looks again.
            drop(making);
            let Search::Missing(next) = find(HOUR).await else { panic!("nobody makes it any more") };
            making = next;
        };
        assert!(matches!(ended, Search::Refused));
    }

    #[tokio::test]
    async fn who_waits_is_given_no_older_an_answer_than_was_asked_for() {
        let plan = || analyzer(0, 2).plan(question("Why?")).unwrap();
        let answers = in_memory();
        let (plan_of_all, reader) = (plan(), Reader::default());
        let within = |age| answers.find(&plan_of_all, &reader, Wish::Reuse { max_age: age }, HOUR, || ());
        const MINUTE: Duration = Duration::from_secs(60);
        for (age, wanted, is_given) in [
            (MINUTE * 50, None, true),
            (MINUTE * 50, Some(MINUTE), false),
            (MINUTE * 50, Some(MINUTE * 59), true),
            (Duration::ZERO, Some(Duration::ZERO), true),
        ] {
            let Search::Missing(mut making) = within(None).await else { panic!("nothing is kept") };
            let mut waiting = pin!(within(wanted));
            assert!(poll!(&mut waiting).is_pending());
            let mut report = analyzer(0, 2).analyze(plan(), &|_| ()).await;
            report.ended_ms = clock::unix_ms() - clock::micros(age) / 1_000;
            making.flight.take().unwrap().land(Arrival::Answer(Arc::new(report)));
            assert_eq!(matches!(waiting.await, Search::Found(_)), is_given, "{age:?} {wanted:?}");
        }
    }

    #[test]
    fn of_two_wishes_the_stricter_holds() {
        let within = |seconds| Wish::Reuse { max_age: Some(Duration::from_secs(seconds)) };
        let any = Wish::default();
        for (one, other, both) in [
            (any, any, any),
            (any, within(5), within(5)),
            (within(9), within(5), within(5)),
            (within(0), Wish::Fresh, Wish::Fresh),
            (Wish::Unkept, Wish::Fresh, Wish::Unkept),
        ] {
            assert_eq!((one.and(other), other.and(one)), (both, both));
        }
    }
}
