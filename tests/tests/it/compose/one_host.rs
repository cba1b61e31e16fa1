//! `docker-compose.yml`, and the monitoring alone (`docker/docker-compose.monitoring.yml`).

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use techsapo_tests::engine::{Compose, Engine, succeed};
use techsapo_tests::{Process, binaries, wait};

use super::project::{Checkout, Project, wait_counted};

/// Containers that run for good.
const SERVICES: [&str; 8] =
    ["alertmanager", "app", "exporter", "long-term-store", "mysql", "node-exporter", "prometheus", "redis"];
const SECRETS: [&str; 3] = ["redis-password", "mysql-password", "mysql-root-password"];

fn query(engine: &Engine, expression: &str) -> Option<Value> {
    let url = "http://127.0.0.1:9090/api/v1/query";
    engine.get(url, &["--data-urlencode", &format!("query={expression}")])
}

fn generate(engine: &Engine, key: Option<&str>, prompt: &str) -> Option<Value> {
    let body = json!({"prompt": prompt, "task_type": "basic"}).to_string();
    let key = key.map(|key| format!("authorization: Bearer {key}"));
    let mut options = vec!["--header", "content-type: application/json", "--data", &body];
    options.extend(key.iter().flat_map(|key| ["--header", key]));
    engine.get("http://127.0.0.1:4000/api/v1/generate", &options)
}

fn audited(project: &Project) -> usize {
    let count = "mysql --host=127.0.0.1 --user=techsapo --password=$(cat /run/secrets/mysql-password) --batch \
                 --skip-column-names --execute='SELECT COUNT(*) FROM analyses' techsapo_audit";
    project.in_container("mysql", &["sh", "-c", count]).lines().last().unwrap().parse().unwrap()
}

pub(super) fn runs(engine: &Engine) {
    let checkout = Checkout::new();
    checkout.leave_out("docker-compose.override.yml", &["grafana"]);
    let start_script = || {
        let mut command =
            checkout.command(engine, Compose::Two, checkout.path("scripts/start-monitoring.sh"));
        command.env("TECHSAPO_BIN_DIR", binaries::folder());
        command
    };
    let project = Project::of(engine, &checkout.path(""));
    // Compose v2, by the script: it prepares, builds, starts, asks, and waits until Prometheus has counted.
    let report = succeed(&mut start_script());
    assert!(report.contains("as containers: docker compose"), "{report}");
    let status = succeed(start_script().arg("--status"));
    for service in SERVICES {
        let line = status.lines().find(|line| line.split_whitespace().next() == Some(service));
        assert!(
            line.is_some_and(|line| line.contains(" running ") && line.contains(" healthy ")),
            "{service}: {status}"
        );
    }
    let secrets = SECRETS.map(|name| checkout.path("secrets/compose").join(name));
    project.assert_confined(&SERVICES, &[], &secrets);
    assert_eq!(project.in_container("app", &["id", "-u"]), "10001");
    assert!(generate(engine, None, "A question without a key").is_none(), "strangers are not answered");
    let key = project.in_container("app", &["cat", "/var/lib/techsapo/start-monitoring.key"]);
    let (counted, more) = (1, 5);
    for number in 0..more {
        generate(engine, Some(&key), &format!("How do I roll out change {number} safely?")).unwrap();
    }
    // At once: what was answered a moment ago is in no checkpoint yet, perhaps in no stream.
    succeed(start_script().arg("--stop"));
    assert!(project.containers().is_empty());
    assert_eq!(start_script().arg("--status").output().unwrap().status.code(), Some(3));

    // docker-compose 1.29, as the head of the file says.
    succeed(&mut checkout.compose(engine, Compose::One, &["up", "-d"]));
    project.wait_healthy(&SERVICES);
    generate(engine, Some(&key), "Is the same key taken still?").unwrap();
    let all = counted + more + 1;
    wait_counted(all, |expression| query(engine, expression));
    wait::until_true("every analysis is in the audit once", || audited(&project) == all);
    succeed(&mut checkout.compose(engine, Compose::One, &["down"]));

    the_monitoring_alone(engine, &checkout);
}

/// Beside a Redis and an app that run on the containers' host.
fn the_monitoring_alone(engine: &Engine, checkout: &Checkout) {
    let folder = TempDir::new().unwrap();
    let start = |name: &str, program: &Path, arguments: &[&str]| {
        let mut command = engine.command(Compose::One, program);
        Process::start(name, folder.path(), command.current_dir(folder.path()).args(arguments))
    };
    let _redis = start("redis", Path::new("redis-server"), &["--bind", "127.0.0.1", "--save", ""]);
    let _app = start("app", &binaries::folder().join("techsapo"), &[]);
    checkout.leave_out("docker/left-out.yml", &["grafana"]);
    let project = Project::of(engine, &checkout.path("docker"));
    let compose = |arguments: &[&str]| {
        let files = ["-f", "docker/docker-compose.monitoring.yml", "-f", "docker/left-out.yml"];
        succeed(&mut checkout.compose(engine, Compose::One, &[&files[..], arguments].concat()))
    };
    compose(&["up", "-d"]);
    project.wait_healthy(&["alertmanager", "long-term-store", "node-exporter", "prometheus"]);
    let answered = || generate(engine, None, "How do I roll out a change safely?");
    wait::until("the app on the host answers", answered);
    wait_counted(1, |expression| query(engine, expression));
    let down = compose(&["down", "-v"]);
    assert!(project.containers().is_empty(), "{down}");
}
