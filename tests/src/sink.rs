//! Where notifications arrive in tests: an HTTP server that answers 200 to everything, and a mail server that takes
//! everything. Both only remember.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Larger bodies are nothing that a notification sends.
const MAX_BODY_BYTES: usize = 1 << 20;

/// What arrived: (path or recipient, body).
type Arrived = Arc<Mutex<Vec<(String, String)>>>;

/// A server on a free port of 127.0.0.1, for as long as the test process runs.
#[derive(Debug)]
pub struct Sink {
    address: String,
    arrived: Arrived,
}

impl Sink {
    /// Takes HTTP requests.
    pub fn http() -> Self {
        Self::serve(take_request)
    }

    /// Takes mail by SMTP, without encryption.
    pub fn mail() -> Self {
        Self::serve(take_mail)
    }

    fn serve(take: fn(TcpStream, &Arrived) -> Option<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let arrived = Arrived::default();
        let shared = Arc::clone(&arrived);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || take(connection, &shared));
            }
        });
        Self { address, arrived }
    }

    /// Where it listens, `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The bodies that arrived at this path, or for this recipient, in their order.
    ///
    /// # Panics
    /// When a connection's thread failed.
    pub fn arrived(&self, at: &str) -> Vec<String> {
        let arrived = self.arrived.lock().unwrap();
        arrived.iter().filter(|(to, _)| to == at).map(|(_, body)| body.clone()).collect()
    }

    /// The same, read as JSON.
    ///
    /// # Panics
    /// When one of them is not JSON.
    pub fn json(&self, at: &str) -> Vec<Value> {
        self.arrived(at).iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }
}

/// Requests of one connection, until it ends.
fn take_request(connection: TcpStream, arrived: &Arrived) -> Option<()> {
    let mut writer = connection.try_clone().ok()?;
    let mut reader = BufReader::new(connection);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&length| length > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; Some(length).filter(|&length| length <= MAX_BODY_BYTES)?];
        reader.read_exact(&mut body).ok()?;
        arrived.lock().ok()?.push((path, String::from_utf8_lossy(&body).into_owned()));
        // PagerDuty's API says 202; the others are content with any success.
        writer.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok").ok()?;
    }
}

/// The mails of one connection, until it ends.
fn take_mail(connection: TcpStream, arrived: &Arrived) -> Option<()> {
    let mut writer = connection.try_clone().ok()?;
    let mut lines = BufReader::new(connection).lines();
    let mut recipient = String::new();
    writer.write_all(b"220 sink\r\n").ok()?;
    loop {
        let line = lines.next()?.ok()?;
        let command = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
        let reply = match command.as_str() {
            "EHLO" => "250-sink\r\n250 8BITMIME\r\n",
            "RCPT" => {
                recipient = line.split(['<', '>']).nth(1)?.to_owned();
                "250 ok\r\n"
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n").ok()?;
                let text: Vec<String> =
                    lines.by_ref().map_while(Result::ok).take_while(|line| line != ".").collect();
                arrived.lock().ok()?.push((recipient.clone(), text.join("\n")));
                "250 ok\r\n"
            }
            _ => "250 ok\r\n",
        };
        writer.write_all(reply.as_bytes()).ok()?;
    }
}
