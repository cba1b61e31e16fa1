//! The checkpoint's store: whether an exporter could use it, and what it holds. Takes no lock and writes nothing.

use std::path::Path;
use std::time::SystemTime;

use mysql_async::Opts;
use rustix::fs::{Access, access, statvfs};
use rustix::io::Errno;
use techsapo_shared::wire::EntryId;
use techsapo_tls::ClientTls;

use super::finding::{Finding, Verdict};
use crate::checkpoint::mysql::Mysql;
use crate::checkpoint::mysql::look::{Look, Row};
use crate::checkpoint::{self, FORMAT, Loaded, Store as _, Unreadable, folder};
use crate::pipeline::chain;
use crate::state::State;
use crate::tools::human;

/// With less room than this, somebody should look: a checkpoint is written beside the one that it replaces.
const LITTLE_BYTES: u64 = 64 << 20;
/// What a statement may hold at most, as a share of what the server takes: states grow.
const LARGE_PERCENT: usize = 50;

/// What the store holds.
#[derive(Debug)]
pub(super) struct Held {
    /// Where.
    pub(super) place: String,
    /// The newest whole checkpoint, as far as this build can read it.
    pub(super) state: Option<Result<State, Unreadable>>,
    /// Whether something stands there that is of no use.
    pub(super) damaged: bool,
}

/// Looks at a folder. What it holds is there if it could be looked into.
pub(super) fn folder(path: &Path, streams: &[String]) -> (Vec<Finding>, Option<Held>) {
    let place = path.display().to_string();
    let mut findings = vec![usable(path)];
    let looked = folder::look(path);
    let nothing = looked.as_ref().map_or(true, |(loaded, _)| loaded.state.is_none());
    if findings[0].verdict == Verdict::Failed && nothing {
        // What cannot be read here need not be damaged.
        return (findings, None);
    }
    let (loaded, written) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            findings.push(Finding::failed(
                format!("checkpoint in {place}"),
                format_args!("it cannot be read: {error}"),
                "make its files this user's: until it can be read, nothing is counted and nothing lost",
            ));
            return (findings, None);
        }
    };
    let age = written.and_then(|time| SystemTime::now().duration_since(time).ok());
    let age = age.map_or_else(String::new, |age| format!(", written {} ago", human::duration(age)));
    let held = held(place, &loaded, &age, streams, &mut findings);
    (findings, Some(held))
}

/// Whether this user could keep checkpoints in the folder.
fn usable(path: &Path) -> Finding {
    let about = format!("checkpoint.dir {}", path.display());
    let advice = "make it this user's, or give another with --checkpoint.dir";
    // Where it would be made, if it is not there.
    let standing = path.ancestors().find(|part| part.as_os_str().is_empty() || part.exists());
    let standing = standing.filter(|part| !part.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !standing.is_dir() {
        return Finding::failed(about, format_args!("{} is no folder", standing.display()), advice);
    }
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let lock = path.join("lock");
    let writable = access(standing, all).and_then(|()| match access(&lock, Access::WRITE_OK) {
        Err(Errno::NOENT) => Ok(()),
        writable => writable,
    });
    if let Err(error) = writable {
        return Finding::failed(about, format_args!("this user cannot write to it: {error}"), advice);
    }
    let room = statvfs(standing).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    match room {
        Ok(bytes) if bytes < LITTLE_BYTES => {
            let text = format!("its disk has room for {} more", human::bytes(bytes));
            Finding::warning(about, text, "free some: what cannot be written is not acknowledged")
        }
        _ if standing == path => Finding::ok(about, "this user can write to it"),
        _ => Finding::ok(about, "it is not there yet, and will be made"),
    }
}

/// Looks at a row in a database. What it holds is there if the database could be asked.
pub(super) fn database(
    opts: Opts,
    tls: &ClientTls,
    name: &str,
    streams: &[String],
) -> (Vec<Finding>, Option<Held>) {
    let mut store = Mysql::new(opts, name).secured_by(tls);
    let place = store.describe();
    let about = format!("checkpoint.url {place}");
    let look = match store.look() {
        Ok(look) => look,
        Err(error) => {
            // What failed where is said by the line's beginning.
            let why = std::error::Error::source(&error).map_or_else(|| chain(&error), chain);
            let advice = "see that the database runs, and what TECHSAPO_EXPORTER_CHECKPOINT_URL (--checkpoint.url) says";
            return (vec![Finding::failed(about, why, advice)], None);
        }
    };
    let mut findings = vec![server(&about, &look)];
    let loaded = look.row.map(|row| {
        findings.push(lease(&about, &row));
        row.loaded
    });
    let held = held(place, &loaded.unwrap_or_default(), "", streams, &mut findings);
    (findings, Some(held))
}

fn server(about: &str, look: &Look) -> Finding {
    if let Some(why) = &look.read_only {
        let advice = "grant this user SELECT, INSERT and UPDATE on exporter_checkpoints, on a server that takes writes";
        return Finding::failed(about, format_args!("the table cannot be written to: {why}"), advice);
    }
    if !look.has_table {
        let advice = "grant this user CREATE, or make the table exporter_checkpoints before";
        return Finding::warning(about, "it answers; its table is not there yet, and will be made", advice);
    }
    if !look.is_durable {
        let text = "if its host loses power, checkpoints that were acknowledged may be lost";
        return Finding::warning(about, text, "set innodb_flush_log_at_trx_commit to 1");
    }
    if let Some(Row { stored_bytes, most_bytes: Some(most), .. }) = look.row
        && stored_bytes > most / 100 * LARGE_PERCENT
    {
        let text = format!("the state has {stored_bytes} bytes, and the server takes {most} at once");
        return Finding::warning(about, text, "raise its max_allowed_packet");
    }
    Finding::ok(about, "it answers, and this user can write to its table")
}

fn lease(about: &str, row: &Row) -> Finding {
    let term = row.term;
    match row.leased {
        Some(left) => {
            let left = human::duration(left);
            Finding::ok(about, format_args!("an exporter holds the lease for another {left} (term {term})"))
        }
        None => Finding::ok(about, format_args!("nobody holds the lease (last term {term})")),
    }
}

/// What `loaded` is worth.
fn held(place: String, loaded: &Loaded, age: &str, streams: &[String], findings: &mut Vec<Finding>) -> Held {
    let about = format!("checkpoint in {place}");
    let damaged = loaded.damaged.join(", ");
    let state = loaded.state.as_deref().map(checkpoint::decode);
    let size = human::bytes(loaded.state.as_ref().map_or(0, Vec::len) as u64);
    findings.push(match &state {
        Some(Ok(state)) => Finding::ok(
            about.clone(),
            format_args!("format {FORMAT}, {size}{age}; {}", position(state, streams)),
        ),
        Some(Err(why @ Unreadable::TooNew(_))) => {
            let advice = "start the later build again; to count anew with this one, delete the checkpoint";
            Finding::failed(
                about.clone(),
                format_args!("a later build wrote it ({size}{age}): {why}"),
                advice,
            )
        }
        Some(Err(why)) => Finding::failed(about.clone(), format_args!("it is of no use: {why}"), ANEW),
        None if damaged.is_empty() => Finding::ok(about.clone(), "there is none yet"),
        None => Finding::failed(about.clone(), format_args!("no whole one is left: {damaged}"), ANEW),
    });
    if !damaged.is_empty() && state.is_some() {
        let advice = "the other copy is used, and the next checkpoint replaces both; look at the disk";
        findings.push(Finding::warning(about, format_args!("one copy is damaged: {damaged}"), advice));
    }
    Held { place, state, damaged: !damaged.is_empty() }
}

const ANEW: &str = "an exporter that starts counts anew from zero, behind what was acknowledged; do not restore one from a \
                    backup, and look at the disk";

/// How far a state is.
fn position(state: &State, streams: &[String]) -> String {
    let mut text = format!("{} series, {} producers", state.series.len(), state.producers.len());
    for stream in streams {
        let cursor = state.streams.get(stream).map_or(EntryId::ZERO, |stream| stream.cursor);
        match cursor {
            EntryId::ZERO => text.push_str(&format!(", nothing of {stream}")),
            cursor => text.push_str(&format!(", {stream} up to {cursor}")),
        }
    }
    text
}
