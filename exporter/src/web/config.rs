//! The web configuration: a YAML file in the format of Prometheus' exporter-toolkit, so that one file's form serves every
//! target. What this exporter does not do is refused by name, never passed over: a demand that nobody meets looks like
//! protection.
//!
//! Differences from the toolkit, all towards more: TLS begins at version 1.3 unless the file says `TLS12`; certificates
//! that nobody verifies cannot be asked for; a certificate without a key of its own, or settings that contradict each
//! other, are errors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use techsapo_tls::{ClientPolicy, Reader, ServerFiles, ServerTls, TlsError, Versions};

use super::users::{BadHash, Users};

/// What is in force.
#[derive(Debug, Default)]
pub struct Settings {
    /// Nothing: in clear.
    pub tls: Option<ServerTls>,
    /// Who is let in.
    users: Users,
    /// What every answer bears besides its own headers.
    headers: HeaderMap,
}

/// Why a web configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebConfigError {
    /// A file that it needs, or is.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It is not of the format.
    #[error("{} cannot be read: {source}", file.display())]
    Format {
        /// The configuration.
        file: PathBuf,
        /// What is wrong, and where.
        source: yaml_serde::Error,
    },
    /// A setting that cannot be met.
    #[error("{setting}: {reason}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// Why not, and what to write instead.
        reason: String,
    },
    /// A user's password.
    #[error("basic_auth_users: the value of {user} {source}; make one with htpasswd -nBC 10 \"\"")]
    User {
        /// Whose.
        user: String,
        /// What is wrong with it.
        source: BadHash,
    },
    /// Encrypted or not is decided once.
    #[error("tls_server_config cannot be added or taken away while the exporter runs: restart it")]
    Switched,
}

/// File of the certificate that `file` lets the pages be served with; nothing if they are served in clear. Nothing else in
/// it is looked at: an exporter goes on with what it read before, whatever was written since.
///
/// # Errors
/// It cannot be read at all.
pub fn served_certificate(file: &Path) -> Result<Option<PathBuf>, WebConfigError> {
    let text = Reader::default().read(file)?;
    let written: yaml_serde::Value = yaml_serde::from_slice(&text)
        .map_err(|source| WebConfigError::Format { file: file.to_owned(), source })?;
    let named = written.get("tls_server_config").and_then(|tls| tls.get("cert_file")?.as_str());
    Ok(named.map(|named| file.parent().unwrap_or(Path::new("")).join(named)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Option<TlsServerConfig>,
    http_server_config: HttpServerConfig,
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsServerConfig {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: Option<String>,
    #[serde(default)]
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    client_allowed_sans: Vec<String>,
    #[serde(default)]
    min_version: Option<String>,
    #[serde(default)]
    max_version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpServerConfig {
    http2: bool,
    headers: BTreeMap<String, String>,
}

/// The headers that may be set, as the toolkit has them.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

impl Settings {
    /// Whether whoever shows this `Authorization` is let in.
    pub(crate) async fn admits(&self, shown: Option<&HeaderValue>) -> bool {
        self.users.admit(shown).await
    }

    /// Puts what every answer bears on one.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        headers.extend(self.headers.clone());
    }

    /// What `file` says now.
    ///
    /// # Errors
    /// What is wrong in it, or in a file that it names.
    pub fn read(file: &Path) -> Result<Self, WebConfigError> {
        Self::load(file, &mut Reader::default())
    }

    /// The same by way of a reader.
    pub(super) fn load(file: &Path, reader: &mut Reader) -> Result<Self, WebConfigError> {
        let text = reader.read(file)?;
        // An empty file is a configuration without anything in it.
        let written: Option<File> = yaml_serde::from_slice(&text)
            .map_err(|source| WebConfigError::Format { file: file.to_owned(), source })?;
        let written = written.unwrap_or_default();
        let files = written.tls_server_config.map(|tls| tls.files(file.parent().unwrap_or(Path::new(""))));
        let files = files.transpose()?;
        let tls = files.as_ref().map(|files| ServerTls::load(files, reader)).transpose()?;
        let users = Users::new(written.basic_auth_users);
        let users = users.map_err(|(user, source)| WebConfigError::User { user, source })?;
        let headers = headers(&written.http_server_config)?;
        Ok(Self { tls, users, headers })
    }
}

impl TlsServerConfig {
    /// With paths as seen from `folder`, where the configuration is.
    fn files(self, folder: &Path) -> Result<ServerFiles, WebConfigError> {
        let versions = versions(self.min_version.as_deref(), self.max_version.as_deref())?;
        let wrong =
            |setting, reason: &str| Err(WebConfigError::Setting { setting, reason: reason.to_owned() });
        let clients = match (self.client_auth_type.as_deref().unwrap_or("NoClientCert"), self.client_ca_file)
        {
            ("NoClientCert", None) => ClientPolicy::None,
            ("NoClientCert", Some(_)) => {
                return wrong(
                    "client_auth_type",
                    "client_ca_file is given, and nobody is asked for a certificate: write RequireAndVerifyClientCert",
                );
            }
            ("VerifyClientCertIfGiven", Some(ca)) => ClientPolicy::IfGiven(folder.join(ca)),
            ("RequireAndVerifyClientCert", Some(ca)) => ClientPolicy::Required(folder.join(ca)),
            ("VerifyClientCertIfGiven" | "RequireAndVerifyClientCert", None) => {
                return wrong(
                    "client_ca_file",
                    "it is missing: the authority that clients' certificates are verified by",
                );
            }
            ("RequestClientCert" | "RequireAnyClientCert", _) => {
                return wrong(
                    "client_auth_type",
                    "certificates that nobody verifies protect nothing: write RequireAndVerifyClientCert",
                );
            }
            _ => {
                return wrong(
                    "client_auth_type",
                    "expected NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert",
                );
            }
        };
        if !self.client_allowed_sans.is_empty() && !matches!(clients, ClientPolicy::Required(_)) {
            return wrong("client_allowed_sans", "it needs client_auth_type: RequireAndVerifyClientCert");
        }
        Ok(ServerFiles {
            cert_file: folder.join(self.cert_file),
            key_file: folder.join(self.key_file),
            versions,
            clients,
            client_names: self.client_allowed_sans,
            protocols: vec!["http/1.1"],
        })
    }
}

fn versions(min: Option<&str>, max: Option<&str>) -> Result<Versions, WebConfigError> {
    let wrong = |setting, reason: &str| Err(WebConfigError::Setting { setting, reason: reason.to_owned() });
    if min.is_some_and(|min| !["TLS12", "TLS13"].contains(&min)) {
        return wrong("min_version", "expected TLS12 or TLS13 (the default); what is older is not spoken");
    }
    match (min.unwrap_or("TLS13"), max.unwrap_or("TLS13")) {
        ("TLS13", "TLS13") => Ok(Versions::Tls13),
        ("TLS12", "TLS13") => Ok(Versions::Tls12And13),
        ("TLS12", "TLS12") => Ok(Versions::Tls12),
        ("TLS13", "TLS12") => {
            wrong("max_version", "it is below min_version, which is TLS13 unless it is given")
        }
        _ => wrong("max_version", "expected TLS12 or TLS13 (the default)"),
    }
}

fn headers(written: &HttpServerConfig) -> Result<HeaderMap, WebConfigError> {
    let wrong = |setting, reason: String| Err(WebConfigError::Setting { setting, reason });
    if written.http2 {
        return wrong(
            "http2",
            "this exporter speaks HTTP/1.1 alone: leave it out, or write false".to_owned(),
        );
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &written.headers {
        let Some(known) = HEADERS.iter().find(|known| known.eq_ignore_ascii_case(name)) else {
            return wrong("headers", format!("{name} cannot be set; these can: {}", HEADERS.join(", ")));
        };
        let (name, value) = (HeaderName::from_bytes(known.as_bytes()), HeaderValue::from_str(value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return wrong("headers", format!("the value of {known} cannot stand in a header"));
        };
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.yml");
        std::fs::write(&file, text).unwrap();
        Settings::read(&file).err().unwrap_or_else(|| panic!("{text} was taken")).to_string()
    }

    #[test]
    fn what_is_not_met_is_refused_by_name() {
        let tls =
            |lines: &str| format!("tls_server_config:\n  cert_file: none.crt\n  key_file: none.key\n{lines}");
        for (text, named) in [
            ("tls_config: {}".to_owned(), "tls_config"),
            ("tls_server_config: {cert_file: a}".to_owned(), "key_file"),
            ("rate_limit: {}".to_owned(), "rate_limit"),
            (tls("  cipher_suites: []"), "cipher_suites"),
            (tls("  client_auth_type: RequireAnyClientCert"), "RequireAndVerifyClientCert"),
            (tls("  client_auth_type: requireandverifyclientcert"), "client_auth_type"),
            (tls("  client_auth_type: RequireAndVerifyClientCert"), "client_ca_file"),
            (tls("  client_ca_file: ca.crt"), "client_auth_type"),
            (tls("  client_allowed_sans: [prometheus]"), "client_allowed_sans"),
            (tls("  min_version: TLS11"), "min_version"),
            (tls("  max_version: TLS12"), "max_version"),
            (tls(""), "none.crt"),
            ("http_server_config: {http2: true}".to_owned(), "http2"),
            ("http_server_config: {headers: {Server: x}}".to_owned(), "Server"),
            ("basic_auth_users: {prometheus: secret}".to_owned(), "the value of prometheus"),
            ("- nothing".to_owned(), "cannot be read"),
        ] {
            let message = refused(&text);
            assert!(message.contains(named) && !message.contains("secret"), "{text}: {message}");
        }
    }

    #[test]
    fn nothing_in_it_is_in_clear_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.yml");
        for text in ["", "# nothing yet\n", "{}", "http_server_config: {http2: false}"] {
            std::fs::write(&file, text).unwrap();
            let settings = Settings::read(&file).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert!(settings.tls.is_none() && settings.headers.is_empty(), "{text:?}");
        }
    }
}
