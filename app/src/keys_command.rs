//! `techsapo keys create | list | revoke`: makes, shows and takes back API keys. A running app takes changes in by itself.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use techsapo_shared::labels::{AuthFailureReason, ClosedLabel, TaskType};

use crate::guard::keys::file::{self, KeyFileError};
use crate::guard::keys::record::{KeyRecord, Scope};
use crate::guard::keys::token::{NewToken, NoRandom, Shown};

/// Longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key. It is printed once, on standard output, and cannot be had again.
    Create {
        /// What people and the log call it.
        #[arg(long, value_parser = name)]
        name: String,
        /// Its plan: basic, premium or critical. It bounds the requests a minute and the task_type.
        #[arg(long, value_parser = tier)]
        tier: TaskType,
        /// For how long it is taken: 90d, 12h or 30m; without it, until it is revoked.
        #[arg(long, value_parser = lifetime)]
        expires: Option<Duration>,
        /// What it opens: api, monitor (/metrics and /internal/status); repeatable.
        #[arg(long = "scope", value_enum, default_value = "api")]
        scopes: Vec<Scope>,
        /// Write the key into this file, readable by its owner alone, instead of printing it. If a key that is in force
        /// stands there already, none is made: safe to call at every start.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// List all keys that were ever made, without what proves them.
    List,
    /// Take a key back, by its id or its name. This cannot be undone.
    Revoke {
        /// Id or name.
        key: String,
    },
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Something is wrong with the file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// No key can be made.
    #[error(transparent)]
    Random(#[from] NoRandom),
    /// The name is taken.
    #[error("there is a key of the name {0:?}; take another name, or revoke that key first")]
    NameTaken(String),
    /// No such key.
    #[error("there is no key {0:?} that could be revoked; `techsapo keys list` shows all")]
    NoSuchKey(String),
    /// The time is too far away.
    #[error("--expires is beyond all calendars")]
    TooFar,
    /// A file for the key cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    To {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Nobody reads what is printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl KeysCommand {
    /// Does it, with the keys in this file. Results go to `out`, explanations to `notes`.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn run(&self, path: &Path, out: &mut impl Write, notes: &mut impl Write) -> Result<(), KeysError> {
        match self {
            Self::Create { to: Some(to), .. } if holds_key_in_force(to, path)? => {
                writeln!(notes, "{} holds a key that is in force; no other was made.", to.display())?;
            }
            Self::Create { name, tier, expires, scopes, to: Some(to) } => {
                let token = create(path, name, *tier, *expires, scopes, |token| write_key(to, token))?;
                writeln!(notes, "The key {} is in {}.", token.id, to.display())?;
            }
            Self::Create { name, tier, expires, scopes, to: None } => {
                let token = create(path, name, *tier, *expires, scopes, |_| Ok(()))?;
                writeln!(out, "{}", token.token)?;
                writeln!(
                    notes,
                    "This key is shown once. Send it as \"Authorization: Bearer …\" or \"X-API-Key: …\"."
                )?;
            }
            Self::List => list(path, out)?,
            Self::Revoke { key } => {
                let revoked = revoke(path, key)?;
                writeln!(notes, "The key {revoked:?} is revoked.")?;
            }
        }
        Ok(())
    }
}

fn create(
    path: &Path,
    name: &str,
    tier: TaskType,
    expires: Option<Duration>,
    scopes: &[Scope],
    hand_over: impl FnOnce(&NewToken) -> Result<(), KeysError>,
) -> Result<NewToken, KeysError> {
    let created = now();
    let lifetime = expires.map(SignedDuration::try_from).transpose().map_err(|_| KeysError::TooFar)?;
    let expires =
        lifetime.map(|time| created.checked_add(time)).transpose().map_err(|_| KeysError::TooFar)?;
    let token = NewToken::random()?;
    file::update(path, |keys| {
        if keys.iter().any(|key| key.name == name && key.revoked.is_none()) {
            return Err(KeysError::NameTaken(name.to_owned()));
        }
        // First, for a key that is known and that nobody has would keep its name for ever.
        hand_over(&token)?;
        let mut scopes = scopes.to_vec();
        scopes.dedup();
        keys.push(KeyRecord {
            id: token.id.clone(),
            name: name.to_owned(),
            tier,
            scopes,
            sha256: token.fingerprint,
            created,
            expires,
            revoked: None,
        });
        Ok(())
    })?;
    Ok(token)
}

/// Whether the file `to` holds a key that those in the file `path` say is in force.
fn holds_key_in_force(to: &Path, path: &Path) -> Result<bool, KeysError> {
    let text = match fs::read_to_string(to) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(KeysError::To { action: "read", path: to.to_owned(), source }),
    };
    let Ok(shown) = Shown::parse(text.trim()) else { return Ok(false) };
    let keys = file::read(path)?.unwrap_or_default();
    Ok(keys
        .iter()
        .any(|key| key.id == shown.id && key.sha256 == shown.fingerprint && key.refusal(now()).is_none()))
}

/// Writes a key in one step: who reads the file sees a whole key or none.
fn write_key(to: &Path, token: &NewToken) -> Result<(), KeysError> {
    let refused = |action| move |source| KeysError::To { action, path: to.to_owned(), source };
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary).map_err(refused("make"))?;
    let written = writeln!(file, "{}", token.token).and_then(|()| file.sync_all());
    written.map_err(refused("write"))?;
    fs::rename(&temporary, to).map_err(refused("write"))
}

fn list(path: &Path, out: &mut impl Write) -> Result<(), KeysError> {
    let keys = file::read(path)?.unwrap_or_default();
    writeln!(
        out,
        "{:<14}{:<24}{:<10}{:<14}{:<22}{:<22}STATE",
        "ID", "NAME", "TIER", "SCOPES", "CREATED", "EXPIRES"
    )?;
    for key in &keys {
        let scopes: Vec<_> =
            key.scopes.iter().map(|scope| if *scope == Scope::Api { "api" } else { "monitor" }).collect();
        let expires = key.expires.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let state = match key.refusal(now()) {
            None => "in force",
            Some(AuthFailureReason::Revoked) => "revoked",
            Some(_) => "expired",
        };
        let (id, name, tier, scopes, created) =
            (&key.id, &key.name, key.tier, scopes.join(","), key.created.to_string());
        writeln!(out, "{id:<14}{name:<24}{tier:<10}{scopes:<14}{created:<22}{expires:<22}{state}")?;
    }
    Ok(())
}

/// Returns its name.
fn revoke(path: &Path, wanted: &str) -> Result<String, KeysError> {
    file::update(path, |keys| {
        let mut candidates = keys.iter_mut().filter(|key| key.revoked.is_none());
        let key = candidates.find(|key| key.id == wanted || key.name == wanted);
        let key = key.ok_or_else(|| KeysError::NoSuchKey(wanted.to_owned()))?;
        key.revoked = Some(now());
        Ok(key.name.clone())
    })
}

/// Whole seconds are what people read.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.trim() == text;
    if fits && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(format!("must have 1 to {MAX_NAME_BYTES} bytes, no control characters, no space at its ends"))
    }
}

fn tier(text: &str) -> Result<TaskType, String> {
    TaskType::parse(text).ok_or_else(|| "must be basic, premium or critical".to_owned())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_seconds = match &text[digits.len()..] {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        _ => 0,
    };
    let seconds = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_seconds));
    let seconds = seconds.filter(|&seconds| seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| "must be a time such as 90d, 12h or 30m".to_owned())
}
