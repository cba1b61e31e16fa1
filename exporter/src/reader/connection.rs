//! A connection to Redis that asks one thing at a time and gives its reply as it came: bytes in a buffer that is used
//! again, for nearly all that the exporter reads is one kind of reply, and copying it apart would cost more than
//! counting what it holds.
//!
//! Whatever fails, and any error reply, makes the connection useless: the reader drops it and makes a new one.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, RedisConnectionInfo};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use techsapo_tls::ClientTls;

use super::resp::{self, Element, Elements, Frame, ProtocolError};

/// What a buffer holds at first: more than a reply has as a rule. Its pages are taken when they are first written.
const BUFFER_BYTES: usize = 2 << 20;
/// A buffer that had to grow beyond this is not kept.
const MAX_KEPT_BYTES: usize = 8 << 20;
/// Longest reply: any one entry fits, for Redis takes no command beyond 1 GiB (`client-query-buffer-limit`).
pub const MAX_REPLY_BYTES: usize = 5 << 28;
/// Most of an error reply that is told.
const MAX_ERROR_CHARS: usize = 200;

/// Why a connection is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The server that holds the stream cannot be found.
    #[error("cannot find the server that holds the stream: {0}")]
    Route(#[source] redis::RedisError),
    /// The address cannot be found or reached.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Host and port, or path.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// This build cannot speak to such an address.
    #[error("{0}: only redis://, rediss:// and unix:// addresses can be read from")]
    Unsupported(String),
    /// A command could not be sent.
    #[error("cannot send {command}: {source}")]
    Send {
        /// The command.
        command: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The reply did not come, or not as a whole.
    #[error("no reply to {command}: {source}")]
    Receive {
        /// The command.
        command: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Redis replied with an error.
    #[error("Redis refuses {command}: {reply}")]
    Refused {
        /// The command.
        command: &'static str,
        /// What Redis says.
        reply: String,
    },
    /// The reply is longer than any that is read.
    #[error("the reply to {0} is longer than {MAX_REPLY_BYTES} bytes")]
    TooLong(&'static str),
    /// What came is not the reply of a Redis server.
    #[error("the reply to {command} cannot be read: {source}")]
    Protocol {
        /// The command.
        command: &'static str,
        /// What is wrong with it.
        source: ProtocolError,
    },
}

/// How long the connection waits.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the server to take the connection, and for each step until it can be used.
    pub connect: Duration,
    /// For the next bytes of a reply.
    pub read: Duration,
    /// For the server to take the next bytes of a command.
    pub write: Duration,
}

/// A whole reply. Its buffer goes back to the connection when it is dropped, on whatever thread.
#[derive(Debug)]
pub struct Reply {
    buffer: Vec<u8>,
    length: usize,
    home: Sender<Vec<u8>>,
}

impl Reply {
    /// The reply as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.buffer.len() <= MAX_KEPT_BYTES {
            // Where the connection is gone the buffer may go too.
            let _ = self.home.send(std::mem::take(&mut self.buffer));
        }
    }
}

/// See the module.
pub struct Connection {
    stream: Stream,
    home: Sender<Vec<u8>>,
    returned: Receiver<Vec<u8>>,
}

impl Connection {
    /// Connects as `info` says: to its address, with its user and password, to its database; if by TLS, with the
    /// certificates of `tls`.
    ///
    /// # Errors
    /// The server cannot be reached, is not the one it should be, or does not let us in.
    pub fn open(
        info: &ConnectionInfo,
        tls: Option<&ClientTls>,
        timeouts: Timeouts,
    ) -> Result<Self, ConnectionError> {
        let stream = Stream::connect(info.addr(), tls, timeouts.connect)?;
        let (home, returned) = channel();
        let mut connection = Self { stream, home, returned };
        connection.set_timeouts(timeouts.connect, timeouts.connect)?;
        connection.greet(info.redis_settings())?;
        connection.set_timeouts(timeouts.read, timeouts.write)?;
        Ok(connection)
    }

    /// Says who we are and which database is meant.
    fn greet(&mut self, settings: &RedisConnectionInfo) -> Result<(), ConnectionError> {
        if let Some(password) = settings.password() {
            let user = settings.username().map(str::as_bytes);
            let arguments: Vec<&[u8]> =
                [Some(&b"AUTH"[..]), user, Some(password.as_bytes())].into_iter().flatten().collect();
            // Of a refusal the code word alone: what follows may repeat what was sent.
            self.ask("AUTH", &arguments).map_err(|error| match error {
                ConnectionError::Refused { command, reply } => ConnectionError::Refused {
                    command,
                    reply: reply.split(' ').next().unwrap_or_default().to_owned(),
                },
                other => other,
            })?;
        }
        if settings.db() != 0 {
            self.ask("SELECT", &[b"SELECT", settings.db().to_string().as_bytes()])?;
        }
        Ok(())
    }

    /// Sends a command and waits for its reply; `name` names it in errors.
    ///
    /// # Errors
    /// It could not be sent, its reply did not come, or Redis refuses it.
    pub fn ask(&mut self, name: &'static str, arguments: &[&[u8]]) -> Result<Reply, ConnectionError> {
        let sent = self.stream.write_all(&resp::command(arguments)).and_then(|()| self.stream.flush());
        sent.map_err(|source| ConnectionError::Send { command: name, source })?;
        let buffer = self.returned.try_recv().unwrap_or_else(|_| vec![0; BUFFER_BYTES]);
        let mut reply = Reply { buffer, length: 0, home: self.home.clone() };
        self.receive(name, &mut reply)?;
        match Elements::of(reply.bytes()).take() {
            Some(Element::Error(error)) => {
                let reply = String::from_utf8_lossy(error).chars().take(MAX_ERROR_CHARS).collect();
                Err(ConnectionError::Refused { command: name, reply })
            }
            _ => Ok(reply),
        }
    }

    fn receive(&mut self, command: &'static str, reply: &mut Reply) -> Result<(), ConnectionError> {
        let mut frame = Frame::default();
        loop {
            if reply.length == reply.buffer.len() {
                if reply.length >= MAX_REPLY_BYTES {
                    return Err(ConnectionError::TooLong(command));
                }
                reply.buffer.resize((reply.length * 2).min(MAX_REPLY_BYTES), 0);
            }
            match self.stream.read(&mut reply.buffer[reply.length..]) {
                Ok(0) => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(ConnectionError::Receive { command, source });
                }
                Ok(size) => reply.length += size,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // What the system calls "temporarily unavailable" is the end of our patience.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let source = io::Error::new(io::ErrorKind::TimedOut, "timed out");
                    return Err(ConnectionError::Receive { command, source });
                }
                Err(source) => return Err(ConnectionError::Receive { command, source }),
            }
            match frame.is_whole(reply.bytes()) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(source) => return Err(ConnectionError::Protocol { command, source }),
            }
        }
    }

    fn set_timeouts(&self, read: Duration, write: Duration) -> Result<(), ConnectionError> {
        let set = match &self.stream {
            Stream::Tcp(stream) => set_tcp_timeouts(stream, read, write),
            Stream::Tls(stream) => set_tcp_timeouts(stream.get_ref(), read, write),
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(read)).and_then(|()| stream.set_write_timeout(Some(write)))
            }
        };
        set.map_err(|source| ConnectionError::Connect { address: "the server".to_owned(), source })
    }
}

fn set_tcp_timeouts(stream: &TcpStream, read: Duration, write: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(read)).and_then(|()| stream.set_write_timeout(Some(write)))
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    fn connect(
        address: &ConnectionAddr,
        tls: Option<&ClientTls>,
        timeout: Duration,
    ) -> Result<Self, ConnectionError> {
        let connected = match (address, tls) {
            (ConnectionAddr::Tcp(host, port), _) => connect_tcp(host, *port, timeout).map(Self::Tcp),
            (ConnectionAddr::TcpTls { host, port, insecure: false, .. }, Some(tls)) => {
                connect_tls(host, *port, tls, timeout).map(|stream| Self::Tls(Box::new(stream)))
            }
            (ConnectionAddr::Unix(path), _) => UnixStream::connect(path).map(Self::Unix),
            (other, _) => return Err(ConnectionError::Unsupported(other.to_string())),
        };
        connected.map_err(|source| ConnectionError::Connect { address: address.to_string(), source })
    }
}

/// Connects to the first of the host's addresses that answers.
fn connect_tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// Connects, and makes the whole handshake, so that whom we do not trust is told as that.
fn connect_tls(
    host: &str,
    port: u16,
    tls: &ClientTls,
    timeout: Duration,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(tls.config(), name).map_err(io::Error::other)?;
    let mut stream = connect_tcp(host, port, timeout)?;
    // The handshake ends with what we send, and a command follows at once.
    stream.set_nodelay(true)?;
    set_tcp_timeouts(&stream, timeout, timeout)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake timed out")
            }
            _ => error,
        })?;
    }
    Ok(StreamOwned::new(session, stream))
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            // The system takes what is written at once.
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
        }
    }
}
