//! The apps' journal files, seen from outside: how many facts each run accepted, by its own word, and what a power loss
//! leaves of it.
//!
//! Every file is linked into a folder of the harness as well, so that its word outlives it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::random::Random;

const PAGE: usize = 4096;
const ENDING: &str = "journal";
/// Where the header keeps the number of the newest record, and the position behind it.
const AT_LAST_SEQ: usize = 64;
const AT_END: usize = 72;
const AT_CAPACITY: usize = 16;
/// How many earlier pictures are kept.
const PICTURES: usize = 12;

/// What was in a file whose machine lost power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PowerLoss {
    /// Number of the newest record.
    pub(super) accepted: u64,
    /// Up to here every record is on pages that the loss left alone.
    pub(super) safe: u64,
}

/// The journals of one app, of all its runs.
#[derive(Debug)]
pub(super) struct Journals {
    folder: PathBuf,
    links: PathBuf,
    /// Producer → what became of its file, if power was lost.
    pub(super) runs: BTreeMap<String, Option<PowerLoss>>,
    /// The newest run's producer, and its file as it was a while ago: header and the ring up to the end.
    newest: String,
    pictures: VecDeque<Vec<u8>>,
}

impl Journals {
    /// The journals in `folder`, linked into `links`.
    pub(super) fn in_folder(folder: &Path, links: &Path) -> Self {
        fs::create_dir_all(links).unwrap();
        Self {
            folder: folder.to_owned(),
            links: links.to_owned(),
            runs: BTreeMap::new(),
            newest: String::new(),
            pictures: VecDeque::new(),
        }
    }

    fn present(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        files.filter(|path| path.extension().is_some_and(|ending| ending == ENDING)).collect()
    }

    /// Whether no file is left.
    pub(super) fn are_drained(&self) -> bool {
        self.present().is_empty()
    }

    /// Notes new files, and takes a picture of the newest.
    pub(super) fn look(&mut self) {
        for path in self.present() {
            let producer = path.file_stem().unwrap().to_string_lossy().into_owned();
            // A file that ends at this moment is one that was linked long ago.
            if !self.runs.contains_key(&producer) && fs::hard_link(&path, self.link(&producer)).is_ok() {
                self.runs.insert(producer.clone(), None);
                self.newest = producer;
                self.pictures.clear();
            }
        }
        if let Some(picture) = self.picture() {
            self.pictures.push_back(picture);
            if self.pictures.len() > PICTURES {
                self.pictures.pop_front();
            }
        }
    }

    fn link(&self, producer: &str) -> PathBuf {
        self.links.join(format!("{producer}.{ENDING}"))
    }

    /// The newest run's file up to the end of its records.
    fn picture(&self) -> Option<Vec<u8>> {
        let file = File::open(self.link(&self.newest)).ok()?;
        let mut picture = vec![0; PAGE];
        file.read_exact_at(&mut picture, 0).ok()?;
        let end = word(&picture, AT_END) as usize;
        picture.resize((PAGE + end).next_multiple_of(PAGE), 0);
        file.read_exact_at(&mut picture[PAGE..], PAGE as u64).ok()?;
        Some(picture)
    }

    /// The number of a run's newest record, by its file's own word; 0 of a file without any.
    pub(super) fn last_seq(&self, producer: &str) -> u64 {
        let mut header = [0; PAGE];
        File::open(self.link(producer)).unwrap().read_exact_at(&mut header, 0).unwrap();
        word(&header, AT_LAST_SEQ)
    }

    /// What a power loss does to the newest run's file, whose process is killed: each page that was written lately is
    /// as it was at some moment before, or as it was. (No page of the ring is ever synced on purpose. The header is,
    /// when an eighth of the ring has been freed; runs are too short for that here, and where one is not, its header
    /// stays.)
    pub(super) fn lose_power(&mut self, dice: &mut Random) {
        self.look();
        let Some(now) = self.pictures.pop_back() else { return };
        let old = dice.place(self.pictures.len().max(1));
        let earlier = self.pictures.get(old).cloned().unwrap_or_else(|| now.clone());
        let file = File::options().write(true).open(self.link(&self.newest)).unwrap();
        let first = if word(&now, AT_END) < word(&now, AT_CAPACITY) / 8 { 0 } else { 1 };
        // All of it, or each page by itself.
        let all = dice.coin();
        for page in first..now.len() / PAGE {
            let bytes = page * PAGE..(page + 1) * PAGE;
            if all || dice.coin() {
                let before = earlier.get(bytes.clone()).unwrap_or(&[0; PAGE]);
                file.write_all_at(before, bytes.start as u64).unwrap();
            }
        }
        let mut loss = PowerLoss { accepted: word(&now, AT_LAST_SEQ), safe: word(&earlier, AT_LAST_SEQ) };
        // It may be lost twice: before and after another run took the file over.
        if let Some(before) = self.runs.get(&self.newest).copied().flatten() {
            loss.accepted = loss.accepted.max(before.accepted);
            loss.safe = loss.safe.min(before.safe);
        }
        self.runs.insert(self.newest.clone(), Some(loss));
        self.pictures.clear();
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}
