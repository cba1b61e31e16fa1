//! The chaos run: two apps under load, a Redis and one or two exporters, while all that the promise survives happens to
//! them at moments that a seed decides; and at the end a reckoning.
//!
//! * [`schedule`]: what goes wrong and when, from the seed alone.
//! * [`world`]: the servers, and what the faults do to them; [`journals`] are the apps' files, [`checkpoints`] the exporters'
//!   state.
//! * [`load`]: clients, and what they were answered. [`scraper`]: counters that went down.
//! * [`tap`]: what the apps told Redis. [`facts`]: what that adds up to. [`verdict`]: whether all of it agrees.
//!
//! Two things are left out: the machine's clock is not touched (Redis' ids step back instead, which is all that a clock
//! decides here), and without root's rights there is no full disk.

mod checkpoints;
mod facts;
mod journals;
mod load;
mod schedule;
mod scraper;
mod tap;
mod verdict;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{App, Exposition, wait};
use load::Load;
use schedule::{Schedule, Trouble};
use scraper::{Scraper, serves_the_state};
use verdict::Account;
use world::World;

/// How often the schedule and the journals are looked at.
const TURN: Duration = Duration::from_millis(50);
/// Findings that a failure prints.
const FINDINGS: usize = 40;

/// Where the exporters keep their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A folder that they share.
    Folder,
    /// A row of a database.
    Mysql,
}

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What goes wrong, and when, follows from it.
    pub seed: u64,
    /// How long there is load and trouble.
    pub seconds: u64,
    /// Where the exporters keep their state.
    pub store: Store,
    /// Streams that the apps' runs are spread over; at least one.
    pub streams: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seed: 1, seconds: 120, store: Store::Folder, streams: 1 }
    }
}

/// The plan as the options that ask for it.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--seconds {} --seed {}", self.seconds, self.seed)?;
        if self.store == Store::Mysql {
            write!(f, " --store mysql")?;
        }
        if self.streams > 1 { write!(f, " --streams {}", self.streams) } else { Ok(()) }
    }
}

/// How a run ended well.
#[derive(Debug)]
pub struct Outcome {
    /// What it came to.
    pub account: Account,
    /// Counters that were seen to go down.
    pub decreases: usize,
    /// Processes killed.
    pub kills: u64,
    /// Questions that were answered.
    pub answered: usize,
    /// Pages that were compared with the one before.
    pub pages: u64,
    /// What this machine does not allow.
    pub skipped: Vec<String>,
    seed: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { accepted, counted, lost, doubled, .. } = self.account;
        let Self { decreases, kills, seed, .. } = self;
        write!(
            f,
            "accepted {accepted} counted {counted} lost {lost} doubled {doubled} decreases {decreases} kills {kills} \
             seed {seed}"
        )
    }
}

/// How a run failed.
#[derive(Debug)]
pub struct Failure {
    /// What does not hold.
    pub findings: Vec<String>,
    /// The last line, if it came to one.
    pub last_line: Option<String>,
    /// Where logs, journals and checkpoints are.
    pub folder: PathBuf,
}

/// Runs for the plan's seconds under load, then until everything is at rest. What happens is told to `tell`, a line at a
/// time.
///
/// # Errors
/// Something was lost, doubled or went down, or a server did not do what it should.
pub fn run(plan: Plan, tell: &mut dyn FnMut(&str)) -> Result<Outcome, Failure> {
    let schedule = Schedule::of(plan.seed, plan.seconds, plan.store);
    tell(&format!("seed {}: {} exporter(s), and in {} s", plan.seed, schedule.exporters, plan.seconds));
    schedule.troubles.iter().for_each(|trouble| tell(&trouble.to_string()));
    let folder = TempDir::with_prefix("techsapo-chaos-").unwrap();
    let kept = |folder: TempDir, findings, last_line| Failure { findings, last_line, folder: folder.keep() };
    let ended = catch_unwind(AssertUnwindSafe(|| live(folder.path(), &schedule, plan, tell)));
    match ended {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Err(kept(folder, vec![text.unwrap_or_default()], None))
        }
        Ok((outcome, findings)) if findings.is_empty() => Ok(outcome),
        Ok((outcome, mut findings)) => {
            findings.truncate(FINDINGS);
            Err(kept(folder, findings, Some(outcome.to_string())))
        }
    }
}

/// The run itself: what came of it, and what does not hold.
fn live(
    folder: &Path,
    schedule: &Schedule,
    plan: Plan,
    tell: &mut dyn FnMut(&str),
) -> (Outcome, Vec<String>) {
    let mut world = KeepsLogs { world: World::start(folder, schedule.exporters, plan), folder };
    let world = &mut world.world;
    world.skipped.iter().for_each(|skipped| tell(skipped));
    let scraper = Scraper::on(world.exporters.iter().map(crate::Exporter::url).collect());
    let load = Load::on(&world.apps.iter().map(App::url).collect::<Vec<_>>());

    play(world, &scraper, &schedule.troubles, Duration::from_secs(plan.seconds), tell);
    tell("all is over; coming to rest");
    let ledger = load.stop();
    world.recover();
    world.drain();
    let page = page_at_rest(world);
    let seen = scraper.stop();

    let oracle = App::of(&world.redis).set("TECHSAPO_REDIS_URL", "redis://127.0.0.1:1/").start();
    let ask = |asked: &load::Asked| oracle.generate(&asked.prompt, asked.task).unwrap();
    let mut account = Account::of(world, &page, &ledger, ask);
    let mut findings = std::mem::take(&mut account.wrong);
    findings.extend(seen.decreases.iter().map(|what| format!("went down: {what}")));
    let outcome = Outcome {
        account,
        decreases: seen.decreases.len(),
        kills: world.kills,
        answered: ledger.iter().filter(|asked| asked.answer.is_some()).count(),
        pages: seen.pages,
        skipped: world.skipped.clone(),
        seed: plan.seed,
    };
    (outcome, findings)
}

/// Lets everything happen at its time. The schedule's clock stands still while a step waits for something, so that what
/// the schedule keeps apart stays apart.
fn play(
    world: &mut World,
    scraper: &Scraper,
    troubles: &[Trouble],
    length: Duration,
    tell: &mut dyn FnMut(&str),
) {
    let mut now = Duration::ZERO;
    let mut waiting = troubles.iter().peekable();
    let mut lasting: Vec<(Duration, &Trouble)> = Vec::new();
    while now < length || waiting.peek().is_some() || !lasting.is_empty() {
        let turned = Instant::now();
        world.look();
        std::thread::sleep(TURN);
        now += turned.elapsed().min(2 * TURN);
        for (_, trouble) in lasting.extract_if(.., |(until, _)| *until <= now) {
            world.end(trouble);
        }
        if let Some(trouble) = waiting.next_if(|trouble| Duration::from_millis(trouble.at_ms) <= now) {
            tell(&format!("{:>7.3} s  now {:?}", now.as_secs_f64(), trouble.fault));
            world.begin(trouble, scraper);
            if trouble.lasts_ms > 0 {
                lasting.push((Duration::from_millis(trouble.at_ms + trouble.lasts_ms), trouble));
            }
        }
    }
}

/// The page that holds all that is acknowledged.
fn page_at_rest(world: &World) -> Exposition {
    world.wait_published();
    // A page that was being made while Redis was told is of the second before.
    world.wait_published();
    wait::until("an exporter serves the state", || {
        let pages = world.exporters.iter().filter_map(|exporter| exporter.get("/metrics").ok());
        pages.map(|page| Exposition::parse(&page.text())).find(serves_the_state)
    })
}

/// Writes down the logs of a run that panics; those of one that fails are written as well, for nobody knows yet.
struct KeepsLogs<'a> {
    world: World,
    folder: &'a Path,
}

impl Drop for KeepsLogs<'_> {
    fn drop(&mut self) {
        self.world.keep_logs(self.folder);
    }
}
