//! A real Prometheus, and its checker of pages.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::http::{client, get, send};
use crate::{Process, free_port, repository, wait};

/// A Prometheus that scrapes some targets four times a second.
#[derive(Debug)]
pub struct Prometheus {
    // First of the fields, so that it ends before its folder is deleted.
    process: Process,
    folder: TempDir,
    port: u16,
    program: PathBuf,
    options: Vec<String>,
}

impl Prometheus {
    /// Starts one that scrapes `targets` (`127.0.0.1:<port>`), and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(targets: &[&str]) -> Self {
        Self::with_job(&format!(
            "  - job_name: techsapo\n    static_configs:\n      - targets: {targets:?}\n"
        ))
    }

    /// Starts one that scrapes exporters as `prometheus/prometheus.yml` says, but for their addresses and the interval.
    ///
    /// # Panics
    /// When that file has no such job, or it does not start.
    pub fn of_exporters(targets: &[&str]) -> Self {
        let config = repository::read("prometheus/prometheus.yml");
        let mut jobs = config.split("  - job_name: ").filter(|job| job.starts_with("techsapo-exporter\n"));
        let job = format!("  - job_name: {}", jobs.next().expect("a job for the exporter"));
        let address = r#"["127.0.0.1:10040"]"#;
        assert!(job.contains(address), "{job}");
        Self::with_job(&job.replace(address, &format!("{targets:?}")))
    }

    fn with_job(job: &str) -> Self {
        let config =
            format!("global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\nscrape_configs:\n{job}");
        Self::configured(Path::new("prometheus"), free_port(), &config, &[])
    }

    /// Starts `program` (a Prometheus of any version) on `port` with this configuration and further `options`, and waits
    /// until it is ready. Rule files that it names by a relative path are looked for in a folder of its own.
    ///
    /// # Panics
    /// When it does not start.
    pub fn configured(program: &Path, port: u16, config: &str, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let process = Self::process(program, &folder, port, &options);
        let mut server = Self { process, folder, port, program: program.to_owned(), options };
        server.wait_ready();
        server
    }

    fn process(program: &Path, folder: &TempDir, port: u16, options: &[String]) -> Process {
        let mut command = Command::new(program);
        command.current_dir(folder.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).args(options);
        Process::start("prometheus", folder.path(), &mut command)
    }

    fn wait_ready(&mut self) {
        let url = self.url("/-/ready");
        wait::until_true("Prometheus is ready", || {
            self.process.assert_alive();
            get(&url).is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Kills it.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Starts it again after [`Prometheus::kill_9`], with its data, and waits until it is ready.
    pub fn start_again(&mut self) {
        self.process = Self::process(&self.program, &self.folder, self.port, &self.options);
        self.wait_ready();
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of one of its paths.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its folder of data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What its API answers at `path`, such as `/api/v1/rules`: the part called `data`.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn api(&self, path: &str) -> serde_json::Value {
        get(&self.url(path)).unwrap().json()["data"].take()
    }

    /// The result of an instant query: each element's labels and value.
    ///
    /// # Panics
    /// When the query is wrong.
    pub fn query(&self, query: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        let url = self.url("/api/v1/query");
        let answer = send(client().get(url).query(&[("query", query)])).unwrap().json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let elements = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        let read = |element: &serde_json::Value| {
            let labels = element["metric"].as_object().unwrap().iter();
            let labels =
                labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
            (labels, element["value"][1].as_str().unwrap().parse().unwrap())
        };
        elements.iter().map(read).collect()
    }

    /// When the series of `selector` were scraped within the last `window`, oldest first, in Unix seconds.
    ///
    /// # Panics
    /// When the selector is wrong.
    pub fn scraped(&self, selector: &str, window: Duration) -> Vec<f64> {
        let query = format!("{selector}[{}ms]", window.as_millis());
        let answer =
            send(client().get(self.url("/api/v1/query")).query(&[("query", &query)])).unwrap().json();
        let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        let values = series.iter().flat_map(|one| one["values"].as_array().into_iter().flatten());
        let mut times: Vec<_> = values.map(|value| value[0].as_f64().unwrap()).collect();
        times.sort_by(f64::total_cmp);
        times.dedup();
        times
    }

    /// The value of a query with one element; nothing if it has none.
    ///
    /// # Panics
    /// When it has several.
    pub fn value(&self, query: &str) -> Option<f64> {
        let elements = self.query(query);
        assert!(elements.len() <= 1, "{query} has {} elements", elements.len());
        elements.first().map(|(_, value)| *value)
    }

    /// Waits until a query has this value.
    pub fn wait_value(&self, query: &str, value: f64) {
        wait::until_true(&format!("{query} is {value}"), || self.value(query) == Some(value));
    }
}

/// A later Prometheus than the one that is installed: the first major version after it, unpacked from Debian's packages.
#[derive(Debug)]
pub struct Later(PathBuf);

impl Later {
    /// The one of this machine. Fetched once, into the build's folder, by `scripts/later-prometheus.sh`.
    ///
    /// # Panics
    /// When it cannot be had; what the script says tells why.
    pub fn get() -> &'static Self {
        static LATER: OnceLock<Later> = OnceLock::new();
        LATER.get_or_init(|| {
            let script = repository::root().join("scripts/later-prometheus.sh");
            let output = Command::new(script).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
            assert!(
                output.status.success(),
                "there is no later Prometheus to test with; the reason stands above"
            );
            Self(String::from_utf8(output.stdout).unwrap().trim().into())
        })
    }

    /// One of its programs: `prometheus` or `promtool`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// What `promtool check metrics` has to say about a page, one finding per line.
///
/// # Panics
/// When promtool cannot be run.
pub fn check_metrics(page: &str) -> Vec<String> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
}
