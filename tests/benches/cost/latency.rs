//! How long requests take, seen by clients who ask without a pause, and what a process between adds.

use std::thread;
use std::time::{Duration, Instant};

use crate::cpu;
use crate::report::median;

/// One of several clients.
pub(crate) trait Client: Send {
    /// Asks once, and has the whole answer.
    fn ask(&mut self);
}

/// What clients saw in a while.
pub(crate) struct Latencies {
    /// Milliseconds, the smallest first.
    sorted_ms: Vec<f64>,
}

impl Latencies {
    /// The latency that a share of all does not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        self.sorted_ms[(self.sorted_ms.len() - 1) * percent / 100]
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.sorted_ms.len()
    }
}

/// What turns brought of a process between clients and vendors: added p50 and p99 in ms, CPU time of a request in µs.
#[derive(Default)]
pub(crate) struct Course([Vec<f64>; 3]);

impl Course {
    /// One more turn: `ask` asks through the process `pid` what was asked of the vendors themselves before.
    pub(crate) fn turn(&mut self, pid: u32, direct: &Latencies, ask: impl FnOnce() -> Latencies) {
        let before = cpu::seconds_of(pid);
        let through = ask();
        let spent = cpu::seconds_of(pid) - before;
        self.0[0].push(through.percentile(50) - direct.percentile(50));
        self.0[1].push(through.percentile(99) - direct.percentile(99));
        self.0[2].push(spent / through.count() as f64 * 1e6);
    }

    /// The median of each over the turns.
    pub(crate) fn medians(self) -> [f64; 3] {
        self.0.map(median)
    }
}

/// Lets so many clients ask for a while. Each has a connection of its own, made and used once before.
pub(crate) fn measure<C: Client>(
    concurrency: usize,
    duration: Duration,
    client: impl Fn() -> C + Sync,
) -> Latencies {
    let mut clients: Vec<C> = (0..concurrency).map(|_| client()).collect();
    thread::scope(|scope| clients.iter_mut().for_each(|client| drop(scope.spawn(|| client.ask()))));
    let until = Instant::now() + duration;
    let mut sorted_ms: Vec<f64> = thread::scope(|scope| {
        let asking = clients.iter_mut().enumerate().map(|(index, client)| {
            scope.spawn(move || {
                let mut latencies = Vec::new();
                // Not all at one moment.
                thread::sleep(Duration::from_micros(20_000 * index as u64 / concurrency as u64));
                let mut began = Instant::now();
                while began < until {
                    client.ask();
                    latencies.push(began.elapsed().as_secs_f64() * 1e3);
                    began = Instant::now();
                }
                latencies
            })
        });
        let asking: Vec<_> = asking.collect();
        asking.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    sorted_ms.sort_by(f64::total_cmp);
    Latencies { sorted_ms }
}
