//! The first page of a journal file: what the file is, written once under a checksum, and the words that move.
//!
//! All words stand in the page's first 512 bytes, so that a disk writes them together. The writer has a
//! line of the processor's cache to itself.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::ring::{Cursor, Format};

/// Bytes in front of the ring.
pub(super) const HEADER_BYTES: usize = 4096;

const MAGIC: [u8; 8] = *b"TSJOURNL";

// Immutable, in bytes.
const AT_FORMAT: usize = 8;
const AT_CRC: usize = 12;
const AT_CAPACITY: usize = 16;
const AT_ID: usize = 24;
const AT_CREATED: usize = 40;
const IMMUTABLE_BYTES: usize = 48;

// Mutable, in words.
const TAIL_SEQ: usize = 8;
const TAIL_POS: usize = 9;
const HEAD_POS: usize = 16;
const HEAD_SEQ: usize = 17;
// The audit writer's cursor; a seq of zero: the file is not audited.
const AUDIT_POS: usize = 18;
const AUDIT_SEQ: usize = 19;
const DROPPED: usize = 24;
const DROPPED_ACKNOWLEDGED: usize = 25;
const CARRIED_SEQ: usize = 26;
const CARRIED_DROPPED: usize = 27;
const SENT_SEQ: usize = 28;
/// Words that a file must have for its header to be usable.
pub(super) const HEADER_WORDS: usize = HEADER_BYTES / size_of::<u64>();

/// What a file says about itself, once and for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// How its records are written.
    pub(super) format: Format,
    /// The producer id.
    pub(super) id: Uuid,
    /// Bytes of the ring.
    pub(super) capacity: u64,
    /// When the run began, Unix milliseconds.
    pub(super) created_ms: u64,
}

/// Why a file's header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    /// Too short, no magic, or a checksum that does not match.
    #[error("its header is damaged")]
    Damaged,
    /// Another version's format.
    #[error("it is of format {0}, and this version reads formats up to {latest}", latest = Format::CURRENT as u32)]
    Format(u32),
    /// Cursors that contradict each other.
    #[error("the cursors in its header contradict each other")]
    Cursors,
}

impl Identity {
    /// The beginning of a header page.
    pub(super) fn encode(&self) -> [u8; IMMUTABLE_BYTES] {
        let mut bytes = [0; IMMUTABLE_BYTES];
        bytes[..AT_FORMAT].copy_from_slice(&MAGIC);
        bytes[AT_FORMAT..AT_CRC].copy_from_slice(&(self.format as u32).to_le_bytes());
        bytes[AT_CAPACITY..AT_ID].copy_from_slice(&self.capacity.to_le_bytes());
        bytes[AT_ID..AT_CREATED].copy_from_slice(self.id.as_bytes());
        bytes[AT_CREATED..].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = checksum(&bytes);
        bytes[AT_CRC..AT_CAPACITY].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the beginning of a header page.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; IMMUTABLE_BYTES] = bytes.first_chunk().ok_or(HeaderError::Damaged)?;
        if bytes[..AT_FORMAT] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        // The format before the checksum: another format may compute its checksum over something else.
        let number = u32::from_le_bytes(part(bytes, AT_FORMAT));
        let format = Format::numbered(number).ok_or(HeaderError::Format(number))?;
        if u32::from_le_bytes(part(bytes, AT_CRC)) != checksum(bytes) {
            return Err(HeaderError::Damaged);
        }
        let capacity = u64::from_le_bytes(part(bytes, AT_CAPACITY));
        if capacity == 0 || !capacity.is_multiple_of(HEADER_BYTES as u64) {
            return Err(HeaderError::Damaged);
        }
        let created_ms = u64::from_le_bytes(part(bytes, AT_CREATED));
        Ok(Self { format, id: Uuid::from_bytes(part(bytes, AT_ID)), capacity, created_ms })
    }
}

fn checksum(bytes: &[u8; IMMUTABLE_BYTES]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..AT_CRC]);
    hasher.update(&bytes[AT_CAPACITY..]);
    hasher.finalize()
}

fn part<const N: usize>(bytes: &[u8; IMMUTABLE_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

/// The words that move.
#[derive(Clone, Copy)]
pub(super) struct Header<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Header<'a> {
    /// The header of a mapped file of at least [`HEADER_WORDS`].
    pub(super) fn new(words: &'a [AtomicU64]) -> Self {
        Self { words: &words[..HEADER_WORDS] }
    }

    /// Publishes the end of the newest record. Whoever is killed between the two stores leaves a position that is
    /// one record behind; recovery looks beyond it.
    pub(super) fn publish(self, end: Cursor) {
        self.words[TAIL_SEQ].store(end.seq - 1, Ordering::Release);
        self.words[TAIL_POS].store(end.pos, Ordering::Release);
    }

    /// The exporter has everything in front of `head`. The position goes first: a seq that is too low costs nothing, for the
    /// exporter knows what it already has, whereas one that is too high would hide a loss.
    pub(super) fn acknowledge(self, head: Cursor) {
        self.words[HEAD_POS].store(head.pos, Ordering::Release);
        self.words[HEAD_SEQ].store(head.seq, Ordering::Release);
    }

    /// Seq of the newest event.
    pub(super) fn last_seq(self) -> u64 {
        self.words[TAIL_SEQ].load(Ordering::Acquire)
    }

    /// The end of the newest record, as published.
    pub(super) fn end(self) -> Cursor {
        Cursor { pos: self.words[TAIL_POS].load(Ordering::Acquire), seq: self.last_seq().saturating_add(1) }
    }

    /// The first record that the exporter has not acknowledged.
    pub(super) fn head(self) -> Cursor {
        let pos = self.words[HEAD_POS].load(Ordering::Acquire);
        Cursor { pos, seq: self.words[HEAD_SEQ].load(Ordering::Acquire) }
    }

    /// The audit has everything in front of `at`. In this order for the same reason as in [`Self::acknowledge`]: the
    /// audit knows what it already has.
    pub(super) fn pass_audit(self, at: Cursor) {
        self.words[AUDIT_POS].store(at.pos, Ordering::Release);
        self.words[AUDIT_SEQ].store(at.seq, Ordering::Release);
    }

    /// The first record that the audit has not passed; nothing in a file that is not audited.
    pub(super) fn audited(self) -> Option<Cursor> {
        let pos = self.words[AUDIT_POS].load(Ordering::Acquire);
        let seq = self.words[AUDIT_SEQ].load(Ordering::Acquire);
        (seq > 0).then_some(Cursor { pos, seq })
    }

    /// The first record that somebody still needs: the lower of the two cursors.
    pub(super) fn needed(self) -> Cursor {
        let head = self.head();
        self.audited()
            .map_or(head, |audited| Cursor { pos: head.pos.min(audited.pos), seq: head.seq.min(audited.seq) })
    }

    /// Whether the cursors can be those of one ring.
    pub(super) fn check(self, capacity: u64) -> Result<(), HeaderError> {
        let end = self.end();
        let aligned = |pos: u64| pos.is_multiple_of(size_of::<u64>() as u64);
        let in_ring = |at: Cursor| {
            end.pos.checked_sub(at.pos).is_some_and(|used| used <= capacity)
                // A kill between the two stores of a cursor leaves a seq that is behind, but never by more than the
                // ring holds, and each event in it takes a byte at least.
                && end.seq.checked_sub(at.seq).is_some_and(|events| events <= capacity)
                && aligned(at.pos)
                && at.seq > 0
        };
        let sound = in_ring(self.head())
            && self.audited().is_none_or(in_ring)
            && aligned(end.pos)
            && end.seq < u64::MAX / 2
            && end.pos < u64::MAX / 2;
        if sound { Ok(()) } else { Err(HeaderError::Cursors) }
    }

    /// Events dropped by this run, with those that it inherited.
    pub(super) fn dropped(self) -> u64 {
        self.words[DROPPED].load(Ordering::Acquire)
    }

    /// Counts dropped events.
    pub(super) fn add_dropped(self, count: u64) {
        self.words[DROPPED].fetch_add(count, Ordering::AcqRel);
    }

    /// How many of the drops an acknowledged batch carried.
    pub(super) fn dropped_acknowledged(self) -> u64 {
        self.words[DROPPED_ACKNOWLEDGED].load(Ordering::Acquire)
    }

    /// Sets [`Self::dropped_acknowledged`].
    pub(super) fn acknowledge_dropped(self, count: u64) {
        self.words[DROPPED_ACKNOWLEDGED].store(count, Ordering::Release);
    }

    /// The count of drops that a batch which ends with `last_seq` carries: `dropped` if a count may be begun with it.
    ///
    /// What a batch carries depends on its last seq alone, however often and in whatever pieces it is sent; else an
    /// acknowledgement would not say which count arrived. So a new count begins with a record that was never sent
    /// before, and only when the one before is acknowledged. Whichever store a kill prevents, this stays true.
    pub(super) fn carry(self, last_seq: u64, dropped: u64) -> u64 {
        let sent_before = self.words[SENT_SEQ].fetch_max(last_seq, Ordering::AcqRel) >= last_seq;
        let carried = self.words[CARRIED_DROPPED].load(Ordering::Acquire);
        let told = self.dropped_acknowledged();
        if !sent_before && carried == told && dropped > carried {
            self.words[CARRIED_SEQ].store(last_seq, Ordering::Release);
            self.words[CARRIED_DROPPED].store(dropped, Ordering::Release);
        }
        let begins = self.words[CARRIED_SEQ].load(Ordering::Acquire);
        if last_seq >= begins { self.words[CARRIED_DROPPED].load(Ordering::Acquire) } else { told }
    }

    /// The newest count that a batch carried, if that batch is among what was acknowledged.
    pub(super) fn carried(self, acknowledged: u64) -> Option<u64> {
        let seq = self.words[CARRIED_SEQ].load(Ordering::Acquire);
        (seq <= acknowledged).then(|| self.words[CARRIED_DROPPED].load(Ordering::Acquire))
    }
}
