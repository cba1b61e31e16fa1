//! The compose files and the images, on a real Docker Engine, with docker-compose 1.29 and with Compose v2: everything comes up
//! healthy, an analysis reaches Prometheus and the audit, and a `down` and `up` between the two loses nothing.
//!
//! The images that come from a registry are stand-ins (`tests/stand-ins/Dockerfile`): MariaDB's server stands for MySQL's, and
//! Debian's versions for the ones that are named. **Grafana is left out**: Debian has none. The programs within our own images are
//! those under test, not compiled anew; that the build's stage compiles is tried on the smallest of our crates.
//!
//! One engine runs both stacks beside one another, for what is dear is to start it and to make its images:
//!
//! * `one_host`: docker-compose.yml, and the monitoring alone.
//! * `production`: docker-compose.prod.yml.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use techsapo_tests::engine::{Engine, said, succeed};
use techsapo_tests::repository;

use project::Checkout;

mod images;
mod one_host;
mod production;
mod project;

/// What the documents fix in every way of deploying it.
#[test]
fn retention_and_health_checks_are_those_of_the_documents() {
    for file in [
        "docker-compose.yml",
        "docker/docker-compose.monitoring.yml",
        "docker/production/docker-compose.prod.yml",
    ] {
        let text = repository::read(file);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for documented in ["--storage.tsdb.retention.time=15d", "-retentionPeriod=90d"] {
            assert!(lines.contains(&format!("- {documented}").as_str()), "{file}: {documented}");
        }
        let check = ["interval: 30s", "timeout: 10s", "retries: 3", "start_period: 40s"];
        assert!(lines.windows(check.len()).any(|lines| lines == check), "{file}: {check:?}");
    }
}

#[test]
fn both_stacks_come_up_in_containers_and_lose_nothing_between_two_versions_of_compose() {
    let Some(engine) = Engine::start_or_skip("compose") else { return };
    let engine = engine.with_compose_two();
    std::thread::scope(|scope| {
        let prepared = scope.spawn(production::Prepared::new);
        images::stand_ins(&engine);
        // At once, for containers are mostly waited for.
        let build = scope.spawn(|| the_build_compiles(&engine));
        let one_host = scope.spawn(|| one_host::runs(&engine));
        production::runs(&engine, &prepared.join().unwrap());
        one_host.join().unwrap();
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

#[test]
fn secrets_are_made_once_and_are_for_their_owner_alone() {
    let checkout = Checkout::new();
    let secrets = checkout.path("secrets/compose");
    let prepare = || {
        let mut script = Command::new(checkout.path("scripts/compose-prepare.sh"));
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
        |name: &str| std::fs::read_to_string(checkout.path("run/compose").join(name)).unwrap();
    let targets = configuration("prometheus/prometheus.yml");
    assert!(targets.contains("exporter:10040") && !targets.contains("127.0.0.1:10040"), "{targets}");

    // A receiver's secret comes later, and is found where the container sees it.
    let alerts = checkout.path("secrets/alertmanager");
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
