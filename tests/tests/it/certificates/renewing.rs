//! `scripts/renew-certificates.sh`: what is due, what is told of it, and the public certificate's documented places.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use techsapo_tests::stack::said;
use techsapo_tests::{Certificates, check_metrics, repository, textfile, wait};

const NOT_AFTER: &str = "techsapo_certificate_not_after_timestamp_seconds";
const FAILED: &str = "techsapo_certificates_renewal_failed";
const LAST_RUN: &str = "techsapo_certificates_renewal_last_run_timestamp_seconds";
const DAY: f64 = 86_400.0;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Days from now until a certificate expires, as Node Exporter is told.
fn days_left(certificates: &Certificates, name: &str) -> f64 {
    let metrics = certificates.metrics();
    (metrics.gauge(NOT_AFTER).with("certificate", name).one().value - now()) / DAY
}

#[test]
fn what_has_lived_two_thirds_is_renewed_and_nothing_else() {
    let certificates = Certificates::new();
    // 90 days each, of which 61, 59 and none are over.
    certificates.make(&[
        "issue",
        "old",
        "localhost",
        "10.0.0.7",
        "--from",
        "-61 days",
        "--until",
        "+29 days",
    ]);
    certificates.make(&["issue", "younger", "localhost", "--from", "-59 days", "--until", "+31 days"]);
    certificates.make(&["issue", "new", "localhost"]);
    let before = ["younger", "new"].map(|name| certificates.in_use(name));
    let key = std::fs::read(certificates.key("old")).unwrap();

    let planned = certificates.renew_well(&["--dry-run"]);
    assert!(planned.contains("old: would be renewed: two thirds"), "{planned}");
    assert!(
        !planned.contains("younger: would be renewed") && !certificates.textfile_folder().exists(),
        "{planned}"
    );

    let renewed = certificates.renew_well(&[]);
    assert!(renewed.contains("3 certificates: 1 renewed, 0 could not be"), "{renewed}");
    assert!((89.0..91.0).contains(&days_left(&certificates, "old")));
    assert!((30.0..32.0).contains(&days_left(&certificates, "younger")));
    assert_eq!(["younger", "new"].map(|name| certificates.in_use(name)), before);
    assert_eq!(std::fs::read(certificates.key("old")).unwrap(), key, "whatever a server reads fits together");
    let status = certificates.make(&["status"]);
    let row = status.lines().find(|line| line.starts_with("old ")).unwrap();
    assert!(row.ends_with("localhost 10.0.0.7"), "{status}");
    assert!(certificates.renew_well(&[]).contains(" 0 renewed"));
}

#[test]
fn a_key_is_changed_when_it_is_a_year_old_or_was_open() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost"]);
    let key = std::fs::read(certificates.key("redis")).unwrap();
    let file = std::fs::File::open(certificates.key("redis")).unwrap();
    let set_days =
        |days: u64| file.set_modified(SystemTime::now() - Duration::from_hours(days * 24)).unwrap();
    set_days(364);
    certificates.renew_well(&["--force", "redis"]);
    assert_eq!(std::fs::read(certificates.key("redis")).unwrap(), key);
    // It is as old as before: its age is the key's, not the certificate's.
    std::fs::File::open(certificates.key("redis"))
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_hours(366 * 24))
        .unwrap();
    certificates.renew_well(&["--force", "redis"]);
    let second = std::fs::read(certificates.key("redis")).unwrap();
    assert_ne!(second, key);
    // What others could read they may have.
    std::fs::set_permissions(certificates.key("redis"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let renewed = certificates.renew_well(&[]);
    assert!(renewed.contains("redis: renewed (it is not good: others may read"), "{renewed}");
    assert_ne!(std::fs::read(certificates.key("redis")).unwrap(), second);
    certificates.make(&["check"]);
}

#[test]
fn generations_before_are_kept_for_who_reads_them_and_not_for_ever() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost"]);
    for _ in 0..4 {
        certificates.renew_well(&["--force", "redis"]);
    }
    let home = certificates.folder().join("services/redis");
    let folders =
        std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut generations: Vec<u32> = folders.filter_map(|name| name.parse().ok()).collect();
    generations.sort_unstable();
    assert_eq!(generations, [3, 4, 5]);
    assert_eq!(std::fs::read_link(home.join("current")).unwrap().to_str(), Some("5"));
}

#[test]
fn everything_that_is_told_is_declared_and_the_other_way_round() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost"]);
    let before = now() - 1.0;
    certificates.renew_well(&[]);
    let page =
        std::fs::read_to_string(certificates.textfile_folder().join("techsapo-certificates.prom")).unwrap();
    assert_eq!(check_metrics(&page), Vec::<String>::new());
    let metrics = certificates.metrics();
    let declared = repository::read("prometheus/textfile/certificates.prom");
    let declared: Vec<_> = textfile::declared()
        .into_iter()
        .filter(|metric| declared.contains(&format!("# TYPE {} ", metric.name)))
        .collect();
    assert!(declared.len() >= 5);
    for metric in &declared {
        for sample in metrics.gauge(&metric.name).samples() {
            assert_eq!(sample.labels.keys().cloned().collect::<Vec<_>>(), metric.labels, "{}", metric.name);
        }
        assert!(!metrics.gauge(&metric.name).samples().is_empty(), "{} is not told", metric.name);
    }
    let told: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(told.len(), declared.len());

    metrics.gauge(FAILED).with("certificate", "redis").is(0);
    let (run, ca) =
        (metrics.gauge(LAST_RUN).one().value, metrics.gauge(NOT_AFTER).with("certificate", "ca").one().value);
    assert!(run >= before && run <= now());
    assert!((3_648.0..3_651.0).contains(&((ca - now()) / DAY)));
    let mode = std::fs::metadata(certificates.textfile_folder().join("techsapo-certificates.prom")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o644, "Node Exporter is another user");
}

#[test]
fn a_run_that_breaks_off_is_told_as_a_failure() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost"]);
    certificates.renew_well(&[]);
    std::fs::write(certificates.settings(), "relaod redis nginx -s reload\n").unwrap();
    let output = certificates.renew(&[]);
    assert!(!output.status.success() && said(&output).contains("1:relaod redis"), "{}", said(&output));
    certificates.metrics().gauge(FAILED).with("certificate", "redis").is(1);

    // Its commands run as root: nobody else may write it.
    std::fs::write(certificates.settings(), "reload redis true\n").unwrap();
    std::fs::set_permissions(certificates.settings(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let output = certificates.renew(&[]);
    assert!(
        !output.status.success() && said(&output).contains("somebody else may write it"),
        "{}",
        said(&output)
    );

    std::fs::remove_file(certificates.settings()).unwrap();
    certificates.renew_well(&[]);
    certificates.metrics().gauge(FAILED).with("certificate", "redis").is(0);
}

#[test]
fn two_never_work_at_once() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost"]);
    let started = certificates.beside().join("started");
    let wait = format!("reload redis touch {}; exec sleep 60\n", started.display());
    std::fs::write(certificates.settings(), wait).unwrap();
    let mut first = certificates.script("renew-certificates.sh", &["--force", "redis"]);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait::until_true("the first is at work", || started.exists());
    let second = certificates.renew(&["--force", "redis"]);
    assert!(
        !second.status.success() && said(&second).contains("another script is at work"),
        "{}",
        said(&second)
    );
    first.kill().unwrap();
    first.wait().unwrap();
    // What was killed holds nothing up, and the certificate is whole.
    std::fs::write(certificates.settings(), "reload redis true\n").unwrap();
    certificates.renew_well(&[]);
    certificates.make(&["check"]);
    let left = std::fs::read_dir(certificates.folder()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with(".work") || name.starts_with(".new")), "{left:?}");
}

#[test]
fn the_public_certificate_stands_in_its_documented_places() {
    let certificates = Certificates::new();
    let etc = certificates.beside().join("etc/ssl");
    let places = [etc.join("certs/techsapo.crt"), etc.join("private/techsapo.key")];
    let call = |script: &str, arguments: &[&str]| {
        let mut command: Command = certificates.script(script, arguments);
        command.env("TECHSAPO_PUBLIC_CERTIFICATE", &places[0]).env("TECHSAPO_PUBLIC_KEY", &places[1]);
        let output = command.output().unwrap();
        (output.status.success(), said(&output))
    };
    // An operator's own is not touched.
    std::fs::create_dir_all(etc.join("certs")).unwrap();
    std::fs::write(&places[0], "an operator's own").unwrap();
    let (done, answer) = call("certificates.sh", &["issue", "techsapo", "www.example.com"]);
    assert!(!done && answer.contains("was not made by these scripts"), "{answer}");
    assert_eq!(std::fs::read_to_string(&places[0]).unwrap(), "an operator's own");
    std::fs::remove_file(&places[0]).unwrap();

    let due = ["issue", "techsapo", "www.example.com", "--from", "-80 days", "--until", "+10 days"];
    let (done, answer) = call("certificates.sh", &due);
    assert!(done, "{answer}");
    let same = || {
        [certificates.certificate("techsapo"), certificates.key("techsapo")]
            .map(|file| std::fs::read(file).unwrap())
            == places.each_ref().map(|file| std::fs::read(file).unwrap())
    };
    assert!(same());
    let first = certificates.in_use("techsapo");
    let (done, answer) = call("renew-certificates.sh", &[]);
    assert!(done && answer.contains("1 renewed"), "{answer}");
    assert!(same() && certificates.in_use("techsapo") != first);
}

#[test]
fn a_host_without_the_authority_s_key_takes_what_is_made_elsewhere() {
    let (home, host) = (Certificates::new(), Certificates::without_authority());
    home.make(&["issue", "redis", "localhost", "--from", "-80 days", "--until", "+10 days"]);
    std::fs::create_dir(host.folder()).unwrap();
    std::fs::copy(home.authority(), host.authority()).unwrap();
    let bring = || {
        let pair = [home.certificate("redis"), home.key("redis")];
        let pair = pair.each_ref().map(|file| file.to_str().unwrap());
        host.make(&["install", "redis", pair[0], pair[1]])
    };
    bring();
    let answer = host.renew_well(&[]);
    assert!(answer.contains("it is made elsewhere") && answer.contains(" 0 renewed"), "{answer}");
    assert!((9.0..11.0).contains(&days_left(&host, "redis")), "that it expires is seen");
    host.metrics().gauge(FAILED).with("certificate", "redis").is(0);
    assert!(host.refuse(&["issue", "redis"]).contains("ca.key is not here"));

    home.renew_well(&[]);
    bring();
    assert_eq!(host.in_use("redis"), home.in_use("redis"));
    assert!(!host.renew_well(&[]).contains("it is made elsewhere"));
}
