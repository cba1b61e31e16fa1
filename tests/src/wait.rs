//! Waiting for what another process will do: polled, bounded, and generous, for a test machine may be busy.

use std::time::{Duration, Instant};

/// How long anything may take before it counts as never happening.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// How long nobody asks after an answer that is none: at least so long, and as long as asking took, up to a limit, so that who waits
/// leaves the machine to those that are waited for.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asks until there is an answer, and returns it.
///
/// # Panics
/// When there was none within [`PATIENCE`]; `what` says what was waited for.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, ask)
}

/// The same with another limit, for what takes long by its nature.
///
/// # Panics
/// When there was no answer within `patience`.
pub fn until_within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        let asked = Instant::now();
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        std::thread::sleep(asked.elapsed().clamp(PAUSE, LONGEST_PAUSE));
    }
}

/// Asks until the answer is yes.
///
/// # Panics
/// When it was not within [`PATIENCE`].
pub fn until_true(what: &str, mut ask: impl FnMut() -> bool) {
    until(what, || ask().then_some(()));
}
