//! Tells what is personal from what only looks so: check digits, lengths, neighbours.
//!
//! Each function gets the text and the borders of a candidate, and returns those of the part to hide, within it; or
//! nothing, if it is something else.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Digits of a card's number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

pub(super) fn whole(_: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    Some((start, end))
}

/// What stands behind the first `:` or `=`, without quotes.
pub(super) fn value(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let from = behind_sign(text, start, end)?;
    // What stood within was hidden before.
    let is_empty = from == end || (&text[from..end] == "Some" && text[end..].starts_with('('));
    (!is_empty).then_some((from, end))
}

/// The same, to the end of the line, or to a private key, which goes on beyond that.
pub(super) fn rest_of_line(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    // The candidate ends with the value's first character; a line may have ended before that, where a long header was folded.
    let first = end - text[start..end].chars().next_back()?.len_utf8();
    let is_key = |rest: &str| {
        let name = rest.strip_prefix("-----BEGIN ").and_then(|rest| rest.split('-').next());
        name.is_some_and(|name| name.contains("PRIVATE KEY"))
    };
    let ends = |at: usize, found: &str| found != "-" || is_key(&text[first + at..]);
    let mut marks = text[first..].match_indices(['\r', '\n', '-']);
    let end = marks.find(|(at, found)| ends(*at, found)).map_or(text.len(), |(at, _)| first + at);
    let from = behind_sign(text, start, end)?;
    // Before a key there may be nothing; the key's own row goes on from there.
    (from < end || text[end..].starts_with('-')).then_some((from, end))
}

/// Where the value begins behind the first `:` or `=`, without its quotes.
fn behind_sign(text: &str, start: usize, end: usize) -> Option<usize> {
    let candidate = &text[start..end];
    let (at, sign) = candidate.char_indices().find(|(_, c)| matches!(c, ':' | '=' | '：' | '＝'))?;
    let rest = candidate[at + sign.len_utf8()..].trim_start_matches('>').trim_start();
    let rest = rest.strip_prefix("Some(").unwrap_or(rest).trim_start_matches(['"', '\'', '\\']);
    Some(end - rest.len())
}

/// The part of a URL between `://` and the last `@`.
pub(super) fn user_info(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let from = start + text[start..end].find("://")? + 3;
    (from < end - 1).then_some((from, end - 1))
}

/// What stands behind the first word.
pub(super) fn second_word(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let candidate = &text[start..end];
    let word = candidate.find(|c: char| !c.is_ascii_alphabetic())?;
    let rest = candidate[word..].trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '='));
    Some((end - rest.len(), end))
}

/// Base64 behind `Basic`; an English word there has neither digits nor padding nor capitals within.
pub(super) fn basic(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let found = second_word(text, start, end)?;
    let token = &text[found.0..found.1];
    let odd = |c: char| c.is_ascii_digit() || c == '=' || c == '+' || c == '/';
    let is_base64 = token.contains(odd) || token.chars().skip(1).any(|c| c.is_ascii_uppercase());
    is_base64.then_some(found)
}

/// A card's number has a check digit, and is written whole or in the groups that stand on cards. The candidate may go on
/// with digits that are not its own.
pub(super) fn card(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    stands_alone(text, start)?;
    let is_grouped = |groups: &[usize]| match groups {
        [_] | [8, 8] | [4, 6, 4 | 5] => true,
        [fours @ .., last] => *last <= 4 && fours.iter().all(|&group| group == 4),
        [] => false,
    };
    let is_card = |digits: &[u8], groups: &[usize]| {
        CARD_DIGITS.contains(&digits.len()) && is_grouped(groups) && luhn(digits)
    };
    Number::read(text, start, end).longest(is_card).map(|to| (start, to))
}

/// `+` and 8 digits or more: where the number ends and other digits follow, nobody can tell. The sign of an exponent is
/// none.
pub(super) fn international_phone(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let mut before = text[..start].chars().rev();
    let is_exponent =
        matches!(before.next(), Some('e' | 'E')) && before.next().is_some_and(|c| c.is_ascii_digit());
    if is_exponent {
        return None;
    }
    Number::read(text, start, end).longest(|digits, _| digits.len() >= 8).map(|to| (start, to))
}

/// A number dialled from within Japan: `0` and 9 digits, 10 for mobile and other special ones; or an international one
/// behind `00` or `010`.
pub(super) fn japanese_phone(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    stands_alone(text, start)?;
    let is_phone = |digits: &[u8], _: &[usize]| match digits {
        [0, 1, 0, ..] if digits.len() >= 12 => true,
        [0, 0, 1..=9, ..] => digits.len() >= 11,
        [0, 0, ..] => false,
        [0, 5..=9, 0, ..] => matches!(digits.len(), 10 | 11),
        [0, 1..=9, ..] => digits.len() == 10,
        _ => false,
    };
    Number::read(text, start, end).longest(is_phone).map(|to| (start, to))
}

pub(super) fn by_itself(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    stands_alone(text, start).map(|()| (start, end))
}

/// Four numbers up to 255. Loopback and "any address" tell nothing about anybody.
pub(super) fn ipv4(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let before = text[..start].chars().next_back();
    let mut after = text[end..].chars();
    let goes_on = match after.next() {
        Some('.') => after.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => c.is_ascii_digit(),
        None => false,
    };
    if goes_on || before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.') {
        return None;
    }
    let mut parts = [0u8; 4];
    for (part, written) in parts.iter_mut().zip(text[start..end].split('.')) {
        *part = written.parse().ok()?;
    }
    let address = Ipv4Addr::from(parts);
    (!address.is_loopback() && !address.is_unspecified()).then_some((start, end))
}

pub(super) fn ipv6(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let candidate = text[start..end].trim_end_matches('.');
    // `2001:db8::1: refused` ends in a colon that is not the address's.
    let candidate = if candidate.ends_with("::") { candidate } else { candidate.trim_end_matches(':') };
    let end = start + candidate.len();
    if text[..start].chars().next_back().is_some_and(is_word)
        || text[end..].chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        return None;
    }
    let address: Ipv6Addr = candidate.parse().ok()?;
    (!address.is_loopback() && !address.is_unspecified()).then_some((start, end))
}

/// Nothing if the digits are a part of something longer: a word, a fraction, a UUID.
fn stands_alone(text: &str, start: usize) -> Option<()> {
    let mut before = text[..start].chars().rev();
    let (last, last_but_one) = (before.next(), before.next());
    let is_fraction = last == Some('.') && last_but_one.is_some_and(|c| c.is_ascii_digit());
    let is_within = last.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || is_wide_digit(c));
    if is_fraction || is_within || is_in_uuid(text, start) { None } else { Some(()) }
}

/// Whether the candidate begins in a UUID, whose digits may be any.
fn is_in_uuid(text: &str, start: usize) -> bool {
    const BYTES: usize = 36;
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let (before, behind) = text.as_bytes().split_at(start);
    // One more than it has: what goes on longer is none, and nobody looks how long it is.
    let before = before.iter().rev().take(BYTES).take_while(is_part).count();
    let behind = behind.iter().take(BYTES + 1).take_while(is_part).count();
    before + behind == BYTES && uuid::Uuid::try_parse(&text[start - before..start + behind]).is_ok()
}

fn is_wide_digit(c: char) -> bool {
    ('０'..='９').contains(&c)
}

/// Value of a digit, full-width or not.
fn digit(c: char) -> Option<u8> {
    match c {
        '0'..='9' => Some(c as u8 - b'0'),
        '０'..='９' => u8::try_from(u32::from(c) - u32::from('０')).ok(),
        _ => None,
    }
}

/// Digits in groups.
struct Number {
    digits: Vec<u8>,
    /// Each place where a group ends, with how many digits stand up to there.
    ends: Vec<(usize, usize)>,
}

impl Number {
    fn read(text: &str, start: usize, end: usize) -> Self {
        let mut number = Self { digits: Vec::new(), ends: Vec::new() };
        for (at, c) in text[start..end].char_indices() {
            let Some(value) = digit(c) else { continue };
            number.digits.push(value);
            let after = start + at + c.len_utf8();
            let goes_on = |c: char| is_wide_digit(c) || c.is_ascii_alphanumeric() || c == '_';
            if !text[after..].chars().next().is_some_and(goes_on) {
                number.ends.push((after, number.digits.len()));
            }
        }
        number
    }

    /// The end of the longest row of whole groups that is right, by its digits and how many stand in each group.
    fn longest(&self, is_right: impl Fn(&[u8], &[usize]) -> bool) -> Option<usize> {
        let before = std::iter::once(0).chain(self.ends.iter().map(|(_, count)| *count));
        let groups: Vec<_> =
            self.ends.iter().zip(before).map(|((_, count), before)| count - before).collect();
        let is_right = |row: usize| is_right(&self.digits[..self.ends[row].1], &groups[..=row]);
        (0..self.ends.len()).rev().find(|&row| is_right(row)).map(|row| self.ends[row].0)
    }
}

/// The check of a card's last digit.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| {
            let digit = u32::from(digit);
            if place % 2 == 0 {
                digit
            } else if digit > 4 {
                digit * 2 - 9
            } else {
                digit * 2
            }
        })
        .sum();
    sum.is_multiple_of(10)
}
