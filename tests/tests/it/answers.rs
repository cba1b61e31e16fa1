//! Answers that are given again, with real stores: shared by instances and runs, counted and audited as what they are, and
//! no request fails or waits when Redis goes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use techsapo_tests::http::{self, Answer};
use techsapo_tests::{App, AppSetup, Exporter, Generated, MariaDb, RedisServer, wait};

const KEYS: &str = "techsapo:{app}:answer:*";

fn caching(events: &RedisServer, store: &RedisServer) -> AppSetup {
    App::of(events)
        .set("TECHSAPO_STORE_REDIS_URL", &store.url())
        .set("TECHSAPO_CACHE_ENABLED", "true")
        .set("TECHSAPO_SIMULATED_DISAGREEMENT", "0")
}

fn connected(setup: AppSetup) -> App {
    let app = setup.start();
    wait::until_true("the store is connected", || {
        app.get("/internal/status").unwrap().json()["runtime_sample"]["redis_pool_connections"] == 1
    });
    app
}

fn keys(store: &RedisServer) -> Vec<String> {
    store.cli(&["KEYS", KEYS])
}

/// Where the answer was; `fresh` where it was made.
fn found_in(answer: &Generated) -> String {
    assert_eq!(answer.0["cached"] == true, answer.0.get("cache").is_some());
    answer.0["cache"]["found_in"].as_str().unwrap_or("fresh").to_owned()
}

#[test]
fn instances_and_later_runs_give_each_others_answers() {
    const PROMPT: &str = "Why is the sky blue, and for whom?";
    let (events, store) = (RedisServer::start(), RedisServer::start());
    let one = connected(caching(&events, &store));
    let mut other = connected(caching(&events, &store));
    let first = one.generate(PROMPT, "premium").unwrap();
    assert_eq!(found_in(&first), "fresh");
    wait::until_true("the answer is in Redis", || keys(&store).len() == 1);
    let again = other.generate(PROMPT, "premium").unwrap();
    assert_eq!(found_in(&again), "redis");
    for same in ["response", "confidence"] {
        assert_eq!(again.0[same], first.0[same]);
    }
    let analysis = |answer: &Generated| answer.0["wall_bounce_analysis"].clone();
    assert_eq!(analysis(&again)["consensus_components"], analysis(&first)["consensus_components"]);
    assert_eq!(
        (again.cost_nanousd(), &again.0["cache"]["saved_cost_nanousd"]),
        (0, &json!(first.cost_nanousd()))
    );
    assert_eq!(found_in(&other.generate(PROMPT, "premium").unwrap()), "memory");
    other.restart();
    wait::until_true("a later run finds it too", || {
        found_in(&other.generate(PROMPT, "premium").unwrap()) != "fresh"
    });

    // The question is nowhere in Redis; the answers are, for their time.
    let key = keys(&store).remove(0);
    let value: Vec<u8> = store.cli(&["GET", &key]);
    let holds = |text: &str| String::from_utf8_lossy(&value).contains(text);
    assert!(!holds("sky") && holds("Simulated-Claude"), "{}", String::from_utf8_lossy(&value));
    let left: u64 = store.cli(&["PTTL", &key]);
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
}

#[test]
fn a_value_that_is_no_answer_of_ours_is_passed_over_and_replaced() {
    let (events, store) = (RedisServer::start(), RedisServer::start());
    let mut app = connected(caching(&events, &store));
    let answer = app.generate("Why?", "basic").unwrap();
    wait::until_true("the answer is in Redis", || keys(&store).len() == 1);
    let key = keys(&store).remove(0);
    let value: Vec<u8> = store.cli(&["GET", &key]);
    app.generate("Why not?", "basic").unwrap();
    wait::until_true("another is too", || keys(&store).len() == 2);
    let another = keys(&store).into_iter().find(|name| *name != key).unwrap();
    let anothers: Vec<u8> = store.cli(&["GET", &another]);
    let mut changed = value.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (what, wrong) in [
        ("empty", &b""[..]),
        ("cut off", &value[..value.len() / 2]),
        ("changed", &changed),
        ("another's", &anothers),
        ("foreign", b"{\"answer\":42}"),
    ] {
        let mut connection = store.connection();
        redis::cmd("SET").arg(&key).arg(wrong).exec(&mut connection).unwrap();
        // Memory would have it.
        app.restart();
        let asked = app.generate("Why?", "basic").unwrap();
        assert_eq!(
            (found_in(&asked).as_str(), &asked.0["response"]),
            ("fresh", &answer.0["response"]),
            "{what}"
        );
        wait::until_true("the right one is there again", || {
            let now: Vec<u8> = store.cli(&["GET", &key]);
            now != wrong && store.cli::<u64>(&["PTTL", &key]) > 0
        });
    }
    // A key of another type is an error of the operation, and no answer.
    store.cli::<()>(&["DEL", &key]);
    store.cli::<()>(&["HSET", &key, "a", "b"]);
    app.restart();
    assert_eq!(found_in(&app.generate("Why?", "basic").unwrap()), "fresh");
}

fn ask(app: &App, number: usize) -> Answer {
    let body = json!({"prompt": format!("Question {number}"), "task_type": "basic"});
    let request = http::client().post(format!("{}/api/v1/generate", app.url())).json(&body);
    http::send(request).expect("an answer")
}

#[test]
fn a_redis_that_goes_hangs_and_comes_back_under_load_fails_no_request() {
    let (events, mut store) = (RedisServer::start(), RedisServer::start());
    let app = connected(caching(&events, &store));
    let (stop, answered, number) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Every other question is a new one.
                    let answer = ask(&app, number.fetch_add(1, Ordering::Relaxed) / 2);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let some_more = || {
            let until = answered.load(Ordering::Relaxed) + 30;
            wait::until_true("answers keep coming", || answered.load(Ordering::Relaxed) >= until);
        };
        some_more();
        store.kill_9();
        some_more();
        // Memory goes on alone.
        let prompt = "Is it there?";
        app.generate(prompt, "basic").unwrap();
        assert_eq!(found_in(&app.generate(prompt, "basic").unwrap()), "memory");
        store.start_again();
        some_more();
        store.pause();
        some_more();
        store.resume();
        some_more();
        stop.store(true, Ordering::Relaxed);
    });
    wait::until_true("answers are put into Redis again", || {
        store.cli::<()>(&["FLUSHALL"]);
        ask(&app, number.fetch_add(1, Ordering::Relaxed) + 1_000_000);
        !keys(&store).is_empty()
    });
}

#[test]
fn memory_alone_keeps_nothing_in_redis() {
    let (events, store) = (RedisServer::start(), RedisServer::start());
    let app = connected(caching(&events, &store).set("TECHSAPO_CACHE_REDIS", "false"));
    for expected in ["fresh", "memory"] {
        assert_eq!(found_in(&app.generate("Why?", "basic").unwrap()), expected);
    }
    assert!(keys(&store).is_empty());
    let others = store.cli::<Vec<String>>(&["KEYS", "*"]);
    let others: Vec<_> = others.iter().filter(|key| !key.contains(":budget:")).collect();
    assert_eq!(others.len(), 1, "beside the budget the limit's count alone: {others:?}");
}

#[test]
fn metrics_and_audit_know_an_answer_that_was_given_again() {
    let (redis, mysql) = (RedisServer::start(), MariaDb::start());
    let exporter = Exporter::of(&redis).birth_hold("0s").start();
    let app = connected(caching(&redis, &redis).set("TECHSAPO_MYSQL_URL", &mysql.url()));
    let answers: Vec<_> = (0..5).map(|_| app.generate("Why?", "basic").unwrap()).collect();
    let spent = answers[0].cost_nanousd();
    assert!(spent > 0 && answers[1..].iter().all(|answer| answer.cost_nanousd() == 0));

    let page = exporter.scrape_until("all five are counted", |page| {
        page.counter("techsapo_wallbounce_requests_total").total() == 5.0
    });
    let provider = answers[0].0["wall_bounce_analysis"]["providers_used"][0].as_str().unwrap();
    page.counter("techsapo_wallbounce_requests_total")
        .with("provider", provider)
        .with("status", "success")
        .with("task_type", "basic")
        .is(5.0);
    page.observations("techsapo_wallbounce_consensus_confidence").is(1.0);
    page.observations("techsapo_llm_agreement_score")
        .with("provider_pair", "Simulated-Gemini:Simulated-OpenAI")
        .is(1.0);
    assert_eq!(page.observations("techsapo_wallbounce_processing_duration_seconds").total(), 5.0);
    assert_eq!(page.counter("techsapo_llm_requests_total").total(), 2.0);
    assert_eq!(page.counter("techsapo_wallbounce_cost_usd").total_units(9), spent);
    page.gauge("techsapo_cache_hit_ratio").with("cache_type", "memory").is(0.8);
    page.gauge("techsapo_cache_hit_ratio").with("cache_type", "redis").is(0.0);
    for operation in ["get", "set"] {
        let counter = page.counter("techsapo_redis_operations_total").with("operation", operation);
        assert_eq!(counter.with("status", "success").total(), 1.0, "{operation}");
    }

    wait::until_true("the audit has them", || {
        !mysql.sql("SHOW TABLES LIKE 'analysis_calls'").is_empty()
            && mysql.sql("SELECT COUNT(*) FROM analyses") == "5"
    });
    let rows = mysql.sql(
        "SELECT cached, COUNT(*), SUM(cost_nanousd), COUNT(DISTINCT request_id), COUNT(DISTINCT prompt_hash), \
         MIN(confidence_ppm) = MAX(confidence_ppm) FROM analyses GROUP BY cached ORDER BY cached",
    );
    assert_eq!(rows, format!("0\t1\t{spent}\t1\t1\t1\n1\t4\t0\t4\t1\t1"));
    assert_eq!(mysql.sql("SELECT COUNT(*), SUM(cost_nanousd) FROM analysis_calls"), format!("2\t{spent}"));
}

#[test]
fn a_merged_answer_is_counted_audited_and_given_again_as_one() {
    let (redis, mysql) = (RedisServer::start(), MariaDb::start());
    let exporter = Exporter::of(&redis).birth_hold("0s").start();
    let setup = || {
        caching(&redis, &redis)
            .set("TECHSAPO_MYSQL_URL", &mysql.url())
            .set("TECHSAPO_SYNTHESIS_MODEL", "openrouter-auto-simulated")
            .set("TECHSAPO_SYNTHESIS_WHEN", "always")
    };
    let (one, other) = (connected(setup()), connected(setup()));
    let first = one.generate("Why?", "basic").unwrap();
    wait::until_true("the answer is in Redis", || keys(&redis).len() == 1);
    let again = other.generate("Why?", "basic").unwrap();
    assert_eq!((found_in(&first).as_str(), found_in(&again).as_str()), ("fresh", "redis"));
    assert_eq!(again.0["response"], first.0["response"]);
    let synthesis = &first.0["wall_bounce_analysis"]["synthesis"];
    assert_eq!(synthesis["provider"], "Simulated-OpenRouter");
    let of_calls = |answer: &Generated| {
        answer.calls().iter().map(|call| call["cost_nanousd"].as_u64().unwrap()).sum::<u64>()
    };
    let (spent, merging) = (first.cost_nanousd(), synthesis["cost_nanousd"].as_u64().unwrap());
    assert!(merging > 0);
    assert_eq!((spent, again.cost_nanousd()), (of_calls(&first) + merging, 0));

    let page = exporter.scrape_until("both are counted", |page| {
        page.counter("techsapo_wallbounce_requests_total").total() == 2.0
    });
    assert_eq!(page.counter("techsapo_wallbounce_requests_total").with("provider", "ensemble").total(), 2.0);
    page.observations("techsapo_wallbounce_consensus_confidence").is(1.0);
    assert_eq!(
        page.observations("techsapo_llm_agreement_score").total(),
        1.0,
        "the votes alone are compared"
    );
    let cost = page.counter("techsapo_wallbounce_cost_usd");
    assert_eq!(cost.total_units(9), spent);
    assert_eq!(cost.with("provider", "Simulated-OpenRouter").total_units(9), merging);

    wait::until_true("the audit has them", || {
        !mysql.sql("SHOW TABLES LIKE 'analysis_calls'").is_empty()
            && mysql.sql("SELECT COUNT(*) FROM analyses") == "2"
    });
    let rows = mysql.sql("SELECT cached, answer_source, cost_nanousd FROM analyses ORDER BY cached");
    assert_eq!(rows, format!("0\tensemble\t{spent}\n1\tensemble\t0"));
    let calls =
        mysql.sql("SELECT call_number, provider, cost_nanousd FROM analysis_calls ORDER BY call_number");
    assert!(calls.ends_with(&format!("3\tSimulated-OpenRouter\t{merging}")), "{calls}");
}
