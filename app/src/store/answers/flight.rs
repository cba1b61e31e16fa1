//! Answers in the making: one makes it, others who ask the same wait for it.
//!
//! What must hold: whatever becomes of the one who makes it, nobody waits for ever. A flight that is dropped wakes all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::key::Key;
use crate::analysis::Report;

/// What those who waited are told.
#[derive(Debug, Clone)]
pub(super) enum Arrival {
    /// The answer.
    Answer(Arc<Report>),
    /// There is one, but not such as is given to others: each has to ask for itself.
    NotKept,
    /// There was no place to make it in: who waited has waited as long as whoever makes one may.
    Refused,
    /// Nobody makes it any more.
    Lost,
}

type News = watch::Receiver<Option<Arrival>>;

/// All that are under way.
#[derive(Default, Clone)]
pub(super) struct Flights(Arc<Mutex<HashMap<Key, News>>>);

/// How one takes part.
pub(super) enum Seat {
    /// Makes the answer.
    Pilot(Flight),
    /// Waits for it.
    Passenger(Passenger),
}

/// The one who makes an answer. Dropped without landing, it is lost.
pub(super) struct Flight {
    flights: Flights,
    key: Key,
    news: watch::Sender<Option<Arrival>>,
}

/// One who waits.
pub(super) struct Passenger(News);

impl Flights {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, News>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins those who want this answer; the first one makes it.
    pub(super) fn board(&self, key: Key) -> Seat {
        match self.all().entry(key) {
            Entry::Occupied(under_way) => Seat::Passenger(Passenger(under_way.get().clone())),
            Entry::Vacant(place) => {
                let (news, receiver) = watch::channel(None);
                place.insert(receiver);
                Seat::Pilot(Flight { flights: self.clone(), key, news })
            }
        }
    }
}

impl Flight {
    /// Tells those who wait. From here on, who boards makes the answer anew.
    pub(super) fn land(self, arrival: Arrival) {
        self.news.send_replace(Some(arrival));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.all().remove(&self.key);
    }
}

impl Passenger {
    /// Waits for the end of the flight.
    pub(super) async fn arrival(mut self) -> Arrival {
        let news = self.0.wait_for(Option::is_some).await;
        news.ok().and_then(|arrival| arrival.clone()).unwrap_or(Arrival::Lost)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    fn pilot(seat: Seat) -> Flight {
        let Seat::Pilot(flight) = seat else { panic!("somebody else makes it") };
        flight
    }

    fn passenger(seat: Seat) -> Passenger {
        let Seat::Passenger(passenger) = seat else { panic!("nobody makes it") };
        passenger
    }

    #[tokio::test]
    async fn all_who_wait_hear_how_it_ended_and_the_next_begins_anew() {
        let (flights, key) = (Flights::default(), Key::numbered(1));
        let flight = pilot(flights.board(key));
        let waiting = [(); 3].map(|()| passenger(flights.board(key)));
        let _another = pilot(flights.board(Key::numbered(2)));
        flight.land(Arrival::NotKept);
        for passenger in waiting {
            assert!(matches!(passenger.arrival().await, Arrival::NotKept));
        }
        pilot(flights.board(key));
    }

    #[tokio::test]
    async fn nobody_waits_for_one_who_has_gone() {
        let (flights, key) = (Flights::default(), Key::numbered(1));
        let flight = pilot(flights.board(key));
        let mut arrival = Box::pin(passenger(flights.board(key)).arrival());
        assert!(poll!(&mut arrival).is_pending());
        drop(flight);
        assert!(matches!(arrival.await, Arrival::Lost));
        pilot(flights.board(key));
        assert!(flights.all().is_empty());
    }
}
