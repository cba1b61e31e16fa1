//! The durable copy of the state: how it is written, and who may write it.
//!
//! A [`Store`] keeps one state and gives one lock; whoever holds the lock reads, applies, acknowledges, trims and
//! serves. [`folder::Folder`] is the store for exporters of one host.

pub mod folder;

use crate::state::State;

/// Version of the state's own format; raised when an older build could not read what this one writes.
const FORMAT: u8 = 1;

/// Keeps the durable copy of one state.
pub trait Store: Send {
    /// Tries to become the one that may write. True while this process holds the lock.
    ///
    /// # Errors
    /// The store cannot be reached or used at all.
    fn try_acquire(&mut self) -> Result<bool, StoreError>;

    /// The newest whole checkpoint. Only while the lock is held.
    ///
    /// # Errors
    /// The store cannot be read. (A damaged checkpoint is no error, but told in [`Loaded`].)
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Makes `state` durable: when this returns, every copy of it survives a loss of power. Only while the lock is
    /// held.
    ///
    /// # Errors
    /// It may not be durable; the earlier checkpoint still is.
    fn commit(&mut self, state: &[u8]) -> Result<(), StoreError>;

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

/// A store failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct StoreError {
    /// What was being done, with the path.
    pub step: String,
    /// Why it failed.
    #[source]
    pub source: std::io::Error,
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
pub fn decode(bytes: &[u8]) -> Result<State, String> {
    match bytes.split_first() {
        Some((&FORMAT, state)) => {
            postcard::from_bytes(state).map_err(|error| format!("it cannot be read ({error})"))
        }
        Some((format, _)) => Err(format!("its format is {format}, this build reads {FORMAT}")),
        None => Err("it is empty".to_owned()),
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
        assert_eq!(decode(&[9, 1, 2]).unwrap_err(), "its format is 9, this build reads 1");
        assert!(decode(&[]).is_err());
        assert!(decode(&[FORMAT, 1, 2, 3]).is_err());
    }
}
