//! Events to measure with: provider calls as an app states them, spread over all providers and models.

use techsapo_shared::event::{Event, LlmRequest};
use techsapo_shared::labels::{ClosedLabel as _, Provider, Status, TaskType};
use techsapo_tests::{RedisServer, facts};

/// Commands that go to Redis at once.
const PIPELINE: usize = 256;

/// `count` different provider calls, one line each.
pub(crate) fn calls(count: usize) -> Vec<String> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    (0..count)
        .map(|number| {
            let provider = Provider::ALL[number % Provider::ALL.len()];
            let event = Event::LlmRequest(LlmRequest {
                t: facts::now_ms(),
                provider,
                model: format!("{}-model-{}", provider.as_str().to_lowercase(), below(3)).into(),
                task_type: TaskType::ALL[below(3) as usize],
                status: Status::Success,
                duration_us: 100_000 + below(10_000_000),
                input_tokens: 10 + below(4_000),
                output_tokens: 10 + below(4_000),
                cost_nanousd: 10_000 + below(100_000_000),
            });
            serde_json::to_string(&event).unwrap()
        })
        .collect()
}

/// Puts `events` provider calls into the stream, `per_entry` to an entry, as those of one producer that has sent
/// `before` already.
pub(crate) fn fill(redis: &RedisServer, before: usize, events: usize, per_entry: usize) {
    let lines = calls(4_096);
    let mut connection = redis.connection();
    let mut pipe = redis::pipe();
    for first in (before..before + events).step_by(per_entry) {
        let data: Vec<&str> =
            (first..first + per_entry).map(|number| lines[number % lines.len()].as_str()).collect();
        pipe.cmd("XADD").arg("techsapo:events").arg("*").arg("v").arg(1).arg("p").arg("benchmark");
        pipe.arg("s").arg(first + 1).arg("n").arg(per_entry).arg("h").arg(1).arg("x").arg(0);
        pipe.arg("d").arg(data.join("\n")).ignore();
        if pipe.len() >= PIPELINE {
            pipe.exec(&mut connection).unwrap();
            pipe.clear();
        }
    }
    pipe.exec(&mut connection).unwrap();
}
