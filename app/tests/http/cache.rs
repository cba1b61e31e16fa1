//! Answers that are given again, from memory alone: nothing listens where Redis would be.

use std::thread;

use serde_json::{Value, json};
use techsapo_app::guard::keys::record::Scope;
use techsapo_shared::labels::TaskType;

use crate::access::{create, send};
use crate::live::analysis;
use crate::support::{App, Response};

const CACHED: (&str, &str) = ("cache.enabled", "true");

fn question(prompt: &str) -> Value {
    json!({"prompt": prompt, "task_type": "basic"})
}

fn ask(app: &App, headers: &str, body: &Value) -> Value {
    let response = send(app, "POST /api/v1/generate", headers, &body.to_string());
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// Hit or miss of each look into memory.
fn looks(app: &App) -> Vec<bool> {
    let events = app.events("cache_lookup");
    assert!(events.iter().all(|event| event["cache_type"] == "memory"), "Redis is away");
    events.iter().map(|event| event["hit"].as_bool().unwrap()).collect()
}

#[test]
fn the_same_question_is_answered_again_at_no_cost_and_says_so() {
    let app = App::start(&[CACHED]);
    let first = ask(&app, "", &json!({"prompt": "Why?", "task_type": "premium", "session_id": "s-1"}));
    let again = ask(&app, "", &json!({"prompt": " Why?\r\n", "task_type": "premium", "session_id": "s-2"}));
    assert_eq!((&first["cached"], first.get("cache")), (&json!(false), None));
    assert_eq!((&again["cached"], &again["cache"]["found_in"]), (&json!(true), &json!("memory")));
    assert_eq!(again["session_id"], "s-2", "the session is the asker's own");
    assert_ne!(again["request_id"], first["request_id"]);
    for same in ["response", "confidence", "task_type", "simulated", "notice"] {
        assert_eq!(again[same], first[same], "{same}");
    }
    assert!(again["reasoning"].as_str().unwrap().starts_with(first["reasoning"].as_str().unwrap()));
    let (then, now) = (&first["wall_bounce_analysis"], &again["wall_bounce_analysis"]);
    for same in ["providers_used", "consensus", "consensus_components", "mode"] {
        assert_eq!(now[same], then[same], "{same}");
    }
    assert_eq!((&now["total_cost"], &now["total_cost_nanousd"]), (&json!(0.0), &json!(0)));
    assert_eq!(again["cache"]["saved_cost_nanousd"], then["total_cost_nanousd"]);
    assert_eq!(again["cache"]["analysed_at"], first["timestamp"]);
    for vote in now["llm_votes"].as_array().unwrap() {
        assert_eq!((&vote["cost_nanousd"], &vote["output_tokens"]), (&json!(0), &json!(0)), "{vote}");
    }

    assert_eq!(app.events("llm_request").len(), 3, "nobody was asked again");
    let analyses = app.events("analysis");
    assert_eq!(analyses.len(), 2, "each is an analysis");
    assert_eq!((analyses[0].get("cached"), &analyses[1]["cached"]), (None, &json!(true)));
    assert_eq!(analyses[1]["provider"], analyses[0]["provider"]);
    assert!(analyses[1].get("agreements").is_none());
    assert_eq!(looks(&app), [false, true]);
}

#[test]
fn what_is_asked_otherwise_is_put_to_the_providers() {
    let app = App::start(&[CACHED]);
    for body in [
        question("Why?"),
        question("why?"),
        json!({"prompt": "Why?", "task_type": "premium"}),
        json!({"prompt": "Why?", "task_type": "basic", "mode": "sequential"}),
        json!({"prompt": "Why?", "task_type": "basic", "mode": "sequential", "depth": 3}),
        json!({"prompt": "Why?", "task_type": "basic",
            "models": ["gpt-5-simulated", "claude-sonnet-4-simulated"]}),
    ] {
        assert_eq!(ask(&app, "", &body)["cached"], false, "{body}");
        assert_eq!(ask(&app, "", &body)["cached"], true, "{body}");
    }
}

#[test]
fn a_request_says_what_it_wants_of_the_cache() {
    let app = App::start(&[CACHED]);
    let cached = |headers: &str, body: &Value| ask(&app, headers, body)["cached"] == true;
    let with = |field: &str| json!({"prompt": "Why?", "task_type": "basic", "cache": field});
    // Kept nowhere:
    assert!(!cached("cache-control: no-store\r\n", &question("Why?")));
    assert!(!cached("", &with("no-store")));
    // Fresh, and kept:
    assert!(!cached("", &with("no-cache")));
    assert!(cached("", &with("default")));
    assert!(cached("cache-control: max-age=600\r\n", &question("Why?")));
    assert!(!cached("Cache-Control: No-Cache\r\n", &question("Why?")));
    assert!(!cached("cache-control: no-store\r\n", &with("default")), "the stricter holds");
    assert_eq!(looks(&app), [true, true], "who wants a fresh answer does not look");
    let error = app.generate(&with("never")).error(400, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("no-store"), "{error}");

    let off = App::start(&[]);
    assert_eq!([(); 2].map(|()| ask(&off, "", &question("Why?"))["cached"] == true), [false, false]);
    assert!(looks(&off).is_empty());
}

#[test]
fn an_answer_is_given_again_for_its_time_and_no_longer() {
    let app = App::start(&[CACHED, ("cache.ttl", "300ms")]);
    let first = ask(&app, "", &question("Why?"));
    let (mut hits, mut later) = (0, ask(&app, "", &question("Why?")));
    while later["cached"] == true {
        hits += 1;
        assert_eq!(later["cache"]["analysed_at"], first["timestamp"]);
        assert!(later["cache"]["age_ms"].as_u64().unwrap() < 300, "{later}");
        later = ask(&app, "", &question("Why?"));
    }
    assert_eq!(app.events("llm_request").len(), 4);
    assert_eq!(app.events("analysis").len(), hits + 2);
}

#[test]
fn only_whole_answers_of_high_confidence_are_given_again() {
    let app = App::start(&[CACHED, ("simulated.disagreement", "0.5"), ("simulated.failure_rate", "0.2")]);
    let (mut kept, mut divided, mut partial) = (0, 0, 0);
    for number in 0..60 {
        let body =
            json!({"prompt": format!("Question {number}"), "task_type": "basic", "mode": "sequential"});
        let ask = || app.generate(&body);
        let first = ask();
        if first.status != 200 {
            assert_eq!(ask().status, first.status, "an error is not kept");
            continue;
        }
        let (first, again) = (first.json(), ask().json());
        let components = &first["wall_bounce_analysis"]["consensus_components"];
        let whole = components["asked"] == components["answered"];
        let good = first["confidence"].as_f64().unwrap() >= 0.7;
        assert_eq!(again["cached"] == true, whole && good, "{first}");
        *if !whole {
            &mut partial
        } else if good {
            &mut kept
        } else {
            &mut divided
        } += 1;
    }
    assert!(kept > 3 && divided > 3 && partial > 3, "{kept} {divided} {partial}");
}

#[test]
fn an_answer_that_is_too_large_is_not_kept() {
    let app = App::start(&[CACHED, ("cache.answer_bytes", "600")]);
    let cached = || ask(&app, "", &question("Why?"))["cached"] == true;
    assert_eq!((cached(), cached()), (false, false));
}

#[test]
fn questions_asked_at_once_are_put_to_the_providers_once() {
    let app = App::start(&[CACHED, ("simulated.latency", "400ms")]);
    let answers: Vec<Value> = thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&app, "", &question("Why?")))).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(app.events("llm_request").len(), 2);
    assert_eq!(answers.iter().filter(|answer| answer["cached"] == false).count(), 1);
    let cost = |answer: &Value| answer["wall_bounce_analysis"]["total_cost_nanousd"].as_u64().unwrap();
    let of_calls = |event: &Value| event["cost_nanousd"].as_u64().unwrap();
    let billed: u64 = app.events("llm_request").iter().map(of_calls).sum();
    assert_eq!(answers.iter().map(cost).sum::<u64>(), billed);
    assert_eq!(app.events("analysis").len(), 8);
    assert_eq!(looks(&app).iter().filter(|hit| **hit).count(), 7);
}

#[test]
fn those_who_wait_for_an_answer_that_is_not_kept_ask_for_themselves() {
    // All of them fail: nobody may be stuck, or be given an error as if it were an answer.
    let app = App::start(&[CACHED, ("simulated.failure_rate", "1"), ("simulated.latency", "200ms")]);
    let answers: Vec<Response> = thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| app.generate(&question("Why?")))).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 502), "{answers:?}");
    assert_eq!(app.events("analysis").len(), 4);
    assert!(looks(&app).iter().all(|hit| !hit));
}

#[test]
fn a_key_is_given_its_own_answers_alone_unless_everyone_shares() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let keys = ["one", "two"].map(|name| create(&path, name, TaskType::Basic, &[Scope::Api]));
    let cached = |app: &App, key: &str, user: &str| {
        let body = json!({"prompt": "Why?", "task_type": "basic", "user_id": user});
        ask(app, &format!("x-api-key: {key}\r\n"), &body)["cached"] == true
    };
    let asked = |scope: &str| {
        let app = App::start(&[CACHED, ("keys.file", path.to_str().unwrap()), ("cache.scope", scope)]);
        let [one, two] = &keys;
        [(one, "taro"), (one, "taro"), (one, "hanako"), (two, "taro")]
            .map(|(key, user)| cached(&app, key, user))
    };
    assert_eq!(asked("user"), [false, true, false, false]);
    assert_eq!(asked("caller"), [false, true, true, false]);
    assert_eq!(asked("everyone"), [false, true, true, true]);
}

#[test]
fn an_answer_that_is_given_again_is_told_like_any_other() {
    let app = App::start(&[CACHED]);
    let query = "query=Why%3F&task_type=premium";
    let (first, again) = (analysis(&app, query), analysis(&app, query));
    let names = |events: &[(String, Value)]| events.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&again), names(&first));
    for (_, then) in first.iter().filter(|(name, _)| name == "provider_response") {
        let told = again.iter().find(|(_, now)| now["call"]["provider"] == then["call"]["provider"]);
        let (_, now) = told.unwrap();
        assert_eq!((&now["response"], &now["cached"]), (&then["response"], &json!(true)));
        assert_eq!(now["call"]["cost_nanousd"], 0);
    }
    let (_, last) = again.last().unwrap();
    assert_eq!(
        (&last["answer"]["cached"], &last["answer"]["cache"]["found_in"]),
        (&json!(true), &json!("memory"))
    );
    let fresh = analysis(&app, &format!("{query}&cache=no-cache"));
    assert_eq!(fresh.last().unwrap().1["answer"]["cached"], false);
    // What a browser sends with every stream, whatever its page wants:
    let start = format!("GET /api/v1/wall-bounce/analyze?{query}");
    let told = send(&app, &start, "cache-control: no-cache\r\n", "");
    assert!(told.body.contains(r#""cached":true"#), "{told:?}");
}
