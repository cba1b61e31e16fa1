//! What entries do to the state: what comes again, gaps, losses, poison, and what each event counts.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::checkpoint;

const STREAM: &str = "techsapo:events";
const GC: &str = r#"{"gc_pause":{"t":1,"app_instance":"a","duration_us":1}}"#;

fn state() -> State {
    State::new(Uuid::nil(), &[STREAM.to_owned()], 1_000)
}

fn total(state: &State, family: FamilyId) -> u64 {
    let mut total = 0;
    state.series.for_each(family, |_, cells| total += cells[0]);
    total
}

/// Events counted, whatever their type.
fn counted(state: &State) -> u64 {
    total(state, FamilyId::TelemetryEvents)
}

/// Sends the events `first..first + count` of producer `p`.
fn send(state: &mut State, entry: u64, first: u64, count: u64, oldest: u64) {
    let data = vec![GC; count as usize].join("\n");
    let origin = Origin { producer: "p", first_seq: first, oldest_seq: oldest, dropped: 0 };
    let batch = Batch { origin: Some(origin), count, data: data.as_bytes() };
    state.apply_entry(STREAM, EntryId { ms: entry, seq: 0 }, Ok(batch), &mut Vec::new());
}

fn send_lines(state: &mut State, entry: u64, lines: &[&str]) -> Vec<Quarantined> {
    let data = lines.join("\n");
    let mut quarantine = Vec::new();
    let batch = Batch { origin: None, count: lines.len() as u64, data: data.as_bytes() };
    state.apply_entry(STREAM, EntryId { ms: entry, seq: 0 }, Ok(batch), &mut quarantine);
    quarantine
}

#[test]
fn what_comes_again_is_not_counted_again() {
    let mut state = state();
    send(&mut state, 1, 1, 5, 1);
    send(&mut state, 2, 1, 5, 1);
    send(&mut state, 3, 4, 4, 1);
    assert_eq!(counted(&state), 7);
    assert_eq!(total(&state, FamilyId::TelemetryDuplicates), 7);
    assert_eq!(state.producers["p"].expected, 8);
}

#[test]
fn a_gap_waits_for_the_producer_to_come_back() {
    let mut state = state();
    send(&mut state, 1, 1, 2, 1);
    send(&mut state, 2, 5, 2, 1);
    assert_eq!((counted(&state), total(&state, FamilyId::TelemetryGaps)), (2, 1));
    send(&mut state, 3, 3, 4, 1);
    assert_eq!((counted(&state), total(&state, FamilyId::TelemetryLost)), (6, 0));
}

#[test]
fn what_can_no_longer_be_sent_is_counted_as_lost() {
    let mut state = state();
    send(&mut state, 1, 1, 2, 1);
    send(&mut state, 2, 10, 1, 8);
    assert_eq!((total(&state, FamilyId::TelemetryLost), total(&state, FamilyId::TelemetryGaps)), (5, 1));
    send(&mut state, 3, 8, 3, 8);
    assert_eq!((counted(&state), total(&state, FamilyId::TelemetryLost)), (5, 5));
}

#[test]
fn a_state_begun_anew_takes_an_unknown_producer_from_what_it_can_still_send() {
    let mut state = state();
    state.adopts = true;
    state.expect_after("p", 6, 0);
    send(&mut state, 1, 5, 4, 5);
    assert_eq!((counted(&state), total(&state, FamilyId::TelemetryLost)), (2, 0));
    let mut state = super::tests::state();
    state.adopts = true;
    send(&mut state, 1, 500, 1, 400);
    assert_eq!((counted(&state), total(&state, FamilyId::TelemetryGaps)), (0, 1));
    send(&mut state, 2, 400, 101, 400);
    assert_eq!((counted(&state), total(&state, FamilyId::TelemetryLost)), (101, 0));
}

#[test]
fn entries_without_numbers_count_only_above_what_was_taken() {
    let mut state = state();
    send_lines(&mut state, 5, &[GC, GC]);
    send_lines(&mut state, 5, &[GC, GC]);
    send_lines(&mut state, 4, &[GC]);
    assert_eq!((counted(&state), total(&state, FamilyId::TelemetryUnnumbered)), (2, 2));
    // Reading the stream again from its start moves the cursor back, but not what counts as taken.
    assert_eq!(state.streams[STREAM].cursor.ms, 4);
    send_lines(&mut state, 6, &[GC]);
    assert_eq!(counted(&state), 3);
    state.stream_regressed(STREAM);
    send_lines(&mut state, 1, &[GC]);
    assert_eq!(counted(&state), 4);
}

#[test]
fn poison_is_counted_by_reason_and_passed_over() {
    let mut state = state();
    let quarantine = send_lines(
        &mut state,
        1,
        &[
            "{",
            r#"{"weather":{"t":1}}"#,
            r#"{"gc_pause":{"t":1}}"#,
            r#"{"gc_pause":{"t":1,"app_instance":"","duration_us":1}}"#,
            r#"{"budget_limits":{"t":1,"daily_nanousd":1,"monthly_nanousd":1,"time_zone":"Nowhere"}}"#,
            GC,
        ],
    );
    assert_eq!((counted(&state), quarantine.len()), (1, 5));
    let mut reasons = Vec::new();
    state.series.for_each(FamilyId::TelemetryRejected, |labels, cells| {
        reasons.push(format!("{} {}", labels[0], cells[0]));
    });
    assert_eq!(reasons, ["syntax 1", "unknown_type 1", "schema 1", "out_of_bounds 2", "overflow 0"]);
}

#[test]
fn a_time_far_ahead_of_its_entry_is_brought_back() {
    let mut state = state();
    let lookup = r#"{"cache_lookup":{"t":9000000000000,"cache_type":"redis","hit":true}}"#;
    send_lines(&mut state, 1_000_000, &[lookup]);
    assert_eq!(state.window.last_five_minutes(1_060_000).caches[1].all, 1);
}

#[test]
fn a_change_of_providers_is_counted_once_for_all_instances() {
    let configured = |t: u64, instance: &str, providers: &str| {
        format!(
            r#"{{"providers_configured":{{"t":{t},"app_instance":"{instance}","providers":[{providers}]}}}}"#
        )
    };
    let (gemini, claude) =
        (r#"{"provider":"Gemini","models":["g"]}"#, r#"{"provider":"Claude","models":["c"]}"#);
    let both = format!("{gemini},{claude}");
    let mut state = state();
    let mut send = |entry: u64, instance: &str, providers: &str| {
        send_lines(&mut state, entry, &[&configured(entry, instance, providers)]);
        total(&state, FamilyId::ProviderChanges)
    };
    assert_eq!(send(1, "a", gemini), 0, "a beginning is no change");
    assert_eq!(send(2, "b", gemini), 0);
    assert_eq!(send(3, "a", &both), 1, "added");
    assert_eq!(send(4, "b", &both), 1, "the second instance follows");
    assert_eq!(send(5, "a", gemini), 1, "the other still has it");
    assert_eq!(send(6, "b", gemini), 2, "removed");
}

#[test]
fn configured_label_sets_stand_at_zero() {
    let mut state = state();
    let line = r#"{"providers_configured":{"t":1,"app_instance":"a","providers":[{"provider":"Gemini","models":["g1","g2"]},{"provider":"Claude","models":["c"]}]}}"#;
    send_lines(&mut state, 1, &[line]);
    let count = |family| {
        let mut series = 0;
        state.series.for_each(family, |_, cells| {
            assert_eq!(cells[0], 0);
            series += 1;
        });
        series
    };
    assert_eq!(count(FamilyId::LlmRequests), 3 * 4 * 3);
    assert_eq!(count(FamilyId::LlmAgreement), 1);
    assert_eq!(count(FamilyId::WallbounceRequests), 3 * 4 * 4);
    assert_eq!(count(FamilyId::ProviderCost), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is resent, repeated or skipped, in whatever pieces: what is counted is exactly the unbroken run of
    /// events from the first.
    #[test]
    fn counted_is_what_a_set_of_numbers_says(
        batches in prop::collection::vec((1u64..40, 1u64..10), 1..60)
    ) {
        let mut state = state();
        let mut next = 1;
        for (entry, &(first, count)) in batches.iter().enumerate() {
            send(&mut state, entry as u64 + 1, first, count, 1);
            if first <= next {
                next = next.max(first + count);
            }
            prop_assert_eq!(counted(&state), next - 1);
            // A restart from the checkpoint changes nothing.
            state.series.hold_newborn(0, 0);
            let written = checkpoint::encode(&state);
            let mut again = checkpoint::decode(&written).unwrap();
            prop_assert!(again.resume(&[STREAM.to_owned()], 1_000).is_empty());
            again.revision = state.revision;
            prop_assert!(again == state && checkpoint::encode(&again) == written);
            state = again;
        }
        prop_assert_eq!(total(&state, FamilyId::TelemetryLost), 0);
    }

    /// Applying is a function: the same entries give the same state.
    #[test]
    fn the_same_entries_give_the_same_state(
        batches in prop::collection::vec((1u64..20, 1u64..5, 1u64..20), 1..30)
    ) {
        let run = || {
            let mut state = state();
            for (entry, &(first, count, oldest)) in batches.iter().enumerate() {
                send(&mut state, entry as u64, first.max(oldest), count, oldest);
            }
            state
        };
        prop_assert!(checkpoint::encode(&run()) == checkpoint::encode(&run()));
    }
}
