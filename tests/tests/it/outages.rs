//! Each service goes and comes back under load, killed, hanging and out of memory: no request fails, health tells the truth all the
//! while, and afterwards audit and metrics hold exactly what clients were answered.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use techsapo_tests::{App, Exporter, Generated, MariaDb, RedisServer, generate, wait};

/// Analyses that are asked for while a service is away, and again when it is back.
const WHILE: usize = 30;

/// What an app has around it.
struct World {
    events: RedisServer,
    store: RedisServer,
    mysql: MariaDb,
    exporter: Exporter,
}

/// What can go, as health calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Events,
    Store,
    Mysql,
    Exporter,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Events => "redis",
            Self::Store => "store",
            Self::Mysql => "mysql",
            Self::Exporter => "exporter",
        }
    }

    fn has_breaker(self) -> bool {
        matches!(self, Self::Store | Self::Mysql)
    }
}

impl World {
    fn start() -> Self {
        let (events, store, mysql) = (RedisServer::start(), RedisServer::start(), MariaDb::start());
        let exporter = Exporter::of(&events).start();
        Self { events, store, mysql, exporter }
    }

    fn kill(&mut self, service: Service) {
        match service {
            Service::Events => self.events.kill_9(),
            Service::Store => self.store.kill_9(),
            Service::Mysql => self.mysql.kill_9(),
            Service::Exporter => self.exporter.kill_9(),
        }
    }

    fn start_again(&mut self, service: Service) {
        match service {
            Service::Events => self.events.start_again(),
            Service::Store => self.store.start_again(),
            Service::Mysql => self.mysql.start_again(),
            Service::Exporter => self.exporter.restart(),
        }
    }

    fn pause(&self, service: Service) {
        match service {
            Service::Events => self.events.pause(),
            Service::Store => self.store.pause(),
            Service::Mysql => self.mysql.pause(),
            Service::Exporter => self.exporter.process.pause(),
        }
    }

    /// A Redis that is out of memory: it answers, and takes no writes. Or no longer.
    fn fill(&self, service: Service, is_full: bool) -> bool {
        let redis = match service {
            Service::Events => &self.events,
            Service::Store => &self.store,
            Service::Mysql | Service::Exporter => return false,
        };
        redis.cli::<()>(&["CONFIG", "SET", "maxmemory", if is_full { "1" } else { "0" }]);
        true
    }

    fn resume(&self, service: Service) {
        match service {
            Service::Events => self.events.resume(),
            Service::Store => self.store.resume(),
            Service::Mysql => self.mysql.resume(),
            Service::Exporter => self.exporter.process.resume(),
        }
    }
}

/// Clients that ask without a pause to speak of.
struct Load {
    url: String,
    stop: AtomicBool,
    answered: AtomicUsize,
    answers: Mutex<Vec<Generated>>,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn on(app: &App) -> Self {
        Self {
            url: app.url(),
            stop: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            answers: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    fn ask(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            match generate(&self.url, "What goes on while nobody looks?", "basic") {
                Ok(answer) => self.answers.lock().unwrap().push(answer),
                Err(failure) => self.failures.lock().unwrap().push(failure),
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for_more(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        wait::until_true("more is answered", || self.answered.load(Ordering::Relaxed) >= before + WHILE);
    }
}

/// Ends the load also when the test fails, so that its threads do.
struct StopsLoad<'a>(&'a Load);

impl Drop for StopsLoad<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

fn health(app: &App) -> Value {
    let answer = app.get("/api/v1/health").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Health's own present: its times are compared with it as text, for all are written alike.
fn now(app: &App) -> String {
    app.get("/health").unwrap().json()["timestamp"].as_str().unwrap().to_owned()
}

/// Waits until `service`, and no other, is in this state since `from` at the earliest.
fn wait_state(app: &App, service: Service, state: &str, from: &str) {
    wait::until_true(&format!("health says that {service:?} is {state}"), || {
        let health = health(app);
        let services = health["services"].as_object().unwrap();
        let found = &services[service.name()];
        // The budget is kept in the store, and rebuilt from the audit: it knows when either is away.
        let budget_may_know = state == "down" && matches!(service, Service::Store | Service::Mysql);
        let others_are_up = services.iter().all(|(name, one)| {
            name == service.name()
                || one["state"] == "up"
                || one["state"] == "off"
                || (name == "budget" && budget_may_know && one["state"] == "degraded")
        });
        let breaker_is_right = !service.has_breaker()
            || (found["breaker"]["state"] == "closed") == (state == "up")
                && found["breaker"]["since"].as_str().unwrap() >= from;
        let whole = if state == "up" { "ok" } else { "degraded" };
        found["state"] == state
            && found["since"].as_str().unwrap() >= from
            && found["reason"].is_string() == (state == "down")
            && others_are_up
            && breaker_is_right
            && health["status"] == whole
    });
}

/// Request id to cost, as the audit says.
fn audited(mysql: &MariaDb) -> BTreeMap<String, u64> {
    let rows = mysql.sql("SELECT request_id, cost_nanousd FROM analyses");
    let pairs = rows.lines().map(|row| row.split_once('\t').unwrap());
    let costs: BTreeMap<_, _> = pairs.map(|(id, cost)| (id.to_owned(), cost.parse().unwrap())).collect();
    assert_eq!(costs.len(), rows.lines().count(), "an analysis stands twice");
    costs
}

fn goes_and_comes_back(services: &[Service]) {
    let mut world = World::start();
    let app = App::of(&world.events)
        .set("TECHSAPO_STORE_REDIS_URL", &world.store.url())
        .set("TECHSAPO_MYSQL_URL", &world.mysql.url())
        .exporter(&world.exporter.url())
        .start();
    wait::until_true("all is well", || health(&app)["status"] == "ok");
    let load = Load::on(&app);
    std::thread::scope(|scope| {
        let _stops = StopsLoad(&load);
        for _ in 0..3 {
            scope.spawn(|| load.ask());
        }
        load.wait_for_more();
        for &service in services {
            let began = now(&app);
            world.kill(service);
            wait_state(&app, service, "down", &began);
            load.wait_for_more();
            let came = now(&app);
            world.start_again(service);
            wait_state(&app, service, "up", &came);
            load.wait_for_more();

            let began = now(&app);
            world.pause(service);
            wait_state(&app, service, "down", &began);
            load.wait_for_more();
            let came = now(&app);
            world.resume(service);
            wait_state(&app, service, "up", &came);
            load.wait_for_more();

            let began = now(&app);
            if world.fill(service, true) {
                wait_state(&app, service, "down", &began);
                let reason = health(&app)["services"][service.name()]["reason"].clone();
                assert!(reason.as_str().unwrap().contains("maxmemory"), "{reason}");
                load.wait_for_more();
                let came = now(&app);
                world.fill(service, false);
                wait_state(&app, service, "up", &came);
                load.wait_for_more();
            }
        }
    });
    assert!(load.failures.lock().unwrap().is_empty(), "{:?}", load.failures);

    let answers = load.answers.into_inner().unwrap();
    let costs: BTreeMap<_, _> = answers
        .iter()
        .map(|answer| (answer.0["request_id"].as_str().unwrap().to_owned(), answer.cost_nanousd()))
        .collect();
    wait::until_true("the audit is written to its end", || {
        health(&app)["services"]["mysql"]["waiting"] == 0 && audited(&world.mysql).len() >= costs.len()
    });
    assert_eq!(audited(&world.mysql), costs);
    let count = answers.len() as f64;
    // A request is told of when its response has gone, a moment after the analysis.
    let page = world.exporter.scrape_until("every analysis and its request are on the page", |page| {
        let requests = page.counter("techsapo_http_requests_total").with("route", "/api/v1/generate");
        page.counter("techsapo_wallbounce_requests_total").total() >= count && requests.total() >= count
    });
    assert_eq!(page.counter("techsapo_wallbounce_requests_total").total(), count);
    assert_eq!(page.counter("techsapo_wallbounce_cost_usd").total_units(9), costs.values().sum::<u64>());
    let answered = page.counter("techsapo_http_requests_total").with("route", "/api/v1/generate");
    answered.with("status_code", "200").is(count);
    assert_eq!(health(&app)["services"]["journal"]["dropped_events"], 0);
}

#[test]
fn the_events_redis_and_the_exporter() {
    goes_and_comes_back(&[Service::Events, Service::Exporter]);
}

#[test]
fn the_store() {
    goes_and_comes_back(&[Service::Store]);
}

#[test]
fn the_audit_s_database() {
    goes_and_comes_back(&[Service::Mysql]);
}

/// Every service is well, and still nobody is answered.
#[test]
fn without_two_providers_the_app_is_not_well() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let mut app = App::of(&redis).exporter(&exporter.url()).start();
    let services_are_well = |health: &Value| {
        let mut services = health["services"].as_object().unwrap().values();
        services.all(|service| service["state"] == "up" || service["state"] == "off")
    };
    let is = |app: &App, status: &str| {
        let health = health(app);
        services_are_well(&health) && health["status"] == status
    };
    wait::until_true("all is well", || is(&app, "ok"));
    app.restart_with("TECHSAPO_PROVIDERS_SIMULATED", "never");
    wait::until_true("there is nobody to ask", || is(&app, "degraded"));
    app.restart_with("TECHSAPO_PROVIDERS_SIMULATED", "auto");
    wait::until_true("all is well again", || is(&app, "ok"));
    app.restart_with("TECHSAPO_SIMULATED_FAILURE_RATE", "1");
    wait::until_true("every breaker is open", || {
        let _refused = app.generate("A question", "critical").unwrap_err();
        is(&app, "degraded")
    });
}
