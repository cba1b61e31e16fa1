//! Behaviour that deserves a person's look: nothing is refused for it, it is stated.
//!
//! * A **spike**: a caller asks at least [`SPIKE_FLOOR`] times in a minute, and [`SPIKE_FACTOR`] times as often as in its own
//!   mean minute of the last ten. Stated once a minute; a caller who is new has no history to differ from.
//! * A **key in many hands**: asked with from more than [`NETWORKS`] networks within an hour. Stated once an hour.
//! * A **probe**: somebody asks for a path that only scanners ask for.
//!
//! Pure: time comes in, and memory is bounded whatever comes.

use std::collections::HashMap;
use std::hash::Hash;

use techsapo_shared::labels::AnomalyType;

/// Fewest requests of a minute that are a spike.
pub const SPIKE_FLOOR: u32 = 60;
/// How many times its own mean minute a caller must exceed.
pub const SPIKE_FACTOR: u32 = 5;
/// Networks that one key may be used from within an hour.
pub const NETWORKS: usize = 8;

/// Minutes that a mean is over.
const HISTORY: usize = 10;
/// Fewest minutes since a caller's first request that make a history.
const SETTLED: u64 = 5;
/// Most callers that are followed.
const MAX_CALLERS: usize = 10_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MINUTES: u64 = 60;

/// Paths that nothing here answers, and that scanners try. Compared in lower case, anywhere in the path.
const PROBED: &[&str] = &[
    "/.env",
    "/.git",
    "/.aws",
    "/.ssh",
    "/.htpasswd",
    "/admin",
    "/wp-",
    "/phpmyadmin",
    "/xmlrpc.php",
    "/cgi-bin",
    "/etc/passwd",
    "/actuator",
    "/server-status",
    "/id_rsa",
    "/backup.",
    "/config.php",
    "/shell",
    "../",
    "%2e%2e",
];

/// Whether only a scanner would ask for this path.
pub fn is_probe(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    PROBED.iter().any(|probed| path.contains(probed))
}

/// What one caller did.
#[derive(Debug, Clone)]
struct Activity {
    first_minute: u64,
    /// The minute that is running, and requests in it.
    minute: u64,
    count: u32,
    /// Requests of the minutes before, by number of the minute.
    history: [u32; HISTORY],
    spike_stated: bool,
    /// Networks, each with the last minute that it was seen in.
    networks: Vec<(u64, u64)>,
    misuse_stated: Option<u64>,
}

impl Activity {
    fn new(minute: u64) -> Self {
        Self {
            first_minute: minute,
            minute,
            count: 0,
            history: [0; HISTORY],
            spike_stated: false,
            networks: Vec::new(),
            misuse_stated: None,
        }
    }

    fn go_to(&mut self, minute: u64) {
        let passed = minute.saturating_sub(self.minute);
        for gone in 0..passed.min(HISTORY as u64) {
            // The minute that ends, then empty ones.
            let place = ((self.minute + gone) % HISTORY as u64) as usize;
            self.history[place] = if gone == 0 { self.count } else { 0 };
        }
        if passed >= HISTORY as u64 {
            self.history = [0; HISTORY];
        }
        if passed > 0 {
            (self.minute, self.count, self.spike_stated) = (minute, 0, false);
        }
    }

    fn is_spike(&mut self) -> bool {
        let age = self.minute - self.first_minute;
        let minutes = age.min(HISTORY as u64) as u32;
        let total: u32 = self.history.iter().fold(0, |total, count| total.saturating_add(*count));
        // count > factor * total / minutes, without a division.
        let above = u64::from(self.count) * u64::from(minutes) > u64::from(SPIKE_FACTOR) * u64::from(total);
        let spike = !self.spike_stated && age >= SETTLED && self.count >= SPIKE_FLOOR && above;
        self.spike_stated |= spike;
        spike
    }

    fn is_in_many_hands(&mut self, network: u64) -> bool {
        let minute = self.minute;
        self.networks.retain(|(_, seen)| seen + HOUR_MINUTES > minute);
        let room = self.networks.len() <= NETWORKS;
        match self.networks.iter_mut().find(|(known, _)| *known == network) {
            Some((_, seen)) => *seen = minute,
            None if room => self.networks.push((network, minute)),
            None => {}
        }
        let stated_lately = self.misuse_stated.is_some_and(|at| at + HOUR_MINUTES > minute);
        let misuse = self.networks.len() > NETWORKS && !stated_lately;
        if misuse {
            self.misuse_stated = Some(minute);
        }
        misuse
    }
}

/// Follows callers.
#[derive(Debug)]
pub struct Watcher<K> {
    callers: HashMap<K, Activity>,
}

impl<K> Default for Watcher<K> {
    fn default() -> Self {
        Self { callers: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> Watcher<K> {
    /// Takes in a request: by whom, from which network if that is told apart (a number for it), and when, in
    /// milliseconds from any fixed moment.
    pub fn request(&mut self, caller: &K, network: Option<u64>, now_ms: u64) -> Vec<AnomalyType> {
        let minute = now_ms / MINUTE_MS;
        if !self.callers.contains_key(caller) {
            self.make_room(minute);
        }
        let activity = self.callers.entry(caller.clone()).or_insert_with(|| Activity::new(minute));
        activity.go_to(minute);
        activity.count = activity.count.saturating_add(1);
        let mut found = Vec::new();
        if activity.is_spike() {
            found.push(AnomalyType::TrafficSpike);
        }
        if network.is_some_and(|network| activity.is_in_many_hands(network)) {
            found.push(AnomalyType::ApiKeyMisuse);
        }
        found
    }

    fn make_room(&mut self, minute: u64) {
        if self.callers.len() >= MAX_CALLERS {
            self.callers.retain(|_, activity| activity.minute + HOUR_MINUTES > minute);
        }
        if self.callers.len() >= MAX_CALLERS {
            self.callers.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(watcher: &mut Watcher<u32>, minute: u64, requests: u32) -> Vec<AnomalyType> {
        (0..requests).flat_map(|_| watcher.request(&1, None, minute * MINUTE_MS)).collect()
    }

    #[test]
    fn a_spike_is_measured_against_the_caller_s_own_history_and_stated_once_a_minute() {
        let mut watcher = Watcher::default();
        assert_eq!(minute(&mut watcher, 0, 500), [], "who is new has no history");
        for quiet in 1..12 {
            assert_eq!(minute(&mut watcher, quiet, 20), [], "{quiet}");
        }
        assert_eq!(minute(&mut watcher, 12, 100), [], "five times the mean, not more");
        assert_eq!(minute(&mut watcher, 13, 400), [AnomalyType::TrafficSpike]);
        assert_eq!(minute(&mut watcher, 14, 200), [], "a busy minute is history too");
        // After a silence, the least that is a spike.
        assert_eq!(minute(&mut watcher, 60, SPIKE_FLOOR - 1), []);
        assert_eq!(minute(&mut watcher, 61, SPIKE_FLOOR + 300), [AnomalyType::TrafficSpike]);
    }

    #[test]
    fn a_key_in_many_hands_is_stated_once_an_hour() {
        let mut watcher = Watcher::default();
        let mut seen = |network: u64, minute: u64| watcher.request(&1, Some(network), minute * MINUTE_MS);
        for network in 0..8 {
            assert_eq!(seen(network, network), []);
        }
        assert_eq!(seen(3, 9), []);
        assert_eq!(seen(8, 10), [AnomalyType::ApiKeyMisuse]);
        assert_eq!(seen(9, 11), [], "stated already");
        // An hour later most are forgotten.
        assert_eq!(seen(10, 71), []);
        for network in 20..27 {
            assert_eq!(seen(network, 72), []);
        }
        assert_eq!(seen(27, 73), [AnomalyType::ApiKeyMisuse]);
    }

    #[test]
    fn callers_without_number_do_not_fill_the_memory() {
        let mut watcher = Watcher::default();
        for caller in 0..3 * MAX_CALLERS {
            watcher.request(&caller, None, 0);
            assert!(watcher.callers.len() <= MAX_CALLERS);
        }
    }

    #[test]
    fn scanners_are_told_from_callers() {
        for path in
            ["/.env", "/app/.ENV", "/wp-login.php", "/admin/", "/static/../../etc/passwd", "/%2e%2E/x"]
        {
            assert!(is_probe(path), "{path}");
        }
        for path in ["/", "/api/v1/generate", "/health", "/metrics", "/environment", "/favicon.ico"] {
            assert!(!is_probe(path), "{path}");
        }
    }
}
