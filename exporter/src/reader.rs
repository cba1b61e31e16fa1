//! Reads one stream, from its start on every new connection, on a thread of its own.
//!
//! The position is the exporter's own (`XREAD`; no consumer group): a connection's first read begins at the stream's
//! start, which is short, for all that is durable has been trimmed. Numbers decide later what is new. The connection
//! is dedicated and a read is never cancelled: its timeout is longer than Redis may block.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis::{Connection, RedisResult, Value};
use techsapo_redis_route::Route;
use techsapo_shared::wire::EntryId;
use tracing::{info, warn};

/// Bytes asked for at once, about: many small entries or few large ones.
const READ_BYTES: usize = 1 << 20;
/// Entries asked for at once: at first (a producer's entry has up to 64 KiB), at least and at most.
const COUNT: usize = 64;
const COUNTS: RangeInclusive<usize> = 8..=1024;
/// How long Redis may keep a read waiting for something new.
const BLOCK: Duration = Duration::from_secs(1);
/// How long the network may take beyond that.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between attempts to connect.
const RETRY: Duration = Duration::from_millis(500);

/// What a reader tells.
#[derive(Debug)]
pub enum Reading {
    /// A connection stands; what follows begins at the stream's start.
    Connected {
        /// Id of the newest entry that the stream ever had; nothing if there is no stream.
        newest: Option<EntryId>,
    },
    /// Entries in their order.
    Entries {
        /// As Redis replied to `XREAD`; see [`entries`].
        reply: Value,
        /// There were no more at that moment.
        to_the_end: bool,
    },
    /// Nothing new.
    Idle,
    /// The stream is gone, or its newest id lies below what was read: it is read from its start again.
    Regressed,
    /// The connection was lost, with the reason.
    Disconnected(String),
}

/// Starts reading the stream at place `stream` of the settings. Ends when nobody listens any more.
pub fn spawn(
    route: Route,
    stream: usize,
    key: String,
    out: SyncSender<(usize, Reading)>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("reader-{stream}")).spawn(move || {
        let mut reader = Reader { route, stream, key, out, failing: false };
        while reader.session().is_continue() {
            thread::sleep(RETRY);
        }
    })
}

struct Reader {
    route: Route,
    stream: usize,
    key: String,
    out: SyncSender<(usize, Reading)>,
    failing: bool,
}

impl Reader {
    fn tell(&self, reading: Reading) -> ControlFlow<()> {
        match self.out.send((self.stream, reading)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// One connection's life. Breaks when nobody listens.
    fn session(&mut self) -> ControlFlow<()> {
        let error = match self.connect() {
            Ok((mut connection, newest)) => {
                if self.failing {
                    info!(stream = self.key, "Redis is back; reading from the stream's start");
                    self.failing = false;
                }
                self.tell(Reading::Connected { newest })?;
                match self.read(&mut connection) {
                    Ok(broken) => return broken,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if !self.failing {
            warn!(stream = self.key, %error, "cannot read the stream; trying again until Redis answers");
            self.failing = true;
        }
        self.tell(Reading::Disconnected(error.to_string()))
    }

    fn connect(&self) -> RedisResult<(Connection, Option<EntryId>)> {
        let mut connection = self.route.connect(&self.key, TIMEOUT)?;
        connection.set_read_timeout(Some(BLOCK + TIMEOUT))?;
        let newest = newest_id(&mut connection, &self.key)?;
        Ok((connection, newest))
    }

    fn read(&self, connection: &mut Connection) -> RedisResult<ControlFlow<()>> {
        let mut position = EntryId::ZERO;
        let mut at_the_end = false;
        let mut count = COUNT;
        loop {
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(count);
            if at_the_end {
                command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
            }
            command.arg("STREAMS").arg(&self.key).arg(position.to_string());
            let reply: Value = command.query(connection)?;
            let reading = match last_id(&reply) {
                Some(last) => {
                    position = last;
                    let entries = entries(&reply);
                    let to_the_end = entries.len() < count;
                    let entry_bytes = entries.iter().map(size).sum::<usize>() / entries.len();
                    count = (READ_BYTES / entry_bytes.max(1)).clamp(*COUNTS.start(), *COUNTS.end());
                    Reading::Entries { to_the_end, reply }
                }
                None if position > EntryId::ZERO && newest_id(connection, &self.key)? < Some(position) => {
                    position = EntryId::ZERO;
                    Reading::Regressed
                }
                None => Reading::Idle,
            };
            at_the_end = !matches!(reading, Reading::Entries { to_the_end: false, .. } | Reading::Regressed);
            if self.tell(reading).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}

/// Id of the newest entry that the stream ever had; nothing if there is no stream.
fn newest_id(connection: &mut Connection, key: &str) -> RedisResult<Option<EntryId>> {
    // XINFO refuses a key that does not exist; asking first tells that apart from a failure.
    if !redis::cmd("EXISTS").arg(key).query::<bool>(connection)? {
        return Ok(None);
    }
    let info: Value = redis::cmd("XINFO").arg("STREAM").arg(key).query(connection)?;
    let Value::Array(items) = info else { return Ok(None) };
    let mut pairs = items.chunks_exact(2);
    Ok(pairs.find_map(|pair| match pair {
        [name, id] if text(name) == Some(b"last-generated-id") => EntryId::parse(text(id)?),
        _ => None,
    }))
}

/// The entries of a reply to `XREAD` for one stream.
pub fn entries(reply: &Value) -> &[Value] {
    let Value::Array(streams) = reply else { return &[] };
    let Some(Value::Array(stream)) = streams.first() else { return &[] };
    match stream.get(1) {
        Some(Value::Array(entries)) => entries,
        _ => &[],
    }
}

/// Name and value of one field of an entry.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// Id and fields of one entry.
pub fn entry(value: &Value) -> Option<(EntryId, Vec<Field<'_>>)> {
    let Value::Array(parts) = value else { return None };
    let [id, Value::Array(fields)] = parts.as_slice() else { return None };
    let fields = fields.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?)));
    Some((EntryId::parse(text(id)?)?, fields.collect()))
}

fn last_id(reply: &Value) -> Option<EntryId> {
    match entries(reply).last()? {
        Value::Array(parts) => EntryId::parse(text(parts.first()?)?),
        _ => None,
    }
}

/// Bytes of an entry's fields.
fn size(entry: &Value) -> usize {
    match entry {
        Value::Array(parts) => parts.iter().map(size).sum(),
        value => text(value).map_or(0, <[u8]>::len),
    }
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}
