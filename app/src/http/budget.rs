//! `GET /api/v1/budget`: what may be spent today and this month, and what is left of it. Money in USD, exact figures beside
//! it in nano-USD.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Json};
use serde::Serialize;

use super::App;
use super::wire::usd;
use crate::clock;
use crate::guard::budget::PeriodState;

#[derive(Serialize)]
struct BudgetView {
    /// Whether calls are refused for it.
    enforced: bool,
    /// `shared`: counted with all instances. `alone`: Redis is away. `unknown`: Redis has lost it, and the audit is away.
    counted: &'static str,
    time_zone: String,
    daily: PeriodView,
    monthly: PeriodView,
    timestamp: String,
}

#[derive(Serialize)]
struct PeriodView {
    /// `2026-01-31`, or `2026-01`.
    name: String,
    begins: String,
    ends: String,
    limit: f64,
    limit_nanousd: u64,
    /// Of real money.
    spent: f64,
    spent_nanousd: u64,
    /// What calls under way may spend yet.
    reserved: f64,
    reserved_nanousd: u64,
    /// What a call may cost now.
    remaining: f64,
    remaining_nanousd: u64,
    /// What simulated providers would have cost; it takes no room.
    simulated: f64,
    simulated_nanousd: u64,
    /// The last call was refused because the limit is reached, or would be by what it may cost.
    limit_reached: bool,
}

impl From<&PeriodState> for PeriodView {
    fn from(state: &PeriodState) -> Self {
        let remaining = state.limit.saturating_sub(state.spent).saturating_sub(state.reserved);
        Self {
            name: state.span.name.clone(),
            begins: clock::rfc3339(state.span.begins_ms),
            ends: clock::rfc3339(state.span.ends_ms),
            limit: usd(state.limit),
            limit_nanousd: state.limit,
            spent: usd(state.spent),
            spent_nanousd: state.spent,
            reserved: usd(state.reserved),
            reserved_nanousd: state.reserved,
            remaining: usd(remaining),
            remaining_nanousd: remaining,
            simulated: usd(state.simulated),
            simulated_nanousd: state.simulated,
            limit_reached: state.is_reached,
        }
    }
}

/// The handler.
pub(super) async fn state(State(app): State<Arc<App>>) -> impl IntoResponse {
    let state = app.budget.state();
    let [daily, monthly] = &state.periods;
    Json(BudgetView {
        enforced: state.enforced,
        counted: state.link.as_str(),
        time_zone: app.settings.budget.time_zone.iana_name().unwrap_or("UTC").to_owned(),
        daily: daily.into(),
        monthly: monthly.into(),
        timestamp: clock::rfc3339(clock::unix_ms()),
    })
}
