//! The thread that carries analyses from the journal to MySQL.
//!
//! It wakes every [`TICK`], looks at memory, and talks to MySQL only when there is an analysis to write, or every
//! [`LOOK_EVERY`] to know how it is. A batch is one transaction; the journal's cursor moves only when it is committed.
//! Whatever goes wrong on the way, the same records are written again, and their numbers keep them single.
//!
//! While MySQL is away, records stay in the journal up to a share of it; what is older then goes to the [`Spill`], so
//! that measuring does not suffer. A record that MySQL refuses for what is in it is put aside in a file of its own,
//! counted and logged, and holds up nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use techsapo_shared::audit::AuditedAnalysis;
use techsapo_shared::event::{ErrorEvent, Event};
use techsapo_shared::labels::{Service, Severity};

use super::Shared;
use super::database::Database;
use super::row::{Analysis, Record};
use super::spill::Spill;
use super::statement::Fault;
use crate::clock;
use crate::guard::breaker::Breaker;
use crate::telemetry::Recorder;
use crate::telemetry::journal::{Cursor, Journal, RunFile};

/// How often it looks for something to write.
const TICK: Duration = Duration::from_millis(100);
/// How often it asks the server how it is.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Most analyses of one transaction.
const BATCH: usize = 100;
/// Most bytes of the journal that are looked through for one batch.
const BATCH_BYTES: u64 = 1 << 20;
/// Where records are put aside, in the spill's folder.
const REFUSED: &str = "refused.jsonl";

/// Why a step did not succeed and has to be tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// MySQL.
    #[error("{0}")]
    Database(#[from] Fault),
    /// The folder of the spill.
    #[error("the folder {} cannot be used: {source}", folder.display())]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The writer, before its thread runs and in it.
pub(super) struct Writer {
    pub(super) journal: Arc<Journal>,
    pub(super) recorder: Recorder,
    pub(super) database: Database,
    pub(super) spill: Spill,
    pub(super) folder: PathBuf,
    /// How much of this run's ring may wait for MySQL.
    pub(super) hold_bytes: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) breaker: Arc<Breaker>,
    pub(super) look_at: Instant,
    pub(super) in_trouble: bool,
    pub(super) spill_fails: bool,
}

impl Writer {
    /// The thread's life: until `stop` names a deadline, then until everything is written, it fails, or the deadline
    /// has passed. If `stop`'s sender is gone, it ends at once.
    pub(super) fn run(mut self, stop: &Receiver<Instant>) {
        let deadline = loop {
            let wait = self.turn();
            match stop.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(deadline) => break deadline,
            }
        };
        // Also past the facts that its own last statements stated.
        while Instant::now() < deadline && self.waiting() > 0 && !self.in_trouble {
            self.turn();
        }
        let left = self.waiting();
        if left > 0 {
            tracing::info!(records = left, "the audit is not written to its end; the next run goes on");
        }
    }

    fn waiting(&self) -> u64 {
        self.journal.unaudited_events() + self.spill.waiting()
    }

    /// One look at everything. Returns how long to sleep.
    fn turn(&mut self) -> Duration {
        let mut more = false;
        if let Ok(permit) = self.breaker.admit() {
            match self.write_some() {
                Ok(some) => {
                    permit.success();
                    more = some;
                    self.recovered();
                }
                Err(trouble) => {
                    permit.failure();
                    self.give_up(&trouble);
                }
            }
        }
        self.relieve_the_journal();
        self.shared.spilled(self.spill.waiting());
        if more { Duration::ZERO } else { TICK }
    }

    /// A batch from the spill and one from each file of the journal. Says whether there is more at once.
    fn write_some(&mut self) -> Result<bool, Trouble> {
        let mut more = self.write_spilled()?;
        for file in self.journal.files() {
            let Some(from) = file.audited() else { continue };
            let (records, to) = collect(&file, from);
            if to == from {
                continue;
            }
            self.write(&records)?;
            file.pass_audit(to);
            more |= to.seq <= file.last_seq();
            if !more && !Arc::ptr_eq(&file, self.journal.current()) {
                self.journal.retire_done();
            }
        }
        if Instant::now() >= self.look_at {
            let memory = self.database.memory_bytes()?;
            self.shared.seen(memory);
            self.look_at = Instant::now() + LOOK_EVERY;
        }
        Ok(more)
    }

    fn write_spilled(&mut self) -> Result<bool, Trouble> {
        if self.spill.waiting() == 0 {
            return Ok(false);
        }
        let records = self.spill.oldest(BATCH).map_err(self.disk())?;
        let damaged = self.spill.take_damaged();
        if damaged > 0 {
            tracing::error!(records = damaged, folder = %self.folder.display(), "records that waited for MySQL are damaged; the audit lacks them");
            (0..damaged).for_each(|_| self.count("audit_damaged", Severity::Critical));
        }
        self.write(&records)?;
        self.spill.written(records.len()).map_err(self.disk())?;
        Ok(self.spill.waiting() > 0)
    }

    /// Writes records; those that MySQL refuses for their content are put aside. Nothing is lost when this fails.
    fn write(&mut self, records: &[Record]) -> Result<(), Trouble> {
        let mut analyses = Vec::with_capacity(records.len());
        let mut refused = Vec::new();
        for record in records {
            match Analysis::of(record) {
                Ok(analysis) => analyses.push((record, analysis)),
                Err(error) => refused.push((record, error.to_string())),
            }
        }
        let (records, analyses): (Vec<_>, Vec<_>) = analyses.into_iter().unzip();
        let written = if analyses.is_empty() { Ok(()) } else { self.database.insert(&analyses) };
        match written {
            // One of them is not acceptable; by itself each shows which.
            Err(fault) if fault.about_content => {
                for (record, analysis) in records.into_iter().zip(analyses) {
                    match self.database.insert(&[analysis]) {
                        Err(fault) if fault.about_content => refused.push((record, fault.to_string())),
                        done => done?,
                    }
                }
            }
            done => done?,
        }
        // Last: when something above fails, the whole batch comes again. A row is then the same row; a line in the file
        // would stand there twice.
        refused.iter().try_for_each(|(record, reason)| self.put_aside(record, reason))
    }

    fn put_aside(&self, record: &Record, reason: &str) -> Result<(), Trouble> {
        let event = String::from_utf8_lossy(&record.line);
        let mut line = serde_json::json!({
            "producer": record.producer, "seq": record.seq, "reason": reason, "event": event,
        })
        .to_string();
        line.push('\n');
        let append = || {
            fs::create_dir_all(&self.folder)?;
            let path = self.folder.join(REFUSED);
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            File::open(&self.folder)?.sync_all()
        };
        append().map_err(self.disk())?;
        tracing::error!(
            producer = record.producer,
            seq = record.seq,
            reason,
            file = %self.folder.join(REFUSED).display(),
            "an analysis cannot stand in the audit as it is; it was put aside"
        );
        self.count("audit_refused", Severity::Error);
        Ok(())
    }

    /// Spills the oldest records when those that wait for MySQL take too much of the ring.
    fn relieve_the_journal(&mut self) {
        let file = Arc::clone(self.journal.current());
        let held = |from: Cursor| file.end().pos.saturating_sub(from.pos);
        let Some(mut from) = file.audited().filter(|&from| held(from) > self.hold_bytes) else { return };
        // Not by drops: a disk is quicker with more at once.
        while held(from) > self.hold_bytes / 2 {
            let (records, to) = collect(&file, from);
            let spilled = if records.is_empty() { Ok(()) } else { self.spill.add(&records) };
            if let Err(error) = spilled {
                if !std::mem::replace(&mut self.spill_fails, true) {
                    tracing::error!(
                        folder = %self.folder.display(),
                        error = &error as &dyn std::error::Error,
                        "analyses cannot wait for MySQL on the disk; they fill the journal, and events will be dropped"
                    );
                }
                return;
            }
            file.pass_audit(to);
            from = to;
        }
        self.spill_fails = false;
    }

    fn give_up(&mut self, trouble: &Trouble) {
        // The next time begins with a look, whether or not there is anything to write: only that shows that it is well.
        self.look_at = Instant::now();
        self.shared.lost(trouble.to_string());
        if !std::mem::replace(&mut self.in_trouble, true) {
            tracing::error!(
                mysql = self.database.address(),
                error = %trouble,
                waiting = self.waiting(),
                "the audit cannot be written; analyses wait in the journal and on disk, and writing is tried again \
                 every 5 s at the latest"
            );
            self.count("audit_unavailable", Severity::Error);
        }
    }

    fn recovered(&mut self) {
        self.shared.connected(self.database.is_connected());
        if std::mem::replace(&mut self.in_trouble, false) {
            tracing::info!(waiting = self.waiting(), "the audit is written again");
        }
    }

    fn count(&self, error_type: &'static str, severity: Severity) {
        self.recorder.record(&Event::Error(ErrorEvent {
            t: clock::unix_ms(),
            error_type: error_type.into(),
            severity,
            service: Service::MySql,
        }));
    }

    fn disk(&self) -> impl Fn(io::Error) -> Trouble + use<> {
        let folder = self.folder.clone();
        move |source| Trouble::Disk { folder: folder.clone(), source }
    }
}

/// The analyses behind `from`, as many as one batch may have, and where it ends.
fn collect(file: &RunFile, from: Cursor) -> (Vec<Record>, Cursor) {
    let mut records = Vec::new();
    let mut bytes = 0;
    let to = file.scan(from, |seq, event| {
        // A record that went bad is counted by the exporter, who misses it too.
        if let Some(line) = event {
            bytes += line.len() as u64;
            if AuditedAnalysis::is_in(line) {
                records.push(Record { producer: file.producer().to_owned(), seq, line: line.to_vec() });
            }
        }
        records.len() < BATCH && bytes < BATCH_BYTES
    });
    (records, to)
}

/// Moves to `spill` what earlier runs left to be audited, for this run has no audit. Their files are freed; the records
/// wait until one has.
pub(super) fn set_aside_leftovers(journal: &Journal, spill: &mut Spill) -> io::Result<()> {
    for file in journal.files() {
        let Some(mut from) = file.audited() else { continue };
        while from.seq <= file.last_seq() {
            let (records, to) = collect(&file, from);
            if !records.is_empty() {
                spill.add(&records)?;
            }
            file.pass_audit(to);
            from = to;
        }
    }
    journal.retire_done();
    Ok(())
}
