//! The drill of `scripts/drill.sh certificates`, shortened.

use techsapo_tests::drill::{DRILLS, Report};

#[test]
fn nobody_notices_renewals_and_what_was_done_is_written_down() {
    let drill = DRILLS.iter().find(|drill| drill.name == "certificates").unwrap();
    let mut report = Report::new(true, |line| eprintln!("{line}"));
    (drill.run)(&mut report);
    assert_eq!(report.lines().len(), 6);
    for line in report.lines() {
        // A new key is the one change that a server's two reads may fall around (docs/certificates.md).
        if !line.what.contains("every key") {
            assert_eq!((line.requests_failed, line.scrapes_failed), (Some(0), Some(0)), "{}", report.table());
        }
        assert!(line.remark.contains("shown"), "{}", report.table());
    }
}
