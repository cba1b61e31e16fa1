//! The durable copy of the state: how it is written, and who may write it.
//!
//! A [`Store`] keeps one state and gives one lock; whoever holds the lock reads, applies, acknowledges, trims and
//! serves. [`folder::Folder`] is the store for exporters of one host, [`mysql::Mysql`] the one for several hosts.

pub mod folder;
pub mod lease;
pub mod mysql;

use lease::Moment;

use crate::state::State;

/// Version of the state's own format; raised when an older build could not read what this one writes.
pub const FORMAT: u8 = 1;

/// Keeps the durable copy of one state.
pub trait Store: Send {
    /// Tries to become the one that may write, or to remain it. True while this process holds the lock.
    ///
    /// # Errors
    /// The store cannot be reached or used at all.
    fn try_acquire(&mut self) -> Result<bool, StoreError>;

    /// Keeps a lock that runs out from running out. Asked for every second; costs nothing when there is nothing to do.
    ///
    /// # Errors
    /// The lock was lost ([`StoreError::Deposed`]), or may run out.
    fn renew(&mut self) -> Result<(), StoreError>;

    /// Until when the lock is surely held; nothing if it is held for as long as this process lives.
    fn held_until(&self) -> Option<Moment>;

    /// The newest whole checkpoint. Only while the lock is held.
    ///
    /// # Errors
    /// The store cannot be read. (A damaged checkpoint is no error, but told in [`Loaded`].)
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Makes `state` durable, and renews the lock: when this returns, every copy of it survives a loss of power. Only
    /// while the lock is held.
    ///
    /// # Errors
    /// It may not be durable; the earlier checkpoint still is.
    fn commit(&mut self, state: &[u8]) -> Result<(), StoreError>;

    /// Gives the lock back, so that a standby need not wait for it to run out.
    fn release(&mut self);

    /// Where the checkpoint is, for messages.
    fn describe(&self) -> String;
}

/// What a store held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest whole checkpoint.
    pub state: Option<Vec<u8>>,
    /// What was there but could not be used, in words for the log.
    pub damaged: Vec<String>,
}

/// A store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It failed, and may do better the next time.
    #[error("{step}")]
    Failed {
        /// What was being done, and where.
        step: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The lock is another's now; nothing was written.
    #[error("another exporter has taken over the state in {0}")]
    Deposed(String),
}

/// Why a checkpoint cannot be continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A later build wrote it, and can read it: not to be thrown away.
    #[error("its format is {0}, this build reads {FORMAT}")]
    TooNew(u8),
    /// Nobody can read it.
    #[error("{0}")]
    Damaged(String),
}

/// Writes a state as bytes.
pub fn encode(state: &State) -> Vec<u8> {
    // A vector takes whatever is written to it, and none of the state's types refuses to be written.
    postcard::to_extend(state, vec![FORMAT]).unwrap_or_default()
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// Says why these bytes are no state that this build can continue.
pub fn decode(bytes: &[u8]) -> Result<State, Unreadable> {
    match bytes.split_first() {
        Some((&FORMAT, state)) => postcard::from_bytes(state)
            .map_err(|error| Unreadable::Damaged(format!("it cannot be read ({error})"))),
        Some((&format, _)) if format > FORMAT => Err(Unreadable::TooNew(format)),
        Some((format, _)) => Err(Unreadable::Damaged(format!("{format} is no format of a checkpoint"))),
        None => Err(Unreadable::Damaged("it is empty".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_state_survives_writing_and_reading() {
        let state = State::new(Uuid::from_u128(7), &["techsapo:events".to_owned()], 1_000);
        let mut read = decode(&encode(&state)).unwrap();
        assert_eq!(read.resume(&[], 1_000), []);
        assert_eq!(read, state);
    }

    #[test]
    fn another_format_is_refused_in_words() {
        let too_new = decode(&[9, 1, 2]).unwrap_err();
        assert_eq!(too_new, Unreadable::TooNew(9));
        assert_eq!(too_new.to_string(), "its format is 9, this build reads 1");
        for damaged in [&[][..], &[0, 1], &[FORMAT, 1, 2, 3]] {
            assert!(matches!(decode(damaged), Err(Unreadable::Damaged(_))), "{damaged:?}");
        }
    }
}
