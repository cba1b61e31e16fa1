//! The servers of a run, and what the faults do to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::proxy::{Proxy, Weather};
use crate::{App, Exporter, RedisServer, wait};

use super::journals::Journals;
use super::schedule::{APPS, EXPORTERS_LINK, Fault, LINKS, Trouble};
use super::scraper::Scraper;
use super::tap::Tap;
use crate::random::Random;

const STREAM: &str = "techsapo:events";
const ACKS: &str = "techsapo:acks";
const OWNER: &str = "techsapo:owner";
const SLOTS: [&str; 2] = ["state.0", "state.1"];
/// Where the stream's ids go while Redis' clock is ahead.
const AN_HOUR_MS: u64 = 3_600_000;
/// Size of the checkpoint's disk, where it has one of its own.
const DISK: &str = "size=8m";
const FILLER: &str = "filler";

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
    checkpoints: PathBuf,
    disk: Option<Disk>,
    /// The slot that was damaged last, and how it was left.
    damaged: Option<(&'static str, Vec<u8>)>,
}

impl World {
    /// Starts everything, with its files in `folder`.
    pub(super) fn start(folder: &Path, exporters: usize) -> Self {
        let redis = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
        let tap = Arc::new(Mutex::new(Tap::default()));
        let link = |link| match link {
            0..APPS => Proxy::overheard(redis.port(), Tap::ear(&tap)),
            _ => Proxy::to(redis.port()),
        };
        let links: Vec<_> = (0..LINKS).map(link).collect();
        let checkpoints = folder.join("checkpoints");
        fs::create_dir(&checkpoints).unwrap();
        let (disk, skipped) = match Disk::mount(&checkpoints) {
            Ok(disk) => (Some(disk), Vec::new()),
            Err(why) => (None, vec![format!("no full disk: {why}")]),
        };
        let start_exporter = |_| {
            let setup = Exporter::of(&redis).redis_url(&links[EXPORTERS_LINK].redis_url());
            setup.checkpoints(&checkpoints).spawn()
        };
        let exporters = (0..exporters).map(start_exporter).collect();
        let journal = |app: usize| folder.join(format!("journal-{app}"));
        let start_app = |app: usize| {
            let setup =
                App::of(&redis).set("TECHSAPO_REDIS_URL", &links[app].redis_url()).journal(&journal(app));
            setup
                .set("TECHSAPO_INSTANCE", &format!("app-{app}"))
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
            skipped,
            links,
            checkpoints,
            disk,
            damaged: None,
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
        self.redis.cli(&["HGETALL", ACKS])
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
                self.unsync_checkpoint(&mut dice);
            }
            Fault::DamageSlot => {
                self.kill_exporters();
                self.damage_one(&mut dice);
            }
            Fault::DamageBothSlots => self.begin_anew(&mut dice, scraper),
            Fault::FullDisk => self.disk.iter().for_each(Disk::fill),
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
                self.redis.cli::<u64>(&["XTRIM", STREAM, "MAXLEN", &left]);
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
            Fault::PowerLossExporters | Fault::DamageSlot | Fault::DamageBothSlots => {
                self.exporters.iter_mut().for_each(Exporter::spawn_again);
            }
            Fault::FullDisk => self.disk.iter().for_each(Disk::clear),
            Fault::RestartRedis | Fault::LoseRedis => self.redis.start_again(),
            Fault::PauseRedis => self.redis.resume(),
            Fault::OutOfMemory => self.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]),
            // Only a stream that is made anew can have lower ids.
            Fault::ClockAhead => {
                self.redis.cli::<u64>(&["DEL", STREAM]);
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

    /// Power fails while a checkpoint is written: the slot that was renamed last may have its former content, for the
    /// folder was not synced yet, and what is not renamed may hold anything. (What both slots hold was synced.)
    fn unsync_checkpoint(&self, dice: &mut Random) {
        let contents = SLOTS.map(|slot| fs::read(self.checkpoints.join(slot)).ok());
        if let [Some(first), Some(second)] = &contents
            && generation_of(first) > generation_of(second)
            && dice.coin()
        {
            // The first slot is written first. On a full disk it stays as it is.
            let _ = fs::write(self.checkpoints.join(SLOTS[0]), second);
        }
        let _ = fs::write(self.checkpoints.join(format!("{}.new", SLOTS[dice.place(2)])), "torn");
    }

    /// Damages one slot: the same again, if it is still as it was left the last time.
    fn damage_one(&mut self, dice: &mut Random) {
        let is_as_left = |(slot, content): &(&str, Vec<u8>)| {
            fs::read(self.checkpoints.join(slot)).is_ok_and(|found| found == *content)
        };
        let slot = match self.damaged.take().filter(is_as_left) {
            Some((slot, _)) => slot,
            None => SLOTS[dice.place(2)],
        };
        self.damage(slot, dice);
        self.damaged = fs::read(self.checkpoints.join(slot)).ok().map(|content| (slot, content));
    }

    /// Cuts a slot or changes a bit of it.
    fn damage(&self, slot: &str, dice: &mut Random) {
        let path = self.checkpoints.join(slot);
        let Ok(mut content) = fs::read(&path) else { return };
        if content.is_empty() {
            return;
        }
        let place = dice.place(content.len());
        if dice.coin() {
            content.truncate(place);
        } else {
            content[place] ^= 1 << dice.place(8);
        }
        // On a full disk it is gone, which is damage as well.
        let _ = fs::write(path, content);
    }

    /// Nothing is left of the state but what Redis knows to be acknowledged; and somebody who knows that the former
    /// state is gone takes its claim away.
    fn begin_anew(&mut self, dice: &mut Random, scraper: &Scraper) {
        self.wait_published();
        self.kill_exporters();
        for slot in SLOTS {
            self.damage(slot, dice);
        }
        self.before_anew = self.acknowledged();
        self.redis.cli::<u64>(&["DEL", OWNER]);
        scraper.expect_reset();
    }

    /// Waits until Redis has been told again all that is acknowledged.
    pub(super) fn wait_published(&self) {
        let left = || self.redis.cli::<i64>(&["PTTL", OWNER]);
        let mut last = left();
        wait::until_true("an exporter tells Redis how far it is", || {
            let now = left();
            now > std::mem::replace(&mut last, now)
        });
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
        // Where there is no stream, there are no ids.
        let _ = redis::cmd("XSETID").arg(STREAM).arg(&ahead).exec(&mut connection);
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
        if self.disk.is_some() {
            let kept = folder.join("slots");
            let _ = fs::create_dir(&kept);
            for slot in SLOTS {
                let _ = fs::copy(self.checkpoints.join(slot), kept.join(slot));
            }
        }
    }
}

/// The number of the checkpoint in a slot; it stands behind the magic.
fn generation_of(slot: &[u8]) -> Option<u64> {
    slot.get(8..16)?.try_into().map(u64::from_le_bytes).ok()
}

/// A small disk in memory.
#[derive(Debug)]
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Path) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can mount one".to_owned());
        }
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", DISK, "chaos"]).arg(folder);
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(Self(folder.to_owned()))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// Leaves no room.
    fn fill(&self) {
        let filler = self.0.join(FILLER);
        // Ends when there is none.
        let _ = std::io::copy(
            &mut std::io::repeat(0),
            &mut fs::File::create(filler).unwrap_or_else(|error| panic!("{error}")),
        );
    }

    fn clear(&self) {
        let _ = fs::remove_file(self.0.join(FILLER));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have it open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
