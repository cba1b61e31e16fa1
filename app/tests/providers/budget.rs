//! The budget before each vendor: who is refused for it, before anything is sent, what a caller is told, and what is settled.

use serde_json::{Value, json};

use super::cost_nanousd;
use super::running::{World, question, until};
use super::support::App;
use super::vendors::{Reply, SHAPES};

/// Less than any call here may cost, and more than it does.
const SMALL: [(&str, &str); 2] = [("budget.daily_usd", "0.1"), ("budget.alone_share", "1")];

fn seen(world: &World) -> usize {
    world.servers.iter().map(|server| server.seen().len()).sum()
}

fn budget(app: &App) -> Value {
    app.get("/api/v1/budget").json()
}

#[test]
fn a_vendor_that_the_budget_has_no_room_for_is_never_asked() {
    let world = World::new();
    let app = world.start(&SMALL);
    let response = app.generate(&question("basic"));
    let error = response.error(429, "budget_exhausted");
    assert_eq!(seen(&world), 0);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("the daily limit is reached until") && message.contains("budget.daily_usd"),
        "{message}"
    );
    let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    let calls = error["details"]["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 4, "the spares too");
    for call in calls {
        assert_eq!(
            (&call["status"], &call["error"]["kind"], &call["cost_nanousd"]),
            (&json!("rejected"), &json!("budget_exhausted"), &json!(0))
        );
    }
    assert!(app.events("llm_request").iter().all(|call| call["status"] == "rejected"));
    let analyses = app.events("analysis");
    assert_eq!((analyses.len(), &analyses[0]["status"]), (1, &json!("rejected")), "nobody was asked");
    let states = app.events("circuit_breaker");
    assert!(states.iter().all(|event| event["service"] == "redis" || event["state"] == "closed"));
    let health = || app.get("/api/v1/health").json()["services"]["budget"].clone();
    until("health has looked", || {
        health()["reason"].as_str().is_some_and(|reason| reason.contains("budget.daily_usd"))
    });
    assert_eq!(health()["state"], "degraded");
    assert_eq!(budget(&app)["daily"]["limit_reached"], true);
}

#[test]
fn an_analysis_that_the_budget_kept_from_enough_answers_did_not_fail() {
    let world = World::new();
    let app = world.start(&[("budget.daily_usd", "0.3"), ("budget.alone_share", "1")]);
    let details = app.generate(&question("basic")).error(429, "budget_exhausted")["details"].clone();
    let answered = details["answered"].as_u64().unwrap();
    assert!(answered == 1 && details["total_cost_nanousd"].as_u64().unwrap() > 0, "{details}");
    let analyses = app.events("analysis");
    assert_eq!((analyses.len(), &analyses[0]["status"]), (1, &json!("rejected")));
}

#[test]
fn what_calls_cost_is_settled_to_the_nano_dollar_and_counts() {
    let world = World::new();
    let app = world.start(&[("budget.daily_usd", "0.9"), ("budget.alone_share", "1")]);
    let answer = app.generate(&question("critical"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let cost = answer.json()["wall_bounce_analysis"]["total_cost_nanousd"].clone();
    let daily = budget(&app)["daily"].clone();
    assert_eq!((&daily["spent_nanousd"], &daily["reserved_nanousd"]), (&cost, &json!(0)));
    assert_eq!(daily["remaining_nanousd"].as_u64().unwrap(), 900_000_000 - cost.as_u64().unwrap());
    assert_eq!((&daily["limit"], &daily["limit_reached"]), (&json!(0.9), &json!(false)));
    assert_eq!(budget(&app)["monthly"]["spent_nanousd"], cost);
}

#[test]
fn what_has_no_known_price_is_settled_by_what_it_may_cost() {
    let world = World::new();
    world.servers[0].now([Reply::json(&(SHAPES[0].answer)("gemini-of-tomorrow", "It is blue."))]);
    let app = world.start(&[]);
    let answer = app.generate(&question("critical"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let known = answer.json()["wall_bounce_analysis"]["total_cost_nanousd"].as_u64().unwrap();
    let spent = budget(&app)["daily"]["spent_nanousd"].as_u64().unwrap();
    assert!(spent > known + cost_nanousd(SHAPES[0].tokens), "{spent} {known}");
}

#[test]
fn simulated_providers_are_counted_and_never_refused() {
    let world = World::new();
    let app = world.start(&[SMALL[0], SMALL[1], ("providers.simulated", "always")]);
    let answer = app.generate(&question("basic"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["simulated"], seen(&world)), (&json!(true), 0));
    let daily = budget(&app)["daily"].clone();
    let cost = &body["wall_bounce_analysis"]["total_cost_nanousd"];
    assert!(cost.as_u64().unwrap() > 0);
    assert_eq!((&daily["spent_nanousd"], &daily["simulated_nanousd"]), (&json!(0), cost));
}

#[test]
fn a_budget_that_is_not_enforced_refuses_nobody() {
    let world = World::new();
    let app = world.start(&[SMALL[0], ("budget.enforce", "false")]);
    let answer = app.generate(&question("basic"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let cost = &answer.json()["wall_bounce_analysis"]["total_cost_nanousd"];
    assert_eq!(&budget(&app)["daily"]["spent_nanousd"], cost);
    assert_eq!(budget(&app)["enforced"], false);
    assert_eq!(app.get("/api/v1/health").json()["services"]["budget"]["state"], "off");
}
