//! An app in this process, on a free port, with its journal in a folder of its own; and a client that speaks plain
//! HTTP over real sockets, so that a test sees the bytes that a caller sees.

pub(crate) mod description;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use techsapo_app::config::{self, Settings};
use techsapo_app::providers::keys::KeySources;
use techsapo_app::service::{self, StartError};
use techsapo_app::telemetry::Recorder;
use techsapo_app::tls::{self, Tls};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Nothing here takes this long; a test that waits so has found a hang.
const HANG: Duration = Duration::from_secs(20);

pub(crate) struct App {
    address: SocketAddr,
    recorder: Recorder,
    runtime: Runtime,
    /// Taken when the app is stopped.
    running: Option<Running>,
    _journal: tempfile::TempDir,
}

/// What stops the app, and what tells that it has.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), StartError>>);

/// Settings for tests: nothing listens where Redis and the exporter would be, and the providers answer at once,
/// each time anew.
fn settings(overrides: &[(&str, &str)]) -> Settings {
    let base = [
        ("listen", "127.0.0.1:0"),
        ("instance", "under-test"),
        ("redis.url", "redis://127.0.0.1:1"),
        ("exporter.url", "http://127.0.0.1:1"),
        ("limits.basic_per_minute", "1000000"),
        ("cache.enabled", "false"),
        ("simulated.latency", "0ms"),
        ("simulated.latency_jitter", "0ms"),
        ("simulated.disagreement", "0"),
    ];
    let env: BTreeMap<_, _> = base
        .iter()
        .chain(overrides)
        .map(|(key, value)| (config::env_name(key), (*value).to_owned()))
        .collect();
    config::load(None, &env).unwrap_or_else(|error| panic!("{error}")).settings
}

impl App {
    pub(crate) fn start(overrides: &[(&str, &str)]) -> Self {
        Self::start_with(overrides, KeySources::default())
    }

    /// With keys of vendors.
    pub(crate) fn start_with(overrides: &[(&str, &str)], vendor_keys: KeySources) -> Self {
        let journal = tempfile::tempdir().unwrap();
        let keys = journal.path().join("keys.toml").display().to_string();
        let mut settings = settings(&[&[("keys.file", keys.as_str())], overrides].concat());
        let recorder = Recorder::open(journal.path(), 4 << 20).unwrap();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(service::listen(settings.listen)).unwrap();
        let address = listener.local_addr().unwrap();
        settings.listen = address;
        let keys = service::keys(&settings).unwrap();
        let tls = Tls { client: tls::secure(&mut settings).unwrap(), door: tls::door(&settings).unwrap() };
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let served = runtime.spawn(service::serve(
            settings,
            tls,
            listener,
            keys,
            vendor_keys,
            recorder.clone(),
            stopped,
        ));
        Self { address, recorder, runtime, running: Some((stop, served)), _journal: journal }
    }

    /// A caller's connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream
    }

    /// Sends these bytes and reads what comes until the connection ends.
    pub(crate) fn raw(&self, request: impl AsRef<[u8]>) -> Response {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).unwrap();
        let response = read_response(&mut stream);
        description::check(request.as_ref(), &response);
        response
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Response {
        self.raw(post(path, body))
    }

    pub(crate) fn generate(&self, body: &Value) -> Response {
        self.post("/api/v1/generate", &body.to_string())
    }

    /// Events of one type, as recorded so far.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let lines = self.recorder.pending_lines();
        let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter_map(|event| event.get(kind).cloned()).collect()
    }

    /// Tells the app to stop, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let (stop, served) = self.running.take().expect("stopped once");
        stop.send(()).unwrap();
        let served = self.runtime.block_on(async { tokio::time::timeout(HANG, served).await });
        served.expect("it ends").unwrap().unwrap();
    }
}

/// A request that carries JSON and is the last of its connection.
pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A response as it came over the wire.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that this is an error in the one shape, and returns its `error`.
    pub(crate) fn error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        let body = self.json();
        assert_eq!(body["error"]["code"], code, "{body}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        body["error"].clone()
    }
}

/// Reads until the connection ends.
pub(crate) fn read_response(stream: &mut TcpStream) -> Response {
    Response::parse(&read_to_end(stream))
}

/// Reads until the connection ends; returns what came.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Something that answers every request with the same bytes, then closes. Returns its address.
pub(crate) fn answering(response: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // What it is asked does not matter; a caller who has gone neither.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(response.as_bytes());
        }
    });
    address
}
