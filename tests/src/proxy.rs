//! What stands between a client and a server: connections can be cut, and led to another server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::free_port;

/// A port that leads to a server's port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    road: Arc<Mutex<Road>>,
}

#[derive(Debug, Default)]
struct Road {
    /// Port that new connections lead to; nothing while they are refused.
    to: Option<u16>,
    /// Both ends of every connection so far.
    ends: Vec<TcpStream>,
    over: bool,
}

impl Proxy {
    /// Leads to `port` of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn to(port: u16) -> Self {
        let proxy = Self { port: free_port(), road: Arc::default() };
        proxy.lead_to(port);
        let listener = TcpListener::bind(("127.0.0.1", proxy.port)).unwrap();
        let road = Arc::clone(&proxy.road);
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut road = road.lock().unwrap();
                if road.over {
                    return;
                }
                // Without a server the client's connection ends here.
                let server = road.to.and_then(|port| TcpStream::connect(("127.0.0.1", port)).ok());
                if let (Ok(client), Some(server)) = (client, server) {
                    road.join(&client, &server);
                }
            }
        });
        proxy
    }

    /// Its own port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections to `port`; those that stand are cut.
    pub fn lead_to(&self, port: u16) {
        self.change(Some(port));
    }

    /// Cuts every connection, and every new one, until [`Proxy::lead_to`].
    pub fn cut_off(&self) {
        self.change(None);
    }

    fn change(&self, to: Option<u16>) {
        let mut road = self.road.lock().unwrap();
        road.to = to;
        for end in road.ends.drain(..) {
            // Closed already is what was wanted.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Road {
    /// Carries bytes both ways until either side ends, or the connection is cut.
    fn join(&mut self, client: &TcpStream, server: &TcpStream) {
        for (from, to) in [(client, server), (server, client)] {
            self.ends.push(from.try_clone().unwrap());
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || carry(from, to));
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut_off();
        self.road.lock().unwrap().over = true;
        // So that it notices.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
