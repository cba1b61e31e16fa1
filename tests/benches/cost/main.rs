//! What measuring costs: `./scripts/bench.sh`, or `cargo bench -p techsapo-tests --bench cost -- [FIGURE…]`.
//!
//! Real processes, built for release, on real servers. CPU time, not clock time, wherever it can be: the machine may
//! be busy with other things. Each figure is a line `<figure> <number> <unit>`; `--write` also puts them into the table
//! of docs/performance.md, with what is asked of each.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // It prints for people, and what goes wrong ends it.

mod append;
mod cpu;
mod idle;
mod load;
mod pipeline;
mod report;
mod scrape;
mod telemetry;

use report::Figure;

/// What measures some figures.
type Benchmark = fn() -> Vec<Figure>;

/// Every benchmark by its name.
const BENCHMARKS: [(&str, Benchmark); 6] = [
    ("append", append::run),
    ("pipeline", pipeline::run),
    ("scrape", scrape::run),
    ("idle", idle::run),
    ("recover", pipeline::recover),
    ("telemetry", telemetry::run),
];

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let write = arguments.iter().any(|argument| argument == "--write");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let known = |name: &str| BENCHMARKS.iter().any(|(known, _)| *known == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names = BENCHMARKS.map(|(name, _)| name).join(", ");
        eprintln!("there is no benchmark {unknown}; there are {names}");
        std::process::exit(2);
    }
    let mut figures = Vec::new();
    for (name, run) in BENCHMARKS {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            for figure in run() {
                println!("{figure}");
                figures.push(figure);
            }
        }
    }
    if write {
        report::write(&figures);
    }
}
