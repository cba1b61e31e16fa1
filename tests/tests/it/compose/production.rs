//! `docker/production/docker-compose.prod.yml`: three apps behind nginx, everything twice that can be, certificates at both ends of every
//! way, made by the repository's own scripts; its database is MariaDB, for MySQL's own image is not to be had.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use serde_yaml_ng::Mapping;
use techsapo_tests::engine::{Compose, Engine, said, script, succeed};
use techsapo_tests::{Backups, Certificates, binaries, repository, wait};

use super::project::{Checkout, PATIENCE, Project, value_of, wait_counted};

const FILE: &str = "docker/production/docker-compose.prod.yml";
const LEFT_OUT: [&str; 2] = ["grafana-0", "grafana-1"];
/// What ends when it is done.
const ONCE: [&str; 2] = ["keys", "migrate"];
/// What the world calls it.
const SITE: &str = "techsapo.example.com";
/// After so many looks at an empty network that Docker does not remove, it will not.
const MISCOUNTED: u32 = 5;
/// Addresses of the compose file, by the names in certificates: what this host asks, and what its backups do.
const HOSTS: [(&str, &str); 8] = [
    ("10.213.42.10", "redis-0"),
    ("10.213.42.11", "redis-1"),
    ("10.213.42.20", "mysql"),
    ("10.213.43.10", "long-term-store"),
    ("10.213.43.40", "exporter-0"),
    ("10.213.43.41", "exporter-1"),
    ("10.213.43.50", "prometheus-0"),
    ("10.213.43.51", "prometheus-1"),
];
const KINDS: [&str; 5] = ["redis", "audit", "config", "metrics", "long-term"];

/// A copy of the repository with secrets, configurations and certificates, made as docs/operations.md says.
pub(super) struct Prepared {
    checkout: Checkout,
    certificates: Certificates,
}

impl Prepared {
    pub(super) fn new() -> Self {
        let (checkout, certificates) = (Checkout::new(), Certificates::new());
        checkout.leave_out("docker/production/left-out.yml", &LEFT_OUT);
        for program in ["techsapo", "techsapo-exporter"] {
            std::fs::copy(binaries::folder().join(program), checkout.path("docker/prebuilt").join(program))
                .unwrap();
        }
        certificates.make(&["issue", "techsapo", SITE]);
        let mut prepare = Command::new(checkout.path("scripts/production-prepare.sh"));
        prepare.env_remove("TECHSAPO_PRODUCTION_DIR").env("TECHSAPO_TLS_DIR", certificates.folder());
        prepare.env("TECHSAPO_PUBLIC_CERTIFICATE", certificates.certificate("techsapo"));
        succeed(prepare.env("TECHSAPO_PUBLIC_KEY", certificates.key("techsapo")));
        Self { checkout, certificates }
    }

    fn secret(&self, name: &str) -> PathBuf {
        self.checkout.path("secrets/production").join(name)
    }

    fn compose(&self, engine: &Engine, version: Compose, arguments: &[&str]) -> Command {
        let files = ["-f", FILE, "-f", "docker/production/left-out.yml"];
        let mut command = self.checkout.compose(engine, version, &[&files[..], arguments].concat());
        // Another Node Exporter has this host's 127.0.0.1:9100.
        command.env("TECHSAPO_PORT_NODE_EXPORTER", "9101");
        command
    }
}

/// The stack, while it runs.
struct Stack<'a> {
    prepared: &'a Prepared,
    engine: &'a Engine,
    project: Project<'a>,
    services: Vec<String>,
}

impl<'a> Stack<'a> {
    fn start(engine: &'a Engine, prepared: &'a Prepared) -> Self {
        let file: Mapping = serde_yaml_ng::from_str(&repository::read(FILE)).unwrap();
        let services = file["services"].as_mapping().unwrap().keys().map(|name| name.as_str().unwrap());
        let services = services.filter(|name| !ONCE.contains(name) && !LEFT_OUT.contains(name));
        let project = Project::of(engine, &prepared.checkout.path("docker/production"));
        let stack = Self { prepared, engine, project, services: services.map(str::to_owned).collect() };
        // The other stack's images are the very same ones: nothing of them is made a second time.
        wait::until_within(PATIENCE, "the images are there", || {
            let inspect = ["image", "inspect", "techsapo/app:0.1.0", "techsapo/exporter:0.1.0"];
            engine.docker(&inspect).output().unwrap().status.success().then_some(())
        });
        succeed(&mut prepared.compose(engine, Compose::Two, &["build"]));
        stack.up(Compose::Two);
        stack
    }

    fn up(&self, version: Compose) {
        succeed(&mut self.prepared.compose(self.engine, version, &["up", "-d"]));
        self.project.wait_healthy(&self.services());
    }

    fn down(&self, version: Compose) {
        let mut miscounted = 0;
        wait::until_within(PATIENCE, "the stack is down", || {
            let output = self.prepared.compose(self.engine, version, &["down"]).output().unwrap();
            if output.status.success() {
                return Some(());
            }
            assert!(said(&output).contains("has active endpoints"), "{}", said(&output));
            // Or Docker counts endpoints in a network that by its own list has none, which ends with its daemon. There is nothing
            // of the stack in it, and who comes up next is given the same network.
            let is_empty = !self.project.free_networks() && self.project.containers().is_empty();
            miscounted += u32::from(is_empty);
            (miscounted == MISCOUNTED).then(|| eprintln!("Docker does not remove a network that is empty"))
        });
        assert!(self.project.containers().is_empty());
    }

    fn services(&self) -> Vec<&str> {
        self.services.iter().map(String::as_str).collect()
    }

    /// What nginx shows the world.
    fn shown(&self, path: &str, key: &str, more: &[&str]) -> Option<Value> {
        let authority = self.prepared.certificates.authority().display().to_string();
        let (resolve, key) = (format!("{SITE}:443:127.0.0.1"), format!("authorization: Bearer {key}"));
        let options = ["--cacert", &authority, "--resolve", &resolve, "--header", &key];
        self.engine.get(&format!("https://{SITE}{path}"), &[&options[..], more].concat())
    }

    fn generate(&self, key: &str, prompt: &str) -> Option<Value> {
        let body = json!({"prompt": prompt, "task_type": "basic"}).to_string();
        self.shown("/api/v1/generate", key, &["--header", "content-type: application/json", "--data", &body])
    }

    /// A new key, once every app that nginx asks has read the file that all have in common.
    fn new_key(&self) -> String {
        let make = ["techsapo", "keys", "create", "--name", "me", "--tier", "premium"];
        let key = self.project.in_container("app-0", &make).lines().next().unwrap().to_owned();
        // Of five requests one app gets three, the other two.
        let known = || (0..5).all(|_| self.shown("/api/v1/health", &key, &[]).is_some());
        wait::until_true("the apps know the key", known);
        key
    }

    /// What a part says to who shows a certificate.
    fn ask(&self, host: &str, port: &str, path: &str, more: &[&str]) -> Option<Value> {
        let certificates = &self.prepared.certificates;
        let [authority, certificate, key] =
            [certificates.authority(), certificates.certificate("backup"), certificates.key("backup")]
                .map(|path| path.display().to_string());
        let address = HOSTS.iter().find(|(_, name)| *name == host).unwrap().0;
        let resolve = format!("{host}:{port}:{address}");
        let options = ["--cacert", &authority, "--cert", &certificate, "--key", &key, "--resolve", &resolve];
        self.engine.get(&format!("https://{host}:{port}{path}"), &[&options[..], more].concat())
    }

    fn query(&self, prometheus: &str, expression: &str) -> Option<Value> {
        let expression = format!("query={expression}");
        self.ask(prometheus, "9090", "/api/v1/query", &["--data-urlencode", &expression])
    }

    /// Both Prometheus have counted so many, never more, and no counter ever began anew; the audit has as many.
    fn assert_exact(&self, analyses: usize) {
        for prometheus in ["prometheus-0", "prometheus-1"] {
            wait_counted(analyses, |expression| self.query(prometheus, expression));
            let resets = "sum(resets(techsapo_wallbounce_requests_total[1h]))";
            assert_eq!(value_of(&self.query(prometheus, resets).unwrap()), Some(0.0), "{prometheus}");
        }
        wait::until_true("every analysis is in the audit once", || self.audited() == analyses);
    }

    fn audited(&self) -> usize {
        let count = "MYSQL_PWD=$(cat /run/secrets/mysql-root-password) mysql --socket=/var/run/mysqld/mysqld.sock --user=root \
                     --batch --skip-column-names --execute='SELECT COUNT(*) FROM analyses' techsapo_audit";
        self.project.in_container("mysql", &["sh", "-c", count]).lines().last().unwrap().parse().unwrap()
    }

    /// The exporter that holds the state.
    fn holder(&self) -> Option<&'static str> {
        let ready = |exporter: &&str| self.ask(exporter, "10040", "/-/ready", &[]).is_some();
        ["exporter-0", "exporter-1"].into_iter().find(ready)
    }

    /// It dies as by a crash: the other takes over, and Docker starts it again.
    fn kill_the_holder(&self) {
        let holder = wait::until("an exporter holds the state", || self.holder());
        let id = self.project.id(holder);
        self.engine.kill_9(&id);
        wait::until("the other exporter holds the state", || self.holder().filter(|other| *other != holder));
        let restarts =
            || succeed(&mut self.engine.docker(&["inspect", "--format", "{{.RestartCount}}", &id]));
        wait::until_true("Docker has started it again", || restarts().trim() != "0");
    }

    /// From the host, on the settings that are delivered for it.
    fn back_up(&self, analyses: usize) {
        let folder = tempfile::TempDir::new().unwrap();
        let [hosts, settings] = ["hosts", "backup.conf"].map(|name| folder.path().join(name));
        let lines: String = HOSTS.iter().map(|(address, name)| format!("{address} {name}\n")).collect();
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{lines}")).unwrap();
        let checkout = self.prepared.checkout.path("").display().to_string();
        let delivered = repository::read("docker/production/backup.conf.example")
            .replace("/opt/techsapo", checkout.trim_end_matches('/'))
            .replace("/etc/ssl/techsapo", &self.prepared.certificates.folder().display().to_string())
            .replace("/var/lib/docker", &self.engine.data().display().to_string());
        std::fs::write(&settings, delivered).unwrap();
        let mut backups = Backups::new().by(self.engine.on_the_host(&hosts));
        backups.certificates(&self.prepared.certificates.folder());
        backups.unset("RETRY_AFTER");
        let settings = ["--settings", settings.to_str().unwrap()];
        let said = backups.succeed("backup.sh", &settings);
        assert!(said.contains(&format!("analyses {analyses}")), "{said}");
        // A Prometheus that reads what this one wrote.
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", script("later-prometheus.sh"));
        let said = succeed(backups.script("verify-backup.sh", &settings).env("PATH", path));
        for kind in KINDS {
            assert!(said.contains(&format!("{kind:10} restored from")), "{kind}: {said}");
        }
    }
}

/// Where the other stack runs as well.
pub(super) fn runs(engine: &Engine, prepared: &Prepared) {
    let stack = Stack::start(engine, prepared);
    let secrets = std::fs::read_dir(prepared.secret("")).unwrap().map(|entry| entry.unwrap().path());
    let secrets: Vec<_> = secrets.filter(|path| path.to_string_lossy().ends_with("-password")).collect();
    assert!(secrets.len() > 10, "{secrets:?}");
    stack.project.assert_confined(&stack.services(), &["nginx"], &secrets);

    let key = stack.new_key();
    assert!(stack.generate("nobody's", "A question without a key").is_none(), "strangers are not answered");
    let mut asked = 0;
    let mut ask = |count: usize| {
        for _ in 0..count {
            asked += 1;
            stack.generate(&key, &format!("How do I roll out change {asked} safely?")).expect("an answer");
        }
        asked
    };
    stack.assert_exact(ask(6));
    stack.kill_the_holder();
    stack.assert_exact(ask(2));
    ask(3);
    // At once: what was answered a moment ago is in no checkpoint yet, perhaps in no stream.
    stack.down(Compose::Two);
    stack.up(Compose::One);
    let all = ask(1);
    stack.assert_exact(all);
    stack.back_up(all);
    stack.down(Compose::One);
}
