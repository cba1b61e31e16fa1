//! The table's form, and what is done with every row: its events go through a stream and an exporter of their own, and
//! its family must then hold exactly the series that the row says. Rows stand in `rows.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use techsapo_tests::{Exporter, Exposition, Producer, RedisServer, Sample, facts};

use super::requirement::REQUIRED;
use super::rows::{self, Rows};

type Labels = BTreeMap<String, String>;

/// One row: a family, events, and what the family then holds.
pub(super) struct Row {
    family: &'static str,
    events: Vec<Value>,
    write: Option<fn(&mut Producer)>,
    expected: BTreeMap<(String, Labels), f64>,
    check: Option<fn(&Exposition)>,
}

/// A row for `family`.
pub(super) fn row(family: &'static str) -> Row {
    Row { family, events: Vec::new(), write: None, expected: BTreeMap::new(), check: None }
}

impl Row {
    /// Given this event,
    pub(super) fn event(mut self, kind: &str, fields: &Value) -> Self {
        self.events.push(facts::event(kind, fields));
        self
    }

    /// or what this writes besides,
    pub(super) fn written(mut self, write: fn(&mut Producer)) -> Self {
        self.write = Some(write);
        self
    }

    /// the family holds this series,
    pub(super) fn has(mut self, labels: &[(&str, &str)], value: impl Into<f64>) -> Self {
        self.expected.insert((self.family.to_owned(), own(labels)), value.into());
        self
    }

    /// or this histogram (cumulative counts of all its buckets, in their order, and the sum),
    pub(super) fn spread(mut self, labels: &[(&str, &str)], buckets: &[(&str, u32)], sum: f64) -> Self {
        for (le, count) in buckets {
            let mut labels = own(labels);
            labels.insert("le".to_owned(), (*le).to_owned());
            self.expected.insert((format!("{}_bucket", self.family), labels), (*count).into());
        }
        let count = buckets.last().map_or(0, |(_, count)| *count);
        self.expected.insert((format!("{}_sum", self.family), own(labels)), sum);
        self.expected.insert((format!("{}_count", self.family), own(labels)), count.into());
        self
    }

    /// and no others; or, where a figure cannot be foretold, this holds.
    pub(super) fn holds(mut self, check: fn(&Exposition)) -> Self {
        self.check = Some(check);
        self
    }

    fn run(&self, redis: &RedisServer) {
        let stream = format!("test:{}", self.family);
        let mut producer = Producer::on(redis, &stream);
        if !self.events.is_empty() {
            producer.send(&self.events);
        }
        self.write.iter().for_each(|write| write(&mut producer));
        let page = Exporter::of(redis).stream(&stream).start().scrape();
        if let Some(check) = self.check {
            check(&page);
        } else {
            self.compare(&page);
        }
    }

    /// Series of a counter or histogram that nothing has moved stand at zero and are not listed in the row.
    fn compare(&self, page: &Exposition) {
        let family = page.family(self.family).unwrap_or_else(|| panic!("{} is not on the page", self.family));
        let touched: BTreeSet<Labels> =
            family.samples.iter().filter(|sample| sample.value != 0.0).map(without_le).collect();
        let listed = |sample: &&Sample| family.kind == "gauge" || touched.contains(&without_le(sample));
        let found: BTreeMap<_, _> = family
            .samples
            .iter()
            .filter(listed)
            .map(|sample| ((sample.name.clone(), sample.labels.clone()), sample.value))
            .collect();
        assert_eq!(found, self.expected, "{}", self.family);
    }
}

fn own(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn without_le(sample: &Sample) -> Labels {
    let mut labels = sample.labels.clone();
    labels.remove("le");
    labels
}

fn run(rows: Rows) {
    let redis = RedisServer::start();
    rows().iter().for_each(|row| row.run(&redis));
}

/// An exporter that has read the events of all rows, each row's app instances kept apart.
pub(super) fn everything(redis: &RedisServer) -> Exporter {
    let mut events = Vec::new();
    for row in rows::ALL.iter().flat_map(|rows| rows()) {
        for mut event in row.events {
            for fact in event.as_object_mut().unwrap().values_mut() {
                if let Some(instance) = fact.get_mut("app_instance") {
                    *instance = format!("{}/{}", row.family, instance.as_str().unwrap()).into();
                }
            }
            events.push(event);
        }
    }
    let mut producer = Producer::new(redis);
    producer.send(&events);
    Exporter::of(redis).start()
}

#[test]
fn business() {
    run(rows::business);
}

#[test]
fn application() {
    run(rows::application);
}

#[test]
fn system() {
    run(rows::system);
}

#[test]
fn security_and_changes() {
    run(rows::security_and_changes);
}

#[test]
fn derived() {
    run(rows::derived);
}

#[test]
fn the_pipeline_about_itself() {
    run(rows::the_pipeline_about_itself);
}

#[test]
fn the_table_has_a_row_for_every_family_on_the_page() {
    let redis = RedisServer::start();
    let page = Exporter::of(&redis).start().scrape();
    let rows: BTreeSet<&str> = rows::ALL.iter().flat_map(|rows| rows()).map(|row| row.family).collect();
    let served: BTreeSet<&str> = page.families.iter().map(|family| family.name.as_str()).collect();
    assert_eq!(rows, served, "rows on the left, families of the page on the right");
    assert!(REQUIRED.iter().all(|(name, ..)| rows.contains(name)));
}
