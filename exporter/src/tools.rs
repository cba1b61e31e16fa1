//! What the exporter can do for people besides serving: say what a metric means, show the events as they come, look
//! whether everything is in its place, ask one that runs whether it is healthy, complete its own command line. None of it changes anything.
//!
//! Results go to standard output, explanations to standard error. A reader of the results that goes away is no error.

mod check;
pub mod completions;
pub mod explain;
pub mod healthcheck;
mod human;
mod nearest;
mod own_pages;
mod paint;
mod printable;
pub mod tail;

use std::io;
use std::process::ExitCode;

use clap::Subcommand;

use self::completions::CompletionsCommand;
use self::explain::{ExplainCommand, ExplainError};
use self::healthcheck::{HealthcheckCommand, HealthcheckError};
use self::tail::{TailCommand, TailError};
use crate::flags::Flags;

/// What can be done besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the events of the streams as they come, one line each. Changes nothing.
    Tail(TailCommand),
    /// Say what a metric means: type, unit, labels and their values, source, a query, alerts.
    Explain(ExplainCommand),
    /// Ask the exporter that runs with these flags (or their environment variables) whether it is healthy: one line, and 0 or 1.
    Healthcheck(HealthcheckCommand),
    /// Write a script that completes this program's command line in a shell.
    Completions(CompletionsCommand),
}

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error(transparent)]
    Explain(#[from] ExplainError),
    #[error(transparent)]
    Healthcheck(#[from] HealthcheckError),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl ToolError {
    /// Whether nobody reads the results any more, as `head` does not.
    fn is_unread(&self) -> bool {
        match self {
            Self::Output(error)
            | Self::Explain(ExplainError::Output(error))
            | Self::Tail(TailError::Output(error)) => error.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }

    /// Whether what was asked for is at fault.
    fn is_input(&self) -> bool {
        matches!(
            self,
            Self::Explain(ExplainError::Unknown { .. } | ExplainError::Unreadable(_))
                | Self::Tail(TailError::Address(_))
        )
    }
}

impl Command {
    /// Does it, and says on standard error why not. `program` is the whole command line. The exit code: 0 done, 1 failed, 2 wrong
    /// arguments.
    pub fn run(&self, program: clap::Command) -> ExitCode {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let done = match self {
            Self::Tail(command) => command.run(&mut out, &mut io::stderr()).map_err(ToolError::from),
            Self::Explain(command) => command.run(&mut out).map_err(ToolError::from),
            Self::Healthcheck(command) => command.run(&mut out).map_err(ToolError::from),
            Self::Completions(command) => command.run(program, &mut out).map_err(ToolError::from),
        };
        finish(done.map(|()| ExitCode::SUCCESS))
    }
}

/// `--check`: looks whether everything is in order. The exit code: 0 nothing failed, 1 something did.
pub fn check(flags: &Flags) -> ExitCode {
    let well = check::run(flags, &mut io::stdout().lock());
    finish(well.map(|well| if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }).map_err(ToolError::from))
}

fn finish(done: Result<ExitCode, ToolError>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) if error.is_unread() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("techsapo-exporter: {error}");
            ExitCode::from(if error.is_input() { 2 } else { 1 })
        }
    }
}
