//! What was spent on which calendar day and in which month, in the time zone that the budget is kept in.
//!
//! Pure: the event's own time decides its day; the zone comes with the `budget_limits` event, its rules from the
//! database compiled into the binary.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Days and months that are kept: enough for any event that may still come.
const KEPT_DAYS: usize = 62;
const KEPT_MONTHS: usize = 14;

/// Limits and spending.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    limits: Option<Limits>,
    /// Unix day of the local date → nano-USD.
    days: BTreeMap<i32, u64>,
    /// Year × 12 + month − 1 → nano-USD.
    months: BTreeMap<i32, u64>,
    #[serde(skip)]
    today: Cached,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Limits {
    daily_nanousd: u64,
    monthly_nanousd: u64,
    time_zone: String,
}

/// The day of the last event: nearly always the day of the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Cached {
    zone: Option<TimeZone>,
    begin_ms: i64,
    end_ms: i64,
    day: i32,
    month: i32,
}

/// The zone is not in the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownTimeZone;

/// Spent share of a limit; nothing where the limit is zero.
fn percent(spent: u64, limit: u64) -> Option<f64> {
    (limit > 0).then(|| spent as f64 / limit as f64 * 100.0)
}

impl Budget {
    /// Takes new limits.
    ///
    /// # Errors
    /// The zone is unknown; the old limits stay.
    pub fn set_limits(
        &mut self,
        daily_nanousd: u64,
        monthly_nanousd: u64,
        zone: &str,
    ) -> Result<(), UnknownTimeZone> {
        TimeZone::get(zone).map_err(|_| UnknownTimeZone)?;
        self.limits = Some(Limits { daily_nanousd, monthly_nanousd, time_zone: zone.to_owned() });
        self.today = Cached::default();
        Ok(())
    }

    /// Adds what was spent at `t_ms`.
    pub fn spend(&mut self, t_ms: u64, nanousd: u64) {
        if nanousd == 0 {
            return;
        }
        let (day, month) = self.date_of(t_ms);
        add(&mut self.days, day, nanousd, KEPT_DAYS);
        add(&mut self.months, month, nanousd, KEPT_MONTHS);
    }

    /// Percent of the daily and of the monthly limit that is spent at `now_ms`; nothing without a limit.
    pub fn utilization(&self, now_ms: u64) -> (Option<f64>, Option<f64>) {
        let Some(limits) = &self.limits else { return (None, None) };
        let date = local_date(now_ms, &self.zone());
        let spent = |sums: &BTreeMap<i32, u64>, at| sums.get(&at).copied().unwrap_or(0);
        (
            percent(spent(&self.days, unix_day(date)), limits.daily_nanousd),
            percent(spent(&self.months, month_number(date)), limits.monthly_nanousd),
        )
    }

    fn zone(&self) -> TimeZone {
        let name = self.limits.as_ref().map_or("UTC", |limits| &limits.time_zone);
        TimeZone::get(name).unwrap_or(TimeZone::UTC)
    }

    fn date_of(&mut self, t_ms: u64) -> (i32, i32) {
        let t = t_ms as i64;
        if self.today.zone.is_none() || t < self.today.begin_ms || t >= self.today.end_ms {
            let zone = self.zone();
            let date = local_date(t_ms, &zone);
            let begin =
                |date: Date| date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp().as_millisecond());
            self.today = Cached {
                day: unix_day(date),
                month: month_number(date),
                begin_ms: begin(date).unwrap_or(t),
                end_ms: date.tomorrow().and_then(begin).unwrap_or(t),
                zone: Some(zone),
            };
        }
        (self.today.day, self.today.month)
    }
}

fn local_date(t_ms: u64, zone: &TimeZone) -> Date {
    let instant = i64::try_from(t_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    instant.unwrap_or(Timestamp::MAX).to_zoned(zone.clone()).date()
}

fn unix_day(date: Date) -> i32 {
    date.since(Date::constant(1970, 1, 1)).map_or(i32::MAX, |span| span.get_days())
}

fn month_number(date: Date) -> i32 {
    i32::from(date.year()) * 12 + i32::from(date.month()) - 1
}

fn add(sums: &mut BTreeMap<i32, u64>, at: i32, nanousd: u64, kept: usize) {
    let sum = sums.entry(at).or_default();
    *sum = sum.saturating_add(nanousd);
    while sums.len() > kept {
        sums.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOLLAR: u64 = 1_000_000_000;

    /// 2026-03-31 14:59:59 UTC, one second before midnight (and the first of April) in Tokyo.
    const BEFORE_MIDNIGHT_MS: u64 = 1_774_969_199_000;

    #[test]
    fn days_and_months_begin_in_the_configured_zone() {
        let mut budget = Budget::default();
        budget.set_limits(2 * DOLLAR, 10 * DOLLAR, "Asia/Tokyo").unwrap();
        budget.spend(BEFORE_MIDNIGHT_MS, DOLLAR);
        assert_eq!(budget.utilization(BEFORE_MIDNIGHT_MS), (Some(50.0), Some(10.0)));
        assert_eq!(budget.utilization(BEFORE_MIDNIGHT_MS + 1_000), (Some(0.0), Some(0.0)));
        budget.spend(BEFORE_MIDNIGHT_MS + 1_000, 3 * DOLLAR);
        assert_eq!(budget.utilization(BEFORE_MIDNIGHT_MS + 1_000), (Some(150.0), Some(30.0)));
        // A late event still goes to the day it belongs to.
        budget.spend(BEFORE_MIDNIGHT_MS - 1, DOLLAR);
        assert_eq!(budget.utilization(BEFORE_MIDNIGHT_MS), (Some(100.0), Some(20.0)));
    }

    #[test]
    fn without_limits_there_is_no_figure() {
        let mut budget = Budget::default();
        budget.spend(BEFORE_MIDNIGHT_MS, DOLLAR);
        assert_eq!(budget.utilization(BEFORE_MIDNIGHT_MS), (None, None));
        assert_eq!(budget.set_limits(1, 1, "Mars/Olympus_Mons"), Err(UnknownTimeZone));
    }
}
