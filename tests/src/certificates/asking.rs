//! Clients that ask servers all the time, each request by a connection of its own and, every few requests, with the pair of files read
//! anew: whatever goes wrong while certificates are changed, they meet it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client;
use crate::http;

const PAUSE: Duration = Duration::from_millis(40);
/// Requests until a client reads its files anew.
const REQUESTS_OF_A_CLIENT: u32 = 8;
/// The certificate that the clients show.
const SHOWN: &str = "prometheus";

/// What they have met.
#[derive(Debug, Default)]
struct Met {
    asked: AtomicU64,
    failures: Mutex<Vec<String>>,
    ended: AtomicBool,
}

/// One client for each server, asking until [`Asking::stop`].
#[derive(Debug)]
pub struct Asking {
    met: Arc<Met>,
    threads: Vec<JoinHandle<()>>,
}

impl Asking {
    /// Starts them; `folder` is that of the certificates.
    pub(super) fn start(folder: &Path, urls: Vec<String>) -> Self {
        let met = Arc::new(Met::default());
        let threads = urls.into_iter().map(|url| {
            let (met, folder) = (Arc::clone(&met), folder.to_owned());
            std::thread::spawn(move || ask(&met, &folder, &url))
        });
        Self { threads: threads.collect(), met }
    }

    /// Requests so far.
    pub fn asked(&self) -> u64 {
        self.met.asked.load(Ordering::Relaxed)
    }

    /// What failed so far.
    ///
    /// # Panics
    /// When a client has.
    pub fn failures(&self) -> Vec<String> {
        self.met.failures.lock().unwrap().clone()
    }

    /// Ends them: how many requests there were, and why some failed.
    ///
    /// # Panics
    /// When a client has.
    pub fn stop(mut self) -> (u64, Vec<String>) {
        self.end();
        (self.asked(), self.failures())
    }

    fn end(&mut self) {
        self.met.ended.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.met.ended.store(true, Ordering::Relaxed);
    }
}

fn ask(met: &Met, folder: &Path, url: &str) {
    while !met.ended.load(Ordering::Relaxed) {
        match client(folder, Some(SHOWN)) {
            Ok(client) => (0..REQUESTS_OF_A_CLIENT).for_each(|_| {
                met.asked.fetch_add(1, Ordering::Relaxed);
                let ask = || http::send(client.get(url));
                match ask().or_else(|reason| if is_unanswered(&reason) { ask() } else { Err(reason) }) {
                    Ok(answer) if answer.status == 200 => {}
                    Ok(answer) => fail(met, format!("{url}: HTTP {}: {}", answer.status, answer.text())),
                    Err(reason) => fail(met, format!("{url}: {reason}")),
                }
                std::thread::sleep(PAUSE);
            }),
            Err(reason) => fail(met, format!("the pair of files: {reason}")),
        }
    }
}

/// Whether the server took the connection and closed it before it had read a request, as nginx does when it is told to read its files anew
/// between the two. HTTP lets a client ask again, once, what changes nothing; a certificate that was refused looks otherwise.
fn is_unanswered(reason: &str) -> bool {
    ["UnexpectedEof", "IncompleteMessage", "ConnectionReset"].iter().any(|kind| reason.contains(kind))
}

fn fail(met: &Met, reason: String) {
    met.failures.lock().unwrap().push(reason);
}
