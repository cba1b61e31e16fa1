//! A place with a network, mounts and processes of its own, in which production's names, addresses, ports and paths can be used as they
//! stand: nothing of this machine is touched, and all of it ends with this value. Only root can have one.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::engine::child_of;
use crate::{Process, wait};

/// Its addresses, its names, and what it finds at /etc/ssl/techsapo; then it says that it is ready, and stays.
const BEGIN: &str = r#"set -e
mount --make-rprivate /
ip link set lo up
while read -r address _; do case $address in 127.*) ;; *) ip addr add "$address/32" dev lo ;; esac; done <"$1/hosts"
mount --bind "$1/hosts" /etc/hosts
mount -t tmpfs none /etc/ssl
mkdir /etc/ssl/techsapo
mount --bind "$2" /etc/ssl/techsapo
touch "$1/ready"
exec sleep infinity"#;

/// The place.
#[derive(Debug)]
pub struct Namespace {
    // First of the fields, so that it ends before its folder is deleted.
    _holder: Process,
    inside: String,
    folder: TempDir,
}

impl Namespace {
    /// Makes one where these addresses bear these names (with blanks between them), and `certificates` is at /etc/ssl/techsapo;
    /// or says in a plain line on standard error why there can be none.
    ///
    /// # Panics
    /// When it cannot be made though we are root.
    pub fn start_or_skip(test: &str, hosts: &[(&str, &str)], certificates: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            // Not by a macro: what those print is kept back of tests that pass.
            let _ = writeln!(std::io::stderr(), "{test}: SKIPPED, only root can have a network of its own");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let lines: String = hosts.iter().map(|(address, names)| format!("{address} {names}\n")).collect();
        std::fs::write(folder.path().join("hosts"), format!("127.0.0.1 localhost\n{lines}")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", BEGIN, "sh"]).arg(folder.path()).arg(certificates);
        let mut holder = Process::start("namespace", folder.path(), &mut command);
        let inside = wait::until("the namespaces are there", || child_of(holder.id()));
        wait::until_true("the place is ready", || {
            holder.assert_alive();
            folder.path().join("ready").exists()
        });
        Some(Self { _holder: holder, inside, folder })
    }

    /// A folder for what is in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command to put before another, so that it runs in it.
    pub fn way_in(&self) -> Vec<String> {
        ["nsenter", "--target", &self.inside, "--mount", "--net", "--pid", "--"].map(str::to_owned).into()
    }

    /// A program in it, to be told what to do.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let way = self.way_in();
        let mut command = Command::new(&way[0]);
        command.args(&way[1..]).arg(program);
        let settings = std::env::vars_os().map(|(name, _)| name);
        for variable in settings.filter(|name| name.to_string_lossy().starts_with("TECHSAPO_")) {
            command.env_remove(variable);
        }
        command.current_dir(self.folder.path());
        command
    }

    /// Starts a server in it.
    pub fn start(&self, name: &str, program: &str, arguments: &[String]) -> Process {
        Process::start(name, self.folder.path(), self.command(program).args(arguments))
    }

    /// What a program in it says, whether it succeeds or not.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        crate::engine::said(&self.command(program).args(arguments).output().unwrap()).trim().to_owned()
    }
}
