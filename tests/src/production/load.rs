//! Clients that ask nginx without a pause, and what came of each request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::json;

use crate::{Nginx, http, wait};

/// Clients that ask questions, and clients that only look.
const ASKERS: usize = 4;
const LOOKERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(25);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `GET /health`.
    Look,
    /// `POST /api/v1/generate`, each time another question.
    Question,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was asked.
    pub ask: Ask,
    /// When.
    pub begun: Instant,
    /// When it was over.
    pub ended: Instant,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    paused: AtomicBool,
    busy: AtomicUsize,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Load {
    /// Starts to ask.
    pub fn on(nginx: &Nginx) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |number: usize| {
            let (shared, client) = (Arc::clone(&shared), nginx.client());
            let ask = if number < ASKERS { Ask::Question } else { Ask::Look };
            let url = nginx.url(if ask == Ask::Question { "/api/v1/generate" } else { "/health" });
            thread::spawn(move || shared.ask_until_stopped(&client, &url, ask, number))
        };
        let clients = (0..ASKERS + LOOKERS).map(client).collect();
        Self { shared, clients }
    }

    /// Lets every request end, and begins no other until [`Load::go_on`].
    pub fn pause(&self) {
        self.shared.paused.store(true, Ordering::SeqCst);
        wait::until_within(2 * wait::PATIENCE, "every request has ended", || {
            (self.shared.busy.load(Ordering::SeqCst) == 0).then_some(())
        });
    }

    /// Asks again.
    pub fn go_on(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
    }

    /// Every request that ended so far.
    ///
    /// # Panics
    /// When a client failed.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.shared.outcomes.lock().unwrap().clone()
    }

    /// Questions that were answered so far.
    pub fn answered(&self) -> u64 {
        self.outcomes().iter().filter(|one| one.is_answer()).count() as u64
    }

    /// Waits until a question that was asked after `since` is answered, and then `more` others.
    ///
    /// # Panics
    /// When none ever is.
    pub fn wait_answered_since(&self, since: Instant, more: usize) -> Instant {
        wait::until("questions are answered", || {
            let outcomes = self.outcomes();
            let mut answers = outcomes.iter().filter(|one| one.is_answer() && one.begun > since);
            let first = answers.next()?;
            (answers.count() >= more).then_some(first.ended)
        })
    }
}

impl Outcome {
    /// Whether a question was answered.
    pub fn is_answer(&self) -> bool {
        self.ask == Ask::Question && self.failure.is_none()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Shared {
    fn ask_until_stopped(&self, client: &Client, url: &str, ask: Ask, number: usize) {
        let mut question = 0;
        while !self.stop.load(Ordering::SeqCst) {
            self.busy.fetch_add(1, Ordering::SeqCst);
            // Looked at while we are counted, so that whoever pauses us waits for us.
            if !self.paused.load(Ordering::SeqCst) {
                question += 1;
                let request = match ask {
                    Ask::Look => client.get(url),
                    Ask::Question => {
                        let prompt = format!("Client {number} asks question {question}: what is to be done?");
                        client.post(url).json(&json!({"prompt": prompt, "task_type": "basic"}))
                    }
                };
                let begun = Instant::now();
                let failure = match http::send(request) {
                    Ok(answer) if answer.status == 200 => None,
                    Ok(answer) => Some(format!("{} {}", answer.status, answer.text())),
                    Err(why) => Some(why),
                };
                let outcome = Outcome { ask, begun, ended: Instant::now(), failure };
                self.outcomes.lock().unwrap().push(outcome);
            }
            self.busy.fetch_sub(1, Ordering::SeqCst);
            thread::sleep(PAUSE);
        }
    }
}
