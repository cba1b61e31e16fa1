//! Authorities and certificates of a test's own: right ones, expired ones, and those of an authority that nobody knows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

/// An authority, with a folder of what it issues.
#[derive(Debug, Clone)]
pub struct Authority {
    name: String,
    pem: String,
    key: String,
    folder: Arc<TempDir>,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// File of the certificate.
    pub cert: PathBuf,
    /// File of its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When the system has no random numbers, or no room.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = Self::params(name).self_signed(&key).unwrap();
        let folder = Arc::new(TempDir::new().unwrap());
        let authority =
            Self { name: name.to_owned(), pem: certificate.pem(), key: key.serialize_pem(), folder };
        std::fs::write(authority.ca_file(), &authority.pem).unwrap();
        authority
    }

    /// File of its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for `name`, good for these further names or addresses as server and as client.
    pub fn issue(&self, name: &str, further: &[&str]) -> Identity {
        self.issue_until(name, further, OffsetDateTime::now_utc() + Duration::days(90))
    }

    /// One that ran out an hour ago.
    pub fn issue_expired(&self, name: &str, further: &[&str]) -> Identity {
        self.issue_until(name, further, OffsetDateTime::now_utc() - Duration::hours(1))
    }

    /// One that runs out then.
    ///
    /// # Panics
    /// When a name is none.
    pub fn issue_until(&self, name: &str, further: &[&str], until: OffsetDateTime) -> Identity {
        let issuer = Issuer::new(Self::params(&self.name), KeyPair::from_pem(&self.key).unwrap());
        let names: Vec<_> = std::iter::once(&name).chain(further).map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = until - Duration::days(90);
        params.not_after = until;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let unique = uuid::Uuid::new_v4();
        let file = |kind: &str| self.folder.path().join(format!("{name}-{unique}.{kind}"));
        let identity = Identity { cert: file("crt"), key: file("key") };
        std::fs::write(&identity.cert, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }
}

impl Identity {
    /// Puts this one where another is, as a renewal does: each file in one step, the certificate first.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn replace(&self, other: &Self) {
        for (from, to) in [(&self.cert, &other.cert), (&self.key, &other.key)] {
            replace_file(to, &std::fs::read(from).unwrap());
        }
    }

    /// Certificate and key, one behind the other.
    ///
    /// # Panics
    /// When the files cannot be read.
    pub fn pem(&self) -> Vec<u8> {
        [&self.cert, &self.key].map(|path| std::fs::read(path).unwrap()).concat()
    }
}

/// Writes a file anew in one step, so that nobody ever reads half of it.
///
/// # Panics
/// When it cannot be written.
pub fn replace_file(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(&new, path).unwrap();
}
