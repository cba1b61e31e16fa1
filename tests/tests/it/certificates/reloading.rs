//! Servers that read their files only when told are told; those that could not be are told again.

use std::path::Path;
use std::process::{Command, Stdio};

use techsapo_tests::stack::said;
use techsapo_tests::{Certificates, MariaDb, RedisServer, free_port, repository, wait};

const RELOAD_FAILED: &str = "techsapo_certificates_reload_failed";

/// The certificate that is shown at a port, as it goes over the wire. `how` is what OpenSSL has to know of the protocol.
fn shown(port: u16, how: &[&str], certificates: &Certificates) -> Vec<u8> {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(how).stdin(Stdio::null());
    client.arg("-CAfile").arg(certificates.authority()).arg("-verify_return_error");
    let file = certificates.beside().join("shown.pem");
    std::fs::write(&file, client.output().unwrap().stdout).unwrap();
    let mut convert = Command::new("openssl");
    convert.args(["x509", "-outform", "DER", "-in"]).arg(file).output().unwrap().stdout
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

/// Has `script` stand for a program of the system; returns the PATH on which it is found first.
fn stand_in(certificates: &Certificates, program: &str, script: &str) -> String {
    let folder = certificates.beside().join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(program), format!("#!/bin/sh\n{script}")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join(program), mode).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

#[test]
fn redis_and_mysql_show_the_new_certificate_without_a_restart() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "127.0.0.1"]);
    certificates.make(&["issue", "mysql", "127.0.0.1"]);
    let [redis_crt, redis_key] = [certificates.certificate("redis"), certificates.key("redis")];
    let [mysql_crt, mysql_key] = [certificates.certificate("mysql"), certificates.key("mysql")];
    let (authority, tls_port) = (certificates.authority(), free_port());
    let redis = RedisServer::with(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        path(&redis_crt),
        "--tls-key-file",
        path(&redis_key),
        "--tls-ca-cert-file",
        path(&authority),
        "--tls-auth-clients",
        "no",
    ]);
    let mysql = MariaDb::with(&[
        &format!("--ssl-cert={}", mysql_crt.display()),
        &format!("--ssl-key={}", mysql_key.display()),
        &format!("--ssl-ca={}", authority.display()),
    ]);
    let reload = format!(
        "reload redis redis-cli -e -p {} CONFIG SET tls-cert-file {} tls-key-file {}\n",
        redis.port(),
        redis_crt.display(),
        redis_key.display()
    );
    std::fs::write(certificates.settings(), reload).unwrap();
    let of_mysql = ["-starttls", "mysql"];
    let before = [shown(tls_port, &[], &certificates), shown(mysql.port(), &of_mysql, &certificates)];
    assert_eq!(before, ["redis", "mysql"].map(|name| certificates.in_use(name)));

    // MySQL is told as it is by default: by its socket.
    let mut renew = certificates.script("renew-certificates.sh", &["--force", "all"]);
    let output = renew.env("MYSQL_UNIX_PORT", mysql.socket()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let after = ["redis", "mysql"].map(|name| certificates.in_use(name));
    assert_ne!(before, after);
    wait::until_true("both show the new one", || {
        [shown(tls_port, &[], &certificates), shown(mysql.port(), &of_mysql, &certificates)] == after
    });
}

#[test]
fn who_could_not_be_told_is_told_again_and_nobody_without_need() {
    let certificates = Certificates::new();
    for name in ["redis", "nginx", "long-term-store"] {
        certificates.make(&["issue", name, "localhost"]);
    }
    let (told, broken) = (certificates.beside().join("told"), certificates.beside().join("broken"));
    let settings = format!(
        "reload redis test ! -e {broken} && echo redis >>{told}\nreload nginx echo nginx >>{told}\n\
         reload long-term-store echo nginx >>{told}\n",
        broken = broken.display(),
        told = told.display()
    );
    std::fs::write(certificates.settings(), settings).unwrap();
    let told = || std::fs::read_to_string(&told).unwrap_or_default();
    let failed =
        |wanted: i32| certificates.metrics().gauge(RELOAD_FAILED).with("certificate", "redis").is(wanted);

    certificates.renew_well(&[]);
    assert_eq!(told(), "nginx\nredis\n", "a command that two share is run once");
    certificates.renew_well(&[]);
    assert_eq!(told(), "nginx\nredis\n", "nothing has changed");
    failed(0);

    std::fs::write(&broken, "").unwrap();
    let output = certificates.renew(&["--force", "redis"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("1 renewed, 0 could not be, 1 servers could not be told"),
        "{}",
        said(&output)
    );
    failed(1);
    certificates.metrics().gauge("techsapo_certificates_renewal_failed").with("certificate", "redis").is(0);
    std::fs::remove_file(&broken).unwrap();
    let again = certificates.renew_well(&[]);
    assert!(again.contains(" 0 renewed"), "{again}");
    assert_eq!(told(), "nginx\nredis\nredis\n");
    failed(0);

    // What is trusted has changed: all must know.
    certificates.make(&["rotate-ca", "start"]);
    certificates.renew_well(&[]);
    assert_eq!(told(), "nginx\nredis\nredis\nnginx\nredis\n");
}

#[test]
fn a_sentinel_of_this_host_is_started_again_and_nothing_else_is() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost"]);
    certificates.make(&["issue", "exporter", "localhost"]);
    // Stands for systemd: what it was asked, and which unit it runs. Redis itself runs elsewhere.
    let asked = certificates.beside().join("asked");
    let systemctl = |runs: &str| {
        let script = format!(
            "echo \"$*\" >>{}\ncase \"$*\" in *is-active*{runs}*|restart*) ;; *) exit 3 ;; esac\n",
            asked.display()
        );
        stand_in(&certificates, "systemctl", &script)
    };
    let renew = |path: &str| {
        let mut script = certificates.script("renew-certificates.sh", &["--force", "all"]);
        let output = script.env("PATH", path).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let told = std::fs::read_to_string(&asked).unwrap_or_default();
        let _ = std::fs::remove_file(&asked);
        told
    };
    let look = "--quiet is-active redis-sentinel.service\n";
    let told = renew(&systemctl("redis-sentinel.service"));
    assert_eq!(told, format!("{look}restart redis-sentinel.service\n"));
    assert_eq!(renew(&systemctl("another.service")), look);
}

#[test]
fn a_command_that_does_not_end_is_ended_and_told() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost"]);
    let ended = certificates.beside().join("ended");
    let command = format!("sleep 900; touch {}", ended.display());
    std::fs::write(certificates.settings(), format!("reload redis {command}\n")).unwrap();
    let renew = |seconds: &str| {
        let mut script = certificates.script("renew-certificates.sh", &[]);
        let output = script.env("TECHSAPO_RELOAD_SECONDS", seconds).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{seconds}: {}", said(&output));
        said(&output)
    };
    for wrong in ["0", "-1", "1m", "soon"] {
        let told = renew(wrong);
        assert!(told.contains(&format!("a whole number above 0; it is '{wrong}'")), "{told}");
    }
    let told = renew("1");
    assert!(told.contains(&format!("'{command}' was ended after 1 s")), "{told}");
    assert!(told.contains("1 servers could not be told") && !ended.exists(), "{told}");
    certificates.metrics().gauge(RELOAD_FAILED).with("certificate", "redis").is(1);
}

#[test]
fn a_command_has_time_to_start_all_of_production_s_containers_again_one_after_the_other() {
    let certificates = Certificates::new();
    certificates.make(&["issue", "redis", "localhost"]);
    std::fs::write(certificates.settings(), "reload redis true\n").unwrap();
    // Stands for who ends what takes too long: after how many seconds it would.
    let limit = certificates.beside().join("limit");
    let script = format!("echo \"$1\" >>{}\nshift\nexec \"$@\"\n", limit.display());
    let path = stand_in(&certificates, "timeout", &script);
    let mut renew = certificates.script("renew-certificates.sh", &[]);
    let output = renew.env("PATH", path).env_remove("TECHSAPO_RELOAD_SECONDS").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let limit: usize = std::fs::read_to_string(limit).unwrap().trim().parse().unwrap();

    let prepare = repository::root().join("scripts/production-prepare.sh");
    let prepare = std::fs::read_to_string(prepare).unwrap();
    let line_with = |begin: &str, end: &str| {
        let mut lines = prepare.lines().map(str::trim);
        lines.find_map(|line| line.strip_prefix(begin)?.strip_suffix(end)).unwrap()
    };
    let healthy: usize = line_with("HEALTHY_SECONDS=", "").parse().unwrap();
    let restarted = line_with("for service in ", "; do restart \"$service\"; done").split(' ').count();
    assert!(restarted >= 8 && limit > restarted * healthy, "{limit} s for {restarted} times {healthy} s");
}
