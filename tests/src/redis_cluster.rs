//! A real Redis Cluster: three masters, each with one of the documented streams.

use redis::Value;

use crate::{RedisServer, free_port, wait};

/// The slots of each node, chosen so that node `n` holds `techsapo:events:{n}` (slots 13907, 9842 and 5649).
const SLOTS: [(u16, u16); 3] = [(12_000, 16_383), (7_000, 11_999), (0, 6_999)];

/// Three nodes that keep nothing on disk but the cluster's own notes: killed, a node forgets its keys, not its slots.
/// While one is down, the others go on.
#[derive(Debug)]
pub struct RedisCluster {
    /// Node `n` begins with `techsapo:events:{n}`.
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts one and waits until every node says that it is whole.
    ///
    /// # Panics
    /// When it never is.
    pub fn start() -> Self {
        let mut nodes: Vec<RedisServer> = Vec::new();
        let bus_ports = SLOTS.map(|_| free_port().to_string());
        for ((first, last), bus_port) in SLOTS.into_iter().zip(&bus_ports) {
            let node = RedisServer::with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                bus_port,
                "--cluster-node-timeout",
                "2000",
                "--cluster-require-full-coverage",
                "no",
            ]);
            node.cli::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            node.cli::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(nodes.len() + 1).to_string()]);
            if let Some(met) = nodes.first() {
                node.cli::<()>(&["CLUSTER", "MEET", "127.0.0.1", &met.port().to_string(), &bus_ports[0]]);
            }
            nodes.push(node);
        }
        let cluster = Self { nodes };
        cluster.wait_whole();
        cluster
    }

    /// Waits until every node says that every slot is served.
    ///
    /// # Panics
    /// When they never do.
    pub fn wait_whole(&self) {
        wait::until_true("the cluster is whole", || {
            self.nodes.iter().all(|node| {
                let info: String = node.cli(&["CLUSTER", "INFO"]);
                ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"]
                    .iter()
                    .all(|line| info.contains(line))
            })
        });
    }

    /// Its address for the app and the exporter.
    pub fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// Key of the stream that begins on node `place`.
    pub fn stream(place: usize) -> String {
        format!("techsapo:events:{{{place}}}")
    }

    /// All streams, as the app's setting takes them.
    pub fn streams(&self) -> String {
        (0..self.nodes.len()).map(Self::stream).collect::<Vec<_>>().join(",")
    }

    /// Moves the slot of `key` with all its keys from one node to another, step by step as `redis-cli --cluster
    /// reshard` does. `half_way` is called while the keys have moved and the slot has not.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn move_slot(&self, key: &str, from: usize, to: usize, half_way: impl FnOnce()) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let slot = source.cli::<u16>(&["CLUSTER", "KEYSLOT", key]).to_string();
        let [source_id, target_id] = [source, target].map(|node| node.cli::<String>(&["CLUSTER", "MYID"]));
        target.cli::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
        source.cli::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
        loop {
            let keys: Vec<String> = source.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let port = target.port().to_string();
                source.cli::<Value>(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
            }
        }
        half_way();
        // The target first: it then knows better than any other node that it is the one.
        for node in [target, source].into_iter().chain(&self.nodes) {
            node.cli::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
        }
    }
}
