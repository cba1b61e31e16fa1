//! Looks at every exporter's page ten times a second, and notes whatever went down that only goes up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reqwest::blocking::Response;

use crate::Exposition;

const PERIOD: Duration = Duration::from_millis(100);
/// A page that takes longer, of an exporter that is paused, is passed over.
const PATIENCE: Duration = Duration::from_secs(1);
/// Has series on the page of whoever serves the state, and on no other.
const MARK: &str = "techsapo_telemetry_events_total";

/// The thread that looks.
#[derive(Debug)]
pub(super) struct Scraper {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Rises whenever counting begins anew.
    epoch: AtomicU64,
    pages: AtomicU64,
    decreases: Mutex<Vec<String>>,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// Pages with the state's series.
    pub(super) pages: u64,
    /// What went down, or was no page.
    pub(super) decreases: Vec<String>,
}

impl Scraper {
    /// Starts to look at these addresses.
    pub(super) fn on(urls: Vec<String>) -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        Self { shared, thread: thread::spawn(move || of_thread.look_at(&urls)) }
    }

    /// Counters begin at zero from here on. To be called while no exporter runs.
    pub(super) fn expect_reset(&self) {
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends.
    pub(super) fn stop(self) -> Seen {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        let mut decreases = std::mem::take(&mut *self.shared.decreases.lock().unwrap());
        if ended.is_err() {
            decreases.push("a page broke the format; what is wrong with it stands above".to_owned());
        }
        Seen { pages: self.shared.pages.load(Ordering::Relaxed), decreases }
    }
}

/// Whether this is the page of the state's holder.
pub(super) fn serves_the_state(page: &Exposition) -> bool {
    page.family(MARK).is_some_and(|family| !family.samples.is_empty())
}

impl Shared {
    fn look_at(&self, urls: &[String]) {
        let client = crate::http::builder().timeout(PATIENCE).build().unwrap();
        let mut last: Option<(u64, Exposition)> = None;
        while !self.stop.load(Ordering::Relaxed) {
            for url in urls {
                let epoch = self.epoch.load(Ordering::SeqCst);
                let answer = client.get(format!("{url}/metrics")).send().and_then(Response::text);
                let Ok(page) = answer else { continue };
                let page = Exposition::parse(&page);
                if !serves_the_state(&page) || epoch != self.epoch.load(Ordering::SeqCst) {
                    continue;
                }
                if let Some((_, earlier)) = last.as_ref().filter(|(of, _)| *of == epoch) {
                    self.decreases.lock().unwrap().extend(page.decreases_since(earlier));
                }
                last = Some((epoch, page));
                self.pages.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(PERIOD);
        }
    }
}
