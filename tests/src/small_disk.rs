//! A small disk in memory, to be filled up. Only root can have one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FILLER: &str = "filler";

/// A disk, mounted until this value ends.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one on `folder`, with room for so many MiB.
    ///
    /// # Errors
    /// Says why this machine allows none.
    pub(crate) fn mount(folder: &Path, mebibytes: u32) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can mount one".to_owned());
        }
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "small-disk"]).arg(folder);
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(Self(folder.to_owned()))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// Leaves no room.
    ///
    /// # Panics
    /// When not even the file can be made that takes it.
    pub(crate) fn fill(&self) {
        let mut filler = fs::File::create(self.0.join(FILLER)).unwrap();
        // Ends when there is none.
        let _ = std::io::copy(&mut std::io::repeat(0), &mut filler);
    }

    /// Makes room again.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_file(self.0.join(FILLER));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have it open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
