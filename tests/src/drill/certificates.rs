//! Drill: every certificate is renewed, every key and the authority too, while Prometheus scrapes and clients ask by a new connection each
//! time; and a certificate that is not good is tried.

use std::time::Instant;

use super::{Line, Report};
use crate::certificates::{Asking, Secured, TARGETS};
use crate::{repository, wait};

/// Renewals of everything, one after the other.
const ROUNDS: usize = 5;
const ROUNDS_SHORT: usize = 1;
/// The service that is brought a certificate with another's key.
const DECEIVED: &str = "node-exporter";

/// Runs it: five targets by mutual TLS, of which one is behind nginx and one is our own exporter.
///
/// # Panics
/// When a server does not start, shows the bad certificate, or never shows a new one.
pub(super) fn run(report: &mut Report) {
    let secured = Secured::start();
    let asking = secured.asking();
    let mut drill = Underway { secured, asking, report, asked: 0, failed: 0, scraped: 0, scrapes_failed: 0 };
    let rounds = if drill.report.short { ROUNDS_SHORT } else { ROUNDS };
    for round in 1..=rounds {
        drill.step(&format!("all certificates are renewed ({round} of {rounds})"), |secured| {
            secured.certificates.renew_well(&["--force", "all"]);
        });
    }
    drill.step("every key is changed, too", |secured| {
        for target in TARGETS {
            secured.certificates.make(&["issue", target, "--new-key"]);
        }
        secured.certificates.renew_well(&[]);
    });
    for (step, what) in [
        ("start", "a new authority is trusted beside the former"),
        ("switch", "it signs, and all certificates are renewed"),
        ("finish", "the former one is forgotten"),
    ] {
        drill.step(what, |secured| {
            secured.certificates.make(&["rotate-ca", step]);
            secured.certificates.renew_well(&[]);
        });
    }
    drill.bad_certificate();
}

/// A drill under way, and what had been counted when its last line was written.
struct Underway<'a> {
    secured: Secured,
    asking: Asking,
    report: &'a mut Report,
    asked: u64,
    failed: u64,
    scraped: u64,
    scrapes_failed: u64,
}

impl Underway<'_> {
    /// Does something, and waits until every target shows the certificate that it made; counted from the moment before.
    fn step(&mut self, what: &str, change: impl FnOnce(&Secured)) {
        let begun = Instant::now();
        change(&self.secured);
        let made = begun.elapsed();
        self.secured.wait_served();
        let shown = begun.elapsed();
        let (seconds, after) = (shown.as_secs_f64(), (shown - made).as_millis());
        self.record(
            what,
            &format!("shown by all after {seconds:.1} s, {after} ms after the script had ended"),
        );
    }

    /// A renewal is brought a certificate with another's key.
    fn bad_certificate(&mut self) {
        let certificates = &self.secured.certificates;
        let before = certificates.in_use(DECEIVED);
        let settings = std::fs::read_to_string(certificates.settings()).unwrap();
        let bring = format!(
            "issue {DECEIVED} bring() {{ cp {} \"$1\"; cp {} \"$2\"; }}; bring\nauthorities {DECEIVED} {}\n",
            certificates.certificate(DECEIVED).display(),
            certificates.key("alertmanager").display(),
            certificates.authority().display()
        );
        std::fs::write(certificates.settings(), settings + &bring).unwrap();
        let begun = Instant::now();
        let output = certificates.renew(&["--force", DECEIVED]);
        assert!(!output.status.success(), "a key that does not fit was taken");
        wait::until_true("it alerts", || self.secured.firing("CertificateRenewalFailed") == [DECEIVED]);
        let alerted = begun.elapsed();
        self.secured.wait_served();
        assert_eq!(certificates.in_use(DECEIVED), before);
        let remark = format!(
            "refused; the one before is shown on; the alert came after {:.0} s, without its wait of {}",
            alerted.as_secs_f64(),
            wait_of("CertificateRenewalFailed"),
        );
        self.record("a certificate comes with another's key", &remark);
    }

    /// Writes a line with what was counted since the last one, once every target was scraped again. Nothing is ever out of service, so
    /// nothing is ever back.
    fn record(&mut self, what: &str, remark: &str) {
        let begun = self.secured.scrapes().0;
        wait::until_true("all are scraped", || self.secured.scrapes().0 >= begun + 2 * TARGETS.len() as u64);
        let (asked, failures) = (self.asking.asked(), self.asking.failures());
        failures.iter().skip(self.failed as usize).for_each(|failure| self.report.tell(failure));
        let (failed, (scraped, scrapes_failed)) = (failures.len() as u64, self.secured.scrapes());
        self.report.record(Line {
            what: what.to_owned(),
            requests_failed: Some(failed - self.failed),
            scrapes_failed: Some(scrapes_failed - self.scrapes_failed),
            remark: format!(
                "{} connections, {} scrapes; {remark}",
                asked - self.asked,
                scraped - self.scraped
            ),
            ..Line::default()
        });
        (self.asked, self.failed) = (asked, failed);
        (self.scraped, self.scrapes_failed) = (scraped, scrapes_failed);
    }
}

/// How long an alert waits, as its rule says.
fn wait_of(alert: &str) -> String {
    let rules = repository::read("prometheus/rules/certificates.yml");
    let rule = rules.split("- alert: ").find(|rule| rule.starts_with(alert)).unwrap();
    rule.lines().find_map(|line| line.trim().strip_prefix("for: ")).unwrap_or("0 s").to_owned()
}
