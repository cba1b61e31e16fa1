//! API keys: who may ask, and for how much.
//!
//! * [`token`]: how a key is written, and what is kept of it.
//! * [`record`]: one key as it is kept.
//! * [`ring`]: the keys that are known, and whether one that is shown is taken.
//! * [`file`]: where they are kept.
//!
//! [`Keys`] holds the ring of a running app and takes in changes of the file. A file that is gone, empty or broken changes
//! nothing: nobody is locked out, and nobody let in, by a slip of the pen. (Keys that were revoked stay in it.)

pub mod file;
pub mod record;
pub mod ring;
pub mod session;
pub mod token;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use techsapo_shared::event::{ErrorEvent, Event};
use techsapo_shared::labels::{ConfigComponent, Service, Severity};

use self::file::KeyFileError;
use self::ring::KeyRing;
use crate::changes::Changes;
use crate::clock;
use crate::telemetry::Recorder;
use crate::watch::FileWatch;

/// The keys of a running app. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    path: PathBuf,
    ring: Arc<RwLock<Arc<KeyRing>>>,
}

impl Keys {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// When it cannot be read or is not a list of keys.
    pub fn load(path: PathBuf) -> Result<Self, KeyFileError> {
        let ring = read(&path)?.unwrap_or_default();
        Ok(Self { path, ring: Arc::new(RwLock::new(Arc::new(ring))) })
    }

    /// Tells the log who may ask.
    pub fn announce(&self) {
        let (path, ring) = (self.path.display(), self.ring());
        if ring.is_empty() {
            tracing::warn!(%path, "No API key was made yet: whoever is on this machine may ask, by the basic plan");
        } else {
            tracing::info!(%path, usable = ring.usable(Timestamp::now()), "Callers need an API key");
        }
        if file::is_open_to_others(&self.path) {
            tracing::warn!(%path, "Others than its owner may read the file of keys: chmod 600 it");
        }
    }

    /// The keys as they are now.
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in changes of the file, for ever.
    pub(crate) async fn follow(self, recorder: Recorder, changes: Changes) {
        let path = self.path.display();
        let look = || changes.look_at(ConfigComponent::ApiKeys, self.ring().listed().as_bytes());
        look();
        let watch = self.path.parent().map(std::fs::create_dir_all).transpose().map_err(notify::Error::io);
        let watch = match watch.and_then(|_| FileWatch::new(&self.path)) {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!(%path, reason = %error, "Changes of the keys need a restart: the file cannot be watched");
                return;
            }
        };
        loop {
            // At first without waiting: it may have changed since it was loaded.
            self.reload(&recorder);
            look();
            watch.changed().await;
        }
    }

    fn reload(&self, recorder: &Recorder) {
        let (path, before) = (self.path.display(), self.ring());
        let ring = match read(&self.path) {
            Ok(Some(ring)) if before.is_empty() || !ring.is_empty() => ring,
            Ok(None) if before.is_empty() => return,
            Ok(None) => {
                tracing::warn!(%path, "The file of keys is gone; those that were in it stay in force");
                return;
            }
            Ok(Some(_)) => {
                tracing::warn!(%path, "The file of keys is empty; those that were in it stay in force. Without any, restart the app");
                return;
            }
            Err(error) => {
                tracing::error!(%path, reason = %error, "The keys were changed to something wrong; the earlier ones stay in force");
                recorder.record(&Event::Error(ErrorEvent {
                    t: clock::unix_ms(),
                    error_type: Cow::Borrowed("api_keys"),
                    severity: Severity::Error,
                    service: Service::Config,
                }));
                return;
            }
        };
        if ring == *before {
            return;
        }
        tracing::info!(%path, usable = ring.usable(Timestamp::now()), "The keys were changed");
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }
}

fn read(path: &std::path::Path) -> Result<Option<KeyRing>, KeyFileError> {
    let Some(records) = file::read(path)? else { return Ok(None) };
    let wrong =
        |error: ring::Repeated| KeyFileError::Content { path: path.to_owned(), reason: error.to_string() };
    KeyRing::new(records).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use techsapo_shared::labels::TaskType;

    use super::*;
    use crate::keys_command::KeysCommand;

    #[test]
    fn a_file_that_is_emptied_or_gone_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let create = |name: &str| {
            let (name, to) = (name.to_owned(), None);
            let command =
                KeysCommand::Create { name, tier: TaskType::Basic, expires: None, scopes: Vec::new(), to };
            command.run(&path, &mut Vec::new(), &mut Vec::new()).unwrap();
        };
        create("first");
        let keys = Keys::load(path.clone()).unwrap();
        let usable = || {
            keys.reload(&Recorder::off());
            keys.ring().usable(Timestamp::now())
        };
        for emptied in ["", "\n# nothing\n"] {
            fs::write(&path, emptied).unwrap();
            assert_eq!(usable(), 1, "{emptied:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(usable(), 1);
        create("second");
        create("third");
        assert_eq!(usable(), 2, "what stands in it holds again");
    }
}
