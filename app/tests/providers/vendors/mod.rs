//! Servers on this machine that speak as each vendor does, and do what a test tells them: answer, refuse, hang, break off.
//!
//! The shapes of requests and responses are those that the vendors document; one file each.

mod anthropic;
mod gemini;
mod openai;
mod openrouter;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use techsapo_app::providers::{ErrorKind, Tokens};

/// Longest that a hanging server holds on to a caller.
const HANG: Duration = Duration::from_secs(20);

/// What a vendor documents, for tests that are the same for all.
pub(crate) struct Shape {
    /// Its section of `providers.toml`.
    pub(crate) section: &'static str,
    /// The environment variable of its key.
    pub(crate) key_variable: &'static str,
    /// A model, and where a question to it goes: plain, and streamed.
    pub(crate) model: &'static str,
    pub(crate) paths: [&'static str; 2],
    /// The header that carries the key, and what stands before the key in it.
    pub(crate) key_header: (&'static str, &'static str),
    /// Where the question stands in the body.
    pub(crate) question: &'static str,
    /// An answer that used [`Shape::tokens`]: of this model, with this text.
    pub(crate) answer: fn(&str, &str) -> Value,
    /// The same in events.
    pub(crate) stream: fn(&str, &str) -> Vec<String>,
    /// What the answers used.
    pub(crate) tokens: Tokens,
    /// Documented refusals: status, body, and what each means.
    pub(crate) refusals: &'static [(u16, &'static str, ErrorKind)],
    /// The refusal of a model that is gone.
    pub(crate) gone: (u16, &'static str),
    /// Responses of 200 that hold no answer, and what each means. All used [`Shape::tokens`].
    pub(crate) no_answers: fn() -> Vec<(Value, ErrorKind)>,
    /// Streams that end in no answer, what each means, and the tokens known by then.
    pub(crate) broken_streams: fn() -> Vec<BrokenStream>,
}

/// A stream's events, what their end means, and the tokens known by then.
type BrokenStream = (Vec<String>, ErrorKind, Tokens);

/// All vendors.
pub(crate) const SHAPES: [Shape; 4] = [gemini::SHAPE, openai::SHAPE, anthropic::SHAPE, openrouter::SHAPE];

/// An event of a stream, without a name.
fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// An event of a stream, named as its type.
fn named(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap())
}

/// A copy of `value` with another value at a JSON pointer.
fn with(value: &Value, pointer: &str, new: Value) -> Value {
    let mut copy = value.clone();
    *copy.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} in {value}")) = new;
    copy
}

/// A piece of a reply.
#[derive(Clone)]
enum Piece {
    Bytes(Vec<u8>),
    Pause(Duration),
    /// These bytes so many times.
    Repeated(Vec<u8>, usize),
    /// Nothing, for very long.
    Hang,
}

/// What a server does when it is asked. The connection ends behind it.
#[derive(Clone)]
pub(crate) struct Reply(Vec<Piece>);

impl Reply {
    /// A whole response.
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut head =
            format!("HTTP/1.1 {status} Status\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            head.push_str("content-type: application/json\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        Self(vec![Piece::Bytes(format!("{head}\r\n{body}").into_bytes())])
    }

    /// JSON with status 200.
    pub(crate) fn json(body: &Value) -> Self {
        Self::new(200, &[], &body.to_string())
    }

    /// A stream of events, whole, in small pieces.
    pub(crate) fn events(events: &[String]) -> Self {
        let mut reply = Self::open_stream();
        for piece in events.concat().as_bytes().chunks(97) {
            reply.0.push(Piece::Bytes(chunk(piece)));
        }
        reply.0.push(Piece::Bytes(b"0\r\n\r\n".to_vec()));
        reply
    }

    /// A stream that breaks off after these events.
    pub(crate) fn broken_events(events: &[String]) -> Self {
        let mut reply = Self::open_stream();
        reply.0.push(Piece::Bytes(chunk(events.concat().as_bytes())));
        reply
    }

    /// A stream that falls silent after these events.
    pub(crate) fn silent_events(events: &[String]) -> Self {
        let mut reply = Self::broken_events(events);
        reply.0.push(Piece::Hang);
        reply
    }

    fn open_stream() -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        Self(vec![Piece::Bytes(head.as_bytes().to_vec())])
    }

    /// Nothing at all.
    pub(crate) fn hang() -> Self {
        Self(vec![Piece::Hang])
    }

    /// This response, broken off in its middle.
    pub(crate) fn cut(self) -> Self {
        let Some(Piece::Bytes(bytes)) = self.0.into_iter().next() else { panic!("nothing to cut") };
        let half = bytes.len() - 10;
        Self(vec![Piece::Bytes(bytes[..half].to_vec())])
    }

    /// This response, its last bytes a while later.
    pub(crate) fn slow(self, pause: Duration) -> Self {
        let Some(Piece::Bytes(mut bytes)) = self.0.into_iter().next() else { panic!("nothing to slow down") };
        let rest = bytes.split_off(bytes.len() - 10);
        Self(vec![Piece::Bytes(bytes), Piece::Pause(pause), Piece::Bytes(rest)])
    }

    /// A body of so many mebibytes.
    pub(crate) fn huge(mebibytes: usize) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n\"", mebibytes << 20);
        Self(vec![Piece::Bytes(head.into_bytes()), Piece::Repeated(vec![b'x'; 1 << 20], mebibytes)])
    }

    fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Bytes(bytes) => stream.write_all(bytes)?,
                Piece::Pause(pause) => std::thread::sleep(*pause),
                Piece::Repeated(bytes, times) => {
                    for _ in 0..*times {
                        stream.write_all(bytes)?;
                    }
                }
                Piece::Hang => {
                    stream.set_read_timeout(Some(HANG))?;
                    // Ends when the caller goes.
                    let _ = stream.read(&mut [0]);
                }
            }
        }
        Ok(())
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A request that a server saw.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A server that gives these replies in turn, and the last of them for ever.
pub(crate) struct VendorServer {
    url: String,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl VendorServer {
    pub(crate) fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (replies, seen) =
            (Arc::new(Mutex::new(replies.into_iter().collect())), Arc::new(Mutex::new(Vec::new())));
        let server = Self { url, replies: Arc::clone(&replies), seen: Arc::clone(&seen) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (replies, seen) = (Arc::clone(&replies), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, &replies, &seen));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Gives these replies from now on.
    pub(crate) fn now(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.replies.lock().unwrap() = replies.into_iter().collect();
    }
}

fn serve(mut stream: TcpStream, replies: &Mutex<VecDeque<Reply>>, seen: &Mutex<Vec<Seen>>) {
    let Some(request) = read_request(&stream) else { return };
    let reply = {
        let mut replies = replies.lock().unwrap();
        // Seen before the reply is taken: who reads the answer can see the question.
        seen.lock().unwrap().push(request);
        if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
    };
    // A caller who has gone does not matter.
    let _ = reply.expect("a server without replies is not asked").send(&mut stream);
}

fn read_request(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { path, headers, body: serde_json::from_slice(&body).ok()? })
}
