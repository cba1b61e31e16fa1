//! What each run of an app has spent on real providers, as the audit knows it: read now and then, in the background, by who
//! keeps the budget.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Value};
use techsapo_shared::labels::{ClosedLabel as _, Provider, QueryType, Vendor};

use super::database::{Address, within};
use super::row::datetime;
use super::statement::Meter;
use crate::guard::breaker::Breaker;
use crate::guard::budget::calendar::Span;

/// Longest time that reading may take, connecting included: a month may be long.
const READ: Duration = Duration::from_secs(30);

/// What one run has spent, in nano-USD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSpent {
    /// The run's id as a producer of events.
    pub producer: String,
    /// In the month.
    pub month_nanousd: u64,
    /// In the day.
    pub day_nanousd: u64,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SpendingError {
    /// MySQL is known to be away.
    #[error("MySQL is away")]
    Away,
    /// It was asked, and failed.
    #[error("reading from the audit failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Spending {
    address: Address,
    meter: Meter,
    breaker: Arc<Breaker>,
}

impl Spending {
    pub(super) fn new(address: Address, meter: Meter, breaker: Arc<Breaker>) -> Self {
        Self { address, meter, breaker }
    }

    /// What each run has spent in a month and in a day of it, by when its analyses ended.
    ///
    /// # Errors
    /// When MySQL is away, has no tables yet, or does not answer in time.
    pub async fn read(&self, month: &Span, day: &Span) -> Result<Vec<RunSpent>, SpendingError> {
        // Whether MySQL is well, the audit's thread finds out.
        let permit = self.breaker.admit_if_closed().ok_or(SpendingError::Away)?;
        let values = [day.begins_ms, month.begins_ms, month.ends_ms].map(|ms| datetime(ms).into());
        let (sql, values) = query(values);
        let read = within(READ, async {
            let mut conn = Conn::new(self.address.opts()).await?;
            let select = conn.exec(sql, Params::Positional(values));
            let rows: Vec<(String, u64, u64)> = self.meter.of(QueryType::Select, select).await?;
            conn.disconnect().await?;
            Ok(rows)
        });
        let rows = read.await.map_err(|fault| SpendingError::Failed(Box::new(fault)))?;
        permit.success();
        let run = |(producer, month_nanousd, day_nanousd)| RunSpent { producer, month_nanousd, day_nanousd };
        Ok(rows.into_iter().map(run).collect())
    }
}

/// The question, and its values: the beginning of the day, those of the month, and who is real.
fn query(times: [Value; 3]) -> (String, Vec<Value>) {
    let real = Provider::ALL.iter().filter(|provider| provider.vendor() != Vendor::Simulated);
    let real: Vec<Value> = real.map(|provider| provider.as_str().into()).collect();
    let sql = format!(
        "SELECT a.producer, CAST(SUM(c.cost_nanousd) AS UNSIGNED), \
         CAST(SUM(IF(a.ended_at >= ?, c.cost_nanousd, 0)) AS UNSIGNED) \
         FROM analyses a JOIN analysis_calls c ON c.producer = a.producer AND c.seq = a.seq \
         WHERE a.ended_at >= ? AND a.ended_at < ? AND c.provider IN ({}) GROUP BY a.producer",
        vec!["?"; real.len()].join(", ")
    );
    (sql, times.into_iter().chain(real).collect())
}
