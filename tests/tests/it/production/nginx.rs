//! `docker/production/nginx.conf`: to whom requests go, what is asked again and what never, and what nobody outside reaches.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use techsapo_tests::http::{self, Answer};
use techsapo_tests::{Authority, Identity, Nginx, free_port, wait};

/// Stands for an app: says its name, remembers what it was asked, and may break off when it has read a request. It speaks TLS with whoever
/// shows a certificate of the authority.
struct Stub {
    port: u16,
    breaks_off: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// What arrived.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    headers: Vec<String>,
    /// Whom the handshake was for.
    server_name: Option<String>,
}

impl Stub {
    fn start(name: &'static str, authority: &Authority) -> Self {
        Self::showing(name, authority, &Nginx::app_certificate(authority))
    }

    /// One that shows this certificate.
    fn showing(name: &'static str, authority: &Authority, identity: &Identity) -> Self {
        let tls = Arc::new(server_config(authority, identity));
        Self::answering(move |connection, broken, told| {
            let session = ServerConnection::new(Arc::clone(&tls)).ok()?;
            let mut stream = StreamOwned::new(session, connection);
            let asked = read_request(&mut stream)?;
            let server_name = stream.conn.server_name().map(str::to_owned);
            told.lock().ok()?.push(Asked { server_name, ..asked });
            if broken.load(Ordering::SeqCst) {
                return None;
            }
            respond(&mut stream, name)
        })
    }

    /// One that knows no TLS.
    fn in_clear(name: &'static str) -> Self {
        Self::answering(move |mut connection, _, told| {
            let asked = read_request(&mut connection)?;
            told.lock().ok()?.push(asked);
            respond(&mut connection, name)
        })
    }

    fn answering(
        answer: impl Fn(TcpStream, &AtomicBool, &Mutex<Vec<Asked>>) -> Option<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (breaks_off, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (broken, told, answer) = (Arc::clone(&breaks_off), Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (broken, told, answer) = (Arc::clone(&broken), Arc::clone(&told), Arc::clone(&answer));
                std::thread::spawn(move || answer(connection, &broken, &told));
            }
        });
        Self { port, breaks_off, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn breaks_off(&self) {
        self.breaks_off.store(true, Ordering::SeqCst);
    }
}

fn server_config(authority: &Authority, identity: &Identity) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = CertificateDer::pem_file_iter(&identity.cert).unwrap().map(Result::unwrap).collect();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(clients.build().unwrap());
    config.with_single_cert(chain, PrivateKeyDer::from_pem_file(&identity.key).unwrap()).unwrap()
}

fn read_request(connection: &mut impl Read) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&length| length > 0)?;
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_ascii_lowercase());
    }
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    reader.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
    Some(Asked { line: lines.remove(0), headers: lines, server_name: None })
}

fn respond(connection: &mut impl Write, name: &str) -> Option<()> {
    let response =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}", name.len());
    connection.write_all(response.as_bytes()).ok()?;
    connection.flush().ok()
}

const NAMES: [&str; 3] = ["app-0", "app-1", "app-2"];

fn stubs() -> ([Stub; 3], Nginx) {
    let authority = Authority::new("production");
    let stubs = NAMES.map(|name| Stub::start(name, &authority));
    let nginx = Nginx::before(stubs.each_ref().map(|stub| stub.port), &authority);
    (stubs, nginx)
}

fn get(nginx: &Nginx, path: &str) -> Answer {
    http::send(nginx.client().get(nginx.url(path))).unwrap()
}

fn post(nginx: &Nginx) -> Answer {
    http::send(nginx.client().post(nginx.url("/api/v1/generate")).json(&json!({"prompt": "?"}))).unwrap()
}

#[test]
fn requests_are_spread_by_weight_and_the_backup_is_asked_when_nobody_else_is_there() {
    let (_stubs, nginx) = stubs();
    assert!(nginx.tested().contains("test is successful"));
    let answers: Vec<_> = (0..50).map(|_| get(&nginx, "/ping").text()).collect();
    let by = |name: &str| answers.iter().filter(|answer| *answer == name).count();
    assert_eq!((by("app-0"), by("app-1"), by("app-2")), (30, 20, 0));

    let authority = Authority::new("production");
    let backup = Stub::start("app-2", &authority);
    let alone = Nginx::before([free_port(), free_port(), backup.port], &authority);
    for _ in 0..5 {
        assert_eq!((get(&alone, "/ping").text().as_str(), post(&alone).text().as_str()), ("app-2", "app-2"));
    }
}

#[test]
fn what_may_have_been_accepted_is_never_asked_twice_unless_it_changes_nothing() {
    let (stubs, nginx) = stubs();
    stubs[0].breaks_off();
    stubs[1].breaks_off();
    let answer = post(&nginx);
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["code"], "unavailable");
    assert_eq!(answer.json()["request_id"].as_str(), answer.header("x-request-id"));
    let asked: usize = stubs.iter().map(|stub| stub.asked().len()).sum();
    assert_eq!(asked, 1, "the question that an app had read was asked of no other");

    // A GET is, until somebody answers.
    for _ in 0..10 {
        assert_eq!(get(&nginx, "/api/v1/health").text(), "app-2");
    }
    // But not this one, which costs money.
    let (stubs, nginx) = self::stubs();
    stubs.iter().for_each(Stub::breaks_off);
    assert_eq!(get(&nginx, "/api/v1/wall-bounce/analyze?query=x").status, 502);
    assert_eq!(stubs.iter().map(|stub| stub.asked().len()).sum::<usize>(), 1);
}

#[test]
fn a_request_that_could_not_be_sent_goes_to_another_app_whatever_it_is() {
    let authority = Authority::new("production");
    let here = ["app-1", "app-2"].map(|name| Stub::start(name, &authority));
    let nginx = Nginx::before([free_port(), here[0].port, here[1].port], &authority);
    for _ in 0..10 {
        assert_eq!(post(&nginx).text(), "app-1");
    }
    let nobody = Nginx::before([free_port(), free_port(), free_port()], &authority);
    let answer = get(&nobody, "/ping");
    assert_eq!((answer.status, answer.header("content-type")), (502, Some("application/json")));
}

#[test]
fn whoever_cannot_prove_to_be_an_app_is_told_nothing_and_another_is_asked() {
    let (authority, stranger) = (Authority::new("production"), Authority::new("production"));
    let app = Stub::start("app-2", &authority);
    let showing = |identity: &Identity| Stub::showing("impostor", &authority, identity);
    let impostors = [
        showing(&Nginx::app_certificate(&stranger)),
        showing(&authority.issue_expired("app", &[])),
        showing(&authority.issue("exporter", &["127.0.0.1"])),
        Stub::in_clear("impostor"),
    ];
    let ports = impostors.each_ref().map(|impostor| impostor.port);
    for pair in ports.chunks(2) {
        let nginx = Nginx::before([pair[0], pair[1], app.port], &authority);
        for _ in 0..5 {
            assert_eq!((post(&nginx).text(), get(&nginx, "/ping").text()), ("app-2".into(), "app-2".into()));
        }
    }
    let nginx = Nginx::before([ports[0], ports[1], ports[2]], &authority);
    assert_eq!(post(&nginx).status, 502);
    // Nginx, too, has to prove who it is: it shows a certificate of another authority here.
    let refused = Nginx::before([app.port; 3], &stranger);
    assert_eq!(post(&refused).status, 502);

    assert!(impostors.iter().all(|impostor| impostor.asked().is_empty()));
    let asked = app.asked();
    assert_eq!(asked.len(), 20);
    assert!(asked.iter().all(|asked| asked.server_name.as_deref() == Some("app")), "{asked:?}");
}

#[test]
fn apps_are_told_who_asks_and_believe_no_caller_about_it() {
    let (stubs, nginx) = stubs();
    let request = nginx.client().get(nginx.url("/ping"));
    let request = request.header("x-forwarded-for", "203.0.113.9").header("forwarded", "for=203.0.113.9");
    http::send(request.header("x-request-id", "mine-1")).unwrap();
    http::send(nginx.client().get(nginx.url("/ping?q=secret")).header("x-request-id", "not one; of ours"))
        .unwrap();
    let asked: Vec<_> = stubs.iter().flat_map(Stub::asked).collect();
    let values = |name: &str| -> Vec<String> {
        let of =
            |asked: &Asked| asked.headers.iter().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        asked.iter().filter_map(of).collect()
    };
    assert_eq!(values("x-forwarded-for: "), ["127.0.0.1"; 2]);
    assert_eq!(values("forwarded: "), [""; 0]);
    let ids = values("x-request-id: ");
    assert!(ids.contains(&"mine-1".to_owned()) && ids.iter().any(|id| id.len() == 32), "{ids:?}");
    // What is written down holds neither a question nor a whole address.
    // It is written once the answer has gone; with the one that saw that nginx answers.
    let log = wait::until("the log has all three", || {
        let log = nginx.access_log();
        (log.len() >= 3).then_some(log)
    });
    for entry in &log {
        assert_eq!(entry["network"], "127.0.0.0/24");
        assert!(!entry.to_string().contains("secret"), "{entry}");
    }
}

#[test]
fn what_is_for_those_within_is_not_served() {
    let (stubs, nginx) = stubs();
    for path in [
        "/metrics",
        "/metrics/",
        "/internal/status",
        "/internal",
        "//internal/status",
        "/%69nternal/status",
        "/x/../metrics",
        "/%6detrics?x",
    ] {
        let answer = get(&nginx, path);
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (404, Some("not_found")),
            "{path}"
        );
    }
    assert!(stubs.iter().all(|stub| stub.asked().is_empty()));
    let large = nginx.client().post(nginx.url("/api/v1/generate")).body(vec![b'x'; 3 << 20]);
    let answer = http::send(large).unwrap();
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (413, Some("payload_too_large")));
    assert!(answer.header("strict-transport-security").is_some());
    assert_eq!(get(&nginx, "/ping").status, 200);
    assert_eq!(stubs[0].asked()[0].line.split(' ').nth(1), Some("/ping"));
}
