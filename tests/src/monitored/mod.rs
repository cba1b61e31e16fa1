//! The whole product on free ports, as an operator would see it: two instances of the app with an audit database, Redis,
//! the exporter, Node Exporter, Alertmanager, the long-term store, and a Prometheus that runs on the repository's own configuration. What
//! dashboards show is asked of this Prometheus, in tests and for their preview pictures.

mod answers;
mod load;

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub use answers::{Shown, happened, show};
pub use load::Load;

use crate::{App, Exporter, MariaDb, Process, RedisServer, free_port, http, repository, wait};

const PROVIDERS_FILE: &str = "config/providers.toml";
/// Addresses in the repository's configurations that stand for our own servers.
const EXPORTER: &str = "127.0.0.1:10040";
const NODE_EXPORTER: &str = "127.0.0.1:9100";
const PROMETHEUS: &str = "127.0.0.1:9090";
const ALERTMANAGER: &str = "127.0.0.1:9093";
const LONG_TERM: &str = "127.0.0.1:8428";

/// Every server, running.
#[derive(Debug)]
pub struct Monitored {
    /// An instance whose simulated providers answer well.
    pub steady: App,
    /// One whose simulated providers are slow, and fail often.
    pub troubled: App,
    prometheus: String,
    providers_file: PathBuf,
    // Held because they end with this value; the folder last.
    _servers: Vec<Process>,
    _exporter: Exporter,
    _database: MariaDb,
    _redis: RedisServer,
    _folder: TempDir,
}

impl Monitored {
    /// Starts everything; Prometheus scrapes, and looks at its rules, every `interval` (as `15s`).
    ///
    /// # Panics
    /// When something does not start.
    pub fn start(interval: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let providers_file = folder.path().join("providers.toml");
        std::fs::write(&providers_file, repository::read(PROVIDERS_FILE)).unwrap();
        let (redis, database) = (RedisServer::start(), MariaDb::start());
        let app = |name: &str, latency: &str, jitter: &str, failures: &str, timeouts: &str| {
            App::of(&redis)
                .set("TECHSAPO_INSTANCE", name)
                .set("TECHSAPO_CACHE_ENABLED", "true")
                .set("TECHSAPO_MYSQL_URL", &database.url())
                .set("TECHSAPO_PROVIDERS_FILE", &providers_file.to_string_lossy())
                .set("TECHSAPO_ANALYSIS_PROVIDER_TIMEOUT", "5s")
                .set("TECHSAPO_BUDGET_DAILY_USD", "40")
                .set("TECHSAPO_BUDGET_MONTHLY_USD", "700")
                .set("TECHSAPO_SIMULATED_LATENCY", latency)
                .set("TECHSAPO_SIMULATED_LATENCY_JITTER", jitter)
                .set("TECHSAPO_SIMULATED_FAILURE_RATE", failures)
                .set("TECHSAPO_SIMULATED_TIMEOUT_RATE", timeouts)
                .start()
        };
        let steady = app("app-1", "700ms", "600ms", "0.002", "0");
        let troubled = app("app-2", "1900ms", "1800ms", "0.2", "0.02");
        let exporter = Exporter::of(&redis).app(&steady.url()).app(&troubled.url()).start();
        let addresses: Vec<(&str, String)> = std::iter::once((EXPORTER, exporter.address()))
            .chain([NODE_EXPORTER, PROMETHEUS, ALERTMANAGER, LONG_TERM].map(|at| (at, local(free_port()))))
            .collect();
        let at = |wanted: &str| addresses.iter().find(|(at, _)| *at == wanted).unwrap().1.clone();
        let servers = vec![
            node_exporter(folder.path(), &at(NODE_EXPORTER)),
            alertmanager(folder.path(), &at(ALERTMANAGER)),
            long_term_store(folder.path(), &at(LONG_TERM), &[]),
            prometheus(folder.path(), &at(PROMETHEUS), interval, &addresses),
        ];
        Self {
            steady,
            troubled,
            prometheus: format!("http://{}", at(PROMETHEUS)),
            providers_file,
            _servers: servers,
            _exporter: exporter,
            _database: database,
            _redis: redis,
            _folder: folder,
        }
    }

    /// The address of Prometheus.
    pub fn prometheus(&self) -> &str {
        &self.prometheus
    }

    /// Changes a price in the providers' file, as an operator would, and so the configuration of both instances; and back
    /// again the next time.
    ///
    /// # Panics
    /// When the file cannot be read or written.
    pub fn change_configuration(&self) {
        let original = repository::read(PROVIDERS_FILE);
        let changed = original.replacen("\noutput = ", "\noutput = 1", 1);
        let is_original = std::fs::read_to_string(&self.providers_file).unwrap() == original;
        std::fs::write(&self.providers_file, if is_original { changed } else { original }).unwrap();
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Starts `command` in `folder` and waits until `address` answers 200 at `path`.
pub(crate) fn server(name: &str, folder: &Path, address: &str, path: &str, command: &mut Command) -> Process {
    let mut process = Process::start(name, folder, command.current_dir(folder));
    wait::until_true(&format!("{name} answers"), || {
        process.assert_alive();
        http::get(&format!("http://{address}{path}")).is_ok_and(|answer| answer.status == 200)
    });
    process
}

pub(crate) fn node_exporter(folder: &Path, address: &str) -> Process {
    let mut command = Command::new("prometheus-node-exporter");
    command.arg(format!("--web.listen-address={address}"));
    server("node-exporter", folder, address, "/metrics", &mut command)
}

fn alertmanager(folder: &Path, address: &str) -> Process {
    std::fs::write(folder.join("alertmanager.yml"), SILENT_ALERTMANAGER).unwrap();
    let mut command = Command::new("prometheus-alertmanager");
    command.args(["--config.file=alertmanager.yml", "--cluster.listen-address=", "--storage.path=alerts"]);
    command.arg(format!("--web.listen-address={address}"));
    server("alertmanager", folder, address, "/-/ready", &mut command)
}

pub(crate) fn long_term_store(folder: &Path, address: &str, options: &[&str]) -> Process {
    let mut command = Command::new("victoria-metrics");
    command.args(["-storageDataPath=long-term", "-retentionPeriod=90d"]);
    command.arg(format!("-httpListenAddr={address}")).args(options);
    server("victoria-metrics", folder, address, "/health", &mut command)
}

/// Takes alerts and tells nobody.
const SILENT_ALERTMANAGER: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";

/// The repository's configuration and rules, with these addresses and this interval put in.
fn prometheus(folder: &Path, address: &str, interval: &str, addresses: &[(&str, String)]) -> Process {
    for path in repository::files("prometheus", "yml") {
        let copy = folder.join(&path);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        let mut text = repository::read(&path);
        for (at, ours) in addresses {
            text = text.replace(at, ours);
        }
        for setting in ["scrape_interval: 15s", "scrape_timeout: 10s", "evaluation_interval: 15s"] {
            let name = setting.split(':').next().unwrap();
            text = text.replace(setting, &format!("{name}: {interval}"));
        }
        std::fs::write(copy, text).unwrap();
    }
    let mut command = Command::new("prometheus");
    command.args(["--config.file=prometheus/prometheus.yml", "--storage.tsdb.path=series"]);
    command.arg(format!("--web.listen-address={address}"));
    server("prometheus", folder, address, "/-/ready", &mut command)
}
