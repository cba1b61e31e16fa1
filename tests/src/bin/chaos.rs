//! `chaos [--seconds N] [--seed S]`: the chaos run from a shell; `scripts/chaos.sh` builds and starts it.
#![allow(clippy::print_stdout)] // It speaks to a person.

use std::process::ExitCode;

use techsapo_tests::chaos;

const USAGE: &str = "chaos [--seconds N] [--seed S]";

fn main() -> ExitCode {
    let Some((seconds, seed)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match chaos::run(seed, seconds, &mut |line| println!("{line}")) {
        Ok(outcome) => {
            println!("answered {}, pages compared {}", outcome.answered, outcome.pages);
            if outcome.account.power_lost > 0 {
                println!("{} events went with a journal that lost power", outcome.account.power_lost);
            }
            println!("{outcome}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!(
                "\nFAILED; ./scripts/chaos.sh --seconds {seconds} --seed {seed} repeats the schedule above."
            );
            failure.findings.iter().for_each(|finding| println!("  {finding}"));
            println!("Logs, journals and checkpoints are kept in {}", failure.folder.display());
            if let Some(last_line) = failure.last_line {
                println!("{last_line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Seconds and seed; nothing if they are no numbers, or something else is asked.
fn arguments(mut words: impl Iterator<Item = String>) -> Option<(u64, u64)> {
    let (mut seconds, mut seed) = (120, 1);
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seconds" => seconds = number,
            "--seed" => seed = number,
            _ => return None,
        }
    }
    Some((seconds, seed))
}
