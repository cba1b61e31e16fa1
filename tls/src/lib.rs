//! TLS for TechSapo's programs: whom they trust, who they are, and how certificates are renewed while they run.
//!
//! In go the names of files (PEM); out come configurations of rustls, over ring, and the same material for drivers that
//! make their own. What must hold:
//!
//! * Files are read anew when they change ([`Reloading`]): connections that stand go on, the next handshake is made with
//!   what is new. What cannot be used is told, and what was read before stays in force.
//! * Every handshake is a whole one. Nobody resumes a session that was begun under certificates that have since run out
//!   or been replaced.
//! * No key is in an error, a log line or a `Debug`.

mod accept;
mod client;
mod pem;
mod reload;
mod server;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use rustls::crypto::CryptoProvider;

pub use accept::{HandshakeError, TlsStream, accept};
pub use client::{ClientFiles, ClientTls, Pem};
pub use pem::own_host;
pub use reload::{Reader, Reloading};
pub use server::{ClientPolicy, ServerFiles, ServerTls, Versions};

/// Why certificates cannot be used. The words fit behind the name of the setting that is at fault.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not for us.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} holds no {expected} in PEM form{detail}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What is wrong with what is there, if anything is; never the text itself.
        detail: String,
    },
    /// Certificate and key are each right, but not together.
    #[error("the certificate in {} and the key in {} cannot be used together: {source}", cert.display(), key.display())]
    Pair {
        /// File of the certificate.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What rustls says.
        source: Box<rustls::Error>,
    },
    /// One without the other.
    #[error("a certificate and its key are given together, or neither of them")]
    HalfPair,
    /// What was asked for cannot be put together.
    #[error("the settings of TLS cannot be used: {0}")]
    Settings(String),
}

/// The cryptography that all of TLS uses here: ring. The first call also makes it the process's choice, which drivers ask
/// for.
pub fn provider() -> Arc<CryptoProvider> {
    static CHOICE: Once = Once::new();
    CHOICE.call_once(|| {
        // An error means that the process has chosen already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}
