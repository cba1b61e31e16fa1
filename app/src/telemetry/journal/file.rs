//! One run's file: a header page and a ring of records.
//!
//! A file is written by the run that created it and by no other; a later run only drains it. What must hold:
//!
//! * A record is published by its bytes, then the tail's seq, then the tail's position. A `kill -9` at any
//!   instruction loses nothing that was published, for the kernel owns the pages.
//! * A record is free when the exporter has acknowledged it and, in a file that is audited, the audit has passed it.
//! * Freed space is written again only when the header that frees it is on the disk ([`RunFile::upkeep`]). After a
//!   power loss the head may be older than it was, and still nothing behind it is overwritten.
//! * The ring's pages are set up for writing ahead of the tail and taken out of the resident set behind it, both by
//!   the shipper's thread, so that appending meets no page fault and a large ring costs little memory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustix::fs::{FallocateFlags, FlockOperation};
use techsapo_shared::wire;
use uuid::Uuid;

use super::{
    header::{HEADER_BYTES, HEADER_WORDS, Header, HeaderError, Identity},
    mapping::Mapping,
    residence::{Change, Residence},
    ring::{Cursor, Draft, Format, MAX_RECORD_BYTES, Ring, Step},
};

/// Ending of a run's file.
pub(super) const SUFFIX: &str = ".journal";
/// Ending of a file that never became one.
pub(super) const UNFINISHED_SUFFIX: &str = ".journal.new";

/// Why an earlier run's file is not drained.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableFile {
    /// Its run is still alive.
    #[error("its run is still alive")]
    InUse,
    /// Its header cannot be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It cannot be opened, locked or mapped.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}

/// One run's file.
pub(crate) struct RunFile {
    path: PathBuf,
    identity: Identity,
    producer: String,
    mapping: Mapping,
    /// Open for as long as this run lives: it holds the lock.
    file: File,
    /// The end of the newest record. The lock orders the appenders.
    tail: Mutex<Tail>,
    /// Up to where freed space may be written again: the head that is known to be on the disk.
    reusable: AtomicU64,
    oversized: AtomicU64,
    residence: Residence,
}

struct Tail {
    end: Cursor,
    /// A file that was drained or deleted takes no more.
    open: bool,
}

impl RunFile {
    /// Creates this run's file. It appears under its name only when it is whole and on the disk.
    /// In one that is `audited`, records also wait for the audit.
    pub(super) fn create(folder: &Path, capacity: u64, audited: bool) -> io::Result<Self> {
        let id = Uuid::new_v4();
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let created_ms = u64::try_from(created.as_millis()).unwrap_or(u64::MAX);
        let identity = Identity { format: Format::CURRENT, id, capacity, created_ms };
        let path = folder.join(format!("{id}{SUFFIX}"));
        let unfinished = folder.join(format!("{id}{UNFINISHED_SUFFIX}"));

        let file = write_empty(&unfinished, &identity).inspect_err(|_| {
            // Nothing stands in it; what cannot be deleted is deleted by the next run.
            let _ = std::fs::remove_file(&unfinished);
        })?;
        lock(&file)?;
        let run = Self::map(path, identity, file)?;
        let end = Cursor { pos: 0, seq: 1 };
        run.header().publish(end);
        run.header().acknowledge(end);
        if audited {
            run.header().pass_audit(end);
        }
        run.tail().open = true;
        run.tail().end = end;
        run.mapping.flush(0..HEADER_BYTES)?;
        std::fs::rename(&unfinished, &run.path)?;
        File::open(folder)?.sync_all()?;
        run.mapping.populate(0..HEADER_BYTES);
        run.upkeep()?;
        Ok(run)
    }

    /// Opens an earlier run's file, to drain it. Whatever its bytes are, this returns.
    pub(super) fn recover(path: &Path) -> Result<Self, UnusableFile> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        match lock(&file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(UnusableFile::InUse),
            locked => locked?,
        }
        if file.metadata()?.len() < HEADER_BYTES as u64 {
            return Err(HeaderError::Damaged.into());
        }
        let mut page = [0; HEADER_BYTES];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut page, 0)?;
        let run = Self::map(path.to_owned(), Identity::decode(&page)?, file)?;
        run.header().check(run.identity.capacity)?;
        run.find_ends();
        run.give_back_free_space();
        Ok(run)
    }

    fn map(path: PathBuf, identity: Identity, file: File) -> io::Result<Self> {
        let mapping = Mapping::new(&file)?;
        Ok(Self {
            path,
            identity,
            producer: identity.id.to_string(),
            mapping,
            file,
            tail: Mutex::new(Tail { end: Cursor::default(), open: false }),
            reusable: AtomicU64::new(0),
            oversized: AtomicU64::new(0),
            residence: Residence::default(),
        })
    }

    /// Finds out where this file's records begin and end. The header may be older than the records (power loss), by
    /// one record (a kill within [`Header::publish`]), or newer (power loss again: then they are read as lost).
    fn find_ends(&self) {
        let (header, ring) = (self.header(), self.ring());
        let (published, needed) = (header.end(), header.needed());
        let limit = needed.pos + self.identity.capacity;
        let head = mend(ring, header.head(), limit);
        let mut end = match ring.seq_at(published.pos, limit) {
            // A kill within `publish` leaves the position behind the seq.
            Some(seq) if seq >= head.seq => ring.follow(Cursor { pos: published.pos, seq }, limit),
            _ => published,
        };
        end.seq = end.seq.max(published.seq);
        header.publish(end);
        header.acknowledge(head);
        if let Some(audited) = header.audited() {
            header.pass_audit(mend(ring, audited, limit));
        }
        self.reusable.store(needed.pos, Ordering::Release);
        self.tail().end = end;
        self.residence.set_of_a_drained(needed.pos..end.pos);
    }

    /// An earlier run's file is never written again: what is free goes back to the disk, so that a process that dies
    /// again and again does not fill it with rings.
    fn give_back_free_space(&self) {
        let (needed, end) = (self.needed(), self.end());
        for hole in self.bytes_of(end.pos..needed.pos + self.identity.capacity) {
            let page = HEADER_BYTES as u64;
            let start = (hole.start as u64).next_multiple_of(page);
            let length = (hole.end as u64 / page * page).saturating_sub(start);
            if length > 0 {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                // Not every file system can; then the space comes back when the file is deleted.
                let _ = rustix::fs::fallocate(&self.file, flags, start, length);
            }
        }
    }

    /// The producer id.
    pub(crate) fn producer(&self) -> &str {
        &self.producer
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// When its run began, Unix milliseconds.
    pub(super) fn created_ms(&self) -> u64 {
        self.identity.created_ms
    }

    /// Bytes that it can hold.
    pub(crate) fn capacity(&self) -> u64 {
        self.identity.capacity
    }

    /// Most bytes of events that a record may have.
    pub(super) fn max_record_bytes(&self) -> usize {
        MAX_RECORD_BYTES.min(usize::try_from(self.identity.capacity / 4).unwrap_or(usize::MAX))
    }

    /// Appends the events in `draft`, all or none, or counts them as dropped. It is finished, and has at most
    /// [`Self::max_record_bytes`]. Makes no system call unless another thread is appending at this very moment and takes unusually long.
    pub(super) fn append(&self, draft: &mut Draft) {
        let events = draft.events() as u64;
        let mut tail = self.tail();
        let end = tail.end.pos + draft.size();
        if !tail.open || end - self.reusable.load(Ordering::Acquire) > self.identity.capacity {
            self.header().add_dropped(events);
            return;
        }
        self.ring().write(tail.end, draft);
        tail.end = Cursor { pos: end, seq: tail.end.seq + events };
        self.header().publish(tail.end);
    }

    /// Behind the newest record.
    pub(crate) fn end(&self) -> Cursor {
        self.tail().end
    }

    /// Seq of the newest event.
    pub(crate) fn last_seq(&self) -> u64 {
        self.header().last_seq()
    }

    /// The first record that the exporter has not acknowledged.
    pub(crate) fn head(&self) -> Cursor {
        self.header().head()
    }

    /// The exporter has the records in front of `head`. They are free when the audit has passed them too.
    pub(crate) fn acknowledge(&self, head: Cursor) {
        self.header().acknowledge(head);
    }

    /// The first record that the audit has not passed; nothing where there is nothing to audit.
    pub(crate) fn audited(&self) -> Option<Cursor> {
        self.header().audited()
    }

    /// The audit has the records in front of `at`, durably.
    pub(crate) fn pass_audit(&self, at: Cursor) {
        self.header().pass_audit(at);
    }

    /// Events that the audit has not passed.
    pub(crate) fn unaudited_events(&self) -> u64 {
        self.audited().map_or(0, |audited| (self.last_seq() + 1).saturating_sub(audited.seq))
    }

    /// The first record that somebody still needs.
    pub(super) fn needed(&self) -> Cursor {
        self.header().needed()
    }

    /// Whether nobody needs any of its records any more.
    pub(super) fn is_done(&self) -> bool {
        self.needed().seq >= self.end().seq
    }

    /// Shows `see` the events from `from` on with their seqs, nothing for one whose record went bad, until it says no; then those that
    /// stand in the same record are shown still. Returns where it stopped: behind the last one shown.
    pub(crate) fn scan(&self, from: Cursor, mut see: impl FnMut(u64, Option<&[u8]>) -> bool) -> Cursor {
        self.residence.touch(from.pos);
        let (ring, end) = (self.ring(), self.end());
        let (mut at, mut events) = (from, Vec::new());
        loop {
            events.clear();
            let (next, more) = match ring.step(at, end, &mut events) {
                Step::Events(next) => {
                    let lines = (at.seq..).zip(events.split(|&byte| byte == b'\n'));
                    (next, lines.fold(true, |more, (seq, event)| see(seq, Some(event)) && more))
                }
                Step::Lost(next) => (next, see(at.seq, None)),
                Step::End => return at,
            };
            at = next;
            if !more {
                return at;
            }
        }
    }

    /// Reads events from `from` on as lines, up to about `max_bytes` but at least one record, and returns where it
    /// stopped. An event whose record went bad is the line that says so.
    pub(crate) fn read(&self, from: Cursor, max_bytes: usize, lines: &mut Vec<u8>) -> Cursor {
        self.residence.touch(from.pos);
        let (ring, end) = (self.ring(), self.end());
        let mut at = from;
        loop {
            let before = lines.len();
            let next = match ring.step(at, end, lines) {
                Step::Events(next) => next,
                Step::Lost(next) => {
                    lines.extend_from_slice(wire::LOST_LINE);
                    next
                }
                Step::End => break,
            };
            lines.push(b'\n');
            let too_much = lines.len() > max_bytes || next.seq - from.seq > wire::MAX_BATCH_EVENTS;
            if too_much && at != from {
                lines.truncate(before);
                break;
            }
            at = next;
        }
        at
    }

    /// All events that are not free, as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let (mut at, mut lines) = (self.needed(), Vec::new());
        loop {
            let next = self.read(at, usize::MAX, &mut lines);
            if next == at {
                break;
            }
            at = next;
        }
        String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect()
    }

    /// Goes from `from` to the record that holds the event `seq`.
    pub(crate) fn reach(&self, from: Cursor, seq: u64) -> Cursor {
        self.residence.touch(from.pos);
        let (ring, end) = (self.ring(), self.end());
        let (mut at, mut scratch) = (from, Vec::new());
        while let Step::Events(next) | Step::Lost(next) = ring.step(at, end, &mut scratch)
            && next.seq <= seq
        {
            at = next;
            scratch.clear();
        }
        at
    }

    /// Bytes of records that are not free.
    pub(super) fn used_bytes(&self) -> u64 {
        // The cursors are read first: they never pass the end.
        let needed = self.header().needed();
        self.header().end().pos.saturating_sub(needed.pos)
    }

    /// Events dropped, with those inherited.
    pub(crate) fn dropped(&self) -> u64 {
        self.header().dropped()
    }

    /// Counts an event that never became part of a record.
    pub(super) fn count_dropped(&self) {
        self.header().add_dropped(1);
    }

    /// Counts an event that is too long for any record.
    pub(super) fn count_oversized(&self) {
        self.oversized.fetch_add(1, Ordering::Relaxed);
        self.count_dropped();
    }

    /// Events that the exporter has not acknowledged.
    pub(super) fn pending_events(&self) -> u64 {
        let head = self.head();
        (self.last_seq() + 1).saturating_sub(head.seq)
    }

    /// Events dropped because they were too long for any journal.
    pub(crate) fn oversized(&self) -> u64 {
        self.oversized.load(Ordering::Relaxed)
    }

    /// How many drops the batch that ends with `last_seq` tells the exporter of. Asked when it is about to be sent.
    pub(crate) fn carry_dropped(&self, last_seq: u64) -> u64 {
        self.header().carry(last_seq, self.dropped())
    }

    /// Notes which drops the exporter knows, now that it has acknowledged this much.
    pub(crate) fn settle_dropped(&self, acknowledged: u64) {
        if let Some(carried) = self.header().carried(acknowledged) {
            self.header().acknowledge_dropped(carried);
        }
    }

    /// Drops that no acknowledged batch carried.
    pub(super) fn dropped_untold(&self) -> u64 {
        self.header().dropped().saturating_sub(self.header().dropped_acknowledged())
    }

    /// Takes over the drops that no acknowledged batch of `earlier` carried. A kill between the two stores loses the
    /// count; the other way round it would count twice, and a file system has nothing that would do both at once.
    pub(super) fn inherit_dropped(&self, earlier: &Self) {
        let untold = earlier.dropped_untold();
        earlier.header().acknowledge_dropped(earlier.header().dropped());
        self.header().add_dropped(untold);
    }

    /// Lets nothing more in if nobody needs any of it, and says whether that is so for the first time.
    pub(super) fn close_if_done(&self) -> bool {
        let mut tail = self.tail();
        let done = self.header().needed().seq >= tail.end.seq && self.dropped_untold() == 0;
        let first = done && tail.open;
        tail.open &= !done;
        first
    }

    /// What the shipper's thread does for the appenders: makes freed space durable and writable again, sets up pages
    /// ahead of the tail and releases those behind it. Cheap when there is nothing to do.
    pub(crate) fn upkeep(&self) -> io::Result<()> {
        let (needed, end) = (self.needed().pos, self.end().pos);
        let capacity = self.identity.capacity;
        let reusable = self.reusable.load(Ordering::Acquire);
        let short = end - reusable > capacity / 4 * 3;
        if needed > reusable && (needed - reusable >= capacity / 8 || short) {
            self.mapping.flush(0..HEADER_BYTES)?;
            self.reusable.store(needed, Ordering::Release);
        }
        let room = self.reusable.load(Ordering::Acquire) + capacity;
        let Change { release, prepare } = self.residence.follow(end, room);
        let bytes_of =
            |positions: Option<Range<u64>>| positions.into_iter().flat_map(|some| self.bytes_of(some));
        bytes_of(release).for_each(|bytes| self.mapping.release(bytes));
        bytes_of(prepare).for_each(|bytes| self.mapping.populate(bytes));
        Ok(())
    }

    /// Where positions stand in the file: in one piece, or in two where they go around the ring's end. What a file
    /// that was cut short does not have is left out.
    fn bytes_of(&self, positions: Range<u64>) -> [Range<usize>; 2] {
        let capacity = self.identity.capacity;
        let length = positions.end.saturating_sub(positions.start).min(capacity);
        let start = positions.start % capacity;
        let first = start..(start + length).min(capacity);
        let second = 0..(start + length).saturating_sub(capacity);
        let exists = self.mapping.words().len() * size_of::<u64>();
        [first, second].map(|piece| {
            let in_file = |at: u64| (HEADER_BYTES + at as usize).min(exists);
            in_file(piece.start)..in_file(piece.end)
        })
    }

    /// The oldest head that a power loss can leave.
    #[cfg(test)]
    pub(super) fn durable_head(&self) -> u64 {
        self.reusable.load(Ordering::Acquire)
    }

    fn header(&self) -> Header<'_> {
        Header::new(self.mapping.words())
    }

    fn ring(&self) -> Ring<'_> {
        let words = &self.mapping.words()[HEADER_WORDS..];
        Ring::new(words, self.identity.capacity, self.identity.format)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cursor as it was meant. A kill between its two stores leaves the seq behind; a record at its place knows better. Where there is
/// none, the seq stays behind: the events up to the end are told as lost, and who has them takes no notice. It may also be that they
/// went bad, and that a part of them was acknowledged as lost before this run: then the others are lost indeed.
fn mend(ring: Ring<'_>, at: Cursor, limit: u64) -> Cursor {
    let seq = ring.seq_at(at.pos, limit).map_or(at.seq, |seq| seq.max(at.seq));
    Cursor { seq, ..at }
}

/// Writes a file that holds no record, with all its space reserved: a full disk is an error here and now, not a signal
/// in the middle of an append.
fn write_empty(path: &Path, identity: &Identity) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let length = HEADER_BYTES as u64 + identity.capacity;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length) {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
        }
        reserved => reserved?,
    }
    io::Seek::rewind(&mut file)?;
    file.write_all(&identity.encode())?;
    file.sync_all()?;
    Ok(file)
}

/// Locks `file` for as long as it is open, or fails at once with [`io::ErrorKind::WouldBlock`].
pub(super) fn lock(file: &File) -> io::Result<()> {
    Ok(rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)?)
}
