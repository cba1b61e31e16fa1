//! An app whose telemetry is switched off: it answers as ever, and nothing of it reaches disk or Redis.

use techsapo_tests::{App, RedisServer};

#[test]
fn an_app_without_telemetry_answers_and_leaves_no_trace() {
    let redis = RedisServer::start();
    let mut app = App::of(&redis).set("TECHSAPO_TELEMETRY_ENABLED", "false").start();
    app.process.wait_log("Telemetry is OFF");

    for task in ["basic", "critical"] {
        app.generate("What is a lease?", task).unwrap();
    }
    let health = app.get("/api/v1/health").unwrap().json();
    let journal = &health["services"]["journal"];
    assert_eq!(journal["state"], "off", "{health}");
    assert!(journal["reason"].as_str().unwrap().contains("telemetry.enabled"), "{health}");
    assert!(journal.get("capacity_bytes").is_none(), "{health}");
    // What it holds in memory it still tells whoever asks.
    let status = app.get("/internal/status").unwrap().json();
    assert!(status["runtime_sample"]["resident_bytes"].as_u64().unwrap() > 0, "{status}");
    assert!(status["runtime_sample"]["journal"].is_null(), "{status}");

    // With the process' end everything has left it that ever would.
    assert!(app.sigterm().success());
    assert!(!app.journal().exists(), "a journal was made");
    assert_eq!(redis.cli::<u64>(&["EXISTS", "techsapo:events"]), 0, "an event was sent");
}

#[test]
fn what_an_earlier_run_left_is_kept_for_a_run_with_telemetry() {
    let redis = RedisServer::start();
    let app = App::of(&redis);
    let mut first = app.clone().start();
    first.generate("What is a lease?", "basic").unwrap();
    first.kill_9();
    let left = |app: &App| {
        let names = std::fs::read_dir(app.journal()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = left(&first);
    assert!(before.len() > 1, "a run file and the folder's lock: {before:?}");

    let mut second = app.set("TECHSAPO_TELEMETRY_ENABLED", "false").start();
    second.generate("What is a term?", "basic").unwrap();
    assert!(second.sigterm().success());
    assert_eq!(left(&second), before);
}
