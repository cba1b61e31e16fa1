//! A copy of the repository, and what Compose runs of it on an engine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use techsapo_tests::engine::{Compose, Engine, succeed};
use techsapo_tests::{repository, wait};

/// What of the repository the images and the compose files are made of.
const NEEDED: [&str; 17] = [
    ".dockerignore",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "alertmanager",
    "app",
    "config",
    "docker",
    "docker-compose.yml",
    "exporter",
    "grafana",
    "prometheus",
    "redis-route",
    "scripts",
    "shared",
    "tests/Cargo.toml",
    "tls",
];
/// How long containers may take until they are healthy: they are looked at every 30 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
const COUNTED: &str = "sum(techsapo_wallbounce_requests_total)";

/// A copy of the repository, in which secrets and configurations may be made.
pub(super) struct Checkout(TempDir);

impl Checkout {
    pub(super) fn new() -> Self {
        // Compose names what it makes after the folder.
        let folder = tempfile::Builder::new().prefix("TechSapo").tempdir().unwrap();
        let mut copy = Command::new("cp");
        copy.current_dir(repository::root()).args(["--archive", "--parents"]).args(NEEDED).arg(folder.path());
        succeed(&mut copy);
        Self(folder)
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// A file beside a compose file: these services, for which there is no stand-in, are not started.
    pub(super) fn leave_out(&self, file: &str, services: &[&str]) {
        let services: Vec<_> =
            services.iter().map(|name| format!("{name}: {{ profiles: [left-out] }}")).collect();
        std::fs::write(self.path(file), format!("services: {{ {} }}\n", services.join(", "))).unwrap();
    }

    pub(super) fn command(&self, engine: &Engine, compose: Compose, program: impl AsRef<OsStr>) -> Command {
        let mut command = engine.command(compose, program);
        command.current_dir(self.0.path());
        command
    }

    /// Compose, in one of its versions, with the programs that are built already.
    pub(super) fn compose(&self, engine: &Engine, version: Compose, arguments: &[&str]) -> Command {
        let mut command = match version {
            Compose::One => self.command(engine, version, "docker-compose"),
            Compose::Two => {
                let mut docker = self.command(engine, version, "docker");
                docker.arg("compose");
                docker
            }
        };
        command.env("TECHSAPO_IMAGE_BINARIES", "prebuilt").args(arguments);
        command
    }
}

/// The containers of one of Compose's projects.
pub(super) struct Project<'a> {
    pub(super) engine: &'a Engine,
    name: String,
}

impl<'a> Project<'a> {
    /// As Compose names it after its folder.
    pub(super) fn of(engine: &'a Engine, folder: &Path) -> Self {
        Self { engine, name: folder.file_name().unwrap().to_string_lossy().to_lowercase() }
    }

    /// What `docker ps` tells of each container that runs, and of no other project's.
    fn list(&self, format: &str, more: &[&str]) -> String {
        let project = format!("label=com.docker.compose.project={}", self.name);
        succeed(self.engine.docker(&["ps", "--format", format, "--filter", &project]).args(more))
    }

    /// Service, and state and health as Docker tells them.
    pub(super) fn containers(&self) -> BTreeMap<String, String> {
        let listed = self.list(r#"{{.Label "com.docker.compose.service"}} {{.Status}}"#, &[]);
        let pairs = listed.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(name, state)| (name.into(), state.into())).collect()
    }

    pub(super) fn id(&self, service: &str) -> String {
        let filter = format!("label=com.docker.compose.service={service}");
        self.list("{{.ID}}", &["--filter", &filter]).trim().to_owned()
    }

    pub(super) fn wait_healthy(&self, services: &[&str]) {
        wait::until_within(PATIENCE, "every container is healthy", || {
            let containers = self.containers();
            assert!(containers.values().all(|state| !state.contains("(unhealthy)")), "{containers:?}");
            let healthy =
                |name: &&str| containers.get(*name).is_some_and(|state| state.contains("(healthy)"));
            services.iter().all(healthy).then_some(())
        });
    }

    pub(super) fn in_container(&self, service: &str, command: &[&str]) -> String {
        succeed(self.engine.docker(&["exec", &self.id(service)]).args(command)).trim().to_owned()
    }

    /// Takes out of the networks what Docker left there: under load it can forget to, of a container that it started again after a crash.
    /// Says whether there was anything.
    pub(super) fn free_networks(&self) -> bool {
        let mut any = false;
        let project = format!("label=com.docker.compose.project={}", self.name);
        let list = ["network", "ls", "--filter", &project, "--format", "{{.Name}}"];
        for network in succeed(&mut self.engine.docker(&list)).lines() {
            let left = ["network", "inspect", "--format", "{{range .Containers}}{{.Name}} {{end}}", network];
            for endpoint in succeed(&mut self.engine.docker(&left)).split_whitespace() {
                eprintln!("{endpoint} is left in {network}");
                succeed(&mut self.engine.docker(&["network", "disconnect", "--force", network, endpoint]));
                any = true;
            }
        }
        any
    }

    /// What an attacker within a container would meet, and who looks at it from outside: none of these secrets. The world reaches
    /// the services in `open` alone.
    pub(super) fn assert_confined(&self, services: &[&str], open: &[&str], secrets: &[PathBuf]) {
        for service in services {
            let status = self.in_container(service, &["cat", "/proc/self/status"]);
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.trim().to_owned()
            };
            assert_eq!(
                (field("CapBnd:").as_str(), field("NoNewPrivs:").as_str()),
                ("0000000000000000", "1"),
                "{service}"
            );
            let facts = succeed(&mut self.engine.docker(&["inspect", &self.id(service)]));
            let inspected: Value = serde_json::from_str(&facts).unwrap();
            let host = &inspected[0]["HostConfig"];
            assert_eq!(host["ReadonlyRootfs"], true, "{service}");
            assert!(
                host["Memory"].as_u64() > Some(0) && host["PidsLimit"].as_u64() > Some(0),
                "{service}: {host}"
            );
            assert_eq!(host["LogConfig"]["Config"], json!({"max-size": "10m", "max-file": "7"}), "{service}");
            for bindings in host["PortBindings"].as_object().unwrap().values() {
                assert!(
                    bindings[0]["HostIp"] == "127.0.0.1" || open.contains(service),
                    "{service}: {bindings}"
                );
            }
            // Secrets are files: none stands where whoever may look at containers sees it.
            for secret in secrets {
                let value = std::fs::read_to_string(secret).unwrap();
                assert!(value.len() > 20 && !facts.contains(&value), "{service} shows {}", secret.display());
            }
        }
    }
}

/// Waits until a Prometheus has counted so many analyses; it never counts more. `query` asks it.
pub(super) fn wait_counted(analyses: usize, query: impl Fn(&str) -> Option<Value>) {
    wait::until_within(PATIENCE, &format!("Prometheus has counted {analyses} analyses"), || {
        let value = value_of(&query(COUNTED)?)?;
        assert!(value <= analyses as f64, "{value} counted of {analyses}");
        (value == analyses as f64).then_some(())
    });
}

/// The value of a query with one element.
pub(super) fn value_of(answer: &Value) -> Option<f64> {
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}
