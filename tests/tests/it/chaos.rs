//! A short chaos run of a fixed seed: processes killed, power lost, Redis emptied, connections cut, all under load. Longer
//! ones: `./scripts/chaos.sh --seconds 120 --seed 1`.

use techsapo_tests::chaos::{self, Plan};

#[test]
fn every_fact_is_counted_exactly_once_whatever_happens() {
    let plan = Plan { seed: 1, seconds: 20, ..Plan::default() };
    let outcome = chaos::run(plan, &mut |line| eprintln!("{line}")).unwrap_or_else(|failure| {
        panic!("kept in {}:\n{}", failure.folder.display(), failure.findings.join("\n"))
    });
    eprintln!("{outcome}");
    assert!(outcome.answered > 100, "only {} answers: no load", outcome.answered);
    assert!(outcome.pages > 20, "only {} pages were seen", outcome.pages);
    assert!(outcome.kills > 5, "only {} processes were killed", outcome.kills);
    assert_eq!((outcome.account.lost, outcome.account.doubled, outcome.decreases), (0, 0, 0));
}
