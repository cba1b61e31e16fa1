//! The answers of this process, bounded in bytes: the least useful ones make room. How old one may be, others decide.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use super::key::Key;
use crate::analysis::Report;

/// What an answer takes beside its stored form: the comparisons of its pairs, and its place here.
const OVERHEAD_BYTES: u64 = 2_048;
/// What an answer takes more or less, for an idea of how many there will be.
const TYPICAL_BYTES: u64 = 16_384;

/// Bounded memory for answers.
pub(super) struct Memory(Mutex<Cache<Key, Entry, Bytes>>);

struct Entry {
    report: Arc<Report>,
    bytes: u64,
}

/// Weighs an answer by its size.
#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        entry.bytes
    }
}

impl Memory {
    /// Room for this many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let answers = usize::try_from(bytes / TYPICAL_BYTES).unwrap_or(usize::MAX).clamp(1, 1 << 20);
        Self(Mutex::new(Cache::with_weighter(answers, bytes, Bytes)))
    }

    fn cache(&self) -> MutexGuard<'_, Cache<Key, Entry, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Report>> {
        self.cache().get(key).map(|entry| Arc::clone(&entry.report))
    }

    /// Keeps an answer whose stored form has `bytes`, in the place of one with the same key.
    pub(super) fn insert(&self, key: Key, report: Arc<Report>, bytes: usize) {
        self.cache().insert(key, Entry { report, bytes: bytes as u64 + OVERHEAD_BYTES });
    }

    pub(super) fn remove(&self, key: &Key) {
        self.cache().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use techsapo_shared::labels::TaskType;

    use super::*;
    use crate::analysis::{Failure, Mode, Verdict};

    fn report(needed: usize) -> Arc<Report> {
        Arc::new(Report {
            task_type: TaskType::Basic,
            mode: Mode::Parallel,
            needed,
            calls: Vec::new(),
            verdict: Verdict::default(),
            outcome: Err(Failure::NotEnoughAnswers),
            synthesis: None,
            ended_ms: 0,
            duration: Duration::ZERO,
        })
    }

    #[test]
    fn it_never_holds_more_bytes_than_it_may() {
        const ROOM: u64 = 200_000;
        let memory = Memory::new(ROOM);
        for number in 0..300_usize {
            memory.insert(Key::numbered(number), report(number), 4_000 + 10 * (number % 100));
            assert!(memory.cache().weight() <= ROOM);
        }
        let kept = (0..300).filter(|&number| memory.get(&Key::numbered(number)).is_some()).count();
        assert!((20..=33).contains(&kept), "{kept}");
        memory.insert(Key::numbered(1), report(1), 1_000_000);
        assert!(memory.get(&Key::numbered(1)).is_none(), "larger than all the room");
    }

    #[test]
    fn a_later_answer_takes_the_place_of_an_earlier_one() {
        let memory = Memory::new(100_000);
        let key = Key::numbered(7);
        memory.insert(key, report(1), 10);
        memory.insert(key, report(2), 20);
        assert_eq!(memory.get(&key).unwrap().needed, 2);
        assert_eq!(memory.cache().weight(), 20 + OVERHEAD_BYTES);
        memory.remove(&key);
        assert!(memory.get(&key).is_none());
    }
}
