//! Real Redis sentinels, which watch a master and promote its replica when it is gone.

use std::collections::HashMap;
use std::process::Command;

use redis::FromRedisValue;
use tempfile::TempDir;

use crate::{Process, RedisServer, free_port, wait};

/// How long a master may be silent, in milliseconds. A replica that lost the master for ten times as long before that
/// is no candidate any more.
const DOWN_AFTER_MS: u32 = 2_000;
const COUNT: usize = 3;
/// How many must agree that the master is down.
const QUORUM: usize = 2;

/// Three sentinels of one master.
#[derive(Debug)]
pub struct Sentinels {
    processes: Vec<Process>,
    ports: Vec<u16>,
    _folder: TempDir,
}

impl Sentinels {
    /// The master's name.
    pub const MASTER: &str = "techsapo";

    /// Starts them, and waits until each knows the others and `replicas` replicas of the master.
    ///
    /// # Panics
    /// When they cannot be started, or never know.
    pub fn of(master: &RedisServer, replicas: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let (mut processes, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..COUNT {
            let (port, name, watched) = (free_port(), Self::MASTER, master.port());
            let file = folder.path().join(format!("sentinel-{port}.conf"));
            let settings = format!(
                "bind 127.0.0.1\nport {port}\ndir {}\n\
                 sentinel monitor {name} 127.0.0.1 {watched} {QUORUM}\n\
                 sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}\n\
                 sentinel failover-timeout {name} 10000\n",
                folder.path().display()
            );
            std::fs::write(&file, settings).unwrap();
            let mut command = Command::new("redis-server");
            command.arg(&file).arg("--sentinel");
            processes.push(Process::start(&format!("sentinel-{port}"), folder.path(), &mut command));
            ports.push(port);
        }
        let sentinels = Self { processes, ports, _folder: folder };
        wait::until_true("the sentinels know one another and the replicas", || {
            sentinels.ports.iter().all(|&port| {
                let Some(known) = ask::<HashMap<String, String>>(port, &["MASTER", Self::MASTER]) else {
                    return false;
                };
                let count = |figure: &str| known.get(figure).and_then(|count| count.parse::<usize>().ok());
                count("num-other-sentinels") == Some(COUNT - 1) && count("num-slaves") == Some(replicas)
            })
        });
        sentinels
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

    /// Waits until all that live name this server as the master.
    ///
    /// # Panics
    /// When they never do.
    pub fn wait_promoted(&self, server: &RedisServer) {
        wait::until_true("the sentinels name the promoted replica", || {
            let named = self
                .ports
                .iter()
                .filter_map(|&port| ask::<(String, u16)>(port, &["GET-MASTER-ADDR-BY-NAME", Self::MASTER]));
            let ports: Vec<_> = named.map(|(_, port)| port).collect();
            !ports.is_empty() && ports.iter().all(|&port| port == server.port())
        });
    }
}

/// What a sentinel answers, if it lives.
fn ask<T: FromRedisValue>(port: u16, words: &[&str]) -> Option<T> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let mut connection = client.get_connection().ok()?;
    redis::cmd("SENTINEL").arg(words).query(&mut connection).ok()
}
