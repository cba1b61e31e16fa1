//! The production stack on free ports, as `docker/production/docker-compose.prod.yml` has it, without containers: three apps behind
//! nginx, two exporters that share a state, Redis with a replica and three sentinels, MariaDB, two Prometheus, three Alertmanagers, a
//! long-term store and Node Exporter. nginx and Prometheus run on the repository's own configurations of production.
//!
//! nginx and the exporters speak TLS with the apps, each showing a certificate; everything else here speaks without. Each part can be
//! killed and started again ([`Part`]).

mod load;
mod parts;
mod watch;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

pub use load::{Ask, Load, Outcome};
pub use parts::{Killed, Part};
pub use watch::Watch;

use crate::engine::succeed;
use crate::monitored::{long_term_store, node_exporter};
use crate::sink::Sink;
use crate::{
    Alertmanager, App, Authority, Exporter, Exposition, MariaDb, Nginx, Process, Prometheus, Proxy,
    RedisServer, Sentinels, free_port, http, repository, wait,
};

/// Prometheus' configuration for production.
const PROMETHEUS: &str = "docker/production/prometheus.yml";
/// What sentinels do in production.
const SENTINEL: &str = "docker/production/redis/sentinel.conf";
/// Where each notification arrives.
pub const NOTIFIED: &str = "/notified";

/// How often Prometheus scrapes here, and looks at its rules: oftener than in production, so that a hole is seen.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// A series that every scrape of the facts brings.
const FACTS: &str = "techsapo_telemetry_events_total{type=\"analysis\"}";

/// Room of a journal that has a disk of its own.
const SMALL_JOURNAL: &str = "16MiB";

/// How the programs find Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roads {
    /// They ask the sentinels.
    Sentinels,
    /// All apps go one way, both exporters another; each can be closed. Nobody replaces a Redis that is away.
    Separate,
}

/// How the stack is to be started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How the programs find Redis.
    pub roads: Roads,
    /// Where the exporters' state is, the journal of app-0, and the first primary's data; nothing: in a folder of their own.
    pub state: Option<PathBuf>,
    /// See `state`.
    pub journal: Option<PathBuf>,
    /// See `state`.
    pub redis_data: Option<PathBuf>,
}

impl Setup {
    /// With this way to Redis.
    pub fn with(roads: Roads) -> Self {
        Self { roads, state: None, journal: None, redis_data: None }
    }
}

/// Everything, running.
#[derive(Debug)]
pub struct Production {
    /// The way in.
    pub nginx: Nginx,
    /// In the order of nginx' configuration.
    pub apps: Vec<App>,
    /// One holds the state, the other stands by.
    pub exporters: Vec<Exporter>,
    /// Two that are alike.
    pub prometheus: Vec<Prometheus>,
    /// One cluster.
    pub alertmanagers: Vec<Alertmanager>,
    /// The long-term store, to which both Prometheus write: its address.
    pub long_term: String,
    /// Where notifications arrive.
    pub sink: Sink,
    /// Those of the Redis, where they are asked.
    pub sentinels: Option<Sentinels>,
    /// The ways to the two Redis (with sentinels), or those of the apps and of the exporters to the primary.
    pub roads: [Proxy; 2],
    /// What leads the apps to the exporter that held the state at first, as the gate does.
    _gate: Proxy,
    /// A primary and its replica, at first in this order.
    pub redis: [RedisServer; 2],
    /// The audit.
    pub database: MariaDb,
    // Held because they end with this value; the folder last.
    _servers: Vec<Process>,
    _folder: TempDir,
}

/// What is counted, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Analyses.
    pub analyses: u64,
    /// Their cost.
    pub cost_nanousd: u64,
}

impl Production {
    /// Starts everything.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start(setup: &Setup) -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new("production"));
        let (ca_file, of_apps) = (authority.ca_file(), Nginx::app_certificate(&authority));
        let of_exporters = authority.issue("exporter", &[]);
        let looking = http::tls_client(&authority, Some(&of_exporters));
        let (redis, roads, sentinels) = redis(setup.roads, setup.redis_data.as_deref());
        let database = MariaDb::start();
        let url_of = |road: usize| match &sentinels {
            Some(sentinels) => sentinels.url(),
            None => roads[road].redis_url(),
        };
        // The apps are there before the exporters.
        let gate = Proxy::to(free_port());
        let app = |number: usize| {
            let app = App::of(&redis[0])
                .tls(&ca_file, &of_apps)
                .served_by_tls(&looking)
                .set("TECHSAPO_INSTANCE", &format!("app-{number}"))
                .set("TECHSAPO_REDIS_URL", &url_of(0))
                .set("TECHSAPO_MYSQL_URL", &database.url())
                .set("TECHSAPO_EXPORTER_URL", &format!("http://{}", local(gate.port())))
                .set("TECHSAPO_HTTP_TRUSTED_PROXIES", "127.0.0.1")
                .set("TECHSAPO_BUDGET_ALONE_SHARE", "0.33");
            match &setup.journal {
                Some(journal) if number == 0 => {
                    app.journal(journal).set("TECHSAPO_JOURNAL_MAX_BYTES", SMALL_JOURNAL)
                }
                _ => app,
            }
            .start()
        };
        let apps: Vec<_> = (0..3).map(app).collect();
        let nginx = Nginx::before([0, 1, 2].map(|number| apps[number].port()), &authority);
        let state = setup.state.clone().unwrap_or_else(|| folder.path().join("state"));
        let exporter = Exporter::of(&redis[0]).redis_url(&url_of(1)).checkpoints(&state);
        let exporter = exporter.tls(&ca_file, &of_exporters);
        let exporter = apps.iter().fold(exporter, |exporter, app| exporter.app(&app.url()));
        let exporters = vec![exporter.clone().start(), exporter.spawn()];
        gate.lead_to(exporters[0].port());
        let sink = Sink::http();
        let alertmanagers = Alertmanager::cluster(&notifying(folder.path(), &sink), 3);
        let (node, long_term) = (local(free_port()), local(free_port()));
        // As in production: as long as the time between two samples of either Prometheus.
        let once = format!("-dedup.minScrapeInterval={}s", INTERVAL.as_secs());
        let servers =
            vec![node_exporter(folder.path(), &node), long_term_store(folder.path(), &long_term, &[&once])];
        let ports = [free_port(), free_port()];
        let mut addresses = vec![("node-exporter:9100".to_owned(), node)];
        addresses.push(("long-term-store:8428".to_owned(), long_term.clone()));
        addresses.extend((0..2).map(|one| (format!("exporter-{one}:10040"), exporters[one].address())));
        addresses.extend((0..2).map(|one| (format!("prometheus-{one}:9090"), local(ports[one]))));
        addresses
            .extend((0..3).map(|one| (format!("alertmanager-{one}:9093"), alertmanagers[one].address())));
        let prometheus = |one: usize| {
            let configuration = scraping(&addresses, one);
            // An alert that fires before the Alertmanagers are known is told a minute later otherwise.
            let options = ["--rules.alert.resend-delay=2s"];
            Prometheus::configured(Path::new("prometheus"), ports[one], &configuration, &options)
        };
        let prometheus = vec![prometheus(0), prometheus(1)];
        let mut all = Self {
            nginx,
            apps,
            exporters,
            prometheus,
            alertmanagers,
            long_term: format!("http://{long_term}"),
            sink,
            sentinels,
            roads,
            _gate: gate,
            redis,
            database,
            _servers: servers,
            _folder: folder,
        };
        all.wait_whole();
        all
    }

    /// The page of whoever holds the state, if somebody serves it.
    pub fn page(&self) -> Option<Exposition> {
        let pages = self.exporters.iter().filter_map(|exporter| exporter.get("/metrics").ok());
        pages
            .map(|page| page.text())
            .find(|page| watch::counted(page).is_some())
            .map(|page| Exposition::parse(&page))
    }

    /// What the page counts.
    pub fn counted(&self) -> Option<Account> {
        let page = self.page()?;
        let lost = ["techsapo_telemetry_lost_events_total", "techsapo_telemetry_dropped_total"];
        for family in lost {
            assert_eq!(page.counter(family).total(), 0.0, "{family}");
        }
        Some(Account {
            analyses: page.counter("techsapo_wallbounce_requests_total").total() as u64,
            cost_nanousd: page.counter("techsapo_wallbounce_cost_usd").total_units(9),
        })
    }

    /// Scrapes since then that brought a Prometheus no facts, for no exporter served them; not of one that was `killed` itself.
    ///
    /// # Panics
    /// When a Prometheus does not answer.
    pub fn scrapes_failed(&self, since: SystemTime, killed: Option<Part>) -> u64 {
        // A scrape from before, so that the first hole has a beginning.
        let window = since.elapsed().unwrap_or_default() + 2 * INTERVAL;
        let living = self.prometheus.iter().enumerate();
        let living = living.filter(|(number, _)| killed != Some(Part::Prometheus(*number)));
        let missed = |(_, prometheus): (usize, &Prometheus)| -> u64 {
            let times = prometheus.scraped(FACTS, window);
            let gaps = times.windows(2).map(|pair| (pair[1] - pair[0]) / INTERVAL.as_secs_f64());
            gaps.map(|gap| (gap.round() as u64).saturating_sub(1)).sum()
        };
        living.map(missed).sum()
    }

    /// What the audit holds: it reads the same journals by a way of its own.
    ///
    /// # Panics
    /// When the database is away.
    pub fn audited(&self) -> Account {
        let row = self.database.sql("SELECT COUNT(*), COALESCE(SUM(cost_nanousd), 0) FROM analyses");
        let (count, cost) = row.split_once('\t').unwrap();
        Account { analyses: count.parse().unwrap(), cost_nanousd: cost.parse().unwrap() }
    }

    /// Waits, while nobody asks, until the page and the audit hold the same analyses at the same cost, and as many as were
    /// answered at least. Returns what they hold.
    ///
    /// # Panics
    /// When they never do: something was lost, or counted twice.
    pub fn reconciled(&self, answered: u64) -> Account {
        let mut last = None;
        let agreed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait::until("the page and the audit agree", || {
                let accounts = (self.counted()?, self.audited());
                last = Some(accounts);
                (accounts.0 == accounts.1 && accounts.0.analyses >= answered).then_some(accounts.0)
            })
        }));
        agreed.unwrap_or_else(|_| panic!("answered {answered}; counted and audited: {last:?}"))
    }
}

/// Primary and replica with what leads to them, and the sentinels where they are wanted.
fn redis(roads: Roads, data: Option<&Path>) -> ([RedisServer; 2], [Proxy; 2], Option<Sentinels>) {
    let durable = ["--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"];
    // Each is known to the other, and to sentinels, by the way that leads to it.
    let ways: Vec<_> = (0..2).map(|_| Proxy::to(free_port())).collect();
    let ways: [Proxy; 2] = ways.try_into().unwrap();
    let announced = |way: &Proxy| {
        let port = way.port().to_string();
        let mut options: Vec<String> = durable.iter().map(|&option| option.to_owned()).collect();
        options.extend(["--replica-announce-ip", "127.0.0.1", "--replica-announce-port"].map(str::to_owned));
        options.push(port);
        options
    };
    let server = |options: &[String]| {
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        RedisServer::with(&options)
    };
    let mut options = announced(&ways[0]);
    if let Some(data) = data {
        options.extend(["--dir".to_owned(), data.display().to_string()]);
    }
    let primary = server(&options);
    ways[0].lead_to(primary.port());
    let mut options = announced(&ways[1]);
    let followed = if roads == Roads::Sentinels { ways[0].port() } else { primary.port() };
    options.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), followed.to_string()]);
    let replica = server(&options);
    ways[1].lead_to(if roads == Roads::Sentinels { replica.port() } else { primary.port() });
    let pair = [primary, replica];
    wait_in_step(&pair);
    let down_after = setting_of_sentinels("down-after-milliseconds");
    let sentinels = (roads == Roads::Sentinels).then(|| Sentinels::watching(ways[0].port(), 1, down_after));
    (pair, ways, sentinels)
}

/// Which of the two is the primary, when the other follows it and is in step.
pub(crate) fn primary(pair: &[RedisServer; 2]) -> Option<usize> {
    let roles = pair.each_ref().map(RedisServer::role);
    (0..2).find(|&one| {
        let is = |of: usize, wanted: &[&str]| roles[of].as_deref().is_some_and(|role| role == wanted);
        is(one, &["master"]) && is(1 - one, &["slave", "connected"])
    })
}

/// Waits until one follows the other.
pub(crate) fn wait_in_step(pair: &[RedisServer; 2]) {
    wait::until_true("the replica is in step", || primary(pair).is_some());
}

/// A number from the configuration of production's sentinels.
fn setting_of_sentinels(name: &str) -> u32 {
    let text = repository::read(SENTINEL);
    let line = text.lines().find(|line| line.starts_with(&format!("sentinel {name} ")));
    let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{SENTINEL} has no {name}"))
}

/// Alertmanager's configuration, which tells the sink alone.
fn notifying(folder: &Path, sink: &Sink) -> String {
    let (secrets, file) = (folder.join("secrets"), folder.join("alertmanager.yml"));
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("webhook-url"), format!("http://{}{NOTIFIED}", sink.address())).unwrap();
    std::fs::write(secrets.join("watchdog-url"), format!("http://{}/watchdog", sink.address())).unwrap();
    let mut script = Command::new(repository::root().join("scripts/alertmanager-config.sh"));
    script.arg("--templates-at").arg(repository::root().join("alertmanager/templates"));
    succeed(script.args([&secrets, &file]));
    std::fs::read_to_string(file).unwrap()
}

/// Prometheus' configuration, as the one of the pair that has this number: with these addresses, without TLS, and without
/// Grafana, which there is none of.
fn scraping(addresses: &[(String, String)], number: usize) -> String {
    let (kept, grafana) = repository::read(PROMETHEUS)
        .split_once("  - job_name: grafana\n")
        .map(|(kept, grafana)| (kept.to_owned(), grafana.to_owned()))
        .expect("a job for Grafana");
    assert!(!grafana.contains("job_name"), "Grafana's is the last job");
    let mut text: String =
        kept.lines().filter(|line| !line.contains("tls_config:")).map(|line| format!("{line}\n")).collect();
    for setting in ["scrape_interval: 15s", "scrape_timeout: 10s", "evaluation_interval: 15s"] {
        let name = setting.split(':').next().unwrap();
        text = text.replace(setting, &format!("{name}: {}s", INTERVAL.as_secs()));
    }
    let rules = repository::root().join("prometheus/rules");
    let put_in = [
        ("scheme: https".to_owned(), "scheme: http".to_owned()),
        ("https://".to_owned(), "http://".to_owned()),
        ("  - rules/".to_owned(), format!("  - {}/", rules.display())),
        ("replica: \"0\"".to_owned(), format!("replica: \"{number}\"")),
    ];
    for (theirs, ours) in put_in.iter().chain(addresses) {
        assert!(text.contains(theirs.as_str()), "{PROMETHEUS} has no {theirs}");
        text = text.replace(theirs.as_str(), ours);
    }
    text
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
