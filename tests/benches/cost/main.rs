//! What measuring costs: `./scripts/bench.sh`, or `cargo bench -p techsapo-tests --bench cost -- [FIGURE…]`.
//!
//! Real processes, built for release, on real servers. CPU time, not clock time, wherever it can be: the machine may
//! be busy with other things. Each figure is a line `<figure> <number> <unit>`; `--write` also puts them into the table
//! of docs/performance.md, with what is asked of each.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // It prints for people, and what goes wrong ends it.

mod agreement;
mod app;
mod app_peers;
mod append;
mod connection;
mod cpu;
mod idle;
mod latency;
mod load;
mod parts;
mod peers;
mod pipeline;
mod relay;
mod report;
mod scrape;
mod series;
mod telemetry;

use report::{Figure, Table};

/// What measures some figures.
type Benchmark = fn() -> Vec<Figure>;

/// Every benchmark: its name, how it is run, and the table that its figures stand in.
const BENCHMARKS: [(&str, Benchmark, Table); 12] = [
    ("agreement", agreement::run, Table::Figures),
    ("app", app::run, Table::Figures),
    ("app-peers", app_peers::run, Table::Gateways),
    ("append", append::run, Table::Figures),
    ("parts", parts::run, Table::Figures),
    ("pipeline", pipeline::run, Table::Figures),
    ("scrape", scrape::run, Table::Figures),
    ("series", series::run, Table::Figures),
    ("idle", idle::run, Table::Figures),
    ("recover", pipeline::recover, Table::Figures),
    ("telemetry", telemetry::run, Table::Figures),
    ("peers", peers::run, Table::Peers),
];

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, vendors, file] = arguments.as_slice()
        && flag == relay::ARGUMENT
    {
        return relay::run(vendors, file);
    }
    let write = arguments.iter().any(|argument| argument == "--write");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let known = |name: &str| BENCHMARKS.iter().any(|(known, ..)| *known == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names = BENCHMARKS.map(|(name, ..)| name).join(", ");
        eprintln!("there is no benchmark {unknown}; there are {names}");
        std::process::exit(2);
    }
    for (name, run, table) in BENCHMARKS {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            let figures = run();
            figures.iter().for_each(|figure| println!("{figure}"));
            if write {
                report::write(table, &figures);
            }
        }
    }
}
