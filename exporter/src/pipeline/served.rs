//! What the page may show: the pipeline writes it, the page reads it.
//!
//! What comes in: the last durable checkpoint, and until when the lock is held. What must hold: nothing is given out
//! past that moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checkpoint::lease::Moment;

/// What may be served at the moment: written by the pipeline, read by the page.
#[derive(Clone, Default)]
pub struct Served(Arc<Mutex<Serving>>);

/// See [`Served`].
#[derive(Clone, Default)]
pub struct Serving {
    /// Whether this exporter holds the state's lock.
    pub leader: bool,
    /// The last durable checkpoint.
    pub checkpoint: Option<Arc<Vec<u8>>>,
    /// Until when all this holds; nothing if until it is changed.
    pub until: Option<Moment>,
}

impl Serving {
    /// Whether the lock has run out, and may be another's by now.
    pub fn has_lapsed(&self) -> bool {
        self.until.is_some_and(Moment::has_passed)
    }
}

impl Served {
    /// What may be served now: nothing, once the lock has run out, even if the pipeline hangs and cannot say so.
    pub fn get(&self) -> Serving {
        let serving = self.lock().clone();
        if serving.has_lapsed() { Serving { until: serving.until, ..Serving::default() } } else { serving }
    }

    pub(super) fn set(&self, serving: Serving) {
        *self.lock() = serving;
    }

    pub(super) fn extend(&self, until: Option<Moment>) {
        self.lock().until = until;
    }

    fn lock(&self) -> MutexGuard<'_, Serving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_is_served_past_the_end_of_a_lease() {
        let served = Served::default();
        let later = Moment::now().plus(Duration::from_secs(3_600));
        let checkpoint = Some(Arc::new(vec![1]));
        served.set(Serving { leader: true, checkpoint: checkpoint.clone(), until: Some(later) });
        assert!(served.get().leader && served.get().checkpoint == checkpoint);
        served.extend(Some(Moment::now()));
        let serving = served.get();
        assert!(serving.has_lapsed() && !serving.leader && serving.checkpoint.is_none());
        served.extend(Some(later));
        assert!(served.get().checkpoint == checkpoint, "renewed before another had it");
        served.set(Serving::default());
        assert!(!served.get().has_lapsed(), "who holds nothing can lose nothing");
    }
}
