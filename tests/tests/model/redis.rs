//! Redis as far as the protocol sees it: a stream with ids, acknowledgements, a cursor and an owner's key for each
//! shard, and everything that can happen to them.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use techsapo_exporter::acknowledge::{OWNER_LEASE, Published};
use techsapo_shared::wire::EntryId;

use techsapo_tests::random::Random;

/// Name and value of an entry's fields.
pub(crate) type Fields = Rc<Vec<(&'static str, Vec<u8>)>>;

/// A command was refused, or no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) &'static str);

/// What the exporter's script is given.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) owner: String,
    /// Whether another owner is respected.
    pub(crate) guarded: bool,
    pub(crate) cursor: EntryId,
    pub(crate) acknowledged: Vec<(String, u64)>,
}

/// What a connection that was given up had sent, and Redis reads later.
#[derive(Debug, Clone)]
pub(crate) enum Late {
    Add(usize, Fields),
    Publish(usize, Publication),
}

/// One stream and the keys around it.
#[derive(Debug, Clone, Default)]
struct Shard {
    /// Absent as long as nothing was ever added.
    stream: Option<Stream>,
    acknowledged: BTreeMap<String, u64>,
    cursor: Option<EntryId>,
    /// State id, and when it lapses by Redis' clock.
    owner: Option<(String, u64)>,
}

#[derive(Debug, Clone, Default)]
struct Stream {
    entries: VecDeque<(EntryId, Fields)>,
    last: EntryId,
}

/// A Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) up: bool,
    pub(crate) out_of_memory: bool,
    /// Connections of an earlier life are dead.
    pub(crate) life: u64,
    shards: Vec<Shard>,
    /// What the disk holds: a restart may go back to it.
    saved: Vec<Shard>,
    late: Vec<Late>,
    /// How far its clock was set back.
    back_ms: u64,
    now_ms: u64,
}

impl Redis {
    pub(crate) fn new(streams: usize) -> Self {
        let shards = vec![Shard::default(); streams];
        Self {
            up: true,
            out_of_memory: false,
            life: 1,
            saved: shards.clone(),
            shards,
            late: Vec::new(),
            back_ms: 0,
            now_ms: 0,
        }
    }

    pub(crate) fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    fn clock(&self) -> u64 {
        self.now_ms - self.back_ms
    }

    /// `XADD`.
    pub(crate) fn add(&mut self, shard: usize, fields: Fields) -> Result<EntryId, Failed> {
        if self.out_of_memory {
            return Err(Failed("OOM command not allowed"));
        }
        let clock = self.clock();
        let stream = self.shards[shard].stream.get_or_insert_default();
        let last = stream.last;
        let id = if clock > last.ms {
            EntryId { ms: clock, seq: 0 }
        } else {
            EntryId { seq: last.seq + 1, ..last }
        };
        stream.last = id;
        stream.entries.push_back((id, fields));
        Ok(id)
    }

    /// `XREAD`: at most `count` entries behind `after`.
    pub(crate) fn read(&self, shard: usize, after: EntryId, count: usize) -> Vec<(EntryId, Fields)> {
        let stream = self.shards[shard].stream.iter();
        stream.flat_map(|stream| &stream.entries).filter(|(id, _)| *id > after).take(count).cloned().collect()
    }

    /// Id of the newest entry that the stream ever had; nothing if there is no stream.
    pub(crate) fn newest(&self, shard: usize) -> Option<EntryId> {
        self.shards[shard].stream.as_ref().map(|stream| stream.last)
    }

    /// Whether this entry is in the stream.
    pub(crate) fn holds(&self, shard: usize, id: EntryId) -> bool {
        self.shards[shard].stream.iter().flat_map(|stream| &stream.entries).any(|(known, _)| *known == id)
    }

    /// Entries in the stream.
    pub(crate) fn length(&self, shard: usize) -> usize {
        self.shards[shard].stream.as_ref().map_or(0, |stream| stream.entries.len())
    }

    pub(crate) fn acknowledged(&self, shard: usize, producer: &str) -> Option<u64> {
        self.shards[shard].acknowledged.get(producer).copied()
    }

    pub(crate) fn all_acknowledged(&self, shard: usize) -> &BTreeMap<String, u64> {
        &self.shards[shard].acknowledged
    }

    pub(crate) fn cursor(&self, shard: usize) -> Option<EntryId> {
        self.shards[shard].cursor
    }

    /// Id of the state that owns the stream, unless its claim has lapsed.
    pub(crate) fn owner(&self, shard: usize) -> Option<String> {
        let (owner, lapses) = self.shards[shard].owner.as_ref()?;
        (*lapses > self.clock()).then(|| owner.clone())
    }

    /// The exporter's script, line by line. Out of memory refuses what follows unless a write has passed before, and
    /// `XTRIM` always passes.
    pub(crate) fn publish(&mut self, place: usize, told: &Publication) -> Result<Published, Failed> {
        let other = self.owner(place).filter(|owner| *owner != told.owner);
        if let Some(owner) = other.filter(|_| told.guarded) {
            return Ok(Published::OwnedBy(owner));
        }
        let clock = self.clock();
        let shard = &mut self.shards[place];
        let (mut newest, mut left, mut wrote) = (EntryId::ZERO, 0, false);
        if let Some(stream) = &mut shard.stream {
            newest = stream.last;
            if newest >= told.cursor {
                stream.entries.retain(|(id, _)| *id > told.cursor);
                wrote = true;
            }
            left = stream.entries.len() as u64;
        }
        if self.out_of_memory && !wrote {
            return Err(Failed("OOM command not allowed"));
        }
        shard.owner = Some((told.owner.clone(), clock + OWNER_LEASE.as_millis() as u64));
        shard.cursor = Some(told.cursor);
        for (producer, seq) in &told.acknowledged {
            let known = shard.acknowledged.entry(producer.clone()).or_insert(*seq);
            *known = (*known).max(*seq);
        }
        Ok(Published::Done { left, newest })
    }

    /// A connection is given up, and what it had sent arrives some time.
    pub(crate) fn will_arrive(&mut self, late: Late) {
        self.late.push(late);
    }

    /// One of the late ones arrives now. Says if there was one.
    pub(crate) fn late_arrival(&mut self, random: &mut Random) -> bool {
        if self.late.is_empty() || !self.up {
            return false;
        }
        // Nobody waits for an answer any more.
        match self.late.remove(random.place(self.late.len())) {
            Late::Add(shard, fields) => drop(self.add(shard, fields)),
            Late::Publish(shard, told) => drop(self.publish(shard, &told)),
        }
        true
    }

    /// `FLUSHALL`.
    pub(crate) fn flush(&mut self) {
        self.shards.fill(Shard::default());
    }

    /// `DEL` of one stream: the keys around it stay.
    pub(crate) fn delete_stream(&mut self, shard: usize) {
        self.shards[shard].stream = None;
    }

    /// `XTRIM` by a person: the oldest `count` entries go.
    pub(crate) fn trim(&mut self, shard: usize, count: usize) {
        if let Some(stream) = &mut self.shards[shard].stream {
            stream.entries.drain(..count.min(stream.entries.len()));
        }
    }

    /// Everything so far reaches the disk.
    pub(crate) fn save(&mut self) {
        self.saved = self.shards.clone();
    }

    pub(crate) fn set_clock_back(&mut self, by_ms: u64) {
        self.back_ms = (self.back_ms + by_ms).min(self.now_ms);
    }

    /// The process ends, and every connection with it.
    pub(crate) fn stop(&mut self) {
        self.up = false;
        self.life += 1;
        self.late.clear();
    }

    /// It comes back with all it had, or with what the disk holds.
    pub(crate) fn start(&mut self, tail_lost: bool) {
        self.up = true;
        if tail_lost {
            self.shards = self.saved.clone();
        } else {
            self.save();
        }
    }
}
