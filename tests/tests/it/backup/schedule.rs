//! What has backups made and verified: timers and entries of cron, written below a folder of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use techsapo_tests::stack::said;
use techsapo_tests::{Backups, repository};
use tempfile::TempDir;

use super::redis;

fn install(backups: &Backups, arguments: &[&str]) -> String {
    let mut command = backups.script("install-backup-cron.sh", arguments);
    command.env("TECHSAPO_BACKUP_SETTINGS", "/etc/back up/100%.conf");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

#[test]
fn timers_and_entries_of_cron_are_installed_once_changed_and_taken_away() {
    let redis = redis();
    let (backups, root) = (Backups::of(&redis), TempDir::new().unwrap());
    let below = ["--root", root.path().to_str().unwrap()];
    let with = |more: &[&'static str]| [&below[..], more].concat();

    let shown = install(&backups, &with(&["--cron", "--dry-run"]));
    assert!(shown.contains("/etc/cron.d/techsapo-backup") && files(root.path()).is_empty(), "{shown}");
    install(&backups, &with(&["--cron"]));
    let names = |files: &[PathBuf]| {
        files
            .iter()
            .map(|file| file.strip_prefix(root.path()).unwrap().display().to_string())
            .collect::<Vec<_>>()
    };
    let installed = files(root.path());
    assert_eq!(names(&installed), ["etc/cron.d/techsapo-backup", "etc/cron.d/techsapo-verify-backup"]);
    let entry = fs::read_to_string(&installed[0]).unwrap();
    let line = entry.lines().last().unwrap();
    let fields: Vec<_> = line.split(' ').collect();
    assert!(fields[0].parse::<u32>().unwrap() < 60, "{line}");
    assert_eq!(fields[1..6], ["*/6", "*", "*", "*", "root"], "{line}");
    let script = repository::root().join("scripts/backup.sh");
    assert!(line.contains(&format!("'{}' --quiet", script.display())), "{line}");
    assert!(line.contains(r"TECHSAPO_BACKUP_SETTINGS='/etc/back up/100\%.conf'"), "{line}");

    // Again, nothing is written; as timers, cron is left.
    assert!(install(&backups, &with(&["--cron"])).contains("is there already"));
    install(&backups, &with(&["--timer"]));
    let installed = files(root.path());
    let units = ["backup.service", "backup.timer", "verify-backup.service", "verify-backup.timer"];
    assert_eq!(names(&installed), units.map(|unit| format!("etc/systemd/system/techsapo-{unit}")));
    let output = Command::new("systemd-analyze").arg("verify").args(&installed).output();
    let output = output.expect("systemd-analyze is part of systemd");
    assert!(output.status.success(), "{}", said(&output));
    let calendar = fs::read_to_string(&installed[1]).unwrap();
    let calendar = calendar.lines().find_map(|line| line.strip_prefix("OnCalendar=")).unwrap();
    let output =
        Command::new("systemd-analyze").args(["calendar", "--iterations=5", calendar]).output().unwrap();
    assert_eq!(said(&output).matches(" UTC").count() >= 5, output.status.success(), "{}", said(&output));

    install(&backups, &with(&["--uninstall"]));
    assert_eq!(names(&files(root.path())), Vec::<String>::new());
    install(&backups, &with(&["--uninstall"]));
}
