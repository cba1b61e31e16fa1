//! Entries as they stood in streams since version 1. What is written here must decode for ever, to the same facts, and
//! what is refused must be refused for the same reason: the files in `shared/golden` are added to, never changed.
//!
//! * `v1-entries.json`: the entry's fields, whose origin they must give, and each line's event (`null`: lost).
//! * `v1-refused-entries.json`, `v1-refused-lines.json`: the error that must come.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use techsapo_shared::wire::{Batch, HeaderError, Line, decode_line};

type Fields = BTreeMap<String, String>;

#[derive(Deserialize)]
struct Accepted {
    about: String,
    fields: Fields,
    origin: Option<Origin>,
    lines: Vec<Value>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Origin {
    producer: String,
    first_seq: u64,
    oldest_seq: u64,
    dropped: u64,
}

#[derive(Deserialize)]
struct RefusedEntry {
    about: String,
    fields: Fields,
    error: String,
}

#[derive(Deserialize)]
struct RefusedLine {
    about: String,
    line: String,
    error: String,
}

fn read<T: DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str(text).expect("a golden file is a list of cases")
}

fn decode(fields: &Fields) -> Result<Batch<'_>, HeaderError> {
    Batch::decode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

#[test]
fn accepted_entries_decode_to_the_same_facts() {
    for Accepted { about, fields, origin, lines } in read(include_str!("../golden/v1-entries.json")) {
        let batch = decode(&fields).unwrap_or_else(|error| panic!("{about}: {error}"));
        let found = batch.origin.map(|origin| Origin {
            producer: origin.producer.to_owned(),
            first_seq: origin.first_seq,
            oldest_seq: origin.oldest_seq,
            dropped: origin.dropped,
        });
        assert_eq!(found, origin, "{about}");
        assert_eq!(batch.count, lines.len() as u64, "{about}");
        let found: Vec<Value> = batch
            .lines()
            .map(|line| match decode_line(line).unwrap_or_else(|error| panic!("{about}: {error}")) {
                Line::Event(event) => serde_json::to_value(event).unwrap(),
                Line::Lost => Value::Null,
            })
            .collect();
        assert_eq!(found, lines, "{about}");
    }
}

#[test]
fn refused_entries_are_refused_for_the_same_reason() {
    for RefusedEntry { about, fields, error } in read(include_str!("../golden/v1-refused-entries.json")) {
        assert_eq!(decode(&fields).map_err(|error| error.to_string()).unwrap_err(), error, "{about}");
    }
}

#[test]
fn refused_lines_are_refused_for_the_same_reason() {
    for RefusedLine { about, line, error } in read(include_str!("../golden/v1-refused-lines.json")) {
        let found = decode_line(line.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(found, Err(error), "{about}: {line}");
    }
}
