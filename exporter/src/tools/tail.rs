//! `techsapo-exporter tail`: the events of the streams as they come, one line each.
//!
//! It only looks: no consumer group, no acknowledgement, nothing written. Events go to standard output; everything else
//! (a gap, a lost connection, what is no event) is a note on standard error. What others wrote is made safe to look at.

mod follow;
mod line;
mod numbers;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use techsapo_shared::event::Event;
use techsapo_shared::wire::{Batch, EntryId, Line, decode_line};

use self::follow::{Follower, News};
use self::line::readable;
use self::numbers::{Arrival, Numbers};
use crate::flags::{RedisArgs, TlsArgs};
use crate::reader::connection::ConnectionError;
use crate::reader::entries::Entries;
use crate::tools::paint::{Paint, When};
use crate::tools::printable::{printable, printable_json};

/// Replies that wait to be shown, at most: who reads slowly shall not fill the memory.
const AHEAD: usize = 4;
/// How often it is looked whether anybody still reads, when nothing comes.
const LOOK: Duration = Duration::from_secs(1);
/// Most characters of what is no event that are shown.
const MOST_REFUSED: usize = 200;

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "\
Times are UTC. What cannot be shown as events (gaps, lost connections, what is no event) is told on standard error. The
exporter trims the stream as it counts: while one runs, --last finds what came within the last second or so.

Examples:
  techsapo-exporter tail
  techsapo-exporter tail --type llm_request,error
  techsapo-exporter tail --json --type analysis | jq -r '.analysis.status'
  techsapo-exporter tail --redis.url redis://redis.internal:6379 --last 100 --count 20")]
pub struct TailCommand {
    /// Where the streams are.
    #[command(flatten)]
    redis: RedisArgs,

    /// Whom to trust, and who to be, where Redis is reached by TLS.
    #[command(flatten)]
    tls: TlsArgs,

    /// Begin with the last so many entries of each stream, instead of what comes from now on. An entry holds all events
    /// that a producer sent at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=10_000_000))]
    last: u64,

    /// End after so many events.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Show events of this type alone; may be given several times, or several separated by commas.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = PossibleValuesParser::new(Event::TYPES))]
    types: Vec<String>,

    /// Show each event as it stands in the stream: a line of JSON.
    #[arg(long)]
    json: bool,

    /// When to colour.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: When,
}

/// Why nothing (more) is shown.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The address cannot be used.
    #[error("{0}")]
    Address(String),
    /// A stream cannot be read from the beginning on. (Later, it is tried again.)
    #[error("cannot read the stream {key}: {source}; `techsapo-exporter --check` looks what is wrong")]
    Stream {
        /// Its key.
        key: String,
        /// Why.
        source: ConnectionError,
    },
    /// There can be no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// Nobody reads what is printed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl TailCommand {
    /// Shows events on `out` and says everything else on `notes`, until enough were shown or nobody reads any more.
    ///
    /// # Errors
    /// It cannot begin, or `out` takes nothing.
    pub fn run(&self, out: &mut impl Write, notes: &mut impl Write) -> Result<(), TailError> {
        let route = self.tls.load().and_then(|tls| Ok(self.redis.route()?.secured_by(&tls)));
        let route = route.map_err(TailError::Address)?;
        let (news, told) = sync_channel(AHEAD);
        let streams = &self.redis.streams;
        for (place, key) in streams.iter().enumerate() {
            let follower = Follower::begin(&route, key, self.last)
                .map_err(|source| TailError::Stream { key: key.clone(), source })?;
            follower.spawn(place, news.clone()).map_err(TailError::Thread)?;
        }
        drop(news);
        let mut view = View::of(self, out, notes);
        view.note(format_args!("following {} at {route}; Ctrl-C ends it", streams.join(", ")))?;
        loop {
            match told.recv_timeout(LOOK) {
                Ok((place, news)) => {
                    if view.take(&streams[place], &news)?.is_break() {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) if nobody_reads() => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// Whether standard output is a pipe whose other end is closed: without this, `tail | head` would stay until the next
/// event.
fn nobody_reads() -> bool {
    let out = io::stdout();
    let mut fds = [PollFd::new(&out, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().intersects(PollFlags::ERR)
}

/// What is shown of what comes.
struct View<'a, O, N> {
    out: &'a mut O,
    notes: &'a mut N,
    /// By the order of [`Event::TYPES`]; all if empty.
    types: Vec<usize>,
    json: bool,
    paint: Paint,
    /// Events that are still to be shown.
    left: Option<u64>,
    numbers: Numbers,
}

impl<'a, O: Write, N: Write> View<'a, O, N> {
    fn of(command: &TailCommand, out: &'a mut O, notes: &'a mut N) -> Self {
        let place = |name: &String| Event::TYPES.iter().position(|kind| kind == name);
        Self {
            out,
            notes,
            types: command.types.iter().filter_map(place).collect(),
            json: command.json,
            paint: Paint::of(command.color, &io::stdout()),
            left: command.count,
            numbers: Numbers::default(),
        }
    }

    /// Behind the events so far, whatever the two outputs are.
    fn note(&mut self, text: impl std::fmt::Display) -> io::Result<()> {
        self.out.flush()?;
        // Who closed standard error does not want to know.
        let _ = writeln!(self.notes, "-- {}", printable(&text.to_string()));
        Ok(())
    }

    fn take(&mut self, stream: &str, news: &News) -> io::Result<ControlFlow<()>> {
        match news {
            News::Entries(reply) => {
                let (mut entries, mut fields) = (Entries::of(reply.bytes()), Vec::new());
                while let Some(id) = entries.next(&mut fields) {
                    let shown = match Batch::decode(fields.iter().copied()) {
                        Ok(batch) => self.batch(&batch)?,
                        Err(why) => {
                            self.not_a_batch(stream, id, &why.to_string())?;
                            ControlFlow::Continue(())
                        }
                    };
                    if shown.is_break() {
                        self.out.flush()?;
                        return Ok(shown);
                    }
                }
                self.out.flush()?;
            }
            News::Lost(why) => self.note(format_args!("{stream}: {why}; trying again"))?,
            News::Back => self.note(format_args!("{stream}: connected again"))?,
            News::Regressed => self.note(format_args!(
                "{stream}: the stream is gone, was replaced or lost its end; reading it from its start"
            ))?,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn not_a_batch(&mut self, stream: &str, id: EntryId, why: &str) -> io::Result<()> {
        self.note(format_args!("{stream}: entry {id} is no batch of events: {why}"))
    }

    fn batch(&mut self, batch: &Batch<'_>) -> io::Result<ControlFlow<()>> {
        if let Some(origin) = &batch.origin {
            let producer = origin.producer;
            match self.numbers.take(origin, batch.count) {
                Arrival::InOrder => {}
                Arrival::Missing(missing) => self.note(format_args!(
                    "gap: {missing} events of producer {producer} were trimmed, or are not in the stream, before they were read here"
                ))?,
                Arrival::Again(again) => self.note(format_args!(
                    "producer {producer} sends {again} events again; they are counted once"
                ))?,
            }
        }
        for line in batch.lines() {
            if self.line(line)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn line(&mut self, line: &[u8]) -> io::Result<ControlFlow<()>> {
        let text = String::from_utf8_lossy(line);
        let event = match decode_line(line) {
            Ok(Line::Event(event)) => event,
            Ok(Line::Lost) => {
                self.note("an event is lost: its record went bad at its producer")?;
                return Ok(ControlFlow::Continue(()));
            }
            Err(why) => {
                let shown: String = text.chars().take(MOST_REFUSED).collect();
                self.note(format_args!("no event ({why}): {shown}"))?;
                return Ok(ControlFlow::Continue(()));
            }
        };
        if !self.types.is_empty() && !self.types.contains(&event.type_index()) {
            return Ok(ControlFlow::Continue(()));
        }
        if self.json {
            writeln!(self.out, "{}", printable_json(&text))?;
        } else {
            writeln!(self.out, "{}", readable(&event, &text, self.paint))?;
        }
        self.left = self.left.map(|left| left - 1);
        Ok(if self.left == Some(0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}
