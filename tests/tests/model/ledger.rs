//! The truth: which events were accepted, which of them power loss took, and whether what a state counted is just that.
//!
//! Every event is a pause of its own random length in its run's own series, so that a series' count and sum together
//! tell which events are in it: twice and missing cannot cancel out.

use std::collections::{BTreeMap, BTreeSet};

use techsapo_exporter::catalog::FamilyId;
use techsapo_exporter::state::State;

/// What became of an accepted event in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Power loss took the record, and the header says that there was one.
    Missed,
    /// Power loss took the record, and the header knows nothing of it.
    Cut,
}

#[derive(Debug)]
struct Accepted {
    seq: u64,
    value: u64,
    fate: Fate,
}

/// All events of all runs.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    runs: BTreeMap<String, Vec<Accepted>>,
    /// Events that no journal had room for.
    pub(crate) dropped: u64,
    /// How many of these a power loss made forget.
    pub(crate) dropped_forgotten: u64,
}

/// What a state says of one run: events, and the sum of their values.
pub(crate) type Count = (u64, u64);

/// What a state says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) runs: BTreeMap<String, Count>,
    pub(crate) events: u64,
    pub(crate) lost: u64,
    pub(crate) dropped: u64,
    pub(crate) gaps: u64,
    pub(crate) duplicates: u64,
}

impl Totals {
    /// As the page would show it.
    pub(crate) fn of(state: &State) -> Self {
        let single = |family| {
            let mut total = 0;
            state.series.for_each(family, |_, cells| total += cells[0]);
            total
        };
        let mut runs = BTreeMap::new();
        state.series.for_each(FamilyId::GcDuration, |labels, cells| {
            if let Some((sum, buckets)) = cells.split_last() {
                runs.insert(labels[0].to_owned(), (buckets.iter().sum(), *sum));
            }
        });
        Self {
            runs,
            events: single(FamilyId::TelemetryEvents),
            lost: single(FamilyId::TelemetryLost),
            dropped: single(FamilyId::TelemetryDropped),
            gaps: single(FamilyId::TelemetryGaps),
            duplicates: single(FamilyId::TelemetryDuplicates),
        }
    }

    /// Says what is lower here than it was before.
    pub(crate) fn decreased_since(&self, before: &Self) -> Option<String> {
        let single = [
            ("events", before.events, self.events),
            ("lost", before.lost, self.lost),
            ("dropped", before.dropped, self.dropped),
            ("gaps", before.gaps, self.gaps),
            ("duplicates", before.duplicates, self.duplicates),
        ];
        if let Some((name, was, is)) = single.into_iter().find(|(_, was, is)| is < was) {
            return Some(format!("{name} went from {was} to {is}"));
        }
        before.runs.iter().find_map(|(run, was)| {
            let is = self.runs.get(run).copied().unwrap_or_default();
            (is.0 < was.0 || is.1 < was.1).then(|| format!("the count of {run} went from {was:?} to {is:?}"))
        })
    }
}

impl Ledger {
    /// An event was accepted.
    pub(crate) fn accept(&mut self, run: &str, seq: u64, value: u64) {
        let events = match self.runs.get_mut(run) {
            Some(events) => events,
            None => self.runs.entry(run.to_owned()).or_default(),
        };
        events.push(Accepted { seq, value, fate: Fate::Kept });
    }

    /// The power failed: of this run there is nothing behind `last`, and nothing where `missed` says.
    pub(crate) fn lose(&mut self, run: &str, last: u64, missed: &BTreeSet<u64>, dropped: u64) {
        for event in self.runs.get_mut(run).into_iter().flatten() {
            if event.fate == Fate::Kept && event.seq > last {
                event.fate = Fate::Cut;
            } else if missed.contains(&event.seq) {
                event.fate = Fate::Missed;
            }
        }
        self.dropped_forgotten += dropped;
    }

    /// Events accepted, of all runs.
    pub(crate) fn accepted(&self) -> u64 {
        self.runs.values().map(|events| events.len() as u64).sum()
    }

    /// Whether `counted` of `run` can be an unbroken run of its events that begins behind `begin`: what must hold at
    /// any moment as long as no power failed.
    pub(crate) fn check_prefix(&self, run: &str, begin: u64, counted: Count) -> Result<(), String> {
        let events = self.runs.get(run).map_or(&[][..], Vec::as_slice);
        let end = begin + counted.0;
        if events.iter().any(|event| event.fate != Fate::Kept) {
            return Ok(());
        }
        if end > events.len() as u64 {
            return Err(format!(
                "{} events of {run} counted behind {begin}, {} accepted",
                counted.0,
                events.len()
            ));
        }
        let sum: u64 = events[begin as usize..end as usize].iter().map(|event| event.value).sum();
        if sum != counted.1 {
            return Err(format!(
                "the {} events of {run} behind {begin} are others than those accepted",
                counted.0
            ));
        }
        Ok(())
    }

    /// Whether `totals` counts every event that power loss did not take exactly once, and says of the rest what can
    /// be known.
    pub(crate) fn check_final(&self, totals: &Totals) -> Result<(), String> {
        let mut lost = 0;
        for (run, events) in &self.runs {
            let counted = totals.runs.get(run).copied().unwrap_or_default();
            lost += check_run(events, counted).map_err(|why| format!("{run}: {why}"))?;
        }
        let counted: u64 = totals.runs.values().map(|count| count.0).sum();
        if totals.events != counted {
            return Err(format!("{} events by type, {counted} by run", totals.events));
        }
        if totals.lost != lost {
            return Err(format!("{} events are called lost, {lost} are", totals.lost));
        }
        Ok(())
    }

    /// The runs and how many events each accepted.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&str, u64)> {
        self.runs.iter().map(|(run, events)| (run.as_str(), events.len() as u64))
    }
}

/// Whether `counted` is every event that was kept and some of the others; how many of those whose loss is known it
/// lacks.
fn check_run(events: &[Accepted], counted: Count) -> Result<u64, String> {
    let kept: Count = events
        .iter()
        .filter(|event| event.fate == Fate::Kept)
        .fold((0, 0), |sum, event| (sum.0 + 1, sum.1 + event.value));
    let missed: Vec<&Accepted> = events.iter().filter(|event| event.fate != Fate::Kept).collect();
    let more = counted.0.checked_sub(kept.0).zip(counted.1.checked_sub(kept.1));
    let Some(more) = more.filter(|more| more.0 <= missed.len() as u64) else {
        return Err(format!(
            "{} counted, {} accepted and kept, {} taken by power loss",
            counted.0,
            kept.0,
            missed.len()
        ));
    };
    // Those that were shipped before the power failed are counted all the same: find out which.
    let subset =
        (0u64..1 << missed.len()).filter(|subset| u64::from(subset.count_ones()) == more.0).find(|subset| {
            let chosen = missed.iter().enumerate().filter(|(place, _)| subset >> place & 1 == 1);
            chosen.map(|(_, event)| event.value).sum::<u64>() == more.1
        });
    let Some(subset) = subset else {
        return Err(format!("the right number of events ({}) is counted, but not the right ones", counted.0));
    };
    let lacking = missed.iter().enumerate().filter(|(place, _)| subset >> place & 1 == 0);
    Ok(lacking.filter(|(_, event)| event.fate == Fate::Missed).count() as u64)
}
