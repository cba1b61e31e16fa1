//! The programs under test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of `techsapo` or `techsapo-exporter`.
pub(crate) fn path_of(program: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER.get_or_init(folder).join(program);
    assert!(path.is_file(), "{} does not exist", path.display());
    path
}

fn folder() -> PathBuf {
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
