//! What telemetry adds to a request's CPU time: two apps side by side, one with telemetry and one without, asked the same.
//!
//! Every question goes to both, one right after the other, and the order changes with every question: whatever else the
//! machine does meets both alike, and what telemetry does between requests (shipping, acknowledgements, samples, the
//! exporter's visits) is counted, too. Figures are medians over many pairs of processes, for two runs of one program may
//! differ by some per cent from nothing but their place in memory: many short-lived pairs tell more than few that live long. Which
//! of a pair is started first changes from pair to pair, for the second gets other memory. `control` is the same measurement of two
//! apps without telemetry: how far it may be off.
//!
//! Behind both stand vendors that answer at once, asked in their own formats. `bare` is the same with simulated providers: a
//! request then costs the app nothing but comparing and telling, which no real one does, and telemetry weighs most.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use techsapo_tests::vendors::{VENDORS, Vendors};
use techsapo_tests::{App, Exporter, RedisServer};
use tempfile::TempDir;

use crate::app::{ANSWERS, asking};
use crate::connection::{self, Connection};
use crate::cpu;
use crate::report::{Figure, median};

/// Pairs of processes that are measured, each from a fresh start; fewer where nothing is promised.
const PAIRS: usize = 32;
const FEWER_PAIRS: usize = 16;
/// How long each of a pair's measurements lasts.
const WINDOW: Duration = Duration::from_secs(2);
/// Questions that a pair is asked before anything is measured.
const WARM_UP: usize = 500;
/// A busy instance: the steady rate of questions to each app.
const STEADY_PER_SECOND: u32 = 200;
/// Callers that ask without a pause, so that the machine has no more to give.
const CALLERS: usize = 4;
/// Length of a question, about that of a page of text.
const PROMPT_BYTES: usize = 2_000;

/// Ratios and differences at a steady rate, which is what is promised, and with the machine saturated.
pub(crate) fn run() -> Vec<Figure> {
    let (mut steady, mut saturated, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let vendors = Vendors::start(ANSWERS[0], Duration::ZERO);
    for number in 0..PAIRS {
        let redis = RedisServer::start();
        let pair = Pair::start(&redis, Some(&vendors), true, number);
        let exporter = Exporter::of(&redis).app(&pair.apps[0].url()).start();
        steady.push(pair.steady());
        if number < FEWER_PAIRS {
            saturated.push(pair.saturated());
        }
        pair.assert_counted(&exporter);
    }
    for number in 0..FEWER_PAIRS {
        let redis = RedisServer::start();
        let pair = Pair::start(&redis, None, true, number);
        let exporter = Exporter::of(&redis).app(&pair.apps[0].url()).start();
        bare.push(pair.steady());
        pair.assert_counted(&exporter);
    }
    let redis = RedisServer::start();
    let control = |number| Pair::start(&redis, Some(&vendors), false, number).steady();
    let control: Vec<_> = (0..PAIRS).map(control).collect();
    let ratio = |name, windows: &[Window], asked| Figure {
        name,
        value: median(windows.iter().map(|window| window.us[0] / window.us[1])),
        unit: "ratio",
        asked,
    };
    let us = |name, windows: &[Window], of: fn(&Window) -> f64| Figure {
        name,
        value: median(windows.iter().map(of)),
        unit: "µs",
        asked: "as little as can be",
    };
    vec![
        ratio("app_telemetry_cpu_ratio", &steady, "≤ 1.01"),
        us("app_telemetry_cpu_per_request", &steady, |window| window.us[0] - window.us[1]),
        us("app_cpu_per_request_without_telemetry", &steady, |window| window.us[1]),
        ratio("app_telemetry_cpu_ratio_control", &control, "1.00: two apps without telemetry"),
        ratio("app_telemetry_cpu_ratio_saturated", &saturated, "as little as can be"),
        us("app_telemetry_cpu_per_request_saturated", &saturated, |window| window.us[0] - window.us[1]),
        ratio("app_telemetry_cpu_ratio_bare", &bare, "as little as can be"),
        us("app_telemetry_cpu_per_request_bare", &bare, |window| window.us[0] - window.us[1]),
    ]
}

/// CPU time of a request at each app, in microseconds, over a window.
struct Window {
    us: [f64; 2],
}

/// Two apps: the first has telemetry (unless it is a control), the second has none.
struct Pair {
    apps: [App; 2],
    _folder: TempDir,
}

impl Pair {
    /// Two apps that ask `vendors`, or else simulated providers. Which is started first depends on the pair's number.
    fn start(
        redis: &RedisServer,
        vendors: Option<&Vendors>,
        first_has_telemetry: bool,
        number: usize,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let app = |telemetry: bool| {
            let app =
                App::of(redis).set("TECHSAPO_TELEMETRY_ENABLED", if telemetry { "true" } else { "false" });
            let app = match vendors {
                // The same question again and again must not be answered from memory.
                Some(vendors) => {
                    asking(app, vendors, &VENDORS, &folder).set("TECHSAPO_CACHE_ENABLED", "false")
                }
                None => app
                    .set("TECHSAPO_SIMULATED_LATENCY", "0ms")
                    .set("TECHSAPO_SIMULATED_LATENCY_JITTER", "0ms"),
            };
            app.start()
        };
        let apps = if number.is_multiple_of(2) {
            [app(first_has_telemetry), app(false)]
        } else {
            let second = app(false);
            [app(first_has_telemetry), second]
        };
        let pair = Self { apps, _folder: folder };
        let mut callers = pair.callers();
        (0..WARM_UP).for_each(|number| callers.ask_both(number));
        pair
    }

    fn callers(&self) -> Callers {
        Callers(self.apps.each_ref().map(Caller::of))
    }

    fn cpu_seconds(&self) -> [f64; 2] {
        self.apps.each_ref().map(|app| cpu::seconds_of(app.process.id()))
    }

    /// One caller who asks at an even pace.
    fn steady(&self) -> Window {
        let mut callers = self.callers();
        let pause = Duration::from_secs(1) / STEADY_PER_SECOND;
        self.window(|until| {
            let mut asked = 0;
            let begin = Instant::now();
            while Instant::now() < until {
                callers.ask_both(asked);
                asked += 1;
                thread::sleep((begin + pause * asked as u32).saturating_duration_since(Instant::now()));
            }
            asked
        })
    }

    /// Several callers who never pause.
    fn saturated(&self) -> Window {
        self.window(|until| {
            thread::scope(|scope| {
                let ask = || {
                    let mut callers = self.callers();
                    let mut asked = 0;
                    while Instant::now() < until {
                        callers.ask_both(asked);
                        asked += 1;
                    }
                    asked
                };
                let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(ask)).collect();
                callers.into_iter().map(|caller| caller.join().unwrap()).sum()
            })
        })
    }

    /// Measures a window, in which `ask` asks both apps until an instant and tells how often.
    fn window(&self, ask: impl FnOnce(Instant) -> usize) -> Window {
        let before = self.cpu_seconds();
        let asked = ask(Instant::now() + WINDOW);
        let after = self.cpu_seconds();
        Window { us: [0, 1].map(|app| (after[app] - before[app]) / asked as f64 * 1e6) }
    }

    /// Fails unless the exporter counted what the first app answered, and nothing else: it was telemetry that was measured.
    fn assert_counted(mut self, exporter: &Exporter) {
        assert!(self.apps.iter_mut().all(|app| app.sigterm().success()));
        let logged = self.apps[0].process.log().matches("Wall-bounce analysis completed").count();
        let counted =
            |page: &techsapo_tests::Exposition| page.counter("techsapo_wallbounce_requests_total").total();
        let page = exporter.scrape_until("every analysis is counted", |page| counted(page) >= logged as f64);
        assert_eq!(
            counted(&page),
            logged as f64,
            "analyses counted, and analyses that the app's log tells of"
        );
    }
}

/// A caller's connections to both apps of a pair.
struct Callers([Caller; 2]);

impl Callers {
    fn ask_both(&mut self, number: usize) {
        let [first, second] = &mut self.0;
        let (first, second) = if number.is_multiple_of(2) { (first, second) } else { (second, first) };
        first.ask();
        second.ask();
    }
}

/// A connection that is kept for many requests, and the request.
struct Caller {
    connection: Connection,
    request: Vec<u8>,
}

impl Caller {
    fn of(app: &App) -> Self {
        let url = app.url();
        let address = url.strip_prefix("http://").unwrap();
        let prompt = "What does a lease protect, and from whom? ".repeat(PROMPT_BYTES / 42);
        let body = json!({ "prompt": prompt, "task_type": "premium" });
        let request = connection::post(address, "/api/v1/generate", &[], &body);
        Self { connection: Connection::to(address), request }
    }

    fn ask(&mut self) {
        self.connection.send(&self.request);
        self.connection.receive();
    }
}
