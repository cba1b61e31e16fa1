//! CPU time as the kernel accounts for it, in nanoseconds, and memory.

use std::fs;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// CPU seconds that the threads of a process have used so far. (Threads that ended are not in it; the processes
/// measured here keep theirs.)
pub(crate) fn seconds_of(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.map(|thread| run_time(&thread.path().join("schedstat"))).sum::<u64>() as f64 / 1e9
}

/// CPU seconds that the calling thread has used so far.
pub(crate) fn seconds_of_this_thread() -> f64 {
    // What /proc tells of a running thread is as old as its last switch.
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

fn run_time(schedstat: &Path) -> u64 {
    // A thread may end between being listed and being read.
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    text.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
}

/// Largest resident set that a process ever had, in bytes.
pub(crate) fn peak_resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
