//! One server process: in a process group of its own, its output in a file, killed with this value.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait;

/// Lines of a log that a failing test prints.
const TAIL: usize = 60;

/// A child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it writes is appended to `<folder>/<name>.log`.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        Self { name: name.to_owned(), child, log }
    }

    /// All that it (and earlier processes of the same name and folder) wrote.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Fails the test if the process has ended by itself.
    ///
    /// # Panics
    /// When it has.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended by itself: {status}", self.name);
        }
    }

    /// Ends it, and all that it started, without giving it a chance to do anything.
    pub fn kill_9(&mut self) {
        // Nothing to kill is what was wanted.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub fn sigterm(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit()
    }

    /// Stops it where it stands, as a paused virtual machine would be, until [`Process::resume`].
    ///
    /// # Panics
    /// When it does not stand still.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // The call returns before the last of its threads has seen the signal; until then they go on.
        wait::until_true(&format!("{} stands still", self.name), || stands_still(self.id()));
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it ends.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait::until(&format!("{name} ends"), || self.child.try_wait().unwrap())
    }

    /// Waits until its log holds `text`: programs write their lines a moment after what they tell of.
    ///
    /// # Panics
    /// When it never does.
    pub fn wait_log(&self, text: &str) {
        wait::until_true(&format!("the log of {} says {text:?}", self.name), || self.log().contains(text));
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("── log of {} ──", self.name);
            lines[lines.len().saturating_sub(TAIL)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Whether no thread of the process `id` runs: all are stopped, or it has ended.
pub fn stands_still(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    // "<id> (<name, with whatever in it>) <state> …"
    let state = |stat: String| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    threads
        .filter_map(|thread| state(std::fs::read_to_string(thread.path().join("stat")).ok()?))
        .all(|state| "TtZX".contains(state))
}
