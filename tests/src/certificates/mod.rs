//! An authority and its certificates, in a folder of their own, made by the scripts that operators call.
//!
//! * [`Certificates`]: the folder, the scripts, and clients that show a certificate.
//! * [`Secured`]: a Prometheus and targets of five kinds that speak TLS 1.3 alone, and only with whom they know.
//! * [`Asking`]: clients that ask those targets all the time.

mod asking;
mod secured;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use reqwest::blocking::Client;
use reqwest::tls::{Identity, Version};
use tempfile::TempDir;

pub use asking::Asking;
pub use secured::{Secured, TARGETS};

use crate::stack::said;
use crate::{Exposition, http, repository};

/// What the renewal writes for Node Exporter.
const METRICS: &str = "techsapo-certificates.prom";

/// A folder of certificates, as `TECHSAPO_TLS_DIR` names it.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// A folder with a new authority, and no certificate yet.
    ///
    /// # Panics
    /// When the script fails.
    #[expect(clippy::new_without_default, reason = "it makes a folder and keys")]
    pub fn new() -> Self {
        let new = Self::without_authority();
        new.make(&["init"]);
        new
    }

    /// An empty folder.
    ///
    /// # Panics
    /// When there can be none.
    pub fn without_authority() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// The folder of the authority and of all certificates.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("tls")
    }

    /// A folder beside it, for whatever a test needs.
    pub fn beside(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that Node Exporter's textfile collector is to read.
    pub fn textfile_folder(&self) -> PathBuf {
        self.folder.path().join("textfile")
    }

    /// A certificate, by its service's name.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.crt"))
    }

    /// Its key.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.key"))
    }

    /// What everyone trusts.
    pub fn authority(&self) -> PathBuf {
        self.folder().join("ca.crt")
    }

    /// The settings of the renewal.
    pub fn settings(&self) -> PathBuf {
        self.folder().join("renewal.conf")
    }

    /// One of the scripts, to be called for this folder.
    pub fn script(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(repository::root().join("scripts").join(script));
        command.args(arguments).env("TECHSAPO_TLS_DIR", self.folder());
        command.env("TECHSAPO_TEXTFILE_DIR", self.textfile_folder());
        for variable in ["TECHSAPO_PUBLIC_CERTIFICATE", "TECHSAPO_PUBLIC_KEY", "TECHSAPO_TLS_NAMES"] {
            command.env_remove(variable);
        }
        command
    }

    /// Calls `scripts/certificates.sh`, which must succeed, and returns what it said.
    ///
    /// # Panics
    /// When it fails.
    pub fn make(&self, arguments: &[&str]) -> String {
        succeed(&mut self.script("certificates.sh", arguments))
    }

    /// Calls `scripts/certificates.sh`, which must fail, and returns what it said.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn refuse(&self, arguments: &[&str]) -> String {
        let output = self.script("certificates.sh", arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    /// Calls `scripts/renew-certificates.sh`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn renew(&self, arguments: &[&str]) -> Output {
        self.script("renew-certificates.sh", arguments).output().unwrap()
    }

    /// Calls it, and it must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub fn renew_well(&self, arguments: &[&str]) -> String {
        succeed(&mut self.script("renew-certificates.sh", arguments))
    }

    /// What the last renewal told Node Exporter.
    ///
    /// # Panics
    /// When it told nothing.
    pub fn metrics(&self) -> Exposition {
        Exposition::parse(&std::fs::read_to_string(self.textfile_folder().join(METRICS)).unwrap())
    }

    /// A client that shows the certificate of `name`, if there is one; see [`client`].
    ///
    /// # Errors
    /// When certificate and key are not a pair.
    pub fn client(&self, name: Option<&str>) -> Result<Client, String> {
        client(&self.folder(), name)
    }

    /// A certificate that is in use, as it goes over the wire.
    ///
    /// # Panics
    /// When there is none.
    pub fn in_use(&self, name: &str) -> Vec<u8> {
        der(&self.certificate(name))
    }
}

/// A client that trusts the authority in `folder`, speaks TLS 1.3 alone, makes a connection for each request, and shows the
/// certificate `name` of that folder, if there is one.
///
/// # Errors
/// When a file cannot be read, or certificate and key are not a pair.
pub fn client(folder: &Path, name: Option<&str>) -> Result<Client, String> {
    let read = |file: &str| std::fs::read(folder.join(file)).map_err(|error| format!("{file}: {error}"));
    let mut builder = http::builder().timeout(Duration::from_secs(30)).tls_info(true);
    builder = builder.tls_version_min(Version::TLS_1_3);
    let trusted = reqwest::Certificate::from_pem_bundle(&read("ca.crt")?);
    builder = builder.tls_certs_only(trusted.map_err(|error| format!("{error:?}"))?);
    if let Some(name) = name {
        // One after the other, as servers read them.
        let pair = [read(&format!("{name}.crt"))?, read(&format!("{name}.key"))?].concat();
        builder = builder.identity(Identity::from_pem(&pair).map_err(|error| format!("{error:?}"))?);
    }
    builder.build().map_err(|error| format!("{error:?}"))
}

/// The first certificate of a file, as it goes over the wire.
///
/// # Panics
/// When it holds none.
pub fn der(file: &Path) -> Vec<u8> {
    let output = Command::new("openssl").args(["x509", "-outform", "DER", "-in"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}: {}", file.display(), said(&output));
    output.stdout
}

/// The certificate that `client` is shown at `url`.
///
/// # Errors
/// Says why there was no answer.
pub fn served(client: &Client, url: &str) -> Result<Vec<u8>, String> {
    let response = client.get(url).send().map_err(|error| format!("{error:?}"))?;
    let shown = response.extensions().get::<reqwest::tls::TlsInfo>().and_then(|tls| tls.peer_certificate());
    shown.map(<[u8]>::to_vec).ok_or_else(|| "no certificate was shown".to_owned())
}

/// Runs a command to its end, and returns what it said.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}
