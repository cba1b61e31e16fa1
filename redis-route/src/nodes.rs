//! The servers that can be asked, in the order in which it is worth asking them, and how a client of one is made.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, RedisResult, TlsCertificates};
use techsapo_tls::ClientTls;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How servers of one kind are connected to: user, password, database, with TLS or without. Never printed.
#[derive(Clone)]
pub(crate) struct Manner(ConnectionInfo);

impl Manner {
    /// That of this address; and its node. Nothing if it is not one of host and port.
    pub(crate) fn of(info: ConnectionInfo) -> Option<(Self, Node)> {
        let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) = info.addr()
        else {
            return None;
        };
        let node = Node { host: host.clone(), port: *port };
        Some((Self(info), node))
    }

    /// The database's number.
    pub(crate) fn db(&self) -> i64 {
        self.0.redis_settings().db()
    }

    /// A client of `node`.
    pub(crate) fn client(&self, node: &Node, tls: Option<&ClientTls>) -> RedisResult<Client> {
        let Node { host, port } = node.clone();
        let addr = match self.0.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        open(self.0.clone().set_addr(addr), tls)
    }
}

/// A client of the server at this address; if it is one by TLS, with the certificates that are in force now.
pub(crate) fn open(server: ConnectionInfo, tls: Option<&ClientTls>) -> RedisResult<Client> {
    if !matches!(server.addr(), ConnectionAddr::TcpTls { .. }) {
        return Client::open(server);
    }
    // The driver asks for the process's choice of cryptography.
    techsapo_tls::provider();
    let pem = tls.map(ClientTls::pem).unwrap_or_default();
    let identity = pem.identity.clone();
    let client_tls = identity.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    Client::build_with_tls(server, TlsCertificates { client_tls, root_cert: pem.ca.clone() })
}

/// Known servers. The one that answered last is asked first, those that did not answer are asked last.
#[derive(Debug)]
pub(crate) struct Nodes(Mutex<Vec<Node>>);

impl Nodes {
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        Self(Mutex::new(nodes))
    }

    /// All of them, in the order in which to ask.
    pub(crate) fn to_ask(&self) -> Vec<Node> {
        self.lock().clone()
    }

    /// It answered.
    pub(crate) fn answered(&self, node: &Node) {
        let mut nodes = self.lock();
        nodes.retain(|known| known != node);
        nodes.insert(0, node.clone());
    }

    /// It did not answer, or knew nothing.
    pub(crate) fn failed(&self, node: &Node) {
        let mut nodes = self.lock();
        nodes.retain(|known| known != node);
        nodes.push(node.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Node>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `a:1, b:2`.
pub(crate) fn list(nodes: &[Node]) -> String {
    nodes.iter().map(Node::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo as _;

    use super::*;

    #[test]
    fn who_answered_is_asked_first_and_who_did_not_last() {
        let node = |port| Node { host: "a".to_owned(), port };
        let nodes = Nodes::new(vec![node(1), node(2), node(3)]);
        nodes.failed(&node(1));
        assert_eq!(nodes.to_ask(), [node(2), node(3), node(1)]);
        nodes.answered(&node(3));
        nodes.answered(&node(4));
        assert_eq!(nodes.to_ask(), [node(4), node(3), node(2), node(1)]);
    }

    #[test]
    fn a_client_of_another_server_keeps_the_credentials() {
        let info = "redis://user:secret@[::1]:7000/3".into_connection_info().unwrap();
        let (manner, node) = Manner::of(info).unwrap();
        assert_eq!(node.to_string(), "[::1]:7000");
        let client = manner.client(&Node { host: "b".to_owned(), port: 7001 }, None).unwrap();
        let info = client.get_connection_info();
        assert_eq!(info.addr().to_string(), "b:7001");
        let settings = info.redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("user"), Some("secret"), 3)
        );
    }
}
