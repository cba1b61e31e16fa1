//! A real MariaDB server.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{Process, Proxy, free_port, wait};

const USER: &str = "exporter";
const PASSWORD: &str = "open-sesame";
const DATABASE: &str = "techsapo";
/// What setting it up and running it have in common: small, for a test's machine runs several, and without waiting for the disk, for
/// no test cuts its power. What it wrote survives [`MariaDb::kill_9`].
const SPARING: [&str; 3] = ["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=16M", "--debug-no-sync"];

/// A database server of a test's own, with one database, and a user who may do everything in it.
#[derive(Debug)]
pub struct MariaDb {
    process: Option<Process>,
    port: u16,
    options: Vec<String>,
    folder: TempDir,
}

impl MariaDb {
    /// Starts one.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with further options, such as `["--max-allowed-packet=16K"]`.
    ///
    /// # Panics
    /// When it cannot be set up or started.
    pub fn with(options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { process: None, port: free_port(), options, folder: TempDir::new().unwrap() };
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.arg(format!("--datadir={}", server.data().display())).arg(server.tmpdir()).args(SPARING);
        let output = install.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        server.start_again();
        server.sql_as_root(&format!(
            "CREATE DATABASE {DATABASE}; CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; \
             GRANT ALL ON {DATABASE}.* TO {USER}@'127.0.0.1'"
        ));
        server
    }

    /// Starts it again after [`MariaDb::kill_9`], on its port and with its data.
    pub fn start_again(&mut self) {
        self.process = None;
        let (data, socket) = (self.data(), self.folder.path().join("socket"));
        let mut command = Command::new("mariadbd");
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"]);
        command.arg(format!("--datadir={}", data.display())).arg(format!("--port={}", self.port));
        command.arg(format!("--socket={}", socket.display())).arg(self.tmpdir());
        command.args(SPARING).arg("--performance-schema=OFF").args(&self.options);
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        let process = self.process.insert(Process::start("mariadbd", self.folder.path(), &mut command));
        wait::until_true("MariaDB answers", || {
            process.assert_alive();
            client(&socket).arg("--execute=SELECT 1").output().unwrap().status.success()
        });
    }

    /// Kills it.
    pub fn kill_9(&mut self) {
        self.process = None;
    }

    /// Stops it where it stands until [`MariaDb::resume`]: its connections stay open, and nothing answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        self.process.as_ref().unwrap().pause();
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&self) {
        self.process.as_ref().unwrap().resume();
    }

    /// Its address for clients, with the user's password.
    pub fn url(&self) -> String {
        url_of(self.port)
    }

    /// The same by way of `proxy`.
    pub fn url_by(&self, proxy: &Proxy) -> String {
        url_of(proxy.port())
    }

    /// Its socket, for clients on this machine.
    pub fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("socket")
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Deletes its database, which does not come back by itself.
    pub fn drop_database(&self) {
        self.sql_as_root(&format!("DROP DATABASE {DATABASE}"));
    }

    /// All that it wrote into its log, while it runs.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The password in [`MariaDb::url`].
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Runs statements, and returns what the last one selects: columns separated by tabs, one row per line.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, statements: &str) -> String {
        self.sql_as_root(&format!("USE {DATABASE}; {statements}"))
    }

    fn sql_as_root(&self, statements: &str) -> String {
        let mut command = client(&self.socket());
        let output = command.arg(format!("--execute={statements}")).output().unwrap();
        assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Of its own: a server that starts deletes what others have in theirs.
    fn tmpdir(&self) -> String {
        format!("--tmpdir={}", self.folder.path().display())
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }
}

fn url_of(port: u16) -> String {
    format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}")
}

/// The command line client, as the server's administrator.
fn client(socket: &Path) -> Command {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--user=root", "--batch", "--raw", "--skip-column-names"]);
    command.arg(format!("--socket={}", socket.display()));
    command
}
