//! The dates of a folded sentence that are written otherwise than a number with its unit: months by name, and ISO 8601.

use super::beginning::letters;
use super::units::MONTHS;
use super::{Dimension, Found, Quantity};

/// The name of a month where a day or a year stands beside it; "may" is mostly something else.
pub(super) fn month_name(before: &str, rest: &str, sentence: usize) -> Option<Found> {
    if before.ends_with(char::is_alphanumeric) {
        return None;
    }
    let word = &rest[..letters(rest)];
    let (number, name) = (1_u8..).zip(MONTHS).find(|(_, name)| *name == word)?;
    if rest[name.len()..].starts_with(char::is_alphabetic) {
        return None;
    }
    let after = rest[name.len()..].trim_start();
    let previous = before.trim_end().trim_end_matches(" of").trim_end_matches("th");
    if name == "may"
        && !after.starts_with(|c: char| c.is_ascii_digit())
        && !previous.ends_with(|c: char| c.is_ascii_digit())
    {
        return None;
    }
    let value = f64::from(number);
    let quantity = Quantity { dimension: Dimension::Month, low: value, high: value, grain: 1.0, sentence };
    Some(Found { quantity, start: before.len(), end: before.len() + name.len() })
}

/// `1989-11-09`: year, month and day at once.
pub(super) fn iso_date(before: &str, rest: &str, sentence: usize) -> Option<[Found; 3]> {
    let date = rest.get(..10)?;
    let shape = date
        .bytes()
        .enumerate()
        .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    if !shape
        || [before.chars().next_back(), rest[10..].chars().next()]
            .into_iter()
            .flatten()
            .any(|c| c.is_ascii_alphanumeric())
    {
        return None;
    }
    let part = |dimension, from: usize, to: usize| {
        let value: f64 = date[from..to].parse().ok()?;
        let quantity = Quantity { dimension, low: value, high: value, grain: 1.0, sentence };
        Some(Found { quantity, start: before.len() + from, end: before.len() + to })
    };
    Some([part(Dimension::Year, 0, 4)?, part(Dimension::Month, 5, 7)?, part(Dimension::Day, 8, 10)?])
}
