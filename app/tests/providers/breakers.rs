//! The breaker before each vendor: when it opens, who is asked instead, how it closes again, and what outlives a change of
//! the file.

use serde_json::{Value, json};
use techsapo_app::providers::ErrorKind;

use super::running::{SENTENCE, World, question, until};
use super::support::App;
use super::vendors::{Reply, SHAPES};

/// Opens after two failures, and stays open for as long as a test runs.
const STAYS_OPEN: [(&str, &str); 3] =
    [("breakers.failures", "2"), ("breakers.open_for", "1h"), ("breakers.open_for_at_most", "1h")];

fn failing() -> Reply {
    Reply::new(500, &[], "{}")
}

fn answering() -> Reply {
    Reply::json(&(SHAPES[0].answer)(SHAPES[0].model, SENTENCE))
}

/// Asks two, of whom the first is Gemini, and returns every call.
fn calls(app: &App, mode: &str) -> Vec<Value> {
    let mut question = question("basic");
    question["mode"] = json!(mode);
    let response = app.generate(&question);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["wall_bounce_analysis"]["llm_votes"].as_array().unwrap().clone()
}

/// The states of Gemini's breaker, one after another.
fn states(app: &App) -> Vec<String> {
    let events = app.events("circuit_breaker");
    let own = events.iter().filter(|event| event["service"] == "Gemini");
    own.map(|event| event["state"].as_str().unwrap().to_owned()).collect()
}

/// Gemini, as health and the sample show it.
fn shown(app: &App) -> (Value, Value) {
    let health = app.get("/api/v1/health").json()["providers"][0]["breaker"].clone();
    let sample = app.get("/internal/status").json()["runtime_sample"]["breakers"].clone();
    let own =
        sample.as_array().unwrap().iter().find(|breaker| breaker["service"] == "Gemini").unwrap().clone();
    (health, own["state"].clone())
}

fn last_analysis(app: &App) -> Value {
    app.events("analysis").last().unwrap()["status"].clone()
}

#[test]
fn a_vendor_that_keeps_failing_is_passed_over_and_a_spare_is_asked_at_once() {
    let world = World::new();
    let app = world.start(&STAYS_OPEN);
    assert_eq!(states(&app), ["closed"]);
    let before = shown(&app).0;
    assert_eq!((&before["state"], before["since"].is_string()), (&json!("closed"), true));
    world.servers[0].now([failing()]);
    for _ in 0..2 {
        assert_eq!(calls(&app, "parallel")[0]["error"]["kind"], "unavailable");
    }
    assert_eq!(states(&app), ["closed", "open"]);
    for mode in ["parallel", "sequential"] {
        let calls = calls(&app, mode);
        let told: Vec<_> = calls.iter().map(|call| call["provider"].as_str().unwrap()).collect();
        assert_eq!(told, ["Gemini", "OpenAI", "Claude"], "{mode}");
        assert_eq!(
            (&calls[0]["status"], &calls[0]["error"]["kind"], &calls[0]["cost_nanousd"]),
            (&json!("rejected"), &json!("circuit_open"), &json!(0))
        );
        assert!(calls[1..].iter().all(|call| call["status"] == "success"));
    }
    assert_eq!(world.servers[0].seen().len(), 2, "an open breaker asks nobody");
    let (health, sample) = shown(&app);
    assert_eq!((&health["state"], &sample), (&json!("open"), &json!("open")));
    let rejected = app.events("llm_request").iter().filter(|call| call["status"] == "rejected").count();
    assert_eq!(rejected, 2);
    let told = app.generate(&question("critical")).error(502, "not_enough_providers");
    assert_eq!(told["details"]["calls"][0]["error"]["kind"], "circuit_open");
    assert_eq!(last_analysis(&app), "error", "the others were asked");
}

#[test]
fn an_analysis_that_asks_nobody_is_refused_and_did_not_fail() {
    let world = World::new();
    let app = world.start(&STAYS_OPEN);
    for server in &world.servers {
        server.now([failing()]);
    }
    for _ in 0..2 {
        app.generate(&question("critical")).error(502, "not_enough_providers");
        assert_eq!(last_analysis(&app), "error");
    }
    let told = app.generate(&question("critical")).error(502, "not_enough_providers");
    let calls = told["details"]["calls"].as_array().unwrap();
    assert!(calls.iter().all(|call| call["error"]["kind"] == "circuit_open"), "{calls:?}");
    assert_eq!(last_analysis(&app), "rejected");
}

#[test]
fn a_probe_finds_out_when_it_is_well_again() {
    let world = World::new();
    let app = world.start(&[
        ("breakers.failures", "1"),
        ("breakers.open_for", "1ms"),
        ("breakers.open_for_at_most", "1ms"),
    ]);
    world.servers[0].now([failing()]);
    until("a probe has failed", || {
        calls(&app, "parallel");
        states(&app).len() >= 4
    });
    world.servers[0].now([answering()]);
    until("a probe is answered", || calls(&app, "parallel")[0]["status"] == "success");
    let states = states(&app);
    assert_eq!(states[..4], ["closed", "open", "half_open", "open"]);
    assert_eq!(states[states.len() - 2..], ["half_open", "closed"]);
    assert_eq!(calls(&app, "parallel").len(), 2, "nobody else is asked any more");
}

#[test]
fn what_the_question_is_to_blame_for_opens_nothing() {
    let world = World::new();
    let app = world.start(&[("breakers.failures", "1"), STAYS_OPEN[1], STAYS_OPEN[2]]);
    let invalid = SHAPES[0].refusals.iter().find(|(_, _, kind)| *kind == ErrorKind::InvalidRequest).unwrap();
    let no_answers = (SHAPES[0].no_answers)();
    let content =
        |kind: &ErrorKind| matches!(kind, ErrorKind::Refused | ErrorKind::Incomplete | ErrorKind::Empty);
    let mut replies = vec![(Reply::new(invalid.0, &[], invalid.1), invalid.2)];
    replies.extend(
        no_answers.iter().filter(|(_, kind)| content(kind)).map(|(body, kind)| (Reply::json(body), *kind)),
    );
    assert!(replies.len() > 1);
    for (reply, kind) in replies {
        world.servers[0].now([reply]);
        assert_eq!(calls(&app, "parallel")[0]["error"]["kind"], kind.as_str());
    }
    assert_eq!(states(&app), ["closed"]);
}

#[test]
fn a_breaker_outlives_a_change_of_others_and_begins_anew_with_its_own() {
    let world = World::new();
    let app = world.start(&STAYS_OPEN);
    world.servers[0].now([failing()]);
    for _ in 0..2 {
        calls(&app, "parallel");
    }
    world.servers[0].now([answering()]);
    let changed = |count| until("the change is taken over", || app.events("config_changed").len() == count);
    world.write(&world.sections(3));
    changed(1);
    assert_eq!(calls(&app, "parallel")[0]["error"]["kind"], "circuit_open");
    world.write(&world.sections(3).replacen("attempts = 1", "attempts = 2", 1));
    changed(2);
    assert_eq!(calls(&app, "parallel")[0]["status"], "success");
    assert_eq!(states(&app), ["closed", "open", "closed"]);
    assert_eq!(shown(&app).0["state"], "closed");
}
