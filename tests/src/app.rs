//! The analyzer as a process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;

use reqwest::blocking::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{self, Answer};
use crate::{Identity, Process, RedisServer, binaries, free_port, wait};

/// Folder of its journal, inside its own.
const JOURNAL: &str = "journal";

/// How an app is to be started.
#[derive(Debug, Clone)]
pub struct AppSetup {
    environment: BTreeMap<String, String>,
    /// Who asks it by TLS; nothing: it serves in clear.
    client: Option<Client>,
    folder: Arc<TempDir>,
}

impl AppSetup {
    /// Gives a setting: `set("TECHSAPO_SIMULATED_LATENCY", "5ms")`.
    #[must_use]
    pub fn set(mut self, variable: &str, value: &str) -> Self {
        self.environment.insert(variable.to_owned(), value.to_owned());
        self
    }

    /// Listens here instead of on a free port.
    #[must_use]
    pub fn listen(self, address: &str) -> Self {
        self.set("TECHSAPO_LISTEN", address)
    }

    /// Keeps its journal in this folder instead of one of its own.
    #[must_use]
    pub fn journal(self, folder: &Path) -> Self {
        self.set("TECHSAPO_JOURNAL_DIR", &folder.to_string_lossy())
    }

    /// Trusts this authority, and shows this certificate, when it is the client.
    #[must_use]
    pub fn tls(self, ca_file: &Path, identity: &Identity) -> Self {
        self.set("TECHSAPO_TLS_CA_FILE", &ca_file.to_string_lossy())
            .set("TECHSAPO_TLS_CERT_FILE", &identity.cert.to_string_lossy())
            .set("TECHSAPO_TLS_KEY_FILE", &identity.key.to_string_lossy())
    }

    /// Is served by TLS, to callers that show a certificate; the harness comes with `client`.
    #[must_use]
    pub fn served_by_tls(mut self, client: &Client) -> Self {
        self.client = Some(client.clone());
        self.set("TECHSAPO_TLS_LISTEN", "mutual")
    }

    /// Passes this exporter's page through at `/metrics`.
    #[must_use]
    pub fn exporter(self, url: &str) -> Self {
        self.set("TECHSAPO_EXPORTER_URL", url)
    }

    /// Starts the process and waits until it answers.
    pub fn start(self) -> App {
        let mut app = self.spawn();
        app.wait_healthy();
        app
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(self) -> App {
        let port = free_port();
        let process = self.process(port);
        App { setup: self, port, process }
    }

    fn process(&self, port: u16) -> Process {
        let mut command = binaries::command("techsapo");
        command.env("TECHSAPO_LISTEN", format!("127.0.0.1:{port}")).envs(&self.environment);
        Process::start("app", self.folder.path(), command.current_dir(self.folder.path()))
    }
}

/// A running app.
#[derive(Debug)]
pub struct App {
    /// The process itself. First of the fields, so that it ends before its folder is deleted.
    pub process: Process,
    port: u16,
    setup: AppSetup,
}

/// A successful answer to `POST /api/v1/generate`.
#[derive(Debug, Clone)]
pub struct Generated(pub Value);

impl App {
    /// An app that ships its events to `redis`, to be started. Its providers are the simulated ones: quick, and
    /// without failures; nobody is limited, and no answer is given again.
    pub fn of(redis: &RedisServer) -> AppSetup {
        let folder = TempDir::new().unwrap();
        let journal = folder.path().join(JOURNAL);
        AppSetup { environment: BTreeMap::new(), client: None, folder: Arc::new(folder) }
            .set("TECHSAPO_REDIS_URL", &redis.url())
            .journal(&journal)
            .set("TECHSAPO_LIMITS_BASIC_PER_MINUTE", "1000000")
            .set("TECHSAPO_CACHE_ENABLED", "false")
            .set("TECHSAPO_SIMULATED_LATENCY", "5ms")
            .set("TECHSAPO_SIMULATED_LATENCY_JITTER", "2ms")
    }

    /// Its address, `http://127.0.0.1:<port>`, or with https.
    pub fn url(&self) -> String {
        let scheme = if self.setup.client.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its journal.
    pub fn journal(&self) -> &Path {
        Path::new(&self.setup.environment["TECHSAPO_JOURNAL_DIR"])
    }

    /// Gets one of its paths.
    ///
    /// # Errors
    /// Says why there was no answer.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        let client = self.setup.client.as_ref().unwrap_or_else(|| http::client());
        http::send(client.get(format!("{}{path}", self.url())))
    }

    /// Waits until nothing is left of earlier runs: their events are durable at the exporter and their files gone.
    pub fn wait_drained(&self) {
        wait::until_true("the journal holds this run alone", || {
            let files = std::fs::read_dir(self.journal()).unwrap();
            let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.ends_with(".journal")).count() == 1
        });
    }

    /// Waits until `/health` answers.
    ///
    /// # Panics
    /// When the process ends instead, or it never does.
    pub fn wait_healthy(&mut self) {
        wait::until_true("the app is healthy", || {
            self.process.assert_alive();
            self.get("/health").is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Asks for an analysis.
    ///
    /// # Errors
    /// Says what came instead of a 200.
    pub fn generate(&self, prompt: &str, task_type: &str) -> Result<Generated, String> {
        generate(&self.url(), prompt, task_type)
    }

    /// Ends it without giving it a chance to do anything.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Asks it to end, and waits until it has.
    pub fn sigterm(&mut self) -> ExitStatus {
        self.process.sigterm()
    }

    /// Starts it again as it was started before, with the journal that it left, without waiting until it answers.
    pub fn spawn_again(&mut self) {
        self.process.kill_9();
        self.process = self.setup.process(self.port);
    }

    /// Kills it and starts it again with another setting: `restart_with("TECHSAPO_SIMULATED_FAILURE_RATE", "1")`.
    pub fn restart_with(&mut self, variable: &str, value: &str) {
        self.setup.environment.insert(variable.to_owned(), value.to_owned());
        self.restart();
    }

    /// Starts it again as it was started before, and waits until it answers.
    pub fn restart(&mut self) {
        self.spawn_again();
        self.wait_healthy();
    }
}

/// Asks the app at `url` for an analysis; for threads that outlive the app that they ask.
///
/// # Errors
/// Says what came instead of a 200.
pub fn generate(url: &str, prompt: &str, task_type: &str) -> Result<Generated, String> {
    let body = json!({"prompt": prompt, "task_type": task_type});
    let answer = http::send(http::client().post(format!("{url}/api/v1/generate")).json(&body))?;
    if answer.status == 200 { Ok(Generated(answer.json())) } else { Err(answer.text()) }
}

impl Generated {
    /// What it cost, in nano-dollars.
    ///
    /// # Panics
    /// When the answer does not say, or not the same in dollars.
    pub fn cost_nanousd(&self) -> u64 {
        let analysis = &self.0["wall_bounce_analysis"];
        let exact = analysis["total_cost_nanousd"].as_u64().expect("total_cost_nanousd is a number");
        assert_eq!(analysis["total_cost"].as_f64(), Some(exact as f64 / 1e9), "total_cost");
        exact
    }

    /// Every call to a provider, as the answer lists them.
    ///
    /// # Panics
    /// When the answer does not.
    pub fn calls(&self) -> &[Value] {
        self.0["wall_bounce_analysis"]["llm_votes"].as_array().expect("llm_votes is a list")
    }

    /// Confidence in the answer, 0 to 1.
    ///
    /// # Panics
    /// When the answer does not say.
    pub fn confidence(&self) -> f64 {
        self.0["confidence"].as_f64().expect("confidence is a number")
    }
}
