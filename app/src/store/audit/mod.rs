//! The audit: who asked what, whom it was put to, what came of it and what it cost, in MySQL or MariaDB.
//!
//! Nothing of it is on a request's way. An analysis is one event in the journal; a thread ([`writer`](self)) reads it
//! there with a cursor of its own and writes it, and the journal keeps a record until both the exporter and the audit
//! have it. So a database that is away delays the audit and loses nothing, and what is written twice stands once: a
//! row's key is the event's number in the journal.
//!
//! Inside: `migrations` (the tables), `row` (from event to rows), `database` (the door), `statement` (what comes of one), `spill`
//! (what waits on disk when MySQL is away for long), `writer` (the thread), [`Spending`] (what was spent, read back for the
//! budget).

mod database;
mod migrations;
mod row;
mod spending;
mod spill;
mod statement;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use techsapo_shared::labels::Service;
use techsapo_tls::ClientTls;

use self::database::{Address, Database};
pub use self::spending::{RunSpent, Spending, SpendingError};
use self::spill::Spill;
use self::statement::Meter;
use self::writer::Writer;
use crate::guard::breaker::{Breakers, Policy};
use crate::telemetry::Recorder;
use crate::telemetry::journal::Journal;

/// Folder of what waits for MySQL, inside the journal's.
const SPILL_FOLDER: &str = "audit-spill";
/// Nobody waits for MySQL: a probe now and then is soon enough.
const POLICY: Policy = Policy {
    window: Duration::from_secs(10),
    failures: 2,
    failure_ppm: 0,
    open_for: Duration::from_millis(500),
    open_for_at_most: Duration::from_secs(5),
};
/// How long the end of the thread is waited for beyond a deadline: a call to MySQL ends by itself.
const GRACE: Duration = Duration::from_millis(250);

/// Where the audit goes.
#[derive(Clone)]
pub struct AuditSettings {
    /// The database, with user and password.
    pub mysql_url: String,
    /// Whom to trust, and who to be, where the address demands TLS.
    pub tls: ClientTls,
    /// Whether the tables are brought up to date.
    pub migrate: bool,
    /// The journal's folder.
    pub journal_dir: PathBuf,
    /// How much of the journal may wait for MySQL.
    pub hold_bytes: u64,
}

/// Why there can be no audit. That MySQL cannot be reached is no reason.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// (The error never holds the URL: it may bear a password.)
    #[error("mysql.url is not a usable URL, such as mysql://user:password@127.0.0.1/techsapo_audit")]
    Url(#[source] mysql_async::UrlError),
    /// What waits on the disk cannot be read or written.
    #[error("what waits for the audit in {} cannot be read or written", folder.display())]
    Spill {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Its thread cannot be started.
    #[error("the audit's thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// Telemetry is off, and with it the journal that the audit is written from.
    #[error(
        "the audit is written from the journal, and there is none: set telemetry.enabled = true, or empty mysql.url"
    )]
    NoJournal,
    /// The tables cannot be brought up to date.
    #[error("the audit's tables in {address} cannot be brought up to date: {why}")]
    Migration {
        /// The database, without user and password.
        address: String,
        /// What it says.
        why: String,
    },
}

/// What the thread lets others see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    spilled: AtomicU64,
}

#[derive(Debug)]
struct State {
    connected: bool,
    memory_bytes: Option<u64>,
    /// Why nothing can be written, while that is so.
    trouble: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self { connected: false, memory_bytes: None, trouble: Some("it was not reached yet".to_owned()) }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spilled(&self, records: u64) {
        self.spilled.store(records, Ordering::Relaxed);
    }

    fn seen(&self, memory_bytes: Option<u64>) {
        self.state().memory_bytes = memory_bytes;
    }

    fn connected(&self, connected: bool) {
        let mut state = self.state();
        state.connected = connected;
        state.trouble = None;
    }

    fn lost(&self, trouble: String) {
        *self.state() = State { connected: false, memory_bytes: None, trouble: Some(trouble) };
    }
}

/// How the audit is. Cheap to clone.
#[derive(Clone)]
pub struct AuditStatus {
    journal: Arc<Journal>,
    shared: Arc<Shared>,
}

impl AuditStatus {
    /// Facts that the audit has not passed: events in the journal, and analyses on the disk.
    pub fn waiting(&self) -> u64 {
        self.journal.unaudited_events() + self.shared.spilled.load(Ordering::Relaxed)
    }

    /// Open connections to MySQL.
    pub fn connections(&self) -> u64 {
        u64::from(self.shared.state().connected)
    }

    /// Memory that the server says it uses, where it does.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.shared.state().memory_bytes
    }

    /// Whether it is written, else why not.
    ///
    /// # Errors
    /// The reason, in words without user or password.
    pub fn check(&self) -> Result<(), String> {
        self.shared.state().trouble.clone().map_or(Ok(()), Err)
    }
}

/// The running audit.
pub struct Audit {
    status: AuditStatus,
    spending: Spending,
    stop: mpsc::Sender<Instant>,
    ended: mpsc::Receiver<()>,
}

impl Audit {
    /// Begins to write what is in the journal behind `recorder`, which was opened to be audited.
    ///
    /// # Errors
    /// When a setting is unusable. An unreachable MySQL is no error.
    pub fn start(
        settings: &AuditSettings,
        recorder: Recorder,
        breakers: &Breakers,
    ) -> Result<Self, AuditError> {
        let journal = recorder.journal().ok_or(AuditError::NoJournal)?;
        let folder = settings.journal_dir.join(SPILL_FOLDER);
        let shared = Arc::<Shared>::default();
        let breaker = breakers.add(Service::MySql, POLICY);
        let meter = Meter(Some(recorder.clone()));
        let spending = Spending::new(Address::of(settings)?, meter, Arc::clone(&breaker));
        let writer = Writer {
            database: Database::new(settings, Some(recorder.clone()))?,
            spill: open_spill(&folder)?,
            journal: Arc::clone(&journal),
            recorder,
            folder,
            hold_bytes: settings.hold_bytes,
            shared: Arc::clone(&shared),
            breaker,
            look_at: Instant::now(),
            in_trouble: false,
            spill_fails: false,
        };
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || {
                writer.run(&stopped);
                // The sender's end is the message.
                drop(end);
            })
            .map_err(AuditError::Thread)?;
        Ok(Self { status: AuditStatus { journal, shared }, spending, stop, ended })
    }

    /// How it is, for as long as anybody wants to know.
    pub fn status(&self) -> AuditStatus {
        self.status.clone()
    }

    /// What it knows of money, for the budget.
    pub fn spending(&self) -> Spending {
        self.spending.clone()
    }

    /// Writes what is pending, until `deadline` has passed or MySQL is away; the next run writes the rest. To be called
    /// when no analysis ends any more, and before telemetry is shut down. Blocks.
    pub fn shutdown(self, deadline: Duration) {
        let _ = self.stop.send(Instant::now() + deadline);
        let _ = self.ended.recv_timeout(deadline + GRACE);
    }
}

/// For a run without an audit: what an earlier run left to be audited is moved to the disk beside the journal, where it
/// waits for a run that has one, and holds nothing back.
///
/// # Errors
/// When it cannot be written there; then it stays in the journal's files.
pub fn set_aside_leftovers(journal_dir: &Path, recorder: &Recorder) -> Result<(), AuditError> {
    let Some(journal) = recorder.journal() else { return Ok(()) };
    let folder = journal_dir.join(SPILL_FOLDER);
    let mut spill = open_spill(&folder)?;
    writer::set_aside_leftovers(&journal, &mut spill)
        .map_err(|source| AuditError::Spill { folder: folder.clone(), source })?;
    if spill.waiting() > 0 {
        tracing::warn!(
            analyses = spill.waiting(),
            folder = %folder.display(),
            "analyses of an earlier run wait for the audit, which is off: set mysql.url to have them written, or delete \
             the folder to give them up"
        );
    }
    Ok(())
}

/// Brings the tables up to date, and says how many versions that took.
///
/// # Errors
/// When MySQL cannot be reached, refuses, or has tables of a later build.
pub fn migrate(settings: &AuditSettings) -> Result<usize, AuditError> {
    let mut database = Database::new(settings, None)?;
    let address = database.address();
    database.migrate_now().map_err(|fault| AuditError::Migration { address, why: fault.to_string() })
}

fn open_spill(folder: &Path) -> Result<Spill, AuditError> {
    Spill::open(folder).map_err(|source| AuditError::Spill { folder: folder.to_owned(), source })
}
