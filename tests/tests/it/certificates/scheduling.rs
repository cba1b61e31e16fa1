//! `scripts/install-renewal-cron.sh`: what it writes is what runs, whatever stands in the names of folders.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use techsapo_tests::repository;
use techsapo_tests::stack::said;
use tempfile::TempDir;

/// A folder's name that means something to shells, cron and systemd.
const AWKWARD: &str = "it's 5% of $HOME \"quoted\" \\ here";

struct Host(TempDir);

impl Host {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn call(&self, arguments: &[&str], tls_dir: &Path) -> Output {
        let script = repository::root().join("scripts/install-renewal-cron.sh");
        let mut command = Command::new(script);
        command.arg("--root").arg(self.0.path()).args(arguments).env("TECHSAPO_TLS_DIR", tls_dir);
        command.env_remove("TECHSAPO_TEXTFILE_DIR").output().unwrap()
    }

    fn succeed(&self, arguments: &[&str], tls_dir: &Path) -> String {
        let output = self.call(arguments, tls_dir);
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }

    fn cron(&self) -> PathBuf {
        self.0.path().join("etc/cron.d/techsapo-certificates")
    }

    fn unit(&self, kind: &str) -> PathBuf {
        self.0.path().join("etc/systemd/system").join(format!("techsapo-certificates.{kind}"))
    }
}

#[test]
fn cron_s_entry_runs_the_script_with_this_folder_once_a_day() {
    let host = Host::new();
    let tls_dir = host.0.path().join(AWKWARD);
    host.succeed(&["--cron"], &tls_dir);
    let entry = std::fs::read_to_string(host.cron()).unwrap();
    let line = entry.lines().find(|line| line.contains(" root ")).unwrap();
    let (time, command) = line.split_once(" root ").unwrap();
    let time: Vec<_> = time.split(' ').collect();
    let [minute, hour] = [time[0], time[1]].map(|field| field.parse::<u32>().unwrap());
    assert!(minute < 60 && (1..5).contains(&hour) && time[2..] == ["*", "*", "*"], "{line}");

    // As cron does: % ends the command, \% is one; the shell gets the rest.
    let (command, log) = command.split_once(" >>").unwrap();
    assert_eq!(log, "/var/log/techsapo-certificates.log 2>&1");
    assert!(!command.replace("\\%", "").contains('%'), "{command}");
    let output = Command::new("sh").args(["-c", &command.replace("\\%", "%")]).output().unwrap();
    let wanted = format!("there is no authority in {}", tls_dir.display());
    assert!(said(&output).contains(&wanted), "{}", said(&output));

    let again = host.succeed(&["--cron"], &tls_dir);
    assert!(again.contains("is there already"), "{again}");
    assert_eq!(std::fs::read_to_string(host.cron()).unwrap(), entry);
}

#[test]
fn the_timer_is_understood_by_systemd_and_replaces_cron_s_entry() {
    let host = Host::new();
    let tls_dir = host.0.path().join(AWKWARD);
    host.succeed(&["--cron"], &tls_dir);
    host.succeed(&["--timer"], &tls_dir);
    assert!(!host.cron().exists(), "twice a day would be once too often");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(host.unit("service")).arg(host.unit("timer"));
    let output = verify.output().unwrap();
    let complaints: Vec<_> = said(&output)
        .lines()
        .filter(|line| line.contains("techsapo-certificates"))
        .map(str::to_owned)
        .collect();
    assert!(output.status.success() && complaints.is_empty(), "{complaints:?} {}", said(&output));
    let service = std::fs::read_to_string(host.unit("service")).unwrap();
    let environment = format!(
        "Environment=\"TECHSAPO_TLS_DIR={}\"",
        tls_dir.to_str().unwrap().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
    );
    assert!(service.lines().any(|line| line == environment), "{environment} is not in\n{service}");

    let again = host.succeed(&["--timer"], &tls_dir);
    assert_eq!(again.matches("is there already").count(), 2, "{again}");
    host.succeed(&["--cron"], &tls_dir);
    assert!(!host.unit("timer").exists() && !host.unit("service").exists() && host.cron().exists());
}

#[test]
fn it_shows_what_it_would_write_and_takes_away_what_it_wrote() {
    let (host, tls_dir) = (Host::new(), PathBuf::from("/somewhere"));
    for kind in ["--cron", "--timer"] {
        let shown = host.succeed(&["--dry-run", kind], &tls_dir);
        assert!(shown.contains("renew-certificates.sh") && shown.contains("/somewhere"), "{shown}");
        assert!(!host.cron().exists() && !host.unit("timer").exists());
    }
    for kind in ["--cron", "--timer"] {
        host.succeed(&[kind], &tls_dir);
        host.succeed(&["--uninstall"], &tls_dir);
        assert!(!host.cron().exists() && !host.unit("timer").exists() && !host.unit("service").exists());
    }
    host.succeed(&["--uninstall"], &tls_dir);
    let wrong = host.call(&["--cron"], Path::new("/some\nwhere"));
    assert!(!wrong.status.success() && said(&wrong).contains("control character"), "{}", said(&wrong));
    assert!(!host.cron().exists());
}
