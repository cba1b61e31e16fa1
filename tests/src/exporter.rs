//! The exporter as a process.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use reqwest::blocking::Client;
use tempfile::TempDir;

use crate::http::{self, Answer};
use crate::{Exposition, Identity, MariaDb, Process, Producer, RedisServer, binaries, free_port, wait};

/// How an exporter is to be started.
#[derive(Debug, Clone)]
pub struct ExporterSetup {
    redis_url: String,
    birth_hold: String,
    listen: Option<String>,
    apps: Vec<String>,
    further_flags: Vec<String>,
    checkpoints: PathBuf,
    database_url: Option<String>,
    /// Who asks it by TLS; nothing: it serves in clear.
    client: Option<Client>,
    folder: Arc<TempDir>,
}

impl ExporterSetup {
    /// Reads this stream instead of the default one; again for a further stream.
    #[must_use]
    pub fn stream(self, key: &str) -> Self {
        self.flag("--redis.stream", key)
    }

    /// Polls the status of the app at this address; again for a further app.
    #[must_use]
    pub fn app(mut self, url: &str) -> Self {
        self.apps.push(url.to_owned());
        self
    }

    /// Shows apps the key in this file.
    #[must_use]
    pub fn app_key_file(self, file: &Path) -> Self {
        self.flag("--app.key-file", &file.to_string_lossy())
    }

    /// Keeps at most this many series per family.
    #[must_use]
    pub fn series_limit(self, limit: u32) -> Self {
        self.flag("--series-limit", &limit.to_string())
    }

    /// Serves new series at zero for this long first. Tests do not wait for it unless it is what they test.
    #[must_use]
    pub fn birth_hold(mut self, duration: &str) -> Self {
        duration.clone_into(&mut self.birth_hold);
        self
    }

    /// Listens here instead of on a free port.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = Some(address.to_owned());
        self
    }

    /// Keeps its checkpoints here.
    #[must_use]
    pub fn checkpoints(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.checkpoints);
        self
    }

    /// Keeps its checkpoints in this database instead of a folder.
    #[must_use]
    pub fn database(self, database: &MariaDb) -> Self {
        self.database_url(&database.url())
    }

    /// The same for any address.
    #[must_use]
    pub fn database_url(mut self, url: &str) -> Self {
        self.database_url = Some(url.to_owned());
        self
    }

    /// Serves its pages as this web configuration says, which asks for TLS; the harness comes with `client`.
    #[must_use]
    pub fn served_by_tls(mut self, web_config: &Path, client: &Client) -> Self {
        self.client = Some(client.clone());
        self.flag("--web.config.file", &web_config.to_string_lossy())
    }

    /// Trusts this authority, and shows this certificate, when it is the client.
    #[must_use]
    pub fn tls(self, ca_file: &Path, identity: &Identity) -> Self {
        self.flag("--tls.ca-file", &ca_file.to_string_lossy())
            .flag("--tls.cert-file", &identity.cert.to_string_lossy())
            .flag("--tls.key-file", &identity.key.to_string_lossy())
    }

    /// Uses this Redis, or what is none.
    #[must_use]
    pub fn redis_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.redis_url);
        self
    }

    /// Starts the process and waits until it is ready.
    pub fn start(self) -> Exporter {
        let mut exporter = self.spawn();
        exporter.wait_ready();
        exporter
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(self) -> Exporter {
        let port = free_port();
        let process = self.process(port);
        Exporter { setup: self, port, process }
    }

    /// Gives a further flag.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.further_flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    fn process(&self, port: u16) -> Process {
        let mut command = Command::new(binaries::path_of("techsapo-exporter"));
        let listen = self.listen.clone().unwrap_or_else(|| format!("127.0.0.1:{port}"));
        command.args(["--web.listen-address", &listen]);
        command.args([
            "--redis.url",
            &self.redis_url,
            "--birth-hold",
            &self.birth_hold,
            "--log.level",
            "info",
        ]);
        // Without an app of its own it polls none: the default address may be somebody else's.
        let apps = if self.apps.is_empty() { "none".to_owned() } else { self.apps.join(",") };
        command.args(["--app.url", &apps]);
        match &self.database_url {
            Some(url) => command.args(["--checkpoint.url", url]),
            None => command.arg("--checkpoint.dir").arg(&self.checkpoints),
        };
        command.args(&self.further_flags);
        Process::start("exporter", self.folder.path(), command.current_dir(self.folder.path()))
    }
}

/// A running exporter.
#[derive(Debug)]
pub struct Exporter {
    /// The process itself. First of the fields, so that it ends before its folder is deleted.
    pub process: Process,
    port: u16,
    setup: ExporterSetup,
}

impl Exporter {
    /// An exporter for the stream in `redis`, to be started.
    pub fn of(redis: &RedisServer) -> ExporterSetup {
        let folder = TempDir::new().unwrap();
        ExporterSetup {
            redis_url: redis.url(),
            birth_hold: "0s".to_owned(),
            listen: None,
            apps: Vec::new(),
            further_flags: Vec::new(),
            checkpoints: folder.path().join("checkpoints"),
            database_url: None,
            client: None,
            folder: Arc::new(folder),
        }
    }

    /// Its address, `http://127.0.0.1:<port>`, or with https.
    pub fn url(&self) -> String {
        let scheme = if self.setup.client.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// The same one, asked by another client from now on.
    #[must_use]
    pub fn asked_by(mut self, client: &Client) -> Self {
        self.setup.client = Some(client.clone());
        self
    }

    /// Its address, `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its checkpoints.
    pub fn checkpoints(&self) -> &Path {
        &self.setup.checkpoints
    }

    /// How it was started, to start another one like it.
    pub fn setup(&self) -> ExporterSetup {
        self.setup.clone()
    }

    /// Gets one of its paths.
    ///
    /// # Errors
    /// Says why there was no answer.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        let client = self.setup.client.as_ref().unwrap_or_else(|| http::client());
        http::send(client.get(format!("{}{path}", self.url())))
    }

    /// Waits until it says that it is ready: what the stream held is served.
    ///
    /// # Panics
    /// When it ends instead, or never is.
    pub fn wait_ready(&mut self) {
        wait::until_true("the exporter is ready", || {
            self.process.assert_alive();
            self.get("/-/ready").is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Waits until its log holds `text`.
    ///
    /// # Panics
    /// When it never does.
    pub fn wait_log(&self, text: &str) {
        self.process.wait_log(text);
    }

    /// Its page as it stands now.
    ///
    /// # Panics
    /// When there is none, or it breaks the format.
    pub fn scrape(&self) -> Exposition {
        let answer = self.get("/metrics").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "content type {kind:?}");
        Exposition::parse(&answer.text())
    }

    /// Scrapes until the page is as wanted, and returns that page.
    pub fn scrape_until(&self, what: &str, mut wanted: impl FnMut(&Exposition) -> bool) -> Exposition {
        wait::until(what, || Some(self.scrape()).filter(&mut wanted))
    }

    /// The page that holds all that `producer` has sent.
    pub fn scrape_after(&self, producer: &mut Producer) -> Exposition {
        producer.wait_acknowledged();
        producer.wait_next_publication();
        self.scrape()
    }

    /// Ends it without giving it a chance to do anything.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Asks it to end, and waits until it has.
    pub fn sigterm(&mut self) -> ExitStatus {
        self.process.sigterm()
    }

    /// Starts it again as it was started before, without waiting until it is ready.
    pub fn spawn_again(&mut self) {
        self.process.kill_9();
        self.process = self.setup.process(self.port);
    }

    /// Starts it again as it was started before, and waits until it is ready.
    pub fn restart(&mut self) {
        self.spawn_again();
        self.wait_ready();
    }
}
