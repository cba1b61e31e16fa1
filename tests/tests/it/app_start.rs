//! How the app refuses to start: one clear message, a telling exit code, nothing left behind.

use techsapo_tests::{App, AppSetup, Exporter, RedisServer};

/// What an app that must not start says, and the code that it exits with.
fn refusal(setup: AppSetup) -> (String, Option<i32>) {
    let mut app = setup.spawn();
    let code = app.process.wait_exit().code();
    let log = app.process.log();
    assert!(!log.contains("panicked"), "{log}");
    (log, code)
}

#[test]
fn wrong_settings_are_all_named_at_once() {
    let redis = RedisServer::start();
    let setup = App::of(&redis)
        .set("TECHSAPO_REDIS_URL", "nonsense")
        .set("TECHSAPO_SIMULATED_FAILURE_RATE", "1.5")
        .set("TECHSAPO_JOURNAL_MAX_BYTES", "much");
    let (log, code) = refusal(setup);
    assert_eq!(code, Some(2), "{log}");
    for variable in ["TECHSAPO_REDIS_URL", "TECHSAPO_SIMULATED_FAILURE_RATE", "TECHSAPO_JOURNAL_MAX_BYTES"] {
        assert!(log.contains(variable), "{variable} is not named: {log}");
    }
}

#[test]
fn a_setting_that_does_not_exist_is_told() {
    let redis = RedisServer::start();
    let app = App::of(&redis).set("TECHSAPO_SIMULATED_LATENCI", "5ms").start();
    app.process.wait_log("TECHSAPO_SIMULATED_LATENCI");
}

#[test]
fn a_journal_in_use_is_refused_and_left_alone() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let app = App::of(&redis).start();
    let (log, code) = refusal(App::of(&redis).journal(app.journal()));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("in use by another process") && log.contains("journal.dir"), "{log}");
    app.generate("A question", "basic").unwrap();
    exporter.scrape_until("the first app's events arrive", |page| {
        page.counter("techsapo_wallbounce_requests_total").total() == 1.0
    });
}

#[test]
fn a_journal_that_cannot_be_made_is_refused() {
    let redis = RedisServer::start();
    let file = redis.folder().join("a-file");
    std::fs::write(&file, "").unwrap();
    let (log, code) = refusal(App::of(&redis).journal(&file.join("journal")));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&*file.to_string_lossy()) && log.contains("journal.dir"), "{log}");
}

#[test]
fn an_address_in_use_is_refused_without_a_journal() {
    let redis = RedisServer::start();
    let app = App::of(&redis).start();
    let address = app.url().replace("http://", "");
    let folder = redis.folder().join("journal");
    let (log, code) = refusal(App::of(&redis).listen(&address).journal(&folder));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&address) && log.contains("TECHSAPO_LISTEN"), "{log}");
    assert!(!folder.exists(), "an app that cannot serve leaves no journal behind");
}
