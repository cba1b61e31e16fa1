//! The lines of a log that are worth reading: around the first record of each group, and the end.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Digest, shortened};

/// Lines around the first of a group: what led to it, and its stack trace.
const BEFORE: usize = 3;
const BEHIND: usize = 12;
/// Lines of the end.
const END: usize = 40;
/// Characters of one line.
const LINE_CHARS: usize = 500;

pub(super) fn of(digest: &Digest, log: &str, most_bytes: usize) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let around = |at: usize| at.saturating_sub(BEFORE)..(at + BEHIND).min(lines.len());
    // The worst first, so that the end is what there may be no room for.
    let groups = digest.groups.iter().flat_map(|group| around(group.first_line.saturating_sub(1)));
    let wanted = groups.chain(lines.len().saturating_sub(END)..lines.len());
    let (mut taken, mut bytes) = (BTreeSet::new(), 0);
    for at in wanted {
        if lines[at].trim().is_empty() || taken.contains(&at) {
            continue;
        }
        bytes += numbered(at, lines[at]).len() + GAP.len();
        if bytes > most_bytes {
            break;
        }
        taken.insert(at);
    }
    let mut text = String::new();
    let mut last = None;
    for at in taken {
        if last.is_some_and(|last| last + 1 < at) {
            text.push_str(GAP);
        }
        text.push_str(&numbered(at, lines[at]));
        last = Some(at);
    }
    text
}

/// Stands for lines that are left out.
const GAP: &str = "…\n";

fn numbered(at: usize, line: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}: {}", at + 1, shortened(line, LINE_CHARS));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trouble_and_the_end_are_shown_with_their_numbers() {
        let mut lines: Vec<_> = (1..=200).map(|n| format!("INFO step {n}")).collect();
        lines[49] = "ERROR the disk is full".to_owned();
        let log = lines.join("\n");
        let digest = Digest::of(&log);
        let text = digest.excerpt(&log, 20_000);
        assert!(
            text.starts_with("47: INFO step 47\n48: INFO step 48\n49: INFO step 49\n50: ERROR the disk"),
            "{text}"
        );
        assert!(text.contains("61: INFO step 61\n…\n161: INFO step 161\n"), "{text}");
        assert!(text.ends_with("200: INFO step 200\n"));
        let short = digest.excerpt(&log, 120);
        assert!(short.contains("50: ERROR") && short.len() <= 120, "{short}");
    }
}
