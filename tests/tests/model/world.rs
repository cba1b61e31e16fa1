//! Apps, Redis, exporters and disks under one scheduler: what it does next is drawn from the seed, and what must hold
//! is looked at after every step.

use std::time::Duration;

use techsapo_exporter::checkpoint;

use crate::app::{self, App};
use crate::exporter::{self, Around, Exporter};
use crate::ledger::Ledger;
use crate::plan::{Fault, Plan};
use crate::redis::Redis;
use crate::store::Store;
use crate::watch::Watch;
use techsapo_tests::random::Random;

/// Steps of the scheduler while things go wrong.
const STEPS: u64 = 400;
/// Afterwards everybody gets a turn this often, until all is acknowledged.
const CALM_MS: u64 = 50;
/// Steps of one of them at a time.
const STEPS_AT_ONCE: u64 = 40;
/// How long that may take.
const PATIENCE_MS: u64 = 200_000;
/// The clock's beginning: far enough from zero to be set back.
const BEGIN_MS: u64 = 1_000_000;
/// What one power loss takes has to be found among all that it may have taken.
const POWER_LOSSES: u64 = 2;

/// What one seed came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) steps: u64,
    pub(crate) faults: u64,
    pub(crate) accepted: u64,
    pub(crate) states: u64,
}

/// What comes back to order at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repair {
    Memory,
    Redis { tail_lost: bool },
    Disk,
    Exporter(usize),
    App(usize),
}

/// Everything that is simulated.
struct World {
    plan: Plan,
    faults: Vec<Fault>,
    random: Random,
    now_ms: u64,
    streams: Vec<String>,
    hold_ms: u64,
    redis: Redis,
    stores: [Store; 2],
    apps: Vec<App>,
    exporters: Vec<Exporter>,
    repairs: Vec<(u64, Repair)>,
    ledger: Ledger,
    watch: Watch,
    power_losses: u64,
    outcome: Outcome,
    /// What happened, if somebody wants to read it.
    trace: Option<Vec<String>>,
}

/// Runs one seed. A failure's trace is that of the same seed, run again with one.
pub(crate) fn run(plan: Plan, seed: u64, trace: Option<&mut Vec<String>>) -> Result<Outcome, String> {
    let mut world = World::new(plan, seed, trace.is_some());
    let result = world.live();
    if let (Some(trace), Some(lines)) = (trace, world.trace.take()) {
        *trace = lines;
    }
    result.map(|()| world.outcome)
}

impl World {
    fn new(plan: Plan, seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        // Alone and mixed: a fault that is allowed is in about half of the seeds, and some seeds have all of them.
        let all = random.chance(10);
        let faults: Vec<Fault> = plan.faults.iter().copied().filter(|_| all || random.chance(45)).collect();
        // Not in the order of their names, in which a state keeps them.
        let mut streams = vec!["techsapo:events:{1}".to_owned(), "techsapo:events:{0}".to_owned()];
        streams.truncate(if random.chance(70) { 1 } else { 2 });
        let anew = faults.contains(&Fault::StateLost);
        let hold_ms = if anew || random.chance(70) { 0 } else { 3_000 };
        let (apps, capacity) = (random.between(1, 2), random.between(25, 80));
        let mut exporters = vec![Exporter::new(0, 0, streams.clone(), hold_ms)];
        if faults.contains(&Fault::Standby) {
            exporters.push(Exporter::new(1, 0, streams.clone(), hold_ms));
        }
        Self {
            plan,
            now_ms: BEGIN_MS,
            hold_ms,
            redis: Redis::new(streams.len()),
            stores: Default::default(),
            apps: (0..apps).map(|name| App::new(format!("app{name}"), streams.len(), capacity)).collect(),
            exporters,
            repairs: Vec::new(),
            ledger: Ledger::default(),
            watch: Watch::new(anew),
            power_losses: 0,
            outcome: Outcome::default(),
            trace: traced
                .then(|| vec![format!("faults {faults:?}, streams {}, ring {capacity}", streams.len())]),
            streams,
            faults,
            random,
        }
    }

    fn live(&mut self) -> Result<(), String> {
        self.pass(0);
        for _ in 0..STEPS {
            let ms = match self.random.below(100) {
                0..60 => self.random.below(6),
                60..85 => self.random.between(20, 60),
                85..97 => self.random.between(100, 400),
                _ => self.random.between(1_000, 6_000),
            };
            // Beside a stray exporter nobody sleeps long: whoever is away for ten seconds while Redis forgets its claim
            // is gone.
            self.pass(if self.faults.contains(&Fault::Stray) { ms / 8 } else { ms });
            self.act()?;
        }
        self.calm()?;
        self.watch.check_final(&self.ledger)?;
        self.check_drops()?;
        self.outcome.accepted = self.ledger.accepted();
        self.outcome.states = self.watch.states();
        Ok(())
    }

    fn say(&mut self, who: &str, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9} ms  {who}: {}", self.now_ms - BEGIN_MS, what()));
        }
    }

    /// Time passes, and what is due is repaired.
    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.redis.set_time(self.now_ms);
        while let Some(at) = self.repairs.iter().position(|&(due, _)| due <= self.now_ms) {
            let (_, repair) = self.repairs.swap_remove(at);
            self.repair(repair);
        }
    }

    fn repair(&mut self, repair: Repair) {
        self.say("repair", || format!("{repair:?}"));
        match repair {
            Repair::Memory => self.redis.out_of_memory = false,
            Repair::Redis { tail_lost } => self.redis.start(tail_lost),
            Repair::Disk => self.stores[0].full = false,
            Repair::Exporter(place) => self.exporters[place].start(),
            Repair::App(place) => self.apps[place].start(&self.plan.rules),
        }
    }

    fn repair_later(&mut self, repair: Repair) {
        let short = self.faults.contains(&Fault::Stray) || self.random.chance(80);
        let most = if short { 2_000 } else { 8_000 };
        let due = self.now_ms + self.random.between(1, most);
        self.repairs.push((due, repair));
    }

    /// The next step of somebody.
    fn act(&mut self) -> Result<(), String> {
        self.outcome.steps += 1;
        match self.random.below(100) {
            0..10 => {
                let place = self.random.place(self.apps.len());
                if self.apps[place].is_up() {
                    let events = self.random.between(1, 8);
                    self.say("app", || format!("{place} records {events} events"));
                    (0..events).for_each(|_| self.apps[place].append(&mut self.random, &mut self.ledger));
                }
                Ok(())
            }
            10..37 => {
                let place = self.random.place(self.apps.len());
                self.step_app(place);
                Ok(())
            }
            37..55 => {
                let place = self.random.place(self.exporters.len());
                self.step_reader(place).map(drop)
            }
            55..97 => {
                let place = self.random.place(self.exporters.len());
                self.step_exporter(place).map(drop)
            }
            _ => self.go_wrong(),
        }
    }

    fn step_app(&mut self, place: usize) -> bool {
        let way = match self.random.below(100) {
            0 if self.connections_fail() => app::Way::Cut,
            1 if self.connections_fail() => app::Way::Unanswered,
            2 if self.connections_fail() => app::Way::Late,
            _ => app::Way::Good,
        };
        let now = Duration::from_millis(self.now_ms);
        let rules = &self.plan.rules;
        let said = self.apps[place].step(&mut self.redis, &mut self.random, rules, now, way);
        let did = said.is_some();
        if let Some(said) = said {
            self.say("app", || format!("{place} {said}"));
        }
        did
    }

    fn step_exporter(&mut self, place: usize) -> Result<bool, String> {
        let way = self.exporters_way();
        self.with_exporter(place, way, Exporter::step)
    }

    fn step_reader(&mut self, place: usize) -> Result<bool, String> {
        let way = self.exporters_way();
        self.with_exporter(place, way, Exporter::read)
    }

    fn with_exporter(
        &mut self,
        place: usize,
        way: exporter::Way,
        step: impl FnOnce(&mut Exporter, &mut Around<'_>) -> Option<String>,
    ) -> Result<bool, String> {
        let mut events = Vec::new();
        let exporter = &mut self.exporters[place];
        let mut around = Around {
            redis: &mut self.redis,
            store: &mut self.stores[exporter.store],
            random: &mut self.random,
            rules: &self.plan.rules,
            now_ms: self.now_ms,
            way,
            events: &mut events,
        };
        let said = step(exporter, &mut around);
        let (did, is_stray) = (said.is_some(), exporter.store != 0);
        if let Some(said) = said {
            self.say("exporter", || format!("{place} {said}"));
        }
        // What a stray one counts is of no interest: it must do no harm.
        for event in events.into_iter().filter(|_| !is_stray) {
            self.watch.see(event, &self.ledger)?;
        }
        Ok(did)
    }

    fn exporters_way(&mut self) -> exporter::Way {
        match self.random.below(100) {
            0 | 1 if self.connections_fail() => exporter::Way::Lost,
            2 if self.connections_fail() => exporter::Way::Unanswered,
            3 if self.connections_fail() => exporter::Way::Late,
            _ => exporter::Way::Good,
        }
    }

    fn connections_fail(&self) -> bool {
        self.faults.contains(&Fault::Connections)
    }

    fn go_wrong(&mut self) -> Result<(), String> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let fault = self.faults[self.random.place(self.faults.len())];
        self.say("fault", || format!("{fault:?}"));
        self.outcome.faults += 1;
        let shard = self.random.place(self.streams.len());
        match fault {
            Fault::Connections => {
                self.redis.late_arrival(&mut self.random);
                if self.random.chance(40) {
                    self.redis.life += 1;
                }
            }
            Fault::OutOfMemory => {
                self.redis.out_of_memory = true;
                self.repair_later(Repair::Memory);
            }
            Fault::Restarts => self.stop_redis(false),
            Fault::LosesTail if self.random.chance(60) => self.redis.save(),
            Fault::LosesTail => {
                if self.random.chance(25) {
                    self.redis.flush();
                    self.redis.save();
                }
                self.stop_redis(true);
            }
            Fault::Flush => self.redis.flush(),
            Fault::Trim if self.random.chance(30) => self.redis.delete_stream(shard),
            Fault::Trim => self.redis.trim(shard, self.random.between(1, 9) as usize),
            Fault::Clock => self.redis.set_clock_back(self.random.between(1, 20_000)),
            Fault::ExporterKilled => {
                // Not a stray one, which would come anew.
                let mine = self.exporters.iter().filter(|exporter| exporter.store == 0).count();
                let place = self.random.place(mine);
                self.kill_exporter(place);
            }
            Fault::DiskFull => {
                self.stores[0].full = true;
                self.repair_later(Repair::Disk);
            }
            Fault::SlotDamaged => {
                let slots = self.plan.rules.slots();
                self.stores[0].damage_one(self.random.place(slots), slots);
            }
            Fault::StateLost => self.lose_state(),
            Fault::AppKilled | Fault::PowerLoss => self.end_app(fault == Fault::PowerLoss),
            // One store, one lock: that it is there is all it takes.
            Fault::Standby => {}
            Fault::Stray => return self.stray_comes(),
        }
        Ok(())
    }

    /// A stray exporter comes and sees that the stream has an owner. (What comes in the very second in which Redis has
    /// forgotten the owner could know of nobody.)
    fn stray_comes(&mut self) -> Result<(), String> {
        let alone = self.exporters.iter().all(|exporter| exporter.store == 0);
        if alone && self.redis.up && self.redis.owner(0).is_some() {
            let place = self.exporters.len();
            self.exporters.push(Exporter::new(place, 1, self.streams.clone(), self.hold_ms));
            for _ in 0..2 {
                self.with_exporter(place, exporter::Way::Good, Exporter::step)?;
            }
        }
        Ok(())
    }

    fn stop_redis(&mut self, tail_lost: bool) {
        if self.redis.up {
            self.redis.stop();
            self.repair_later(Repair::Redis { tail_lost });
        }
    }

    fn kill_exporter(&mut self, place: usize) {
        let exporter = &mut self.exporters[place];
        if exporter.is_up() {
            let late = self.faults.contains(&Fault::Connections) && self.random.chance(30);
            exporter.kill(&mut self.redis, &mut self.stores[exporter.store], late);
            self.repair_later(Repair::Exporter(place));
        }
    }

    fn lose_state(&mut self) {
        for place in 0..self.exporters.len() {
            if self.exporters[place].store == 0 {
                self.kill_exporter(place);
            }
        }
        if self.random.chance(60) {
            self.stores[0].damage_both(self.random.chance(30));
            return;
        }
        let redis = &self.redis;
        let shards = 0..self.streams.len();
        self.stores[0].restore(|bytes| {
            checkpoint::decode(bytes).is_ok_and(|state| {
                let mut acknowledged = shards.clone().flat_map(|shard| redis.all_acknowledged(shard));
                acknowledged
                    .any(|(id, &seq)| state.producers.get(id).is_none_or(|known| known.expected <= seq))
            })
        });
    }

    fn end_app(&mut self, power_fails: bool) {
        let place = self.random.place(self.apps.len());
        if !self.apps[place].is_up() {
            return;
        }
        if power_fails && self.power_losses < POWER_LOSSES {
            self.power_losses += 1;
            self.apps[place].lose_power(&mut self.redis, &mut self.random, &mut self.ledger);
        } else {
            let late = self.connections_fail() && self.random.chance(30);
            self.apps[place].kill(&mut self.redis, late);
        }
        self.repair_later(Repair::App(place));
    }

    /// Nothing more goes wrong: then everything is counted and acknowledged within a bounded time.
    fn calm(&mut self) -> Result<(), String> {
        self.say("calm", String::new);
        for (_, repair) in std::mem::take(&mut self.repairs) {
            self.repair(repair);
        }
        while self.redis.late_arrival(&mut self.random) {}
        self.faults.clear();
        let begin = self.now_ms;
        while !self.is_done() {
            if self.now_ms > begin + PATIENCE_MS {
                return Err("it is stuck: not everything is acknowledged and served".to_owned());
            }
            self.everybody()?;
        }
        // What is held back at first is shown in the end.
        let shown = self.now_ms + 2 * self.hold_ms + 2_500;
        while self.now_ms < shown {
            self.everybody()?;
        }
        Ok(())
    }

    fn everybody(&mut self) -> Result<(), String> {
        self.pass(CALM_MS);
        for place in 0..self.apps.len() {
            for _ in 0..STEPS_AT_ONCE {
                if !self.step_app(place) {
                    break;
                }
                self.outcome.steps += 1;
            }
        }
        for place in 0..self.exporters.len() {
            for _ in 0..STEPS_AT_ONCE {
                if !(self.step_reader(place)? | self.step_exporter(place)?) {
                    break;
                }
                self.outcome.steps += 1;
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let durable = self.exporters.iter().any(|exporter| exporter.store == 0 && exporter.is_durable());
        durable && self.apps.iter().all(App::is_drained)
    }

    /// Every drop is told of once, except those that wait for the next event. A header that went back in time with the
    /// power may have forgotten some, or that they were told; a state begun anew hears of all of them again.
    fn check_drops(&self) -> Result<(), String> {
        let untold: u64 = self.apps.iter().map(App::dropped_untold).sum();
        let told = self.watch.served().map_or(0, |served| served.dropped);
        let exact = self.power_losses == 0 && self.watch.states() == 1;
        if exact && told + untold != self.ledger.dropped {
            return Err(format!(
                "{} events were dropped, {told} are told of, {untold} not yet",
                self.ledger.dropped
            ));
        }
        Ok(())
    }
}
