//! The API's description: served, complete, and never behind. (That responses fit it is checked in every test: see
//! `support/description.rs`.)

use std::collections::BTreeSet;

use serde_json::{Value, json};
use techsapo_shared::labels::{BreakerState, ClosedLabel, Provider, Status, TaskType};

use crate::support::description::{DOCUMENT, resolved, validate};
use crate::support::{App, post};

fn labels<L: ClosedLabel>() -> BTreeSet<String> {
    L::ALL.iter().map(|label| label.as_str().to_owned()).collect()
}

fn values(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_is_served_to_everybody() {
    let app = App::start(&[]);
    let response = app.get("/api/v1/openapi.json");
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    assert_eq!(response.json(), *DOCUMENT);
    assert_eq!(response.header("x-ratelimit-limit"), None);
}

#[test]
fn every_path_takes_the_methods_that_are_described_and_no_others() {
    let app = App::start(&[]);
    for (path, operations) in DOCUMENT["paths"].as_object().unwrap() {
        let described: BTreeSet<_> =
            operations.as_object().unwrap().keys().map(|name| name.to_ascii_uppercase()).collect();
        let refused = app.raw(format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ));
        refused.error(405, "method_not_allowed");
        let taken = refused.header("allow").unwrap().split(',').map(|name| name.trim().to_owned());
        assert_eq!(taken.filter(|name| name != "HEAD").collect::<BTreeSet<_>>(), described, "{path}");
    }
}

#[test]
fn its_lists_are_those_of_the_code() {
    let schema = |pointer: &str| values(DOCUMENT.pointer(&format!("/components/schemas/{pointer}")).unwrap());
    assert_eq!(schema("TaskType/enum"), labels::<TaskType>());
    assert_eq!(schema("Provider/enum"), labels::<Provider>());
    assert_eq!(schema("Call/properties/status/enum"), labels::<Status>());
    let breaker = "HealthResponse/properties/providers/items/properties/breaker/properties/state/enum";
    assert_eq!(schema(breaker), labels::<BreakerState>());

    // Codes of errors stand in one file, each behind its status.
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/error.rs")).unwrap();
    let code = |part: &str| {
        let rest = part.split_once(',')?.1.trim_start().strip_prefix('"')?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let codes: BTreeSet<_> = source.split("StatusCode::").skip(1).filter_map(code).collect();
    assert!(codes.len() > 15, "{codes:?}");
    assert_eq!(schema("Error/properties/error/properties/code/enum"), codes);
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    fn walk(value: &Value, seen: &mut dyn FnMut(&Value)) {
        seen(value);
        match value {
            Value::Object(fields) => fields.values().for_each(|value| walk(value, seen)),
            Value::Array(items) => items.iter().for_each(|value| walk(value, seen)),
            _ => {}
        }
    }
    let mut names = Vec::new();
    walk(&DOCUMENT, &mut |value| {
        assert!(resolved(value) != &Value::Null || value.is_null());
        names.extend(value.get("operationId").and_then(Value::as_str).map(str::to_owned));
    });
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!((names.len(), names.len()), (different.len(), 16), "{names:?}");
}

#[test]
fn what_is_described_as_a_request_is_taken() {
    let app = App::start(&[]);
    let requests = [
        ("/api/v1/generate", "GenerateRequest", json!({"prompt": "?", "task_type": "basic"})),
        (
            "/api/v1/generate",
            "GenerateRequest",
            json!({"prompt": "?", "task_type": "critical", "mode": "sequential", "depth": 5.0, "models": null,
                   "user_id": "ü".repeat(128), "session_id": null, "context": {"documents": false, "top_k": 20}}),
        ),
        (
            "/api/v1/analyze-logs",
            "AnalyzeLogsRequest",
            json!({"logs": ["", "ERROR x"], "question": "", "task_type": null, "context": null}),
        ),
        ("/api/v1/analyze-logs", "AnalyzeLogsRequest", json!({"logs": "ERROR x", "mode": "parallel"})),
    ];
    for (path, schema, body) in requests {
        validate(&json!({"$ref": format!("#/components/schemas/{schema}")}), &body, schema);
        let answer = app.raw(post(path, &body.to_string()));
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
    }
}

#[test]
#[should_panic(expected = "not described")]
fn a_response_that_is_not_described_fails_a_test() {
    let app = App::start(&[]);
    let mut response = app.get("/ping");
    response.status = 299;
    crate::support::description::check(b"GET /ping HTTP/1.1", &response);
}

#[test]
#[should_panic(expected = "a_new_field")]
fn a_field_that_is_not_described_fails_a_test() {
    let app = App::start(&[]);
    let mut answer = app.generate(&json!({"prompt": "?", "task_type": "basic"})).json();
    answer["wall_bounce_analysis"]["a_new_field"] = json!(1);
    validate(&json!({"$ref": "#/components/schemas/GenerateResponse"}), &answer, "an answer");
}
