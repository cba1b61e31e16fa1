//! A real nginx that runs on the repository's own `docker/production/nginx.conf`, with this test's ports and paths put in. It speaks TLS
//! with the apps before which it stands: it shows a certificate of the authority that a test gives, and believes apps that do.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::Certificate;
use reqwest::blocking::Client;
use tempfile::TempDir;

use crate::engine::succeed;
use crate::{Authority, Identity, Process, free_port, http, repository, wait};

const CONFIGURATION: &str = "docker/production/nginx.conf";
/// The name that apps' certificates bear.
const APP: &str = "app";
/// How long a request may take: longer than nginx waits for an app.
const TIMEOUT: Duration = Duration::from_secs(90);

/// An nginx before three apps.
#[derive(Debug)]
pub struct Nginx {
    process: Option<Process>,
    port: u16,
    certificate: Vec<u8>,
    folder: TempDir,
    // Held because its files are read at each start.
    _authority: Authority,
}

impl Nginx {
    /// A certificate that an app behind nginx shows.
    pub fn app_certificate(authority: &Authority) -> Identity {
        authority.issue(APP, &["127.0.0.1"])
    }

    /// Starts one before the apps at these ports of 127.0.0.1, in the order of the configuration, and waits until it answers. Apps are
    /// known by `authority`, and nginx itself shows a certificate of it for the name `nginx`.
    ///
    /// # Panics
    /// When the configuration is not as expected, or nginx does not start.
    pub fn before(apps: [u16; 3], authority: &Authority) -> Self {
        let shown = authority.issue("nginx", &[]);
        let folder = TempDir::new().unwrap();
        let (certificate, key) = (folder.path().join("techsapo.crt"), folder.path().join("techsapo.key"));
        make_certificate(&certificate, &key);
        let port = free_port();
        let here = |name: &str| folder.path().join(name).display().to_string();
        let at = |port: u16| format!("127.0.0.1:{port}");
        let put_in = [
            ("/tmp/nginx", here("nginx")),
            ("worker_processes auto", "worker_processes 2".to_owned()),
            ("/etc/ssl/certs/techsapo.crt", certificate.display().to_string()),
            ("/etc/ssl/private/techsapo.key", key.display().to_string()),
            ("/etc/ssl/techsapo/ca.crt", authority.ca_file().display().to_string()),
            ("/etc/ssl/techsapo/nginx.crt", shown.cert.display().to_string()),
            ("/etc/ssl/techsapo/nginx.key", shown.key.display().to_string()),
            ("/dev/stdout", here("access.log")),
            ("listen 127.0.0.1:8081", format!("listen {}", at(free_port()))),
            ("listen 8080", format!("listen {}", at(free_port()))),
            ("listen 8443", format!("listen {}", at(port))),
            ("listen 8300", format!("listen {}", at(free_port()))),
            ("app-0:4000", at(apps[0])),
            ("app-1:4001", at(apps[1])),
            ("app-2:4002", at(apps[2])),
            // There is none.
            ("grafana-0:3000", at(free_port())),
            ("grafana-1:3000", at(free_port())),
        ];
        let mut configuration = repository::read(CONFIGURATION);
        for (theirs, ours) in put_in {
            assert!(configuration.contains(theirs), "{CONFIGURATION} has no {theirs}");
            configuration = configuration.replace(theirs, &ours);
        }
        std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        // Its workers are nobody, when root starts it.
        succeed(Command::new("chmod").arg("755").arg(folder.path()));
        let certificate = std::fs::read(certificate).unwrap();
        let mut nginx = Self { process: None, port, certificate, folder, _authority: authority.clone() };
        nginx.start_again();
        nginx
    }

    /// What `nginx -t` says of the configuration.
    ///
    /// # Panics
    /// When it finds it wrong.
    pub fn tested(&self) -> String {
        succeed(self.command().arg("-t"))
    }

    /// Starts it after [`Nginx::kill_9`], and waits until it answers.
    pub fn start_again(&mut self) {
        self.process = None;
        let (client, url) = (self.client(), self.url("/metrics"));
        let mut command = self.command();
        let process = Process::start("nginx", self.folder.path(), command.args(["-g", "daemon off;"]));
        let process = self.process.insert(process);
        wait::until_true("nginx answers", || {
            process.assert_alive();
            // Its own refusal: no app is needed for it.
            http::send(client.get(&url)).is_ok_and(|answer| answer.status == 404)
        });
    }

    /// Kills it, workers and all.
    pub fn kill_9(&mut self) {
        self.process = None;
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client that knows its certificate.
    ///
    /// # Panics
    /// When there can be none.
    pub fn client(&self) -> Client {
        let certificate = Certificate::from_pem(&self.certificate).unwrap();
        http::builder().tls_certs_only([certificate]).timeout(TIMEOUT).build().unwrap()
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its access log, an object for each request.
    ///
    /// # Panics
    /// When a line is no JSON.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let log = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nginx");
        command.arg("-p").arg(self.folder.path()).arg("-c").arg(self.folder.path().join("nginx.conf"));
        command
    }
}

/// A certificate for 127.0.0.1 that signs itself.
fn make_certificate(certificate: &Path, key: &Path) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    command.args(["-days", "1", "-subj", "/CN=techsapo", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    command.arg("-out").arg(certificate).arg("-keyout").arg(key);
    succeed(&mut command);
}
