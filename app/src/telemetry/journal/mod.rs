//! The journal: where a fact goes first, and stays until the exporter has made it durable.
//!
//! A folder holds one file per run of the process. This run appends to its own; what earlier runs left behind is
//! drained under their own producer ids and then deleted. The folder is locked: a second process on it would take
//! this run's file for one that was left behind.
//!
//! Inside: `mapping` (the only `unsafe`: a file as a slice of atomic words), `ring` (records, and how they are found
//! again), `header` (the first page of a file), `residence` (which of its pages are in memory), `file` (appending, reading, freeing,
//! recovering).

mod file;
mod header;
mod mapping;
mod residence;
mod ring;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use techsapo_shared::event::{Event, JournalSample};

pub(crate) use file::RunFile;
use file::{SUFFIX, UNFINISHED_SUFFIX, UnusableFile};
pub use ring::Cursor;
use ring::{Draft, MAX_RECORD_EVENTS};

/// Smallest ring.
pub const MIN_BYTES: u64 = 1 << 20;

const LOCK_FILE: &str = "lock";

/// Why the journal cannot be opened. The app does not start without one.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder cannot be made or listed, or nothing can be written in it.
    #[error("the journal's folder {} (journal.dir) cannot be used", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "the journal's folder {} (journal.dir) is in use by another process; every instance needs its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// The size asked for is too small.
    #[error("a journal of {0} bytes (journal.max_bytes) is too small; it needs at least {MIN_BYTES}")]
    TooSmall(u64),
    /// This run's file cannot be made.
    #[error("a journal of {bytes} bytes (journal.max_bytes) cannot be set up in {}", folder.display())]
    Create {
        /// The folder.
        folder: PathBuf,
        /// Bytes asked for.
        bytes: u64,
        /// What the system says.
        source: io::Error,
    },
}

/// The journal of one instance.
pub(crate) struct Journal {
    current: Arc<RunFile>,
    /// Those of earlier runs that still hold something, oldest first.
    earlier: Mutex<Vec<Arc<RunFile>>>,
    /// Open for as long as this process lives: it holds the folder's lock.
    _lock: File,
}

thread_local! {
    /// Every thread serialises into a buffer of its own, which soon is as large as it needs to be.
    static DRAFT: RefCell<Draft> = RefCell::default();
}

impl Journal {
    /// Opens the journal in `folder` with a ring of `bytes` for this run, whose records also wait for the audit if it
    /// is to be `audited`.
    pub(crate) fn open(folder: &Path, bytes: u64, audited: bool) -> Result<Self, JournalError> {
        if bytes < MIN_BYTES {
            return Err(JournalError::TooSmall(bytes));
        }
        let unusable = |source| JournalError::Folder { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK_FILE))
            .map_err(unusable)?;
        file::lock(&lock).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => JournalError::InUse(folder.to_owned()),
            _ => unusable(error),
        })?;
        let earlier = recover_all(folder).map_err(unusable)?;

        // Whole pages, also on machines whose pages are larger than most.
        let bytes = bytes.next_multiple_of(64 << 10);
        let current = RunFile::create(folder, bytes, audited).map_err(|source| JournalError::Create {
            folder: folder.to_owned(),
            bytes,
            source,
        })?;
        let journal = Self { current: Arc::new(current), earlier: Mutex::new(earlier), _lock: lock };
        journal.retire_done();
        Ok(journal)
    }

    /// Appends `events`, which were stated together, as one record, or a few where there are very many: one checksum, one look at the
    /// lock, and the code that writes them is warm after the first. Those that the journal has no room for are counted as dropped.
    pub(crate) fn append(&self, events: &[Event<'_>]) {
        for some in events.chunks(MAX_RECORD_EVENTS) {
            // A thread that is being torn down has no buffer any more.
            if DRAFT.try_with(|draft| self.append_record(some, &mut draft.borrow_mut())).is_err() {
                some.iter().for_each(|_| self.current.count_dropped());
            }
        }
    }

    fn append_record(&self, events: &[Event<'_>], draft: &mut Draft) {
        let most = self.current.max_record_bytes();
        draft.begin();
        for event in events {
            // An error is none that is known; its event is dropped with those beside it.
            if draft.add(|bytes| techsapo_shared::encode(event, bytes)).is_err() {
                return events.iter().for_each(|_| self.current.count_dropped());
            }
            if draft.length() > most {
                break;
            }
        }
        if draft.length() <= most {
            draft.finish();
            self.current.append(draft);
        } else if let [_] = events {
            self.current.count_oversized();
        } else {
            // Not for one that is too long, or for their number, are the others lost.
            let (first, rest) = events.split_at(events.len() / 2);
            self.append_record(first, draft);
            self.append_record(rest, draft);
        }
    }

    /// This run's file.
    pub(crate) fn current(&self) -> &Arc<RunFile> {
        &self.current
    }

    /// All files, the oldest first, this run's last.
    pub(crate) fn files(&self) -> Vec<Arc<RunFile>> {
        let mut files = self.earlier().clone();
        files.push(Arc::clone(&self.current));
        files
    }

    /// Deletes the files of earlier runs that nobody needs any more. Drops that they could not tell of any more become
    /// this run's.
    pub(crate) fn retire_done(&self) {
        self.earlier().retain(|file| {
            if !file.is_done() {
                return true;
            }
            self.current.inherit_dropped(file);
            delete(file);
            false
        });
    }

    /// Ends this run: its file is deleted if nobody needs anything that it held, and takes nothing more. Otherwise it
    /// stays as it is, and the next run drains it.
    pub(crate) fn close(&self) {
        if self.current.close_if_done() {
            delete(&self.current);
        }
    }

    /// Size and use of all files together. A file of an earlier run takes nothing more, so that what it holds is
    /// also what it can hold.
    pub(crate) fn sample(&self) -> JournalSample {
        let left: u64 = self.earlier().iter().map(|file| file.used_bytes()).sum();
        JournalSample {
            used_bytes: left + self.current.used_bytes(),
            capacity_bytes: left + self.current.capacity(),
            dropped: self.current.dropped(),
        }
    }

    /// Events that the exporter has not acknowledged.
    pub(crate) fn pending_events(&self) -> u64 {
        self.files().iter().map(|file| file.pending_events()).sum()
    }

    /// Events that the audit has not passed.
    pub(crate) fn unaudited_events(&self) -> u64 {
        self.files().iter().map(|file| file.unaudited_events()).sum()
    }

    fn earlier(&self) -> MutexGuard<'_, Vec<Arc<RunFile>>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens what earlier runs left in `folder`, the oldest first. A file that cannot be used stays where it is: it may
/// hold events, and a person may know better.
fn recover_all(folder: &Path) -> io::Result<Vec<Arc<RunFile>>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(UNFINISHED_SUFFIX) {
            fs::remove_file(&path)?;
        } else if name.ends_with(SUFFIX) {
            match RunFile::recover(&path) {
                Ok(file) => files.push(Arc::new(file)),
                Err(UnusableFile::InUse) => {
                    tracing::warn!(file = %path.display(), "a journal file is left alone: its run is still alive");
                }
                Err(error) => tracing::error!(
                    file = %path.display(),
                    error = &error as &dyn std::error::Error,
                    "a journal file cannot be drained; its events are not counted. It is left in place: start the \
                     version that wrote it once on this folder, or delete the file to give its events up"
                ),
            }
        }
    }
    files.sort_by_key(|file| file.created_ms());
    Ok(files)
}

fn delete(file: &RunFile) {
    match fs::remove_file(file.path()) {
        Ok(()) => tracing::debug!(file = %file.path().display(), "a drained journal file was deleted"),
        Err(error) => tracing::warn!(
            file = %file.path().display(),
            error = &error as &dyn std::error::Error,
            "a drained journal file cannot be deleted; the next run tries again"
        ),
    }
}
