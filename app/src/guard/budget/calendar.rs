//! Calendar days and months in a time zone: which ones a moment is in, and when they begin and end. Pure.
//!
//! The zone's rules come from the database compiled into the binary, so that instances of one build agree.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// A day or a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `2026-01-31`, or `2026-01`.
    pub name: String,
    /// Its first moment, Unix milliseconds.
    pub begins_ms: u64,
    /// The first moment behind it, Unix milliseconds.
    pub ends_ms: u64,
}

/// The day and the month of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Today {
    /// The moment, Unix milliseconds.
    pub at_ms: u64,
    /// Its day.
    pub day: Arc<Span>,
    /// Its month.
    pub month: Arc<Span>,
}

impl Today {
    /// The same day and month at another moment (Unix milliseconds), if it is in them: looking up a calendar is dear.
    pub fn moved_to(&self, at_ms: u64) -> Option<Self> {
        (self.day.begins_ms..self.day.ends_ms).contains(&at_ms).then(|| Self { at_ms, ..self.clone() })
    }
}

/// The calendar of a time zone.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: TimeZone,
}

impl Calendar {
    /// Days and months as they begin in `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone }
    }

    /// The day and the month that a moment (Unix milliseconds) is in.
    pub fn at(&self, at_ms: u64) -> Today {
        let moment = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let date = moment.unwrap_or(Timestamp::MAX).to_zoned(self.zone.clone()).date();
        let first = date.first_of_month();
        Today {
            at_ms,
            day: Arc::new(self.span(date.to_string(), date, date.tomorrow().ok())),
            month: Arc::new(self.span(
                format!("{:04}-{:02}", date.year(), date.month()),
                first,
                first.checked_add(1.month()).ok(),
            )),
        }
    }

    /// From the first date of a span and the first one behind it.
    fn span(&self, name: String, first: Date, next: Option<Date>) -> Span {
        // There is none only at the end of all time.
        let ends_ms = next.and_then(|next| self.midnight_ms(next)).unwrap_or(u64::MAX);
        Span { name, begins_ms: self.midnight_ms(first).unwrap_or_default(), ends_ms }
    }

    /// The first moment of a date, which is not midnight where clocks are set forward then.
    fn midnight_ms(&self, date: Date) -> Option<u64> {
        let first = date.to_zoned(self.zone.clone()).ok()?;
        u64::try_from(first.timestamp().as_millisecond()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::rfc3339;

    fn at(zone: &str, moment: &str) -> Today {
        let moment: Timestamp = moment.parse().unwrap();
        let ms = u64::try_from(moment.as_millisecond()).unwrap();
        Calendar::new(TimeZone::get(zone).unwrap()).at(ms)
    }

    fn told(span: &Span) -> String {
        format!("{} {} {}", span.name, rfc3339(span.begins_ms), rfc3339(span.ends_ms))
    }

    #[test]
    fn days_and_months_are_those_of_the_zone() {
        for (zone, moment, day, month) in [
            (
                "UTC",
                "2026-03-31T23:59:59.999Z",
                "2026-03-31 2026-03-31T00:00:00.000Z 2026-04-01T00:00:00.000Z",
                "2026-03 2026-03-01T00:00:00.000Z 2026-04-01T00:00:00.000Z",
            ),
            (
                "Asia/Tokyo",
                "2026-03-31T15:00:00Z",
                "2026-04-01 2026-03-31T15:00:00.000Z 2026-04-01T15:00:00.000Z",
                "2026-04 2026-03-31T15:00:00.000Z 2026-04-30T15:00:00.000Z",
            ),
            // A day of 23 hours.
            (
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-29 2026-03-28T23:00:00.000Z 2026-03-29T22:00:00.000Z",
                "2026-03 2026-02-28T23:00:00.000Z 2026-03-31T22:00:00.000Z",
            ),
            // A year's end.
            (
                "America/New_York",
                "2027-01-01T04:59:59Z",
                "2026-12-31 2026-12-31T05:00:00.000Z 2027-01-01T05:00:00.000Z",
                "2026-12 2026-12-01T05:00:00.000Z 2027-01-01T05:00:00.000Z",
            ),
        ] {
            let today = at(zone, moment);
            assert_eq!((told(&today.day), told(&today.month)), (day.to_owned(), month.to_owned()), "{zone}");
        }
    }

    #[test]
    fn every_moment_is_within_its_day_and_month() {
        for ms in [0, 1, 1_790_000_000_123, 253_402_200_000_000, u64::MAX] {
            let today = Calendar::new(TimeZone::UTC).at(ms);
            for span in [&today.day, &today.month] {
                assert!(span.begins_ms <= ms && span.begins_ms < span.ends_ms, "{span:?}");
            }
        }
    }
}
