//! Durations and sizes as people read them. Pure.

use std::time::Duration;

/// About three digits and a unit: `850µs`, `12.3ms`, `1.23s`, `2m03s`, `3h05m`, `2d01h`.
pub(super) fn duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let seconds = duration.as_secs();
    match micros {
        0..1_000 => format!("{micros}µs"),
        1_000..1_000_000 => format!("{}ms", digits(micros as f64 / 1e3)),
        1_000_000..60_000_000 => format!("{}s", digits(micros as f64 / 1e6)),
        _ if seconds < 3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// About three digits and a unit: `512 B`, `1.5 KiB`, `64 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let power = bytes.ilog2() / 10;
    format!("{} {}", digits(bytes as f64 / 1_024f64.powi(power as i32)), UNITS[power as usize - 1])
}

/// Cut, not rounded, so that nothing becomes a thousand of its unit; without zeros that say nothing.
fn digits(value: f64) -> String {
    let places = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let scale = 10f64.powi(places as i32);
    let text = format!("{:.places$}", (value * scale).floor() / scale);
    if places == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_that_fits() {
        for (micros, text) in [
            (0, "0µs"),
            (999, "999µs"),
            (12_345, "12.3ms"),
            (999_999, "999ms"),
            (1_234_567, "1.23s"),
            (60_000_000, "1m00s"),
            (123_000_000, "2m03s"),
            (11_100_000_000, "3h05m"),
            (176_400_000_000, "2d01h"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn sizes_have_a_unit_that_fits() {
        for (size, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            ((1 << 20) - 1, "1023 KiB"),
            (64 << 20, "64 MiB"),
            (15 << 60, "15 EiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }
}
