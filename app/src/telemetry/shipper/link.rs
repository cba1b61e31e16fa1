//! The shipper's door to Redis: a list of questions goes out as one pipeline, their answers come back in order.
//!
//! A link leads to the server that holds the stream at the moment when it is opened, and ends with its first error, of
//! whatever kind: the shipper then begins anew on another one. That a command is answered twice, or an answer taken for
//! another's, cannot happen this way.

use std::time::Duration;

use redis::{Cmd, Connection, FromRedisValue, Pipeline, RedisResult, Value, from_redis_value};
use techsapo_redis_route::Route;
use techsapo_shared::wire::{Batch, EntryId, StreamKeys};

/// Something to ask of Redis, or to tell it.
pub(super) enum Question<'a> {
    /// Bytes that the stream takes.
    Memory(&'a StreamKeys),
    /// Id of the last entry of the stream that the exporter has made durable.
    Cursor(&'a StreamKeys),
    /// Whether this entry is in the stream.
    Entry(&'a StreamKeys, EntryId),
    /// What the exporter has made durable of this producer.
    Acknowledged(&'a StreamKeys, &'a str),
    /// A batch for the stream.
    Add(&'a StreamKeys, Batch<'a>),
}

/// The answer to the [`Question`] of the same name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Memory(u64),
    Cursor(Option<EntryId>),
    Entry(EntryId, bool),
    Acknowledged(Option<u64>),
    Added(EntryId),
}

/// A connection to Redis.
pub(super) struct Link {
    connection: Connection,
}

impl Link {
    /// Connects to where `stream` is. Neither this nor anything that is asked later waits longer than `timeout` for
    /// the network.
    pub(super) fn open(route: &Route, stream: &str, timeout: Duration) -> RedisResult<Self> {
        Ok(Self { connection: route.connect(stream, timeout)? })
    }

    /// Asks everything at once. The first error is the answer to all of it.
    pub(super) fn ask(&mut self, questions: &[Question<'_>]) -> RedisResult<Vec<Answer>> {
        let mut pipeline = Pipeline::with_capacity(questions.len());
        for question in questions {
            put(&mut pipeline, question);
        }
        let replies: Vec<Value> = pipeline.query(&mut self.connection)?;
        if replies.len() != questions.len() {
            return Err(unexpected("the number of replies is not that of the commands"));
        }
        questions.iter().zip(replies).map(|(question, reply)| answer(question, reply)).collect()
    }
}

fn put(pipeline: &mut Pipeline, question: &Question<'_>) {
    match *question {
        Question::Memory(keys) => pipeline.cmd("MEMORY").arg("USAGE").arg(&keys.stream),
        Question::Cursor(keys) => pipeline.cmd("HGET").arg(&keys.cursors).arg(&keys.stream),
        Question::Entry(keys, id) => {
            let id = id.to_string();
            pipeline.cmd("XRANGE").arg(&keys.stream).arg(&id).arg(&id)
        }
        Question::Acknowledged(keys, producer) => pipeline.cmd("HGET").arg(&keys.acks).arg(producer),
        Question::Add(keys, batch) => {
            let fields = batch.encode();
            // With room for all of it, the batch is copied once and not again and again as the command grows.
            let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
            let mut add = Cmd::with_capacity(3 + 2 * fields.len(), bytes + keys.stream.len() + "XADD*".len());
            add.arg("XADD").arg(&keys.stream).arg("*");
            for (name, value) in &fields {
                add.arg(name).arg(value.as_ref());
            }
            pipeline.add_command(add)
        }
    };
}

fn answer(question: &Question<'_>, reply: Value) -> RedisResult<Answer> {
    Ok(match question {
        Question::Memory(_) => Answer::Memory(read::<Option<u64>>(reply)?.unwrap_or(0)),
        Question::Cursor(_) => {
            Answer::Cursor(read::<Option<Vec<u8>>>(reply)?.as_deref().and_then(EntryId::parse))
        }
        Question::Entry(_, id) => Answer::Entry(*id, !read::<Vec<Value>>(reply)?.is_empty()),
        // What is no number is no news, as if nothing stood there.
        Question::Acknowledged(..) => {
            Answer::Acknowledged(read::<Option<String>>(reply)?.and_then(|text| text.parse().ok()))
        }
        Question::Add(..) => {
            let id = EntryId::parse(&read::<Vec<u8>>(reply)?);
            Answer::Added(id.ok_or_else(|| unexpected("XADD did not answer with an entry's id"))?)
        }
    })
}

fn read<T: FromRedisValue>(reply: Value) -> RedisResult<T> {
    Ok(from_redis_value(reply)?)
}

fn unexpected(what: &'static str) -> redis::RedisError {
    (redis::ErrorKind::UnexpectedReturnType, what).into()
}
