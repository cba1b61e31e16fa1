//! The log: one line a fact on standard error, JSON for machines or text for people.

use std::io::IsTerminal as _;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogSettings;
use crate::config::format::LogFormat;

/// Starts logging. Our own lines from the set level on; from libraries, warnings and worse.
pub fn start(settings: &LogSettings) {
    let own = LevelFilter::from_level(settings.level);
    let filter = Targets::new().with_default(own.min(LevelFilter::WARN)).with_target("techsapo", own);
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match settings.format {
        LogFormat::Json => {
            to_stderr.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
        LogFormat::Text => to_stderr.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
}
