//! A stack that `scripts/start-monitoring.sh` starts, as its users have it, on free ports and in a folder of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{binaries, free_port, http, repository};

/// What the script starts, as `TECHSAPO_PORT_<NAME>` calls it.
pub const SERVICES: [&str; 7] =
    ["REDIS", "APP", "EXPORTER", "NODE_EXPORTER", "ALERTMANAGER", "LONG_TERM_STORE", "PROMETHEUS"];

/// A place for the script to work in. Everything that it started is stopped with this value.
#[derive(Debug)]
pub struct Stack {
    ports: Vec<(&'static str, u16)>,
    run: PathBuf,
    folder: TempDir,
}

impl Stack {
    /// A place where nothing was started yet.
    ///
    /// # Panics
    /// When there is no folder for it.
    #[expect(clippy::new_without_default, reason = "it takes ports and makes a folder")]
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let ports = SERVICES.map(|service| (service, free_port())).to_vec();
        Self { ports, run: folder.path().join("run"), folder }
    }

    /// The same place, with logs, records and data in this folder.
    pub fn run_in(&mut self, folder: &Path) {
        folder.clone_into(&mut self.run);
    }

    /// The folder of its logs, records and data.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// A folder that is gone with this value.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The port of a service, one of [`SERVICES`].
    ///
    /// # Panics
    /// When it is none of them.
    pub fn port(&self, service: &str) -> u16 {
        self.ports.iter().find(|(name, _)| *name == service).unwrap().1
    }

    /// The address of a service, `http://127.0.0.1:<port>`.
    pub fn url(&self, service: &str) -> String {
        format!("http://127.0.0.1:{}", self.port(service))
    }

    /// A call of a script (`start-monitoring.sh`) on this stack.
    pub fn script(&self, name: &str, arguments: &[&str]) -> Command {
        // Where the tests run in the background of a shell, Ctrl-C is ignored, and so it would be by scripts that they start.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(repository::root().join("scripts").join(name));
        command.args(arguments).stdin(Stdio::null());
        command.env("TECHSAPO_RUN_DIR", &self.run).env("TECHSAPO_BIN_DIR", binaries::folder());
        command.env("TECHSAPO_KEYS_FILE", self.keys_file());
        command
            .envs(self.ports.iter().map(|(name, port)| (format!("TECHSAPO_PORT_{name}"), port.to_string())));
        command
    }

    /// Where its app keeps its API keys.
    pub fn keys_file(&self) -> PathBuf {
        self.folder().join("keys.toml")
    }

    /// Calls `start-monitoring.sh`.
    ///
    /// # Panics
    /// When there is none.
    pub fn call(&self, arguments: &[&str]) -> Output {
        // As processes, also where a container engine answers.
        self.script("start-monitoring.sh", &[&["--engine", "none"], arguments].concat()).output().unwrap()
    }

    /// Calls it and expects it to end well; returns all that it said.
    ///
    /// # Panics
    /// When it does not.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", output.status, said(&output));
        said(&output)
    }

    /// What Prometheus itself answers to `query`, if there is a sample.
    pub fn ask_prometheus(&self, query: &str) -> Option<f64> {
        let url = format!("{}/api/v1/query", self.url("PROMETHEUS"));
        let answer = http::send(http::client().get(url).query(&[("query", query)])).ok()?;
        answer.json()["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Asks the app a question that it has no answer to yet.
    ///
    /// # Panics
    /// When it is not answered.
    pub fn generate(&self) -> Value {
        let url = format!("{}/api/v1/generate", self.url("APP"));
        let question = json!({ "prompt": "How do I roll out a change safely?", "task_type": "basic" });
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
            for entry in std::fs::read_dir(&self.run).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    let _ = writeln!(report, "── {}\n{log}", entry.path().display());
                }
            }
            eprintln!("{report}");
        }
    }
}

/// All that a script said.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
