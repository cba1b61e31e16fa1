//! The log's file: rotated before it grows beyond its size, what was rotated compressed, the oldest deleted.
//!
//! `app.log` is written; `app.log.7` was rotated and is about to be compressed; `app.log.7.gz` is compressed. Numbers only
//! rise, so that neither a crash between two steps nor a clock set back confuses an order.
//! What must hold: a line stands whole in one file, once. A rotated file is deleted only when its compressed copy is on
//! the disk under its final name; whatever a crash left is finished at the next start. A full disk loses lines, counted,
//! and never half a line, and stops nothing.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{FlockOperation, flock};

use super::LogError;
use super::line::count;

/// Who may read it: the owner and the owner's group.
const MODE: u32 = 0o640;
/// How often standard error hears of one and the same trouble.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// The file that is written.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes in it.
    length: u64,
    max_bytes: u64,
    /// Wakes the thread that compresses.
    rotated: Sender<()>,
    complained: Option<Instant>,
}

impl LogFile {
    /// Opens the file, or makes it, and finishes what an earlier run left. At most `kept` rotated files are kept.
    pub(super) fn open(path: &Path, max_bytes: u64, kept: usize) -> Result<Self, LogError> {
        let failed = |source| LogError::Open { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = append_to(path).map_err(failed)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            let error = io::Error::from(error);
            return Err(match error.kind() {
                ErrorKind::WouldBlock => LogError::InUse { path: path.to_owned() },
                _ => failed(error),
            });
        }
        let length = end_last_line(&mut file).map_err(failed)?;
        let (rotated, wakes) = channel();
        let archive = Archive { path: path.to_owned(), kept };
        let work = move || archive.tidy_when_woken(&wakes);
        thread::Builder::new().name("log-archive".to_owned()).spawn(work).map_err(LogError::Thread)?;
        // The thread is there: what an earlier run left is its first work.
        let _ = rotated.send(());
        Ok(Self { path: path.to_owned(), file, length, max_bytes, rotated, complained: None })
    }

    /// Writes whole lines; tells how many could not be.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        self.follow();
        let (mut rest, mut lost) = (lines, 0);
        while !rest.is_empty() {
            let room = usize::try_from(self.max_bytes.saturating_sub(self.length)).unwrap_or(usize::MAX);
            let mut piece = whole_lines(rest, room);
            if piece == 0 {
                // Not even one fits. One that fits in no file gets a file of its own.
                if self.length > 0 {
                    self.rotate();
                }
                let room = usize::try_from(self.max_bytes.saturating_sub(self.length)).unwrap_or(usize::MAX);
                piece = whole_lines(rest, room).max(first_line(rest));
            }
            let (now, later) = rest.split_at(piece);
            lost += self.append(now);
            rest = later;
        }
        lost
    }

    fn append(&mut self, lines: &[u8]) -> u64 {
        let mut written = 0;
        let error = loop {
            if written == lines.len() {
                self.length += written as u64;
                return 0;
            }
            match self.file.write(&lines[written..]) {
                Ok(0) => break io::Error::from(ErrorKind::WriteZero),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        self.complain("cannot be written", &error);
        // Half a line is no line: back to the end of the last whole one.
        let whole = whole_lines(lines, written);
        self.length += whole as u64;
        if written > whole && self.file.set_len(self.length).is_err() {
            self.length += (written - whole) as u64;
        }
        count(&lines[whole..])
    }

    /// Goes on in a new file where somebody has moved or deleted the one at the path.
    fn follow(&mut self) {
        let is_same =
            |there: fs::Metadata, own: fs::Metadata| (there.dev(), there.ino()) == (own.dev(), own.ino());
        let is_there = match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(own)) => is_same(there, own),
            (Err(error), _) => error.kind() != ErrorKind::NotFound,
            (_, Err(_)) => true,
        };
        if !is_there {
            match append_to(&self.path).and_then(|mut file| Ok((end_last_line(&mut file)?, file))) {
                Ok((length, file)) => self.go_on_in(file, length),
                Err(error) => self.complain("cannot be made anew", &error),
            }
        }
    }

    /// A rotation that fails leaves the file as it is: too large, but whole.
    fn rotate(&mut self) {
        match self.try_rotate() {
            Ok(file) => {
                self.go_on_in(file, 0);
                let _ = self.rotated.send(());
            }
            Err(error) => self.complain("cannot be rotated", &error),
        }
    }

    fn try_rotate(&self) -> io::Result<File> {
        // The new file first: afterwards only names change.
        let next = beside(&self.path, "next");
        let _ = fs::remove_file(&next);
        let file = append_to(&next)?;
        let number = numbers(&self.path)?.last().map_or(1, |last| last + 1);
        fs::rename(&self.path, beside(&self.path, &number.to_string()))?;
        fs::rename(&next, &self.path)?;
        Ok(file)
    }

    fn go_on_in(&mut self, file: File, length: u64) {
        // Whoever comes to this path finds it taken; that it can fail in between harms nobody.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        (self.file, self.length) = (file, length);
    }

    /// Tells a person who looks at standard error; the log itself cannot.
    fn complain(&mut self, what: &str, error: &io::Error) {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            eprintln!("techsapo: the log file {} {what}: {error}", self.path.display());
        }
    }
}

/// Compresses what was rotated, and deletes what is too old.
struct Archive {
    path: PathBuf,
    kept: usize,
}

impl Archive {
    fn tidy_when_woken(&self, wakes: &Receiver<()>) {
        while wakes.recv().is_ok() {
            // One look is enough for all that was rotated until now.
            while wakes.try_recv().is_ok() {}
            if let Err(error) = self.tidy() {
                tracing::warn!(reason = %error, "Rotated log files could not be put in order; the next rotation tries again");
            }
        }
    }

    fn tidy(&self) -> io::Result<()> {
        let numbers: Vec<_> = numbers(&self.path)?.into_iter().collect();
        let (old, kept) = numbers.split_at(numbers.len().saturating_sub(self.kept));
        for number in old {
            for name in [number.to_string(), format!("{number}.gz")] {
                remove(&beside(&self.path, &name))?;
            }
        }
        kept.iter().try_for_each(|number| self.compress(*number))
    }

    fn compress(&self, number: u64) -> io::Result<()> {
        let plain = beside(&self.path, &number.to_string());
        let done = beside(&self.path, &format!("{number}.gz"));
        let unfinished = beside(&self.path, "gz-part");
        if !plain.exists() {
            return Ok(());
        }
        if !done.exists() {
            let target =
                OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&unfinished)?;
            let mut encoder = GzEncoder::new(target, Compression::default());
            io::copy(&mut File::open(&plain)?, &mut encoder)?;
            encoder.finish()?.sync_all()?;
            fs::rename(&unfinished, &done)?;
        }
        remove(&plain)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(MODE).open(path)
}

/// A file beside `path`, whose name goes on with `.` and `suffix`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Deletes what may be gone already.
fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
        .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Numbers of the rotated files, compressed or not.
fn numbers(path: &Path) -> io::Result<BTreeSet<u64>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?.file_name().to_string_lossy().into_owned();
        let suffix = entry.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.'));
        numbers.extend(
            suffix.and_then(|suffix| suffix.strip_suffix(".gz").unwrap_or(suffix).parse::<u64>().ok()),
        );
    }
    Ok(numbers)
}

/// Length of the file, whose last line is ended if a crash of the machine has cut it off.
fn end_last_line(file: &mut File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let length = metadata.len();
    if length == 0 || !metadata.is_file() {
        return Ok(0);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(length);
    }
    file.write_all(b"\n")?;
    Ok(length + 1)
}

/// Bytes of the whole lines within the first `room` bytes.
fn whole_lines(lines: &[u8], room: usize) -> usize {
    let within = &lines[..room.min(lines.len())];
    within.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
}

/// Bytes of the first line.
fn first_line(lines: &[u8]) -> usize {
    lines.iter().position(|&byte| byte == b'\n').map_or(lines.len(), |at| at + 1)
}
