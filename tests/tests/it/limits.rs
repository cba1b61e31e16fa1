//! Limits with a real Redis: shared by instances, atomic, and no request waits when it goes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::streams::StreamRangeReply;
use serde_json::json;
use techsapo_app::config;
use techsapo_app::guard::breaker::Breakers;
use techsapo_app::guard::caller::Account;
use techsapo_app::guard::limits::Limits;
use techsapo_app::guard::limits::window::{Decision, SLICE_MS, SLICES, Window};
use techsapo_app::store::redis::Redis;
use techsapo_app::telemetry::Recorder;
use techsapo_shared::labels::TaskType;
use techsapo_tests::http::{self, Answer};
use techsapo_tests::random::Random;
use techsapo_tests::{App, AppSetup, RedisServer, wait};
use tokio::runtime::Builder;

fn ask(app: &App) -> Answer {
    let body = json!({"prompt": "Is it up?", "task_type": "basic"});
    let request = http::client().post(format!("{}/api/v1/generate", app.url())).json(&body);
    http::send(request).expect("an answer")
}

fn limited(events: &RedisServer, store: &RedisServer, limit: &str) -> AppSetup {
    App::of(events)
        .set("TECHSAPO_STORE_REDIS_URL", &store.url())
        .set("TECHSAPO_LIMITS_BASIC_PER_MINUTE", limit)
}

fn connections(app: &App) -> u64 {
    let status = app.get("/internal/status").unwrap().json();
    status["runtime_sample"]["redis_pool_connections"].as_u64().unwrap()
}

#[test]
fn instances_share_one_count_however_many_ask_at_once() {
    const LIMIT: usize = 40;
    let (events, store) = (RedisServer::start(), RedisServer::start());
    // On a busy machine one operation may take long: who gives up on it counts by itself.
    let shared = || limited(&events, &store, &LIMIT.to_string()).set("TECHSAPO_STORE_TIMEOUT", "10s");
    let apps = [(); 2].map(|()| shared().start());
    let (passed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (app, passed, refused) = (&apps[thread % 2], &passed, &refused);
            scope.spawn(move || {
                for _ in 0..10 {
                    let answer = ask(app);
                    let count = if answer.status == 200 { passed } else { refused };
                    assert!(answer.status == 200 || answer.status == 429, "{}", answer.text());
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (passed, refused) = (passed.into_inner(), refused.into_inner());
    assert_eq!(passed + refused, 80);
    assert!(passed >= LIMIT, "{passed}");
    // On a machine so slow that a minute went by, the first make room for others.
    if began.elapsed() < Duration::from_secs(60) {
        assert_eq!(passed, LIMIT);
    }
    let keys: Vec<String> = store.cli(&["KEYS", "techsapo:{app}:limit:*"]);
    assert_eq!(keys, ["techsapo:{app}:limit:address:127.0.0.1"]);
    let counted: Vec<usize> = store.cli(&["HVALS", &keys[0]]);
    assert!(counted.iter().sum::<usize>() <= LIMIT, "{counted:?}");
    let left: u64 = store.cli(&["PTTL", &keys[0]]);
    assert!((1..=65_000).contains(&left), "{left}");
}

#[test]
fn who_is_refused_is_told_nothing_else_and_nothing_is_asked_for_them() {
    let (events, store) = (RedisServer::start(), RedisServer::start());
    let start = || {
        let app = limited(&events, &store, "3").set("TECHSAPO_STORE_TIMEOUT", "10s").start();
        wait::until_true("the store is connected", || connections(&app) == 1);
        app
    };
    let [first, second, third, fourth] = [(); 4].map(|()| start());
    for _ in 0..3 {
        assert_eq!(ask(&first).status, 200);
    }
    // The others know nothing of that, expect room, and read what they are asked while Redis decides.
    let nonsense = http::client().post(format!("{}/api/v1/generate", second.url())).body("nonsense");
    for answer in [http::send(nonsense).unwrap(), ask(&second), ask(&third), ask(&third)] {
        assert_eq!(answer.status, 429, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "rate_limited", "{}", answer.text());
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
    }
    // Who takes time to say what is asked is not waited for.
    let mut unfinished = begin_to_ask(&fourth);
    let mut begin = [0; 12];
    unfinished.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 429");
    // Each app tells of its own when its time has come.
    wait::until_true("every refusal is told", || facts(&events, "rate_limit_hit") == 5);
    wait::until_true("every answer is told", || facts(&events, "analysis") >= 3);
    assert_eq!((facts(&events, "analysis"), facts(&events, "llm_request")), (3, 6));
}

/// Facts of a type that are in the stream, from all instances.
fn facts(events: &RedisServer, name: &str) -> usize {
    let stream: StreamRangeReply = events.cli(&["XRANGE", "techsapo:events", "-", "+"]);
    let begin = format!("{{\"{name}\":");
    stream.ids.iter().map(|entry| entry.get::<String>("d").unwrap().matches(&begin).count()).sum()
}

#[test]
fn room_is_expected_until_redis_or_the_own_count_says_that_there_is_none() {
    let (store, recorder) = (RedisServer::start(), Recorder::off());
    let env = BTreeMap::from([("TECHSAPO_LIMITS_BASIC_PER_MINUTE".to_owned(), "2".to_owned())]);
    let settings = config::load(None, &env).unwrap().settings;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let instance = || {
        let breakers = Breakers::new("test", recorder.clone());
        let redis = Redis::new(store.url().parse().unwrap(), wait::PATIENCE, recorder.clone(), &breakers);
        runtime.block_on(redis.probe());
        Limits::new(&settings.limits, redis)
    };
    let (one, other) = (instance(), instance());
    let accounts = [1, 2].map(|number| Account::Address(IpAddr::from([192, 0, 2, number])));
    let hasten = |limits: &Limits, account: usize| limits.hasten(&accounts[account], TaskType::Basic);
    let take = |limits: &Limits, hasty: bool| {
        runtime.block_on(limits.take(&accounts[0], TaskType::Basic, hasty)).allowed
    };
    assert!(hasten(&one, 0) && hasten(&one, 0) && !hasten(&one, 0), "what is begun needs room as well");
    assert!(take(&one, true) && take(&one, true));
    assert!(!hasten(&one, 0), "it let two through itself");
    assert!(hasten(&other, 0), "it cannot know");
    assert!(!take(&other, true) && !hasten(&other, 0), "Redis has told it");
    assert!(hasten(&one, 1) && hasten(&other, 1), "another account has its own room");
}

#[test]
fn who_goes_away_is_counted_all_the_same() {
    let (events, store) = (RedisServer::start(), RedisServer::start());
    let app = limited(&events, &store, "1000").start();
    wait::until_true("the store is connected", || connections(&app) == 1);
    for _ in 0..5 {
        drop(begin_to_ask(&app));
    }
    wait::until_true("all are counted", || {
        let counted: Vec<usize> = store.cli(&["HVALS", "techsapo:{app}:limit:address:127.0.0.1"]);
        counted.iter().sum::<usize>() == 5
    });
}

/// A connection on which the body of a question has only begun.
fn begin_to_ask(app: &App) -> TcpStream {
    let address = app.url().strip_prefix("http://").unwrap().to_owned();
    let mut connection = TcpStream::connect(&address).unwrap();
    connection.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let head = "POST /api/v1/generate HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 99";
    write!(connection, "{head}\r\nhost: {address}\r\n\r\n{{").unwrap();
    connection
}

#[test]
fn a_store_that_goes_hangs_and_comes_back_under_load_fails_no_request() {
    let (events, mut store) = (RedisServer::start(), RedisServer::start());
    let app = limited(&events, &store, "1000000").start();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask(&app);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert_eq!(answer.header("x-ratelimit-limit"), Some("1000000"));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let some_more = || {
            let before = answered.load(Ordering::Relaxed);
            wait::until_true("requests are answered", || answered.load(Ordering::Relaxed) > before + 20);
        };
        some_more();
        store.kill_9();
        some_more();
        store.start_again();
        wait::until_true("the store is found again", || connections(&app) == 1);
        some_more();
        store.pause();
        some_more();
        store.resume();
        some_more();
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn without_the_store_an_instance_goes_on_with_its_own_count() {
    let (events, mut store) = (RedisServer::start(), RedisServer::start());
    let app = limited(&events, &store, "5").start();
    wait::until_true("the store is connected", || connections(&app) == 1);
    let remaining = |answer: &Answer| answer.header("x-ratelimit-remaining").unwrap().parse::<u64>().unwrap();
    assert_eq!(remaining(&ask(&app)), 4);
    assert_eq!(remaining(&ask(&app)), 3);
    store.kill_9();
    assert!(remaining(&ask(&app)) <= 2, "what passed while the store was there counts");
    for _ in 0..2 {
        ask(&app);
    }
    let refused = ask(&app);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
}

/// The script decides on the server's clock, so the past is what is made up: slices before now, whatever their counts.
#[test]
fn the_script_in_redis_follows_the_rules_of_the_window() {
    let store = RedisServer::start();
    let mut connection = store.connection();
    let script = redis::Script::new(include_str!("../../../app/src/guard/limits/limit.lua"));
    let mut dice = Random::new(7);
    for case in 0..300 {
        let (limit, key) = (dice.between(1, 30), format!("window:{case}"));
        let (now_s, _): (u64, u64) = redis::cmd("TIME").query(&mut connection).unwrap();
        let (current, mut window) = (now_s * 1_000 / SLICE_MS, Window::default());
        for slice in current - 20..current {
            let count = if dice.coin() { dice.below(6) } else { 0 };
            if count > 0 {
                (0..count).for_each(|_| window.add(slice * SLICE_MS));
                redis::cmd("HSET").arg(&key).arg(slice).arg(count).exec(&mut connection).unwrap();
            }
        }
        for _ in 0..3 {
            let (allowed, used, oldest, now_ms): (u64, u64, u64, u64) =
                script.key(&key).arg(limit).arg(SLICE_MS).arg(SLICES).invoke(&mut connection).unwrap();
            let told = Decision::new(allowed == 1, limit, used, oldest, now_ms);
            assert_eq!(told, window.take(limit, now_ms), "case {case}");
        }
    }
}
