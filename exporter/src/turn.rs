//! What a turn as the state's holder begins with, and what it may tell Redis. Pure: the pipeline asks, and does.

use std::collections::HashMap;

use techsapo_shared::wire::EntryId;
use uuid::Uuid;

use crate::series::Discarded;
use crate::state::State;

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
}
