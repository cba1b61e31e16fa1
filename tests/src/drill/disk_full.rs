//! A disk is full while clients ask, and has room again later: the one of the exporters' state, of an app's journal, or of Redis.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::{Line, Report};
use crate::production::{Load, Part, Roads, Setup, Watch};
use crate::small_disk::SmallDisk;
use crate::{Production, wait};

/// What the documents allow, from when there is room again.
const ALLOWED: Duration = Duration::from_secs(30);
/// How long there is none.
const FULL: Duration = Duration::from_secs(15);
/// The same in a test.
const FULL_BRIEFLY: Duration = Duration::from_secs(4);
const STEADY: usize = 40;
/// Room on each of the disks: for a state, for two runs' journals, for what Redis notes down in a few minutes.
const MEBIBYTES: [u32; 3] = [8, 48, 256];

/// The drill.
pub(super) fn run(report: &mut Report) {
    let folder = TempDir::new().unwrap();
    let places = ["state", "journal", "redis"].map(|name| folder.path().join(name));
    let mount = |(place, mebibytes): (&PathBuf, u32)| {
        std::fs::create_dir(place).unwrap();
        SmallDisk::mount(place, mebibytes)
    };
    let disks: Result<Vec<_>, _> = places.iter().zip(MEBIBYTES).map(mount).collect();
    let disks = match disks {
        Ok(disks) => disks,
        Err(why) => return report.skip(&format!("disks that are full: {why}")),
    };
    report.tell("starting the production stack");
    let [state, journal, redis_data] = places.map(Some);
    let mut stack = Production::start(&Setup { state, journal, redis_data, ..Setup::with(Roads::Sentinels) });
    let load = Load::on(&stack.nginx);
    let watch = Watch::on(stack.exporters.iter().map(crate::Exporter::url).collect());
    let full = if report.short { FULL_BRIEFLY } else { FULL };
    let whats = [
        "the disk of the exporters' state is full",
        "the disk of app-0's journal is full, and app-0 is killed",
        "the disk of the Redis that takes what is written is full",
    ];
    for (number, (disk, what)) in disks.iter().zip(whats).enumerate() {
        let what = format!("{what} for {} s", full.as_secs());
        report.tell(&what);
        let killed = (number == 1).then_some(Part::App(0));
        report.record(fill(&mut stack, &load, &watch, disk, full, killed, what));
    }
    drop((load, watch, stack));
}

fn fill(
    stack: &mut Production,
    load: &Load,
    watch: &Watch,
    disk: &SmallDisk,
    full: Duration,
    part: Option<Part>,
    what: String,
) -> Line {
    load.go_on();
    load.wait_answered_since(Instant::now(), STEADY);
    let page = stack.page().unwrap();
    let (began, clock) = (Instant::now(), SystemTime::now());
    disk.fill();
    load.wait_answered_since(began, STEADY);
    let killed = part.map(|part| stack.kill_9(part));
    std::thread::sleep(full);
    disk.clear();
    killed.into_iter().for_each(|killed| stack.start_again(killed));
    let room = Instant::now();
    let answered = load.answered();
    load.wait_answered_since(room, STEADY);
    let counted = wait::until("what was answered meanwhile is counted", || watch.counted_at(answered));
    load.pause();
    let outcomes: Vec<_> = load.outcomes().into_iter().filter(|one| one.ended > began).collect();
    stack.wait_whole();
    let after = stack.reconciled(load.answered());
    stack.page().unwrap().never_decreased_since(&page);
    Line {
        what,
        back_after: Some(counted.saturating_duration_since(room)),
        allowed: Some(ALLOWED),
        requests_failed: Some(outcomes.iter().filter(|one| one.failure.is_some()).count() as u64),
        scrapes_failed: Some(stack.scrapes_failed(clock, None)),
        // More than that would have ended the drill: see Production::reconciled.
        facts_lost: Some(load.answered().saturating_sub(after.analyses)),
        remark: format!("from when there was room until all was counted; {} requests", outcomes.len()),
    }
}
