//! Was every fact counted exactly once? The last page is held against what the apps said to Redis, what their journals
//! say of themselves, what the exporter acknowledged, and what clients were answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde_json::Value;

use crate::{Exposition, Generated, Sample};

use super::facts::{COUNTERS, HISTOGRAMS, Labels, Sums};
use super::load::Asked;
use super::tap;
use super::world::World;

/// Route and status of an answer, as an event spells them.
const ANSWERS: (&str, &str) = ("\"/api/v1/generate\"", "200");

const LOST: &str = "techsapo_telemetry_lost_events_total";

/// What a run came to.
#[derive(Debug, Default)]
pub struct Account {
    /// Facts that the journals took, but for those that a power loss took from them.
    pub accepted: u64,
    /// Facts that were counted.
    pub counted: u64,
    /// Accepted, and not counted.
    pub lost: u64,
    /// Counted, and not accepted.
    pub doubled: u64,
    /// Facts that a power loss took from a journal before they were durable elsewhere.
    pub power_lost: u64,
    /// What does not hold.
    pub wrong: Vec<String>,
}

/// Facts that must be, and facts that may be counted: the same but for what a power loss left in doubt.
struct Expected {
    least: Sums,
    most: Sums,
}

impl Account {
    /// Takes stock of a run that has come to rest. `oracle` says what a question is answered whose answer was cut off.
    pub(super) fn of(
        world: &World,
        page: &Exposition,
        ledger: &[Asked],
        oracle: impl Fn(&Asked) -> Generated,
    ) -> Self {
        let mut account = Self::default();
        let acknowledged = world.acknowledged();
        account.numbers(world, page, &acknowledged);
        let expected = Expected::of(world, &acknowledged, page);
        for (family, decimals) in COUNTERS {
            account.counter(page, family, decimals, &expected);
        }
        for (family, decimals) in HISTOGRAMS {
            account.histogram(page, family, decimals, &expected);
        }
        for app in 0..world.apps.len() {
            account.clients(world, app, ledger, &oracle);
        }
        account.wrong.extend(world.tap.lock().unwrap().nonsense.iter().cloned());
        account
    }

    fn require(&mut self, what: impl Display, holds: bool) {
        if !holds {
            self.wrong.push(what.to_string());
        }
    }

    /// The journals' own numbers, the acknowledged ones, and the sum on the page.
    fn numbers(&mut self, world: &World, page: &Exposition, acknowledged: &BTreeMap<String, u64>) {
        let total = |family: &str| page.counter(family).total() as u64;
        let lost_on_page = total(LOST);
        let counted_on_page =
            total("techsapo_telemetry_events_total") + total("techsapo_telemetry_rejected_events_total");
        let mut numbers = 0;
        let mut in_doubt = 0;
        let mut producers = 0;
        let runs = world
            .journals
            .iter()
            .flat_map(|of| of.runs.iter().map(move |(producer, run)| (of, producer, run)));
        for (journals, producer, power_loss) in runs {
            let known = acknowledged.get(producer).copied().unwrap_or(0);
            let before = world.before_anew.get(producer).copied().unwrap_or(0);
            producers += u64::from(acknowledged.contains_key(producer));
            numbers += known.saturating_sub(before);
            self.counted += before;
            let (safe, accepted) = match power_loss {
                None => (journals.last_seq(producer), journals.last_seq(producer)),
                Some(loss) => (loss.safe, loss.accepted),
            };
            // What is not acknowledged of a run that lost power is gone, and nobody can know of it.
            let gone = power_loss.map_or(0, |_| accepted.saturating_sub(known));
            self.accepted += accepted - gone;
            self.power_lost += gone;
            in_doubt += accepted - safe;
            self.within(format!("the last event of {producer} that is acknowledged"), known, safe, accepted);
        }
        let others = acknowledged.len() as u64 - producers;
        self.require(format!("{others} producers are acknowledged that no app ever was"), others == 0);
        // What went bad in a file that lost power is told by the exporter as lost.
        self.accepted -= lost_on_page.min(in_doubt);
        self.power_lost += lost_on_page.min(in_doubt);
        self.counted += counted_on_page;
        self.lost = self.accepted.saturating_sub(self.counted);
        self.doubled = self.counted.saturating_sub(self.accepted);
        let sum = counted_on_page + lost_on_page;
        self.require(format!("the page counts {sum} events, acknowledged are {numbers}"), sum == numbers);
        self.require(format!("{lost_on_page} events are lost on the page"), lost_on_page <= in_doubt);
        for family in ["techsapo_telemetry_dropped_total", "techsapo_telemetry_rejected_events_total"] {
            self.require(format!("{family} is {}", total(family)), total(family) == 0);
        }
    }

    fn counter(&mut self, page: &Exposition, family: &'static str, decimals: usize, expected: &Expected) {
        let mut shown: BTreeMap<&Labels, u64> = BTreeMap::new();
        for sample in page.family(family).iter().flat_map(|family| &family.samples) {
            shown.insert(&sample.labels, sample.units(decimals));
        }
        let keys = expected.most.counters.keys().filter(|(of, _)| *of == family);
        let labels: BTreeSet<&Labels> = keys.map(|(_, labels)| labels).chain(shown.keys().copied()).collect();
        for labels in labels {
            let key = (family, labels.clone());
            let value = |sums: &Sums| sums.counters.get(&key).copied().unwrap_or(0);
            let (least, most) = (value(&expected.least), value(&expected.most));
            let found = shown.get(labels).copied().unwrap_or(0);
            self.within(format!("{family}{labels:?}"), found, least, most);
        }
    }

    fn within(&mut self, what: impl Display, found: u64, least: u64, most: u64) {
        let wanted = if least == most { format!("not {least}") } else { format!("not {least} to {most}") };
        self.require(format!("{what} is {found}, {wanted}"), (least..=most).contains(&found));
    }

    fn histogram(&mut self, page: &Exposition, family: &'static str, decimals: usize, expected: &Expected) {
        let samples = page.family(family).map_or(&[][..], |family| &family.samples);
        for sample in samples {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").map(|bound| units_of(&bound, decimals));
            let key = (family, labels);
            let value = |sums: &Sums| shown_of(sample, bound, sums.observations.get(&key));
            let (least, most) = (value(&expected.least), value(&expected.most));
            let digits = if sample.name.ends_with("_sum") { decimals } else { 0 };
            self.within(format!("{} {:?}", sample.name, sample.labels), sample.units(digits), least, most);
        }
        for (of, labels) in expected.least.observations.keys().filter(|(of, _)| *of == family) {
            let there = samples.iter().any(|sample| labels == &sample.labels);
            self.require(format!("{of}{labels:?} is not on the page"), there);
        }
    }

    /// What an app's clients were answered is among what it stated, and that among what they asked.
    fn clients(&mut self, world: &World, app: usize, ledger: &[Asked], oracle: impl Fn(&Asked) -> Generated) {
        let heard = world.tap.lock().unwrap();
        let of_app = world.journals[app].runs.keys().filter_map(|producer| heard.lines.get(producer));
        let stated = Tally::of_events(of_app.flat_map(BTreeMap::values));
        let (mut answered, mut asked) = (Tally::default(), Tally::default());
        for question in ledger.iter().filter(|question| question.app == app) {
            match &question.answer {
                Some(answer) => {
                    answered.add(answer);
                    asked.add(answer);
                }
                None => asked.add(&oracle(question)),
            }
        }
        // What went with a journal before anybody had heard of it.
        let power_lost = world.journals[app].runs.iter().filter_map(|(producer, power_loss)| {
            let whole = heard
                .lines
                .get(producer)
                .map_or(0, |lines| lines.values().filter(|line| *line != tap::LOST).count());
            power_loss.map(|loss| loss.accepted.saturating_sub(whole as u64))
        });
        let mut unheard: u64 = power_lost.sum();
        for (call, count) in &answered.0 {
            let found = stated.0.get(call).copied().unwrap_or(0);
            let missing = count.saturating_sub(found);
            self.require(
                format!("app {app} answered with {count} of {call}, and stated {found}"),
                missing <= unheard,
            );
            unheard = unheard.saturating_sub(missing);
        }
        for (call, count) in &stated.0 {
            let most = asked.0.get(call).copied().unwrap_or(0);
            self.require(
                format!("app {app} stated {count} of {call}, asked for were {most}"),
                *count <= most,
            );
        }
    }
}

impl Expected {
    fn of(world: &World, acknowledged: &BTreeMap<String, u64>, page: &Exposition) -> Self {
        let mut expected = Self { least: Sums::default(), most: Sums::default() };
        // Whatever is acknowledged was counted, or is on the page as lost. Only if something is, which may be so after a
        // power loss, is it in doubt which events those were.
        let none_lost = page.counter(LOST).total() == 0.0;
        for (producer, lines) in &world.tap.lock().unwrap().lines {
            let after = world.before_anew.get(producer).copied().unwrap_or(0);
            let upto = acknowledged.get(producer).copied().unwrap_or(0);
            let loss = world.journals.iter().find_map(|of| of.runs.get(producer).copied().flatten());
            let sure = loss.filter(|_| !none_lost).map_or(u64::MAX, |loss| loss.safe);
            for (&seq, line) in lines.iter().filter(|&(&seq, _)| after < seq && seq <= upto) {
                expected.most.add(line);
                if seq <= sure {
                    expected.least.add(line);
                }
            }
        }
        expected
    }
}

/// Calls to providers and whole answers, each with how often it came.
#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn of_events<'a>(lines: impl Iterator<Item = &'a String>) -> Self {
        let mut tally = Self::default();
        for line in lines {
            let event: Value = serde_json::from_str(line).unwrap();
            if let Some(call) = event.get("llm_request") {
                tally.note(call_of(call, &call["task_type"]));
            } else if let Some(analysis) = event.get("analysis") {
                tally.note(format!("analysis {}", analysis["task_type"]));
            } else if let Some(request) = event.get("http_request") {
                let [route, status] = ["route", "status_code"].map(|field| request[field].to_string());
                if route == ANSWERS.0 && status == ANSWERS.1 {
                    tally.note(format!("{ANSWERS:?}"));
                }
            }
        }
        tally
    }

    fn add(&mut self, Generated(answer): &Generated) {
        self.note(format!("{ANSWERS:?}"));
        self.note(format!("analysis {}", answer["task_type"]));
        for call in answer["wall_bounce_analysis"]["llm_votes"].as_array().into_iter().flatten() {
            self.note(call_of(call, &answer["task_type"]));
        }
    }

    fn note(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// What a call to a provider was, in so many words that hardly another is the same.
fn call_of(call: &Value, task: &Value) -> String {
    let fields = ["provider", "model", "status", "input_tokens", "output_tokens", "cost_nanousd"];
    let words = fields.map(|field| format!("{field} {}", call[field]));
    format!("call for {task}, {}", words.join(", "))
}

/// What a histogram's sample shows of these observations.
fn shown_of(sample: &Sample, bound: Option<u64>, observations: Option<&Vec<u64>>) -> u64 {
    let observations = observations.map_or(&[][..], |observations| observations);
    match bound {
        Some(bound) => observations.iter().filter(|&&value| value <= bound).count() as u64,
        None if sample.name.ends_with("_sum") => observations.iter().sum(),
        None => observations.len() as u64,
    }
}

/// A bucket's bound in units of the last place.
fn units_of(bound: &str, decimals: usize) -> u64 {
    match bound {
        "+Inf" => u64::MAX,
        _ => (bound.parse::<f64>().unwrap() * 10f64.powi(decimals as i32)).round() as u64,
    }
}
