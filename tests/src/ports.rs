//! Free ports for servers under test.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range that the kernel takes the ports of outgoing connections from: there, a port that was free when
/// chosen, or while its server restarts, may be taken a moment later by anybody's connection.
const FIRST: u32 = 12_000;
/// Scripts under test take ports above them (scripts/lib/scratch.sh).
const COUNT: u32 = 8_000;

/// A port of 127.0.0.1 that nobody listens on, and that this process has not handed out before.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run side by side begin at different places.
    let start = std::process::id().wrapping_mul(7_919);
    (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("no free port on 127.0.0.1")
}
