//! The live page's files as a browser gets them, and the alerts that the page shows.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::json;

use crate::support::App;

/// Each file of the page and what a browser must take it for.
const FILES: [(&str, &str); 8] = [
    ("/", "text/html; charset=utf-8"),
    ("/page/page.css", "text/css; charset=utf-8"),
    ("/page/main.js", "text/javascript; charset=utf-8"),
    ("/page/ask.js", "text/javascript; charset=utf-8"),
    ("/page/live.js", "text/javascript; charset=utf-8"),
    ("/page/dom.js", "text/javascript; charset=utf-8"),
    ("/page/words.js", "text/javascript; charset=utf-8"),
    ("/page/icon.svg", "image/svg+xml"),
];

#[test]
fn every_file_comes_with_its_type_and_the_policy_and_is_not_sent_twice() {
    let app = App::start(&[]);
    for (path, content_type) in FILES {
        let response = app.get(path);
        assert_eq!((response.status, response.header("content-type")), (200, Some(content_type)), "{path}");
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        let tag = response.header("etag").unwrap();
        let again = app.raw(format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nif-none-match: {tag}\r\nconnection: close\r\n\r\n"
        ));
        assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag)), "{path}");
    }
}

#[test]
fn the_page_asks_nobody_else_and_holds_no_script_or_style_of_its_own() {
    let app = App::start(&[]);
    for (path, _) in FILES {
        let text = app.get(path).body;
        let elsewhere = text.split("http").skip(1).filter(|rest| {
            let rest = rest.trim_start_matches('s');
            rest.starts_with("://") && !rest.starts_with("://www.w3.org/2000/svg")
        });
        assert_eq!(elsewhere.count(), 0, "{path}");
    }
    let html = app.get("/").body;
    for inline in ["<script>", "<style", " style=", " onclick=", " onload=", "javascript:"] {
        assert!(!html.contains(inline), "{inline}");
    }
    // Each file that the page names is there.
    for name in html.split('"').filter(|name| name.starts_with("/page/")) {
        assert!(FILES.iter().any(|(path, _)| *path == name), "{name}");
    }
}

/// An Alertmanager that answers `body` to one look, and what it was asked.
fn alertmanager(body: String) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let read = stream.read(&mut head).unwrap();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    (url, asked)
}

#[test]
fn alerts_are_told_most_urgent_first() {
    let alert = |name: &str, priority: &str, since: &str| {
        json!({
            "labels": {"alertname": name, "severity": "critical", "priority": priority, "more": "x"},
            "annotations": {"summary": format!("{name} happened"), "runbook_url": "https://runbooks.invalid/x"},
            "startsAt": since, "fingerprint": "f", "status": {"state": "active"},
        })
    };
    let told = json!([
        alert("Later", "P1", "2026-01-01T00:00:02Z"),
        alert("Earlier", "P1", "2026-01-01T00:00:01Z"),
        alert("Urgent", "P0", "2026-01-01T00:00:03Z"),
        {"labels": {"alertname": "Bare"}, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z"},
    ]);
    let (url, asked) = alertmanager(told.to_string());
    let app = App::start(&[("alertmanager.url", url.as_str())]);
    let answer = app.get("/api/v1/alerts").json();
    assert!(
        asked.join().unwrap().starts_with("GET /api/v2/alerts?active=true&silenced=false&inhibited=false ")
    );
    assert_eq!(answer["configured"], true);
    let names: Vec<_> = answer["alerts"].as_array().unwrap().iter().map(|alert| &alert["name"]).collect();
    assert_eq!(names, ["Urgent", "Earlier", "Later", "Bare"]);
    assert_eq!(
        answer["alerts"][0],
        json!({
            "name": "Urgent", "severity": "critical", "priority": "P0", "summary": "Urgent happened",
            "runbook_url": "https://runbooks.invalid/x", "since": "2026-01-01T00:00:03Z",
        })
    );
}

#[test]
fn without_alertmanager_the_page_is_told_why() {
    let app = App::start(&[]);
    assert_eq!(app.get("/api/v1/alerts").json(), json!({"configured": false, "alerts": []}));
    let (url, _asked) = alertmanager("not JSON".to_owned());
    let app = App::start(&[("alertmanager.url", url.as_str())]);
    let answer = app.get("/api/v1/alerts").json();
    assert_eq!((&answer["configured"], &answer["alerts"]), (&json!(true), &json!([])));
    assert!(answer["reason"].as_str().unwrap().contains("no such JSON"), "{answer}");
}
