//! Real Redis sentinels, which watch a master and promote its replica when it is gone.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use redis::FromRedisValue;
use tempfile::TempDir;

use crate::{Process, RedisServer, free_port, wait};

/// How long a master may be silent, in milliseconds. A replica that lost the master for ten times as long before that
/// is no candidate any more.
const DOWN_AFTER_MS: u32 = 2_000;
const COUNT: usize = 3;
/// After how long a failover that came to nothing, for votes were split, is given up; another is tried after twice as long.
const FAILOVER_TIMEOUT_MS: u32 = 10_000;
/// How many must agree that the master is down.
const QUORUM: usize = 2;

/// Three sentinels of one master.
#[derive(Debug)]
pub struct Sentinels {
    processes: Vec<Process>,
    ports: Vec<u16>,
    folder: TempDir,
}

impl Sentinels {
    /// The master's name.
    pub const MASTER: &str = "techsapo";

    /// Starts them, and waits until each knows the others and `replicas` replicas of the master.
    ///
    /// # Panics
    /// When they cannot be started, or never know.
    pub fn of(master: &RedisServer, replicas: usize) -> Self {
        Self::watching(master.port(), replicas, DOWN_AFTER_MS)
    }

    /// The same for a master that is reached at `port`, and is taken for down when it has been silent for so long.
    ///
    /// # Panics
    /// When they cannot be started, or never know.
    pub fn watching(port: u16, replicas: usize, down_after_ms: u32) -> Self {
        let (folder, ports) = (TempDir::new().unwrap(), [(); COUNT].map(|()| free_port()));
        let mut sentinels = Self { processes: Vec::new(), ports: ports.to_vec(), folder };
        for place in 0..COUNT {
            let (own, name) = (sentinels.ports[place], Self::MASTER);
            let settings = format!(
                "bind 127.0.0.1\nport {own}\ndir {}\n\
                 sentinel monitor {name} 127.0.0.1 {port} {QUORUM}\n\
                 sentinel down-after-milliseconds {name} {down_after_ms}\n\
                 sentinel failover-timeout {name} {FAILOVER_TIMEOUT_MS}\n",
                sentinels.folder.path().display()
            );
            std::fs::write(sentinels.file(place), settings).unwrap();
            let process = sentinels.process(place);
            sentinels.processes.push(process);
        }
        sentinels.wait_known(replicas);
        sentinels
    }

    /// Waits until each knows the others and `replicas` replicas of the master.
    ///
    /// # Panics
    /// When one never does.
    pub fn wait_known(&self, replicas: usize) {
        wait::until_true("the sentinels know one another and the replicas", || {
            self.ports.iter().all(|&port| {
                let Some(known) = ask::<HashMap<String, String>>(port, &["MASTER", Self::MASTER]) else {
                    return false;
                };
                let count = |figure: &str| known.get(figure).and_then(|count| count.parse::<usize>().ok());
                count("num-other-sentinels") == Some(COUNT - 1) && count("num-slaves") == Some(replicas)
            })
        });
    }

    /// Their address for the app and the exporter.
    pub fn url(&self) -> String {
        let sentinels: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{}", sentinels.join(","), Self::MASTER)
    }

    /// Kills one of them.
    pub fn kill_9(&mut self, place: usize) {
        self.processes[place].kill_9();
    }

    /// Starts one again that was killed, with what it knew.
    pub fn start_again(&mut self, place: usize) {
        self.processes[place] = self.process(place);
    }

    /// Waits until all that live name this server as the master.
    ///
    /// # Panics
    /// When they never do.
    pub fn wait_promoted(&self, server: &RedisServer) {
        self.wait_named(server.port());
    }

    /// The same for the server that is reached at `port`.
    ///
    /// # Panics
    /// When they never do.
    pub fn wait_named(&self, port: u16) {
        // Where much else runs, they may have to try several times.
        wait::until_within(3 * wait::PATIENCE, "the sentinels name the promoted replica", || {
            let named = self
                .ports
                .iter()
                .filter_map(|&port| ask::<(String, u16)>(port, &["GET-MASTER-ADDR-BY-NAME", Self::MASTER]));
            let ports: Vec<_> = named.map(|(_, port)| port).collect();
            (!ports.is_empty() && ports.iter().all(|&named| named == port)).then_some(())
        });
    }

    /// A sentinel's own file, which it writes what it knows into.
    fn file(&self, place: usize) -> PathBuf {
        self.folder.path().join(format!("sentinel-{}.conf", self.ports[place]))
    }

    fn process(&self, place: usize) -> Process {
        let mut command = Command::new("redis-server");
        command.arg(self.file(place)).arg("--sentinel");
        Process::start(&format!("sentinel-{}", self.ports[place]), self.folder.path(), &mut command)
    }
}

/// What a sentinel answers, if it lives.
fn ask<T: FromRedisValue>(port: u16, words: &[&str]) -> Option<T> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let mut connection = client.get_connection().ok()?;
    redis::cmd("SENTINEL").arg(words).query(&mut connection).ok()
}
