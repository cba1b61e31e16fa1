//! What has to be sent of one journal file, and from where again: a value, without clock, file or network.
//!
//! In go what was read from Redis, what became of the batches, and the time. Out come where to read next, what may
//! be freed, and whether to look for the oldest batch. What must hold:
//!
//! * Batches are sent in order, each beginning where the one before ended, until something goes wrong; then again
//!   from behind what is acknowledged.
//! * What was acknowledged is never taken back, and nothing is freed that was not acknowledged.
//! * Nothing is sent on a new connection before the acknowledgement was read there once.

use std::{collections::VecDeque, time::Duration};

use techsapo_shared::wire::EntryId;

use crate::telemetry::journal::Cursor;

/// One producer's way to the exporter. Instants are durations since any fixed moment.
#[derive(Debug)]
pub struct Shipment {
    /// Everything up to this seq is durable at the exporter.
    acknowledged: u64,
    /// A boundary between batches that is not beyond the acknowledgement: the start of what can be resent.
    settled: Cursor,
    /// Where the next batch begins.
    next: Cursor,
    /// Batches that Redis took and the exporter has not acknowledged, oldest first.
    sent: VecDeque<Sent>,
    /// The acknowledgement was read on this connection.
    informed: bool,
    /// How long to wait for an acknowledgement before looking for the reason.
    stall: Duration,
    look_at: Duration,
    nonsense: Option<u64>,
}

#[derive(Debug)]
struct Sent {
    to: Cursor,
    id: EntryId,
}

/// What an acknowledgement that was read means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// There is none, or it is no higher than the last: no news. (A Redis that was flushed forgets what it knew.)
    NoNews,
    /// The exporter has more than before.
    Progress,
    /// It is beyond everything that was ever written, and is said so for the first time.
    Nonsense,
}

impl Shipment {
    /// A shipment of a file whose first record that is not free is at `head`.
    pub fn new(head: Cursor, stall: Duration) -> Self {
        Self {
            acknowledged: head.seq.saturating_sub(1),
            settled: head,
            next: head,
            sent: VecDeque::new(),
            informed: false,
            stall,
            look_at: Duration::ZERO,
            nonsense: None,
        }
    }

    /// Everything up to this seq is durable at the exporter.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Everything in front of this may be freed.
    pub fn settled(&self) -> Cursor {
        self.settled
    }

    /// Where the next batch begins, unless [`Self::overtaken`].
    pub fn next(&self) -> Cursor {
        self.next
    }

    /// Whether batches may be sent.
    pub fn may_send(&self) -> bool {
        self.informed
    }

    /// Whether anything that was sent waits for its acknowledgement.
    pub fn waits(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Something went wrong, or the connection is a new one: whatever was in flight is given up, and everything that
    /// is not acknowledged is sent again.
    pub fn disconnected(&mut self) {
        self.informed = false;
        self.rewind();
    }

    fn rewind(&mut self) {
        self.sent.clear();
        self.next = self.settled;
    }

    /// The acknowledgement was read; `last_written` is the newest record's seq.
    pub fn on_acknowledgement(
        &mut self,
        read: Option<u64>,
        last_written: u64,
        now: Duration,
    ) -> Acknowledgement {
        self.informed = true;
        let Some(read) = read.filter(|&read| read > self.acknowledged) else {
            return Acknowledgement::NoNews;
        };
        if read > last_written {
            let known = self.nonsense.replace(read) == Some(read);
            return if known { Acknowledgement::NoNews } else { Acknowledgement::Nonsense };
        }
        self.acknowledged = read;
        self.look_at = now + self.stall;
        let done = self.sent.partition_point(|batch| batch.to.seq <= read + 1);
        if let Some(batch) = self.sent.drain(..done).next_back() {
            self.settled = batch.to;
        }
        Acknowledgement::Progress
    }

    /// Whether the acknowledgement is ahead of where sending would go on (batches of an earlier run or connection
    /// arrived after all). Then the caller looks up where the first record behind it is, and [`Self::catch_up`]s.
    pub fn overtaken(&self) -> bool {
        self.next.seq <= self.acknowledged
    }

    /// Goes on at the first record that is not acknowledged. (Nothing waits then: what was sent was in front of it.)
    pub fn catch_up(&mut self, unacknowledged: Cursor) {
        self.next = unacknowledged;
        self.settled = unacknowledged;
    }

    /// Redis took the batch that reaches up to `to`.
    pub fn on_added(&mut self, to: Cursor, id: EntryId, now: Duration) {
        self.next = to;
        if to.seq <= self.acknowledged + 1 {
            // It had been sent before, and that was acknowledged in the same round.
            self.settled = to;
            return;
        }
        if self.sent.is_empty() {
            self.look_at = now + self.stall;
        }
        self.sent.push_back(Sent { to, id });
    }

    /// The entry to look for, when nothing was acknowledged for too long.
    pub fn looks_for(&self, now: Duration) -> Option<EntryId> {
        self.sent.front().filter(|_| now >= self.look_at).map(|batch| batch.id)
    }

    /// It was looked for: whether it is still in the stream, and how far the exporter has read. Says whether
    /// everything that is not acknowledged will be sent again.
    pub fn on_looked(&mut self, id: EntryId, there: bool, cursor: Option<EntryId>, now: Duration) -> bool {
        if self.sent.front().is_none_or(|batch| batch.id != id) {
            return false; // An acknowledgement in the same round settled it.
        }
        if there && cursor.is_none_or(|cursor| cursor < id) {
            // The exporter is slow or away. Looking is cheap, but not free.
            self.look_at = now + self.stall / 5;
            return false;
        }
        self.look_at = now + self.stall;
        self.rewind();
        true
    }
}

/// When to try again after failures: from 100 ms, doubling, to 2 s, each time a little differently, so that instances
/// do not come back in step.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(2);

    /// A sequence of its own for every `seed`.
    pub fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed | 1 }
    }

    /// It went well: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure: between three quarters of the step and the whole of it.
    pub fn after_failure(&mut self) -> Duration {
        let step = (Self::FIRST * 2u32.pow(self.failures.min(5))).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        // xorshift64: good enough to be out of step.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        step - step.mul_f64((self.random % 256) as f64 / 1024.0)
    }
}

#[cfg(test)]
mod tests;
