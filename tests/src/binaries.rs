//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder that `techsapo` and `techsapo-exporter` are in.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(find_or_build)
}

/// `techsapo` or `techsapo-exporter`, without this process' settings, to be told what to do.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(path_of(program));
    let settings = std::env::vars_os().map(|(name, _)| name);
    for variable in settings.filter(|name| name.to_string_lossy().starts_with("TECHSAPO_")) {
        command.env_remove(variable);
    }
    command
}

/// The path of `techsapo` or `techsapo-exporter`.
pub(crate) fn path_of(program: &str) -> PathBuf {
    let path = folder().join(program);
    assert!(path.is_file(), "{} does not exist", path.display());
    path
}

fn find_or_build() -> PathBuf {
    if let Some(folder) = std::env::var_os("TECHSAPO_BIN_DIR") {
        return PathBuf::from(folder);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--bins", "-p", "techsapo", "-p", "techsapo-exporter"])
        .current_dir(crate::repository::root())
        .status()
        .unwrap();
    assert!(status.success(), "the programs under test do not build");
    // This test runs from <target>/<profile>/deps.
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).expect("tests run from the target folder");
    target.join("debug")
}
