//! Google Drive as a source of documents: read with a service account, kept in memory, searched there.
//!
//! [`Drive::keep`] reads in the background what is new or changed and puts a new [`Index`] into force; whoever searches
//! uses the one that is in force. What must hold: a request never waits for Google, and Drive away changes nothing but how
//! old the documents are; what is held is bounded ([`DriveSettings`]); only texts are read, and nothing is written.
//!
//! * `account`, `token`: who reads. `exchange`, `client`, `listing`: what Drive is asked; `file`: what it tells of one. `error`: why there is nothing.
//! * `passages`, [`index`]: what is searched, and how it is ranked.

mod account;
mod client;
mod error;
mod exchange;
mod file;
pub mod index;
mod listing;
mod passages;
mod token;

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use techsapo_shared::event::{ErrorEvent, Event};
use techsapo_shared::labels::{Service, Severity};
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use crate::clock;
use crate::config::DriveSettings;
use crate::guard::breaker::{Breakers, Policy};
use crate::telemetry::Recorder;
use account::Account;
pub use account::KeyFileError;
use client::Client;
use error::{DriveError, Kind, Step};
use file::File;
use index::{Document, Hit, Index, Origin};

/// Documents read at once.
const AT_ONCE: usize = 4;
/// Pause after a look that did not succeed; each further one doubles it, up to the usual time between looks.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A look asks for many documents: a few failures in a row tell that there is no point in the rest.
const POLICY: Policy = Policy {
    window: Duration::from_secs(60),
    failures: 3,
    failure_ppm: 500_000,
    open_for: Duration::from_secs(5),
    open_for_at_most: Duration::from_secs(120),
};

/// Why documents cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum DriveStartError {
    /// The key file is wrong.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The system lacks what TLS needs.
    #[error("cannot make an HTTP client for Google Drive")]
    Client(#[from] reqwest::Error),
}

/// How reading goes.
#[derive(Debug, Clone, Default)]
pub struct DriveStatus {
    /// When everything was looked at last, Unix milliseconds; nothing: not yet.
    pub read_at_ms: Option<u64>,
    /// Why the last look failed, if it did.
    pub problem: Option<String>,
    /// Documents whose present text could not be read at the last look.
    pub unread: usize,
    /// Files that are no text that can be had.
    pub skipped: usize,
    /// Documents for which there was no room.
    pub left_out: usize,
}

/// The documents. Cheap to clone.
#[derive(Clone)]
pub struct Drive {
    shared: Arc<Shared>,
}

struct Shared {
    settings: DriveSettings,
    client: Client,
    recorder: Recorder,
    index: RwLock<Option<Arc<Index>>>,
    /// One permit for each search that may run: it takes a core to itself.
    searches: Arc<Semaphore>,
    status: Mutex<DriveStatus>,
}

/// Looks at the key file, if one is set.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_key(settings: &DriveSettings) -> Result<(), KeyFileError> {
    settings.key_file.as_deref().map_or(Ok(()), |path| Account::load(path).map(drop))
}

impl Drive {
    /// Google Drive, not yet read; nothing where no key file is set.
    ///
    /// # Errors
    /// When the key file is wrong.
    pub fn open(
        settings: &DriveSettings,
        recorder: Recorder,
        breakers: &Breakers,
    ) -> Result<Option<Self>, DriveStartError> {
        let Some(key_file) = settings.key_file.as_deref() else { return Ok(None) };
        Self::with_key(settings, key_file, recorder, breakers).map(Some)
    }

    fn with_key(
        settings: &DriveSettings,
        key_file: &Path,
        recorder: Recorder,
        breakers: &Breakers,
    ) -> Result<Self, DriveStartError> {
        Account::load(key_file)?;
        let breaker = breakers.add(Service::GoogleDrive, POLICY);
        let shared = Shared {
            settings: settings.clone(),
            client: Client::new(settings, key_file, breaker)?,
            recorder,
            index: RwLock::default(),
            searches: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get))),
            status: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The documents as they were read last; nothing as long as they were not read.
    pub fn index(&self) -> Option<Arc<Index>> {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Searches an index, once one of the cores is free for it.
    ///
    /// # Errors
    /// When the search broke off.
    pub async fn search(&self, index: Arc<Index>, query: String, most: usize) -> Result<Vec<Hit>, JoinError> {
        let permit = Arc::clone(&self.shared.searches).acquire_owned().await;
        // Milliseconds where there are many passages: not on a thread that others wait for. It goes on if its caller goes.
        let search = move || {
            let hits = index.search(&query, most);
            drop(permit);
            hits
        };
        tokio::task::spawn_blocking(search).await
    }

    /// How reading goes.
    pub fn status(&self) -> DriveStatus {
        self.shared.status().clone()
    }

    /// Reads what is new or changed, again and again, for ever.
    pub async fn keep(self) {
        let every = self.shared.settings.refresh;
        let mut known = HashMap::new();
        let mut pause = FIRST_PAUSE;
        loop {
            let wait = match self.shared.look(&mut known).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    every
                }
                Err(error) => {
                    let wait = pause.max(error.retry_after.unwrap_or_default());
                    pause = (pause * 2).min(every.max(FIRST_PAUSE));
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }
}

/// A file that was read.
#[derive(Clone)]
enum Known {
    Document(Arc<Document>),
    /// It holds no text. What it holds is not fetched again before it changes.
    NoText(Origin),
}

impl Known {
    fn origin(&self) -> &Origin {
        match self {
            Self::Document(document) => &document.origin,
            Self::NoText(origin) => origin,
        }
    }
}

/// What one look found.
#[derive(Default)]
struct Look {
    documents: Vec<Arc<Document>>,
    no_texts: Vec<Origin>,
    skipped: usize,
    unread: usize,
    left_out: usize,
    /// The last failure that was not a document's own.
    failure: Option<DriveError>,
}

impl Shared {
    /// Looks once at everything. What could be read is in force afterwards, also where something failed.
    async fn look(&self, known: &mut HashMap<String, Known>) -> Result<(), DriveError> {
        let listing = match listing::walk(&self.client, &self.settings.folders).await {
            Ok(listing) => listing,
            Err(error) => {
                self.failed(&error);
                self.status().problem = Some(error.to_string());
                return Err(error);
            }
        };
        if listing.is_cut {
            tracing::warn!(
                "Google Drive has more folders and files than are looked through; the rest is left out"
            );
        }
        let look = self.read(listing.files, known).await;
        let documents = look.documents.iter().map(|document| Known::Document(Arc::clone(document)));
        let no_texts = look.no_texts.iter().cloned().map(Known::NoText);
        *known = documents.chain(no_texts).map(|one| (one.origin().id.clone(), one)).collect();
        let failure = look.failure.clone();
        self.put_into_force(look);
        failure.map_or(Ok(()), Err)
    }

    /// Reads the files that are new or changed, those changed last first, as long as there is room.
    async fn read(&self, files: Vec<File>, known: &HashMap<String, Known>) -> Look {
        let mut look = Look::default();
        let most = self.settings.documents;
        let (all, mut seen) = (files.len(), 0);
        let read = files.into_iter().take(most).map(|file| async move {
            let before = known.get(&file.id);
            let document = self.document(&file, before).await;
            (document, before)
        });
        let mut read = stream::iter(read).buffered(AT_ONCE);
        let mut room = usize::try_from(self.settings.index_bytes).unwrap_or(usize::MAX);
        while let Some((document, before)) = read.next().await {
            seen += 1;
            let document = match document {
                Ok(document) => Some(document),
                Err(error) if error.kind.is_of_the_document() => {
                    tracing::debug!(reason = %error, "A document of Google Drive is skipped");
                    look.skipped += 1;
                    None
                }
                Err(error) => {
                    self.failed(&error);
                    look.unread += 1;
                    look.failure = Some(error);
                    before.cloned()
                }
            };
            match document {
                Some(Known::Document(document)) if document.bytes <= room => {
                    room -= document.bytes;
                    look.documents.push(document);
                }
                // What is older is not read at all, or it would be read anew at each look.
                Some(Known::Document(_)) => {
                    seen -= 1;
                    break;
                }
                Some(Known::NoText(origin)) => {
                    look.skipped += 1;
                    look.no_texts.push(origin);
                }
                None => {}
            }
        }
        look.left_out = all - seen;
        look
    }

    /// A file as it is now: what was read before where nothing has changed.
    async fn document(&self, file: &File, before: Option<&Known>) -> Result<Known, DriveError> {
        let origin = Origin {
            id: file.id.clone(),
            name: file.name.clone(),
            link: file.web_view_link.clone(),
            modified_time: file.modified_time.clone(),
        };
        if let Some(before) = before.filter(|before| *before.origin() == origin) {
            return Ok(before.clone());
        }
        let body = self.client.text(file).await?;
        let Some(text) = text(body.bytes, body.is_cut) else {
            tracing::debug!(document = origin.id, "A document of Google Drive is skipped: it is not UTF-8");
            return Ok(Known::NoText(origin));
        };
        // Taking apart what may be a mebibyte would hold up the requests that share this thread.
        let prepared = tokio::task::spawn_blocking(move || Document::new(origin, &text, body.is_cut)).await;
        let broken = |error: JoinError| DriveError::new(Step::Read, Kind::Unreadable, error.to_string());
        prepared.map(|document| Known::Document(Arc::new(document))).map_err(broken)
    }

    fn put_into_force(&self, look: Look) {
        let index = Arc::new(Index::new(look.documents));
        let now = clock::unix_ms();
        let status = DriveStatus {
            read_at_ms: Some(now),
            problem: None,
            unread: look.unread,
            skipped: look.skipped,
            left_out: look.left_out,
        };
        let (documents, passages) = (index.documents(), index.passages());
        let before = {
            let mut current = self.index.write().unwrap_or_else(PoisonError::into_inner);
            current.replace(index).map(|before| (before.documents(), before.passages()))
        };
        if before != Some((documents, passages)) {
            let (skipped, left_out, unread) = (status.skipped, status.left_out, status.unread);
            tracing::info!(
                documents,
                passages,
                skipped,
                left_out,
                unread,
                "The documents of Google Drive were read"
            );
        }
        if status.left_out > 0 && self.status().left_out == 0 {
            let left_out = status.left_out;
            tracing::warn!(
                left_out,
                "Not all documents of Google Drive are searched: raise drive.documents or drive.index_bytes"
            );
        }
        *self.status() = status;
    }

    /// States and logs a failure.
    fn failed(&self, error: &DriveError) {
        if error.kind == Kind::CircuitOpen {
            return;
        }
        tracing::warn!(reason = %error, "Google Drive failed");
        self.recorder.record(&Event::Error(ErrorEvent {
            t: clock::unix_ms(),
            error_type: Cow::Borrowed(error.kind.as_str()),
            severity: Severity::Warning,
            service: Service::GoogleDrive,
        }));
    }

    fn status(&self) -> MutexGuard<'_, DriveStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes as text, if they are UTF-8; what was cut within a character loses that character.
fn text(mut bytes: Vec<u8>, is_cut: bool) -> Option<String> {
    let wrong = std::str::from_utf8(&bytes).err();
    if let Some(error) = wrong.filter(|error| is_cut && error.error_len().is_none()) {
        bytes.truncate(error.valid_up_to());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_utf_8_is_text_and_a_cut_within_a_character_does_no_harm() {
        let bytes = "日本".as_bytes();
        assert_eq!(text(bytes.to_vec(), false).unwrap(), "日本");
        assert_eq!(text(bytes[..5].to_vec(), true).unwrap(), "日");
        assert_eq!(text(bytes[..5].to_vec(), false), None);
        assert_eq!(text(vec![0x93, 0xfa], true), None);
    }
}
