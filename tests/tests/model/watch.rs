//! What must hold of the states that count: looked at whenever one is begun, made durable or served, and at the end.

use std::collections::HashMap;

use techsapo_exporter::turn::Beginning;
use uuid::Uuid;

use crate::exporter::Event;
use crate::ledger::{Ledger, Totals};

/// One state, from its beginning to its end.
struct Known {
    id: Uuid,
    /// What Redis acknowledged when it was begun.
    acknowledged: HashMap<String, u64>,
    /// Its last durable checkpoint, and the numbers that it expected then.
    durable: Totals,
    expected: HashMap<String, u64>,
}

/// Everything that was begun, and what is served.
pub(crate) struct Watch {
    may_begin_anew: bool,
    states: Vec<Known>,
    served: Option<(Uuid, Totals)>,
}

impl Watch {
    pub(crate) fn new(may_begin_anew: bool) -> Self {
        Self { may_begin_anew, states: Vec::new(), served: None }
    }

    /// Number of states that were begun.
    pub(crate) fn states(&self) -> u64 {
        self.states.len() as u64
    }

    /// What is served at the moment.
    pub(crate) fn served(&self) -> Option<&Totals> {
        self.served.as_ref().map(|(_, totals)| totals)
    }

    /// Looks at what an exporter did.
    pub(crate) fn see(&mut self, event: Event, ledger: &Ledger) -> Result<(), String> {
        match event {
            Event::Began(id, beginning, acknowledged) => self.begun(id, &beginning, acknowledged),
            Event::Durable(id, totals, expected) => self.durable(id, totals, expected, ledger),
            Event::Serves(id, totals) => self.serves(id, totals),
        }
    }

    fn begun(
        &mut self,
        id: Uuid,
        beginning: &Beginning,
        acknowledged: HashMap<String, u64>,
    ) -> Result<(), String> {
        match beginning {
            Beginning::Continued(_) if self.states.iter().any(|known| known.id == id) => return Ok(()),
            Beginning::Continued(_) => return Err("a state is continued that was never begun".to_owned()),
            Beginning::Anew(why) if !self.may_begin_anew => {
                return Err(format!("a state begins anew: {why}"));
            }
            // What was begun and killed before it wrote anything never was.
            Beginning::First if !self.may_begin_anew && self.states.iter().any(Known::was_durable) => {
                return Err("a state begins as if it were the first".to_owned());
            }
            Beginning::First | Beginning::Anew(_) => {}
        }
        let (durable, expected) = (Totals::default(), HashMap::new());
        self.states.push(Known { id, acknowledged, durable, expected });
        Ok(())
    }

    fn durable(
        &mut self,
        id: Uuid,
        totals: Totals,
        expected: HashMap<String, u64>,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let Some(known) = self.states.iter_mut().find(|known| known.id == id) else {
            return Err("a state is written that was never begun".to_owned());
        };
        if totals.lost == 0 {
            for (run, &counted) in &totals.runs {
                let begin = begin_of(expected.get(run), counted.0)?;
                ledger.check_prefix(run, begin, counted)?;
            }
        }
        (known.durable, known.expected) = (totals, expected);
        Ok(())
    }

    fn serves(&mut self, id: Uuid, totals: Totals) -> Result<(), String> {
        if let Some((before, served)) = &self.served
            && *before == id
            && let Some(what) = totals.decreased_since(served)
        {
            return Err(format!("a counter decreased: {what}"));
        }
        self.served = Some((id, totals));
        Ok(())
    }

    /// Looks at what all states together counted, when nothing more will come.
    pub(crate) fn check_final(&self, ledger: &Ledger) -> Result<(), String> {
        if !self.may_begin_anew {
            let Some((_, served)) = &self.served else { return Err("nothing is served".to_owned()) };
            return ledger.check_final(served);
        }
        for (run, accepted) in ledger.runs() {
            let mut reached = 0;
            for known in self.states.iter().filter(|known| known.was_durable()) {
                let Some(&expected) = known.expected.get(run) else { continue };
                let counted = known.durable.runs.get(run).map_or(0, |count| count.0);
                let begin = begin_of(Some(&expected), counted)?;
                let acknowledged = known.acknowledged.get(run).copied().unwrap_or(0);
                if begin > reached {
                    return Err(format!("{run}: no state counted the events {} to {begin}", reached + 1));
                }
                if begin < acknowledged {
                    return Err(format!(
                        "{run}: counted again from {begin}, acknowledged were {acknowledged}"
                    ));
                }
                reached = reached.max(expected - 1);
            }
            if reached != accepted {
                return Err(format!("{run}: {accepted} accepted, {reached} counted"));
            }
        }
        match self.states.iter().find(|known| known.durable.lost > 0) {
            Some(known) => Err(format!("{} events are called lost, and none is", known.durable.lost)),
            None => Ok(()),
        }
    }
}

impl Known {
    fn was_durable(&self) -> bool {
        self.durable != Totals::default()
    }
}

/// Behind which event a count began.
fn begin_of(expected: Option<&u64>, counted: u64) -> Result<u64, String> {
    let next = expected.copied().unwrap_or(1);
    (next - 1).checked_sub(counted).ok_or_else(|| format!("{counted} counted, and {next} is expected next"))
}
