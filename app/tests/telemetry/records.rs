//! Records that hold several facts: how they are shipped, and what an acknowledgement that ends within one does.

use redis::Commands;
use techsapo_shared::event::Event;
use techsapo_shared::wire::DEFAULT_STREAM;

use crate::{Scene, end, eventually, fact, lines};

fn facts(range: std::ops::RangeInclusive<u64>) -> Vec<Event<'static>> {
    range.map(fact).collect()
}

#[test]
fn facts_that_are_stated_together_arrive_one_by_one() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    let recorder = telemetry.recorder();
    recorder.record_all(&facts(1..=3));
    recorder.record(&fact(4));
    // More than a record may hold.
    recorder.record_all(&facts(5..=300));
    let producer = scene.arrives(&lines(1..=300));
    let entries = scene.entries();
    assert!(entries.iter().all(|entry| entry.count == entry.lines.len() as u64), "{entries:?}");
    scene.acknowledge(&producer, 300);
    scene.settled(&recorder);
    end(telemetry);
    assert_eq!(scene.journal_files(), 0);
}

/// No exporter acknowledges a part of a batch. Should one ever do so, the rest must not be taken for acknowledged.
#[test]
fn an_acknowledgement_that_ends_within_a_record_frees_nothing_of_it() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    telemetry.recorder().record_all(&facts(1..=5));
    let producer = scene.arrives(&lines(1..=5));
    end(telemetry);
    // The stream is lost, and the next run reads an acknowledgement in the middle.
    let _: () = scene.exporter.del(DEFAULT_STREAM).unwrap();
    scene.acknowledge(&producer, 3);

    let telemetry = scene.start();
    assert_eq!(scene.arrives(&lines(1..=5)), producer);
    scene.acknowledge(&producer, 5);
    eventually("the file of the first run is gone", || (scene.journal_files() == 1).then_some(()));
    end(telemetry);
}
