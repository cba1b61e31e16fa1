//! `scripts/start-monitoring.sh` as its users call it, on free ports and in a folder of its own: it starts everything,
//! proves by Prometheus that a sample was counted, does no harm when called again, and stops what it started.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use techsapo_tests::{binaries, free_port, http, repository, wait};

/// What the script starts, as `TECHSAPO_PORT_<NAME>` calls it.
const SERVICES: [&str; 7] =
    ["REDIS", "APP", "EXPORTER", "NODE_EXPORTER", "ALERTMANAGER", "LONG_TERM_STORE", "PROMETHEUS"];

/// A place for the script to work in. Everything that it started is stopped with this value.
struct Stack {
    ports: Vec<(&'static str, u16)>,
    run: PathBuf,
    folder: TempDir,
}

impl Stack {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let ports = SERVICES.map(|service| (service, free_port())).to_vec();
        Self { ports, run: folder.path().join("run"), folder }
    }

    fn port(&self, service: &str) -> u16 {
        self.ports.iter().find(|(name, _)| *name == service).unwrap().1
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(repository::root().join("scripts/start-monitoring.sh"));
        // As processes, also where a container engine answers.
        command.args(["--engine", "none"]).args(arguments).stdin(Stdio::null());
        command.env("TECHSAPO_RUN_DIR", &self.run).env("TECHSAPO_BIN_DIR", binaries::folder());
        command
            .envs(self.ports.iter().map(|(name, port)| (format!("TECHSAPO_PORT_{name}"), port.to_string())));
        command.output().unwrap()
    }

    /// Calls it and expects it to end well; returns all that it said.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", output.status, said(&output));
        said(&output)
    }

    /// What Prometheus itself answers to `query`, if there is a sample.
    fn ask_prometheus(&self, query: &str) -> Option<f64> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port("PROMETHEUS"));
        let answer = http::send(http::client().get(url).query(&[("query", query)])).ok()?;
        answer.json()["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn generate(&self) -> serde_json::Value {
        let url = format!("http://127.0.0.1:{}/api/v1/generate", self.port("APP"));
        let question =
            serde_json::json!({ "prompt": "How do I roll out a change safely?", "task_type": "basic" });
        let answer =
            http::send(http::client().post(url).header("cache-control", "no-cache").json(&question)).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let output = self.call(&["--stop"]);
        if std::thread::panicking() {
            let mut report = said(&output);
            for entry in std::fs::read_dir(self.run.join("log")).into_iter().flatten().flatten() {
                let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let _ = writeln!(report, "── {}\n{log}", entry.path().display());
            }
            eprintln!("{report}");
        }
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn it_starts_counts_and_stops_what_it_started() {
    let stack = Stack::new();
    let table = stack.succeed(&[]);
    for service in SERVICES {
        assert!(table.contains(&stack.port(service).to_string()), "{service} is not in the table:\n{table}");
    }
    let counted = "sum(techsapo_wallbounce_requests_total)";
    let before = stack.ask_prometheus(counted).expect("the script waits until Prometheus has counted");
    assert!(before >= 1.0);

    let nanousd: u64 = (0..10)
        .map(|_| stack.generate()["wall_bounce_analysis"]["total_cost_nanousd"].as_u64().unwrap())
        .sum();
    assert!(nanousd > 0);
    wait::until_true("Prometheus counts ten more", || stack.ask_prometheus(counted) == Some(before + 10.0));

    let again = stack.succeed(&[]);
    assert!(again.contains("running"), "{again}");
    let after = stack.ask_prometheus(counted).unwrap();
    assert_eq!(after, before + 11.0, "the second call sends one more sample and disturbs nothing");
    stack.succeed(&["--status"]);

    stack.succeed(&["--stop"]);
    for service in SERVICES {
        let port = stack.port(service);
        assert!(
            std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(),
            "{service} still listens on {port}"
        );
    }
    assert_eq!(stack.call(&["--status"]).status.code(), Some(3), "nothing runs");
    stack.succeed(&["--stop"]);
}

#[test]
fn a_port_that_is_taken_is_one_clear_message_and_nothing_is_left() {
    let stack = Stack::new();
    let port = stack.port("ALERTMANAGER");
    let _foreign = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let output = stack.call(&[]);
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains(&port.to_string()) && said.contains("TECHSAPO_PORT_ALERTMANAGER"), "{said}");
    assert_eq!(stack.call(&["--status"]).status.code(), Some(3), "nothing runs");
}

#[test]
fn a_folder_that_cannot_be_written_is_one_clear_message() {
    let mut stack = Stack::new();
    let file = stack.folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    stack.run = file.join("run");
    let output = stack.call(&[]);
    assert!(!output.status.success());
    assert!(said(&output).contains("file/run"), "{}", said(&output));
}
