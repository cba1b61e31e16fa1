//! `scripts/certificates.sh`: the authority, certificates by it or from elsewhere, and a new authority.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use techsapo_tests::Certificates;
use techsapo_tests::stack::said;

/// What OpenSSL prints of a certificate.
fn text(file: &Path) -> String {
    let output = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// How many certificates a file holds.
fn count(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap().matches("BEGIN CERTIFICATE").count()
}

#[test]
fn the_authority_signs_leaves_alone_and_its_key_is_for_its_owner() {
    let certificates = Certificates::new();
    let authority = text(&certificates.authority());
    for part in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "prime256v1"] {
        assert!(authority.contains(part), "{part} is not in\n{authority}");
    }
    assert_eq!(mode(&certificates.folder().join("ca.key")), 0o600);
    assert_eq!(mode(&certificates.authority()), 0o644);
    assert!(certificates.refuse(&["init"]).contains("rotate-ca"), "there is one already");

    let elsewhere = Certificates::without_authority();
    assert!(elsewhere.refuse(&["issue", "redis"]).contains("init"));
    assert!(elsewhere.refuse(&["status"]).contains("init"));
}

#[test]
fn a_certificate_is_for_the_names_given_and_good_as_server_and_as_client() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "redis.internal", "10.0.0.7", "::1"]);
    let redis = text(&certificates.certificate("redis"));
    for part in [
        "CN = redis",
        "DNS:redis.internal, IP Address:10.0.0.7, IP Address:0:0:0:0:0:0:0:1",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "CA:FALSE",
        "prime256v1",
    ] {
        assert!(redis.contains(part), "{part} is not in\n{redis}");
    }
    assert_eq!(mode(&certificates.key("redis")), 0o600);
    // Without names it keeps those that it has, and its key.
    let key = std::fs::read(certificates.key("redis")).unwrap();
    certificates.make(&["issue", "redis"]);
    assert!(text(&certificates.certificate("redis")).contains("DNS:redis.internal, IP Address:10.0.0.7"));
    assert_eq!(std::fs::read(certificates.key("redis")).unwrap(), key);
    certificates.make(&["issue", "redis", "--new-key"]);
    assert_ne!(std::fs::read(certificates.key("redis")).unwrap(), key);

    for (arguments, reason) in [
        (&["issue", "../redis"][..], "cannot be a service's name"),
        (&["issue", "ca"], "cannot be a service's name"),
        (&["issue", "redis", "a b"], "no name of a host"),
        (&["issue", "redis", "a,DNS:b"], "no address"),
        (&["issue", "redis", "--days", "x"], "no number of days"),
        (&["issue", "redis", "--until", "yesterday"], "end before it begins"),
        (&["issue", "redis", "--group", "no-such-group"], "cannot be given to the group"),
        (&["nonsense"], "unknown command"),
    ] {
        let before = std::fs::read_link(certificates.folder().join("services/redis/current")).unwrap();
        let answer = certificates.refuse(arguments);
        assert!(answer.contains(reason), "{arguments:?}: {answer}");
        let after = std::fs::read_link(certificates.folder().join("services/redis/current")).unwrap();
        assert_eq!(before, after, "{arguments:?}");
    }
}

#[test]
fn the_production_set_is_made_at_once_and_what_is_there_stays() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "redis.internal"]);
    let redis = certificates.in_use("redis");
    let mut command = certificates.script("certificates.sh", &["issue", "--all"]);
    let output = command.env("TECHSAPO_TLS_NAMES", "one.internal 10.0.0.9").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(certificates.in_use("redis"), redis);
    for name in [
        "exporter",
        "app",
        "node-exporter",
        "prometheus",
        "alertmanager",
        "grafana",
        "long-term-store",
        "mysql",
        "nginx",
        "gate",
        "techsapo",
    ] {
        let names = text(&certificates.certificate(name));
        let wanted =
            format!("DNS:{name}, DNS:one.internal, IP Address:10.0.0.9, DNS:localhost, IP Address:127.0.0.1");
        assert!(names.contains(&wanted), "{names}");
        // A service is given its own folder alone, and finds everything there.
        let home = certificates.folder().join("services").join(name);
        assert_eq!(
            std::fs::read(home.join("ca.crt")).unwrap(),
            std::fs::read(certificates.authority()).unwrap()
        );
        assert_eq!(
            std::fs::read(home.join("current/tls.key")).unwrap(),
            std::fs::read(certificates.key(name)).unwrap()
        );
    }
    let status = certificates.make(&["status"]);
    let row = status.lines().find(|line| line.starts_with("redis ")).unwrap();
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words[1], "89", "{status}");
    assert!(row.ends_with("redis.internal"), "{status}");
    certificates.make(&["check"]);
}

#[test]
fn check_and_status_say_what_is_wrong() {
    let certificates = Certificates::new();
    for name in ["open", "mixed", "due", "good"] {
        certificates.make(&["issue", name, "localhost"]);
    }
    certificates.make(&["issue", "due", "--from", "-80 days", "--until", "+10 days"]);
    let services = certificates.folder().join("services");
    let open = services.join("open/current/tls.key");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::copy(services.join("good/current/tls.key"), services.join("mixed/current/tls.key")).unwrap();
    let check = certificates.refuse(&["check"]);
    for line in
        ["open: others may read or change its key", "mixed: the key does not fit", "good: good", "due: good"]
    {
        assert!(check.lines().any(|found| found == line), "{line:?} is not in\n{check}");
    }
    let status = certificates.make(&["status"]);
    let row = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("due ").ends_with("(due)") && row("mixed ").ends_with("(the key does not fit)"), "{status}");

    let key = certificates.folder().join("ca.key");
    std::fs::copy(certificates.key("good"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(certificates.refuse(&["check"]).contains("belongs to no authority"));
}

#[test]
fn an_authority_can_be_kept_to_names_of_its_own() {
    let certificates = Certificates::without_authority();
    certificates.make(&["init", "--only", "internal", "--only", "10.0.0.0/8"]);
    certificates.make(&["issue", "good", "redis.internal", "10.1.2.3"]);
    for names in
        [&["www.example.com"][..], &["redis.internal", "192.168.0.1"], &["redis.internal.example.com"]]
    {
        let arguments = [&["issue", "bad"], names].concat();
        assert!(certificates.refuse(&arguments).contains("permitted subtree violation"), "{names:?}");
    }
    assert!(!certificates.certificate("bad").exists());
    // The next authority is kept to the same.
    certificates.make(&["rotate-ca", "start"]);
    certificates.make(&["rotate-ca", "switch"]);
    assert!(certificates.refuse(&["issue", "bad", "www.example.com"]).contains("permitted subtree"));
    let wrong = Certificates::without_authority();
    assert!(wrong.refuse(&["init", "--only", "10.0.0.0/8"]).contains("domain"));
    assert!(wrong.refuse(&["init", "--only", "internal", "--only", "10.0.0.0/99"]).contains("no network"));
}

#[test]
fn what_somebody_else_put_there_is_taken_over_only_when_asked() {
    let (certificates, made_elsewhere) = (Certificates::new(), Certificates::new());
    made_elsewhere.make(&["issue", "redis", "localhost"]);
    std::fs::copy(made_elsewhere.certificate("redis"), certificates.certificate("redis")).unwrap();
    symlink(made_elsewhere.key("redis"), certificates.key("redis")).unwrap();
    let before = std::fs::read(certificates.certificate("redis")).unwrap();
    let answer = certificates.refuse(&["issue", "redis", "localhost"]);
    assert!(answer.contains("was not made by these scripts"), "{answer}");
    assert_eq!(std::fs::read(certificates.certificate("redis")).unwrap(), before);

    let pair = [certificates.certificate("redis"), certificates.key("redis")];
    let pair = pair.each_ref().map(|file| file.to_str().unwrap());
    let install = ["install", "redis", pair[0], pair[1]];
    assert!(certificates.refuse(&install).contains("not to be trusted"), "its authority is a stranger's");
    let trusted = format!("authorities redis {}\n", made_elsewhere.authority().display());
    std::fs::write(certificates.settings(), trusted).unwrap();
    certificates.make(&install);
    assert!(certificates.certificate("redis").is_symlink());
    assert_eq!(std::fs::read(certificates.certificate("redis")).unwrap(), before);
    certificates.make(&["check"]);
}

#[test]
fn a_new_authority_comes_while_the_old_one_is_trusted() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost"]);
    certificates.make(&["issue", "nginx", "localhost"]);
    let (old, first) = (std::fs::read(certificates.authority()).unwrap(), certificates.in_use("redis"));
    let copy = certificates.folder().join("services/redis/ca.crt");
    for step in ["switch", "finish"] {
        assert!(certificates.refuse(&["rotate-ca", step]).contains("no change of the authority"), "{step}");
    }

    certificates.make(&["rotate-ca", "start"]);
    assert_eq!((count(&certificates.authority()), count(&copy)), (2, 2));
    assert!(certificates.refuse(&["rotate-ca", "start"]).contains("it has begun"));
    // The old one signs still.
    certificates.renew_well(&["--force", "redis"]);
    std::fs::write(certificates.beside().join("old.crt"), &old).unwrap();
    let by_old = |name: &str| {
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-no-CApath", "-CAfile"]).arg(certificates.beside().join("old.crt"));
        verify.arg(certificates.certificate(name)).output().unwrap().status.success()
    };
    assert!(by_old("redis"));

    certificates.make(&["rotate-ca", "switch"]);
    assert!(certificates.refuse(&["rotate-ca", "finish"]).contains("of the former authority still"));
    certificates.make(&["check"]);
    let renewed = certificates.renew_well(&[]);
    assert!(renewed.contains("2 renewed") && renewed.contains("another authority signs now"), "{renewed}");
    assert!(!by_old("redis") && !by_old("nginx"));
    assert_ne!(certificates.in_use("redis"), first);

    certificates.make(&["rotate-ca", "finish"]);
    assert_eq!((count(&certificates.authority()), count(&copy)), (1, 1));
    assert_ne!(std::fs::read(certificates.authority()).unwrap(), old);
    certificates.make(&["check"]);
    assert!(certificates.renew_well(&[]).contains(" 0 renewed"));
    let keys = std::fs::read_dir(certificates.folder()).unwrap();
    let keys = keys.filter(|entry| entry.as_ref().unwrap().path().is_file());
    let names: Vec<_> = keys.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("ca-")), "the former key is gone: {names:?}");
}

#[test]
fn the_key_is_readable_by_the_group_that_was_given_also_after_a_renewal() {
    let certificates = Certificates::new();
    let group = std::fs::metadata(certificates.folder()).unwrap().gid().to_string();
    certificates.make(&["issue", "redis", "localhost", "--group", &group]);
    for _ in 0..2 {
        assert_eq!(mode(&certificates.key("redis")), 0o640);
        assert_eq!(std::fs::metadata(certificates.key("redis")).unwrap().gid().to_string(), group);
        certificates.renew_well(&["--force", "redis"]);
    }
    certificates.make(&["check"]);
}
