//! A vendor's key. It is shown nowhere: not in logs, errors or `Debug`.

use std::fmt;
use std::sync::Arc;

use reqwest::header::HeaderValue;

/// Longest key.
pub(super) const MAX_BYTES: usize = 4_096;

/// A key. `Debug` says nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Arc<str>);

impl Key {
    /// The key in `text`, without white space around it; nothing where no header could carry it.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (!text.is_empty() && text.len() <= MAX_BYTES && visible).then(|| Self(Arc::from(text)))
    }

    /// The value of a header with the key in it, marked so that nobody prints it.
    pub(super) fn header(&self, prefix: &str) -> HeaderValue {
        // A key has visible characters only: every header carries it.
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0))
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}
