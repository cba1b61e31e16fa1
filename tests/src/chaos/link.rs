//! The way of some clients to Redis: a port that leads to its port, and that can be made a bad way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::tap::{Tap, take_command};

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Everything passes.
    Fair,
    /// Connections end as soon as they begin.
    Refused,
    /// Everything passes later.
    Slow(Duration),
    /// Commands arrive, replies do not.
    Unanswered,
}

/// A port that leads to a Redis.
#[derive(Debug)]
pub(super) struct Link {
    port: u16,
    way: Arc<Way>,
}

#[derive(Debug)]
struct Way {
    redis: u16,
    weather: Mutex<Weather>,
    /// Both ends of every connection.
    ends: Mutex<Vec<TcpStream>>,
    /// The next command is cut in its middle.
    cut_midway: AtomicBool,
    over: AtomicBool,
    tap: Option<Arc<Mutex<Tap>>>,
}

impl Link {
    /// Leads to port `redis` of 127.0.0.1. What clients send is told to `tap`.
    pub(super) fn to(redis: u16, tap: Option<Arc<Mutex<Tap>>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Way {
            redis,
            weather: Mutex::new(Weather::Fair),
            ends: Mutex::default(),
            cut_midway: AtomicBool::new(false),
            over: AtomicBool::new(false),
            tap,
        });
        let of_thread = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if of_thread.over.load(Ordering::Relaxed) {
                    return;
                }
                of_thread.open(client);
            }
        });
        Self { port, way }
    }

    /// The URL that its clients are given.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Changes the weather. Connections that lost replies are cut when it clears up: they are out of step.
    pub(super) fn set(&self, weather: Weather) {
        let before = std::mem::replace(&mut *self.way.weather.lock().unwrap(), weather);
        if before == Weather::Unanswered || weather == Weather::Refused {
            self.cut();
        }
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        for end in self.way.ends.lock().unwrap().drain(..) {
            // Closed already is what was wanted.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Cuts the next connection that sends something, with half of it sent.
    pub(super) fn cut_midway(&self) {
        self.way.cut_midway.store(true, Ordering::Relaxed);
    }
}

impl Way {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap()
    }

    fn open(self: &Arc<Self>, client: TcpStream) {
        if self.weather() == Weather::Refused {
            return;
        }
        let Ok(redis) = TcpStream::connect(("127.0.0.1", self.redis)) else { return };
        let (Ok(from_client), Ok(from_redis)) = (client.try_clone(), redis.try_clone()) else { return };
        self.ends.lock().unwrap().extend([client.try_clone(), redis.try_clone()].into_iter().flatten());
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || there.carry_commands(from_client, redis));
        thread::spawn(move || back.carry_replies(from_redis, client));
    }

    fn carry_commands(&self, from: TcpStream, to: TcpStream) {
        let mut unheard = Vec::new();
        carry(from, to, |bytes| {
            if let Some(tap) = &self.tap {
                unheard.extend_from_slice(bytes);
                while let Some(words) = take_command(&mut unheard) {
                    tap.lock().unwrap().hear(&words);
                }
            }
            self.linger();
            if self.cut_midway.swap(false, Ordering::Relaxed) {
                return Pass::Then(bytes.len() / 2);
            }
            Pass::All
        });
    }

    fn carry_replies(&self, from: TcpStream, to: TcpStream) {
        carry(from, to, |_| {
            self.linger();
            if self.weather() == Weather::Unanswered { Pass::Nothing } else { Pass::All }
        });
    }

    fn linger(&self) {
        if let Weather::Slow(delay) = self.weather() {
            thread::sleep(delay);
        }
    }
}

/// What of some bytes goes on.
enum Pass {
    All,
    Nothing,
    /// So many, and then the connection is cut.
    Then(usize),
}

/// Carries bytes one way until either end is closed.
fn carry(mut from: TcpStream, mut to: TcpStream, mut judge: impl FnMut(&[u8]) -> Pass) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        let gone = match judge(bytes) {
            Pass::All => to.write_all(bytes).is_err(),
            Pass::Nothing => false,
            Pass::Then(some) => {
                let _ = to.write_all(&bytes[..some]);
                true
            }
        };
        if gone {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
        self.way.over.store(true, Ordering::Relaxed);
        // So that it notices.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
