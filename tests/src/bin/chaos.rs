//! The chaos run from a shell; `scripts/chaos.sh` builds and starts it, and tells what its options mean.
#![allow(clippy::print_stdout)] // It speaks to a person.

use std::process::ExitCode;

use techsapo_tests::chaos::{self, Plan, Store};

const USAGE: &str = "chaos [--seconds N] [--seed S] [--store folder|mysql] [--streams N]";

fn main() -> ExitCode {
    let Some(plan) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match chaos::run(plan, &mut |line| println!("{line}")) {
        Ok(outcome) => {
            println!("answered {}, pages compared {}", outcome.answered, outcome.pages);
            if outcome.account.power_lost > 0 {
                println!("{} events went with a journal that lost power", outcome.account.power_lost);
            }
            println!("{outcome}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("\nFAILED; ./scripts/chaos.sh {plan} repeats the schedule above.");
            failure.findings.iter().for_each(|finding| println!("  {finding}"));
            println!("Logs, journals and checkpoints are kept in {}", failure.folder.display());
            if let Some(last_line) = failure.last_line {
                println!("{last_line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The plan that the options ask for; nothing if they make no sense.
fn arguments(mut words: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan::default();
    while let Some(word) = words.next() {
        let value = words.next()?;
        match (word.as_str(), value.as_str()) {
            ("--seconds", number) => plan.seconds = number.parse().ok()?,
            ("--seed", number) => plan.seed = number.parse().ok()?,
            ("--store", "folder") => plan.store = Store::Folder,
            ("--store", "mysql") => plan.store = Store::Mysql,
            ("--streams", number) => plan.streams = number.parse().ok().filter(|streams| *streams > 0)?,
            _ => return None,
        }
    }
    Some(plan)
}
