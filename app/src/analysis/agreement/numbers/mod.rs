//! Numbers in an answer, as quantities that can be held against another answer's.
//!
//! "30 s", "thirty seconds", "half a minute" and "30秒" are one quantity; "4 to 5 hours" is a range that four and a half
//! hours lie in; 300,000 km is a rounding of 299,792 km, but the year 1600 is none of 1603. Two answers are at odds over a
//! number when each holds one of the same dimension that the other has no match for, in sentences that speak of the same.

mod beginning;
mod dates;
mod read;
mod units;

pub(super) use read::quantities;

/// What is measured. Only quantities of one dimension are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dimension {
    /// No unit, or one that is not known: a count, a port, a status.
    Plain,
    /// Seconds.
    Time,
    /// A year of the calendar.
    Year,
    /// A month of the year.
    Month,
    /// A day of the month.
    Day,
    /// Hundredths.
    Percent,
    /// An amount in one currency.
    Money(Currency),
    /// Grams.
    Mass,
    /// Metres.
    Length,
    /// Metres a second.
    Speed,
    /// Degrees Celsius.
    Temperature,
    /// Bytes.
    Bytes,
    /// Digits with two dots or more: a release, an address. No amount, but a name that is the same or another.
    Dotted,
}

/// Whose money an amount is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Currency {
    Dollar,
    Euro,
    Pound,
    Yen,
}

/// A number with its unit: all values between `low` and `high`, which are the same unless it is a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quantity {
    pub(super) dimension: Dimension,
    pub(super) low: f64,
    pub(super) high: f64,
    /// The place of the last digit that counts: 100 for 384,400.
    pub(super) grain: f64,
    /// In which sentence it stands.
    pub(super) sentence: usize,
}

/// A quantity, and the bytes of its sentence that it stands in.
struct Found {
    quantity: Quantity,
    start: usize,
    end: usize,
}

/// How far apart a number and its rounding may lie, as a share of the greater.
const MOST_ROUNDED_OFF: f64 = 0.05;

impl Quantity {
    /// Whether both can be true of one thing.
    pub(super) fn matches(&self, other: &Self) -> bool {
        if self.dimension != other.dimension {
            return false;
        }
        let apart = (self.low.max(other.low) - self.high.min(other.high)).max(0.0);
        let size = self.high.abs().max(other.high.abs());
        if self.is_range() || other.is_range() {
            // A point may lie in a range; two ranges share at least half of the smaller one.
            let shared = self.high.min(other.high) - self.low.max(other.low);
            let narrow = (self.high - self.low).min(other.high - other.low);
            return apart <= size * 1e-9 && shared >= narrow / 2.0 - size * 1e-9;
        }
        let slack = match self.dimension {
            Dimension::Year | Dimension::Month | Dimension::Day | Dimension::Dotted => 0.0,
            Dimension::Plain if size < 10_000.0 => 0.0,
            _ => (self.grain.max(other.grain) / 2.0).min(size * MOST_ROUNDED_OFF),
        };
        apart <= slack.max(size * 1e-9)
    }

    /// Whether both measure the same thing, so that without a match they contradict each other. What one currency comes to in
    /// another is not known, but never the same figure.
    pub(super) fn is_held_against(&self, other: &Self) -> bool {
        match (self.dimension, other.dimension) {
            (Dimension::Money(one), Dimension::Money(another)) if one != another => {
                self.low == other.low && self.high == other.high
            }
            (one, another) => one == another,
        }
    }

    fn is_range(&self) -> bool {
        self.low < self.high
    }
}

/// Those of `ours` that match none of `theirs`, nor any of the question's.
pub(super) fn unmatched<'a>(
    ours: &'a [Quantity],
    theirs: &'a [Quantity],
    asked: &'a [Quantity],
) -> impl Iterator<Item = &'a Quantity> {
    ours.iter().filter(move |one| !theirs.iter().chain(asked).any(|other| one.matches(other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::agreement::text::fold;

    fn only(text: &str) -> Quantity {
        let found = quantities(&[fold(text)]);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        found[0]
    }

    #[test]
    fn one_quantity_has_many_spellings() {
        for same in [
            &["30 s", "thirty seconds", "30秒", "三十秒", "half a minute", "0.5 minutes"][..],
            &["1,000 ms", "1 second", "one second", "1000ミリ秒"],
            &["50%", "fifty per cent", "50パーセント", "五割"],
            &["4 g", "4,000 mg", "四グラム", "four grams"],
            &["2時間15分", "135 minutes", "135分"],
            &["90 minutes", "one and a half hours", "1 1/2 hours", "1時間半", "1½ h"],
            &["300,000 km", "三十万キロ", "30万km", "three hundred thousand kilometres", "299,792 km"],
            &["100 °C", "100℃", "212 °F", "100度", "100 degrees celsius"],
            &["1603年", "in 1603", "一六〇三年"],
            &["半年", "six months", "6か月", "half a year"],
            &["-40 °C", "−40 °F", "minus 40 degrees"],
            &["4 to 5 hours", "between four and five hours", "4〜5時間", "4時間半", "4時間から5時間"],
            &["8080", "八〇八〇番"],
            &["$5", "5 dollars", "5ドル", "5米ドル", "US$5"],
            &["¥30,000", "3万円", "30000 yen", "￥30000"],
            &["$4 to $5", "$4-5", "$4 to 5", "4 to 5 dollars", "4〜5ドル"],
            &["27,017", "27,000", "27 thousand", "2.7万"],
            &["release 3.12.1", "v3.12.1", "3.12.1です"],
        ] {
            for other in same {
                assert!(
                    only(same[0]).matches(&only(other)),
                    "{} {other}: {:?} {:?}",
                    same[0],
                    only(same[0]),
                    only(other)
                );
                assert!(only(other).matches(&only(same[0])));
            }
        }
    }

    #[test]
    fn different_numbers_do_not_match() {
        for (one, other) in [
            ("30 s", "60 s"),
            ("30 minutes", "30 hours"),
            ("3,776 m", "3,676 m"),
            ("in 1603", "1600年"),
            ("port 443", "port 80"),
            ("4 g", "8 g"),
            ("5 °C", "-5 °C"),
            ("4 to 5 hours", "2 to 3 hours"),
            ("30%", "60%"),
            ("30万円", "3万円"),
            ("100円", "100ドル"),
            ("$100", "€100"),
            ("port 27017", "port 27000"),
            ("10.0.0.1", "10.0.0.2"),
            ("v3.12.1", "v3.12.4"),
        ] {
            assert!(!only(one).matches(&only(other)), "{one} {other}");
        }
    }

    #[test]
    fn a_sign_between_two_numbers_is_of_both() {
        let found = quantities(&[fold("5€10")]);
        let euros: Vec<_> = found.iter().map(|one| (one.dimension, one.low)).collect();
        assert_eq!(euros, [5.0, 10.0].map(|amount| (Dimension::Money(Currency::Euro), amount)));
    }

    #[test]
    fn a_date_is_its_parts() {
        let dimensions = |text: &str| -> Vec<_> {
            let mut found: Vec<_> =
                quantities(&[fold(text)]).iter().map(|q| (q.dimension, q.low as i64)).collect();
            found.sort_unstable();
            found
        };
        let fall = [(Dimension::Year, 1989), (Dimension::Month, 11), (Dimension::Day, 9)];
        for text in
            ["9 November 1989", "November 9, 1989", "1989年11月9日", "the 9th of November 1989", "1989-11-09"]
        {
            assert_eq!(dimensions(text), fall, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "MD5 and UTF-8",
            "十分に",
            "一般に一部の人",
            "万一の場合",
            "x86_64",
            "the one I like",
            "HTTP/2",
            "may be",
        ] {
            assert_eq!(quantities(&[fold(text)]), [], "{text}");
        }
    }
}
