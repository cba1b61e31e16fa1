//! Backups as operators make them: the scripts `backup.sh`, `verify-backup.sh` and `restore.sh`, with settings, a key and folders of a
//! test's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::stack::said;
use crate::{MariaDb, RedisServer, repository};

/// A folder of backups, and the settings of the scripts. Nothing of it is left afterwards.
#[derive(Debug)]
pub struct Backups {
    settings: BTreeMap<String, String>,
    /// What stands before the scripts on a command line.
    way: Vec<String>,
    folder: TempDir,
}

impl Backups {
    /// Of this Redis.
    pub fn of(redis: &RedisServer) -> Self {
        let mut backups = Self::new();
        backups.set("KINDS", "redis");
        backups.set("REDIS_URL", &redis.url());
        backups
    }

    /// Of servers that are told later.
    ///
    /// # Panics
    /// When no key can be made.
    #[expect(clippy::new_without_default, reason = "it makes folders and a key")]
    pub fn new() -> Self {
        let mut backups =
            Self { settings: BTreeMap::new(), way: Vec::new(), folder: TempDir::new().unwrap() };
        let path = |name: &str| backups.folder.path().join(name).display().to_string();
        let (dir, key, temporary, textfile) = (path("backup"), path("key"), path("tmp"), path("textfile"));
        std::fs::create_dir(&temporary).unwrap();
        backups.new_key(&key);
        backups.set("DIR", &dir);
        backups.set("KEY", &key);
        // What is to fail need not fail twice.
        backups.set("RETRY_AFTER", "0");
        backups.certificates(&backups.folder.path().join("no-certificates"));
        backups.settings.insert("TMPDIR".to_owned(), temporary);
        backups.settings.insert("TECHSAPO_TEXTFILE_DIR".to_owned(), textfile);
        backups
    }

    /// Calls the scripts by a command that runs them elsewhere, such as `nsenter` with its options.
    #[must_use]
    pub fn by(mut self, way: Vec<String>) -> Self {
        self.way = way;
        self
    }

    /// Takes authority and certificate from this folder.
    pub fn certificates(&mut self, folder: &Path) {
        self.settings.insert("TECHSAPO_TLS_DIR".to_owned(), folder.display().to_string());
    }

    /// And of the audit in this database.
    #[must_use]
    pub fn with_audit(mut self, mysql: &MariaDb) -> Self {
        self.set("KINDS", "redis,audit");
        self.set("MYSQL_URL", &mysql.url());
        self
    }

    /// And copied to a restic repository in a folder of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn with_repository(mut self) -> Self {
        let [repository, password] =
            ["repository", "restic-password"].map(|name| self.folder.path().join(name).display().to_string());
        std::fs::write(&password, "far away").unwrap();
        let mut init = Command::new("restic");
        init.args(["--quiet", "init", "--repo", &repository, "--password-file", &password]);
        let output = init.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        self.set("REPOSITORY", &repository);
        self.set("REPOSITORY_PASSWORD_FILE", &password);
        self
    }

    /// Changes a setting, by its name behind `TECHSAPO_BACKUP_`.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(format!("TECHSAPO_BACKUP_{name}"), value.to_owned());
    }

    /// Takes a setting back.
    pub fn unset(&mut self, name: &str) {
        self.settings.remove(&format!("TECHSAPO_BACKUP_{name}"));
    }

    /// Makes a key of age in a new file.
    ///
    /// # Panics
    /// When it cannot.
    pub fn new_key(&self, file: &str) {
        let output = Command::new("age-keygen").args(["-o", file]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    /// A folder that is gone with this value: what a test needs beside.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the backups.
    ///
    /// # Panics
    /// When the setting was taken away.
    pub fn dir(&self) -> PathBuf {
        PathBuf::from(&self.settings["TECHSAPO_BACKUP_DIR"])
    }

    /// A call of `scripts/NAME`.
    pub fn script(&self, name: &str, arguments: &[&str]) -> Command {
        let words = self.way.iter().map(PathBuf::from);
        let mut words = words.chain([repository::root().join("scripts").join(name)]);
        let mut command = Command::new(words.next().expect("at least the script"));
        command.args(words);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("TECHSAPO_") {
                command.env_remove(variable);
            }
        }
        command.args(arguments).stdin(Stdio::null()).envs(&self.settings);
        command.env("TECHSAPO_BACKUP_SETTINGS", "/dev/null");
        command
    }

    /// Calls it and expects it to end well; returns all that it said.
    ///
    /// # Panics
    /// When it does not.
    pub fn succeed(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.script(name, arguments).output().unwrap();
        assert!(output.status.success(), "{name} {arguments:?}: {}\n{}", output.status, said(&output));
        self.left_nothing();
        said(&output)
    }

    /// Calls it and expects it to fail as scripts do; returns all that it said.
    ///
    /// # Panics
    /// When it does not.
    pub fn fail(&self, name: &str, arguments: &[&str]) -> String {
        let output: Output = self.script(name, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name} {arguments:?}: {}", said(&output));
        self.left_nothing();
        said(&output)
    }

    /// Nothing in clear, and nothing half done, outlives a script.
    fn left_nothing(&self) {
        let left = |folder: PathBuf, prefix: &str| {
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
            names.filter(|name| name.starts_with(prefix)).collect::<Vec<_>>()
        };
        assert_eq!(left(self.folder.path().join("tmp"), ""), Vec::<String>::new());
        assert_eq!(left(self.dir(), ".partial"), Vec::<String>::new());
    }

    /// Makes a backup; returns its stamp.
    ///
    /// # Panics
    /// When it fails.
    pub fn make(&self) -> String {
        let said = self.succeed("backup.sh", &[]);
        said.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// The stamps of the sets there are, the oldest first.
    pub fn stamps(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir()).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let stamp = |name: String| Some(name.strip_prefix("manifest-")?.strip_suffix(".txt")?.to_owned());
        let mut stamps: Vec<_> = names.filter_map(stamp).collect();
        stamps.sort();
        stamps
    }

    /// The file of a kind in the newest set.
    ///
    /// # Panics
    /// When there is none.
    pub fn newest(&self, kind: &str) -> PathBuf {
        let stamps = self.stamps();
        let stamp = stamps.last().expect("a backup");
        let begin = format!("{kind}-{stamp}.");
        let mut entries = std::fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap());
        let found = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(&begin));
        found.unwrap_or_else(|| panic!("no {begin}…")).path()
    }

    /// What Prometheus is told; empty if that is nothing.
    pub fn told(&self) -> String {
        let file = PathBuf::from(&self.settings["TECHSAPO_TEXTFILE_DIR"]).join("techsapo-backup.prom");
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// A figure of `techsapo_backup_NAME` for a kind.
    pub fn figure(&self, name: &str, kind: &str) -> Option<f64> {
        let begin = format!("techsapo_backup_{name}{{kind=\"{kind}\"}} ");
        self.told().lines().find_map(|line| line.strip_prefix(&*begin)?.parse().ok())
    }
}
