//! The app's HTTP door from outside: every route, every kind of bad input, and that what was answered is what was
//! recorded.

#![allow(clippy::unwrap_used)] // A test that meets the unexpected has failed.

#[path = "http/access.rs"]
mod access;
#[path = "http/cache.rs"]
mod cache;
#[path = "http/description.rs"]
mod description;
#[path = "http/live.rs"]
mod live;
#[path = "http/logs_analysis.rs"]
mod logs_analysis;
#[path = "http/page.rs"]
mod page;
mod support;
#[path = "http/synthesis.rs"]
mod synthesis;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{App, answering, post, read_response, read_to_end};

fn ask(task_type: &str) -> Value {
    json!({"prompt": "How do I roll out a change safely?", "task_type": task_type})
}

#[test]
fn a_question_is_answered_in_the_documented_shape() {
    let app = App::start(&[]);
    let response = app.generate(&json!({
        "prompt": "How do I roll out a change safely?", "task_type": "premium", "mode": "parallel", "depth": 2,
        "user_id": "someone@example.com", "session_id": "s-1", "a_field_of_tomorrow": true,
    }));
    assert_eq!(response.status, 200, "{response:?}");
    let body = response.json();
    assert!(body["response"].as_str().is_some_and(|text| text.len() > 40));
    assert!(body["reasoning"].as_str().is_some_and(|text| text.contains("3 of 3")));
    assert_eq!(body["task_type"], "premium");
    assert_eq!(body["session_id"], "s-1");
    assert_eq!(body["simulated"], true);
    assert!(body["notice"].as_str().is_some_and(|notice| notice.contains("imulated")));
    assert!(body["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    let analysis = &body["wall_bounce_analysis"];
    assert_eq!(
        analysis["providers_used"],
        json!(["Simulated-Gemini", "Simulated-OpenAI", "Simulated-Claude"])
    );
    assert!(analysis["processing_time_ms"].is_u64());
    assert_eq!(body["confidence"], analysis["consensus"], "everybody answered, and nobody stands alone");
    let components = &analysis["consensus_components"];
    assert_eq!((&components["asked"], &components["answered"]), (&json!(3), &json!(3)));
    assert_eq!((&components["clusters"], &components["entropy"]), (&json!([[0, 1, 2]]), &json!(0.0)));
    let agreements: Vec<f64> = components["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair["agreement"].as_f64().unwrap())
        .collect();
    let mean = agreements.iter().sum::<f64>() / agreements.len() as f64;
    assert_eq!(agreements.len(), 3);
    assert!((mean - analysis["consensus"].as_f64().unwrap()).abs() < 1e-5, "{components}");
    for vote in analysis["llm_votes"].as_array().unwrap() {
        assert_eq!(vote["status"], "success");
        for score in ["confidence", "agreement_score"] {
            assert!((0.7..=1.0).contains(&vote[score].as_f64().unwrap()), "{vote}");
        }
    }
}

#[test]
fn the_same_question_gets_the_same_answer_in_either_language() {
    let app = App::start(&[]);
    for prompt in ["Why?", "なぜですか？"] {
        let answer = || {
            let response = app.generate(&json!({"prompt": prompt, "task_type": "critical"})).json();
            (response["response"].clone(), response["confidence"].clone())
        };
        assert_eq!(answer(), answer());
    }
}

#[test]
fn confidence_is_high_where_answers_agree_and_falls_where_they_do_not() {
    let confidence = |app: &App, language: &str, number: u32| {
        let body = json!({"prompt": format!("{language} {number}"), "task_type": "critical"});
        app.generate(&body).json()["confidence"].as_f64().unwrap()
    };
    let (agreeing, divided) = (App::start(&[]), App::start(&[("simulated.disagreement", "0.5")]));
    for language in ["Question", "質問"] {
        assert!((0..20).all(|number| confidence(&agreeing, language, number) > 0.7), "{language}");
        assert!((0..20).any(|number| confidence(&divided, language, number) < 0.5), "{language}");
    }
}

#[test]
fn the_total_is_the_sum_of_the_votes_and_the_events_say_the_same() {
    let app = App::start(&[("simulated.failure_rate", "0.2"), ("simulated.disagreement", "0.3")]);
    let (mut answered, mut cost) = (0, 0);
    for number in 0..20 {
        let body =
            json!({"prompt": format!("Question {number}?"), "task_type": "basic", "mode": "sequential"});
        let response = app.generate(&body);
        let body = response.json();
        let (calls, total) = match response.status {
            200 => {
                answered += 1;
                let analysis = &body["wall_bounce_analysis"];
                let total = analysis["total_cost_nanousd"].as_u64().unwrap();
                assert!((analysis["total_cost"].as_f64().unwrap() * 1e9 - total as f64).abs() < 0.5);
                (analysis["llm_votes"].clone(), total)
            }
            502 => (
                body["error"]["details"]["calls"].clone(),
                body["error"]["details"]["total_cost_nanousd"].as_u64().unwrap(),
            ),
            other => panic!("{other}: {body}"),
        };
        let votes = calls.as_array().unwrap();
        assert_eq!(votes.iter().map(|vote| vote["cost_nanousd"].as_u64().unwrap()).sum::<u64>(), total);
        cost += total;
        // Recorded before the response's last byte: what has been read has been counted.
        let events = app.events("llm_request");
        let own = &events[events.len() - votes.len()..];
        for (vote, event) in votes.iter().zip(own) {
            for field in ["provider", "model", "status", "input_tokens", "output_tokens", "cost_nanousd"] {
                assert_eq!(vote[field], event[field], "{field}");
            }
        }
        let analyses = app.events("analysis");
        assert_eq!(analyses.len(), number + 1);
        let analysis = analyses.last().unwrap();
        let ppm = |score: &Value| score.as_f64().map(|score| (score * 1e6).round() as u64);
        if response.status == 200 {
            assert_eq!(analysis["status"], "success");
            assert_eq!(analysis["confidence_ppm"].as_u64(), ppm(&body["confidence"]));
            assert_eq!(analysis["consensus_ppm"].as_u64(), ppm(&body["wall_bounce_analysis"]["consensus"]));
        } else {
            assert_eq!((&analysis["status"], &analysis["provider"]), (&json!("error"), &json!("none")));
        }
    }
    let sum =
        |events: Vec<Value>| events.iter().map(|event| event["cost_nanousd"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(app.events("llm_request")), cost);
    let failed = app.events("llm_request").iter().filter(|event| event["status"] != "success").count();
    let of_providers = |event: &&Value| event["service"] != "redis";
    assert_eq!(app.events("error").iter().filter(of_providers).count(), failed);
    assert!(answered > 0 && failed > 0, "the test saw both: {answered} answered, {failed} calls failed");
}

#[test]
fn too_few_answers_are_an_honest_error() {
    let app = App::start(&[("simulated.failure_rate", "1")]);
    let error = app.generate(&ask("critical")).error(502, "not_enough_providers");
    assert_eq!((&error["details"]["needed"], &error["details"]["answered"]), (&json!(4), &json!(0)));
    assert_eq!(error["details"]["calls"][3]["error"]["kind"], "unavailable");
    let app = App::start(&[
        ("simulated.timeout_rate", "1"),
        ("analysis.deadline", "50ms"),
        ("analysis.provider_timeout", "50ms"),
    ]);
    let error = app.generate(&ask("basic")).error(504, "deadline_exceeded");
    assert_eq!(error["details"]["calls"][0]["status"], "timeout");
    assert_eq!(app.events("analysis")[0]["status"], "timeout");
}

#[test]
fn what_is_wrong_with_a_question_is_told_all_at_once() {
    let app = App::start(&[]);
    for not_an_object in ["", "{", "[]", "\"text\"", "{\"prompt\": \"x\",}", "\u{0}"] {
        app.post("/api/v1/generate", not_an_object).error(400, "invalid_json");
    }
    let error = app.generate(&json!({
        "prompt": "  \n", "task_type": "urgent", "mode": "both", "depth": 6, "models": "gpt", "user_id": "a\nb",
        "session_id": 7,
    })).error(400, "invalid_request");
    let fields: Vec<_> =
        error["details"].as_array().unwrap().iter().map(|problem| problem["field"].clone()).collect();
    assert_eq!(fields, ["prompt", "task_type", "depth", "mode", "models", "user_id", "session_id"]);
    assert!(error["message"].as_str().unwrap().contains("task_type must be one of basic, premium, critical"));
    let error = app.generate(&json!({})).error(400, "invalid_request");
    assert_eq!(error["message"], "prompt is missing; task_type is missing");
    let mut unknown = ask("basic");
    unknown["models"] = json!(["gpt-5-simulated", "gpt-6"]);
    let error = app.generate(&unknown).error(400, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("claude-sonnet-4-simulated"), "{error}");
    assert!(app.events("analysis").is_empty());
}

#[test]
fn what_is_too_large_is_refused_and_the_refusal_can_be_read() {
    let app = App::start(&[]);
    let two_megabytes = json!({"prompt": "x".repeat(2 << 20), "task_type": "basic"});
    app.generate(&two_megabytes).error(413, "body_too_large");
    let long_prompt = json!({"prompt": "x".repeat(200_001), "task_type": "basic"});
    app.generate(&long_prompt).error(413, "prompt_too_large");
    let longest_prompt = json!({"prompt": "x".repeat(200_000), "task_type": "basic"});
    assert_eq!(app.generate(&longest_prompt).status, 200);
    // The same without a length beforehand.
    let mut request =
        b"POST /api/v1/generate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\n\r\n"
            .to_vec();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    request.extend(format!("{chunk}{chunk}0\r\n\r\n").into_bytes());
    app.raw(request).error(413, "body_too_large");
}

#[test]
fn wrong_paths_methods_and_media_types() {
    let app = App::start(&[]);
    app.get("/nothing/here?x=1").error(404, "not_found");
    let response = app.get("/api/v1/generate");
    response.error(405, "method_not_allowed");
    assert_eq!(response.header("allow"), Some("POST"));
    app.raw("BREW /ping HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .error(405, "method_not_allowed");
    app.raw(
        "POST /api/v1/generate HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: text/plain\r\n\
         content-length: 2\r\n\r\n{}",
    )
    .error(415, "unsupported_media_type");
    let routes: Vec<_> = app
        .events("http_request")
        .iter()
        .map(|event| (event["method"].clone(), event["route"].clone(), event["status_code"].clone()))
        .collect();
    assert_eq!(
        routes,
        [
            (json!("GET"), json!("unmatched"), json!(404)),
            (json!("GET"), json!("/api/v1/generate"), json!(405)),
            (json!("OTHER"), json!("/ping"), json!(405)),
            (json!("POST"), json!("/api/v1/generate"), json!(415)),
        ]
    );
}

#[test]
fn a_half_open_connection_is_closed_and_hurts_nobody() {
    let app = App::start(&[("limits.header_timeout", "200ms")]);
    let mut silent = app.connect();
    let mut slow = app.connect();
    slow.write_all(b"POST /api/v1/generate HTTP/1.1\r\nhost: te").unwrap();
    assert_eq!(app.get("/ping").body, "pong");
    let mut idle = app.connect();
    idle.write_all(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    for connection in [&mut silent, &mut slow, &mut idle] {
        read_to_end(connection);
    }
    assert_eq!(app.get("/ping").body, "pong");
}

#[test]
fn beyond_the_limit_connections_wait_until_there_is_room() {
    let app = App::start(&[("limits.connections", "1"), ("limits.header_timeout", "200ms")]);
    let _silent = app.connect();
    assert_eq!(app.get("/ping").body, "pong", "the silent connection is closed in time");
}

#[test]
fn a_slow_body_is_given_up() {
    let app = App::start(&[("limits.body_timeout", "100ms")]);
    let mut stream = app.connect();
    let head = "POST /api/v1/generate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{\"prompt\":";
    stream.write_all(head.as_bytes()).unwrap();
    let response = read_response(&mut stream);
    response.error(408, "body_timeout");
    assert_eq!(response.header("connection"), Some("close"));
    let event = &app.events("http_request")[0];
    assert_eq!((&event["status_code"], &event["request_bytes"]), (&json!(408), &json!(10)));
}

#[test]
fn analyses_beyond_the_limit_are_refused_and_counted_while_they_wait() {
    let app = App::start(&[
        ("limits.concurrent_analyses", "1"),
        ("limits.queued_analyses", "1"),
        ("simulated.timeout_rate", "1"),
        ("analysis.deadline", "2s"),
        ("analysis.provider_timeout", "2s"),
    ]);
    let question = ask("basic");
    let many: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..3).map(|_| scope.spawn(|| app.generate(&question))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let refused: Vec<_> = many.iter().filter(|response| response.status == 503).collect();
    assert!(!refused.is_empty());
    for response in refused {
        response.error(503, "overloaded");
        assert_eq!(response.header("retry-after"), Some("1"));
    }
}

#[test]
fn request_ids_come_back_or_are_made_up() {
    let app = App::start(&[]);
    let with_id = |id: &str| {
        format!("GET /ping HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: {id}\r\n\r\n")
    };
    assert_eq!(app.raw(with_id("abc-1.2:3_4")).header("x-request-id"), Some("abc-1.2:3_4"));
    for unfit in ["a b", "<script>", &"x".repeat(129)] {
        let made_up = app.raw(with_id(unfit)).header("x-request-id").unwrap().to_owned();
        assert_eq!(made_up.len(), 36, "{made_up}");
    }
}

#[test]
fn every_response_is_recorded_with_what_was_sent() {
    let app = App::start(&[]);
    let mut sizes = Vec::new();
    for path in ["/ping", "/health", "/internal/status", "/metrics", "/nowhere"] {
        sizes.push(app.get(path).body.len());
    }
    let head = app.raw("HEAD /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    sizes.push(0);
    let question = ask("basic").to_string();
    sizes.push(app.post("/api/v1/generate", &question).body.len());

    let events = app.events("http_request");
    let recorded: Vec<_> =
        events.iter().map(|event| event["response_bytes"].as_u64().unwrap() as usize).collect();
    assert_eq!(recorded, sizes);
    let kinds: Vec<_> = events.iter().map(|event| event["route_kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["probe", "probe", "probe", "probe", "page", "probe", "api"]);
    assert_eq!(events[6]["request_bytes"], question.len());
    assert_eq!(events[3]["status_code"], 502);
}

#[test]
fn one_connection_carries_many_requests() {
    let app = App::start(&[]);
    let mut stream = app.connect();
    for number in 1..=3 {
        stream.write_all(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"pong") {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).unwrap();
            bytes.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(app.events("http_request").len(), number);
    }
}

#[test]
fn the_exporters_page_is_passed_through_whole() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: 4\r\nx-own: 1\r\n\r\nup 1";
    let exporter = answering(page);
    let app = App::start(&[("exporter.url", &format!("http://{exporter}"))]);
    let response = app.get("/metrics");
    assert_eq!((response.status, response.body.as_str()), (200, "up 1"));
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4"));
    assert_eq!(response.header("x-own"), None);

    let app = App::start(&[]);
    let error = app.get("/metrics").error(502, "exporter_unavailable");
    assert!(error["message"].as_str().unwrap().contains("refused"), "{error}");
    let broken = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let app = App::start(&[("exporter.url", &format!("http://{broken}"))]);
    app.get("/metrics").error(502, "exporter_unavailable");
}

#[test]
fn health_tells_each_service_and_never_fails_for_one() {
    let exporter = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let app = App::start(&[("exporter.url", &format!("http://{exporter}"))]);
    assert_eq!(app.get("/health").json()["status"], "ok");
    let services = app.get("/api/v1/health").json()["services"].clone();
    assert_eq!(services["exporter"]["state"], "up", "{services}");
    assert_eq!(services["journal"]["dropped_events"], 0);

    let app = App::start(&[]);
    let response = app.get("/api/v1/health");
    assert_eq!(response.status, 200);
    let body = response.json();
    assert_eq!(body["status"], "degraded");
    for service in ["redis", "store", "exporter"] {
        assert_eq!(body["services"][service]["state"], "down");
        assert!(body["services"][service]["since"].is_string());
        assert!(body["services"][service]["reason"].is_string());
    }
    assert_eq!(body["services"]["journal"]["state"], "up");
    assert_eq!(body["providers"].as_array().unwrap().len(), 4);
    let again = app.get("/api/v1/health").json();
    assert_eq!(again["services"]["redis"]["since"], body["services"]["redis"]["since"]);
}

#[test]
fn an_instance_says_what_it_is_and_what_it_holds() {
    let app = App::start(&[]);
    let sample = app.get("/internal/status").json()["runtime_sample"].clone();
    assert_eq!(sample["app_instance"], "under-test");
    assert!(sample["resident_bytes"].as_u64().unwrap() > 1 << 20);
    let connections = json!([
        {"connection_type": "http", "open": 1}, {"connection_type": "sse", "open": 0},
        {"connection_type": "websocket", "open": 0}, {"connection_type": "redis", "open": 0},
    ]);
    assert_eq!(sample["connections"], connections);
    assert!(sample["journal"]["capacity_bytes"].as_u64().unwrap() > 0);
    assert_eq!(sample["redis_pool_connections"], 0);
    assert!(sample["redis_consecutive_failures"].is_u64());
    assert_eq!(sample["breakers"][0]["service"], "redis");

    let configured = &app.events("providers_configured")[0];
    assert_eq!(
        configured["providers"][2],
        json!({"provider": "Simulated-Claude", "models": ["claude-sonnet-4-simulated"]})
    );
    let budget = &app.events("budget_limits")[0];
    assert_eq!(
        (&budget["daily_nanousd"], &budget["monthly_nanousd"]),
        (&json!(2_330_000_000u64), &json!(70_000_000_000u64))
    );
    let begun = Instant::now();
    while app.events("runtime_sample").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no sample is ever stated");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn stopping_lets_a_running_request_end() {
    let mut app = App::start(&[]);
    let mut stream = app.connect();
    let request = post("/api/v1/generate", &ask("basic").to_string());
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    stream.write_all(format!("{head}\r\nexpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    // The app asks for the body, so the request is running.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(go_on, *b"HTTP/1.1 100 Continue\r\n\r\n");
    let caller = std::thread::spawn({
        let body = body.to_owned();
        move || {
            stream.write_all(body.as_bytes()).unwrap();
            read_response(&mut stream)
        }
    });
    app.stop();
    assert_eq!(caller.join().unwrap().status, 200);
}

#[test]
fn a_caller_who_leaves_does_not_undo_what_was_spent() {
    let mut app = App::start(&[("simulated.latency", "4s")]);
    let mut stream = app.connect();
    stream.write_all(post("/api/v1/generate", &ask("basic").to_string()).as_bytes()).unwrap();
    // The question must be under way before its caller leaves.
    std::thread::sleep(Duration::from_secs(2));
    drop(stream);
    app.stop();
    assert_eq!(app.events("analysis").len(), 1, "stopping waits for the analysis");
}

#[test]
fn what_a_stop_cuts_off_is_stated_and_its_callers_are_told() {
    let mut app = App::start(&[
        ("simulated.latency", "50s"),
        ("shutdown.deadline", "200ms"),
        ("limits.concurrent_analyses", "1"),
    ]);
    let mut callers: Vec<_> = (0..2).map(|_| app.connect()).collect();
    for stream in &mut callers {
        stream.write_all(post("/api/v1/generate", &ask("basic").to_string()).as_bytes()).unwrap();
    }
    let begun = Instant::now();
    let in_line = || {
        let status = app.get("/internal/status").json();
        let queues = status["runtime_sample"]["queues"].as_array().unwrap().clone();
        queues.iter().any(|queue| queue["queue_name"] == "analysis" && queue["length"] == 1)
    };
    while !in_line() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the second one never waits for the first");
    }
    app.stop();
    let mut told: Vec<_> = callers.iter_mut().map(read_response).collect();
    told.sort_by_key(|response| response.status);
    told[0].error(503, "overloaded");
    told[1].error(504, "deadline_exceeded");
    let statuses = |kind| -> Vec<_> {
        app.events(kind).into_iter().map(|event| event["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(statuses("analysis"), ["timeout"]);
    assert_eq!(statuses("llm_request"), ["timeout"; 2], "no other provider was asked instead");
}
