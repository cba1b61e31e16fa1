//! Clients that ask without a pause, and the ledger of what they sent and what they were answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Generated, app};

/// Clients of each app.
const CLIENTS: usize = 2;
const TASKS: [&str; 3] = ["basic", "premium", "critical"];
/// What makes one prompt longer than another, so that no two cost the same.
const WORDS: [&str; 7] = ["rollout", "of", "the", "migration", "behind", "a", "flag"];
/// Between one question and the next.
const PAUSE: Duration = Duration::from_millis(25);
/// After a failure.
const LONGER_PAUSE: Duration = Duration::from_millis(100);

/// One question.
#[derive(Debug)]
pub(super) struct Asked {
    /// Number of the app that was asked.
    pub(super) app: usize,
    /// The question.
    pub(super) prompt: String,
    /// Its tier.
    pub(super) task: &'static str,
    /// The answer; nothing if the connection ended before it, and then nobody knows what became of it.
    pub(super) answer: Option<Generated>,
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Asked>>>,
}

impl Load {
    /// Starts to ask the apps at these addresses.
    pub(super) fn on(urls: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let places = (0..urls.len()).flat_map(|app| (0..CLIENTS).map(move |client| (app, client)));
        let clients = places.map(|(app, client)| {
            let (stop, url) = (Arc::clone(&stop), urls[app].clone());
            thread::spawn(move || ask_until(&stop, &url, app, client))
        });
        let clients = clients.collect();
        Self { stop, clients }
    }

    /// Lets every client finish its question.
    pub(super) fn stop(self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn ask_until(stop: &AtomicBool, url: &str, app: usize, client: usize) -> Vec<Asked> {
    let mut ledger = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let words: Vec<_> = WORDS.iter().cycle().take(number % 40).copied().collect();
        let prompt = format!("Client {client} of app {app} asks question {number}: {}", words.join(" "));
        let task = TASKS[number % TASKS.len()];
        let answer = app::generate(url, &prompt, task);
        let pause = if answer.is_ok() { PAUSE } else { LONGER_PAUSE };
        // Where nobody listened, nothing was sent.
        if !matches!(&answer, Err(why) if why.contains("ConnectionRefused")) {
            ledger.push(Asked { app, prompt, task, answer: answer.ok() });
        }
        thread::sleep(pause);
    }
    ledger
}
