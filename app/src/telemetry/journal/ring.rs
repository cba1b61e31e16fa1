//! Records in a ring of words: how they are written, read, and found again when some went bad.
//!
//! A position is a byte offset that only grows; where it stands in the ring is `position % capacity`. A record is
//! `length u32, crc32 u32, seq u64, bytes`, filled up with zeros to whole words; the checksum covers bytes, length
//! and seq. A record that reaches the ring's end goes on at its start: words are copied one by one anyway, so that
//! neither a marker nor a gap is needed, and every byte of the ring is used.
//!
//! A record is told from what an earlier lap left behind by its seq, which never comes twice in a file. The bytes
//! of an event can never be taken for a record: JSON has no byte below 0x20, and a seq of eight such bytes would be
//! beyond any that was given out.

use std::sync::atomic::{AtomicU64, Ordering};

use crc32fast::Hasher;

/// Bytes in front of a record's own.
pub(super) const RECORD_HEADER: usize = 16;
/// Longest event that a record may hold.
pub(super) const MAX_EVENT_BYTES: usize = 256 << 10;

const WORD: u64 = size_of::<u64>() as u64;

/// A place between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Where the next record begins.
    pub pos: u64,
    /// Its sequence number.
    pub seq: u64,
}

/// What stands at a cursor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An event; its bytes were appended to the caller's buffer. The cursor is behind it.
    Event(Cursor),
    /// An event that was published and cannot be read any more. The cursor is behind it.
    Lost(Cursor),
    /// Nothing: the end was reached.
    End,
}

/// Bytes that a record takes in the ring.
pub(super) fn record_size(event_bytes: usize) -> u64 {
    ((RECORD_HEADER + event_bytes) as u64).next_multiple_of(WORD)
}

/// A record in the making. Everything that does not depend on its seq is done before the writer's lock is taken.
#[derive(Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    event_bytes: usize,
    event_crc: u32,
}

impl Draft {
    /// Begins anew with what `write` appends to the buffer that it is given.
    pub(super) fn fill<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.bytes.clear();
        self.bytes.resize(RECORD_HEADER, 0);
        write(&mut self.bytes)?;
        self.event_bytes = self.bytes.len() - RECORD_HEADER;
        self.event_crc = crc32fast::hash(&self.bytes[RECORD_HEADER..]);
        self.bytes.resize(self.bytes.len().next_multiple_of(WORD as usize), 0);
        Ok(())
    }

    /// Length of the event.
    pub(super) fn event_bytes(&self) -> usize {
        self.event_bytes
    }

    /// Bytes that the record takes in the ring.
    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn seal(&mut self, seq: u64) -> &[u8] {
        let length = self.event_bytes as u32;
        self.bytes[0..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&checksum(self.event_crc, length, seq).to_le_bytes());
        self.bytes[8..16].copy_from_slice(&seq.to_le_bytes());
        &self.bytes
    }
}

fn checksum(event_crc: u32, length: u32, seq: u64) -> u32 {
    let mut hasher = Hasher::new_with_initial(event_crc);
    hasher.update(&length.to_le_bytes());
    hasher.update(&seq.to_le_bytes());
    hasher.finalize()
}

/// The ring. `words` may be fewer than the capacity says when the file was cut short: what is missing cannot be read.
#[derive(Clone, Copy)]
pub(super) struct Ring<'a> {
    words: &'a [AtomicU64],
    capacity: u64,
}

impl<'a> Ring<'a> {
    /// A ring of `capacity` bytes in `words`; what a file has beyond that is not part of it.
    pub(super) fn new(words: &'a [AtomicU64], capacity: u64) -> Self {
        let length = words.len().min((capacity / WORD) as usize);
        Self { words: &words[..length], capacity }
    }

    /// Writes `draft` as the record `at`. The caller has made sure that nothing needed stands there.
    pub(super) fn write(&self, at: Cursor, draft: &mut Draft) {
        let (record, _) = draft.seal(at.seq).as_chunks::<{ WORD as usize }>();
        let to_the_end = &self.words[self.index(at.pos)..];
        let (first, rest) = record.split_at(record.len().min(to_the_end.len()));
        for (words, bytes) in [(to_the_end, first), (self.words, rest)] {
            for (word, bytes) in words.iter().zip(bytes) {
                word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
            }
        }
    }

    /// What stands at `at`, if it is before `end`. Says `Lost` once for every seq that has no readable record.
    pub(super) fn step(&self, mut at: Cursor, end: Cursor, out: &mut Vec<u8>) -> Step {
        if at.seq >= end.seq {
            return Step::End;
        }
        let start = out.len();
        let mut found = self.record(at.pos, end.pos, out);
        if !found.is_some_and(|record| record.seq >= at.seq && record.seq < end.seq) {
            out.truncate(start);
            at.pos = self.find(at, end).unwrap_or(end.pos);
            found = self.record(at.pos, end.pos, out);
        }
        match found {
            Some(record) if record.seq == at.seq => Step::Event(Cursor { pos: record.end, seq: at.seq + 1 }),
            _ => {
                out.truncate(start);
                Step::Lost(Cursor { pos: at.pos, seq: at.seq + 1 })
            }
        }
    }

    /// Follows the records from `at` as far as they are whole and consecutive, at most up to `limit`.
    pub(super) fn follow(&self, mut at: Cursor, limit: u64) -> Cursor {
        let mut out = Vec::new();
        while let Some(record) = self.record(at.pos, limit, &mut out) {
            if record.seq != at.seq {
                break;
            }
            at = Cursor { pos: record.end, seq: at.seq + 1 };
            out.clear();
        }
        at
    }

    /// Seq of the whole record at `pos`, if there is one.
    pub(super) fn seq_at(&self, pos: u64, limit: u64) -> Option<u64> {
        self.record(pos, limit, &mut Vec::new()).map(|record| record.seq)
    }

    /// The first whole record behind `at.pos` whose seq is one of those looked for.
    #[cold]
    fn find(&self, at: Cursor, end: Cursor) -> Option<u64> {
        let mut out = Vec::new();
        let mut pos = at.pos + WORD;
        while pos + RECORD_HEADER as u64 <= end.pos {
            let plausible = self.word(pos + WORD).is_some_and(|seq| seq >= at.seq && seq < end.seq);
            if plausible && self.record(pos, end.pos, &mut out).is_some() {
                return Some(pos);
            }
            pos += WORD;
        }
        None
    }

    fn record(&self, pos: u64, limit: u64, out: &mut Vec<u8>) -> Option<Record> {
        let head = self.word(pos)?;
        let (length, crc) = (head as u32, (head >> 32) as u32);
        let end = pos + record_size(length as usize);
        if length as usize > MAX_EVENT_BYTES || end > limit {
            return None;
        }
        let seq = self.word(pos + WORD)?;
        let start = out.len();
        self.read(pos + RECORD_HEADER as u64, length as usize, out)?;
        let whole = checksum(crc32fast::hash(&out[start..]), length, seq) == crc;
        if !whole {
            out.truncate(start);
        }
        whole.then_some(Record { seq, end })
    }

    /// Appends `length` bytes from `pos` on; nothing is appended where some of them are missing.
    fn read(&self, pos: u64, length: usize, out: &mut Vec<u8>) -> Option<()> {
        let words = length.div_ceil(WORD as usize);
        // In one piece, or in two where it goes around the ring's end; what a file that was cut short lacks is in neither.
        let to_the_end = (self.capacity / WORD) as usize - self.index(pos);
        let first = self.words.get(self.index(pos)..)?.get(..words.min(to_the_end))?;
        let second = self.words.get(..words - first.len())?;
        let start = out.len();
        out.resize(start + words * WORD as usize, 0);
        let (bytes, _) = out[start..].as_chunks_mut::<{ WORD as usize }>();
        let (before, behind) = bytes.split_at_mut(first.len());
        for (bytes, words) in [(before, first), (behind, second)] {
            for (bytes, word) in bytes.iter_mut().zip(words) {
                *bytes = word.load(Ordering::Relaxed).to_le_bytes();
            }
        }
        out.truncate(start + length);
        Some(())
    }

    fn word(&self, pos: u64) -> Option<u64> {
        self.words.get(self.index(pos)).map(|word| word.load(Ordering::Relaxed))
    }

    fn index(&self, pos: u64) -> usize {
        ((pos % self.capacity) / WORD) as usize
    }
}

#[derive(Clone, Copy)]
struct Record {
    seq: u64,
    end: u64,
}
