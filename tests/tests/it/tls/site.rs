//! A folder with a web configuration beside the certificates that it names, as one stands on a host.

use std::fs;
use std::path::PathBuf;

use reqwest::blocking::Client;
use techsapo_tests::authority::replace_file;
use techsapo_tests::{Authority, Exporter, ExporterSetup, Identity, RedisServer, http};
use tempfile::TempDir;

/// What Prometheus' targets have: the names of the files are relative to the configuration's.
pub(super) const MUTUAL: &str = "\
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [prometheus, app]
";

/// See the file's head.
pub(super) struct Site {
    folder: TempDir,
    pub(super) authority: Authority,
    /// A client that is let in.
    pub(super) prometheus: Identity,
}

impl Site {
    /// With this web configuration.
    pub(super) fn new(web_config: &str) -> Self {
        let authority = Authority::new("TechSapo test CA");
        let site = Self {
            folder: TempDir::new().unwrap(),
            prometheus: authority.issue("prometheus", &[]),
            authority,
        };
        site.certificate(&site.authority.issue("exporter", &["127.0.0.1"]));
        site.client_authorities(&[&site.authority]);
        site.configure(web_config);
        site
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn web_config(&self) -> PathBuf {
        self.file("web.yml")
    }

    pub(super) fn configure(&self, web_config: &str) {
        replace_file(&self.web_config(), web_config.as_bytes());
    }

    /// Where the server's certificate is.
    pub(super) fn server(&self) -> Identity {
        Identity { cert: self.file("server.crt"), key: self.file("server.key") }
    }

    /// The server shows this one from now on.
    pub(super) fn certificate(&self, identity: &Identity) {
        identity.replace(&self.server());
    }

    /// Clients are known by these from now on.
    pub(super) fn client_authorities(&self, authorities: &[&Authority]) {
        let all: String = authorities.iter().map(|authority| authority.pem()).collect();
        replace_file(&self.file("ca.crt"), all.as_bytes());
    }

    /// Whoever shows this, or nothing.
    pub(super) fn client(&self, identity: Option<&Identity>) -> Client {
        http::tls_client(&self.authority, identity)
    }

    /// An exporter that serves so, to be started.
    pub(super) fn exporter(&self, redis: &RedisServer) -> ExporterSetup {
        Exporter::of(redis).served_by_tls(&self.web_config(), &self.client(Some(&self.prometheus)))
    }

    /// The same, to be a client as well by the certificate that it is a server by.
    pub(super) fn exporter_both_ways(&self, redis: &RedisServer) -> ExporterSetup {
        fs::metadata(self.server().key).unwrap();
        self.exporter(redis).tls(&self.authority.ca_file(), &self.server())
    }
}
