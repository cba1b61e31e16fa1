//! The side channel: facts go into a journal at memory speed, and from there to the exporter's stream.
//!
//! * [`journal`]: a memory-mapped ring file per run of the process.
//! * [`gathered`]: small facts of a request, kept aside until its own is recorded.
//! * [`shipper`]: a thread for each stream that carries records from the journals to Redis and frees what was
//!   acknowledged.
//!
//! Where telemetry is switched off there is neither, and a [`Recorder`] that records nothing ([`Recorder::off`]).
//!
//! What must hold: [`Recorder::record`] never waits for anything. A fact that was recorded survives `kill -9` (one that was gathered,
//! from its request's end on), and is shipped again and again until the exporter has acknowledged it. A fact that could not be
//! recorded is counted, and the count is shipped too.

pub mod gathered;
pub mod journal;
pub mod shipper;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use techsapo_redis_route::Route;
use techsapo_shared::event::{Event, JournalSample};

use self::{
    journal::{Journal, JournalError},
    shipper::{Pace, Shipper},
};

/// How long the end of the shipper's thread is waited for beyond a deadline, while it settles its last round.
const GRACE: Duration = Duration::from_millis(250);

/// Where facts are kept and where they go.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// Folder of the journal. No two processes may have the same.
    pub journal_dir: PathBuf,
    /// Size of this run's ring.
    pub journal_bytes: u64,
    /// Whether the audit is written from the journal: then a record also waits for it.
    pub audited: bool,
    /// The way to the Redis that the streams are in.
    pub redis: Route,
    /// Keys of the streams; a run of a process is hashed to one of them.
    pub streams: Vec<String>,
}

/// Why telemetry cannot start. That Redis cannot be reached is no reason.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no stream to ship to.
    #[error("redis.streams is empty; it needs at least one key, such as techsapo:events")]
    NoStream,
    /// The shipper's thread cannot be started.
    #[error("the shipper's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Journal and shipper of a running process.
pub struct Telemetry {
    journal: Arc<Journal>,
    /// One for each shipper.
    stop: Vec<mpsc::Sender<Instant>>,
    /// Ends with the last shipper.
    ended: mpsc::Receiver<()>,
}

impl Telemetry {
    /// Opens the journal and starts to ship.
    ///
    /// # Errors
    /// When the journal cannot be opened or a setting is unusable. An unreachable Redis is no error.
    pub fn start(settings: &TelemetrySettings) -> Result<Self, TelemetryError> {
        Self::start_with(settings, Pace::default())
    }

    /// As [`Self::start`], with other times and limits than the default.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(settings: &TelemetrySettings, pace: Pace) -> Result<Self, TelemetryError> {
        if settings.streams.is_empty() {
            return Err(TelemetryError::NoStream);
        }
        let journal =
            Arc::new(Journal::open(&settings.journal_dir, settings.journal_bytes, settings.audited)?);
        let mut stop = Vec::new();
        let (end, ended) = mpsc::channel();
        for shipper in Shipper::all(&journal, &settings.redis, &settings.streams, pace) {
            let (sender, stopped) = mpsc::channel();
            let end = end.clone();
            std::thread::Builder::new()
                .name("shipper".into())
                .spawn(move || {
                    shipper.run(&stopped);
                    // The last sender's end is the message.
                    drop(end);
                })
                .map_err(TelemetryError::Thread)?;
            stop.push(sender);
        }
        Ok(Self { journal, stop, ended })
    }

    /// A handle to record facts with.
    pub fn recorder(&self) -> Recorder {
        Recorder { journal: Some(Arc::clone(&self.journal)) }
    }

    /// Ships what is pending and waits for the acknowledgements, until `deadline` has passed. If everything is
    /// acknowledged the run's file is deleted; otherwise the next run sends the rest. To be called when nothing is
    /// recorded any more. Blocks.
    pub fn shutdown(self, deadline: Duration) {
        let end = Instant::now() + deadline;
        for shipper in &self.stop {
            // One that has nothing left to ship is gone.
            let _ = shipper.send(end);
        }
        let ended = self.ended.recv_timeout(deadline + GRACE);
        let left = self.journal.pending_events();
        if left > 0 {
            tracing::info!(events = left, "events are not acknowledged yet; the next run sends them again");
        }
        if ended == Err(RecvTimeoutError::Disconnected) {
            self.journal.close();
        }
    }
}

/// Records facts, or nothing at all where telemetry is switched off. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    /// Nothing where telemetry is switched off.
    journal: Option<Arc<Journal>>,
}

impl Recorder {
    /// A journal without a shipper: everything stays in it. For tests.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    pub fn open(folder: &Path, bytes: u64) -> Result<Self, JournalError> {
        Ok(Self { journal: Some(Arc::new(Journal::open(folder, bytes, false)?)) })
    }

    /// Records nothing: telemetry is switched off.
    pub fn off() -> Self {
        Self { journal: None }
    }

    /// The journal, for the audit, which is its second reader.
    pub(crate) fn journal(&self) -> Option<Arc<Journal>> {
        self.journal.clone()
    }

    /// The id under which this run's facts are counted, if they are; no other run ever has it.
    pub fn producer(&self) -> Option<&str> {
        self.journal.as_ref().map(|journal| journal.current().producer())
    }

    /// Whether anything is recorded. Facts that cost something to put together need not be, otherwise.
    pub fn is_on(&self) -> bool {
        self.journal.is_some()
    }

    /// Records a fact. Never waits; a fact that the journal has no room for is dropped and counted. A small one that belongs to
    /// a request may wait for the request's end ([`gathered`]).
    pub fn record(&self, event: &Event<'_>) {
        if self.is_on() && !gathered::keep(event) {
            self.record_all(std::slice::from_ref(event));
        }
    }

    /// Records facts that are stated together, as [`Self::record`] does one: cheaper than one by one.
    pub fn record_all(&self, events: &[Event<'_>]) {
        if let Some(journal) = &self.journal {
            journal.append(events);
        }
    }

    /// Size, use and drops of the journal, if there is one.
    pub fn sample(&self) -> Option<JournalSample> {
        self.journal.as_ref().map(|journal| journal.sample())
    }

    /// Facts that the exporter has not yet acknowledged.
    pub fn pending_events(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| journal.pending_events())
    }

    /// What is in the journal, one line of JSON per fact, in the order of recording. For tests.
    pub fn pending_lines(&self) -> Vec<String> {
        let files = self.journal.as_ref().map_or_else(Vec::new, |journal| journal.files());
        files.iter().flat_map(|file| file.lines()).collect()
    }
}
