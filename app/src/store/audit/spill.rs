//! Records that wait for MySQL on the disk beside the journal, because it was away for so long that they would have
//! kept the journal from taking more.
//!
//! A record is on the disk when [`Spill::add`] returns; only then may the journal forget it. A kill in between leaves
//! it in both, and so does one before a file that was written to MySQL is deleted: every record has its number, and
//! what is written twice stands once. A line is `crc32 producer seq event`; one that a kill cut short is known by its
//! checksum. Files are written by one run, read from their start, and deleted when MySQL has all of them.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::row::Record;
use crate::clock;

const SUFFIX: &str = "spill";
/// A file is ended at this size, so that reading one takes little memory.
const FILE_BYTES: usize = 4 << 20;

/// See the file's head.
pub(super) struct Spill {
    folder: PathBuf,
    /// The file that is written to, and its size.
    writing: Option<(File, usize)>,
    /// What is left of the oldest file, and where that is.
    reading: Option<(PathBuf, VecDeque<Record>)>,
    waiting: u64,
    /// Number of the newest file: two within a millisecond have different names.
    files: u32,
    damaged: u64,
}

impl Spill {
    /// Takes what earlier runs left in `folder`; makes none.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut spill = Self {
            folder: folder.to_owned(),
            writing: None,
            reading: None,
            waiting: 0,
            files: 0,
            damaged: 0,
        };
        for path in spill.list()? {
            let mut lines = BufReader::new(File::open(path)?);
            while lines.skip_until(b'\n')? > 0 {
                spill.waiting += 1;
            }
        }
        Ok(spill)
    }

    /// How many records wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Lines that could not be read, since this was last asked. (The last one of a file that a kill cut short is none
    /// of them: its record is still in the journal.)
    pub(super) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    /// Adds records. They are on the disk when this returns.
    pub(super) fn add(&mut self, records: &[Record]) -> io::Result<()> {
        let mut lines = Vec::new();
        for record in records {
            encode(record, &mut lines);
        }
        let (mut file, size) = match self.writing.take() {
            Some((file, size)) if size < FILE_BYTES => (file, size),
            _ => (self.create()?, 0),
        };
        // A file that an error left in doubt is not written to any more: it was taken out above.
        file.write_all(&lines)?;
        file.sync_data()?;
        self.writing = Some((file, size + lines.len()));
        self.waiting += records.len() as u64;
        Ok(())
    }

    /// Makes a file whose name comes after all that are there, for names are the order in which files are read: also when
    /// an earlier run was as quick, or the clock has stepped back.
    fn create(&mut self) -> io::Result<File> {
        fs::create_dir_all(&self.folder)?;
        let (newest_ms, newest) = self.list()?.last().and_then(|path| number(path)).unwrap_or_default();
        self.files = self.files.max(newest) + 1;
        let name = format!("{:016}-{:06}.{SUFFIX}", clock::unix_ms().max(newest_ms), self.files);
        let file =
            OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.folder.join(name))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(file)
    }

    /// The oldest records, at most `most`; none when nothing waits.
    pub(super) fn oldest(&mut self, most: usize) -> io::Result<Vec<Record>> {
        loop {
            if let Some((path, records)) = &self.reading {
                if !records.is_empty() {
                    return Ok(records.iter().take(most).cloned().collect());
                }
                fs::remove_file(path)?;
                self.reading = None;
            }
            // It may be the oldest: what comes next goes into another.
            self.writing = None;
            let Some(path) = self.list()?.into_iter().next() else {
                self.waiting = 0;
                return Ok(Vec::new());
            };
            let records = self.read(&path)?;
            self.reading = Some((path, records));
        }
    }

    /// MySQL has the `count` oldest records.
    pub(super) fn written(&mut self, count: usize) -> io::Result<()> {
        if let Some((_, records)) = &mut self.reading {
            records.drain(..count.min(records.len()));
            self.waiting = self.waiting.saturating_sub(count as u64);
        }
        // Deletes the file if that was all of it.
        self.oldest(0).map(drop)
    }

    fn read(&mut self, path: &Path) -> io::Result<VecDeque<Record>> {
        let text = fs::read(path)?;
        let mut records = VecDeque::new();
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => match decode(line) {
                    Some(record) => records.push_back(record),
                    None => {
                        self.damaged += 1;
                        self.waiting = self.waiting.saturating_sub(1);
                    }
                },
                None => self.waiting = self.waiting.saturating_sub(1),
            }
        }
        Ok(records)
    }

    fn list(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == SUFFIX) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// The two numbers of a file's name.
fn number(path: &Path) -> Option<(u64, u32)> {
    let (ms, file) = path.file_stem()?.to_str()?.split_once('-')?;
    Some((ms.parse().ok()?, file.parse().ok()?))
}

fn encode(record: &Record, out: &mut Vec<u8>) {
    let rest = [format!("{} {} ", record.producer, record.seq).as_bytes(), &record.line].concat();
    out.extend_from_slice(format!("{:08x} ", crc32fast::hash(&rest)).as_bytes());
    out.extend_from_slice(&rest);
    out.push(b'\n');
}

fn decode(line: &[u8]) -> Option<Record> {
    let (crc, rest) = line.split_at_checked(8)?;
    let rest = rest.strip_prefix(b" ")?;
    if u32::from_str_radix(str::from_utf8(crc).ok()?, 16).ok()? != crc32fast::hash(rest) {
        return None;
    }
    let mut parts = rest.splitn(3, |&byte| byte == b' ');
    let producer = str::from_utf8(parts.next()?).ok()?.to_owned();
    let seq = str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    Some(Record { producer, seq, line: parts.next()?.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(seq: u64) -> Record {
        Record { producer: "run".into(), seq, line: format!(r#"{{"analysis":{{"t":{seq}}}}}"#).into_bytes() }
    }

    fn records(range: std::ops::RangeInclusive<u64>) -> Vec<Record> {
        range.map(record).collect()
    }

    #[test]
    fn what_was_added_comes_back_in_order_and_is_gone_when_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(&folder.path().join("not-yet")).unwrap();
        assert!(spill.oldest(10).unwrap().is_empty());
        spill.add(&records(1..=5)).unwrap();
        assert_eq!((spill.oldest(3).unwrap(), spill.waiting()), (records(1..=3), 5));
        spill.add(&records(6..=8)).unwrap();
        spill.written(3).unwrap();
        assert_eq!((spill.oldest(9).unwrap(), spill.waiting()), (records(4..=5), 5));
        spill.written(2).unwrap();
        assert_eq!(spill.oldest(9).unwrap(), records(6..=8));
        spill.written(3).unwrap();
        assert_eq!(spill.waiting(), 0);
        assert_eq!(fs::read_dir(folder.path().join("not-yet")).unwrap().count(), 0);
    }

    #[test]
    fn an_error_ends_the_file_that_it_left_in_doubt() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(folder.path()).unwrap();
        spill.add(&records(1..=1)).unwrap();
        // What cannot be written to stands for a disk that is full.
        spill.writing = Some((File::open(spill.list().unwrap().remove(0)).unwrap(), 0));
        spill.add(&records(2..=2)).unwrap_err();
        spill.add(&records(2..=2)).unwrap();
        assert_eq!(spill.list().unwrap().len(), 2);
        assert_eq!(spill.oldest(9).unwrap(), records(1..=1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Runs come and go; the last line of a run's last file may be torn; nothing that was added is lost.
        #[test]
        fn nothing_is_lost_over_runs_and_torn_tails(
            runs in prop::collection::vec((0..6u64, 0..4usize, any::<bool>()), 1..8),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (mut added, mut read) = (0, 0);
            for (count, take, torn) in runs {
                let mut spill = Spill::open(folder.path()).unwrap();
                if count > 0 {
                    spill.add(&records(added + 1..=added + count)).unwrap();
                    added += count;
                }
                // The process may die between writing to MySQL and saying so: what was read comes again.
                let batch = spill.oldest(take).unwrap();
                for record in &batch {
                    prop_assert!(record.seq <= read + 1, "{} after {read}", record.seq);
                    read = read.max(record.seq);
                }
                if !torn {
                    spill.written(batch.len()).unwrap();
                }
                if torn && let Some(newest) = spill.list().unwrap().pop() {
                    OpenOptions::new().append(true).open(newest).unwrap().write_all(b"0badc0de run 9").unwrap();
                }
            }
            let mut spill = Spill::open(folder.path()).unwrap();
            loop {
                let batch = spill.oldest(3).unwrap();
                if batch.is_empty() {
                    break;
                }
                for record in &batch {
                    prop_assert!(record.seq <= read + 1, "{} after {read}", record.seq);
                    read = read.max(record.seq);
                }
                spill.written(batch.len()).unwrap();
            }
            prop_assert_eq!((read, spill.waiting(), spill.take_damaged()), (added, 0, 0));
        }

        #[test]
        fn a_damaged_line_is_counted_and_costs_no_other(at in 0..40usize) {
            let folder = tempfile::tempdir().unwrap();
            let mut spill = Spill::open(folder.path()).unwrap();
            spill.add(&records(1..=3)).unwrap();
            let path = spill.list().unwrap().remove(0);
            let mut text = fs::read(&path).unwrap();
            let second = text.iter().position(|&byte| byte == b'\n').unwrap() + 1;
            text[second + at % 30] ^= 1;
            fs::write(&path, text).unwrap();
            prop_assert_eq!(spill.oldest(9).unwrap(), [record(1), record(3)]);
            prop_assert_eq!(spill.take_damaged(), 1);
        }
    }
}
