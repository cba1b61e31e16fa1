//! Two Prometheus write the same series to one long-term store: it keeps one sample for each interval, whoever of the two was away.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use techsapo_tests::production::{INTERVAL, Part, Roads, Setup};
use techsapo_tests::{Production, Prometheus, http, wait};

/// What leaves Prometheus are recorded series; this one counts analyses.
const SERIES: &str = "techsapo:wallbounce_requests:increase1h";
/// So many samples more show that a server is at work.
const SOME: usize = 5;

/// Samples: when (in ms), and the value.
type Samples = Vec<(i64, f64)>;

/// What a Prometheus holds of the series.
fn recorded(prometheus: &Prometheus) -> Samples {
    let request = http::client().get(prometheus.url("/api/v1/query"));
    let answer = http::send(request.query(&[("query", format!("{SERIES}[30m]"))])).unwrap().json();
    let values = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
    let sample = |sample: &Value| {
        let milliseconds = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
        (milliseconds, sample[1].as_str().unwrap().parse().unwrap())
    };
    values.iter().map(sample).collect()
}

/// Samples that a Prometheus has sent since its start.
fn sent(prometheus: &Prometheus) -> f64 {
    let page = http::get(&prometheus.url("/metrics")).unwrap().text();
    let lines = page.lines().filter(|line| line.starts_with("prometheus_remote_storage_samples_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// What the store holds of it.
fn stored(stack: &Production) -> Samples {
    let url = format!("{}/api/v1/export", stack.long_term);
    let answer = http::send(http::client().get(url).query(&[("match[]", SERIES)])).unwrap();
    // A line for each block of samples, of one series.
    let blocks: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(blocks.iter().all(|block| block["metric"] == json!({"__name__": SERIES})), "{blocks:?}");
    let samples = blocks.iter().flat_map(|block| {
        let times = block["timestamps"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap());
        times.zip(block["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()))
    });
    samples.collect()
}

/// The interval that a sample falls into: the store keeps the last one of each.
fn interval(time: i64) -> i64 {
    let length = INTERVAL.as_millis() as i64;
    (time + length - 1).div_euclid(length)
}

/// By interval; two in one are an error.
fn by_interval(samples: &Samples) -> BTreeMap<i64, f64> {
    let intervals: BTreeMap<_, _> = samples.iter().map(|&(time, value)| (interval(time), value)).collect();
    assert_eq!(intervals.len(), samples.len(), "two samples of one interval: {samples:?}");
    intervals
}

fn ask(stack: &Production, questions: usize) {
    for number in 0..questions {
        let question = json!({"prompt": format!("Question {number}?"), "task_type": "basic"});
        let request = stack.nginx.client().post(stack.nginx.url("/api/v1/generate")).json(&question);
        assert_eq!(http::send(request).unwrap().status, 200);
    }
}

/// Waits until both Prometheus have `SOME` samples later than `after`, and the store has all of them.
fn wait_written(stack: &Production, after: i64) {
    wait::until_true("both record, and the store has it", || {
        let kept = by_interval(&stored(stack));
        stack.prometheus.iter().all(|prometheus| {
            let mut samples = recorded(prometheus);
            samples.retain(|&(time, _)| time > after);
            samples.len() >= SOME
                && samples[..SOME].iter().all(|&(time, _)| kept.contains_key(&interval(time)))
        })
    });
}

#[test]
fn the_long_term_store_counts_once_what_two_prometheus_send_also_when_one_was_away() {
    let mut stack = Production::start(&Setup::with(Roads::Sentinels));
    ask(&stack, 10);
    wait_written(&stack, 0);

    let killed = stack.kill_9(Part::Prometheus(0));
    let away = recorded(&stack.prometheus[1]).last().unwrap().0;
    ask(&stack, 10);
    wait::until_true("the other one goes on alone", || {
        recorded(&stack.prometheus[1]).iter().filter(|&&(time, _)| time > away).count() >= SOME
    });
    stack.start_again(killed);
    let back = recorded(&stack.prometheus[1]).last().unwrap().0;
    wait_written(&stack, back);

    // Every interval of the one that was always there is in the store, once, with the value that one of the two gave it.
    let second = recorded(&stack.prometheus[1]);
    let newest = second.last().unwrap().0;
    let kept = wait::until("the store has all of it", || {
        let kept = by_interval(&stored(&stack));
        second.iter().all(|&(time, _)| kept.contains_key(&interval(time))).then_some(kept)
    });
    // Read behind the store, for what it has by then was recorded before.
    let (first, second) = (recorded(&stack.prometheus[0]), recorded(&stack.prometheus[1]));
    for (number, value) in kept.iter().filter(|&(&number, _)| number <= interval(newest)) {
        let near = |(time, given): &(i64, f64)| {
            interval(*time) == *number && (given - value).abs() <= 1e-9 * value.abs().max(1.0)
        };
        assert!(first.iter().chain(&second).any(near), "{value} in {number}: {first:?} {second:?}");
    }
    // Both did write: without that the store would have had nothing to leave out.
    assert!(stack.prometheus.iter().all(|prometheus| sent(prometheus) > 0.0));
    // Nobody sees two series where there is one.
    let url = format!("{}/api/v1/query", stack.long_term);
    for (query, wanted) in
        [(format!("count({SERIES})"), json!("1")), ("count({replica!=\"\"})".to_owned(), Value::Null)]
    {
        wait::until_true(&query, || {
            let answer = http::send(http::client().get(&url).query(&[("query", &query)])).unwrap().json();
            answer["data"]["result"][0]["value"][1] == wanted
        });
    }
}
