//! `techsapo healthcheck`: asks the app that runs with the same settings, at its own address, whether it is healthy.
//!
//! For whatever watches the process and has no HTTP client, such as a container engine: one line, an exit code, and never
//! longer than [`TIMEOUT`].

use std::io::{self, Write};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use techsapo_shared::own_address::own_address;
use techsapo_tls::own_host;

use crate::clients;
use crate::config::{Settings, TlsListen};
use crate::tls::{self, TlsSettingError};

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
    /// The settings of TLS cannot be used.
    #[error("the app cannot be asked: {0}")]
    Settings(#[from] TlsSettingError),
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

/// Asks the app that runs with `settings`, and says on `out` that it is healthy. Under TLS it is verified as by any caller:
/// by the authorities of `tls.ca_file`, and by a name in its certificate.
///
/// # Errors
/// Why it is not.
pub fn run(settings: &Settings, out: &mut impl Write) -> Result<(), Unhealthy> {
    let (client, url) = client(settings)?;
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(status(&client, &url))?;
    if status != StatusCode::OK {
        return Err(Unhealthy::Status { url, status });
    }
    Ok(writeln!(out, "healthy: {url} answered within {} ms", began.elapsed().as_millis() + 1)?)
}

/// A client, and what to ask for.
fn client(settings: &Settings) -> Result<(reqwest::Client, String), Unhealthy> {
    let address = own_address(settings.listen);
    let builder = clients::neighbourly(&tls::client(settings)?).timeout(TIMEOUT);
    let (builder, origin) = match (settings.tls.listen, &settings.tls.cert_file) {
        (TlsListen::Server | TlsListen::Mutual, Some(certificate)) => {
            let host = own_host(certificate, address.ip());
            (builder.resolve(&host, address), format!("https://{host}:{}", address.port()))
        }
        _ => (builder, format!("http://{address}")),
    };
    Ok((builder.build().map_err(Unhealthy::Client)?, format!("{origin}/health")))
}

async fn status(client: &reqwest::Client, url: &str) -> Result<StatusCode, Unhealthy> {
    let answer = client.get(url).send().await;
    let silent = |error: &reqwest::Error| match error.is_timeout() {
        true => format!("nothing within {} s", TIMEOUT.as_secs()),
        false => clients::cause(error),
    };
    answer
        .map(|answer| answer.status())
        .map_err(|error| Unhealthy::Silent { url: url.to_owned(), reason: silent(&error) })
}
