//! HTTP clients: the one place where they are made, so that all bear the same name and the same TLS.
//!
//! TLS is rustls over ring. The world outside is known by the certificates that the system trusts, servers of the same
//! stack by those of the settings (`tls`).

use techsapo_tls::ClientTls;

/// How this program names itself to servers.
const USER_AGENT: &str = concat!("techsapo/", env!("CARGO_PKG_VERSION"));

/// A client to be: with this program's name, and following no redirect, for what is sent is meant for one server alone.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    techsapo_tls::provider();
    reqwest::Client::builder().user_agent(USER_AGENT).redirect(reqwest::redirect::Policy::none())
}

/// The same for a server of the same stack: straight to it, for a proxy of the environment is for the world outside.
pub(crate) fn neighbourly(tls: &ClientTls) -> reqwest::ClientBuilder {
    builder().no_proxy().tls_backend_preconfigured(tls.config().as_ref().clone())
}

/// What failed, and the cause at the bottom, such as "connecting: Connection refused": what stands above repeats the
/// address.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let step = if error.is_connect() { "connecting" } else { "reading the response" };
    format!("{step}: {cause}")
}
