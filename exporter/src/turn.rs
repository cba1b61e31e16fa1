//! What a turn as the state's holder begins with, and what it may tell Redis. Pure: the pipeline asks, and does.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use techsapo_shared::wire::EntryId;
use uuid::Uuid;

use crate::series::Discarded;
use crate::state::{Ahead, State};

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

/// Our clock was set back, if it says so much less than at the last tick.
const SET_BACK_MS: u64 = 60_000;
/// A clock was ahead and was set right, if nothing more of a time still to come was told for so long.
const AHEAD_FOR: Duration = Duration::from_secs(60);

/// Looks out for clocks that were ahead.
///
/// What they told would keep out what is told now until that time has come. But whose own clock is behind has no reason to forget what
/// others tell: they go on telling it. Whether it was set back before the start, nobody knows.
#[derive(Debug, Default)]
pub struct Clocks {
    last_ms: Option<u64>,
    /// What tells of a time still to come, and since when no more of it was told.
    ahead: Option<(Ahead, Instant)>,
}

impl Clocks {
    /// Whether what tells of a time well after `now_ms` is to be forgotten. Asked at every tick.
    pub fn were_ahead(&mut self, state: &State, now_ms: u64, now: Instant) -> bool {
        let set_back = self.last_ms.replace(now_ms).is_none_or(|last_ms| now_ms + SET_BACK_MS < last_ms);
        let known = self.ahead.take();
        let Some(ahead) = state.ahead(now_ms) else { return false };
        let since = known.filter(|(before, _)| *before == ahead).map_or(now, |(_, since)| since);
        let over = set_back || now.duration_since(since) >= AHEAD_FOR;
        if !over {
            self.ahead = Some((ahead, since));
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_ahead_is_known_by_telling_no_more_of_the_time_to_come() {
        const MINUTE_MS: u64 = 60_000;
        let mut state = State::new(Uuid::nil(), &[], 0);
        let (mut clocks, begun, begun_ms) = (Clocks::default(), Instant::now(), 1_000_000_000);
        let mut tick = |state: &State, seconds: u64| {
            clocks.were_ahead(state, begun_ms + seconds * 1_000, begun + Duration::from_secs(seconds))
        };
        let tell = |state: &mut State, seconds: u64, ahead_ms: u64| {
            let t_ms = begun_ms + seconds * 1_000 + ahead_ms;
            state.window.at(t_ms).unwrap().analysis(true);
            state.instance("one", t_ms);
        };
        tell(&mut state, 0, MINUTE_MS);
        assert!(!tick(&state, 0), "a clock may be a little ahead");
        for seconds in 1..200 {
            tell(&mut state, seconds, 20 * MINUTE_MS);
            assert!(!tick(&state, seconds), "{seconds}: it is ours that is behind");
        }
        assert!((200..259).all(|seconds| !tick(&state, seconds)));
        assert!(tick(&state, 259));
        state.forget_the_future(begun_ms + 259_000);
        tell(&mut state, 259, 0);
        assert!((260..400).all(|seconds| !tick(&state, seconds)));

        tell(&mut state, 400, 20 * MINUTE_MS);
        assert!(!tick(&state, 401));
        assert!(tick(&state, 300), "our own clock was set back");
    }

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
