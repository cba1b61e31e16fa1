//! The exporter's pages by TLS, as `--web.config.file` says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use reqwest::blocking::Client;
use reqwest::tls::Version;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use techsapo_tests::authority::replace_file;
use techsapo_tests::{Authority, Exporter, Identity, RedisServer, binaries, facts, http, wait};

use super::site::{MUTUAL, Site};

const FAILURES: &str = "techsapo_exporter_tls_handshake_failures_total";
const IN_FORCE: &str = "techsapo_exporter_tls_reload_successful";
const NOT_AFTER: &str = "techsapo_exporter_tls_certificate_not_after_timestamp_seconds";

fn ask(client: &Client, exporter: &Exporter) -> Result<String, String> {
    http::send(client.get(format!("{}/-/healthy", exporter.url()))).map(|answer| answer.text())
}

fn failures(exporter: &Exporter) -> f64 {
    exporter.scrape().counter(FAILURES).one().value
}

/// Whoever should not be let in is not, and is counted; and `authority`'s Prometheus is.
#[track_caller]
fn only_prometheus_is_let_in(exporter: &Exporter, authority: &Authority) {
    let client = |identity: Option<&Identity>| http::tls_client(authority, identity);
    let stranger = Authority::new("TechSapo test CA");
    for (who, identity) in [
        ("no certificate", None),
        ("a foreign authority", Some(stranger.issue("prometheus", &[]))),
        ("expired", Some(authority.issue_expired("prometheus", &[]))),
        ("another name", Some(authority.issue("somebody", &["prometheus.example.com"]))),
    ] {
        let before = failures(exporter);
        let answer = ask(&client(identity.as_ref()), exporter);
        assert!(answer.is_err(), "{who}: {answer:?}");
        wait::until_true(&format!("{who} is counted"), || failures(exporter) >= before + 1.0);
    }
    let prometheus = authority.issue("prometheus", &[]);
    assert_eq!(ask(&client(Some(&prometheus)), exporter).unwrap(), "healthy\n");
    // Nor do those who come believe anybody.
    let mistrusting = http::tls_client(&stranger, Some(&prometheus));
    assert!(ask(&mistrusting, exporter).unwrap_err().contains("InvalidCertificate"));
}

/// A connection that stays open.
struct Held(StreamOwned<ClientConnection, TcpStream>);

impl Held {
    fn open(exporter: &Exporter, authority: &Authority, identity: &Identity) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let certificate = CertificateDer::from_pem_file(&identity.cert).unwrap();
        let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = config.with_client_auth_cert(vec![certificate], key).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(exporter.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut held = Self(StreamOwned::new(session, stream));
        held.ask();
        held
    }

    fn ask(&mut self) {
        self.0.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: exporter\r\n\r\n").unwrap();
        let (mut answer, mut part) = (Vec::new(), [0; 1_024]);
        while !answer.ends_with(b"healthy\n") {
            let size = self.0.read(&mut part).unwrap();
            assert!(size > 0, "it was closed: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..size]);
        }
    }
}

#[test]
fn only_prometheus_is_let_in_before_and_after_everything_was_renewed() {
    let redis = RedisServer::start();
    let site = Site::new(MUTUAL);
    let exporter = site.exporter(&redis).start();
    only_prometheus_is_let_in(&exporter, &site.authority);
    let mut held = Held::open(&exporter, &site.authority, &site.prometheus);

    // The way that an authority is changed: both are trusted for a while.
    let next = Authority::new("TechSapo test CA, the next");
    site.client_authorities(&[&site.authority, &next]);
    let new = next.issue("prometheus", &[]);
    let by_new = http::tls_client(&site.authority, Some(&new));
    wait::until_true("the next authority's Prometheus is let in", || ask(&by_new, &exporter).is_ok());
    assert!(ask(&site.client(Some(&site.prometheus)), &exporter).is_ok());

    site.certificate(&next.issue("exporter", &["127.0.0.1"]));
    let by_new = http::tls_client(&next, Some(&new));
    wait::until_true("the new certificate is shown", || ask(&by_new, &exporter).is_ok());
    site.client_authorities(&[&next]);
    let by_old = http::tls_client(&next, Some(&site.prometheus));
    wait::until_true("the old authority's Prometheus is refused", || ask(&by_old, &exporter).is_err());

    held.ask();
    // The harness' own client is of the old world.
    only_prometheus_is_let_in(&exporter.asked_by(&by_new), &next);
}

#[test]
fn what_cannot_be_used_changes_nothing_and_is_told() {
    let redis = RedisServer::start();
    let site = Site::new(MUTUAL);
    let exporter = site.exporter(&redis).start();
    let in_force = |state: u8| {
        exporter.scrape_until(&format!("the certificate's state is {state}"), |page| {
            page.gauge(IN_FORCE).with("certificate", "server").one().value == f64::from(state)
        })
    };
    let page = in_force(1);
    let not_after = page.gauge(NOT_AFTER).with("certificate", "server").one().value;
    let days = (not_after - facts::now_ms() as f64 / 1e3) / 86_400.0;
    assert!((89.0..=90.0).contains(&days), "{days}");
    assert!(page.gauge(IN_FORCE).with("certificate", "client").samples().is_empty());

    let good = std::fs::read(site.server().cert).unwrap();
    let other = site.authority.issue("exporter", &["127.0.0.1"]);
    for (bad, told) in [
        (b"nothing".to_vec(), "holds no certificate"),
        // Of another key.
        (std::fs::read(&other.cert).unwrap(), "cannot be used together"),
    ] {
        replace_file(&site.server().cert, &bad);
        in_force(0);
        exporter.wait_log(told);
        assert!(ask(&site.client(Some(&site.prometheus)), &exporter).is_ok());
        replace_file(&site.server().cert, &good);
        in_force(1);
    }
    site.configure("tls_server_config: {}\n");
    in_force(0);
    site.configure("# no TLS any more\n");
    wait::until_true("it says that this needs a restart", || {
        exporter.scrape();
        exporter.process.log().contains("cannot be added or taken away")
    });
    // Also one that was written in place, with other demands.
    std::fs::write(site.web_config(), MUTUAL.replace("[prometheus, app]", "[somebody]")).unwrap();
    let somebody = site.authority.issue("somebody", &[]);
    wait::until_true("the new name is let in", || ask(&site.client(Some(&somebody)), &exporter).is_ok());
    assert!(ask(&site.client(Some(&site.prometheus)), &exporter).is_err());
}

#[test]
fn old_versions_are_spoken_only_if_the_file_says_so() {
    let redis = RedisServer::start();
    let site = Site::new(MUTUAL);
    let exporter = site.exporter(&redis).start();
    let pem = |bytes: &[u8]| reqwest::Certificate::from_pem(bytes).unwrap();
    let old = http::builder()
        .tls_certs_only([pem(site.authority.pem().as_bytes())])
        .identity(reqwest::Identity::from_pem(&site.prometheus.pem()).unwrap())
        .tls_version_max(Version::TLS_1_2)
        .build()
        .unwrap();
    assert!(ask(&old, &exporter).unwrap_err().contains("ProtocolVersion"));
    site.configure(&format!("{MUTUAL}  min_version: TLS12\n"));
    wait::until_true("TLS 1.2 is spoken", || ask(&old, &exporter).is_ok());
}

#[test]
fn http_in_clear_is_answered_and_the_silent_do_not_hold_the_door() {
    let redis = RedisServer::start();
    let site = Site::new(MUTUAL);
    let exporter = site.exporter(&redis).start();
    let answer = http::get(&format!("http://{}/metrics", exporter.address())).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("HTTPS"), "{}", answer.text());

    // More than are ever served at once.
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(exporter.address()).unwrap()).collect();
    exporter.scrape();
    let mut dawdling = &silent[0];
    dawdling.write_all(b"\x16\x03").unwrap();
    dawdling.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // It is sent away, and nobody was waiting for it.
    let ended = dawdling.read(&mut [0; 64]);
    assert!(
        matches!(ended, Ok(0))
            || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    );
    exporter.scrape_until("the slow ones are counted", |page| page.counter(FAILURES).one().value >= 100.0);
}

#[test]
fn users_want_their_password_also_without_tls() {
    let redis = RedisServer::start();
    let site = Site::new("");
    let hash = |password: &str| bcrypt::hash(password, 5).unwrap();
    let users = |password: &str| format!("basic_auth_users:\n  prometheus: {}\n", hash(password));
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
    site.configure(&format!("{}{headers}", users("one")));
    let web_config = site.web_config();
    let exporter = Exporter::of(&redis).flag("--web.config.file", &web_config.to_string_lossy()).start();
    let ask = |path: &str, password: Option<&str>| {
        let request = http::client().get(format!("{}{path}", exporter.url()));
        http::send(match password {
            Some(password) => request.basic_auth("prometheus", Some(password)),
            None => request,
        })
        .unwrap()
    };
    for path in ["/metrics", "/live", "/", "/nothing"] {
        let refused = ask(path, None);
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Basic")), "{path}");
        assert_eq!(ask(path, Some("two")).status, 401, "{path}");
    }
    assert_eq!(ask("/-/healthy", None).status, 200);
    let page = ask("/metrics", Some("one"));
    assert_eq!((page.status, page.header("x-frame-options")), (200, Some("deny")));
    assert!(page.text().contains(FAILURES));

    site.configure(&users("two"));
    wait::until_true("the new password is taken", || ask("/metrics", Some("two")).status == 200);
    assert_eq!(ask("/metrics", Some("one")).status, 401);
    let log = exporter.process.log();
    assert!(!log.contains("$2"), "{log}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_at_the_start() {
    let redis = RedisServer::start();
    let site =
        Site::new("tls_server_config: {cert_file: server.crt, key_file: server.key, ca_file: ca.crt}\n");
    let mut exporter = site.exporter(&redis).spawn();
    assert_eq!(exporter.process.wait_exit().code(), Some(2));
    let log = exporter.process.log();
    assert!(log.contains("--web.config.file") && log.contains("ca_file"), "{log}");
}

#[test]
fn its_tools_ask_it_as_prometheus_does() {
    let redis = RedisServer::start();
    let site = Site::new(&MUTUAL.replace("[prometheus, app]", "[prometheus, exporter]"));
    // Without an address in it: the tools find the name in the certificate.
    site.certificate(&site.authority.issue("exporter", &[]));
    let mut exporter = site.exporter_both_ways(&redis).spawn();
    let run = |tool: &str, ca: &str, own: &Identity| {
        let mut command = binaries::command("techsapo-exporter");
        command
            .args([tool, "--web.listen-address", &exporter.address(), "--web.config.file"])
            .arg(site.web_config());
        command
            .args(["--tls.ca-file", ca, "--tls.cert-file"])
            .arg(&own.cert)
            .arg("--tls.key-file")
            .arg(&own.key);
        if tool == "--check" {
            command
                .args(["--app.url", "none", "--redis.url", &redis.url(), "--checkpoint.dir"])
                .arg(exporter.checkpoints());
        }
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    let ca = site.authority.ca_file().to_string_lossy().into_owned();
    wait::until_true("it is healthy", || run("healthcheck", &ca, &site.server()).0 == Some(0));
    let (_, said) = run("healthcheck", &ca, &site.server());
    assert!(said.starts_with("healthy: https://exporter:"), "{said}");
    let (code, said) = run("--check", &ca, &site.server());
    assert!(said.contains("its certificate runs out in "), "{said}");
    assert!(said.contains("a running techsapo-exporter serves there"), "{said}");
    assert_eq!(code, Some(0), "{said}");

    let stranger = Authority::new("stranger");
    let (code, said) = run("healthcheck", &stranger.ca_file().to_string_lossy(), &site.server());
    assert!(code == Some(1) && said.contains("UnknownIssuer"), "{said}");
    let (code, said) = run("healthcheck", &ca, &site.authority.issue("somebody", &[]));
    assert!(code == Some(1) && said.contains("does not answer"), "{said}");

    // A bad renewal is no reason to be restarted: what was read before serves.
    std::fs::write(site.web_config(), "tls_server_config: {cert_file: server.crt}\n").unwrap();
    let (code, said) = run("healthcheck", &ca, &site.server());
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run("--check", &ca, &site.server());
    assert!(code == Some(1) && said.contains("key_file"), "{said}");
    exporter.process.assert_alive();
}
