//! `techsapo-exporter --check`: whether settings, Redis, the checkpoint, the apps and the address are in order, one line
//! for each.
//!
//! Nothing is changed: no lock or lease is taken, nothing is written, a running exporter does not notice. What is looked
//! at is judged by the exporter's own code, so that what is `ok` here is what it would find.

mod environment;
mod finding;
mod http;
mod redis;
mod store;
mod turn;
mod web;

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args as _, Command};
use techsapo_tls::ClientTls;

use self::finding::{Finding, Verdict};
use crate::flags::Flags;
use crate::samplers::status::Asker;
use crate::tools::paint::{Paint, When};

/// Prints each finding as soon as it is known.
struct Report<'a, W> {
    out: &'a mut W,
    paint: Paint,
    /// Whether everything was in order so far.
    well: bool,
}

impl<W: Write> Report<'_, W> {
    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) -> io::Result<()> {
        for finding in findings {
            self.well &= finding.verdict != Verdict::Failed;
            writeln!(self.out, "{}", finding.line(self.paint))?;
        }
        self.out.flush()
    }
}

/// Looks at everything and tells it to `out`. True if nothing failed.
///
/// # Errors
/// `out` takes nothing.
pub(super) fn run(flags: &Flags, out: &mut impl Write) -> io::Result<bool> {
    let paint = Paint::of(When::Auto, &io::stdout());
    let mut report = Report { out, paint, well: true };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let streams = flags.redis.streams.as_slice();

    let (route, database, tls) = (flags.redis.route(), flags.database(), flags.tls.load());
    report.add(settings(&[route.as_ref().err(), database.as_ref().err(), tls.as_ref().err()]))?;
    report.add(web::look(flags.listen.web_config.as_deref(), tls.as_ref().ok(), now_ms))?;
    // Without its certificates nothing that follows would show what an exporter finds.
    let Ok(tls) = tls else { return Ok(report.well) };
    let route = route.map(|route| route.secured_by(&tls));
    // Before the checkpoint: what a running exporter acknowledges meanwhile is in the checkpoint by then.
    let survey = match &route {
        Ok(route) => {
            let (findings, survey) = redis::look(&flags.redis, route, now_ms);
            report.add(findings)?;
            survey
        }
        Err(_) => None,
    };
    let held = match database {
        Ok(Some(opts)) => {
            let (findings, held) = store::database(opts, &tls, &flags.checkpoint_name, streams);
            report.add(findings)?;
            held
        }
        Ok(None) => {
            let (findings, held) = store::folder(&flags.checkpoint_dir, streams);
            report.add(findings)?;
            held
        }
        Err(_) => None,
    };
    if let (Some(held), Some(survey)) = (held, &survey) {
        report.add(turn::look(held, survey, (streams, flags.series_limit as usize), now_ms))?;
    }
    over_http(flags, &tls, &mut report)?;
    Ok(report.well)
}

/// What is wrong with the environment, and these settings.
fn settings(wrong: &[Option<&String>]) -> Vec<Finding> {
    let command = Flags::augment_args(Command::default());
    let known = command.get_arguments().filter_map(|argument| argument.get_env());
    let known: Vec<_> = known.map(|name| name.to_string_lossy().into_owned()).collect();
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let mut findings = environment::look(names, &known);
    findings.extend(wrong.iter().flatten().map(|message| Finding::failed("settings", message, "")));
    if findings.is_empty() {
        findings.push(Finding::ok("settings", "flags and environment can be read"));
    }
    findings
}

#[tokio::main(flavor = "current_thread")]
async fn over_http<W: Write>(flags: &Flags, tls: &ClientTls, report: &mut Report<'_, W>) -> io::Result<()> {
    let asker = match Asker::new(flags.app_key_file.clone(), tls) {
        Ok(asker) => asker,
        Err(error) => {
            let why = crate::pipeline::chain(&error);
            return report.add([Finding::failed("app", format_args!("there can be no client: {why}"), "")]);
        }
    };
    let urls: Vec<_> = flags.app_urls.iter().filter(|&url| url != "none").collect();
    if urls.is_empty() {
        report.add([Finding::ok("app", "none is polled (--app.url none)")])?;
    }
    for url in urls {
        report.add([http::app(&asker, url).await])?;
    }
    report.add([http::address(&flags.listen, tls).await])
}
