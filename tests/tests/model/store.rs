//! The store of one state: two slots and a lock, as a folder has them, and what damages them.

use std::rc::Rc;

/// What a slot holds.
#[derive(Debug, Clone, Default)]
enum Slot {
    #[default]
    Empty,
    Whole(u64, Rc<Vec<u8>>),
    Damaged,
}

/// What was found in the slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) state: Option<Rc<Vec<u8>>>,
    pub(crate) damaged: bool,
    /// Of the newest whole slot; the next commit has the one behind it.
    pub(crate) generation: u64,
}

/// One folder.
#[derive(Debug, Default)]
pub(crate) struct Store {
    slots: [Slot; 2],
    /// The exporter that holds the lock.
    holder: Option<usize>,
    /// The disk is full.
    pub(crate) full: bool,
    /// What stood in slot 0 once, for a person to restore.
    earlier: Vec<Rc<Vec<u8>>>,
}

impl Store {
    pub(crate) fn try_acquire(&mut self, exporter: usize) -> bool {
        *self.holder.get_or_insert(exporter) == exporter
    }

    /// The kernel frees a dead process' lock.
    pub(crate) fn release(&mut self, exporter: usize) {
        if self.holder == Some(exporter) {
            self.holder = None;
        }
    }

    /// The newest whole slot.
    pub(crate) fn load(&self) -> Found {
        let mut found = Found::default();
        for slot in &self.slots {
            match slot {
                Slot::Empty => {}
                Slot::Damaged => found.damaged = true,
                Slot::Whole(generation, state) => {
                    if found.state.is_none() || *generation > found.generation {
                        found.state = Some(Rc::clone(state));
                        found.generation = *generation;
                    }
                }
            }
        }
        found
    }

    /// Writes one slot, whole or not at all.
    pub(crate) fn write(&mut self, slot: usize, generation: u64, state: &Rc<Vec<u8>>) -> bool {
        if self.full {
            return false;
        }
        if slot == 0 && self.earlier.len() < 20 {
            self.earlier.push(Rc::clone(state));
        }
        self.slots[slot] = Slot::Whole(generation, Rc::clone(state));
        true
    }

    /// One slot goes bad, if all that are written are whole.
    pub(crate) fn damage_one(&mut self, slot: usize, written: usize) {
        if self.slots[..written].iter().all(|slot| matches!(slot, Slot::Whole(..))) {
            self.slots[slot] = Slot::Damaged;
        }
    }

    /// Both slots go bad, or are deleted.
    pub(crate) fn damage_both(&mut self, deleted: bool) {
        self.slots = if deleted { [Slot::Empty, Slot::Empty] } else { [Slot::Damaged, Slot::Damaged] };
    }

    /// A person restores what `is_old` says is old enough, from a backup.
    pub(crate) fn restore(&mut self, is_old: impl Fn(&[u8]) -> bool) -> bool {
        let Some(place) = self.earlier.iter().rposition(|state| is_old(state)) else { return false };
        let state = Rc::clone(&self.earlier[place]);
        self.slots = [Slot::Whole(1, Rc::clone(&state)), Slot::Whole(1, state)];
        true
    }
}
