//! Colours, where they are wanted: on a terminal, unless `NO_COLOR` or the flag says otherwise.

use std::fmt::{self, Display};
use std::io::Stdout;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum When {
    /// On a terminal that can, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also into a file or a pipe.
    Always,
    /// Not at all.
    Never,
}

/// Whether what is printed is coloured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

/// How something was or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Doubtful,
    Bad,
    /// What a line is about.
    Subject,
    /// What is read last.
    Faint,
}

impl Paint {
    /// As `when` says for standard output.
    pub(super) fn of(when: When, out: &Stdout) -> Self {
        Self(match when {
            When::Auto => AutoStream::choice(out) != ColorChoice::Never,
            When::Always => true,
            When::Never => false,
        })
    }

    /// `text` in its tone.
    pub(super) fn tone<T: Display>(self, tone: Tone, text: T) -> impl Display {
        Painted { style: if self.0 { tone.style() } else { Style::new() }, text }
    }
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Doubtful => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Subject => AnsiColor::Cyan.on_default().bold(),
            Self::Faint => Style::new().dimmed(),
        }
    }
}

struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.style.render(), self.text, self.style.render_reset())
    }
}
