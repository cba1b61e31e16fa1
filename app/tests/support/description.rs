//! Holds what the app answers against its own description (`data/openapi.json`): every response of every test that asks in
//! the ordinary way.
//!
//! Stricter than the description is to callers: a field that it does not know is an error here, so that none is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::Response;

/// The description as it is.
pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/openapi.json")).unwrap());
/// The same, closed against fields that it does not list.
static SEALED: LazyLock<Value> = LazyLock::new(|| {
    let mut sealed = DOCUMENT.clone();
    let mut open = BTreeSet::new();
    combined(&sealed, &mut open);
    for (name, schema) in sealed["components"]["schemas"].as_object_mut().unwrap() {
        seal(schema, open.contains(name.as_str()));
    }
    sealed
});
/// By the place of the schema.
static VALIDATORS: Mutex<BTreeMap<String, Validator>> = Mutex::new(BTreeMap::new());

/// Names of the schemas that others are made of: only the whole of these can be closed.
fn combined(schema: &Value, names: &mut BTreeSet<String>) {
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        let name = |part: &Value| Some(part.get("$ref")?.as_str()?.rsplit('/').next()?.to_owned());
        names.extend(parts.iter().filter_map(name));
    }
    match schema {
        Value::Object(fields) => fields.values().for_each(|value| combined(value, names)),
        Value::Array(items) => items.iter().for_each(|value| combined(value, names)),
        _ => {}
    }
}

fn seal(schema: &mut Value, is_part: bool) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| seal(item, false)),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match (name.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        properties.values_mut().for_each(|property| seal(property, false));
                    }
                    ("allOf", Value::Array(parts)) => parts.iter_mut().for_each(|part| seal(part, true)),
                    (_, value) => seal(value, false),
                }
            }
            let lists =
                fields.get("properties").is_some_and(Value::is_object) || fields.contains_key("allOf");
            if lists && !is_part {
                fields.insert("unevaluatedProperties".to_owned(), json!(false));
            }
        }
        _ => {}
    }
}

/// Fails the test when a response is not what is described.
pub(crate) fn check(request: &[u8], response: &Response) {
    let request = String::from_utf8_lossy(request);
    let mut line = request.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (line.next(), line.next()) else { return };
    let path = target.split('?').next().unwrap_or_default();
    let Some(described) = DOCUMENT["paths"].get(path) else { return };
    let operation = &described[method.to_ascii_lowercase()];
    if operation.is_null() {
        // A method that the path does not take; HEAD is GET without its body.
        assert!(method == "HEAD" || (400..500).contains(&response.status), "{method} {path}: {response:?}");
        return;
    }
    let answer = resolved(&operation["responses"][response.status.to_string()]);
    assert!(answer.is_object(), "{method} {path} answers {}, which is not described", response.status);
    for (name, header) in answer["headers"].as_object().unwrap() {
        let is_required = resolved(header)["required"] == true;
        assert!(
            !is_required || response.header(name).is_some(),
            "{method} {path}: {name} is missing in {response:?}"
        );
    }
    for name in ["x-ratelimit-limit", "retry-after", "set-cookie", "allow", "www-authenticate"] {
        let is_described =
            answer["headers"].as_object().unwrap().keys().any(|known| known.eq_ignore_ascii_case(name));
        assert!(
            response.header(name).is_none() || is_described || name == "retry-after",
            "{method} {path} {}: {name} is not described",
            response.status
        );
    }
    if response.body.is_empty() {
        return;
    }
    let media = response.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let content = answer["content"].get(media);
    assert!(content.is_some(), "{method} {path} answers {media:?}, which is not described");
    let schema = &content.unwrap()["schema"];
    match media {
        "application/json" => validate(schema, &response.json(), &format!("{method} {path}")),
        "text/event-stream" => events(&response.body).iter().for_each(|event| validate_event(schema, event)),
        _ => {}
    }
}

/// Server-sent events, each with its name, if it has one, and its data.
fn events(body: &str) -> Vec<Value> {
    let event = |text: &str| {
        let fields = text.lines().filter_map(|line| line.split_once(": "));
        let fields = fields.filter(|(name, _)| !name.is_empty());
        fields.map(|(name, value)| (name.to_owned(), json!(value))).collect::<serde_json::Map<_, _>>()
    };
    let events = body.split("\n\n").map(event).filter(|event| !event.is_empty());
    events.map(Value::Object).collect()
}

/// An event, and its data, which is described by the event's name.
fn validate_event(schema: &Value, event: &Value) {
    validate(schema, event, "an event");
    let kinds = resolved(schema);
    let one = [kinds.clone()];
    let kinds = kinds.get("oneOf").and_then(Value::as_array).map_or(one.as_slice(), Vec::as_slice);
    let is_of =
        |kind: &&Value| kind["properties"].get("event").is_none_or(|name| name["const"] == event["event"]);
    let kind = kinds.iter().find(is_of).unwrap();
    let data: Value = serde_json::from_str(event["data"].as_str().unwrap()).unwrap();
    validate(&kind["properties"]["data"]["contentSchema"], &data, "an event's data");
}

/// Fails the test when a value does not fit a schema of the description.
pub(crate) fn validate(schema: &Value, value: &Value, what: &str) {
    let mut validators = VALIDATORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let validator = validators.entry(schema.to_string()).or_insert_with(|| {
        let mut whole = schema.clone();
        whole["components"] = SEALED["components"].clone();
        jsonschema::draft202012::new(&whole).unwrap()
    });
    let problems: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert!(problems.is_empty(), "{what}: {problems:#?} in {value}");
}

/// What a reference leads to.
pub(crate) fn resolved(value: &Value) -> &Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(place) => DOCUMENT.pointer(place.trim_start_matches('#')).unwrap(),
        None => value,
    }
}
