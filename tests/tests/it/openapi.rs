//! The API's description, tried out: Schemathesis makes requests out of it, right and wrong ones, and holds what the real
//! program answers against it.

use std::path::PathBuf;
use std::process::{Command, Output};

use techsapo_tests::{App, DriveFile, DriveServer, Exporter, RedisServer, binaries, repository, wait};
use tempfile::TempDir;

/// Requests that are made up for each operation, beside those that follow from the description.
const EXAMPLES: &str = "25";
/// Paths whose responses do not end; other tests read them.
const ENDLESS: [&str; 2] = ["/api/v1/metrics/stream", "/ws/metrics"];
/// Paths that are tried out by themselves: each operation is shown wrong keys, and an address may show ten a minute. (Where the
/// description itself comes from is tried out only if it is named.)
const APART: [&str; 4] = ["/api/v1/alerts", "/api/v1/budget", "/api/v1/openapi.json", "/api/v1/session"];

/// The program, where `scripts/test.sh` puts it.
fn program() -> PathBuf {
    let path = std::env::var_os("TECHSAPO_SCHEMATHESIS")
        .map_or_else(|| repository::root().join("target/tools/bin/schemathesis"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: ./scripts/test.sh installs it", path.display());
    path
}

/// A key that may ask for everything.
fn make_key(file: &str) -> String {
    let mut command = binaries::command("techsapo");
    let made = command
        .env("TECHSAPO_KEYS_FILE", file)
        .args(["keys", "create", "--name", "tool", "--tier", "critical"])
        .output()
        .unwrap();
    let text = String::from_utf8(made.stdout).unwrap();
    text.split_whitespace().find(|word| word.starts_with("tsk_")).expect("a key").to_owned()
}

fn try_out(app: &App, key: &str, folder: &TempDir, selection: &[String]) -> Output {
    let mut command = Command::new(program());
    command
        .arg("run")
        .arg(format!("{}/api/v1/openapi.json", app.url()))
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args(["--max-examples", EXAMPLES, "--seed", "1", "--continue-on-failure", "--no-color"])
        .args(["--request-timeout", "20", "--generation-database", "none"])
        .args(selection)
        .env("SCHEMATHESIS_HOOKS", repository::root().join("tests/schemathesis/hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path());
    command.output().unwrap()
}

#[test]
fn the_program_is_as_it_is_described() {
    let folder = TempDir::new().unwrap();
    let keys = folder.path().join("keys.toml").display().to_string();
    let key = make_key(&keys);
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let drive =
        DriveServer::start([DriveFile::markdown("a", "Notes", "root", "0 is a number, and so is 1.")]);
    let start = || {
        App::of(&redis)
            .exporter(&exporter.url())
            .set("TECHSAPO_KEYS_FILE", &keys)
            .set("TECHSAPO_LIMITS_CRITICAL_PER_MINUTE", "1000000")
            .set("TECHSAPO_SIMULATED_LATENCY", "0ms")
            .set("TECHSAPO_SIMULATED_LATENCY_JITTER", "0ms")
            .set("TECHSAPO_DRIVE_KEY_FILE", &drive.key_file().display().to_string())
            .set("TECHSAPO_DRIVE_BASE_URL", drive.url())
            .start()
    };
    let option = |name: &str, paths: &[&str]| -> Vec<String> {
        paths.iter().flat_map(|path| [name.to_owned(), (*path).to_owned()]).collect()
    };
    let first = [option("--exclude-path", &ENDLESS), option("--exclude-path", &APART)].concat();
    for (selection, apart) in [(first, false), (option("--include-path", &APART), true)] {
        let app = start();
        wait::until_true("the documents are read", || {
            let health = app.get("/api/v1/health").unwrap().json();
            health["services"]["google_drive"]["state"] == "up"
                && health["services"]["exporter"]["state"] == "up"
        });
        let output = try_out(&app, &key, &folder, &selection);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        // It did try: every operation but the endless ones.
        let described = app.get("/api/v1/openapi.json").unwrap().json();
        let paths = described["paths"].as_object().unwrap().iter();
        let chosen = paths
            .filter(|(path, _)| APART.contains(&path.as_str()) == apart && !ENDLESS.contains(&path.as_str()));
        let operations: usize = chosen.map(|(_, methods)| methods.as_object().unwrap().len()).sum();
        let expected = format!("Tested: {operations}");
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&expected), "{expected:?} in {text}");
    }
}
