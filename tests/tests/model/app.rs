//! The app: its journal and its shipper's thread. What is sent, and from where again, is decided by the real
//! [`Shipment`]; the round around it does what the thread does, question by question, so that others may come between.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use techsapo_app::telemetry::journal::Cursor;
use techsapo_app::telemetry::shipper::shipment::{Backoff, Shipment};
use techsapo_shared::wire::{Batch, EntryId, Origin};

use crate::journal::{File, at};
use crate::ledger::Ledger;
use crate::plan::Rules;
use crate::redis::{Failed, Fields, Late, Redis};
use techsapo_tests::random::Random;

/// As the shipper's own.
const POLL: Duration = Duration::from_millis(200);
const STALL: Duration = Duration::from_secs(5);
/// Entries that the stream may hold before sending pauses. (In truth a number of bytes.)
const STREAM_ENTRIES: usize = 60;
/// Batches and events of one round. (In truth numbers of bytes.)
const ROUND_BATCHES: usize = 3;
const BATCH_EVENTS: u64 = 7;

/// A journal file on its way.
struct Source {
    file: File,
    stream: usize,
    shipment: Shipment,
    earlier: bool,
}

/// One question of a round, and of which stream or source it is about.
enum Question {
    Memory(usize),
    Cursor(usize),
    Entry(usize, EntryId),
    Acknowledged(usize),
    Add(usize, Cursor, Fields),
}

impl Question {
    fn describe(&self) -> String {
        match self {
            Self::Memory(stream) => format!("memory of {stream}"),
            Self::Cursor(source) => format!("cursor for {source}"),
            Self::Entry(source, id) => format!("entry {id} of {source}"),
            Self::Acknowledged(source) => format!("acknowledged of {source}"),
            Self::Add(source, _, fields) => {
                let numbers = fields.iter().filter(|(name, _)| *name != "d");
                let numbers =
                    numbers.map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
                format!("add {source} {}", numbers.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

enum Answer {
    Memory(usize, usize),
    Cursor(Option<EntryId>),
    Entry(usize, EntryId, bool),
    Acknowledged(usize, Option<u64>),
    Added(usize, Cursor, EntryId),
}

/// A round whose commands Redis is working through.
struct Flight {
    life: u64,
    questions: VecDeque<Question>,
    answers: Vec<Answer>,
    refused: Option<Failed>,
}

/// What happens to the rest of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Good,
    /// The connection is cut, and nothing more arrives.
    Cut,
    /// Everything arrives, and no reply comes back.
    Unanswered,
    /// The connection is given up, and the rest arrives some time.
    Late,
}

/// One instance.
pub(crate) struct App {
    name: String,
    runs: u64,
    streams: usize,
    capacity: u64,
    /// The oldest run first, this one last. What a process that does not run would have in memory is not looked at.
    sources: Vec<Source>,
    up: bool,
    connected: Option<u64>,
    flight: Option<Flight>,
    full: Vec<bool>,
    backoff: Backoff,
    last_round: Duration,
    retry_at: Duration,
}

impl App {
    pub(crate) fn new(name: String, streams: usize, capacity: u64) -> Self {
        let mut app = Self {
            name,
            runs: 0,
            streams,
            capacity,
            sources: Vec::new(),
            up: false,
            connected: None,
            flight: None,
            full: vec![false; streams],
            backoff: Backoff::new(1),
            last_round: Duration::ZERO,
            retry_at: Duration::ZERO,
        };
        app.start(&Rules::default());
        app
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// Whether everything that it ever accepted, and has, is acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        self.sources.iter().all(|source| !source.pending())
    }

    /// Drops that no acknowledged batch carried, and none will before the next event.
    pub(crate) fn dropped_untold(&self) -> u64 {
        self.sources.iter().map(|source| source.file.dropped_untold()).sum()
    }

    pub(crate) fn append(&mut self, random: &mut Random, ledger: &mut Ledger) {
        if let Some(current) = self.sources.last_mut() {
            current.file.append(random, ledger);
        }
    }

    /// `kill -9`. What a connection had sent may still arrive.
    pub(crate) fn kill(&mut self, redis: &mut Redis, late: bool) {
        self.up = false;
        self.connected = None;
        if let Some(flight) = self.flight.take()
            && late
        {
            Self::give_up_flight(&self.sources, redis, flight);
        }
    }

    /// The machine's power fails.
    pub(crate) fn lose_power(&mut self, redis: &mut Redis, random: &mut Random, ledger: &mut Ledger) {
        self.kill(redis, random.chance(30));
        for source in &mut self.sources {
            source.file.lose_power(random, ledger);
        }
    }

    /// A new run: it drains what earlier ones left, and has a file of its own.
    pub(crate) fn start(&mut self, rules: &Rules) {
        self.up = true;
        let mut files: Vec<File> = self.sources.drain(..).map(|source| source.file).collect();
        if rules.a_file_for_every_run || files.is_empty() {
            self.runs += 1;
            files.push(File::create(format!("{}-{}", self.name, self.runs), self.capacity));
        }
        let current = files.len() - 1;
        for (place, file) in files.into_iter().enumerate() {
            let stream = file.producer.bytes().map(usize::from).sum::<usize>() % self.streams;
            let shipment = Shipment::new(file.head(), STALL);
            self.sources.push(Source { file, stream, shipment, earlier: place < current });
        }
        self.full.fill(false);
        self.backoff.reset();
        (self.last_round, self.retry_at) = (Duration::ZERO, Duration::ZERO);
        self.retire();
    }

    /// One step of the shipper's thread: begins a round, or lets Redis work on. Says what it did.
    pub(crate) fn step(
        &mut self,
        redis: &mut Redis,
        random: &mut Random,
        rules: &Rules,
        now: Duration,
        way: Way,
    ) -> Option<String> {
        if !self.up {
            return None;
        }
        match self.flight.take() {
            Some(flight) => Some(self.work_on(redis, random, now, flight, way)),
            None => self.turn(redis, random, rules, now),
        }
    }

    fn turn(&mut self, redis: &Redis, random: &mut Random, rules: &Rules, now: Duration) -> Option<String> {
        self.sources.iter_mut().for_each(|source| source.file.upkeep());
        let polls = now >= self.last_round + POLL;
        let can_send = |source: &Source| source.unsent() > 0 && !self.full[source.stream];
        let business = self.sources.iter().any(|source| can_send(source) || (polls && source.pending()));
        if now < self.retry_at || !business {
            return None;
        }
        self.last_round = now;
        if self.connected.is_none() {
            if !redis.up {
                return Some(self.give_up(now, "connection refused"));
            }
            self.connected = Some(redis.life);
        }
        let questions = self.questions(random, rules, now);
        let asked: Vec<_> = questions.iter().map(Question::describe).collect();
        let told = format!("asks {}", asked.join(", "));
        let life = self.connected.unwrap_or_default();
        self.flight = Some(Flight { life, questions, answers: Vec::new(), refused: None });
        Some(told)
    }

    /// What is to be known first, then what is to be sent, in the thread's order.
    fn questions(&mut self, random: &mut Random, rules: &Rules, now: Duration) -> VecDeque<Question> {
        let mut questions = VecDeque::new();
        for stream in 0..self.streams {
            if self.sources.iter().any(|source| source.stream == stream && source.pending()) {
                questions.push_back(Question::Memory(stream));
            }
        }
        for (index, source) in self.sources.iter().enumerate().filter(|(_, source)| source.pending()) {
            if let Some(id) = source.shipment.looks_for(now).filter(|_| rules.resends_what_left_the_stream) {
                questions.push_back(Question::Cursor(index));
                questions.push_back(Question::Entry(index, id));
            }
            questions.push_back(Question::Acknowledged(index));
        }
        let mut room = ROUND_BATCHES;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if !source.shipment.may_send() || self.full[source.stream] {
                continue;
            }
            let mut from = source.shipment.next();
            while room > 0 {
                let mut lines = Vec::new();
                let to = source.file.read(from, random.between(1, BATCH_EVENTS), &mut lines);
                if to == from {
                    break;
                }
                room -= 1;
                let dropped = source.file.carry_dropped(to.seq - 1);
                let origin = Origin {
                    producer: &source.file.producer,
                    first_seq: from.seq,
                    oldest_seq: source.shipment.settled().seq,
                    dropped,
                };
                let batch = Batch { origin: Some(origin), count: to.seq - from.seq, data: &lines };
                let fields = batch.encode().into_iter().map(|(name, value)| (name, value.into_owned()));
                questions.push_back(Question::Add(index, to, Rc::new(fields.collect())));
                from = to;
            }
        }
        questions
    }

    fn work_on(
        &mut self,
        redis: &mut Redis,
        random: &mut Random,
        now: Duration,
        mut flight: Flight,
        way: Way,
    ) -> String {
        if flight.life != redis.life || way == Way::Cut {
            return self.give_up(now, "connection cut");
        }
        if way == Way::Late {
            Self::give_up_flight(&self.sources, redis, flight);
            return self.give_up(now, "timed out, the rest may arrive later");
        }
        let rest = flight.questions.len();
        let steps = if way == Way::Unanswered || random.chance(60) { rest } else { random.place(rest + 1) };
        for question in flight.questions.drain(..steps) {
            match self.ask(redis, question) {
                Ok(answer) => flight.answers.push(answer),
                Err(failed) => flight.refused = Some(failed),
            }
        }
        if !flight.questions.is_empty() {
            self.flight = Some(flight);
            return format!("{steps} of {rest} questions answered");
        }
        match flight.refused {
            Some(Failed(why)) => self.give_up(now, why),
            None if way == Way::Unanswered => self.give_up(now, "no reply"),
            None => {
                self.settle(&flight.answers, now);
                self.free();
                self.backoff.reset();
                let shipped: Vec<_> = self
                    .sources
                    .iter()
                    .map(|source| (source.shipment.acknowledged(), source.file.last_seq()))
                    .collect();
                format!("settles a round; acknowledged of last: {shipped:?}")
            }
        }
    }

    fn ask(&self, redis: &mut Redis, question: Question) -> Result<Answer, Failed> {
        let shard = |index: usize| self.sources[index].stream;
        Ok(match question {
            Question::Memory(stream) => Answer::Memory(stream, redis.length(stream)),
            Question::Cursor(index) => Answer::Cursor(redis.cursor(shard(index))),
            Question::Entry(index, id) => Answer::Entry(index, id, redis.holds(shard(index), id)),
            Question::Acknowledged(index) => {
                let producer = &self.sources[index].file.producer;
                Answer::Acknowledged(index, redis.acknowledged(shard(index), producer))
            }
            Question::Add(index, to, fields) => Answer::Added(index, to, redis.add(shard(index), fields)?),
        })
    }

    fn settle(&mut self, answers: &[Answer], now: Duration) {
        let (mut cursor, mut looked) = (None, Vec::new());
        for answer in answers {
            match *answer {
                Answer::Memory(stream, entries) => self.full[stream] = entries > STREAM_ENTRIES,
                Answer::Cursor(read) => cursor = read,
                Answer::Entry(index, id, there) => looked.push((index, id, there, cursor)),
                Answer::Acknowledged(index, read) => self.sources[index].acknowledged(read, now),
                Answer::Added(index, to, id) => self.sources[index].shipment.on_added(to, id, now),
            }
        }
        for (index, id, there, cursor) in looked {
            self.sources[index].shipment.on_looked(id, there, cursor, now);
        }
    }

    fn free(&mut self) {
        for source in &mut self.sources {
            if source.shipment.overtaken() {
                source.shipment.catch_up(at(source.shipment.acknowledged() + 1));
            }
            if source.shipment.settled() != source.file.head() {
                source.file.free(source.shipment.settled());
            }
            source.file.settle_dropped(source.shipment.acknowledged());
        }
        self.retire();
    }

    /// Deletes files of earlier runs that are done; drops that they could not tell of become this run's.
    fn retire(&mut self) {
        let mut untold = 0;
        self.sources.retain(|source| {
            let done = source.earlier && !source.pending() && source.file.head().seq >= source.file.end().seq;
            if done {
                untold += source.file.dropped_untold();
            }
            !done
        });
        if let Some(current) = self.sources.last_mut() {
            current.file.count_dropped(untold);
        }
    }

    fn give_up(&mut self, now: Duration, why: &str) -> String {
        self.connected = None;
        self.flight = None;
        self.sources.iter_mut().for_each(|source| source.shipment.disconnected());
        self.retry_at = now + self.backoff.after_failure();
        format!("gives the connection up: {why}")
    }

    fn give_up_flight(sources: &[Source], redis: &mut Redis, flight: Flight) {
        for question in flight.questions {
            if let Question::Add(index, _, fields) = question {
                redis.will_arrive(Late::Add(sources[index].stream, fields));
            }
        }
    }
}

impl Source {
    fn pending(&self) -> bool {
        self.shipment.acknowledged() < self.file.last_seq()
    }

    fn unsent(&self) -> u64 {
        self.file.end().seq.saturating_sub(self.shipment.next().seq)
    }

    fn acknowledged(&mut self, read: Option<u64>, now: Duration) {
        let last = self.file.last_seq();
        let read = if self.earlier { read.map(|read| read.min(last)) } else { read };
        self.shipment.on_acknowledgement(read, last, now);
    }
}
