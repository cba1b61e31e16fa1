//! What is simulated: the rules of the protocol, each of which can be left out, and what may go wrong.

/// The protocol's rules. Leaving one out shows that the model notices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// The shipper looks for its oldest batch when nothing is acknowledged, and goes back if it left the stream.
    pub(crate) resends_what_left_the_stream: bool,
    /// A run never goes on with an earlier run's file, whose last numbers may have been given out and forgotten.
    pub(crate) a_file_for_every_run: bool,
    /// A checkpoint is written twice.
    pub(crate) two_slots: bool,
    /// What Redis is told is durable.
    pub(crate) durable_before_acknowledged: bool,
    /// What is served is durable.
    pub(crate) durable_before_served: bool,
    /// An exporter neither begins nor acknowledges while another state's claim stands.
    pub(crate) respects_the_owner: bool,
    /// A claim that was seen has to be gone for a while: Redis may have forgotten it, and its holder has not.
    pub(crate) waits_out_a_claim: bool,
    /// A state begun anew expects what follows the acknowledgements.
    pub(crate) begins_behind_what_is_acknowledged: bool,
    /// The reader goes back to the stream's start on a new connection and when the stream was replaced.
    pub(crate) reads_again_from_the_start: bool,
}

impl Rules {
    /// Slots that a commit writes, one after the other.
    pub(crate) fn slots(&self) -> usize {
        if self.two_slots { 2 } else { 1 }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            resends_what_left_the_stream: true,
            a_file_for_every_run: true,
            two_slots: true,
            durable_before_acknowledged: true,
            durable_before_served: true,
            respects_the_owner: true,
            waits_out_a_claim: true,
            begins_behind_what_is_acknowledged: true,
            reads_again_from_the_start: true,
        }
    }
}

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Connections are cut, replies are lost, commands arrive late.
    Connections,
    /// Redis refuses what needs memory.
    OutOfMemory,
    /// Redis restarts with all that it had.
    Restarts,
    /// Redis restarts without its last writes, or without anything.
    LosesTail,
    /// `FLUSHALL`.
    Flush,
    /// A person trims or deletes the stream.
    Trim,
    /// Redis' clock is set back.
    Clock,
    /// The exporter is killed.
    ExporterKilled,
    /// The checkpoint's disk is full for a while.
    DiskFull,
    /// One slot goes bad.
    SlotDamaged,
    /// Both slots go bad, are deleted, or are restored from a backup.
    StateLost,
    /// The app is killed.
    AppKilled,
    /// The app's machine loses power.
    PowerLoss,
    /// A second exporter on the same store.
    Standby,
    /// An exporter with a store of its own.
    Stray,
}

use Fault::{
    AppKilled, Clock, Connections, DiskFull, ExporterKilled, Flush, LosesTail, OutOfMemory, PowerLoss,
    Restarts, SlotDamaged, Standby, StateLost, Stray, Trim,
};

/// Through all of these nothing is lost, doubled, stuck or decreasing, and the state goes on.
pub(crate) const SURVIVED: &[Fault] = &[
    Connections,
    OutOfMemory,
    Restarts,
    LosesTail,
    Flush,
    Trim,
    Clock,
    ExporterKilled,
    DiskFull,
    SlotDamaged,
    AppKilled,
    PowerLoss,
    Standby,
];

/// After these the counters may begin at zero; every event is still in exactly one of the states.
pub(crate) const BEGUN_ANEW: &[Fault] = &[
    Connections,
    OutOfMemory,
    Restarts,
    Trim,
    ExporterKilled,
    DiskFull,
    SlotDamaged,
    StateLost,
    AppKilled,
    Standby,
];

/// What surrounds a stray exporter, which does no harm.
pub(crate) const WITH_A_STRAY: &[Fault] = &[
    Connections,
    OutOfMemory,
    Trim,
    ExporterKilled,
    DiskFull,
    SlotDamaged,
    AppKilled,
    PowerLoss,
    Standby,
    Stray,
    Flush,
    Restarts,
    LosesTail,
];

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) faults: &'static [Fault],
    pub(crate) rules: Rules,
}

impl Plan {
    /// These faults, and the protocol as it is.
    pub(crate) fn through(faults: &'static [Fault]) -> Self {
        Self { faults, rules: Rules::default() }
    }
}
