//! States what an instance is configured with otherwise than before: also than before it was stopped.
//!
//! A fingerprint of each component's configuration stands in a file beside the journal, so that a change that came into force by a
//! restart is stated like one that came while the app ran. The first start of all has nothing to compare with.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::FutureExt;
use futures_util::future::select_all;
use techsapo_shared::event::{ConfigChanged, Event};
use techsapo_shared::labels::{ClosedLabel, ConfigComponent};

use crate::clock;
use crate::config::Settings;
use crate::telemetry::Recorder;
use crate::watch::FileWatch;

/// Name of the file in the journal's folder.
const FILE: &str = "configuration.json";

/// Fingerprints by component, as the file holds them.
type Fingerprints = BTreeMap<String, String>;

/// What was configured when it was looked at last. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Changes(Arc<Inner>);

struct Inner {
    recorder: Recorder,
    file: PathBuf,
    known: Mutex<Fingerprints>,
}

impl Changes {
    /// Those of the instance whose journal is in this folder.
    pub(crate) fn open(folder: &Path, recorder: Recorder) -> Self {
        let file = folder.join(FILE);
        let known = match read(&file) {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(file = %file.display(), reason = %error, "What was configured before is not known; changes since then are not counted");
                Fingerprints::new()
            }
        };
        Self(Arc::new(Inner { recorder, file, known: Mutex::new(known) }))
    }

    /// Looks at what the settings say, each component by itself.
    pub(crate) fn look_at_settings(&self, settings: &Settings) {
        // Whoever adds a section decides here whose it is.
        let Settings {
            budget,
            limits,
            sanitise,
            log,
            listen,
            instance,
            redis,
            store,
            telemetry,
            journal,
            mysql,
            audit,
            tls,
            drive,
            exporter,
            alertmanager,
            keys,
            http,
            live,
            analysis,
            synthesis,
            cache,
            providers,
            breakers,
            simulated,
            shutdown,
        } = settings;
        let addresses = (listen, instance, redis, store, mysql, exporter, alertmanager, http);
        let files = (telemetry, journal, audit, tls, drive, keys, providers);
        let rest = (live, analysis, synthesis, cache, breakers, simulated, shutdown);
        for (component, text) in [
            (ConfigComponent::App, format!("{addresses:?} {files:?} {rest:?}")),
            (ConfigComponent::Budget, format!("{budget:?}")),
            (ConfigComponent::Limits, format!("{limits:?} {sanitise:?}")),
            (ConfigComponent::Logging, format!("{log:?}")),
        ] {
            self.look_at(component, text.as_bytes());
        }
    }

    /// Looks at the files that a component is configured with, now and whenever they change, for ever.
    pub(crate) async fn follow(self, component: ConfigComponent, files: Vec<PathBuf>) {
        let watches: Result<Vec<_>, _> = files.iter().map(|file| FileWatch::new(file)).collect();
        loop {
            let contents: Vec<_> = files.iter().map(|file| fs::read(file).ok()).collect();
            self.look_at(component, &joined(&contents));
            match &watches {
                Ok(watches) if watches.is_empty() => return,
                Ok(watches) => select_all(watches.iter().map(|watch| watch.changed().boxed())).await,
                Err(error) => {
                    let component = component.as_str();
                    tracing::warn!(component, reason = %error, "Changes are counted at the next start: the files cannot be watched");
                    return;
                }
            };
        }
    }

    /// Looks at all that a component is configured with, and states whether it is other than before.
    pub(crate) fn look_at(&self, component: ConfigComponent, content: &[u8]) {
        let Inner { recorder, file, known } = &*self.0;
        if !recorder.is_on() {
            return;
        }
        let fingerprint = hex::encode(digest(&SHA256, content));
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.insert(component.as_str().to_owned(), fingerprint.clone()) {
            Some(before) if before == fingerprint => return,
            Some(_) => {
                tracing::info!(component = component.as_str(), "The configuration is other than before");
                recorder.record(&Event::ConfigChanged(ConfigChanged { t: clock::unix_ms(), component }));
            }
            None => {}
        }
        if let Err(error) = write(file, &known) {
            tracing::warn!(file = %file.display(), reason = %error, "What is configured cannot be kept: it may be counted as changed once more after a restart");
        }
    }
}

/// The contents of several files as one; a file that is missing is other than one that is empty.
pub(crate) fn joined(contents: &[Option<Vec<u8>>]) -> Vec<u8> {
    format!("{contents:?}").into_bytes()
}

fn read(file: &Path) -> io::Result<Fingerprints> {
    match fs::read(file) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Fingerprints::new()),
        Err(error) => Err(error),
    }
}

/// Replaces the file in one step.
fn write(file: &Path, known: &Fingerprints) -> io::Result<()> {
    let unfinished = file.with_extension("json.new");
    let mut options = fs::OpenOptions::new();
    let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    new.write_all(&serde_json::to_vec_pretty(known)?)?;
    fs::rename(&unfinished, file)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::load;

    /// What a start with these settings states.
    fn start(folder: &Path, env: &[(&str, &str)]) -> Vec<String> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let journal = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(journal.path(), 1 << 20).unwrap();
        Changes::open(folder, recorder.clone()).look_at_settings(&load(None, &env).unwrap().settings);
        stated(&recorder)
    }

    fn stated(recorder: &Recorder) -> Vec<String> {
        let lines = recorder.pending_lines();
        let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.map(|event| event["config_changed"]["component"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_a_restart_changes_is_stated_once_by_component() {
        let folder = tempfile::tempdir().unwrap();
        let nothing: [String; 0] = [];
        assert_eq!(start(folder.path(), &[]), nothing, "there was nothing before");
        assert_eq!(start(folder.path(), &[]), nothing);
        let budget = ("TECHSAPO_BUDGET_DAILY_USD", "100");
        assert_eq!(start(folder.path(), &[budget]), ["budget"]);
        assert_eq!(start(folder.path(), &[budget]), nothing);
        let others = [
            budget,
            ("TECHSAPO_LIMITS_BASIC_PER_MINUTE", "7"),
            ("TECHSAPO_LOG_LEVEL", "debug"),
            ("TECHSAPO_CACHE_TTL", "7m"),
        ];
        assert_eq!(start(folder.path(), &others), ["app", "limits", "logging"]);
        assert_eq!(start(folder.path(), &[]), ["app", "budget", "limits", "logging"]);
    }

    #[test]
    fn what_cannot_be_read_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        start(folder.path(), &[]);
        fs::write(folder.path().join(FILE), "{").unwrap();
        let nothing: [String; 0] = [];
        assert_eq!(start(folder.path(), &[("TECHSAPO_LOG_LEVEL", "debug")]), nothing);
        assert_eq!(start(folder.path(), &[]), ["logging"]);
    }

    #[test]
    fn a_folder_that_takes_no_file_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let recorder = Recorder::open(folder.path(), 1 << 20).unwrap();
        let changes = Changes::open(&gone, recorder.clone());
        for content in ["one", "one", "two"] {
            changes.look_at(ConfigComponent::Certificates, content.as_bytes());
        }
        assert_eq!(stated(&recorder), ["certificates"], "while it runs it knows");
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_while_the_app_runs_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(folder.path(), 1 << 20).unwrap();
        let certificate = folder.path().join("own.crt");
        fs::write(&certificate, "one").unwrap();
        let changes = Changes::open(folder.path(), recorder.clone());
        let following =
            tokio::spawn(changes.follow(ConfigComponent::Certificates, vec![certificate.clone()]));
        let kept = || read(&folder.path().join(FILE)).unwrap().len();
        let until = async |what: &dyn Fn() -> bool| {
            for _ in 0..2_000 {
                if what() {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            panic!("it was not noticed");
        };
        until(&|| kept() == 1).await;
        assert!(stated(&recorder).is_empty());
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &certificate).unwrap();
        until(&|| stated(&recorder) == ["certificates"]).await;
        following.abort();
    }
}
