//! A real Prometheus, and its checker of pages.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::http::{client, get, send};
use crate::{Process, free_port, repository, wait};

/// A Prometheus that scrapes some targets four times a second.
#[derive(Debug)]
pub struct Prometheus {
    // First of the fields, so that it ends before its folder is deleted.
    _process: Process,
    _folder: TempDir,
    port: u16,
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
        let (port, folder) = (free_port(), TempDir::new().unwrap());
        let config =
            format!("global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\nscrape_configs:\n{job}");
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let mut command = Command::new("prometheus");
        command.current_dir(folder.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut process = Process::start("prometheus", folder.path(), &mut command);
        wait::until_true("Prometheus is ready", || {
            process.assert_alive();
            get(&format!("http://127.0.0.1:{port}/-/ready")).is_ok_and(|answer| answer.status == 200)
        });
        Self { port, _process: process, _folder: folder }
    }

    /// The result of an instant query: each element's labels and value.
    ///
    /// # Panics
    /// When the query is wrong.
    pub fn query(&self, query: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
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
