//! The compose files and the images, on a real Docker Engine, with docker-compose 1.29 and with Compose v2: everything comes up
//! healthy, an analysis reaches Prometheus, and a `down` and `up` between the two loses nothing.
//!
//! The images that come from a registry are stand-ins (`tests/stand-ins/Dockerfile`): MariaDB's server stands for MySQL's, and
//! Debian's versions for the ones that are named. **Grafana is left out**: Debian has none. The programs within our own images are
//! those under test, not compiled anew; that the build's stage compiles is tried on the smallest of our crates.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use techsapo_tests::engine::{Compose, Engine, said, script, succeed};
use techsapo_tests::{Process, binaries, repository, wait};

/// Which stand-in is made for which image.
const STAND_INS: [(&str, &str); 8] = [
    ("debian", "debian"),
    ("rust", "rust"),
    ("redis", "redis"),
    ("mysql", "mysql"),
    ("prom/prometheus", "prometheus"),
    ("prom/alertmanager", "alertmanager"),
    ("prom/node-exporter", "node-exporter"),
    ("victoriametrics/victoria-metrics", "victoria-metrics"),
];
/// There is no stand-in for it.
const LEFT_OUT: &str = "grafana";
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
/// Containers that run for good.
const SERVICES: [&str; 8] =
    ["alertmanager", "app", "exporter", "long-term-store", "mysql", "node-exporter", "prometheus", "redis"];
const COUNTED: &str = "sum(techsapo_wallbounce_requests_total)";
/// How long containers may take until they are healthy: they are looked at every 30 s.
const PATIENCE: Duration = Duration::from_secs(240);

/// The images that our files name, each by the name that it has without its tag.
fn images() -> BTreeMap<String, String> {
    let mut found = Vec::new();
    for file in ["docker-compose.yml", "docker/docker-compose.monitoring.yml"] {
        let content: serde_yaml_ng::Value = serde_yaml_ng::from_str(&repository::read(file)).unwrap();
        let services = content["services"].as_mapping().unwrap().values();
        found.extend(services.filter_map(|service| Some(service.get("image")?.as_str()?.to_owned())));
    }
    let dockerfile = repository::read("Dockerfile");
    let bases = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next());
    found.extend(bases.filter(|base| base.contains(':')).map(str::to_owned));
    let mut images = BTreeMap::new();
    for image in found {
        let (name, tag) = image.split_once(':').expect("every image has a tag");
        assert!(
            tag != "latest" && images.get(name).is_none_or(|other| *other == image),
            "{image}: {images:?}"
        );
        images.insert(name.to_owned(), image);
    }
    images
}

/// A copy of the repository, in which secrets and configurations may be made.
struct Checkout(TempDir);

impl Checkout {
    fn new() -> Self {
        // Compose names what it makes after the folder.
        let folder = tempfile::Builder::new().prefix("TechSapo").tempdir().unwrap();
        let mut copy = Command::new("cp");
        copy.current_dir(repository::root()).args(["--archive", "--parents"]).args(NEEDED).arg(folder.path());
        succeed(&mut copy);
        let left_out = format!("services: {{ {LEFT_OUT}: {{ profiles: [left-out] }} }}\n");
        for place in ["docker-compose.override.yml", "docker/left-out.yml"] {
            std::fs::write(folder.path().join(place), &left_out).unwrap();
        }
        Self(folder)
    }

    fn command(&self, engine: &Engine, compose: Compose, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = engine.command(compose, program);
        command.current_dir(self.0.path());
        command
    }

    fn start_script(&self, engine: &Engine) -> Command {
        let script = self.0.path().join("scripts/start-monitoring.sh");
        let mut command = self.command(engine, Compose::Two, script);
        command.env("TECHSAPO_BIN_DIR", binaries::folder());
        command
    }

    fn compose_one(&self, engine: &Engine, arguments: &[&str]) -> String {
        let mut command = self.command(engine, Compose::One, "docker-compose");
        succeed(command.env("TECHSAPO_IMAGE_BINARIES", "prebuilt").args(arguments))
    }
}

/// Service, and state and health as Docker tells them, of every container that runs.
fn containers(engine: &Engine) -> BTreeMap<String, String> {
    let format = r#"{{.Label "com.docker.compose.service"}} {{.Status}}"#;
    let listed = succeed(&mut engine.docker(&["ps", "--format", format]));
    listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, state)| (name.into(), state.into()))
        .collect()
}

fn wait_healthy(engine: &Engine, services: &[&str]) {
    wait::until_within(PATIENCE, "every container is healthy", || {
        let containers = containers(engine);
        assert!(containers.values().all(|state| !state.contains("(unhealthy)")), "{containers:?}");
        let healthy = |name: &&str| containers.get(*name).is_some_and(|state| state.contains("(healthy)"));
        services.iter().all(healthy).then_some(())
    });
}

fn wait_counted(engine: &Engine, analyses: usize) {
    wait::until_within(PATIENCE, &format!("Prometheus has counted {analyses} analyses"), || {
        let query = format!("query={COUNTED}");
        let url = "http://127.0.0.1:9090/api/v1/query";
        let answer = engine.get(url, &["--data-urlencode", &query])?;
        let value = answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().unwrap();
        assert!(value <= analyses as f64, "{value} counted of {analyses}");
        (value == analyses as f64).then_some(())
    });
}

fn generate(engine: &Engine, key: Option<&str>, prompt: &str) -> Option<Value> {
    let body = json!({"prompt": prompt, "task_type": "basic"}).to_string();
    let key = key.map(|key| format!("authorization: Bearer {key}"));
    let mut options = vec!["--header", "content-type: application/json", "--data", &body];
    options.extend(key.iter().flat_map(|key| ["--header", key]));
    engine.get("http://127.0.0.1:4000/api/v1/generate", &options)
}

fn in_container(engine: &Engine, service: &str, command: &[&str]) -> String {
    let filter = format!("label=com.docker.compose.service={service}");
    let id = succeed(&mut engine.docker(&["ps", "--quiet", "--filter", &filter]));
    succeed(engine.docker(&["exec", id.trim()]).args(command)).trim().to_owned()
}

fn audited(engine: &Engine) -> usize {
    let count = "mysql --host=127.0.0.1 --user=techsapo --password=$(cat /run/secrets/mysql-password) --batch \
                 --skip-column-names --execute='SELECT COUNT(*) FROM analyses' techsapo_audit";
    in_container(engine, "mysql", &["sh", "-c", count]).lines().last().unwrap().parse().unwrap()
}

/// What an attacker within a container would meet.
fn assert_confined(engine: &Engine, secrets: &Path) {
    for service in SERVICES {
        let status = in_container(engine, service, &["cat", "/proc/self/status"]);
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().to_owned()
        };
        assert_eq!(
            (field("CapBnd:").as_str(), field("NoNewPrivs:").as_str()),
            ("0000000000000000", "1"),
            "{service}"
        );
        let filter = format!("label=com.docker.compose.service={service}");
        let id = succeed(&mut engine.docker(&["ps", "--quiet", "--filter", &filter]));
        let facts: Value =
            serde_json::from_str(&succeed(&mut engine.docker(&["inspect", id.trim()]))).unwrap();
        let host = &facts[0]["HostConfig"];
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert!(
            host["Memory"].as_u64() > Some(0) && host["PidsLimit"].as_u64() > Some(0),
            "{service}: {host}"
        );
        assert_eq!(host["LogConfig"]["Config"], json!({"max-size": "10m", "max-file": "7"}), "{service}");
        for bindings in host["PortBindings"].as_object().unwrap().values() {
            assert_eq!(bindings[0]["HostIp"], "127.0.0.1", "{service}");
        }
        // Secrets are files: none stands where whoever may look at containers sees it.
        let facts = facts.to_string();
        for secret in ["redis-password", "mysql-password", "mysql-root-password"] {
            let value = std::fs::read_to_string(secrets.join(secret)).unwrap();
            assert!(value.len() > 20 && !facts.contains(&value), "{service} shows {secret}");
        }
    }
    assert_eq!(in_container(engine, "app", &["id", "-u"]), "10001");
}

#[test]
fn the_stack_comes_up_in_containers_and_loses_nothing_between_two_versions_of_compose() {
    let Some(engine) = Engine::start_or_skip("compose") else { return };
    let engine = engine.with_compose_two();
    let archives = script("stand-in-images.sh");
    let images = images();
    for (image, target) in STAND_INS {
        engine.stand_in(Path::new(&archives), target, &images[image]);
    }
    std::thread::scope(|scope| {
        // Meanwhile, for the containers are mostly waited for.
        let build = scope.spawn(|| the_build_compiles(&engine));
        the_stack(&engine);
        build.join().unwrap();
    });
}

/// The stage that compiles, with what a small crate needs: the same steps, for a minute instead of ten.
fn the_build_compiles(engine: &Engine) {
    let mut build = engine.docker(&["build", "--progress=plain", "--target", "build", "--tag", "tried"]);
    build
        .args(["--build-arg", "PROFILE=dev", "--build-arg", "PACKAGES=techsapo-shared"])
        .arg(repository::root());
    let log = succeed(&mut build);
    let compiled = log.matches("Compiling techsapo-shared").count();
    assert_eq!(compiled, 2, "once without its sources, in a layer that is kept, and once with them:\n{log}");
}

fn the_stack(engine: &Engine) {
    let checkout = Checkout::new();
    // Compose v2, by the script: it prepares, builds, starts, asks, and waits until Prometheus has counted.
    let report = succeed(&mut checkout.start_script(engine));
    assert!(report.contains("as containers: docker compose"), "{report}");
    let status = succeed(checkout.start_script(engine).arg("--status"));
    for service in SERVICES {
        let line = status.lines().find(|line| line.split_whitespace().next() == Some(service));
        assert!(
            line.is_some_and(|line| line.contains(" running ") && line.contains(" healthy ")),
            "{service}: {status}"
        );
    }
    assert_confined(engine, &checkout.0.path().join("secrets/compose"));
    assert!(generate(engine, None, "A question without a key").is_none(), "strangers are not answered");
    let key = in_container(engine, "app", &["cat", "/var/lib/techsapo/start-monitoring.key"]);
    let (counted, more) = (1, 5);
    for number in 0..more {
        generate(engine, Some(&key), &format!("How do I roll out change {number} safely?")).unwrap();
    }
    // At once: what was answered a moment ago is in no checkpoint yet, perhaps in no stream.
    succeed(checkout.start_script(engine).arg("--stop"));
    assert!(containers(engine).is_empty());
    assert_eq!(checkout.start_script(engine).arg("--status").output().unwrap().status.code(), Some(3));

    // docker-compose 1.29, as the head of the file says.
    checkout.compose_one(engine, &["up", "-d"]);
    wait_healthy(engine, &SERVICES);
    generate(engine, Some(&key), "Is the same key taken still?").unwrap();
    let all = counted + more + 1;
    wait_counted(engine, all);
    wait::until_true("every analysis is in the audit once", || audited(engine) == all);
    checkout.compose_one(engine, &["down"]);

    the_monitoring_alone(engine, &checkout);
}

/// `docker/docker-compose.monitoring.yml`, beside a Redis and an app that run on the containers' host.
fn the_monitoring_alone(engine: &Engine, checkout: &Checkout) {
    let folder = TempDir::new().unwrap();
    let start = |name: &str, program: &Path, arguments: &[&str]| {
        let mut command = engine.command(Compose::One, program);
        Process::start(name, folder.path(), command.current_dir(folder.path()).args(arguments))
    };
    let _redis = start("redis", Path::new("redis-server"), &["--bind", "127.0.0.1", "--save", ""]);
    let _app = start("app", &binaries::folder().join("techsapo"), &[]);
    let files = ["-f", "docker/docker-compose.monitoring.yml", "-f", "docker/left-out.yml"];
    checkout.compose_one(engine, &[&files[..], &["up", "-d"]].concat());
    wait_healthy(engine, &["alertmanager", "long-term-store", "node-exporter", "prometheus"]);
    let answered = || generate(engine, None, "How do I roll out a change safely?");
    wait::until("the app on the host answers", answered);
    wait_counted(engine, 1);
    let down = checkout.compose_one(engine, &[&files[..], &["down", "-v"]].concat());
    assert!(containers(engine).is_empty(), "{down}");
}

#[test]
fn secrets_are_made_once_and_are_for_their_owner_alone() {
    let checkout = Checkout::new();
    let secrets = checkout.0.path().join("secrets/compose");
    let prepare = || {
        let mut script = Command::new(checkout.0.path().join("scripts/compose-prepare.sh"));
        succeed(script.env_remove("TECHSAPO_COMPOSE_DIR").env("TECHSAPO_GRAFANA_PASSWORD", "chosen"))
    };
    let read = |name: &str| std::fs::read_to_string(secrets.join(name)).unwrap();
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("mysql-password"), "a b/ü@:%\n").unwrap();
    let report = prepare();
    assert!(report.contains("made secrets/compose/redis-password"), "{report}");
    for folder in [&secrets, secrets.parent().unwrap()] {
        assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
    }
    assert_eq!(read("mysql-url"), "mysql://techsapo:a%20b%2f%c3%bc%40%3a%25@mysql:3306/techsapo_audit");
    assert_eq!(read("grafana-admin-password"), "chosen");
    let password = read("redis-password");
    assert!(
        password.len() >= 32
            && read("redis-url").contains(&password)
            && !read("redis-users").contains(&password)
    );
    let configuration =
        |name: &str| std::fs::read_to_string(checkout.0.path().join("run/compose").join(name)).unwrap();
    let targets = configuration("prometheus/prometheus.yml");
    assert!(targets.contains("exporter:10040") && !targets.contains("127.0.0.1:10040"), "{targets}");

    // A receiver's secret comes later, and is found where the container sees it.
    let alerts = checkout.0.path().join("secrets/alertmanager");
    std::fs::create_dir_all(&alerts).unwrap();
    std::fs::write(alerts.join("slack-url"), "https://hooks.example.com/x").unwrap();
    let report = prepare();
    assert!(!report.contains("made "), "what is there stays: {report}");
    assert_eq!(read("redis-password"), password);
    assert!(configuration("alertmanager/alertmanager.yml").contains("'/etc/alertmanager/secrets/slack-url'"));
    assert_eq!(configuration("alertmanager/secrets/slack-url"), "https://hooks.example.com/x");
}

#[test]
fn what_is_missing_is_one_clear_message() {
    let folder = TempDir::new().unwrap();
    let mut script = Command::new(repository::root().join("scripts/start-monitoring.sh"));
    script.args(["--engine", "docker"]).env("TECHSAPO_RUN_DIR", folder.path());
    let output = script.env("DOCKER_HOST", "unix:///nowhere/docker.sock").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("docker is") && text.contains("--engine none"), "{text}");
}

#[test]
fn whatever_the_programs_include_reaches_their_image() {
    let listed = |file: &str, before: &str| -> Vec<String> {
        let text = repository::read(file);
        let rest = text.lines().filter_map(|line| line.strip_prefix(before));
        rest.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned).collect()
    };
    let (copied, sent) = (listed("Dockerfile", "COPY "), listed(".dockerignore", "!"));
    let include = regex::Regex::new(r#"include_(?:str|bytes)!\("([^"]+)"\)"#).unwrap();
    let sources = ["app/src", "exporter/src", "redis-route/src", "shared/src", "tls/src"];
    let mut included = 0;
    for file in sources.iter().flat_map(|folder| repository::files(folder, "rs")) {
        for [name] in include.captures_iter(&repository::read(&file)).map(|captures| captures.extract().1) {
            let path = repository::root().join(&file).parent().unwrap().join(name).canonicalize().unwrap();
            let path = path.strip_prefix(repository::root().canonicalize().unwrap()).unwrap();
            let holds =
                |places: &[String]| places.iter().any(|place| path.starts_with(place.trim_end_matches('/')));
            assert!(holds(&copied) && holds(&sent), "{} includes {}", file.display(), path.display());
            included += 1;
        }
    }
    assert!(included > 5, "{included}");
}
