//! The drills, shortened. What they measure is not asserted, for a test machine is busy; that nothing is lost they assert themselves.

use techsapo_tests::drill::{DRILLS, Report};

fn drill(name: &str) -> Report {
    let mut report = Report::new(true, |line| eprintln!("{line}"));
    let drill = DRILLS.iter().find(|drill| drill.name == name).unwrap();
    (drill.run)(&mut report);
    for line in report.lines() {
        assert_eq!(line.facts_lost, Some(0), "{}", line.what);
    }
    report
}

#[test]
fn whatever_is_killed_its_stand_in_takes_over_and_no_fact_is_lost() {
    let report = drill("failover");
    assert_eq!(report.lines().len(), 5);
    // A GET is asked again elsewhere.
    let app = &report.lines()[0];
    assert!(!app.remark.contains("GET") || app.remark.contains(" 0 GET"), "{}", app.remark);
    let alert = &report.lines()[4];
    assert!(alert.remark.contains("was told 1 time"), "{}", alert.remark);
}

#[test]
fn without_a_way_to_redis_requests_are_answered_and_counted_later() {
    let report = drill("partition");
    assert_eq!(report.lines().len(), 5);
    assert!(report.lines().iter().all(|line| line.requests_failed == Some(0)), "{}", report.table());
}

#[test]
fn a_full_disk_delays_the_counting_and_loses_nothing() {
    let report = drill("disk-full");
    for line in report.lines().iter().filter(|line| !line.what.contains("killed")) {
        assert_eq!(line.requests_failed, Some(0), "{}", line.what);
    }
}
