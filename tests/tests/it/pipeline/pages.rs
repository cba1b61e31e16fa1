//! What the exporter serves: its pages, compression, bounded cardinality, and new series at zero first.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::json;
use techsapo_tests::http::{client, send};
use techsapo_tests::{Exporter, Exposition, Producer, RedisServer, facts};

use super::{counted, stage};

#[test]
fn every_page_answers() {
    let (_redis, exporter, _producer) = stage();
    let landing = exporter.get("/").unwrap();
    assert_eq!(landing.status, 200);
    assert!(landing.text().contains("href=\"/metrics\""), "{}", landing.text());
    assert!(landing.header("content-type").unwrap().starts_with("text/html"));
    assert_eq!(exporter.get("/-/healthy").unwrap().status, 200);
    assert_eq!(exporter.get("/-/ready").unwrap().status, 200);
    assert_eq!(exporter.get("/nothing").unwrap().status, 404);
    let post = send(client().post(format!("{}/metrics", exporter.url()))).unwrap();
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    let head = send(client().head(format!("{}/metrics", exporter.url()))).unwrap();
    assert_eq!((head.status, head.bytes.len()), (200, 0));
}

#[test]
fn the_page_is_compressed_for_those_who_ask() {
    let (_redis, exporter, mut producer) = stage();
    producer.send(&facts::many(5));
    let plain = exporter.scrape_after(&mut producer);
    let ask = |accept: &str| {
        let url = format!("{}/metrics", exporter.url());
        send(client().get(url).header("Accept-Encoding", accept)).unwrap()
    };
    // What Prometheus sends.
    let answer = ask("gzip");
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut page = String::new();
    GzDecoder::new(answer.bytes.as_slice()).read_to_string(&mut page).unwrap();
    assert_eq!(counted(&Exposition::parse(&page)), counted(&plain));
    for accept in ["identity", "gzip;q=0", "br, deflate"] {
        let answer = ask(accept);
        assert_eq!(answer.header("content-encoding"), None, "{accept}");
        Exposition::parse(&answer.text());
    }
}

#[test]
fn a_family_that_is_full_counts_on_as_other() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).series_limit(10).start();
    let mut producer = Producer::new(&redis);
    let request = |route: usize| facts::event("http_request", &json!({"route": format!("/{route}")}));
    producer.send(&(0..25).chain(0..5).map(request).collect::<Vec<_>>());
    let page = exporter.scrape_after(&mut producer);
    let requests = page.counter("techsapo_http_requests_total");
    assert_eq!(requests.total(), 30.0, "totals stay exact");
    assert!(requests.samples().len() <= 11, "{} series", requests.samples().len());
    requests.clone().with("route", "/0").is(2);
    let other = requests.with("route", "other").one().value;
    page.counter("techsapo_telemetry_series_overflow_total")
        .with("family", "techsapo_http_requests_total")
        .is(other);
    let durations = page.observations("techsapo_http_request_duration_seconds");
    assert_eq!(durations.total(), 30.0);
    // Families whose labels are closed have nothing that could become other.
    page.counter("techsapo_telemetry_series_overflow_total")
        .with("family", "techsapo_anomaly_requests_total")
        .absent();
}

#[test]
fn a_series_born_later_stands_at_zero_first() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).birth_hold("15s").start();
    let mut producer = Producer::new(&redis);
    producer.send(&[
        facts::event("http_request", &json!({"route": "/new"})),
        facts::event("anomaly", &json!({})),
    ]);
    let page = exporter.scrape_after(&mut producer);
    let route =
        |page: &Exposition| page.counter("techsapo_http_requests_total").with("route", "/new").one().value;
    assert_eq!(route(&page), 0.0);
    page.observations("techsapo_http_request_duration_seconds").with("route", "/new").is(0);
    // One that stood at zero all along has been seen there.
    page.counter("techsapo_anomaly_requests_total").with("type", "traffic_spike").is(1);
    let page = exporter.scrape_until("the new series shows its value", |page| route(page) == 1.0);
    page.observations("techsapo_http_request_duration_seconds").with("route", "/new").is(1);
}

#[test]
fn an_app_that_does_not_answer_is_told() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).app("http://127.0.0.1:1").start();
    let page = exporter.scrape_until("the app was asked", |page| {
        !page.gauge("techsapo_exporter_app_up").samples().is_empty()
    });
    page.gauge("techsapo_exporter_app_up").with("url", "http://127.0.0.1:1").is(0);
}
