//! PM2 with a home of its own, running both programs by `ecosystem.config.js`; ended with this value, whatever happened.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Exposition, RedisServer, binaries, free_port, http, repository, wait};

/// How long a command of PM2 may take: it waits for what it stops.
const PATIENCE: Duration = Duration::from_secs(120);

/// A PM2 and what it runs: `techsapo` and `techsapo-exporter`, on free ports.
#[derive(Debug)]
pub struct Pm2 {
    folder: TempDir,
    redis_url: String,
    app_port: u16,
    exporter_port: u16,
}

impl Pm2 {
    /// One that runs nothing yet; its programs will use this Redis.
    ///
    /// # Panics
    /// When npm's packages are missing.
    pub fn of(redis: &RedisServer) -> Self {
        assert!(
            modules().join("pm2/bin/pm2").is_file(),
            "no PM2 in {}: ./scripts/test.sh installs it",
            modules().display()
        );
        let folder = TempDir::new().unwrap();
        let pm2 = Self { folder, redis_url: redis.url(), app_port: free_port(), exporter_port: free_port() };
        pm2.set(&[]);
        pm2
    }

    /// Writes the settings' file: where everything is, and `further` ones. They hold from the next start on.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set(&self, further: &[(&str, &str)]) {
        let (app, exporter) = (self.app_port, self.exporter_port);
        let mut text = format!(
            "# Both programs' settings.\nTECHSAPO_LISTEN=127.0.0.1:{app}\nTECHSAPO_REDIS_URL=\"{redis}\"\n\
             TECHSAPO_EXPORTER_URL=http://127.0.0.1:{exporter}\nTECHSAPO_KEYS_FILE={keys}\nTECHSAPO_SIMULATED_LATENCY=5ms\nTECHSAPO_SIMULATED_LATENCY_JITTER=2ms\n\
             TECHSAPO_LIMITS_BASIC_PER_MINUTE=1000000\nTECHSAPO_CACHE_ENABLED=false\n\
             TECHSAPO_EXPORTER_REDIS_URL='{redis}'\nTECHSAPO_EXPORTER_WEB_LISTEN_ADDRESS=127.0.0.1:{exporter}\n\
             TECHSAPO_EXPORTER_APP_URL=http://127.0.0.1:{app}\nTECHSAPO_EXPORTER_BIRTH_HOLD=0s\n",
            redis = self.redis_url,
            keys = self.folder.path().join("keys.toml").display(),
        );
        for (name, value) in further {
            writeln!(text, "{name}={value}").unwrap();
        }
        let file = self.settings_file();
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The file that [`Pm2::set`] writes.
    pub fn settings_file(&self) -> PathBuf {
        self.folder.path().join("settings.env")
    }

    /// Runs `pm2` with these words.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new(modules().join(".bin/pm2"));
        said(self.environment(command.args(words)))
    }

    /// Runs `pm2` with words that it refuses, and returns what it says.
    ///
    /// # Panics
    /// When it does not refuse.
    pub fn refuse(&self, words: &[&str]) -> String {
        let mut command = Command::new(modules().join(".bin/pm2"));
        let output = self.environment(command.args(words)).output().unwrap();
        assert!(!output.status.success(), "{words:?} was not refused");
        text(&output)
    }

    /// Runs a script of this repository with this PM2.
    ///
    /// # Panics
    /// When it fails.
    pub fn script(&self, path: &str, words: &[&str]) -> String {
        said(self.environment(Command::new(repository::root().join(path)).args(words)))
    }

    /// What PM2 knows of a process: `pid`, and in `pm2_env` its `status`, `restart_time` and more.
    ///
    /// # Panics
    /// When it knows none of that name.
    pub fn process(&self, name: &str) -> Value {
        let list = self.run(&["jlist", "--silent"]);
        let list: Vec<Value> =
            serde_json::from_str(list.trim()).unwrap_or_else(|error| panic!("{error}: {list}"));
        list.into_iter()
            .find(|process| process["name"] == name)
            .unwrap_or_else(|| panic!("PM2 runs no {name}"))
    }

    /// The process id of what runs under a name.
    ///
    /// # Panics
    /// When PM2 knows none.
    pub fn pid(&self, name: &str) -> Pid {
        let pid = self.process(name)["pid"].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap()).expect("it runs")
    }

    /// Waits until the app answers and the exporter serves.
    pub fn wait_ready(&self) {
        let answers = |url: &str| http::get(url).is_ok_and(|answer| answer.status == 200);
        wait::until_true("the app answers", || answers(&format!("{}/health", self.app_url())));
        wait::until_true("the exporter serves", || {
            answers(&format!("http://127.0.0.1:{}/-/ready", self.exporter_port))
        });
    }

    /// The app's address.
    pub fn app_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.app_port)
    }

    /// The app's port on 127.0.0.1.
    pub fn app_port(&self) -> u16 {
        self.app_port
    }

    /// The exporter's page; nothing while it does not serve.
    pub fn page(&self) -> Option<Exposition> {
        let answer = http::get(&format!("http://127.0.0.1:{}/metrics", self.exporter_port)).ok()?;
        (answer.status == 200).then(|| Exposition::parse(&answer.text()))
    }

    /// Where the programs keep data and logs.
    pub fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// PM2's own folder.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .current_dir(repository::root())
            .env("PATH", format!("{}:{path}", modules().join(".bin").display()))
            .env("PM2_HOME", self.home())
            .env("TECHSAPO_BIN_DIR", binaries::folder())
            .env("TECHSAPO_RUN_DIR", self.run_dir())
            .env("TECHSAPO_ENV_FILE", self.settings_file())
            // What stands in the shell of whoever calls PM2.
            .env("OPENAI_API_KEY", "of-the-shell")
            .env("NO_COLOR", "1")
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        let daemon = std::fs::read_to_string(self.home().join("pm2.pid")).ok();
        // It stops what it runs, and ends.
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string()).arg(modules().join(".bin/pm2")).arg("kill");
        let _ = self.environment(&mut command).output();
        let left = daemon.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        if let Some(daemon) = left.filter(|pid| is_pm2(*pid)) {
            let _ = kill_process(daemon, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!(
                "── log of PM2 ──\n{}",
                std::fs::read_to_string(self.home().join("pm2.log")).unwrap_or_default()
            );
        }
    }
}

/// Is it still PM2 that has this id?
fn is_pm2(pid: Pid) -> bool {
    let title = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    title.is_ok_and(|title| title.contains("PM2"))
}

/// Where `scripts/test.sh` puts PM2 and its module.
pub fn modules() -> &'static Path {
    static MODULES: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    MODULES.get_or_init(|| {
        let folder = std::env::var_os("TECHSAPO_PM2");
        folder.map_or_else(|| repository::root().join("target/pm2"), PathBuf::from).join("node_modules")
    })
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
