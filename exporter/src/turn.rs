//! What a turn as the state's holder begins with, and what it may tell Redis. Pure: the pipeline asks, and does.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use techsapo_shared::wire::EntryId;
use uuid::Uuid;

use crate::series::Discarded;
use crate::state::State;

/// How long a claim must have been gone, while Redis answered, before another state may begin.
pub const CLAIM_GONE: Duration = Duration::from_secs(10);

/// Another state's claim on the stream, as far as this process has seen one.
///
/// A claim that is not there need not have lapsed: a Redis that was flushed, or away for long, has forgotten it, and
/// its holder renews it within seconds. Whoever waits must not be faster.
#[derive(Debug, Default)]
pub struct Claim {
    seen: bool,
    gone_since: Option<Instant>,
}

impl Claim {
    /// It stands.
    pub fn stands(&mut self) {
        *self = Self { seen: true, gone_since: None };
    }

    /// Redis does not answer, neither us nor perhaps its holder.
    pub fn is_unknown(&mut self) {
        self.gone_since = None;
    }

    /// It is not there; whether it is gone for good.
    pub fn has_lapsed(&mut self, now: Instant) -> bool {
        !self.seen || now.duration_since(*self.gone_since.get_or_insert(now)) >= CLAIM_GONE
    }
}

/// Adds what is acknowledged beside one stream to what is beside the others. A producer may stand beside several (it was
/// moved, or a state was begun anew that did not know its stream yet): the greatest number is the newest.
pub fn add_acknowledged(all: &mut HashMap<String, u64>, beside: impl IntoIterator<Item = (String, u64)>) {
    for (producer, seq) in beside {
        let known = all.entry(producer).or_insert(seq);
        *known = seq.max(*known);
    }
}

/// How a turn's state came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// There was nothing before: counting from zero.
    First,
    /// The checkpoint goes on, except for what this build cannot continue.
    Continued(Vec<Discarded>),
    /// All counters begin at zero, for this reason.
    Anew(String),
}

/// The state to continue: the one that was held, unless Redis has seen a later one acknowledge. `damaged` says that
/// something stood in the store that could not be used, `fresh` names the state if it is a new one.
pub fn choose(
    held: Option<Result<State, String>>,
    damaged: bool,
    acknowledged: &HashMap<String, u64>,
    (streams, series_limit): (&[String], usize),
    fresh: Uuid,
    now_ms: u64,
) -> (State, Beginning) {
    let why = match held {
        Some(Ok(mut state)) => match acknowledged.iter().find(|&(id, &seq)| behind(&state, id, seq)) {
            None => {
                let discarded = state.resume(streams, series_limit);
                return (state, Beginning::Continued(discarded));
            }
            Some((id, seq)) => format!(
                "Redis acknowledges event {seq} of producer {id}, which the checkpoint does not hold: it is an older copy"
            ),
        },
        Some(Err(why)) => format!("the checkpoint cannot be continued: {why}"),
        None if damaged => "no whole checkpoint is left".to_owned(),
        None if acknowledged.is_empty() => {
            return (State::new(fresh, streams, series_limit), Beginning::First);
        }
        None => "there is no checkpoint, yet Redis knows of acknowledgements".to_owned(),
    };
    let mut state = State::new(fresh, streams, series_limit);
    state.adopts = true;
    for (producer, &seq) in acknowledged {
        state.expect_after(producer, seq, now_ms);
    }
    (state, Beginning::Anew(why))
}

/// Whether another state has counted more of this producer than `state` has.
fn behind(state: &State, producer: &str, acknowledged: u64) -> bool {
    state.producers.get(producer).is_none_or(|known| acknowledged >= known.expected)
}

/// What a durable state allows to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durable {
    /// The state's revision; nothing before the first checkpoint.
    pub revision: Option<u64>,
    /// Per stream, in the order of the settings: up to where it may be trimmed.
    pub cursors: Vec<EntryId>,
    /// Per stream: producers and the last number that was taken of each.
    pub acknowledged: Vec<Vec<(String, u64)>>,
}

impl Durable {
    /// What `state` allows to be told once it is durable.
    pub fn of(state: &State, streams: &[String]) -> Self {
        let mut durable = Self {
            revision: Some(state.revision),
            cursors: streams.iter().map(|stream| state.streams[stream].cursor).collect(),
            acknowledged: vec![Vec::new(); streams.len()],
        };
        // A producer remembers its stream by the place among all streams that the state knows.
        let places: Vec<Option<usize>> =
            state.streams.keys().map(|key| streams.iter().position(|stream| stream == key)).collect();
        for (id, producer) in &state.producers {
            if let Some(&Some(place)) = places.get(producer.stream as usize) {
                durable.acknowledged[place].push((id.clone(), producer.expected - 1));
            }
        }
        durable
    }

    /// Leaves these producers out.
    pub fn withdraw(&mut self, producers: &HashSet<String>) {
        if !producers.is_empty() {
            self.acknowledged.iter_mut().for_each(|beside| beside.retain(|(id, _)| !producers.contains(id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_was_seen_must_be_gone_for_a_while_in_which_redis_answers() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut claim = Claim::default();
        assert!(claim.has_lapsed(begin), "nobody was ever seen");
        claim.stands();
        assert!(!claim.has_lapsed(begin));
        assert!(!claim.has_lapsed(after(9)));
        claim.is_unknown();
        assert!(!claim.has_lapsed(after(11)));
        claim.stands();
        assert!(!claim.has_lapsed(after(12)));
        assert!(!claim.has_lapsed(after(21)));
        assert!(claim.has_lapsed(after(22)));
    }

    #[test]
    fn of_several_acknowledgements_the_greatest_counts() {
        let mut all = HashMap::new();
        for beside in [[("p", 37), ("q", 1)], [("p", 19), ("q", 2)]] {
            add_acknowledged(&mut all, beside.map(|(producer, seq)| (producer.to_owned(), seq)));
        }
        assert_eq!(all, HashMap::from([("p".to_owned(), 37), ("q".to_owned(), 2)]));
    }
}
