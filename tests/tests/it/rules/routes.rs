//! Who is told: routes, inhibition, and the receivers that secrets make.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use regex::Regex;
use techsapo_tests::repository;
use tempfile::TempDir;

use super::book::{alerts, yaml};

/// Secrets: name of the file, what it holds.
type Secrets = &'static [(&'static str, &'static str)];

const CONFIG: &str = "alertmanager/alertmanager.yml";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `amtool` says, which must be content.
fn amtool(arguments: &[&str]) -> String {
    let output = Command::new("amtool").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Calls the script that writes the configuration.
pub(super) fn configure(secrets: &Path, file: &Path) -> Output {
    let script = repository::root().join("scripts/alertmanager-config.sh");
    Command::new(script).arg(secrets).arg(file).output().unwrap()
}

#[test]
fn each_alert_goes_where_its_priority_says() {
    let config = repository::root().join(CONFIG);
    let config = format!("--config.file={}", config.display());
    for alert in alerts() {
        let mut arguments = vec!["config".to_owned(), "routes".to_owned(), "test".to_owned(), config.clone()];
        arguments.push(format!("alertname={}", alert.name));
        arguments.extend(alert.labels.iter().map(|(label, value)| format!("{label}={value}")));
        let receiver = amtool(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let wanted = match alert.name.as_str() {
            "Watchdog" => "watchdog".to_owned(),
            _ => alert.labels["priority"].to_lowercase(),
        };
        assert_eq!(receiver.trim(), wanted, "{}", alert.name);
    }
}

#[test]
fn what_silences_and_what_is_silenced_exists() {
    let (names, areas): (BTreeSet<_>, BTreeSet<_>) =
        alerts().into_iter().map(|alert| (alert.name, alert.labels["area"].clone())).unzip();
    let config = yaml(&repository::read(CONFIG));
    let matcher = Regex::new(r#"^(\w+)=~?"([^"]*)"$"#).unwrap();
    let mut seen = 0;
    for rule in config["inhibit_rules"].as_array().unwrap() {
        for side in ["source_matchers", "target_matchers"] {
            // Commas between matchers in a flow sequence are the sequence's own.
            for text in rule[side].as_array().unwrap() {
                let text = text.as_str().unwrap();
                let found = matcher.captures(text).unwrap_or_else(|| panic!("no matcher: {text}"));
                for value in found[2].split('|') {
                    let known = match &found[1] {
                        "alertname" => names.contains(value),
                        "area" => areas.contains(value),
                        "priority" => ["P0", "P1", "P2"].contains(&value),
                        "job" => repository::read("prometheus/prometheus.yml")
                            .contains(&format!("job_name: {value}\n")),
                        _ => false,
                    };
                    assert!(known, "{text}: there is no {value}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn without_secrets_nobody_is_notified() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("alertmanager.yml");
    let output = configure(&folder.path().join("missing"), &file);
    assert!(output.status.success(), "{}", said(&output));
    amtool(&["check-config", file.to_str().unwrap()]);
    let config = yaml(&std::fs::read_to_string(&file).unwrap());
    for receiver in config["receivers"].as_array().unwrap() {
        assert_eq!(receiver.as_object().unwrap().len(), 1, "more than a name: {receiver}");
    }
}

#[test]
fn each_secret_makes_its_receiver() {
    let one_of_each: [(Secrets, &str, &[&str]); 6] = [
        (&[("slack-url", "https://127.0.0.1/hook")], "slack_configs", &["p0", "p1", "p2"]),
        (&[("pagerduty-key", "0123456789")], "pagerduty_configs", &["p0", "p1"]),
        (&[("webhook-url", "https://127.0.0.1/it's")], "webhook_configs", &["p0", "p1", "p2"]),
        (
            &[("webhook-url", "https://127.0.0.1/"), ("webhook-token", "t")],
            "webhook_configs",
            &["p0", "p1", "p2"],
        ),
        (
            &[("mail-to", "a@localhost"), ("mail-from", "b@localhost"), ("mail-smarthost", "localhost:25")],
            "email_configs",
            &["p0", "p1", "p2"],
        ),
        (&[("watchdog-url", "https://127.0.0.1/w")], "webhook_configs", &["watchdog"]),
    ];
    for (secrets, kind, wanted) in one_of_each {
        let folder = TempDir::new().unwrap();
        for (name, value) in secrets {
            std::fs::write(folder.path().join(name), format!("{value}\n")).unwrap();
        }
        let file = folder.path().join("alertmanager.yml");
        let output = configure(folder.path(), &file);
        assert!(output.status.success(), "{}", said(&output));
        amtool(&["check-config", file.to_str().unwrap()]);
        let config = yaml(&std::fs::read_to_string(&file).unwrap());
        let receivers = config["receivers"].as_array().unwrap().iter();
        let notified: Vec<_> = receivers.filter(|receiver| receiver[kind].is_array()).collect();
        let names: Vec<_> = notified.iter().map(|receiver| receiver["name"].as_str().unwrap()).collect();
        assert_eq!(names, wanted, "{secrets:?}");
    }
}

#[test]
fn secrets_that_cannot_work_are_refused_and_the_file_stays() {
    for (secrets, reason) in [
        (&[("slack-url", "https://a\nhttps://b\n")][..], "slack-url holds more than one line"),
        (&[("mail-to", "a@localhost")][..], "lacks mail-from or mail-smarthost"),
        (&[("mail-user", "a")][..], "lacks mail-password"),
    ] {
        let folder = TempDir::new().unwrap();
        for (name, value) in secrets {
            std::fs::write(folder.path().join(name), value).unwrap();
        }
        let file = folder.path().join("alertmanager.yml");
        std::fs::write(&file, "as it was").unwrap();
        let output = configure(folder.path(), &file);
        assert!(!output.status.success());
        assert!(said(&output).contains(reason), "{}", said(&output));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "as it was");
    }
}
