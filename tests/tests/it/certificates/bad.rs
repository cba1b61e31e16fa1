//! A certificate that is not good never replaces one that is, whoever brings it, and that it was brought is told.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use techsapo_tests::Certificates;
use techsapo_tests::stack::said;

/// A service whose certificate a command brings, from a folder that a test fills.
struct Brought {
    certificates: Certificates,
    folder: PathBuf,
}

impl Brought {
    fn new() -> Self {
        let certificates = Certificates::new();
        certificates.make(&["issue", "redis", "localhost", "127.0.0.1"]);
        let folder = certificates.beside().join("brought");
        std::fs::create_dir(&folder).unwrap();
        let settings = format!(
            "# Whoever brings it writes both files.\nissue redis bring() {{ cp {folder}/crt \"$1\" && cp {folder}/key \"$2\"; }}; bring\n\
             authorities redis {authority}\n",
            folder = folder.display(),
            authority = certificates.authority().display()
        );
        std::fs::write(certificates.settings(), settings).unwrap();
        Self { certificates, folder }
    }

    /// What the command will bring: a certificate of one service, the key of another.
    fn bring(&self, certificates: &Certificates, certificate: &str, key: &str) {
        std::fs::copy(certificates.certificate(certificate), self.folder.join("crt")).unwrap();
        std::fs::copy(certificates.key(key), self.folder.join("key")).unwrap();
    }

    /// A renewal fails for this reason, changes nothing, and is told.
    fn refused(&self, what: &str, reason: &str) {
        let files = || {
            [self.certificates.certificate("redis"), self.certificates.key("redis")]
                .map(|file| std::fs::read(file).unwrap())
        };
        let before = files();
        let output = self.certificates.renew(&["--force", "redis"]);
        assert_eq!(output.status.code(), Some(1), "{what}: {}", said(&output));
        assert!(said(&output).contains(reason), "{what}: {}", said(&output));
        assert_eq!(files(), before, "{what}");
        let metrics = self.certificates.metrics();
        metrics.gauge("techsapo_certificates_renewal_failed").with("certificate", "redis").is(1);
    }
}

#[test]
fn what_is_not_good_is_refused_and_told() {
    let brought = Brought::new();
    let (ours, strangers) = (&brought.certificates, Certificates::new());
    let names = ["localhost", "127.0.0.1"];
    let make = |of: &Certificates, name: &str, names: &[&str], more: &[&str]| {
        of.make(&[&["issue", name], names, more].concat());
    };
    make(&strangers, "redis", &names, &[]);
    make(ours, "good", &names, &[]);
    make(ours, "other", &names, &[]);
    // Kept aside, for the next renewal would replace it, and expired by the time it is needed.
    make(ours, "early", &names, &["--until", "+20 seconds"]);
    let expired = Instant::now() + Duration::from_secs(21);
    let early = [ours.certificate("early"), ours.key("early")].map(|file| std::fs::read(file).unwrap());
    make(ours, "nameless", &["localhost"], &[]);

    brought.refused("nothing was brought", "ended with 1");
    brought.bring(&strangers, "redis", "redis");
    brought.refused("another authority's", "not to be trusted: ");
    brought.bring(ours, "good", "other");
    brought.refused("another's key", "the key does not fit");
    brought.bring(ours, "nameless", "nameless");
    brought.refused("not for all names", "it lacks the name 127.0.0.1");
    // Only now, for a renewal of our own would replace it.
    make(ours, "due", &names, &["--from", "-80 days", "--until", "+10 days"]);
    brought.bring(ours, "due", "due");
    brought.refused("nearly as old as the one it replaces", "due itself");
    std::fs::write(brought.folder.join("crt"), "<html>Bad gateway</html>").unwrap();
    brought.refused("no certificate", "no certificate can be read");
    std::fs::write(brought.folder.join("crt"), "").unwrap();
    brought.refused("empty", "did not write both files");
    std::thread::sleep(expired.saturating_duration_since(Instant::now()));
    std::fs::write(brought.folder.join("crt"), &early[0]).unwrap();
    std::fs::write(brought.folder.join("key"), &early[1]).unwrap();
    brought.refused("expired", "certificate has expired");

    // And a good one ends it.
    brought.bring(ours, "good", "good");
    let renewed = ours.renew_well(&["--force", "redis"]);
    assert!(renewed.contains("redis: renewed"), "{renewed}");
    assert_eq!(ours.in_use("redis"), ours.in_use("good"));
    ours.metrics().gauge("techsapo_certificates_renewal_failed").with("certificate", "redis").is(0);
}

#[test]
fn without_a_key_that_fits_the_authority_nothing_is_signed() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost", "--from", "-80 days", "--until", "+10 days"]);
    let before = certificates.in_use("redis");
    std::fs::copy(certificates.key("redis"), certificates.folder().join("ca.key")).unwrap();
    let output = certificates.renew(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("belongs to no authority"), "{}", said(&output));
    assert_eq!(certificates.in_use("redis"), before);
    let metrics = certificates.metrics();
    metrics.gauge("techsapo_certificates_renewal_failed").with("certificate", "redis").is(1);
}

#[test]
fn what_somebody_else_signed_is_not_replaced_by_ours() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    strangers.make(&["issue", "techsapo", "www.example.com", "--from", "-80 days", "--until", "+10 days"]);
    let settings = format!("authorities techsapo {}\n", strangers.authority().display());
    std::fs::write(certificates.settings(), settings).unwrap();
    let pair = [strangers.certificate("techsapo"), strangers.key("techsapo")];
    let pair = pair.each_ref().map(|file| file.to_str().unwrap());
    certificates.make(&["install", "techsapo", pair[0], pair[1]]);
    let before = certificates.in_use("techsapo");
    let output = certificates.renew(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("not by an authority of ours")
            && said(&output).contains("issue techsapo COMMAND")
    );
    assert_eq!(certificates.in_use("techsapo"), before);
}
