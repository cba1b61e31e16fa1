//! Servers that read their files only when told are told; those that could not be are told again.

use std::path::Path;
use std::process::{Command, Stdio};

use techsapo_tests::stack::said;
use techsapo_tests::{Certificates, MariaDb, RedisServer, free_port, wait};

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
    let (folder, asked) = (certificates.beside().join("bin"), certificates.beside().join("asked"));
    std::fs::create_dir(&folder).unwrap();
    let systemctl = |runs: &str| {
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{}\ncase \"$*\" in *is-active*{runs}*|restart*) ;; *) exit 3 ;; esac\n",
            asked.display()
        );
        std::fs::write(folder.join("systemctl"), script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.join("systemctl"), mode).unwrap();
    };
    let renew = || {
        let mut script = certificates.script("renew-certificates.sh", &["--force", "all"]);
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let output = script.env("PATH", path).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let told = std::fs::read_to_string(&asked).unwrap_or_default();
        let _ = std::fs::remove_file(&asked);
        told
    };
    let look = "--quiet is-active redis-sentinel.service\n";
    systemctl("redis-sentinel.service");
    assert_eq!(renew(), format!("{look}restart redis-sentinel.service\n"));
    systemctl("another.service");
    assert_eq!(renew(), look);
}
