//! An address that holds a password, from a file: what containers are given secrets by. It is read once, at the start.

use std::fs;
use std::path::Path;

/// The address that stands in `file`, which `flag` names.
///
/// # Errors
/// Says which file cannot be read, and why.
pub fn read(flag: &str, file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file);
    let text = text.map_err(|error| format!("{flag}: {} cannot be read: {error}", file.display()))?;
    Ok(text.trim().to_owned())
}
