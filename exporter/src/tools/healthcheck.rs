//! `techsapo-exporter healthcheck`: asks the exporter that runs with the same flags, at its own address, whether its
//! process is healthy (`/-/healthy`; a standby is).
//!
//! For whatever watches the process and has no HTTP client, such as a container engine: one line, an exit code, and never
//! longer than [`TIMEOUT`].

use std::error::Error;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::Args;
use reqwest::StatusCode;

use super::own_pages;
use crate::flags::{ListenArgs, TlsArgs};

/// How long it may take: less than who watches waits (Docker: 10 s as it is set here).
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whom to ask.
#[derive(Debug, Args)]
pub struct HealthcheckCommand {
    /// The one that serves here.
    #[command(flatten)]
    listen: ListenArgs,

    /// Whom to trust, and who to be, where it serves by TLS.
    #[command(flatten)]
    tls: TlsArgs,
}

/// Why a check did not end well.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// The exporter is not healthy, or does not answer.
    #[error("{0}")]
    Unhealthy(String),
    /// Nobody hears that it is.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl HealthcheckCommand {
    /// Asks, and says in one line that the exporter is healthy.
    ///
    /// # Errors
    /// Says why it is not, or why nobody could be told.
    pub fn run(&self, out: &mut impl Write) -> Result<(), HealthcheckError> {
        let line = ask(&self.listen, &self.tls).map_err(HealthcheckError::Unhealthy)?;
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }
}

fn ask(listen: &ListenArgs, tls: &TlsArgs) -> Result<String, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("the exporter cannot be asked: {error}");
    let (client, base) = own_pages::client(listen, &tls.load()?, TIMEOUT).map_err(|error| cannot(&error))?;
    let url = format!("{base}/-/healthy");
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot(&error))?;
    match runtime.block_on(async { client.get(&url).send().await }).map(|answer| answer.status()) {
        Ok(StatusCode::OK) => {
            Ok(format!("healthy: {url} answered within {} ms", began.elapsed().as_millis() + 1))
        }
        Ok(status) => Err(format!("{url} answered {status}")),
        Err(error) if error.is_timeout() => {
            Err(format!("{url} does not answer: nothing within {} s", TIMEOUT.as_secs()))
        }
        Err(error) => Err(format!("{url} does not answer: {}", innermost(&error))),
    }
}

/// The cause at the bottom, such as "Connection refused": what stands above only repeats the address.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
