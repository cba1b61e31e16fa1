//! How the pages are served: in clear, or as a file in the exporter-toolkit's format says (`--web.config.file`), with
//! TLS, passwords and headers.
//!
//! The file, and the certificates that it names, are read anew when they change: a connection that stands goes on, the
//! next handshake and the next request follow what is new. What cannot be used changes nothing; the log and the metrics
//! say so.

pub mod config;
pub mod connections;
mod users;

use std::path::Path;
use std::sync::Arc;

use techsapo_tls::Reloading;

use self::config::{Settings, WebConfigError};

/// How the pages are served.
pub struct Web {
    /// Nothing without a file.
    live: Option<Reloading<Settings, WebConfigError>>,
    /// What holds without a file.
    plain: Arc<Settings>,
}

/// How the certificate that is shown to clients is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whether what stands in the files is what is in force, else why not.
    pub in_force: Result<(), String>,
    /// When it runs out, in Unix seconds.
    pub not_after: i64,
}

impl Web {
    /// Serves as `file` says; without one, in clear and to everybody.
    ///
    /// # Errors
    /// Says what is wrong in the file, or in one that it names.
    pub fn open(file: Option<&Path>) -> Result<Self, WebConfigError> {
        let plain = Arc::default();
        let Some(file) = file else { return Ok(Self { live: None, plain }) };
        let encrypted = Settings::read(file)?.tls.is_some();
        let file = file.to_owned();
        let live = Reloading::new("web configuration", move |reader| {
            let settings = Settings::load(&file, reader)?;
            if settings.tls.is_some() != encrypted {
                return Err(WebConfigError::Switched);
            }
            Ok(settings)
        })?;
        Ok(Self { live: Some(live), plain })
    }

    /// What is in force now.
    pub fn settings(&self) -> Arc<Settings> {
        self.live.as_ref().map_or_else(|| Arc::clone(&self.plain), Reloading::current)
    }

    /// Whether it is served by TLS; this does not change while the process runs.
    pub fn is_encrypted(&self) -> bool {
        self.settings().tls.is_some()
    }

    /// The certificate, if there is one.
    pub fn certificate(&self) -> Option<Certificate> {
        let live = self.live.as_ref()?;
        let not_after = live.current().tls.as_ref()?.not_after;
        Some(Certificate { in_force: live.check(), not_after })
    }
}
