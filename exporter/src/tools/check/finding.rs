//! What a check found: one line for people.

use std::fmt::Display;

use crate::tools::paint::{Paint, Tone};
use crate::tools::printable::printable;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// An exporter counts all the same; somebody should look.
    Warning,
    /// An exporter would not start, or not count, or not go on where it was.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    /// What was looked at.
    about: String,
    /// How it is.
    text: String,
    /// What to do; empty if nothing is to be done.
    advice: String,
}

impl Finding {
    /// It is as it should be.
    pub(super) fn ok(about: impl Display, text: impl Display) -> Self {
        Self::new(Verdict::Ok, about, text, "")
    }

    /// It works, but somebody should look.
    pub(super) fn warning(about: impl Display, text: impl Display, advice: impl Display) -> Self {
        Self::new(Verdict::Warning, about, text, advice)
    }

    /// It does not work.
    pub(super) fn failed(about: impl Display, text: impl Display, advice: impl Display) -> Self {
        Self::new(Verdict::Failed, about, text, advice)
    }

    fn new(verdict: Verdict, about: impl Display, text: impl Display, advice: impl Display) -> Self {
        Self { verdict, about: about.to_string(), text: text.to_string(), advice: advice.to_string() }
    }

    /// The line. Parts of it may be what other programs said.
    pub(super) fn line(&self, paint: Paint) -> String {
        let (word, tone) = match self.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warning => ("warning", Tone::Doubtful),
            Verdict::Failed => ("failed", Tone::Bad),
        };
        let advice = if self.advice.is_empty() { String::new() } else { format!("; {}", self.advice) };
        let text = format!("{}: {}{advice}", self.about, self.text);
        format!("{} {}", paint.tone(tone, format_args!("{word:<8}")), printable(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::paint::When;

    #[test]
    fn a_finding_is_one_line_whatever_others_said() {
        let paint = |when| Paint::of(when, &std::io::stdout());
        let finding = Finding::failed("redis", "it says \"\x1b[2J\n\"", "ask it\nagain");
        assert_eq!(
            finding.line(paint(When::Never)),
            "failed   redis: it says \"\\u{1b}[2J\\n\"; ask it\\nagain"
        );
        assert_eq!(Finding::ok("app", "well").line(paint(When::Never)), "ok       app: well");
        assert!(
            Finding::ok("app", "well").line(paint(When::Always)).starts_with("\x1b[32mok      \x1b[0m app")
        );
    }
}
