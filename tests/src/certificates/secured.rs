//! A Prometheus, and what it scrapes: our exporter, Node Exporter, another Prometheus and Alertmanager by their own TLS, VictoriaMetrics
//! behind nginx. All speak TLS 1.3 alone, and refuse whoever shows no certificate of the authority.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Asking, Certificates, served};
use crate::{Process, Prometheus, RedisServer, binaries, free_port, http, repository, wait};

/// The targets, by the names of their certificates.
pub const TARGETS: [&str; 5] = ["exporter", "node-exporter", "prometheus", "alertmanager", "long-term-store"];
/// In seconds. A scrape may take as long: the machines that tests run on are busy.
const SCRAPE_INTERVAL: u32 = 2;

/// All of them, running. The watching Prometheus shows the certificate `prometheus`, and is itself asked without TLS.
#[derive(Debug)]
pub struct Secured {
    // Held because they end with this value, before the folder of the certificates is deleted.
    watch: Prometheus,
    servers: Vec<Process>,
    _redis: RedisServer,
    ports: BTreeMap<String, u16>,
    /// What it all stands on.
    pub certificates: Certificates,
}

impl Secured {
    /// Starts them, and waits until every target was scraped.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start() -> Self {
        let certificates = Certificates::new();
        for name in TARGETS {
            certificates.make(&["issue", name, "127.0.0.1", name]);
        }
        Self::with(certificates, &[])
    }

    /// Starts them with these certificates. `further` Node Exporters show certificates of their own, by whose names they are called,
    /// and are scraped with no hope that it succeeds.
    ///
    /// # Panics
    /// When something does not start.
    pub fn with(certificates: Certificates, further: &[&str]) -> Self {
        let names = || TARGETS.iter().chain(further).copied();
        let ports: BTreeMap<_, _> = names().map(|name| (name.to_owned(), free_port())).collect();
        names().for_each(|name| write_web_config(&certificates, name));
        std::fs::create_dir_all(certificates.textfile_folder()).unwrap();
        let mut servers = long_term_store(&certificates, ports["long-term-store"]);
        servers.push(prometheus(&certificates, ports["prometheus"]));
        let redis = RedisServer::start();
        servers.push(exporter(&certificates, &redis, ports["exporter"]));
        servers.push(alertmanager(&certificates, ports["alertmanager"]));
        let node_exporters = std::iter::once("node-exporter").chain(further.iter().copied());
        servers.extend(node_exporters.map(|name| node_exporter(&certificates, name, ports[name])));
        let watch = watch(&certificates, &ports);
        let secured = Self { watch, servers, _redis: redis, ports, certificates };
        let client = secured.certificates.client(Some("prometheus")).unwrap();
        for name in TARGETS {
            wait::until_true(&format!("{name} answers by TLS"), || secured.ask(&client, name).is_ok());
            secured.watch.wait_value(&format!("up{{job={name:?}}}"), 1.0);
        }
        secured
    }

    /// The Prometheus that scrapes, with `prometheus/rules/certificates.yml`, whose alerts wait for nothing.
    pub fn watch(&self) -> &Prometheus {
        &self.watch
    }

    /// Where a target's metrics are.
    pub fn url(&self, name: &str) -> String {
        format!("https://127.0.0.1:{}/metrics", self.ports[name])
    }

    /// Asks a target.
    ///
    /// # Errors
    /// Says why it refused.
    pub fn ask(&self, client: &reqwest::blocking::Client, name: &str) -> Result<(), String> {
        let answer = http::send(client.get(self.url(name)))?;
        if answer.status == 200 { Ok(()) } else { Err(format!("HTTP {}: {}", answer.status, answer.text())) }
    }

    /// Asks all targets all the time, until that value is asked to stop.
    pub fn asking(&self) -> Asking {
        let urls = TARGETS.iter().map(|name| self.url(name)).collect();
        Asking::start(&self.certificates.folder(), urls)
    }

    /// Waits until every target shows the certificate that is now in its file.
    ///
    /// # Panics
    /// When one does not.
    pub fn wait_served(&self) {
        let client = self.certificates.client(Some("prometheus")).unwrap();
        for name in TARGETS {
            let wanted = self.certificates.in_use(name);
            wait::until_true(&format!("{name} shows its new certificate"), || {
                served(&client, &self.url(name)).as_ref() == Ok(&wanted)
            });
        }
    }

    /// Scrapes of the targets so far, and how many of them failed.
    ///
    /// # Panics
    /// When Prometheus does not tell.
    pub fn scrapes(&self) -> (u64, u64) {
        let jobs = TARGETS.join("|");
        let value = |query: &str| {
            let query = query.replace("up", &format!(r#"up{{job=~"{jobs}"}}[1h]"#));
            self.watch.value(&query).unwrap_or_default() as u64
        };
        // Both of one moment.
        let failed = value("sum(count_over_time(up)) - sum(sum_over_time(up))");
        (value("sum(count_over_time(up))"), failed)
    }

    /// The values of an alert's labels that say which certificates it is firing for.
    pub fn firing(&self, alert: &str) -> Vec<String> {
        let query = format!(r#"ALERTS{{alertname="{alert}",alertstate="firing"}}"#);
        self.watch.query(&query).into_iter().map(|(labels, _)| labels["certificate"].clone()).collect()
    }

    /// Fails the test if a server has ended.
    ///
    /// # Panics
    /// When one has.
    pub fn assert_alive(&mut self) {
        self.servers.iter_mut().for_each(Process::assert_alive);
    }
}

fn web_config(certificates: &Certificates, name: &str) -> PathBuf {
    certificates.beside().join(format!("web-{name}.yml"))
}

fn write_web_config(certificates: &Certificates, name: &str) {
    let text = format!(
        "tls_server_config:\n  cert_file: {}\n  key_file: {}\n  client_auth_type: RequireAndVerifyClientCert\n  \
         client_ca_file: {}\n  min_version: TLS13\n",
        certificates.certificate(name).display(),
        certificates.key(name).display(),
        certificates.authority().display()
    );
    std::fs::write(web_config(certificates, name), text).unwrap();
}

/// Starts `command`, a program of Prometheus' family, with the TLS of `name`.
fn server(certificates: &Certificates, name: &str, port: u16, command: &mut Command) -> Process {
    command.current_dir(certificates.beside());
    command.arg(format!("--web.config.file={}", web_config(certificates, name).display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    Process::start(name, certificates.beside(), command)
}

/// Ours, over a Redis to which nothing is written: what it says of itself is enough here.
fn exporter(certificates: &Certificates, redis: &RedisServer, port: u16) -> Process {
    let mut command = Command::new(binaries::path_of("techsapo-exporter"));
    command.args(["--redis.url", &redis.url(), "--app.url", "none", "--checkpoint.dir", "checkpoints"]);
    server(certificates, "exporter", port, &mut command)
}

fn node_exporter(certificates: &Certificates, name: &str, port: u16) -> Process {
    let mut command = Command::new("prometheus-node-exporter");
    command.args(["--collector.disable-defaults", "--collector.textfile"]);
    command.arg(format!("--collector.textfile.directory={}", certificates.textfile_folder().display()));
    server(certificates, name, port, &mut command)
}

fn prometheus(certificates: &Certificates, port: u16) -> Process {
    std::fs::write(certificates.beside().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
    let mut command = Command::new("prometheus");
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus"]);
    server(certificates, "prometheus", port, &mut command)
}

fn alertmanager(certificates: &Certificates, port: u16) -> Process {
    let config = "route: {receiver: none}\nreceivers: [{name: none}]\n";
    std::fs::write(certificates.beside().join("alertmanager.yml"), config).unwrap();
    let mut command = Command::new("prometheus-alertmanager");
    command.args(["--config.file=alertmanager.yml", "--storage.path=alerts", "--cluster.listen-address="]);
    server(certificates, "alertmanager", port, &mut command)
}

/// VictoriaMetrics as Debian has it knows no clients' certificates: nginx stands before it, and is reloaded by the renewal.
fn long_term_store(certificates: &Certificates, port: u16) -> Vec<Process> {
    let (folder, behind) = (certificates.beside(), free_port());
    let mut store = Command::new("victoria-metrics");
    store.arg(format!("-storageDataPath={}", folder.join("store").display()));
    store.arg(format!("-httpListenAddr=127.0.0.1:{behind}"));
    let store = Process::start("victoria-metrics", folder, &mut store);
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let config = format!(
        "{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;\n\
         events {{}}\n\
         http {{\n  access_log off;\n  \
           client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;\n  \
           fastcgi_temp_path {folder}/nginx-fastcgi; uwsgi_temp_path {folder}/nginx-uwsgi; scgi_temp_path {folder}/nginx-scgi;\n  \
           server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_protocols TLSv1.3;\n    \
             ssl_certificate {certificate};\n    ssl_certificate_key {key};\n    \
             ssl_client_certificate {authority};\n    ssl_verify_client on;\n    \
             location / {{ proxy_pass http://127.0.0.1:{behind}; }}\n  }}\n}}\n",
        folder = folder.display(),
        certificate = certificates.certificate("long-term-store").display(),
        key = certificates.key("long-term-store").display(),
        authority = certificates.authority().display(),
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let call = format!("nginx -e stderr -p {} -c {}", folder.display(), file.display());
    let reload = format!("reload long-term-store {call} -t -q && {call} -s reload\n");
    append(&certificates.settings(), &reload);
    let mut nginx = Command::new("nginx");
    nginx.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(file);
    vec![store, Process::start("nginx", folder, &mut nginx)]
}

fn watch(certificates: &Certificates, ports: &BTreeMap<String, u16>) -> Prometheus {
    let rules = certificates.beside().join("rules.yml");
    let text: String = repository::read("prometheus/rules/certificates.yml")
        .lines()
        .filter(|line| !line.trim_start().starts_with("for: "))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&rules, text).unwrap();
    let mut config = format!(
        "global: {{scrape_interval: {SCRAPE_INTERVAL}s, scrape_timeout: {SCRAPE_INTERVAL}s, evaluation_interval: 1s}}\n\
         rule_files: [{}]\nscrape_configs:\n",
        rules.display()
    );
    for (name, port) in ports {
        let _ = write!(
            config,
            "  - job_name: {name}\n    scheme: https\n    tls_config:\n      ca_file: {}\n      cert_file: {}\n      key_file: {}\n      \
             min_version: TLS13\n    static_configs: [targets: [\"127.0.0.1:{port}\"]]\n",
            certificates.authority().display(),
            certificates.certificate("prometheus").display(),
            certificates.key("prometheus").display(),
        );
    }
    Prometheus::configured(Path::new("prometheus"), free_port(), &config, &["--web.enable-lifecycle"])
}

/// Adds a line to a file.
fn append(file: &Path, line: &str) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    std::fs::write(file, text + line).unwrap();
}
