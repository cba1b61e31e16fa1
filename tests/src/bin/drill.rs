//! The drills from a shell; `scripts/drill.sh` builds and starts it, and tells what its options mean.
#![allow(clippy::print_stdout)] // It speaks to a person.

use std::process::ExitCode;

use techsapo_tests::drill::{DRILLS, Drill, Report};
use techsapo_tests::repository;

fn main() -> ExitCode {
    let mut write = false;
    let mut wanted: Vec<&Drill> = Vec::new();
    for word in std::env::args().skip(1) {
        match DRILLS.iter().find(|drill| drill.name == word) {
            Some(drill) => wanted.push(drill),
            None if word == "--write" => write = true,
            None => {
                DRILLS.iter().for_each(|drill| eprintln!("{:<14} {}", drill.name, drill.shows));
                return ExitCode::from(2);
            }
        }
    }
    if wanted.is_empty() {
        wanted = DRILLS.iter().collect();
    }
    let mut all_kept = true;
    for drill in wanted {
        println!("drill {}: {}", drill.name, drill.shows);
        let mut report = Report::new(false, |line| println!("  {line}"));
        (drill.run)(&mut report);
        println!("\n{}", report.table());
        all_kept &= report.lines().iter().all(techsapo_tests::drill::Line::kept);
        if write {
            repository::put_between("docs/operations.md", &format!("drill {}", drill.name), &report.table());
        }
    }
    if all_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
