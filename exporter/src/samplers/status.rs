//! Asks the apps for their status (`/internal/status`), which tells of an app also while Redis is away.
//!
//! An app on another machine, or behind a proxy, wants an API key with the scope `monitor`. It is read from its file for
//! every question, so that a new one needs no restart, and never stands in a log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use techsapo_shared::event::{Event, RuntimeSample};
use techsapo_tls::ClientTls;
use tracing::info;

use super::{INTERVAL, Latest, TIMEOUT};
use crate::own::Own;
use crate::pipeline::chain;

/// Largest status that is read; a real one has less than a kilobyte.
const MAX_STATUS_BYTES: usize = 64 * 1024;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The file of the key is not there, or not for us.
    #[error("the key in {} (--app.key-file) cannot be read: {source}", file.display())]
    KeyFile {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of the key holds something else.
    #[error("{} (--app.key-file) holds no key: one line, as `techsapo keys create` prints it", .0.display())]
    NoKey(PathBuf),
    /// It is not there, or does not answer.
    #[error("it cannot be asked: {}", chain(.0))]
    Asking(#[from] reqwest::Error),
    /// It does not open its status to us.
    #[error("it answered {0}; it wants a key with the scope monitor, in the file of --app.key-file")]
    Refused(reqwest::StatusCode),
    /// It answers, but not with a status.
    #[error("it answered {0}")]
    Status(reqwest::StatusCode),
    /// It is no app: a status is small.
    #[error("its status is larger than {MAX_STATUS_BYTES} bytes")]
    TooLarge,
    /// It is no app: a status is an event.
    #[error("its status cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// It is no app: a status is an event of this type.
    #[error("its status is not a runtime_sample")]
    OtherEvent,
    /// It breaks the contract.
    #[error("its status is out of bounds: {0}")]
    Bound(String),
}

/// Asks apps, each by a task of its own.
#[derive(Clone)]
pub struct Poller {
    latest: Latest,
    own: Arc<Own>,
    asker: Asker,
}

/// Asks an app once.
#[derive(Clone)]
pub struct Asker {
    http: reqwest::Client,
    key_file: Option<Arc<Path>>,
}

impl Poller {
    /// Tells `latest` and `own` what it hears from `asker`.
    pub fn new(latest: Latest, own: Arc<Own>, asker: Asker) -> Self {
        Self { latest, own, asker }
    }

    /// Asks the app at `url`, again and again.
    pub async fn poll(self, url: String) {
        let up = self.own.app_up.with_label_values(&[&url]);
        // What was wrong last, so that the log says it once.
        let mut before: Option<String> = None;
        // The name that the app last gave itself, so that its sample can be replaced.
        let mut instance: Option<String> = None;
        loop {
            let status = self.asker.ask(&url).await;
            up.set(f64::from(u8::from(status.is_ok())));
            let trouble = status.as_ref().err().map(ToString::to_string);
            match &trouble {
                Some(error) if trouble != before => info!(url, error, "the app does not answer its status"),
                None if before.is_some() => info!(url, "the app answers its status again"),
                _ => {}
            }
            before = trouble;
            if let Ok(sample) = status {
                self.latest.update(|samples| {
                    samples.apps.retain(|known| Some(known.app_instance.as_ref()) != instance.as_deref());
                    samples.apps.retain(|known| known.app_instance != sample.app_instance);
                    samples.apps.push(sample.clone());
                });
                instance = Some(sample.app_instance.into_owned());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

impl Asker {
    /// Shows apps the key in `key_file`, if there is one; those at https:// are known by the certificates of `tls`.
    ///
    /// # Errors
    /// When there can be no client.
    pub fn new(key_file: Option<PathBuf>, tls: &ClientTls) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls.config().as_ref().clone());
        // An app leads nowhere else, and its key is for nobody else.
        let http = client.redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { http, key_file: key_file.map(Arc::from) })
    }

    /// The status of the app at `url`.
    ///
    /// # Errors
    /// Says why there is none.
    pub async fn ask(&self, url: &str) -> Result<RuntimeSample<'static>, StatusError> {
        let address = format!("{}/internal/status", url.trim_end_matches('/'));
        let mut request = self.http.get(address).timeout(TIMEOUT);
        if let Some(file) = &self.key_file {
            request = request.header(AUTHORIZATION, bearer(file)?);
        }
        let mut response = request.send().await?;
        match response.status() {
            status if status.is_success() => {}
            status if [401, 403].contains(&status.as_u16()) => return Err(StatusError::Refused(status)),
            status => return Err(StatusError::Status(status)),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_STATUS_BYTES {
                return Err(StatusError::TooLarge);
            }
        }
        let Event::RuntimeSample(sample) = serde_json::from_slice::<Event<'_>>(&body)? else {
            return Err(StatusError::OtherEvent);
        };
        sample.check().map_err(|bound| StatusError::Bound(bound.to_string()))?;
        Ok(sample.into_owned())
    }
}

/// What shows the key in a file: a line, whatever is around it.
fn bearer(file: &Path) -> Result<HeaderValue, StatusError> {
    let text =
        fs::read_to_string(file).map_err(|source| StatusError::KeyFile { file: file.to_owned(), source })?;
    let value = HeaderValue::from_str(&format!("Bearer {}", text.trim())).ok();
    let mut value =
        value.filter(|_| !text.trim().is_empty()).ok_or_else(|| StatusError::NoKey(file.to_owned()))?;
    // So that nobody prints it by mistake.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_s_file_holds_one_line_and_its_errors_do_not_repeat_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        assert!(bearer(&file).unwrap_err().to_string().contains("cannot be read"));
        for (text, is_key) in
            [("tsk_1", true), (" tsk_1\r\n", true), ("", false), ("\n", false), ("one\ntwo", false)]
        {
            fs::write(&file, text).unwrap();
            let value = bearer(&file);
            assert_eq!(value.is_ok(), is_key, "{text:?}");
            assert!(!format!("{value:?}").contains("tsk_1") && !format!("{value:?}").contains("two"));
        }
        fs::write(&file, "tsk_1\n").unwrap();
        assert_eq!(bearer(&file).unwrap(), "Bearer tsk_1");
    }
}
