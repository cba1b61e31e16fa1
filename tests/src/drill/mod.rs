//! Drills: something breaks on a real stack under load, is mended by whom it is meant to be mended by, and what that took is
//! written down beside what the documents allow. Each drill is one entry of [`DRILLS`]; `scripts/drill.sh` runs them, and the
//! tests run them shortened.
//!
//! A drill measures times and never fails for one that is too long: [`Line::kept`] says whether the promise was kept. It fails
//! (panics) when facts are lost or something does not come back at all.

mod certificates;
mod disk_full;
mod failover;
mod partition;
mod report;
mod restore;

pub use report::{Line, Report};

/// A drill: the name that it is asked for by, what it shows in one line, and what runs it.
pub struct Drill {
    /// As in `scripts/drill.sh NAME`.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// Runs it to its end.
    pub run: fn(&mut Report),
}

/// All drills, in the order in which they run.
pub const DRILLS: &[Drill] = &[
    Drill {
        name: "failover",
        shows: "each part is killed in turn, and its stand-in takes over",
        run: failover::run,
    },
    Drill {
        name: "partition",
        shows: "the network between the programs and Redis goes away, and comes back",
        run: partition::run,
    },
    Drill { name: "disk-full", shows: "a disk is full, and has room again later", run: disk_full::run },
    Drill {
        name: "certificates",
        shows: "all certificates, keys and the authority are changed under load; a bad certificate is tried",
        run: certificates::run,
    },
    Drill { name: "restore", shows: "everything is lost, and restored from a backup", run: restore::run },
];
