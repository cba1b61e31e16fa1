//! Peers beside the exporter, in one run: prom-client (Node.js) and netdata's statsd, each given the same facts.
//!
//! A fact is a provider call, and what it causes is five updates: the counter of requests, the histogram of response
//! times, two counters of tokens, one of costs. Each peer is given an easier task than the exporter:
//!
//! * prom-client counts objects in its own process; nothing is transported, decoded or kept.
//! * netdata reads statsd lines from a connection and gives every update one name without labels; it keeps nothing
//!   over a restart, and its histogram has percentiles of the last second in place of buckets.
//! * The exporter reads JSON from Redis, finds each series by its labels, and makes every second durable.
//!
//! What counts is what the peer says that it counted. A peer that is not installed is left out, and that is said.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use techsapo_tests::{Process, RedisServer, free_port, http, repository, wait};
use tempfile::TempDir;

use crate::report::{Figure, median};
use crate::{cpu, load, pipeline, scrape};

/// Rounds, in each of which everybody has a turn; the median counts.
const ROUNDS: usize = 3;
/// Facts of a turn, besides the exporter's own number.
const FACTS: usize = 1_000_000;
/// Different facts, used again and again.
const DIFFERENT: usize = 4_096;
const SERIES: usize = 10_000;
const SCRAPES: usize = 60;
/// What netdata's figures, averages over seconds stored with a few digits, may lie off the truth.
const NETDATA_TOLERANCE: f64 = 0.001;

/// Facts per second of CPU time, the cost of a page, and how the peers' compare with the exporter's.
pub(crate) fn run() -> Vec<Figure> {
    let (prom_client, netdata) = (PromClient::find(), Netdata::find());
    let (mut ours, mut node_facts, mut netdata_facts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_page, mut node_page) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(pipeline::BATCHED as f64 / pipeline::cpu_to_count(pipeline::BATCHED, 64));
        let redis = RedisServer::start();
        our_page.push(scrape::cpu_at_rest(&scrape::exporter_with_series(&redis)) * 1e3);
        if let Some(prom_client) = &prom_client {
            node_facts.push(prom_client.facts_per_cpu_second());
            node_page.push(prom_client.cpu_of_a_scrape() * 1e3);
        }
        if let Some(netdata) = &netdata {
            netdata_facts.push(netdata.facts_per_cpu_second());
        }
    }
    let (ours, our_page) = (median(ours), median(our_page));
    let facts = |name, value| Figure { name, value, unit: "facts/s", asked: "per CPU second" };
    let page = |name, value| Figure { name, value, unit: "ms", asked: "CPU time of a page" };
    let ratio = |name, value, asked| Figure { name, value, unit: "ratio", asked };
    let mut figures = vec![
        facts("peers_techsapo_facts_per_cpu_second", ours),
        page("peers_techsapo_scrape_10000_series_cpu", our_page),
    ];
    if prom_client.is_some() {
        let (theirs, their_page) = (median(node_facts), median(node_page));
        figures.push(facts("peers_prom_client_facts_per_cpu_second", theirs));
        figures.push(page("peers_prom_client_scrape_10000_series_cpu", their_page));
        figures.push(ratio(
            "pipeline_vs_prom_client",
            ours / theirs,
            "facts: the exporter's by prom-client's",
        ));
        figures.push(ratio(
            "scrape_vs_prom_client",
            their_page / our_page,
            "pages: prom-client's by the exporter's",
        ));
    }
    if netdata.is_some() {
        let theirs = median(netdata_facts);
        figures.push(facts("peers_netdata_statsd_facts_per_cpu_second", theirs));
        figures.push(ratio(
            "pipeline_vs_netdata_statsd",
            ours / theirs,
            "facts: the exporter's by netdata's",
        ));
    }
    figures
}

/// prom-client, as scripts/bench.sh installed it.
struct PromClient {
    modules: PathBuf,
    calls: String,
}

impl PromClient {
    fn find() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os("TECHSAPO_PEERS_DIR").unwrap_or_default());
        let modules = folder.join("node_modules");
        if !modules.join("prom-client").is_dir() {
            eprintln!("prom-client is not installed in {}; it is left out", modules.display());
            return None;
        }
        Some(Self { modules, calls: load::calls(DIFFERENT).join("\n") })
    }

    fn facts_per_cpu_second(&self) -> f64 {
        let result = self.run(&["facts", &FACTS.to_string()]);
        assert_eq!(result["counted"].as_u64(), Some(FACTS as u64), "{result}");
        FACTS as f64 / result["cpu_seconds"].as_f64().unwrap()
    }

    fn cpu_of_a_scrape(&self) -> f64 {
        let result = self.run(&["scrape", &SERIES.to_string(), &SCRAPES.to_string()]);
        assert_eq!(result["samples"].as_u64(), Some(SERIES as u64), "{result}");
        result["cpu_seconds"].as_f64().unwrap() / SCRAPES as f64
    }

    fn run(&self, arguments: &[&str]) -> Value {
        let script = repository::root().join("tests/benches/peers/prom_client.js");
        let mut child = Command::new("node")
            .env("NODE_PATH", &self.modules)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // A scrape reads none of it.
        let _ = child.stdin.take().unwrap().write_all(self.calls.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "node {arguments:?}: {}", output.status);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// netdata's statsd: started with nothing else switched on, in folders of its own, on loopback.
struct Netdata {
    program: PathBuf,
    lines: Vec<String>,
}

impl Netdata {
    fn find() -> Option<Self> {
        // Debian puts it where only root looks.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let program =
            path.split(':').map(|folder| Path::new(folder).join("netdata")).find(|file| file.is_file());
        if program.is_none() {
            eprintln!("netdata is not installed (Debian: netdata-core); it is left out");
        }
        program.map(|program| Self { program, lines: statsd_lines() })
    }

    fn facts_per_cpu_second(&self) -> f64 {
        let (folder, web, statsd) = (TempDir::new().unwrap(), free_port(), free_port());
        let configuration = folder.path().join("netdata.conf");
        fs::write(&configuration, self.configuration(folder.path(), web, statsd)).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-D").arg("-c").arg(&configuration).arg("-P").arg(folder.path().join("pid"));
        let mut process = Process::start("netdata", folder.path(), &mut command);
        let mut connection = wait::until("netdata's statsd listens", || {
            process.assert_alive();
            TcpStream::connect(("127.0.0.1", statsd)).ok()
        });
        let total = || Self::counted(web).unwrap_or(0.0);
        // The first fact makes the charts, and shows that counting and asking work.
        connection.write_all(self.lines[0].as_bytes()).unwrap();
        wait::until_true("netdata counts the first fact", || total() >= 1.0 - NETDATA_TOLERANCE);

        let before = cpu::seconds_of(process.id());
        for first in (0..FACTS).step_by(DIFFERENT) {
            let some = self.lines.len().min(FACTS - first);
            connection.write_all(self.lines[..some].concat().as_bytes()).unwrap();
        }
        let all = (FACTS + 1) as f64;
        wait::until_true("netdata counts all facts", || total() >= all * (1.0 - NETDATA_TOLERANCE));
        let seconds = cpu::seconds_of(process.id()) - before;
        let counted = total();
        assert!((counted - all).abs() <= all * NETDATA_TOLERANCE, "counted {counted}, sent {all}");
        process.kill_9();
        (counted - 1.0) / seconds
    }

    /// What the counter of requests has grown by since the start: netdata keeps growth by the second.
    fn counted(web: u16) -> Option<f64> {
        let query =
            "chart=statsd_llm.requests_counter&after=-600&points=1&group=sum&options=unaligned&format=json";
        let answer = http::get(&format!("http://127.0.0.1:{web}/api/v1/data?{query}")).ok()?;
        if answer.status == 200 { answer.json()["data"][0][1].as_f64() } else { None }
    }

    fn configuration(&self, folder: &Path, web: u16, statsd: u16) -> String {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        let mut text = format!("[global]\nrun as user = {}\n[directories]\n", user.trim());
        for kind in ["config", "lib", "cache", "log", "registry"] {
            let own = folder.join(kind);
            fs::create_dir(&own).unwrap();
            writeln!(text, "{kind} = {}", own.display()).unwrap();
        }
        text.push_str("[db]\nmode = ram\n[plugins]\n");
        for plugin in [
            "enable running new plugins",
            "timex",
            "idlejitter",
            "netdata monitoring",
            "netdata monitoring extended",
            "tc",
            "diskspace",
            "proc",
            "cgroups",
            "slabinfo",
            "loopsleepms",
        ] {
            writeln!(text, "{plugin} = no").unwrap();
        }
        for section in ["ml", "health"] {
            writeln!(text, "[{section}]\nenabled = no").unwrap();
        }
        write!(
            text,
            "[web]\nbind to = 127.0.0.1:{web}\n[statsd]\nbind to = tcp:127.0.0.1:{statsd}\ndefault port = {statsd}\n"
        )
        .unwrap();
        text
    }
}

/// The five updates of each fact, as statsd has them.
fn statsd_lines() -> Vec<String> {
    let lines = load::calls(DIFFERENT);
    let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .map(|event| {
            let call = &event["llm_request"];
            format!(
                "llm_requests:1|c\nllm_response_time:{}|h\nllm_tokens_input:{}|c\nllm_tokens_output:{}|c\nllm_cost:{}|c\n",
                call["duration_us"], call["input_tokens"], call["output_tokens"], call["cost_nanousd"]
            )
        })
        .collect()
}
