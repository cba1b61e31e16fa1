//! What is sent when, and what is sent again: batches, acknowledgements, stalls and pauses, without any network.

use proptest::prelude::*;

use super::*;

const STALL: Duration = Duration::from_secs(5);

fn at(seq: u64) -> Cursor {
    Cursor { pos: seq * 100, seq }
}

fn entry(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Events 1 to 30 in three batches, taken by Redis at second 0 as entries 1, 2 and 3.
fn three_batches() -> Shipment {
    let mut shipment = Shipment::new(at(1), STALL);
    assert!(!shipment.may_send(), "the acknowledgement comes first");
    assert_eq!(shipment.on_acknowledgement(None, 30, second(0)), Acknowledgement::NoNews);
    assert!(shipment.may_send());
    for batch in 1..=3 {
        shipment.on_added(at(batch * 10 + 1), entry(batch), second(0));
    }
    shipment
}

#[test]
fn acknowledged_batches_are_settled_whole() {
    let mut shipment = three_batches();
    assert_eq!(shipment.on_acknowledgement(Some(15), 30, second(1)), Acknowledgement::Progress);
    assert_eq!((shipment.acknowledged(), shipment.settled(), shipment.next()), (15, at(11), at(31)));
    assert_eq!(shipment.on_acknowledgement(Some(30), 30, second(1)), Acknowledgement::Progress);
    assert_eq!(shipment.settled(), at(31));
    assert!(!shipment.waits() && !shipment.overtaken());
}

#[test]
fn acknowledgements_never_go_back() {
    let mut shipment = three_batches();
    shipment.on_acknowledgement(Some(20), 30, second(1));
    for forgotten in [None, Some(0), Some(10), Some(20)] {
        assert_eq!(shipment.on_acknowledgement(forgotten, 30, second(1)), Acknowledgement::NoNews);
        assert_eq!((shipment.acknowledged(), shipment.settled()), (20, at(21)));
    }
}

#[test]
fn an_acknowledgement_of_what_was_never_written_is_ignored_and_told_once() {
    let mut shipment = three_batches();
    assert_eq!(shipment.on_acknowledgement(Some(31), 30, second(1)), Acknowledgement::Nonsense);
    assert_eq!(shipment.on_acknowledgement(Some(31), 30, second(1)), Acknowledgement::NoNews);
    assert_eq!(shipment.on_acknowledgement(Some(99), 30, second(1)), Acknowledgement::Nonsense);
    assert_eq!((shipment.acknowledged(), shipment.settled()), (0, at(1)));
}

#[test]
fn after_an_error_it_goes_back_to_what_is_acknowledged() {
    let mut shipment = three_batches();
    shipment.on_acknowledgement(Some(15), 30, second(1));
    shipment.disconnected();
    assert!(!shipment.may_send() && !shipment.waits());
    assert_eq!(shipment.next(), at(11));
    assert!(shipment.overtaken(), "the second batch is acknowledged in part");
    shipment.catch_up(at(16));
    assert_eq!((shipment.next(), shipment.settled()), (at(16), at(16)));
}

#[test]
fn what_an_earlier_connection_sent_may_be_acknowledged_late() {
    let mut shipment = three_batches();
    shipment.disconnected();
    assert_eq!(shipment.on_acknowledgement(Some(30), 40, second(9)), Acknowledgement::Progress);
    assert!(shipment.overtaken());
    shipment.catch_up(at(31));
    assert_eq!((shipment.next(), shipment.settled()), (at(31), at(31)));
}

#[test]
fn what_is_sent_again_may_be_acknowledged_in_the_same_round() {
    let mut shipment = three_batches();
    shipment.disconnected();
    shipment.on_acknowledgement(Some(25), 30, second(9));
    for batch in 1..=3 {
        shipment.on_added(at(batch * 10 + 1), entry(batch), second(9));
    }
    assert_eq!((shipment.settled(), shipment.next()), (at(21), at(31)));
    assert_eq!(shipment.looks_for(second(14)), Some(entry(3)));
}

#[test]
fn it_looks_for_the_oldest_batch_only_when_nothing_was_acknowledged_for_long() {
    let mut shipment = three_batches();
    assert_eq!(shipment.looks_for(second(4)), None);
    shipment.on_acknowledgement(Some(10), 30, second(4));
    assert_eq!(shipment.looks_for(second(8)), None);
    assert_eq!(shipment.looks_for(second(9)), Some(entry(2)));
    shipment.on_acknowledgement(Some(30), 30, second(9));
    assert_eq!(shipment.looks_for(second(99)), None, "nothing waits");
}

#[test]
fn it_goes_back_when_the_entry_is_gone_or_was_passed() {
    for (there, cursor) in [(false, None), (false, Some(entry(0))), (true, Some(entry(1)))] {
        let mut shipment = three_batches();
        assert!(shipment.on_looked(entry(1), there, cursor, second(5)));
        assert_eq!(shipment.next(), at(1));
        assert!(shipment.may_send(), "the connection is a good one");
    }
}

#[test]
fn it_waits_while_the_exporter_is_away() {
    let mut shipment = three_batches();
    for cursor in [None, Some(entry(0))] {
        let now = shipment.look_at;
        assert!(!shipment.on_looked(entry(1), true, cursor, now));
        assert_eq!(shipment.looks_for(now), None, "not again at once");
        assert_eq!(shipment.next(), at(31));
    }
    let now = shipment.look_at;
    shipment.on_acknowledgement(Some(10), 30, now);
    assert!(!shipment.on_looked(entry(1), false, None, now), "acknowledged in the same round");
}

#[test]
fn waiting_grows_to_two_seconds_and_varies() {
    let mut backoff = Backoff::new(42);
    let waits: Vec<_> = (0..20).map(|_| backoff.after_failure().as_millis()).collect();
    assert!((75..=100).contains(&waits[0]), "{waits:?}");
    assert!(waits[5..].iter().all(|wait| (1500..=2000).contains(wait)), "{waits:?}");
    assert!(waits[5..].windows(2).any(|pair| pair[0] != pair[1]), "{waits:?}");
    backoff.reset();
    assert!(backoff.after_failure().as_millis() <= 100);
}

/// A journal, a Redis and an exporter, as small as they can be.
struct World {
    shipment: Shipment,
    now: Duration,
    written: u64,
    stream: Vec<(EntryId, Cursor, Cursor)>,
    last_id: u64,
    acknowledged: Option<u64>,
    cursor: Option<EntryId>,
    /// What the exporter has made durable.
    applied: u64,
}

/// What happens to a round on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Good,
    /// Nothing arrives.
    Lost,
    /// Everything arrives; no reply comes back.
    Unanswered,
    /// The first batch is refused, the others are taken.
    FirstRefused,
}

#[derive(Debug, Clone)]
enum Act {
    Write(u64),
    Round(Fate),
    /// The exporter reads, makes durable, acknowledges and trims.
    Export,
    Flush,
    /// A person trims the stream.
    Trim,
    Wait(u64),
}

impl World {
    fn new() -> Self {
        Self {
            shipment: Shipment::new(at(1), STALL),
            now: Duration::ZERO,
            written: 0,
            stream: Vec::new(),
            last_id: 0,
            acknowledged: None,
            cursor: None,
            applied: 0,
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Write(events) => self.written += events,
            Act::Round(fate) => self.round(fate),
            Act::Export => self.export(),
            Act::Flush => {
                self.stream.clear();
                (self.acknowledged, self.cursor) = (None, None);
            }
            Act::Trim => self.stream.clear(),
            Act::Wait(seconds) => self.now += second(seconds),
        }
        assert!(self.shipment.acknowledged() <= self.applied, "nothing is taken for durable that is not");
        assert!(
            self.shipment.settled().seq <= self.shipment.acknowledged() + 1,
            "nothing is freed too early"
        );
    }

    /// Up to three batches of up to seven events.
    fn batches(&self) -> Vec<(Cursor, Cursor)> {
        let mut batches = Vec::new();
        let mut from = self.shipment.next();
        while self.shipment.may_send() && batches.len() < 3 && from.seq <= self.written {
            let to = at((from.seq + 7).min(self.written + 1));
            batches.push((from, to));
            from = to;
        }
        batches
    }

    fn round(&mut self, fate: Fate) {
        let batches = self.batches();
        let looks_for = self.shipment.looks_for(self.now);
        let there = looks_for.is_some_and(|id| self.stream.iter().any(|entry| entry.0 == id));
        let (cursor, read) = (self.cursor, self.acknowledged);
        let mut ids = Vec::new();
        for (index, &(from, to)) in batches.iter().enumerate() {
            if fate == Fate::Lost || (fate == Fate::FirstRefused && index == 0) {
                continue;
            }
            self.last_id += 1;
            ids.push(entry(self.last_id));
            self.stream.push((entry(self.last_id), from, to));
        }
        if fate != Fate::Good {
            self.shipment.disconnected();
            return;
        }
        self.shipment.on_acknowledgement(read, self.written, self.now);
        for (&(_, to), id) in batches.iter().zip(ids) {
            self.shipment.on_added(to, id, self.now);
        }
        if let Some(id) = looks_for {
            self.shipment.on_looked(id, there, cursor, self.now);
        }
        if self.shipment.overtaken() {
            self.shipment.catch_up(at(self.shipment.acknowledged() + 1));
        }
    }

    fn export(&mut self) {
        for (id, from, to) in self.stream.drain(..) {
            if from.seq <= self.applied + 1 {
                self.applied = self.applied.max(to.seq - 1);
            }
            self.cursor = Some(id);
        }
        self.acknowledged = self.acknowledged.max(Some(self.applied));
    }
}

fn act() -> impl Strategy<Value = Act> {
    let fate = prop_oneof![
        6 => Just(Fate::Good),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Unanswered),
        1 => Just(Fate::FirstRefused),
    ];
    prop_oneof![
        4 => (1..30u64).prop_map(Act::Write),
        8 => fate.prop_map(Act::Round),
        4 => Just(Act::Export),
        1 => Just(Act::Flush),
        1 => Just(Act::Trim),
        3 => (0..7u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happened_everything_arrives_once_it_is_over(acts in prop::collection::vec(act(), 0..100)) {
        let mut world = World::new();
        acts.iter().for_each(|act| world.act(act));
        for _ in 0..2000 {
            for act in [Act::Wait(1), Act::Round(Fate::Good), Act::Export, Act::Round(Fate::Good)] {
                world.act(&act);
            }
            if world.shipment.acknowledged() == world.written {
                break;
            }
        }
        prop_assert_eq!(world.applied, world.written);
        prop_assert_eq!(world.shipment.acknowledged(), world.written);
        prop_assert_eq!(world.shipment.settled(), at(world.written + 1));
        prop_assert!(!world.shipment.waits());
    }
}
