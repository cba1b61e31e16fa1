//! Small facts that wait for the request that they belong to.
//!
//! A request states half a dozen facts of a few bytes: that its caller was let in, that a cache was looked into, that Redis was
//! asked. Stating each when it happens costs a request more than stating all of them at its end, in one record of the journal: the
//! code that writes them has left the processor's caches each time. So a request's task keeps them aside
//! ([`Recorder::gather`]) until its own fact is stated.
//!
//! What must hold: nothing that was gathered is forgotten. Whatever ends the request (an answer, a caller who goes away, a panic),
//! what it gathered is recorded then. A process that is killed in the middle of a request loses them with it: a request that
//! was not answered may or may not have been counted.

use std::cell::RefCell;
use std::pin::pin;

use techsapo_shared::event::Event;

use super::Recorder;

/// So many are recorded without waiting for more: a request that does the same thing again and again holds no more memory.
const MOST: usize = 32;
/// So many are usual.
const USUAL: usize = 8;

tokio::task_local! {
    /// Of the request that the current task is at work on.
    static GATHERED: RefCell<Gathered>;
}

/// What was gathered. Dropped, it is recorded.
pub struct Gathered {
    recorder: Recorder,
    events: Vec<Event<'static>>,
}

impl Recorder {
    /// Does `work`, and keeps aside the small facts that are recorded meanwhile in the same task. Without a journal there is
    /// nothing to gather.
    pub async fn gather<T>(&self, work: impl Future<Output = T>) -> (T, Gathered) {
        let mut work = pin!(work);
        if !self.is_on() {
            return (work.await, Gathered::nothing(self));
        }
        let begun = Gathered { recorder: self.clone(), events: Vec::with_capacity(USUAL) };
        let mut scope = pin!(GATHERED.scope(RefCell::new(begun), work.as_mut()));
        let output = scope.as_mut().await;
        // It is there as long as nobody has taken it.
        let gathered = scope.take_value().map_or_else(|| Gathered::nothing(self), RefCell::into_inner);
        (output, gathered)
    }
}

impl Gathered {
    /// Of a request whose facts do not wait for it.
    pub fn nothing(recorder: &Recorder) -> Self {
        Self { recorder: recorder.clone(), events: Vec::new() }
    }

    /// Records what was gathered together with the fact that it waited for.
    pub fn record_with(mut self, event: Event<'_>) {
        let mut events: Vec<Event<'_>> = std::mem::take(&mut self.events);
        events.push(event);
        self.recorder.record_all(&events);
    }

    fn record(&mut self) {
        let events = std::mem::take(&mut self.events);
        self.recorder.record_all(&events);
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.record();
    }
}

/// Keeps `event` aside, if it is a small one and its task is at work on a request; else says no.
pub(super) fn keep(event: &Event<'_>) -> bool {
    let small = match event {
        Event::RedisOperation(event) => Event::RedisOperation(event.clone()),
        Event::CacheLookup(event) => Event::CacheLookup(event.clone()),
        Event::AuthAttempt(event) => Event::AuthAttempt(event.clone()),
        _ => return false,
    };
    let kept = GATHERED.try_with(|gathered| {
        let mut gathered = gathered.borrow_mut();
        gathered.events.push(small);
        if gathered.events.len() >= MOST {
            gathered.record();
        }
    });
    kept.is_ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use techsapo_shared::event::{Anomaly, CacheLookup};
    use techsapo_shared::labels::{AnomalyType, CacheType};

    use super::*;

    fn look(t: u64) -> Event<'static> {
        Event::CacheLookup(CacheLookup { t, cache_type: CacheType::Memory, hit: false })
    }

    fn anomaly(t: u64) -> Event<'static> {
        Event::Anomaly(Anomaly { t, kind: AnomalyType::TrafficSpike })
    }

    /// Times of the facts that were recorded, in their order.
    fn recorded(recorder: &Recorder) -> Vec<u64> {
        let event = |line: &String| {
            serde_json::from_str::<Event<'_>>(line).unwrap_or_else(|error| panic!("{error}: {line}")).t()
        };
        recorder.pending_lines().iter().map(event).collect()
    }

    #[tokio::test]
    async fn small_facts_wait_for_the_fact_of_their_request_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(folder.path(), 1 << 20).unwrap();
        recorder.record(&look(1));
        let work = async {
            recorder.record(&look(2));
            recorder.record(&anomaly(3));
            tokio::task::yield_now().await;
            recorder.record(&look(4));
            recorded(&recorder)
        };
        let (meanwhile, gathered) = recorder.gather(work).await;
        assert_eq!(meanwhile, [1, 3]);
        recorder.record(&look(5));
        assert_eq!(recorded(&recorder), [1, 3, 5], "it came behind the work");
        gathered.record_with(anomaly(6));
        assert_eq!(recorded(&recorder), [1, 3, 5, 2, 4, 6]);
    }

    #[tokio::test]
    async fn what_was_gathered_is_recorded_whatever_becomes_of_the_request() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(folder.path(), 1 << 20).unwrap();
        let never_ends = recorder.gather(async {
            recorder.record(&look(1));
            std::future::pending::<()>().await;
        });
        assert!(never_ends.now_or_never().is_none());
        assert_eq!(recorded(&recorder), [1], "its caller went away");

        let panics = recorder.gather(async {
            recorder.record(&look(2));
            panic!("a bug");
        });
        let panicked: Result<((), Gathered), _> = std::panic::AssertUnwindSafe(panics).catch_unwind().await;
        assert!(panicked.is_err());
        assert_eq!(recorded(&recorder), [1, 2]);

        let (_, gathered) = recorder.gather(async { recorder.record(&look(3)) }).await;
        drop(gathered);
        assert_eq!(recorded(&recorder), [1, 2, 3], "no fact of its own followed");
    }

    #[tokio::test]
    async fn who_does_the_same_again_and_again_keeps_little_aside() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(folder.path(), 1 << 20).unwrap();
        let most = MOST as u64;
        let work = async { (1..=most + 1).for_each(|t| recorder.record(&look(t))) };
        let (_, gathered) = recorder.gather(work).await;
        assert_eq!(recorded(&recorder), Vec::from_iter(1..=most));
        drop(gathered);
        assert_eq!(recorded(&recorder), Vec::from_iter(1..=most + 1));
    }

    #[tokio::test]
    async fn without_a_journal_nothing_is_gathered() {
        let recorder = Recorder::off();
        let (_, gathered) = recorder.gather(async { recorder.record(&look(1)) }).await;
        assert!(gathered.events.is_empty());
        gathered.record_with(anomaly(2));
    }
}
