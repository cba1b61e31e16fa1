//! A producer of events that knows nothing but the public contract: the fields of an entry and JSON lines. It keeps
//! what it sent, so that it can send it again, with any overlap or gap.

use std::ops::RangeInclusive;

use redis::Connection;
use serde_json::Value;
use techsapo_shared::wire::{DEFAULT_STREAM, StreamKeys};

use crate::{RedisServer, wait};

/// A producer with a journal.
pub struct Producer {
    connection: Connection,
    keys: StreamKeys,
    id: String,
    lines: Vec<String>,
    oldest: u64,
    dropped: u64,
}

impl Producer {
    /// A new producer on the default stream.
    pub fn new(redis: &RedisServer) -> Self {
        Self::on(redis, DEFAULT_STREAM)
    }

    /// A new producer on the stream `key`.
    pub fn on(redis: &RedisServer, key: &str) -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        let (connection, keys) = (redis.connection(), StreamKeys::of(key));
        Self { connection, keys, id, lines: Vec::new(), oldest: 1, dropped: 0 }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sequence number of the last event that it wrote down.
    pub fn last_seq(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Events that it says it dropped (`x`), from the next batch on.
    pub fn says_dropped(&mut self, dropped: u64) {
        self.dropped = dropped;
    }

    /// From the next batch on it can no longer resend what lies before `oldest` (`h`).
    pub fn forgets_before(&mut self, oldest: u64) {
        self.oldest = oldest;
    }

    /// Opens a new connection, after Redis was restarted.
    pub fn reconnect(&mut self, redis: &RedisServer) {
        self.connection = redis.connection();
    }

    /// Writes events down without sending them. Returns their sequence numbers.
    pub fn note(&mut self, events: &[Value]) -> RangeInclusive<u64> {
        self.note_lines(events.iter().map(Value::to_string))
    }

    /// The same for lines that need not be events.
    pub fn note_lines(&mut self, lines: impl IntoIterator<Item = String>) -> RangeInclusive<u64> {
        let first = self.last_seq() + 1;
        self.lines.extend(lines);
        first..=self.last_seq()
    }

    /// Writes events down and sends them as one batch.
    pub fn send(&mut self, events: &[Value]) -> RangeInclusive<u64> {
        let range = self.note(events);
        self.send_range(range.clone());
        range
    }

    /// The same for lines that need not be events (`null` among them).
    pub fn send_lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) -> RangeInclusive<u64> {
        let range = self.note_lines(lines.into_iter().map(str::to_owned));
        self.send_range(range.clone());
        range
    }

    /// Sends a part of what was written down as one batch, whether or not it was sent before.
    pub fn send_range(&mut self, range: RangeInclusive<u64>) {
        self.put_range("*", range);
    }

    /// The same, as a stream would hold it that it came to at `unix_ms`. Nothing newer may be in there.
    pub fn send_range_at(&mut self, unix_ms: u64, range: RangeInclusive<u64>) {
        self.put_range(&format!("{unix_ms}-0"), range);
    }

    fn put_range(&mut self, entry: &str, range: RangeInclusive<u64>) {
        let (first, last) = (*range.start(), *range.end());
        let lines = &self.lines[first as usize - 1..last as usize];
        let data: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let numbers =
            [first, lines.len() as u64, self.oldest.min(first), self.dropped].map(|n| n.to_string());
        let [s, n, h, x] = &numbers;
        let id = self.id.clone();
        let fields = [("v", "1"), ("p", id.as_str()), ("s", s), ("n", n), ("h", h), ("x", x), ("d", &data)];
        self.put(entry, &fields);
    }

    /// Sends everything again that is not acknowledged, in batches of at most `size`, as a shipper does after a gap.
    pub fn rewind(&mut self, size: u64) {
        let mut next = self.acknowledged() + 1;
        while next <= self.last_seq() {
            let last = (next + size - 1).min(self.last_seq());
            self.send_range(next..=last);
            next = last + 1;
        }
    }

    /// Sends events as a producer without a journal does: no `p`, no `s`.
    pub fn send_unnumbered(&mut self, events: &[Value]) {
        let data: Vec<String> = events.iter().map(Value::to_string).collect();
        self.add(&[("v", "1"), ("n", &events.len().to_string()), ("d", &data.join("\n"))]);
    }

    /// Writes one entry as it is given. Returns its id.
    pub fn add(&mut self, fields: &[(&str, &str)]) -> String {
        self.put("*", fields)
    }

    fn put(&mut self, entry: &str, fields: &[(&str, &str)]) -> String {
        let mut command = redis::cmd("XADD");
        command.arg(&self.keys.stream).arg(entry).arg(fields);
        command.query(&mut self.connection).unwrap_or_else(|error| panic!("XADD: {error}"))
    }

    /// The last sequence number that the exporter has acknowledged; 0 if none.
    pub fn acknowledged(&mut self) -> u64 {
        let mut command = redis::cmd("HGET");
        command.arg(&self.keys.acks).arg(&self.id);
        command.query::<Option<u64>>(&mut self.connection).unwrap().unwrap_or(0)
    }

    /// Waits until everything is acknowledged.
    pub fn wait_acknowledged(&mut self) {
        let last = self.last_seq();
        wait::until_true("everything is acknowledged", || self.acknowledged() == last);
    }

    /// Waits until the exporter has run its script in Redis once more. It runs every second; the page that belongs to
    /// an acknowledgement is served before the next run.
    pub fn wait_next_publication(&mut self) {
        let owner = self.keys.owner.clone();
        let mut last = i64::MAX;
        wait::until_true("the exporter renews its ownership", || {
            let left: i64 = redis::cmd("PTTL").arg(&owner).query(&mut self.connection).unwrap();
            left > std::mem::replace(&mut last, left)
        });
    }
}
