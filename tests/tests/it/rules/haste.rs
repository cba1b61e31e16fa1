//! Rules and configurations in which everything that waits does so in a twentieth of its time: every duration is divided by
//! [`HASTE`], so that ranges, waits and intervals keep their proportions, and a test need not wait for minutes.

use regex::{Captures, Regex};

/// How many times faster than it would be everything goes.
pub(super) const HASTE: u64 = 20;

/// `text` with every duration that `place` finds (in its second group, between the first and the third) shortened.
pub(super) fn hastened(text: &str, place: &str) -> String {
    let place = Regex::new(&format!("(?m)({place})([0-9]+)(ms|s|m|h|d)\\b")).unwrap();
    place
        .replace_all(text, |found: &Captures<'_>| {
            let unit_ms = match &found[3] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => 86_400_000,
            };
            format!("{}{}ms", &found[1], found[2].parse::<u64>().unwrap() * unit_ms / HASTE)
        })
        .into_owned()
}

/// Rules, hastened.
pub(super) fn hastened_rules(text: &str) -> String {
    hastened(text, r"\[|offset |^ +(?:for|keep_firing_for|interval): ")
}

/// Prometheus' configuration, hastened.
pub(super) fn hastened_config(text: &str) -> String {
    hastened(text, r"^  (?:scrape_interval|scrape_timeout|evaluation_interval): ")
}

#[test]
fn durations_are_shortened_and_nothing_else() {
    let rule =
        "        expr: rate(a{b=\"5m\"}[5m] offset 1d) > 10\n        for: 90s\n      keep_firing_for: 2m\n";
    let wanted = "        expr: rate(a{b=\"5m\"}[15000ms] offset 4320000ms) > 10\n        for: 4500ms\n      keep_firing_for: 6000ms\n";
    assert_eq!(hastened_rules(rule), wanted);
}
