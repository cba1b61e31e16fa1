//! Faults of the real app become notifications, and their end too: app, Redis, exporter, Prometheus, Alertmanager and
//! all four kinds of receivers are real; what they send arrives at a sink.
//!
//! Everything that waits does so in a twentieth of its time ([`HASTE`]): rules, routes and Prometheus' scraping. Nothing else is changed but one threshold:
//! no test can fill the memory of the host that it runs on, so the alert on it is asked for at a share that any host
//! exceeds, and then with its own threshold again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use techsapo_tests::http::{client, send};
use techsapo_tests::sink::Sink;
use techsapo_tests::{Alertmanager, App, Exporter, Prometheus, RedisServer, app, free_port, wait};
use tempfile::TempDir;

use super::haste::{HASTE, hastened, hastened_config, hastened_rules};
use super::routes::configure;
use super::versions::{changed, configuration, copy_rules};

const MEMORY: &str = "max(techsapo_memory_usage_percent) > 90";
const PATIENCE_FOR_ALL: Duration = Duration::from_secs(150);

/// Alertmanager with every receiver, each of which ends in one of the sinks.
fn alertmanager(folder: &Path, sink: &Sink, mail: &Sink) -> Alertmanager {
    let secrets = folder.join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    let at = |path: &str| format!("http://{}{path}", sink.address());
    for (name, value) in [
        ("webhook-url", at("/webhook").as_str()),
        ("slack-url", &at("/slack")),
        ("pagerduty-key", "0123456789abcdef"),
        ("watchdog-url", &at("/watchdog")),
        ("mail-to", "duty@localhost"),
        ("mail-from", "techsapo@localhost"),
        ("mail-smarthost", mail.address()),
    ] {
        std::fs::write(secrets.join(name), format!("{value}\n")).unwrap();
    }
    let file = folder.join("alertmanager.yml");
    assert!(configure(&secrets, &file).status.success());
    let config = hastened(
        &std::fs::read_to_string(&file).unwrap(),
        r"^ +(?:group_wait|group_interval|repeat_interval): ",
    );
    // The sink is neither PagerDuty, nor does it speak TLS.
    let pagerduty = format!("global:\n  pagerduty_url: {}\n\nroute:\n", at("/pagerduty"));
    Alertmanager::start(&changed(
        &config,
        &[("\nroute:\n", &format!("\n{pagerduty}")), ("require_tls: true", "require_tls: false")],
    ))
}

/// Everything, running.
struct Watched {
    app: App,
    alertmanager: Alertmanager,
    prometheus: Prometheus,
    sink: Sink,
    mail: Sink,
    rules: TempDir,
    _exporter: Exporter,
    _redis: RedisServer,
}

impl Watched {
    fn start() -> Self {
        let (redis, rules) = (RedisServer::start(), TempDir::new().unwrap());
        let (sink, mail) = (Sink::http(), Sink::mail());
        let app = App::of(&redis).start();
        let exporter = Exporter::of(&redis).app(&app.url()).start();
        let alertmanager = alertmanager(rules.path(), &sink, &mail);
        std::fs::create_dir(rules.path().join("rules")).unwrap();
        let port = free_port();
        // Nothing listens at the first two: this test is not about them, and their TargetDown shows what a target that
        // is down looks like.
        let [node, store] = [0; 2].map(|_| format!("127.0.0.1:{}", free_port()));
        let addresses = [
            ("127.0.0.1:9100", node),
            ("127.0.0.1:8428", store),
            ("127.0.0.1:10040", exporter.address()),
            ("127.0.0.1:9090", format!("127.0.0.1:{port}")),
            ("127.0.0.1:9093", alertmanager.address()),
        ];
        let addresses = addresses.each_ref().map(|(from, to)| (*from, to.as_str()));
        write_rules(&rules.path().join("rules"), MEMORY.replace("90", "0.1").as_str());
        let config = hastened_config(&configuration(&addresses, &rules.path().join("rules")));
        let lookback = format!("--query.lookback-delta={}ms", 300_000 / HASTE);
        let resend = format!("--rules.alert.resend-delay={}ms", 60_000 / HASTE);
        let options = [lookback.as_str(), &resend, "--web.enable-lifecycle"];
        let prometheus = Prometheus::configured(Path::new("prometheus"), port, &config, &options);
        Self { app, alertmanager, prometheus, sink, mail, rules, _exporter: exporter, _redis: redis }
    }

    /// Puts the threshold of the alert on memory back to what it is.
    fn memory_is_well(&self) {
        write_rules(&self.rules.path().join("rules"), MEMORY);
        let url = self.prometheus.url("/-/reload");
        assert_eq!(send(client().post(url)).unwrap().status, 200);
    }

    /// All alerts that a webhook was told of: alert with its status.
    fn told(&self) -> Vec<Value> {
        let messages = self.sink.json("/webhook");
        messages.iter().flat_map(|message| message["alerts"].as_array().unwrap().clone()).collect()
    }

    /// The alert of this name (and with this label), as it was told with this status.
    fn wait_told(&self, alert: &str, label: (&str, &str), status: &str) -> Value {
        let what = format!("{alert} {label:?} is told to be {status}");
        wait::until_within(PATIENCE_FOR_ALL, &what, || {
            self.told().into_iter().find(|told| {
                told["labels"]["alertname"] == alert
                    && told["labels"][label.0] == label.1
                    && told["status"] == status
            })
        })
    }

    /// The alert is held by Alertmanager, and another silences it.
    fn wait_silenced(&self, alert: &str) {
        wait::until_within(PATIENCE_FOR_ALL, &format!("{alert} is silenced"), || {
            let alerts = self.alertmanager.alerts();
            let mut named = alerts.iter().filter(|held| held["labels"]["alertname"] == alert);
            named
                .any(|held| held["status"]["inhibitedBy"].as_array().is_some_and(|by| !by.is_empty()))
                .then_some(())
        });
    }
}

fn write_rules(folder: &Path, memory: &str) {
    copy_rules(folder, |text| hastened_rules(text).replace(MEMORY, memory));
}

/// Questions asked without a pause, by good callers and by one with a wrong key if wanted, until it is dropped.
struct Questions {
    stop: Arc<AtomicBool>,
}

impl Questions {
    fn of(app: &App, with_wrong_keys: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, url) = (Arc::clone(&stop), app.url());
        std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                // Whether it fails is what the alerts are about.
                let _ = app::generate(&url, &format!("Question {number}"), "basic");
                if with_wrong_keys {
                    let request = client().post(format!("{url}/api/v1/generate")).bearer_auth("not-a-key");
                    let _ = send(request.json(&json!({"prompt": "?", "task_type": "basic"})));
                }
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        Self { stop }
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn faults_are_told_and_so_is_their_end() {
    const NONE: (&str, &str) = ("", "");
    let mut watched = Watched::start();
    let asking = Questions::of(&watched.app, false);
    let label = |name: &'static str, value: &'static str| (name, value);

    // A host without memory, and a target that is down: from the start.
    let memory = watched.wait_told("HostMemoryCritical", label("priority", "P0"), "firing");
    assert_eq!(memory["annotations"]["summary"], "The host is nearly out of memory.");
    watched.wait_told("TargetDown", label("job", "node"), "firing");
    wait::until_true("the dead man's switch is called again and again", || {
        watched.sink.arrived("/watchdog").len() > 2
    });
    drop(asking);

    // All providers fail: their breakers open, and callers get 502.
    watched.app.restart_with("TECHSAPO_SIMULATED_FAILURE_RATE", "1");
    let asking = Questions::of(&watched.app, true);
    for provider in ["Simulated-Gemini", "Simulated-OpenAI"] {
        let down = watched.wait_told("LlmProviderDown", label("provider", provider), "firing");
        let text = down["annotations"]["description"].as_str().unwrap();
        assert!(text.contains(provider) && !text.contains("error"), "{text}");
    }
    watched.wait_told("HttpErrorRateHigh", label("priority", "P0"), "firing");
    watched.wait_told("AuthFailuresHigh", label("priority", "P1"), "firing");
    // What follows from these is known, but nobody is told.
    watched.wait_silenced("LlmErrorRateHigh");
    watched.wait_silenced("AvailabilitySloBurnFast");
    drop(asking);

    // Nearly all of the day's money is spent.
    watched.app.restart_with("TECHSAPO_SIMULATED_FAILURE_RATE", "0");
    watched.app.restart_with("TECHSAPO_BUDGET_DAILY_USD", "0.0001");
    let asking = Questions::of(&watched.app, false);
    watched.wait_told("DailyBudgetHigh", label("period", "daily"), "firing");
    drop(asking);

    // The app is gone.
    watched.app.kill_9();
    watched.wait_told("AppDown", label("priority", "P0"), "firing");
    watched.wait_silenced("AppInstanceDown");

    // All is well again.
    watched.app.restart_with("TECHSAPO_BUDGET_DAILY_USD", "1000000");
    watched.memory_is_well();
    let asking = Questions::of(&watched.app, false);
    for (alert, label) in [
        ("AppDown", NONE),
        ("LlmProviderDown", label("provider", "Simulated-Gemini")),
        ("HttpErrorRateHigh", NONE),
        ("AuthFailuresHigh", NONE),
        ("DailyBudgetHigh", NONE),
        ("HostMemoryCritical", NONE),
    ] {
        let label = if label == NONE { ("alertname", alert) } else { label };
        watched.wait_told(alert, label, "resolved");
    }
    drop(asking);

    for never in ["LlmErrorRateHigh", "AppInstanceDown"] {
        let told = watched.told().into_iter().find(|told| told["labels"]["alertname"] == never);
        // Told only if it goes on when what silences it has ended.
        assert!(told.is_none_or(|told| told["status"] == "firing"), "{never}");
    }
    every_way_speaks_both_languages(&watched);
}

/// Slack, mail and PagerDuty were told the same, in Japanese and English.
fn every_way_speaks_both_languages(watched: &Watched) {
    let slack = watched.sink.json("/slack");
    let messages: Vec<_> = slack.iter().map(|message| &message["attachments"][0]).collect();
    let of = |title: &str| {
        let found =
            messages.iter().find(|message| message["title"].as_str().is_some_and(|text| text == title));
        found.unwrap_or_else(|| panic!("no message {title:?} among {messages:?}"))["text"].as_str().unwrap()
    };
    let text = of("[P0 発生/FIRING] HttpErrorRateHigh");
    for part in [
        "■ 発生/FIRING HttpErrorRateHigh (P0, critical)",
        "API リクエストが失敗しています。",
        "Requests to the API fail.",
        "were answered with 5xx; it should be at most 1 %.",
        "開始/Since: 20",
        "手順書/Runbook: https://",
        "/docs/runbooks/HttpErrorRateHigh.md",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(of("[P0 解決/RESOLVED] HttpErrorRateHigh").contains("終了/Until: 20"));

    let mails = watched.mail.arrived("duty@localhost").join("\n");
    assert!(mails.contains("Subject: ") && mails.contains("text/html"), "{mails}");

    let pages = watched.sink.json("/pagerduty");
    let page = pages.iter().find(|page| {
        page["payload"]["summary"].as_str().is_some_and(|text| text.contains("HttpErrorRateHigh"))
    });
    let page = page.expect("PagerDuty is told");
    assert_eq!(page["routing_key"], "0123456789abcdef");
    assert_eq!(page["payload"]["severity"], "critical");
    assert!(pages.iter().any(|page| page["event_action"] == "resolve"));
    assert!(!watched.alertmanager.log().contains("level=error"), "{}", watched.alertmanager.log());
}
