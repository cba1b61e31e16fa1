//! A real Alertmanager.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::get;
use crate::{Process, free_port, wait};

/// How long one of a cluster lets those before it notify first. Alertmanager's own is 15 s.
const PEER_TIMEOUT: &str = "3s";

/// An Alertmanager of a test's own, alone or one of a cluster.
#[derive(Debug)]
pub struct Alertmanager {
    // First of the fields, so that it ends before its folder is deleted.
    process: Process,
    folder: TempDir,
    port: u16,
    /// Where the members of its cluster speak with one another, itself first.
    cluster: Vec<u16>,
}

impl Alertmanager {
    /// Starts one with this configuration, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(config: &str) -> Self {
        let mut alone = Self::spawn(config, vec![free_port()]);
        alone.wait_ready();
        alone
    }

    /// Starts `count` that are one cluster, and waits until each is ready and knows all.
    ///
    /// # Panics
    /// When one does not start, or never knows.
    pub fn cluster(config: &str, count: usize) -> Vec<Self> {
        let ports: Vec<_> = (0..count).map(|_| free_port()).collect();
        let member = |own: &u16| {
            let others = ports.iter().filter(|port| *port != own);
            Self::spawn(config, std::iter::once(own).chain(others).copied().collect())
        };
        // One after another: of three that began at once, one was once missed by the others for good.
        let in_turn = |own| {
            let mut begun = member(own);
            begun.wait_ready();
            begun
        };
        let members: Vec<_> = ports.iter().map(in_turn).collect();
        members.iter().for_each(Self::wait_joined);
        members
    }

    fn spawn(config: &str, cluster: Vec<u16>) -> Self {
        let (port, folder) = (free_port(), TempDir::new().unwrap());
        std::fs::write(folder.path().join("alertmanager.yml"), config).unwrap();
        let process = Self::process(port, &folder, &cluster);
        Self { process, folder, port, cluster }
    }

    fn process(port: u16, folder: &TempDir, cluster: &[u16]) -> Process {
        let mut command = Command::new("prometheus-alertmanager");
        command.current_dir(folder.path()).args(["--config.file=alertmanager.yml", "--storage.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg(format!("--cluster.listen-address=127.0.0.1:{}", cluster[0]));
        command.args(cluster[1..].iter().map(|peer| format!("--cluster.peer=127.0.0.1:{peer}")));
        // A test does not wait for a cluster to settle.
        command.args(["--cluster.settle-timeout=0s", "--log.level=debug"]);
        command.arg(format!("--cluster.peer-timeout={PEER_TIMEOUT}"));
        Process::start("alertmanager", folder.path(), &mut command)
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead, or never is.
    pub fn wait_ready(&mut self) {
        let url = format!("http://127.0.0.1:{}/-/ready", self.port);
        wait::until_true("Alertmanager is ready", || {
            self.process.assert_alive();
            get(&url).is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Waits until it knows all members of its cluster.
    ///
    /// # Panics
    /// When it never does.
    pub fn wait_joined(&self) {
        let wanted = self.cluster.len();
        // Whom it knows and does not reach is in its log, at the level that `process` asks for.
        let what = format!("{} is one of a cluster of {wanted}", self.address());
        wait::until_true(&what, || self.figure("alertmanager_cluster_members") as usize == wanted);
    }

    /// Kills it.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Starts it again after [`Alertmanager::kill_9`], and waits until it is ready.
    pub fn start_again(&mut self) {
        self.process = Self::process(self.port, &self.folder, &self.cluster);
        self.wait_ready();
    }

    /// The sum of a metric's series on its own page; 0 where there is none, or no page.
    pub fn figure(&self, metric: &str) -> f64 {
        let page = get(&format!("http://{}/metrics", self.address())).map(|answer| answer.text());
        let page = page.unwrap_or_default();
        let of_metric =
            |line: &&str| line.starts_with(metric) && line[metric.len()..].starts_with([' ', '{']);
        let values =
            page.lines().filter(of_metric).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
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
