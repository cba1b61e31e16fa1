//! What stands between clients and a server: a port that leads to the server's, can be led to another, and can be made
//! a bad way. Somebody may listen to what clients send.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Fair,
    /// Connections end as soon as they begin.
    Refused,
    /// Everything passes later.
    Slow(Duration),
    /// What clients send arrives, replies do not.
    Unanswered,
}

/// Is given what one client has sent and was not taken out of the buffer before.
type Ear = dyn Fn(&mut Vec<u8>) + Send + Sync;

/// A port that leads to a server's port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    way: Arc<Way>,
}

struct Way {
    road: Mutex<Road>,
    /// The next thing that a client sends is cut in its middle.
    cut_midway: AtomicBool,
    over: AtomicBool,
    ear: Option<Box<Ear>>,
}

/// One lock for all of it: a connection is opened before a change or after it, and never missed by it.
#[derive(Debug)]
struct Road {
    /// Port of 127.0.0.1 that new connections lead to.
    to: u16,
    weather: Weather,
    /// Both ends of every connection.
    ends: Vec<TcpStream>,
}

impl Proxy {
    /// Leads to `port` of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn to(port: u16) -> Self {
        Self::open(port, None)
    }

    /// The same, and what clients send is told to `ear` before it goes on: all that a connection has sent and `ear` has
    /// not taken out of the buffer.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn overheard(port: u16, ear: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self::open(port, Some(Box::new(ear)))
    }

    fn open(to: u16, ear: Option<Box<Ear>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let road = Mutex::new(Road { to, weather: Weather::Fair, ends: Vec::new() });
        let (cut_midway, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let way = Arc::new(Way { road, cut_midway, over, ear });
        let of_thread = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if of_thread.over.load(Ordering::Relaxed) {
                    return;
                }
                of_thread.join(client);
            }
        });
        Self { port, way }
    }

    /// Its own port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address for clients of Redis.
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Leads new connections to `port`, in fair weather; those that stand are cut.
    pub fn lead_to(&self, port: u16) {
        let mut road = self.way.road.lock().unwrap();
        (road.to, road.weather) = (port, Weather::Fair);
        road.cut();
    }

    /// Changes the weather. Connections that lost replies are cut when it clears up: they are out of step.
    pub fn set(&self, weather: Weather) {
        let mut road = self.way.road.lock().unwrap();
        let before = std::mem::replace(&mut road.weather, weather);
        if before == Weather::Unanswered || weather == Weather::Refused {
            road.cut();
        }
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.way.road.lock().unwrap().cut();
    }

    /// Cuts the next connection that sends something, with half of it sent.
    pub fn cut_midway(&self) {
        self.way.cut_midway.store(true, Ordering::Relaxed);
    }
}

impl Road {
    fn cut(&mut self) {
        for end in self.ends.drain(..) {
            // Closed already is what was wanted.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Way {
    fn weather(&self) -> Weather {
        self.road.lock().unwrap().weather
    }

    /// Carries bytes both ways until either side ends, or the connection is cut.
    fn join(self: &Arc<Self>, client: TcpStream) {
        let mut road = self.road.lock().unwrap();
        if road.weather == Weather::Refused {
            return;
        }
        // Without a server the client's connection ends here.
        let Ok(server) = TcpStream::connect(("127.0.0.1", road.to)) else { return };
        let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
        road.ends.extend([client.try_clone(), server.try_clone()].into_iter().flatten());
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || there.carry_requests(from_client, server));
        thread::spawn(move || back.carry_replies(from_server, client));
    }

    fn carry_requests(&self, from: TcpStream, to: TcpStream) {
        let mut unheard = Vec::new();
        carry(from, to, |bytes| {
            if let Some(ear) = &self.ear {
                unheard.extend_from_slice(bytes);
                ear(&mut unheard);
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

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").field("road", &self.road).finish_non_exhaustive()
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

impl Drop for Proxy {
    fn drop(&mut self) {
        self.way.over.store(true, Ordering::Relaxed);
        self.set(Weather::Refused);
        // So that it notices.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
