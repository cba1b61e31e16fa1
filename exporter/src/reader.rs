//! Reads one stream, from its start on every new connection, on a thread of its own.
//!
//! The position is the exporter's own (`XREAD`; no consumer group): a connection's first read begins at the stream's
//! start, which is short, for all that is durable has been trimmed. Numbers decide later what is new. The connection
//! is dedicated and a read is never cancelled: its timeout is longer than Redis may block.
//!
//! [`connection`] speaks with Redis, [`resp`] and [`entries`] know what its bytes mean.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use techsapo_redis_route::Route;
use techsapo_shared::wire::EntryId;
use tracing::{info, warn};

use connection::{Connection, ConnectionError, Reply, Timeouts};
use entries::{Summary, summary};
use resp::{Element, Elements};

pub mod connection;
pub mod entries;
pub mod resp;

/// Bytes asked for at once, about: many small entries or few large ones.
const READ_BYTES: u64 = 1 << 20;
/// Entries asked for at once: at first (a producer's entry has up to 64 KiB), at least and at most.
const COUNT: u64 = 64;
const COUNTS: RangeInclusive<u64> = 1..=1024;
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
        /// As Redis replied to `XREAD`; see [`entries::Entries`].
        reply: Reply,
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
        let mut reader = Reader { route, stream, key, out, count: COUNT, failing: false };
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
    /// Entries to ask for next: as many as make a reply of [`READ_BYTES`], by the size of the last ones.
    count: u64,
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
        if matches!(error, ConnectionError::TooLong(_)) {
            // Huge entries: one by one they fit.
            self.count = *COUNTS.start();
        }
        if !self.failing {
            warn!(stream = self.key, %error, "cannot read the stream; trying again until Redis answers");
            self.failing = true;
        }
        self.tell(Reading::Disconnected(error.to_string()))
    }

    fn connect(&self) -> Result<(Connection, Option<EntryId>), ConnectionError> {
        let mut connection = connect(&self.route, &self.key)?;
        let newest = newest_id(&mut connection, &self.key)?;
        Ok((connection, newest))
    }

    fn read(&mut self, connection: &mut Connection) -> Result<ControlFlow<()>, ConnectionError> {
        let mut position = EntryId::ZERO;
        let mut at_the_end = false;
        loop {
            let count = self.count;
            let reply = xread(connection, &self.key, position, count, at_the_end)?;
            let held = summary(reply.bytes())
                .map_err(|source| ConnectionError::Protocol { command: "XREAD", source })?;
            let reading = match held {
                Some(Summary { entries, last }) => {
                    position = last;
                    let to_the_end = entries < count;
                    let entry_bytes = reply.bytes().len() as u64 / entries;
                    self.count = (READ_BYTES / entry_bytes).clamp(*COUNTS.start(), *COUNTS.end());
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

/// A connection to the server that holds the stream `key` at this moment, for [`xread`].
pub(crate) fn connect(route: &Route, key: &str) -> Result<Connection, ConnectionError> {
    let timeouts = Timeouts { connect: TIMEOUT, read: BLOCK + TIMEOUT, write: TIMEOUT };
    let client = route.client_for(key, TIMEOUT).map_err(ConnectionError::Route)?;
    Connection::open(client.get_connection_info(), route.tls(), timeouts)
}

/// Asks for up to `count` entries behind `position`; waits for one if there is none and `block` is set.
pub(crate) fn xread(
    connection: &mut Connection,
    key: &str,
    position: EntryId,
    count: u64,
    block: bool,
) -> Result<Reply, ConnectionError> {
    let (count, position) = (count.to_string(), position.to_string());
    let wait = BLOCK.as_millis().to_string();
    let mut arguments: Vec<&[u8]> = vec![b"XREAD", b"COUNT", count.as_bytes()];
    if block {
        arguments.extend([&b"BLOCK"[..], wait.as_bytes()]);
    }
    arguments.extend([&b"STREAMS"[..], key.as_bytes(), position.as_bytes()]);
    connection.ask("XREAD", &arguments)
}

/// Id of the newest entry that the stream ever had; nothing if there is no stream.
pub(crate) fn newest_id(connection: &mut Connection, key: &str) -> Result<Option<EntryId>, ConnectionError> {
    // XINFO refuses a key that does not exist; asking first tells that apart from a failure.
    let exists = connection.ask("EXISTS", &[b"EXISTS", key.as_bytes()])?;
    if Elements::of(exists.bytes()).take() == Some(Element::Integer(0)) {
        return Ok(None);
    }
    let info = connection.ask("XINFO", &[b"XINFO", b"STREAM", key.as_bytes()])?;
    let mut elements = Elements::of(info.bytes());
    while let Some(element) = elements.take() {
        if element == Element::Bulk(b"last-generated-id") {
            return Ok(elements.text().and_then(EntryId::parse));
        }
    }
    Ok(None)
}
