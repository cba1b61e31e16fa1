//! Which events did not come, or came again, by the numbers that producers give them. Pure.

use std::collections::HashMap;

use techsapo_shared::wire::Origin;

/// Most producers that are remembered: a real system has one per run of an app.
const MOST: usize = 10_000;

/// Per producer: the number that its next event should have.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<String, u64>);

/// What a batch's numbers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It follows the last one, or is its producer's first one here.
    InOrder,
    /// So many events of its producer that come before it did not come here.
    Missing(u64),
    /// So many of its events, the first ones, came before.
    Again(u64),
}

impl Numbers {
    /// Takes note of a batch of `count` events.
    pub(super) fn take(&mut self, origin: &Origin<'_>, count: u64) -> Arrival {
        let (first, next) = (origin.first_seq, origin.first_seq.saturating_add(count));
        if let Some(expected) = self.0.get_mut(origin.producer) {
            let arrival = match first.cmp(expected) {
                std::cmp::Ordering::Equal => Arrival::InOrder,
                std::cmp::Ordering::Greater => Arrival::Missing(first - *expected),
                std::cmp::Ordering::Less => Arrival::Again(count.min(*expected - first)),
            };
            *expected = next.max(*expected);
            return arrival;
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(origin.producer.to_owned(), next);
        Arrival::InOrder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(producer: &str, first_seq: u64) -> Origin<'_> {
        Origin { producer, first_seq, oldest_seq: 1, dropped: 0 }
    }

    #[test]
    fn what_is_missing_or_comes_again_is_counted_by_producer() {
        let mut numbers = Numbers::default();
        // Wherever it begins: what was before is not of interest.
        assert_eq!(numbers.take(&origin("a", 5), 3), Arrival::InOrder);
        assert_eq!(numbers.take(&origin("a", 8), 1), Arrival::InOrder);
        assert_eq!(numbers.take(&origin("b", 1), 1), Arrival::InOrder);
        assert_eq!(numbers.take(&origin("a", 12), 2), Arrival::Missing(3));
        assert_eq!(numbers.take(&origin("a", 9), 3), Arrival::Again(3));
        assert_eq!(numbers.take(&origin("a", 13), 4), Arrival::Again(1));
        assert_eq!(numbers.take(&origin("a", 17), 1), Arrival::InOrder);
        assert_eq!(numbers.take(&origin("a", u64::MAX), 9), Arrival::Missing(u64::MAX - 18));
    }

    #[test]
    fn hostile_producers_do_not_fill_the_memory() {
        let mut numbers = Numbers::default();
        for producer in 0..MOST + 5 {
            numbers.take(&origin(&producer.to_string(), 1), 1);
        }
        assert_eq!(numbers.0.len(), 5);
    }
}
