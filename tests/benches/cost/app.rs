//! What the app adds to the latency of the providers that it asks, and what a request costs it.
//!
//! Two vendors that answer after 20 ms stand behind it, asked in their own formats; telemetry, limits and the look-up of
//! cached answers are on, with a real Redis and a real exporter, and no prompt is asked twice. The same two calls made by the client
//! itself, side by side, are what it is compared with, in turns: what is left is what the app adds, with what it does
//! besides, comparing the answers above all.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use techsapo_tests::vendors::{Manner, VENDORS, Vendor, Vendors};
use techsapo_tests::{App, AppSetup, Exporter, RedisServer};
use tempfile::TempDir;

use crate::connection::{self, Connection};
use crate::latency::{Client, Course, measure};
use crate::relay::Relay;
use crate::report::Figure;

/// How long a vendor takes.
pub(crate) const DELAY: Duration = Duration::from_millis(20);
/// The vendors that are asked: as many as a basic task needs.
pub(crate) const ASKED: [Vendor; 2] = [VENDORS[1], VENDORS[3]];
/// Turns, and how long one is.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(3);
/// Clients at once, and what is asked of what the app adds then.
const CONCURRENCIES: [(usize, [&str; 2]); 3] =
    [(1, [LITTLE; 2]), (16, ["≤ 0.5 ms", "≤ 3 ms"]), (64, [LITTLE; 2])];
/// Figures at each of them: what is added to the median and to the 99th percentile, and CPU time.
const APP: [[&str; 3]; 3] = [
    ["app_added_p50_at_1", "app_added_p99_at_1", "app_cpu_per_request_at_1"],
    ["app_added_p50_at_16", "app_added_p99_at_16", "app_cpu_per_request_at_16"],
    ["app_added_p50_at_64", "app_added_p99_at_64", "app_cpu_per_request_at_64"],
];
const RELAY: [[&str; 3]; 3] = [
    ["relay_added_p50_at_1", "relay_added_p99_at_1", "relay_cpu_per_request_at_1"],
    ["relay_added_p50_at_16", "relay_added_p99_at_16", "relay_cpu_per_request_at_16"],
    ["relay_added_p50_at_64", "relay_added_p99_at_64", "relay_cpu_per_request_at_64"],
];
const LITTLE: &str = "as little as can be";
const NOTHING: &str = "a process that does nothing";

/// The question, with a number before it; and what the vendors say to it.
pub(crate) const QUESTION: &str = "Our service keeps a lease in a database so that one of several workers does a job. \
    Sometimes two of them did the job at once after a long pause of the garbage collector. Explain what happened, and what \
    the worker and the database should do so that it cannot happen again. Name the check that must be made on every write, \
    and what happens to a worker that fails it. We use MariaDB and the lease lasts ten seconds.";
pub(crate) const ANSWERS: [&str; 2] = [
    "The worker that paused still believed that it held the lease, although its ten seconds had passed and another worker \
     had taken over. A lease alone cannot prevent that, because a process does not notice that it was stopped. Give every \
     holder a number that rises with each new lease, a fencing token, and send it with every write. The database keeps the \
     highest number that it has seen and refuses a write with a lower one. A worker that is refused must drop its work and \
     ask for the lease again. Measure the time of the lease from before the renewal was sent, with a monotonic clock.",
    "During the long pause the lease ran out without the first worker knowing, a second one took it, and then both wrote. \
     Checking the time before writing is not enough: the pause may come between the check and the write. Use a fencing \
     token: a counter in the row of the lease that grows whenever somebody takes it. Every UPDATE carries the condition \
     that the counter is still the same, so that a write of the old holder changes no row. Who sees that no row was \
     changed has lost the lease and has to stop and begin anew. Renew well before ten seconds are over.",
];

/// Latency added at each concurrency, and CPU time: by the app, and by a process that does nothing in its place.
pub(crate) fn run() -> Vec<Figure> {
    let world = World::start();
    let relay = Relay::start(&world.vendors);
    let mut figures = Vec::new();
    for (at, (concurrency, asked)) in CONCURRENCIES.into_iter().enumerate() {
        let (mut app, mut nothing) = (Course::default(), Course::default());
        for _ in 0..TURNS {
            let direct = measure(concurrency, TURN, || Direct::to(&world.vendors));
            app.turn(world.app.process.id(), &direct, || measure(concurrency, TURN, || world.client()));
            nothing.turn(relay.id(), &direct, || measure(concurrency, TURN, || relay.client()));
        }
        figures.extend(shown(APP[at], app, asked));
        figures.extend(shown(RELAY[at], nothing, [NOTHING; 2]));
    }
    figures
}

fn shown(names: [&'static str; 3], course: Course, asked: [&'static str; 2]) -> [Figure; 3] {
    let [p50, p99, cpu_us] = course.medians();
    [
        Figure { name: names[0], value: p50, unit: "ms", asked: asked[0] },
        Figure { name: names[1], value: p99, unit: "ms", asked: asked[1] },
        Figure { name: names[2], value: cpu_us, unit: "µs", asked: LITTLE },
    ]
}

/// The app and what is around it. First of the fields what ends first.
pub(crate) struct World {
    pub(crate) app: App,
    _exporter: Exporter,
    _redis: RedisServer,
    pub(crate) vendors: Vendors,
    _folder: TempDir,
}

impl World {
    pub(crate) fn start() -> Self {
        let vendors = vendors();
        let folder = TempDir::new().unwrap();
        let redis = RedisServer::start();
        let app = asking(App::of(&redis), &vendors, &ASKED, &folder).start();
        let exporter = Exporter::of(&redis).app(&app.url()).start();
        Self { app, _exporter: exporter, _redis: redis, vendors, _folder: folder }
    }

    /// A client of the app.
    pub(crate) fn client(&self) -> Through {
        let url = self.app.url();
        let address = url.strip_prefix("http://").unwrap().to_owned();
        Through { connection: Connection::to(&address), address }
    }
}

/// The vendors, each with an answer of its own.
pub(crate) fn vendors() -> Vendors {
    let vendors = Vendors::start(ANSWERS[0], DELAY);
    for (vendor, answer) in ASKED.into_iter().zip(ANSWERS) {
        vendors.set(vendor, &Manner::Says(answer.to_owned()));
    }
    vendors
}

/// The app, so that it asks these vendors, with answers cached and money enough. Its list of providers is in `folder`.
pub(crate) fn asking(app: AppSetup, vendors: &Vendors, asked: &[Vendor], folder: &TempDir) -> AppSetup {
    let file = folder.path().join("providers.toml");
    // As many calls at once as there are clients, so that nobody waits for a place.
    fs::write(&file, vendors.providers_toml(asked, "concurrency = 64")).unwrap();
    let app = asked.iter().fold(app, |app, vendor| app.set(vendor.key_variable, "key-of-a-benchmark"));
    app.set("TECHSAPO_PROVIDERS_FILE", &file.to_string_lossy())
        .set("TECHSAPO_CACHE_ENABLED", "true")
        .set("TECHSAPO_BUDGET_DAILY_USD", "100000")
        .set("TECHSAPO_BUDGET_MONTHLY_USD", "100000")
}

/// A question that was not asked before.
pub(crate) fn question() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("Case {}. {QUESTION}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Asks the app.
pub(crate) struct Through {
    connection: Connection,
    address: String,
}

impl Client for Through {
    fn ask(&mut self) {
        let body = json!({ "prompt": question(), "task_type": "basic", "session_id": "bench-1" });
        self.connection.send(&connection::post(&self.address, "/api/v1/generate", &[], &body));
        self.connection.receive();
    }
}

/// Asks both vendors itself, side by side.
pub(crate) struct Direct {
    calls: [(Connection, Vendor); 2],
    address: String,
}

impl Direct {
    pub(crate) fn to(vendors: &Vendors) -> Self {
        Self::at(&vendors.address())
    }

    /// To vendors at `host:port`.
    pub(crate) fn at(address: &str) -> Self {
        Self { calls: ASKED.map(|vendor| (Connection::to(address), vendor)), address: address.to_owned() }
    }
}

impl Client for Direct {
    fn ask(&mut self) {
        for (connection, vendor) in &mut self.calls {
            let body = json!({ "model": vendor.model, "input": question() });
            connection.send(&connection::post(&self.address, &format!("/{}", vendor.section), &[], &body));
        }
        self.calls.iter_mut().for_each(|(connection, _)| connection.receive());
    }
}
