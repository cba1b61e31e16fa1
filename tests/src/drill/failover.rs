//! Every part of the production stack is killed in turn (`kill -9`) while clients ask and both Prometheus scrape. What has a stand-in
//! stays dead until the stand-in serves; what has none is started again after a second, as its service manager would.
//!
//! After each part nobody asks for a moment, and what was counted is held against the audit and against what clients were answered.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::{Line, Report};
use crate::production::{Ask, Load, NOTIFIED, Outcome, Part, Roads, Setup, Watch};
use crate::{Production, http, wait};

/// What the documents allow.
const ALLOWED: Duration = Duration::from_secs(30);
/// How long a service manager waits before it starts again what died.
const RESTART: Duration = Duration::from_secs(1);
/// Facts are counted this soon while nothing is wrong: a checkpoint's second, and the way.
const USUAL: Duration = Duration::from_secs(3);
/// Answers that must follow one another before all is well.
const STEADY: usize = 40;

const ALL: [Part; 15] = [
    Part::App(0),
    Part::App(1),
    Part::App(2),
    Part::Nginx,
    Part::Holder,
    Part::Standby,
    Part::Primary,
    Part::Replica,
    Part::Sentinel(0),
    Part::Prometheus(0),
    Part::Prometheus(1),
    Part::Alertmanager(0),
    Part::Alertmanager(1),
    Part::Alertmanager(2),
    Part::Database,
];
/// One of each kind that somebody else stands in for.
const SOME: [Part; 5] = [Part::App(0), Part::Nginx, Part::Holder, Part::Primary, Part::Alertmanager(0)];

/// The drill.
pub(super) fn run(report: &mut Report) {
    report.tell("starting the production stack");
    let mut stack = Production::start(&Setup::with(Roads::Sentinels));
    let load = Load::on(&stack.nginx);
    let watch = Watch::on(stack.exporters.iter().map(crate::Exporter::url).collect());
    load.wait_answered_since(Instant::now(), STEADY);
    let parts: &[Part] = if report.short { &SOME } else { &ALL };
    for &part in parts {
        report.tell(&format!("kill -9: {part}"));
        let line = kill(&mut stack, &load, &watch, part);
        report.record(line);
    }
}

fn kill(stack: &mut Production, load: &Load, watch: &Watch, part: Part) -> Line {
    load.pause();
    let before = stack.reconciled(load.answered());
    let page = stack.page().unwrap();
    load.go_on();
    load.wait_answered_since(Instant::now(), STEADY);

    let (at, on_the_clock) = (Instant::now(), SystemTime::now());
    let killed = stack.kill_9(part);
    let mut alert = None;
    if part.has_a_stand_in() {
        alert = matches!(part, Part::Alertmanager(_)).then(|| raise_alert(stack, part));
        serves_again(load, watch, at);
        stack.start_again(killed);
    } else {
        std::thread::sleep(RESTART);
        stack.start_again(killed);
        serves_again(load, watch, at);
    }
    load.pause();
    let outcomes: Vec<_> = load.outcomes().into_iter().filter(|one| one.ended > at).collect();
    stack.wait_whole();
    let after = stack.reconciled(load.answered());
    stack.page().unwrap().never_decreased_since(&page);
    assert!(after.analyses > before.analyses, "nobody asked");
    let back = [requests_back(&outcomes, at), pages_back(watch, at), facts_back(load, watch, at)];
    let line = Line {
        what: format!("{part}: `kill -9`"),
        back_after: back.into_iter().flatten().max(),
        allowed: Some(ALLOWED),
        requests_failed: Some(failed(&outcomes).count() as u64),
        scrapes_failed: Some(stack.scrapes_failed(on_the_clock, Some(part))),
        // More than that would have ended the drill: see Production::reconciled.
        facts_lost: Some(load.answered().saturating_sub(after.analyses)),
        remark: remark(part, &outcomes, alert.map(|name| told(stack, &name))),
    };
    load.go_on();
    line
}

/// Waits until questions that were asked since are answered one after the other, and counted.
fn serves_again(load: &Load, watch: &Watch, since: Instant) {
    load.wait_answered_since(since, STEADY);
    let answered = load.answered();
    wait::until("what is answered now is counted", || watch.counted_at(answered));
}

fn failed(outcomes: &[Outcome]) -> impl Iterator<Item = &Outcome> {
    outcomes.iter().filter(|one| one.failure.is_some())
}

/// When the last request that failed was over.
fn requests_back(outcomes: &[Outcome], at: Instant) -> Option<Duration> {
    failed(outcomes).map(|one| one.ended - at).max()
}

/// When the facts were served again, if they were not for a while.
fn pages_back(watch: &Watch, at: Instant) -> Option<Duration> {
    let looks = watch.since(at);
    let last_without = looks.iter().rposition(|look| look.counted.is_none())?;
    looks.get(last_without + 1).map(|look| look.at - at)
}

/// When what was answered after that moment was counted, if it took longer than usual.
fn facts_back(load: &Load, watch: &Watch, at: Instant) -> Option<Duration> {
    let outcomes = load.outcomes();
    let answers: Vec<_> = outcomes.iter().filter(|one| one.is_answer()).collect();
    let first = answers.iter().filter(|one| one.begun > at).map(|one| one.ended).min()?;
    let until_then = answers.iter().filter(|one| one.ended <= first).count();
    let counted = watch.counted_at(until_then as u64)?;
    (counted - first > USUAL).then(|| counted - at)
}

fn remark(part: Part, outcomes: &[Outcome], alert: Option<usize>) -> String {
    let of = |ask: Ask| failed(outcomes).filter(|one| one.ask == ask).count();
    let (looks, questions) = (of(Ask::Look), of(Ask::Question));
    let mut remarks = Vec::new();
    if looks + questions > 0 {
        remarks.push(format!("failed: {looks} GET, {questions} POST of {}", outcomes.len()));
    }
    if let Some(count) = alert {
        remarks.push(format!("an alert raised meanwhile was told {count} time"));
    }
    if !part.has_a_stand_in() {
        remarks.push("started again after 1 s".to_owned());
    }
    remarks.join("; ")
}

/// Raises an alert at every Alertmanager that lives, as each Prometheus would, and waits until it arrives. Returns its name.
fn raise_alert(stack: &Production, killed: Part) -> String {
    let name = format!("Drill{}", stack.sink.json(NOTIFIED).len());
    let labels = json!({"alertname": name, "priority": "P0", "area": "drill", "severity": "critical"});
    let alert = json!([{"labels": labels, "annotations": {"summary": "a drill"}}]);
    let living = stack.alertmanagers.iter().enumerate();
    for (_, one) in living.filter(|(number, _)| killed != Part::Alertmanager(*number)) {
        let request = http::client().post(format!("http://{}/api/v2/alerts", one.address())).json(&alert);
        assert_eq!(http::send(request).unwrap().status, 200);
    }
    wait::until_true("the alert is told", || told(stack, &name) > 0);
    name
}

/// How often an alert of this name arrived.
fn told(stack: &Production, name: &str) -> usize {
    stack.sink.json(NOTIFIED).iter().filter(|told| told.to_string().contains(name)).count()
}
