//! `techsapo healthcheck`: asks the app that runs with the same settings, at its own address, whether it is healthy.
//!
//! For whatever watches the process and has no HTTP client, such as a container engine: one line, an exit code, and never
//! longer than [`TIMEOUT`].

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use techsapo_shared::own_address::own_address;

use crate::clients;

/// How long it may take: less than who watches waits (Docker: 10 s as it is set here).
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why the app is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// Nothing can be asked from here.
    #[error("the app cannot be asked: {0}")]
    System(#[from] io::Error),
    /// There can be no client.
    #[error("the app cannot be asked: {0}")]
    Client(reqwest::Error),
    /// No answer came in time.
    #[error("{url} does not answer: {reason}")]
    Silent {
        /// What was asked.
        url: String,
        /// What went wrong, and at which step.
        reason: String,
    },
    /// An answer, and not the right one.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked.
        url: String,
        /// What was answered.
        status: StatusCode,
    },
}

/// Asks the app that listens on `listen`, and says on `out` that it is healthy.
///
/// # Errors
/// Why it is not.
pub fn run(listen: SocketAddr, out: &mut impl Write) -> Result<(), Unhealthy> {
    let url = format!("http://{}/health", own_address(listen));
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(status(&url))?;
    if status != StatusCode::OK {
        return Err(Unhealthy::Status { url, status });
    }
    Ok(writeln!(out, "healthy: {url} answered within {} ms", began.elapsed().as_millis() + 1)?)
}

async fn status(url: &str) -> Result<StatusCode, Unhealthy> {
    // Plain HTTP to itself: no proxy has a say, and no certificates are read.
    let client = clients::builder().no_proxy().tls_certs_only([]).timeout(TIMEOUT);
    let client = client.build().map_err(Unhealthy::Client)?;
    let answer = client.get(url).send().await;
    let silent = |error: &reqwest::Error| match error.is_timeout() {
        true => format!("nothing within {} s", TIMEOUT.as_secs()),
        false => clients::cause(error),
    };
    answer
        .map(|answer| answer.status())
        .map_err(|error| Unhealthy::Silent { url: url.to_owned(), reason: silent(&error) })
}
