//! TLS as the settings say: towards servers, and towards callers.

use std::path::PathBuf;

use techsapo_tls::{
    ClientFiles, ClientPolicy, ClientTls, Reloading, ServerFiles, ServerTls, TlsError, Versions,
};

use crate::config::{Settings, TlsListen};

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {source}")]
pub struct TlsSettingError {
    /// Which setting leads to them.
    setting: &'static str,
    /// What is wrong.
    source: TlsError,
}

/// TLS in both directions.
pub struct Tls {
    /// Towards servers.
    pub client: ClientTls,
    /// Towards callers; nothing: they are served in clear.
    pub door: Option<Reloading<ServerTls>>,
}

/// The certificates that the app knows servers by, and shows them.
///
/// # Errors
/// Says what is wrong with which file.
pub fn client(settings: &Settings) -> Result<ClientTls, TlsSettingError> {
    ClientTls::load(client_files(settings)).map_err(|source| TlsSettingError { setting: "tls", source })
}

/// The same with another authority, which `setting` names, and still the app's own certificate.
///
/// # Errors
/// Says what is wrong with which file.
pub(crate) fn with_authority(
    settings: &Settings,
    setting: &'static str,
    ca_file: PathBuf,
) -> Result<ClientTls, TlsSettingError> {
    ClientTls::load(ClientFiles { ca_file: Some(ca_file), ..client_files(settings) })
        .map_err(|source| TlsSettingError { setting, source })
}

/// The files of certificates and keys that the settings name.
pub(crate) fn files(settings: &Settings) -> Vec<PathBuf> {
    let tls = &settings.tls;
    let named = [&tls.ca_file, &tls.cert_file, &tls.key_file, &settings.mysql.ca_file];
    named.into_iter().flatten().cloned().collect()
}

fn client_files(settings: &Settings) -> ClientFiles {
    let tls = settings.tls.clone();
    ClientFiles { ca_file: tls.ca_file, cert_file: tls.cert_file, key_file: tls.key_file }
}

/// Lets every way to a Redis that goes by TLS use these certificates.
///
/// # Errors
/// As [`client`].
pub fn secure(settings: &mut Settings) -> Result<ClientTls, TlsSettingError> {
    let tls = client(settings)?;
    settings.redis.url = settings.redis.url.clone().secured_by(&tls);
    settings.store.redis_url = settings.store.redis_url.take().map(|route| route.secured_by(&tls));
    Ok(tls)
}

/// What callers are received with, if it is TLS.
///
/// # Errors
/// Says which setting or file is wrong.
pub fn door(settings: &Settings) -> Result<Option<Reloading<ServerTls>>, TlsSettingError> {
    let wrong = |source| TlsSettingError { setting: "tls.listen", source };
    let missing = |what: &str| wrong(TlsError::Settings(format!("it needs {what}")));
    let tls = &settings.tls;
    if tls.listen == TlsListen::Off {
        return Ok(None);
    }
    let (Some(cert_file), Some(key_file)) = (tls.cert_file.clone(), tls.key_file.clone()) else {
        return Err(missing("tls.cert_file and tls.key_file"));
    };
    let clients = match (tls.listen, tls.ca_file.clone()) {
        (TlsListen::Mutual, Some(ca_file)) => ClientPolicy::Required(ca_file),
        (TlsListen::Mutual, None) => return Err(missing("tls.ca_file")),
        _ => ClientPolicy::None,
    };
    let files = ServerFiles {
        cert_file,
        key_file,
        // Browsers and proxies of all kinds come here.
        versions: Versions::Tls12And13,
        clients,
        client_names: Vec::new(),
        protocols: vec!["h2", "http/1.1"],
    };
    Reloading::new("server certificate", move |reader| ServerTls::load(&files, reader))
        .map(Some)
        .map_err(wrong)
}
