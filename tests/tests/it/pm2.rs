//! Both programs under a real PM2, by `ecosystem.config.js`: started, restarted, killed and stopped without a fact lost; their
//! logs seen and rotated.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use techsapo_tests::pm2::{Pm2, modules};
use techsapo_tests::{RedisServer, app, wait};

const ECOSYSTEM: &str = "ecosystem.config.js";

fn ask(pm2: &Pm2, questions: usize) {
    for number in 0..questions {
        app::generate(&pm2.app_url(), &format!("Question {number}"), "basic").unwrap();
    }
}

/// The exporter comes to count this many analyses, and not one more.
fn assert_counted(pm2: &Pm2, analyses: usize) {
    let page = wait::until(&format!("{analyses} analyses are counted"), || {
        pm2.page()
            .filter(|page| page.counter("techsapo_wallbounce_requests_total").total() >= analyses as f64)
    });
    assert_eq!(page.counter("techsapo_wallbounce_requests_total").total(), analyses as f64);
    for name in ["lost_events", "dropped", "rejected_events"] {
        assert_eq!(page.counter(&format!("techsapo_telemetry_{name}_total")).total(), 0.0, "{name}");
    }
}

fn status(pm2: &Pm2, name: &str) -> String {
    pm2.process(name)["pm2_env"]["status"].as_str().unwrap().to_owned()
}

fn restarts(pm2: &Pm2, name: &str) -> u64 {
    pm2.process(name)["pm2_env"]["restart_time"].as_u64().unwrap()
}

/// Runs whose events are not all durable yet.
fn journals(pm2: &Pm2) -> usize {
    let files = std::fs::read_dir(pm2.run_dir().join("data/journal")).unwrap();
    files
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "journal"))
        .count()
}

#[test]
fn what_pm2_starts_restarts_and_stops_counts_every_analysis_once() {
    let redis = RedisServer::start();
    let pm2 = Pm2::of(&redis);
    pm2.run(&["start", ECOSYSTEM]);
    pm2.wait_ready();
    ask(&pm2, 5);
    assert_counted(&pm2, 5);

    pm2.run(&["restart", "techsapo"]);
    pm2.wait_ready();
    ask(&pm2, 4);
    pm2.run(&["restart", "all"]);
    pm2.wait_ready();
    ask(&pm2, 3);
    kill_process(pm2.pid("techsapo"), Signal::KILL).unwrap();
    kill_process(pm2.pid("techsapo-exporter"), Signal::KILL).unwrap();
    wait::until_true("PM2 starts them again", || {
        ["techsapo", "techsapo-exporter"]
            .iter()
            .all(|name| status(&pm2, name) == "online" && restarts(&pm2, name) >= 2)
    });
    pm2.wait_ready();
    ask(&pm2, 2);
    assert_counted(&pm2, 14);

    let logs = pm2.run(&["logs", "techsapo", "--nostream", "--lines", "200"]);
    assert!(logs.contains("Wall-bounce analysis completed") && logs.contains("Stopped"), "{logs}");

    // Whoever stops the app at once after a question waits until what it stated is durable.
    ask(&pm2, 6);
    assert!(journals(&pm2) > 0);
    pm2.run(&["stop", "techsapo"]);
    assert_eq!((status(&pm2, "techsapo").as_str(), journals(&pm2)), ("stopped", 0));
    assert_eq!(pm2.process("techsapo")["pm2_env"]["exit_code"], 0, "it ended by itself");
    assert_counted(&pm2, 20);
    pm2.run(&["stop", "techsapo-exporter"]);
    assert_eq!(pm2.process("techsapo-exporter")["pm2_env"]["exit_code"], 0, "it ended by itself");
}

#[test]
fn what_keeps_failing_is_started_ever_less_often_and_wrong_settings_end_it() {
    let redis = RedisServer::start();
    let pm2 = Pm2::of(&redis);
    // Somebody else has the app's port.
    let taken = TcpListener::bind(("127.0.0.1", pm2.app_port())).unwrap();
    pm2.run(&["start", ECOSYSTEM]);
    wait::until_true("the pause between starts grows", || {
        let process = pm2.process("techsapo");
        process["pm2_env"]["prev_restart_delay"].as_f64().is_some_and(|millis| millis > 300.0)
    });
    drop(taken);
    pm2.wait_ready();

    let settings = [("TECHSAPO_BUDGET_DAILY_USD", "nonsense")];
    pm2.set(&settings);
    pm2.run(&["restart", ECOSYSTEM, "--only", "techsapo"]);
    let complaints = || {
        let logs = pm2.run(&["logs", "techsapo", "--nostream", "--lines", "200"]);
        logs.matches("budget.daily_usd").count()
    };
    let mut begun = 1;
    let has_ended = || pm2.process("techsapo")["pid"] == 0;
    wait::until_true("it says what is wrong", || {
        if complaints() > 0 {
            return has_ended();
        }
        // PM2 may close the log just when a process writes that ends at once ("write after a stream was destroyed"): what it said is lost then.
        thread::sleep(Duration::from_secs(5));
        if complaints() == 0 && has_ended() {
            pm2.run(&["restart", ECOSYSTEM, "--only", "techsapo"]);
            begun += 1;
        }
        false
    });
    // Takes longer than the pause after which it would be tried again.
    pm2.run(&["restart", "techsapo-exporter"]);
    wait::until_true("the exporter serves again", || pm2.page().is_some());
    assert!((1..=begun).contains(&complaints()) && has_ended(), "it is not tried again");
    // PM2 keeps what it was once given until it is given another value.
    pm2.set(&[("TECHSAPO_BUDGET_DAILY_USD", "5")]);
    pm2.run(&["restart", ECOSYSTEM, "--only", "techsapo"]);
    pm2.wait_ready();
}

#[test]
fn neither_program_is_given_the_other_s_settings_or_those_of_the_shell() {
    let redis = RedisServer::start();
    let pm2 = Pm2::of(&redis);
    let mode = |mode: &str| Command::new("chmod").arg(mode).arg(pm2.settings_file()).status().unwrap();
    mode("644");
    assert!(pm2.refuse(&["start", ECOSYSTEM]).contains("others may read"), "a file that others may read");
    mode("600");
    pm2.set(&[("TECHSAPO_INSTANCE", "a\\b")]);
    assert!(
        pm2.refuse(&["start", ECOSYSTEM]).contains("expected NAME=value"),
        "a line that systemd reads otherwise"
    );
    pm2.set(&[("TECHSAPO_INSTANCE", " 'shop one' "), ("ANTHROPIC_API_KEY_FILE", "/nowhere")]);
    pm2.run(&["start", ECOSYSTEM, "--only", "techsapo-exporter"]);
    pm2.set(&[("TECHSAPO_INSTANCE", " 'shop one' ")]);
    pm2.run(&["start", ECOSYSTEM, "--only", "techsapo"]);
    pm2.wait_ready();

    let environment = |name: &str| {
        let file = format!("/proc/{}/environ", pm2.pid(name).as_raw_nonzero());
        let variables = std::fs::read_to_string(file).unwrap();
        variables.split('\0').map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (app, exporter) = (environment("techsapo"), environment("techsapo-exporter"));
    assert!(app.contains("TECHSAPO_INSTANCE=shop one"), "{app:?}");
    let has = |of: &BTreeSet<String>, name: &str| {
        of.iter().any(|variable| variable.starts_with(&format!("{name}=")))
    };
    assert!(has(&app, "TECHSAPO_EXPORTER_URL") && has(&exporter, "TECHSAPO_EXPORTER_REDIS_URL"));
    for of_the_other in ["TECHSAPO_EXPORTER_REDIS_URL", "TECHSAPO_EXPORTER_BIRTH_HOLD"] {
        assert!(!has(&app, of_the_other), "{of_the_other}");
    }
    for of_the_other in
        ["TECHSAPO_REDIS_URL", "TECHSAPO_LISTEN", "TECHSAPO_EXPORTER_URL", "ANTHROPIC_API_KEY_FILE"]
    {
        assert!(!has(&exporter, of_the_other), "{of_the_other}");
    }
    for environment in [&app, &exporter] {
        assert!(!has(environment, "OPENAI_API_KEY"), "what stands in the shell");
    }
}

#[test]
fn logs_are_rotated_compressed_and_seven_of_them_kept() {
    let redis = RedisServer::start();
    let pm2 = Pm2::of(&redis);
    pm2.run(&["start", ECOSYSTEM]);
    pm2.wait_ready();
    let module = format!("file://{}", modules().join("pm2-logrotate").display());
    pm2.script("scripts/pm2-logrotate.sh", &[&module]);
    let settings = std::fs::read_to_string(pm2.home().join("module_conf.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    let asked =
        ["max_size", "retain", "compress"].map(|name| settings["pm2-logrotate"][name].as_str().unwrap());
    assert_eq!(asked, ["10M", "7", "true"]);

    // Sooner, so that it can be seen.
    pm2.run(&["set", "pm2-logrotate:workerInterval", "1"]);
    pm2.run(&["set", "pm2-logrotate:max_size", "1K"]);
    let rotated = || {
        let files = std::fs::read_dir(pm2.run_dir().join("logs")).unwrap();
        let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("techsapo__") && name.ends_with(".log.gz"))
            .collect::<BTreeSet<_>>()
    };
    let mut seen = BTreeSet::new();
    wait::until_within(Duration::from_secs(240), "old ones are deleted", || {
        ask(&pm2, 3);
        seen.extend(rotated());
        (seen.len() > 8 && rotated().len() == 7).then_some(())
    });
    let newest = rotated().pop_last().unwrap();
    let output =
        Command::new("gzip").arg("-dc").arg(pm2.run_dir().join("logs").join(newest)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("Wall-bounce analysis completed"), "{text}");
    assert_eq!(restarts(&pm2, "techsapo"), 0, "rotating needs no restart");
}
