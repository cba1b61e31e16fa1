//! Lines on their way from any thread to the one that writes them.
//!
//! Pushing copies a line under a lock and never waits for a disk. What must hold: lines come out in the order in which
//! they went in, whole; what does not fit is counted. Warnings and errors have room of their own.

use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Level;

use super::WRITER;
use super::file::LogFile;
use super::line::{Style, count, dropped};

/// Bytes of lines that may wait.
const ROOM_BYTES: usize = 8 << 20;
/// Of these, how many only warnings and errors may take.
const RESERVED_BYTES: usize = 1 << 20;
/// How long the writer rests after writing, so that what comes meanwhile is written at once and pushers need not wake it.
const REST: Duration = Duration::from_millis(50);

/// Where lines go.
pub(super) enum Sink {
    Stderr,
    File(LogFile),
}

impl Sink {
    /// Writes whole lines; tells how many could not be.
    fn write(&mut self, lines: &[u8]) -> u64 {
        match self {
            Self::Stderr => {
                let written = std::io::stderr().lock().write_all(lines);
                if written.is_ok() { 0 } else { count(lines) }
            }
            Self::File(file) => file.write(lines),
        }
    }
}

/// The lines that wait.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to do for a writer that sleeps.
    work: Condvar,
    /// The writer has written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    /// Bytes ever taken, and ever written or given up.
    taken: u64,
    done: u64,
    /// The writer sleeps until it is woken.
    asleep: bool,
    /// Somebody waits for it.
    urgent: bool,
    closed: bool,
}

impl Queue {
    /// A queue with a thread that empties it into `sink`.
    pub(super) fn start(sink: Sink, style: Style) -> std::io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let own = Arc::clone(&queue);
        thread::Builder::new().name(WRITER.to_owned()).spawn(move || own.empty_into(sink, style))?;
        Ok(queue)
    }

    /// Takes a line, or drops and counts it.
    pub(super) fn push(&self, line: &str, level: Level) {
        let mut state = self.lock();
        let reserved = if level <= Level::WARN { 0 } else { RESERVED_BYTES };
        if state.closed || state.lines.len() + line.len() + reserved > ROOM_BYTES {
            state.dropped += 1;
            return;
        }
        state.lines.extend_from_slice(line.as_bytes());
        state.taken += line.len() as u64;
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    /// Waits until everything that was pushed before is written, but not longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let began = Instant::now();
        let mut state = self.lock();
        let until = state.taken;
        while state.done < until {
            state.urgent = true;
            self.work.notify_one();
            let Some(left) = patience.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) else {
                return;
            };
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes nothing more, and waits like [`Queue::flush`].
    pub(super) fn close(&self, patience: Duration) {
        self.lock().closed = true;
        self.work.notify_one();
        self.flush(patience);
    }

    fn empty_into(&self, mut sink: Sink, style: Style) {
        let (mut lines, mut lost) = (Vec::new(), 0);
        while let Some(dropped_before) = self.take(&mut lines) {
            lost += dropped_before;
            let bytes = lines.len() as u64;
            let failed = sink.write(&lines);
            lost += failed;
            // Said where it happened, as soon as something can be said again.
            if lost > 0 && failed == 0 && sink.write(dropped(style, lost).as_bytes()) == 0 {
                lost = 0;
            }
            lines.clear();
            self.rest(bytes);
        }
    }

    /// Waits for lines and takes them all; how many were dropped since the last time. Nothing when the end has come.
    fn take(&self, lines: &mut Vec<u8>) -> Option<u64> {
        let mut state = self.lock();
        while state.lines.is_empty() && state.dropped == 0 {
            if state.closed {
                return None;
            }
            state.asleep = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        std::mem::swap(&mut state.lines, lines);
        Some(std::mem::take(&mut state.dropped))
    }

    /// Notes that this much was written, and rests unless somebody waits.
    fn rest(&self, bytes: u64) {
        let mut state = self.lock();
        state.done += bytes;
        if std::mem::take(&mut state.urgent) {
            self.written.notify_all();
        } else if !state.closed {
            drop(self.work.wait_timeout(state, REST));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held has left whole lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
