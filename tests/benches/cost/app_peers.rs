//! Gateways to LLM providers beside the app, in one run: Portkey (Node.js) and LiteLLM (Python), before the same vendor.
//!
//! The gateways have the easier task: they pass on one call to one vendor, in the format that they were asked in, and tell
//! nobody. The app asks two vendors in their own formats, compares what they say, bounds its callers, and every fact is on its
//! way to the exporter. Each is compared with its own calls made by the client itself, in turns, so that what counts is
//! what each adds. One process each; LiteLLM with one worker, which is what it starts without being told.
//!
//! A gateway that is not installed is left out, and that is said. `scripts/bench.sh` installs both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use techsapo_tests::vendors::{VENDORS, Vendors};
use techsapo_tests::{Process, free_port, http, wait};
use tempfile::TempDir;

use crate::app::{Direct, World, question};
use crate::connection::{self, Connection};
use crate::latency::{Client, Course, measure};
use crate::report::Figure;

/// Turns of everybody, and how long one is.
const TURNS: usize = 3;
const TURN: Duration = Duration::from_secs(3);
/// Clients at once.
const CONCURRENCIES: [usize; 2] = [1, 16];
/// What the gateways take for a model.
const MODEL: &str = "benchmark";

/// Names of the figures of one contender: added p50 and p99, and CPU time, at each concurrency.
struct Names([[&'static str; 3]; 2]);

const OURS: Names = Names([
    ["gateways_techsapo_added_p50_at_1", "gateways_techsapo_added_p99_at_1", "gateways_techsapo_cpu_at_1"],
    ["gateways_techsapo_added_p50_at_16", "gateways_techsapo_added_p99_at_16", "gateways_techsapo_cpu_at_16"],
]);
const PORTKEY: Names = Names([
    ["gateways_portkey_added_p50_at_1", "gateways_portkey_added_p99_at_1", "gateways_portkey_cpu_at_1"],
    ["gateways_portkey_added_p50_at_16", "gateways_portkey_added_p99_at_16", "gateways_portkey_cpu_at_16"],
]);
const LITELLM: Names = Names([
    ["gateways_litellm_added_p50_at_1", "gateways_litellm_added_p99_at_1", "gateways_litellm_cpu_at_1"],
    ["gateways_litellm_added_p50_at_16", "gateways_litellm_added_p99_at_16", "gateways_litellm_cpu_at_16"],
]);
/// Names of the ratios, a gateway's by ours.
const PORTKEY_RATIOS: Names = Names([
    ["portkey_vs_app_p50_at_1", "portkey_vs_app_p99_at_1", "portkey_vs_app_cpu_at_1"],
    ["portkey_vs_app_p50_at_16", "portkey_vs_app_p99_at_16", "portkey_vs_app_cpu_at_16"],
]);
const LITELLM_RATIOS: Names = Names([
    ["litellm_vs_app_p50_at_1", "litellm_vs_app_p99_at_1", "litellm_vs_app_cpu_at_1"],
    ["litellm_vs_app_p50_at_16", "litellm_vs_app_p99_at_16", "litellm_vs_app_cpu_at_16"],
]);

/// What everybody adds, and the gateways' by ours.
pub(crate) fn run() -> Vec<Figure> {
    let world = World::start();
    let gateways: Vec<_> = [
        Gateway::portkey(&world.vendors).map(|gateway| (gateway, PORTKEY, PORTKEY_RATIOS)),
        Gateway::litellm(&world.vendors).map(|gateway| (gateway, LITELLM, LITELLM_RATIOS)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut figures = Vec::new();
    for (at, concurrency) in CONCURRENCIES.into_iter().enumerate() {
        let mut ours = Course::default();
        let mut theirs: Vec<Course> = gateways.iter().map(|_| Course::default()).collect();
        for _ in 0..TURNS {
            let direct = measure(concurrency, TURN, || Direct::to(&world.vendors));
            ours.turn(world.app.process.id(), &direct, || measure(concurrency, TURN, || world.client()));
            let direct = measure(concurrency, TURN, || Caller::of_vendor(&world.vendors));
            for ((gateway, ..), course) in gateways.iter().zip(&mut theirs) {
                let through = || measure(concurrency, TURN, || Caller::of_gateway(gateway));
                course.turn(gateway.process.id(), &direct, through);
            }
        }
        let ours = ours.medians();
        figures.extend(shown(OURS.0[at], ours));
        for ((_, names, ratios), course) in gateways.iter().zip(theirs) {
            let theirs = course.medians();
            figures.extend(shown(names.0[at], theirs));
            figures.extend([0, 1, 2].map(|index| Figure {
                name: ratios.0[at][index],
                value: theirs[index] / ours[index],
                unit: "ratio",
                asked: "the gateway's by ours",
            }));
        }
    }
    figures
}

fn shown(names: [&'static str; 3], values: [f64; 3]) -> [Figure; 3] {
    let figure = |index: usize, unit, asked| Figure { name: names[index], value: values[index], unit, asked };
    [
        figure(0, "ms", "added to the median"),
        figure(1, "ms", "added to the 99th percentile"),
        figure(2, "µs", "CPU time of a request"),
    ]
}

/// A running gateway.
struct Gateway {
    process: Process,
    address: String,
    headers: Vec<(&'static str, String)>,
    _folder: TempDir,
}

impl Gateway {
    fn portkey(vendors: &Vendors) -> Option<Self> {
        let script = installed("node_modules/@portkey-ai/gateway/build/start-server.js")?;
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let mut command = Command::new("node");
        command.arg(script).arg(format!("--port={port}")).arg("--headless");
        let headers = vec![
            ("x-portkey-provider", "openai".to_owned()),
            ("x-portkey-custom-host", vendors.url(VENDORS[3])),
            ("authorization", "Bearer key-of-a-benchmark".to_owned()),
        ];
        Some(Self::start("portkey", command, folder, port, headers))
    }

    fn litellm(vendors: &Vendors) -> Option<Self> {
        let program = installed("litellm/bin/litellm")?;
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let config = json!({"model_list": [{"model_name": MODEL, "litellm_params": {
            "model": format!("openai/{MODEL}"),
            "api_base": vendors.url(VENDORS[3]),
            "api_key": "key-of-a-benchmark",
        }}]});
        // JSON is YAML.
        fs::write(folder.path().join("config.yaml"), config.to_string()).unwrap();
        let mut command = Command::new(program);
        command.args(["--config", "config.yaml", "--host", "127.0.0.1", "--port", &port.to_string()]);
        // Prices from the package, not from the network.
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
        // Nobody but this machine can ask it, and it is spared looking at keys.
        command.env("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true");
        Some(Self::start("litellm", command, folder, port, Vec::new()))
    }

    /// Starts it, and waits until it passes on a question.
    fn start(
        name: &str,
        mut command: Command,
        folder: TempDir,
        port: u16,
        headers: Vec<(&'static str, String)>,
    ) -> Self {
        let process = Process::start(name, folder.path(), command.current_dir(folder.path()));
        let gateway = Self { process, address: format!("127.0.0.1:{port}"), headers, _folder: folder };
        let url = format!("http://{}{CHAT}", gateway.address);
        wait::until_true(&format!("{name} answers"), || {
            let request = http::client().post(&url).json(&chat());
            let request = gateway.headers.iter().fold(request, |all, (name, value)| all.header(*name, value));
            http::send(request).is_ok_and(|answer| answer.status == 200)
        });
        gateway
    }
}

/// What `scripts/bench.sh` installed.
fn installed(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TECHSAPO_GATEWAYS_DIR")?;
    let path = Path::new(&folder).join(path);
    let found = path.is_file();
    if !found {
        eprintln!("{} is not installed; it is left out", path.display());
    }
    found.then_some(path)
}

/// Where gateways take questions.
const CHAT: &str = "/v1/chat/completions";

fn chat() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": question()}]})
}

/// Asks one server one question, as Chat Completions.
struct Caller {
    connection: Connection,
    address: String,
    path: String,
    headers: Vec<(&'static str, String)>,
}

impl Caller {
    fn of_vendor(vendors: &Vendors) -> Self {
        let address = vendors.address();
        let path = format!("/{}/chat/completions", VENDORS[3].section);
        Self { connection: Connection::to(&address), address, path, headers: Vec::new() }
    }

    fn of_gateway(gateway: &Gateway) -> Self {
        let address = gateway.address.clone();
        let headers = gateway.headers.clone();
        Self { connection: Connection::to(&address), address, path: CHAT.to_owned(), headers }
    }
}

impl Client for Caller {
    fn ask(&mut self) {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.connection.send(&connection::post(&self.address, &self.path, &headers, &chat()));
        self.connection.receive();
    }
}
