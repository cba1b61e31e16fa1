//! `shared/event.schema.json`, the contract for producers in other languages: generated from [`Event`], completed with
//! the bounds that [`Event::check`] enforces, and held against the decoder, so that neither can say more than the other.

use serde_json::{Map, Value, json};

use crate::event::{
    Event, MAX_BYTES, MAX_COST_NANOUSD, MAX_DURATION_US, MAX_LABEL_BYTES, MAX_LIST, MAX_T_MS, MAX_TOKENS,
    WHOLE_PPM,
};
use crate::wire::{LineError, decode_line};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/event.schema.json");
const GOLDEN: &str = include_str!("../golden/v1-entries.json");

/// Smallest and largest value of an integer, by its name: units are in the names.
fn bounds(field: &str) -> (u64, u64) {
    match field {
        "t" => (0, MAX_T_MS),
        "status_code" => (100, 599),
        "open" | "length" | "dropped" | "redis_pool_connections" | "redis_consecutive_failures" => {
            (0, MAX_BYTES)
        }
        _ if field.ends_with("_us") => (0, MAX_DURATION_US),
        _ if field.ends_with("_ppm") => (0, WHOLE_PPM.into()),
        _ if field.ends_with("_nanousd") => (0, MAX_COST_NANOUSD),
        _ if field.ends_with("_tokens") => (0, MAX_TOKENS),
        _ if field.ends_with("_bytes") => (0, MAX_BYTES),
        _ => panic!("{field} has no bound: give it one here and in Event::check"),
    }
}

fn generate() -> Value {
    let mut schema = serde_json::to_value(schemars::schema_for!(Event<'_>)).unwrap();
    schema["title"] = json!("TechSapo event, wire version 1");
    schema["description"] = json!(
        "One line of field d of a stream entry. Unknown fields are ignored; an unknown type is refused. \
         Lengths of strings are in bytes of UTF-8."
    );
    schema["examples"] = examples().into();
    for definition in schema["$defs"].as_object_mut().unwrap().values_mut() {
        let Some(properties) = definition.get_mut("properties") else { continue };
        for (field, property) in properties.as_object_mut().unwrap() {
            bound(field, property.as_object_mut().unwrap());
        }
    }
    schema
}

/// Writes the bounds of one property into its schema.
fn bound(field: &str, property: &mut Map<String, Value>) {
    let kind = property.get("type").cloned().unwrap_or_default();
    let is = |name: &str| kind == name || kind.as_array().is_some_and(|kinds| kinds.contains(&json!(name)));
    if is("integer") {
        let (least, most) = bounds(field);
        property.insert("minimum".to_owned(), least.into());
        property.insert("maximum".to_owned(), most.into());
    } else if is("string") {
        property.insert("minLength".to_owned(), 1.into());
        property.insert("maxLength".to_owned(), MAX_LABEL_BYTES.into());
    } else if is("array") {
        property.insert("maxItems".to_owned(), MAX_LIST.into());
        bound(field, property["items"].as_object_mut().unwrap());
    }
}

/// One event of every type with every field filled in, from the golden entries.
fn examples() -> Vec<Value> {
    let entries: Value = serde_json::from_str(GOLDEN).unwrap();
    entries[0]["lines"].as_array().unwrap().clone()
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&generate()).unwrap()
}

fn tag(event: &Value) -> &str {
    event.as_object().unwrap().keys().next().unwrap()
}

/// Every place inside `value`, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, child)| (key.clone(), child)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, child)| (i.to_string(), child)).collect(),
        _ => vec![],
    };
    for (key, child) in children {
        let place = format!("{at}/{key}");
        places(child, &place, found);
        found.push(place);
    }
}

fn with(event: &Value, place: &str, value: Value) -> Value {
    let mut changed = event.clone();
    *changed.pointer_mut(place).unwrap() = value;
    changed
}

fn decode(event: &Value) -> Result<(), LineError> {
    decode_line(event.to_string().as_bytes()).map(drop)
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    let generated = format!("{:#}\n", generate());
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(PATH, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        committed == generated,
        "shared/event.schema.json is not what the types say; rewrite it with UPDATE_GENERATED=1 cargo test -p techsapo-shared"
    );
}

#[test]
fn the_list_of_types_is_the_schema_s() {
    let schema = generate();
    let variants: Vec<&str> =
        schema["oneOf"].as_array().unwrap().iter().map(|variant| tag(&variant["properties"])).collect();
    assert_eq!(variants, Event::TYPES);
}

#[test]
fn every_type_has_an_example_and_the_schema_accepts_it() {
    let (validator, examples) = (validator(), examples());
    assert_eq!(examples.iter().map(tag).collect::<Vec<_>>(), Event::TYPES);
    for example in &examples {
        validator.validate(example).unwrap_or_else(|error| panic!("{example}: {error}"));
    }
}

#[test]
fn examples_leave_no_field_out() {
    let (schema, examples) = (generate(), examples());
    let mut places_seen = Vec::new();
    examples.iter().for_each(|example| places(example, "", &mut places_seen));
    let definitions = schema["$defs"].as_object().unwrap().values();
    for field in definitions.filter_map(|one| one["properties"].as_object()).flat_map(Map::keys) {
        assert!(
            places_seen.iter().any(|place| place.ends_with(&format!("/{field}"))),
            "{field} in no example"
        );
    }
}

#[test]
fn schema_and_decoder_agree_on_every_change_of_every_field() {
    let validator = validator();
    let long = |length: usize| Value::from("x".repeat(length));
    for example in &examples() {
        let mut all = Vec::new();
        places(example, "", &mut all);
        for place in &all {
            let mut values =
                vec![Value::Null, json!(-1), json!(0), json!(1.5), json!(true), json!(""), json!("no such")];
            values.extend([
                long(MAX_LABEL_BYTES),
                long(MAX_LABEL_BYTES + 1),
                json!([]),
                json!({}),
                json!(u64::MAX),
            ]);
            if let Some([first, ..]) = example.pointer(place).unwrap().as_array().map(Vec::as_slice) {
                values
                    .extend([MAX_LIST, MAX_LIST + 1].map(|length| Value::from(vec![first.clone(); length])));
            }
            for value in values {
                let changed = with(example, place, value);
                assert_eq!(decode(&changed).is_ok(), validator.is_valid(&changed), "{place}: {changed}");
            }
            let (parent, key) = place.rsplit_once('/').unwrap();
            let mut without = example.clone();
            if let Some(map) = without.pointer_mut(parent).unwrap().as_object_mut() {
                map.remove(key);
                assert_eq!(
                    decode(&without).is_ok(),
                    validator.is_valid(&without),
                    "without {place}: {without}"
                );
            }
        }
    }
}

#[test]
fn schema_and_decoder_have_the_same_bounds() {
    let validator = validator();
    for example in &examples() {
        let mut all = Vec::new();
        places(example, "", &mut all);
        for place in all.iter().filter(|place| example.pointer(place).unwrap().is_u64()) {
            let field = place.rsplit('/').next().unwrap();
            let (least, most) = bounds(field);
            for inside in [least, most] {
                let changed = with(example, place, inside.into());
                assert_eq!(decode(&changed), Ok(()), "{changed}");
                assert!(validator.is_valid(&changed), "{changed}");
            }
            for outside in least.checked_sub(1).into_iter().chain([most + 1]) {
                let changed = with(example, place, outside.into());
                let error = decode(&changed).unwrap_err();
                assert!(
                    matches!(error, LineError::OutOfBounds(name) if name == field),
                    "{changed}: {error:?}"
                );
                assert!(!validator.is_valid(&changed), "{changed}");
            }
        }
    }
}

#[test]
fn the_schema_refuses_what_is_no_event() {
    let validator = validator();
    let bad = [
        json!(null),
        json!([]),
        json!({}),
        json!("analysis"),
        json!({"llm_answer": {"t": 1}}),
        json!({"anomaly": {"t": 1, "type": "traffic_spike"}, "config_changed": {"t": 1, "component": "app"}}),
    ];
    for event in bad {
        assert!(!validator.is_valid(&event), "{event}");
    }
}
