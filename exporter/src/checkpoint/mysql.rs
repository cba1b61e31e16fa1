//! A checkpoint in a MySQL or MariaDB database, for exporters on several hosts: one row per state, and a lease on it.
//!
//! Whoever finds the lease free (never taken, given back, or run out by the database's clock) takes it, and so raises
//! the row's term. Every later statement is conditional on that term, and renews the lease: one that was overtaken while
//! it slept matches no row, and has changed nothing. It also knows by itself when to stop serving: [`LEASE`] counts from
//! before the last successful renewal was sent, the database's from after it arrived.
//!
//! The table ([`CREATE_TABLE`]) is made when it is missing. Each change is one statement, hence one transaction of
//! InnoDB, which is on disk when it returns (if the server runs as it does by default; see [`session`]).

pub mod look;
mod session;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use mysql_async::Opts;
use mysql_async::prelude::Queryable as _;
use techsapo_tls::ClientTls;
use uuid::Uuid;

use self::session::Session;
use super::lease::Moment;
use super::{Loaded, Store, StoreError};

/// How long a lease holds without being renewed.
const LEASE: Duration = Duration::from_secs(10);
/// The holder stops this much earlier, for its clock and the database's may not run equally fast.
const MARGIN: Duration = Duration::from_secs(1);
/// A lease younger than this need not be renewed.
const FRESH: Duration = Duration::from_secs(2);
/// Longest name of a state.
pub const MAX_NAME: usize = 190;
/// The server's number for a table that does not exist.
const NO_SUCH_TABLE: u16 = 1146;
/// What a statement holds besides the state, generously.
const STATEMENT_BYTES: usize = 4 * 1024;

/// The table. `lease_until` is in UTC; `state` is compressed with gzip, whose checksum tells if it is damaged.
pub const CREATE_TABLE: &str = "\
CREATE TABLE IF NOT EXISTS exporter_checkpoints (
  name VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
  term BIGINT UNSIGNED NOT NULL,
  holder CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
  lease_until DATETIME(6) NULL,
  version BIGINT UNSIGNED NOT NULL,
  state LONGBLOB NULL
) ENGINE=InnoDB";

/// When the row may be taken. A lease that ends further ahead than any lease does is from before the database's clock
/// was set back, and nobody should wait for its end.
macro_rules! free {
    () => {
        "(holder IS NULL OR holder = ? OR lease_until IS NULL OR lease_until < UTC_TIMESTAMP(6)
OR lease_until > UTC_TIMESTAMP(6) + INTERVAL 20 SECOND)"
    };
}

// Each lease is ten seconds: see LEASE.
const IS_FREE: &str = concat!("SELECT ", free!(), " FROM exporter_checkpoints WHERE name = ?");
const ADD_ROW: &str = "INSERT IGNORE INTO exporter_checkpoints (name, term, version) VALUES (?, 0, 0)";
const ACQUIRE: &str = concat!(
    "UPDATE exporter_checkpoints
SET term = LAST_INSERT_ID(term + 1), holder = ?, lease_until = UTC_TIMESTAMP(6) + INTERVAL 10 SECOND
WHERE name = ? AND ",
    free!()
);
const RENEW: &str = "\
UPDATE exporter_checkpoints SET lease_until = UTC_TIMESTAMP(6) + INTERVAL 10 SECOND
WHERE name = ? AND term = ? AND holder = ?";
const LOAD: &str = "\
SELECT version, state FROM exporter_checkpoints WHERE name = ? AND term = ? AND holder = ?";
// A commit that was given up on may yet be carried out after the next one: `version` keeps it from undoing that one.
const COMMIT: &str = "\
UPDATE exporter_checkpoints
SET version = ?, state = ?, lease_until = UTC_TIMESTAMP(6) + INTERVAL 10 SECOND
WHERE name = ? AND term = ? AND holder = ? AND version < ?";
const RELEASE: &str = "\
UPDATE exporter_checkpoints SET holder = NULL, lease_until = NULL WHERE name = ? AND term = ? AND holder = ?";

/// One row of one table.
#[derive(Debug)]
pub struct Mysql {
    session: Session,
    name: String,
    /// This process, in the row.
    holder: String,
    held: Option<Held>,
}

/// A lease that was taken.
#[derive(Debug, Clone, Copy)]
struct Held {
    term: u64,
    /// Version of the last state that was sent, whether or not it arrived.
    version: u64,
    /// When the last successful renewal was sent.
    renewed: Moment,
}

impl Mysql {
    /// Will keep the state `name` in the database at `opts`; connects when it is first needed.
    pub fn new(opts: Opts, name: &str) -> Self {
        let holder = Uuid::new_v4().to_string();
        Self { session: Session::new(opts), name: name.to_owned(), holder, held: None }
    }

    /// The same with these certificates, if the address demands TLS. (Without them, the well-known authorities are
    /// trusted.)
    #[must_use]
    pub fn secured_by(mut self, tls: &ClientTls) -> Self {
        self.session.tls = Some(tls.clone());
        self
    }

    fn failed(&self, step: &'static str) -> impl Fn(String) -> StoreError + use<> {
        let place = self.describe();
        move |why| StoreError::Failed { step: format!("checkpoint.url {place}: {step}"), source: why.into() }
    }

    /// The lease, unless it is known to be lost.
    fn held(&self) -> Result<Held, StoreError> {
        self.held.ok_or_else(|| StoreError::Deposed(self.describe()))
    }

    /// What follows from a statement that matched `rows` and was sent at `sent`.
    fn settle(&mut self, rows: u64, sent: Moment) -> Result<(), StoreError> {
        match &mut self.held {
            Some(held) if rows > 0 => {
                held.renewed = sent;
                Ok(())
            }
            _ => {
                self.held = None;
                Err(StoreError::Deposed(self.describe()))
            }
        }
    }

    /// Whether the row may be taken; makes it, and its table, if they are missing. Locks nothing, for a standby asks
    /// often.
    fn is_free(&mut self) -> Result<bool, String> {
        let (name, holder) = (&self.name, &self.holder);
        self.session.call(async |database| {
            let free: Option<bool> = match database.exec_first(IS_FREE, (holder, name)).await {
                Err(mysql_async::Error::Server(error)) if error.code == NO_SUCH_TABLE => {
                    database.query_drop(CREATE_TABLE).await?;
                    None
                }
                answer => answer?,
            };
            if free.is_none() {
                database.exec_drop(ADD_ROW, (name,)).await?;
            }
            Ok(free.unwrap_or(true))
        })
    }
}

impl Store for Mysql {
    fn try_acquire(&mut self) -> Result<bool, StoreError> {
        if self.held.is_some() {
            match self.renew() {
                Err(StoreError::Deposed(_)) => {}
                renewed => return renewed.map(|()| true),
            }
        }
        if !self.is_free().map_err(self.failed("cannot be asked"))? {
            return Ok(false);
        }
        let sent = Moment::now();
        let (name, holder) = (&self.name, &self.holder);
        let acquired = self.session.call(async |database| {
            database.exec_drop(ACQUIRE, (holder, name, holder)).await?;
            Ok((database.affected_rows(), database.last_insert_id()))
        });
        match acquired.map_err(self.failed("cannot take the lease"))? {
            (1, Some(term)) => {
                self.held = Some(Held { term, version: 0, renewed: sent });
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn renew(&mut self) -> Result<(), StoreError> {
        let held = self.held()?;
        if !held.renewed.plus(FRESH).has_passed() {
            return Ok(());
        }
        let sent = Moment::now();
        let (name, holder) = (&self.name, &self.holder);
        let rows = self.session.call(async |database| {
            database.exec_drop(RENEW, (name, held.term, holder)).await?;
            Ok(database.affected_rows())
        });
        let rows = rows.map_err(self.failed("cannot renew the lease"))?;
        self.settle(rows, sent)
    }

    fn held_until(&self) -> Option<Moment> {
        self.held.map(|held| held.renewed.plus(LEASE - MARGIN))
    }

    fn load(&mut self) -> Result<Loaded, StoreError> {
        let held = self.held()?;
        let (name, holder) = (&self.name, &self.holder);
        let row: Option<(u64, Option<Vec<u8>>)> = self
            .session
            .call(async |database| database.exec_first(LOAD, (name, held.term, holder)).await)
            .map_err(self.failed("cannot be read"))?;
        let Some((version, state)) = row else {
            self.held = None;
            return Err(StoreError::Deposed(self.describe()));
        };
        self.held = Some(Held { version: version.max(held.version), ..held });
        Ok(self.loaded(state.as_deref()))
    }

    fn commit(&mut self, state: &[u8]) -> Result<(), StoreError> {
        let held = self.held()?;
        let failed = self.failed("cannot write a checkpoint");
        let state = compress(state).map_err(|error| failed(error.to_string()))?;
        if let Some(most) = self.session.max_packet()
            && state.len() + STATEMENT_BYTES > most
        {
            // What is in the row stays true, and ours.
            self.renew()?;
            let bytes = state.len();
            return Err(failed(format!(
                "it has {bytes} bytes, compressed, and the server takes {most} at once: raise its max_allowed_packet"
            )));
        }
        let version = held.version + 1;
        self.held = Some(Held { version, ..held });
        let sent = Moment::now();
        let (name, holder) = (&self.name, &self.holder);
        let rows = self.session.call(async |database| {
            database.exec_drop(COMMIT, (version, state, name, held.term, holder, version)).await?;
            Ok(database.affected_rows())
        });
        self.settle(rows.map_err(failed)?, sent)
    }

    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            let (name, holder) = (&self.name, &self.holder);
            // If it fails, the lease runs out.
            let _ = self
                .session
                .call(async |database| database.exec_drop(RELEASE, (name, held.term, holder)).await);
        }
    }

    fn describe(&self) -> String {
        format!("{} ({})", self.session.address(), self.name)
    }
}

fn compress(state: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(state.len() / 4), Compression::fast());
    encoder.write_all(state)?;
    encoder.finish()
}

fn decompress(compressed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut state = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut state)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_comes_back_whole_or_not_at_all() {
        let state: Vec<u8> = (0..5_000u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
        let compressed = compress(&state).unwrap();
        assert!(compressed.len() < state.len());
        assert_eq!(decompress(&compressed).unwrap(), state);
        for length in 0..compressed.len() {
            assert!(decompress(&compressed[..length]).is_err(), "cut at {length}");
        }
        // The first ten bytes are gzip's header; a time or a system in it means nothing.
        for at in 10..compressed.len() {
            let mut flipped = compressed.clone();
            flipped[at] ^= 1;
            // (A bit that only fills up the last byte means nothing either.)
            assert!(decompress(&flipped).map_or(true, |read| read == state), "flipped at {at}");
        }
    }

    #[test]
    fn the_statements_lease_is_the_lease() {
        let words = format!("INTERVAL {} SECOND", LEASE.as_secs());
        for statement in [ACQUIRE, RENEW, COMMIT] {
            assert!(statement.contains(&words), "{statement}");
        }
    }

    #[test]
    fn without_a_server_it_says_where_and_why_and_holds_nothing() {
        // Port 9 is nobody's.
        let opts = Opts::from_url("mysql://user:secret@127.0.0.1:9/db").unwrap();
        let mut store = Mysql::new(opts, "techsapo");
        let error = store.try_acquire().unwrap_err();
        assert_eq!(error.to_string(), "checkpoint.url mysql://127.0.0.1:9/db (techsapo): cannot be asked");
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("refused"));
        assert!(store.held_until().is_none());
        assert!(matches!(store.commit(b"state"), Err(StoreError::Deposed(_))));
    }
}
