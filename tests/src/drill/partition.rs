//! The network between the programs and Redis goes away while clients ask, and comes back; a replica takes the primary's place
//! meanwhile. No request depends on it, and what happened in the meantime is counted when it is over.

use std::time::{Duration, Instant, SystemTime};

use super::{Line, Report};
use crate::production::{Load, Outcome, Roads, Setup, Watch};
use crate::proxy::Weather;
use crate::{Production, wait};

/// What the documents allow, from when the network is back.
const ALLOWED: Duration = Duration::from_secs(30);
/// How long the network is away: longer than any time-out of the programs.
const AWAY: Duration = Duration::from_secs(20);
/// The same in a test.
const AWAY_BRIEFLY: Duration = Duration::from_secs(4);
/// Answers that are waited for before and after.
const STEADY: usize = 40;

/// The ways of the apps and of the exporters, where they are separate.
const APPS: usize = 0;
const EXPORTERS: usize = 1;
/// The way to the primary, where the sentinels are asked.
const TO_PRIMARY: usize = 0;

/// From when on it is measured how long it took until what was answered is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// From when the network was gone: somebody else takes over meanwhile.
    Gone,
    /// From when it was back.
    Back,
}

/// A stack under load.
struct Drill {
    stack: Production,
    load: Load,
    watch: Watch,
    away: Duration,
}

/// The drill.
pub(super) fn run(report: &mut Report) {
    let away = if report.short { AWAY_BRIEFLY } else { AWAY };
    let seconds = away.as_secs();
    report.tell("starting the production stack");
    let mut drill = Drill::start(Roads::Separate, away);
    let mut cut = |what: String, ways: &[usize], weather: Weather| {
        report.tell(&what);
        let set =
            |stack: &mut Production, weather| ways.iter().for_each(|&way| stack.roads[way].set(weather));
        let line =
            drill.line(what, From::Back, |stack| set(stack, weather), |stack| set(stack, Weather::Fair));
        report.record(line);
    };
    cut(format!("the apps do not reach Redis for {seconds} s"), &[APPS], Weather::Refused);
    cut(format!("the exporters do not reach Redis for {seconds} s"), &[EXPORTERS], Weather::Refused);
    let unanswered = format!("nobody hears Redis' replies for {seconds} s");
    cut(unanswered, &[APPS, EXPORTERS], Weather::Unanswered);
    let what =
        format!("nobody reaches Redis for {seconds} s; a replica without the last writes takes its place");
    report.tell(&what);
    report.record(drill.line(what, From::Back, part_and_close, promote));
    drop(drill);

    let mut drill = Drill::start(Roads::Sentinels, away);
    let what = "the primary is cut off from all; the sentinels promote the replica; the primary comes back"
        .to_owned();
    report.tell(&what);
    let line = drill.line(
        what,
        From::Gone,
        |stack| stack.roads[TO_PRIMARY].set(Weather::Refused),
        come_back_as_replica,
    );
    report.record(line);
}

/// From here on the replica gets nothing any more; a moment later nobody gets anything.
fn part_and_close(stack: &mut Production) {
    let [primary, replica] = &stack.redis;
    replica.cli::<()>(&["CONFIG", "SET", "masterauth", "not-the-password"]);
    assert_eq!(primary.cli::<u32>(&["CLIENT", "KILL", "TYPE", "replica"]), 1);
    let newest = || {
        primary.cli::<Vec<(String, Vec<String>)>>(&["XREVRANGE", "techsapo:events", "+", "-", "COUNT", "1"])
    };
    let last = newest();
    wait::until_true("the primary has taken what the replica has not", || newest() != last);
    stack.roads.iter().for_each(|way| way.set(Weather::Refused));
}

/// The replica is the primary from now on, and the other follows it.
fn promote(stack: &mut Production) {
    let [old, new] = &stack.redis;
    new.cli::<()>(&["REPLICAOF", "NO", "ONE"]);
    stack.roads.iter().for_each(|way| way.lead_to(new.port()));
    old.cli::<()>(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
}

/// The replica was promoted while nobody reached the primary, which comes back as its replica.
fn come_back_as_replica(stack: &mut Production) {
    let sentinels = stack.sentinels.as_ref().expect("sentinels");
    sentinels.wait_named(stack.roads[1 - TO_PRIMARY].port());
    stack.roads[TO_PRIMARY].set(Weather::Fair);
}

impl Drill {
    fn start(roads: Roads, away: Duration) -> Self {
        let stack = Production::start(&Setup::with(roads));
        let load = Load::on(&stack.nginx);
        let watch = Watch::on(stack.exporters.iter().map(crate::Exporter::url).collect());
        Self { stack, load, watch, away }
    }

    /// Lets the network go by `begin` and come back by `end`, and says what that took.
    fn line(
        &mut self,
        what: String,
        from: From,
        begin: impl FnOnce(&mut Production),
        end: impl FnOnce(&mut Production),
    ) -> Line {
        let (load, watch) = (&self.load, &self.watch);
        load.go_on();
        load.wait_answered_since(Instant::now(), STEADY);
        let page = self.stack.page().unwrap();
        let (gone, clock) = (Instant::now(), SystemTime::now());
        begin(&mut self.stack);
        load.wait_answered_since(gone, 0);
        let answered_then = load.answered();
        std::thread::sleep(self.away);
        end(&mut self.stack);
        let back = Instant::now();
        let (since, answered) = match from {
            From::Gone => (gone, answered_then),
            From::Back => (back, load.answered()),
        };
        load.wait_answered_since(back, STEADY);
        let counted = wait::until("what was answered meanwhile is counted", || watch.counted_at(answered));
        load.pause();
        let outcomes: Vec<Outcome> = load.outcomes().into_iter().filter(|one| one.ended > gone).collect();
        self.stack.wait_whole();
        let after = self.stack.reconciled(load.answered());
        self.stack.page().unwrap().never_decreased_since(&page);
        Line {
            what,
            back_after: Some(counted.saturating_duration_since(since)),
            allowed: Some(ALLOWED),
            requests_failed: Some(outcomes.iter().filter(|one| one.failure.is_some()).count() as u64),
            scrapes_failed: Some(self.stack.scrapes_failed(clock, None)),
            // More than that would have ended the drill: see Production::reconciled.
            facts_lost: Some(load.answered().saturating_sub(after.analyses)),
            remark: match from {
                From::Gone => {
                    format!("until what was answered then was counted; {} requests", outcomes.len())
                }
                From::Back => {
                    format!("from when it was over until all was counted; {} requests", outcomes.len())
                }
            },
        }
    }
}
