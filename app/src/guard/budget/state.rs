//! What people are told of the budget: how it is, and why there is no room for a call.

use std::time::Duration;

use techsapo_shared::labels::{BudgetPeriod, ClosedLabel as _};

use super::calendar::Span;
use super::ledger::Lack;
use crate::clock;

/// There is no room for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Refusal {
    /// The period that has none.
    pub period: BudgetPeriod,
    /// Why.
    pub lack: Lack,
    /// When the period ends, Unix milliseconds.
    pub ends_ms: u64,
    /// When to ask again.
    pub retry_in: Duration,
}

impl Refusal {
    fn sentence(&self) -> String {
        let period = self.period.as_str();
        match self.lack {
            Lack::Spent => format!("the {period} limit is reached until {}", clock::rfc3339(self.ends_ms)),
            Lack::Reserved => format!("calls under way may need all that is left of the {period} limit"),
            Lack::Share => {
                format!("while Redis is away, this instance may spend no more of the {period} limit")
            }
        }
    }
}

/// Whom an instance counts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// With all others, in Redis.
    Shared,
    /// By itself: Redis is away.
    Alone,
    /// By itself: Redis has lost what was spent, and the audit, which knows, cannot be read.
    Unknown,
}

impl Link {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Alone => "alone",
            Self::Unknown => "unknown",
        }
    }
}

/// How the budget is.
#[derive(Debug, Clone)]
pub struct BudgetState {
    /// Whether calls are refused for it.
    pub enforced: bool,
    /// Whom this instance counts with.
    pub link: Link,
    /// The day and the month. Other instances' part in them is a second old at most while Redis is there.
    pub periods: [PeriodState; 2],
}

/// How a day or month is. Amounts are nano-USD.
#[derive(Debug, Clone)]
pub struct PeriodState {
    /// Which of the two.
    pub period: BudgetPeriod,
    /// Its name and limits in time.
    pub span: Span,
    /// What may be spent in it.
    pub limit: u64,
    /// What was spent, of real money.
    pub spent: u64,
    /// What calls under way may spend yet.
    pub reserved: u64,
    /// What simulated providers would have cost; it takes no room.
    pub simulated: u64,
    /// The last call in it was refused because its limit is reached, or would be by it.
    pub is_reached: bool,
}
