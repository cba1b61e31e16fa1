//! Which Redis server holds a key: the one that the URL names, the cluster's node that serves the key's slot, or the
//! master that sentinels name.
//!
//! In goes a URL, and again and again a key; out comes a client of one server, for a connection of the caller's own.
//! What must hold:
//!
//! * Nothing is remembered that could be wrong at the next connect, except where to ask first: the answer is sought
//!   anew, and it is a server's own word that it serves the slot or is the master.
//! * Whoever gets an error of any kind (`MOVED`, `ASK`, `READONLY`, `CLUSTERDOWN` …) drops the connection and comes
//!   again. Nobody follows a redirection.
//! * Looking for the server and connecting take no longer together than the caller allows.
//! * Where the URL asks for TLS, every server is spoken to that way, with the certificates that are in force at that moment.
//! * No password is in an error, a log line or a `Debug`.

mod cluster;
mod nodes;
mod sentinel;
mod url;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionInfo, ErrorKind, RedisError, RedisResult};
use techsapo_tls::ClientTls;

pub use self::url::UrlError;
use self::{cluster::Cluster, sentinel::Sentinels};

/// What the addresses look like, for messages that follow "expected".
pub const EXPECTED: &str = "redis://[user:password@]host:port[/db], redis+cluster://[user:password@]host:port,host:port,… \
                            or redis+sentinel://[user:password@]host:port,host:port,…/master-name[/db]; rediss instead of \
                            redis for TLS";

/// The way to a Redis, whatever it is made of. Cheap to clone.
#[derive(Clone)]
pub struct Route {
    /// As it was written; never shown, for it may hold a password.
    written: Arc<str>,
    kind: Arc<Kind>,
    tls: Option<ClientTls>,
}

#[allow(clippy::large_enum_variant)] // There is one of them, behind an `Arc`.
enum Kind {
    /// One server.
    Server(ConnectionInfo),
    Cluster(Cluster),
    Sentinels(Sentinels),
}

/// A key that cannot be used in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "in a cluster a stream's key needs a hash tag, which keeps the keys around the stream on the stream's node: \
     write {key}:{{0}} instead of {key}"
)]
pub struct NoHashTag {
    key: String,
}

impl FromStr for Route {
    type Err = UrlError;

    /// Reads an address; see [`EXPECTED`]. Asks nobody.
    fn from_str(text: &str) -> Result<Self, UrlError> {
        Ok(Self { kind: Arc::new(url::parse(text)?), written: text.into(), tls: None })
    }
}

impl Route {
    /// The same way with these certificates, if it is one by TLS. (Without them, the well-known authorities are trusted.)
    #[must_use]
    pub fn secured_by(self, tls: &ClientTls) -> Self {
        Self { tls: Some(tls.clone()), ..self }
    }

    /// The certificates of [`Route::secured_by`].
    pub fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// Whether these streams, with the keys around them, can be used here.
    ///
    /// # Errors
    /// In a cluster: the first key without a hash tag.
    pub fn check_streams(&self, keys: &[String]) -> Result<(), NoHashTag> {
        let untagged = keys.iter().find(|key| matches!(*self.kind, Kind::Cluster(_)) && !has_hash_tag(key));
        untagged.map_or(Ok(()), |key| Err(NoHashTag { key: key.clone() }))
    }

    /// A client of the server that holds `key` at this moment, found within `timeout`.
    ///
    /// # Errors
    /// No server is known, can be reached or says that it is the one.
    pub fn client_for(&self, key: &str, timeout: Duration) -> RedisResult<Client> {
        match &*self.kind {
            Kind::Server(server) => nodes::open(server.clone(), self.tls()),
            Kind::Cluster(cluster) => cluster.client_for(key, self.search(timeout)),
            Kind::Sentinels(sentinels) => sentinels.client(self.search(timeout)),
        }
    }

    /// A connection of the caller's own to the server that holds `key`. Neither this nor anything that is asked later
    /// waits longer than `timeout` for the network.
    ///
    /// # Errors
    /// As [`Route::client_for`]; or the server cannot be connected to.
    pub fn connect(&self, key: &str, timeout: Duration) -> RedisResult<Connection> {
        let search = self.search(timeout);
        let client = self.client_for(key, timeout)?;
        connect(&client, search.left()?, timeout)
    }

    /// A client of each master: of the one server, or of all that a cluster's slots are spread over.
    ///
    /// # Errors
    /// As [`Route::client_for`].
    pub fn masters(&self, timeout: Duration) -> RedisResult<Vec<Client>> {
        match &*self.kind {
            Kind::Server(_) => Ok(vec![self.client_for("", timeout)?]),
            Kind::Cluster(cluster) => cluster.masters(self.search(timeout)),
            Kind::Sentinels(sentinels) => Ok(vec![sentinels.client(self.search(timeout))?]),
        }
    }

    fn search(&self, timeout: Duration) -> Search<'_> {
        Search { until: Instant::now() + timeout, each: timeout / 4, tls: self.tls() }
    }
}

/// Two are equal if they were written alike.
impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Route {}

/// Where it leads, without user and password.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            Kind::Server(server) => server.addr().fmt(f),
            Kind::Cluster(cluster) => cluster.fmt(f),
            Kind::Sentinels(sentinels) => sentinels.fmt(f),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({self})")
    }
}

/// As Redis sees it: what stands between the first `{` and the first `}` behind it, if it is not empty.
fn has_hash_tag(key: &str) -> bool {
    key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty())
}

/// A search for a server: how long it may take, and by which certificates it goes.
#[derive(Debug, Clone, Copy)]
struct Search<'a> {
    until: Instant,
    /// One server's part of the whole, so that one that hangs does not use it up.
    each: Duration,
    tls: Option<&'a ClientTls>,
}

impl Search<'_> {
    /// What is left of the whole.
    fn left(self) -> RedisResult<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        }
        Ok(left)
    }

    /// A short-lived connection, to ask one server something.
    fn ask(self, client: &Client) -> RedisResult<Connection> {
        let each = self.left()?.min(self.each);
        connect(client, each, each)
    }
}

fn connect(client: &Client, to_connect: Duration, to_answer: Duration) -> RedisResult<Connection> {
    let connection = client.get_connection_with_timeout(to_connect)?;
    connection.set_read_timeout(Some(to_answer))?;
    connection.set_write_timeout(Some(to_answer))?;
    Ok(connection)
}

/// An error about `node`, with what it or the network said.
fn about(
    kind: ErrorKind,
    what: &'static str,
    node: impl fmt::Display,
    said: impl fmt::Display,
) -> RedisError {
    (kind, what, format!("{node}: {said}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_tags_are_those_of_redis() {
        for tagged in ["techsapo:events:{0}", "{a}", "x{a}{}", "{{a}"] {
            assert!(has_hash_tag(tagged), "{tagged}");
        }
        for untagged in ["techsapo:events", "events:{}", "events:{}{a}", "events:}{", "events:{0"] {
            assert!(!has_hash_tag(untagged), "{untagged}");
        }
    }

    #[test]
    fn a_cluster_asks_for_hash_tags_and_says_what_to_write() {
        let keys = ["techsapo:events:{0}".to_owned(), "techsapo:events".to_owned()];
        let cluster: Route = "redis+cluster://127.0.0.1:1".parse().unwrap();
        assert_eq!(cluster.check_streams(&keys[..1]), Ok(()));
        let message = cluster.check_streams(&keys).unwrap_err().to_string();
        assert!(message.ends_with("write techsapo:events:{0} instead of techsapo:events"), "{message}");
        let server: Route = "redis://127.0.0.1:1".parse().unwrap();
        assert_eq!(server.check_streams(&keys), Ok(()));
    }

    #[test]
    fn nobody_there_is_an_error_within_the_time_given() {
        for url in ["redis+cluster://127.0.0.1:1,127.0.0.1:2", "redis+sentinel://127.0.0.1:1/main"] {
            let route: Route = url.parse().unwrap();
            let error = route.client_for("events:{0}", Duration::from_secs(5)).unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:"), "{error}");
            assert!(route.masters(Duration::from_secs(5)).is_err());
        }
    }
}
