//! The node of a cluster that serves a key's slot.
//!
//! Any node can be asked where a slot is, but what it says of another may be old. So the search goes on to the node
//! that was named, until one names itself. Nodes that were heard of are remembered: those of the URL may all go.

use std::collections::{HashSet, VecDeque};
use std::fmt;

use redis::{Client, ErrorKind, FromRedisValue as _, RedisError, RedisResult, Value};

use crate::nodes::{Manner, Node, Nodes, list};
use crate::{Search, about};

/// A cluster's nodes.
pub(crate) struct Cluster {
    /// As they stand in the URL.
    given: Vec<Node>,
    known: Nodes,
    manner: Manner,
}

/// Consecutive slots and the master that serves them.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    /// Nothing if the node does not know.
    master: Option<Node>,
    id: String,
}

impl Cluster {
    /// `nodes` is not empty.
    pub(crate) fn new(nodes: Vec<Node>, manner: Manner) -> Self {
        Self { given: nodes.clone(), known: Nodes::new(nodes), manner }
    }

    /// A client of the node that serves the slot of `key` by its own word.
    pub(crate) fn client_for(&self, key: &str, search: Search<'_>) -> RedisResult<Client> {
        let mut to_ask = VecDeque::from(self.known.to_ask());
        let mut asked = HashSet::new();
        let mut error = nobody();
        while let Some(node) = to_ask.pop_front() {
            if !asked.insert(node.clone()) {
                continue;
            }
            let (id, slot, ranges) = match self.ask(&node, key, search) {
                Ok(answer) => answer,
                Err(why) => {
                    self.known.failed(&node);
                    error = silent(&node, &why);
                    continue;
                }
            };
            self.known.answered(&node);
            let serving = ranges.iter().find(|range| (range.first..=range.last).contains(&slot));
            match serving.map(|range| (range, &range.master)) {
                Some((range, _)) if range.id == id => return self.manner.client(&node, search.tls),
                Some((_, Some(master))) if !asked.contains(master) => {
                    error = unserved(&node, format!("slot {slot} is at {master}, which says it is not"));
                    to_ask.push_front(master.clone());
                }
                // It names one that did not answer, or that named another.
                Some((_, Some(_))) => {}
                Some((_, None)) | None => error = unserved(&node, format!("slot {slot} is nobody's")),
            }
            to_ask.extend(masters(&ranges));
        }
        Err(error)
    }

    /// A client of each node that serves slots.
    pub(crate) fn masters(&self, search: Search<'_>) -> RedisResult<Vec<Client>> {
        let mut error = nobody();
        for node in self.known.to_ask() {
            // The key does not matter.
            match self.ask(&node, "", search) {
                Ok((_, _, ranges)) => {
                    self.known.answered(&node);
                    let client = |master| self.manner.client(master, search.tls);
                    return masters(&ranges).iter().map(client).collect();
                }
                Err(why) => {
                    self.known.failed(&node);
                    error = silent(&node, &why);
                }
            }
        }
        Err(error)
    }

    /// Asks one node for its id, the slot of `key`, and who serves which slots.
    fn ask(&self, node: &Node, key: &str, search: Search<'_>) -> RedisResult<(String, u16, Vec<Range>)> {
        let mut connection = search.ask(&self.manner.client(node, search.tls)?)?;
        let mut questions = redis::pipe();
        questions.cmd("CLUSTER").arg("MYID");
        questions.cmd("CLUSTER").arg("KEYSLOT").arg(key);
        questions.cmd("CLUSTER").arg("SLOTS");
        let (id, slot, ranges): (String, u16, Vec<Value>) = questions.query(&mut connection)?;
        let ranges = ranges.iter().map(|range| Range::read(range, node)).collect::<Option<_>>();
        let ranges: Vec<_> =
            ranges.ok_or((ErrorKind::UnexpectedReturnType, "CLUSTER SLOTS cannot be read"))?;
        Ok((id, slot, ranges))
    }
}

/// Each of the masters once.
fn masters(ranges: &[Range]) -> Vec<Node> {
    let mut masters: Vec<Node> = Vec::new();
    for master in ranges.iter().filter_map(|range| range.master.as_ref()) {
        if !masters.contains(master) {
            masters.push(master.clone());
        }
    }
    masters
}

impl Range {
    /// One row of `CLUSTER SLOTS` as `said_by` answered it: first slot, last slot, master, replicas …; a server is its
    /// host, its port and its id.
    fn read(row: &Value, said_by: &Node) -> Option<Self> {
        let Value::Array(row) = row else { return None };
        let [first, last, Value::Array(master), ..] = row.as_slice() else { return None };
        let [host, port, id, ..] = master.as_slice() else { return None };
        let host = match Option::<String>::from_redis_value_ref(host).ok()? {
            // A node that was told no address of its own: it is where it was reached.
            None => Some(said_by.host.clone()),
            Some(host) if host.is_empty() => Some(said_by.host.clone()),
            Some(host) if host == "?" => None,
            Some(host) => Some(host),
        };
        let port = number(port)?;
        Some(Self {
            first: number(first)?,
            last: number(last)?,
            master: host.map(|host| Node { host, port }),
            id: String::from_redis_value_ref(id).ok()?,
        })
    }
}

/// (The crate's own reading would cut off what is too large.)
fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

fn nobody() -> RedisError {
    (ErrorKind::ClusterConnectionNotFound, "no node of the cluster could be asked").into()
}

fn silent(node: &Node, why: &RedisError) -> RedisError {
    about(ErrorKind::ClusterConnectionNotFound, "a node of the cluster does not answer", node, why)
}

fn unserved(said_by: &Node, what: String) -> RedisError {
    about(ErrorKind::ClusterConnectionNotFound, "no node serves the slot; the last one asked", said_by, what)
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster of {}", list(&self.given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn row(first: i64, last: i64, host: Value) -> Value {
        let master = Value::Array(vec![host, Value::Int(7000), text("id-1"), Value::Array(vec![])]);
        let replica = Value::Array(vec![text("10.0.0.9"), Value::Int(7009), text("id-9")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
    }

    #[test]
    fn the_master_of_a_range_is_where_it_says_or_where_it_was_asked() {
        let said_by = Node { host: "redis.internal".to_owned(), port: 6379 };
        let master =
            |host| Range::read(&row(0, 5460, host), &said_by).unwrap().master.map(|node| node.to_string());
        assert_eq!(master(text("10.0.0.1")).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(master(text("")).as_deref(), Some("redis.internal:7000"));
        assert_eq!(master(Value::Nil).as_deref(), Some("redis.internal:7000"));
        assert_eq!(master(text("?")), None);
    }

    #[test]
    fn masters_of_several_ranges_are_listed_once_and_nonsense_is_refused() {
        let said_by = Node { host: "a".to_owned(), port: 1 };
        let ranges = [row(0, 1, text("b")), row(2, 3, text("c")), row(4, 5, text("b"))];
        let ranges: Vec<_> = ranges.iter().map(|row| Range::read(row, &said_by).unwrap()).collect();
        assert_eq!(list(&masters(&ranges)), "b:7000, c:7000");
        for nonsense in [Value::Nil, Value::Array(vec![]), row(-1, 3, text("b")), row(0, 70_000, text("b"))] {
            assert_eq!(Range::read(&nonsense, &said_by), None);
        }
    }
}
