//! A real redis-server.

use std::path::Path;
use std::process::Command;

use redis::{Client, ClientTlsConfig, Connection, FromRedisValue, RedisResult, TlsCertificates};
use tempfile::TempDir;

use crate::{Authority, Process, free_port, wait};

/// A Redis server of a test's own. Without options it keeps nothing on disk: killed, it forgets everything.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Process>,
    port: u16,
    options: Vec<String>,
    /// By which it is spoken to; nothing: in clear.
    tls: Option<TlsCertificates>,
    folder: TempDir,
}

impl RedisServer {
    /// Starts one.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with further options, such as `["--appendonly", "yes"]` or `["--maxmemory", "4mb"]`.
    pub fn with(options: &[&str]) -> Self {
        Self::started(options, None)
    }

    /// Starts one that is spoken to by TLS alone, by clients that show a certificate of `authority`.
    pub fn with_tls(authority: &Authority, options: &[&str]) -> Self {
        let own = authority.issue("redis", &["127.0.0.1", "localhost"]);
        let tls = TlsCertificates {
            root_cert: Some(authority.pem().as_bytes().to_vec()),
            client_tls: Some(ClientTlsConfig {
                client_cert: std::fs::read(&own.cert).unwrap(),
                client_key: std::fs::read(&own.key).unwrap(),
            }),
        };
        let [cert, key, ca] =
            [&own.cert, &own.key, &authority.ca_file()].map(|path| path.display().to_string());
        let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        Self::started(
            &[&files[..], &["--tls-auth-clients", "yes", "--tls-replication", "yes"], options].concat(),
            Some(tls),
        )
    }

    fn started(options: &[&str], tls: Option<TlsCertificates>) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server =
            Self { port: free_port(), folder: TempDir::new().unwrap(), options, tls, process: None };
        server.start_again();
        server
    }

    /// Starts it again after [`RedisServer::kill_9`], on its port and with whatever its folder still holds.
    pub fn start_again(&mut self) {
        self.process = None;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", ""]);
        let port = self.port.to_string();
        match self.tls {
            Some(_) => command.args(["--port", "0", "--tls-port", &port]),
            None => command.args(["--port", &port]),
        };
        command.arg("--dir").arg(self.folder.path()).args(&self.options);
        let process = self.process.insert(Process::start("redis-server", self.folder.path(), &mut command));
        let client = client(self.port, self.tls.as_ref());
        wait::until_true("Redis answers", || {
            process.assert_alive();
            client
                .get_connection()
                .is_ok_and(|mut connection| redis::cmd("PING").exec(&mut connection).is_ok())
        });
    }

    /// Kills it.
    pub fn kill_9(&mut self) {
        self.process = None;
    }

    /// Stops it where it stands until [`RedisServer::resume`].
    pub fn pause(&self) {
        self.process.iter().for_each(Process::pause);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.iter().for_each(Process::resume);
    }

    /// Deletes what it kept on disk (appendonly files, snapshots) while it is down.
    ///
    /// # Panics
    /// When it runs.
    pub fn lose_data(&self) {
        assert!(self.process.is_none(), "kill it first");
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else if path.extension().is_none_or(|extension| extension != "log") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// What it says of itself: `master`, or `slave` and how the way to its master is (`connected`). Nothing if it is away.
    ///
    /// # Panics
    /// When its reply makes no sense.
    pub fn role(&self) -> Option<Vec<String>> {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().ok()?;
        let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut connection).ok()?;
        let text = |at: usize| redis::from_redis_value::<String>(role[at].clone()).unwrap();
        let kind = text(0);
        Some(if kind == "slave" { vec![kind, text(3)] } else { vec![kind] })
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        url_of(self.port, self.tls.is_some())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder of data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new connection.
    ///
    /// # Panics
    /// When there can be none.
    pub fn connection(&self) -> Connection {
        client(self.port, self.tls.as_ref()).get_connection().unwrap()
    }

    /// Runs one command, as `redis-cli` would: `redis.cli(&["XLEN", "techsapo:events"])`.
    ///
    /// # Panics
    /// When it fails or its reply is not a `T`.
    pub fn cli<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_cli(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// As [`Self::cli`], of a server that may be away or cut connections.
    ///
    /// # Errors
    /// When there is no connection, it breaks off, or the reply is not a `T`.
    pub fn try_cli<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut connection = client(self.port, self.tls.as_ref()).get_connection()?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
    }
}

fn url_of(port: u16, tls: bool) -> String {
    format!("{}://127.0.0.1:{port}/", if tls { "rediss" } else { "redis" })
}

fn client(port: u16, tls: Option<&TlsCertificates>) -> Client {
    let url = url_of(port, tls.is_some());
    let Some(tls) = tls else { return Client::open(url).unwrap() };
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::build_with_tls(url, tls.clone()).unwrap()
}
