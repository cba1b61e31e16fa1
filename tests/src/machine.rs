//! A machine of a test's own whose first process is systemd: a container that shares this machine's network, and nothing else. What it
//! writes is in memory, and gone with this value.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::{Process, binaries, repository, wait};

/// What it takes.
const PROGRAMS: [&str; 3] = ["systemd-nspawn", "nsenter", "mmdebstrap"];

/// A running machine. The repository is at `/src` in it, the programs under test at `/programs`.
#[derive(Debug)]
pub struct Machine {
    // First of the fields, so that it ends before its folder is deleted.
    container: Process,
    first: String,
    _folder: TempDir,
    _turn: File,
}

impl Machine {
    /// Starts one, or says in a plain line on standard error why there can be none here.
    ///
    /// # Panics
    /// When there is none though `TECHSAPO_REQUIRE_ENGINE` is set.
    pub fn start_or_skip(test: &str) -> Option<Self> {
        match Self::start() {
            Ok(machine) => Some(machine),
            Err(why) => {
                assert!(
                    std::env::var_os("TECHSAPO_REQUIRE_ENGINE").is_none(),
                    "no machine with systemd: {why}"
                );
                // Not by a macro: what those print is kept back of tests that pass.
                let _ =
                    writeln!(std::io::stderr(), "{test}: SKIPPED, there is no machine with systemd: {why}");
                None
            }
        }
    }

    fn start() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can start one".to_owned());
        }
        let missing: Vec<_> = PROGRAMS.into_iter().filter(|program| !is_installed(program)).collect();
        if !missing.is_empty() {
            return Err(format!("{} are missing; ./scripts/test.sh installs them", missing.join(", ")));
        }
        // One at a time on this machine: two would keep their services in the same control groups.
        let turn = File::create("/tmp/techsapo-machine.lock").map_err(|error| error.to_string())?;
        flock(&turn, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
        let output = Command::new(repository::root().join("scripts/stand-in-machine.sh")).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let root = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let mut command = Command::new("systemd-nspawn");
        command.args([
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--volatile=overlay",
            "--boot",
            "--console=pipe",
        ]);
        command.args(["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--machine"]);
        command.arg(folder.path().file_name().unwrap().to_string_lossy().trim_start_matches('.'));
        command.arg("--directory").arg(root);
        command.arg(format!("--bind-ro={}:/src", repository::root().display()));
        command.arg(format!("--bind-ro={}:/programs", binaries::folder().display()));
        let mut container = Process::start("systemd-nspawn", folder.path(), &mut command);
        let first = wait::until("its first process is there, or it ended", || {
            if container.has_ended() {
                return Some(Err(container.log()));
            }
            let children = format!("/proc/{0}/task/{0}/children", container.id());
            let children = std::fs::read_to_string(children).unwrap_or_default();
            // Others prepare the way for it.
            let is_systemd = |pid: &&str| {
                std::fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.trim() == "systemd")
            };
            children.split_whitespace().find(is_systemd).map(|pid| Ok(pid.to_owned()))
        })?;
        let machine = Self { container, first, _folder: folder, _turn: turn };
        wait::until_true("systemd has started everything", || {
            machine.try_run("systemctl is-system-running").is_ok_and(|said| said.trim() == "running")
        });
        Ok(machine)
    }

    /// Runs a line of shell in it, and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|said| panic!("{line}: {said}"))
    }

    /// The same, for what may fail.
    ///
    /// # Errors
    /// What it said.
    pub fn try_run(&self, line: &str) -> Result<String, String> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"]);
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-c", line]);
        let output = command.output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&[output.stdout, output.stderr].concat()))
        }
    }

    /// A property of a unit, as `systemctl show` says it.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&format!("systemctl show --value --property {name} {unit}")).trim().to_owned()
    }

    /// Everything that services have logged.
    pub fn log(&self) -> String {
        self.run("journalctl --no-pager --output cat")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.try_run("journalctl --no-pager --lines 80").unwrap_or_else(|said| said);
            eprintln!("── log of the machine ──\n{log}");
        }
        // The container's own end unmounts what it had mounted; killed, it could not.
        let _ = self.try_run("systemctl poweroff --force");
        for _ in 0..500 {
            if self.container.has_ended() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Whether a program can be started here.
pub fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
