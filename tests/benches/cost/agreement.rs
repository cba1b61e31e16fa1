//! What comparing two answers costs: preparing both and comparing them, over every labelled pair of the repository.

use std::hint::black_box;

use techsapo_app::analysis::agreement::evaluation::Pair;
use techsapo_tests::repository;

use crate::cpu;
use crate::report::Figure;

const ROUNDS: usize = 20;

/// Mean CPU time of a pair.
pub(crate) fn run() -> Vec<Figure> {
    let read = |half: &str| repository::read(format!("app/data/agreement/{half}.jsonl"));
    let files = [read("tune"), read("held_out")];
    let pairs: Vec<Pair> =
        files.iter().flat_map(|file| file.lines()).map(|line| serde_json::from_str(line).unwrap()).collect();
    let before = cpu::seconds_of_this_thread();
    for _ in 0..ROUNDS {
        for pair in &pairs {
            black_box(black_box(pair).compare());
        }
    }
    let busy = cpu::seconds_of_this_thread() - before;
    let value = busy / (ROUNDS * pairs.len()) as f64 * 1e6;
    vec![Figure { name: "agreement_pair", value, unit: "µs", asked: "< 1 000 µs" }]
}
