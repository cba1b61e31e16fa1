//! A real Alertmanager.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::get;
use crate::{Process, free_port, wait};

/// An Alertmanager of a test's own, a cluster of one.
#[derive(Debug)]
pub struct Alertmanager {
    // First of the fields, so that it ends before its folder is deleted.
    process: Process,
    _folder: TempDir,
    port: u16,
}

impl Alertmanager {
    /// Starts one with this configuration, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(config: &str) -> Self {
        let (port, cluster, folder) = (free_port(), free_port(), TempDir::new().unwrap());
        std::fs::write(folder.path().join("alertmanager.yml"), config).unwrap();
        let mut command = Command::new("prometheus-alertmanager");
        command.current_dir(folder.path()).args(["--config.file=alertmanager.yml", "--storage.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg(format!("--cluster.listen-address=127.0.0.1:{cluster}"));
        // Alone, it need not wait for others.
        command.args(["--cluster.settle-timeout=0s", "--log.level=info"]);
        let mut process = Process::start("alertmanager", folder.path(), &mut command);
        wait::until_true("Alertmanager is ready", || {
            process.assert_alive();
            get(&format!("http://127.0.0.1:{port}/-/ready")).is_ok_and(|answer| answer.status == 200)
        });
        Self { process, _folder: folder, port }
    }

    /// Its address, `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All alerts that it holds, as its API lists them.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn alerts(&self) -> Vec<Value> {
        let answer = get(&format!("http://{}/api/v2/alerts", self.address())).unwrap().json();
        answer.as_array().unwrap().clone()
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
