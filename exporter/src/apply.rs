//! What an entry of the stream does to the state. Pure: (state, entry) → state, and nothing else.
//!
//! Here it is decided which of an entry's events are new (each producer numbers its events; the state knows the next number
//! that it expects); [`event`] says what one event of each type counts.

mod event;
#[cfg(test)]
mod tests;

use techsapo_shared::wire::{Batch, EntryId, HeaderError, Line, LineError, Origin, decode_line};

use crate::catalog::FamilyId;
use crate::series::{Key, ValueId};
use crate::state::{Producer, State};

/// How far an event's time may lie after its entry's: a producer's clock may be a little ahead.
const MAX_AHEAD_MS: u64 = 60_000;

/// Something that could not be read, to be kept for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Why.
    pub reason: String,
    /// The producer, if the entry named one.
    pub producer: Option<String>,
    /// The event's line; for a refused batch its events as they came.
    pub data: Vec<u8>,
}

/// Why one event does not count.
enum Refused {
    Line(LineError),
    Overflow,
}

impl Refused {
    /// Place in [`crate::catalog::EVENT_REJECTS`].
    fn reason(&self) -> ValueId {
        match self {
            Self::Line(LineError::Syntax) => 0,
            Self::Line(LineError::UnknownType) => 1,
            Self::Line(LineError::Schema) => 2,
            Self::Line(LineError::OutOfBounds(_)) => 3,
            Self::Overflow => 4,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Line(error) => error.to_string(),
            Self::Overflow => "a sum would exceed 64 bits".to_owned(),
        }
    }
}

impl State {
    /// Takes one entry: counts what is new in it, and moves the stream's cursor past it. What could not be read is
    /// added to `quarantine`.
    pub fn apply_entry(
        &mut self,
        stream: &str,
        id: EntryId,
        batch: Result<Batch<'_>, (HeaderError, &[u8])>,
        quarantine: &mut Vec<Quarantined>,
    ) {
        self.revision += 1;
        let place = self.streams.keys().position(|key| key == stream).unwrap_or(0) as u32;
        let above_floor = match self.streams.get_mut(stream) {
            Some(state) => {
                let above = id > state.floor;
                state.cursor = id;
                state.floor = state.floor.max(id);
                above
            }
            None => true,
        };
        match batch {
            Err((error, data)) => self.refuse_batch(error, data, quarantine),
            Ok(batch) => match batch.origin {
                Some(origin) => self.apply_numbered(place, id, &origin, &batch, quarantine),
                None if above_floor => {
                    self.tally(FamilyId::TelemetryUnnumbered, &[], batch.count);
                    batch.lines().for_each(|line| self.apply_line(id, None, line, quarantine));
                }
                None => self.tally(FamilyId::TelemetryDuplicates, &[], batch.count),
            },
        }
    }

    fn refuse_batch(&mut self, error: HeaderError, data: &[u8], quarantine: &mut Vec<Quarantined>) {
        let reason = match error {
            HeaderError::Version => 0,
            HeaderError::Missing(_) => 1,
            HeaderError::Malformed(_) => 2,
            HeaderError::Nonsense(_) => 3,
        };
        self.tally(FamilyId::TelemetryRejectedBatches, &[reason], 1);
        quarantine.push(Quarantined { reason: error.to_string(), producer: None, data: data.to_vec() });
    }

    fn apply_numbered(
        &mut self,
        stream: u32,
        id: EntryId,
        origin: &Origin<'_>,
        batch: &Batch<'_>,
        quarantine: &mut Vec<Quarantined>,
    ) {
        let first_expected = if self.adopts { origin.oldest_seq } else { 1 };
        let mut producer = self.producers.get(origin.producer).copied().unwrap_or(Producer {
            expected: first_expected,
            dropped: 0,
            last_entry_ms: 0,
            stream,
        });
        producer.stream = stream;
        producer.last_entry_ms = producer.last_entry_ms.max(id.ms);
        let dropped = origin.dropped.saturating_sub(producer.dropped);
        producer.dropped += dropped;
        let lost = origin.oldest_seq.saturating_sub(producer.expected);
        producer.expected += lost;
        let gap = origin.first_seq > producer.expected;
        let old = producer.expected.saturating_sub(origin.first_seq).min(batch.count);
        if !gap {
            producer.expected = producer.expected.max(origin.first_seq + batch.count);
        }
        match self.producers.get_mut(origin.producer) {
            Some(known) => *known = producer,
            None => {
                self.producers.insert(origin.producer.to_owned(), producer);
            }
        }
        self.tally(FamilyId::TelemetryDropped, &[], dropped);
        self.tally(FamilyId::TelemetryLost, &[], lost);
        if gap {
            self.tally(FamilyId::TelemetryGaps, &[], 1);
            return;
        }
        self.tally(FamilyId::TelemetryDuplicates, &[], old);
        for line in batch.lines().skip(old as usize) {
            self.apply_line(id, Some(origin.producer), line, quarantine);
        }
    }

    fn apply_line(
        &mut self,
        id: EntryId,
        producer: Option<&str>,
        line: &[u8],
        quarantine: &mut Vec<Quarantined>,
    ) {
        let refused = match decode_line(line) {
            Ok(Line::Lost) => return self.tally(FamilyId::TelemetryLost, &[], 1),
            Ok(Line::Event(event)) => {
                let t_ms = event.t().min(id.ms.saturating_add(MAX_AHEAD_MS));
                match self.apply_event(&event, t_ms) {
                    Ok(()) => return,
                    Err(refused) => refused,
                }
            }
            Err(error) => Refused::Line(error),
        };
        self.tally(FamilyId::TelemetryRejected, &[refused.reason()], 1);
        quarantine.push(Quarantined {
            reason: refused.describe(),
            producer: producer.map(str::to_owned),
            data: line.to_vec(),
        });
    }

    /// Adds to a counter of the pipeline's own. None of them can reach 64 bits, and none has an open label.
    fn tally(&mut self, family: FamilyId, values: &[ValueId], amount: u64) {
        if amount > 0 {
            self.series.count(family, Key::new(values), amount, usize::MAX);
        }
    }

    fn count(&mut self, family: FamilyId, values: &[ValueId], amount: u64) {
        self.series.count(family, Key::new(values), amount, self.series_limit);
    }

    fn observe(&mut self, family: FamilyId, values: &[ValueId], value: u64) {
        self.series.observe(family, Key::new(values), value, self.series_limit);
    }

    /// Whether every sum has room for what an event is about to add. (Counts, and scores of at most a million, cannot
    /// fill 64 bits in any time.)
    fn has_room(&self, additions: &[(FamilyId, u64)]) -> Result<(), Refused> {
        let fits = additions.iter().all(|&(family, amount)| self.series.has_room(family, amount));
        if fits { Ok(()) } else { Err(Refused::Overflow) }
    }
}
