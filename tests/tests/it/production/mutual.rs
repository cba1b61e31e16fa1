//! Redis, its sentinels and the monitoring on production's own configurations, names and ports, with certificates and users: in a network
//! of this test's own instead of containers.

use std::path::Path;
use std::process::Command;

use techsapo_tests::engine::succeed;
use techsapo_tests::{Namespace, Process, binaries, wait};

use super::compose::Prepared;

/// As in the compose file.
pub(super) const DATA: [(&str, &str); 5] = [
    ("10.213.42.10", "redis-0"),
    ("10.213.42.11", "redis-1"),
    ("10.213.42.12", "sentinel-0"),
    ("10.213.42.13", "sentinel-1"),
    ("10.213.42.14", "sentinel-2"),
];
pub(super) const SENTINELS: [&str; 3] = ["sentinel-0", "sentinel-1", "sentinel-2"];
pub(super) const MONITORING: [(&str, &str); 12] = [
    ("10.213.43.10", "gate long-term-store grafana exporter prometheus alertmanager"),
    ("10.213.43.11", "node-exporter"),
    ("10.213.44.20", "victoria-metrics"),
    ("10.213.43.30", "grafana-0"),
    ("10.213.43.31", "grafana-1"),
    ("10.213.43.40", "exporter-0"),
    ("10.213.43.41", "exporter-1"),
    ("10.213.43.50", "prometheus-0"),
    ("10.213.43.51", "prometheus-1"),
    ("10.213.43.60", "alertmanager-0"),
    ("10.213.43.61", "alertmanager-1"),
    ("10.213.43.62", "alertmanager-2"),
];

/// The database, nginx and the apps, besides; of the latter one runs.
const SERVICE: [(&str, &str); 5] = [
    ("10.213.42.20", "mysql"),
    ("10.213.41.10", "nginx"),
    ("10.213.41.20", "app-0"),
    ("10.213.41.21", "app-1"),
    ("10.213.41.22", "app-2"),
];
const EXPORTERS: [&str; 2] = ["10.213.43.40:10040", "10.213.43.41:10040"];

/// With a certificate for every name that is used in production, whoever runs.
pub(super) fn certified() -> Prepared {
    let hosts = [&DATA[..], &MONITORING, &SERVICE].concat();
    let names = hosts.iter().flat_map(|(_, names)| names.split(' ')).chain(["app", "backup", "localhost"]);
    Prepared::certified(&names.collect::<Vec<_>>())
}

/// Redis servers and sentinels, each on the configuration that it keeps.
pub(super) struct Data {
    pub(super) prepared: Prepared,
    pub(super) place: Namespace,
}

impl Data {
    /// A network with these hosts, and certificates for all; nothing where there can be none.
    pub(super) fn prepare_or_skip(test: &str, hosts: &[(&str, &str)]) -> Option<Self> {
        let prepared = certified();
        let place = Namespace::start_or_skip(test, hosts, &prepared.path("tls"))?;
        Some(Self { prepared, place })
    }

    /// Starts one, as its container does: what it was told first is kept, with what it learned.
    pub(super) fn start(&self, name: &str, address: &str) -> Process {
        let own = self.place.folder().join(name);
        let kept = own.join("kept.conf");
        if !kept.exists() {
            std::fs::create_dir(&own).unwrap();
            let told = self.prepared.read(&format!("secrets/production/{name}"));
            let secrets = self.prepared.path("secrets/production");
            let told = told.replace("/run/secrets", &secrets.display().to_string());
            // All are on one host here.
            let told = told.replace("dir /data", &format!("dir {}\nbind {address}", own.display()));
            std::fs::write(&kept, told).unwrap();
        }
        let mut arguments = vec![kept.display().to_string()];
        arguments.extend(name.starts_with("sentinel").then(|| "--sentinel".to_owned()));
        self.place.start(name, "redis-server", &arguments)
    }

    /// What a server answers a user.
    pub(super) fn ask(&self, server: &str, user: &str, words: &[&str]) -> String {
        let port = if server.starts_with("sentinel") { "26379" } else { "6379" };
        let secret = match (user, port) {
            ("techsapo", "26379") => "sentinel-password".to_owned(),
            ("techsapo", _) => "redis-password".to_owned(),
            _ => format!("redis-{user}-password"),
        };
        let password = match user {
            "health" => "none".to_owned(),
            _ => self.prepared.read(&format!("secrets/production/{secret}")),
        };
        let tls = "--tls --cacert /etc/ssl/techsapo/ca.crt --cert /etc/ssl/techsapo/redis.crt --key /etc/ssl/techsapo/redis.key";
        let mut arguments: Vec<&str> = vec!["-h", server, "-p", port];
        arguments.extend(tls.split(' '));
        arguments.extend(["--no-auth-warning", "--user", user, "--pass", &password]);
        self.place.ask("redis-cli", &[&arguments[..], words].concat())
    }

    /// Waits until the sentinels know one another and the replica: each of them, for any of them may be the one that leads a failover.
    pub(super) fn wait_known(&self) {
        wait::until_true("the sentinels know one another and the replica", || {
            SENTINELS.iter().all(|sentinel| {
                let known = self.ask(sentinel, "sentinel", &["sentinel", "master", "techsapo"]);
                known.contains("num-slaves\n1") && known.contains("num-other-sentinels\n2")
            })
        });
    }

    pub(super) fn wait_primary(&self, server: &str) {
        // Sentinels whose votes were split try again after twice their timeout, and may have to several times where much else runs.
        let patience = 3 * wait::PATIENCE;
        wait::until_within(patience, &format!("the sentinels name {server}, and it is the primary"), || {
            let named = ["sentinel-1", "sentinel-2"].iter().all(|sentinel| {
                let named =
                    self.ask(sentinel, "techsapo", &["sentinel", "get-master-addr-by-name", "techsapo"]);
                named == format!("{server}\n6379")
            });
            (named && self.ask(server, "techsapo", &["role"]).starts_with("master")).then_some(())
        });
    }
}

#[test]
fn redis_with_certificates_and_users_fails_over_and_remembers_who_is_primary() {
    let Some(data) = Data::prepare_or_skip("production: Redis", &DATA) else { return };
    let start_all = || DATA.map(|(address, name)| data.start(name, address));
    let mut servers = start_all();
    data.wait_known();
    data.wait_primary("redis-0");
    for server in ["redis-0", "sentinel-0"] {
        assert_eq!(data.ask(server, "health", &["ping"]), "PONG");
        let open = data.place.ask(
            "redis-cli",
            &["-h", server, "-p", if server == "redis-0" { "6379" } else { "26379" }, "ping"],
        );
        assert!(!open.contains("PONG"), "without TLS nobody is answered: {open}");
    }
    for refused in [&["set", "other", "1"][..], &["flushall"], &["config", "get", "dir"], &["shutdown"]] {
        assert!(data.ask("redis-0", "techsapo", refused).contains("NOPERM"), "{refused:?}");
    }
    assert!(data.ask("sentinel-0", "techsapo", &["sentinel", "masters"]).contains("NOPERM"));
    assert!(data.ask("redis-0", "health", &["get", "techsapo:x"]).contains("NOPERM"));
    // A renewed certificate is taken in.
    let reload = [
        "config",
        "set",
        "tls-cert-file",
        "/etc/ssl/techsapo/redis.crt",
        "tls-key-file",
        "/etc/ssl/techsapo/redis.key",
    ];
    assert_eq!(data.ask("redis-0", "operator", &reload), "OK");

    data.ask("redis-0", "techsapo", &["xadd", "techsapo:events", "*", "v", "1"]);
    wait::until_true("the replica has it", || {
        data.ask("redis-1", "techsapo", &["xlen", "techsapo:events"]) == "1"
    });
    servers[0].kill_9();
    data.wait_primary("redis-1");
    assert_eq!(data.ask("redis-1", "techsapo", &["xlen", "techsapo:events"]), "1");
    servers[0] = data.start("redis-0", DATA[0].0);
    wait::until_true("the old primary follows the new one", || {
        let role = data.ask("redis-0", "techsapo", &["role"]);
        role.starts_with("slave\nredis-1") && role.contains("connected")
    });
    // All at once, as when the host is started again.
    drop(servers);
    let _servers = start_all();
    data.wait_primary("redis-1");
    assert_eq!(data.ask("redis-1", "techsapo", &["xlen", "techsapo:events"]), "1");
}

/// An nginx on a file that is delivered, at an address of its own: all are on one host here.
fn start_nginx(place: &Namespace, name: &str, file: &str, address: &str) -> Process {
    let own = |name: &str| place.folder().join(name).display().to_string();
    let text = file.replace("/tmp/nginx", &own(name)).replace("127.0.0.1:8081", &format!("{address}:8081"));
    let listen = regex::Regex::new(r"listen (\d+)( ssl|;)").unwrap();
    let text = listen.replace_all(&text, format!("listen {address}:$1$2"));
    let file = own(&format!("{name}.conf"));
    std::fs::write(&file, text.as_bytes()).unwrap();
    let options = ["-p", &own(""), "-c", &file].map(str::to_owned);
    let tested = place.ask("nginx", &[&options.each_ref().map(String::as_str)[..], &["-t"]].concat());
    assert!(tested.contains("successful"), "{tested}");
    place.start(name, "nginx", &[&options[..], &["-g".to_owned(), "daemon off;".to_owned()]].concat())
}

pub(super) fn start_gate(place: &Namespace, prepared: &Prepared) -> Process {
    start_nginx(place, "gate", &prepared.read("docker/production/gate.conf"), "10.213.43.10")
}

/// The way in. What it shows the world is where its certificate for the apps is.
fn start_way_in(place: &Namespace, prepared: &Prepared) -> Process {
    let file = prepared.read("docker/production/nginx.conf");
    let file = file.replace("/etc/ssl/certs/techsapo.crt", "/etc/ssl/techsapo/public.crt");
    let file = file.replace("/etc/ssl/private/techsapo.key", "/etc/ssl/techsapo/public.key");
    start_nginx(place, "way-in", &file, "10.213.41.10")
}

/// Alertmanagers as production starts them.
pub(super) struct Alertmanagers<'a> {
    place: &'a Namespace,
    prepared: &'a Prepared,
}

impl<'a> Alertmanagers<'a> {
    pub(super) fn of(place: &'a Namespace, prepared: &'a Prepared) -> Self {
        let notifying = prepared.read("run/production/alertmanager/alertmanager.yml");
        let templates = prepared.path("alertmanager/templates").display().to_string();
        let notifying = notifying.replace("/etc/techsapo/templates", &templates);
        std::fs::write(place.folder().join("alertmanager.yml"), notifying).unwrap();
        Self { place, prepared }
    }

    pub(super) fn start(&self, number: usize) -> Process {
        let web = self.prepared.path("docker/production/web");
        let tls = web.join("cluster-alertmanager.yml");
        self.joining(&format!("alertmanager-{number}"), &format!("10.213.43.6{number}"), Some(&tls))
    }

    /// One that wants to be of the cluster, from this address, and speaks with the others as the file says; without one, in clear.
    pub(super) fn joining(&self, name: &str, address: &str, tls: Option<&Path>) -> Process {
        let (own, web) = (self.place.folder(), self.prepared.path("docker/production/web"));
        let mut arguments = vec![
            format!("--config.file={}", own.join("alertmanager.yml").display()),
            format!("--storage.path={}", own.join(name).display()),
            format!("--web.config.file={}", web.join("alertmanager.yml").display()),
            format!("--web.listen-address={address}:9093"),
            format!("--cluster.listen-address={address}:9094"),
        ];
        arguments.extend(tls.map(|file| format!("--cluster.tls-config={}", file.display())));
        arguments.extend((0..3).map(|peer| format!("--cluster.peer=alertmanager-{peer}:9094")));
        self.place.start(name, "prometheus-alertmanager", &arguments)
    }
}

#[test]
fn prometheus_and_its_targets_show_one_another_certificates_and_the_gate_leads_to_all() {
    let prepared = certified();
    let certificates = prepared.path("tls");
    let Some(place) = Namespace::start_or_skip("production: monitoring", &MONITORING, &certificates) else {
        return;
    };
    let own = |name: &str| place.folder().join(name).display().to_string();
    let web = |name: &str| prepared.path(&format!("docker/production/web/{name}.yml")).display().to_string();
    let start = |name: &str, program: &str, arguments: &[String]| place.start(name, program, arguments);
    let mut servers = vec![start(
        "victoria-metrics",
        "victoria-metrics",
        &[format!("-storageDataPath={}", own("long-term")), "-httpListenAddr=10.213.44.20:8428".to_owned()],
    )];
    servers.push(start_gate(&place, &prepared));
    servers.push(start(
        "node-exporter",
        "prometheus-node-exporter",
        &[
            format!("--web.config.file={}", web("node-exporter")),
            "--web.listen-address=10.213.43.11:9100".to_owned(),
        ],
    ));
    let cluster = Alertmanagers::of(&place, &prepared);
    servers.extend((0..3).map(|number| cluster.start(number)));
    for number in 0..2 {
        let scraping = prepared.read(&format!("run/production/prometheus-{number}/prometheus.yml"));
        let scraping =
            scraping.replace("/etc/techsapo/rules", &prepared.path("prometheus/rules").display().to_string());
        let scraping =
            scraping.replace("interval: 15s", "interval: 2s").replace("timeout: 10s", "timeout: 2s");
        std::fs::write(own(&format!("prometheus-{number}.yml")), scraping).unwrap();
        let arguments = [
            format!("--config.file={}", own(&format!("prometheus-{number}.yml"))),
            format!("--web.config.file={}", web("prometheus")),
            format!("--web.listen-address=10.213.43.5{number}:9090"),
            format!("--storage.tsdb.path={}", own(&format!("series-{number}"))),
        ];
        servers.push(start(&format!("prometheus-{number}"), "prometheus", &arguments));
    }

    let curl = |certificate: bool, url: &str, more: &[&str]| {
        let mut arguments =
            vec!["--silent", "--noproxy", "*", "--max-time", "5", "--cacert", "/etc/ssl/techsapo/ca.crt"];
        if certificate {
            arguments.extend([
                "--cert",
                "/etc/ssl/techsapo/grafana.crt",
                "--key",
                "/etc/ssl/techsapo/grafana.key",
            ]);
        }
        place.ask("curl", &[&arguments[..], &[url], more].concat())
    };
    let value = |url: &str, query: &str| -> Option<String> {
        let query = format!("query={query}");
        let answer = curl(true, url, &["--data-urlencode", &query]);
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        Some(answer["data"]["result"][0]["value"][1].as_str()?.to_owned())
    };
    // By the gate, as Grafana asks.
    for (job, count) in [("prometheus", "2"), ("alertmanager", "3"), ("long-term-store", "1"), ("node", "1")]
    {
        wait::until_true(&format!("{job} is scraped"), || {
            value("https://prometheus:9090/api/v1/query", &format!("sum(up{{job=\"{job}\"}})")).as_deref()
                == Some(count)
        });
    }
    wait::until_true("the long-term store has what both send, once", || {
        value("https://long-term-store:8428/api/v1/query", "count(ALERTS{alertname=\"Watchdog\"})").as_deref()
            == Some("1")
    });
    wait::until_true("alerts come by the gate", || {
        curl(true, "https://alertmanager:9093/api/v2/alerts", &[]).contains("Watchdog")
    });
    let silence = curl(
        true,
        "https://alertmanager:9093/api/v2/silences",
        &["--request", "POST", "--write-out", "%{http_code}"],
    );
    assert!(silence.ends_with("403"), "the gate passes on questions alone: {silence}");
    for url in [
        "https://long-term-store:8428/metrics",
        "https://prometheus:9090/metrics",
        "https://prometheus-0:9090/metrics",
        "https://alertmanager-0:9093/metrics",
        "https://node-exporter:9100/metrics",
    ] {
        assert!(curl(true, url, &[]).contains("_total"), "{url} with a certificate");
        assert!(!curl(false, url, &[]).contains("_total"), "{url} without one");
    }
    // Grafana's questions go to the other Prometheus.
    servers.retain(|server| server.name() != "prometheus-0");
    wait::until_true("the other Prometheus answers", || {
        value("https://prometheus:9090/api/v1/query", "count(up)").is_some()
    });
}

/// What the compose file tells a program about its certificate.
pub(super) fn with_certificate(command: &mut Command, prefix: &str, name: &str) {
    command.env(format!("{prefix}_TLS_CA_FILE"), "/etc/ssl/techsapo/ca.crt");
    command.env(format!("{prefix}_TLS_CERT_FILE"), format!("/etc/ssl/techsapo/{name}.crt"));
    command.env(format!("{prefix}_TLS_KEY_FILE"), format!("/etc/ssl/techsapo/{name}.key"));
}

/// MariaDB in MySQL's place, with the users that it begins with.
pub(super) fn start_database(place: &Namespace, prepared: &Prepared) -> Process {
    let own = |name: &str| place.folder().join(name).display().to_string();
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    succeed(install.arg(format!("--datadir={}", own("database"))).arg(format!("--tmpdir={}", own(""))));
    let mut options: Vec<String> =
        ["--no-defaults", "--user=root", "--bind-address=10.213.42.20", "--skip-name-resolve"]
            .map(str::to_owned)
            .into();
    options.extend(
        ["--skip-log-bin", "--innodb-buffer-pool-size=16M", "--require-secure-transport=ON"]
            .map(str::to_owned),
    );
    for (option, name) in [("datadir", "database"), ("tmpdir", ""), ("socket", "socket")] {
        options.push(format!("--{option}={}", own(name)));
    }
    for (option, file) in [("ca", "ca.crt"), ("cert", "mysql.crt"), ("key", "mysql.key")] {
        options.push(format!("--ssl-{option}=/etc/ssl/techsapo/{file}"));
    }
    let database = place.start("mariadbd", "mariadbd", &options);
    let users = prepared.read("run/production/mysql/users.sql");
    wait::until_true("the database has its users", || {
        sql(place, &format!("CREATE DATABASE IF NOT EXISTS techsapo_audit; {users}")).is_empty()
    });
    database
}

/// What root's statements select, or what is wrong with them.
pub(super) fn sql(place: &Namespace, statements: &str) -> String {
    let socket = format!("--socket={}", place.folder().join("socket").display());
    let execute = format!("--execute={statements}");
    place.ask(
        "mariadb",
        &["--no-defaults", "--user=root", &socket, "--batch", "--skip-column-names", &execute],
    )
}

#[test]
fn facts_reach_the_page_and_the_audit_with_a_certificate_at_both_ends_of_every_way() {
    let hosts = [&DATA[..], &MONITORING, &SERVICE].concat();
    let prepared = certified();
    let certificates = prepared.path("tls");
    let Some(place) = Namespace::start_or_skip("production: facts", &hosts, &certificates) else { return };
    let data = Data { prepared, place };
    let (place, prepared) = (&data.place, &data.prepared);
    let _servers = DATA.map(|(address, name)| data.start(name, address));
    let _database = start_database(place, prepared);
    let _gate = start_gate(place, prepared);
    let _way_in = start_way_in(place, prepared);
    let own = |name: &str| place.folder().join(name);
    let secret = |name: &str| prepared.path(&format!("secrets/production/{name}"));
    let app = |arguments: &[&str], audit: &str| {
        let mut command = place.command(binaries::folder().join("techsapo"));
        with_certificate(&mut command, "TECHSAPO", "app");
        command.args(arguments).env("TECHSAPO_LISTEN", "10.213.41.20:4000").env("TECHSAPO_INSTANCE", "app-0");
        command
            .env("TECHSAPO_REDIS_URL_FILE", secret("redis-url"))
            .env("TECHSAPO_MYSQL_URL_FILE", secret(audit));
        command.env("TECHSAPO_MYSQL_MIGRATE", "false").env("TECHSAPO_EXPORTER_URL", "https://exporter:10040");
        command.env("TECHSAPO_KEYS_FILE", own("keys.toml")).env("TECHSAPO_AUDIT_KEY_FILE", own("audit.key"));
        command.env("TECHSAPO_JOURNAL_DIR", own("journal")).env("TECHSAPO_TLS_LISTEN", "mutual");
        command
    };
    let key = own("monitor.key").display().to_string();
    let make_key =
        ["keys", "create", "--name", "exporter", "--tier", "basic", "--scope", "monitor", "--to", &key];
    succeed(&mut app(&make_key, "mysql-url"));
    let asker = succeed(&mut app(&["keys", "create", "--name", "me", "--tier", "premium"], "mysql-url"));
    let asker = format!("authorization: Bearer {}", asker.lines().next().unwrap());
    succeed(&mut app(&["migrate"], "mysql-owner-url"));
    let _app = Process::start("app", place.folder(), &mut app(&[], "mysql-url"));
    let exporter = |address: &str| {
        let mut command = place.command(binaries::folder().join("techsapo-exporter"));
        with_certificate(&mut command, "TECHSAPO_EXPORTER", "exporter");
        command.env("TECHSAPO_EXPORTER_WEB_CONFIG_FILE", prepared.path("docker/production/web/exporter.yml"));
        command.env("TECHSAPO_EXPORTER_WEB_LISTEN_ADDRESS", address);
        command.env("TECHSAPO_EXPORTER_REDIS_URL_FILE", secret("redis-url"));
        command
            .env("TECHSAPO_EXPORTER_APP_URL", "https://app-0:4000")
            .env("TECHSAPO_EXPORTER_APP_KEY_FILE", &key);
        command.env("TECHSAPO_EXPORTER_CHECKPOINT_DIR", own("state"));
        command
    };
    let curl = |arguments: &[&str]| {
        let always =
            ["--silent", "--noproxy", "*", "--max-time", "10", "--cacert", "/etc/ssl/techsapo/ca.crt"];
        place.ask("curl", &[&always[..], arguments].concat())
    };
    let certificate =
        ["--cert", "/etc/ssl/techsapo/prometheus.crt", "--key", "/etc/ssl/techsapo/prometheus.key"];
    let by_tls = |url: &str| curl(&[&certificate[..], &[url]].concat());
    let mut exporters = Vec::new();
    for (number, address) in EXPORTERS.iter().enumerate() {
        exporters.push(Process::start(&format!("exporter-{number}"), place.folder(), &mut exporter(address)));
        // The first one holds the state.
        let healthy = || exporter(address).arg("healthcheck").output().unwrap().status.success();
        wait::until_true("the exporter is healthy, by its own word", healthy);
    }
    let question = r#"{"prompt": "What is measured?", "task_type": "basic"}"#;
    let json = "content-type: application/json";
    let ask = |url: &str| {
        curl(&["--header", &asker, "--header", json, "--data", question, url, "--fail-with-body"])
    };
    let healthy = || app(&["healthcheck"], "mysql-url").output().unwrap().status.success();
    wait::until_true("the app is healthy, by its own word", healthy);
    // Directly it answers nobody who shows no certificate, and nobody in clear.
    for url in ["https://app-0:4000/api/v1/generate", "http://app-0:4000/api/v1/generate"] {
        let answer = ask(url);
        assert!(!answer.contains("wall_bounce_analysis"), "{url}: {answer}");
    }
    let answer = ask("https://nginx:8443/api/v1/generate");
    assert!(answer.contains("wall_bounce_analysis"), "{answer}");
    let counted = |url: &str| {
        by_tls(url).contains("techsapo_wallbounce_requests_total{task_type=\"basic\",provider=\"Simulated-Gemini\",status=\"success\"} 1")
    };
    wait::until_true("it is counted", || counted("https://exporter-0:10040/metrics"));
    wait::until_true("it is in the audit", || {
        sql(place, "SELECT COUNT(*) FROM techsapo_audit.analyses") == "1"
    });
    wait::until_true("the exporter asks the app how it is", || {
        let up = "techsapo_exporter_app_up{url=\"https://app-0:4000\"} 1";
        by_tls("https://exporter-0:10040/metrics").contains(up)
    });
    assert!(
        !curl(&["https://exporter-0:10040/metrics"]).contains("techsapo"),
        "nobody without a certificate"
    );
    // The app's own user changes no table.
    let grants = sql(place, "SHOW GRANTS FOR techsapo");
    assert!(
        grants.contains("REQUIRE X509") && !grants.contains("ALTER") && !grants.contains("ALL PRIVILEGES"),
        "{grants}"
    );
    // The app sees its figures by the gate, whichever exporter holds the state.
    assert!(counted("https://exporter:10040/metrics"));
    exporters[0].kill_9();
    wait::until_true("the gate leads to the other one", || counted("https://exporter:10040/metrics"));
    let monitor = std::fs::read_to_string(&key).unwrap();
    let monitor = format!("authorization: Bearer {}", monitor.trim());
    let page = curl(&[&certificate[..], &["--header", &monitor, "https://app-0:4000/metrics"]].concat());
    assert!(page.contains("techsapo_wallbounce_requests_total"), "{page}");
}
