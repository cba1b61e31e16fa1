//! Records in a ring of words: how they are written, read, and found again when some went bad.
//!
//! A position is a byte offset that only grows; where it stands in the ring is `position % capacity`. A record holds
//! the events that were stated together, one or several, a line each with a newline between them: `length u24, further
//! events u8, checksum u32, seq u64, bytes`, filled up with zeros to whole words. `seq` is the first event's; the checksum
//! covers bytes, lengths and seq. (In [`Format::SingleEvents`] the length had 32 bits, of which it never used more than 24: the same
//! record, with no further events and another checksum.) A record that reaches the ring's end goes on at its
//! start: words are copied one by one anyway, so that neither a marker nor a gap is needed, and every byte of the ring is used.
//!
//! A record is told from what an earlier lap left behind by its seq, which never comes twice in a file. The bytes
//! of events can never be taken for a record: they have no byte below that of a newline, and a seq of eight such bytes would be
//! beyond any that was given out.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes in front of a record's own.
pub(super) const RECORD_HEADER: usize = 16;
/// Most bytes of events that a record may hold.
pub(super) const MAX_RECORD_BYTES: usize = 256 << 10;
/// Most events that a record may hold.
pub(super) const MAX_RECORD_EVENTS: usize = 64;

const WORD: u64 = size_of::<u64>() as u64;
/// Bits of a record's length; above them stands how many events follow the first.
const LENGTH_BITS: u32 = 24;

const _: () =
    assert!(MAX_RECORD_BYTES < 1 << LENGTH_BITS && MAX_RECORD_EVENTS <= 1 << (u32::BITS - LENGTH_BITS));

/// How a file's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One event each, checked by the CRC-32 of Ethernet.
    SingleEvents = 1,
    /// Several, checked by CRC-32C, which processors have an instruction for: between the other work of a request, the tables
    /// that the other one is computed with are never in the cache.
    Groups = 2,
}

impl Format {
    /// What this version writes. It reads all.
    pub(super) const CURRENT: Self = Self::Groups;

    /// The format of this number, if there is one.
    pub(super) fn numbered(number: u32) -> Option<Self> {
        [Self::SingleEvents, Self::Groups].into_iter().find(|format| *format as u32 == number)
    }
}

/// A place between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Where the next record begins.
    pub pos: u64,
    /// Sequence number of its first event.
    pub seq: u64,
}

/// What stands at a cursor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A record; its events were appended to the caller's buffer, a newline between them. The cursor is behind it.
    Events(Cursor),
    /// An event that was published and cannot be read any more. The cursor is behind it.
    Lost(Cursor),
    /// Nothing: the end was reached.
    End,
}

/// Bytes that a record takes in the ring.
pub(super) fn record_size(bytes: usize) -> u64 {
    ((RECORD_HEADER + bytes) as u64).next_multiple_of(WORD)
}

/// A record in the making. Everything that does not depend on its seq is done before the writer's lock is taken.
#[derive(Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    events: usize,
    /// Length and number of events, as they stand in front.
    head: u32,
    crc: u32,
}

impl Draft {
    /// Begins anew, with no event.
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(RECORD_HEADER, 0);
        self.events = 0;
    }

    /// Adds what `write` appends to the buffer that it is given. There may be [`MAX_RECORD_EVENTS`]. After an error the draft is of no
    /// use any more.
    pub(super) fn add<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        if self.events > 0 {
            self.bytes.push(b'\n');
        }
        self.events += 1;
        write(&mut self.bytes)
    }

    /// Nothing is added any more.
    pub(super) fn finish(&mut self) {
        self.head = self.length() as u32 | (self.events.saturating_sub(1) as u32) << LENGTH_BITS;
        self.crc = crc32c::crc32c(&self.bytes[RECORD_HEADER..]);
        self.bytes.resize(self.bytes.len().next_multiple_of(WORD as usize), 0);
    }

    /// How many events there are.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// Bytes of the events, as long as it is not finished.
    pub(super) fn length(&self) -> usize {
        self.bytes.len() - RECORD_HEADER
    }

    /// Bytes that the record takes in the ring, once it is finished.
    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn seal(&mut self, seq: u64) -> &[u8] {
        let crc = crc32c::crc32c_append(self.crc, &place(self.head, seq));
        self.bytes[0..4].copy_from_slice(&self.head.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&seq.to_le_bytes());
        &self.bytes
    }
}

/// What the checksum covers besides the events.
fn place(head: u32, seq: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&head.to_le_bytes());
    bytes[4..].copy_from_slice(&seq.to_le_bytes());
    bytes
}

fn checksum(format: Format, events: &[u8], head: u32, seq: u64) -> u32 {
    match format {
        Format::Groups => crc32c::crc32c_append(crc32c::crc32c(events), &place(head, seq)),
        Format::SingleEvents => {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(events);
            hasher.update(&place(head, seq));
            hasher.finalize()
        }
    }
}

/// The ring. `words` may be fewer than the capacity says when the file was cut short: what is missing cannot be read.
#[derive(Clone, Copy)]
pub(super) struct Ring<'a> {
    words: &'a [AtomicU64],
    capacity: u64,
    format: Format,
}

impl<'a> Ring<'a> {
    /// A ring of `capacity` bytes in `words`; what a file has beyond that is not part of it.
    pub(super) fn new(words: &'a [AtomicU64], capacity: u64, format: Format) -> Self {
        let length = words.len().min((capacity / WORD) as usize);
        Self { words: &words[..length], capacity, format }
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
        if !found.is_some_and(|record| record.first >= at.seq && record.behind.seq <= end.seq) {
            out.truncate(start);
            at.pos = self.find(at, end).unwrap_or(end.pos);
            found = self.record(at.pos, end.pos, out);
        }
        match found {
            Some(record) if record.first == at.seq && record.behind.seq <= end.seq => {
                Step::Events(record.behind)
            }
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
            if record.first != at.seq {
                break;
            }
            at = record.behind;
            out.clear();
        }
        at
    }

    /// Seq of the first event of the whole record at `pos`, if there is one.
    pub(super) fn seq_at(&self, pos: u64, limit: u64) -> Option<u64> {
        self.record(pos, limit, &mut Vec::new()).map(|record| record.first)
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
        let word = self.word(pos)?;
        let (head, crc) = (word as u32, (word >> u32::BITS) as u32);
        let (length, further) = ((head & ((1 << LENGTH_BITS) - 1)) as usize, head >> LENGTH_BITS);
        let end = pos + record_size(length);
        if length > MAX_RECORD_BYTES || end > limit {
            return None;
        }
        let first = self.word(pos + WORD)?;
        let start = out.len();
        self.read(pos + RECORD_HEADER as u64, length, out)?;
        let whole = checksum(self.format, &out[start..], head, first) == crc;
        if !whole {
            out.truncate(start);
        }
        let behind = Cursor { pos: end, seq: first.saturating_add(1 + u64::from(further)) };
        whole.then_some(Record { first, behind })
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
    /// Seq of its first event.
    first: u64,
    behind: Cursor,
}
