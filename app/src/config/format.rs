//! How values are written: one [`Format`] for each kind, with what it expects in words.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use techsapo_redis_route::Route;
use techsapo_shared::event::{MAX_COST_NANOUSD, MAX_LABEL_BYTES, WHOLE_PPM};

use crate::clock;
use crate::guard::address::Network;
use crate::guard::host::Host;

/// How a value is written, and how to read it.
pub struct Format<T> {
    /// What a right value looks like, to follow "expected".
    pub expected: &'static str,
    /// Whether it is a list: an array in the file, separated by commas in the environment.
    pub list: bool,
    parse: fn(&str) -> Option<T>,
}

impl<T> Format<T> {
    const fn new(expected: &'static str, parse: fn(&str) -> Option<T>) -> Self {
        Self { expected, list: false, parse }
    }

    const fn list(expected: &'static str, parse: fn(&str) -> Option<T>) -> Self {
        Self { expected, list: true, parse }
    }

    /// The value written as `text`, if it is one.
    pub fn parse(&self, text: &str) -> Option<T> {
        (self.parse)(text.trim())
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person's eyes.
    Text,
}

/// When simulated providers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimulatedMix {
    /// When no real one has a key.
    Auto,
    /// After the real ones.
    Always,
    /// Never.
    Never,
}

/// How far a group of rules for prompts goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Nothing is looked for.
    Off,
    /// What is found is counted, and nothing else.
    Flag,
    /// What is found is dealt with as its rule says.
    On,
}

/// To whom an answer is given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// The same user of the same API key.
    User,
    /// The same API key; whoever is anonymous is one.
    Caller,
    /// Whoever asks the same.
    Everyone,
}

/// When answers are merged into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynthesisWhen {
    /// Never.
    Never,
    /// When the request asks for it.
    Asked,
    /// Unless the request says no.
    Always,
}

/// How the app is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsListen {
    /// In clear.
    Off,
    /// With TLS.
    Server,
    /// With TLS, to callers that show a certificate.
    Mutual,
}

/// An address to listen on.
pub const ADDRESS: Format<SocketAddr> =
    Format::new("an IP address and a port, such as 127.0.0.1:4000", |text| {
        text.strip_prefix("localhost:")
            .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"))
            .parse()
            .ok()
    });
/// The instance's name, or nothing.
pub const INSTANCE: Format<Option<String>> = Format::new("a name of at most 200 bytes, or nothing", |text| {
    if text.is_empty() { Some(None) } else { name(text).map(Some) }
});
/// Any short name.
pub const NAME: Format<String> = Format::new("a name of 1 to 200 bytes", name);
/// Where Redis is.
pub const REDIS_URL: Format<Route> = Format::new(techsapo_redis_route::EXPECTED, |text| text.parse().ok());
/// Where another Redis is, or nothing.
pub const OTHER_REDIS_URL: Format<Option<Route>> =
    Format::new("an address as redis.url takes it, or nothing", |text| {
        if text.is_empty() { Some(None) } else { (REDIS_URL.parse)(text).map(Some) }
    });
/// Where a database of MySQL or MariaDB is, or nothing.
pub const MYSQL_URL: Format<Option<String>> = Format::new(
    "an address with a database, such as mysql://user:password@127.0.0.1/techsapo_audit, or nothing",
    |text| {
        if text.is_empty() {
            return Some(None);
        }
        let opts = mysql_async::Opts::from_url(text).ok()?;
        opts.db_name().is_some_and(|name| !name.is_empty()).then(|| Some(text.to_owned()))
    },
);
/// Where an HTTP server is.
pub const HTTP_URL: Format<String> =
    Format::new("an address such as http://127.0.0.1:10040 or https://exporter.internal:10040", |text| {
        let url = reqwest::Url::parse(text).ok()?;
        (["http", "https"].contains(&url.scheme()) && url.has_host())
            .then(|| text.trim_end_matches('/').to_owned())
    });
/// Where another HTTP server is, if there is one.
pub const OTHER_HTTP_URL: Format<Option<String>> =
    Format::new("an address such as http://127.0.0.1:9093, or nothing", |text| {
        if text.is_empty() { Some(None) } else { (HTTP_URL.parse)(text).map(Some) }
    });
/// Keys of streams.
pub const STREAMS: Format<Vec<String>> = Format::list("one or more different stream keys", |text| {
    let keys = items(text)?;
    let repeated = keys.iter().enumerate().any(|(index, key)| keys[..index].contains(key));
    (!repeated).then_some(keys)
});
/// Four models.
pub const MODELS: Format<[String; 4]> = Format::list("four models' names, all different", |text| {
    (STREAMS.parse)(text)?.into_iter().map(|model| name(&model)).collect::<Option<Vec<_>>>()?.try_into().ok()
});
/// Four prices, in nano-USD for a million tokens.
pub const PRICES: Format<[u64; 4]> = Format::list("four amounts in USD, such as 1.25", |text| {
    items(text)?.iter().map(|price| nano_usd(price)).collect::<Option<Vec<_>>>()?.try_into().ok()
});
/// Networks, or none.
pub const NETWORKS: Format<Vec<Network>> =
    Format::list("networks such as 10.0.0.0/8 or 2001:db8::/32, or nothing", |text| {
        if text.is_empty() {
            return Some(Vec::new());
        }
        items(text)?.iter().map(|item| Network::parse(item)).collect()
    });
/// Hosts, or none.
pub const HOSTS: Format<Vec<Host>> =
    Format::list("names or addresses without port, such as techsapo.example.com, or nothing", |text| {
        if text.is_empty() {
            return Some(Vec::new());
        }
        items(text)?.iter().map(|item| Host::parse(item)).collect()
    });
/// Ids of folders in Google Drive, or none.
pub const DRIVE_IDS: Format<Vec<String>> =
    Format::list("ids of folders (the last part of a folder's address), or nothing", |text| {
        if text.is_empty() {
            return Some(Vec::new());
        }
        let is_id = |id: &String| id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        (STREAMS.parse)(text).filter(|ids| ids.iter().all(is_id))
    });
/// A file or folder.
pub const PATH: Format<PathBuf> =
    Format::new("a path", |text| (!text.is_empty()).then(|| PathBuf::from(text)));
/// A size above zero, in bytes.
pub const BYTES: Format<u64> = Format::new("a size above zero, such as 65536, 512KiB or 64MiB", bytes);
/// A number of things, one at least.
pub const COUNT: Format<usize> = Format::new("a whole number from 1 to 1000000", |text| {
    text.parse().ok().filter(|count| (1..=1_000_000).contains(count))
});
/// Any whole number.
pub const NUMBER: Format<u64> = Format::new("a whole number", |text| text.parse().ok());
/// A time that may be zero.
pub const DURATION: Format<Duration> = Format::new("a time such as 250ms, 30s or 2m", duration);
/// A time above zero.
pub const TIMEOUT: Format<Duration> = Format::new("a time above zero, such as 250ms, 30s or 2m", |text| {
    duration(text).filter(|time| !time.is_zero())
});
/// A share, in millionths.
pub const FRACTION: Format<u32> = Format::new("a number from 0 to 1, such as 0.05", |text| {
    let ppm = decimal(text, 6)?;
    u32::try_from(ppm).ok().filter(|&ppm| ppm <= WHOLE_PPM)
});
/// An amount above zero, in nano-USD.
pub const USD: Format<u64> = Format::new("an amount above zero in USD, such as 2.33", |text| {
    nano_usd(text).filter(|&amount| amount > 0)
});
/// A time zone that the database compiled into the binary knows.
pub const TIME_ZONE: Format<TimeZone> =
    Format::new("the IANA name of a time zone, such as UTC or Asia/Tokyo", |text| {
        TimeZone::get(text).ok().filter(|zone| zone.iana_name().is_some())
    });
/// On or off.
pub const SWITCH: Format<bool> = Format::new("true or false", |text| text.parse().ok());
/// How far a group of rules goes.
pub const STRICTNESS: Format<Strictness> = Format::new("off, flag or on", |text| match text {
    "off" => Some(Strictness::Off),
    "flag" => Some(Strictness::Flag),
    "on" => Some(Strictness::On),
    _ => None,
});
/// How far cached answers are shared.
pub const CACHE_SCOPE: Format<CacheScope> = Format::new("user, caller or everyone", |text| match text {
    "user" => Some(CacheScope::User),
    "caller" => Some(CacheScope::Caller),
    "everyone" => Some(CacheScope::Everyone),
    _ => None,
});
/// When answers are merged.
pub const SYNTHESIS_WHEN: Format<SynthesisWhen> = Format::new("never, asked or always", |text| match text {
    "never" => Some(SynthesisWhen::Never),
    "asked" => Some(SynthesisWhen::Asked),
    "always" => Some(SynthesisWhen::Always),
    _ => None,
});
/// A log level.
pub const LOG_LEVEL: Format<tracing::Level> = Format::new("error, warn, info, debug or trace", |text| {
    // By name only: the parser behind it would also take numbers.
    ["error", "warn", "info", "debug", "trace"].contains(&text).then(|| text.parse().ok())?
});
/// A log format.
pub const LOG_FORMAT: Format<LogFormat> = Format::new("json or text", |text| match text {
    "json" => Some(LogFormat::Json),
    "text" => Some(LogFormat::Text),
    _ => None,
});

/// A file's path, or nothing.
pub const OPTIONAL_PATH: Format<Option<PathBuf>> =
    Format::new("a file's path, or nothing", |text| Some((!text.is_empty()).then(|| PathBuf::from(text))));
/// How the app is served.
pub const TLS_LISTEN: Format<TlsListen> = Format::new("off, server or mutual", |text| match text {
    "off" => Some(TlsListen::Off),
    "server" => Some(TlsListen::Server),
    "mutual" => Some(TlsListen::Mutual),
    _ => None,
});
/// When simulated providers are asked.
pub const SIMULATED_MIX: Format<SimulatedMix> = Format::new("auto, always or never", |text| match text {
    "auto" => Some(SimulatedMix::Auto),
    "always" => Some(SimulatedMix::Always),
    "never" => Some(SimulatedMix::Never),
    _ => None,
});
/// Where a vendor serves: over TLS, unless it is on this machine.
pub const BASE_URL: Format<String> = Format::new(
    "an address such as https://api.example.com/v1, without user, query or fragment; http only for 127.0.0.1, [::1] and localhost",
    |text| {
        let url = reqwest::Url::parse(text).ok()?;
        let loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        let scheme = url.scheme() == "https" || (url.scheme() == "http" && loopback);
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        (scheme && url.has_host() && plain).then(|| url.as_str().trim_end_matches('/').to_owned())
    },
);
/// A model's name: what can stand in an address and in a label.
pub const MODEL: Format<String> = Format::new("a model's name, such as gpt-5 or vendor/model-1", |text| {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/' | '@');
    name(text).filter(|name| name.chars().all(allowed) && !name.contains(".."))
});
/// A model's name, or nothing.
pub const OPTIONAL_MODEL: Format<Option<String>> = Format::new("a model's name, or nothing", |text| {
    if text.is_empty() { Some(None) } else { (MODEL.parse)(text).map(Some) }
});
/// Models in order of preference.
pub const PREFERENCE: Format<Vec<String>> = Format::list("one or more different models' names", |text| {
    (STREAMS.parse)(text)?.into_iter().map(|model| (MODEL.parse)(&model)).collect()
});
/// Attempts at one thing.
pub const ATTEMPTS: Format<u32> = Format::new("a whole number from 1 to 10", |text| {
    text.parse().ok().filter(|attempts| (1..=10).contains(attempts))
});
/// A number of tokens.
pub const TOKENS: Format<u64> = Format::new("a whole number of tokens, at most 10000000", |text| {
    text.parse().ok().filter(|&tokens| tokens <= 10_000_000)
});
/// Most tokens of an answer.
pub const OUTPUT_TOKENS: Format<u64> = Format::new("a whole number of tokens from 16 to 10000000", |text| {
    (TOKENS.parse)(text).filter(|&tokens| tokens >= 16)
});
/// A date, in Unix milliseconds of its first moment.
pub const DATE: Format<u64> = Format::new("a date such as 2026-01-31", clock::midnight_ms);
/// A price that may be zero, in nano-USD for a million tokens.
pub const PRICE: Format<u64> = Format::new("an amount in USD for a million tokens, such as 1.25", nano_usd);

fn name(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= MAX_LABEL_BYTES).then(|| text.to_owned())
}

fn items(text: &str) -> Option<Vec<String>> {
    text.split(',').map(|item| Some(item.trim()).filter(|item| !item.is_empty()).map(str::to_owned)).collect()
}

fn nano_usd(text: &str) -> Option<u64> {
    decimal(text, 9).filter(|&amount| amount <= MAX_COST_NANOUSD)
}

/// A number and its unit, as in `64MiB`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor).filter(|&size| size > 0)
}

/// At most a day: a longer time-out is a slip of the pen.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "" if number == 0 => 1,
        _ => return None,
    };
    let time = Duration::from_millis(number.checked_mul(milliseconds)?);
    (time <= Duration::from_secs(86_400)).then_some(time)
}

/// A decimal number as an integer of its `places`th place: `2.33` with 9 places is 2 330 000 000. No float is
/// involved, so that money stays exact; more places than that are refused.
fn decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || !digits(whole)
        || !digits(fraction)
        || fraction.len() > places
        || text.ends_with('.')
    {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_to_the_nano_dollar() {
        assert_eq!(USD.parse("2.33"), Some(2_330_000_000));
        assert_eq!(USD.parse("70"), Some(70_000_000_000));
        assert_eq!(USD.parse("0.000000001"), Some(1));
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "0", "0.0000000001", "99999999999", "NaN", "１"] {
            assert_eq!(USD.parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(BYTES.parse("64MiB"), Some(64 << 20));
        assert_eq!(BYTES.parse("1 MB"), Some(1_000_000));
        assert_eq!(BYTES.parse("0"), None);
        assert_eq!(BYTES.parse("64M"), None);
        assert_eq!(BYTES.parse("99999999999999999999"), None);
        assert_eq!(DURATION.parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(DURATION.parse("2m"), Some(Duration::from_secs(120)));
        assert_eq!(DURATION.parse("0"), Some(Duration::ZERO));
        assert_eq!(DURATION.parse("30"), None);
        assert_eq!(TIMEOUT.parse("0s"), None);
    }

    #[test]
    fn a_switch_is_on_or_off() {
        assert_eq!((SWITCH.parse("true"), SWITCH.parse(" false ")), (Some(true), Some(false)));
        for bad in ["", "yes", "0", "True", "off"] {
            assert_eq!(SWITCH.parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn shares_are_millionths() {
        assert_eq!(FRACTION.parse("0.05"), Some(50_000));
        assert_eq!(FRACTION.parse("1.0"), Some(WHOLE_PPM));
        assert_eq!(FRACTION.parse("1.01"), None);
        assert_eq!(FRACTION.parse("-0.1"), None);
    }

    #[test]
    fn a_time_zone_is_one_that_is_known() {
        for name in ["UTC", "Asia/Tokyo", "America/New_York"] {
            assert_eq!(TIME_ZONE.parse(name).unwrap().iana_name(), Some(name));
        }
        for bad in ["", "Mars/Olympus_Mons", "+09:00"] {
            assert_eq!(TIME_ZONE.parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_and_addresses() {
        assert_eq!(STREAMS.parse("a, b").unwrap(), ["a", "b"]);
        assert_eq!(STREAMS.parse("a,,b"), None);
        assert_eq!(STREAMS.parse("a,a"), None);
        assert_eq!(PRICES.parse("1,2,3"), None);
        assert_eq!(DRIVE_IDS.parse("1aB-_, 2").unwrap(), ["1aB-_", "2"]);
        assert_eq!(DRIVE_IDS.parse("").unwrap(), [""; 0]);
        assert_eq!(DRIVE_IDS.parse("https://drive.google.com/drive/folders/1aB"), None);
        assert_eq!(ADDRESS.parse("localhost:4000"), ADDRESS.parse("127.0.0.1:4000"));
        assert_eq!(ADDRESS.parse("4000"), None);
        assert!(REDIS_URL.parse("http://127.0.0.1").is_none());
        assert!(REDIS_URL.parse("redis://:secret@127.0.0.1:6379/1").is_some());
        assert_eq!(HTTP_URL.parse("http://127.0.0.1:10040/").unwrap(), "http://127.0.0.1:10040");
        assert_eq!(HTTP_URL.parse("https://exporter:10040").unwrap(), "https://exporter:10040");
        assert_eq!(HTTP_URL.parse("127.0.0.1:10040"), None);
    }
}
