//! The servers of a run, and what the faults do to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use techsapo_shared::wire::{DEFAULT_STREAM, StreamKeys};

use crate::proxy::{Proxy, Weather};
use crate::{App, Exporter, RedisServer, wait};

use super::checkpoints::Checkpoints;
use super::journals::Journals;
use super::schedule::{APPS, EXPORTERS_LINK, Fault, LINKS, Trouble};
use super::scraper::Scraper;
use super::tap::Tap;
use super::{Plan, Store};
use crate::random::Random;

/// Where the stream's ids go while Redis' clock is ahead.
const AN_HOUR_MS: u64 = 3_600_000;

/// All servers of a run.
#[derive(Debug)]
pub(super) struct World {
    pub(super) apps: Vec<App>,
    pub(super) exporters: Vec<Exporter>,
    pub(super) redis: RedisServer,
    pub(super) journals: Vec<Journals>,
    /// What the apps have said to Redis.
    pub(super) tap: Arc<Mutex<Tap>>,
    /// Acknowledged before counting began anew for the last time: not on the page any more.
    pub(super) before_anew: BTreeMap<String, u64>,
    /// Processes killed.
    pub(super) kills: u64,
    /// What this machine does not allow.
    pub(super) skipped: Vec<String>,
    links: Vec<Proxy>,
    /// The streams, with what stands around each.
    streams: Vec<StreamKeys>,
    checkpoints: Checkpoints,
}

impl World {
    /// Starts everything, with its files in `folder`.
    pub(super) fn start(folder: &Path, exporters: usize, plan: Plan) -> Self {
        let redis = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
        let tap = Arc::new(Mutex::new(Tap::default()));
        let link = |link| match link {
            0..APPS => Proxy::overheard(redis.port(), Tap::ear(&tap)),
            _ => Proxy::to(redis.port()),
        };
        let mut links: Vec<_> = (0..LINKS).map(link).collect();
        let mut checkpoints = Checkpoints::start(plan.store, folder);
        if plan.store == Store::Mysql {
            links.push(Proxy::to(checkpoints.database().port()));
        }
        let keys = keys_of_streams(plan.streams);
        let start_exporter = |_| {
            let setup = Exporter::of(&redis).redis_url(&links[EXPORTERS_LINK].redis_url());
            let setup = keys.iter().fold(setup, |setup, key| setup.stream(key));
            checkpoints.used_by(setup, &links).spawn()
        };
        let exporters = (0..exporters).map(start_exporter).collect();
        let journal = |app: usize| folder.join(format!("journal-{app}"));
        let start_app = |app: usize| {
            let setup =
                App::of(&redis).set("TECHSAPO_REDIS_URL", &links[app].redis_url()).journal(&journal(app));
            setup
                .set("TECHSAPO_INSTANCE", &format!("app-{app}"))
                .set("TECHSAPO_REDIS_STREAMS", &keys.join(","))
                .set("TECHSAPO_SHUTDOWN_DEADLINE", "15s")
                .start()
        };
        let apps = (0..APPS).map(start_app).collect();
        let journals =
            (0..APPS).map(|app| Journals::in_folder(&journal(app), &folder.join(format!("links-{app}"))));
        let journals = journals.collect();
        let mut world = Self {
            apps,
            exporters,
            redis,
            journals,
            tap,
            before_anew: BTreeMap::new(),
            kills: 0,
            skipped: checkpoints.skipped().into_iter().collect(),
            links,
            streams: keys.iter().map(|key| StreamKeys::of(key)).collect(),
            checkpoints,
        };
        world.look();
        world
    }

    /// Notes what is new. To be called often.
    pub(super) fn look(&mut self) {
        self.journals.iter_mut().for_each(Journals::look);
    }

    /// Producer → what is acknowledged of it, as Redis has it.
    pub(super) fn acknowledged(&self) -> BTreeMap<String, u64> {
        let of_each = |keys: &StreamKeys| self.redis.cli::<BTreeMap<_, _>>(&["HGETALL", &keys.acks]);
        self.streams.iter().flat_map(of_each).collect()
    }

    /// A fault begins.
    pub(super) fn begin(&mut self, trouble: &Trouble, scraper: &Scraper) {
        let mut dice = Random::new(trouble.dice);
        match trouble.fault {
            Fault::KillApp(app) => self.kill_app(app),
            Fault::PauseApp(app) => self.apps[app].process.pause(),
            Fault::PowerLossApp(app) => {
                self.kill_app(app);
                self.journals[app].lose_power(&mut dice);
            }
            Fault::KillExporter(exporter) => self.kill_exporter(exporter),
            Fault::StopExporter(exporter) => {
                self.exporters[exporter].sigterm();
            }
            Fault::PauseExporter(exporter) => self.exporters[exporter].process.pause(),
            Fault::PowerLossExporters => {
                self.kill_exporters();
                self.checkpoints.slots().unsync(&mut dice);
            }
            Fault::DamageSlot => {
                self.kill_exporters();
                self.checkpoints.slots().damage_one(&mut dice);
            }
            Fault::DamageBothSlots | Fault::DamageRow => self.begin_anew(&mut dice, scraper),
            Fault::FullDisk => self.checkpoints.slots().fill(),
            Fault::KillDatabase => {
                self.checkpoints.database().kill_9();
                self.kills += 1;
            }
            Fault::PauseDatabase => self.checkpoints.database().pause(),
            Fault::RestartRedis => {
                self.kill_redis();
                self.cut_appendonly_file(&mut dice);
            }
            Fault::LoseRedis => {
                self.kill_redis();
                self.redis.lose_data();
            }
            Fault::PauseRedis => self.redis.pause(),
            Fault::FlushAll => self.redis.cli(&["FLUSHALL"]),
            Fault::Trim => {
                let left = dice.between(0, 2).to_string();
                for keys in &self.streams {
                    self.redis.cli::<u64>(&["XTRIM", &keys.stream, "MAXLEN", &left]);
                }
            }
            // A limit below what it has already: no write that takes memory passes.
            Fault::OutOfMemory => self.redis.cli(&["CONFIG", "SET", "maxmemory", "500kb"]),
            Fault::ClockAhead => self.set_ids_ahead(),
            Fault::Cut(link) => self.links[link].cut(),
            Fault::CutMidway(link) => self.links[link].cut_midway(),
            Fault::Refuse(link) => self.links[link].set(Weather::Refused),
            Fault::Slow(link) => {
                self.links[link].set(Weather::Slow(Duration::from_millis(dice.between(20, 400))));
            }
            Fault::Unanswered(link) => self.links[link].set(Weather::Unanswered),
        }
    }

    /// A fault that lasts is over.
    pub(super) fn end(&mut self, trouble: &Trouble) {
        match trouble.fault {
            Fault::KillApp(app) | Fault::PowerLossApp(app) => self.apps[app].spawn_again(),
            Fault::PauseApp(app) => self.apps[app].process.resume(),
            Fault::KillExporter(exporter) | Fault::StopExporter(exporter) => {
                self.exporters[exporter].spawn_again();
            }
            Fault::PauseExporter(exporter) => self.exporters[exporter].process.resume(),
            Fault::PowerLossExporters | Fault::DamageSlot => {
                self.exporters.iter_mut().for_each(Exporter::spawn_again);
            }
            Fault::DamageBothSlots | Fault::DamageRow => {
                self.exporters.iter_mut().for_each(Exporter::spawn_again);
                // Until the new state is durable (and a dead holder's lease has to run out first), Redis alone knows what
                // was counted, and must not be struck.
                self.wait_published();
            }
            Fault::FullDisk => self.checkpoints.slots().clear(),
            Fault::KillDatabase => self.checkpoints.database().start_again(),
            Fault::PauseDatabase => self.checkpoints.database().resume(),
            Fault::RestartRedis | Fault::LoseRedis => self.redis.start_again(),
            Fault::PauseRedis => self.redis.resume(),
            Fault::OutOfMemory => self.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]),
            // Only a stream that is made anew can have lower ids.
            Fault::ClockAhead => {
                for keys in &self.streams {
                    self.redis.cli::<u64>(&["DEL", &keys.stream]);
                }
            }
            Fault::Refuse(link) | Fault::Slow(link) | Fault::Unanswered(link) => {
                self.links[link].set(Weather::Fair);
            }
            Fault::FlushAll | Fault::Trim | Fault::Cut(_) | Fault::CutMidway(_) => {}
        }
    }

    fn kill_app(&mut self, app: usize) {
        self.apps[app].kill_9();
        self.journals[app].look();
        self.kills += 1;
    }

    fn kill_exporter(&mut self, exporter: usize) {
        self.exporters[exporter].kill_9();
        self.kills += 1;
    }

    fn kill_exporters(&mut self) {
        (0..self.exporters.len()).for_each(|exporter| self.kill_exporter(exporter));
    }

    fn kill_redis(&mut self) {
        self.redis.kill_9();
        self.kills += 1;
    }

    /// Nothing is left of the state but what Redis knows to be acknowledged; and somebody who knows that the former
    /// state is gone takes its claim away.
    fn begin_anew(&mut self, dice: &mut Random, scraper: &Scraper) {
        self.wait_published();
        self.kill_exporters();
        self.checkpoints.damage_all(dice);
        self.before_anew = self.acknowledged();
        for keys in &self.streams {
            self.redis.cli::<u64>(&["DEL", &keys.owner]);
        }
        scraper.expect_reset();
    }

    /// Waits until Redis has been told again all that is acknowledged.
    pub(super) fn wait_published(&self) {
        for keys in &self.streams {
            let left = || self.redis.cli::<i64>(&["PTTL", &keys.owner]);
            let mut last = left();
            wait::until_true("an exporter tells Redis how far it is", || {
                let now = left();
                now > std::mem::replace(&mut last, now)
            });
        }
    }

    /// The appendonly file loses its end, as after a power loss within the second between two syncs.
    fn cut_appendonly_file(&self, dice: &mut Random) {
        let folder = self.redis.folder().join("appendonlydir");
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let newest = files.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max();
        if let Some(file) = newest.and_then(|path| fs::File::options().write(true).open(path).ok()) {
            let length = file.metadata().unwrap().len();
            file.set_len(length.saturating_sub(dice.between(0, 60_000))).unwrap();
        }
    }

    /// From here on the stream's ids are of the next hour: a clock that is set right again would make them lower.
    fn set_ids_ahead(&self) {
        let ahead = format!("{}-0", crate::facts::now_ms() + AN_HOUR_MS);
        let mut connection = self.redis.connection();
        for keys in &self.streams {
            // Where there is no stream, there are no ids.
            let _ = redis::cmd("XSETID").arg(&keys.stream).arg(&ahead).exec(&mut connection);
        }
    }

    /// Everything works again: whatever was down or stopped runs.
    pub(super) fn recover(&mut self) {
        for app in &mut self.apps {
            app.wait_healthy();
        }
        self.wait_published();
    }

    /// Ends the apps in order, again and again until their journals are handed over.
    pub(super) fn drain(&mut self) {
        for (app, journals) in self.apps.iter_mut().zip(&mut self.journals) {
            wait::until_true("the journals are handed over", || {
                journals.look();
                app.sigterm();
                if !journals.are_drained() {
                    app.restart();
                }
                journals.are_drained()
            });
        }
    }

    /// Writes every process' log into `folder`.
    pub(super) fn keep_logs(&self, folder: &Path) {
        for (number, app) in self.apps.iter().enumerate() {
            let _ = fs::write(folder.join(format!("app-{number}.log")), app.process.log());
        }
        for (number, exporter) in self.exporters.iter().enumerate() {
            let _ = fs::write(folder.join(format!("exporter-{number}.log")), exporter.process.log());
        }
        let _ = fs::copy(self.redis.folder().join("redis-server.log"), folder.join("redis-server.log"));
        self.checkpoints.keep(folder);
    }
}

/// The default stream, or that many shards of it.
fn keys_of_streams(count: usize) -> Vec<String> {
    match count {
        1 => vec![DEFAULT_STREAM.to_owned()],
        _ => (0..count).map(|shard| format!("{DEFAULT_STREAM}:{{{shard}}}")).collect(),
    }
}
