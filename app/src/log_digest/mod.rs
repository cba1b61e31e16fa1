//! What a log says, found here and without a model: how many records of each level, which errors and warnings there are and
//! how often, and the lines that show them.
//!
//! Comes in: the text of a log, masked. What must hold: the same text gives the same digest; time is linear; what is held is
//! bounded whatever the log. Pure: no clock, no files.
//!
//! * `level`: how bad a line is. `pattern`: what lines of one kind have in common. `excerpt`: the lines worth reading.

mod excerpt;
mod level;
mod pattern;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

pub use level::Level;

/// Groups that are told, the worst and most frequent first.
pub const MOST_GROUPS: usize = 20;
/// Different patterns that are told apart; lines of further ones are counted by level alone.
const MOST_PATTERNS: usize = 5_000;
/// Characters of a line that are shown.
const SAMPLE_CHARS: usize = 500;

/// Records of each level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Levels {
    /// The process, or the system, could not go on.
    pub fatal: usize,
    /// Something failed.
    pub error: usize,
    /// Something may fail.
    pub warning: usize,
    /// What happens.
    pub info: usize,
    /// Details for developers.
    pub debug: usize,
    /// All details.
    pub trace: usize,
    /// Records that do not say.
    pub unknown: usize,
}

impl Levels {
    fn count(&mut self, level: Level) {
        *match level {
            Level::Fatal => &mut self.fatal,
            Level::Error => &mut self.error,
            Level::Warning => &mut self.warning,
            Level::Info => &mut self.info,
            Level::Debug => &mut self.debug,
            Level::Trace => &mut self.trace,
            Level::Unknown => &mut self.unknown,
        } += 1;
    }
}

/// Records of one level and pattern. Lines are numbered from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How bad they are.
    pub level: Level,
    /// What they have in common; what differs is `<n>`, `<id>` and the like.
    pub pattern: String,
    /// How many there are.
    pub count: usize,
    /// Line of the first.
    pub first_line: usize,
    /// Line of the last.
    pub last_line: usize,
    /// The first line of the first, or its beginning.
    pub sample: String,
}

/// What a log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// Lines, empty ones too.
    pub lines: usize,
    /// Records: a stack trace belongs to the record before it.
    pub records: usize,
    /// Records of each level.
    pub levels: Levels,
    /// Errors and warnings by what they have in common: the worst first, of these the most frequent.
    pub groups: Vec<Group>,
    /// How many groups there are beside those.
    pub groups_left_out: usize,
}

/// The log without a terminal's colours, which stand where a level begins and ends.
pub fn uncoloured(log: &str) -> Cow<'_, str> {
    static COLOUR: LazyLock<Regex> = LazyLock::new(|| level::regex(r"\x1b\[[0-9;:?]*[ -/]*[@-~]"));
    COLOUR.replace_all(log, "")
}

impl Digest {
    /// Reads a log.
    pub fn of(log: &str) -> Self {
        let mut digest =
            Self { lines: 0, records: 0, levels: Levels::default(), groups: Vec::new(), groups_left_out: 0 };
        let mut known: HashMap<(Level, String), usize> = HashMap::new();
        let mut in_record = false;
        for (at, line) in log.lines().enumerate() {
            digest.lines += 1;
            if line.trim().is_empty() || (in_record && level::continues(line)) {
                continue;
            }
            in_record = true;
            let level = Level::of(line);
            digest.records += 1;
            digest.levels.count(level);
            if level.is_trouble() {
                digest.group(&mut known, level, line, at + 1);
            }
        }
        digest.groups.sort_by(|a, b| (a.level, b.count, a.first_line).cmp(&(b.level, a.count, b.first_line)));
        digest.groups_left_out = digest.groups.len().saturating_sub(MOST_GROUPS);
        digest.groups.truncate(MOST_GROUPS);
        digest
    }

    fn group(
        &mut self,
        known: &mut HashMap<(Level, String), usize>,
        level: Level,
        line: &str,
        number: usize,
    ) {
        let pattern = pattern::of(line);
        let full = known.len() >= MOST_PATTERNS;
        match known.entry((level, pattern)) {
            Entry::Occupied(place) => {
                let group = &mut self.groups[*place.get()];
                group.count += 1;
                group.last_line = number;
            }
            Entry::Vacant(place) if !full => {
                self.groups.push(Group {
                    level,
                    pattern: place.key().1.clone(),
                    count: 1,
                    first_line: number,
                    last_line: number,
                    sample: shortened(line, SAMPLE_CHARS).to_owned(),
                });
                place.insert(self.groups.len() - 1);
            }
            Entry::Vacant(_) => {}
        }
    }

    /// The log's lines that are worth reading, numbered, in at most so many bytes: around the first record of each group,
    /// and the end.
    pub fn excerpt(&self, log: &str, most_bytes: usize) -> String {
        excerpt::of(self, log, most_bytes)
    }
}

/// The beginning of a line.
fn shortened(line: &str, chars: usize) -> &str {
    line.char_indices().nth(chars).map_or(line, |(end, _)| &line[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOG: &str = "\
2026-11-22T01:00:00Z INFO  Serving on 127.0.0.1:4000
2026-11-22T01:00:01Z WARN  Pool is at 90 %
2026-11-22T01:00:02Z ERROR Request 17 failed: connection to 10.0.0.7:5432 refused
java.net.ConnectException: Connection refused
    at db.Pool.open(Pool.java:81)
Caused by: timeout
2026-11-22T01:00:03Z ERROR Request 99 failed: connection to 10.0.0.9:5432 refused

2026-11-22T01:00:04Z FATAL No connection left
plain words";

    #[test]
    fn colours_hide_no_level() {
        let coloured =
            "\x1b[31mERROR\x1b[0m db down\n\x1b[1;33mWARN\x1b[m \x1b[38;5;8mslow\x1b[0m\nfine\x1b[2K";
        assert_eq!(uncoloured(coloured), "ERROR db down\nWARN slow\nfine");
        let levels = Digest::of(&uncoloured(coloured)).levels;
        assert_eq!((levels.error, levels.warning, levels.unknown), (1, 1, 1));
        assert!(matches!(uncoloured(LOG), Cow::Borrowed(_)));
    }

    #[test]
    fn records_are_counted_by_level_and_grouped_by_what_they_have_in_common() {
        let digest = Digest::of(LOG);
        assert_eq!((digest.lines, digest.records), (10, 6));
        let levels = Levels { fatal: 1, error: 2, warning: 1, info: 1, unknown: 1, ..Levels::default() };
        assert_eq!(digest.levels, levels);
        let groups: Vec<_> = digest
            .groups
            .iter()
            .map(|group| (group.level, group.count, group.first_line, group.last_line))
            .collect();
        assert_eq!(groups, [(Level::Fatal, 1, 9, 9), (Level::Error, 2, 3, 7), (Level::Warning, 1, 2, 2)]);
        assert_eq!(digest.groups[1].pattern, "Request <n> failed: connection to <ip>:<n> refused");
        assert!(digest.groups[1].sample.contains("Request 17"));
    }

    #[test]
    fn many_groups_are_cut_and_the_cut_is_told() {
        let name =
            |n: usize| -> String { n.to_string().bytes().map(|digit| char::from(digit + 50)).collect() };
        let log: String = (0..100).map(|n| format!("ERROR kind {} failed\n", name(n))).collect();
        let digest = Digest::of(&log);
        assert_eq!((digest.groups.len(), digest.groups_left_out), (MOST_GROUPS, 80));
        assert_eq!(digest.levels.error, 100);
    }

    proptest! {
        #[test]
        fn any_text_has_a_digest_and_levels_add_up(log in "(?s).{0,400}", bytes in 0usize..2_000) {
            let digest = Digest::of(&log);
            let Levels { fatal, error, warning, info, debug, trace, unknown } = digest.levels;
            prop_assert_eq!(fatal + error + warning + info + debug + trace + unknown, digest.records);
            prop_assert_eq!(digest.lines, log.lines().count());
            let trouble: usize = digest.groups.iter().map(|group| group.count).sum();
            prop_assert_eq!(trouble, fatal + error + warning);
            prop_assert!(digest.excerpt(&log, bytes).len() <= bytes);
        }
    }
}
