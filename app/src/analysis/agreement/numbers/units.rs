//! Units, months and the words for numbers: closed lists of English and Japanese, folded as the text is.

use super::{Currency, Dimension};

/// Spelling, dimension, size in the dimension's base unit.
pub(super) type Unit = (&'static str, Dimension, f64);

/// Units as they follow a number. A spelling that begins another stands behind it.
pub(super) static UNITS: &[Unit] = &[
    ("milliseconds", Dimension::Time, 1e-3),
    ("millisecond", Dimension::Time, 1e-3),
    ("ミリ秒", Dimension::Time, 1e-3),
    ("ms", Dimension::Time, 1e-3),
    ("microseconds", Dimension::Time, 1e-6),
    ("μs", Dimension::Time, 1e-6),
    ("seconds", Dimension::Time, 1.0),
    ("second", Dimension::Time, 1.0),
    ("secs", Dimension::Time, 1.0),
    ("sec", Dimension::Time, 1.0),
    ("秒", Dimension::Time, 1.0),
    ("minutes", Dimension::Time, 60.0),
    ("minute", Dimension::Time, 60.0),
    ("mins", Dimension::Time, 60.0),
    ("min", Dimension::Time, 60.0),
    ("分間", Dimension::Time, 60.0),
    ("分", Dimension::Time, 60.0),
    ("hours", Dimension::Time, 3_600.0),
    ("hour", Dimension::Time, 3_600.0),
    ("hrs", Dimension::Time, 3_600.0),
    ("時間", Dimension::Time, 3_600.0),
    ("days", Dimension::Time, 86_400.0),
    ("day", Dimension::Time, 86_400.0),
    ("日間", Dimension::Time, 86_400.0),
    ("日", Dimension::Time, 86_400.0),
    ("weeks", Dimension::Time, 604_800.0),
    ("week", Dimension::Time, 604_800.0),
    ("週間", Dimension::Time, 604_800.0),
    ("週", Dimension::Time, 604_800.0),
    ("months", Dimension::Time, MONTH),
    ("month", Dimension::Time, MONTH),
    ("か月", Dimension::Time, MONTH),
    ("ヶ月", Dimension::Time, MONTH),
    ("カ月", Dimension::Time, MONTH),
    ("ヵ月", Dimension::Time, MONTH),
    ("箇月", Dimension::Time, MONTH),
    ("years", Dimension::Time, 12.0 * MONTH),
    ("year", Dimension::Time, 12.0 * MONTH),
    ("年間", Dimension::Time, 12.0 * MONTH),
    ("歳", Dimension::Time, 12.0 * MONTH),
    ("年", Dimension::Time, 12.0 * MONTH),
    ("percent", Dimension::Percent, 1.0),
    ("per cent", Dimension::Percent, 1.0),
    ("パーセント", Dimension::Percent, 1.0),
    ("%", Dimension::Percent, 1.0),
    ("割", Dimension::Percent, 10.0),
    ("dollars", Dimension::Money(Currency::Dollar), 1.0),
    ("dollar", Dimension::Money(Currency::Dollar), 1.0),
    ("usd", Dimension::Money(Currency::Dollar), 1.0),
    ("米ドル", Dimension::Money(Currency::Dollar), 1.0),
    ("ドル", Dimension::Money(Currency::Dollar), 1.0),
    ("euros", Dimension::Money(Currency::Euro), 1.0),
    ("euro", Dimension::Money(Currency::Euro), 1.0),
    ("eur", Dimension::Money(Currency::Euro), 1.0),
    ("€", Dimension::Money(Currency::Euro), 1.0),
    ("ユーロ", Dimension::Money(Currency::Euro), 1.0),
    ("pounds", Dimension::Money(Currency::Pound), 1.0),
    ("gbp", Dimension::Money(Currency::Pound), 1.0),
    ("yen", Dimension::Money(Currency::Yen), 1.0),
    ("jpy", Dimension::Money(Currency::Yen), 1.0),
    ("円", Dimension::Money(Currency::Yen), 1.0),
    ("milligrams", Dimension::Mass, 1e-3),
    ("ミリグラム", Dimension::Mass, 1e-3),
    ("mg", Dimension::Mass, 1e-3),
    ("kilograms", Dimension::Mass, 1e3),
    ("kilogram", Dimension::Mass, 1e3),
    ("キログラム", Dimension::Mass, 1e3),
    ("kg", Dimension::Mass, 1e3),
    ("tonnes", Dimension::Mass, 1e6),
    ("tons", Dimension::Mass, 1e6),
    ("トン", Dimension::Mass, 1e6),
    ("grams", Dimension::Mass, 1.0),
    ("gram", Dimension::Mass, 1.0),
    ("グラム", Dimension::Mass, 1.0),
    ("km/h", Dimension::Speed, 1e3 / 3_600.0),
    ("kilometres per hour", Dimension::Speed, 1e3 / 3_600.0),
    ("kilometers per hour", Dimension::Speed, 1e3 / 3_600.0),
    ("km/s", Dimension::Speed, 1e3),
    ("km per second", Dimension::Speed, 1e3),
    ("kilometres per second", Dimension::Speed, 1e3),
    ("kilometers per second", Dimension::Speed, 1e3),
    ("metres per second", Dimension::Speed, 1.0),
    ("meters per second", Dimension::Speed, 1.0),
    ("m/s", Dimension::Speed, 1.0),
    ("millimetres", Dimension::Length, 1e-3),
    ("millimeters", Dimension::Length, 1e-3),
    ("ミリメートル", Dimension::Length, 1e-3),
    ("mm", Dimension::Length, 1e-3),
    ("centimetres", Dimension::Length, 1e-2),
    ("centimeters", Dimension::Length, 1e-2),
    ("センチメートル", Dimension::Length, 1e-2),
    ("センチ", Dimension::Length, 1e-2),
    ("cm", Dimension::Length, 1e-2),
    ("kilometres", Dimension::Length, 1e3),
    ("kilometers", Dimension::Length, 1e3),
    ("キロメートル", Dimension::Length, 1e3),
    ("キロ", Dimension::Length, 1e3),
    ("km", Dimension::Length, 1e3),
    ("metres", Dimension::Length, 1.0),
    ("metre", Dimension::Length, 1.0),
    ("meters", Dimension::Length, 1.0),
    ("meter", Dimension::Length, 1.0),
    ("メートル", Dimension::Length, 1.0),
    ("miles", Dimension::Length, 1_609.344),
    ("feet", Dimension::Length, 0.3048),
    ("inches", Dimension::Length, 0.0254),
    ("kib", Dimension::Bytes, 1_024.0),
    ("mib", Dimension::Bytes, 1_048_576.0),
    ("gib", Dimension::Bytes, 1_073_741_824.0),
    ("kilobytes", Dimension::Bytes, 1e3),
    ("megabytes", Dimension::Bytes, 1e6),
    ("gigabytes", Dimension::Bytes, 1e9),
    ("キロバイト", Dimension::Bytes, 1e3),
    ("メガバイト", Dimension::Bytes, 1e6),
    ("ギガバイト", Dimension::Bytes, 1e9),
    ("kb", Dimension::Bytes, 1e3),
    ("mb", Dimension::Bytes, 1e6),
    ("gb", Dimension::Bytes, 1e9),
    ("tb", Dimension::Bytes, 1e12),
    ("bytes", Dimension::Bytes, 1.0),
    ("バイト", Dimension::Bytes, 1.0),
    ("degrees celsius", Dimension::Temperature, 1.0),
    ("degrees", Dimension::Temperature, 1.0),
    ("°c", Dimension::Temperature, 1.0),
    ("度", Dimension::Temperature, 1.0),
    ("m", Dimension::Length, 1.0),
    ("g", Dimension::Mass, 1.0),
    ("h", Dimension::Time, 3_600.0),
    ("s", Dimension::Time, 1.0),
];

/// A month's seconds, so that thirty days are one.
const MONTH: f64 = 30.0 * 86_400.0;

/// Signs that stand before an amount.
pub(super) const CURRENCY_SIGNS: &[(char, Currency)] =
    &[('$', Currency::Dollar), ('€', Currency::Euro), ('£', Currency::Pound), ('¥', Currency::Yen)];

/// Degrees Fahrenheit, which begin elsewhere than at zero.
pub(super) const FAHRENHEIT: &[&str] = &["degrees fahrenheit", "°f"];

/// What follows a number that is written in Chinese characters and has no unit above.
pub(super) const COUNTERS: &[&str] = &[
    "番", "代", "人", "個", "回", "台", "倍", "本", "枚", "件", "号", "位", "つの", "杯", "階", "世紀", "万",
    "行",
];

/// Months by name, and short.
pub(super) const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Words for numbers that are added up.
pub(super) const NUMBER_WORDS: &[(&str, f64)] = &[
    ("zero", 0.0),
    ("two", 2.0),
    ("three", 3.0),
    ("four", 4.0),
    ("five", 5.0),
    ("six", 6.0),
    ("seven", 7.0),
    ("eight", 8.0),
    ("nine", 9.0),
    ("ten", 10.0),
    ("eleven", 11.0),
    ("twelve", 12.0),
    ("thirteen", 13.0),
    ("fourteen", 14.0),
    ("fifteen", 15.0),
    ("sixteen", 16.0),
    ("seventeen", 17.0),
    ("eighteen", 18.0),
    ("nineteen", 19.0),
    ("twenty", 20.0),
    ("thirty", 30.0),
    ("forty", 40.0),
    ("fifty", 50.0),
    ("sixty", 60.0),
    ("seventy", 70.0),
    ("eighty", 80.0),
    ("ninety", 90.0),
];

/// Words that multiply what stands before them.
pub(super) const MULTIPLIERS: &[(&str, f64)] =
    &[("hundred", 100.0), ("thousand", 1e3), ("million", 1e6), ("billion", 1e9)];

/// Digits in Chinese characters.
pub(super) fn digit(c: char) -> Option<f64> {
    Some(match c {
        '〇' => 0.0,
        '一' => 1.0,
        '二' => 2.0,
        '三' => 3.0,
        '四' => 4.0,
        '五' => 5.0,
        '六' => 6.0,
        '七' => 7.0,
        '八' => 8.0,
        '九' => 9.0,
        _ => return None,
    })
}

/// Powers of ten in Chinese characters, within a myriad and beyond.
pub(super) fn power(c: char) -> Option<f64> {
    Some(match c {
        '十' => 1e1,
        '百' => 1e2,
        '千' => 1e3,
        '万' => 1e4,
        '億' => 1e8,
        '兆' => 1e12,
        _ => return None,
    })
}
