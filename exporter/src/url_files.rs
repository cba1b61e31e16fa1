//! Addresses that hold a password, from files: what containers are given secrets by. A file is read once, at the start.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

/// Files that may stand in for `--redis.url` and `--checkpoint.url`.
#[derive(Debug, Default, Args)]
pub struct UrlFiles {
    /// File that holds the URL of Redis, instead of --redis.url: its password then stands neither on the command line nor
    /// in the environment.
    #[arg(
        long = "redis.url-file",
        env = "TECHSAPO_EXPORTER_REDIS_URL_FILE",
        value_name = "FILE",
        conflicts_with = "redis_url"
    )]
    redis_url_file: Option<PathBuf>,

    /// File that holds the URL of the state's database, instead of --checkpoint.url.
    #[arg(
        long = "checkpoint.url-file",
        env = "TECHSAPO_EXPORTER_CHECKPOINT_URL_FILE",
        value_name = "FILE",
        conflicts_with_all = ["checkpoint_url", "checkpoint_dir"]
    )]
    checkpoint_url_file: Option<PathBuf>,
}

impl UrlFiles {
    /// The URL of Redis, if a file holds it.
    ///
    /// # Errors
    /// Says which file cannot be read, and why.
    pub fn redis_url(&self) -> Result<Option<String>, String> {
        read("--redis.url-file", self.redis_url_file.as_deref())
    }

    /// The URL of the state's database, if a file holds it.
    ///
    /// # Errors
    /// Says which file cannot be read, and why.
    pub fn checkpoint_url(&self) -> Result<Option<String>, String> {
        read("--checkpoint.url-file", self.checkpoint_url_file.as_deref())
    }
}

fn read(flag: &str, file: Option<&Path>) -> Result<Option<String>, String> {
    let Some(file) = file else { return Ok(None) };
    let text = fs::read_to_string(file);
    let text = text.map_err(|error| format!("{flag}: {} cannot be read: {error}", file.display()))?;
    Ok(Some(text.trim().to_owned()))
}
