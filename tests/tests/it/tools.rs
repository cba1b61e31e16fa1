//! What the programs do for people besides serving, run as people run them.

use std::process::Output;

use techsapo_tests::binaries;

mod check;
mod completions;
mod explain;
mod tail;

/// Runs the exporter's program to its end.
fn exporter(arguments: &[&str]) -> Output {
    binaries::command("techsapo-exporter").args(arguments).output().unwrap()
}

/// What it wrote: results, explanations.
fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}
