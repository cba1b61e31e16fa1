//! Which backups are kept.

use std::process::Command;

use techsapo_tests::Backups;

use super::redis;

/// Sets that exist by their manifest and one file. `false`: something is missing in it.
fn make(backups: &Backups, sets: &[(&str, bool)]) {
    std::fs::create_dir_all(backups.dir()).unwrap();
    for (stamp, complete) in sets {
        let complete = if *complete { "yes" } else { "no" };
        let manifest = format!("techsapo backup 1\nstamp {stamp}\ncomplete {complete}\n");
        std::fs::write(backups.dir().join(format!("manifest-{stamp}.txt")), manifest).unwrap();
        std::fs::write(backups.dir().join(format!("redis-{stamp}.rdb.age")), "").unwrap();
    }
}

/// The stamps whose sets are left, of which each has its file, and no other file is there.
fn left(backups: &Backups) -> Vec<String> {
    let entries = std::fs::read_dir(backups.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.to_string_lossy().into_owned());
    let stamp = |name: String| Some(name.strip_prefix("redis-")?.strip_suffix(".rdb.age")?.to_owned());
    let mut files: Vec<_> = names.filter_map(stamp).collect();
    files.sort();
    assert_eq!(files, backups.stamps());
    files
}

#[test]
fn the_last_of_each_day_and_week_is_kept_and_an_incomplete_one_takes_no_place() {
    let redis = redis();
    let mut backups = Backups::of(&redis);
    backups.set("KEEP_HOURS", "0");
    backups.set("KEEP_DAYS", "3");
    backups.set("KEEP_WEEKS", "3");
    make(
        &backups,
        &[
            ("20200213-180000", true), // a fourth week
            ("20200220-180000", true), // third week
            ("20200228-180000", true), // second week, not its last
            ("20200301-180000", true), // second week (a Sunday)
            ("20200302-180000", true), // third day
            ("20200303-180000", true), // second day
            ("20200303-200000", false),
            ("20200304-060000", true),
            ("20200304-120000", true),
            ("20200304-180000", true),  // first day, first week
            ("20200305-000000", false), // the newest of all
        ],
    );
    // Files that belong to no set, of a run that was killed.
    std::fs::write(backups.dir().join("audit-20200304-190000.sql.gz.age"), "").unwrap();
    std::fs::create_dir(backups.dir().join(".partial-20200304-190000")).unwrap();
    backups.succeed("backup.sh", &["--prune"]);
    let wanted = [
        "20200220-180000",
        "20200301-180000",
        "20200302-180000",
        "20200303-180000",
        "20200304-180000",
        "20200305-000000",
    ];
    assert_eq!(left(&backups), wanted);
    assert!(!backups.dir().join("audit-20200304-190000.sql.gz.age").exists());
    // And again, nothing changes.
    backups.succeed("backup.sh", &["--prune"]);
    assert_eq!(left(&backups), wanted);
}

#[test]
fn for_some_hours_every_backup_is_kept_and_the_newest_for_ever() {
    let redis = redis();
    let mut backups = Backups::of(&redis);
    backups.set("KEEP_HOURS", "6");
    backups.set("KEEP_DAYS", "0");
    backups.set("KEEP_WEEKS", "0");
    let stamp = |ago: &str| {
        let output = Command::new("date").args(["-u", "-d", ago, "+%Y%m%d-%H%M%S"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let [one, five, seven] = ["1 hour ago", "5 hours ago", "7 hours ago"].map(stamp);
    make(&backups, &[("20200304-180000", true), (&seven, true), (&five, false), (&one, true)]);
    backups.succeed("backup.sh", &["--prune"]);
    assert_eq!(left(&backups), [five, one]);

    let alone = Backups::of(&redis);
    make(&alone, &[("20200304-180000", true)]);
    alone.succeed("backup.sh", &["--prune"]);
    assert_eq!(left(&alone), ["20200304-180000"]);
}
