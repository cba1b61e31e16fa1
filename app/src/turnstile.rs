//! First come, first served, in both of a request's pieces of work: making it ready for the providers, and comparing what they answered.
//!
//! Where many pieces come at once and all are begun at once, every one of them is done only when nearly all are: the wait of each is the
//! work of all. And as those requests' answers come together then, so do the next ones of the same clients, for ever. With a few in work
//! at a time, the first is done after little more than its own work, and those that follow keep their distance. Both kinds stand in one
//! line: if only new requests did, answers would overtake them, and requests that were held up together would be sent together.
//!
//! What must hold: it decides about order, and about nothing else. Nobody waits for a turn longer than [`MOST`]; whoever finds none in that
//! time goes on without. And nobody keeps one while waiting for others, but for Redis, whose time is bounded. (A holder has no
//! timer of its own: one that is due earlier than all others wakes a thread, and every request would set it.)

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest wait for a turn.
const MOST: Duration = Duration::from_millis(5);
/// Places, by the threads that work.
const PER_THREAD: u32 = 2;

/// Lets work through in the order in which it came. Clones share the places.
#[derive(Debug, Clone)]
pub struct Turnstile {
    places: Arc<Semaphore>,
}

impl Turnstile {
    /// For a runtime with so many threads.
    pub fn new(threads: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(PER_THREAD as usize * threads)) }
    }

    /// Waits for a turn to make a request ready: a part of that is a wait for Redis, and another works meanwhile.
    pub async fn turn(&self) -> Turn {
        self.places(1).await
    }

    /// Waits for a turn to compare answers, which is work from its beginning to its end and takes a thread.
    pub async fn turn_to_compare(&self) -> Turn {
        self.places(PER_THREAD).await
    }

    async fn places(&self, count: u32) -> Turn {
        let places = tokio::time::timeout(MOST, Arc::clone(&self.places).acquire_many_owned(count)).await;
        Turn { places: places.ok().and_then(Result::ok) }
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    /// Nothing: it goes on without any.
    places: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Waits for others. Unless they are there at once, it is the turn of the next, and this goes on without one.
    pub async fn wait_for<T>(&mut self, others: impl Future<Output = T>) -> T {
        let mut others = std::pin::pin!(others);
        if let Poll::Ready(done) = poll!(&mut others) {
            return done;
        }
        self.pass();
        others.await
    }

    /// Lets the next in; this goes on without a turn.
    pub fn pass(&mut self) {
        self.places = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn so_many_have_a_turn_and_whoever_waits_in_vain_goes_on_without() {
        run(async {
            let turnstile = Turnstile::new(2);
            let mut turns = Vec::new();
            for _ in 0..4 {
                turns.push(turnstile.turn().await);
            }
            assert!(turns.iter().all(|turn| turn.places.is_some()));
            assert!(
                turnstile.turn().await.places.is_none(),
                "there is no room, and it was not held up for good"
            );
            turns.pop();
            assert!(turnstile.turn_to_compare().await.places.is_none(), "that takes a thread");
            turns.pop();
            assert!(turnstile.turn_to_compare().await.places.is_some());
        });
    }

    #[test]
    fn a_wait_for_others_is_the_turn_of_the_next() {
        run(async {
            let turnstile = Turnstile { places: Arc::new(Semaphore::new(1)) };
            let mut slow = turnstile.turn().await;
            let (answer, answered) = oneshot::channel();
            let next = async {
                // Only a wait that ends by itself lets it through.
                let turn = Arc::clone(&turnstile.places).acquire_owned().await.unwrap();
                answer.send(7).unwrap();
                turn
            };
            let (answered, _turn) = tokio::join!(slow.wait_for(answered), next);
            assert_eq!(answered, Ok(7));
            assert!(slow.places.is_none());
        });
    }

    #[test]
    fn where_there_is_nothing_to_wait_for_the_turn_is_kept() {
        run(async {
            let turnstile = Turnstile::new(1);
            let mut turn = turnstile.turn().await;
            assert_eq!(turn.wait_for(async { 7 }).await, 7);
            assert!(turn.places.is_some());
        });
    }
}
