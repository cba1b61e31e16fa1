//! Where the exporters keep their state, and what the faults do to it: two slots in a folder, on a small disk of its own
//! where the machine allows it, or a row of a database.

use std::fs;
use std::path::{Path, PathBuf};

use crate::proxy::Proxy;
use crate::random::Random;
use crate::small_disk::SmallDisk;
use crate::{ExporterSetup, MariaDb};

use super::Store;
use super::schedule::DATABASE_LINK;

const SLOTS: [&str; 2] = ["state.0", "state.1"];
/// Size of the slots' disk.
const DISK_MEBIBYTES: u32 = 8;

/// The exporters' store. The schedule asks of each kind only for the faults that it has.
#[derive(Debug)]
pub(super) enum Checkpoints {
    Folder(Slots),
    Database(MariaDb),
}

impl Checkpoints {
    /// Makes the store, with its files in `folder`, as far as it has any.
    pub(super) fn start(store: Store, folder: &Path) -> Self {
        match store {
            Store::Folder => Self::Folder(Slots::in_folder(&folder.join("checkpoints"))),
            Store::Mysql => Self::Database(MariaDb::start()),
        }
    }

    /// An exporter that keeps its state there; `links` are the ways that faults may strike.
    pub(super) fn used_by(&self, setup: ExporterSetup, links: &[Proxy]) -> ExporterSetup {
        match self {
            Self::Folder(slots) => setup.checkpoints(&slots.folder),
            Self::Database(database) => setup.database_url(&database.url_by(&links[DATABASE_LINK])),
        }
    }

    /// What this machine does not allow.
    pub(super) fn skipped(&self) -> Option<String> {
        match self {
            Self::Folder(slots) => slots.disk.as_ref().err().map(|why| format!("no full disk: {why}")),
            Self::Database(_) => None,
        }
    }

    /// The slots of a folder.
    pub(super) fn slots(&mut self) -> &mut Slots {
        match self {
            Self::Folder(slots) => slots,
            Self::Database(_) => panic!("the schedule struck slots that there are none of"),
        }
    }

    /// The database.
    pub(super) fn database(&mut self) -> &mut MariaDb {
        match self {
            Self::Database(database) => database,
            Self::Folder(_) => panic!("the schedule struck a database that there is none of"),
        }
    }

    /// Damages every copy of the state, so that counting has to begin anew.
    pub(super) fn damage_all(&self, dice: &mut Random) {
        match self {
            Self::Folder(slots) => SLOTS.iter().for_each(|slot| slots.damage(slot, dice)),
            // Its checksum tells, wherever it is cut.
            Self::Database(database) => {
                let kept = dice.between(0, 9);
                database.sql(&format!(
                    "UPDATE exporter_checkpoints SET state = LEFT(state, LENGTH(state) * {kept} DIV 10)"
                ));
            }
        }
    }

    /// Keeps copies of what stands outside the run's folder.
    pub(super) fn keep(&self, folder: &Path) {
        match self {
            Self::Folder(slots) if slots.disk.is_ok() => {
                let kept = folder.join("slots");
                let _ = fs::create_dir(&kept);
                for slot in SLOTS {
                    let _ = fs::copy(slots.folder.join(slot), kept.join(slot));
                }
            }
            Self::Folder(_) => {}
            Self::Database(database) => {
                let _ = fs::write(folder.join("mariadbd.log"), database.log());
            }
        }
    }
}

/// Two slots in a folder.
#[derive(Debug)]
pub(super) struct Slots {
    folder: PathBuf,
    /// The folder's own disk, or why it has none.
    disk: Result<SmallDisk, String>,
    /// The slot that was damaged last, and how it was left.
    damaged: Option<(&'static str, Vec<u8>)>,
}

impl Slots {
    fn in_folder(folder: &Path) -> Self {
        fs::create_dir(folder).unwrap();
        Self { folder: folder.to_owned(), disk: SmallDisk::mount(folder, DISK_MEBIBYTES), damaged: None }
    }

    /// Power fails while a checkpoint is written: the slot that was renamed last may have its former content, for the
    /// folder was not synced yet, and what is not renamed may hold anything. (What both slots hold was synced.)
    pub(super) fn unsync(&self, dice: &mut Random) {
        let contents = SLOTS.map(|slot| fs::read(self.folder.join(slot)).ok());
        if let [Some(first), Some(second)] = &contents
            && generation_of(first) > generation_of(second)
            && dice.coin()
        {
            // The first slot is written first. On a full disk it stays as it is.
            let _ = fs::write(self.folder.join(SLOTS[0]), second);
        }
        let _ = fs::write(self.folder.join(format!("{}.new", SLOTS[dice.place(2)])), "torn");
    }

    /// Damages one slot: the same again, if it is still as it was left the last time.
    pub(super) fn damage_one(&mut self, dice: &mut Random) {
        let is_as_left = |(slot, content): &(&str, Vec<u8>)| {
            fs::read(self.folder.join(slot)).is_ok_and(|found| found == *content)
        };
        let slot = match self.damaged.take().filter(is_as_left) {
            Some((slot, _)) => slot,
            None => SLOTS[dice.place(2)],
        };
        self.damage(slot, dice);
        self.damaged = fs::read(self.folder.join(slot)).ok().map(|content| (slot, content));
    }

    /// Cuts a slot or changes a bit of it.
    fn damage(&self, slot: &str, dice: &mut Random) {
        let path = self.folder.join(slot);
        let Ok(mut content) = fs::read(&path) else { return };
        if content.is_empty() {
            return;
        }
        let place = dice.place(content.len());
        if dice.coin() {
            content.truncate(place);
        } else {
            content[place] ^= 1 << dice.place(8);
        }
        // On a full disk it is gone, which is damage as well.
        let _ = fs::write(path, content);
    }

    /// Leaves no room on the disk, where there is one.
    pub(super) fn fill(&self) {
        self.disk.iter().for_each(SmallDisk::fill);
    }

    /// Makes room again.
    pub(super) fn clear(&self) {
        self.disk.iter().for_each(SmallDisk::clear);
    }
}

/// The number of the checkpoint in a slot; it stands behind the magic.
fn generation_of(slot: &[u8]) -> Option<u64> {
    slot.get(8..16)?.try_into().map(u64::from_le_bytes).ok()
}
