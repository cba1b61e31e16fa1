//! The whole stack, with nothing wrong: what passes nginx, who is scraped, and how often an alert is told.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use techsapo_tests::production::{Roads, Setup};
use techsapo_tests::{Nginx, Production, http, wait};
use tungstenite::Message;

#[test]
fn streams_pass_every_target_is_scraped_and_an_alert_is_told_once() {
    let stack = Production::start(&Setup::with(Roads::Sentinels));
    events_come_as_they_happen(&stack.nginx);
    a_websocket_lives(&stack.nginx);
    for prometheus in &stack.prometheus {
        let jobs = "count by (job) (up == 1)";
        wait::until_true("every target answers", || {
            let mut up: Vec<_> = prometheus
                .query(jobs)
                .into_iter()
                .map(|(labels, count)| (labels["job"].clone(), count))
                .collect();
            up.sort_by(|one, other| one.0.cmp(&other.0));
            let wanted = [
                ("alertmanager", 3.0),
                ("long-term-store", 1.0),
                ("node", 1.0),
                ("prometheus", 2.0),
                ("techsapo-exporter", 2.0),
            ];
            up.iter().map(|(job, count)| (job.as_str(), *count)).eq(wanted)
        });
        prometheus.wait_value("sum(techsapo_wallbounce_requests_total)", 1.0);
    }
    // The watchdog fires in both, and each tells all three: one of them tells us.
    wait::until_true("somebody tells it", || !stack.sink.json("/watchdog").is_empty());
    for (number, one) in stack.alertmanagers.iter().enumerate() {
        // Having waited whether those before it do.
        wait::until_true(&format!("alertmanager-{number} has come to whether to tell it"), || {
            one.figure("alertmanager_nflog_queries_total") >= 1.0
        });
    }
    let told = stack.sink.json("/watchdog");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["alerts"].as_array().map(Vec::len), Some(1), "{told:?}");
}

/// Server-sent events of an analysis: the first comes while the answer is still being made.
fn events_come_as_they_happen(nginx: &Nginx) {
    let url = nginx.url("/api/v1/wall-bounce/analyze");
    let response = nginx.client().get(url).query(&[("query", "What is measured?")]).send().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events: Vec<String> = BufReader::new(response)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
        .collect();
    let kind = |event: &String| serde_json::from_str::<Value>(event).unwrap()["type"].clone();
    assert_eq!(events.first().map(kind), Some(json!("thinking")), "{events:?}");
    assert_eq!(events.last().map(kind), Some(json!("final_answer")), "{events:?}");
    // Figures have no end: one that comes shows that nobody keeps them back.
    let response = nginx.client().get(nginx.url("/api/v1/metrics/stream")).send().unwrap();
    let first =
        BufReader::new(response).lines().map_while(Result::ok).find(|line| line.starts_with("data: "));
    assert!(first.is_some_and(|line| line.contains("\"metrics\"")));
}

fn a_websocket_lives(nginx: &Nginx) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(nginx.certificate()).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let session =
        ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    let stream = StreamOwned::new(session, TcpStream::connect(("127.0.0.1", nginx.port())).unwrap());
    let (mut socket, response) =
        tungstenite::client(nginx.url("/ws/metrics").replace("https", "wss"), stream).unwrap();
    assert_eq!(response.status(), 101);
    let figures = loop {
        if let Message::Text(text) = socket.read().unwrap() {
            break text;
        }
    };
    assert!(figures.contains("\"metrics\""), "{figures}");
    let health = http::send(nginx.client().get(nginx.url("/health"))).unwrap();
    assert_eq!(health.status, 200);
}
