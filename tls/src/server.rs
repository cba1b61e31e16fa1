//! TLS towards clients: the certificate that a server shows, and what it demands of who comes.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::{Reader, TlsError, pem, provider};

/// Which versions are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3.
    Tls13,
    /// TLS 1.2 and 1.3.
    Tls12And13,
    /// TLS 1.2.
    Tls12,
}

/// What is demanded of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientPolicy {
    /// Nothing.
    None,
    /// A certificate of these authorities, if one is shown.
    IfGiven(PathBuf),
    /// A certificate of these authorities.
    Required(PathBuf),
}

/// Where a server's certificates are, and its demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// Chain of the certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Versions that are spoken.
    pub versions: Versions,
    /// What is demanded of clients.
    pub clients: ClientPolicy,
    /// If not empty, a client's certificate holds one of these names exactly (host, address, e-mail address or URI).
    pub client_names: Vec<String>,
    /// Application protocols (ALPN), the preferred one first.
    pub protocols: Vec<&'static str>,
}

/// What a server needs for its handshakes.
#[derive(Clone)]
pub struct ServerTls {
    /// For each handshake.
    pub config: Arc<ServerConfig>,
    /// When its certificate runs out, in Unix seconds.
    pub not_after: i64,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls(until {})", self.not_after)
    }
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Says what is wrong with which of them.
    pub fn load(files: &ServerFiles, reader: &mut Reader) -> Result<Self, TlsError> {
        let (cert, key) = (&files.cert_file, &files.key_file);
        let chain = pem::chain(cert, &reader.read(cert)?)?;
        let private = pem::key(key, &reader.read(key)?)?;
        let not_after = chain.first().and_then(pem::not_after).ok_or_else(|| TlsError::Content {
            path: cert.clone(),
            expected: "readable certificate",
            detail: String::new(),
        })?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(files.versions))
            .map_err(|error| TlsError::Settings(error.to_string()))?;
        let config = match verifier(files, reader)? {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_single_cert(chain, private).map_err(|source| TlsError::Pair {
            cert: cert.clone(),
            key: key.clone(),
            source: Box::new(source),
        })?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = files.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self { config: Arc::new(config), not_after })
    }
}

fn versions(versions: Versions) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match versions {
        Versions::Tls13 => &ALL[..1],
        Versions::Tls12And13 => &ALL,
        Versions::Tls12 => &ALL[1..],
    }
}

fn verifier(
    files: &ServerFiles,
    reader: &mut Reader,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let (path, must) = match &files.clients {
        ClientPolicy::None => return Ok(None),
        ClientPolicy::IfGiven(path) => (path, false),
        ClientPolicy::Required(path) => (path, true),
    };
    let roots = pem::authorities(path, &reader.read(path)?)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if must { builder } else { builder.allow_unauthenticated() };
    let verifier = builder.build().map_err(|error| TlsError::Settings(error.to_string()))?;
    if files.client_names.is_empty() {
        return Ok(Some(verifier));
    }
    Ok(Some(Arc::new(Named { verifier, names: files.client_names.clone() })))
}

/// Also wants one of these names in the certificate.
#[derive(Debug)]
struct Named {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl ClientCertVerifier for Named {
    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        if pem::names(end_entity).iter().any(|name| self.names.contains(name)) {
            return Ok(verified);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
