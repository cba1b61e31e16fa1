//! Finds the quantities of a folded sentence: numerals, units, then what belongs together (ranges, "2 h 15 min", dates).

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::super::text::hash;
use super::beginning::{letters, next_beginning};
use super::dates::{iso_date, month_name};
use super::units::{
    COUNTERS, CURRENCY_SIGNS, FAHRENHEIT, MULTIPLIERS, NUMBER_WORDS, UNITS, Unit, digit, power,
};
use super::{Currency, Dimension, Found, Quantity};

/// A sentence holds no more of them; what goes on longer is a table.
const MOST_QUANTITIES: usize = 24;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// Every quantity of folded sentences, in order.
pub(in super::super) fn quantities(sentences: &[String]) -> Vec<Quantity> {
    let of = |(index, sentence): (usize, &String)| in_sentence(sentence, index);
    sentences.iter().enumerate().flat_map(of).collect()
}

/// A numeral without its unit.
struct Numeral {
    value: f64,
    grain: f64,
    bytes: usize,
    /// Written in words or Chinese characters that may be no number at all when nothing is counted.
    needs_unit: bool,
}

fn in_sentence(sentence: &str, index: usize) -> Vec<Quantity> {
    let mut found: Vec<Found> = Vec::new();
    let mut at = next_beginning(sentence, 0);
    while at < sentence.len() && found.len() < MOST_QUANTITIES {
        let (before, rest) = sentence.split_at(at);
        if let Some(date) = iso_date(before, rest, index) {
            at += "1989-11-09".len();
            found.extend(date);
        } else if let Some(one) = dotted(before, rest, index)
            .or_else(|| month_name(before, rest, index))
            .or_else(|| quantity(before, rest, index))
        {
            at = one.end;
            join(&mut found, one, sentence);
        } else {
            // None begins within a word.
            at += letters(rest).max(rest.chars().next().map_or(1, char::len_utf8));
        }
        at = next_beginning(sentence, at);
    }
    found.into_iter().map(|found| found.quantity).collect()
}

/// Puts a quantity behind the others, or together with the last.
fn join(found: &mut Vec<Found>, mut next: Found, sentence: &str) {
    let Some(last) = found.last_mut() else { return found.push(next) };
    // A sign may stand for the number before and the one behind it: 5€10.
    let between = sentence[last.end..next.start.max(last.end)].trim();
    let (one, other) = (&mut last.quantity, &mut next.quantity);
    let is_range = matches!(between, "to" | "-" | "–" | "—" | "~" | "〜" | "から")
        || (between == "and" && sentence[..last.start].trim_end().ends_with("between"))
        || (between == "、"
            && one.dimension == Dimension::Plain
            && other.dimension != Dimension::Plain
            && one.low < 10.0);
    if is_range && matches!(one.dimension, Dimension::Money(_)) && other.dimension == Dimension::Plain {
        // The sign of "$4-5" stands for both.
        other.dimension = one.dimension;
    }
    if is_range
        && one.low < other.high
        && (one.dimension == other.dimension || one.dimension == Dimension::Plain)
    {
        let scale =
            if one.dimension == other.dimension { 1.0 } else { next_scale(sentence, last.start, next.end) };
        let low = one.low * scale;
        *one = Quantity { low: if low < other.high { low } else { other.low }, ..*other };
        last.end = next.end;
        return;
    }
    let is_rest =
        one.dimension == Dimension::Time && other.dimension == Dimension::Time && other.high < one.grain;
    if is_rest && matches!(between, "" | "and") {
        one.low += other.low;
        one.high += other.high;
        one.grain = other.grain;
        last.end = next.end;
        return;
    }
    if matches!(between, "" | "," | "of" | "the") {
        // "November 9", "11月9日": the number behind a month is a day.
        if one.dimension == Dimension::Month
            && sentence[..next.end].ends_with('日')
            && other.dimension == Dimension::Time
        {
            let day = (other.low / DAY).round();
            *other = Quantity { dimension: Dimension::Day, low: day, high: day, grain: 1.0, ..*other };
        } else if one.dimension == Dimension::Month
            && other.dimension == Dimension::Plain
            && (1.0..=31.0).contains(&other.low)
        {
            other.dimension = Dimension::Day;
        }
        // "9 November": the number before a month is a day.
        let is_day = other.dimension == Dimension::Month && one.dimension == Dimension::Plain;
        if is_day && (1.0..=31.0).contains(&one.low) {
            one.dimension = Dimension::Day;
        }
    }
    found.push(next);
}

/// What the unit of a range makes of its first number: "4 to 5 hours" begins at four hours.
fn next_scale(sentence: &str, start: usize, end: usize) -> f64 {
    let text = &sentence[start..end];
    let unit = UNITS.iter().filter(|(unit, _, _)| text.ends_with(unit)).max_by_key(|(unit, _, _)| unit.len());
    unit.map_or(1.0, |(_, _, size)| *size)
}

/// A numeral with its unit at the beginning of `rest`.
fn quantity(before: &str, rest: &str, sentence: usize) -> Option<Found> {
    let numeral =
        digits(before, rest).or_else(|| ideographs(before, rest)).or_else(|| words(before, rest))?;
    let tail = &rest[numeral.bytes..];
    let mut value = numeral.value;
    let mut grain = numeral.grain;
    let (mut dimension, size, unit_bytes) = unit(before, tail, value);
    if numeral.needs_unit && dimension == Dimension::Plain && unit_bytes == 0 {
        return None;
    }
    let mut end = before.len() + numeral.bytes + unit_bytes;
    if tail[..unit_bytes].ends_with('半')
        || (dimension == Dimension::Time && rest[numeral.bytes + unit_bytes..].starts_with('半'))
    {
        value += 0.5;
        grain = 0.5;
        end = before.len() + numeral.bytes + unit_bytes + "半".len();
    }
    if dimension == Dimension::Plain
        && (1_000.0..2_100.0).contains(&value)
        && value.fract() == 0.0
        && looks_like_year(rest)
    {
        dimension = Dimension::Year;
    }
    if dimension == Dimension::Plain && rest.bytes().take(numeral.bytes).all(|byte| byte.is_ascii_digit()) {
        // Digits alone are a port or a status: one that ends in zeros is no rounding.
        grain = 1.0;
    }
    if before.trim_end().ends_with("minus") {
        value = -value;
    }
    let fahrenheit = FAHRENHEIT.iter().any(|name| tail.trim_start().starts_with(name));
    let value = if fahrenheit { (value - 32.0) / 1.8 } else { value * size };
    let quantity = Quantity { dimension, low: value, high: value, grain: grain * size, sentence };
    Some(Found {
        quantity,
        start: before.len() - currency_sign(before).map_or(0, |(sign, _)| sign.len_utf8()),
        end,
    })
}

/// `10.0.0.1`, `3.12.4`: digits with at least two dots between them, as one name. What is behind a slash (`/8`) is none of it.
fn dotted(before: &str, rest: &str, sentence: usize) -> Option<Found> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let release = before.strip_suffix('v').unwrap_or(before);
    if !rest.starts_with(|c: char| c.is_ascii_digit()) || release.ends_with(is_part) {
        return None;
    }
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
    let name = rest[..end].trim_end_matches('.');
    if name.matches('.').count() < 2 || name.contains("..") {
        return None;
    }
    // Only told apart: as many bits of the hash as a float holds.
    let value = (hash(name) >> 11) as f64;
    let quantity = Quantity { dimension: Dimension::Dotted, low: value, high: value, grain: 1.0, sentence };
    Some(Found { quantity, start: before.len(), end: before.len() + name.len() })
}

/// Four digits and nothing else: no thousands separator, no fraction, no multiplier.
fn looks_like_year(rest: &str) -> bool {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let after = &rest[digits.min(rest.len())..];
    (digits == 4 || digits == 0) && !after.starts_with(|c: char| c.is_ascii_digit() || c == '番')
}

/// Digits: `1,234.5`, `-3`, `1 1/2`, `30万`. Not those of a name such as `utf-8` or `md5`.
fn digits(before: &str, rest: &str) -> Option<Numeral> {
    if !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut previous = before.chars().rev();
    let (last, second) = (previous.next(), previous.next());
    let is_name = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '/');
    if is_name(last)
        || (last == Some('-') && is_name(second))
        || last == Some('.')
        || last.is_some_and(|c| c.is_ascii_digit())
    {
        return None;
    }
    let bytes = rest.as_bytes();
    let (mut end, mut fraction_digits, mut in_fraction) = (0, 0_i32, false);
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    while end < bytes.len().min(40) {
        match bytes[end] {
            b'0'..=b'9' => fraction_digits += i32::from(in_fraction),
            b',' if !in_fraction && (1..=3).all(|ahead| is_digit(end + ahead)) && !is_digit(end + 4) => {}
            b'.' if !in_fraction && is_digit(end + 1) => in_fraction = true,
            _ => break,
        }
        end += 1;
    }
    // A name that begins with digits (`3d`, `2fa`) falls to the unit, which it does not have; a hexadecimal is no number.
    if rest[end..].starts_with(['x', '_']) {
        return None;
    }
    let written: String = rest[..end].chars().filter(|c| *c != ',').collect();
    let mut value: f64 = written.parse().ok()?;
    let mut grain = 10_f64.powi(-fraction_digits);
    if fraction_digits == 0 && value > 0.0 {
        while value % (grain * 10.0) == 0.0 {
            grain *= 10.0;
        }
    }
    for ordinal in ["st", "nd", "rd", "th"] {
        if rest[end..].starts_with(ordinal) && !rest[end + 2..].starts_with(char::is_alphabetic) {
            end += 2;
            break;
        }
    }
    let tail = rest[end..].strip_prefix(' ').unwrap_or(&rest[end..]);
    for (half, part) in [("1⁄2", 0.5), ("1/2", 0.5), ("1⁄4", 0.25), ("3⁄4", 0.75)] {
        if tail.starts_with(half) {
            (value, grain) = (value + part, part);
            end = rest.len() - tail.len() + half.len();
        }
    }
    let mut powers = rest[end..].chars();
    while let Some(factor) = powers.next().and_then(power) {
        (value, grain) = (value * factor, grain * factor);
        end += "万".len();
    }
    let tail = rest[end..].trim_start();
    if let Some((word, factor)) = MULTIPLIERS.iter().find(|(word, _)| starts_with_word(tail, word)) {
        (value, grain) = (value * factor, grain * factor);
        end = rest.len() - tail.len() + word.len();
    }
    if matches!(last, Some('-' | '−')) && second.is_none_or(|c| !c.is_alphanumeric()) {
        value = -value;
    }
    Some(Numeral { value, grain, bytes: end, needs_unit: false })
}

/// A numeral in Chinese characters: 三千七百七十六, 一六〇三. It counts as one only where a unit follows.
fn ideographs(before: &str, rest: &str) -> Option<Numeral> {
    let is_numeral = |c: char| digit(c).is_some() || power(c).is_some();
    if rest.starts_with('半') {
        let value = Numeral { value: 0.5, grain: 0.5, bytes: "半".len(), needs_unit: true };
        let counts = ["年", "日", "月"].iter().any(|unit| rest["半".len()..].starts_with(unit));
        return (counts && !before.ends_with(is_numeral)).then_some(value);
    }
    let run: Vec<char> = rest.chars().take_while(|c| is_numeral(*c)).take(16).collect();
    if run.is_empty() || before.ends_with(is_numeral) || (run.len() == 1 && "万億兆百千".contains(run[0]))
    {
        return None;
    }
    let bytes = run.iter().map(|c| c.len_utf8()).sum();
    let after = &rest[bytes..];
    // 十分 means "enough" far more often than ten minutes, 一分 is rare, 一度 is "once", 一日中 "all day".
    if (run == ['十'] && after.starts_with('分') && !after.starts_with("分間"))
        || (run == ['一'] && after.starts_with('度'))
    {
        return None;
    }
    let value = if run.iter().all(|c| digit(*c).is_some()) {
        run.iter().filter_map(|c| digit(*c)).fold(0.0, |value, digit| value * 10.0 + digit)
    } else {
        grouped(&run)
    };
    let is_next_of_pair =
        after.starts_with('、') && after["、".len()..].starts_with(is_numeral) && run != ['一'];
    let counted = COUNTERS.iter().any(|counter| after.starts_with(counter)) && run != ['一'];
    Some(Numeral {
        value,
        grain: grain_of(value),
        bytes,
        needs_unit: !(counted || is_next_of_pair || run.len() >= 3),
    })
}

/// 二十九万九千七百: myriads of groups of digits and powers.
fn grouped(run: &[char]) -> f64 {
    let (mut total, mut group, mut last) = (0.0, 0.0, 0.0);
    for &c in run {
        match (digit(c), power(c)) {
            (Some(value), _) => last = last * 10.0 + value,
            (_, Some(power)) if power < 1e4 => {
                group += if last > 0.0 { last } else { 1.0 } * power;
                last = 0.0;
            }
            (_, Some(power)) => {
                total += (group + last).max(1.0) * power;
                (group, last) = (0.0, 0.0);
            }
            _ => {}
        }
    }
    total + group + last
}

fn grain_of(value: f64) -> f64 {
    let mut grain = 1.0;
    while value > 0.0 && value % (grain * 10.0) == 0.0 {
        grain *= 10.0;
    }
    grain
}

/// A number in English words: "three hundred thousand", "four and a half", "half an hour", "a quarter of an hour".
fn words(before: &str, rest: &str) -> Option<Numeral> {
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '\'')
        || !rest.starts_with(|c: char| c.is_ascii_lowercase())
    {
        return None;
    }
    for (phrase, value) in [
        ("half an ", 0.5),
        ("half a ", 0.5),
        ("a quarter of an ", 0.25),
        ("a ", 1.0),
        ("an ", 1.0),
        ("one ", 1.0),
    ] {
        if let Some(after) = rest.strip_prefix(phrase) {
            let (value, more) = match after.strip_prefix("and a half ") {
                Some(_) => (value + 0.5, "and a half ".len()),
                None => (value, 0),
            };
            let after = &after[more..];
            if let Some((word, factor)) = MULTIPLIERS.iter().find(|(word, _)| starts_with_word(after, word)) {
                let bytes = phrase.len() + more + word.len();
                return Some(Numeral {
                    value: value * factor,
                    grain: value * factor,
                    bytes,
                    needs_unit: false,
                });
            }
            return Some(Numeral { value, grain: value, bytes: phrase.len() + more - 1, needs_unit: true });
        }
    }
    let (mut value, mut last, mut end) = (0.0, 0.0, 0);
    loop {
        let tail = rest[end..].trim_start_matches([' ', '-']);
        let start = rest.len() - tail.len();
        if let Some((word, number)) = NUMBER_WORDS.iter().find(|(word, _)| starts_with_word(tail, word)) {
            last += number;
            end = start + word.len();
        } else if let Some((word, factor)) =
            MULTIPLIERS.iter().find(|(word, _)| end > 0 && starts_with_word(tail, word))
        {
            last *= factor;
            if *factor > 100.0 {
                value += last;
                last = 0.0;
            }
            end = start + word.len();
        } else {
            break;
        }
    }
    if end == 0 {
        return None;
    }
    value += last;
    let mut grain = grain_of(value);
    if rest[end..].starts_with(" and a half") {
        (value, grain) = (value + 0.5, 0.5);
        end += " and a half".len();
    }
    Some(Numeral { value, grain, bytes: end, needs_unit: false })
}

/// The units that begin with a character, in their order.
static UNITS_BY_FIRST: LazyLock<FxHashMap<char, Vec<&Unit>>> = LazyLock::new(|| {
    let mut by_first: FxHashMap<char, Vec<&Unit>> = FxHashMap::default();
    for unit in UNITS {
        by_first.entry(unit.0.chars().next().unwrap_or_default()).or_default().push(unit);
    }
    by_first
});

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// The currency's sign that `before` ends with.
fn currency_sign(before: &str) -> Option<(char, Currency)> {
    CURRENCY_SIGNS.iter().find(|(sign, _)| before.ends_with(*sign)).copied()
}

/// Dimension and size of the unit that follows (or a currency's sign before), and its bytes.
fn unit(before: &str, tail: &str, value: f64) -> (Dimension, f64, usize) {
    if let Some((_, currency)) = currency_sign(before) {
        return (Dimension::Money(currency), 1.0, 0);
    }
    let text = tail.trim_start_matches([' ', '-']);
    let skipped = tail.len() - text.len();
    if let Some(name) = FAHRENHEIT.iter().find(|name| text.starts_with(**name)) {
        return (Dimension::Temperature, 1.0 / 1.8, skipped + name.len());
    }
    if text.starts_with('月') && (1.0..=12.0).contains(&value) {
        return (Dimension::Month, 1.0, skipped + "月".len());
    }
    if text.starts_with('年') && !text.starts_with("年間") && value >= 1_000.0 {
        return (Dimension::Year, 1.0, skipped + "年".len());
    }
    let follows = |unit: &&Unit| {
        text.strip_prefix(unit.0)
            .is_some_and(|rest| !unit.0.is_ascii() || !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let first = text.chars().next().unwrap_or_default();
    match UNITS_BY_FIRST.get(&first).into_iter().flatten().copied().find(follows) {
        // "the 1960s".
        Some(("s", _, _)) if value >= 1_000.0 => (Dimension::Year, 1.0, 1),
        Some((unit, dimension, size)) => {
            let is_speed = *dimension == Dimension::Length
                && ["秒速", "毎秒"].iter().any(|word| before.trim_end_matches("約").ends_with(word));
            (if is_speed { Dimension::Speed } else { *dimension }, *size, skipped + unit.len())
        }
        None => (Dimension::Plain, 1.0, 0),
    }
}
