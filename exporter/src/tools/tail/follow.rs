//! Follows one stream on a thread of its own, through lost connections, without leaving a trace in Redis.
//!
//! What it reads with is what the exporter reads with ([`crate::reader`]); unlike it, it goes on where it was.

use std::io;
use std::sync::mpsc::{SendError, SyncSender};
use std::thread;
use std::time::Duration;

use techsapo_redis_route::Route;
use techsapo_shared::wire::EntryId;

use crate::reader::connection::{Connection, ConnectionError, Reply};
use crate::reader::entries::summary;
use crate::reader::resp::{Element, Elements, ProtocolError};
use crate::reader::{connect, newest_id, xread};

/// Entries asked for at once. A producer's entry has up to 64 KiB.
const COUNT: u64 = 64;
/// Pause between attempts to connect.
const RETRY: Duration = Duration::from_millis(500);

/// What a follower tells.
#[derive(Debug)]
pub(super) enum News {
    /// Entries in their order, as Redis replied to `XREAD`.
    Entries(Reply),
    /// The connection is lost, with the reason; trying again.
    Lost(String),
    /// A connection stands again; what follows goes on where it was.
    Back,
    /// The stream is gone, or its newest id lies below what was read: it is read from its start.
    Regressed,
}

/// One stream, and how far it was read.
pub(super) struct Follower {
    route: Route,
    key: String,
    position: EntryId,
    connection: Connection,
    /// Entries to ask for; fewer once a reply was too long.
    count: u64,
}

impl Follower {
    /// Connects, and finds the place `last` entries before the stream's end.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub(super) fn begin(route: &Route, key: &str, last: u64) -> Result<Self, ConnectionError> {
        let mut connection = connect(route, key)?;
        let position = before_the_last(&mut connection, key, last)?;
        Ok(Self { route: route.clone(), key: key.to_owned(), position, connection, count: COUNT })
    }

    /// Tells `out` what comes, under the number `stream`. Ends when nobody listens any more.
    ///
    /// # Errors
    /// There can be no thread.
    pub(super) fn spawn(mut self, stream: usize, out: SyncSender<(usize, News)>) -> io::Result<()> {
        let follow = move || {
            let tell = |news| out.send((stream, news));
            while self.follow(tell).is_ok() {}
        };
        thread::Builder::new().name(format!("tail-{stream}")).spawn(follow).map(drop)
    }

    /// One connection's life, and the search for the next.
    fn follow<E>(&mut self, tell: impl Fn(News) -> Result<(), SendError<E>>) -> Result<(), SendError<E>> {
        let mut wait = false;
        let error = loop {
            match self.read(wait) {
                Ok(Some(News::Entries(reply))) => {
                    wait = false;
                    tell(News::Entries(reply))?;
                }
                Ok(Some(news)) => tell(news)?,
                // Nothing more at the moment.
                Ok(None) => wait = true,
                Err(error) => break error,
            }
        };
        if matches!(error, ConnectionError::TooLong(_)) {
            self.count = 1;
        }
        tell(News::Lost(error.to_string()))?;
        self.connection = loop {
            thread::sleep(RETRY);
            if let Ok(connection) = connect(&self.route, &self.key) {
                break connection;
            }
        };
        tell(News::Back)
    }

    fn read(&mut self, wait: bool) -> Result<Option<News>, ConnectionError> {
        let reply = xread(&mut self.connection, &self.key, self.position, self.count, wait)?;
        let held = summary(reply.bytes())
            .map_err(|source| ConnectionError::Protocol { command: "XREAD", source })?;
        if let Some(held) = held {
            self.position = held.last;
            return Ok(Some(News::Entries(reply)));
        }
        if self.position > EntryId::ZERO && newest_id(&mut self.connection, &self.key)? < Some(self.position)
        {
            self.position = EntryId::ZERO;
            return Ok(Some(News::Regressed));
        }
        Ok(None)
    }
}

/// The place behind which the stream's last `last` entries stand; all of them, if it has no more.
fn before_the_last(connection: &mut Connection, key: &str, last: u64) -> Result<EntryId, ConnectionError> {
    if last == 0 {
        return Ok(newest_id(connection, key)?.unwrap_or_default());
    }
    let mut end = "+".to_owned();
    let mut left = last;
    // Step by step, for entries come with all that they hold.
    loop {
        let count = left.min(COUNT);
        let text = count.to_string();
        let arguments =
            [b"XREVRANGE".as_slice(), key.as_bytes(), end.as_bytes(), b"-", b"COUNT", text.as_bytes()];
        let reply = connection.ask("XREVRANGE", &arguments)?;
        let (entries, oldest) = oldest_of(reply.bytes())
            .ok_or(ProtocolError::Form("XREVRANGE"))
            .map_err(|source| ConnectionError::Protocol { command: "XREVRANGE", source })?;
        left -= entries.min(left);
        if entries < count {
            return Ok(EntryId::ZERO);
        }
        if left == 0 {
            return Ok(before(oldest));
        }
        end = format!("({oldest}");
    }
}

/// Number of entries in a reply to `XREVRANGE`, and the id of the last one in it.
fn oldest_of(reply: &[u8]) -> Option<(u64, EntryId)> {
    let mut elements = Elements::of(reply);
    let entries = elements.array()?;
    let mut oldest = EntryId::ZERO;
    for _ in 0..entries {
        (elements.array()? == 2).then_some(())?;
        oldest = EntryId::parse(elements.text()?)?;
        // An entry that was deleted meanwhile has no fields.
        match elements.take()? {
            Element::Array(texts) => (0..texts).try_for_each(|_| elements.text().map(drop))?,
            Element::Null => {}
            _ => return None,
        }
    }
    Some((entries, oldest))
}

/// The greatest id below `id`.
fn before(id: EntryId) -> EntryId {
    match id {
        EntryId { ms, seq: 1.. } => EntryId { ms, seq: id.seq - 1 },
        EntryId { ms: 0, .. } => EntryId::ZERO,
        EntryId { ms, .. } => EntryId { ms: ms - 1, seq: u64::MAX },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_reply_is_found() {
        assert_eq!(oldest_of(b"*0\r\n"), Some((0, EntryId::ZERO)));
        let reply = b"*2\r\n*2\r\n$3\r\n9-1\r\n*2\r\n$1\r\nv\r\n$1\r\n1\r\n*2\r\n$3\r\n8-0\r\n*-1\r\n";
        assert_eq!(oldest_of(reply), Some((2, EntryId { ms: 8, seq: 0 })));
        assert_eq!(oldest_of(b"*1\r\n$1\r\nx\r\n"), None);
        assert_eq!(oldest_of(b":1\r\n"), None);
    }

    #[test]
    fn an_id_has_one_before_it() {
        let id = |ms, seq| EntryId { ms, seq };
        assert_eq!(before(id(5, 3)), id(5, 2));
        assert_eq!(before(id(5, 0)), id(4, u64::MAX));
        assert_eq!(before(id(0, 0)), EntryId::ZERO);
    }
}
