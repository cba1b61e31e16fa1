//! The protocol as a model: the real shipment, state, checkpoint codec and decisions of both processes, driven by a seeded
//! scheduler through every order of steps and faults that the seed leads to, against a naive ledger of what was accepted.
//!
//! What is not pure is modelled: the journal as a list that a power loss cuts ([`journal`]), Redis with everything that
//! may happen to it ([`redis`]), the slots on a disk ([`store`]), and the steps of the two processes between which they
//! may be killed ([`app`], [`exporter`]). [`world`] is the scheduler, [`watch`] and [`ledger`] say what must hold, [`plan`]
//! what may go wrong. To be sure that the model can fail at all, each rule of the protocol is left out in turn.
//!
//! `TECHSAPO_MODEL_SEEDS=100000` runs as many seeds of every plan; `TECHSAPO_MODEL_SEED=7` runs one and prints what happens.
#![allow(clippy::unwrap_used)] // What goes wrong here fails the test, and that is what a panic does.

mod app;
mod exporter;
mod journal;
mod ledger;
mod plan;
mod redis;
mod store;
mod watch;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use plan::{BEGUN_ANEW, Fault, Plan, Rules, SURVIVED, WITH_A_STRAY};
use world::Outcome;

/// Lines of a trace that are printed.
const TRACE_LINES: usize = 300;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// One seed; a panic in the code under test is a failure like any other.
fn run(plan: Plan, seed: u64, trace: Option<&mut Vec<String>>) -> Result<Outcome, String> {
    catch_unwind(AssertUnwindSafe(|| world::run(plan, seed, trace)))
        .unwrap_or_else(|_| Err("panicked".to_owned()))
}

/// Prints how it came to a failure: not all of what comes after the faults when it is stuck, for that repeats itself.
fn print_end(trace: &[String]) {
    let calm = trace.iter().position(|line| line.ends_with("calm: ")).unwrap_or(trace.len());
    let end = trace.len().min(calm + TRACE_LINES / 2);
    eprintln!("{}", trace[end.saturating_sub(TRACE_LINES)..end].join("\n"));
}

/// Runs so many seeds, and fails with the trace of the first that fails.
fn survives(name: &str, faults: &'static [Fault], seeds: u64) {
    let plan = Plan::through(faults);
    let single = number_from_environment("TECHSAPO_MODEL_SEED");
    let seeds = number_from_environment("TECHSAPO_MODEL_SEEDS").unwrap_or(seeds);
    let mut total = Outcome::default();
    for seed in single.map_or(1..seeds + 1, |seed| seed..seed + 1) {
        match run(plan, seed, None) {
            Ok(outcome) => {
                total.steps += outcome.steps;
                total.faults += outcome.faults;
                total.accepted += outcome.accepted;
                total.states += outcome.states;
            }
            Err(why) => {
                let mut trace = Vec::new();
                let _ = run(plan, seed, Some(&mut trace));
                print_end(&trace);
                panic!("{name}: TECHSAPO_MODEL_SEED={seed}: {why}");
            }
        }
    }
    if let Some(seed) = single {
        let mut trace = Vec::new();
        let _ = run(plan, seed, Some(&mut trace));
        eprintln!("{}", trace.join("\n"));
    }
    eprintln!(
        "{name}: {seeds} schedules, {} steps, {} faults, {} events, {} states",
        total.steps, total.faults, total.accepted, total.states
    );
}

/// With `change` some seed fails, and what it fails with holds one of `words`.
fn notices(faults: &'static [Fault], words: &[&str], change: impl FnOnce(&mut Rules)) {
    let mut plan = Plan::through(faults);
    change(&mut plan.rules);
    let failed = (1..2_000).find_map(|seed| run(plan, seed, None).err());
    let why = failed.expect("nothing went wrong without the rule");
    assert!(words.iter().any(|word| why.contains(word)), "{why}");
}

#[test]
fn whatever_happens_every_event_counts_once() {
    survives("survived", SURVIVED, 600);
}

#[test]
fn when_the_state_is_lost_every_event_is_in_one_of_the_states() {
    survives("begun anew", BEGUN_ANEW, 300);
}

#[test]
fn a_stray_exporter_does_no_harm() {
    survives("with a stray", WITH_A_STRAY, 300);
}

#[test]
fn without_looking_for_the_oldest_batch_a_flush_stalls_for_ever() {
    notices(&[Fault::Flush], &["stuck"], |rules| rules.resends_what_left_the_stream = false);
}

#[test]
fn with_numbers_used_again_a_power_loss_loses_events() {
    notices(&[Fault::PowerLoss], &["called lost", "counted", "right ones"], |rules| {
        rules.a_file_for_every_run = false;
    });
}

#[test]
fn with_one_slot_a_damaged_file_loses_the_state() {
    notices(&[Fault::SlotDamaged, Fault::ExporterKilled], &["begins"], |rules| rules.two_slots = false);
}

#[test]
fn acknowledged_before_it_is_durable_is_lost_by_a_kill() {
    notices(&[Fault::ExporterKilled], &["begins anew"], |rules| rules.durable_before_acknowledged = false);
}

#[test]
fn served_before_it_is_durable_decreases_after_a_kill() {
    notices(&[Fault::ExporterKilled], &["decreased"], |rules| rules.durable_before_served = false);
}

#[test]
fn without_the_owners_key_a_stray_exporter_does_harm() {
    notices(&[Fault::Stray, Fault::ExporterKilled], &["begins", "counted", "lost", "stuck"], |rules| {
        rules.respects_the_owner = false;
    });
}

#[test]
fn without_waiting_out_its_claim_a_stray_exporter_is_faster_than_the_owner() {
    notices(&[Fault::Stray, Fault::Flush], &["stuck", "begins", "called lost"], |rules| {
        rules.waits_out_a_claim = false;
    });
}

#[test]
fn begun_anew_from_the_first_event_counts_twice() {
    notices(&[Fault::StateLost], &["again", "called lost", "decreased"], |rules| {
        rules.begins_behind_what_is_acknowledged = false;
    });
}

#[test]
fn without_reading_from_the_start_again_a_clock_set_back_stalls() {
    notices(&[Fault::Flush, Fault::Clock], &["stuck"], |rules| rules.reads_again_from_the_start = false);
}
