//! `docker/production/docker-compose.prod.yml` and the files that it mounts, held against one another without a container engine:
//! valid for both versions of Compose, confined, and nothing named that nobody makes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml_ng::{Mapping, Value};
use techsapo_tests::authority::replace_file;
use techsapo_tests::engine::{script, succeed};
use techsapo_tests::repository;
use tempfile::TempDir;

const FILE: &str = "docker/production/docker-compose.prod.yml";
/// What ends when it is done.
const ONCE: [&str; 2] = ["keys", "migrate"];
/// What is there more than once.
const SEVERAL: [(&str, usize); 8] = [
    ("alertmanager", 3),
    ("app", 3),
    ("exporter", 2),
    ("grafana", 2),
    ("nginx", 1),
    ("prometheus", 2),
    ("redis", 2),
    ("sentinel", 3),
];
const LEAVES: [&str; 12] = [
    "alertmanager",
    "app",
    "backup",
    "exporter",
    "gate",
    "grafana",
    "long-term-store",
    "mysql",
    "nginx",
    "node-exporter",
    "prometheus",
    "redis",
];

/// A copy of what is needed, in which `scripts/production-prepare.sh` has made what is missing.
pub(super) struct Prepared(TempDir);

impl Prepared {
    /// With files that stand for certificates.
    fn new() -> Self {
        Self::with(|folder| {
            for name in LEAVES.iter().chain(&["ca", "public"]) {
                std::fs::write(folder.join(format!("{name}.crt")), format!("certificate of {name}")).unwrap();
                std::fs::write(folder.join(format!("{name}.key")), format!("key of {name}")).unwrap();
            }
        })
    }

    /// With certificates: one that bears all these names is everybody's.
    pub(super) fn certified(names: &[&str]) -> Self {
        Self::with(|folder| {
            let names: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
            let names = format!("subjectAltName={}", names.join(","));
            let authority = ["req", "-x509", "-days", "1", "-out", "ca.crt", "-keyout", "ca.key"];
            openssl(folder, &[&authority[..], &NEW_KEY].concat());
            let request = ["req", "-out", "leaf.csr", "-keyout", "leaf.key", "-addext", &names];
            openssl(folder, &[&request[..], &NEW_KEY].concat());
            sign_for_all(folder);
        })
    }

    /// Gives everybody a new certificate, with the key of the one before.
    pub(super) fn renew(&self) {
        sign_for_all(&self.path("tls"));
    }

    fn with(make_certificates: impl FnOnce(&Path)) -> Self {
        let prepared = Self(TempDir::new().unwrap());
        let mut copy = Command::new("cp");
        copy.current_dir(repository::root()).args(["--archive", "--parents"]);
        succeed(
            copy.args(["alertmanager", "config", "docker", "grafana", "prometheus", "scripts"])
                .arg(prepared.path("")),
        );
        std::fs::create_dir(prepared.path("tls")).unwrap();
        make_certificates(&prepared.path("tls"));
        prepared.prepare();
        prepared
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    pub(super) fn read(&self, below: &str) -> String {
        std::fs::read_to_string(self.path(below)).unwrap_or_else(|error| panic!("{below}: {error}"))
    }

    fn prepare(&self) -> String {
        let mut script = Command::new(self.path("scripts/production-prepare.sh"));
        script.env_remove("TECHSAPO_PRODUCTION_DIR").env("TECHSAPO_TLS_DIR", self.path("tls"));
        script.env("TECHSAPO_PUBLIC_CERTIFICATE", self.path("tls/public.crt"));
        succeed(script.env("TECHSAPO_PUBLIC_KEY", self.path("tls/public.key")))
    }

    /// What this Compose makes of the file.
    fn resolved(&self, compose: &Path) -> Mapping {
        let mut command = Command::new(compose);
        let text = succeed(command.arg("-f").arg(self.path(FILE)).arg("config"));
        serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

const NEW_KEY: [&str; 7] =
    ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=techsapo"];

fn openssl(folder: &Path, arguments: &[&str]) {
    succeed(Command::new("openssl").current_dir(folder).args(arguments));
}

/// Has the authority in `folder` sign what was asked for, puts it in everybody's place, each file in one step.
fn sign_for_all(folder: &Path) {
    let sign =
        ["x509", "-req", "-in", "leaf.csr", "-out", "leaf.crt", "-days", "1", "-copy_extensions", "copy"];
    openssl(folder, &[&sign[..], &["-CA", "ca.crt", "-CAkey", "ca.key"]].concat());
    for name in LEAVES.iter().chain(&["public"]) {
        for kind in ["key", "crt"] {
            let content = std::fs::read(folder.join(format!("leaf.{kind}"))).unwrap();
            replace_file(&folder.join(format!("{name}.{kind}")), &content);
        }
    }
}

fn services(file: &Mapping) -> Vec<(&str, &Value)> {
    let services = file["services"].as_mapping().unwrap();
    services.iter().map(|(name, service)| (name.as_str().unwrap(), service)).collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_sequence()
        .into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn both_versions_of_compose_take_the_file_and_every_container_is_confined() {
    let prepared = Prepared::new();
    let two = Path::new(&script("later-compose.sh")).join("docker-compose");
    for compose in [Path::new("docker-compose"), &two] {
        let file = prepared.resolved(compose);
        for (name, count) in SEVERAL {
            let alike = services(&file).into_iter().filter(|(service, _)| {
                *service == name
                    || service
                        .strip_prefix(name)
                        .is_some_and(|rest| rest.trim_start_matches('-').parse::<u8>().is_ok())
            });
            assert_eq!(alike.count(), count, "{name}");
        }
        for (name, service) in services(&file) {
            assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
            assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
            assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
            assert!(!service["mem_limit"].is_null() && !service["pids_limit"].is_null(), "{name}");
            let log = &service["logging"]["options"];
            assert_eq!(
                (log["max-size"].as_str(), log["max-file"].as_str()),
                (Some("10m"), Some("7")),
                "{name}"
            );
            let image = service["image"].as_str().unwrap();
            assert!(image.contains(':') && !image.ends_with(":latest"), "{image}");
            let health = &service["healthcheck"];
            let looked_at = health["disable"].as_bool() != Some(true) && !texts(&health["test"]).is_empty();
            let looked_at = looked_at && texts(&health["test"]) != ["NONE"];
            assert_eq!(looked_at, !ONCE.contains(&name), "{name}: {health:?}");
            let ports = service["ports"].as_sequence().map(Vec::len).unwrap_or_default();
            assert_eq!(ports, if name == "nginx" { 3 } else { 0 }, "{name}");
        }
    }
}

#[test]
fn whatever_is_mounted_is_there_and_each_service_has_its_own_key_alone() {
    let prepared = Prepared::new();
    let file = prepared.resolved(Path::new("docker-compose"));
    for secret in file["secrets"].as_mapping().unwrap().values() {
        let path = secret["file"].as_str().unwrap();
        assert!(Path::new(path).is_file(), "nobody makes {path}");
    }
    let mut seen = BTreeSet::new();
    for (name, service) in services(&file) {
        for volume in service["volumes"].as_sequence().into_iter().flatten() {
            let source = volume.as_str().map(|text| text.split(':').next().unwrap().to_owned());
            let source = source.unwrap_or_else(|| volume["source"].as_str().unwrap_or_default().to_owned());
            if let Some(below) = source.strip_prefix(&prepared.path("").display().to_string()) {
                assert!(Path::new(&source).exists(), "{name} mounts {source}, which nobody makes");
                seen.insert(below.trim_start_matches('/').to_owned());
            }
        }
    }
    let keys = |service: &str| -> BTreeSet<String> {
        let folder = std::fs::read_dir(prepared.path(&format!("run/production/tls/{service}"))).unwrap();
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".key")).collect()
    };
    // The backup's is for this host alone.
    for service in LEAVES.iter().filter(|name| !["backup", "gate", "long-term-store"].contains(name)) {
        assert!(seen.contains(&format!("run/production/tls/{service}")), "{service}: {seen:?}");
        assert_eq!(keys(service), BTreeSet::from([format!("{service}.key")]));
    }
    let of_the_gate = ["gate.key", "grafana.key", "long-term-store.key"];
    assert_eq!(keys("gate"), of_the_gate.map(str::to_owned).into());
    assert_eq!(prepared.read("run/production/tls/public/private/techsapo.key"), "key of public");
}

#[test]
fn secrets_stay_and_configurations_follow() {
    let prepared = Prepared::new();
    let names = ["redis-password", "redis-users", "redis-1", "sentinel-2", "mysql-url", "grafana-secret-key"];
    let before = names.map(|name| prepared.read(&format!("secrets/production/{name}")));
    std::fs::write(prepared.path("tls/redis.crt"), "a new certificate").unwrap();
    assert!(!prepared.prepare().contains("made "), "what is there stays");
    assert_eq!(names.map(|name| prepared.read(&format!("secrets/production/{name}"))), before);
    assert_eq!(prepared.read("run/production/tls/redis/redis.crt"), "a new certificate");
    let password = &before[0];
    assert!(!before[1].contains(password.as_str()), "Redis' list of users holds digests alone");
    assert!(
        before[2].contains("replicaof redis-0 6379") && before[2].contains("replica-announce-ip redis-1")
    );
    assert!(before[3].contains("sentinel announce-ip sentinel-2"));
    assert!(!prepared.read("secrets/production/redis-0").contains("\nreplicaof"));
    for (number, other) in [(0, 1), (1, 0)] {
        let file = format!("run/production/prometheus-{number}/prometheus.yml");
        let text = prepared.read(&file);
        assert!(
            text.contains(&format!("replica: \"{number}\""))
                && !text.contains(&format!("replica: \"{other}\""))
        );
        succeed(
            Command::new("promtool").args(["check", "config", "--syntax-only"]).arg(prepared.path(&file)),
        );
    }
}

#[test]
fn production_is_scraped_as_one_host_is_but_for_tls_and_for_who_is_scraped() {
    let plain: Mapping = serde_yaml_ng::from_str(&repository::read("prometheus/prometheus.yml")).unwrap();
    let mut production: Mapping =
        serde_yaml_ng::from_str(&repository::read("docker/production/prometheus.yml")).unwrap();
    let jobs = production["scrape_configs"].as_sequence_mut().unwrap();
    jobs.retain(|job| job["job_name"].as_str() != Some("grafana"));
    for job in jobs.iter() {
        assert_eq!(job["scheme"].as_str(), Some("https"), "{job:?}");
        assert_eq!(job["tls_config"]["min_version"].as_str(), Some("TLS13"), "{job:?}");
    }
    assert!(production["remote_write"][0]["url"].as_str().unwrap().starts_with("https://"));
    assert_eq!(without_places(Value::Mapping(production)), without_places(Value::Mapping(plain)));
}

/// A configuration without addresses and TLS.
fn without_places(value: Value) -> Value {
    match value {
        Value::Mapping(mapping) => {
            let kept = mapping.into_iter().filter(|(key, _)| {
                !["scheme", "tls_config", "static_configs", "url"].contains(&key.as_str().unwrap_or_default())
            });
            Value::Mapping(kept.map(|(key, value)| (key, without_places(value))).collect())
        }
        Value::Sequence(list) => Value::Sequence(list.into_iter().map(without_places).collect()),
        other => other,
    }
}
