//! Backups by the scripts, on real servers: what was lost comes back, the counters stay exact, and what is broken is found.
//!
//! * `whole`: everything is lost and restored; an older Redis beside pipelines that live on.
//! * `history`: Prometheus and the long-term store, configuration, the repository off the host.
//! * `trouble`: servers away, wrong passwords, full disks, damaged files, wrong keys, runs that meet or are killed.
//! * `kept`: which backups are kept.
//! * `schedule`: what runs them.

use techsapo_tests::RedisServer;

mod history;
mod kept;
mod rights;
mod schedule;
mod trouble;
mod whole;

/// A Redis that hands its data over at once; by default it waits for more who might ask.
fn redis() -> RedisServer {
    RedisServer::with(&["--repl-diskless-sync-delay", "0"])
}
