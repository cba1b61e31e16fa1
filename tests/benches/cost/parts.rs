//! What the parts of a request cost by themselves: looking at the prompt, counting it against a limit, comparing the
//! answers, and masking what is logged.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::json;
use techsapo_app::analysis::agreement::evaluation::Pair;
use techsapo_app::config;
use techsapo_app::guard::breaker::Breakers;
use techsapo_app::guard::caller::Account;
use techsapo_app::guard::limits::Limits;
use techsapo_app::guard::sanitise::Sanitiser;
use techsapo_app::mask::mask;
use techsapo_app::store::redis::Redis;
use techsapo_app::telemetry::Recorder;
use techsapo_shared::labels::TaskType;
use techsapo_tests::RedisServer;
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::app::{ANSWERS, question};
use crate::cpu;
use crate::report::Figure;

const ROUNDS: usize = 5_000;
/// Plenty for one operation on a busy machine: what is measured is a limit that is counted in Redis.
const PATIENCE: Duration = Duration::from_secs(5);
/// What an analysis leaves in the log, most of it numbers and names.
const LOG_VALUES: [&str; 6] = [
    "Wall-bounce analysis completed",
    "f677a80c-3400-4ae4-a637-eb4402c6f9ca",
    "backup-job",
    "u-3f9a2c41d0b7e865",
    "OpenAI,OpenRouter",
    "basic",
];

/// Mean CPU time of each.
pub(crate) fn run() -> Vec<Figure> {
    let settings = config::load(None, &BTreeMap::new()).unwrap().settings;
    let sanitiser = Sanitiser::new(settings.sanitise.clone()).unwrap();
    let prompt = question();
    let pair: Pair = serde_json::from_value(json!({"a": ANSWERS[0], "b": ANSWERS[1]})).unwrap();
    let figure = |name, value| Figure { name, value, unit: "µs", asked: "as little as can be" };
    vec![
        figure("part_sanitise", mean_us(|| drop(black_box(sanitiser.check(black_box(&prompt)))))),
        figure("part_agreement", mean_us(|| drop(black_box(black_box(&pair).compare())))),
        figure(
            "part_mask",
            mean_us(|| LOG_VALUES.iter().for_each(|text| drop(black_box(mask(black_box(text)))))),
        ),
        figure("part_limit", limit_us()),
    ]
}

fn mean_us(mut part: impl FnMut()) -> f64 {
    (0..ROUNDS / 10).for_each(|_| part());
    let before = cpu::seconds_of_this_thread();
    (0..ROUNDS).for_each(|_| part());
    (cpu::seconds_of_this_thread() - before) / ROUNDS as f64 * 1e6
}

/// Counting in a real Redis, one request after another: with what the client's connection costs, and no other to share it.
fn limit_us() -> f64 {
    let (redis, folder) = (RedisServer::start(), TempDir::new().unwrap());
    let recorder = Recorder::open(folder.path(), 64 << 20).unwrap();
    let breakers = Breakers::new("benchmark", recorder.clone());
    let env = BTreeMap::from([("TECHSAPO_LIMITS_BASIC_PER_MINUTE".to_owned(), "1000000".to_owned())]);
    let settings = config::load(None, &env).unwrap().settings;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Redis::new(redis.url().parse().unwrap(), PATIENCE, recorder, &breakers);
        store.probe().await;
        let limits = Limits::new(&settings.limits, store.clone());
        let account = Account::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let take = async || {
            for _ in 0..ROUNDS {
                assert!(limits.take(&account, TaskType::Basic, false).await.allowed);
            }
        };
        take().await;
        let before = cpu::seconds_of_this_thread();
        take().await;
        let spent = cpu::seconds_of_this_thread() - before;
        assert_eq!(store.sample().consecutive_failures, 0, "it was counted in Redis");
        spent / ROUNDS as f64 * 1e6
    })
}
