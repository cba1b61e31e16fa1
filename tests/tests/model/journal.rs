//! The app's journal as a list of records, with what a power loss does to a memory-mapped file: pages that were not
//! written yet are gone, and the header may be older or newer than the records.

use std::collections::{BTreeMap, BTreeSet};

use techsapo_app::telemetry::journal::Cursor;

use crate::ledger::Ledger;
use techsapo_tests::random::Random;

/// Bytes that a record takes; only that positions and numbers are not the same thing matters.
const RECORD: u64 = 100;

/// The place in front of the record `seq`.
pub(crate) fn at(seq: u64) -> Cursor {
    Cursor { pos: (seq - 1) * RECORD, seq }
}

/// The words that move.
#[derive(Debug, Clone, Copy)]
struct Header {
    last: u64,
    head: Cursor,
    dropped: u64,
    dropped_acknowledged: u64,
    carried: (u64, u64),
    sent: u64,
}

/// One run's file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) producer: String,
    /// By seq; what is missing up to the header's last went bad.
    records: BTreeMap<u64, String>,
    header: Header,
    /// Headers that a power loss may leave behind: all since the last one that was written for sure.
    older: Vec<Header>,
    /// The head in the header that was written for sure: behind it nothing was overwritten.
    reusable: u64,
    capacity: u64,
}

impl File {
    pub(crate) fn create(producer: String, capacity: u64) -> Self {
        let header =
            Header { last: 0, head: at(1), dropped: 0, dropped_acknowledged: 0, carried: (0, 0), sent: 0 };
        Self { producer, records: BTreeMap::new(), header, older: vec![header], reusable: 1, capacity }
    }

    /// Appends an event, or counts it as dropped.
    pub(crate) fn append(&mut self, random: &mut Random, ledger: &mut Ledger) {
        if self.header.last + 1 - self.reusable >= self.capacity {
            self.count_dropped(1);
            ledger.dropped += 1;
            return;
        }
        self.header.last += 1;
        let value = random.between(1, 1 << 30);
        ledger.accept(&self.producer, self.header.last, value);
        let line =
            format!(r#"{{"gc_pause":{{"t":1,"app_instance":"{}","duration_us":{value}}}}}"#, self.producer);
        self.records.insert(self.header.last, line);
        if random.chance(30) {
            self.older.push(self.header);
        }
    }

    pub(crate) fn count_dropped(&mut self, count: u64) {
        self.header.dropped += count;
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.header.last
    }

    pub(crate) fn end(&self) -> Cursor {
        at(self.header.last + 1)
    }

    pub(crate) fn head(&self) -> Cursor {
        self.header.head
    }

    pub(crate) fn free(&mut self, head: Cursor) {
        self.header.head = head;
    }

    pub(crate) fn dropped_untold(&self) -> u64 {
        self.header.dropped.saturating_sub(self.header.dropped_acknowledged)
    }

    /// The count of drops that the batch which ends with `last_seq` carries.
    pub(crate) fn carry_dropped(&mut self, last_seq: u64) -> u64 {
        let header = &mut self.header;
        let sent_before = header.sent >= last_seq;
        header.sent = header.sent.max(last_seq);
        if !sent_before
            && header.carried.1 == header.dropped_acknowledged
            && header.dropped > header.carried.1
        {
            header.carried = (last_seq, header.dropped);
        }
        if last_seq >= header.carried.0 { header.carried.1 } else { header.dropped_acknowledged }
    }

    pub(crate) fn settle_dropped(&mut self, acknowledged: u64) {
        if self.header.carried.0 <= acknowledged {
            self.header.dropped_acknowledged = self.header.carried.1;
        }
    }

    /// Makes freed space usable again: the header reaches the disk first.
    pub(crate) fn upkeep(&mut self) {
        if self.header.head.seq > self.reusable {
            self.reusable = self.header.head.seq;
            self.older = vec![self.header];
        }
    }

    /// Up to `count` lines from `from` on, and where that ends.
    pub(crate) fn read(&self, from: Cursor, count: u64, lines: &mut Vec<u8>) -> Cursor {
        let to = (from.seq + count).min(self.header.last + 1).max(from.seq);
        for seq in from.seq..to {
            lines.extend_from_slice(self.records.get(&seq).map_or("null", String::as_str).as_bytes());
            lines.push(b'\n');
        }
        at(to)
    }

    /// What recovery finds after the power failed: records from `synced` on survive by chance, and so does a header.
    pub(crate) fn lose_power(&mut self, random: &mut Random, ledger: &mut Ledger) {
        self.older.push(self.header);
        let header = self.older[random.place(self.older.len())];
        let synced = random.between(self.header.last.saturating_sub(12), self.header.last);
        let survival = random.below(101);
        self.records.retain(|&seq, _| seq <= synced || random.chance(survival));
        let mut last = header.last;
        while self.records.contains_key(&(last + 1)) {
            last += 1;
        }
        let known: BTreeSet<u64> =
            (header.head.seq..=last).filter(|seq| !self.records.contains_key(seq)).collect();
        ledger.lose(&self.producer, last, &known, self.header.dropped - header.dropped);
        self.records.retain(|&seq, _| seq <= last);
        self.header = Header { last, ..header };
        self.older = vec![self.header];
        self.reusable = self.header.head.seq;
    }
}
