//! The pages of the exporter that serves with the same flags: where they are, and a client for them.
//!
//! Under TLS the one that answers is verified as Prometheus verifies it: by the authorities of `--tls.ca-file`, and by a
//! name that stands in the certificate that the web configuration names.

use std::time::Duration;

use reqwest::redirect::Policy;
use techsapo_shared::own_address::own_address;
use techsapo_tls::{ClientTls, own_host};

use crate::flags::ListenArgs;
use crate::web::config::{WebConfigError, served_certificate};

/// Why its pages cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum OwnPagesError {
    #[error("--web.config.file: {0}")]
    Config(#[from] WebConfigError),
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// A client that gives up after `timeout`, and what its addresses begin with.
pub(super) fn client(
    listen: &ListenArgs,
    tls: &ClientTls,
    timeout: Duration,
) -> Result<(reqwest::Client, String), OwnPagesError> {
    let address = own_address(listen.address);
    // To itself: no proxy has a say.
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(timeout);
    let client = client.tls_backend_preconfigured(tls.config().as_ref().clone());
    let certificate = listen.web_config.as_deref().map(served_certificate).transpose()?.flatten();
    let Some(certificate) = certificate else { return Ok((client.build()?, format!("http://{address}"))) };
    let host = own_host(&certificate, address.ip());
    let client = client.resolve(&host, address).build()?;
    Ok((client, format!("https://{host}:{}", address.port())))
}
