//! A real Prometheus and its targets over mutual TLS: who is refused, and that certificates change while everything goes on.

use techsapo_tests::certificates::{Secured, TARGETS, client};
use techsapo_tests::stack::said;
use techsapo_tests::{Certificates, wait};

/// Renewals of everything, one after the other, under load.
const ROUNDS: usize = 3;

/// Certificates of the targets, and of three Node Exporters that must not be believed: one has a stranger's certificate, one an expired one,
/// one a certificate for another name.
fn with_impostors() -> (Certificates, Certificates) {
    let (ours, strangers) = (Certificates::new(), Certificates::new());
    ours.make(&["issue", "expired", "127.0.0.1", "--until", "+20 seconds"]);
    for name in TARGETS {
        ours.make(&["issue", name, "127.0.0.1"]);
    }
    strangers.make(&["issue", "stranger", "127.0.0.1"]);
    ours.make(&["issue", "elsewhere", "elsewhere.internal"]);
    let authorities = format!("authorities stranger {}\n", strangers.authority().display());
    std::fs::write(ours.settings(), authorities).unwrap();
    let pair = [strangers.certificate("stranger"), strangers.key("stranger")];
    let pair = pair.each_ref().map(|file| file.to_str().unwrap());
    ours.make(&["install", "stranger", pair[0], pair[1]]);
    (ours, strangers)
}

/// What Prometheus said of its last scrape of a job.
fn last_error(secured: &Secured, job: &str) -> String {
    let targets = secured.watch().api("/api/v1/targets")["activeTargets"].as_array().unwrap().clone();
    let target = targets.iter().find(|target| target["labels"]["job"] == job).unwrap();
    target["lastError"].as_str().unwrap().to_owned()
}

/// Prometheus refuses the impostors, and every target refuses whoever cannot show a good certificate.
fn strangers_are_refused(secured: &Secured, strangers: &Certificates) {
    for (impostor, reason) in [
        ("stranger", "unknown authority"),
        ("expired", "expired"),
        ("elsewhere", "cannot validate certificate for"),
    ] {
        wait::until_true(&format!("{impostor} is refused"), || {
            last_error(secured, impostor).contains(reason)
        });
        secured.watch().wait_value(&format!(r#"max_over_time(up{{job="{impostor}"}}[1h])"#), 0.0);
    }
    let ours = &secured.certificates;
    // It trusts our authority, and shows a certificate of its own.
    let foreign = Certificates::without_authority();
    std::fs::create_dir(foreign.folder()).unwrap();
    std::fs::copy(ours.authority(), foreign.authority()).unwrap();
    std::fs::copy(strangers.certificate("stranger"), foreign.certificate("stranger")).unwrap();
    std::fs::copy(strangers.key("stranger"), foreign.key("stranger")).unwrap();
    let known = ours.client(Some("prometheus")).unwrap();
    for target in TARGETS {
        assert_eq!(secured.ask(&known, target), Ok(()), "{target}");
        for (who, stranger) in [
            ("shows none", ours.client(None)),
            ("shows a stranger's", client(&foreign.folder(), Some("stranger"))),
            ("shows an expired one", ours.client(Some("expired"))),
        ] {
            let answer = secured.ask(&stranger.unwrap(), target);
            assert!(answer.is_err(), "{target} answers who {who}");
        }
    }
}

#[test]
fn strangers_are_refused_before_and_after_everything_was_renewed() {
    let (ours, strangers) = with_impostors();
    wait::until_true("it expires", || {
        said(&ours.script("certificates.sh", &["check"]).output().unwrap())
            .contains("certificate has expired")
    });
    let secured = Secured::with(ours, &["stranger", "expired", "elsewhere"]);
    strangers_are_refused(&secured, &strangers);

    let forced: Vec<_> = TARGETS.iter().flat_map(|target| ["--force", target]).collect();
    // It would renew the expired one, too; that is what it is for, and it is kept from it here.
    let keep = format!(
        "issue expired false\nissue stranger false\nauthorities expired {}\n",
        secured.certificates.authority().display()
    );
    let settings = std::fs::read_to_string(secured.certificates.settings()).unwrap();
    std::fs::write(secured.certificates.settings(), settings + &keep).unwrap();
    let output = secured.certificates.renew(&forced);
    assert!(said(&output).contains("5 renewed, 1 could not be"), "{}", said(&output));
    secured.wait_served();
    strangers_are_refused(&secured, &strangers);
}

#[test]
fn everything_is_renewed_under_load_and_nobody_notices() {
    let mut secured = Secured::start();
    let asking = secured.asking();
    for _ in 0..ROUNDS {
        let before = TARGETS.map(|target| secured.certificates.in_use(target));
        secured.certificates.renew_well(&["--force", "all"]);
        assert_ne!(TARGETS.map(|target| secured.certificates.in_use(target)), before);
        secured.wait_served();
    }
    // A new authority, and what the former one signed is no longer good.
    let former = secured.certificates.beside().join("former");
    std::fs::create_dir(&former).unwrap();
    for (from, to) in [
        (secured.certificates.certificate("prometheus"), "old.crt"),
        (secured.certificates.key("prometheus"), "old.key"),
    ] {
        std::fs::copy(from, former.join(to)).unwrap();
    }
    for step in ["start", "switch", "finish"] {
        secured.certificates.make(&["rotate-ca", step]);
        secured.certificates.renew_well(&[]);
        secured.wait_served();
    }
    let (scrapes, _) = secured.scrapes();
    wait::until_true("all were scraped with it", || {
        secured.scrapes().0 >= scrapes + 2 * TARGETS.len() as u64
    });
    let (asked, failures) = asking.stop();
    assert!(failures.is_empty(), "{} of {asked} failed: {}", failures.len(), failures[0]);
    let (scrapes, failed) = secured.scrapes();
    assert_eq!(failed, 0, "of {scrapes} scrapes");
    assert!(asked > 100 && scrapes > 20, "{asked} requests, {scrapes} scrapes");
    std::fs::copy(secured.certificates.authority(), former.join("ca.crt")).unwrap();
    let former = client(&former, Some("old")).unwrap();
    for target in TARGETS {
        assert!(secured.ask(&former, target).is_err(), "{target} believes the former authority");
    }
    secured.assert_alive();
}

#[test]
fn a_bad_certificate_changes_nothing_and_alerts_until_a_good_one_comes() {
    let secured = Secured::start();
    let certificates = &secured.certificates;
    certificates.renew_well(&[]);
    secured.watch().wait_value(r#"count(techsapo_certificates_renewal_failed == 0)"#, 5.0);
    let before = certificates.in_use("node-exporter");
    let settings = std::fs::read_to_string(certificates.settings()).unwrap();
    let bad = format!(
        "issue node-exporter bring() {{ cp {} \"$1\"; cp {} \"$2\"; }}; bring\nauthorities node-exporter {}\n",
        certificates.certificate("node-exporter").display(),
        certificates.key("alertmanager").display(),
        certificates.authority().display()
    );
    std::fs::write(certificates.settings(), format!("{settings}{bad}")).unwrap();
    let output = certificates.renew(&["--force", "node-exporter"]);
    assert!(said(&output).contains("the key does not fit"), "{}", said(&output));
    wait::until_true("it alerts", || secured.firing("CertificateRenewalFailed") == ["node-exporter"]);
    secured.wait_served();
    assert_eq!(certificates.in_use("node-exporter"), before);

    std::fs::write(certificates.settings(), settings).unwrap();
    certificates.renew_well(&["--force", "node-exporter"]);
    wait::until_true("it is over", || secured.firing("CertificateRenewalFailed").is_empty());
    secured.wait_served();
    assert_ne!(certificates.in_use("node-exporter"), before);
    assert_eq!(secured.scrapes().1, 0);
}
