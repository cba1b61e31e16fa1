//! What the exporter tells Redis: how far it is durable. And what it asks before it begins: who owns the stream, and
//! what was acknowledged so far.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::{Connection, RedisResult, Script};
use techsapo_redis_route::Route;
use techsapo_shared::wire::{EntryId, StreamKeys};
use tracing::{info, warn};

use crate::apply::Quarantined;

/// How long the owner's key lives without being renewed.
pub const OWNER_LEASE: Duration = Duration::from_secs(30);
/// A command that takes longer is given up; the next second tries again.
const TIMEOUT: Duration = Duration::from_secs(2);
/// All acknowledgements are told again after so long, though Redis has heard them: it may have gone back to an older copy of itself.
const TELL_ALL_EVERY: Duration = Duration::from_secs(30);
/// Entries that the quarantine keeps, about.
const QUARANTINE_ENTRIES: usize = 1_000;
/// Bytes of one quarantined item that are kept.
const QUARANTINE_BYTES: usize = 16 * 1024;

/// One step for Redis, as a whole or not at all. `XTRIM` comes first: it passes when Redis is out of memory, and after
/// it the others may pass too. A stream whose newest id lies below the cursor is another stream than the one that was
/// read, and is not trimmed.
///
/// KEYS stream, acks, cursors, owner. ARGV state id, lease in ms, cursor, the id after it, producer, seq, producer,
/// seq … Returns {1, entries left, newest id, whether there were acks} or {0, owner}.
const PUBLISH: &str = r"
local owner = redis.call('GET', KEYS[4])
if owner and owner ~= ARGV[1] then
  return {0, owner}
end
local function before(a, b)
  local ams, aseq = a:match('(%d+)-(%d+)')
  local bms, bseq = b:match('(%d+)-(%d+)')
  ams, aseq, bms, bseq = tonumber(ams), tonumber(aseq), tonumber(bms), tonumber(bseq)
  return ams < bms or (ams == bms and aseq < bseq)
end
local newest, left = '0-0', 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then newest = info[i + 1] end
  end
  if not before(newest, ARGV[3]) then
    redis.call('XTRIM', KEYS[1], 'MINID', ARGV[4])
  end
  left = redis.call('XLEN', KEYS[1])
end
redis.call('SET', KEYS[4], ARGV[1], 'PX', ARGV[2])
redis.call('HSET', KEYS[3], KEYS[1], ARGV[3])
local knew = redis.call('EXISTS', KEYS[2])
for i = 5, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[2], ARGV[i])
  if not known or tonumber(known) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
return {1, left, newest, knew}
";

/// What Redis says before the exporter begins.
#[derive(Debug, Default)]
pub struct Survey {
    /// Id of the state that may acknowledge and trim, if one has lately.
    pub owner: Option<String>,
    /// Producer → last acknowledged number.
    pub acknowledged: HashMap<String, u64>,
}

/// What came of publishing.
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// Redis knows.
    Done {
        /// Entries left in the stream.
        left: u64,
        /// Id of the newest entry that the stream ever had.
        newest: EntryId,
    },
    /// Another state owns the stream: nothing was changed.
    OwnedBy(String),
}

/// The exporter's hand on one stream's keys.
pub struct Acknowledger {
    route: Route,
    keys: StreamKeys,
    script: Script,
    connection: Option<Connection>,
    told: Told,
    failing: bool,
}

/// What Redis has heard by this connection. Runs are known for 30 days, and an app that crashes again and again makes thousands of them:
/// to tell of each every second would keep Redis from its other work.
#[derive(Default)]
struct Told {
    seqs: HashMap<String, u64>,
    /// When all were told; nothing: they are to be told.
    all: Option<Instant>,
}

impl Told {
    /// Those of `acknowledged` that are to be told now.
    fn news<'a>(&mut self, acknowledged: &'a [(String, u64)], now: Instant) -> Vec<&'a (String, u64)> {
        if self.all.is_none_or(|at| now.duration_since(at) >= TELL_ALL_EVERY) {
            *self = Self { seqs: HashMap::new(), all: Some(now) };
        }
        acknowledged.iter().filter(|(producer, seq)| self.seqs.get(producer) != Some(seq)).collect()
    }

    /// Redis has heard these; before, it knew of some or of none.
    fn heard(&mut self, news: &[&(String, u64)], knew: bool) {
        if !knew && !self.seqs.is_empty() {
            // It has forgotten all of them.
            self.all = None;
        }
        self.seqs.extend(news.iter().map(|(producer, seq)| (producer.clone(), *seq)));
    }
}

impl Acknowledger {
    /// Will use `route` for the keys around `stream`; connects when it is first needed.
    pub fn new(route: Route, stream: &str) -> Self {
        Self {
            route,
            keys: StreamKeys::of(stream),
            script: Script::new(PUBLISH),
            connection: None,
            told: Told::default(),
            failing: false,
        }
    }

    /// The stream's key.
    pub fn stream(&self) -> &str {
        &self.keys.stream
    }

    /// Asks who owns the stream and what was acknowledged.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub fn survey(&mut self) -> RedisResult<Survey> {
        let (owner, acks) = (self.keys.owner.clone(), self.keys.acks.clone());
        self.with_connection(|connection| {
            Ok(Survey {
                owner: redis::cmd("GET").arg(owner).query(connection)?,
                acknowledged: redis::cmd("HGETALL").arg(acks).query(connection)?,
            })
        })
    }

    /// Trims what is durable, acknowledges each producer of whom Redis has not heard yet and publishes the cursor.
    ///
    /// # Errors
    /// Redis could not be told; the next call tells it.
    pub fn publish(
        &mut self,
        state_id: &str,
        cursor: EntryId,
        acknowledged: &[(String, u64)],
    ) -> RedisResult<Published> {
        let news = self.told.news(acknowledged, Instant::now());
        let keys = self.keys.clone();
        let script = self.script.clone();
        let after = EntryId { ms: cursor.ms, seq: cursor.seq.saturating_add(1) };
        let mut call = script.key(keys.stream);
        call.key(keys.acks).key(keys.cursors).key(keys.owner);
        call.arg(state_id).arg(OWNER_LEASE.as_millis() as u64).arg(cursor.to_string()).arg(after.to_string());
        for (producer, seq) in &news {
            call.arg(producer).arg(seq);
        }
        let reply = self.with_connection(|connection| call.invoke::<redis::Value>(connection))?;
        match redis::from_redis_value::<(u8, u64, String, bool)>(reply.clone()) {
            Ok((1, left, newest, knew)) => {
                self.told.heard(&news, knew);
                Ok(Published::Done { left, newest: EntryId::parse(newest.as_bytes()).unwrap_or_default() })
            }
            _ => Ok(Published::OwnedBy(redis::from_redis_value::<(u8, String)>(reply)?.1)),
        }
    }

    /// Removes the acknowledgements of producers that are silent.
    ///
    /// # Errors
    /// Redis could not be told; they stay, which does no harm to a state that knows the producers.
    pub fn forget(&mut self, producers: &[String]) -> RedisResult<()> {
        let acks = self.keys.acks.clone();
        for producer in producers {
            self.told.seqs.remove(producer);
        }
        self.with_connection(|connection| redis::cmd("HDEL").arg(acks).arg(producers).exec(connection))
    }

    /// Copies what could not be read to the quarantine stream, for a person to look at.
    ///
    /// # Errors
    /// Redis could not be told; the copies are gone, the count is not.
    pub fn quarantine(&mut self, items: &[Quarantined]) -> RedisResult<()> {
        let key = self.keys.quarantine.clone();
        let mut pipe = redis::pipe();
        for item in items {
            let data = &item.data[..item.data.len().min(QUARANTINE_BYTES)];
            pipe.cmd("XADD").arg(&key).arg("MAXLEN").arg("~").arg(QUARANTINE_ENTRIES).arg("*");
            pipe.arg("reason")
                .arg(&item.reason)
                .arg("p")
                .arg(item.producer.as_deref().unwrap_or(""))
                .arg("d")
                .arg(data);
            pipe.ignore();
        }
        self.with_connection(|connection| pipe.exec(connection))
    }

    fn with_connection<T>(&mut self, work: impl FnOnce(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let result = self.connection().and_then(work);
        match &result {
            Ok(_) if self.failing => {
                info!(stream = self.keys.stream, "Redis takes commands again");
                self.failing = false;
            }
            Ok(_) => {}
            Err(error) => {
                // A reply may still be on its way: this connection cannot be trusted with the next command.
                self.connection = None;
                self.told = Told::default();
                if !self.failing {
                    warn!(stream = self.keys.stream, %error, "Redis does not take commands; trying again until it does");
                    self.failing = true;
                }
            }
        }
        result
    }

    fn connection(&mut self) -> RedisResult<&mut Connection> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            empty => {
                // Wherever the stream is now: it may have moved since the last connection.
                Ok(empty.insert(self.route.connect(&self.keys.stream, TIMEOUT)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(seqs: &[u64]) -> Vec<(String, u64)> {
        seqs.iter().enumerate().map(|(number, &seq)| (format!("p{number}"), seq)).collect()
    }

    #[test]
    fn only_news_is_told_and_all_of_it_now_and_then_or_when_redis_has_forgotten() {
        let begun = Instant::now();
        let mut told = Told::default();
        let mut tell = |seqs: &[u64], knew, after| {
            let all = acknowledged(seqs);
            let news = told.news(&all, begun + after);
            told.heard(&news, knew);
            news.into_iter().map(|(_, seq)| *seq).collect::<Vec<_>>()
        };
        const SECOND: Duration = Duration::from_secs(1);
        assert_eq!(tell(&[1, 2], false, SECOND), [1, 2]);
        assert_eq!(tell(&[1, 3], true, 2 * SECOND), [3]);
        assert_eq!(tell(&[1, 3, 9], true, 3 * SECOND), [9], "one that is new");
        assert_eq!(
            tell(&[1, 3, 9], false, 4 * SECOND),
            [0; 0],
            "it is only now that it says that it knew nothing"
        );
        assert_eq!(tell(&[1, 3, 9], false, 5 * SECOND), [1, 3, 9]);
        assert_eq!(tell(&[1, 3, 9], true, 34 * SECOND), [0; 0]);
        assert_eq!(tell(&[1, 3, 9], true, 35 * SECOND), [1, 3, 9]);
    }

    #[test]
    fn one_that_was_forgotten_and_is_back_is_told() {
        let mut told = Told::default();
        let (all, now) = (acknowledged(&[1, 2]), Instant::now());
        let news = told.news(&all, now);
        told.heard(&news, false);
        told.seqs.remove("p0");
        assert_eq!(told.news(&all, now), [&all[0]]);
    }
}
