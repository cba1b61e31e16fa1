//! One connection to the database, opened again when it was lost, for a thread that waits: every call ends within
//! [`CALL`], whatever the network does.
//!
//! A call that failed in whatever way costs the connection, for an answer may still be on its way. It is not repeated
//! here: what it did is not known, and only the caller knows whether that matters.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{ClientIdentity, Conn, Error, IoError, Opts, OptsBuilder, SslOpts};
use techsapo_tls::ClientTls;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tracing::warn;

/// Longest time of a call, connecting included. Several fit into a lease.
const CALL: Duration = Duration::from_secs(3);
/// Said to every new connection. A statement that waits for the row gives up before the call does.
const SETUP: &str = "SET SESSION autocommit = 1, SESSION innodb_lock_wait_timeout = 2";

/// See the file's head.
#[derive(Debug)]
pub(super) struct Session {
    opts: Opts,
    pub(super) tls: Option<ClientTls>,
    /// Made with the first call.
    runtime: Option<Runtime>,
    connection: Option<Conn>,
    max_packet: Option<usize>,
    /// Whether it was told that the server may lose what it has promised to keep.
    warned: bool,
}

impl Session {
    /// Connects with the first call.
    pub(super) fn new(opts: Opts) -> Self {
        // The server's socket file, if it is on this host, would be another way than the one that was asked for.
        let opts = OptsBuilder::from_opts(opts).prefer_socket(false).client_found_rows(true);
        let opts = opts.setup(vec![SETUP]).into();
        Self { opts, tls: None, runtime: None, connection: None, max_packet: None, warned: false }
    }

    /// Where the database is, without user and password.
    pub(super) fn address(&self) -> String {
        let (host, port) = (self.opts.ip_or_hostname(), self.opts.tcp_port());
        format!("mysql://{host}:{port}/{}", self.opts.db_name().unwrap_or_default())
    }

    /// The largest statement that the server takes, once it is known.
    pub(super) fn max_packet(&self) -> Option<usize> {
        self.max_packet
    }

    /// Does `work` on the connection. The error is in words.
    pub(super) fn call<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Conn) -> mysql_async::Result<T>,
    ) -> Result<T, String> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?,
        };
        let outcome = runtime.block_on(async {
            timeout(CALL, async {
                let mut connection = match self.connection.take() {
                    Some(connection) => connection,
                    None => self.connect().await?,
                };
                let answer = work(&mut connection).await?;
                Ok((connection, answer))
            })
            .await
        });
        self.runtime = Some(runtime);
        match outcome {
            Ok(Ok((connection, answer))) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Ok(Err(error)) => Err(in_words(error)),
            Err(_) => Err(format!("no answer within {} s", CALL.as_secs())),
        }
    }

    /// With the certificates that are in force now, if TLS is demanded. (The driver keeps what it has once read.)
    fn secured(&self) -> Opts {
        let (Some(demanded), Some(tls)) = (self.opts.ssl_opts().cloned(), &self.tls) else {
            return self.opts.clone();
        };
        let pem = tls.pem();
        let tls = match pem.ca.clone() {
            Some(ca) => demanded.with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true),
            None => demanded,
        };
        let identity = pem.identity.clone();
        let identity = identity.map(|(chain, key)| ClientIdentity::new(chain.into(), key.into()));
        OptsBuilder::from_opts(self.opts.clone())
            .ssl_opts(Some::<SslOpts>(tls.with_client_identity(identity)))
            .into()
    }

    async fn connect(&mut self) -> mysql_async::Result<Conn> {
        let mut connection = Conn::new(self.secured()).await?;
        let settings = "SELECT @@max_allowed_packet, @@innodb_flush_log_at_trx_commit";
        if let Some((max_packet, flush)) = connection.query_first::<(usize, u8), _>(settings).await? {
            self.max_packet = Some(max_packet);
            if flush != 1 && !self.warned {
                warn!(
                    "{} runs with innodb_flush_log_at_trx_commit = {flush}: if its host loses power, checkpoints that \
                     were acknowledged may be lost, and counting begins anew; 1 is the safe value",
                    self.address()
                );
                self.warned = true;
            }
        }
        Ok(connection)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A look-up of a name that hangs must not keep the process from ending.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The driver's own words repeat each other; these do not.
fn in_words(error: Error) -> String {
    match error {
        Error::Server(error) => error.message,
        Error::Io(IoError::Io(error)) => error.to_string(),
        Error::Driver(error) => error.to_string(),
        error => error.to_string(),
    }
}
