//! HTTP clients: the one place where they are made, so that all bear the same name and the same TLS.
//!
//! TLS is rustls over ring, with the certificates that the system trusts.

use std::sync::Once;

/// How this program names itself to servers.
const USER_AGENT: &str = concat!("techsapo/", env!("CARGO_PKG_VERSION"));

/// A client to be: with this program's name, and following no redirect, for what is sent is meant for one server alone.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    static CRYPTOGRAPHY: Once = Once::new();
    CRYPTOGRAPHY.call_once(|| {
        // An error means that the process has chosen already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().user_agent(USER_AGENT).redirect(reqwest::redirect::Policy::none())
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
