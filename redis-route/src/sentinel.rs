//! The master that sentinels name.
//!
//! Each sentinel is asked in turn, and its word is not enough: it may not have heard yet of what the others decided.
//! The server that it names must say itself that it is a master.

use std::fmt;

use redis::{Client, ErrorKind, RedisResult, Value};

use crate::nodes::{Manner, Node, Nodes, list};
use crate::{Search, about};

/// The sentinels of one master.
pub(crate) struct Sentinels {
    master_name: String,
    /// As they stand in the URL.
    given: Vec<Node>,
    order: Nodes,
    to_sentinel: Manner,
    to_master: Manner,
}

impl Sentinels {
    /// `nodes` is not empty.
    pub(crate) fn new(master_name: &str, nodes: Vec<Node>, to_sentinel: Manner, to_master: Manner) -> Self {
        Self {
            master_name: master_name.to_owned(),
            given: nodes.clone(),
            order: Nodes::new(nodes),
            to_sentinel,
            to_master,
        }
    }

    /// A client of the present master.
    pub(crate) fn client(&self, search: Search<'_>) -> RedisResult<Client> {
        let mut error = (ErrorKind::EmptySentinelList, "there is no sentinel to ask").into();
        for sentinel in self.order.to_ask() {
            match self.ask(&sentinel, search) {
                Ok(client) => {
                    self.order.answered(&sentinel);
                    return Ok(client);
                }
                Err(why) => {
                    self.order.failed(&sentinel);
                    let kind = ErrorKind::MasterNameNotFoundBySentinel;
                    error = about(kind, "no sentinel leads to the master; the last one asked", sentinel, why);
                }
            }
        }
        Err(error)
    }

    /// How the master is connected to, and how the sentinels.
    #[cfg(test)]
    pub(crate) fn manners(&self) -> [&Manner; 2] {
        [&self.to_master, &self.to_sentinel]
    }

    fn ask(&self, sentinel: &Node, search: Search<'_>) -> RedisResult<Client> {
        let mut connection = search.ask(&self.to_sentinel.client(sentinel, search.tls)?)?;
        let mut question = redis::cmd("SENTINEL");
        let address: Option<(String, u16)> =
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master_name).query(&mut connection)?;
        let Some((host, port)) = address else {
            let kind = ErrorKind::MasterNameNotFoundBySentinel;
            return Err((kind, "it knows no master of that name", self.master_name.clone()).into());
        };
        let master = Node { host, port };
        let client = self.to_master.client(&master, search.tls)?;
        let unconfirmed = |why| {
            about(
                ErrorKind::Client,
                "the server that it names does not say that it is a master",
                &master,
                why,
            )
        };
        let mut connection = search.ask(&client).map_err(|error| unconfirmed(error.to_string()))?;
        let role: Vec<Value> =
            redis::cmd("ROLE").query(&mut connection).map_err(|error| unconfirmed(error.to_string()))?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(client),
            Some(Value::BulkString(role)) => Err(unconfirmed(String::from_utf8_lossy(role).into_owned())),
            _ => Err(unconfirmed("its ROLE cannot be read".to_owned())),
        }
    }
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the sentinels {}", self.master_name, list(&self.given))
    }
}
