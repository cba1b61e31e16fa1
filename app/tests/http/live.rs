//! The live figures from outside: what watchers are told, how many there may be, and how they are parted from.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::support::App;

/// An exporter that has nothing but key figures: how often it was asked, and `padding` bytes.
struct FakeExporter {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl FakeExporter {
    fn start(padding: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).unwrap_or(0);
                if head[..read].starts_with(b"GET /live ") {
                    let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
                    let body = json!({"number": number, "padding": "x".repeat(padding)}).to_string();
                    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
                    let _ = write!(stream, "{head} {}\r\n\r\n{body}", body.len());
                }
            }
        });
        Self { address, asked }
    }

    fn app(&self, more: &[(&str, &str)]) -> App {
        let url = format!("http://{}", self.address);
        App::start(&[&[("exporter.url", url.as_str()), ("live.interval", "20ms")], more].concat())
    }
}

/// A stream of server-sent events, past its head.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(app: &App) -> Self {
        let mut stream = app.connect();
        stream.write_all(b"GET /api/v1/metrics/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut events = Self(BufReader::new(stream));
        let head = std::iter::from_fn(|| Some(events.line()).filter(|line| !line.is_empty()));
        let head = head.collect::<Vec<_>>().join("\n").to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream") && head.contains("cache-control: no-cache"));
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next message; nothing at the stream's end.
    fn next(&mut self) -> Option<Value> {
        // Far more lines than stand between two messages: chunk sizes, empty ones, comments, the time to reconnect.
        for _ in 0..100 {
            let line = self.line();
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
            if line == "0" {
                return None;
            }
        }
        panic!("a hundred lines and no message");
    }
}

fn websocket(app: &App) -> WebSocket<TcpStream> {
    tungstenite::client("ws://localhost/ws/metrics", app.connect()).unwrap().0
}

/// The next message's JSON.
fn text(socket: &mut WebSocket<TcpStream>) -> Value {
    match socket.read().unwrap() {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("not a text: {other:?}"),
    }
}

fn open(app: &App, kind: &str) -> u64 {
    let status = app.get("/internal/status").json();
    let counts = status["runtime_sample"]["connections"].as_array().unwrap().clone();
    counts.iter().find(|count| count["connection_type"] == kind).unwrap()["open"].as_u64().unwrap()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Name and data of each event of an analysis, to its end.
pub(crate) fn analysis(app: &App, query: &str) -> Vec<(String, Value)> {
    let response = app.get(&format!("/api/v1/wall-bounce/analyze?{query}"));
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("text/event-stream")),
        "{response:?}"
    );
    let (mut name, mut events) = (String::new(), Vec::new());
    for line in response.body.lines() {
        if let Some(text) = line.strip_prefix("event: ") {
            text.clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            events.push((std::mem::take(&mut name), serde_json::from_str(data).unwrap()));
        }
    }
    assert!(events.iter().all(|(name, data): &(String, Value)| data["type"] == name.as_str()));
    events
}

#[test]
fn whoever_watches_is_counted_as_let_in_long_before_the_stream_ends() {
    let exporter = FakeExporter::start(0);
    let app = exporter.app(&[]);
    let mut events = Events::open(&app);
    assert!(events.next().is_some());
    assert_eq!((app.events("auth_attempt").len(), app.events("http_request").len()), (1, 0));
}

#[test]
fn an_analysis_is_told_as_it_happens() {
    let app = App::start(&[]);
    let events =
        analysis(&app, "query=How+do+I+roll+out%3F&task_type=premium&mode=sequential&session_id=s-1");
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    let calls = ["provider_response"; 3];
    assert_eq!(names, [&["thinking"][..], &calls, &["consensus", "final_answer"]].concat());
    assert_eq!(events[0].1["asked"].as_array().map(Vec::len), Some(3));
    assert!(events[1].1["response"].as_str().is_some_and(|text| !text.is_empty()));
    let answer = &events[5].1["answer"];
    assert_eq!(answer["session_id"], "s-1");
    assert_eq!(answer["confidence"], events[4].1["confidence"]);
    let spent = |event: &(String, Value)| event.1["call"]["cost_nanousd"].as_u64();
    let spent: u64 = events.iter().filter_map(spent).sum();
    assert_eq!(answer["wall_bounce_analysis"]["total_cost_nanousd"], spent);
    assert_eq!((app.events("analysis").len(), app.events("llm_request").len()), (1, 3));
}

#[test]
fn who_leaves_before_anybody_was_asked_gives_up_its_place() {
    let app = App::start(&[("limits.concurrent_analyses", "1"), ("simulated.latency", "8s")]);
    let begin = || {
        let mut stream = app.connect();
        write!(stream, "GET /api/v1/wall-bounce/analyze?query=Why HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        // Its beginning is told before it is its turn.
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        stream
    };
    let first = begin();
    let others = [begin(), begin()];
    assert_eq!(open(&app, "sse"), 3);
    drop(others);
    eventually("they are gone", || open(&app, "sse") <= 1);
    // It stands behind whoever waits, and the first one goes on although its caller leaves, too.
    drop(first);
    let body = json!({"prompt": "Why?", "task_type": "basic"});
    assert_eq!(app.generate(&body).status, 200);
    assert_eq!(app.events("analysis").len(), 2);
}

#[test]
fn an_analysis_that_fails_says_so_in_the_one_shape() {
    let app = App::start(&[("simulated.failure_rate", "1")]);
    let events = analysis(&app, "query=Why%3F");
    let (name, data) = events.last().unwrap();
    assert_eq!((name.as_str(), &data["error"]["code"]), ("error", &json!("not_enough_providers")));
    for (query, problem) in
        [("", "query is missing"), ("query=x&mode=y", "mode"), ("query=x&depth=many", "depth")]
    {
        let error = app.get(&format!("/api/v1/wall-bounce/analyze?{query}")).error(400, "invalid_request");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(problem)), "{error}");
    }
}

#[test]
fn every_watcher_is_told_the_same_and_the_exporter_is_asked_once() {
    let exporter = FakeExporter::start(0);
    let app = exporter.app(&[]);
    let (mut first, mut second, mut socket) = (Events::open(&app), Events::open(&app), websocket(&app));
    for _ in 0..5 {
        for message in [first.next().unwrap(), second.next().unwrap(), text(&mut socket)] {
            assert_eq!(message["type"], "metrics");
            assert!(
                message["data"]["number"].as_u64() <= Some(exporter.asked.load(Ordering::Relaxed) as u64)
            );
        }
    }
    assert_eq!((open(&app, "sse"), open(&app, "websocket")), (2, 1));
    drop((first, second, socket));
    eventually("all have left", || open(&app, "sse") + open(&app, "websocket") == 0);
    // One more round may have been under way.
    let asked = exporter.asked.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(200));
    assert!(exporter.asked.load(Ordering::Relaxed) <= asked + 1, "nobody watches, nobody asks");
    // And a stream is in the requests, of its own kind.
    eventually("the streams are recorded", || {
        app.events("http_request").iter().filter(|event| event["route_kind"] == "stream").count() == 3
    });
}

#[test]
fn an_exporter_that_is_away_is_told_and_found_again() {
    let app = App::start(&[("live.interval", "20ms")]);
    let message = Events::open(&app).next().unwrap();
    assert_eq!(message["type"], "unavailable");
    assert!(message["data"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{message}");
}

#[test]
fn more_watchers_than_there_is_room_for_are_refused() {
    let exporter = FakeExporter::start(0);
    let app = exporter.app(&[("live.connections", "1")]);
    let mut events = Events::open(&app);
    events.next().unwrap();
    let refused = app.get("/api/v1/metrics/stream");
    refused.error(503, "too_many_watchers");
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(events);
    eventually("the place is free", || open(&app, "sse") == 0);
    Events::open(&app).next().unwrap();
}

#[test]
fn a_websocket_answers_signs_of_life_and_takes_nothing_large() {
    let exporter = FakeExporter::start(0);
    let app = exporter.app(&[]);
    let mut socket = websocket(&app);
    socket.send(Message::Ping("there?".into())).unwrap();
    let mut answered = false;
    for _ in 0..100 {
        if socket.read().unwrap() == Message::Pong("there?".into()) {
            answered = true;
            break;
        }
    }
    assert!(answered);
    socket.send(Message::Text("x".repeat(100_000).into())).unwrap();
    let ended = (0..1_000).any(|_| socket.read().is_err());
    assert!(ended, "it took a message of 100 000 bytes");
    app.get("/ws/metrics").error(426, "websocket_required");
}

#[test]
fn stopping_parts_from_all_who_watch() {
    let exporter = FakeExporter::start(0);
    let mut app = exporter.app(&[]);
    let (mut events, mut socket) = (Events::open(&app), websocket(&app));
    events.next().unwrap();
    text(&mut socket);
    app.stop();
    while events.next().is_some() {}
    let farewell = (0..1_000).find_map(|_| match socket.read() {
        Ok(Message::Close(frame)) => Some(frame.map(|frame| frame.code)),
        Ok(_) => None,
        Err(error) => panic!("no farewell: {error}"),
    });
    assert_eq!(farewell, Some(Some(CloseCode::Away)));
}

#[test]
fn who_takes_nothing_loses_the_connection() {
    // Messages of 4 MB fill whatever the kernel keeps for a connection.
    let exporter = FakeExporter::start(4 << 20);
    let app = exporter.app(&[("limits.write_timeout", "300ms")]);
    let mut lazy = app.connect();
    lazy.write_all(b"GET /api/v1/metrics/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    eventually("the stream stands", || open(&app, "sse") == 1);
    eventually("the stream is cut", || open(&app, "sse") == 0);
}

#[test]
fn http2_is_spoken_with_those_who_begin_with_it() {
    let app = App::start(&[]);
    // The client wants its cryptography named, also for plain HTTP; whoever named it first, it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let address = app.connect().peer_addr().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let response = runtime.block_on(async {
        let body = json!({"prompt": "How do I roll out a change safely?", "task_type": "basic"});
        let request = client.post(format!("http://{address}/api/v1/generate"));
        request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
    });
    assert_eq!((response.version(), response.status()), (reqwest::Version::HTTP_2, reqwest::StatusCode::OK));
}

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Begins a connection of HTTP/2 that gives leave to send so many bytes of each answer, and asks for a path.
fn ask_by_http2(app: &App, leave: u16, path: &str) -> TcpStream {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_OF_HEADERS_AND_STREAM: u8 = 5;
    let [high, low] = leave.to_be_bytes();
    let initial_window_size = [0, 4, 0, 0, high, low];
    // GET and http by the static table, path and authority written out.
    let mut request = vec![0x82, 0x86];
    for (name, value) in [(4, path), (1, "localhost")] {
        request.extend([name, u8::try_from(value.len()).unwrap()]);
        request.extend(value.bytes());
    }
    let all = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &initial_window_size),
        frame(HEADERS, END_OF_HEADERS_AND_STREAM, 1, &request),
    ];
    let mut stream = app.connect();
    stream.write_all(&all.concat()).unwrap();
    stream
}

/// Whether the other side has ended a connection, as far as a hundred short looks tell.
fn is_ended(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut told = [0; 4096];
    (0..100).any(|_| match stream.read(&mut told) {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock),
    })
}

/// Reads until the other side ends a connection, in order or by breaking it off; a read that waits for ever has found a hang.
fn read_to_its_end(stream: &mut TcpStream) {
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn of_an_analysis_nothing_is_kept_for_who_gives_no_leave_to_send() {
    let app = App::start(&[("limits.write_timeout", "300ms")]);
    let mut silent = ask_by_http2(&app, 0, "/api/v1/wall-bounce/analyze?query=Why");
    eventually("the analysis is stated", || app.events("analysis").len() == 1);
    eventually("its texts are gone", || open(&app, "sse") == 0);
    assert!(!is_ended(&mut silent), "its connection was ended, which would have freed them in any case");
}

#[test]
fn a_connection_of_http2_lasts_as_long_as_it_is_used() {
    let exporter = FakeExporter::start(0);
    let app = exporter.app(&[
        ("live.interval", "1h"),
        ("limits.header_timeout", "200ms"),
        ("limits.write_timeout", "200ms"),
    ]);
    let mut watching = ask_by_http2(&app, 60_000, "/api/v1/metrics/stream");
    eventually("the figures are watched", || open(&app, "sse") == 1);
    for _ in 0..2 {
        read_to_its_end(&mut ask_by_http2(&app, 60_000, "/ping"));
        read_to_its_end(&mut ask_by_http2(&app, 0, "/ping"));
    }
    assert!(!is_ended(&mut watching), "silent as it was, its peer waits for more");
}

#[test]
fn a_connection_that_never_says_what_it_wants_is_ended() {
    let app = App::start(&[("limits.header_timeout", "200ms")]);
    for beginning in [&b""[..], b"P", b"PRI", b"PRI ", PREFACE, b"GET / HTTP/1.1\r\nhost"] {
        let mut stream = app.connect();
        stream.write_all(beginning).unwrap();
        read_to_its_end(&mut stream);
    }
}
