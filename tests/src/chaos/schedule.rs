//! What goes wrong, and when: derived from the seed, the length of the run and the exporters' store alone.
//!
//! Faults of different parts overlap freely; a part that is already in trouble is left alone until it is over. Every
//! kind of fault comes once before any comes again.

use std::fmt;

use crate::random::Random;

use super::Store;

/// The two apps, by number.
pub(super) const APPS: usize = 2;
/// Ways to Redis: one for each app, one for the exporters.
pub(super) const LINKS: usize = APPS + 1;
/// The exporters' way.
pub(super) const EXPORTERS_LINK: usize = APPS;
/// The exporters' way to the database that keeps their state, if one does.
pub(super) const DATABASE_LINK: usize = LINKS;
/// Nothing happens so soon, nor so late.
const QUIET_MS: u64 = 1_500;

/// A kind of trouble, with whom it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`, and started again later.
    KillApp(usize),
    /// Stopped where it stands for a while.
    PauseApp(usize),
    /// Its machine loses power: pages of the journal that no one synced are older than they were, or gone.
    PowerLossApp(usize),
    /// `kill -9`, and started again later.
    KillExporter(usize),
    /// Asked to end, and started again later.
    StopExporter(usize),
    /// Stopped where it stands for a while.
    PauseExporter(usize),
    /// Their machine loses power: what was not yet synced of a checkpoint is gone.
    PowerLossExporters,
    /// One slot of the checkpoint is cut or changed while no exporter runs.
    DamageSlot,
    /// Both slots are: counting begins anew.
    DamageBothSlots,
    /// The checkpoint's disk is full for a while.
    FullDisk,
    /// The database is killed, and started again later.
    KillDatabase,
    /// Stopped where it stands for a while.
    PauseDatabase,
    /// The state in the database is cut or changed: counting begins anew.
    DamageRow,
    /// Redis is killed and reads its appendonly file again, which has lost its end.
    RestartRedis,
    /// Redis is killed and has lost everything.
    LoseRedis,
    /// Stopped where it stands for a while.
    PauseRedis,
    /// Somebody empties Redis.
    FlushAll,
    /// Somebody trims the stream by hand.
    Trim,
    /// Redis refuses whatever takes memory, for a while.
    OutOfMemory,
    /// Redis' ids are of the next hour for a while, and then of the present again.
    ClockAhead,
    /// Every connection of a way is cut.
    Cut(usize),
    /// A connection is cut in the middle of a command.
    CutMidway(usize),
    /// Nobody comes through for a while.
    Refuse(usize),
    /// Everything takes longer for a while.
    Slow(usize),
    /// Commands are carried out, but their replies do not come back, for a while.
    Unanswered(usize),
}

/// A part that only one fault at a time strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    App(usize),
    Exporter(usize),
    Disk,
    Database,
    Redis,
    Link(usize),
}

/// A fault and its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    /// Milliseconds since the load began.
    pub(super) at_ms: u64,
    /// How long it lasts; 0 for what is over at once.
    pub(super) lasts_ms: u64,
    /// What it is.
    pub(super) fault: Fault,
    /// For what is drawn when it strikes.
    pub(super) dice: u64,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7.3} s  {:?}", self.at_ms as f64 / 1e3, self.fault)?;
        if self.lasts_ms > 0 { write!(f, " for {} ms", self.lasts_ms) } else { Ok(()) }
    }
}

/// A whole run's troubles.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// One or two, with the same checkpoints.
    pub(super) exporters: usize,
    /// In the order of their times.
    pub(super) troubles: Vec<Trouble>,
}

impl Schedule {
    /// The schedule of a seed.
    pub(super) fn of(seed: u64, seconds: u64, store: Store) -> Self {
        let mut dice = Random::new(seed);
        let exporters = 1 + dice.place(2);
        let mut schedule = Self { exporters, troubles: Vec::new() };
        let mut deck = Vec::new();
        let mut busy: Vec<(Part, u64)> = Vec::new();
        let mut at_ms = QUIET_MS;
        while at_ms + QUIET_MS < seconds * 1_000 {
            if deck.is_empty() {
                deck = Fault::deck(exporters, store, &mut dice);
            }
            busy.retain(|&(_, until)| until > at_ms);
            let free = |fault: &Fault| {
                fault.parts(exporters).iter().all(|part| busy.iter().all(|(busy, _)| busy != part))
            };
            if let Some(place) = deck.iter().position(free) {
                let fault = deck.remove(place);
                let (low, high) = fault.lasts_ms();
                let lasts_ms = dice.between(low, high);
                // And a moment to recover in.
                let until = at_ms + lasts_ms + dice.between(200, 2_000);
                busy.extend(fault.parts(exporters).into_iter().map(|part| (part, until)));
                schedule.troubles.push(Trouble { at_ms, lasts_ms, fault, dice: dice.number() });
            }
            at_ms += dice.between(100, 900);
        }
        schedule
    }
}

impl Fault {
    /// Every kind once, in a random order, each striking one of those that it can.
    fn deck(exporters: usize, store: Store, dice: &mut Random) -> Vec<Self> {
        let mut deck = vec![
            Self::KillApp(dice.place(APPS)),
            Self::PauseApp(dice.place(APPS)),
            Self::PowerLossApp(dice.place(APPS)),
            Self::KillExporter(dice.place(exporters)),
            Self::KillExporter(dice.place(exporters)),
            Self::StopExporter(dice.place(exporters)),
            Self::PauseExporter(dice.place(exporters)),
        ];
        deck.extend_from_slice(match store {
            Store::Folder => {
                &[Self::PowerLossExporters, Self::DamageSlot, Self::DamageBothSlots, Self::FullDisk]
            }
            Store::Mysql => &[
                Self::KillDatabase,
                Self::PauseDatabase,
                Self::DamageRow,
                Self::Cut(DATABASE_LINK),
                Self::CutMidway(DATABASE_LINK),
                Self::Refuse(DATABASE_LINK),
                Self::Slow(DATABASE_LINK),
                Self::Unanswered(DATABASE_LINK),
            ],
        });
        deck.extend([
            Self::RestartRedis,
            Self::LoseRedis,
            Self::PauseRedis,
            Self::FlushAll,
            Self::Trim,
            Self::OutOfMemory,
            Self::ClockAhead,
            Self::Cut(dice.place(LINKS)),
            Self::CutMidway(dice.place(LINKS)),
            Self::Refuse(dice.place(LINKS)),
            Self::Slow(dice.place(LINKS)),
            Self::Unanswered(dice.place(LINKS)),
        ]);
        for last in (1..deck.len()).rev() {
            deck.swap(last, dice.place(last + 1));
        }
        deck
    }

    /// How long it lasts, at least and at most.
    fn lasts_ms(self) -> (u64, u64) {
        match self {
            Self::KillApp(_) | Self::PowerLossApp(_) => (50, 1_500),
            Self::KillExporter(_) | Self::StopExporter(_) => (50, 2_000),
            Self::PowerLossExporters | Self::DamageSlot | Self::DamageBothSlots => (50, 2_000),
            Self::KillDatabase | Self::DamageRow => (50, 2_000),
            Self::RestartRedis | Self::LoseRedis => (50, 2_000),
            Self::PauseApp(_) | Self::PauseExporter(_) | Self::PauseRedis | Self::PauseDatabase => {
                (200, 6_000)
            }
            Self::FullDisk | Self::OutOfMemory | Self::ClockAhead => (500, 4_000),
            Self::Refuse(_) | Self::Slow(_) | Self::Unanswered(_) => (200, 4_000),
            Self::FlushAll | Self::Trim | Self::Cut(_) | Self::CutMidway(_) => (0, 0),
        }
    }

    fn parts(self, exporters: usize) -> Vec<Part> {
        let all_exporters = (0..exporters).map(Part::Exporter);
        match self {
            Self::KillApp(app) | Self::PauseApp(app) | Self::PowerLossApp(app) => vec![Part::App(app)],
            Self::KillExporter(exporter) | Self::StopExporter(exporter) | Self::PauseExporter(exporter) => {
                vec![Part::Exporter(exporter)]
            }
            Self::FullDisk => vec![Part::Disk],
            Self::PowerLossExporters | Self::DamageSlot => all_exporters.chain([Part::Disk]).collect(),
            // What Redis knows of acknowledgements is all that is left, so nothing may happen to it meanwhile: the
            // promise holds for the loss of either of the two, not for that of both at once.
            Self::DamageBothSlots => {
                all_exporters.chain([Part::Disk, Part::Redis, Part::Link(EXPORTERS_LINK)]).collect()
            }
            Self::DamageRow => {
                let ways = [Part::Link(EXPORTERS_LINK), Part::Link(DATABASE_LINK)];
                all_exporters.chain([Part::Database, Part::Redis]).chain(ways).collect()
            }
            Self::KillDatabase | Self::PauseDatabase => vec![Part::Database],
            Self::RestartRedis
            | Self::LoseRedis
            | Self::PauseRedis
            | Self::FlushAll
            | Self::Trim
            | Self::OutOfMemory
            | Self::ClockAhead => vec![Part::Redis],
            Self::Cut(link)
            | Self::CutMidway(link)
            | Self::Refuse(link)
            | Self::Slow(link)
            | Self::Unanswered(link) => vec![Part::Link(link)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_schedule_and_another_seed_does_not() {
        let text = |seed| format!("{:?}", Schedule::of(seed, 60, Store::Folder).troubles);
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn no_part_is_struck_by_two_faults_at_once() {
        for (seed, store) in (0..50).flat_map(|seed| [(seed, Store::Folder), (seed, Store::Mysql)]) {
            let schedule = Schedule::of(seed, 120, store);
            assert!(schedule.troubles.len() > 100, "{}", schedule.troubles.len());
            for (place, trouble) in schedule.troubles.iter().enumerate() {
                let parts = trouble.fault.parts(schedule.exporters);
                let later = &schedule.troubles[place + 1..];
                let during = later.iter().filter(|later| later.at_ms <= trouble.at_ms + trouble.lasts_ms);
                for other in during {
                    let shared =
                        other.fault.parts(schedule.exporters).iter().any(|part| parts.contains(part));
                    assert!(!shared, "{trouble} and {other}");
                }
            }
        }
    }
}
