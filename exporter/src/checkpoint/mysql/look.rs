//! A look at the row without any change: nothing is made, taken or renewed, and the holder does not notice.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use super::{Loaded, Mysql, NO_SUCH_TABLE, StoreError, decompress};

const LOOK: &str = "\
SELECT term, holder, TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), lease_until), state
FROM exporter_checkpoints WHERE name = ?";
/// Changes no row, and is refused as one that does would be.
const MAY_WRITE: [&str; 2] = [
    "UPDATE exporter_checkpoints SET version = version WHERE 1 = 0",
    "INSERT INTO exporter_checkpoints (name, term, version) SELECT name, term, version FROM exporter_checkpoints WHERE 1 = 0",
];

/// What a look showed.
#[derive(Debug)]
pub struct Look {
    /// The row, if it and its table are there.
    pub row: Option<Row>,
    /// Whether the table is there.
    pub has_table: bool,
    /// Why this user cannot write to the table that is there; nothing if it can.
    pub read_only: Option<String>,
    /// Whether what the server has promised to keep survives a loss of power.
    pub is_durable: bool,
}

/// The row of one state.
#[derive(Debug)]
pub struct Row {
    /// How often the lease was taken.
    pub term: u64,
    /// For how long the lease still holds; nothing if nobody holds it.
    pub leased: Option<Duration>,
    /// Bytes of the compressed state.
    pub stored_bytes: usize,
    /// The most bytes that the server takes at once.
    pub most_bytes: Option<usize>,
    /// The state.
    pub loaded: Loaded,
}

type Columns = (u64, Option<String>, Option<i64>, Option<Vec<u8>>);

impl Mysql {
    /// Looks at the row.
    ///
    /// # Errors
    /// The database cannot be reached or asked.
    pub fn look(&mut self) -> Result<Look, StoreError> {
        let name = &self.name;
        let seen = self.session.call(async |database| {
            let flush: Option<u8> = database.query_first("SELECT @@innodb_flush_log_at_trx_commit").await?;
            let is_durable = flush == Some(1);
            let row: Option<Columns> = match database.exec_first(LOOK, (name,)).await {
                Err(mysql_async::Error::Server(error)) if error.code == NO_SUCH_TABLE => {
                    return Ok((is_durable, false, None, None));
                }
                row => row?,
            };
            for statement in MAY_WRITE {
                match database.query_drop(statement).await {
                    Err(mysql_async::Error::Server(error)) => {
                        return Ok((is_durable, true, row, Some(error.message)));
                    }
                    done => done?,
                }
            }
            Ok((is_durable, true, row, None))
        });
        let (is_durable, has_table, row, read_only) = seen.map_err(self.failed("cannot be asked"))?;
        let row = row.map(|(term, holder, left_us, state)| Row {
            term,
            leased: holder.and(left_us).and_then(|us| u64::try_from(us).ok()).map(Duration::from_micros),
            stored_bytes: state.as_ref().map_or(0, Vec::len),
            most_bytes: self.session.max_packet(),
            loaded: self.loaded(state.as_deref()),
        });
        Ok(Look { row, has_table, read_only, is_durable })
    }

    /// What a row's state is worth.
    pub(super) fn loaded(&self, state: Option<&[u8]>) -> Loaded {
        use super::Store as _;
        match state.map(decompress) {
            None => Loaded::default(),
            Some(Ok(state)) => Loaded { state: Some(state), damaged: Vec::new() },
            Some(Err(error)) => {
                Loaded { state: None, damaged: vec![format!("{}: {error}", self.describe())] }
            }
        }
    }
}
