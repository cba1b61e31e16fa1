//! A checkpoint in a folder: two slots, written one after the other, and a lock that the kernel frees with the process.
//!
//! Each slot is written to a temporary file, synced, renamed, and the folder synced; so at any moment at least one slot
//! is whole, and after a commit both are. Two, because a slot may be damaged later by whatever damages files.
//!
//! A slot is `magic, generation, length, crc32, state`; the crc covers generation, length and state.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::lease::Moment;
use super::{Loaded, Store, StoreError};

const MAGIC: &[u8; 8] = b"TSCKPT1\n";
const SLOTS: [&str; 2] = ["state.0", "state.1"];
const HEADER_BYTES: usize = 8 + 8 + 8 + 4;

/// Two slots and a lock in one folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: Option<File>,
    generation: u64,
}

impl Folder {
    /// Uses the folder at `path`, making it if it is missing, and makes sure that it can be written to.
    ///
    /// # Errors
    /// It cannot be made or written to.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = Self { path: path.to_owned(), lock: None, generation: 0 };
        std::fs::create_dir_all(path).map_err(folder.failed("cannot make the folder"))?;
        folder.open_lock()?;
        Ok(folder)
    }

    fn open_lock(&self) -> Result<File, StoreError> {
        let options =
            OpenOptions::new().create(true).truncate(false).write(true).open(self.path.join("lock"));
        options.map_err(self.failed("cannot write to the folder"))
    }

    fn failed(&self, step: &'static str) -> impl Fn(std::io::Error) -> StoreError + use<> {
        let path = self.path.display().to_string();
        move |source| StoreError::Failed {
            step: format!("checkpoint.dir {path}: {step}"),
            source: source.into(),
        }
    }

    fn write_slot(&self, slot: &str, content: &[&[u8]]) -> std::io::Result<()> {
        let (target, temporary) = (self.path.join(slot), self.path.join(format!("{slot}.new")));
        let mut file = File::create(&temporary)?;
        for part in content {
            file.write_all(part)?;
        }
        file.sync_all()?;
        std::fs::rename(&temporary, &target)?;
        File::open(&self.path)?.sync_all()
    }
}

/// The newest whole checkpoint in the folder at `path`, with the time when it was written: for those who only look. A
/// folder that is not there holds none.
///
/// # Errors
/// None can be read, and one that may be whole stands there.
pub fn look(path: &Path) -> std::io::Result<(Loaded, Option<SystemTime>)> {
    let (loaded, _) = read_slots(path)?;
    let written = |slot| path.join(slot).metadata().and_then(|slot| slot.modified()).ok();
    Ok((loaded, SLOTS.into_iter().filter_map(written).max()))
}

/// What the slots hold, and the highest generation among the whole ones.
///
/// A slot that the system does not let us read may be whole: begun anew, its counts would be written over. So it is an
/// error, unless the other slot, which holds all that was acknowledged, can be read.
fn read_slots(folder: &Path) -> std::io::Result<(Loaded, u64)> {
    let mut loaded = Loaded::default();
    let mut unreadable = None;
    let mut newest: Option<(u64, Vec<u8>)> = None;
    for slot in SLOTS {
        match read_slot(&folder.join(slot)) {
            Ok(Some((generation, state))) => {
                if newest.as_ref().is_none_or(|&(known, _)| generation > known) {
                    newest = Some((generation, state));
                }
            }
            Ok(None) => {}
            Err(Fault::Damaged(why)) => {
                loaded.damaged.push(format!("{}: {why}", folder.join(slot).display()));
            }
            Err(Fault::Unreadable(error)) => {
                loaded.damaged.push(format!("{}: {error}", folder.join(slot).display()));
                unreadable = Some(error);
            }
        }
    }
    if let Some(error) = unreadable.filter(|_| newest.is_none()) {
        return Err(error);
    }
    let generation = newest.as_ref().map_or(0, |&(generation, _)| generation);
    loaded.state = newest.map(|(_, state)| state);
    Ok((loaded, generation))
}

/// Why a slot is of no use.
enum Fault {
    /// What it holds is no checkpoint, or not a whole one.
    Damaged(&'static str),
    /// What it holds is not known.
    Unreadable(std::io::Error),
}

fn read_slot(path: &Path) -> Result<Option<(u64, Vec<u8>)>, Fault> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::Unreadable(error)),
    };
    parse_slot(&content).map(Some).map_err(Fault::Damaged)
}

fn parse_slot(content: &[u8]) -> Result<(u64, Vec<u8>), &'static str> {
    let Some((header, state)) = content.split_at_checked(HEADER_BYTES) else {
        return Err("it is shorter than a checkpoint's header");
    };
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
    if &header[..8] != MAGIC {
        return Err("it is no checkpoint of this version");
    }
    if number(16) != state.len() as u64 {
        return Err("it was cut off");
    }
    let crc = u32::from_le_bytes(std::array::from_fn(|byte| header[24 + byte]));
    if crc != checksum(&header[8..24], state) {
        return Err("its checksum does not match");
    }
    Ok((number(8), state.to_vec()))
}

fn checksum(numbers: &[u8], state: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(numbers);
    hasher.update(state);
    hasher.finalize()
}

impl Store for Folder {
    fn try_acquire(&mut self) -> Result<bool, StoreError> {
        if self.lock.is_some() {
            return Ok(true);
        }
        let file = self.open_lock()?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                self.lock = Some(file);
                Ok(true)
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(self.failed("cannot lock the folder")(error.into())),
        }
    }

    fn renew(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn held_until(&self) -> Option<Moment> {
        None
    }

    fn load(&mut self) -> Result<Loaded, StoreError> {
        let (loaded, generation) = read_slots(&self.path)
            .map_err(self.failed("cannot read the checkpoint; make its files this user's"))?;
        self.generation = self.generation.max(generation);
        Ok(loaded)
    }

    fn commit(&mut self, state: &[u8]) -> Result<(), StoreError> {
        self.generation += 1;
        let mut numbers = [0; 16];
        numbers[..8].copy_from_slice(&self.generation.to_le_bytes());
        numbers[8..].copy_from_slice(&(state.len() as u64).to_le_bytes());
        let crc = checksum(&numbers, state).to_le_bytes();
        for slot in SLOTS {
            self.write_slot(slot, &[MAGIC, &numbers, &crc, state])
                .map_err(self.failed("cannot write a checkpoint"))?;
        }
        Ok(())
    }

    fn release(&mut self) {
        self.lock = None;
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path()).unwrap();
        assert!(folder.try_acquire().unwrap());
        (dir, folder)
    }

    #[test]
    fn the_newest_whole_slot_is_loaded() {
        let (dir, mut folder) = folder();
        assert!(folder.load().unwrap().state.is_none());
        folder.commit(b"first").unwrap();
        let old = std::fs::read(dir.path().join(SLOTS[1])).unwrap();
        folder.commit(b"second").unwrap();
        // As if power had failed between the two slots.
        std::fs::write(dir.path().join(SLOTS[1]), old).unwrap();
        assert_eq!(folder.load().unwrap().state.unwrap(), b"second");
    }

    #[test]
    fn damage_is_noticed_told_and_survived() {
        let (dir, mut folder) = folder();
        folder.commit(b"the state").unwrap();
        let slot = dir.path().join(SLOTS[0]);
        let whole = std::fs::read(&slot).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&slot, flipped).unwrap();
            let loaded = folder.load().unwrap();
            assert_eq!(loaded.state.unwrap(), b"the state", "bit {at}");
            assert_eq!(loaded.damaged.len(), 1, "bit {at}");
        }
        for length in 0..whole.len() {
            std::fs::write(&slot, &whole[..length]).unwrap();
            assert_eq!(folder.load().unwrap().damaged.len(), 1, "cut at {length}");
        }
        std::fs::write(dir.path().join(SLOTS[1]), b"").unwrap();
        let loaded = folder.load().unwrap();
        assert!(loaded.state.is_none());
        assert_eq!(loaded.damaged.len(), 2);
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_is_no_damaged_one() {
        let (dir, mut folder) = folder();
        folder.commit(b"the state").unwrap();
        // Not even root reads a folder as a file.
        let unreadable = |slot: &str| {
            std::fs::rename(dir.path().join(slot), dir.path().join(format!("{slot}.away"))).unwrap();
            std::fs::create_dir(dir.path().join(slot)).unwrap();
        };
        unreadable(SLOTS[0]);
        let loaded = folder.load().unwrap();
        assert_eq!((loaded.state.unwrap().as_slice(), loaded.damaged.len()), (&b"the state"[..], 1));
        unreadable(SLOTS[1]);
        let error = folder.load().unwrap_err().to_string();
        assert!(error.contains("cannot read the checkpoint"), "{error}");
        assert!(look(dir.path()).is_err());
        // Beside one that cannot be read, a damaged one is no reason to begin anew either.
        std::fs::remove_dir(dir.path().join(SLOTS[1])).unwrap();
        std::fs::write(dir.path().join(SLOTS[1]), b"TSCK").unwrap();
        assert!(folder.load().is_err());
    }

    #[test]
    fn one_holder_at_a_time() {
        let (dir, holder) = folder();
        let mut second = Folder::open(dir.path()).unwrap();
        assert!(!second.try_acquire().unwrap());
        drop(holder);
        assert!(second.try_acquire().unwrap());
        let mut third = Folder::open(dir.path()).unwrap();
        assert!(!third.try_acquire().unwrap());
        second.release();
        assert!(third.try_acquire().unwrap());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let error = Folder::open(&file.join("sub")).unwrap_err();
        assert!(error.to_string().contains("file/sub: cannot make the folder"), "{error}");
    }
}
