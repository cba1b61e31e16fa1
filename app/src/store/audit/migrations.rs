//! The audit's tables, and how a database comes to have them.
//!
//! Each file in `migrations/` is one version, applied in order and noted in `schema_migrations` with its checksum. A
//! lock of the server's keeps two apps from doing it at once. MySQL commits after every change of a table, so that a
//! migration may be cut off in the middle: each one can be run again from its start.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use techsapo_shared::labels::QueryType;

use super::statement::{Fault, Meter};

/// Every version with its name and its statements, in order. A released one is never changed.
const MIGRATIONS: &[(u32, &str, &str)] =
    &[(1, "0001_analyses", include_str!("migrations/0001_analyses.sql"))];

const CREATE_TABLE: &str = "\
CREATE TABLE IF NOT EXISTS schema_migrations (
  version INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(64) NOT NULL,
  checksum INT UNSIGNED NOT NULL,
  applied_at DATETIME(3) NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
/// One lock per database; a name may have 64 characters.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('techsapo.', MD5(DATABASE())), 10)";
const UNLOCK: &str = "DO RELEASE_LOCK(CONCAT('techsapo.', MD5(DATABASE())))";
const APPLIED: &str = "SELECT version, checksum FROM schema_migrations ORDER BY version";
const NOTE: &str =
    "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, UTC_TIMESTAMP(3))";
/// The server's number for a table that does not exist.
const NO_SUCH_TABLE: u16 = 1146;

/// What a database lacks.
#[derive(Debug, PartialEq, Eq)]
enum Gap {
    /// Nothing.
    None,
    /// Every version behind this one.
    Behind(usize),
}

/// What is missing after `applied` (version and checksum, in order).
fn gap(applied: &[(u32, u32)]) -> Result<Gap, Fault> {
    for (index, &(version, checksum)) in applied.iter().enumerate() {
        match MIGRATIONS.get(index) {
            None => {
                return Err(Fault::schema(format!(
                    "its tables are of version {version}, made by a later build; this one knows {}",
                    MIGRATIONS.len()
                )));
            }
            Some(&(known, _, sql)) if (known, crc32fast::hash(sql.as_bytes())) == (version, checksum) => {}
            Some(_) => {
                return Err(Fault::schema(format!("its migration {version} is not the one of this build")));
            }
        }
    }
    Ok(if applied.len() == MIGRATIONS.len() { Gap::None } else { Gap::Behind(applied.len()) })
}

/// Brings the tables up to date and says how many versions that took.
pub(super) async fn migrate(conn: &mut Conn, meter: &Meter) -> Result<usize, Fault> {
    let locked: Option<Option<i64>> = meter.of(QueryType::Other, conn.query_first(LOCK)).await?;
    if locked.flatten() != Some(1) {
        return Err(Fault::schema("another process has been migrating it for 10 s".to_owned()));
    }
    let done = apply(conn, meter).await;
    // If this fails, the connection is given up, and the lock with it.
    meter.of(QueryType::Other, conn.query_drop(UNLOCK)).await?;
    done
}

async fn apply(conn: &mut Conn, meter: &Meter) -> Result<usize, Fault> {
    meter.of(QueryType::Ddl, conn.query_drop(CREATE_TABLE)).await?;
    let applied: Vec<(u32, u32)> = meter.of(QueryType::Select, conn.query(APPLIED)).await?;
    let Gap::Behind(from) = gap(&applied)? else { return Ok(0) };
    for (version, name, sql) in &MIGRATIONS[from..] {
        for statement in statements(sql) {
            meter.of(QueryType::Ddl, conn.query_drop(statement)).await?;
        }
        let note = (version, name, crc32fast::hash(sql.as_bytes()));
        meter.of(QueryType::Insert, conn.exec_drop(NOTE, note)).await?;
        tracing::info!(migration = name, "the audit's tables were brought up to date");
    }
    Ok(MIGRATIONS.len() - from)
}

/// Looks whether the tables are those that this build writes to.
pub(super) async fn check(conn: &mut Conn, meter: &Meter) -> Result<(), Fault> {
    let applied: Vec<(u32, u32)> = match meter.of(QueryType::Select, conn.query(APPLIED)).await {
        Err(fault) if fault.code() == Some(NO_SUCH_TABLE) => Vec::new(),
        answer => answer?,
    };
    match gap(&applied)? {
        Gap::None => Ok(()),
        Gap::Behind(_) => Err(Fault::schema(
            "its tables are not up to date: run `techsapo migrate`, or set mysql.migrate = true".to_owned(),
        )),
    }
}

/// The statements of a file: each ends with a semicolon at the end of a line.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(count: usize) -> Vec<(u32, u32)> {
        MIGRATIONS[..count]
            .iter()
            .map(|(version, _, sql)| (*version, crc32fast::hash(sql.as_bytes())))
            .collect()
    }

    #[test]
    fn versions_count_from_one_and_files_are_named_after_them() {
        for (index, (version, name, sql)) in MIGRATIONS.iter().enumerate() {
            assert_eq!(*version as usize, index + 1);
            assert!(name.starts_with(&format!("{version:04}_")), "{name}");
            assert!(statements(sql).all(|statement| statement.contains("IF NOT EXISTS")), "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_known_and_what_is_foreign_refused() {
        assert_eq!(gap(&applied(0)).unwrap(), Gap::Behind(0));
        assert_eq!(gap(&applied(MIGRATIONS.len())).unwrap(), Gap::None);
        let mut later = applied(MIGRATIONS.len());
        later.push((MIGRATIONS.len() as u32 + 1, 0));
        assert!(gap(&later).unwrap_err().to_string().contains("a later build"));
        let mut foreign = applied(1);
        foreign[0].1 ^= 1;
        assert!(gap(&foreign).unwrap_err().to_string().contains("is not the one of this build"));
    }
}
