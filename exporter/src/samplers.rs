//! What the exporter looks at by itself, every five seconds: its host, Redis' memory, and each app's
//! status (which tells of an app also while Redis is away).

pub mod status;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use techsapo_redis_route::Route;

use crate::gauges::{HostSample, Samples};

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

/// What the samplers saw last; shared with the page.
#[derive(Clone, Default)]
pub struct Latest(Arc<Mutex<Samples>>);

impl Latest {
    /// What is known at the moment.
    pub fn get(&self) -> Samples {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Samples)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Starts a thread that watches the host and Redis.
///
/// # Errors
/// The host's figures cannot be read, or the thread cannot be started.
pub fn spawn_host(latest: Latest, redis: Route) -> std::io::Result<()> {
    let mut system = System::new().map_err(std::io::Error::other)?;
    thread::Builder::new().name("samplers".to_owned()).spawn(move || {
        loop {
            let host = host_sample(&mut system);
            let redis_memory_bytes = redis_memory(&redis).ok();
            latest.update(|samples| {
                samples.host = Some(host);
                samples.redis_memory_bytes = redis_memory_bytes;
            });
            thread::sleep(INTERVAL);
        }
    })?;
    Ok(())
}

fn host_sample(system: &mut System) -> HostSample {
    let me = Pid::from_u32(std::process::id());
    system.refresh_cpu_usage();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[me]),
        false,
        ProcessRefreshKind::nothing().with_memory(),
    );
    HostSample {
        cpu_percent: f64::from(system.global_cpu_usage()),
        memory_bytes: system.total_memory(),
        memory_used_bytes: system.used_memory(),
        exporter_resident_bytes: system.process(me).map_or(0, sysinfo::Process::memory),
    }
}

/// Resident memory of the Redis server, or of a cluster's masters together.
fn redis_memory(redis: &Route) -> redis::RedisResult<u64> {
    let mut bytes: u64 = 0;
    // On new connections each time: who the masters are may have changed.
    for master in redis.masters(TIMEOUT)? {
        let mut connection = master.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        let info: String = redis::cmd("INFO").arg("memory").query(&mut connection)?;
        let resident =
            info.lines().find_map(|line| line.strip_prefix("used_memory_rss:")?.trim().parse::<u64>().ok());
        // One that does not say: a sum without it would look as if memory had been freed.
        bytes += resident.ok_or((redis::ErrorKind::UnexpectedReturnType, "INFO names no used_memory_rss"))?;
    }
    Ok(bytes)
}
