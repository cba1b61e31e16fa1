//! How many analyses run at once, and how many may wait for their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Lets analyses in, one after another.
#[derive(Debug)]
pub struct Admission {
    slots: Arc<Semaphore>,
    all_slots: u32,
    waiting: AtomicUsize,
    most_waiting: usize,
    cut: CancellationToken,
}

impl Admission {
    /// At most `running` at once, and `most_waiting` in line; none any more once `cut` is cancelled.
    pub fn new(running: usize, most_waiting: usize, cut: CancellationToken) -> Self {
        let all_slots = u32::try_from(running).unwrap_or(u32::MAX);
        Self {
            slots: Arc::new(Semaphore::new(running)),
            all_slots,
            waiting: AtomicUsize::new(0),
            most_waiting,
            cut,
        }
    }

    /// A place to run in, or nothing when the line is full or does not move within `patience`.
    pub async fn admit(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        if self.cut.is_cancelled() {
            return None;
        }
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        let _place = Place::take(&self.waiting, self.most_waiting)?;
        tokio::select! {
            biased;
            () = self.cut.cancelled() => None,
            slot = tokio::time::timeout(patience, Arc::clone(&self.slots).acquire_owned()) => slot.ok()?.ok(),
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until nothing runs.
    pub async fn idle(&self) {
        // An error would mean that the semaphore was closed, which nobody does.
        let _all = self.slots.acquire_many(self.all_slots).await;
    }
}

/// A place in the line; given back also when the caller goes away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let more = |count: usize| (count < most).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn some_run_some_wait_and_the_rest_is_refused() {
        let admission = Admission::new(1, 1, CancellationToken::new());
        let running = admission.admit(Duration::ZERO).await.unwrap();
        let mut second = std::pin::pin!(admission.admit(Duration::from_secs(60)));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(admission.waiting(), 1);
        assert!(admission.admit(Duration::from_secs(60)).await.is_none(), "the line is full");
        drop(running);
        assert!(second.await.is_some());
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test]
    async fn patience_ends_and_the_place_in_line_is_given_back() {
        let admission = Admission::new(1, 1, CancellationToken::new());
        let _running = admission.admit(Duration::ZERO).await.unwrap();
        assert!(admission.admit(Duration::from_millis(1)).await.is_none());
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test]
    async fn at_the_end_nobody_is_let_in_not_even_who_stands_in_line() {
        let cut = CancellationToken::new();
        let admission = Admission::new(1, 1, cut.clone());
        let running = admission.admit(Duration::ZERO).await.unwrap();
        let mut second = std::pin::pin!(admission.admit(Duration::from_secs(60)));
        assert!(futures_util::poll!(&mut second).is_pending());
        cut.cancel();
        drop(running);
        assert!(second.await.is_none());
        assert!(admission.admit(Duration::from_secs(60)).await.is_none(), "though there is a place");
        assert_eq!(admission.waiting(), 0);
    }
}
