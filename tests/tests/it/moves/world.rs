//! An app with everything around it: four vendors that speak as the real ones do, two Redis, a database, an exporter.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use reqwest::blocking::Response;
use serde_json::{Value, json};
use techsapo_tests::http::{self, Answer};
use techsapo_tests::vendors::{VENDORS, Vendor, Vendors};
use techsapo_tests::{App, Exporter, MariaDb, Prometheus, RedisServer, binaries, wait};
use tempfile::TempDir;

use super::watch::Watch;

/// The route of analyses.
pub(super) const GENERATE: &str = "/api/v1/generate";
/// Requests of the basic plan that pass in a minute.
pub(super) const BASIC_PER_MINUTE: usize = 3;

/// Responses of a status to requests for analyses, as labels.
pub(super) fn generate(status: StatusCode) -> [(&'static str, &'static str); 3] {
    let code = match status {
        StatusCode::OK => "200",
        StatusCode::BAD_GATEWAY => "502",
        other => panic!("{other} is not among those that are counted here"),
    };
    [("method", "POST"), ("route", GENERATE), ("status_code", code)]
}

/// See the file's head. First of the fields what ends first.
pub(super) struct World {
    pub(super) app: App,
    pub(super) watch: Watch,
    pub(super) vendors: Vendors,
    pub(super) store: RedisServer,
    pub(super) mysql: MariaDb,
    _events: RedisServer,
    /// What the owner of a key of the highest plan shows, and one of the lowest.
    pub(super) owner: String,
    pub(super) limited: String,
    questions: usize,
    /// Analyses that ended, and their cost as the callers were told.
    analyses: usize,
    cost_nanousd: u64,
    providers: PathBuf,
    _folder: TempDir,
}

impl World {
    pub(super) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (events, store, mysql) = (RedisServer::start(), RedisServer::start(), MariaDb::start());
        let vendors = Vendors::start(
            "Roll it out to one server, watch its errors, then widen.",
            std::time::Duration::ZERO,
        );
        let (providers, keys) = (folder.path().join("providers.toml"), folder.path().join("keys.toml"));
        fs::write(&providers, vendors.providers_toml(&VENDORS, "")).unwrap();
        let (owner, limited) = (make_key(&keys, "critical"), make_key(&keys, "basic"));
        let app = VENDORS.iter().fold(App::of(&events), |app, vendor| app.set(vendor.key_variable, "a-key"));
        let app = app
            .set("TECHSAPO_STORE_REDIS_URL", &store.url())
            .set("TECHSAPO_MYSQL_URL", &mysql.url())
            .set("TECHSAPO_KEYS_FILE", &keys.to_string_lossy())
            .set("TECHSAPO_PROVIDERS_FILE", &providers.to_string_lossy())
            .set("TECHSAPO_CACHE_ENABLED", "true")
            .set("TECHSAPO_LIMITS_BASIC_PER_MINUTE", &BASIC_PER_MINUTE.to_string())
            .set("TECHSAPO_ANALYSIS_PROVIDER_TIMEOUT", "3s")
            .set("TECHSAPO_BREAKERS_FAILURES", "2")
            .set("TECHSAPO_BREAKERS_FAILURE_RATE", "0.1")
            .set("TECHSAPO_BREAKERS_WINDOW", "10m")
            .set("TECHSAPO_BREAKERS_OPEN_FOR", "10m")
            .set("TECHSAPO_BREAKERS_OPEN_FOR_AT_MOST", "10m")
            .start();
        let exporter = Exporter::of(&events).app(&app.url()).start();
        exporter.scrape_until("the app is known, and its audit", |page| {
            page.gauge("techsapo_active_connections").with("connection_type", "mysql").total() == 1.0
        });
        let watch = Watch::new(exporter);
        Self {
            app,
            watch,
            vendors,
            store,
            mysql,
            _events: events,
            owner,
            limited,
            questions: 0,
            analyses: 0,
            cost_nanousd: 0,
            providers,
            _folder: folder,
        }
    }

    /// Asks for an analysis that succeeds. Returns its confidence and its consensus.
    pub(super) fn answered(&mut self, task_type: &str) -> (f64, f64) {
        let body = self.analysis(task_type, StatusCode::OK);
        let analysis = &body["wall_bounce_analysis"];
        self.cost_nanousd += analysis["total_cost_nanousd"].as_u64().unwrap();
        (body["confidence"].as_f64().unwrap(), analysis["consensus"].as_f64().unwrap())
    }

    /// Asks for an analysis that fails with this status.
    pub(super) fn failed(&mut self, task_type: &str, status: StatusCode) {
        let body = self.analysis(task_type, status);
        self.cost_nanousd += body["error"]["details"]["total_cost_nanousd"].as_u64().unwrap();
    }

    /// Asks the very first question again, whose answer is kept.
    pub(super) fn answered_again(&mut self, task_type: &str) {
        let body = self.ask(1, task_type, StatusCode::OK);
        assert_eq!(
            (&body["cached"], &body["wall_bounce_analysis"]["total_cost_nanousd"]),
            (&json!(true), &json!(0))
        );
    }

    /// No two questions are the same.
    fn analysis(&mut self, task_type: &str, status: StatusCode) -> Value {
        self.questions += 1;
        self.ask(self.questions, task_type, status)
    }

    fn ask(&mut self, question: usize, task_type: &str, status: StatusCode) -> Value {
        self.analyses += 1;
        let prompt = format!("Question {question}: how do I roll out a change safely?");
        let body = json!({"prompt": prompt, "task_type": task_type});
        self.ask_with(&self.owner, &body, status).json()
    }

    /// Sends a body to the route of analyses, with this authorization.
    pub(super) fn ask_with(&self, authorization: &str, body: &Value, status: StatusCode) -> Answer {
        let request = http::client().post(format!("{}{GENERATE}", self.app.url())).json(body);
        let answer = http::send(request.header("authorization", authorization)).unwrap();
        assert_eq!(answer.status, status.as_u16(), "{}", answer.text());
        answer
    }

    /// Begins to watch the key figures; until it is dropped.
    pub(super) fn open_stream(&self) -> Response {
        let request = http::client().get(format!("{}/api/v1/metrics/stream", self.app.url()));
        let response = request.header("authorization", &self.owner).send().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response
    }

    /// Configures these vendors and no others.
    pub(super) fn configure(&self, vendors: &[Vendor]) {
        let new = self.providers.with_extension("new");
        fs::write(&new, self.vendors.providers_toml(vendors, "")).unwrap();
        fs::rename(new, &self.providers).unwrap();
    }

    /// What callers were told that it all cost.
    pub(super) fn spent_usd(&self) -> f64 {
        self.cost_nanousd as f64 / 1e9
    }

    /// Responses, audit, and Prometheus tell of the same analyses, and of the same cost to the nano-dollar.
    pub(super) fn accounts_agree(&self) {
        let audited = || -> (usize, u64) {
            let row = self.mysql.sql("SELECT COUNT(*), SUM(cost_nanousd) FROM analyses");
            let (count, cost) = row.split_once('\t').unwrap();
            (count.parse().unwrap(), cost.parse().unwrap())
        };
        let told = (self.analyses, self.cost_nanousd);
        wait::until_true("the audit holds every analysis", || audited().0 >= told.0);
        assert_eq!(audited(), told, "analyses and nano-dollars, by the audit and by the responses");

        let prometheus = Prometheus::of_exporters(&[&self.watch.exporter().address()]);
        prometheus.wait_value("sum(techsapo_wallbounce_requests_total)", told.0 as f64);
        for family in ["techsapo_wallbounce_cost_usd", "techsapo_provider_cost_usd"] {
            let usd = prometheus.value(&format!("sum({family})")).unwrap();
            assert_eq!((usd * 1e9).round() as u64, told.1, "{family}");
        }
        let by_prometheus = |query: &str| prometheus.value(query).unwrap() as usize;
        let answered =
            "sum(techsapo_http_requests_total{route=\"/api/v1/generate\",status_code=~\"200|502\"})";
        assert_eq!(by_prometheus(answered), told.0);
        let timed = "sum(techsapo_wallbounce_processing_duration_seconds_count)";
        assert_eq!(by_prometheus(timed), told.0);
    }
}

/// A key of this plan, as it is sent.
fn make_key(file: &Path, tier: &str) -> String {
    let mut command = binaries::command("techsapo");
    command.env("TECHSAPO_KEYS_FILE", file).args(["keys", "create", "--name", tier, "--tier", tier]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    format!("Bearer {}", String::from_utf8(output.stdout).unwrap().trim())
}
