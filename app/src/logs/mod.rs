//! The log: one line a fact, JSON for machines or text for people, on standard error or in a file that is rotated.
//!
//! `layer` takes events; `line` writes an event as a line and masks whatever is personal or secret in it, so that no caller can forget to;
//! `queue` takes lines from any thread and hands them to one that writes; `file` rotates.
//! What must hold: a request never waits for the log's disk or terminal. Lines beyond what the queue holds, or that
//! cannot be written, are dropped, and a later line says how many. Stopping and panics wait, for a while, until all is written.

mod file;
mod layer;
mod line;
mod queue;
#[cfg(test)]
mod tests;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogSettings;
use crate::config::format::LogFormat;
use crate::mask::mask;
use file::LogFile;
use layer::Lines;
use line::Style;
use queue::{Queue, Sink};

/// How long stopping waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How long a panic waits for its line.
const PANIC_LINE: Duration = Duration::from_millis(250);
/// Name of the thread that writes; it cannot wait for itself.
const WRITER: &str = "log-writer";

/// Why the log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file, or its folder, cannot be made or opened.
    #[error("the log file {path} cannot be written (log.file)")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Two that rotate one file would lose lines.
    #[error("another process writes to the log file {path}: give this one another (log.file)")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// No thread to write with.
    #[error("the log cannot be started")]
    Thread(#[source] std::io::Error),
}

/// The running log. Dropped, it has written what it holds.
pub struct Log(Arc<Queue>);

/// Starts logging. Our own lines from the set level on; from libraries, warnings and worse.
///
/// # Errors
/// When its file cannot be written.
pub fn start(settings: &LogSettings) -> Result<Log, LogError> {
    let sink = match &settings.file {
        Some(path) => Sink::File(LogFile::open(path, settings.max_bytes, settings.kept)?),
        None => Sink::Stderr,
    };
    let style = match settings.format {
        LogFormat::Json => Style::Json,
        LogFormat::Text => Style::Text { colour: settings.file.is_none() && std::io::stderr().is_terminal() },
    };
    let queue = Queue::start(sink, style).map_err(LogError::Thread)?;
    let own = LevelFilter::from_level(settings.level);
    let filter = Targets::new().with_default(own.min(LevelFilter::WARN)).with_target("techsapo", own);
    let layer = Lines::new(Arc::clone(&queue), style);
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    log_panics(Arc::clone(&queue));
    Ok(Log(queue))
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.close(LAST_LINES);
    }
}

/// A panic is a line like any other: its message may hold what a log must not.
fn log_panics(queue: Arc<Queue>) {
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let reason = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("");
        let place = panic.location().map(ToString::to_string);
        if std::thread::current().name() == Some(WRITER) {
            eprintln!("techsapo: the log ended: {} ({})", mask(reason), place.unwrap_or_default());
            return;
        }
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(reason, place, backtrace, "A thread panicked");
        queue.flush(PANIC_LINE);
    }));
}
