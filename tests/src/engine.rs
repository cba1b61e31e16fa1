//! A container engine of a test's own: Docker's daemon with namespaces of its own for processes, mounts and the network, so that
//! nothing of this machine is touched (no bridge, no packet filter, no port), and all of it ends with this value.
//!
//! There is no registry: images that the repository's files name are stand-ins made from Debian's packages
//! (`tests/stand-ins/Dockerfile`). The network leads outwards alone, through slirp4netns.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Process, repository, wait};

/// What an engine of a test's own takes.
const PROGRAMS: [&str; 8] =
    ["dockerd", "docker", "docker-compose", "iptables", "mmdebstrap", "nsenter", "slirp4netns", "unshare"];
/// Where Debian's programs are; what else this machine has of the same names is passed over.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// What the daemon's namespaces begin with. Mounts are shared among them, as on a host, and /run is their own.
const BEGIN: &str = "mount --make-rshared / && mount -t tmpfs none /run && ip link set lo up && exec \"$@\"";
/// How long a command of Docker or Compose may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Which Compose is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compose {
    /// The program `docker-compose`, 1.29.
    One,
    /// Docker's plugin.
    Two,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    // First of the fields, so that they end before their folder is deleted.
    _network: Process,
    daemon: Process,
    /// A process within the daemon's namespaces.
    inside: String,
    folder: TempDir,
}

impl Engine {
    /// Starts one, or says in a plain line on standard error why there can be none on this machine.
    ///
    /// # Panics
    /// When there is none though `TECHSAPO_REQUIRE_ENGINE` is set.
    pub fn start_or_skip(test: &str) -> Option<Self> {
        match Self::start() {
            Ok(engine) => Some(engine),
            Err(why) => {
                let required = std::env::var_os("TECHSAPO_REQUIRE_ENGINE").is_some();
                assert!(!required, "no container engine: {why}");
                // Not by a macro: what those print is kept back of tests that pass.
                let _ = writeln!(std::io::stderr(), "{test}: SKIPPED, there is no container engine: {why}");
                None
            }
        }
    }

    fn start() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can start one".to_owned());
        }
        let missing: Vec<_> = PROGRAMS.into_iter().filter(|name| !is_program(name)).collect();
        if !missing.is_empty() {
            return Err(format!("{} are missing; ./scripts/test.sh installs them", missing.join(", ")));
        }
        // Images are large: on the disk that builds are on.
        let folder = TempDir::new_in(target()).map_err(|error| error.to_string())?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", BEGIN, "sh", "dockerd", "--dns", "10.0.2.3"]);
        for (option, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
            ("--config-file", "none"),
        ] {
            command.arg(option).arg(folder.path().join(name));
        }
        command.arg("--host").arg(format!("unix://{}", folder.path().join("socket").display()));
        std::fs::write(folder.path().join("none"), "{}").map_err(|error| error.to_string())?;
        let daemon = Process::start("dockerd", folder.path(), command.env("PATH", PATH));
        let inside = wait::until("the daemon's namespaces are there", || child_of(daemon.id()));
        let mut command = Command::new("slirp4netns");
        // This machine's own services are no business of containers.
        command.args(["--configure", "--mtu=65520", "--disable-host-loopback", &inside, "tap0"]);
        let network = Process::start("slirp4netns", folder.path(), command.env("PATH", PATH));
        let mut engine = Self { _network: network, daemon, inside, folder };
        for plugins in ["compose-1", "compose-2/cli-plugins"] {
            let folder = engine.folder.path().join(plugins);
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let ready =
            |engine: &Self| engine.docker(&["version"]).output().is_ok_and(|output| output.status.success());
        wait::until_true("the engine answers, or has ended", || ready(&engine) || engine.daemon.has_ended());
        if engine.daemon.has_ended() {
            let log = engine.daemon.log();
            let last = log.lines().last().unwrap_or("it said nothing");
            return Err(format!("dockerd ended: {last}"));
        }
        Ok(engine)
    }

    /// Lets `docker compose` be Compose v2, fetched once into the build's folder by `scripts/later-compose.sh`.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn with_compose_two(self) -> Self {
        let plugin = Path::new(&script("later-compose.sh")).join("docker-compose");
        std::os::unix::fs::symlink(plugin, self.config(Compose::Two).join("cli-plugins/docker-compose"))
            .unwrap();
        self
    }

    /// Makes the stand-in `target` (of `tests/stand-ins/Dockerfile`) under the name of the image that it stands for.
    ///
    /// # Panics
    /// When that fails.
    pub fn stand_in(&self, archives: &Path, target: &str, image: &str) {
        let mut build = self.docker(&["build", "--quiet", "--target", target, "--tag", image]);
        succeed(build.arg(archives));
    }

    /// A program in the network of the containers' host, to be told what to do: what listens on 127.0.0.1 there is its own.
    pub fn command(&self, compose: Compose, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let seconds = PATIENCE.as_secs().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.inside, "--net", "--", "timeout", &seconds]).arg(program);
        let settings = std::env::vars_os().map(|(name, _)| name);
        for variable in settings.filter(|name| name.to_string_lossy().starts_with("TECHSAPO_")) {
            command.env_remove(variable);
        }
        command.env("DOCKER_HOST", format!("unix://{}", self.folder.path().join("socket").display()));
        command.env("DOCKER_CONFIG", self.config(compose)).env("DOCKER_BUILDKIT", "1").env("PATH", PATH);
        command
    }

    /// `docker` with these arguments.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(Compose::One, "docker");
        command.args(arguments);
        command
    }

    /// What `url` answers within that network, if it answers with success.
    pub fn get(&self, url: &str, options: &[&str]) -> Option<serde_json::Value> {
        let mut curl = self.command(Compose::One, "curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "30", url])
            .args(options);
        let output = curl.output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// Kills the first process of a container, as a crash does: Docker does what the container's restart policy says.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_9(&self, container: &str) {
        let pid = succeed(&mut self.docker(&["inspect", "--format", "{{.State.Pid}}", container]));
        let mut kill = Command::new("nsenter");
        succeed(kill.args(["--target", &self.inside, "--pid", "--", "kill", "-9", pid.trim()]));
    }

    /// A command to put before another, so that it runs in the network of the containers' host, with this file as its /etc/hosts.
    pub fn on_the_host(&self, hosts: &Path) -> Vec<String> {
        let begin = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let nsenter = ["nsenter", "--target", &self.inside, "--net", "--"];
        let unshare = ["unshare", "--mount", "sh", "-c", begin, &hosts.display().to_string()];
        nsenter.iter().chain(&unshare).map(|&word| word.to_owned()).collect()
    }

    /// Where it keeps what elsewhere is in /var/lib/docker.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn config(&self, compose: Compose) -> PathBuf {
        self.folder.path().join(if compose == Compose::One { "compose-1" } else { "compose-2" })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // In order, so that no control group is left behind; whatever remains is killed with the namespaces.
        let clean =
            "docker ps --all --quiet | xargs --no-run-if-empty timeout 60 docker rm --force >/dev/null";
        let _ = self.command(Compose::One, "sh").args(["-c", clean]).status();
    }
}

/// Runs one of the repository's scripts that say where something is.
///
/// # Panics
/// When it fails; what it says tells why.
pub fn script(name: &str) -> String {
    let mut command = Command::new(repository::root().join("scripts").join(name));
    let output = command.stderr(std::process::Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "scripts/{name} failed; the reason stands above");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs a command and returns what it wrote.
///
/// # Panics
/// When it fails.
pub fn succeed(command: &mut Command) -> String {
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    said(&output)
}

/// All that a command wrote.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The build's folder.
fn target() -> PathBuf {
    // This test runs from <target>/<profile>/deps.
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).expect("tests run from the target folder").to_owned()
}

fn is_program(name: &str) -> bool {
    PATH.split(':').any(|folder| Path::new(folder).join(name).is_file())
}

/// The first child of a process.
pub(crate) fn child_of(pid: u32) -> Option<String> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next().map(str::to_owned)
}
