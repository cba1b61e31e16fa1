//! What any process between a client and vendors adds on this machine: a gateway that does nothing.
//!
//! A process of its own, as the app is. It reads a request, sends two vendors what the client would have sent them itself, waits for both
//! and says so: no Redis, no comparing, no library. Whatever the app adds beyond it is the app's own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::{env, fs, thread};

use techsapo_tests::vendors::Vendors;
use techsapo_tests::{Process, wait};
use tempfile::TempDir;

use crate::app::Direct;
use crate::connection::{self, Connection};
use crate::latency::Client;

/// First argument of this program when it is to be the gateway; the second is the vendors' address, the third a file for its own.
pub(crate) const ARGUMENT: &str = "--relay";

/// The running gateway.
pub(crate) struct Relay {
    process: Process,
    address: String,
    _folder: TempDir,
}

impl Relay {
    /// Before `vendors`.
    pub(crate) fn start(vendors: &Vendors) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("address");
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg(ARGUMENT).arg(vendors.address()).arg(&file);
        let process = Process::start("relay", folder.path(), &mut command);
        let address = wait::until("the relay listens", || {
            fs::read_to_string(&file).ok().filter(|address| address.ends_with('\n'))
        });
        Self { process, address: address.trim_end().to_owned(), _folder: folder }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// A client of it.
    pub(crate) fn client(&self) -> impl Client + use<> {
        Caller { connection: Connection::to(&self.address), address: self.address.clone() }
    }
}

struct Caller {
    connection: Connection,
    address: String,
}

impl Client for Caller {
    fn ask(&mut self) {
        self.connection.send(&connection::post(&self.address, "/", &[], &serde_json::json!({})));
        self.connection.receive();
    }
}

/// Is the gateway, until it is killed.
pub(crate) fn run(vendors: &str, file: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(file, format!("{}\n", listener.local_addr().unwrap())).unwrap();
    for client in listener.incoming().flatten() {
        let mut direct = Direct::at(vendors);
        thread::spawn(move || {
            let _ = serve(client, &mut direct);
            // Of a thread that ended nobody is told what CPU time it used.
            loop {
                thread::park();
            }
        });
    }
}

/// Serves a client until it goes.
fn serve(client: TcpStream, direct: &mut Direct) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        // The client's two bytes of body come with the empty line before them.
        if line == "\r\n" {
            reader.consume(2);
            direct.ask();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
    }
}
