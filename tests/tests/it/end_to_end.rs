//! The whole: questions asked of a real app, measured through Redis and the exporter up to Prometheus, while any of
//! them is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use techsapo_tests::{App, Exporter, Exposition, Generated, Producer, Prometheus, RedisServer, app};

const TASKS: [(&str, usize); 3] = [("basic", 2), ("premium", 3), ("critical", 4)];

fn analyses(page: &Exposition) -> f64 {
    page.counter("techsapo_wallbounce_requests_total").total()
}

/// The page once nothing is under way any more, which `wanted` analyses say.
fn at_rest(redis: &RedisServer, exporter: &Exporter, wanted: f64) -> Exposition {
    exporter.scrape_until(&format!("{wanted} analyses are counted"), |page| analyses(page) >= wanted);
    exporter.scrape_after(&mut Producer::new(redis))
}

/// Questions asked without a pause by several clients, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What clients saw.
#[derive(Default)]
struct Tally {
    sent: usize,
    answers: Vec<Generated>,
    failures: Vec<String>,
}

impl Load {
    fn on(app: &App) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number: usize| {
            let (stop, url) = (Arc::clone(&stop), app.url());
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                while !stop.load(Ordering::Relaxed) {
                    tally.sent += 1;
                    let prompt = format!("Question {} of client {number}", tally.sent);
                    match app::generate(&url, &prompt, TASKS[tally.sent % TASKS.len()].0) {
                        Ok(answer) => tally.answers.push(answer),
                        Err(failure) => {
                            tally.failures.push(failure);
                            std::thread::sleep(Duration::from_millis(50));
                        }
                    }
                }
                tally
            })
        };
        let clients = (0..3).map(client).collect();
        Self { stop, clients }
    }

    fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let tally = client.join().unwrap();
            all.sent += tally.sent;
            all.answers.extend(tally.answers);
            all.failures.extend(tally.failures);
        }
        all
    }
}

impl Tally {
    fn cost_nanousd(&self) -> u64 {
        self.answers.iter().map(Generated::cost_nanousd).sum()
    }
}

fn a_while() {
    std::thread::sleep(Duration::from_millis(700));
}

/// Every figure that an answer states is on the page: nothing more, nothing less.
fn page_agrees_with(page: &Exposition, answers: &[Generated]) {
    let mut requests: BTreeMap<[String; 4], f64> = BTreeMap::new();
    let mut tokens: BTreeMap<[String; 3], f64> = BTreeMap::new();
    let mut costs: BTreeMap<[String; 2], u64> = BTreeMap::new();
    let mut confidence_ppm = 0;
    for Generated(answer) in answers {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let task = text(&answer["task_type"]);
        confidence_ppm += (answer["confidence"].as_f64().unwrap() * 1e6).round() as u64;
        for call in answer["wall_bounce_analysis"]["llm_votes"].as_array().unwrap() {
            let [provider, model, status] = ["provider", "model", "status"].map(|field| text(&call[field]));
            *requests.entry([provider.clone(), model.clone(), status, task.clone()]).or_default() += 1.0;
            *costs.entry([provider.clone(), task.clone()]).or_default() +=
                call["cost_nanousd"].as_u64().unwrap();
            for kind in ["input", "output"] {
                let count = call[format!("{kind}_tokens")].as_f64().unwrap();
                *tokens.entry([provider.clone(), kind.to_owned(), model.clone()]).or_default() += count;
            }
        }
    }
    let total: f64 = requests.values().sum();
    for ([provider, model, status, task], count) in requests {
        let series =
            page.counter("techsapo_llm_requests_total").with("provider", &provider).with("model", &model);
        series.with("status", &status).with("task_type", &task).is(count);
    }
    assert_eq!(page.counter("techsapo_llm_requests_total").total(), total);
    assert_eq!(page.observations("techsapo_llm_response_time_seconds").total(), total);
    for ([provider, kind, model], count) in tokens {
        let series = page.counter("techsapo_llm_token_usage_total").with("provider", &provider);
        series.with("type", &kind).with("model", &model).is(count);
    }
    let all_costs: u64 = costs.values().sum();
    for ([provider, task], nanousd) in costs {
        let series =
            page.counter("techsapo_wallbounce_cost_usd").with("provider", &provider).with("task_type", &task);
        assert_eq!(series.one().units(9), nanousd, "{provider} {task}");
    }
    assert_eq!(page.counter("techsapo_wallbounce_cost_usd").total_units(9), all_costs);
    assert_eq!(
        page.counter("techsapo_provider_cost_usd").with("provider", "simulated").one().units(9),
        all_costs
    );
    assert_eq!(answers.iter().map(Generated::cost_nanousd).sum::<u64>(), all_costs);
    let confidences = "techsapo_wallbounce_consensus_confidence";
    page.observations(confidences).is(answers.len() as f64);
    assert_eq!(page.sums(confidences).one().units(6), confidence_ppm);
    let answered = page.counter("techsapo_http_requests_total").with("route", "/api/v1/generate");
    answered.with("method", "POST").with("status_code", "200").is(answers.len() as f64);
}

#[test]
fn metrics_agree_with_the_answers_to_the_nano_dollar() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let prometheus = Prometheus::start(&[&exporter.address()]);
    let app = App::of(&redis).start();
    let mut answers = Vec::new();
    for round in 0..5 {
        for (task, least) in TASKS {
            let answer = app.generate(&format!("Question {round} for {task}"), task).unwrap();
            assert!(answer.calls().len() >= least, "{task} asks at least {least} providers");
            answers.push(answer);
        }
    }
    let page = at_rest(&redis, &exporter, 15.0);
    assert_eq!(analyses(&page), 15.0);
    page_agrees_with(&page, &answers);
    prometheus.wait_value("sum(techsapo_wallbounce_requests_total)", 15.0);

    let ten = (0..10).map(|number| app.generate(&format!("Question {number} of ten more"), "basic").unwrap());
    answers.extend(ten.collect::<Vec<_>>());
    let page = at_rest(&redis, &exporter, 25.0);
    assert_eq!(analyses(&page), 25.0);
    page_agrees_with(&page, &answers);
    prometheus.wait_value("sum(techsapo_wallbounce_requests_total)", 25.0);
    assert_eq!(prometheus.value("sum(resets(techsapo_wallbounce_requests_total[10m]))"), Some(0.0));
    let usd = prometheus.value("sum(techsapo_provider_cost_usd)").unwrap();
    assert!(
        (usd * 1e9 - page.counter("techsapo_provider_cost_usd").total_units(9) as f64).abs() < 0.5,
        "{usd}"
    );
}

#[test]
fn calls_that_fail_are_counted_as_failed() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let app = App::of(&redis).set("TECHSAPO_SIMULATED_FAILURE_RATE", "1").start();
    for number in 0..4 {
        app.generate(&format!("Question {number}"), "basic").expect_err("nobody can have answered");
    }
    let page = at_rest(&redis, &exporter, 4.0);
    let analyses = page.counter("techsapo_wallbounce_requests_total");
    analyses.clone().with("status", "error").with("provider", "none").with("task_type", "basic").is(4);
    assert_eq!(analyses.total(), 4.0);
    let requests = page.counter("techsapo_llm_requests_total");
    assert!(requests.total() >= 8.0);
    assert_eq!(requests.clone().with("status", "error").total(), requests.total());
    assert_eq!(page.counter("techsapo_errors_total").total(), requests.total());
    assert_eq!(page.counter("techsapo_wallbounce_cost_usd").total(), 0.0);
    page.observations("techsapo_wallbounce_consensus_confidence").is(0);
    page.gauge("techsapo_wallbounce_success_rate").is(0);
}

#[test]
fn the_app_killed_under_load_counts_every_answer_and_invents_none() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let mut app = App::of(&redis).start();
    let load = Load::on(&app);
    for _ in 0..4 {
        a_while();
        app.kill_9();
        app.restart();
    }
    a_while();
    let tally = load.stop();
    // Ends the last run as well, so that all of its events leave the journal.
    app.kill_9();
    app.restart();
    app.wait_drained();
    let page = at_rest(&redis, &exporter, tally.answers.len() as f64);
    let (answered, counted, sent) = (tally.answers.len() as f64, analyses(&page), tally.sent as f64);
    assert!(answered <= counted && counted <= sent, "answered {answered}, counted {counted}, sent {sent}");
    assert!(answered > 20.0, "only {answered} answers: no load");
    assert!(page.counter("techsapo_wallbounce_cost_usd").total_units(9) >= tally.cost_nanousd());
    assert_eq!(page.observations("techsapo_wallbounce_processing_duration_seconds").total(), counted);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
    page.counter("techsapo_telemetry_dropped_total").is(0);
    assert_eq!(page.counter("techsapo_telemetry_rejected_events_total").total(), 0.0);
}

#[test]
fn what_was_answered_while_redis_was_away_outlives_the_app() {
    let mut redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let mut app = App::of(&redis).start();
    redis.kill_9();
    let ask = |number| app.generate(&format!("Question {number}"), "basic").unwrap();
    let answers: Vec<Generated> = (0..12).map(ask).collect();
    app.kill_9();
    redis.start_again();
    app.restart();
    app.wait_drained();
    let page = at_rest(&redis, &exporter, 12.0);
    assert_eq!(analyses(&page), 12.0);
    page_agrees_with(&page, &answers);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}

#[test]
fn the_exporter_killed_under_load_neither_loses_nor_doubles() {
    let redis = RedisServer::start();
    let mut exporter = Exporter::of(&redis).start();
    let app = App::of(&redis).start();
    let load = Load::on(&app);
    let mut last = exporter.scrape();
    for _ in 0..4 {
        a_while();
        let before = exporter.scrape();
        before.never_decreased_since(&last);
        exporter.kill_9();
        exporter.restart();
        last = exporter.scrape();
        last.never_decreased_since(&before);
    }
    let tally = load.stop();
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    let page = at_rest(&redis, &exporter, tally.answers.len() as f64);
    page.never_decreased_since(&last);
    assert_eq!(analyses(&page), tally.sent as f64);
    page_agrees_with(&page, &tally.answers);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}

#[test]
fn redis_away_for_a_while_fails_no_request_and_loses_nothing() {
    let mut redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let app = App::of(&redis).start();
    let load = Load::on(&app);
    a_while();
    let before = exporter.scrape();
    redis.kill_9();
    a_while();
    a_while();
    exporter.scrape().never_decreased_since(&before);
    redis.start_again();
    a_while();
    let tally = load.stop();
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    let page = at_rest(&redis, &exporter, tally.sent as f64);
    page.never_decreased_since(&before);
    assert_eq!(analyses(&page), tally.sent as f64);
    page_agrees_with(&page, &tally.answers);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
    page.counter("techsapo_telemetry_dropped_total").is(0);
}

#[test]
fn the_app_ends_in_order_and_leaves_nothing_behind() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let mut app = App::of(&redis).start();
    for number in 0..5 {
        app.generate(&format!("Question {number}"), "premium").unwrap();
    }
    let status = app.sigterm();
    assert!(status.success(), "{status}");
    let page = at_rest(&redis, &exporter, 5.0);
    assert_eq!(analyses(&page), 5.0);
    assert_eq!(page.counter("techsapo_http_requests_total").with("route", "/api/v1/generate").total(), 5.0);
}

#[test]
fn the_app_passes_the_exporter_s_page_through() {
    let redis = RedisServer::start();
    let mut exporter = Exporter::of(&redis).start();
    let app = App::of(&redis).exporter(&exporter.url()).start();
    app.generate("A question", "basic").unwrap();
    at_rest(&redis, &exporter, 1.0);
    let answer = app.get("/metrics").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    assert_eq!(analyses(&Exposition::parse(&answer.text())), 1.0);
    exporter.kill_9();
    let answer = app.get("/metrics").unwrap();
    assert_eq!(answer.status, 502);
    let body = answer.json();
    assert!(body["error"]["message"].as_str().unwrap().contains("exporter"), "{body}");
    assert!(body["error"]["code"].is_string() && body["request_id"].is_string(), "{body}");
    app.generate("Another question", "basic").unwrap();
}

#[test]
fn the_app_s_state_reaches_the_page_also_while_redis_is_away() {
    let mut redis = RedisServer::start();
    let app = App::of(&redis).set("TECHSAPO_INSTANCE", "app-under-test").start();
    let exporter = Exporter::of(&redis).app(&app.url()).start();
    let seen = |page: &Exposition| {
        let used = page.gauge("techsapo_telemetry_journal_used_bytes").with("app_instance", "app-under-test");
        used.samples().first().map(|sample| sample.value)
    };
    let page = exporter.scrape_until("the app is seen", |page| seen(page).is_some());
    page.gauge("nodejs_heap_size_used_bytes").with("app_instance", "app-under-test").one();
    page.gauge("techsapo_queue_size").with("queue_name", "journal").one();
    exporter.scrape_until("the app was asked", |page| {
        page.gauge("techsapo_exporter_app_up").samples().iter().any(|sample| sample.value == 1.0)
    });
    redis.kill_9();
    let before = seen(&exporter.scrape()).unwrap();
    for number in 0..20 {
        app.generate(&format!("Question {number}"), "critical").unwrap();
    }
    exporter.scrape_until("the journal is seen to grow", |page| {
        seen(page).is_some_and(|used| used > before + 5_000.0)
    });
}
