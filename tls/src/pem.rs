//! What stands in PEM files: chains of certificates, authorities, keys; and what a certificate says of itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;

use crate::{Reader, TlsError};

/// A chain, the certificate of its owner first.
pub(crate) fn chain(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let chain = chain.map_err(|error| content(path, "certificate", &error))?;
    if chain.is_empty() {
        return Err(content(path, "certificate", &Error::NoItemsFound));
    }
    Ok(chain)
}

/// A private key.
pub(crate) fn key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| content(path, "private key", &error))
}

/// Authorities that are trusted: all of the file, so that an old and a new one stand side by side.
pub(crate) fn authorities(path: &Path, bytes: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for authority in chain(path, bytes)? {
        store.add(authority).map_err(|error| TlsError::Content {
            path: path.to_owned(),
            expected: "certificate of an authority",
            detail: format!(" ({error})"),
        })?;
    }
    Ok(store)
}

fn content(path: &Path, expected: &'static str, error: &Error) -> TlsError {
    let detail = match error {
        Error::NoItemsFound => String::new(),
        Error::MissingSectionEnd { .. } => " (it ends in the middle)".to_owned(),
        // Some of these repeat what they could not read, and it may be a key.
        _ => " (it is damaged)".to_owned(),
    };
    TlsError::Content { path: path.to_owned(), expected, detail }
}

/// When a certificate runs out, in Unix seconds; nothing if it cannot be read.
pub(crate) fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The names of a certificate's owner (subject alternative names): hosts, addresses, e-mail addresses, URIs.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some((*name).to_owned())
        }
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// What a server at `address` is to be called so that the certificate in `cert_file` fits: the address itself if it stands
/// in it, else the first host's name, else the address all the same. For programs that ask themselves, also while the file
/// holds what cannot be used: the server has what it read before.
pub fn own_host(cert_file: &Path, address: IpAddr) -> String {
    let certificates = Reader::default().read(cert_file).and_then(|bytes| chain(cert_file, &bytes));
    let names = certificates.ok().and_then(|chain| chain.first().map(names)).unwrap_or_default();
    let is_host = |name: &&String| !name.contains(['@', ':', '/']) && name.parse::<IpAddr>().is_err();
    if !names.contains(&address.to_string())
        && let Some(name) = names.iter().find(is_host)
    {
        // Whatever stands for the star fits.
        return name.replace('*', "own");
    }
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = rcgen::generate_simple_self_signed(names).unwrap().cert.pem();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.crt");
        std::fs::write(&file, certificate).unwrap();
        (folder, file)
    }

    #[test]
    fn a_program_asks_itself_by_a_name_that_fits_its_certificate() {
        let v4: IpAddr = Ipv4Addr::LOCALHOST.into();
        for (names, address, host) in [
            (&["exporter", "127.0.0.1"][..], v4, "127.0.0.1"),
            (&["10.0.0.1", "exporter", "second"], v4, "exporter"),
            (&["*.example.com"], v4, "own.example.com"),
            (&["10.0.0.1"], v4, "127.0.0.1"),
            (&["::1"], Ipv6Addr::LOCALHOST.into(), "[::1]"),
        ] {
            let (_folder, file) = certificate(names);
            assert_eq!(own_host(&file, address), host, "{names:?}");
        }
        assert_eq!(own_host(Path::new("/nowhere/own.crt"), v4), "127.0.0.1");
    }

    #[test]
    fn what_is_no_certificate_or_key_is_told_without_repeating_it() {
        let path = Path::new("own.pem");
        for text in [
            "",
            "secret",
            "-----BEGIN PRIVATE KEY-----\nsecret\n",
            "-----BEGIN PRIVATE KEY-----\nsecret!\n-----END PRIVATE KEY-----\n",
            "-----BEGIN CERTIFICATE-----\nsecret",
        ] {
            let (chain, key) = (chain(path, text.as_bytes()), key(path, text.as_bytes()));
            for error in [chain.unwrap_err(), key.unwrap_err()].map(|error| format!("{error} {error:?}")) {
                assert!(error.contains("own.pem holds no") && !error.contains("secret"), "{text:?}: {error}");
            }
        }
    }

    #[test]
    fn a_certificate_says_when_it_runs_out_and_every_authority_of_a_file_is_trusted() {
        let (_folder, first) = certificate(&["first"]);
        let (_other, second) = certificate(&["second"]);
        let both = [std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap()].concat();
        assert_eq!(authorities(&first, &both).unwrap().len(), 2);
        let owner = chain(&first, &both).unwrap().swap_remove(0);
        assert_eq!(names(&owner), ["first"]);
        // Those of rcgen hold until 4096.
        assert_eq!(not_after(&owner), Some(67_090_118_400));
    }
}
