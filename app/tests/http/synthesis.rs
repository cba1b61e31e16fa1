//! One answer made of several: what a caller is told of it, and what is stated.

use serde_json::{Value, json};

use crate::live::analysis;
use crate::support::App;

const PROMPT: &str = "How do I roll out a change safely?";

fn ask(app: &App, synthesis: &Value) -> Value {
    let body = json!({"prompt": PROMPT, "task_type": "premium", "synthesis": synthesis});
    let response = app.generate(&body);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

fn cost(calls: &Value) -> u64 {
    calls.as_array().unwrap().iter().map(|call| call["cost_nanousd"].as_u64().unwrap()).sum()
}

#[test]
fn a_merged_answer_says_what_it_is_and_costs_a_call_more() {
    let app = App::start(&[]);
    let (plain, merged) = (ask(&app, &json!(null)), ask(&app, &json!(true)));
    let text = merged["response"].as_str().unwrap();
    assert!(text.starts_with("Most answers say the same: "), "{text}");
    assert_eq!((&merged["simulated"], &merged["notice"]), (&json!(true), &plain["notice"]));
    assert!(merged["reasoning"].as_str().unwrap().contains("Simulated-Gemini made one answer of them"));
    let (analysis, votes) = (&merged["wall_bounce_analysis"], &plain["wall_bounce_analysis"]);
    assert_eq!((&analysis["answer_source"], votes.get("synthesis")), (&json!("ensemble"), None));
    for same in ["consensus", "consensus_components", "providers_used"] {
        assert_eq!(analysis[same], votes[same], "{same}");
    }
    assert_eq!(merged["confidence"], plain["confidence"], "that of the votes");
    let synthesis = &analysis["synthesis"];
    assert_eq!((&synthesis["status"], synthesis.get("agreement_score")), (&json!("success"), None));
    let own = synthesis["cost_nanousd"].as_u64().unwrap();
    assert!(own > 0);
    assert_eq!(analysis["total_cost_nanousd"], cost(&analysis["llm_votes"]) + own);
    assert_eq!(cost(&analysis["llm_votes"]), votes["total_cost_nanousd"]);
    assert_eq!(ask(&app, &json!(true))["response"], merged["response"], "the same each time");

    let calls = app.events("llm_request");
    assert_eq!(calls.len(), 3 + 4 + 4);
    assert_eq!(calls[6]["cost_nanousd"], own);
    let sources: Vec<_> = app.events("analysis").iter().map(|event| event["provider"].clone()).collect();
    assert_eq!(sources[1..], [json!("ensemble"), json!("ensemble")]);
    assert_eq!(sources[0], votes["answer_source"]);
}

#[test]
fn where_merging_fails_the_best_answer_is_given_and_the_caller_is_told() {
    // No provider fails, but the model that is to merge is none of theirs.
    let app = App::start(&[("synthesis.model", "nobody-1")]);
    let (plain, answer) = (ask(&app, &json!(false)), ask(&app, &json!(true)));
    assert_eq!(answer["response"], plain["response"]);
    let analysis = &answer["wall_bounce_analysis"];
    assert_eq!(analysis["answer_source"], plain["wall_bounce_analysis"]["answer_source"]);
    assert_eq!(analysis["synthesis"]["status"], "not_asked");
    assert!(answer["reasoning"].as_str().unwrap().contains("could not be merged"), "{answer}");

    // And among many questions some whose merging fails.
    let app = App::start(&[("simulated.failure_rate", "0.3")]);
    let (mut failed, mut merged) = (0, 0);
    for number in 0..40 {
        let body = json!({"prompt": format!("Question {number}"), "task_type": "basic", "synthesis": true});
        let answer = app.generate(&body);
        if answer.status != 200 {
            continue;
        }
        let answer = answer.json();
        let analysis = &answer["wall_bounce_analysis"];
        if analysis["synthesis"]["status"] == "success" {
            assert_eq!(analysis["answer_source"], "ensemble");
            merged += 1;
        } else {
            assert!(analysis["synthesis"]["error"]["kind"].is_string(), "{analysis}");
            assert!(analysis["answer_source"].as_str().unwrap().starts_with("Simulated-"));
            assert!(answer["reasoning"].as_str().unwrap().contains("returned instead"));
            failed += 1;
        }
    }
    assert!(failed > 2 && merged > 2, "{failed} {merged}");
}

#[test]
fn settings_decide_when_answers_are_merged() {
    let merged = |when: &str, wanted: Value| {
        let app = App::start(&[("synthesis.when", when)]);
        ask(&app, &wanted)["wall_bounce_analysis"]["answer_source"] == "ensemble"
    };
    assert!(merged("always", json!(null)));
    assert!(!merged("always", json!(false)));
    assert!(!merged("never", json!(null)));
    let app = App::start(&[("synthesis.when", "never")]);
    let refused = |wanted: Value| {
        let body = json!({"prompt": PROMPT, "task_type": "basic", "synthesis": wanted});
        let error = app.generate(&body).error(400, "invalid_request");
        error["message"].as_str().unwrap().to_owned()
    };
    assert!(refused(json!(true)).contains("switched off"));
    assert!(refused(json!("yes")).contains("true or false"));
}

#[test]
fn a_merged_answer_is_told_as_it_comes_and_given_again() {
    let app = App::start(&[("cache.enabled", "true")]);
    let query = "query=Why%3F&task_type=basic&synthesis=true";
    let (first, again) = (analysis(&app, query), analysis(&app, query));
    let expected =
        ["thinking", "provider_response", "provider_response", "synthesis", "consensus", "final_answer"];
    for events in [&first, &again] {
        assert_eq!(events.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(events[3].1["response"], events[5].1["answer"]["response"]);
    }
    let answer = |events: &[(String, Value)]| events[5].1["answer"].clone();
    let (fresh, cached) = (answer(&first), answer(&again));
    assert_eq!((&cached["cached"], &cached["response"]), (&json!(true), &fresh["response"]));
    assert_eq!(cached["wall_bounce_analysis"]["synthesis"]["cost_nanousd"], 0);
    assert_eq!(cached["cache"]["saved_cost_nanousd"], fresh["wall_bounce_analysis"]["total_cost_nanousd"]);
    assert_eq!(app.events("analysis")[1]["provider"], "ensemble");
    assert_eq!(app.events("llm_request").len(), 3);
    let plain = analysis(&app, "query=Why%3F&task_type=basic");
    assert_eq!(plain.last().unwrap().1["answer"]["cached"], false, "another question");
    app.get("/api/v1/wall-bounce/analyze?query=Why&synthesis=perhaps").error(400, "invalid_request");
}
