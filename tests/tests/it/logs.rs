//! What the app's log holds, and what it never does, asked of a running app.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use serde_json::{Value, json};
use techsapo_tests::vendors::{Manner, VENDORS, Vendors};
use techsapo_tests::{App, RedisServer, http, wait};

/// In prompts, headers, paths and bodies; none may be found in the log.
const SECRETS: &[&str] = &[
    "tanaka.taro@example.co.jp",
    "090-1234-5678",
    "+81-3-9876-5432",
    "4111-1111-1111-1111",
    "sk-proj-abcdefABCDEF0123456789",
    "hunter2hunter2",
    "198.51.100.77",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "ひみつの相談",
];

fn lines(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn nothing_secret_that_a_caller_sends_is_found_in_the_log() {
    let redis = RedisServer::start();
    let app = App::of(&redis).set("TECHSAPO_LOG_LEVEL", "trace");
    // Part of it is sent as through a proxy, without a key.
    let mut app = app.set("TECHSAPO_HTTP_ALLOWED_HOSTS", "127.0.0.1").start();
    let secret = SECRETS.join(" ");
    let url = format!("{}/api/v1/generate", app.url());
    let post = |body: &Value| http::client().post(&url).json(body);
    for body in [
        json!({"prompt": secret, "task_type": "basic", "user_id": SECRETS[0], "session_id": SECRETS[1]}),
        json!({"prompt": secret, "task_type": secret}),
        json!({"prompt": [secret], "task_type": "basic", "mode": secret, "models": [secret]}),
        json!(secret),
    ] {
        let query = [("token", SECRETS[5]), ("mail", SECRETS[0])];
        let request = post(&body).query(&query).header("x-forwarded-for", SECRETS[6]);
        http::send(request.header("referer", format!("https://u:{}@x.test/", SECRETS[5]))).unwrap();
    }
    for secret in SECRETS.iter().filter(|secret| secret.is_ascii()) {
        for header in ["x-request-id", "authorization", "x-api-key", "user-agent", "cookie", "content-type"] {
            // What looks like nothing else is an id, if a caller says so.
            if (header, *secret) == ("x-request-id", SECRETS[5]) {
                continue;
            }
            let body = json!({"prompt": "A question", "task_type": "basic"});
            http::send(post(&body).header(header, *secret)).unwrap();
        }
        app.get(&format!("/nothing/{secret}?api_key={secret}")).unwrap();
    }
    app.sigterm();
    let log = app.process.log();
    let lines = lines(&log);
    for secret in SECRETS {
        assert!(!log.contains(secret), "{secret} stands in {log}");
    }
    let done: Vec<_> =
        lines.iter().filter(|line| line["message"] == "Wall-bounce analysis completed").collect();
    assert!(!done.is_empty());
    for line in done {
        let is_number = |name: &str| line[name].is_number();
        assert!(
            ["confidence", "consensus", "processingTime", "cost"].iter().all(|name| is_number(name)),
            "{line}"
        );
        assert!(line["requestId"].is_string() && line["providers"].is_string(), "{line}");
    }
    assert!(lines.iter().any(|line| line["userId"].as_str().is_some_and(|user| user.starts_with("u-"))));
    assert!(lines.iter().any(|line| line["requestId"] == "[phone]"), "a request id may be a phone number");
    assert_eq!(lines.last().unwrap()["message"], "Stopped", "the last line is not lost");
}

#[test]
fn a_log_file_takes_the_lines_of_many_runs_and_is_rotated() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs/app.log");
    let mut app = App::of(&redis)
        .set("TECHSAPO_LOG_FILE", path.to_str().unwrap())
        .set("TECHSAPO_LOG_MAX_BYTES", "4KiB")
        .set("TECHSAPO_LOG_KEPT", "3")
        .start();
    for _ in 0..40 {
        app.generate("A question", "basic").unwrap();
    }
    app.kill_9();
    app.restart();
    app.generate("A question", "basic").unwrap();
    let names = || -> Vec<String> {
        let entries = fs::read_dir(path.parent().unwrap()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    wait::until_true("three are kept, compressed", || {
        let names = names();
        names.len() == 4 && names.iter().filter(|name| name.ends_with(".gz")).count() == 3
    });
    assert!(app.sigterm().success());
    assert!(fs::metadata(&path).unwrap().size() <= 4_096);
    assert_eq!(lines(&fs::read_to_string(&path).unwrap()).last().unwrap()["message"], "Stopped");
    assert_eq!(app.process.log(), "", "standard error stays empty");
}

#[test]
fn a_full_disk_stops_no_request() {
    let redis = RedisServer::start();
    let mut app = App::of(&redis).set("TECHSAPO_LOG_FILE", "/dev/full").start();
    for _ in 0..20 {
        app.generate("A question", "basic").unwrap();
    }
    wait::until_true("standard error tells", || app.process.log().contains("/dev/full cannot be written"));
    assert!(app.sigterm().success());
    assert_eq!(app.process.log().lines().count(), 1, "once: {}", app.process.log());
}

#[test]
fn two_apps_do_not_share_a_log_file() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.log").display().to_string();
    let _first = App::of(&redis).set("TECHSAPO_LOG_FILE", &path).start();
    let mut second = App::of(&redis).set("TECHSAPO_LOG_FILE", &path).spawn();
    assert_eq!(second.process.wait_exit().code(), Some(1));
    assert!(second.process.log().contains("log.file"), "{}", second.process.log());
}

/// An outage is an error, an answer of little worth and what the owner's budget refuses are warnings, the rest is information.
#[test]
fn each_end_of_an_analysis_has_its_level() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let vendors = Vendors::start("Yes, the lease must be checked on every write.", Duration::ZERO);
    let [first, second] = [VENDORS[1], VENDORS[2]];
    let providers = folder.path().join("providers.toml");
    fs::write(&providers, vendors.providers_toml(&[first, second], "")).unwrap();
    let mut app = App::of(&redis)
        .set("TECHSAPO_PROVIDERS_FILE", providers.to_str().unwrap())
        .set(first.key_variable, "a-key")
        .set(second.key_variable, "a-key")
        .set("TECHSAPO_ANALYSIS_DEADLINE", "2s")
        .set("TECHSAPO_ANALYSIS_PROVIDER_TIMEOUT", "2s")
        .set("TECHSAPO_BREAKERS_FAILURES", "100")
        .start();
    let ask = |app: &App| {
        let body = json!({"prompt": "A question", "task_type": "basic"});
        http::send(http::client().post(format!("{}/api/v1/generate", app.url())).json(&body)).unwrap().status
    };
    assert_eq!(ask(&app), 200);
    vendors.set(second, &Manner::Says("No: bananas ripen faster beside apples.".to_owned()));
    assert_eq!(ask(&app), 200);
    vendors.set(second, &Manner::Refuses(500));
    assert_eq!(ask(&app), 502);
    vendors.set(second, &Manner::Hangs);
    assert_eq!(ask(&app), 504);
    let told = |app: &App| -> Vec<_> {
        let lines = lines(&app.process.log()).into_iter();
        let word = |line: &Value, name: &str| line[name].as_str().unwrap_or("none").to_owned();
        lines
            .map(|line| (word(&line, "level"), word(&line, "message"), word(&line, "status")))
            .filter(|(_, message, _)| message.contains("analysis") || message.contains("Quality"))
            .collect()
    };
    let line =
        |level: &str, message: &str, status: &str| (level.to_owned(), message.to_owned(), status.to_owned());
    let completed = line("INFO", "Wall-bounce analysis completed", "none");
    app.sigterm();
    assert_eq!(
        told(&app),
        [
            completed.clone(),
            completed,
            line("WARN", "Quality below threshold", "none"),
            line("ERROR", "Wall-bounce analysis failed: not enough providers answered", "error"),
            line(
                "ERROR",
                "Wall-bounce analysis failed: its time was over before enough providers had answered",
                "timeout"
            ),
        ]
    );
    let refused = "Wall-bounce analysis refused: the budget has no room for the providers that it needs";
    app.restart_with("TECHSAPO_BUDGET_DAILY_USD", "0.000001");
    assert_eq!(ask(&app), 429);
    app.sigterm();
    assert_eq!(told(&app).last(), Some(&line("WARN", refused, "rejected")));
}
