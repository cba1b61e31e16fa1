//! When a failed attempt is followed by another, of whatever is asked over HTTP. Whether it may be is for who asks to say.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Longest pause before the second attempt; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that we choose ourselves.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Vendors that know fractions of a second say them in this header.
const RETRY_AFTER_MS: &str = "retry-after-ms";

/// How long to wait before the next attempt; nothing when there is to be none.
///
/// `asked` is what the server asks to wait; `attempt` is the number of the one that failed, from 1; `left` is the time
/// until the deadline; `chance` is evenly from 0 to 1. A pause of ours lies evenly between half and all of the step, so
/// that callers who failed together do not come back together. What the server asks for is waited in full, and a little
/// more for the same reason.
pub(crate) fn pause(
    asked: Option<Duration>,
    attempt: u32,
    attempts: u32,
    left: Duration,
    chance: f64,
) -> Option<Duration> {
    if attempt >= attempts {
        return None;
    }
    let step = FIRST_PAUSE.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_PAUSE);
    let pause = match asked {
        Some(asked) => asked.saturating_add(FIRST_PAUSE.mul_f64(chance / 2.0)),
        None => step.mul_f64(0.5 + chance / 2.0),
    };
    // What cannot end in time is not begun.
    (pause < left).then_some(pause)
}

/// What a response says of when to come back: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(milliseconds) = text(RETRY_AFTER_MS).and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(milliseconds / 1e3).ok();
    }
    let text = text(RETRY_AFTER.as_str())?;
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

/// Evenly from 0 to 1, and different each time: the standard library's own seeds.
pub(crate) fn chance() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn pauses_grow_vary_and_end() {
        let at = |attempt, chance| pause(None, attempt, 99, LONG, chance).unwrap();
        assert_eq!((at(1, 0.0), at(1, 1.0)), (FIRST_PAUSE / 2, FIRST_PAUSE));
        assert_eq!(at(2, 1.0), FIRST_PAUSE * 2);
        assert_eq!(at(60, 1.0), LONGEST_PAUSE);
        assert_eq!(pause(None, 3, 3, LONG, 0.5), None, "the last attempt is the last");
        assert_eq!(pause(None, 1, 3, FIRST_PAUSE / 2, 0.0), None, "no time is left");
    }

    #[test]
    fn the_server_s_wish_is_kept_or_nothing_is_tried() {
        let asked = Some(Duration::from_secs(7));
        let wait = pause(asked, 1, 3, LONG, 1.0).unwrap();
        assert!(wait >= Duration::from_secs(7) && wait < Duration::from_secs(8), "{wait:?}");
        assert_eq!(pause(asked, 1, 3, Duration::from_secs(6), 0.0), None);
    }

    #[test]
    fn retry_after_comes_as_seconds_milliseconds_or_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let of = |name: &'static str, value: &str| {
            retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]), now)
        };
        assert_eq!(of("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(of("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        let date = httpdate::fmt_http_date(now + Duration::from_secs(9));
        assert_eq!(of("retry-after", &date), Some(Duration::from_secs(9)));
        assert_eq!(of("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        for bad in ["soon", "-1", "NaN", "1e300"] {
            assert_eq!(of("retry-after", bad), None, "{bad}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
