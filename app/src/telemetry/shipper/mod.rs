//! Carries records from the journal to Redis, and frees what the exporter has acknowledged.
//!
//! One shipper for each stream that a file of the journal goes to, with a thread and a connection of its own: streams
//! may be on different servers, and one that is away delays no other. It wakes every [`Pace::poll`], looks at memory,
//! and talks to Redis only when there is something to send or to wait for. It wakes no more often, and rests once after each round
//! unless much has come meanwhile, for waking and a round cost more than what they carry; while more than a batch is left after a
//! round, the next one follows at once. A round is one
//! pipeline: first what is to be known (acknowledgements, the stream's size), then the batches; its replies are settled before
//! the next round.
//! Whatever goes wrong, the thread drops the connection and begins again from what is acknowledged.
//!
//! [`shipment`] decides what to send, and from where again; it is pure. The module `link` is the door to Redis.

mod link;
pub mod shipment;

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use techsapo_redis_route::Route;
use techsapo_shared::wire::{Batch, Origin, StreamKeys};

use self::{
    link::{Answer, Link, Question},
    shipment::{Acknowledgement, Backoff, Shipment},
};
use super::journal::{Cursor, Journal, RunFile};

/// A batch is cut at this size.
const BATCH_BYTES: usize = 64 << 10;
/// What one round sends at most.
const ROUND_BYTES: usize = 1 << 20;
/// As soon as one in so many bytes of a ring is to be sent or acknowledged, it does not rest.
const MUCH: u64 = 64;
/// How often it asks for acknowledgements while the process waits for them to end.
const LAST_POLL: Duration = Duration::from_millis(100);

/// The shipper's times and limits. The defaults are what the promise was checked with.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long it sleeps. After a round it wakes once without making another, unless there is much to do.
    pub poll: Duration,
    /// How long nothing may be acknowledged before it looks for the reason.
    pub stall: Duration,
    /// How large the stream may be before sending pauses.
    pub stream_bytes: u64,
    /// How long it waits for the network.
    pub timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(500),
            stall: Duration::from_secs(5),
            stream_bytes: 64 << 20,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A stream's shipper, before its thread runs and in it.
pub(super) struct Shipper {
    journal: Arc<Journal>,
    route: Route,
    stream: Stream,
    pace: Pace,
    /// The files that go to this stream, oldest first.
    sources: Vec<Source>,
    link: Option<Link>,
    backoff: Backoff,
    started: Instant,
    retry_at: Duration,
    /// When it woke last, a round was made, and nothing is left that could be sent.
    rests: bool,
    report: Report,
}

/// A stream that batches go to.
struct Stream {
    keys: StreamKeys,
    /// It is larger than it may be; nothing is sent to it.
    full: bool,
}

/// A journal file on its way.
struct Source {
    file: Arc<RunFile>,
    shipment: Shipment,
    /// An earlier run's file: complete, but perhaps shorter than it was (power loss).
    earlier: bool,
}

/// A batch that was read from a source.
struct Load {
    source: usize,
    from: Cursor,
    to: Cursor,
    dropped: u64,
    lines: Vec<u8>,
}

/// What was last said about states that are worth a line in the log when they change.
#[derive(Default)]
struct Report {
    trouble: bool,
    dropped: u64,
    dropping: bool,
    upkeep_fails: bool,
}

impl Shipper {
    /// One for each of `streams` that a file of the journal goes to. `streams` is not empty.
    pub(super) fn all(journal: &Arc<Journal>, route: &Route, streams: &[String], pace: Pace) -> Vec<Self> {
        let mut files = vec![Vec::new(); streams.len()];
        for file in journal.files() {
            files[stream_of(file.producer(), streams.len())].push(file);
        }
        let shippers = files.into_iter().zip(streams).filter(|(files, _)| !files.is_empty());
        shippers.map(|(files, stream)| Self::new(journal, route, stream, files, pace)).collect()
    }

    fn new(
        journal: &Arc<Journal>,
        route: &Route,
        stream: &str,
        files: Vec<Arc<RunFile>>,
        pace: Pace,
    ) -> Self {
        let source = |file: Arc<RunFile>| Source {
            shipment: Shipment::new(file.head(), pace.stall),
            earlier: !Arc::ptr_eq(&file, journal.current()),
            file,
        };
        let who = (journal.current().producer(), stream);
        Self {
            stream: Stream { keys: StreamKeys::of(stream), full: false },
            sources: files.into_iter().map(source).collect(),
            link: None,
            backoff: Backoff::new(BuildHasherDefault::<DefaultHasher>::default().hash_one(who)),
            started: Instant::now(),
            retry_at: Duration::ZERO,
            rests: false,
            report: Report { dropped: journal.current().dropped(), ..Report::default() },
            journal: Arc::clone(journal),
            route: route.clone(),
            pace,
        }
    }

    /// The thread's life: until `stop` names a deadline, then until everything is acknowledged or the deadline has
    /// passed. If `stop`'s sender is gone, or no file is left to ship, it ends at once.
    pub(super) fn run(mut self, stop: &Receiver<Instant>) {
        let deadline = loop {
            let wait = self.turn();
            if self.sources.is_empty() {
                return;
            }
            match stop.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(deadline) => break deadline,
            }
        };
        loop {
            self.rests = false;
            let wait = self.turn();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.sources.iter().any(Source::pending) {
                break;
            }
            std::thread::sleep(wait.min(left).min(LAST_POLL));
        }
    }

    /// One look at everything. Returns how long to sleep.
    fn turn(&mut self) -> Duration {
        self.keep_up();
        if std::mem::take(&mut self.rests) && !self.sources.iter().any(Source::has_much) {
            return self.pace.poll;
        }
        let now = self.now();
        if now >= self.retry_at && self.has_business() {
            match self.round(now) {
                Ok(()) if self.sources.iter().any(|source| self.has_full_batch(source)) => {
                    return Duration::ZERO;
                }
                // The first round of a connection only asks.
                Ok(()) => self.rests = !self.sources.iter().any(|source| self.can_send(source)),
                Err(error) => self.give_up(&error),
            }
        }
        let now = self.now();
        if now < self.retry_at { self.pace.poll.min(self.retry_at - now) } else { self.pace.poll }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// What needs no Redis.
    fn keep_up(&mut self) {
        for source in &self.sources {
            match source.file.upkeep() {
                Ok(()) => self.report.upkeep_fails = false,
                Err(error) if !self.report.upkeep_fails => {
                    self.report.upkeep_fails = true;
                    tracing::error!(
                        file = %source.file.path().display(),
                        error = &error as &dyn std::error::Error,
                        "the journal cannot be written to disk; its free space cannot be used again"
                    );
                }
                Err(_) => {}
            }
        }
        if self.sources.iter().any(|source| !source.earlier) {
            self.report.drops(self.journal.current());
        }
    }

    fn has_business(&self) -> bool {
        self.sources.iter().any(|source| self.can_send(source) || source.pending())
    }

    /// Whether the next round may send something of this source. On a new connection it first has to ask.
    fn can_send(&self, source: &Source) -> bool {
        source.unsent() > 0 && !self.stream.full
    }

    fn has_full_batch(&self, source: &Source) -> bool {
        self.can_send(source) && source.unsent() > BATCH_BYTES as u64
    }

    /// One pipeline: what is to be known, then what is to be sent.
    fn round(&mut self, now: Duration) -> redis::RedisResult<()> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::open(&self.route, &self.stream.keys.stream, self.pace.timeout)?,
        };
        let loads = self.load();
        let (about, questions) = self.questions(&loads, now);
        let answers = link.ask(&questions)?;
        // Kept only now: an error before ended it.
        self.link = Some(link);

        let now = self.now();
        self.settle(&about, &answers, &loads, now);
        self.free();
        self.recovered(!loads.is_empty());
        Ok(())
    }

    /// Reads batches from the sources, the oldest first, as much as a round may send.
    fn load(&mut self) -> Vec<Load> {
        let mut loads = Vec::new();
        let mut room = ROUND_BYTES;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if !source.shipment.may_send() || self.stream.full {
                continue;
            }
            let mut from = source.shipment.next();
            while room > 0 {
                let most = BATCH_BYTES.min(room);
                let mut lines =
                    Vec::with_capacity(most.min(source.file.end().pos.saturating_sub(from.pos) as usize));
                let to = source.file.read(from, most, &mut lines);
                if to == from {
                    break;
                }
                room = room.saturating_sub(lines.len());
                let dropped = source.file.carry_dropped(to.seq - 1);
                loads.push(Load { source: index, from, to, dropped, lines });
                from = to;
            }
        }
        loads
    }

    /// The round's questions, each with the index of the source that it is about (any, for the stream's size).
    fn questions<'a>(&'a self, loads: &'a [Load], now: Duration) -> (Vec<usize>, Vec<Question<'a>>) {
        let mut questions = Vec::new();
        let keys = &self.stream.keys;
        if self.sources.iter().any(Source::pending) {
            questions.push((0, Question::Memory(keys)));
        }
        for (index, source) in self.sources.iter().enumerate().filter(|(_, source)| source.pending()) {
            // The acknowledgement is read last: it is published together with the cursor, and a cursor that is newer
            // than the acknowledgement would look as if the batch had been passed over.
            if let Some(id) = source.shipment.looks_for(now) {
                questions.push((index, Question::Cursor(keys)));
                questions.push((index, Question::Entry(keys, id)));
            }
            questions.push((index, Question::Acknowledged(keys, source.file.producer())));
        }
        for load in loads {
            let source = &self.sources[load.source];
            let origin = Origin {
                producer: source.file.producer(),
                first_seq: load.from.seq,
                oldest_seq: source.shipment.settled().seq,
                dropped: load.dropped,
            };
            let count = load.to.seq - load.from.seq;
            let batch = Batch { origin: Some(origin), count, data: &load.lines };
            questions.push((load.source, Question::Add(keys, batch)));
        }
        questions.into_iter().unzip()
    }

    fn settle(&mut self, about: &[usize], answers: &[Answer], loads: &[Load], now: Duration) {
        let mut loads = loads.iter();
        let mut cursor = None;
        let mut looked = Vec::new();
        for (&index, answer) in about.iter().zip(answers) {
            match *answer {
                Answer::Memory(bytes) => self.stream.measured(bytes, self.pace.stream_bytes),
                Answer::Cursor(read) => cursor = read,
                Answer::Entry(id, there) => looked.push((index, id, there, cursor)),
                Answer::Acknowledged(read) => self.sources[index].acknowledged(read, now),
                Answer::Added(id) => {
                    if let Some(load) = loads.next() {
                        self.sources[index].shipment.on_added(load.to, id, now);
                    }
                }
            }
        }
        // Last, for it takes back what this very round sent.
        for (index, id, there, cursor) in looked {
            let source = &mut self.sources[index];
            if source.shipment.on_looked(id, there, cursor, now) {
                tracing::warn!(
                    producer = source.file.producer(),
                    from_seq = source.shipment.acknowledged() + 1,
                    entry = %id,
                    "the oldest batch left the stream without an acknowledgement; sending again"
                );
            }
        }
    }

    /// Frees what is acknowledged, and deletes the files of earlier runs that are done.
    fn free(&mut self) {
        for source in &mut self.sources {
            if source.shipment.overtaken() {
                let next = source.shipment.acknowledged() + 1;
                source.shipment.catch_up(source.file.reach(source.shipment.next(), next));
            }
            // First, for a file that is free to its end may be deleted by another stream's shipper or the audit, and what it has
            // not told of then becomes this run's to tell.
            source.file.settle_dropped(source.shipment.acknowledged());
            if source.shipment.settled() != source.file.head() {
                source.file.acknowledge(source.shipment.settled());
            }
        }
        let before = self.sources.len();
        self.sources.retain(|source| !source.earlier || source.pending());
        if self.sources.len() < before {
            self.journal.retire_done();
        }
    }

    /// Drops the connection, or what was left of it, and tries again after a while.
    fn give_up(&mut self, error: &redis::RedisError) {
        self.link = None;
        self.sources.iter_mut().for_each(|source| source.shipment.disconnected());
        self.retry_at = self.now() + self.backoff.after_failure();
        if !self.report.trouble {
            self.report.trouble = true;
            tracing::warn!(
                redis = %self.route,
                stream = self.stream.keys.stream,
                error = error as &dyn std::error::Error,
                pending = self.journal.pending_events(),
                "events cannot be shipped; they stay in the journal, and shipping is tried again every 2 s at the latest"
            );
        }
    }

    /// A round went well. It proves that shipping works only if it shipped, or if there was nothing to ship.
    fn recovered(&mut self, shipped: bool) {
        if !shipped && self.sources.iter().any(|source| self.can_send(source)) {
            return;
        }
        self.backoff.reset();
        if self.report.trouble {
            self.report.trouble = false;
            let stream = self.stream.keys.stream.as_str();
            tracing::info!(stream, pending = self.journal.pending_events(), "events are shipped again");
        }
    }
}

impl Stream {
    fn measured(&mut self, bytes: u64, limit: u64) {
        let full = bytes > limit;
        if full != self.full {
            self.full = full;
            let stream = self.keys.stream.as_str();
            if full {
                tracing::warn!(
                    stream,
                    bytes,
                    limit,
                    "the stream is too large; sending pauses until it is read"
                );
            } else {
                tracing::info!(stream, bytes, "the stream is small enough again; sending goes on");
            }
        }
    }
}

impl Source {
    /// Whether the exporter lacks something of this file.
    fn pending(&self) -> bool {
        self.shipment.acknowledged() < self.file.last_seq()
    }

    /// Bytes of records that were not sent, or have to be sent again.
    fn unsent(&self) -> u64 {
        let (next, end) = (self.shipment.next(), self.file.end());
        if next.seq < end.seq { end.pos.saturating_sub(next.pos).max(1) } else { 0 }
    }

    /// Whether so much of it is to be sent or acknowledged that the ring could fill up soon.
    fn has_much(&self) -> bool {
        self.file.end().pos.saturating_sub(self.file.head().pos) > self.file.capacity() / MUCH
    }

    fn acknowledged(&mut self, read: Option<u64>, now: Duration) {
        let last = self.file.last_seq();
        // Of an earlier run the exporter may have more than is left of the file: then it has all that is left.
        let read = if self.earlier { read.map(|read| read.min(last)) } else { read };
        if self.shipment.on_acknowledgement(read, last, now) == Acknowledgement::Nonsense {
            tracing::warn!(
                producer = self.file.producer(),
                acknowledged = read,
                last_written = last,
                "an acknowledgement of events that were never written is ignored"
            );
        }
    }
}

impl Report {
    /// Says once when events begin to be dropped, and once when that has ended.
    fn drops(&mut self, file: &RunFile) {
        let dropped = file.dropped();
        let more = dropped > self.dropped;
        self.dropped = dropped;
        if more != self.dropping {
            self.dropping = more;
            let oversized = file.oversized();
            if more {
                tracing::error!(
                    dropped,
                    oversized,
                    "the journal takes no more; events are dropped and counted"
                );
            } else {
                tracing::warn!(dropped, oversized, "no more events were dropped lately");
            }
        }
    }
}

/// The stream that a producer's batches go to. Always the same one, also from a later run.
fn stream_of(producer: &str, streams: usize) -> usize {
    crc32fast::hash(producer.as_bytes()) as usize % streams
}
