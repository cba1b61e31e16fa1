//! The door to MySQL: one connection, opened again when it was lost, for a thread that waits. Every call ends within
//! [`CALL`], whatever the network does.
//!
//! A call that failed in whatever way costs the connection: an answer may still be on its way. What it did is not
//! known then, and need not be: every row has its number as primary key, and writing it again changes nothing.

use std::fmt;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, Params, SslOpts, TxOpts, Value};
use techsapo_shared::labels::QueryType;
use techsapo_tls::ClientTls;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::row::{ANALYSIS_COLUMNS, Analysis, CALL_COLUMNS};
use super::statement::{Fault, Meter};
use super::{AuditSettings, migrations};
use crate::telemetry::Recorder;

/// Longest time of a call, connecting included.
const CALL: Duration = Duration::from_secs(5);
/// Longest time of a migration: a large table may have to be rebuilt.
const MIGRATION: Duration = Duration::from_secs(600);
/// Said to every new connection. Strict: what does not fit is refused, never cut to size.
const SETUP: &str = "SET SESSION autocommit = 1, SESSION innodb_lock_wait_timeout = 3, \
                     SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION time_zone = '+00:00'";
/// MariaDB says what it uses; MySQL has no such variable.
const MEMORY: &str = "SHOW GLOBAL STATUS LIKE 'Memory_used'";

/// See the file's head.
pub(super) struct Database {
    address: Address,
    migrate: bool,
    meter: Meter,
    runtime: Runtime,
    connection: Option<Conn>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.address()).finish()
    }
}

impl Database {
    /// Connects with the first call.
    pub(super) fn new(
        settings: &AuditSettings,
        recorder: Option<Recorder>,
    ) -> Result<Self, super::AuditError> {
        let address = Address::of(settings)?;
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(super::AuditError::Thread)?;
        Ok(Self { address, migrate: settings.migrate, meter: Meter(recorder), runtime, connection: None })
    }

    /// Where the database is, without user and password.
    pub(super) fn address(&self) -> String {
        let opts = &self.address.opts;
        let (host, port) = (opts.ip_or_hostname(), opts.tcp_port());
        format!("mysql://{host}:{port}/{}", opts.db_name().unwrap_or_default())
    }

    /// Whether a connection is open.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Writes all of `analyses` or none.
    pub(super) fn insert(&mut self, analyses: &[Analysis]) -> Result<(), Fault> {
        self.call(async |conn, meter| {
            let mut transaction = {
                let begin = conn.start_transaction(TxOpts::default());
                meter.of(QueryType::Transaction, begin).await?
            };
            for (sql, values) in statements(analyses) {
                let insert = transaction.exec_drop(sql, Params::Positional(values));
                meter.of(QueryType::Insert, insert).await?;
            }
            meter.of(QueryType::Transaction, transaction.commit()).await
        })
    }

    /// The memory that the server says it uses, if it does; also shows that it is there.
    pub(super) fn memory_bytes(&mut self) -> Result<Option<u64>, Fault> {
        self.call(async |conn, meter| {
            let row: Option<(String, String)> = meter.of(QueryType::Other, conn.query_first(MEMORY)).await?;
            Ok(row.and_then(|(_, bytes)| bytes.parse().ok()))
        })
    }

    /// Brings the tables up to date.
    pub(super) fn migrate_now(&mut self) -> Result<usize, Fault> {
        let (opts, meter) = (self.address.opts(), &self.meter);
        self.runtime.block_on(async {
            let mut conn = within(CALL, async { Ok(Conn::new(opts).await?) }).await?;
            within(MIGRATION, migrations::migrate(&mut conn, meter)).await
        })
    }

    fn call<T>(&mut self, work: impl AsyncFnOnce(&mut Conn, &Meter) -> Result<T, Fault>) -> Result<T, Fault> {
        let taken = self.connection.take();
        let (address, migrate, meter) = (&self.address, self.migrate, &self.meter);
        let (conn, answer) = self.runtime.block_on(async {
            let mut conn = match taken {
                Some(conn) => conn,
                None => connect(address.opts(), migrate, meter).await?,
            };
            let answer = within(CALL, work(&mut conn, meter)).await?;
            Ok::<_, Fault>((conn, answer))
        })?;
        self.connection = Some(conn);
        Ok(answer)
    }
}

/// Where the database is, and how it is connected to.
#[derive(Clone)]
pub(super) struct Address {
    opts: Opts,
    tls: ClientTls,
}

impl Address {
    pub(super) fn of(settings: &AuditSettings) -> Result<Self, super::AuditError> {
        let opts = Opts::from_url(&settings.mysql_url).map_err(super::AuditError::Url)?;
        // The server's socket file, if it is on this host, would be another way than the one that was asked for.
        let opts = OptsBuilder::from_opts(opts).prefer_socket(false).setup(vec![SETUP]);
        Ok(Self { opts: opts.into(), tls: settings.tls.clone() })
    }

    /// For one connection: with the certificates that are in force now, if TLS is demanded. (The driver keeps what it has
    /// once read.)
    pub(super) fn opts(&self) -> Opts {
        let Some(demanded) = self.opts.ssl_opts().cloned() else { return self.opts.clone() };
        let pem = self.tls.pem();
        let tls = match pem.ca.clone() {
            Some(ca) => demanded.with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true),
            None => demanded,
        };
        let identity = pem.identity.clone();
        let identity = identity.map(|(chain, key)| ClientIdentity::new(chain.into(), key.into()));
        let tls = tls.with_client_identity(identity);
        OptsBuilder::from_opts(self.opts.clone()).ssl_opts::<Option<SslOpts>>(Some(tls)).into()
    }
}

/// A connection to a database whose tables are as they should be.
async fn connect(opts: Opts, migrate: bool, meter: &Meter) -> Result<Conn, Fault> {
    let mut conn = within(CALL, async { Ok(Conn::new(opts).await?) }).await?;
    let checked = within(CALL, migrations::check(&mut conn, meter)).await;
    match checked {
        // A missing table or version, and nothing worse: that is what migrating is for.
        Err(_) if migrate => drop(within(MIGRATION, migrations::migrate(&mut conn, meter)).await?),
        checked => checked?,
    }
    Ok(conn)
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(Fault::schema(format!("no answer within {} s", limit.as_secs()))))
}

/// One statement for the analyses, one for their calls if there are any. What stands there already stays as it is.
fn statements(analyses: &[Analysis]) -> Vec<(String, Vec<Value>)> {
    let rows: Vec<_> = analyses.iter().map(Analysis::values).collect();
    let calls: Vec<_> = analyses.iter().flat_map(Analysis::calls).collect();
    let mut statements = vec![statement("analyses", &ANALYSIS_COLUMNS, rows)];
    if !calls.is_empty() {
        statements.push(statement("analysis_calls", &CALL_COLUMNS, calls));
    }
    statements
}

fn statement<const N: usize>(
    table: &str,
    columns: &[&str; N],
    rows: Vec<[Value; N]>,
) -> (String, Vec<Value>) {
    let row = format!("({})", vec!["?"; N].join(", "));
    let places = vec![row; rows.len()].join(", ");
    let sql = format!(
        "INSERT INTO {table} ({}) VALUES {places} ON DUPLICATE KEY UPDATE {table}.seq = {table}.seq",
        columns.join(", ")
    );
    (sql, rows.into_iter().flatten().collect())
}
