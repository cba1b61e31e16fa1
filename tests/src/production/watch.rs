//! Looks ten times a second at what the exporters serve: from when on nobody served the facts, and when what was answered is counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http;

const PERIOD: Duration = Duration::from_millis(100);
/// A page that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(1);
/// Analyses on a page: series that whoever holds the state has, and nobody else.
const ANALYSES: &str = "techsapo_wallbounce_requests_total{";

/// One look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// When it began.
    pub at: Instant,
    /// Analyses that the page counts; nothing if nobody served the facts.
    pub counted: Option<u64>,
}

/// Somebody who looks.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    looks: Arc<Mutex<Vec<Look>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look at the exporters at these addresses.
    pub fn on(urls: Vec<String>) -> Self {
        let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (of_thread, told) = (Arc::clone(&stop), Arc::clone(&looks));
        let thread = thread::spawn(move || {
            let client = http::builder().timeout(PATIENCE).build().unwrap();
            while !of_thread.load(Ordering::Relaxed) {
                let at = Instant::now();
                let page = |url: &String| http::send(client.get(format!("{url}/metrics"))).ok();
                let counted = urls.iter().filter_map(page).find_map(|page| counted(&page.text()));
                told.lock().unwrap().push(Look { at, counted });
                thread::sleep(PERIOD);
            }
        });
        Self { stop, looks, thread: Some(thread) }
    }

    /// All looks that began after `since`.
    ///
    /// # Panics
    /// When the thread that looks failed.
    pub fn since(&self, since: Instant) -> Vec<Look> {
        self.looks.lock().unwrap().iter().filter(|look| look.at > since).copied().collect()
    }

    /// When so many analyses were first seen counted.
    ///
    /// # Panics
    /// When the thread that looks failed.
    pub fn counted_at(&self, analyses: u64) -> Option<Instant> {
        let looks = self.looks.lock().unwrap();
        looks.iter().find(|look| look.counted.is_some_and(|counted| counted >= analyses)).map(|look| look.at)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Analyses that a page counts; nothing if it is not that of the state's holder.
pub(super) fn counted(page: &str) -> Option<u64> {
    let lines: Vec<_> = page.lines().filter(|line| line.starts_with(ANALYSES)).collect();
    let value = |line: &&str| line.rsplit(' ').next()?.parse::<u64>().ok();
    (!lines.is_empty()).then(|| lines.iter().filter_map(value).sum())
}
