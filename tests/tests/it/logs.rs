//! What the app's log holds, and what it never does, asked of a running app.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};
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
    let mut app = App::of(&redis).set("TECHSAPO_LOG_LEVEL", "trace").start();
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
