//! What a drill found: lines for a person while it runs, and a table for `docs/operations.md` in the end.

use std::fmt::Write as _;
use std::time::Duration;

/// One thing that happened, and what it took.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// What happened: `exporter that counts: kill -9`.
    pub what: String,
    /// From the moment it happened until everything was served again; nothing where nothing was ever out of service.
    pub back_after: Option<Duration>,
    /// What the documents allow for that.
    pub allowed: Option<Duration>,
    /// Requests of clients that were answered with an error, or not at all; nothing where there were no clients.
    pub requests_failed: Option<u64>,
    /// Scrapes of Prometheus that failed; nothing where nothing scraped.
    pub scrapes_failed: Option<u64>,
    /// Facts that clients were answered for and that are not counted; nothing where that was not reckoned.
    pub facts_lost: Option<u64>,
    /// What else is to be known, in a few words.
    pub remark: String,
}

impl Line {
    /// Whether it was back within what the documents allow.
    #[must_use]
    pub fn kept(&self) -> bool {
        match (self.back_after, self.allowed) {
            (Some(took), Some(allowed)) => took <= allowed,
            _ => true,
        }
    }

    /// As a row of the table.
    fn row(&self) -> String {
        let seconds = |time: Option<Duration>| time.map_or_else(|| "–".to_owned(), readable);
        let count = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |count| count.to_string());
        format!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            self.what,
            seconds(self.back_after),
            seconds(self.allowed),
            count(self.requests_failed),
            count(self.scrapes_failed),
            count(self.facts_lost),
            self.remark,
        )
    }
}

/// `0.4 s`, `30 s`, `15 min`.
fn readable(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 120.0 {
        format!("{:.0} min", seconds / 60.0)
    } else if seconds >= 10.0 || time.subsec_millis() == 0 {
        format!("{seconds:.0} s")
    } else {
        format!("{seconds:.1} s")
    }
}

/// What a drill found so far.
pub struct Report {
    tell: Box<dyn FnMut(&str)>,
    lines: Vec<Line>,
    skipped: Vec<String>,
    /// Whether the drill is to leave out what only repeats: so in the tests.
    pub short: bool,
}

impl Report {
    /// An empty one, that says what happens to `tell`, a line at a time.
    #[must_use]
    pub fn new(short: bool, tell: impl FnMut(&str) + 'static) -> Self {
        Self { tell: Box::new(tell), lines: Vec::new(), skipped: Vec::new(), short }
    }

    /// Says what is being done.
    pub fn tell(&mut self, what: &str) {
        (self.tell)(what);
    }

    /// Writes down what something took, and says so.
    pub fn record(&mut self, line: Line) {
        let verdict = if line.kept() { "" } else { "  (longer than the documents allow)" };
        (self.tell)(&format!("{}{verdict}", line.row()));
        self.lines.push(line);
    }

    /// Writes down what could not be done here, and why.
    pub fn skip(&mut self, what: &str) {
        (self.tell)(&format!("left out: {what}"));
        self.skipped.push(what.to_owned());
    }

    /// What was written down.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The table in Markdown, with what was left out below it.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| what happened | back after | allowed | requests failed | scrapes failed | facts lost | remark |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for line in &self.lines {
            let _ = writeln!(text, "{}", line.row());
        }
        for skipped in &self.skipped {
            let _ = write!(text, "\nLeft out on the machine that wrote this: {skipped}\n");
        }
        text
    }
}
