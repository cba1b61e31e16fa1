//! TLS towards servers: whom this program trusts, and who it says it is.
//!
//! One configuration of rustls serves for as long as the program runs: its verifier and its certificate are looked up at
//! each handshake, so that a renewed file is used by the next connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::{Reader, Reloading, TlsError, pem, provider};

/// Where a program's certificates are. All may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Authorities that servers are known by; nothing: the well-known ones.
    pub ca_file: Option<PathBuf>,
    /// Chain of the program's own certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// The material as it stands in the files, for drivers that make their own configuration of it.
#[derive(Clone, Default)]
pub struct Pem {
    /// Authorities; nothing: the well-known ones.
    pub ca: Option<Vec<u8>>,
    /// Chain and key of the program itself.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem(ca: {}, identity: {})", self.ca.is_some(), self.identity.is_some())
    }
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClientTls {
    live: Arc<Reloading<Material>>,
    config: Arc<ClientConfig>,
    from_files: bool,
}

struct Material {
    verifier: Arc<WebPkiServerVerifier>,
    identity: Option<Arc<CertifiedKey>>,
    pem: Arc<Pem>,
    not_after: Option<i64>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Says what is wrong with which of them.
    pub fn load(files: ClientFiles) -> Result<Self, TlsError> {
        let from_files = files != ClientFiles::default();
        let live = Arc::new(Reloading::new("client certificates", move |reader| load(&files, reader))?);
        let verifier = Arc::new(Current(Arc::clone(&live)));
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let mut config = config
            .map_err(|error| TlsError::Settings(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(verifier);
        config.resumption = Resumption::disabled();
        Ok(Self { live, config: Arc::new(config), from_files })
    }

    /// The configuration of every connection, also of those to come.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Whether any file is named.
    pub fn is_from_files(&self) -> bool {
        self.from_files
    }

    /// What is in force now.
    pub fn pem(&self) -> Arc<Pem> {
        Arc::clone(&self.live.current().pem)
    }

    /// When the program's own certificate runs out, in Unix seconds; nothing if it has none.
    pub fn not_after(&self) -> Option<i64> {
        self.live.current().not_after
    }

    /// Whether what stands in the files is what is in force.
    ///
    /// # Errors
    /// Why the files as they are cannot be used.
    pub fn check(&self) -> Result<(), String> {
        self.live.check()
    }
}

fn load(files: &ClientFiles, reader: &mut Reader) -> Result<Material, TlsError> {
    let ca = files.ca_file.as_ref().map(|path| reader.read(path)).transpose()?;
    let roots = match (&files.ca_file, &ca) {
        (Some(path), Some(bytes)) => pem::authorities(path, bytes)?,
        _ => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| TlsError::Settings(error.to_string()))?;
    let mut material = Material { verifier, identity: None, pem: Arc::default(), not_after: None };
    let identity = match (&files.cert_file, &files.key_file) {
        (Some(cert), Some(key)) => {
            let (chain, private) = (reader.read(cert)?, reader.read(key)?);
            let certificates = pem::chain(cert, &chain)?;
            material.not_after = certificates.first().and_then(pem::not_after);
            let pair = CertifiedKey::from_der(certificates, pem::key(key, &private)?, &provider());
            let pair = pair.map_err(|source| TlsError::Pair {
                cert: cert.clone(),
                key: key.clone(),
                source: Box::new(source),
            })?;
            material.identity = Some(Arc::new(pair));
            Some((chain, private))
        }
        (None, None) => None,
        _ => return Err(TlsError::HalfPair),
    };
    material.pem = Arc::new(Pem { ca, identity });
    Ok(material)
}

/// Whatever is in force at the handshake.
#[derive(Debug)]
struct Current(Arc<Reloading<Material>>);

impl ServerCertVerifier for Current {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = &self.0.current().verifier;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.current().verifier.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.current().verifier.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let pair = self.0.current().identity.clone()?;
        pair.key.choose_scheme(schemes).is_some().then_some(pair)
    }

    fn has_certs(&self) -> bool {
        self.0.current().identity.is_some()
    }
}
